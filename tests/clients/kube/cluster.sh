# A Kubernetes control plane without nodes, on loopback: etcd, kube-apiserver and the cert-manager controller as
# processes of the host. Sourced after lib.sh; every process is in PIDS, so that cleanup ends it.
KUBE_CACHE="${CHANCERY_TEST_CACHE:-$ROOT/tests/.cache}/kube"
KUBE_HERE="$CLIENTS/kube"
. "$KUBE_HERE/pki.sh"

# start_cluster : sets KUBE (its directory), API (its URL) and makes `k` work as the administrator.
start_cluster() {
  KUBE="$DIR/kube" ETCD="https://127.0.0.1:$(free_port)" API_PORT=$(free_port)
  API="https://127.0.0.1:$API_PORT"
  mkdir -p "$KUBE" && cluster_pki "$KUBE/pki" || return
  start_etcd && start_apiserver && first_administrator
}

start_etcd() {
  local peer
  peer="https://127.0.0.1:$(free_port)"
  "$KUBE_CACHE/etcd" --name one --data-dir "$KUBE/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls "$ETCD" --advertise-client-urls "$ETCD" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "one=$peer" \
    --client-cert-auth --trusted-ca-file "$KUBE/pki/etcd-ca.crt" \
    --cert-file "$KUBE/pki/etcd-server.crt" --key-file "$KUBE/pki/etcd-server.key" \
    --peer-client-cert-auth --peer-trusted-ca-file "$KUBE/pki/etcd-ca.crt" \
    --peer-cert-file "$KUBE/pki/etcd-peer.crt" --peer-key-file "$KUBE/pki/etcd-peer.key" >"$KUBE/etcd.log" 2>&1 &
  PIDS+=($!)
  check "etcd is healthy under client certificates" within 30 etcd_healthy || { last_words etcd; return 1; }
  etcd_refuses "a client of the domain kubernetes" 'unknown authority' --cert "$KUBE/pki/admin.crt" --key "$KUBE/pki/admin.key"
  etcd_refuses "a client of the domain front-proxy" 'unknown authority' --cert "$KUBE/pki/front-proxy-client.crt" --key "$KUBE/pki/front-proxy-client.key"
  etcd_refuses "a client without a certificate" "didn't provide a certificate"
  return 0
}

# etcd_refuses WHOM WHY curl-arguments… : the connection breaks in TLS, and etcd's own log says why.
etcd_refuses() {
  local whom=$1 why=$2; shift 2
  local before
  before=$(wc -l <"$KUBE/etcd.log")
  check_fails "etcd refuses $whom" 'curl: \((35|52|55|56)\)' curl -sS --cacert "$KUBE/pki/etcd-ca.crt" "$@" "$ETCD/version"
  check "because: $why" within 30 etcd_said "$before" "$why"
}
etcd_said() { tail -n +"$(($1 + 1))" "$KUBE/etcd.log" | grep -q "$2"; }

etcd_healthy() { etcdctl endpoint health; }
etcdctl() {
  "$KUBE_CACHE/etcdctl" --endpoints "$ETCD" --cacert "$KUBE/pki/etcd-ca.crt" \
    --cert "$KUBE/pki/apiserver-etcd-client.crt" --key "$KUBE/pki/apiserver-etcd-client.key" "$@"
}

start_apiserver() {
  local pki="$KUBE/pki"
  nice -n 5 "$KUBE_CACHE/kube-apiserver" --bind-address 127.0.0.1 --advertise-address 127.0.0.1 --secure-port "$API_PORT" \
    --cert-dir "$KUBE/none" --endpoint-reconciler-type none --service-cluster-ip-range 10.96.0.0/24 \
    --authorization-mode Node,RBAC --anonymous-auth=false \
    --etcd-servers "$ETCD" --etcd-cafile "$pki/etcd-ca.crt" --etcd-certfile "$pki/apiserver-etcd-client.crt" --etcd-keyfile "$pki/apiserver-etcd-client.key" \
    --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" --client-ca-file "$pki/ca.crt" \
    --kubelet-certificate-authority "$pki/ca.crt" --kubelet-preferred-address-types InternalIP \
    --kubelet-client-certificate "$pki/apiserver-kubelet-client.crt" --kubelet-client-key "$pki/apiserver-kubelet-client.key" \
    --requestheader-client-ca-file "$pki/front-proxy-ca.crt" --requestheader-allowed-names front-proxy-client \
    --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group --requestheader-extra-headers-prefix X-Remote-Extra- \
    --proxy-client-cert-file "$pki/front-proxy-client.crt" --proxy-client-key-file "$pki/front-proxy-client.key" \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-key-file "$pki/sa.pub" --service-account-signing-key-file "$pki/sa.key" >"$KUBE/apiserver.log" 2>&1 &
  PIDS+=($!)
  kubeconfig super-admin
  kubeconfig admin
  kubeconfig kubelet-client
  check "kube-apiserver is ready" within 90 api_ready || { last_words apiserver; return 1; }
}

