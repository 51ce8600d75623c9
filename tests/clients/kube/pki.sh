# The certificates of the cluster, all from Chancery: one trust domain each for the API server, etcd and the front
# proxy, so that no certificate of one is worth anything to another; the layout is kubeadm's.

cluster_pki() {
  PKI=$1
  mkdir -p "$PKI"
  local domain
  for domain in kubernetes etcd front-proxy; do
    check "ca create $domain" chancery ca create "$domain" || return
  done
  check "the bundle of kubernetes" within 30 bundle kubernetes ca
  check "the bundle of etcd" within 30 bundle etcd etcd-ca
  check "the bundle of front-proxy" within 30 bundle front-proxy front-proxy-ca
  leaf apiserver kube-apiserver kubernetes kubernetes.default kubernetes.default.svc kubernetes.default.svc.cluster.local localhost 10.96.0.1 127.0.0.1 &&
    leaf apiserver-kubelet-client kube-apiserver-kubelet-client &&
    leaf admin kube-admin &&
    leaf super-admin kube-super-admin &&
    leaf kubelet-client kubelet-client --common-name system:node:node1 &&
    leaf etcd-server etcd-server --common-name one localhost 127.0.0.1 &&
    leaf etcd-peer etcd-peer --common-name one localhost 127.0.0.1 &&
    leaf apiserver-etcd-client etcd-client --common-name kube-apiserver-etcd-client &&
    leaf front-proxy-client front-proxy-client &&
    leaf kube-controller-manager kube-controller-manager &&
    leaf kube-scheduler kube-scheduler &&
    leaf kube-proxy kube-proxy &&
    leaf webhook kube-webhook hook.default.svc &&
    node_server || return
  # service account tokens are signed with a bare key pair, without a certificate
  openssl genrsa -out "$PKI/sa.key" 2048 2>"$WORK/sa.log" && openssl rsa -in "$PKI/sa.key" -pubout -out "$PKI/sa.pub" 2>>"$WORK/sa.log"
}

bundle() { curl -fsS -o "$PKI/$2.crt" "$HTTP/bundles/$1.pem" && [ "$(grep -c BEGIN "$PKI/$2.crt")" -eq 1 ]; }

# leaf FILE PROFILE [issue's arguments…] : FILE.crt (leaf and intermediate) and FILE.key
leaf() {
  local file=$1 profile=$2; shift 2
  rm -rf "$PKI/new" && mkdir "$PKI/new"
  check "$profile" chancery issue --profile "$profile" --out "$PKI/new" "$@" || return
  mv "$PKI"/new/*.crt "$PKI/$file.crt" && mv "$PKI"/new/*.key "$PKI/$file.key"
}

# A kubelet at a reserved address, 127.0.0.1: only a grant that mentions it gets that.
node_server() {
  local grant
  check_fails "kubelet-server for a reserved address needs a grant" 'names.allow' chancery issue --profile kubelet-server --out "$PKI" --common-name system:node:node1 127.0.0.1
  grant=$(chancery -o json grant create --name node1 --allow-name 127.0.0.1 --subject system:node:node1 --profile kubelet-server | jq -r .id) &&
    (umask 077; chancery token create --name node1 --grant "$grant" >"$PKI/node.token") || return
  rm -rf "$PKI/new" && mkdir "$PKI/new"
  check "kubelet-server by a token of that grant" env CHANCERY_URL="$HTTPS" CHANCERY_ROOT="$ROOT_PEM" CHANCERY_TOKEN_FILE="$PKI/node.token" "$BIN" \
    issue --profile kubelet-server --out "$PKI/new" --common-name system:node:node1 127.0.0.1 || return
  mv "$PKI"/new/*.crt "$PKI/kubelet-server.crt" && mv "$PKI"/new/*.key "$PKI/kubelet-server.key"
}
