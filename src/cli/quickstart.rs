//! `quickstart NAME`: what connects a program to this CA, as a script (or a manifest) with the values filled in. Each
//! is run whole by a test, and so is what stands behind `# renew`, `# undo:` and
//! `# check:`. Other lines with # tell. A script stops at the first command that fails, above all at a root that is another
//! one than this CA's.

use base64::Engine as _;
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::failure::{Result, Trying};
use super::named::EAB_KEYS;
use super::repeated::Repeated;
use super::session::Context;
use super::trust::root::{self, Root};
use super::{listing, output};
use crate::client::anchor;
use crate::error::{Error, ErrorKind};
use crate::model::identifier::{Identifier, shown};
use crate::server::settings::Flags;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Program {
    Certbot,
    Caddy,
    CertManager,
    Git,
    Docker,
    KubeApiserver,
    Kubectl,
    Nginx,
}

#[derive(Debug, Args)]
pub struct QuickstartArgs {
    /// The program to connect
    #[arg(value_enum)]
    program: Program,
    /// The host to connect: the name of the certificate, the git server, the registry or the cluster; for cert-manager the
    /// name of the ClusterIssuer [default: chancery]
    #[arg(long, value_name = "HOST")]
    name: Option<String>,
    /// The ACME directory that the program is to use
    #[arg(long, value_name = "SLUG", default_value = "default")]
    directory: String,
    /// The key id (kid) of an external account key of `chancery acme eab create`, for directories that require one; the HMAC
    /// key itself is read from EAB_HMAC_KEY by the script
    #[arg(long, alias = "kid", value_name = "KID")]
    eab_kid: Option<String>,
}

/// The profile and the user of API servers towards kubelets.
const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";
/// Where the scripts put the root.
const ROOT: &str = "/etc/ssl/chancery-root.pem";

/// Of 253 octets that Kubernetes allows, without what the names of Secrets end in.
const LONGEST_NAME: usize = 230;

struct Facts {
    url: String,
    acme: String,
    /// That of the server's own certificate first.
    roots: Vec<Root>,
    name: String,
    kid: Option<String>,
    /// Makes a whole command of words: it carries the installation or the server of this one.
    repeated: Repeated,
}

pub async fn run(context: &Context, args: QuickstartArgs) -> Result<()> {
    let what = || "cannot say how to connect it".to_owned();
    let roots = root::find(context, None).await.trying(what)?;
    let Some(root) = roots.first() else { return Err(Error::inconsistent("this CA has no root")).trying(what) };
    let url = match context.target().trying(what)?.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => context.local_app(&Flags::new()).await.trying(what)?.urls.external.to_string(),
    };
    let host = named(&args, &url).trying(what)?;
    let acme = format!("/acme/{}/directory", args.directory);
    let program = args.program;
    if matches!(program, Program::Kubectl | Program::KubeApiserver) {
        with_domain(&url, root, "kubernetes").await.trying(what)?;
    }
    if args.eab_kid.is_none() && matches!(program, Program::Certbot | Program::Caddy | Program::CertManager) {
        without_key(&url, root, &acme, &host).await.trying(what)?;
    }
    if let Some(kid) = &args.eab_kid {
        known_key(context, kid, &args.directory).await.trying(what)?;
    }
    let name = match program {
        Program::CertManager => object_name(args.name.as_deref()).trying(what)?,
        _ => host,
    };
    let facts =
        Facts { acme: format!("{url}{acme}"), url, roots, name, kid: args.eab_kid, repeated: context.repeated() };
    let text = match program {
        Program::Certbot => certbot(&facts),
        Program::Caddy => caddy(&facts),
        Program::CertManager => cert_manager(&facts),
        Program::Git => git(&facts),
        Program::Docker => docker(&facts),
        Program::KubeApiserver => kube_apiserver(&facts),
        Program::Kubectl => kubectl(&facts),
        Program::Nginx => nginx(&facts),
    };
    Ok(output::data(&match program {
        Program::CertManager | Program::KubeApiserver => text,
        _ => stopping(&text),
    })?)
}

