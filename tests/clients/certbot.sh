#!/bin/bash
# Debian's certbot obtains, renews and revokes by http-01, dns-01 and by an external account key, over TLS verified
# against our root; a newer one (certbot-newest.sh) also by profile and by renewal information. RFC 8555, RFC 9773.
. "$(dirname "$0")/lib.sh"

CERTBOT=${CHANCERY_TEST_CERTBOT:-certbot}

bot() {
  local command=$1; shift
  REQUESTS_CA_BUNDLE=$ROOT_PEM "$CERTBOT" "$command" --config-dir "$DIR/c" --work-dir "$DIR/w" --logs-dir "$DIR/l" -n "$@"
}
obtain() {
  bot certonly --server "$ACME" --agree-tos --register-unsafely-without-email --standalone \
    --http-01-address 127.0.0.1 --http-01-port "$HTTP01_PORT" --preferred-challenges http "$@"
}

# Debian's certbot 2.1 dies of an AttributeError while it raises the server's problem; its log has the answer.
told() { "$@" || { cat "$DIR/l/letsencrypt.log"; return 1; }; }

journey() {
  start_server || return
  local live="$DIR/c/live/a.$ZONE" old="$DIR/old" before status
  check "obtain for two names" obtain -d "a.$ZONE" -d "b.$ZONE" --key-type ecdsa || { certbot_log; return; }
  check "it has exactly the names asked for" test "$(names_of "$live/cert.pem")" = "a.$ZONE b.$ZONE "
  check "certbot keeps leaf and chain apart" test "$(grep -c BEGIN "$live/cert.pem") $(grep -c BEGIN "$live/fullchain.pem")" = "1 2"
  good "obtained" "$live/cert.pem" "$live/chain.pem"

  before=$(serial_of "$live/cert.pem")
  mkdir -p "$old" && cp -L "$live/cert.pem" "$live/chain.pem" "$live/privkey.pem" "$old"
  check "renew" bot renew --force-renewal --no-random-sleep-on-renew || certbot_log
  check "the renewed one has another serial" test "$(serial_of "$live/cert.pem")" != "$before"
  good "renewed" "$live/cert.pem" "$live/chain.pem"

  check "revoke by account" bot revoke --server "$ACME" --cert-path "$old/cert.pem" --reason superseded --no-delete-after-revoke || certbot_log
  revoked "by account" "$old/cert.pem" "$old/chain.pem" superseded
  good "the renewed one beside it" "$live/cert.pem" "$live/chain.pem"
  check_fails "revoking twice is refused" 'alreadyRevoked|already.revoked' told bot revoke --server "$ACME" \
    --cert-path "$old/cert.pem" --reason superseded --no-delete-after-revoke

  check "obtain with an RSA key" obtain -d "rsa.$ZONE" --key-type rsa --rsa-key-size 2048 || certbot_log
  live="$DIR/c/live/rsa.$ZONE"
  check "revoke by certificate key" bot revoke --server "$ACME" --cert-path "$live/cert.pem" --key-path "$live/privkey.pem" \
    --reason keycompromise --no-delete-after-revoke || certbot_log
  revoked "by certificate key" "$live/cert.pem" "$live/chain.pem" keyCompromise

  by_dns
  newer
  bound
  check_fails "a name that does not resolve is refused with the reason" "x.gone.$ZONE" obtain -d "x.gone.$ZONE"
  check_fails "without our root certbot trusts nothing" 'CERTIFICATE_VERIFY_FAILED|certificate verify failed' \
    env REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt "$CERTBOT" register --config-dir "$DIR/c2" --work-dir "$DIR/w" \
    --logs-dir "$DIR/l" -n --server "$ACME" --agree-tos --register-unsafely-without-email
  check "unregister deactivates the account" bot unregister --server "$ACME" || certbot_log
  check "fsck beside the running server" chancery fsck
}

