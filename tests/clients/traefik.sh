#!/bin/bash
# Traefik obtains by http-01 for a router, serves it and renews, over TLS verified against our root. It has no command for
# revocation: that is signed with the certificate's key, by certbot. The module proxy lacks a module that its newest line
# (3.7) imports, so `go-build.sh` builds 3.6 once.
. "$(dirname "$0")/lib.sh"

CACHE="${CHANCERY_TEST_CACHE:-$ROOT/tests/.cache}/traefik"
WHY=$("$CLIENTS/go-build.sh" traefik traefik=github.com/traefik/traefik/v3/cmd/traefik) || { skip traefik "$WHY"; exit 0; }
traefik_ready() { has certbot certbot; }

# traefik_with HOURS OUT NAME… : runs it until it has another certificate for the names, or says that it cannot. Its idea of
# how long certificates live, in HOURS, decides when it renews them.
traefik_with() {
  local hours=$1 out=$2 status; shift 2
  SERVED="127.0.0.1:$(free_port)"
  configure "$hours" "$@"
  BEFORE=$(kept "$1" certificate | sha256sum)
  "$CACHE/traefik" --configFile="$HERE/static.yml" >"$HERE/log" 2>&1 &
  local traefik=$!
  PIDS+=("$traefik")
  within 60 another_or_refused "$1" && another "$1"
  status=$?
  [ "$status" -ne 0 ] || { kept "$1" certificate >"$out.full.pem" && kept "$1" key >"$out.key" && within 30 serves "$1" "$out.full.pem"; } || status=1
  kill "$traefik" && wait "$traefik"
  cat "$HERE/log"
  return "$status"
}
configure() {
  local hours=$1 rule; shift
  rule=$(printf ' || Host(`%s`)' "$@")
  cat >"$HERE/static.yml" <<YAML
global: { checkNewVersion: false, sendAnonymousUsage: false }
log: { level: DEBUG }
entryPoints:
  web: { address: "127.0.0.1:$HTTP01_PORT" }
  websecure: { address: "$SERVED" }
providers:
  file: { filename: "$HERE/dynamic.yml" }
certificatesResolvers:
  chancery:
    acme:
      email: ops@$ZONE
      storage: $HERE/acme.json
      caServer: $ACME
      caCertificates: ["$ROOT_PEM"]
      certificatesDuration: $hours
      httpChallenge: { entryPoint: web }
YAML
  cat >"$HERE/dynamic.yml" <<YAML
http:
  routers:
    ours: { rule: "${rule# || }", entryPoints: [websecure], service: ours, tls: { certResolver: chancery } }
  services:
    ours: { loadBalancer: { servers: [ { url: "http://127.0.0.1:$HTTP01_PORT" } ] } }
YAML
}
# kept NAME MEMBER : what its store has for the name, in PEM
kept() {
  [ ! -s "$HERE/acme.json" ] || jq -r --arg name "$1" --arg member "$2" '.chancery.Certificates[]? | select(.domain.main == $name) | .[$member]' "$HERE/acme.json" | base64 -d
}
another() { local now; now=$(kept "$1" certificate); [ -n "$now" ] && [ "$(kept "$1" certificate | sha256sum)" != "$BEFORE" ]; }
another_or_refused() { another "$1" || grep -qE 'Unable to obtain ACME certificate|Error renewing ACME certificate' "$HERE/log"; }
serves() {
  local served
  served=$(openssl s_client -connect "$SERVED" -servername "$1" -CAfile "$ROOT_PEM" -verify_return_error </dev/null 2>/dev/null | openssl x509 -outform DER | sha256sum)
  [ "$served" = "$(openssl x509 -in "$2" -outform DER | sha256sum)" ]
}

traefik_obtain() { traefik_with 2160 "$@"; }
# as if certificates lived for a year, of which it renews the last four months
traefik_renew() { traefik_with 8760 "$@"; }
traefik_revoke() { revoke_by_key "$1" "${1%.pem}.key" superseded; }

journey() {
  # it renews as it starts, before it answers challenges: the first proof serves again
  start_server && directory reuse --challenges http-01 --reuse-authorizations 8h || return
  ACME=$AT
  walk traefik superseded
  check "fsck beside the running server" chancery fsck
}

engines journey
finish
