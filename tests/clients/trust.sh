#!/bin/bash
# Trust on hosts: bootstrap, contexts, and the root in the stores of this host, judged by the programs that use them.
# The stores are copies in a mount namespace of our own; nothing of this machine changes.
if [ -z "${CHANCERY_TEST_NAMESPACE:-}" ]; then
  [ "$(id -u)" -eq 0 ] || { echo "skip trust: a mount namespace of our own needs root"; exit 0; }
  unshare -m true 2>/dev/null || { echo "skip trust: this machine allows no mount namespace"; exit 0; }
  CHANCERY_TEST_NAMESPACE=1 exec unshare -m --propagation private "$0"
fi
. "$(dirname "$0")/lib.sh"

DIR="$WORK/trust"
DATABASE_URL=
ANCHORS=/usr/local/share/ca-certificates
H="$DIR/home"
KUBECTL="${CHANCERY_TEST_CACHE:-$ROOT/tests/.cache}/kube/kubectl"

# The stores as copies, so that update-ca-certificates and keytool work on those.
own_stores() {
  local place
  for place in "$ANCHORS" /etc/ssl/certs; do
    mkdir -p "$DIR/stores$place" "$place"
    cp -a "$place/." "$DIR/stores$place/" && mount --bind "$DIR/stores$place" "$place" || return
  done
  mkdir -p "$H/.mozilla/firefox/x1.default" "$H/.pki/nssdb"
  certutil -N --empty-password -d "sql:$H/.mozilla/firefox/x1.default" && certutil -N --empty-password -d "sql:$H/.pki/nssdb"
}

# The command line of another user of another machine: no variables, no installation.
there() { env -i PATH="$PATH" HOME="$H" "$BIN" "$@"; }
# … with variables before a `--`
there_with() {
  local set=()
  while [ "$1" != -- ]; do set+=("$1"); shift; done
  shift
  env -i PATH="$PATH" HOME="$H" "${set[@]}" "$BIN" "$@"
}
# A program of that user.
tool() { env -i PATH="$PATH" HOME="$H" "$@"; }
exits() { local want=$1; shift; "$@" >"$WORK/exits.log" 2>&1; local got=$?; cat "$WORK/exits.log"; [ "$got" -eq "$want" ]; }

bootstrap() {
  local openssl_spelling
  openssl_spelling=$(openssl x509 -in "$ROOT_PEM" -noout -fingerprint -sha256)
  check_fails "without a fingerprint nothing is trusted, and it is shown" "$(openssl x509 -in "$ROOT_PEM" -outform DER | sha256sum | cut -c1-64)" there bootstrap "$HTTPS"
  check "a wrong fingerprint is refused with exit code 3" exits 3 there bootstrap "$HTTPS" --fingerprint "$(printf 'ab%.0s' {1..32})"
  check "nothing was saved" test ! -e "$H/.config/chancery/contexts.toml"
  check "the fingerprint as openssl prints it is accepted" there bootstrap "$HTTPS" --fingerprint "$openssl_spelling" --name lab
  check "the root is kept" cmp "$H/.config/chancery/roots/lab.pem" "$ROOT_PEM"
  check_fails "working there needs a token, says the refusal" 'token' there find "*.$ZONE"
  new_token || return
  (umask 077; echo "$TOKEN" >"$DIR/token")
  check "the token joins the context" there context set lab --token "$DIR/token"
  check "and the commands work there" there issue --out "$DIR" "ctx.$ZONE"
  check "as the server says too" chancery find "ctx.$ZONE"
  check_fails "local is the installation of this host, which has none" 'no CA yet|cannot be reached' there --context local find "*.$ZONE"
  check_fails "a context that is not there is named" 'lab, local' there --context lba find "*.$ZONE"
  check "a context that knows the server needs no fingerprint again" there bootstrap "$HTTPS" --name lab
  check "its token stays" there find "ctx.$ZONE"
  check "the list marks the current one" grep -q '^\*.*lab' <(there context list)
}