# Base and wildcard: two records at one name.
by_dns() {
  check "obtain a wildcard by dns-01" bot certonly --server "$ACME" --manual --preferred-challenges dns \
    --manual-auth-hook "echo \$CERTBOT_VALIDATION >>$TEXTS/_acme-challenge.\$CERTBOT_DOMAIN" \
    --manual-cleanup-hook "rm -f $TEXTS/_acme-challenge.\$CERTBOT_DOMAIN" -d "dns.$ZONE" -d "*.dns.$ZONE" || { certbot_log; return; }
  local live="$DIR/c/live/dns.$ZONE"
  check "it has base and wildcard" test "$(names_of "$live/cert.pem")" = "*.dns.$ZONE dns.$ZONE "
  good "by dns-01" "$live/cert.pem" "$live/chain.pem"
}

# What came after Debian's version: profiles and renewal information.
newer() {
  [[ $("$CERTBOT" --version) =~ \ [5-9] ]] || return
  check "obtain by profile" obtain --required-profile tls-server -d "profile.$ZONE" || certbot_log
  good "by profile" "$DIR/c/live/profile.$ZONE/cert.pem" "$DIR/c/live/profile.$ZONE/chain.pem"
  check_fails "a profile that is not offered is refused" 'profile' told obtain --required-profile kube-admin -d "other.$ZONE"
  local live="$DIR/c/live/profile.$ZONE" before
  before=$(serial_of "$live/cert.pem")
  check "renew, asked early, does nothing" bot renew --no-random-sleep-on-renew --cert-name "profile.$ZONE"
  check "the serial is the same" test "$(serial_of "$live/cert.pem")" = "$before"
  # what it was told holds until Retry-After
  sed -i '/^ari_retry_after/d' "$DIR/c/renewal/profile.$ZONE.conf"
  check "the operator revokes it" chancery revoke "$live/cert.pem" --reason superseded
  within 30 ocsp_says revoked "$live/cert.pem" "$live/chain.pem"
  check "renew goes by the CA's renewal information" bot renew --no-random-sleep-on-renew --cert-name "profile.$ZONE" || certbot_log
  check "and has another serial" test "$(serial_of "$live/cert.pem")" != "$before"
  good "renewed by information" "$live/cert.pem" "$live/chain.pem"
}

# A directory that takes accounts with a key only, and certifies what the key's grant allows.
bound() {
  directory strict --eab-required true --challenges none || return
  external strict "eab.$ZONE" || return
  local at=(--server "$AT" --agree-tos --register-unsafely-without-email)
  check_fails "registering without a key is refused" 'externalAccountRequired|external account' told bot register "${at[@]}"
  check_fails "registering with a wrong MAC is refused" 'unauthorized' told bot register "${at[@]}" --eab-kid "$KID" --eab-hmac-key "$(wrong "$HMAC")"
  check "register with the key" bot register "${at[@]}" --eab-kid "$KID" --eab-hmac-key "$HMAC" || { certbot_log; return; }
  # nobody listens on the port that it is told: no challenge is asked
  check "obtain by grant, a wildcard too" bot certonly --server "$AT" --manual --manual-auth-hook /bin/false --preferred-challenges dns \
    -d "eab.$ZONE" -d "*.eab.$ZONE" || certbot_log
  local live="$DIR/c/live/eab.$ZONE"
  check "it has exactly the names granted" test "$(names_of "$live/cert.pem")" = "*.eab.$ZONE eab.$ZONE "
  good "by grant" "$live/cert.pem" "$live/chain.pem"
  check_fails "a name outside the grant is refused" 'rejectedIdentifier' told bot certonly --server "$AT" --manual \
    --manual-auth-hook /bin/false --preferred-challenges dns -d "other.$ZONE"
}

certbot_log() { tail -n 40 "$DIR/l/letsencrypt.log" 2>/dev/null | sed 's/^/    /'; }

engines journey
finish
