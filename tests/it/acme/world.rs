//! The real ACME router, registration, authority and store, without a listener in front; http-01 goes to a real
//! listener on loopback, through a DNS server that answers 127.0.0.1 to every name.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use chancery::acme::{self, Acme};
use chancery::authority::Authority;
use chancery::authority::hierarchy::{Founding, initialise};
use chancery::clock::{Clock, ManualClock, SystemClock, Timestamp};
use chancery::entropy::{Entropy, SystemEntropy};
use chancery::http::layers::{Manners, manners};
use chancery::http::problem::Dialect;
use chancery::keys::seal::KeyMaterial;
use chancery::keys::store::Keys;
use chancery::model::id::EabKeyId;
use chancery::pki::signer::KeyStore;
use chancery::registration::Registration;
use chancery::store::eab_keys;
use chancery::store::engine::{Db, q};
use chancery::store::{Store, migrate};
use chancery::validation::{ValidationConfig, Validator};
use tower::ServiceExt;

use crate::issuance::rig::{Trouble, troubled};
use crate::support::postgres::create_database;
use crate::support::stores::plain;
use crate::validation::support::{A, CAA, Dns, DnsServer, TXT, Target, ok};

pub const EXTERNAL: &str = "https://acme.test";

pub struct World {
    /// Of its Postgres.
    pub url: Option<String>,
    pub store: Store,
    pub clock: ManualClock,
    pub registration: Arc<Registration>,
    router: Router,
    /// token → key authorization, as the target serves them.
    pub tokens: Arc<Mutex<HashMap<String, String>>>,
    pub authority: Arc<Authority>,
    /// What goes wrong with signatures from now on.
    pub trouble: Arc<Trouble>,
    validator: Arc<Validator>,
    keys: Arc<dyn KeyStore>,
    _targets: [Target; 2],
    /// What the DNS server says of a name; every name has the address 127.0.0.1 unless it says otherwise.
    pub zone: Arc<Mutex<HashMap<String, Zone>>>,
    pub dns: DnsServer,
    _directory: tempfile::TempDir,
}

/// What stands at a name.
pub enum Zone {
    Texts(Vec<String>),
    OverTcp(Vec<String>),
    Pieces(String),
    Alias(&'static str),
    Code(u8),
    /// No answer at all.
    Silent,
    /// Flags, tag, value; the name has its address all the same.
    Caa(Vec<(u8, String, String)>),
}

/// One world an engine.
pub async fn worlds() -> Vec<World> {
    vec![World::on(None).await, World::on(Some(create_database().await)).await]
}

impl World {
    async fn on(postgres: Option<String>) -> World {
        let directory = tempfile::tempdir().unwrap();
        let db = match &postgres {
            None => Db::open_sqlite(&directory.path().join("chancery.db")).await.unwrap(),
            Some(url) => Db::open_postgres(url, 8, "chancery").await.unwrap(),
        };
        migrate::run(&db).await.unwrap();
        let clock = ManualClock::at(SystemClock.now().truncated());
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
        let store = Store::new(db, Arc::new(clock.clone()), entropy.clone()).unwrap();
        let keys = found(&store, &entropy).await;
        let tokens: Arc<Mutex<HashMap<String, String>>> = Arc::default();
        let (served, also) = (tokens.clone(), tokens.clone());
        let target = Target::answering(move |path| answer(&served.lock().unwrap(), path)).await;
        let same_port = format!("[::1]:{}", target.port());
        let by_ipv6 = Target::answering_on(&same_port, move |path| answer(&also.lock().unwrap(), path)).await;
        let zone: Arc<Mutex<HashMap<String, Zone>>> = Arc::default();
        let asked = zone.clone();
        let dns = DnsServer::answering(move |name, kind, _| match (asked.lock().unwrap().get(name), kind) {
            (Some(Zone::Texts(list)), TXT) => Dns::Texts(list.clone()),
            (Some(Zone::OverTcp(list)), TXT) => Dns::TextsOverTcp(list.clone()),
            (Some(Zone::Pieces(text)), TXT) => Dns::Pieces(text.clone()),
            (Some(Zone::Alias(target)), _) => Dns::Alias(target),
            (Some(Zone::Caa(list)), CAA) => Dns::Caa(list.clone()),
            (Some(Zone::Code(code)), _) => Dns::Code(*code),
            (Some(Zone::Silent), _) => Dns::Silence,
            (None, TXT) => Dns::Code(3),
            (_, A) => Dns::Addresses(vec![Ipv4Addr::LOCALHOST.into()]),
            _ => Dns::Addresses(Vec::new()),
        })
        .await;
        let config = ValidationConfig {
            http01_port: target.port(),
            allow_loopback: true,
            resolvers: vec![dns.address],
            ..ValidationConfig::default()
        };
        let validator = Arc::new(Validator::new(config, Vec::new(), Arc::new(clock.clone())).unwrap());
        let trouble = Arc::new(Trouble::none());
        let keys = troubled(keys, trouble.clone());
        let authority = Authority::open(store.clone(), keys.clone(), vec!["acme.test".into()]).await.unwrap();
        let registration = Registration::open(authority.clone(), validator.clone(), acme::describe).await.unwrap();
        let router = router(&registration, &clock, &entropy);
        World {
            url: postgres,
            store,
            clock,
            registration,
            router,
            tokens,
            authority,
            validator,
            keys,
            trouble,
            _targets: [target, by_ipv6],
            zone,
            dns,
            _directory: directory,
        }
    }

