#!/bin/bash
# Do the tests bite? Builds them once with the faults of src/planted.rs and runs, for each fault of tests/faults.txt, the tests
# that must find it. `ok` is a fault that was found: a test failed. `not ok` is one that survived, or whose tests did not end
# within the time, which a slow machine may cause. CHANCERY_TEST_FAULTS is a pattern for some of them, CHANCERY_TEST_FAULT_LANES how many at once.
# `--listed` compares the list with the faults in the sources and runs none.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
LIST=tests/faults.txt
OUT=${CHANCERY_TEST_OUT:-$PWD/tests/out}/faults
WITHIN=180
LANES=${CHANCERY_TEST_FAULT_LANES:-2}
export CHANCERY_TEST_POSTGRES_URL=${CHANCERY_TEST_POSTGRES_URL:-}

main() {
  mkdir -p "$OUT"
  unlisted || return
  [ "${1:-}" != --listed ] || return 0
  cargo test --no-run --features planted-faults --lib --test it --message-format=json >"$OUT/build.json" 2>"$OUT/build.log" || {
    echo "not ok the tests build with planted faults: $(tail -n 3 "$OUT/build.log")"
    return
  }
  LIB=$(program lib chancery) IT=$(program test it)
  export LIB IT OUT WITHIN
  export -f try
  # without a fault the same tests must pass, else every fault would be "found"
  local filters
  filters=$(listed | cut -f2 | tr ' ' '\n' | sort -u | tr '\n' ' ')
  try none "$filters" 1200
  grep -v '^#' "$LIST" | grep -E -- "${CHANCERY_TEST_FAULTS:-.}" | tr '\n' '\0' |
    xargs -0 -P "$LANES" -n 1 bash -c 'IFS=$'"'\t'"' read -r name filters why <<<"$1"; try "$name" "$filters" "$WITHIN" "$why"' try
  echo "# $(grep -l found "$OUT"/*.verdict 2>/dev/null | wc -l) of $(listed | wc -l) faults found"
}

listed() { grep -v '^#' "$LIST" | grep -E -- "${CHANCERY_TEST_FAULTS:-.}"; }

# A fault that is planted and not in the list, or the other way round, would never be tried.
unlisted() {
  local planted named
  planted=$({
    grep -rhoE 'planted!\(\s*"[^"]+"' src | sed 's/.*"\(.*\)"/\1/'
    # the name in planted!( may stand on the next line
    grep -rhA1 -E 'planted!\($' src | grep -oE '^ +"[^"]+",' | sed 's/.*"\(.*\)".*/\1/'
    row_locks
  } | sort -u | grep -vx name)
  named=$(cut -f1 "$LIST" tests/simulation/faults.txt | grep -v '^#' | sort -u)
  [ "$planted" = "$named" ] && { echo "ok tests/faults.txt lists every planted fault"; return; }
  echo "not ok tests/faults.txt lists every planted fault: $(diff <(echo "$planted") <(echo "$named") | grep '^[<>]' | tr '\n' ' ')"
  return 1
}
row_locks() {
  local file
  for file in src/store/*.rs; do
    awk -v f="$(basename "$file" .rs)" '/^    [A-Z_]+ = /{name=$1} /FOR UPDATE|FOR SHARE/ && !/\/\/\//{print "no-lock " f "::" name}' "$file"
  done
}

# program KIND NAME : the path of a test binary
program() {
  jq -r --arg kind "$1" --arg name "$2" \
    'select(.reason == "compiler-artifact" and .executable != null and .profile.test and .target.name == $name and (.target.kind | index($kind))) | .executable' \
    "$OUT/build.json" | tail -n 1
}

# try NAME FILTERS SECONDS [WHY] : WHY no test can find it
try() {
  local name=$1 seconds=$3 log filter it=() lib=() failed=''
  [ -z "${4:-}" ] || { echo "skip $name: $4"; return; }
  log="$OUT/${name//[ :]/-}.log"
  for filter in $2; do
    case $filter in lib:*) lib+=("${filter#lib:}") ;; *) it+=("$filter") ;; esac
  done
  [ "$name" = none ] || export CHANCERY_PLANTED_FAULT=$name
  : >"$log"
  if [ "${#lib[@]}" -gt 0 ]; then timeout --kill-after=5 "$seconds" "$LIB" "${lib[@]}" >>"$log" 2>&1 || failed=1; fi
  if [ -z "$failed" ] && [ "${#it[@]}" -gt 0 ]; then timeout --kill-after=5 "$seconds" "$IT" "${it[@]}" >>"$log" 2>&1 || failed=1; fi
  rm -f "$log.verdict"
  if [ "$name" = none ]; then
    if [ -z "$failed" ]; then echo "ok without a fault the tests pass"; else echo "not ok without a fault the tests pass: $log"; fi
  elif ! grep -qE '^running [1-9]' "$log"; then echo "not ok $name: no test ran ($2)"
  elif grep -qE '^test .* FAILED$|^test result: FAILED| --- FAILED' "$log"; then
    echo found >"${log%.log}.verdict"
    echo "ok $name: found by $(grep -m1 -oE '^test .* FAILED|^    [a-z_:0-9]+$' "$log" | tail -n 1 | sed 's/^ *//; s/^test //; s/ \.\.\. FAILED//')"
  elif [ -n "$failed" ]; then echo "not ok $name: the tests did not end in $seconds s, or not by themselves: $log"
  else echo "not ok $name: survived $2"; fi
}

main "$@"
