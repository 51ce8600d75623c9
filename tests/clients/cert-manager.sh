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
  components
  manifests
  remembered
  install_cert_manager || return
  by_grant
  # cert-manager waits a minute before it lets a dns-01 challenge be looked at, so the rest happens meanwhile
  by_dns
  renewed
  refused
  hot_reload
  administrator
  by_dns_done
  check "fsck beside the running server" chancery fsck
}

# The directory asks for EAB; names inside the key's grant need no challenge.
by_grant() {
  chancery -o json acme eab create --name cert-manager --allow-name "apps.$ZONE" >"$DIR/eab.json" 2>"$WORK/eab.log" ||
    { not_ok "acme eab create" "$(tail -n 3 "$WORK/eab.log")"; return 1; }
  chancery quickstart cert-manager >"$DIR/keyless.yaml" 2>"$WORK/quickstart.log" || cat "$WORK/quickstart.log"
  check "quickstart cert-manager without a key is a ClusterIssuer too" k apply --dry-run=server -f "$DIR/keyless.yaml"
  check "a second one has its own name" k apply --dry-run=server -f <(chancery quickstart cert-manager --name lab-staging)
  check "the directory default requires EAB and offers dns-01" chancery acme directory set default --eab-required true --challenges dns-01
  check "the directory says so" within 30 asks_for_eab
  check "a ClusterIssuer with our root as caBundle, without EAB" k apply -f <(issuer without)
  check "is refused with our words" within 30 says clusterissuer/without 'external account'
  check "the key's HMAC as a Secret" k create secret generic chancery-eab -n cert-manager "--from-literal=hmac=$(jq -r .hmac_key "$DIR/eab.json")"
  check "the TSIG key as a Secret" k create secret generic tsig -n cert-manager "--from-literal=key=$TSIG"
  remote quickstart cert-manager --eab-kid "$(jq -r .id "$DIR/eab.json")" >"$DIR/issuer.yaml" 2>"$WORK/quickstart.log" || cat "$WORK/quickstart.log"
  check "quickstart cert-manager: a ClusterIssuer with caBundle and EAB" k apply -f "$DIR/issuer.yaml"
  check "its ACME account is registered: the check that it prints" k_said check "$DIR/issuer.yaml" || return
  check "a Certificate inside the grant" k apply -f <(certificate grant chancery "web.apps.$ZONE" "*.apps.$ZONE")
  check "is ready" ready 60 certificate/grant || return
  check "without a single challenge" test -z "$(k get challenges -A -o name)"
  secret grant
  check "it has exactly the names asked for" test "$(names_of "$DIR/grant.pem")" = "*.apps.$ZONE web.apps.$ZONE "
  good "by grant" "$DIR/grant.pem" "$DIR/grant.chain.pem"
  check "the server knows who asked" chancery find "web.apps.$ZONE"
}

# The command line as on another machine: by URL, root and token.
remote() { env CHANCERY_URL="$HTTPS" CHANCERY_ROOT="$ROOT_PEM" CHANCERY_TOKEN_FILE="$DIR/token" "$BIN" "$@"; }

# What quickstart prints for kubectl, run whole.
administrator() {
  { [ "$(id -u)" -eq 0 ] && unshare -m true 2>/dev/null; } || { skip "quickstart kubectl" "a mount namespace of our own needs root"; return; }
  new_token && (umask 077; echo "$TOKEN" >"$DIR/token") || return
  remote quickstart kubectl --name "127.0.0.1:$API_PORT" >"$DIR/kubectl.script" 2>"$WORK/quickstart.log" || cat "$WORK/quickstart.log"
  check "quickstart kubectl, run whole" env PATH="$KUBE_CACHE:$PATH" KUBECONFIG="$DIR/quick.conf" CHANCERY_TEST_BIN="$BIN" \
    CHANCERY_URL="$HTTPS" CHANCERY_ROOT="$ROOT_PEM" CHANCERY_TOKEN_FILE="$DIR/token" \
    unshare -m --propagation private "$CLIENTS/printed.sh" "$DIR/pasted" "$DIR/home" <"$DIR/kubectl.script"
  check "it made an administrator" k --kubeconfig "$DIR/quick.conf" get namespaces
  check "what it says of going back" k_said undo "$DIR/kubectl.script" "$DIR/quick.conf"
  check_fails "leaves no context" 'no context exists|not found|does not exist' k --kubeconfig "$DIR/quick.conf" config get-contexts chancery
  check "and the ClusterIssuer goes too" k_said undo "$DIR/issuer.yaml"
}

# k_said WORD FILE [KUBECONFIG] : runs what stands behind `# WORD:` there
k_said() {
  sed -n "s/^# $1: *//p" "$2" | grep . >"$DIR/said" && (cd "$DIR" && KUBECONFIG="${3:-$KUBE/admin.conf}" HOME="$KUBE" PATH="$KUBE_CACHE:$PATH" bash -eu said)
}

asks_for_eab() { [ "$(curl -fsS --cacert "$ROOT_PEM" "$ACME" | jq .meta.externalAccountRequired)" = true ]; }

