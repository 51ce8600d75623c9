#!/bin/bash
# An earlier version (CHANCERY_TEST_OLD_COMMIT, 917e591 when not set) and this one on one Postgres: the old server runs, this
# one's migrates the database under it, and then both issue, by REST and by ACME; each finishes what the other began and says
# what the other revoked.
. "$(dirname "$0")/lib.sh"

NEW=$BIN

journey() {
  local port
  port=$(free_port)
  export CHANCERY_EXTERNAL_URL=https://127.0.0.1:$port
  HTTPS_AT=127.0.0.1:$port
  as_old
  start_server || return
  mkdir -p "$DIR/webroot" "$DIR/certs"
  (cd "$DIR/webroot" && exec /usr/bin/python3 -m http.server --bind 127.0.0.1 "$HTTP01_PORT" >/dev/null 2>&1) &
  PIDS+=($!)
  new_token || return
  issue "$HTTPS" before || return

  # one sentence, and nothing changes under the old server
  as_new
  check_fails "a command of this version does not migrate" 'migrate --run' chancery find "before.$ZONE"
  check "a certificate of the old server, and the old server as before" api GET "certificates?limit=1"
  check_fails "migrate --check says what is missing" '00[0-9][0-9]' check_schema
  check "migrate --run beside the old server" chancery migrate --run
  second || return

  # REST: issued by each, shown and revoked by the other
  issue "$HTTPS" by-old && issue "$SECOND_HTTPS" by-new || return
  local name at
  for name in before by-old by-new; do
    at=$SECOND_HTTPS
    [ "$name" != by-new ] || at=$HTTPS
    check "$name is found by the other server" shows "$at" "$name"
    good "$name" "$DIR/certs/$name.pem" "$DIR/certs/$name.chain"
    check "$name is revoked by the other server" revoke "$at" "$name"
    check "$name is revoked for the OCSP of both" within 30 both_say_revoked "$name"
    check "$name is on the CRL of both" within 30 both_list "$name"
  done

  check "32 orders, each step at either server" \
    /usr/bin/python3 "$CLIENTS/mixed.py" "$ACME" "$ROOT_PEM" "$DIR/webroot" "$ZONE" "$DIR/certs" "$HTTPS" "$SECOND_HTTPS"
  check "openssl verifies all 32" all_verify
  check "doctor says that versions run side by side" says_mixed
  check "fsck of this version beside both" chancery fsck

  # the way forward: the old one ends, this one goes on alone
  stop_server
  check "what the old server issued is valid for this one alone" shows "$SECOND_HTTPS" by-old
  issue "$SECOND_HTTPS" after && check "and it issues" shows "$SECOND_HTTPS" after
  as_old
  check_fails "the old version refuses the newer database" 'schema|migrat' chancery fsck
  as_new
  kill -TERM "$SECOND"
  wait "$SECOND"
  unset CHANCERY_EXTERNAL_URL
}

as_old() {
  BIN=$OLD
  # a setting that the old version does not know
  unset CHANCERY_ALLOW_UNSAFE_DATABASE
}
as_new() {
  BIN=$NEW
  export CHANCERY_ALLOW_UNSAFE_DATABASE=true
}
check_schema() { chancery migrate --check; }

# This version on a disk of its own, with the first one's unlock key.
second() {
  env CHANCERY_DATA="$DIR/second" CHANCERY_DATABASE_URL="$DATABASE_URL" CHANCERY_UNLOCK_KEY="$DIR/data/unlock.key" \
    CHANCERY_LISTEN=127.0.0.1:0 CHANCERY_LISTEN_HTTP=127.0.0.1:0 CHANCERY_LISTEN_OPS=127.0.0.1:0 \
    CHANCERY_ACME__HTTP01_PORT="$HTTP01_PORT" CHANCERY_ACME__ALLOW_LOOPBACK=true CHANCERY_ACME__RESOLVERS="127.0.0.1:$DNS_PORT" \
    "$NEW" serve -o json >"$DIR/second.stdout" 2>"$DIR/second.stderr" &
  SECOND=$!
  PIDS+=("$SECOND")
  within 30 grep -q '"event":"ready"' "$DIR/second.stdout" || {
    not_ok "this version's server starts" "$(tail -n 5 "$DIR/second.stderr")"
    return 1
  }
  ok "this version's server starts beside the old one"
  local ready
  ready=$(grep '"event":"ready"' "$DIR/second.stdout")
  SECOND_HTTPS=$(jq -r .https <<<"$ready") SECOND_HTTP=$(jq -r .http <<<"$ready")
}

