#!/bin/bash
# Debian's acme-tiny (RS256 alone, http-01 alone) obtains and renews through a web server that is there already, over
# TLS verified against our root; what it has no command for, revocation, is signed with the certificate's key.
. "$(dirname "$0")/lib.sh"

# tiny NAMES… : signed.pem holds leaf and chain.
tiny() { SSL_CERT_FILE=$ROOT_PEM acme-tiny --quiet --disable-check --directory-url "$ACME" --account-key "$DIR/account.key" --csr "$1" --acme-dir "$CHALLENGES" --contact mailto:ops@$ZONE >"$DIR/$2.full.pem"; }

journey() {
  start_server && web_server || return
  openssl genrsa -out "$DIR/account.key" 2048 2>/dev/null
  openssl req -new -newkey rsa:2048 -nodes -keyout "$DIR/tiny.key" -out "$DIR/tiny.csr" -subj "/" -addext "subjectAltName=DNS:tiny.$ZONE,DNS:www.tiny.$ZONE" 2>/dev/null
  check "obtain for two names" tiny "$DIR/tiny.csr" first || return
  split "$DIR/first"
  check "it has exactly the names asked for" test "$(names_of "$DIR/first.pem")" = "tiny.$ZONE www.tiny.$ZONE "
  good "obtained" "$DIR/first.pem" "$DIR/first.chain.pem"
  check "renew with the same account and key" tiny "$DIR/tiny.csr" second
  split "$DIR/second"
  check "the renewed one has another serial" test "$(serial_of "$DIR/first.pem")" != "$(serial_of "$DIR/second.pem")"
  good "renewed" "$DIR/second.pem" "$DIR/second.chain.pem"
  check "revoke by the certificate's key" revoke_by_key "$DIR/second.pem" "$DIR/tiny.key" superseded
  revoked "revoked" "$DIR/second.pem" "$DIR/second.chain.pem" superseded
  openssl req -new -newkey rsa:2048 -nodes -keyout "$DIR/gone.key" -out "$DIR/gone.csr" -subj "/" -addext "subjectAltName=DNS:x.gone.$ZONE" 2>/dev/null
  check_fails "a name that does not resolve is refused with the reason" "x.gone.$ZONE" tiny "$DIR/gone.csr" none
  check "fsck beside the running server" chancery fsck
  kill "$WEB_SERVER"
}

engines journey
finish
