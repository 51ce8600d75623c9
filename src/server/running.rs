//! A server from bound sockets to its stop: what `serve` runs, and what tests run with their own clock.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

use super::checkpoint_targets::Publisher;
use super::config::{AnchorSetting, Config, Only, prepare_data};
use super::config_map::{ApiServer, ConfigMap};
use super::listen::{self, Addresses, Connections, Limits, Sockets, Stop};
use super::names::fqdn;
use super::open::{self, Opened};
use super::ops::{self, Readiness};
use super::own_certificate::{Source, own_names};
use super::proxies::{ListenerName, Proxies};
use super::startup::Startup;
use super::tls::{self, HotCertificate};
use super::{assemble, background, claim, metrics as server_metrics, own_url, readiness, shutdown};
use crate::access::Access;
use crate::acme;
use crate::app::{App, Urls};
use crate::authority::{Authority, Opening, RemoteAnchor};
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::error::Result;
use crate::http::hsts::Hsts;
use crate::model::identifier::Identifier;
use crate::registration::Registration;
use crate::store::servers::{self, ServerProcess};
use crate::telemetry;
use crate::validation::{ValidationConfig, Validator};

/// A server that answers.
#[derive(Debug)]
pub struct Running {
    pub app: Arc<App>,
    pub addresses: Addresses,
    pub first_run: bool,
    /// The external URL of the server that started before, where this one has another.
    pub moved_from: Option<String>,
    readiness: Readiness,
    stop: watch::Sender<Stop>,
    halt: watch::Sender<bool>,
    connections: Connections,
    listeners: Vec<JoinHandle<()>>,
    background: Vec<JoinHandle<()>>,
    drain: Duration,
    /// Held until the stop.
    claim: Option<File>,
}