api_ready() { kubectl_as super-admin get --raw /readyz; }

# kubeconfig NAME : with the files NAME.crt and NAME.key of the PKI instead of data, so that a renewed certificate needs
# no restart, or with NAME.token.
kubeconfig() {
  jq -n --arg api "$API" --arg dir "$KUBE" --arg name "$1" --argjson token "$([ -s "$KUBE/$1.token" ] && echo true || echo false)" '
    {apiVersion:"v1",kind:"Config","current-context":"x",
    clusters:[{name:"x",cluster:{server:$api,"certificate-authority":($dir+"/pki/ca.crt")}}],
    users:[{name:"x",user:(if $token then {"tokenFile":($dir+"/"+$name+".token")}
      else {"client-certificate":($dir+"/pki/"+$name+".crt"),"client-key":($dir+"/pki/"+$name+".key")} end)}],
    contexts:[{name:"x",context:{cluster:"x",user:"x"}}]}' >"$KUBE/$1.conf"
}
kubectl_as() { local who=$1; shift; HOME=$KUBE "$KUBE_CACHE/kubectl" --kubeconfig "$KUBE/$who.conf" "$@"; }
k() { kubectl_as admin "$@"; }

# As kubeadm does it: the break-glass certificate (system:masters) binds the administrators' group once.
first_administrator() {
  check_fails "RBAC: the administrator may do nothing before the binding" 'forbidden' k get namespaces
  check "the super-admin's certificate passes" kubectl_as super-admin create clusterrolebinding kubeadm:cluster-admins \
    --clusterrole cluster-admin --group kubeadm:cluster-admins
  check "the administrator's certificate passes" within 30 k get namespaces
  check_fails "a node's certificate has a node's rights alone" 'system:node:node1.* cannot list' kubectl_as kubelet-client get namespaces
  check_fails "no certificate, no answer" '401' curl -fsS --cacert "$KUBE/pki/ca.crt" "$API/api"
}

# The certificates that stand for a component of the cluster, each used as that component uses it.
components() {
  local who
  for who in kube-controller-manager kube-scheduler kube-proxy; do
    kubeconfig "$who"
    check "$who is system:$who to the API server" is_user "$who" "system:$who"
  done
  check "a node is in system:nodes" is_user kubelet-client system:node:node1 system:nodes
  check "the front proxy speaks for a user" front_proxy alice
  check_fails "an administrator is no front proxy: the header counts for nothing" 'it is kubernetes-admin' front_proxy alice admin
  check "the API server's right to ask kubelets, by quickstart kube-apiserver" k apply -f <(chancery quickstart kube-apiserver)
  check "is given" k auth can-i get nodes/proxy --as kube-apiserver-kubelet-client
  check_fails "and no more than that" '^no' k auth can-i list secrets --as kube-apiserver-kubelet-client
  kubelet_endpoint
  webhook
}

# is_user KUBECONFIG NAME [GROUP] : what `auth whoami` says of it
is_user() {
  local said
  said=$(kubectl_as "$1" auth whoami -o json) || return
  jq -e --arg name "$2" --arg group "${3:-system:authenticated}" '.status.userInfo | .username == $name and (.groups | index($group) != null)' <<<"$said"
}

# front_proxy USER [FILE] : who the API server takes a request for that carries X-Remote-User under FILE's certificate
front_proxy() {
  local file=${2:-front-proxy-client} name
  name=$(curl -fsS --cacert "$KUBE/pki/ca.crt" --cert "$KUBE/pki/$file.crt" --key "$KUBE/pki/$file.key" -H "X-Remote-User: $1" -H 'Content-Type: application/json' \
    -d '{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}' "$API/apis/authentication.k8s.io/v1/selfsubjectreviews" | jq -r .status.userInfo.username)
  [ "$name" = "$1" ] || { echo "it is $name"; return 1; }
}

# endpoint NAME ARGUMENTS… : starts endpoint.py and sets PORT
endpoint() {
  "$KUBE_HERE/endpoint.py" "${@:2}" >"$KUBE/$1.port" 2>"$KUBE/$1.log" &
  PIDS+=($!)
  within 30 test -s "$KUBE/$1.port" && PORT=$(cat "$KUBE/$1.port")
}

