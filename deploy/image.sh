#!/bin/sh
# Builds the image of deploy/Dockerfile, tags it, and pushes it where that is asked for:
#   deploy/image.sh NAME          NAME is registry.example/chancery; tags NAME:VERSION of Cargo.toml
#   deploy/image.sh NAME push     pushes it as well and prints the name with its digest
# The base image is one by its digest: that in deploy/base-images; `deploy/image.sh NAME refresh` takes the newest one and
# writes it there. ENGINE=podman for another engine than docker.
set -eu
[ $# -ge 1 ] && [ $# -le 2 ] || { echo "usage: deploy/image.sh NAME [push|refresh]" >&2; exit 2; }
case ${2:-} in '' | push | refresh) ;; *) echo "deploy/image.sh: $2 is neither push nor refresh" >&2; exit 2 ;; esac
engine=${ENGINE:-docker} name=$1 what=${2:-}
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
base=$(sed -n 's/^ARG BUILD_IMAGE=//p' deploy/Dockerfile)
pins=deploy/base-images

# pinned TAG : the tag with the digest that is written down for it
pinned() { [ ! -e "$pins" ] || sed -n "s|^\($1@sha256:[0-9a-f]\{64\}\)\$|\1|p" "$pins"; }

if [ "$what" = refresh ] || [ -z "$(pinned "$base")" ]; then
  "$engine" pull -q "$base" >&2
  digest=$("$engine" image inspect --format '{{index .RepoDigests 0}}' "$base" | sed 's/.*@//')
  echo "$digest" | grep -Eqx 'sha256:[0-9a-f]{64}' || { echo "deploy/image.sh: $engine knows no digest of $base" >&2; exit 1; }
  echo "$base@$digest" >"$pins"
fi
"$engine" build -f deploy/Dockerfile -t "$name:$version" --build-arg "BUILD_IMAGE=$(pinned "$base")" \
  --label "org.opencontainers.image.version=$version" --label org.opencontainers.image.licenses=Apache-2.0 \
  --label "org.opencontainers.image.base.name=$base" .
if [ "$what" = push ]; then
  "$engine" push "$name:$version" >&2
  "$engine" image inspect --format '{{index .RepoDigests 0}}' "$name:$version"
else
  echo "$name:$version"
fi
