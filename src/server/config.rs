//! The settings as types that cannot be wrong, with their defaults. What `config show --origin` prints comes
//! from the same values that `serve` runs with.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::checkpoint_targets::Target;
use super::config_map::ConfigMapName;
pub use super::database_url::DatabaseUrl;
use super::proxies::{ListenerName, trusted_network};
use super::settings::{Environment, Flags, Given, Origin, SETTINGS, Setting, config_error};
use crate::error::{Error, Result};
use crate::model::network::IpNetwork;
use crate::model::times::{parse_any_duration, parse_duration};

#[derive(Debug, Clone)]
pub struct Config {
    pub data: PathBuf,
    pub database: DatabaseUrl,
    /// The Postgres server may run with fsync=off: for a database that may be lost.
    pub allow_unsafe_database: bool,
    /// An empty database is refused.
    pub must_exist: bool,
    pub unlock_key: PathBuf,
    /// Figures of the database that are kept outside of it.
    pub anchor: AnchorSetting,
    /// Where the token of the service account is that patches the anchor's ConfigMap.
    pub anchor_credentials: PathBuf,
    /// The API server of the cluster, in a pod.
    pub api_server: Option<Url>,
    pub external_url: Option<Url>,
    pub status_url: Option<Url>,
    pub listen: Listen,
    pub listen_http: Listen,
    pub listen_ops: Listen,
    /// Parsed from the first day; nothing listens there yet.
    pub listen_mtls: Option<Listen>,
    pub only: Only,
    pub locked: bool,
    pub drain: Duration,
    pub crl_backdate: Duration,
    pub checkpoints: Vec<Target>,
    pub tls: Option<OwnCertificate>,
    /// How long browsers shall insist on HTTPS for the external URL's name.
    pub hsts: Option<Duration>,
    /// Networks of the reverse proxies whose X-Forwarded-For and Forwarded count.
    pub trusted_proxies: Vec<IpNetwork>,
    /// Listeners whose connections begin with PROXY protocol v2.
    pub proxy_protocol: Vec<ListenerName>,
    pub acme: AcmeConfig,
    given: Given,
}

/// Where figures of the database are kept outside of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnchorSetting {
    File(PathBuf),
    ConfigMap(ConfigMapName),
}

impl AnchorSetting {
    fn parse(text: &str) -> Result<Self, String> {
        match ConfigMapName::parse(text) {
            Some(named) => named.map(AnchorSetting::ConfigMap),
            None => Ok(AnchorSetting::File(PathBuf::from(text))),
        }
    }
}

impl fmt::Display for AnchorSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnchorSetting::File(path) => write!(f, "{}", path.display()),
            AnchorSetting::ConfigMap(named) => named.fmt(f),
        }
    }
}

/// An address to listen on, and whether somebody asked for exactly this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    pub address: SocketAddr,
    /// `[::]` by default, or for `:PORT`, may fall back to IPv4 on a machine without IPv6.
    pub may_fall_back: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Only {
    Both,
    Web,
    Worker,
}

/// The operator's own TLS certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnCertificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// How validation reaches the machines whose names it checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeConfig {
    pub http01_port: u16,
    pub tls_alpn01_port: u16,
    pub resolvers: Vec<SocketAddr>,
    pub allow_networks: Vec<IpNetwork>,
    pub deny_networks: Vec<IpNetwork>,
    pub allow_loopback: bool,
    pub dns_random_case: bool,
}

