#!/bin/bash
# A real etcd whose trusted root is that of domain etcd: it accepts etcd-client and refuses a client certificate of every
# other domain, of a server, and one that is on the CRL.
. "$(dirname "$0")/lib.sh"

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
    --client-cert-auth --trusted-ca-file "$DIR/etcd-root.pem" --client-crl-file "$DIR/etcd.crl" \
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
  check "the running server serves the new bundle within 5 s" within 5 fetch "$DIR/etcd-root.pem" bundles/etcd.pem || return
  check "and the CRL of the new issuer" within 5 fetch "$DIR/etcd.crl" crl/etcd-1.crl

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
  check "its CRL lists it within 5 s" within 6 crl_lists_now second
  check_fails "etcd refuses the revoked client without a restart" 'certificate|deadline|EOF|Error' ctl second put of-second again
  check "the first client still gets in" put_and_get client
  check_fails "the key of the revoked one gets no certificate any more" 'key.blocked' \
    chancery sign "$DIR/second.csr" --profile etcd-client
  check "a key with two certificates loses both" both_of_a_key
  check "fsck beside the running server" chancery fsck
  kill "$ETCD"; wait "$ETCD" 2>/dev/null
}

foreign_clients() {
  sign tls tls-server /CN=a.chancery.test DNS:a.chancery.test && sign mtls tls-client /CN=root &&
    sign kubernetes kube-admin /CN=kubernetes-admin && sign front-proxy front-proxy-client /CN=front-proxy-client &&
    sign keyless keyless / email:root@chancery.test && sign timestamping timestamping /CN=root &&
    sign smime smime /CN=root email:root@chancery.test && sign dev dev-client /CN=root && sign payments payments-client /CN=root
}

crl_lists_now() {
  fetch "$DIR/etcd.crl.new" crl/etcd-1.crl && openssl crl -inform DER -in "$DIR/etcd.crl.new" -noout -text |
    tr A-F a-f | grep -q "$(serial_of "$DIR/$1.pem")" && mv "$DIR/etcd.crl.new" "$DIR/etcd.crl"
}

# One key, two certificates: revoking one for keyCompromise takes the other along, by a job of the running server.
both_of_a_key() {
  sign twin etcd-client /CN=twin && chancery sign "$DIR/twin.csr" --profile etcd-client >"$DIR/twin2.pem" &&
    chancery revoke "$(serial_of "$DIR/twin.pem")" --reason keyCompromise && within 8 twin_is_gone
}
twin_is_gone() { chancery inspect "$(serial_of "$DIR/twin2.pem")" -o json | grep -q '"revoked"'; }

engines journey
finish
