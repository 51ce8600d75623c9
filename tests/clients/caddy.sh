#!/bin/bash
# Debian's Caddy obtains by http-01 and by tls-alpn-01, renews, replaces a certificate that OCSP calls revoked, and
# obtains by an external account key; it serves what it got. RFC 8555, RFC 8737.
. "$(dirname "$0")/lib.sh"

# caddy_ NAME CHALLENGE [JSON for the issuer [JSON for the policy]] : a site with a store of its own in $C
caddy_() {
  local name=$1 challenge=$2 issuer=${3:-{\}} policy=${4:-{\}}
  C="$DIR/caddy-$name"
  mkdir -p "$C"
  jq -n --arg name "$name.$ZONE" --arg store "$C/store" --arg ca "${AT:-$ACME}" --arg root "$ROOT_PEM" --arg challenge "$challenge" \
    --argjson http "$HTTP01_PORT" --argjson tls "$TLS_ALPN01_PORT" --argjson issuer "$issuer" --argjson policy "$policy" '
    {admin:{disabled:true}, storage:{module:"file_system",root:$store},
     apps:{
      http:{http_port:$http,https_port:$tls,servers:{site:{listen:["127.0.0.1:\($tls)"],
        routes:[{match:[{host:[$name]}],handle:[{handler:"static_response",body:"hello from \($name)\n"}]}]}}},
      tls:{automation:{policies:[{subjects:[$name],issuers:[{module:"acme",ca:$ca,trusted_roots_pem_files:[$root],
        challenges:{http:{disabled:($challenge!="http-01")},"tls-alpn":{disabled:($challenge!="tls-alpn-01")}}} + $issuer]} + $policy]}}}}' >"$C/caddy.json"
  HOME=$C caddy run --config "$C/caddy.json" >>"$C/log" 2>&1 &
  CADDY=$!
  PIDS+=("$CADDY")
}
stop_caddy() {
  kill -TERM "$CADDY" 2>/dev/null
  wait "$CADDY" 2>/dev/null
}

served() {
  curl -fsS --cacert "$ROOT_PEM" --resolve "$1.$ZONE:$TLS_ALPN01_PORT:127.0.0.1" "https://$1.$ZONE:$TLS_ALPN01_PORT/" 2>&1 | grep -qx "hello from $1.$ZONE"
}
shown() {
  openssl s_client -connect "127.0.0.1:$TLS_ALPN01_PORT" -servername "$1.$ZONE" -showcerts </dev/null 2>/dev/null >"$DIR/shown"
  openssl x509 -in "$DIR/shown" -out "$DIR/$2.pem" 2>/dev/null && awk '/BEGIN CERT/ { n++ } /BEGIN CERT/, /END CERT/ { if (n > 1) print }' "$DIR/shown" >"$DIR/$2.chain.pem"
}
# another NAME OLD NEW : it shows a certificate of another serial than OLD's
another() { shown "$1" "$3" && [ "$(serial_of "$DIR/$2.pem")" != "$(serial_of "$DIR/$3.pem")" ]; }
obtains() { check "obtain by $2, and serve it" within 30 served "$1" || { tail -n 6 "$C/log" | cut -c1-400 | sed 's/^/    /'; return 1; }; }

journey() {
  start_server || return
  caddy_ web http-01
  obtains web http-01 || { stop_caddy; return; }
  shown web first
  check "it has exactly the name asked for" test "$(names_of "$DIR/first.pem")" = "web.$ZONE "
  good "obtained" "$DIR/first.pem" "$DIR/first.chain.pem"
  stop_caddy
  # as if its end were near: all of its life is the time to renew
  caddy_ web http-01 '{}' '{"renewal_window_ratio":1}'
  check "renew" within 30 another web first second || tail -n 6 "$C/log" | cut -c1-400
  good "renewed" "$DIR/second.pem" "$DIR/second.chain.pem"
  stop_caddy
  local key
  key=$(find "$C/store/certificates" -name '*.key' | head -n 1)
  cp "$key" "$DIR/web.key"
  check "revoke by the certificate's key" revoke_by_key "$DIR/second.pem" "$DIR/web.key" superseded
  revoked "revoked" "$DIR/second.pem" "$DIR/second.chain.pem" superseded
  # the answer that it kept is of before
  rm -rf "$C/store/ocsp"
  caddy_ web http-01
  check "Caddy sees it by OCSP and replaces it" within 30 another web second third
  good "the replacement" "$DIR/third.pem" "$DIR/third.chain.pem"
  stop_caddy
  by_alpn
  bound
  check "fsck beside the running server" chancery fsck
}

by_alpn() {
  directory alpn --challenges tls-alpn-01 || return
  caddy_ alpn tls-alpn-01
  obtains alpn tls-alpn-01
  stop_caddy
  AT=
}

bound() {
  directory strict --eab-required true --challenges none && external strict "eab.$ZONE" || return
  caddy_ eab http-01 "$(jq -n --arg kid "$KID" --arg mac "$HMAC" '{external_account:{key_id:$kid,mac_key:$mac}}')"
  obtains eab "an external account key"
  stop_caddy
  AT=
}

command -v caddy >/dev/null || { skip caddy "not installed"; finish; }
engines journey
finish