impl Config {
    pub fn load(flags: &Flags, environment: &Environment) -> Result<Config> {
        let given = Given::read(flags, environment)?;
        let data = match given.value("data") {
            Some(path) => PathBuf::from(path),
            None => default_data(environment),
        };
        let unlock_key = match given.value("unlock_key") {
            Some(path) => PathBuf::from(path),
            None => credential(environment).unwrap_or_else(|| data.join("unlock.key")),
        };
        Ok(Config {
            database: DatabaseUrl::from_given(&given, &data)?,
            allow_unsafe_database: given.parse("allow_unsafe_database", switch)?.unwrap_or(false),
            must_exist: given.parse("must_exist", switch)?.unwrap_or(false),
            unlock_key,
            anchor: given
                .parse("anchor", AnchorSetting::parse)?
                .unwrap_or_else(|| AnchorSetting::File(data.join("anchor.json"))),
            anchor_credentials: PathBuf::from(given.value("anchor_credentials").unwrap_or(SERVICE_ACCOUNT)),
            api_server: api_server(environment),
            external_url: given.parse("external_url", |v| base_url(v, &["https"]))?,
            status_url: given.parse("status_url", |v| base_url(v, &["http", "https"]))?,
            listen: listen(&given, "listen", SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8443)))?,
            listen_http: listen(&given, "listen_http", SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8080)))?,
            listen_ops: listen(&given, "listen_ops", SocketAddr::from(([127, 0, 0, 1], 9464)))?,
            listen_mtls: given.parse("listen_mtls", listen_or_off)?.flatten(),
            only: given.parse("only", only)?.unwrap_or(Only::Both),
            locked: given.parse("locked", switch)?.unwrap_or(false),
            drain: given.parse("drain", short)?.unwrap_or(Duration::from_secs(5)),
            crl_backdate: given.parse("crl_backdate", backdate)?.unwrap_or(crate::authority::crl::BACKDATE),
            checkpoints: given.parse("checkpoints", |v| items(v).map(Target::parse).collect())?.unwrap_or_default(),
            tls: own_certificate(&given)?,
            hsts: given.parse("hsts", hsts)?.flatten(),
            trusted_proxies: given
                .parse("trusted_proxies", |v| items(v).map(trusted_network).collect())?
                .unwrap_or_default(),
            proxy_protocol: given
                .parse("proxy_protocol", |v| items(v).map(ListenerName::parse).collect())?
                .unwrap_or_default(),
            acme: AcmeConfig::from_given(&given)?,
            data,
            given,
        })
    }

    /// Every setting with its value as text and its origin, for `config show`. No secret is in it.
    pub fn rows(&self) -> Vec<(&'static Setting, String, Origin)> {
        SETTINGS
            .iter()
            .map(|setting| {
                let origin = match self.given.get(setting.key) {
                    Some((_, origin)) => origin,
                    None if setting.key == "unlock_key" && self.unlock_key != self.data.join("unlock.key") => {
                        Origin::Credential
                    }
                    None => Origin::Default,
                };
                (setting, self.shown(setting.key), origin)
            })
            .collect()
    }

    fn shown(&self, key: &str) -> String {
        let url = |u: &Option<Url>| u.as_ref().map(base_text).unwrap_or_default();
        match key {
            "data" => self.data.display().to_string(),
            "database_url" => self.database.to_string(),
            "unlock_key" => self.unlock_key.display().to_string(),
            "anchor" => self.anchor.to_string(),
            "anchor_credentials" => self.anchor_credentials.display().to_string(),
            "external_url" => url(&self.external_url),
            "status_url" => url(&self.status_url),
            "listen" => self.listen.address.to_string(),
            "listen_http" => self.listen_http.address.to_string(),
            "listen_ops" => self.listen_ops.address.to_string(),
            "listen_mtls" => self.listen_mtls.map_or_else(|| "off".into(), |l| l.address.to_string()),
            "only" => match self.only {
                Only::Both => "both",
                Only::Web => "web",
                Only::Worker => "worker",
            }
            .into(),
            "hsts" => self.hsts.map_or_else(|| "off".to_owned(), |time| format!("{}s", time.as_secs())),
            "allow_unsafe_database" => self.allow_unsafe_database.to_string(),
            "must_exist" => self.must_exist.to_string(),
            "checkpoints" => self.checkpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            "locked" => self.locked.to_string(),
            "drain" => format!("{}ms", self.drain.as_millis()),
            "crl_backdate" => format!("{}s", self.crl_backdate.as_secs()),
            "acme.http01_port" => self.acme.http01_port.to_string(),
            "acme.tls_alpn01_port" => self.acme.tls_alpn01_port.to_string(),
            "acme.allow_loopback" => self.acme.allow_loopback.to_string(),
            "acme.dns_random_case" => self.acme.dns_random_case.to_string(),
            // these have no default, or are kept as they were written
            _ => self.given.value(key).unwrap_or_default().to_owned(),
        }
    }

    /// The base of ACME URLs and links once the HTTPS listener is bound.
    pub fn external_base(&self, bound: SocketAddr, fqdn: &str) -> String {
        self.external_url.as_ref().map_or_else(|| derived_base("https", bound, fqdn, 443), base_text)
    }

    /// The base of CRL, OCSP and issuer pointers once the plain listener is bound.
    pub fn status_base(&self, bound: SocketAddr, fqdn: &str) -> String {
        self.status_url.as_ref().map_or_else(|| derived_base("http", bound, fqdn, 80), base_text)
    }
}

