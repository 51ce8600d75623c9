#!/bin/bash
# A real etcd whose trusted root is that of domain etcd: it accepts etcd-client and refuses a client certificate of every
# other domain, of a server, and one that is revoked. etcd reads one CRL in DER at each handshake and compares serials
# alone, so it is given the list of the whole domain, which stays whole while the issuers of the domain change.
. "$(dirname "$0")/lib.sh"

# Debian's etcd, or the one in the folder that CHANCERY_TEST_ETCD names
[ -z "${CHANCERY_TEST_ETCD:-}" ] || PATH="$CHANCERY_TEST_ETCD:$PATH"
echo "# $(etcd --version | head -n 1)"

DOMAINS=(mtls kubernetes front-proxy code-signing timestamping smime dev payments)

# sign NAME PROFILE SUBJECT [SAN] : a key and CSR by openssl, signed by the CA; NAME.pem holds leaf and intermediates.
sign() {
  local name=$1 profile=$2 subject=$3 san=${4:-}
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$DIR/$name.key" -out "$DIR/$name.csr" \
    -subj "$subject" ${san:+-addext "subjectAltName=$san"} 2>/dev/null || return 1
  chancery sign "$DIR/$name.csr" --profile "$profile" >"$DIR/$name.pem"
}

start_etcd() {
  PORT=$(free_port) PEER_PORT=$(free_port)
  mkdir -m 0700 "$DIR/member"
  etcd --name m1 --data-dir "$DIR/member" --listen-client-urls "https://127.0.0.1:$PORT" \
    --advertise-client-urls "https://127.0.0.1:$PORT" --listen-peer-urls "https://127.0.0.1:$PEER_PORT" \
    --initial-advertise-peer-urls "https://127.0.0.1:$PEER_PORT" --initial-cluster "m1=https://127.0.0.1:$PEER_PORT" \
    --client-cert-auth --trusted-ca-file "$DIR/etcd-root.pem" --client-crl-file "$DIR/etcd.crl" --peer-crl-file "$DIR/etcd.crl" \
    --cert-file "$DIR/server.pem" --key-file "$DIR/server.key" \
    --peer-client-cert-auth --peer-trusted-ca-file "$DIR/etcd-root.pem" \
    --peer-cert-file "$DIR/peer.pem" --peer-key-file "$DIR/peer.key" >"$DIR/etcd.log" 2>&1 &
  ETCD=$!
  PIDS+=("$ETCD")
}

ctl() {
  local who=$1; shift
  ETCDCTL_API=3 etcdctl --endpoints "https://127.0.0.1:$PORT" --cacert "$DIR/etcd-root.pem" --dial-timeout 3s \
    --command-timeout 5s --cert "$DIR/$who.pem" --key "$DIR/$who.key" "$@"
}

fetch() { curl -fsS -o "$1" "$HTTP/$2"; }

# answers WORD… : etcdctl gives its failures in many words; what counts is that the server let nothing through.
put_and_get() { ctl "$1" put "of-$1" yes && ctl "$1" get "of-$1" | grep -qx yes; }
nothing_of() { [ -z "$(ctl client get "of-$1")" ]; }

journey() {
  start_server || return
  check "ca create etcd" chancery ca create etcd || return
  for domain in "${DOMAINS[@]}"; do check "ca create $domain" chancery ca create "$domain"; done
  check_fails "a domain is not made twice" 'domain.new' chancery ca create etcd
  check "the running server serves the new bundle" within 30 fetch "$DIR/etcd-root.pem" bundles/etcd.pem || return
  check "and the list of the new domain" within 30 fetch "$DIR/etcd.crl" crl/domain/etcd.crl

  check "etcd-server is issued" sign server etcd-server /CN=m1 DNS:m1.chancery.test,DNS:localhost,IP:127.0.0.1 || return
  check "etcd-peer is issued" sign peer etcd-peer /CN=m1 DNS:m1.chancery.test,IP:127.0.0.1
  check "etcd-client is issued" sign client etcd-client /CN=root
  check "a second etcd-client is issued" sign second etcd-client /CN=second
  check "clients of every other domain are issued" foreign_clients

  start_etcd
  check "etcd is healthy through the client certificate" within 30 ctl client endpoint health || { tail -n 20 "$DIR/etcd.log"; return; }
  check "etcd-client writes and reads" put_and_get client
  check "the second one too" put_and_get second
  check_fails "without a client certificate nobody gets in" '^curl: ' \
    curl -fsS --cacert "$DIR/etcd-root.pem" "https://127.0.0.1:$PORT/health"
  for who in tls mtls kubernetes front-proxy keyless timestamping smime dev payments; do
    check_fails "a certificate of $who is refused" 'certificate|deadline|EOF|unhealthy|Error' ctl "$who" put "of-$who" yes
    check "and nothing of $who was written" nothing_of "$who"
  done
  check "etcd said why" grep -qE 'unknown authority|incompatible key usage|bad certificate' "$DIR/etcd.log"

  local serial
  serial=$(serial_of "$DIR/second.pem")
  check "revoke the second client" chancery revoke "$serial" --reason keyCompromise
  check "the domain's list has it" within 30 crl_lists_now second
  check_fails "etcd refuses the revoked client without a restart" 'certificate|deadline|EOF|Error' ctl second put of-second again
  check "the first client still gets in" put_and_get client
  check_fails "the key of the revoked one gets no certificate any more" 'key.blocked' \
    chancery sign "$DIR/second.csr" --profile etcd-client
  check "a key with two certificates loses both" both_of_a_key
  rotation
  check "fsck beside the running server" chancery fsck
  handshakes
  kill "$ETCD"; wait "$ETCD" 2>/dev/null
}