    /// A second process on the same database: only Postgres shares its nonces.
    pub async fn replica(&self) -> (Arc<Registration>, Router) {
        self.replica_at(EXTERNAL).await
    }

    /// Another process's authority, with a store of its own.
    pub async fn second_authority(&self) -> Arc<Authority> {
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
        let store = Store::new(self.store.db.clone(), Arc::new(self.clock.clone()), entropy).unwrap();
        Authority::open(store, self.keys.clone(), vec!["acme.test".into()]).await.unwrap()
    }

    /// A second process with a store of its own: what it remembers ends with no change of the first.
    pub async fn elsewhere(&self) -> (Arc<Registration>, Router) {
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
        let authority = self.second_authority().await;
        let registration = Registration::open(authority, self.validator.clone(), acme::describe).await.unwrap();
        let router = router(&registration, &self.clock, &entropy);
        (registration, router)
    }

    /// The same under another external URL.
    pub async fn replica_at(&self, external: &str) -> (Arc<Registration>, Router) {
        let registration =
            Registration::open(self.authority.clone(), self.validator.clone(), acme::describe).await.unwrap();
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
        let router = router_at(external, &registration, &self.clock, &entropy);
        (registration, router)
    }

    pub fn router(&self) -> Router {
        self.router.clone()
    }

    pub async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Exchanges the sealed secrets of two rows.
    pub async fn swap_eab_keys(&self, one: EabKeyId, two: EabKeyId) {
        let sealed = |id| async move { eab_keys::secret(&self.store, id).await.unwrap().unwrap() };
        let (a, b) = (sealed(one).await, sealed(two).await);
        let set = plain("UPDATE eab_keys SET sealed = $1 WHERE id = $2");
        for (id, value) in [(one, b), (two, a)] {
            q(set).bind(value).bind(id.to_vec()).execute(&self.store.db).await.unwrap();
        }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

fn router(registration: &Arc<Registration>, clock: &ManualClock, entropy: &Arc<dyn Entropy>) -> Router {
    router_at(EXTERNAL, registration, clock, entropy)
}

fn router_at(
    external: &str,
    registration: &Arc<Registration>,
    clock: &ManualClock,
    entropy: &Arc<dyn Entropy>,
) -> Router {
    let acme = Acme { registration: registration.clone(), external_url: external.into() };
    let layers = Manners { external_url: external.into(), clock: Arc::new(clock.clone()), entropy: entropy.clone() };
    manners(acme::router(acme), layers, Dialect::Acme)
}

async fn found(store: &Store, entropy: &Arc<dyn Entropy>) -> Arc<Keys> {
    let (unlock, root) =
        (KeyMaterial::generate(entropy.as_ref()).unwrap(), KeyMaterial::generate(entropy.as_ref()).unwrap());
    let keys = Keys::locked(entropy.clone()).with_unlock(&unlock).unwrap().with_root(&root).unwrap();
    let (status, status_key) = keys.new_status_key().unwrap();
    let founding =
        Founding { status_url: "http://status.test".into(), key_check: keys.key_check().unwrap(), status_key };
    let keys = keys.with_status(&status).unwrap();
    assert!(initialise(store, &keys, &founding).await.unwrap());
    Arc::new(keys)
}

fn answer(tokens: &HashMap<String, String>, path: &str) -> Vec<u8> {
    match path.strip_prefix("/.well-known/acme-challenge/").and_then(|token| tokens.get(token)) {
        Some(body) => ok(body),
        None => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
    }
}