impl AcmeConfig {
    fn from_given(given: &Given) -> Result<AcmeConfig> {
        let networks = |key: &str| given.parse(key, networks).map(Option::unwrap_or_default);
        Ok(AcmeConfig {
            http01_port: given.parse("acme.http01_port", port)?.unwrap_or(80),
            tls_alpn01_port: given.parse("acme.tls_alpn01_port", port)?.unwrap_or(443),
            resolvers: given.parse("acme.resolvers", resolvers)?.unwrap_or_default(),
            allow_networks: networks("acme.allow_networks")?,
            deny_networks: networks("acme.deny_networks")?,
            allow_loopback: given.parse("acme.allow_loopback", switch)?.unwrap_or(false),
            dns_random_case: given.parse("acme.dns_random_case", switch)?.unwrap_or(true),
        })
    }
}

fn default_data(environment: &Environment) -> PathBuf {
    if let Some(path) = environment.path("STATE_DIRECTORY") {
        return path;
    }
    if let Some(path) = environment.path("XDG_DATA_HOME").filter(|p| p.is_absolute()) {
        return path.join("chancery");
    }
    match environment.path("HOME") {
        Some(home) if home != Path::new("/") => home.join(".local/share/chancery"),
        _ => PathBuf::from("/var/lib/chancery"),
    }
}

