#!/bin/bash
# Other CAs' own programs make, sign and revoke; then Chancery takes the CA and its certificates over: `openssl ca`, Debian's
# easy-rsa with an encrypted key, and step-ca on Postgres with the step command line, which `go-build.sh` builds once. Vault
# is not run: its answers to `list` and `read` are written around certificates of `openssl ca`. What openssl says of the OCSP
# answers and CRLs is the judge.
. "$(dirname "$0")/lib.sh"

OLD="$WORK/old"
PASSWORD="$WORK/password"
echo 'a long password' >"$PASSWORD"

# ---- the other CAs: each has certificates NAME.old.test for web, mail and late; mail is revoked for keyCompromise

openssl_makes() {
  local ca=$OLD/openssl name
  mkdir -p "$ca"/{newcerts,private} && cd "$ca" || return
  : >index.txt
  echo 01 >serial
  echo 01 >crlnumber
  cat >ca.cnf <<'CNF'
[ca]
default_ca = d
[d]
dir = .
database = index.txt
new_certs_dir = newcerts
certificate = ca.crt
private_key = private/ca.key
serial = serial
crlnumber = crlnumber
default_md = sha256
policy = p
x509_extensions = leaf
copy_extensions = copy
default_days = 300
default_crl_days = 30
[p]
commonName = supplied
[leaf]
basicConstraints = CA:FALSE
extendedKeyUsage = serverAuth
CNF
  openssl req -x509 -newkey rsa:2048 -nodes -keyout private/ca.key -out ca.crt -days 3000 -subj '/O=Old/CN=Old OpenSSL CA' \
    -addext keyUsage=critical,keyCertSign,cRLSign || return
  for name in web mail late; do
    openssl req -new -newkey rsa:2048 -nodes -keyout private/$name.key -out $name.csr -subj "/CN=$name.old.test" \
      -addext "subjectAltName=DNS:$name.old.test" && openssl ca -config ca.cnf -batch -in $name.csr -out $name.crt -notext || return
  done
  openssl ca -config ca.cnf -revoke mail.crt -crl_reason keyCompromise && openssl ca -config ca.cnf -gencrl -out ca.crl
}

easyrsa_makes() {
  mkdir -p "$OLD/easyrsa" && cd "$OLD/easyrsa" || return
  export EASYRSA_BATCH=1 EASYRSA_PKI="$OLD/easyrsa/pki" EASYRSA_REQ_CN='Old EasyRSA CA'
  EASYRSA_PASSIN="pass:$(cat "$PASSWORD")" EASYRSA_PASSOUT="pass:$(cat "$PASSWORD")"
  export EASYRSA_PASSIN EASYRSA_PASSOUT
  local name easyrsa=/usr/share/easy-rsa/easyrsa
  "$easyrsa" init-pki && "$easyrsa" build-ca || return
  for name in web mail late; do
    env -u EASYRSA_REQ_CN "$easyrsa" --subject-alt-name="DNS:$name.old.test" build-server-full $name.old.test nopass || return
  done
  "$easyrsa" revoke mail.old.test keyCompromise && "$easyrsa" gen-crl || return
  unset "${!EASYRSA_@}"
  grep -q ENCRYPTED pki/private/ca.key
}

step_makes() {
  local name port database=step_$$_$RANDOM
  export STEPPATH="$OLD/step"
  mkdir -p "$STEPPATH/out"
  port=$(free_port)
  "$STEP" ca init --name Old --dns localhost --address "127.0.0.1:$port" --provisioner admin --password-file "$PASSWORD" \
    --deployment-type standalone || return
  "$(pg_tool psql)" -qX "$CHANCERY_TEST_POSTGRES_URL" -c "CREATE DATABASE $database" || return
  jq --arg url "${CHANCERY_TEST_POSTGRES_URL%/*}/?sslmode=disable" --arg database "$database" \
    '.db = {type: "postgresql", dataSource: $url, database: $database}' "$STEPPATH/config/ca.json" >"$STEPPATH/ca.json" || return
  "$STEP_CA" "$STEPPATH/ca.json" --password-file "$PASSWORD" >"$STEPPATH/log" 2>&1 &
  local server=$!
  PIDS+=("$server")
  within 30 "$STEP" ca health --ca-url "https://localhost:$port" --root "$STEPPATH/certs/root_ca.crt" || { cat "$STEPPATH/log"; return 1; }
  for name in web mail late; do
    "$STEP" ca certificate $name.old.test "$STEPPATH/out/$name.crt" "$STEPPATH/out/$name.key" --provisioner admin \
      --provisioner-password-file "$PASSWORD" --not-after 23h --force || return
  done
  "$STEP" ca revoke --cert "$STEPPATH/out/mail.crt" --key "$STEPPATH/out/mail.key" --reasonCode 1 || return
  kill "$server"
  # as psql prints the tables of step-ca's database
  local table
  for table in x509_certs revoked_x509_certs; do
    "$(pg_tool psql)" -qXAt "${CHANCERY_TEST_POSTGRES_URL%/*}/$database" -c "SELECT nvalue FROM $table" >"$STEPPATH/$table" || return
  done
}

