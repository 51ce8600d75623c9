#!/bin/bash
# Builds the judges of profiles.sh once, through the Go module proxy, into tests/.cache/profiles. Says nothing and ends
# with 0 when they are there; with 3 and the reason when they cannot be had.
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE="${CHANCERY_TEST_CACHE:-$HERE/../../.cache}/profiles"
stamp=$(cat "$HERE"/{go.mod,go.sum,build.sh} "$HERE"/*/main.go | sha256sum | cut -d' ' -f1)
[ "$(cat "$CACHE/stamp" 2>/dev/null)" = "$stamp" ] && exit 0
command -v go >/dev/null || { echo "Go is not installed, and $CACHE has no programs of these versions"; exit 3; }
mkdir -p "$CACHE"
cd "$HERE" || exit 1
export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -mod=readonly -trimpath" GOTOOLCHAIN=local GOWORK=off
nice -n 10 timeout 300 go mod download >"$CACHE/download.log" 2>&1 ||
  { echo "the Go module proxy did not give the modules: $(tail -n 1 "$CACHE/download.log")"; exit 3; }
nice -n 10 timeout 900 go build -ldflags "-s -w" -o "$CACHE/" ./kube ./notation ./sigstore >"$CACHE/build.log" 2>&1 ||
  { echo "building failed ($CACHE/build.log): $(tail -n 3 "$CACHE/build.log")"; exit 1; }
echo "$stamp" >"$CACHE/stamp"