by_dns() {
  check "a ClusterIssuer without a grant over the names" eab_without_names
  check "its ACME account is registered by dns" ready 30 clusterissuer/dns || return
  check "a Certificate for a wildcard outside every grant" k apply -f <(certificate dns dns "*.dns.$ZONE")
  check "bind9 takes the update" within 30 grep -q "adding an RR at '_acme-challenge.dns.$ZONE' TXT" "$DIR/bind/log"
}

by_dns_done() {
  check "the wildcard is ready, by dns-01" ready 90 certificate/dns || return
  check "and cert-manager took its record back" within 30 no_text
  secret dns
  check "it has exactly the names asked for by dns" test "$(names_of "$DIR/dns.pem")" = "*.dns.$ZONE "
  good "by dns-01" "$DIR/dns.pem" "$DIR/dns.chain.pem"
}

# A key whose grant holds another name registers; what it asks for outside is proved by challenges.
eab_without_names() {
  chancery -o json acme eab create --name dns --allow-name "elsewhere.$ZONE" >"$DIR/eab2.json" &&
    k create secret generic eab-dns -n cert-manager "--from-literal=hmac=$(jq -r .hmac_key "$DIR/eab2.json")" &&
    k apply -f <(issuer dns "$(solvers "$(jq -r .id "$DIR/eab2.json")" eab-dns)")
}
no_text() { ! /usr/bin/python3 "$KUBE_HERE/txt.py" "127.0.0.1:$DNS_PORT" "_acme-challenge.dns.$ZONE"; }

# As `cmctl renew` does it: the condition Issuing, and the controllers do the rest.
renewed() {
  cp "$DIR/grant.pem" "$DIR/before.pem" 2>/dev/null || return
  k get certificate grant -o json | jq --arg now "$(date -u +%FT%TZ)" '.status.conditions += [{type:"Issuing",status:"True",
    reason:"ManuallyTriggered",message:"renewed by the test",lastTransitionTime:$now}]' >"$DIR/renew.json"
  check "the Certificate is told to renew" k replace --subresource=status -f "$DIR/renew.json"
  check "it has a second revision" within 60 revision 2
  check "and is ready again" ready 30 certificate/grant
  secret grant
  check "with another serial" test "$(serial_of "$DIR/before.pem")" != "$(serial_of "$DIR/grant.pem")"
  good "renewed" "$DIR/grant.pem" "$DIR/grant.chain.pem"
}
revision() { [ "$(k get certificate grant -o jsonpath='{.status.revision}')" = "$1" ] && ! says certificate/grant '"Issuing","status":"True"'; }

refused() {
  check "a Certificate for a name of the cluster itself" k apply -f <(certificate reserved chancery kubernetes.default.svc)
  check "is refused, and the order says which rule" within 30 says orders 'names.reserved|rejectedIdentifier'
  check "an EAB key that nobody made" k apply -f <(issuer unknown "$(solvers eab_01JABSENT0000000000000000X)")
  check "registers nothing, and the issuer says why" within 30 says clusterissuer/unknown 'unauthorized|externalAccount'
}

# A renewed serving certificate is picked up by the running API server.
hot_reload() {
  local before
  before=$(presented)
  check "a new certificate for the API server" leaf apiserver kube-apiserver kubernetes kubernetes.default kubernetes.default.svc kubernetes.default.svc.cluster.local localhost 10.96.0.1 127.0.0.1
  check "is presented without a restart" within 75 presents_another "$before"
  check "and the administrator goes on" k get namespaces
}
presented() { openssl s_client -connect "127.0.0.1:$API_PORT" </dev/null 2>/dev/null | openssl x509 -noout -serial; }
presents_another() { local now; now=$(presented); [ -n "$now" ] && [ "$now" != "$1" ]; }

# says OBJECT TEXT : in its status, as JSON on one line.
says() { k get "$1" -A -o json | jq -c '.status // [.items[].status]' | grep -qE "$2"; }

# secret NAME : NAME.pem (leaf), NAME.chain.pem from the Secret that cert-manager wrote; the key must fit.
secret() {
  k get secret "$1-tls" -o json >"$DIR/$1.json" || return
  jq -r '.data."tls.crt" | @base64d' "$DIR/$1.json" >"$DIR/$1.full.pem"
  jq -r '.data."tls.key" | @base64d' "$DIR/$1.json" >"$DIR/$1.key"
  openssl x509 -in "$DIR/$1.full.pem" -out "$DIR/$1.pem"
  awk '/BEGIN/{n++} n>1' "$DIR/$1.full.pem" >"$DIR/$1.chain.pem"
  check "$1: the key in the Secret is the certificate's" \
    test "$(openssl pkey -in "$DIR/$1.key" -pubout)" = "$(openssl x509 -in "$DIR/$1.pem" -noout -pubkey)"
}

