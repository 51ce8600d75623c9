#!/bin/bash
# Builds kube-apiserver, kubectl, etcd, etcdctl and the cert-manager controller once, through the Go module proxy, into
# tests/.cache/kube. Says nothing and ends with 0 when they are there; with 3 and the reason when they cannot be had.
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE="${CHANCERY_TEST_CACHE:-$HERE/../../.cache}/kube"
LIMIT="${CHANCERY_TEST_KUBE_BUILD_SECONDS:-3600}"
# one compile at a time and behind everybody else, unless the machine is ours alone
JOBS="${CHANCERY_TEST_KUBE_JOBS:-$([ "${CI:-}" = true ] && nproc || echo 1)}"

main() {
  local stamp
  stamp=$(cat "$HERE"/{go.mod,go.sum,main.go,build.sh} | sha256sum | cut -d' ' -f1)
  [ "$(cat "$CACHE/stamp" 2>/dev/null)" = "$stamp" ] && return 0
  [ "$LIMIT" -gt 0 ] || unavailable "there are no binaries of these versions in $CACHE, and this run is not to build them: tests/run cert-manager does"
  command -v go >/dev/null || unavailable "Go is not installed, and $CACHE has no binaries of these versions"
  mkdir -p "$CACHE"
  cd "$HERE" || exit 1
  export CGO_ENABLED=0 GOFLAGS="-p=$JOBS -buildvcs=false -mod=readonly -trimpath" GOTOOLCHAIN=local GOWORK=off
  nice -n 19 timeout 600 go mod download >"$CACHE/download.log" 2>&1 ||
    unavailable "the Go module proxy did not give the modules: $(tail -n 1 "$CACHE/download.log")"
  local until=$((SECONDS + LIMIT)) kubernetes
  kubernetes=$(version_of k8s.io/kubernetes)
  build kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver
  build kubectl k8s.io/kubernetes/cmd/kubectl
  build etcd go.etcd.io/etcd/server/v3
  build etcdctl go.etcd.io/etcd/etcdctl/v3
  build cert-manager .
  # the CRDs as upstream ships them, from the module that was compiled
  rm -rf "$CACHE/crds" && cp -r "$(go list -m -f '{{.Dir}}' github.com/cert-manager/cert-manager)/deploy/crds" "$CACHE/crds" &&
    chmod -R u+w "$CACHE/crds" || exit 1
  {
    echo "kube-apiserver and kubectl $kubernetes"
    echo "etcd and etcdctl $(version_of go.etcd.io/etcd/server/v3)"
    echo "cert-manager $(version_of github.com/cert-manager/cert-manager)"
    go version
  } >"$CACHE/versions"
  echo "$stamp" >"$CACHE/stamp"
}

build() {
  local name=$1 package=$2 flags="-s -w" base=k8s.io/component-base/version
  flags+=" -X $base.gitVersion=$kubernetes -X $base.gitMajor=1 -X $base.gitMinor=$(cut -d. -f2 <<<"$kubernetes")"
  nice -n 19 timeout "$((until > SECONDS ? until - SECONDS : 1))" go build -ldflags "$flags" -o "$CACHE/$name" "$package" >"$CACHE/$name.log" 2>&1
  case $? in
    0) ;;
    124) unavailable "building $name was not done within $LIMIT s; what is compiled is kept, so the next run goes on from there" ;;
    *) echo "building $name failed ($CACHE/$name.log): $(tail -n 3 "$CACHE/$name.log")"; exit 1 ;;
  esac
}

version_of() { go list -m -f '{{.Version}}' "$1"; }
unavailable() { echo "$1"; exit 3; }

main
