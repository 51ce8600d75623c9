#!/bin/bash
# Two servers on one Postgres behind a proxy that alternates between them with every request: certbot and lego obtain
# 100 certificates together without a failure, while one server is killed and comes back; one nonce posted 50 times at
# once over both is accepted once; no client meets more than one badNonce. CHANCERY_TEST_ORDERS is how many.
. "$(dirname "$0")/lib.sh"

ORDERS=${CHANCERY_TEST_ORDERS:-100}

journey() {
  mkdir -p "$DIR/webroot"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=proxy -days 2 -addext subjectAltName=IP:127.0.0.1 \
    -keyout "$DIR/proxy.key" -out "$DIR/proxy.pem" 2>/dev/null
  # both must know the proxy's address before it can know theirs
  local port
  port=$(free_port)
  export CHANCERY_EXTERNAL_URL=https://127.0.0.1:$port
  start_server && second || return
  check "both print the proxy's directory" test "$ACME" = "https://127.0.0.1:$port/acme/default/directory"
  "$CLIENTS/round_robin.py" "$port" "$DIR/proxy.pem" "$DIR/proxy.key" "$DIR/proxy.log" "$HTTPS" "$SECOND_HTTPS" >"$DIR/proxy.port" 2>"$DIR/proxy.err" &
  PIDS+=($!)
  within 30 test -s "$DIR/proxy.port" || { not_ok "the proxy starts" "$(cat "$DIR/proxy.err")"; return; }
  # one web server for the challenges of all clients
  (cd "$DIR/webroot" && exec /usr/bin/python3 -m http.server --bind 127.0.0.1 "$HTTP01_PORT" >/dev/null 2>&1) &
  PIDS+=($!)

  check "one nonce posted 50 times at once over both is accepted once" \
    /usr/bin/python3 "$CLIENTS/replay.py" "$ACME" "$DIR/proxy.pem" "$HTTPS" "$SECOND_HTTPS"

  local began=$SECONDS pids=() each=$((ORDERS / 4)) worker
  for worker in 1 2; do
    (work "certbot$worker" "$each" by_certbot) & pids+=($!)
    (work "lego$worker" "$each" by_lego) & pids+=($!)
  done
  within 300 done_are $((ORDERS / 2)) || not_ok "half of the orders" "only $(wc -l <"$DIR/obtained") of $ORDERS after 300 s"
  kill -9 "$SECOND"
  wait "$SECOND" 2>/dev/null
  local killed
  killed=$(wc -l <"$DIR/proxy.log")
  within 60 done_are $((ORDERS * 3 / 4)) || not_ok "a quarter without the second server" "only $(wc -l <"$DIR/obtained") obtained"
  second || return
  for worker in "${pids[@]}"; do wait "$worker"; done
  check "$ORDERS orders over both" test "$(wc -l <"$DIR/obtained")" -eq $((each * 4))
  check "without a failure but what the kill cut off" only_cut_off
  check "both servers took part, before and after the kill" took_part "$killed"
  check "no client met more than one badNonce" few_bad_nonces
  check "fsck beside the running servers" chancery fsck
  echo "# $ORDERS orders in $((SECONDS - began)) s, $(wc -l <"$DIR/proxy.log") requests, $(grep -c '"problem": "badNonce"' "$DIR/proxy.log") badNonce with the replay's"
  kill -TERM "$SECOND"
  wait "$SECOND"
  unset CHANCERY_EXTERNAL_URL
}

