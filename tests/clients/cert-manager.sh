#!/bin/bash
# cert-manager, for real: kube-apiserver and etcd on loopback under certificates of Chancery, the cert-manager
# controller, and an ACME ClusterIssuer with caBundle and EAB. RFC 8555 §7.3.4, RFC 2136.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/kube/cluster.sh"

unavailable=$("$CLIENTS/kube/build.sh")
case $? in
  0) ;;
  3) skip "cert-manager" "$unavailable"; finish ;;
  *) not_ok "the programs are built" "$unavailable"; finish ;;
esac
sed 's/^/# /' "$KUBE_CACHE/versions"

journey() {
  start_bind || return
  start_server || return
  start_cluster || return
  manifests
  install_cert_manager || return
  check "a ClusterIssuer with our root as caBundle is accepted" k apply -f <(issuer plain)
  check "its ACME account is registered" ready 30 clusterissuer/plain
}

# issuer NAME [JSON added to spec.acme] : without caBundle the controller would refuse our certificate.
issuer() {
  jq -n --arg name "$1" --arg server "$ACME" --arg ca "$(base64 -w0 "$ROOT_PEM")" --argjson more "${2:-{\}}" '
    {apiVersion:"cert-manager.io/v1",kind:"ClusterIssuer",metadata:{name:$name},
     spec:{acme:({server:$server,caBundle:$ca,privateKeySecretRef:{name:($name+"-account")}} + $more)}}'
}

# deploy/kubernetes against the API server: every object is accepted, the pods under the profile `restricted`.
manifests() {
  check "the namespace of deploy/kubernetes" k apply -f "$ROOT/deploy/kubernetes/namespace.yaml"
  check "kubectl apply -k deploy/kubernetes --dry-run=server, without a warning" apply_quietly
  check "its service account" k apply -f <("$CLIENTS/manifests.py" object ServiceAccount)
  check "its pod passes the pod security profile restricted" k apply --dry-run=server -f <("$CLIENTS/manifests.py" pod)
  check_fails "which does refuse a pod that runs as root" 'violates PodSecurity' pod_as_root
}
apply_quietly() { ! k apply -k "$ROOT/deploy/kubernetes" --dry-run=server 2>&1 | tee "$WORK/apply.log" | grep -qi 'warning\|error' || { cat "$WORK/apply.log"; return 1; }; }
pod_as_root() { "$CLIENTS/manifests.py" pod | sed 's/"runAsNonRoot": true/"runAsNonRoot": false/' | k apply --dry-run=server -f -; }

# bind9 with a zone that takes updates under a key (RFC 2136, RFC 8945); its parent too, for who climbs to it.
start_bind() {
  DNS_PORT=$(free_port)
  local dir="$DIR/bind"
  mkdir -p "$dir"
  TSIG=$(openssl rand -base64 32)
  for zone in test "$ZONE"; do
    printf '$TTL 1\n@ IN SOA ns.%s. ops.%s. 1 60 60 60 1\n@ IN NS ns.%s.\nns IN A 127.0.0.1\n* IN A 127.0.0.1\n' "$zone" "$zone" "$zone" >"$dir/$zone.zone"
  done
  cat >"$dir/named.conf" <<CONF
options { directory "$dir"; listen-on port $DNS_PORT { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; pid-file none;
  session-keyfile "$dir/session.key"; managed-keys-directory "$dir"; dnssec-validation no; notify no; };
controls { };
key "cert-manager" { algorithm hmac-sha256; secret "$TSIG"; };
zone "test" { type primary; file "test.zone"; };
zone "$ZONE" { type primary; file "$ZONE.zone"; allow-update { key "cert-manager"; }; };
CONF
  /usr/sbin/named -f -c "$dir/named.conf" >"$dir/log" 2>&1 &
  PIDS+=($!)
  check "bind9 listens" within 15 bash -c "exec 3<>/dev/tcp/127.0.0.1/$DNS_PORT" || { tail -5 "$dir/log"; return 1; }
}

engines journey
finish