judge() {
  local word=$1 status
  [ "$word" = accept ] && status=check || status=not_yet
  "$status" "curl: $word" tool curl -fsS -o /dev/null "$HTTPS/livez"
  "$status" "python: $word" tool /usr/bin/python3 -c "$PYTHON_GET"
  "$status" "openssl: $word" tool openssl s_client -connect "${HTTPS#https://}" -verify_return_error -brief
  "$status" "Firefox's database: $word" tool certutil -V -u V -d "sql:$H/.mozilla/firefox/x1.default" -n server
  "$status" "Chromium's database: $word" tool certutil -V -u V -d "sql:$H/.pki/nssdb" -n server
  if command -v javac >/dev/null; then "$status" "Java: $word" java_get; fi
}
not_yet() { local name=$1; shift; check_fails "$name" 'certificate|PKIX|issuer|trust|verif' "$@"; }
java_get() {
  printf 'class Get { public static void main(String[] a) throws Exception { java.net.URI.create(a[0]).toURL().openStream().close(); } }' >"$DIR/Get.java"
  tool java "$DIR/Get.java" "$HTTPS/livez"
}

# The server's own certificate in both databases, for certutil to judge.
server_certificate() {
  openssl s_client -connect "${HTTPS#https://}" -showcerts </dev/null 2>/dev/null | awk '/BEGIN/{n++} /BEGIN/,/END/{print > ("'"$DIR"'/s" n ".pem")}'
  local db
  for db in "$H/.mozilla/firefox/x1.default" "$H/.pki/nssdb"; do
    certutil -A -d "sql:$db" -n server -t ,, -i "$DIR/s1.pem" && certutil -A -d "sql:$db" -n issuing -t ,, -i "$DIR/s2.pem" || return
  done
}

stores() {
  server_certificate || not_ok "the server's chain" "certutil failed"
  judge refuse
  check "status says so" test "$(there trust status | grep -c 'not there')" -ge 3
  check "a root by URL and fingerprint, without a context" there --context local trust status --url "$HTTPS" \
    --fingerprint "$(openssl x509 -in "$ROOT_PEM" -outform DER | sha256sum | cut -c1-64)"
  check "by another fingerprint: exit code 3" exits 3 there trust status --url "$HTTPS" --fingerprint "$(printf 'ab%.0s' {1..32})"
  check_fails "by URL alone nothing is trusted" 'give --fingerprint' there trust install --yes --url "$HTTPS"
  openssl s_client -connect "${HTTPS#https://}" </dev/null 2>/dev/null | openssl x509 -out "$DIR/leaf.pem"
  check_fails "a server's certificate is no root" 'is not a self-signed CA certificate' there trust install --yes --root "$DIR/leaf.pem"
  check "doctor ends with 11" exits 11 there trust doctor "$HTTPS"
  check "without a terminal nothing is changed: exit code 2" exits 2 there trust install
  check "the plan alone changes nothing" there trust install --dry-run
  check "still nothing" test -z "$(ls "$ANCHORS" | grep chancery-)"
  check_fails "a no is a no" 'nothing was changed' script -qec "env -i PATH='$PATH' HOME='$H' '$BIN' trust install --store system" /dev/null <<<n
  check "a yes on the terminal is one" script -qec "env -i PATH='$PATH' HOME='$H' '$BIN' trust install --store system" /dev/null <<<y
  check "the rest with --yes" there trust install --yes
  judge accept
  check "a second time changes nothing" exits 0 there trust install
  check "status says so everywhere" test "$(there trust status | grep -c "$(printf '\ttrusted\t')")" -ge 3
  check "doctor says that the server's certificate stands under it" grep -q 'stands under this root' <(there trust doctor "$HTTPS")
}

