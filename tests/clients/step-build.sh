#!/bin/bash
# Builds step-ca and step once, through the Go module proxy: what tests/clients/step/go.mod pins, into tests/.cache/step.
# Prints the folder and ends with 0 when they are there; ends with 3 and prints the reason when they cannot be had.
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE="${CHANCERY_TEST_CACHE:-$HERE/../.cache}/step"

main() {
  local stamp
  stamp=$(cat "$HERE/step-build.sh" "$HERE/step"/{go.mod,go.sum} | sha256sum | cut -d' ' -f1)
  if [ "$(cat "$CACHE/stamp" 2>/dev/null)" != "$stamp" ]; then
    command -v go >/dev/null || unavailable "Go is not installed, and $CACHE has no programs of this version"
    mkdir -p "$CACHE"
    cd "$HERE/step" || exit 1
    export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -mod=readonly -trimpath" GOTOOLCHAIN=local GOWORK=off
    nice -n 19 timeout 600 go mod download >"$CACHE/download.log" 2>&1 ||
      unavailable "the Go module proxy did not give the modules: $(tail -n 1 "$CACHE/download.log")"
    build step-ca github.com/smallstep/certificates/cmd/step-ca
    build step github.com/smallstep/cli/cmd/step
    echo "$stamp" >"$CACHE/stamp"
  fi
  (cd "$CACHE" && pwd)
}

build() {
  nice -n 19 timeout 1800 go build -ldflags "-s -w" -o "$CACHE/$1" "$2" >"$CACHE/$1.log" 2>&1 ||
    unavailable "building $1 failed: $(tail -n 3 "$CACHE/$1.log")"
}
unavailable() { echo "$1"; exit 3; }

main
