#!/bin/bash
# Debian's lego obtains, renews and revokes by http-01, over TLS verified against our root. RFC 8555.
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
  check "the server still answers" curl -fsS --cacert "$ROOT_PEM" -o /dev/null "$ACME"
  check "fsck beside the running server" chancery fsck
}

engines journey
finish