/// The same script as one unit that stops at the first command that fails, above all at a root that is another one. It is
/// a shell of its own, so that the one that it is pasted into stays.
fn stopping(script: &str) -> String {
    let lines: Vec<&str> = script.lines().collect();
    let told = lines.iter().rev().take_while(|line| line.starts_with("# ")).count();
    let (run, remarks) = lines.split_at(lines.len() - told);
    let (heading, steps) = run.split_at(1.min(run.len()));
    [heading, &["(", "set -e"], steps, &[")"], remarks].concat().iter().map(|line| format!("{line}\n")).collect()
}

/// The host that was given, else one beside the CA. It goes into a script, so it must be a name and nothing else.
fn named(args: &QuickstartArgs, url: &str) -> Result<String, Error> {
    let first = match args.program {
        Program::Git => "git",
        Program::Docker => "registry",
        Program::Kubectl => "k8s",
        _ => "web",
    };
    let host = url::Url::parse(url).ok().and_then(|u| u.host_str().map(str::to_owned)).unwrap_or_default();
    let beside = host.split_once('.').filter(|_| host.parse::<std::net::Ipv4Addr>().is_err()).map(|(_, zone)| zone);
    // what cert-manager has a name for is no host
    let given = args.name.clone().filter(|_| !matches!(args.program, Program::CertManager));
    let name = given.unwrap_or_else(|| format!("{first}.{}", beside.unwrap_or("lab.example")));
    let (host, port) = name.split_once(':').unwrap_or((&name, "1"));
    let address = host.parse::<std::net::Ipv4Addr>().is_ok();
    let ok = port.parse::<u16>().is_ok() && (address || (Identifier::dns(host).is_ok() && !host.contains('*')));
    if ok {
        Ok(name)
    } else {
        Err(Error::malformed(format!("--name \"{name}\" is no host: give a DNS name, as HOST or HOST:PORT")))
    }
}

/// The ClusterIssuer's name, which its Secrets begin with: two of them on one cluster need two names.
fn object_name(given: Option<&str>) -> Result<String, Error> {
    let name = given.unwrap_or("chancery");
    let is_word = |label: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty() && label.chars().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() <= LONGEST_NAME && name.split('.').all(is_word) {
        return Ok(name.to_owned());
    }
    Err(Error::malformed(format!(
        "--name \"{}\" is no name for a ClusterIssuer: give at most {LONGEST_NAME} lower-case letters, digits, hyphens and dots, \
         beginning and ending with a letter or a digit",
        shown(name)
    )))
}

/// The script needs this trust domain. A server that is out of reach is not asked.
async fn with_domain(url: &str, root: &Root, domain: &str) -> Result<(), Error> {
    match anchor::read(url, &root.der, &format!("/bundles/{domain}.pem")).await {
        Ok(answer) if answer.status == 404 => {
            let detail = format!(
                "{url} has no trust domain {domain}; make it on the server with `chancery ca create {domain}`"
            );
            Err(Error::new(ErrorKind::NotFound, detail))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A directory that takes accounts by key only needs one here too. A server that is out of reach is not asked.
async fn without_key(url: &str, root: &Root, acme: &str, name: &str) -> Result<(), Error> {
    let Ok(answer) = anchor::read(url, &root.der, acme).await else { return Ok(()) };
    let directory: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status == 404 {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("{url} has no ACME directory at {acme}; see `chancery acme directory list`"),
        ));
    }
    if directory["meta"]["externalAccountRequired"] != Value::Bool(true) {
        return Ok(());
    }
    let detail = format!(
        "this directory takes accounts by key only: make one with `chancery acme eab create --name quickstart --allow-name {name}` and give its kid with --eab-kid"
    );
    Err(Error::new(ErrorKind::Malformed, detail))
}

/// The key that the script names has to work in this directory. Whoever may not list keys is believed.
async fn known_key(context: &Context, kid: &str, directory: &str) -> Result<(), Error> {
    let Ok(client) = context.client().await else { return Ok(()) };
    let Ok(keys) = listing::all(&client, EAB_KEYS.path).await else { return Ok(()) };
    let Some(key) = keys.iter().find(|key| key["kid"] == kid) else {
        let detail = format!(
            "no external account key has the kid \"{}\"; `{}` shows those that there are, and `chancery acme eab create --name \
             quickstart --allow-name NAME` makes one",
            shown(kid),
            EAB_KEYS.list
        );
        return Err(Error::new(ErrorKind::NotFound, detail));
    };
    let (status, its) = (output::text(key, "status"), output::text(key, "directory"));
    match (status == "active", its == directory) {
        (true, true) => Ok(()),
        (false, _) => Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "external account key {} registers no account, because its status is {status}; name another one with --eab-kid",
                shown(kid)
            ),
        )),
        (true, false) => Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "external account key {} is for the ACME directory {its}; add --directory {its}, or name another key",
                shown(kid)
            ),
        )),
    }
}

