#!/bin/bash
# Builds the version that was deployed before this one, once, from the repository's history, into tests/.cache/old-COMMIT: what
# mixed.sh runs beside this version. Prints the program's path; ends with 3 and prints the reason when it cannot be had.
# CHANCERY_TEST_OLD_BIN is a program that is there already.
set -uo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
# The last commit of that version. It moves when a version is deployed.
COMMIT=${CHANCERY_TEST_OLD_COMMIT:-917e591}
CACHE="${CHANCERY_TEST_CACHE:-$ROOT/tests/.cache}/old-$COMMIT"

main() {
  [ -z "${CHANCERY_TEST_OLD_BIN:-}" ] || { echo "$CHANCERY_TEST_OLD_BIN"; return; }
  local whole
  whole=$(git -C "$ROOT" rev-parse --verify --quiet "$COMMIT^{commit}") ||
    unavailable "commit $COMMIT is not in this clone; fetch the whole history (git fetch --unshallow)"
  if [ "$(cat "$CACHE/stamp" 2>/dev/null)" != "$whole" ]; then
    mkdir -p "$CACHE/source" || unavailable "$CACHE cannot be made"
    rm -rf "$CACHE/source" "$CACHE/stamp"
    mkdir "$CACHE/source"
    git -C "$ROOT" archive "$whole" | tar -x -C "$CACHE/source" || unavailable "git archive $COMMIT failed"
    (cd "$CACHE/source" && CARGO_TARGET_DIR="$CACHE/target" nice -n 19 timeout 2400 cargo build --release --locked --bin chancery) \
      >"$CACHE/build.log" 2>&1 || unavailable "building $COMMIT failed: $(tail -n 3 "$CACHE/build.log")"
    cp "$CACHE/target/release/chancery" "$CACHE/chancery" && rm -rf "$CACHE/target" "$CACHE/source"
    echo "$whole" >"$CACHE/stamp"
  fi
  echo "$CACHE/chancery"
}

unavailable() { echo "$1"; exit 3; }

main
