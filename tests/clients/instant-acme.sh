#!/bin/bash
# The Rust crate instant-acme obtains by http-01, tls-alpn-01 and dns-01, renews in place of a certificate (RFC 9773),
# asks for a profile, changes its key, binds an external account, and revokes; over TLS verified against our root.
. "$(dirname "$0")/lib.sh"

CACHE="${CHANCERY_TEST_CACHE:-$ROOT/tests/.cache}/instant-acme"
PROGRAM="$CACHE/debug/instant-acme-client"

built() {
  CARGO_TARGET_DIR="$CACHE" nice -n 10 timeout 900 cargo build --quiet --locked --manifest-path "$CLIENTS/instant-acme/Cargo.toml"
}

# rust HOW ARGUMENTS… : by this challenge, with the account in $DIR/${ACCOUNT:-account}.json
rust() {
  CHALLENGE=$1 DIRECTORY=${AT:-$ACME} ROOT=$ROOT_PEM HOME_FILE="$DIR/${ACCOUNT:-account}.json" HTTP01_PORT=$HTTP01_PORT \
    TLS_ALPN01_PORT=$TLS_ALPN01_PORT TEXTS=$TEXTS "$PROGRAM" "${@:2}"
}

journey() {
  start_server || return
  check "obtain by http-01 for two names" rust http-01 obtain "$DIR/first" "r.$ZONE" "s.$ZONE" || return
  check "it has exactly the names asked for" test "$(names_of "$DIR/first.pem")" = "r.$ZONE s.$ZONE "
  good "obtained" "$DIR/first.pem" "$DIR/first.chain.pem"
  check "the key of the account is changed" rust none new-key
  renewed
  check "revoke by the account" rust none revoke "$DIR/second.pem"
  revoked "revoked" "$DIR/second.pem" "$DIR/second.chain.pem" superseded
  check_fails "revoking twice is refused" 'alreadyRevoked' rust none revoke "$DIR/second.pem"
  check_fails "a name that does not resolve is refused with the reason" "x.gone.$ZONE" rust http-01 obtain "$DIR/none" "x.gone.$ZONE"
  others
  bound
  check "fsck beside the running server" chancery fsck
}

renewed() {
  window() { rust none renewal "$DIR/$1.pem" >"$DIR/window" && cat "$DIR/window" && read -r from until again <"$DIR/window"; }
  ahead() { window first && [ "$from" -gt "$(date +%s)" ] && [ "$until" -gt "$from" ] && [ "$again" -gt 0 ]; }
  check "the window of a fresh certificate is ahead" ahead
  check "renew in its place" env REPLACES="$DIR/first.pem" bash -c "$(declare -f rust); $(declare -p PROGRAM DIR ROOT_PEM ACME HTTP01_PORT TLS_ALPN01_PORT TEXTS)
    rust http-01 obtain '$DIR/second' r.$ZONE s.$ZONE >'$DIR/order'"
  check "the order says that it replaces one" grep -qx 'replaces true' "$DIR/order"
  check "the renewed one has another serial" test "$(serial_of "$DIR/first.pem")" != "$(serial_of "$DIR/second.pem")"
  good "renewed" "$DIR/second.pem" "$DIR/second.chain.pem"
  twice() { REPLACES="$DIR/first.pem" rust http-01 obtain "$DIR/third" "r.$ZONE"; }
  check_fails "nothing is replaced twice" 'alreadyReplaced' twice
}

others() {
  directory all --challenges http-01,dns-01,tls-alpn-01 || return
  export ACCOUNT=all
  check "obtain by tls-alpn-01" rust tls-alpn-01 obtain "$DIR/alpn" "alpn.$ZONE" && good "by tls-alpn-01" "$DIR/alpn.pem" "$DIR/alpn.chain.pem"
  check "obtain a wildcard by dns-01" rust dns-01 obtain "$DIR/dns" "*.dns.$ZONE" && good "by dns-01" "$DIR/dns.pem" "$DIR/dns.chain.pem"
  rm -f "$TEXTS"/*
  with_profile() { PROFILE=$1 rust http-01 obtain "$DIR/profile" "p.$ZONE" | tee "$DIR/order"; grep -qx "profile $1" "$DIR/order"; }
  check "the profile asked for is the order's" with_profile tls-server
  check_fails "one that is not offered is refused" 'profile' with_profile kube-admin
  unset ACCOUNT
  AT=
}

bound() {
  directory strict --eab-required true --challenges none && external strict "eab.$ZONE" || return
  export ACCOUNT=bound EAB_KID=$KID EAB_HMAC=$HMAC
  check "obtain by grant with a key" rust none obtain "$DIR/eab" "a.eab.$ZONE" && good "by grant" "$DIR/eab.pem" "$DIR/eab.chain.pem"
  export ACCOUNT=wrong EAB_HMAC=$(wrong "$HMAC")
  check_fails "a wrong MAC registers nothing" 'unauthorized' rust none obtain "$DIR/none" "a.eab.$ZONE"
  unset ACCOUNT EAB_KID EAB_HMAC
  AT=
}

check "instant-acme builds" built || finish
engines journey
finish