foreign_clients() {
  sign tls tls-server /CN=a.chancery.test DNS:a.chancery.test && sign mtls tls-client /CN=root &&
    sign kubernetes kube-admin /CN=kubernetes-admin && sign front-proxy front-proxy-client /CN=front-proxy-client &&
    sign keyless keyless / email:root@chancery.test && sign timestamping timestamping /CN=root &&
    sign smime smime /CN=root email:root@chancery.test && sign dev dev-client /CN=root && sign payments payments-client /CN=root
}

# The revoked client knocks all the while; a good one works after every step.
rotation() {
  : >"$DIR/knocks"
  (for _ in $(seq 1 900); do
    if ctl second --command-timeout 1s --dial-timeout 1s put of-second knock >/dev/null 2>&1; then echo in; else echo out; fi >>"$DIR/knocks"
    sleep 0.2
  done) &
  local knocking=$!
  PIDS+=("$knocking")
  check "a second issuer under the same root" chancery ca create etcd --under etcd-root
  check "the first client gets in" put_and_get client
  # one that is active signs nothing before it is the default, or the first one retires
  if chancery ca --help | grep -q '^ *activate'; then
    check "the second issuer becomes the default" chancery ca activate etcd-2 --default
    check "the first client still gets in" put_and_get client
  fi
  check "the first issuer retires" retire etcd-1
  check "the second issuer signs the list of the domain" within 30 list_is_signed_by etcd-2
  check "the list still has what the first issuer revoked" within 30 crl_lists_now second
  check "which the second issuer's own CRL has not" own_crl_lacks etcd-2 second
  check "a client of the second issuer is issued" sign renewed etcd-client /CN=root
  check "and gets in" put_and_get renewed
  check "servers and peers are renewed under the second issuer" renew_members
  check "etcd is healthy with them" within 30 ctl renewed endpoint health
  check "the first client gets in as before" put_and_get client
  check "revoke the first client" chancery revoke "$(serial_of "$DIR/client.pem")" --reason superseded
  check "its serial joins the list" within 30 crl_lists_now client
  check_fails "and it is refused" 'certificate|deadline|EOF|Error' ctl client put of-client late
  check "the renewed one gets in" put_and_get renewed
  kill "$knocking" 2>/dev/null; wait "$knocking" 2>/dev/null
  check "the revoked client knocked all the while" test "$(grep -c out "$DIR/knocks")" -ge 3
  check "and was never let in" no_knock_was_answered
}
retire() {
  if chancery ca retire --help | grep -q -e --yes; then chancery ca retire "$1" --yes; else chancery ca retire "$1"; fi
}
no_knock_was_answered() { ! grep -q '^in$' "$DIR/knocks" && [ -z "$(ctl renewed get of-second | grep -v -x -e of-second -e yes)" ]; }
list_is_signed_by() {
  fetch "$DIR/etcd.crl.new" crl/domain/etcd.crl && curl -fsS -o "$DIR/$1.pem" "$HTTP/issuers/$1.pem" &&
    openssl crl -inform DER -in "$DIR/etcd.crl.new" -noout -verify -CAfile "$DIR/$1.pem" 2>&1 | grep -q 'verify OK' &&
    mv "$DIR/etcd.crl.new" "$DIR/etcd.crl"
}
own_crl_lacks() {
  fetch "$DIR/own.crl" "crl/$1.crl" && ! openssl crl -inform DER -in "$DIR/own.crl" -noout -text | tr A-F a-f | grep -q "$(serial_of "$DIR/$2.pem")"
}
# etcd reads its certificates at each handshake.
renew_members() {
  sign server etcd-server /CN=m1 DNS:m1.chancery.test,DNS:localhost,IP:127.0.0.1 && sign peer etcd-peer /CN=m1 DNS:m1.chancery.test,IP:127.0.0.1
}

