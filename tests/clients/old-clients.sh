#!/bin/bash
# Clients that are old or rare here obtain, renew and revoke by http-01, over TLS verified against our root: the step command
# line, the Rust crate acme2, npm's acme-client, Ansible's community.crypto and acme4j. step and acme2 cannot revoke by ACME:
# that is signed with the certificate's key, by certbot. None of them renews by itself: the next certificate is obtained by the
# same account. What is not there is built or fetched once, into tests/.cache.
. "$(dirname "$0")/lib.sh"

CACHE="${CHANCERY_TEST_CACHE:-$ROOT/tests/.cache}"

# once NAME FILE COMMAND… : runs the command in tests/.cache/NAME unless it ended well there with this FILE.
once() {
  local name=$1 file=$2 stamp; shift 2
  stamp=$(sha256sum <"$file")
  [ "$(cat "$CACHE/$name/stamp" 2>/dev/null)" != "$stamp" ] || return 0
  mkdir -p "$CACHE/$name" && (cd "$CACHE/$name" && timeout 900 "$@") >"$CACHE/$name.log" 2>&1 || {
    echo "$* failed ($CACHE/$name.log): $(tail -n 1 "$CACHE/$name.log")"
    return 1
  }
  echo "$stamp" >"$CACHE/$name/stamp"
}

# ---- step: its renew and revoke speak step-ca's own protocol. It sends the contact as it is given, so that is a URL.

step_ready() { step_programs; }
step_obtain() {
  local out=$1 names=() name; shift
  for name in "${@:2}"; do names+=(--san "$name"); done
  STEPPATH="$HERE/path" "$CACHE/step/step" ca certificate --acme "$ACME" --root "$ROOT_PEM" --http-listen "127.0.0.1:$HTTP01_PORT" \
    --contact "mailto:ops@$ZONE" --san "$1" "${names[@]+"${names[@]}"}" --force "$1" "$out.full.pem" "$out.key"
}
step_renew() { step_obtain "$@"; }
step_revoke() { revoke_by_key "$1" "${1%.pem}.key" superseded; }

# ---- acme2: its optional members are null

acme2_ready() {
  has cargo cargo && CARGO_TARGET_DIR="$CACHE/acme2" nice -n 10 timeout 1800 cargo build --quiet --locked --manifest-path "$CLIENTS/acme2/Cargo.toml"
}
acme2_obtain() { program "$CACHE/acme2/debug/acme2-client" obtain "$@"; }
acme2_renew() { acme2_obtain "$@"; }
acme2_revoke() { revoke_by_key "$1" "${1%.pem}.key" superseded; }

# ---- npm's acme-client

npm_ready() {
  has node nodejs && has npm npm &&
    once npm "$CLIENTS/npm/package-lock.json" bash -c "cp '$CLIENTS'/npm/package*.json . && npm ci --no-audit --no-fund --ignore-scripts"
}
npm_program() { NODE_EXTRA_CA_CERTS=$ROOT_PEM NODE_PATH="$CACHE/npm/node_modules" program node "$CLIENTS/npm/acme-client.js" "$@"; }
npm_obtain() { npm_program obtain "$@"; }
npm_renew() { npm_obtain "$@"; }
npm_revoke() { npm_program revoke "$1" 4; }

# ---- Ansible's community.crypto

ansible_ready() {
  has ansible-playbook ansible && { ansible-doc community.crypto.acme_certificate || { echo "Ansible has no collection community.crypto"; return 1; }; }
}
# playbook NAME VARIABLES : a JSON object
playbook() {
  SSL_CERT_FILE=$ROOT_PEM ANSIBLE_HOME="$HERE" ANSIBLE_LOCAL_TEMP="$HERE/tmp" ANSIBLE_LOCALHOST_WARNING=false \
    ansible-playbook -i localhost, -e ansible_python_interpreter=/usr/bin/python3 -e "$2" \
    -e "here=$HERE directory=$ACME challenges=$CHALLENGES" "$CLIENTS/ansible/$1.yml"
}
ansible_obtain() { playbook obtain "$(jq -n '{out: $ARGS.positional[0], names: $ARGS.positional[1:]}' --args "$@")"; }
ansible_renew() { ansible_obtain "$@"; }
ansible_revoke() { playbook revoke "$(jq -n --arg certificate "$1" '{$certificate, reason: 4}')"; }

# ---- acme4j

acme4j_ready() {
  has java default-jdk-headless && has keytool default-jdk-headless && has mvn maven &&
    once acme4j "$CLIENTS/acme4j/pom.xml" mvn -q -B -f "$CLIENTS/acme4j/pom.xml" \
      org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DoutputDirectory="$CACHE/acme4j/lib"
}
acme4j_program() {
  [ -e "$HERE/trust.p12" ] || keytool -importcert -noprompt -alias root -file "$ROOT_PEM" -keystore "$HERE/trust.p12" -storetype PKCS12 -storepass changeit || return
  program java -Djavax.net.ssl.trustStore="$HERE/trust.p12" -Djavax.net.ssl.trustStorePassword=changeit -cp "$CACHE/acme4j/lib/*" "$CLIENTS/acme4j/Acme4j.java" "$@"
}
acme4j_obtain() { acme4j_program obtain "$@"; }
acme4j_renew() { acme4j_obtain "$@"; }
acme4j_revoke() { acme4j_program revoke "$1" 4; }

journey() {
  start_server && web_server || return
  walk acme2 superseded
  walk npm superseded
  walk ansible superseded
  walk acme4j superseded
  # it answers on the port of http-01 itself
  kill "$WEB_SERVER"
  wait "$WEB_SERVER" 2>/dev/null
  walk step superseded
  check "fsck beside the running server" chancery fsck
}

engines journey
finish