/// The root, fetched and compared, at a place where every program may read it. While the CA changes its root the others
/// come from the server, over TLS under the root that was compared.
fn fetch(f: &Facts) -> String {
    let print = f.roots.first().map(|root| root.fingerprint.to_string()).unwrap_or_default();
    let others = match f.roots.len() {
        0 | 1 => String::new(),
        _ => format!(
            "curl -fsS --cacert chancery-root.pem {}/bundles/tls.pem -o chancery-roots.pem && mv chancery-roots.pem chancery-root.pem\n",
            f.url
        ),
    };
    format!(
        "curl -kfsS {}/root.pem -o chancery-root.pem\n\
         openssl x509 -in chancery-root.pem -outform DER | sha256sum | grep {print} || {{ echo \"stopped: this root is another one\" >&2; exit 1; }}\n\
         {others}sudo install -Dm644 chancery-root.pem {ROOT}\n",
        f.url
    )
}

/// What the commands of the script need that cannot be printed.
fn note(f: &Facts) -> String {
    f.repeated.note().map_or_else(String::new, |note| format!("# {note}\n"))
}

/// The HMAC key is a secret: it comes from the environment, not from a command line that others see.
fn key(f: &Facts) -> &'static str {
    if f.kid.is_some() {
        ": \"${EAB_HMAC_KEY:?set it to the HMAC key that chancery acme eab create printed}\"\n"
    } else {
        ""
    }
}

fn certbot(f: &Facts) -> String {
    let (name, acme) = (&f.name, &f.acme);
    let eab = f
        .kid
        .as_ref()
        .map_or_else(String::new, |kid| format!(" \\\n    --eab-kid {kid} --eab-hmac-key \"$EAB_HMAC_KEY\""));
    format!(
        "# certbot: a certificate for {name} by http-01; port 80 of this host must answer for that name\n\
         {}{}sudo REQUESTS_CA_BUNDLE={ROOT} certbot certonly --standalone --non-interactive --agree-tos --register-unsafely-without-email \\\n    --server {acme} -d {name}{eab}\n\
         # the timer that renews needs the variable too\n\
         sudo mkdir -p /etc/systemd/system/certbot.service.d\n\
         printf '[Service]\\nEnvironment=REQUESTS_CA_BUNDLE={ROOT}\\n' | sudo tee /etc/systemd/system/certbot.service.d/chancery.conf\n\
         # check\n\
         sudo openssl verify -CAfile {ROOT} -untrusted /etc/letsencrypt/live/{name}/chain.pem /etc/letsencrypt/live/{name}/cert.pem\n\
         # undo: sudo REQUESTS_CA_BUNDLE={ROOT} certbot revoke --non-interactive --delete-after-revoke --cert-name {name} && sudo rm {ROOT} /etc/systemd/system/certbot.service.d/chancery.conf\n",
        fetch(f),
        key(f)
    )
}