# What doctor says of variables is what the programs do; $1 is yes when the system has the root, else NO.
variables() {
  local system=$1 other="$DIR/other.pem" verdict=not_yet
  [ "$system" = NO ] || verdict=check
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=other -keyout /dev/null -out "$other" 2>/dev/null
  # the hashed directory counts beside whatever file a variable names
  says 'CURL_CA_BUNDLE overrides SSL_CERT_FILE' "$system" curl "CURL_CA_BUNDLE=$other" "SSL_CERT_FILE=$ROOT_PEM"
  "$verdict" "curl does so" tool env CURL_CA_BUNDLE="$other" SSL_CERT_FILE="$ROOT_PEM" curl -fsS "$HTTPS/livez"
  says 'SSL_CERT_FILE replaces the system' "$system" 'python (ssl' "SSL_CERT_FILE=$other"
  "$verdict" "python does so" tool env SSL_CERT_FILE="$other" /usr/bin/python3 -c "$PYTHON_GET"
  says 'SSL_CERT_DIR replaces' NO 'python (ssl' "SSL_CERT_FILE=$other" SSL_CERT_DIR=/nowhere
  not_yet "python does so with both" tool env SSL_CERT_FILE="$other" SSL_CERT_DIR=/nowhere /usr/bin/python3 -c "$PYTHON_GET"
  if [ -x "$KUBECTL" ]; then
    says 'SSL_CERT_FILE replaces the system' "$system" go "SSL_CERT_FILE=$other"
    "$verdict" "kubectl, a Go program, does so" tool env SSL_CERT_FILE="$other" "$KUBECTL" --token none --server "$HTTPS" get --raw /livez
  fi
  if /usr/bin/python3 -c 'import requests' 2>/dev/null; then
    says 'REQUESTS_CA_BUNDLE overrides CURL_CA_BUNDLE' yes 'python requests' "REQUESTS_CA_BUNDLE=$ROOT_PEM" "CURL_CA_BUNDLE=$other"
    check "requests does so" tool env REQUESTS_CA_BUNDLE="$ROOT_PEM" CURL_CA_BUNDLE="$other" /usr/bin/python3 -c "import requests; requests.get('$HTTPS/livez')"
    says 'REQUESTS_CA_BUNDLE replaces' NO 'python requests' "REQUESTS_CA_BUNDLE=$other"
    not_yet "requests does so" tool env REQUESTS_CA_BUNDLE="$other" /usr/bin/python3 -c "import requests; requests.get('$HTTPS/livez')"
  fi
  tool git config --global "http.$HTTPS/.sslCAInfo" "$ROOT_PEM"
  says '' yes git LANG=C
  check_fails "git does so: it gets as far as the path" 'not found' tool git ls-remote "$HTTPS/x.git"
  says 'GIT_SSL_CAINFO overrides http.sslCAInfo' "$system" git "GIT_SSL_CAINFO=$other"
  if [ "$system" = NO ]; then not_yet "git does so" tool env GIT_SSL_CAINFO="$other" git ls-remote "$HTTPS/x.git"
  else check_fails "git does so" 'not found' tool env GIT_SSL_CAINFO="$other" git ls-remote "$HTTPS/x.git"; fi
  if command -v node >/dev/null; then
    says "added to Node's own list" yes node "NODE_EXTRA_CA_CERTS=$ROOT_PEM"
    check "node does so" node_get NODE_EXTRA_CA_CERTS="$ROOT_PEM"
    says 'export NODE_EXTRA_CA_CERTS' NO node LANG=C
    not_yet "node alone does not" node_get LANG=C
  fi
}
node_get() { tool env "$@" node -e "require('https').get('$HTTPS/livez', r => process.exit(r.statusCode === 200 ? 0 : 1)).on('error', e => { console.error(e.message); process.exit(1) })"; }

# says TEXT yes|NO TOOL VARIABLE=VALUE…
says() {
  local text=$1 trusted=$2 name=$3; shift 3
  there_with "$@" -- trust doctor "$HTTPS" >"$WORK/doctor.log" 2>&1
  check "doctor: $text" grep -qE "^$(printf '%s' "$name" | sed 's/[()]/\\&/g')[^	]*	$trusted	.*$text" "$WORK/doctor.log" || cat "$WORK/doctor.log"
}

mkdir -p "$DIR"
start_server || finish
PYTHON_GET="import urllib.request; urllib.request.urlopen('$HTTPS/livez')"
own_stores >"$WORK/own.log" 2>&1 || { skip trust "the stores could not be laid over: $(tail -n 1 "$WORK/own.log")"; finish; }
bootstrap
stores
variables yes
check "uninstall" there trust uninstall --yes
judge refuse
variables NO
check "nothing of ours is left" test -z "$(ls "$ANCHORS" | grep chancery-)"
check "uninstall again: nothing to do" exits 0 there trust uninstall
check "the context goes, and its root" there context remove lab
check "it is gone" test ! -e "$H/.config/chancery/roots/lab.pem"
stop_server
finish