# A node whose kubelet is a TLS server under kubelet-server: the API server fetches a pod's logs from it.
kubelet_endpoint() {
  endpoint kubelet "$KUBE/pki/kubelet-server.crt" "$KUBE/pki/kubelet-server.key" "$KUBE/pki/ca.crt" || { not_ok "a kubelet's endpoint" "$(cat "$KUBE/kubelet.log")"; return; }
  jq -n --argjson port "$PORT" '{apiVersion:"v1",kind:"List",items:[
    {apiVersion:"v1",kind:"ServiceAccount",metadata:{name:"default",namespace:"default"}},
    {apiVersion:"v1",kind:"Node",metadata:{name:"node1"},status:{addresses:[{type:"InternalIP",address:"127.0.0.1"}],daemonEndpoints:{kubeletEndpoint:{Port:$port}}}},
    {apiVersion:"v1",kind:"Pod",metadata:{name:"hello",namespace:"default"},spec:{nodeName:"node1",automountServiceAccountToken:false,
      containers:[{name:"hello",image:"none"}]}}]}' >"$KUBE/node.json"
  check "a node and a pod on it" k apply -f "$KUBE/node.json" || return
  logs() { k logs hello --namespace default | grep -qx 'logs for kube-apiserver-kubelet-client'; }
  check "the API server and the kubelet accept each other" within 30 logs || k logs hello
}

# The webhook of a service whose name leads here: the API server asks it under hook.default.svc.
webhook() {
  endpoint webhook "$KUBE/pki/webhook.crt" "$KUBE/pki/webhook.key" || { not_ok "a webhook's endpoint" "$(cat "$KUBE/webhook.log")"; return; }
  jq -n --argjson port "$PORT" --arg ca "$(base64 -w0 "$KUBE/pki/ca.crt")" '{apiVersion:"v1",kind:"List",items:[
    {apiVersion:"v1",kind:"Service",metadata:{name:"hook",namespace:"default"},spec:{type:"ExternalName",externalName:"localhost"}},
    {apiVersion:"admissionregistration.k8s.io/v1",kind:"ValidatingWebhookConfiguration",metadata:{name:"hook"},webhooks:[{name:"hook.chancery.test",
      admissionReviewVersions:["v1"],sideEffects:"None",failurePolicy:"Fail",timeoutSeconds:5,
      rules:[{apiGroups:[""],apiVersions:["v1"],operations:["CREATE"],resources:["configmaps"]}],
      clientConfig:{caBundle:$ca,service:{name:"hook",namespace:"default",port:$port}}}]}]}' >"$KUBE/webhook.json"
  check "a webhook with the bundle of kubernetes as caBundle" k apply -f "$KUBE/webhook.json" || return
  check "the API server trusts it, and an object passes" within 30 k create configmap passes
  check_fails "another one is refused by the webhook" 'the webhook under our certificate says no' k create configmap refused
  jq --arg ca "$(base64 -w0 "$ROOT_PEM")" '.items[1].webhooks[0].clientConfig.caBundle = $ca' "$KUBE/webhook.json" >"$KUBE/webhook2.json"
  check "with the root of tls as caBundle" k apply -f "$KUBE/webhook2.json"
  check "the API server does not trust it" within 30 untrusted
  k delete validatingwebhookconfiguration hook >/dev/null 2>&1
}
untrusted() { ! k create configmap "other$RANDOM" 2>"$KUBE/untrusted" && grep -q 'unknown authority' "$KUBE/untrusted"; }

# install_cert_manager : CRDs as upstream ships them (no webhook: one version, conversion none), the rights of the controller.
install_cert_manager() {
  check "cert-manager's CRDs are accepted" k apply --server-side -f "$KUBE_CACHE/crds" || return
  check "they are established" k wait --for condition=established --timeout 30s crd \
    certificates.cert-manager.io certificaterequests.cert-manager.io clusterissuers.cert-manager.io issuers.cert-manager.io \
    orders.acme.cert-manager.io challenges.acme.cert-manager.io
  check "the controller's rights" k apply -f "$KUBE_HERE/cert-manager-rbac.yaml"
  # as its pod would: with a token of its service account
  k create token cert-manager -n cert-manager --duration 1h >"$KUBE/cert-manager.token" || return
  kubeconfig cert-manager
  "$KUBE_CACHE/cert-manager" -kubeconfig "$KUBE/cert-manager.conf" -cluster-resource-namespace cert-manager \
    -dns01-recursive-nameservers "127.0.0.1:$DNS_PORT" -v 2 >"$KUBE/cert-manager.log" 2>&1 &
  PIDS+=($!)
  check "the controller runs" within 30 grep -q 'controllers run' "$KUBE/cert-manager.log" || { last_words cert-manager; return 1; }
}

# ready SECONDS KIND/NAME : its condition Ready within that time; else what it and its children say.
ready() {
  k wait --for condition=Ready --timeout "$1s" "$2" && return
  k get clusterissuers,certificates,certificaterequests,orders,challenges -A -o json |
    jq -c '.items[] | {kind, name: .metadata.name, status}' | cut -c1-600
  return 1
}

last_words() { tail -n 15 "$KUBE/$1.log" | cut -c1-400 | sed 's/^/    /'; }
