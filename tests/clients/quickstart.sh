#!/bin/bash
# `chancery quickstart NAME`: every script that it prints is run whole, by the program that it is for, against the
# server on its usual ports. Namespaces of our own: names, ports and /etc of this machine stay as they are.
# kubectl and cert-manager are run by cert-manager.sh, which has a cluster.
if [ -z "${CHANCERY_TEST_NAMESPACE:-}" ]; then
  [ "$(id -u)" -eq 0 ] || { echo "skip quickstart: namespaces of our own need root"; exit 0; }
  unshare -mn true 2>/dev/null || { echo "skip quickstart: this machine allows no namespaces"; exit 0; }
  CHANCERY_TEST_NAMESPACE=1 exec unshare -mn --propagation private "$0"
fi
. "$(dirname "$0")/lib.sh"
export CHANCERY_TEST_BIN=$BIN

# the script for git says so too
unset GIT_SSL_CAINFO
DIR="$WORK/quickstart"
DATABASE_URL=
HTTP01_PORT=80
HTTPS_AT=127.0.0.1:8443 HTTP_AT=127.0.0.1:8080
export CHANCERY_EXTERNAL_URL="https://ca.$ZONE:8443" CHANCERY_DATA="$DIR/data"

own_machine() {
  ip link set lo up && mkdir -p "$DIR/etc" "$DIR/home" && cp -a /etc/. "$DIR/etc/" && mount --bind "$DIR/etc" /etc || return
  local host
  for host in ca web caddy nginx git registry; do echo "127.0.0.1 $host.$ZONE"; done >>/etc/hosts
  rm -f /etc/nginx/sites-enabled/* && mount -t tmpfs tmpfs /var/log && mkdir -p /var/log/nginx && mount -t tmpfs tmpfs /run &&
    mkdir -p /var/lib/letsencrypt && mount -t tmpfs tmpfs /var/lib/letsencrypt
}

# printed PROGRAM [arguments…] : what quickstart prints for it, run whole.
printed() { chancery quickstart "$@" >"$DIR/$1.script" && "$CLIENTS/printed.sh" "$DIR" "$DIR/home" <"$DIR/$1.script"; }

# stops PROGRAM : at a root that has another fingerprint its script ends and has installed nothing.
stops() {
  printed_elsewhere "$@" && { echo "it went on"; return 1; }
  grep -q 'this root is another one' "$DIR/$1.wrong.log" && [ ! -e /etc/ssl/chancery-root.pem ]
}
printed_elsewhere() {
  chancery quickstart "$@" | sed -E 's/grep [0-9a-f]{64}/grep no-fingerprint/' >"$DIR/$1.wrong"
  "$CLIENTS/printed.sh" "$DIR" "$DIR/home" <"$DIR/$1.wrong" >"$DIR/$1.wrong.log" 2>&1
}

# renewed PROGRAM : what its script says of renewing, run too.
renewed() { sed -n 's/^# renew[^:]*: //p' "$DIR/$1.script" | grep . >"$DIR/$1.renew" && "$CLIENTS/printed.sh" "$DIR" "$DIR/home" <"$DIR/$1.renew"; }

# undone PROGRAM : what its script says of going back, run too.
undone() { sed -n 's/^# undo: //p' "$DIR/$1.script" | grep . >"$DIR/$1.undo" && "$CLIENTS/printed.sh" "$DIR" "$DIR/home" <"$DIR/$1.undo"; }
# gone WHAT FILE…
gone() { check "$1 is undone" undone "$1" && check "$1 left nothing" test -z "$(ls -d "${@:2}" 2>/dev/null)"; }

certbot_() {
  command -v certbot >/dev/null || { skip certbot "not installed"; return; }
  check "certbot" printed certbot --name "web.$ZONE"
  check "the renewal has the variable" grep -q "REQUESTS_CA_BUNDLE=/etc/ssl/chancery-root.pem" /etc/systemd/system/certbot.service.d/chancery.conf
  local cert="$DIR/certbot.pem"
  cp -L "/etc/letsencrypt/live/web.$ZONE/cert.pem" "$cert"
  gone certbot /etc/ssl/chancery-root.pem /etc/systemd/system/certbot.service.d/chancery.conf "/etc/letsencrypt/live/web.$ZONE"
  check_fails "its certificate is revoked" 'revoked' chancery verify "$cert"
}

caddy_() {
  command -v caddy >/dev/null || { skip caddy "not installed"; return; }
  check "caddy" printed caddy --name "caddy.$ZONE" || tail -n 5 "$DIR/work/caddy.log" 2>/dev/null
  check "its certificate is ours" chancery find "caddy.$ZONE"
  gone caddy /etc/ssl/chancery-root.pem
  caddy stop >/dev/null 2>&1
}

nginx_() {
  command -v nginx >/dev/null || { skip nginx "not installed"; return; }
  check "nginx" printed nginx --name "nginx.$ZONE"
  check "its line for renewals" renewed nginx
  check "a second run, as a renewal, reloads it" printed nginx --name "nginx.$ZONE"
  git_
  # of the last script, for the git server
  gone nginx "/etc/nginx/conf.d/git.$ZONE.conf" "/etc/nginx/tls/git.$ZONE.crt" "/etc/nginx/tls/git.$ZONE.key"
  nginx -s quit
}

# A repository behind nginx, which has the certificate for it from the same script.
git_() {
  command -v git >/dev/null || { skip git "not installed"; return; }
  check "nginx for the git server" printed nginx --name "git.$ZONE"
  git init -q --bare "$DIR/repository.git" && git -C "$DIR/repository.git" update-server-info
  chmod 711 "$WORK" "$DIR"
  sed -i "s|location / {.*|location / { root $DIR; }|" "/etc/nginx/conf.d/git.$ZONE.conf" && nginx -s reload
  check_fails "git without it refuses" 'certificate' env HOME="$DIR/home" git ls-remote "https://git.$ZONE/repository.git"
  check "git" printed git --name "git.$ZONE"
  check "git reads the repository" within 30 env HOME="$DIR/home" git ls-remote "https://git.$ZONE/repository.git"
  check "git is undone" undone git
  check_fails "git refuses again" 'certificate' env HOME="$DIR/home" git ls-remote "https://git.$ZONE/repository.git"
}

docker_() {
  command -v docker-registry >/dev/null && command -v skopeo >/dev/null || { skip docker "docker-registry and skopeo are not installed"; return; }
  (cd "$DIR" && chancery issue "registry.$ZONE" --out "$DIR") >"$WORK/registry.log" 2>&1 || not_ok "a certificate for the registry" "$(cat "$WORK/registry.log")"
  printf 'version: 0.1\nstorage: { filesystem: { rootdirectory: %s } }\nhttp:\n  addr: 127.0.0.1:5000\n  tls: { certificate: %s, key: %s }\n' \
    "$DIR/registry" "$DIR/registry.$ZONE.crt" "$DIR/registry.$ZONE.key" >"$DIR/registry.yml"
  docker-registry serve "$DIR/registry.yml" >"$DIR/registry.out" 2>&1 &
  PIDS+=($!)
  within 30 bash -c 'exec 3<>/dev/tcp/127.0.0.1/5000' 2>/dev/null
  check_fails "skopeo without it refuses" 'certificate' skopeo list-tags "docker://registry.$ZONE:5000/lab/hello"
  check "docker, podman, containerd" printed docker --name "registry.$ZONE:5000"
  check_fails "skopeo trusts it: the repository is only unknown" 'name unknown|404' skopeo list-tags "docker://registry.$ZONE:5000/lab/hello"
  gone docker "/etc/docker/certs.d/registry.$ZONE:5000" "/etc/containers/certs.d/registry.$ZONE:5000" "/etc/containerd/certs.d/registry.$ZONE:5000"
  check_fails "skopeo refuses again" 'certificate' skopeo list-tags "docker://registry.$ZONE:5000/lab/hello"
}

# Directories that take accounts by key only.
with_keys() {
  check "the directory asks for keys" chancery acme directory set default --eab-required true
  within 30 asks_for_eab
  check_fails "quickstart says that it needs one" 'acme eab create' chancery quickstart certbot
  check_fails "and does not take what is no host" 'no host' chancery quickstart certbot --name 'web;reboot'
  chancery -o json acme eab create --name quickstart --allow-name "key.$ZONE" >"$DIR/eab.json" || return
  EAB_HMAC_KEY=$(jq -r .hmac_key "$DIR/eab.json")
  export EAB_HMAC_KEY
  local kid; kid=$(jq -r .id "$DIR/eab.json")
  echo "127.0.0.1 web.key.$ZONE" >>/etc/hosts
  if command -v certbot >/dev/null; then
    rm -rf /etc/letsencrypt/accounts
    check "certbot with a key" printed certbot --name "web.key.$ZONE" --eab-kid "$kid"
  fi
  if command -v caddy >/dev/null; then
    rm -rf "$DIR/home/.local/share/caddy"
    check "caddy with a key" printed caddy --name "web.key.$ZONE" --eab-kid "$kid"
    caddy stop >/dev/null 2>&1
  fi
  unset EAB_HMAC_KEY
  check_fails "without the secret it says what is missing" 'EAB_HMAC_KEY' printed certbot --name "web.key.$ZONE" --eab-kid "$kid"
}
asks_for_eab() { [ "$(curl -fsS --cacert "$ROOT_PEM" "$ACME" | jq .meta.externalAccountRequired)" = true ]; }

mkdir -p "$DIR"
own_machine >"$WORK/own.log" 2>&1 || { skip quickstart "a machine of our own could not be laid out: $(tail -n 1 "$WORK/own.log")"; finish; }
start_server || finish
for program in certbot caddy git docker nginx; do check "$program stops at another root" stops "$program"; done
certbot_
caddy_
nginx_
docker_
with_keys
stop_server
finish
