//! What a start tells: the receipt of a new installation (text on stderr), four lines of a later one, and the two
//! JSON lines on stdout for `-o json`. Only what is there is said.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use url::Url;

use super::config::Config;
use super::founded::KeysBefore;
use super::listen::Addresses;
use super::names::fqdn;
use crate::app::App;
use crate::error::Result;
use crate::model::issuer::IssuerRole;

/// What a new installation is for, and the command for it.
const NEXT: [(&str, &str); 5] = [
    ("trust the root here", "trust install"),
    ("get a certificate", "issue web.lab.example"),
    ("connect something", "quickstart certbot"),
    ("let a script in", "token create --name ci --role requester --allow-name lab.example"),
    ("see how it is", "doctor"),
];

/// At most 40 lines. `setup` is the one-time link, for a terminal alone: a log must never hold a live secret. `command`
/// makes a whole command of words.
pub async fn first_run(
    app: &App,
    config: &Config,
    before: KeysBefore,
    setup: Option<&str>,
    command: impl Fn(&str) -> String,
) -> Result<Vec<String>> {
    let snapshot = app.authority.snapshot();
    let mut lines = vec![
        format!("Chancery {}  ·  new installation in {}", env!("CARGO_PKG_VERSION"), config.data.display()),
        String::new(),
    ];
    for role in [IssuerRole::Root, IssuerRole::Issuing] {
        for loaded in snapshot.issuers.values().filter(|i| i.issuer.role == role) {
            let until = loaded.certificate()?.not_after.to_string();
            let what = if role == IssuerRole::Root { "root CA" } else { "issuing CA" };
            let (name, key) = (&loaded.issuer.name, loaded.sealed_key.algorithm.name());
            lines
                .push(format!("  created   {what:<12}{name:<24}{key:<8}until {}", until.get(..10).unwrap_or(&until)));
        }
    }
    for (name, loaded) in &snapshot.profiles {
        lines.push(format!("  created   profile     {name:<24}{}", loaded.config.lifetime.default));
    }
    let word = |was_there| if was_there { "used   " } else { "created" };
    lines.push(format!(
        "  {}   unlock key  {}   <- back this up, apart from the database",
        word(before.unlock),
        config.unlock_key.display()
    ));
    lines.push(format!(
        "  {}   root key    {}   <- move this to a safe place",
        word(before.root),
        config.data.join("root.key").display()
    ));
    lines.push(String::new());
    lines.extend(addresses_of(app).into_iter().map(|(name, url)| format!("  {name:<18}{url}")));
    lines.push(String::new());
    lines.push("  Root fingerprint (SHA-256): compare this, not the file".to_owned());
    lines.extend(grouped(&root_sha256(app)).into_iter().map(|l| format!("      {l}")));
    if let Some(key) = app.authority.audit_key().await? {
        lines.push("  Audit key (SHA-256): keep it for `audit verify --key`".to_owned());
        lines.extend(grouped(&key.fingerprint()).into_iter().map(|l| format!("      {l}")));
    }
    lines.push(String::new());
    lines.push("  First sign-in (once, within 15 minutes, keep private)".to_owned());
    lines.push(format!("      {}", setup.map_or_else(|| format!("run `{}`", command("setup-link")), str::to_owned)));
    lines.push(String::new());
    lines.push("  Next".to_owned());
    for (what, words) in NEXT {
        lines.push(format!("      {what:<25}{}", command(words)));
    }
    lines.push(
        "      (quickstart knows caddy, cert-manager, git, docker, kube-apiserver, kubectl and nginx, too)"
            .to_owned(),
    );
    Ok(lines)
}

/// Four lines, and one more while the server signs nothing.
pub async fn started(app: &App, addresses: &Addresses) -> Result<Vec<String>> {
    let valid: i64 = app.authority.certificate_counts().await?.iter().filter(|c| c.2 == "valid").map(|c| c.3).sum();
    let signs_nothing = app.store.check_signing().err().map(|error| format!("SIGNS NOTHING        {}", error.detail));
    let lines = [
        format!("Chancery {} ready   {}", env!("CARGO_PKG_VERSION"), app.urls.external),
        format!("ACME directory       {}", acme_directory(app)),
        format!("{valid} valid certificates{}", if app.locked { "   LOCKED: CRL and OCSP only" } else { "" }),
        listening(addresses),
    ];
    Ok(lines.into_iter().chain(signs_nothing).collect())
}

