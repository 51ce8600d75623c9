#!/bin/bash
# Debian's lego obtains, renews and revokes by http-01, obtains by tls-alpn-01, by an external account key, and by dns-01
# with RFC 2136 against bind9, over TLS verified against our root. RFC 8555, RFC 8737.
. "$(dirname "$0")/lib.sh"

go_acme() {
  LEGO_CA_CERTIFICATES=$ROOT_PEM lego --server "$ACME" --accept-tos --email ops@$ZONE --path "$DIR/lego" "$@"
}
http() { go_acme --http --http.port "127.0.0.1:$HTTP01_PORT" "$@"; }

# lego writes leaf and chain into one file.
split() {
  openssl x509 -in "$DIR/lego/certificates/$1.crt" -out "$DIR/$2.pem"
  cp "$DIR/lego/certificates/$1.issuer.crt" "$DIR/$2.chain.pem"
}

journey() {
  start_server || return
  check "obtain for two names" http -d "c.$ZONE" -d "d.$ZONE" run || return
  split "c.$ZONE" first
  check "it has exactly the names asked for" test "$(names_of "$DIR/first.pem")" = "c.$ZONE d.$ZONE "
  good "obtained" "$DIR/first.pem" "$DIR/first.chain.pem"

  check "renew" http -d "c.$ZONE" -d "d.$ZONE" renew --days 9999 --no-random-sleep
  split "c.$ZONE" second
  check "the renewed one has another serial" test "$(serial_of "$DIR/first.pem")" != "$(serial_of "$DIR/second.pem")"
  good "renewed" "$DIR/second.pem" "$DIR/second.chain.pem"

  check "revoke" go_acme -d "c.$ZONE" revoke --keep --reason 4
  revoked "revoked" "$DIR/second.pem" "$DIR/second.chain.pem" superseded
  good "the first one beside it" "$DIR/first.pem" "$DIR/first.chain.pem"
  check_fails "revoking twice is refused" 'alreadyRevoked' go_acme -d "c.$ZONE" revoke --keep --reason 4

  check "obtain with an RSA key" http --key-type rsa2048 -d "r.$ZONE" run
  check "obtain with a P-384 key" http --key-type ec384 -d "p.$ZONE" run
  check_fails "a name that does not resolve is refused with the reason" "x.gone.$ZONE" http -d "x.gone.$ZONE" run
  check_fails "an IP sent as a DNS name is refused and nothing breaks" 'malformed|rejectedIdentifier|unsupportedIdentifier' http -d 127.0.0.1 run
  by_alpn
  bound
  by_dns
  check "the server still answers" curl -fsS --cacert "$ROOT_PEM" -o /dev/null "$ACME"
  check "fsck beside the running server" chancery fsck
}

by_alpn() {
  directory alpn --challenges tls-alpn-01 || return
  alpn() { ACME=$AT go_acme --path "$DIR/lego-alpn" --tls --tls.port "127.0.0.1:$TLS_ALPN01_PORT" "$@"; }
  check "obtain by tls-alpn-01 for two names" alpn -d "t.$ZONE" -d "u.$ZONE" run || return
  openssl x509 -in "$DIR/lego-alpn/certificates/t.$ZONE.crt" -out "$DIR/alpn.pem"
  good "by tls-alpn-01" "$DIR/alpn.pem" "$DIR/lego-alpn/certificates/t.$ZONE.issuer.crt"
  check "renew by tls-alpn-01" alpn -d "t.$ZONE" -d "u.$ZONE" renew --days 9999 --no-random-sleep
}

