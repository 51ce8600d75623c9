#!/bin/bash
# pkilint judges what the CA signs: root, issuer, leaves, OCSP responder, CRLs, OCSP answers. pkilint.allow lists
# what it has wrong, each with the RFC. What pkilint is blind to, openssl judges in certbot.sh, lego.sh and tests/it.
. "$(dirname "$0")/lib.sh"

USED="$WORK/used"
: >"$USED"

lint() {
  local subject=$1; shift
  check "$subject" "$CLIENTS/pkilint.py" "${subject%% *}" "$USED" "$@"
}
certificate() { lint "$1" lint_pkix_cert "$2"; }
pair() { lint "$1" lint_pkix_signer_signee_cert_chain "$2" "$3"; }

# issue FILE JSON : a certificate by REST; FILE.pem and FILE.chain.pem.
issue() {
  api POST certificates -H 'Content-Type: application/json' -d "$2" -o "$DIR/$1.json" || { not_ok "issue $1" "$(cat "$DIR/$1.json")"; return 1; }
  jq -r .certificate "$DIR/$1.json" >"$DIR/$1.pem"
  jq -r .chain "$DIR/$1.json" >"$DIR/$1.chain.pem"
}

# csr NAME OPENSSL-KEY-ARGUMENTS… : JSON with a CSR for NAME.
csr() {
  local name=$1; shift
  openssl req -new -nodes -keyout "$WORK/csr.key" -subj / -addext "subjectAltName=DNS:$name" "$@" 2>/dev/null |
    jq -Rs '{csr: ., profile: "tls-server"}'
}

ocsp_answer() { openssl ocsp -issuer "$2" -cert "$1" -url "$(openssl x509 -in "$1" -noout -ocsp_uri)" -noverify -no_nonce -respout "$3"; }

journey() {
  start_server && new_token || return
  issue leaf "{\"names\":[\"web.$ZONE\",\"www.$ZONE\"],\"profile\":\"tls-server\"}" || return
  cp "$DIR/leaf.chain.pem" "$DIR/issuer.pem"
  issue address '{"names":["192.0.2.7","2001:db8::7"],"profile":"tls-server"}'
  issue wildcard "{\"names\":[\"*.$ZONE\",\"$ZONE\"],\"profile\":\"tls-server\"}"
  issue label '{"names":["intranet"],"profile":"tls-server"}'
  issue long "{\"names\":[\"$(printf 'a%.0s' {1..60}).$(printf 'b%.0s' {1..60}).$ZONE\"],\"profile\":\"tls-server\"}"
  issue rsa "$(csr rsa.$ZONE -newkey rsa:2048)"
  issue p384 "$(csr p384.$ZONE -newkey ec -pkeyopt ec_paramgen_curve:P-384)"
  issue p521 "$(csr p521.$ZONE -newkey ec -pkeyopt ec_paramgen_curve:P-521)"
  issue ed25519 "$(csr ed25519.$ZONE -newkey ed25519)"
  openssl s_client -connect "$HTTPS_AT" -showcerts </dev/null 2>/dev/null | openssl x509 -out "$DIR/own.pem"

  certificate root "$ROOT_PEM"
  certificate issuer "$DIR/issuer.pem"
  pair "issuer under root" "$ROOT_PEM" "$DIR/issuer.pem"
  local leaf
  for leaf in leaf address wildcard label long rsa p384 p521 ed25519 own; do
    certificate "$leaf" "$DIR/$leaf.pem"
    pair "$leaf under issuer" "$DIR/issuer.pem" "$DIR/$leaf.pem"
    check "$leaf: openssl verify -x509_strict" verify "$DIR/$leaf.pem" "$DIR/issuer.pem"
  done

  crl_of "$DIR/leaf.pem" "$DIR/empty.crl" && lint "crl without entries" lint_crl -t CRL -p PKIX "$DIR/empty.crl"
  crl_of "$DIR/issuer.pem" "$DIR/root.crl" && lint "arl of the root" lint_crl -t ARL -p PKIX "$DIR/root.crl"
  check "OCSP good is answered" ocsp_answer "$DIR/leaf.pem" "$DIR/issuer.pem" "$DIR/good.der"
  lint "ocsp-good" lint_ocsp_response "$DIR/good.der"
  openssl ocsp -respin "$DIR/good.der" -noverify -text 2>/dev/null | sed -n '/BEGIN CERT/,/END CERT/p' >"$DIR/responder.pem"
  certificate responder "$DIR/responder.pem"
  pair "responder under issuer" "$DIR/issuer.pem" "$DIR/responder.pem"

  api POST "certificates/$(jq -r .id "$DIR/leaf.json")/revocation" -H 'Content-Type: application/json' -d '{"reason":"keyCompromise"}' -o "$WORK/rev.json" ||
    not_ok "revoke" "$(cat "$WORK/rev.json")"
  check "OCSP says revoked" within 30 ocsp_says revoked "$DIR/leaf.pem" "$DIR/issuer.pem"
  ocsp_answer "$DIR/leaf.pem" "$DIR/issuer.pem" "$DIR/revoked.der" >/dev/null 2>&1
  lint "ocsp-revoked" lint_ocsp_response "$DIR/revoked.der"
  check "the CRL lists it" within 30 crl_lists "$DIR/leaf.pem"
  crl_of "$DIR/leaf.pem" "$DIR/one.crl" && lint "crl with one entry" lint_crl -t CRL -p PKIX "$DIR/one.crl"
  openssl ocsp -issuer "$DIR/issuer.pem" -serial 0x1234567890abcdef1234567890abcdef -url "$(openssl x509 -in "$DIR/leaf.pem" -noout -ocsp_uri)" \
    -noverify -no_nonce -respout "$DIR/unknown.der" >/dev/null 2>&1
  lint "ocsp-unknown" lint_ocsp_response "$DIR/unknown.der"

  # the judge is awake: a certificate that breaks RFC 5280 is found
  openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/null -subj '/CN=bad' -days 10 -addext 'basicConstraints=CA:TRUE,pathlen:0' \
    -addext 'keyUsage=digitalSignature' -out "$WORK/bad.pem" 2>/dev/null
  check_fails "pkilint finds a bad certificate" 'ERROR' "$CLIENTS/pkilint.py" bad "$USED" lint_pkix_cert "$WORK/bad.pem"
  "$CLIENTS/pkilint.py" --entries | sort >"$WORK/entries"
  check "every entry of pkilint.allow is still needed" test -z "$(comm -23 "$WORK/entries" <(sort -u "$USED"))"
}

# what is signed does not depend on the engine
ENGINE=sqlite DIR="$WORK/sqlite" DATABASE_URL=
mkdir -p "$DIR"
journey
stop_server
finish
