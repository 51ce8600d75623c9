#!/bin/bash
# kill -9 at random moments under load: after a restart every certificate that a client was given is there, no
# serial came twice, fsck says 0. The seed is printed; CHANCERY_TEST_SEED repeats a run.
. "$(dirname "$0")/lib.sh"

ROUNDS=${CHANCERY_TEST_ROUNDS:-8}
THREADS=8
RANDOM=${CHANCERY_TEST_SEED:=$((RANDOM * 32768 + RANDOM))}
echo "# seed $CHANCERY_TEST_SEED"

journey() {
  start_server && new_token || return
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$DIR/load.key" -subj / \
    -addext "subjectAltName=DNS:load.$ZONE" -out "$DIR/load.csr" 2>/dev/null
  local round load moment
  for round in $(seq "$ROUNDS"); do
    "$CLIENTS/load.py" issue "$HTTPS" "$ROOT_PEM" "$TOKEN" "$DIR/load.csr" "$DIR/given.$round" "$THREADS" >"$DIR/load.$round.log" 2>&1 &
    load=$!
    moment=$((300 + RANDOM % 1500))
    sleep "$(printf '%d.%03d' $((moment / 1000)) $((moment % 1000)))"
    kill -9 "$SERVER"
    wait "$SERVER" 2>/dev/null
    wait "$load" || not_ok "round $round: load" "$(cat "$DIR/load.$round.log")"
    start_server || return
    check "killed after $moment ms, $(wc -l <"$DIR/given.$round") given: fsck says 0" chancery fsck
  done
  check "every certificate given is there, no serial twice" \
    "$CLIENTS/load.py" check "$HTTPS" "$ROOT_PEM" "$TOKEN" "$DIR"/given.*
  echo "# $ENGINE: $(cat "$DIR"/given.* | wc -l) certificates over $ROUNDS kills"

  local one
  jq -r .certificate "$DIR/given.1" | head -n 100 | openssl x509 -out "$DIR/one.pem"
  one=$(jq -r .id "$DIR/given.1" | head -n 1)
  api GET "certificates/$one" | jq -r .chain >"$DIR/chain.pem"
  good "one given before the first kill" "$DIR/one.pem" "$DIR/chain.pem"
}

engines journey
finish