# A directory that takes accounts with a key only.
bound() {
  directory strict --eab-required true --challenges none || return
  external strict "eab.$ZONE" || return
  local ask=(--http --http.port "127.0.0.1:$HTTP01_PORT")
  go_acme_at() { ACME=$AT go_acme --path "$DIR/lego-$1" "${@:2}"; }
  check_fails "without a key lego cannot register" 'External Account Binding|externalAccountRequired' go_acme_at none "${ask[@]}" -d "eab.$ZONE" run
  check "obtain by grant with a key" go_acme_at eab --eab --kid "$KID" --hmac "$HMAC" "${ask[@]}" -d "eab.$ZONE" run || return
  cp "$DIR/lego-eab/certificates/eab.$ZONE.crt" "$DIR/eab.pem"
  good "by grant" "$DIR/eab.pem" "$DIR/lego-eab/certificates/eab.$ZONE.issuer.crt"
  check "a second account by the same key" go_acme_at two --eab --kid "$KID" --hmac "$HMAC" "${ask[@]}" -d "a.eab.$ZONE" run
  check "acme eab revoke with its accounts" chancery acme eab revoke "$KID" --accounts
  check_fails "afterwards its accounts get nothing" 'unauthorized|revoked' go_acme_at eab --eab --kid "$KID" --hmac "$HMAC" "${ask[@]}" -d "b.eab.$ZONE" run
}

# bind9 with a zone that lego may change, asked by a directory of its own.
by_dns() {
  command -v named >/dev/null || { skip "dns-01 with bind9" "named is not installed"; return; }
  local port secret
  port=$(free_port) secret=$(openssl rand -base64 32)
  mkdir -p "$DIR/named"
  cat >"$DIR/named/named.conf" <<CONF
options { directory "$DIR/named"; listen-on port $port { 127.0.0.1; }; listen-on-v6 { none; }; recursion no;
  pid-file none; dnssec-validation no; session-keyfile "$DIR/named/session.key"; };
controls { };
key "acme-key" { algorithm hmac-sha256; secret "$secret"; };
zone "dyn.test" { type master; file "dyn.zone"; allow-update { key "acme-key"; }; };
CONF
  cat >"$DIR/named/dyn.zone" <<'ZONEFILE'
$TTL 1
@ IN SOA ns.dyn.test. root.dyn.test. 1 60 60 60 1
@ IN NS ns.dyn.test.
ns IN A 127.0.0.1
_acme-challenge.sub IN CNAME elsewhere.dyn.test.
ZONEFILE
  named -c "$DIR/named/named.conf" -g -n 1 >"$DIR/named/log" 2>&1 &
  PIDS+=($!)
  local named=$!
  directory dns --challenges dns-01 --resolvers "127.0.0.1:$port" || return
  dns() {
    RFC2136_NAMESERVER=127.0.0.1:$port RFC2136_TSIG_ALGORITHM=hmac-sha256. RFC2136_TSIG_KEY=acme-key RFC2136_TSIG_SECRET=$secret \
      RFC2136_PROPAGATION_TIMEOUT=10 RFC2136_POLLING_INTERVAL=1 RFC2136_SEQUENCE_INTERVAL=1 RFC2136_TTL=1 \
      ACME=$AT go_acme --path "$DIR/lego-dns" --dns rfc2136 --dns.resolvers "127.0.0.1:$port" --dns.disable-cp "$@"
  }
  check "obtain a wildcard by dns-01 with bind9" dns -d dyn.test -d '*.dyn.test' run || { tail -n 15 "$DIR/named/log" | sed 's/^/    /'; return; }
  openssl x509 -in "$DIR/lego-dns/certificates/dyn.test.crt" -out "$DIR/dns.pem"
  check "it has base and wildcard" test "$(names_of "$DIR/dns.pem")" = "*.dyn.test dyn.test "
  good "by dns-01" "$DIR/dns.pem" "$DIR/lego-dns/certificates/dyn.test.issuer.crt"
  check "renew by dns-01" dns -d dyn.test -d '*.dyn.test' renew --days 9999 --no-random-sleep
  check_fails "a zone that is not there is refused with the reason" 'dns|NXDOMAIN|SOA|zone' dns -d gone.test run
  kill "$named"
}

engines journey
finish