# A second server on a disk of its own, with the first one's unlock key.
second() {
  env CHANCERY_DATA="$DIR/second" CHANCERY_DATABASE_URL="$DATABASE_URL" CHANCERY_UNLOCK_KEY="$DIR/data/unlock.key" \
    CHANCERY_LISTEN="${SECOND_AT:-127.0.0.1:0}" CHANCERY_LISTEN_HTTP=127.0.0.1:0 CHANCERY_LISTEN_OPS=127.0.0.1:0 \
    CHANCERY_ACME__HTTP01_PORT="$HTTP01_PORT" CHANCERY_ACME__ALLOW_LOOPBACK=true CHANCERY_ACME__RESOLVERS="127.0.0.1:$DNS_PORT" \
    "$BIN" serve -o json >"$DIR/second.stdout" 2>>"$DIR/second.stderr" &
  SECOND=$!
  PIDS+=("$SECOND")
  within 30 grep -q '"event":"ready"' "$DIR/second.stdout" || {
    not_ok "the second server starts" "$(tail -n 5 "$DIR/second.stderr")"
    return 1
  }
  SECOND_HTTPS=$(grep '"event":"ready"' "$DIR/second.stdout" | jq -r .https)
  SECOND_AT=${SECOND_HTTPS#https://}
}

# work NAME COUNT COMMAND : orders one after the other, each for a name of its own. A client that failed runs once more,
# as its timer does.
work() {
  local name=$1 n log="$DIR/$1.log"
  for n in $(seq "$2"); do
    if "$3" "$name" "$n-$name.$ZONE" >"$log" 2>&1; then echo "$n-$name" >>"$DIR/obtained"; continue; fi
    { echo "$n-$name:"; tail -n 12 "$log"; } >>"$DIR/failed.$name"
    cat "$log" >>"$DIR/failures.$n-$name"
    if "$3" "$name" "$n-$name.$ZONE" >"$log" 2>&1; then echo "$n-$name" >>"$DIR/obtained"
    else { echo "$n-$name, once more:"; tail -n 12 "$log"; } >>"$DIR/failed.$name"; fi
  done
}

by_certbot() {
  REQUESTS_CA_BUNDLE="$DIR/proxy.pem" certbot certonly --server "$ACME" --agree-tos --register-unsafely-without-email --webroot \
    -w "$DIR/webroot" -d "$2" --key-type ecdsa --config-dir "$DIR/$1/c" --work-dir "$DIR/$1/w" --logs-dir "$DIR/$1/l" -n
}

by_lego() {
  LEGO_CA_CERTIFICATES="$DIR/proxy.pem" lego --server "$ACME" --accept-tos --email "$1@$ZONE" --path "$DIR/$1" --http \
    --http.webroot "$DIR/webroot" -d "$2" run
}

done_are() { [ -f "$DIR/obtained" ] && [ "$(wc -l <"$DIR/obtained")" -ge "$1" ]; }

# took_part LINES : of the requests up to this line of the log and after it, each server answered some.
took_part() {
  local part
  for part in "head -n $1" "tail -n +$(($1 + 1))"; do
    [ "$($part "$DIR/proxy.log" | jq .server | sort -u | tr '\n' ' ')" = "0 1 " ] || { echo "not both: $part"; return 1; }
  done
}

# A finalize that was committed and not yet answered when its server was killed: the repetition is 403 (RFC 8555 §7.4),
# and clients that do not look at the order then give up. One at most for each of the four clients, and nothing else.
only_cut_off() {
  local failure
  [ "$(find "$DIR" -maxdepth 1 -name 'failures.*' | wc -l)" -le 4 ] || { cat "$DIR"/failed.*; return 1; }
  for failure in "$DIR"/failures.*; do
    [ -e "$failure" ] || continue
    echo "# cut off: $(basename "$failure")"
    grep -q 'orderNotReady.*it was finalized before' "$failure" || { cat "$DIR"/failed.*; return 1; }
  done
}

few_bad_nonces() {
  local worst
  worst=$(jq -r 'select(.problem == "badNonce") | .by' "$DIR/proxy.log" | sort | uniq -c | sort -rn | awk 'NR == 1 { print $1 }')
  [ "${worst:-0}" -le 1 ] || { echo "a client met $worst"; jq -c 'select(.problem == "badNonce")' "$DIR/proxy.log"; return 1; }
}

if [ -z "${CHANCERY_TEST_POSTGRES_URL:-}" ]; then
  skip replicas "CHANCERY_TEST_POSTGRES_URL is not set"
else
  ENGINE=postgres DIR="$WORK/postgres"
  mkdir -p "$DIR"
  if new_database; then journey; stop_server; else not_ok "a database of its own" "psql failed"; fi
fi
finish
