#!/bin/bash
# Builds etcd and etcdctl of one release line once, through the Go module proxy: etcd-build.sh etcd37 builds what
# tests/clients/etcd37/go.mod pins into tests/.cache/etcd37. Prints nothing and ends with 0 when they are there; ends with 3
# and prints the reason when they cannot be had.
set -uo pipefail
LINE=$1
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE="${CHANCERY_TEST_CACHE:-$HERE/../.cache}/$LINE"

main() {
  local stamp
  stamp=$(cat "$HERE/etcd-build.sh" "$HERE/$LINE"/{go.mod,go.sum} | sha256sum | cut -d' ' -f1)
  [ "$(cat "$CACHE/stamp" 2>/dev/null)" = "$stamp" ] && return 0
  command -v go >/dev/null || unavailable "Go is not installed, and $CACHE has no binaries of this version"
  mkdir -p "$CACHE"
  cd "$HERE/$LINE" || exit 1
  export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -mod=readonly -trimpath" GOTOOLCHAIN=local GOWORK=off
  nice -n 19 timeout 600 go mod download >"$CACHE/download.log" 2>&1 ||
    unavailable "the Go module proxy did not give the modules: $(tail -n 1 "$CACHE/download.log")"
  build etcd go.etcd.io/etcd/server/v3
  build etcdctl go.etcd.io/etcd/etcdctl/v3
  echo "$stamp" >"$CACHE/stamp"
}

build() {
  nice -n 19 timeout 1800 go build -ldflags "-s -w" -o "$CACHE/$1" "$2" >"$CACHE/$1.log" 2>&1 ||
    unavailable "building $1 failed: $(tail -n 3 "$CACHE/$1.log")"
}
unavailable() { echo "$1"; exit 3; }

main