# at URL METHOD PATH [curl arguments…] : REST of one of the servers.
at() { local HTTPS=$1; shift; api "$@"; }

# issue URL NAME : by REST; the certificate, its chain and its id stand in certs/NAME.*
issue() {
  local answer
  answer=$(at "$1" POST certificates -H 'Content-Type: application/json' \
    -d "{\"profile\":\"tls-server\",\"names\":[\"$2.$ZONE\"]}" 2>&1) || { not_ok "REST issues $2" "$answer"; return 1; }
  jq -r .id <<<"$answer" >"$DIR/certs/$2.id"
  jq -r '.certificate' <<<"$answer" >"$DIR/certs/$2.pem"
  jq -r '.chain | if type == "array" then join("\n") else . end' <<<"$answer" >"$DIR/certs/$2.chain"
  ok "REST issues $2"
}

shows() { at "$1" GET "certificates/$(cat "$DIR/certs/$2.id")" | jq -e --arg pem "$(cat "$DIR/certs/$2.pem")" '.certificate | rtrimstr("\n") == $pem' >/dev/null; }
revoke() {
  at "$1" POST "certificates/$(cat "$DIR/certs/$2.id")/revocation" -H 'Content-Type: application/json' -d '{"reason":"superseded"}'
}
both_say_revoked() {
  local base path
  path=$(openssl x509 -in "$DIR/certs/$1.pem" -noout -ocsp_uri)
  path=${path#*://*/}
  for base in "$HTTP" "$SECOND_HTTP"; do
    openssl ocsp -issuer "$DIR/certs/$1.chain" -cert "$DIR/certs/$1.pem" -url "$base/$path" -CAfile "$ROOT_PEM" \
      -verify_other "$DIR/certs/$1.chain" -no_nonce -timeout 5 2>&1 | grep -q ': revoked$' || return 1
  done
}
both_list() {
  local base path serial
  path=$(openssl x509 -in "$DIR/certs/$1.pem" -noout -ext crlDistributionPoints | sed -n 's/.*URI://p' | head -n 1)
  path=${path#*://*/}
  serial=$(serial_of "$DIR/certs/$1.pem")
  for base in "$HTTP" "$SECOND_HTTP"; do
    curl -fsS "$base/$path" | openssl crl -inform DER -noout -text | grep -i 'Serial Number:' | tr A-F a-f | sed 's/.*: *0*//' | grep -qx "$serial" || return 1
  done
}
all_verify() {
  local chain count=0
  for chain in "$DIR"/certs/*.old."$ZONE".pem "$DIR"/certs/*.new."$ZONE".pem; do
    openssl verify -x509_strict -purpose sslserver -CAfile "$ROOT_PEM" -untrusted "$chain" "$chain" || return 1
    count=$((count + 1))
  done
  [ "$count" -eq 32 ] || { echo "only $count certificates"; return 1; }
}
says_mixed() {
  local found
  found=$(chancery doctor -o json 2>/dev/null)
  jq -e '.checks[] | select(.name == "versions") | select(.status == "warning")' <<<"$found" || { echo "$found"; return 1; }
}

if [ -z "${CHANCERY_TEST_POSTGRES_URL:-}" ]; then
  skip mixed "CHANCERY_TEST_POSTGRES_URL is not set"
elif OLD=$("$CLIENTS/old-build.sh"); then
  ENGINE=postgres DIR="$WORK/postgres"
  mkdir -p "$DIR"
  if new_database; then journey; stop_server; else not_ok "a database of its own" "psql failed"; fi
else
  skip mixed "$OLD"
fi
finish
