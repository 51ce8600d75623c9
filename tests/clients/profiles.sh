#!/bin/bash
# Every shipped profile, issued and then accepted by a program or library that it is for (design/profiles.md); beside
# each stands something of another profile that the same program refuses. On SQLite alone: who judges is a pure
# verifier, and tests/it holds that both engines issue the same. A real kube-apiserver judges in cert-manager.sh, a
# real etcd and clients of other domains in etcd.sh.
. "$(dirname "$0")/lib.sh"

JUDGES="${CHANCERY_TEST_CACHE:-$ROOT/tests/.cache}/profiles"
SHIPPED=()
declare -A ACCEPTED

# accepted PROFILE BY COMMAND… : the profile counts once a program has accepted it.
accepted() {
  local profile=$1 by=$2; shift 2
  check "$profile is accepted by $by" "$@" && ACCEPTED[$profile]=1
}
refused() {
  local what=$1 text=$2; shift 2
  check_fails "$what is refused" "$text" "$@"
}

# has NAME PROFILE [issue's arguments…] : NAME.crt (leaf and issuer), NAME.key, NAME.leaf.pem, NAME.full.pem (up to the root)
has() {
  local name=$1 profile=$2; shift 2
  rm -rf "$DIR/new" && mkdir "$DIR/new"
  chancery issue --profile "$profile" --out "$DIR/new" "$@" >"$WORK/issue.log" 2>&1 ||
    { not_ok "$profile is issued" "$(tail -n 3 "$WORK/issue.log")"; return 1; }
  mv "$DIR"/new/*.crt "$DIR/$name.crt" && mv "$DIR"/new/*.key "$DIR/$name.key"
  parts "$name" "$profile"
}

# with_rsa NAME PROFILE SUBJECT SAN : the same by CSR, because `issue` makes no RSA keys.
with_rsa() {
  local name=$1 profile=$2
  openssl req -new -newkey rsa:3072 -nodes -keyout "$DIR/$name.key" -out "$DIR/$name.csr" -subj "$3" -addext "subjectAltName=$4" 2>/dev/null
  chancery sign "$DIR/$name.csr" --profile "$profile" >"$DIR/$name.crt" 2>"$WORK/issue.log" ||
    { not_ok "$profile is issued" "$(tail -n 3 "$WORK/issue.log")"; return 1; }
  parts "$name" "$profile"
}

parts() {
  local domain
  domain=$(chancery -o json profile show "$2" | jq -r .rules.domain)
  openssl x509 -in "$DIR/$1.crt" -out "$DIR/$1.leaf.pem"
  awk '/BEGIN/ { n++ } n > 1' "$DIR/$1.crt" >"$DIR/$1.chain.pem"
  cat "$DIR/$1.crt" "$DIR/$domain.pem" >"$DIR/$1.full.pem"
}

domains() {
  local domain
  for domain in mtls kubernetes etcd front-proxy code-signing timestamping smime; do
    chancery ca create "$domain" >"$WORK/create.log" 2>&1 || { not_ok "ca create $domain" "$(tail -n 3 "$WORK/create.log")"; return 1; }
    within 30 curl -fsS -o "$DIR/$domain.pem" "$HTTP/bundles/$domain.pem" 2>/dev/null || { not_ok "the bundle of $domain" "not served"; return 1; }
  done
  cp "$ROOT_PEM" "$DIR/tls.pem"
  mapfile -t SHIPPED < <(chancery -o json profile list | jq -r '.items[].slug')
}

# ---- tls: nginx and curl, openssl towards itself

tls() {
  has gone tls-client --common-name gone && chancery revoke "$DIR/gone.leaf.pem" --reason superseded || return
  check "the CRL bundle lists the revoked client" within 30 bundle_lists gone || return
  has server tls-server "web.$ZONE" 10.9.8.7 && has client tls-client --common-name alice && has peer tls-peer "peer.$ZONE" || return
  nginx_mtls || return
  local alice=(--cert "$DIR/client.crt" --key "$DIR/client.key") peer=(--cert "$DIR/peer.crt" --key "$DIR/peer.key")
  # at ROOT HOST PORT [curl's arguments…] : every host is this one
  at() { curl -fsS --cacert "$DIR/$1.pem" --connect-to "$2:$3:127.0.0.1:$3" "${@:4}" "https://$2:$3/"; }
  says_alice() { at tls "web.$ZONE" "$TLS_PORT" "${alice[@]}" | grep -qx 'CN=alice'; }
  accepted tls-server "curl, by name" at tls "web.$ZONE" "$TLS_PORT" "${alice[@]}"
  accepted tls-server "curl, by address" at tls 10.9.8.7 "$TLS_PORT" "${alice[@]}"
  accepted tls-client "nginx, which knows the subject" says_alice
  refused "another name" 'no alternative certificate subject name' at tls "other.$ZONE" "$TLS_PORT" "${alice[@]}"
  refused "nothing instead of a client certificate" '400' at tls "web.$ZONE" "$TLS_PORT"
  refused "tls-server as a client certificate" '400|alert' at tls "web.$ZONE" "$TLS_PORT" --cert "$DIR/server.crt" --key "$DIR/server.key"
  # every certificate of the chain is checked: the bundle holds the CRLs of issuer and root
  at_checked() { at tls "web.$ZONE" "$CRL_PORT" --cert "$DIR/$1.crt" --key "$DIR/$1.key"; }
  accepted tls-client "nginx with ssl_crl of the domain's bundle" at_checked client
  refused "a revoked client by nginx with ssl_crl" '400' at_checked gone
  accepted tls-peer "curl as a server and nginx as a client" at mtls "peer.$ZONE" "$PEER_PORT" "${peer[@]}"
  accepted tls-peer "openssl s_server and s_client towards each other" peers
  refused "tls-client as a server" 'unsuitable certificate purpose' openssl verify -purpose sslserver -CAfile "$DIR/mtls.pem" -untrusted "$DIR/client.chain.pem" "$DIR/client.leaf.pem"
}

# The bundle's first blocks are those of the issuers by slug; openssl crl reads one block at a time.
bundle_lists() {
  curl -fsS -o "$DIR/mtls.crl.pem" "$HTTP/bundles/mtls.crl.pem" &&
    awk '/BEGIN X509 CRL/ { n++ } n == 1' "$DIR/mtls.crl.pem" | openssl crl -noout -text | tr A-F a-f | grep -q "$(serial_of "$DIR/$1.leaf.pem")"
}

nginx_mtls() {
  TLS_PORT=$(free_port) PEER_PORT=$(free_port) CRL_PORT=$(free_port)
  mkdir -p "$DIR/nginx"
  cat >"$DIR/nginx/nginx.conf" <<CONF
daemon off; pid $DIR/nginx/pid; error_log $DIR/nginx/error.log; worker_processes 1;
events { }
http {
  access_log off; client_body_temp_path $DIR/nginx/b; proxy_temp_path $DIR/nginx/p; fastcgi_temp_path $DIR/nginx/f;
  uwsgi_temp_path $DIR/nginx/u; scgi_temp_path $DIR/nginx/s; default_type text/plain;
  ssl_client_certificate $DIR/mtls.pem; ssl_verify_client on; ssl_verify_depth 2;
  server { listen 127.0.0.1:$TLS_PORT ssl; ssl_certificate $DIR/server.crt; ssl_certificate_key $DIR/server.key; return 200 "\$ssl_client_s_dn\n"; }
  server { listen 127.0.0.1:$CRL_PORT ssl; ssl_certificate $DIR/server.crt; ssl_certificate_key $DIR/server.key; ssl_crl $DIR/mtls.crl.pem; return 200 "\$ssl_client_s_dn\n"; }
  server { listen 127.0.0.1:$PEER_PORT ssl; ssl_certificate $DIR/peer.crt; ssl_certificate_key $DIR/peer.key; return 200 "\$ssl_client_s_dn\n"; }
}
CONF
  nginx -c "$DIR/nginx/nginx.conf" >"$DIR/nginx/out" 2>&1 &
  PIDS+=($!)
  within 30 bash -c "exec 3<>/dev/tcp/127.0.0.1/$PEER_PORT" 2>/dev/null || { not_ok "nginx starts" "$(tail -n 3 "$DIR/nginx/out")"; return 1; }
}

peers() {
  local port pid own
  port=$(free_port)
  own=(-CAfile "$DIR/mtls.pem" -cert "$DIR/peer.leaf.pem" -key "$DIR/peer.key" -cert_chain "$DIR/peer.chain.pem" -verify_return_error)
  openssl s_server -accept "127.0.0.1:$port" -Verify 2 -www "${own[@]}" >"$DIR/s_server.log" 2>&1 &
  pid=$!
  PIDS+=("$pid")
  within 30 bash -c "exec 3<>/dev/tcp/127.0.0.1/$port" 2>/dev/null
  printf 'GET / HTTP/1.0\r\n\r\n' | openssl s_client -connect "127.0.0.1:$port" -verify 2 -verify_hostname "peer.$ZONE" -ign_eof "${own[@]}" >"$DIR/s_client.log" 2>&1
  kill "$pid"
  cat "$DIR/s_server.log" "$DIR/s_client.log"
  grep -aq 'Verify return code: 0 (ok)' "$DIR/s_client.log" && grep -aq 'HTTP/1.0 200 ok' "$DIR/s_client.log"
}

# ---- kubernetes and front-proxy: the authenticators of kube-apiserver

kubernetes() {
  judges || { skip "kubernetes and front-proxy" "$NO_JUDGES"; return; }
  local services=(kubernetes kubernetes.default kubernetes.default.svc kubernetes.default.svc.cluster.local)
  as_server() { "$JUDGES/kube" server "$DIR/kubernetes.pem" "$DIR/$1.crt" "$DIR/$1.key" "${@:2}"; }
  as_client() { "$JUDGES/kube" client "$DIR/kubernetes.pem" "$DIR/$1.crt" "${@:2}"; }
  # user PROFILE CN GROUP… : a client certificate of a component
  user() { has "$1" "$1" && accepted "$1" "kube-apiserver's authenticator, as $2" as_client "$1" "${@:2}"; }
  has apiserver kube-apiserver "${services[@]}" 10.96.0.1 && accepted kube-apiserver "a client as client-go makes it" as_server apiserver "${services[@]}" 10.96.0.1
  user kube-apiserver-kubelet-client kube-apiserver-kubelet-client
  user kube-admin kubernetes-admin kubeadm:cluster-admins
  user kube-super-admin kubernetes-super-admin system:masters
  user kube-controller-manager system:kube-controller-manager
  user kube-scheduler system:kube-scheduler
  user kube-proxy system:kube-proxy
  has kubelet kubelet-client --common-name system:node:n1 && accepted kubelet-client "kube-apiserver's authenticator, as a node" as_client kubelet system:node:n1 system:nodes
  has kubelet-server kubelet-server --common-name system:node:n1 n1.chancery.test 10.0.0.7 && accepted kubelet-server "a client as client-go makes it" as_server kubelet-server "n1.$ZONE" 10.0.0.7
  has webhook kube-webhook hook.security.svc && accepted kube-webhook "a client as client-go makes it" as_server webhook hook.security.svc
  has front front-proxy-client && accepted front-proxy-client "kube-apiserver's request header verifier" "$JUDGES/kube" proxy "$DIR/front-proxy.pem" "$DIR/front.crt" front-proxy-client
  refused "kube-admin as a front proxy" 'unknown authority' "$JUDGES/kube" proxy "$DIR/front-proxy.pem" "$DIR/kube-admin.crt" front-proxy-client
  refused "front-proxy-client as a user of the cluster" 'unknown authority' "$JUDGES/kube" client "$DIR/kubernetes.pem" "$DIR/front.crt" front-proxy-client
  refused "kubelet-server as a user of the cluster" 'incompatible key usage' as_client kubelet-server system:node:n1 system:nodes
  refused "kube-admin as a server" 'incompatible key usage|not valid|SANs' as_server kube-admin kubernetes
}

# ---- etcd: two members and a client

etcd_() {
  command -v etcd >/dev/null && command -v etcdctl >/dev/null || { skip etcd "not installed"; return; }
  local n cluster
  local clients=("$(free_port)" "$(free_port)") peers=("$(free_port)" "$(free_port)")
  cluster="m0=https://127.0.0.1:${peers[0]},m1=https://127.0.0.1:${peers[1]}"
  has etcd-client etcd-client --common-name root || return
  for n in 0 1; do
    has "etcd-server$n" etcd-server --common-name "m$n" localhost 127.0.0.1 && has "etcd-peer$n" etcd-peer --common-name "m$n" localhost 127.0.0.1 || return
    mkdir -m 0700 "$DIR/m$n"
    etcd --name "m$n" --data-dir "$DIR/m$n" --initial-cluster "$cluster" --initial-cluster-token "$$" \
      --listen-client-urls "https://127.0.0.1:${clients[$n]}" --advertise-client-urls "https://127.0.0.1:${clients[$n]}" \
      --listen-peer-urls "https://127.0.0.1:${peers[$n]}" --initial-advertise-peer-urls "https://127.0.0.1:${peers[$n]}" \
      --client-cert-auth --trusted-ca-file "$DIR/etcd.pem" --cert-file "$DIR/etcd-server$n.crt" --key-file "$DIR/etcd-server$n.key" \
      --peer-client-cert-auth --peer-trusted-ca-file "$DIR/etcd.pem" --peer-cert-file "$DIR/etcd-peer$n.crt" --peer-key-file "$DIR/etcd-peer$n.key" >"$DIR/m$n.log" 2>&1 &
    PIDS+=($!)
  done
  ctl() {
    ETCDCTL_API=3 etcdctl --endpoints "https://127.0.0.1:${clients[0]},https://localhost:${clients[1]}" --cacert "$DIR/etcd.pem" \
      --cert "$DIR/$1.crt" --key "$DIR/$1.key" --dial-timeout 2s --command-timeout 4s "${@:2}"
  }
  accepted etcd-peer "etcd members towards each other: there is a leader" within 40 ctl etcd-client endpoint health || tail -n 5 "$DIR/m0.log"
  accepted etcd-server "etcdctl" ctl etcd-client put a b
  accepted etcd-client "etcd" ctl etcd-client get a
  refused "tls-client as a client of etcd" 'certificate|deadline|EOF|Error' ctl client get a
}

# ---- signatures of code

code() {
  has code code-signing --common-name "Lab Release" --subject C=DE --subject ST=Hessen --subject "O=Lab" release@chancery.test &&
    has stamp timestamping --common-name "Lab TSA" && has keyless keyless ci@chancery.test || return
  tsa_config
  if judges; then
    accepted code-signing "notation: signed, verified, trusted, its revocation checked" notation_ code
    accepted timestamping "notation: chain, token, its revocation checked" notation_ code
    refused "tls-client for notation" 'key usage|eku|EKU' notation_ client
    sigstore_material && accepted keyless "sigstore-go, as cosign verifies: identity, chain, timestamp" sigstore_ ci@chancery.test
    accepted timestamping "sigstore-go, as cosign's clock" sigstore_ ci@chancery.test
    refused "another identity for sigstore-go" 'no matching|identity|SAN' sigstore_ other@chancery.test
  else
    skip "notation and sigstore" "$NO_JUDGES"
  fi
  accepted timestamping "openssl ts -verify" openssl_ts
  authenticode
  jar
}

tsa_config() {
  printf '01\n' >"$DIR/tsa.serial"
  cat >"$DIR/tsa.cnf" <<CONF
[tsa]
default_tsa = own
[own]
serial = $DIR/tsa.serial
crypto_device = builtin
signer_cert = $DIR/stamp.leaf.pem
certs = $DIR/stamp.chain.pem
signer_key = $DIR/stamp.key
signer_digest = sha256
default_policy = 1.3.6.1.4.1.57264.2
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
CONF
  # answers a query on stdin, as a service behind POST would
  cat >"$DIR/tsa" <<SH
#!/bin/sh
cat >"$DIR/tsa.query.\$\$"
openssl ts -reply -config "$DIR/tsa.cnf" -queryfile "$DIR/tsa.query.\$\$" -out "$DIR/tsa.answer.\$\$" 2>"$DIR/tsa.log" && cat "$DIR/tsa.answer.\$\$"
SH
  chmod +x "$DIR/tsa"
}

notation_() { "$JUDGES/notation" "$DIR/$1.full.pem" "$DIR/$1.key" "$DIR/timestamping.pem" "$DIR/tsa"; }

openssl_ts() {
  echo hello >"$DIR/ts.data"
  openssl ts -query -data "$DIR/ts.data" -sha256 -cert -out "$DIR/ts.query" 2>/dev/null
  "$DIR/tsa" <"$DIR/ts.query" >"$DIR/ts.answer" &&
    openssl ts -verify -queryfile "$DIR/ts.query" -in "$DIR/ts.answer" -CAfile "$DIR/timestamping.pem" -x509_strict | grep 'Verification: OK'
}

sigstore_material() {
  echo artifact >"$DIR/artifact"
  openssl dgst -sha256 -sign "$DIR/keyless.key" -out "$DIR/artifact.sig" "$DIR/artifact" &&
    openssl ts -query -data "$DIR/artifact.sig" -sha256 -cert -out "$DIR/sig.query" 2>/dev/null && "$DIR/tsa" <"$DIR/sig.query" >"$DIR/artifact.tsr"
}
sigstore_() { "$JUDGES/sigstore" "$DIR/keyless.full.pem" "$DIR/stamp.full.pem" "$DIR/artifact" "$DIR/artifact.sig" "$DIR/artifact.tsr" "$1"; }

# A PowerShell script, signed and verified as Windows does it (Authenticode), with a timestamp.
authenticode() {
  command -v osslsigncode >/dev/null || { skip authenticode "osslsigncode is not installed"; return; }
  printf 'Write-Host "hello"\r\n' >"$DIR/hello.ps1"
  signed_script() {
    rm -f "$DIR/$1.ps1"
    : >"$DIR/osslsigncode.log"
    osslsigncode sign -certs "$DIR/$1.crt" -key "$DIR/$1.key" -h sha256 -TSA-certs "$DIR/stamp.crt" -TSA-key "$DIR/stamp.key" -in "$DIR/hello.ps1" -out "$DIR/$1.ps1" &&
      osslsigncode verify -CAfile "$DIR/$2.pem" -TSA-CAfile "$DIR/timestamping.pem" -in "$DIR/$1.ps1" >"$DIR/osslsigncode.log" 2>&1
    local status=$?
    cat "$DIR/osslsigncode.log"
    return "$status"
  }
  accepted code-signing "osslsigncode (Authenticode)" signed_script code code-signing
  check "osslsigncode accepts the timestamp too" grep -qi 'timestamp server signature verification: ok' "$DIR/osslsigncode.log" && ACCEPTED[timestamping]=1
  refused "tls-client for osslsigncode" 'unsupported certificate purpose|unsuitable certificate purpose|verification: failed|unable to get' signed_script client mtls
}

# A jar, as the JDK verifies it with the root in a key store.
jar() {
  command -v jarsigner >/dev/null && command -v keytool >/dev/null || { skip jarsigner "no JDK on this machine"; return; }
  /usr/bin/python3 -c "import zipfile; z = zipfile.ZipFile('$DIR/hello.jar', 'w'); z.writestr('META-INF/MANIFEST.MF', 'Manifest-Version: 1.0\r\n\r\n'); z.writestr('hello', 'hello'); z.close()"
  openssl pkcs12 -export -in "$DIR/code.full.pem" -inkey "$DIR/code.key" -name code -passout pass:changeit -out "$DIR/code.p12"
  keytool -importcert -noprompt -alias root -file "$DIR/code-signing.pem" -keystore "$DIR/trust.p12" -storetype PKCS12 -storepass changeit >"$WORK/keytool.log" 2>&1
  jarsigner -keystore "$DIR/code.p12" -storetype PKCS12 -storepass changeit "$DIR/hello.jar" code >"$DIR/jarsigner.log" 2>&1
  strictly() { jarsigner -verify -strict -keystore "$DIR/trust.p12" -storepass changeit "$DIR/hello.jar"; }
  # 4 and up are errors of trust; a jar without a timestamp has a warning alone
  accepted code-signing "jarsigner -verify -strict" strictly
}

# ---- mail

mail() {
  with_rsa alice smime "/CN=Alice" email:alice@chancery.test && with_rsa host tls-server "/" "DNS:mail.$ZONE" || return
  printf 'Subject: hello\n\nhello\n' >"$DIR/mail"
  signed() { openssl cms -sign -in "$DIR/mail" -signer "$DIR/$1.leaf.pem" -inkey "$DIR/$1.key" -certfile "$DIR/$1.chain.pem" -nodetach -binary -outform DER -out "$DIR/$1.p7m"; }
  verified() { signed "$1" && openssl cms -verify -purpose smimesign -x509_strict -CAfile "$DIR/$2.pem" -inform DER -in "$DIR/$1.p7m" -out /dev/null; }
  accepted smime "openssl cms -purpose smimesign" verified alice smime
  refused "tls-server for openssl cms" 'unsuitable certificate purpose' verified host tls
  nss
  commits
}

nss() {
  command -v cmsutil >/dev/null && command -v certutil >/dev/null || { skip NSS "libnss3-tools are not installed"; return; }
  mkdir -p "$DIR/nss"
  { certutil -N -d "sql:$DIR/nss" --empty-password && certutil -A -d "sql:$DIR/nss" -n root -t ,C, -i "$DIR/smime.pem"; } >"$WORK/nss.log" 2>&1 ||
    { not_ok "NSS takes the root" "$(tail -n 3 "$WORK/nss.log")"; return; }
  read_mail() { cmsutil -D -d "sql:$DIR/nss" -i "$DIR/$1.p7m" | tr -d '\r' | cmp - "$DIR/mail"; }
  accepted smime "NSS (cmsutil), as Thunderbird reads mail" read_mail alice
  refused "tls-server for NSS" 'problem decoding|EOF|issuer|differ' read_mail host
}

# A commit signed and verified through gpgsm, which asks for the CRLs of leaf and issuer.
commits() {
  command -v gpgsm >/dev/null && command -v git >/dev/null && command -v dirmngr >/dev/null || { skip gpgsm "gpgsm, dirmngr or git is not installed"; return; }
  export GNUPGHOME="$WORK/gnupg"
  mkdir -m 0700 "$GNUPGHOME"
  printf '#!/bin/sh\necho "OK hello"\nwhile read -r line; do case $line in GETPIN*) echo "D x"; echo OK;; BYE*) echo OK; exit;; *) echo OK;; esac; done\n' >"$GNUPGHOME/pinentry"
  chmod +x "$GNUPGHOME/pinentry"
  echo "pinentry-program $GNUPGHOME/pinentry" >"$GNUPGHOME/gpg-agent.conf"
  printf '%s S\n' "$(openssl x509 -in "$DIR/smime.pem" -noout -fingerprint -sha1 | sed 's/.*=//; s/://g')" >"$GNUPGHOME/trustlist.txt"
  openssl pkcs12 -export -legacy -in "$DIR/alice.full.pem" -inkey "$DIR/alice.key" -passout pass:x -out "$DIR/alice.p12"
  echo x | gpgsm --batch --pinentry-mode loopback --passphrase-fd 0 --import "$DIR/alice.p12" >"$WORK/gpgsm.log" 2>&1
  gpgsm --batch --import "$DIR/alice.full.pem" >>"$WORK/gpgsm.log" 2>&1
  local repository="$DIR/repository"
  git init -q "$repository"
  in_git() {
    git -C "$repository" -c user.name=Alice -c user.email=alice@chancery.test -c gpg.format=x509 -c gpg.x509.program=gpgsm \
      -c user.signingkey=alice@chancery.test "$@"
  }
  commit_and_verify() { in_git commit -q -S --allow-empty -m hello && in_git verify-commit HEAD; }
  accepted smime "git and gpgsm: a signed commit" commit_and_verify || cat "$WORK/gpgsm.log"
  check "revoke alice" chancery revoke "$DIR/alice.leaf.pem" --reason keyCompromise
  within 30 crl_lists "$DIR/alice.leaf.pem"
  gpgconf --kill dirmngr && rm -rf "$GNUPGHOME/crls.d"
  refused "once revoked, the same commit" 'revoked|TRUST_NEVER|error|invalid' in_git verify-commit --raw HEAD
  gpgconf --kill all
}

# ---- ocsp

responders() {
  # of NAME DOMAIN : the answer verifies under the root of the domain, by a delegate that needs no revocation check
  of() {
    local said="$DIR/ocsp.log"
    openssl ocsp -issuer "$DIR/$1.chain.pem" -cert "$DIR/$1.leaf.pem" -url "$(openssl x509 -in "$DIR/$1.leaf.pem" -noout -ocsp_uri)" \
      -CAfile "$DIR/$2.pem" -no_nonce -timeout 5 -resp_text >"$said" 2>&1
    cat "$said"
    grep -q 'Response verify OK' "$said" && grep -q ': good$' "$said" && grep -q 'OCSP Signing' "$said" && grep -q 'OCSP No Check' "$said"
  }
  accepted ocsp "openssl ocsp, of tls" of server tls
  accepted ocsp "openssl ocsp, of code-signing" of code code-signing
  accepted ocsp "openssl ocsp, of smime (RSA)" of second smime
}

judges() {
  [ -n "${JUDGED:-}" ] || { NO_JUDGES=$("$CLIENTS/go-build.sh" profiles kube=./kube notation=./notation sigstore=./sigstore); JUDGED=$?; }
  case $JUDGED in
    0) ;;
    3) return 1 ;;
    *) not_ok "the judges are built" "$NO_JUDGES"; return 1 ;;
  esac
}

# What is left is a profile that nothing here has accepted.
every_one() {
  local profile
  judges || return
  for profile in "${SHIPPED[@]}" ocsp; do
    [ -n "${ACCEPTED[$profile]:-}" ] || not_ok "shipped profile $profile" "no program has accepted it"
  done
  check "${#SHIPPED[@]} profiles ship, and ocsp" test "${#SHIPPED[@]}" -ge 21
}

ENGINE=sqlite DIR="$WORK/sqlite" DATABASE_URL=
mkdir -p "$DIR"
start_server && domains && {
  tls
  kubernetes
  etcd_
  code
  mail
  with_rsa second smime "/CN=Second" email:second@chancery.test && responders
  every_one
  check "fsck beside the running server" chancery fsck
}
stop_server
ENGINE=
finish