# `vault read -format=json pki/cert/SERIAL` of every serial, one answer after the other. Vault gives no reason.
vault_answers() {
  local name revoked
  mkdir -p "$OLD/vault"
  for name in web mail late; do
    revoked=0
    [ $name != mail ] || revoked=$(date +%s)
    jq -n --rawfile pem "$OLD/openssl/$name.crt" --argjson revoked "$revoked" '{request_id: "8c1c2f4e", lease_id: "", renewable: false,
      lease_duration: 0, data: {certificate: $pem, revocation_time: $revoked, issuer_id: "", revocation_time_rfc3339: ""}, warnings: null}' || return
  done >"$OLD/vault/certs.json"
}

# ---- what becomes of them here

# taken NAME FOLDER_OF_CERTIFICATES ISSUER_PEM TRUSTED_PEM COMMAND… : COMMAND imports the CA; its certificates come from PATHS.
taken() {
  local what=$1 domain=$2 certificates=$3 issuer=$4 root=$5 slug=$6 command=("${@:7}")
  check "$what: ca import" "${command[@]}" || return
  local counts
  counts=$(chancery ca import-certificates "${PATHS[@]}" --dry-run -o json 2>"$WORK/import.log")
  check "$what: a dry run counts them" counted "$counts" imported "$WANTED" imported_revoked 1
  check "$what: nothing is there yet" found_none web.old.test "$slug"
  counts=$(chancery ca import-certificates "${PATHS[@]}" -o json 2>"$WORK/import.log")
  check "$what: ca import-certificates takes them in" counted "$counts" imported "$WANTED" imported_revoked 1
  counts=$(chancery ca import-certificates "${PATHS[@]}" -o json 2>"$WORK/import.log")
  check "$what: again, and nothing changes" counted "$counts" imported 0 known "$WANTED" revoked 0
  check "$what: found by name, serial and file" found_by "$certificates/web.crt"
  start_server || return
  local url
  new_token || return
  url=$(api GET "issuers/$slug" | jq -r .ocsp_url)
  check "$what: OCSP says good" says good "$url" "$certificates/web.crt" "$issuer" "$root"
  check "$what: OCSP says revoked of what was revoked there" says revoked "$url" "$certificates/mail.crt" "$issuer" "$root"
  check "$what: revoke" chancery revoke "$certificates/late.crt" --reason superseded
  check "$what: OCSP says revoked" within 30 says revoked "$url" "$certificates/late.crt" "$issuer" "$root"
  check "$what: its CRL lists both, and the third is good" within 30 listed "$slug" "$certificates" "$issuer" "$root"
  stop_server
}

