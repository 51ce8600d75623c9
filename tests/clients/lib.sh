# Common to the client tests: the real server on either engine, DNS for its names, and what openssl says.
# A script sources this, defines functions and ends with `finish`. It prints `ok NAME`, `not ok NAME: why`,
# `skip NAME: why`; lines that begin with `# ` go to the log alone.
set -uo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CLIENTS="$ROOT/tests/clients"
BIN="${CHANCERY_TEST_BIN:-$ROOT/target/release/chancery}"
ZONE=chancery.test
WORK=$(mktemp -d /tmp/chancery-client.XXXXXX)
PIDS=()
BAD=0
unset CHANCERY_CONFIG CHANCERY_DATA CHANCERY_DATABASE_URL CHANCERY_UNLOCK_KEY
# the Postgres that CHANCERY_TEST_POSTGRES_URL names may run with fsync=off
export CHANCERY_ALLOW_UNSAFE_DATABASE=true
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY REQUESTS_CA_BUNDLE CURL_CA_BUNDLE SSL_CERT_FILE
export NO_PROXY='*'

cleanup() {
  # a child that is signalled before it runs its program still has this trap, and believes that it is its parent
  local pid
  read -r pid _ </proc/self/stat
  [ "$pid" = "$$" ] || return
  for pid in "${PIDS[@]+"${PIDS[@]}"}"; do is_ours "$pid" && kill -9 "$pid"; done 2>/dev/null
  wait 2>/dev/null
  rm -rf "$WORK"
}
# A process id that ended long ago may belong to a server of another part by now.
is_ours() {
  local running
  running=$(jobs -p)
  [[ $'\n'$running$'\n' == *$'\n'$1$'\n'* ]] && return 0
  grep -qaF "$WORK" "/proc/$1/cmdline" "/proc/$1/environ" 2>/dev/null
}
trap cleanup EXIT
trap 'exit 130' INT TERM

finish() { [ "$BAD" -eq 0 ]; exit; }

# ---- saying what held

ok() { echo "ok ${ENGINE:+$ENGINE: }$1"; }
not_ok() {
  BAD=1
  echo "not ok ${ENGINE:+$ENGINE: }$1: ${2:-}"
}
skip() { echo "skip ${ENGINE:+$ENGINE: }$1: $2"; }

# check NAME COMMAND… : ok when the command ends with 0; else its last words are the reason.
check() {
  local name=$1 log="$WORK/check.log"; shift
  local status=0
  "$@" >"$log" 2>&1 || status=$?
  if [ "$status" -eq 0 ]; then ok "$name"; return 0; fi
  not_ok "$name" "ended with $status"
  tail -n 25 "$log" | sed 's/^/    /'
  return 1
}

# check_fails NAME TEXT COMMAND… : ok when the command fails and says TEXT (extended regular expression).
check_fails() {
  local name=$1 text=$2 log="$WORK/check.log"; shift 2
  if "$@" >"$log" 2>&1; then not_ok "$name" "it succeeded"; return 1; fi
  if grep -qE -- "$text" "$log"; then ok "$name"; return 0; fi
  not_ok "$name" "it failed without saying: $text"
  tail -n 25 "$log" | sed 's/^/    /'
  return 1
}

# within SECONDS COMMAND… : polls, because another process publishes in its own time. No limit is below 30: beside other
# scripts on two cores it waits for them too.
within() {
  local until=$(($(date +%s%N) + $1 * 1000000000)); shift
  while ! "$@"; do
    [ "$(date +%s%N)" -lt "$until" ] || return 1
    sleep 0.1
  done
}

# ---- engines and server

# engines FUNCTION : runs it once on SQLite and once on Postgres, each with a directory and a database of its own.
engines() {
  local body=$1
  for ENGINE in sqlite postgres; do
    DIR="$WORK/$ENGINE"
    mkdir -p "$DIR"
    DATABASE_URL=
    if [ "$ENGINE" = postgres ]; then
      if [ -z "${CHANCERY_TEST_POSTGRES_URL:-}" ]; then skip "$(basename "$0")" "CHANCERY_TEST_POSTGRES_URL is not set"; continue; fi
      new_database || { not_ok "a database of its own" "psql failed"; continue; }
    fi
    "$body"
    stop_server
  done
  ENGINE=
}

new_database() {
  local name="client_$$_${RANDOM}"
  "$(pg_tool psql)" -qX "$CHANCERY_TEST_POSTGRES_URL" -c "CREATE DATABASE $name" >"$WORK/psql.log" 2>&1 || return 1
  DATABASE_URL="${CHANCERY_TEST_POSTGRES_URL%/*}/$name"
}