# certificate NAME ISSUER NAMES…
certificate() {
  local name=$1 issuer=$2; shift 2
  jq -n --arg name "$name" --arg issuer "$issuer" '{apiVersion:"cert-manager.io/v1",kind:"Certificate",
    metadata:{name:$name,namespace:"default"},spec:{secretName:($name+"-tls"),dnsNames:$ARGS.positional,
    privateKey:{algorithm:"ECDSA",size:256,rotationPolicy:"Always"},
    issuerRef:{name:$issuer,kind:"ClusterIssuer",group:"cert-manager.io"}}}' --args "$@"
}

# solvers [KID [SECRET]] : EAB and dns-01 by RFC 2136.
solvers() {
  jq -n --arg kid "${1:-$(jq -r .id "$DIR/eab.json")}" --arg secret "${2:-chancery-eab}" --arg dns "127.0.0.1:$DNS_PORT" '
    {externalAccountBinding:{keyID:$kid,keySecretRef:{name:$secret,key:"hmac"}},
     solvers:[{dns01:{rfc2136:{nameserver:$dns,tsigKeyName:"cert-manager",tsigAlgorithm:"HMACSHA256",
       tsigSecretSecretRef:{name:"tsig",key:"key"}}}}]}'
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

# The anchor in a ConfigMap, by a service account with the Role of deploy/kubernetes/anchor alone: a server that starts on an
# older database, with nothing but the keys in its data directory, notices it.
remembered() {
  [ "$ENGINE" = sqlite ] || return 0
  # `unset` in stop_server reaches past a local variable
  local at=("$HTTPS_AT" "$HTTP_AT" "$OPS_AT")
  unset HTTPS_AT HTTP_AT OPS_AT
  notices_a_restore
  HTTPS_AT=${at[0]} HTTP_AT=${at[1]} OPS_AT=${at[2]}
}
notices_a_restore() {
  local DIR="$DIR/remembered" DATABASE_URL='' SERVER='' HTTPS HTTP OPS ACME ROOT_PEM before
  mkdir -p "$DIR/account" "$DIR/backup"
  check "the anchor's ConfigMap and Role" k apply -f "$ROOT/deploy/kubernetes/anchor/anchor.yaml" || return
  cp "$KUBE/pki/ca.crt" "$DIR/account/ca.crt" && k create token chancery -n chancery >"$DIR/account/token" || return
  cp "$DIR/account/token" "$KUBE/chancery.token" && kubeconfig chancery
  check_fails "the service account may list no ConfigMaps" 'forbidden' kubectl_as chancery get configmaps -n chancery
  check_fails "and write no other one" 'forbidden' kubectl_as chancery patch configmap kube-root-ca.crt -n chancery --type merge -p '{"data":{}}'
  local -x CHANCERY_ANCHOR=configmap:chancery/chancery-anchor CHANCERY_ANCHOR_CREDENTIALS="$DIR/account"
  local -x KUBERNETES_SERVICE_HOST=127.0.0.1 KUBERNETES_SERVICE_PORT="$API_PORT"
  start_server || return
  check "the anchor is in the ConfigMap" within 15 anchored
  stop_and_keep_ports && cp "$DIR"/data/chancery.db* "$DIR/backup/" || return
  start_server || return
  before=$(anchor_text)
  check "a certificate is issued and revoked after the backup" issued_and_revoked
  check "the ConfigMap has changed" within 15 anchor_is_not "$before"
  stop_and_keep_ports || return
  rm -rf "$DIR"/data/chancery.db* "$DIR"/data/anchor*
  cp "$DIR"/backup/* "$DIR/data/"
  start_server || return
  check "the restored database is noticed" within 15 readyz_says 'the database is older than what this CA remembers'
  check_fails "nothing is issued from it" 'older than what this CA remembers' chancery issue after.lab.example --out "$DIR"
  check "reconcile, on the host, by the ConfigMap" chancery reconcile
  check "the server goes on" within 15 curl -fsS "$OPS/readyz"
  check "and issues" chancery issue after.lab.example --out "$DIR"
  stop_server
}
stop_and_keep_ports() {
  local https=$HTTPS_AT http=$HTTP_AT ops=$OPS_AT
  stop_server
  HTTPS_AT=$https HTTP_AT=$http OPS_AT=$ops
}
anchor_text() { k get configmap chancery-anchor -n chancery -o json | jq -r '.data."anchor.json" // ""'; }
anchored() { anchor_text | jq -e .installation; }
anchor_is_not() { [ "$(anchor_text)" != "$1" ]; }
readyz_says() { curl -sS "$OPS/readyz?verbose" | grep -q "$1"; }
issued_and_revoked() {
  chancery issue lost.lab.example --out "$DIR" && chancery revoke "$DIR/lost.lab.example.crt" --reason keyCompromise
}

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
  /usr/sbin/named -g -c "$dir/named.conf" >"$dir/log" 2>&1 &
  PIDS+=($!)
  check "bind9 listens" within 30 bash -c "exec 3<>/dev/tcp/127.0.0.1/$DNS_PORT" || { tail -5 "$dir/log"; return 1; }
}

engines journey
finish
