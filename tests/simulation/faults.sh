#!/bin/bash
# Does the simulation bite? Builds it with the faults of src/planted.rs and plants those of faults.txt, one after the other:
# each must make one of 200 seeds fail. `ok` is a fault that was found, `not ok` one that survived.
# CHANCERY_TEST_FAULTS is a pattern for some of them.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
LIST=tests/simulation/faults.txt
OUT=${CHANCERY_TEST_OUT:-$PWD/tests/out}/simulation-faults
mkdir -p "$OUT"
cargo build --features planted-faults --example simulation >"$OUT/build.log" 2>&1 || {
  echo "not ok the simulation builds with planted faults: $(tail -n 3 "$OUT/build.log")"
  exit
}
# a copy: the next build without the feature takes the place of the program
cp "${CARGO_TARGET_DIR:-target}/debug/examples/simulation" "$OUT/simulation" || exit 1

# without a fault the weeks must pass, else every fault would be "found"
if "$OUT/simulation" --engine sqlite --seeds 20 >"$OUT/none.log" 2>&1; then echo "ok 20 weeks pass without a fault"; else
  echo "not ok 20 weeks pass without a fault: $(grep -m 1 '^not ok' "$OUT/none.log")"
fi
found=0
faults=$(grep -v '^#' "$LIST" | grep -E -- "${CHANCERY_TEST_FAULTS:-.}")
for fault in $faults; do
  if CHANCERY_PLANTED_FAULT=$fault "$OUT/simulation" --engine sqlite --seeds 200 --failures 1 >"$OUT/$fault.log" 2>&1; then
    echo "not ok $fault: 200 weeks passed"
  elif why=$(grep -m 1 '^not ok' "$OUT/$fault.log"); then
    found=$((found + 1))
    echo "ok $fault: ${why#not ok }"
  else
    echo "not ok $fault: the simulation itself failed: $(tail -n 1 "$OUT/$fault.log")"
  fi
done
echo "# $found of $(wc -w <<<"$faults") faults found"