/// What it means that this server would give new issuers another status URL than the ones that are there have, or that it
/// does not listen where theirs leads.
pub fn status_moved(app: &App, config: &Config, addresses: &Addresses) -> Option<String> {
    let snapshot = app.authority.snapshot();
    let issuers: Vec<_> = snapshot.issuers.values().filter(|i| i.issuer.state.signs()).collect();
    let derived = config.status_base(addresses.http, &fqdn());
    let other =
        issuers.first().filter(|_| addresses.web && issuers.iter().all(|i| i.issuer.status_url != derived))?;
    let (slug, before) = (&other.issuer.slug, &other.issuer.status_url);
    if config.status_url.is_some() {
        return Some(format!(
            "status_url is {derived}, and the certificates of {slug} name {before} for CRL and OCSP, for as long as that issuer \
             lasts: something has to answer there; to keep it start with --status-url {before} and listen where it leads"
        ));
    }
    // a name or an address of another host leads through a proxy or a forwarding that nothing here knows
    let host = |base: &str| Url::parse(base).ok().and_then(|url| url.host_str().map(str::to_owned));
    (host(before) == host(&derived)).then(|| {
        format!(
            "the certificates of {slug} name {before} for CRL and OCSP, and this server listens for them on {}: something has \
             to answer at {before} for as long as that issuer lasts, so let --listen-http lead there, or a proxy",
            addresses.http
        )
    })
}

/// What a start under another external URL than before means, and how it is undone.
pub fn moved(before: &str, now: &str) -> String {
    format!(
        "external_url is {now}, and the server that started before had {before}: every ACME directory has another address now, \
         so ACME clients that are set up with the old one may not find it; to keep the old one start with --external-url \
         {before} (CHANCERY_EXTERNAL_URL, or external_url in the configuration file)"
    )
}

pub fn listening(addresses: &Addresses) -> String {
    if !addresses.web {
        return format!("a worker: listening on {} (metrics, health) alone", addresses.ops);
    }
    format!(
        "listening on {} (https), {} (http, status only) and {} (metrics, health)",
        addresses.https, addresses.http, addresses.ops
    )
}

/// `{"event":"first_run",…}`
pub async fn first_run_event(app: &App, config: &Config) -> Result<Value> {
    let audit_key = app.authority.audit_key().await?.map(|key| key.fingerprint());
    let snapshot = app.authority.snapshot();
    let issuers: Vec<Value> = snapshot
        .issuers
        .values()
        .map(|i| {
            let until = i.certificates.first().map(|c| c.not_after.to_string());
            let key = i.sealed_key.algorithm.name();
            json!({"issuer": i.issuer.slug, "name": i.issuer.name, "role": i.issuer.role, "key": key, "not_after": until})
        })
        .collect();
    Ok(json!({
        "event": "first_run",
        "version": env!("CARGO_PKG_VERSION"),
        "data": config.data.display().to_string(),
        "unlock_key": config.unlock_key.display().to_string(),
        "issuers": issuers,
        "profiles": snapshot.profiles.keys().collect::<Vec<_>>(),
        "external_url": &*app.urls.external,
        "status_url": &*app.urls.status,
        "acme_directory": acme_directory(app),
        "root_sha256": root_sha256(app),
        "audit_key_sha256": audit_key,
    }))
}

/// `{"event":"ready",…}` with the bound addresses; a worker has but one.
pub fn ready_event(app: &App, addresses: &Addresses) -> Value {
    let web = |url: String| addresses.web.then_some(url);
    json!({
        "event": "ready",
        "https": web(format!("https://{}", reachable(addresses.https))),
        "http": web(format!("http://{}", reachable(addresses.http))),
        "ops": format!("http://{}", reachable(addresses.ops)),
        "acme_directory": acme_directory(app),
        "root_sha256": root_sha256(app),
    })
}

/// An unspecified address becomes loopback: something that a client can connect to.
fn reachable(address: std::net::SocketAddr) -> std::net::SocketAddr {
    if address.ip().is_unspecified() { ([127, 0, 0, 1], address.port()).into() } else { address }
}

fn addresses_of(app: &App) -> Vec<(&'static str, String)> {
    vec![
        ("Dashboard", format!("{}/", app.urls.external)),
        ("ACME directory", acme_directory(app)),
        ("REST API", format!("{}/api/v1", app.urls.external)),
        ("Root certificate", format!("{}/root.pem", app.urls.external)),
        ("CRL and OCSP", app.urls.status.to_string()),
    ]
}

fn acme_directory(app: &App) -> String {
    format!("{}/acme/default/directory", app.urls.external)
}

/// Of the root that this server's own certificate stands under; lower-case hex.
pub fn root_sha256(app: &App) -> String {
    app.authority
        .own_root()
        .map(|der| digest(&SHA256, &der).as_ref().iter().map(|b| format!("{b:02x}")).collect())
        .unwrap_or_default()
}

/// Two lines of eight groups of four octets.
fn grouped(hex: &str) -> Vec<String> {
    let groups: Vec<&str> = (0..hex.len()).step_by(8).filter_map(|i| hex.get(i..i + 8)).collect();
    groups.chunks(4).map(|line| line.join(" ")).collect()
}