fn caddy(f: &Facts) -> String {
    let (name, acme) = (&f.name, &f.acme);
    let eab = f.kid.as_ref().map_or_else(String::new, |kid| {
        format!("\tacme_eab {{\n\t\tkey_id {kid}\n\t\tmac_key {{$EAB_HMAC_KEY}}\n\t}}\n")
    });
    format!(
        "# Caddy: certificates for every site of its Caddyfile, by http-01 or tls-alpn-01; ports 80 and 443 must answer\n\
         {}{}cat >Caddyfile <<'END'\n{{\n\tacme_ca {acme}\n\tacme_ca_root {ROOT}\n{eab}}}\n{name} {{\n\trespond \"hello from {name}\"\n}}\nEND\n\
         caddy validate --adapter caddyfile --config Caddyfile\n\
         caddy start --adapter caddyfile --config Caddyfile\n\
         # check\n\
         curl -fsS --cacert {ROOT} --retry 20 --retry-all-errors --retry-delay 1 https://{name}/\n\
         # undo: caddy stop && sudo rm {ROOT}\n",
        fetch(f),
        key(f)
    )
}

fn nginx(f: &Facts) -> String {
    let name = &f.name;
    let issue = f.repeated.command(&format!("issue {name} --force"));
    let renew = f.repeated.command(&format!("renew {name}.crt"));
    format!(
        "# nginx: a key made here, a certificate for {name}, a site with both\n\
         {}{}{issue}\n\
         sudo install -Dm644 {name}.crt /etc/nginx/tls/{name}.crt\n\
         sudo install -Dm600 {name}.key /etc/nginx/tls/{name}.key\n\
         sudo tee /etc/nginx/conf.d/{name}.conf <<'END'\n\
         server {{\n    listen 443 ssl;\n    server_name {name};\n    ssl_certificate /etc/nginx/tls/{name}.crt;\n    ssl_certificate_key /etc/nginx/tls/{name}.key;\n    location / {{ return 200 \"hello from {name}\\n\"; }}\n}}\nEND\n\
         sudo nginx -t\n\
         sudo nginx -s reload || sudo nginx\n\
         # check\n\
         curl -fsS --cacert {ROOT} --retry 5 --retry-all-errors https://{name}/\n\
         # renew, once a day in this directory: {renew} && sudo install -m644 {name}.crt /etc/nginx/tls/ && sudo install -m600 {name}.key /etc/nginx/tls/ && sudo nginx -s reload\n\
         # undo: sudo rm /etc/nginx/conf.d/{name}.conf /etc/nginx/tls/{name}.crt /etc/nginx/tls/{name}.key && sudo nginx -s reload\n",
        fetch(f),
        note(f)
    )
}

fn git(f: &Facts) -> String {
    let name = &f.name;
    format!(
        "# git: trust for https://{name} alone; a variable GIT_SSL_CAINFO would override it\n\
         {}unset GIT_SSL_CAINFO\n\
         git config --global http.https://{name}/.sslCAInfo {ROOT}\n\
         # check which file git uses for it; then git ls-remote of a repository there\n\
         git config --get-urlmatch http.sslCAInfo https://{name}/\n\
         # undo: git config --global --unset http.https://{name}/.sslCAInfo\n",
        fetch(f)
    )
}

fn docker(f: &Facts) -> String {
    let name = &f.name;
    format!(
        "# container clients: trust for the registry {name}; nothing needs a restart\n\
         {}# docker\n\
         sudo install -Dm644 {ROOT} /etc/docker/certs.d/{name}/ca.crt\n\
         # podman, skopeo, buildah\n\
         sudo install -Dm644 {ROOT} /etc/containers/certs.d/{name}/ca.crt\n\
         # containerd, with config_path = \"/etc/containerd/certs.d\"\n\
         sudo mkdir -p /etc/containerd/certs.d/{name}\n\
         printf 'server = \"https://{name}\"\\n[host.\"https://{name}\"]\\n  ca = \"{ROOT}\"\\n' | sudo tee /etc/containerd/certs.d/{name}/hosts.toml\n\
         # check\n\
         curl -fsS --cacert /etc/docker/certs.d/{name}/ca.crt https://{name}/v2/\n\
         # undo: sudo rm -r /etc/docker/certs.d/{name} /etc/containers/certs.d/{name} /etc/containerd/certs.d/{name}\n",
        fetch(f)
    )
}

