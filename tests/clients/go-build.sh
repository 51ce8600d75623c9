#!/bin/bash
# Builds Go programs once, through the Go module proxy: go-build.sh FOLDER PROGRAM=PACKAGE… builds what
# tests/clients/FOLDER/go.mod pins into tests/.cache/FOLDER, behind everybody else (`nice 19`). Prints the folder of the
# programs and ends with 0 when they are there; ends with 3 and prints the reason when they cannot be had here, and with 1
# when they do not compile. CHANCERY_TEST_GO_BUILD_SECONDS is the limit of one program: 1800 s.
set -uo pipefail
FOLDER=$1
shift
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE="${CHANCERY_TEST_CACHE:-$HERE/../.cache}/$FOLDER"

main() {
  local stamp one
  stamp=$(stamp_of "$@")
  if [ "$(cat "$CACHE/stamp" 2>/dev/null)" != "$stamp" ]; then
    command -v go >/dev/null || unavailable "Go is not installed, and $CACHE has no programs of these versions"
    mkdir -p "$CACHE"
    cd "$HERE/$FOLDER" || exit 1
    export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -mod=readonly -trimpath" GOTOOLCHAIN=local GOWORK=off
    nice -n 19 timeout 600 go mod download >"$CACHE/download.log" 2>&1 ||
      unavailable "the Go module proxy did not give the modules: $(tail -n 1 "$CACHE/download.log")"
    for one in "$@"; do build "${one%%=*}" "${one#*=}"; done
    echo "$stamp" >"$CACHE/stamp"
  fi
  (cd "$CACHE" && pwd)
}

# The programs are those of these sources, modules, packages and flags.
stamp_of() {
  { echo "$@"; cat "$HERE/go-build.sh" "$HERE/$FOLDER"/{go.mod,go.sum}; find "$HERE/$FOLDER" -name '*.go' | sort | xargs -r cat; } | sha256sum | cut -d' ' -f1
}

build() {
  nice -n 19 timeout "${CHANCERY_TEST_GO_BUILD_SECONDS:-1800}" go build -ldflags "-s -w" -o "$CACHE/$1" "$2" >"$CACHE/$1.log" 2>&1
  case $? in
    0) ;;
    124) unavailable "building $1 takes longer than its limit; what is compiled is kept, so the next run goes on from there" ;;
    *) echo "building $1 failed ($CACHE/$1.log): $(tail -n 3 "$CACHE/$1.log")"; exit 1 ;;
  esac
}
unavailable() { echo "$1"; exit 3; }

main "$@"