# What 10,000 entries cost a handshake: etcd reads and parses the list at each one.
handshakes() {
  local few many
  few=$(mean_handshake) || { not_ok "handshakes are measured" "curl failed"; return; }
  revoke_many || { not_ok "10,000 revocations are written" "$(tail -n 3 "$WORK/sql.log")"; return; }
  check "a list of 10,000 entries is published" within 30 list_has 10000
  many=$(mean_handshake) || { not_ok "handshakes are measured" "curl failed"; return; }
  echo "# a request to etcd with a handshake takes $few ms with a few entries and $many ms with 10,000 ($(stat -c %s "$DIR/etcd.crl") octets)"
}
mean_handshake() {
  local n
  for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    curl -fsS -o /dev/null -w '%{time_appconnect} %{time_total}\n' --cacert "$DIR/etcd-root.pem" --cert "$DIR/renewed.pem" \
      --key "$DIR/renewed.key" "https://127.0.0.1:$PORT/health" || return 1
  done | awk '{ sum += $2 } END { printf "%.1f", 1000 * sum / NR }'
}
revoke_many() {
  local postgres="INSERT INTO revocations (issuer_id, serial, certificate_id, revoked_at, reason, not_after)
    SELECT id, decode('40' || substr(md5(i::text), 1, 30), 'hex'), decode(md5('c' || i), 'hex'), $(date +%s)000000, 'superseded', $(date +%s)000000 + 8640000000000 FROM generate_series(1, 10000) AS i, issuers WHERE slug = 'etcd-1';
    UPDATE versions SET version = version + 1 WHERE topic = 'revocations';"
  if [ -n "$DATABASE_URL" ]; then
    "$(pg_tool psql)" -qX -v ON_ERROR_STOP=1 "$DATABASE_URL" -c "$postgres" >"$WORK/sql.log" 2>&1
  else
    DB="$DIR/data/chancery.db" /usr/bin/python3 - >"$WORK/sql.log" 2>&1 <<'PY'
import os, sqlite3, time
now = int(time.time()) * 1_000_000
with sqlite3.connect(os.environ["DB"], timeout=10) as db:
    (issuer,) = db.execute("SELECT id FROM issuers WHERE slug = 'etcd-1'").fetchone()
    rows = ((issuer, b"@" + os.urandom(15), os.urandom(16), now, "superseded", now + 10**13) for _ in range(10_000))
    db.executemany("INSERT INTO revocations (issuer_id, serial, certificate_id, revoked_at, reason, not_after) VALUES (?, ?, ?, ?, ?, ?)", rows)
    db.execute("UPDATE versions SET version = version + 1 WHERE topic = 'revocations'")
PY
  fi
}
list_has() {
  fetch "$DIR/etcd.crl.new" crl/domain/etcd.crl &&
    [ "$(openssl crl -inform DER -in "$DIR/etcd.crl.new" -noout -text | grep -c 'Serial Number:')" -ge "$1" ] &&
    mv "$DIR/etcd.crl.new" "$DIR/etcd.crl"
}

crl_lists_now() {
  fetch "$DIR/etcd.crl.new" crl/domain/etcd.crl && openssl crl -inform DER -in "$DIR/etcd.crl.new" -noout -text |
    tr A-F a-f | grep -q "$(serial_of "$DIR/$1.pem")" && mv "$DIR/etcd.crl.new" "$DIR/etcd.crl"
}

# One key, two certificates: revoking one for keyCompromise takes the other along, by a job of the running server.
both_of_a_key() {
  sign twin etcd-client /CN=twin && chancery sign "$DIR/twin.csr" --profile etcd-client >"$DIR/twin2.pem" &&
    chancery revoke "$(serial_of "$DIR/twin.pem")" --reason keyCompromise && within 30 twin_is_gone
}
twin_is_gone() { chancery inspect "$(serial_of "$DIR/twin2.pem")" -o json | grep -q '"revoked"'; }

engines journey
finish