/// Binds, opens or founds, and serves. Sockets come first: a port in use is told before anything is written.
pub async fn start(config: &Config, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<Running> {
    start_telling(config, clock, entropy, &Startup::default()).await
}

/// The same for somebody who waits: `startup` says what takes long. The listener of health answers from the start, alive
/// and not ready.
pub async fn start_telling(
    config: &Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    startup: &Startup,
) -> Result<Running> {
    let metrics = telemetry::metrics()?;
    prepare_data(&config.data)?;
    let sockets = Sockets::bind(config).await?;
    let claim = claim::database(config)?;
    let addresses = sockets.addresses(config)?;
    let urls = urls(config, &addresses);
    let Sockets { web, ops } = sockets;
    let (stop, watched) = watch::channel(Stop::Running);
    let serve = |name, listener, tls, router, connections| {
        let proxies = Proxies::of(config, name);
        tokio::spawn(listen::serve(listener, tls, router, watched.clone(), connections, Limits::default(), proxies))
    };
    let readiness = Readiness::starting(startup.clone());
    // probes and scrapes are not waited for at a stop
    let health = ops::router(readiness.clone(), metrics);
    let health = EarlyListener(Some(serve(ListenerName::Ops, ops, None, health, Connections::default())));
    let (app, first_run) = open_app(config, clock, entropy, urls, &addresses, startup).await?;
    let mut moved_from = None;
    if addresses.web {
        moved_from = own_url::keep(config, &app).await;
        let server = ServerProcess {
            replica: app.store.replica(),
            external_url: app.urls.external.to_string(),
            locked: app.locked,
            started_at: app.store.now(),
        };
        servers::record(&app.store.db, &server).await?;
    }
    metrics::gauge!("chancery_locked").set(if app.locked { 1.0 } else { 0.0 });

    server_metrics::stand_once();
    server_metrics::measure(&app).await?;
    // numbers for operators, which a large database is slow with: they are no reason not to serve
    if let Err(error) = server_metrics::census(&app).await {
        tracing::warn!(error = %error.chain(), "certificates and orders could not be counted; it is tried again");
    }

    // what keeps it from writing is told by /readyz; status goes on
    if let Err(error) = app.store.prove_write().await {
        tracing::warn!(error = %error.chain(), "the database takes no writes; it is tried again");
    }

    readiness.begin(readiness::issuing(&app), readiness::status(&app));
    let (halt, halted) = watch::channel(false);
    let connections = Connections::default();
    let mut listeners = Vec::new();
    let mut shown = None;
    if let Some((https, http)) = web {
        let source = Source::of(config, &app);
        let hot = HotCertificate::new(source.first().await?);
        let secure = assemble::https(&app, &readiness, hsts(config, &app));
        listeners.push(serve(
            ListenerName::Https,
            https,
            Some(tls::server_config(hot.clone())?),
            secure,
            connections.clone(),
        ));
        listeners.push(serve(ListenerName::Http, http, None, assemble::plain(&app, &readiness), connections.clone()));
        shown = Some((source, hot));
    }
    listeners.extend(health.keep());
    let publishers = Publisher::each(&app, &config.checkpoints);
    let background = background::start(
        &app,
        publishers,
        config.only != Only::Web,
        readiness.clone(),
        shown,
        connections.clone(),
        &halted,
    );
    Ok(Running {
        app,
        addresses,
        first_run,
        moved_from,
        readiness,
        stop,
        halt,
        connections,
        listeners,
        background,
        drain: config.drain,
        claim,
    })
}

/// A listener that ends with a start that fails or is given up.
struct EarlyListener(Option<JoinHandle<()>>);

impl EarlyListener {
    fn keep(mut self) -> Option<JoinHandle<()>> {
        self.0.take()
    }
}

impl Drop for EarlyListener {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl Running {
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Stops accepting, waits for what is in flight and closes the database. True when nothing was cut off.
    pub async fn stop(self) -> bool {
        self.readiness.start_draining();
        let finished = shutdown::drain(&self.stop, &self.connections, self.drain).await;
        self.halt.send_replace(true);
        for task in self.listeners.into_iter().chain(self.background) {
            task.abort();
        }
        self.app.write_refusals(true).await;
        // what was committed last; the file is tried again by the next start
        let _ = self.app.authority.remember().await;
        let _ = self.app.authority.withdraw_trouble().await;
        // rows that stay are old in a few seconds
        let _ = self.app.store.leave_clocks().await;
        let _ = self.app.store.leave_write_proofs().await;
        self.app.store.db.close().await;
        claim::release(self.claim);
        finished
    }
}

/// Strict-Transport-Security, if it is set and the external URL's host serves no status over plain HTTP.
fn hsts(config: &Config, app: &App) -> Option<Hsts> {
    let max_age = config.hsts?;
    let host = |base: &str| Url::parse(base).ok().and_then(|url| url.host_str().map(str::to_owned));
    let snapshot = app.authority.snapshot();
    let bases = snapshot.issuers.values().map(|loaded| loaded.issuer.status_url.as_str()).chain([&*app.urls.status]);
    let status: Vec<String> = bases.filter_map(host).collect();
    let external = host(&app.urls.external).unwrap_or_default();
    let made = Hsts::new(max_age, &external, &status.iter().map(String::as_str).collect::<Vec<_>>());
    if made.is_none() {
        tracing::warn!(
            host = external,
            "hsts is set and not sent: the external URL's host is an address, localhost, or the host of CRL and OCSP links, which are plain HTTP"
        );
    }
    made
}

/// What the settings alone say.
pub fn urls(config: &Config, addresses: &Addresses) -> Urls {
    let fqdn = fqdn();
    Urls {
        external: config.external_base(addresses.https, &fqdn).into(),
        status: config.status_base(addresses.http, &fqdn).into(),
    }
}

/// Opens or founds what a server serves, under the URLs that it has by its settings or its installation, and begins to remember it: a server without its listeners.
pub async fn open_app(
    config: &Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    urls: Urls,
    addresses: &Addresses,
    startup: &Startup,
) -> Result<(Arc<App>, bool)> {
    let store = open::open_migrated(config, clock, entropy, startup).await?;
    let opened = open::open_or_found(config, store, &urls.status).await?;
    let first_run = opened.first_run;
    let urls = own_url::of_server(config, &opened, urls).await?;
    let app = app(config, opened, urls, addresses).await?;
    if first_run {
        // the receipt names the key of the audit
        app.authority.checkpoint_due().await?;
    }
    app.authority.keep_row_macs().await?;
    app.authority.begin_remembering().await?;
    planted!("keys-are-forgotten-at-restart", {
        let later = app.store.now() + crate::clock::days(365);
        crate::store::idempotency::clean(&app.store, later).await?;
    });
    Ok((app, first_run))
}

/// The whole of what requests reach, without a listener.
pub async fn app(config: &Config, opened: Opened, urls: Urls, addresses: &Addresses) -> Result<Arc<App>> {
    let Opened { store, keys, locked, .. } = opened;
    let own = vec![addresses.https, addresses.http, addresses.ops];
    let (anchor, shared_anchor) = anchor(config);
    let opening = Opening { crl_backdate: config.crl_backdate, anchor: Some(anchor), shared_anchor };
    let authority = Authority::open_with(store.clone(), keys.clone(), own_hosts(&urls), opening).await?;
    authority.recall().await?;
    let urls = match config.status_url.is_none().then(|| authority.snapshot().newest_status_url()).flatten() {
        // what init or an earlier start was given
        Some(kept) => Urls { status: kept.into(), ..urls },
        None => urls,
    };
    let validator = Arc::new(Validator::new(validation(config), own, store.clock.clone())?);
    let registration = Registration::open(authority.clone(), validator.clone(), acme::describe).await?;
    Ok(Arc::new(App {
        access: Access::with_keys(store.clone(), keys.clone()),
        registration,
        validator,
        clock: store.clock.clone(),
        entropy: store.entropy.clone(),
        authority,
        keys,
        store,
        urls,
        locked,
    }))
}

/// The anchor's file, or the ConfigMap in its place; the CRLs that were served last are always beside the file.
fn anchor(config: &Config) -> (PathBuf, Option<Arc<dyn RemoteAnchor>>) {
    match &config.anchor {
        AnchorSetting::File(path) => (path.clone(), None),
        AnchorSetting::ConfigMap(named) => {
            let credentials = config.anchor_credentials.clone();
            let server = config.api_server.clone().map(|url| ApiServer { url, credentials });
            let shared = Arc::new(ConfigMap::new(named.clone(), server));
            (config.data.join("anchor.json"), Some(shared))
        }
    }
}

/// Names that only the server itself may have: not localhost, which has a rule of its own.
fn own_hosts(urls: &Urls) -> Vec<String> {
    own_names(&urls.external).iter().map(Identifier::value).collect()
}

fn validation(config: &Config) -> ValidationConfig {
    let acme = &config.acme;
    ValidationConfig {
        http01_port: acme.http01_port,
        tls_alpn01_port: acme.tls_alpn01_port,
        resolvers: acme.resolvers.clone(),
        allow_networks: acme.allow_networks.clone(),
        deny_networks: acme.deny_networks.clone(),
        allow_loopback: acme.allow_loopback,
        random_case: acme.dns_random_case,
        ..ValidationConfig::default()
    }
}
