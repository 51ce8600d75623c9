#!/bin/bash
# Behind real proxies the audit names the client: nginx writes X-Forwarded-For, HAProxy sends PROXY protocol v2 in front of
# TLS that it does not open. A client that writes such a header itself changes nothing.
. "$(dirname "$0")/lib.sh"

# Each client of ours has an address of its own in 127.0.0.0/8; the proxies connect from 127.0.0.1.
CLIENT=127.0.0.77

# refused_from : the address in the newest refusal
refused_from() { chancery audit list -o json 2>/dev/null | jq -r '[.items[] | select(.action == "request.refused")][0].detail.from // empty'; }

# asks URL [options…] : with a bad token, from the client's address
asks() {
  local url=$1; shift
  curl -sS --interface "$CLIENT" --cacert "$ROOT_PEM" -o /dev/null -w '%{http_code}' -H 'Authorization: Bearer chy_wrong' "$@" "$url/api/v1/certificates"
}

# A new server on the same ports, with PROXIES: it writes the first refusal of its kind at once.
again() {
  local https=$HTTPS_AT http=$HTTP_AT ops=$OPS_AT
  stop_server
  HTTPS_AT=$https HTTP_AT=$http OPS_AT=$ops
  start_server
}

# names NAME ADDRESS : the newest refusal came from ADDRESS
names() {
  local from
  from=$(refused_from)
  [ "$from" = "$2" ] && ok "$1" || not_ok "$1" "the audit names $from"
}

behind_nginx() {
  local port
  port=$(free_port)
  mkdir -p "$DIR/nginx"
  cat >"$DIR/nginx.conf" <<CONF
daemon off;
pid $DIR/nginx/pid;
error_log $DIR/nginx/error.log;
events {}
http {
  access_log off;
  client_body_temp_path $DIR/nginx/body; proxy_temp_path $DIR/nginx/proxy; fastcgi_temp_path $DIR/nginx/f; uwsgi_temp_path $DIR/nginx/u; scgi_temp_path $DIR/nginx/s;
  server {
    listen 127.0.0.1:$port;
    location / {
      proxy_pass $HTTPS;
      proxy_ssl_trusted_certificate $ROOT_PEM;
      proxy_ssl_verify on;
      proxy_ssl_name localhost;
      proxy_set_header Host \$host;
      proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for;
    }
  }
}
CONF
  nginx -e "$DIR/nginx/error.log" -c "$DIR/nginx.conf" >"$DIR/nginx/out" 2>&1 &
  PIDS+=($!)
  within 30 bash -c "exec 3<>/dev/tcp/127.0.0.1/$port" 2>/dev/null || { not_ok "nginx starts" "$(tail -n 3 "$DIR/nginx/out" "$DIR/nginx/error.log")"; return; }
  [ "$(asks "http://127.0.0.1:$port" -H 'X-Forwarded-For: 192.0.2.99')" = 401 ] || not_ok "a request through nginx" "no answer"
  names "nginx: without trusted_proxies its header counts for nothing" 127.0.0.1
  PROXIES=(CHANCERY_TRUSTED_PROXIES=127.0.0.1/32)
  again || return
  asks "http://127.0.0.1:$port" -H 'X-Forwarded-For: 192.0.2.99' >/dev/null
  names "nginx: the audit names its client, not what the client wrote" "$CLIENT"
  again || return
  asks "$HTTPS" -H 'X-Forwarded-For: 192.0.2.99' >/dev/null
  names "a client without a proxy cannot write its address" "$CLIENT"
}

behind_haproxy() {
  local port
  port=$(free_port)
  cat >"$DIR/haproxy.cfg" <<CONF
global
  maxconn 100
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend in
  bind 127.0.0.1:$port
  default_backend chancery
backend chancery
  option tcp-check
  server one ${HTTPS#https://} send-proxy-v2 check check-send-proxy inter 500ms
CONF
  PROXIES=(CHANCERY_PROXY_PROTOCOL=https CHANCERY_TRUSTED_PROXIES=127.0.0.1/32)
  again || return
  haproxy -db -f "$DIR/haproxy.cfg" >"$DIR/haproxy.log" 2>&1 &
  PIDS+=($!)
  local ask="curl -fsS --interface $CLIENT --cacert $ROOT_PEM -o /dev/null https://localhost:$port/acme/default/directory"
  check "haproxy: TLS through PROXY protocol v2, verified end to end, while its health checks say LOCAL" within 30 $ask
  asks "https://localhost:$port" >/dev/null
  names "haproxy: the audit names its client" "$CLIENT"
  check_fails "a connection without the header is closed" "" curl -fsS --max-time 5 --cacert "$ROOT_PEM" "$HTTPS/acme/default/directory"
  check "the refused connection is counted" bash -c "curl -fsS '$OPS/metrics' | grep -E '^chancery_proxy_headers_refused_total [1-9]'"
}

body() {
  PROXIES=()
  start_server || return
  behind_nginx
  behind_haproxy
  PROXIES=()
}

command -v nginx >/dev/null && command -v haproxy >/dev/null || { not_ok "nginx and haproxy" "they are not installed"; finish; }
engines body
finish
