#!/bin/bash
# Debian's dehydrated, uacme, acmetool and Ruby's acme-client (GitLab's; its CSRs say version 3) obtain, renew and revoke by
# http-01, over TLS verified against our root.
. "$(dirname "$0")/lib.sh"

# ---- dehydrated: curl and openssl in a shell; one more certificate by a hook for dns-01

dehydrated_ready() { has dehydrated dehydrated; }
dehydrated_at() {
  CURL_CA_BUNDLE=$ROOT_PEM dehydrated --config "$HERE/config" --ca "$ACME" "$@"
}
dehydrated_obtain() {
  printf '%s\n' BASEDIR="$HERE" WELLKNOWN="$CHALLENGES" DOMAINS_TXT="$HERE/domains.txt" CONTACT_EMAIL="ops@$ZONE" >"$HERE/config"
  dehydrated_at --register --accept-terms && dehydrated_renew "$@"
}
dehydrated_renew() {
  local out=$1; shift
  echo "$*" >"$HERE/domains.txt"
  dehydrated_at --cron --force && cp -L "$HERE/certs/$1/fullchain.pem" "$out.full.pem"
}
dehydrated_revoke() { cp "$1" "$HERE/revoke.pem" && dehydrated_at --revoke "$HERE/revoke.pem"; }

# ---- uacme: C. It trusts the system's store alone, so that is our root in a mount namespace of its own.

uacme_ready() {
  has uacme uacme && { unshare -m true 2>/dev/null || { echo "this machine allows no mount namespace"; return 1; }; }
}
uacme_at() {
  # shellcheck disable=SC2016
  UACME_CHALLENGE_PATH=$CHALLENGES unshare -m --propagation private sh -c \
    'mount --bind "$0" /etc/ssl/certs/ca-certificates.crt && exec uacme "$@"' "$ROOT_PEM" --verbose --acme-url "$ACME" --confdir "$HERE" "$@"
}
uacme_obtain() { { [ -e "$HERE/private/key.pem" ] || uacme_at --yes new "ops@$ZONE"; } && uacme_issue "$@"; }
uacme_issue() {
  local out=$1; shift
  uacme_at "${FORCE[@]+"${FORCE[@]}"}" --type EC --hook /usr/share/uacme/uacme.sh issue "$@" && cp "$HERE/$1/cert.pem" "$out.full.pem"
}
uacme_renew() { local FORCE=(--force); uacme_issue "$@"; }
uacme_revoke() { cp "$1" "$HERE/revoke.pem" && uacme_at --reason 4 revoke "$HERE/revoke.pem"; }

# It asks OCSP whether what it has is still good, and leaves it alone or obtains another one.
uacme_by_ocsp() {
  local cert="$HERE/ocsp.$ZONE/cert.pem" before
  left_alone() { uacme_issue "$@"; [ $? -eq 1 ]; }
  check "uacme: obtain one more" uacme_issue "$HERE/ocsp" "ocsp.$ZONE" && split "$HERE/ocsp" || return
  before=$(serial_of "$cert")
  check "uacme: what OCSP calls good is left alone" left_alone "$HERE/ocsp" "ocsp.$ZONE"
  check "uacme: the operator revokes it" chancery revoke "$cert" --reason superseded
  within 30 ocsp_says revoked "$HERE/ocsp.pem" "$HERE/ocsp.chain.pem"
  check "uacme: what OCSP calls revoked is replaced" uacme_issue "$HERE/ocsp" "ocsp.$ZONE"
  check "uacme: by another serial" test "$(serial_of "$cert")" != "$before"
}

# ---- acmetool: Go, and a client of its own. It renews a third of the lifetime before the end, or what is not in its state;
# its revoke (0.2) marks the certificate in that state and asks no server, so certbot does it with the certificate's key.

acmetool_ready() { has acmetool acmetool && has certbot certbot; }
acmetool_at() { SSL_CERT_FILE=$ROOT_PEM acmetool --state "$HERE/state" --hooks "$HERE/hooks" --batch --stdio "$@"; }
acmetool_obtain() {
  local out=$1; shift
  rm -rf "$HERE/state/desired"
  mkdir -p "$HERE/state/conf" "$HERE/hooks" || return
  echo "acme-enter-email: ops@$ZONE" >"$HERE/state/conf/responses"
  cat >"$HERE/state/conf/target" <<YAML
request:
  provider: $ACME
  challenge:
    webroot-paths: [$CHALLENGES]
    http-self-test: false
YAML
  acmetool_at want "$@" && cp -L "$HERE/state/live/$1/fullchain" "$out.full.pem" && cp -L "$HERE/state/live/$1/privkey" "$out.key"
}
acmetool_renew() { rm -rf "$HERE/state/certs"/* && acmetool_obtain "$@"; }
acmetool_revoke() { revoke_by_key "$1" "${1%.pem}.key" superseded; }

# ---- Ruby's acme-client, which GitLab uses

ruby_ready() { has ruby ruby && { /usr/bin/ruby -e 'require "acme-client"' || { echo "Debian's ruby-acme-client is not installed"; return 1; }; }; }
ruby_obtain() { program /usr/bin/ruby "$CLIENTS/acme-client.rb" obtain "$@"; }
ruby_renew() { ruby_obtain "$@"; }
ruby_revoke() { program /usr/bin/ruby "$CLIENTS/acme-client.rb" revoke "$1" 4; }

journey() {
  start_server && web_server || return
  walk dehydrated
  walk uacme superseded && uacme_by_ocsp
  # acmetool also listens on port 80
  take_usual_ports
  walk acmetool superseded
  leave_usual_ports
  walk ruby superseded
  check "fsck beside the running server" chancery fsck
  kill "$WEB_SERVER"
}

engines journey
finish
