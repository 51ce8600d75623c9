#!/bin/bash
# What docker-compose.yml runs, without a container engine: the commands of its header, then its very environment,
# command and health check, with this machine's Postgres, ports and directories in place of the containers'.
. "$(dirname "$0")/lib.sh"

FILE="$ROOT/docker-compose.yml"
ENGINE=
DIR="$WORK/compose"

journey() {
  [ -n "${CHANCERY_TEST_POSTGRES_URL:-}" ] || { skip compose "CHANCERY_TEST_POSTGRES_URL is not set"; return; }
  local https http ops at
  https=$(free_port) http=$(free_port) ops=$(free_port)
  at=${CHANCERY_TEST_POSTGRES_URL#*@} at=${at%%/*}
  mkdir -p "$DIR/data"

  check "the commands before the first start work" before
  set -a; . "$DIR/.env"; set +a
  MAPS=("@postgres:5432=@$at" "/run/secrets/unlock_key=$DIR/unlock.key" "/var/lib/chancery=$DIR/data"
    "0.0.0.0:8443=127.0.0.1:$https" "0.0.0.0:8080=127.0.0.1:$http" "0.0.0.0:9464=127.0.0.1:$ops"
    "/127.0.0.1/9464=/127.0.0.1/$ops" ":8443=:$https" ":8080=:$http")
  as_owner || return
  check "images of others are named by their digests" test "$(part images | grep -Ecx '[a-z0-9:.-]+@sha256:[0-9a-f]{64}')" = 3
  check "the program is built on the same image as by deploy/image.sh" test "$(part images | sed -n 1p)" = "$(cat "$ROOT/deploy/base-images")"
  check "the image carries the licences that deploy/image-root.sh lays out" licences
  mapfile -t settings < <(part environment)
  mapfile -t command < <(part command)
  mapfile -d '' -t health < <(part health)
  mapfile -t database < <(part database)
  check "a database as the postgres service makes it" make_database "${database[@]}"
  check_fails "not healthy before it runs" . "${health[@]}"

  start || return
  check "metrics are there, for this machine alone" metrics
  check "every line of its log is JSON" jq -e . "$DIR/stderr"
  check "healthy" within 30 quietly "${health[@]}"
  curl -fsS -o "$DIR/root.pem" "http://127.0.0.1:$http/root.pem"
  ROOT_PEM="$DIR/root.pem" HTTPS="https://localhost:$https"
  check "the directory stands under the external URL" directory
  TOKEN=$(env "${settings[@]}" "$BIN" token create --name compose --role operator 2>"$WORK/token.log") || not_ok "token create" "$(cat "$WORK/token.log")"
  check "a certificate is issued" api POST certificates -H 'Content-Type: application/json' \
    -d "{\"names\":[\"web.$ZONE\"],\"profile\":\"tls-server\"}" -o "$DIR/web.json"
  jq -r .certificate "$DIR/web.json" >"$DIR/web.pem"
  jq -r .chain "$DIR/web.json" >"$DIR/chain.pem"
  good "issued" "$DIR/web.pem" "$DIR/chain.pem"

  stop_server
  start || return
  check "healthy again after a restart" within 30 quietly "${health[@]}"
  check "the certificate is still there" api GET "certificates/$(jq -r .id "$DIR/web.json")"
  check "fsck" env "${settings[@]}" "$BIN" fsck
}

start() {
  env "${settings[@]}" "${AS[@]}" "$BIN" "${command[@]}" >"$DIR/stdout" 2>>"$DIR/stderr" &
  SERVER=$!
  PIDS+=("$SERVER")
  within 30 serves && return
  not_ok "the server starts" "$(tail -n 5 "$DIR/stderr")"
  return 1
}
serves() { curl -fsSk -o /dev/null "https://127.0.0.1:$https/livez" 2>/dev/null || ! kill -0 "$SERVER" 2>/dev/null; }

before() {
  (cd "$DIR" && PATH="$PATH" bash -euc "$("$CLIENTS/compose.py" "$FILE" before)") &&
    [ "$(stat -c %a "$DIR/unlock.key" "$DIR/.env" | sort -u)" = 600 ]
}
# The image's user is the owner of unlock.key, so the server runs as that one here too.
AS=()
as_owner() {
  check "unlock.key has an owner who is not root, and .env says who" test "$UNLOCK_KEY_UID" != 0 -a "$UNLOCK_KEY_UID" = "$(stat -c %u "$DIR/unlock.key")" || return
  [ "$(id -u)" -eq 0 ] || return 0
  AS=(setpriv --reuid "$UNLOCK_KEY_UID" --regid "$UNLOCK_KEY_UID" --clear-groups)
  chmod 0711 "$WORK" "$DIR" && chown -R "$UNLOCK_KEY_UID" "$DIR/data" && install -m 0755 "$BIN" "$DIR/chancery" && BIN="$DIR/chancery"
}
licences() {
  part recipe >"$DIR/recipe" && grep -qx 'RUN sh deploy/image-root.sh target/release/chancery /image' "$DIR/recipe" &&
    sed -n '/^FROM $RUN_IMAGE/,$p' "$DIR/recipe" | grep -qx 'COPY --from=build /image/usr/share/doc/chancery /usr/share/doc/chancery'
}
metrics() {
  curl -fsS -o "$DIR/metrics" "http://127.0.0.1:$ops/metrics" && grep -q '^chancery_build_info' "$DIR/metrics" && grep -qF '"127.0.0.1:9464:9464"' "$FILE"
}
part() { "$CLIENTS/compose.py" "$FILE" "$1" "${MAPS[@]}"; }
quietly() { "$@" >/dev/null 2>&1; }
directory() { curl -fsS --cacert "$ROOT_PEM" "$HTTPS/acme/default/directory" | jq -e --arg base "$HTTPS/" '.newOrder | startswith($base)'; }

# USER DATABASE PASSWORD, as the image's entry point does it; on the throw-away server the names are its own.
make_database() {
  "$(pg_tool psql)" -qX -v ON_ERROR_STOP=1 "$CHANCERY_TEST_POSTGRES_URL" -c "DROP DATABASE IF EXISTS $2" \
    -c "DROP ROLE IF EXISTS $1" -c "CREATE ROLE $1 LOGIN PASSWORD '$3'" -c "CREATE DATABASE $2 OWNER $1"
}

journey
stop_server
finish