fn kubectl(f: &Facts) -> String {
    let (name, url) = (&f.name, &f.url);
    let issue = f.repeated.command("issue --profile kube-admin --force");
    let server = if name.contains(':') { name.clone() } else { format!("{name}:6443") };
    format!(
        "# kubectl: an administrator's certificate for the cluster behind {server}; the trust domain kubernetes must exist\n\
         {}curl -fsS --cacert {ROOT} {url}/bundles/kubernetes.pem -o kubernetes-ca.pem\n\
         {}{issue}\n\
         kubectl config set-cluster chancery --server https://{server} --certificate-authority kubernetes-ca.pem --embed-certs\n\
         kubectl config set-credentials kubernetes-admin --client-certificate kube-admin.crt --client-key kube-admin.key --embed-certs\n\
         kubectl config set-context chancery --cluster chancery --user kubernetes-admin\n\
         kubectl config use-context chancery\n\
         # check\n\
         kubectl auth whoami\n\
         # undo: kubectl config delete-context chancery && kubectl config delete-cluster chancery && kubectl config delete-user kubernetes-admin\n",
        fetch(f),
        note(f)
    )
}

/// The right of an API server to ask kubelets, for clusters that nobody gave it to.
fn kube_apiserver(f: &Facts) -> String {
    let issue = f.repeated.command(&format!("issue --profile {KUBELET_CLIENT} --force"));
    format!(
        "# chancery quickstart kube-apiserver | kubectl apply -f -\n\
         # kubeadm from 1.36.1 makes such a binding itself; every other cluster needs it once for certificates of this profile\n\
         # certificate and key for --kubelet-client-certificate and --kubelet-client-key of kube-apiserver: {issue}\n\
         {}# check: kubectl auth can-i get nodes/proxy --as {KUBELET_CLIENT}\n\
         # undo: kubectl delete clusterrolebinding {KUBELET_CLIENT}\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata:\n  name: {KUBELET_CLIENT}\n\
         roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: ClusterRole\n  name: system:kubelet-api-admin\n\
         subjects:\n  - apiGroup: rbac.authorization.k8s.io\n    kind: User\n    name: {KUBELET_CLIENT}\n",
        note(f)
    )
}

/// YAML for `kubectl apply -f -`: comments are comments there too.
fn cert_manager(f: &Facts) -> String {
    let bundle = base64::engine::general_purpose::STANDARD.encode(f.roots.iter().map(Root::pem).collect::<String>());
    let prints: Vec<String> = f.roots.iter().map(|root| root.fingerprint.to_string()).collect();
    let (acme, name, fingerprint) = (&f.acme, &f.name, prints.join(" and "));
    let how = match &f.kid {
        Some(kid) => format!(
            "    # kubectl -n cert-manager create secret generic {name}-eab --from-literal=hmac=HMAC_KEY\n    \
             externalAccountBinding:\n      keyID: {kid}\n      keySecretRef: {{ name: {name}-eab, key: hmac }}\n    \
             # names inside the key's grant need no solver\n    solvers: []\n"
        ),
        None => "    solvers:\n      - http01:\n          ingress: { ingressClassName: nginx }\n".to_owned(),
    };
    let print = match name.as_str() {
        "chancery" => "chancery quickstart cert-manager".to_owned(),
        name => format!("chancery quickstart cert-manager --name {name}"),
    };
    format!(
        "# {print} | kubectl apply -f -\n\
         # check: kubectl wait --for condition=Ready clusterissuer/{name}\n\
         # undo: kubectl delete clusterissuer {name}\n\
         apiVersion: cert-manager.io/v1\nkind: ClusterIssuer\nmetadata:\n  name: {name}\nspec:\n  acme:\n    server: {acme}\n    \
         # the root with the fingerprint {fingerprint}\n    caBundle: {bundle}\n    \
         privateKeySecretRef: {{ name: {name}-acme-account }}\n{how}"
    )
}