/// systemd's `LoadCredential=unlock-key`.
/// Where Kubernetes mounts the token of a pod.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// As Kubernetes names it to every pod.
fn api_server(environment: &Environment) -> Option<Url> {
    let (host, port) = (environment.text("KUBERNETES_SERVICE_HOST")?, environment.text("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Url::parse(&format!("https://{host}:{port}")).ok()
}

fn credential(environment: &Environment) -> Option<PathBuf> {
    environment.path("CREDENTIALS_DIRECTORY").map(|d| d.join("unlock-key")).filter(|p| p.exists())
}

fn own_certificate(given: &Given) -> Result<Option<OwnCertificate>> {
    match (given.value("tls.certificate"), given.value("tls.key")) {
        (Some(certificate), Some(key)) => {
            Ok(Some(OwnCertificate { certificate: certificate.into(), key: key.into() }))
        }
        (None, None) => Ok(None),
        _ => Err(config_error("tls.certificate and tls.key belong together: give both or neither")),
    }
}

fn listen(given: &Given, key: &str, default: SocketAddr) -> Result<Listen> {
    let asked = given.parse(key, address)?;
    let is_open = given.value(key).is_none_or(|text| text.starts_with(':'));
    Ok(Listen { address: asked.unwrap_or(default), may_fall_back: is_open })
}

fn listen_or_off(text: &str) -> Result<Option<Listen>, String> {
    match text {
        "off" => Ok(None),
        other => address(other).map(|address| Some(Listen { address, may_fall_back: false })),
    }
}

/// `IP:PORT`, `localhost:PORT`, or `:PORT` for every address of the machine.
fn address(text: &str) -> Result<SocketAddr, String> {
    let spelled = match text.rsplit_once(':') {
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        Some(("", port)) => format!("[::]:{port}"),
        _ => text.to_owned(),
    };
    spelled
        .parse()
        .map_err(|_| format!("\"{text}\" is not an address to listen on; write it as 127.0.0.1:8443 or [::]:8443"))
}

fn base_url(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let wanted = schemes.join(" or ");
    let url =
        Url::parse(text).map_err(|e| format!("\"{text}\" is not a URL ({e}); write it as {wanted}://ca.example"))?;
    if !schemes.contains(&url.scheme()) {
        return Err(format!("\"{text}\" is not a URL with {wanted}"));
    }
    let plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if url.host_str().is_none() || !plain || url.path() != "/" {
        return Err(format!(
            "\"{text}\" has more than scheme, host and port; write it as {wanted}://ca.example:8443"
        ));
    }
    Ok(url)
}

/// Without the slash at the end.
fn base_text(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

fn derived_base(scheme: &str, bound: SocketAddr, fqdn: &str, usual_port: u16) -> String {
    let host = match bound.ip() {
        ip if ip.is_unspecified() => fqdn.to_owned(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    if bound.port() == usual_port {
        format!("{scheme}://{host}")
    } else {
        format!("{scheme}://{host}:{}", bound.port())
    }
}

fn only(text: &str) -> Result<Only, String> {
    match text {
        "both" => Ok(Only::Both),
        "web" => Ok(Only::Web),
        "worker" => Ok(Only::Worker),
        _ => Err(format!("\"{text}\" is neither web nor worker")),
    }
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("\"{text}\" is neither true nor false")),
    }
}

/// `off`, or a time of at least a second such as `180d`.
fn hsts(text: &str) -> Result<Option<Duration>, String> {
    if text == "off" {
        return Ok(None);
    }
    let time = parse_duration(text).ok();
    time.map(Some).ok_or_else(|| format!("\"{text}\" is neither off nor a time such as 180d"))
}

/// From nothing to an hour.
fn short(text: &str) -> Result<Duration, String> {
    let time = parse_any_duration(text).map_err(|e| e.detail)?;
    let allowed = time <= Duration::from_secs(3_600);
    allowed.then_some(time).ok_or_else(|| format!("\"{text}\" is longer than 1h; write it as 500ms, 5s or 2m"))
}

/// How far back thisUpdate may lie: an hour is more than any clock of a verifier should be wrong.
fn backdate(text: &str) -> Result<Duration, String> {
    let back = short(text)?;
    let allowed = back <= Duration::from_secs(3_600) && back.subsec_nanos() == 0;
    allowed.then_some(back).ok_or_else(|| format!("\"{text}\" is not in whole seconds from 0 to 1h"))
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().ok().filter(|p| *p != 0).ok_or_else(|| format!("\"{text}\" is not a port from 1 to 65535"))
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn resolvers(text: &str) -> Result<Vec<SocketAddr>, String> {
    let one = |item: &str| match item.parse::<IpAddr>() {
        Ok(ip) => Ok(SocketAddr::new(ip, 53)),
        Err(_) => item.parse().map_err(|_| format!("\"{item}\" is not a resolver; write it as 10.0.0.53:53")),
    };
    items(text).map(one).collect()
}

fn networks(text: &str) -> Result<Vec<IpNetwork>, String> {
    items(text).map(|item| IpNetwork::parse(item).map_err(|refusal| refusal.detail)).collect()
}

/// Makes the data directory with mode 0700 and proves that it can be written.
pub fn prepare_data(data: &Path) -> Result<()> {
    let refuse = |e: std::io::Error| -> Error {
        config_error(format!(
            "cannot write to the data directory {}: {e}; choose another with --data DIR",
            data.display()
        ))
    };
    let mut builder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(data).map_err(refuse)?;
    let probe = data.join(format!(".probe-{}", std::process::id()));
    std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(flags: &[(&'static str, &str)], environment: &[(&str, &str)]) -> Result<Config> {
        let flags = flags.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
        Config::load(&flags, &Environment::of(environment))
    }

    fn refusal(flags: &[(&'static str, &str)], environment: &[(&str, &str)]) -> String {
        load(flags, environment).unwrap_err().detail
    }

    fn file(text: &str) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chancery.toml");
        std::fs::write(&path, text).unwrap();
        (dir, path.display().to_string())
    }

    #[test]
    fn a_flag_beats_the_environment_beats_the_file() {
        let (_dir, path) =
            file("listen = \"127.0.0.1:1\"\nlisten_http = \"127.0.0.1:2\"\nlisten_ops = \"127.0.0.1:3\"\n");
        let config = load(
            &[("config", &path), ("listen", "127.0.0.1:7")],
            &[("CHANCERY_LISTEN", "127.0.0.1:8"), ("CHANCERY_LISTEN_HTTP", "127.0.0.1:9")],
        )
        .unwrap();
        assert_eq!(config.listen.address.port(), 7);
        assert_eq!(config.listen_http.address.port(), 9);
        assert_eq!(config.listen_ops.address.port(), 3);
        let origins: Vec<_> =
            config.rows().into_iter().filter(|r| r.0.key.starts_with("listen")).map(|r| r.2.name()).collect();
        assert_eq!(origins, ["flag", "environment", "file", "default"]);
    }

    #[test]
    fn unknown_keys_are_refused_with_a_suggestion() {
        let (_dir, path) = file("listn = \"127.0.0.1:1\"\n");
        assert!(refusal(&[("config", &path)], &[]).ends_with("unknown key \"listn\"; did you mean listen?"));
        let (_dir, path) = file("[acme]\nhttp_port = 80\n");
        assert!(refusal(&[("config", &path)], &[]).contains("unknown key \"acme.http_port\""));
        assert!(refusal(&[], &[("CHANCERY_LISTN", "x")]).ends_with("did you mean CHANCERY_LISTEN?"));
    }

    #[test]
    fn proxies_are_networks_and_listeners_are_named() {
        let config = load(
            &[],
            &[("CHANCERY_TRUSTED_PROXIES", "10.0.0.0/8, ::1"), ("CHANCERY_PROXY_PROTOCOL", "https,listen_http")],
        )
        .unwrap();
        assert_eq!(config.trusted_proxies.len(), 2);
        assert_eq!(config.proxy_protocol, [ListenerName::Https, ListenerName::Http]);
        let refused = refusal(&[], &[("CHANCERY_TRUSTED_PROXIES", "0.0.0.0/0")]);
        assert!(refused.contains("every client name its own address"), "{refused}");
        assert!(refusal(&[], &[("CHANCERY_PROXY_PROTOCOL", "smtp")]).contains("the listeners are https, http"));
        let (_dir, path) = file("trusted_proxies = [\"192.0.2.0/24\"]\nproxy_protocol = [\"https\"]\n");
        assert_eq!(load(&[("config", &path)], &[]).unwrap().proxy_protocol, [ListenerName::Https]);
    }

    #[test]
    fn the_data_directory_has_its_defaults() {
        let data = |e: &[(&str, &str)]| load(&[], e).unwrap().data.display().to_string();
        assert_eq!(data(&[("STATE_DIRECTORY", "/s"), ("HOME", "/h")]), "/s");
        assert_eq!(data(&[("XDG_DATA_HOME", "/x"), ("HOME", "/h")]), "/x/chancery");
        assert_eq!(data(&[("HOME", "/h")]), "/h/.local/share/chancery");
        assert_eq!(data(&[]), "/var/lib/chancery");
    }

    #[test]
    fn bases_follow_the_bound_address() {
        let config = load(&[], &[]).unwrap();
        let at = |a: &str| config.external_base(a.parse().unwrap(), "ca.example");
        assert_eq!(at("127.0.0.1:4433"), "https://127.0.0.1:4433");
        assert_eq!(at("[::]:8443"), "https://ca.example:8443");
        assert_eq!(at("[::1]:443"), "https://[::1]");
        let fixed = load(&[("external_url", "https://ca.corp/")], &[]).unwrap();
        assert_eq!(fixed.external_base("127.0.0.1:1".parse().unwrap(), "x"), "https://ca.corp");
    }

    #[test]
    fn a_wrong_value_names_the_setting_it_came_from() {
        assert!(refusal(&[("listen", "nonsense")], &[]).starts_with("--listen (flag): \"nonsense\""));
        assert!(refusal(&[], &[("CHANCERY_HSTS", "true")]).contains("neither off nor a time"));
        assert_eq!(load(&[], &[("CHANCERY_HSTS", "180d")]).unwrap().hsts, Some(Duration::from_secs(180 * 86_400)));
        assert!(refusal(&[], &[("CHANCERY_DRAIN", "soon")]).starts_with("CHANCERY_DRAIN (environment)"));
        assert!(refusal(&[("external_url", "http://x")], &[]).contains("https"));
        for (name, value) in [
            ("CHANCERY_ACME__DENY_NETWORKS", "10.0.0.0/33"),
            // bits past the length: perhaps another network was meant
            ("CHANCERY_ACME__ALLOW_NETWORKS", "192.0.2.0/24, 10.0.0.1/8"),
            ("CHANCERY_ACME__ALLOW_NETWORKS", "fd00::1/8"),
            ("CHANCERY_ACME__DENY_NETWORKS", "corp.example"),
            ("CHANCERY_ACME__RESOLVERS", "dns.example:53"),
            ("CHANCERY_ACME__RESOLVERS", "10.0.0.53:0x35"),
        ] {
            let error = load(&[], &[(name, value)]).unwrap_err();
            let bad = value.rsplit(", ").next().unwrap();
            assert_eq!(error.kind, crate::error::ErrorKind::Config);
            assert!(error.detail.starts_with(&format!("{name} (environment): \"{bad}\" is not")), "{error}");
        }
        let networks = load(&[], &[("CHANCERY_ACME__DENY_NETWORKS", "10.0.0.0/8,::1")]).unwrap().acme.deny_networks;
        assert_eq!(networks.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "::1/128"]);
    }
}