counted() {
  local counts=$1 member; shift
  while [ $# -gt 0 ]; do
    member=$(jq -r ".$1" <<<"$counts") || return
    [ "$member" = "$2" ] || { echo "$1 is $member, not $2: $counts"; cat "$WORK/import.log"; return 1; }
    shift 2
  done
}
found_none() { [ "$(chancery find "$1" --issuer "$2" -o json | jq '.items | length')" = 0 ]; }
found_by() {
  local serial
  serial=$(openssl x509 -in "$1" -noout -serial)
  chancery find web.old.test | grep -q web.old.test && chancery find "$serial" | grep -q web.old.test &&
    chancery find "0x${serial#serial=}" | grep -q web.old.test && chancery verify "$1"
}
says() {
  local said
  said=$(openssl ocsp -issuer "$4" -cert "$3" -url "$HTTP/${2#*://*/}" -CAfile "$5" -verify_other "$4" -no_nonce -timeout 5 2>&1)
  grep -q '^Response verify OK' <<<"$said" && grep -qE ": $1$" <<<"$said" && return
  echo "$said"
  return 1
}
listed() {
  local crl="$WORK/list.pem" name
  curl -fsS "$HTTP/crl/$1.crl" | openssl crl -inform DER -out "$crl" || return
  for name in mail late; do
    ! openssl verify -crl_check -CRLfile "$crl" -partial_chain -CAfile "$3" "$2/$name.crt" >"$WORK/verify.log" 2>&1 &&
      grep -q 'certificate revoked' "$WORK/verify.log" || { cat "$WORK/verify.log"; return 1; }
  done
  openssl verify -crl_check -CRLfile "$crl" -partial_chain -CAfile "$3" "$2/web.crt"
}

# fresh NAME : an installation of its own, so that equal names do not mix
fresh() {
  DIR="$WORK/$ENGINE-$1"
  mkdir -p "$DIR"
  [ "$ENGINE" != postgres ] || new_database || return
  check "$1: init" chancery init
}

journey() {
  local flat
  if [ -n "${HAS_OPENSSL:-}" ] && fresh openssl; then
    PATHS=("$OLD/openssl") WANTED=3
    taken "openssl ca" old "$OLD/openssl" "$OLD/openssl/ca.crt" "$OLD/openssl/ca.crt" old-root \
      chancery ca import "$OLD/openssl/ca.crt" --key "$OLD/openssl/private/ca.key" --domain old --crl "$OLD/openssl/ca.crl"
    check "openssl ca: a short serial as it is written there" short_serial 01
  fi
  if [ -n "${HAS_EASYRSA:-}" ] && fresh easyrsa; then
    flat="$OLD/easyrsa/flat"
    PATHS=("$OLD/easyrsa/pki") WANTED=3
    taken "easy-rsa" old "$flat" "$OLD/easyrsa/pki/ca.crt" "$OLD/easyrsa/pki/ca.crt" old-root \
      chancery ca import "$OLD/easyrsa/pki/ca.crt" --key "$OLD/easyrsa/pki/private/ca.key" --password-file "$PASSWORD" --domain old \
      --crl "$OLD/easyrsa/pki/crl.pem"
  fi
  if [ -n "${HAS_STEP:-}" ] && fresh step; then
    PATHS=("$OLD/step/x509_certs" "$OLD/step/revoked_x509_certs") WANTED=$(sort -u "$OLD/step/x509_certs" | grep -c .)
    taken "step-ca" old "$OLD/step/out" "$OLD/step/certs/intermediate_ca.crt" "$OLD/step/certs/root_ca.crt" old-1 \
      chancery ca import "$OLD/step/certs/intermediate_ca.crt" --key "$OLD/step/secrets/intermediate_ca_key" \
      --password-file "$PASSWORD" --chain "$OLD/step/certs/root_ca.crt" --domain old
  fi
  if [ -n "${HAS_OPENSSL:-}" ] && vault_answers && fresh vault; then
    PATHS=("$OLD/vault/certs.json") WANTED=3
    taken "answers of Vault" old "$OLD/openssl" "$OLD/openssl/ca.crt" "$OLD/openssl/ca.crt" old-root \
      chancery ca import "$OLD/openssl/ca.crt" --key "$OLD/openssl/private/ca.key" --domain old
  fi
}

short_serial() {
  local written
  for written in "$1" "0x$1" "${1#0}" "serial=$1"; do
    chancery find "$written" | grep -q web.old.test || { echo "find $written"; return 1; }
  done
}

mkdir -p "$OLD"
check "openssl ca: three certificates, one revoked" eval '(openssl_makes)' && HAS_OPENSSL=1
check "easy-rsa: an encrypted key, three certificates, one revoked" eval '(easyrsa_makes)' && HAS_EASYRSA=1
if [ -n "${HAS_EASYRSA:-}" ]; then
  mkdir -p "$OLD/easyrsa/flat"
  for one in web late; do cp "$OLD/easyrsa/pki/issued/$one.old.test.crt" "$OLD/easyrsa/flat/$one.crt"; done
  cp "$(find "$OLD/easyrsa/pki/revoked" -name '*.crt' | head -n 1)" "$OLD/easyrsa/flat/mail.crt"
fi
if BUILT=$(step_programs); then
  STEP=$BUILT/step STEP_CA=$BUILT/step-ca
  if [ -z "${CHANCERY_TEST_POSTGRES_URL:-}" ]; then skip step-ca "CHANCERY_TEST_POSTGRES_URL is not set"
  else check "step-ca on Postgres: three certificates, one revoked" step_makes && HAS_STEP=1; fi
else
  skip step-ca "$BUILT"
fi
engines journey
finish