pg_tool() { ls -d /usr/lib/postgresql/*/bin/"$1" 2>/dev/null | sort -V | tail -n 1; }

# The command line with this server's data and database, as an operator on the host would run it.
chancery() {
  settings
  env "${SETTINGS[@]}" "$BIN" "$@"
}

settings() {
  SETTINGS=(CHANCERY_DATA="$DIR/data")
  [ -z "$DATABASE_URL" ] || SETTINGS+=(CHANCERY_DATABASE_URL="$DATABASE_URL")
}

# start_server : waits for the ready line and sets HTTPS, HTTP, OPS, ACME, SERVER and ROOT_PEM. A second start in
# the same directory takes the same ports, because the issuers' status URL is fixed. PROXIES are further settings.
start_server() {
  [ -x "$BIN" ] || { not_ok "the server starts" "$BIN is not built"; return 1; }
  [ -n "${DNS_PORT:-}" ] || start_dns
  HTTP01_PORT=${HTTP01_PORT:-$(free_port)} TLS_ALPN01_PORT=${TLS_ALPN01_PORT:-$(free_port)}
  settings
  env "${SETTINGS[@]}" CHANCERY_LISTEN="${HTTPS_AT:-127.0.0.1:0}" CHANCERY_LISTEN_HTTP="${HTTP_AT:-127.0.0.1:0}" \
    CHANCERY_LISTEN_OPS="${OPS_AT:-127.0.0.1:0}" CHANCERY_ACME__HTTP01_PORT="$HTTP01_PORT" CHANCERY_ACME__TLS_ALPN01_PORT="$TLS_ALPN01_PORT" \
    CHANCERY_ACME__ALLOW_LOOPBACK=true CHANCERY_ACME__RESOLVERS="127.0.0.1:$DNS_PORT" "${PROXIES[@]+"${PROXIES[@]}"}" \
    "$BIN" serve -o json >"$DIR/stdout" 2>>"$DIR/stderr" &
  SERVER=$!
  PIDS+=("$SERVER")
  within 30 server_said_ready_or_ended
  local ready
  ready=$(grep '"event":"ready"' "$DIR/stdout") || {
    local why="no ready line within 30 s"
    if ! kill -0 "$SERVER" 2>/dev/null; then
      wait "$SERVER"
      why="it ended with $? before it was ready"
    fi
    not_ok "the server starts" "$why"
    tail -n 20 "$DIR/stderr" | sed 's/^/    /'
    return 1
  }
  HTTPS=$(jq -r .https <<<"$ready") HTTP=$(jq -r .http <<<"$ready") OPS=$(jq -r .ops <<<"$ready")
  ACME=$(jq -r .acme_directory <<<"$ready")
  HTTPS_AT=${HTTPS#https://} HTTP_AT=${HTTP#http://} OPS_AT=${OPS#http://}
  ROOT_PEM="$DIR/root.pem"
  curl -fsS -o "$ROOT_PEM" "$HTTP/root.pem" || { not_ok "the root is served" "GET $HTTP/root.pem"; return 1; }
  [ "$(openssl x509 -in "$ROOT_PEM" -outform DER | sha256sum | cut -d' ' -f1)" = \
    "$(jq -r .root_sha256 <<<"$ready" | tr -d ': ' | tr A-F a-f)" ] || { not_ok "the root is the announced one" "$ready"; return 1; }
}

server_said_ready_or_ended() {
  grep -q '"event":"ready"' "$DIR/stdout" 2>/dev/null || ! kill -0 "$SERVER" 2>/dev/null
}

# SIGTERM drains and ends with 0.
stop_server() {
  [ -n "${SERVER:-}" ] || return 0
  kill -TERM "$SERVER" 2>/dev/null
  wait "$SERVER"
  local status=$?
  SERVER=
  unset HTTPS_AT HTTP_AT OPS_AT
  [ "$status" -eq 0 ] || not_ok "SIGTERM ends the server with 0" "it ended with $status"
}

# take_usual_ports, leave_usual_ports : parts run side by side, and what serves or asks at port 80 or 8443 of this host does it in turn.
take_usual_ports() { exec {USUAL_PORTS}>"${TMPDIR:-/tmp}/chancery-usual-ports.lock" && flock "$USUAL_PORTS"; }
leave_usual_ports() { flock -u "$USUAL_PORTS"; exec {USUAL_PORTS}>&-; }

# A file of TEXTS is a name, its lines are TXT records: what a hook for dns-01 writes.
start_dns() {
  TEXTS="$WORK/texts"
  mkdir -p "$TEXTS"
  TEXTS="$TEXTS" "$CLIENTS/dns.py" "$ZONE" >"$WORK/dns.port" 2>"$WORK/dns.log" &
  PIDS+=($!)
  within 30 test -s "$WORK/dns.port"
  DNS_PORT=$(cat "$WORK/dns.port")
}

# free_port : below the ports that the system gives out by itself, and in a thousand of this part's own, so that between
# the choice and its use no other part and no client takes it.
free_port() {
  PORTS="${CHANCERY_TEST_PORTS:-31000}" TAKEN="$WORK/ports" /usr/bin/python3 - <<'PY'
import os, random, socket
first, taken = int(os.environ["PORTS"]), os.environ["TAKEN"]
given = set(open(taken).read().split()) if os.path.exists(taken) else set()
for port in random.sample(range(first, first + 1000), 1000):
    with socket.socket() as one:
        if str(port) in given or one.connect_ex(("127.0.0.1", port)) == 0:
            continue
    with socket.socket() as one:
        try:
            one.bind(("", port))
        except OSError:
            continue
    print(port)
    print(port, file=open(taken, "a"))
    break
PY
}

# external DIRECTORY SUFFIX : a key for accounts of the directory that get names under SUFFIX; sets KID and HMAC.
external() {
  local made
  made=$(chancery acme eab create --name client-tests --directory "$1" --allow-name "$2" -o json 2>"$WORK/eab.log") || {
    not_ok "acme eab create" "$(tail -n 3 "$WORK/eab.log")"
    return 1
  }
  KID=$(jq -r .id <<<"$made") HMAC=$(jq -r .hmac_key <<<"$made")
}

# wrong KEY : another key of the same shape; the last character of one holds bits that must be zero
wrong() { case $1 in A*) echo "B${1:1}" ;; *) echo "A${1:1}" ;; esac; }

# directory SLUG [options…] : makes an ACME directory; sets AT to its URL once the server shows it.
directory() {
  local slug=$1; shift
  check "acme directory create $slug" chancery acme directory create "$slug" "$@" || return
  AT=${ACME%/acme/*}/acme/$slug/directory
  check "the server offers it" within 30 curl -fsS --cacert "$ROOT_PEM" -o /dev/null "$AT"
}

# revoke_by_key CERT KEY REASON : by ACME, signed with the certificate's own key (RFC 8555 §7.6), for clients that have no
# command for it.
revoke_by_key() {
  REQUESTS_CA_BUNDLE=$ROOT_PEM certbot revoke --config-dir "$DIR/by-key" --work-dir "$DIR/by-key" --logs-dir "$DIR/by-key" -n \
    --server "$ACME" --cert-path "$1" --key-path "$2" --reason "$3" --no-delete-after-revoke
}

# A token for REST that may ask for any name.
new_token() {
  TOKEN=$(chancery token create --name client-tests --role operator 2>"$WORK/token.log") && [[ $TOKEN == chy_* ]] && return
  not_ok "token create" "$(tail -n 3 "$WORK/token.log")"
  return 1
}

# api METHOD PATH [curl arguments…] : REST with $TOKEN over TLS verified against our root.
api() {
  local method=$1 path=$2; shift 2
  curl -sS --fail-with-body --cacert "$ROOT_PEM" -X "$method" -H "Authorization: Bearer $TOKEN" "$@" "$HTTPS/api/v1/$path"
}

# ---- what openssl says of a certificate

serial_of() { openssl x509 -in "$1" -noout -serial | sed 's/^serial=//' | tr A-F a-f | sed 's/^0*//'; }
names_of() { openssl x509 -in "$1" -noout -ext subjectAltName | tr ',' '\n' | sed -n 's/.*DNS://p' | sort | tr '\n' ' '; }

# verify CERT CHAIN [options…]
verify() {
  local cert=$1 chain=$2; shift 2
  openssl verify -x509_strict -purpose sslserver -CAfile "$ROOT_PEM" -untrusted "$chain" "$@" "$cert"
}

# crl_of CERT FILE : fetches the CRL that the certificate names, as PEM.
crl_of() {
  local url
  url=$(openssl x509 -in "$1" -noout -ext crlDistributionPoints | sed -n 's/.*URI://p' | head -n 1)
  [ -n "$url" ] && curl -fsS "$url" | openssl crl -inform DER -outform PEM -out "$2"
}

# verify_crl CERT CHAIN : with the leaf's CRL checked.
verify_crl() {
  crl_of "$1" "$WORK/leaf.crl" && verify "$1" "$2" -crl_check -CRLfile "$WORK/leaf.crl"
}

# ocsp CERT CHAIN : the answer of the responder that the certificate names, verified by openssl.
ocsp() {
  openssl ocsp -issuer "$2" -cert "$1" -url "$(openssl x509 -in "$1" -noout -ocsp_uri)" -CAfile "$ROOT_PEM" \
    -verify_other "$2" -no_nonce -timeout 5 2>&1
}
ocsp_says() {
  local said
  said=$(ocsp "$2" "$3")
  grep -q '^Response verify OK' <<<"$said" && grep -qE ": $1$" <<<"$said"
}
ocsp_reason() { ocsp "$2" "$3" | grep -qi "Reason: $1"; }

crl_lists() {
  crl_of "$1" "$WORK/list.crl" &&
    openssl crl -in "$WORK/list.crl" -noout -text | grep -i 'Serial Number:' | tr A-F a-f | sed 's/.*: *0*//' | grep -qx "$(serial_of "$1")"
}

# good NAME CERT CHAIN : everything that a certificate in good standing must satisfy.
good() {
  check "$1: openssl verify -x509_strict accepts it" verify "$2" "$3"
  check "$1: openssl verify -crl_check accepts it" verify_crl "$2" "$3"
  check "$1: OCSP says good" ocsp_says good "$2" "$3"
}

# revoked NAME CERT CHAIN [REASON] : OCSP and CRL say so, and openssl refuses it.
revoked() {
  check "$1: OCSP says revoked" within 30 ocsp_says revoked "$2" "$3"
  check "$1: the CRL lists it" within 30 crl_lists "$2"
  [ -z "${4:-}" ] || check "$1: OCSP gives the reason $4" ocsp_reason "$4" "$2" "$3"
  check_fails "$1: openssl verify -crl_check refuses it" 'certificate revoked' verify_crl "$2" "$3"
}

# ---- the journey that every client walks

# web_server : serves $WWW on the port of http-01, for clients that write into a web server's folder.
web_server() {
  WWW="$DIR/www" CHALLENGES="$DIR/www/.well-known/acme-challenge"
  mkdir -p "$CHALLENGES"
  /usr/bin/python3 -m http.server --bind 127.0.0.1 --directory "$WWW" "$HTTP01_PORT" >"$DIR/www.log" 2>&1 &
  WEB_SERVER=$!
  PIDS+=("$WEB_SERVER")
  within 30 bash -c "exec 3<>/dev/tcp/127.0.0.1/$HTTP01_PORT" 2>/dev/null
}

# split OUT : OUT.full.pem has leaf and chain; OUT.pem and OUT.chain.pem have one each.
split() {
  openssl x509 -in "$1.full.pem" -out "$1.pem" && awk '/BEGIN/ { n++ } n > 1' "$1.full.pem" >"$1.chain.pem"
}

# walk CLIENT [REASON] : the client obtains, renews and revokes by its functions CLIENT_obtain OUT NAME…, CLIENT_renew OUT
# NAME… (each makes OUT.full.pem) and CLIENT_revoke CERT, unless CLIENT_ready says on its output why it cannot be had. HERE is
# a folder of its own. REASON is what it revokes for.
walk() {
  local client=$1 names=("$1.$ZONE" "www.$1.$ZONE") why
  why=$("${client}_ready" 2>&1) || { skip "$client" "$(tail -n 1 <<<"$why")"; return 1; }
  HERE="$DIR/$client"
  mkdir -p "$HERE"
  check "$client: obtain for two names" "${client}_obtain" "$HERE/first" "${names[@]}" && split "$HERE/first" || return
  check "$client: it has exactly the names asked for" test "$(names_of "$HERE/first.pem")" = "${names[*]} "
  good "$client: obtained" "$HERE/first.pem" "$HERE/first.chain.pem"
  check "$client: renew" "${client}_renew" "$HERE/second" "${names[@]}" && split "$HERE/second" || return
  check "$client: the renewed one has another serial" test "$(serial_of "$HERE/first.pem")" != "$(serial_of "$HERE/second.pem")"
  good "$client: renewed" "$HERE/second.pem" "$HERE/second.chain.pem"
  check "$client: revoke" "${client}_revoke" "$HERE/second.pem" || return
  revoked "$client: revoked" "$HERE/second.pem" "$HERE/second.chain.pem" "${2:-}"
  good "$client: the first one beside it" "$HERE/first.pem" "$HERE/first.chain.pem"
  check_fails "$client: a name that does not resolve is refused with the reason" "x\.gone\.$ZONE" "${client}_obtain" "$HERE/none" "x.gone.$ZONE"
}

# has PROGRAM PACKAGE : or says that Debian's package is not installed
has() { command -v "$1" >/dev/null || { echo "$1 is not installed (Debian's $2)"; return 1; }; }

# step-ca and step, which several scripts run: prints their folder, or why they cannot be had
step_programs() { "$CLIENTS/go-build.sh" step step-ca=github.com/smallstep/certificates/cmd/step-ca step=github.com/smallstep/cli/cmd/step; }

# program COMMAND… : a program of ours that calls a library: `obtain OUT NAME…` and `revoke CERT REASON`.
program() {
  DIRECTORY=$ACME ROOT=$ROOT_PEM KEY="$HERE/account.pem" CHALLENGES=$CHALLENGES "$@"
}
