#!/bin/bash
# Apache with mod_md obtains by http-01, tls-alpn-01 and dns-01, renews, and obtains by an external account key; it
# serves what it got, and its connections to the CA verify our root. RFC 8555, RFC 8737.
. "$(dirname "$0")/lib.sh"

MODULES=/usr/lib/apache2/modules
# the child processes are another user
[ "$(id -u)" -ne 0 ] || chmod 711 "$WORK"

# apache NAME CHALLENGE [directives…] : a server for NAME.$ZONE with a store of its own; the host's user www-data as root
# runs it, else ours.
apache() {
  local name=$1 challenge=$2; shift 2
  A="$DIR/apache-$name"
  mkdir -p "$A/www"
  chmod 711 "$DIR" "$A"
  echo "hello from $name" >"$A/www/index.html"
  {
    for module in mpm_event authz_core dir socache_shmcb ssl md; do echo "LoadModule ${module}_module $MODULES/mod_$module.so"; done
    [ "$(id -u)" -ne 0 ] || printf 'User www-data\nGroup www-data\n'
    cat <<CONF
ServerRoot $A
DefaultRuntimeDir $A
PidFile $A/pid
Mutex file:$A default
ErrorLog $A/error.log
LogLevel warn md:info
ServerName $name.$ZONE
Listen 127.0.0.1:$HTTP01_PORT
Listen 127.0.0.1:$TLS_ALPN01_PORT https
Protocols http/1.1 acme-tls/1
MDStoreDir $A/md
MDPortMap http:$HTTP01_PORT https:$TLS_ALPN01_PORT
MDCertificateAuthority ${AT:-$ACME}
MDCACertificateFile $ROOT_PEM
MDCertificateAgreement accepted
MDContactEmail ops@$ZONE
MDCAChallenges $challenge
MDRetryDelay 1s
MDStapling on
CONF
    printf '%s\n' "$@"
    cat <<CONF
MDomain $name.$ZONE
<VirtualHost *:$TLS_ALPN01_PORT>
  ServerName $name.$ZONE
  SSLEngine on
  DocumentRoot $A/www
  <Directory $A/www>
    Require all granted
  </Directory>
</VirtualHost>
CONF
  } >"$A/conf"
  run_apache
}

run_apache() {
  apache2 -f "$A/conf" -DFOREGROUND >"$A/out" 2>&1 &
  APACHE=$!
  PIDS+=("$APACHE")
  within 30 bash -c "exec 3<>/dev/tcp/127.0.0.1/$TLS_ALPN01_PORT" 2>/dev/null || { not_ok "apache starts" "$(tail -n 3 "$A/out" "$A/error.log" 2>/dev/null)"; return 1; }
}

stop_apache() {
  kill -TERM "$APACHE" 2>/dev/null
  wait "$APACHE" 2>/dev/null
}

# What mod_md fetched waits in `staging` until Apache is told to take it.
fetched() { [ -s "$A/md/staging/$1.$ZONE/pubcert.pem" ] && grep -q '"finished"' "$A/md/staging/$1.$ZONE/job.json" 2>/dev/null; }
reload() { kill -USR1 "$APACHE"; }

# serves NAME : over TLS that stands under our root; FULL.pem, FULL.chain.pem are what it shows
served() {
  curl -fsS --cacert "$ROOT_PEM" --resolve "$1.$ZONE:$TLS_ALPN01_PORT:127.0.0.1" "https://$1.$ZONE:$TLS_ALPN01_PORT/" 2>&1 | grep -qx "hello from $1"
}
shown() {
  openssl s_client -connect "127.0.0.1:$TLS_ALPN01_PORT" -servername "$1.$ZONE" -showcerts </dev/null 2>/dev/null >"$DIR/shown"
  openssl x509 -in "$DIR/shown" -out "$DIR/$2.pem" 2>/dev/null && awk '/BEGIN CERT/ { n++ } /BEGIN CERT/, /END CERT/ { if (n > 1) print }' "$DIR/shown" >"$DIR/$2.chain.pem"
}
shows_another() { shown "$1" second && [ "$(serial_of "$DIR/second.pem")" != "$(serial_of "$DIR/first.pem")" ]; }

obtains() {
  local name=$1 how=$2
  check "obtain by $how" within 30 fetched "$name" || { tail -n 8 "$A/error.log" | cut -c1-300 | sed 's/^/    /'; return 1; }
  reload
  check "Apache serves it ($how)" within 30 served "$name"
}

journey() {
  start_server || return
  apache web http-01 && obtains web http-01 || { stop_apache; return; }
  shown web first
  check "it has exactly the name asked for" test "$(names_of "$DIR/first.pem")" = "web.$ZONE "
  good "obtained" "$DIR/first.pem" "$DIR/first.chain.pem"
  stop_apache
  # as if its end were near
  echo "MDRenewWindow 90d" >>"$A/conf"
  run_apache || return
  check "renew" within 30 fetched web
  stop_apache
  sed -i '/MDRenewWindow/d' "$A/conf"
  run_apache || return
  check "Apache serves another serial" within 30 shows_another web
  good "renewed" "$DIR/second.pem" "$DIR/second.chain.pem"
  cp "$A/md/domains/web.$ZONE/privkey.pem" "$DIR/web.key"
  check "revoke by the certificate's key" revoke_by_key "$DIR/second.pem" "$DIR/web.key" superseded
  revoked "revoked" "$DIR/second.pem" "$DIR/second.chain.pem" superseded
  stop_apache
  by_alpn
  by_dns
  bound
  check "fsck beside the running server" chancery fsck
}

by_alpn() {
  directory alpn --challenges tls-alpn-01 || return
  apache alpn tls-alpn-01 && obtains alpn tls-alpn-01
  stop_apache
  AT=
}

by_dns() {
  directory dns --challenges dns-01 || return
  chmod 777 "$TEXTS"
  printf '#!/bin/sh\ncase $1 in setup) echo "$3" >"%s/_acme-challenge.$2" ;; teardown) rm -f "%s/_acme-challenge.$2" ;; esac\n' "$TEXTS" "$TEXTS" >"$DIR/hook"
  chmod 755 "$DIR/hook"
  apache dns dns-01 "MDChallengeDns01 $DIR/hook" && obtains dns dns-01
  stop_apache
  AT=
}

bound() {
  directory strict --eab-required true --challenges none && external strict "eab.$ZONE" || return
  apache eab http-01 "MDExternalAccountBinding $KID $HMAC" && obtains eab "an external account key"
  stop_apache
  AT=
}

command -v apache2 >/dev/null && [ -e "$MODULES/mod_md.so" ] || { skip apache "apache2 is not installed"; finish; }
engines journey
finish
