//! Empty, migrated stores on both engines with a clock that tests move and repeatable chance, and the first
//! hierarchy on them. `on_both_engines!` makes two tests of one body.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chancery::authority::Authority;
use chancery::authority::hierarchy::{Founding, initialise};
use chancery::clock::{ManualClock, Timestamp};
use chancery::entropy::{Entropy, SeededEntropy};
use chancery::keys::seal::KeyMaterial;
use chancery::keys::store::Keys;
use chancery::store::engine::{Db, Row, Sql, q};
use chancery::store::{Store, migrate};

/// When every test begins: 2026-11-01T00:00:00Z.
pub const START: Timestamp = Timestamp::from_secs(1_793_491_200);

static SEEDS: AtomicU64 = AtomicU64::new(1);

/// Two tests, `NAME::sqlite` and `NAME::postgres`, of one body over an empty migrated store.
#[macro_export]
macro_rules! on_both_engines {
    ($(async fn $name:ident($at:ident) $body:block)+) => {$(
        async fn $name($at: &$crate::support::stores::At) $body

        mod $name {
            use $crate::support::stores::At;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                let at = At::sqlite().await;
                super::$name(&at).await;
                at.end().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                let at = At::postgres().await;
                super::$name(&at).await;
                at.end().await;
            }
        }
    )+};
}

/// One database of one test.
pub struct At {
    pub store: Store,
    pub clock: ManualClock,
    place: Place,
}

enum Place {
    File(tempfile::TempDir),
    Url(String),
}

impl At {
    pub async fn sqlite() -> At {
        At::open(Place::File(tempfile::tempdir().unwrap())).await
    }

    pub async fn postgres() -> At {
        At::open(Place::Url(super::postgres::create_database().await)).await
    }

    async fn open(place: Place) -> At {
        let clock = ManualClock::at(START);
        let db = place.connect().await;
        migrate::run(&db).await.unwrap();
        At { store: store(db, &clock), clock, place }
    }

    /// The same database as another process sees it: connections, chance and replica are new, the clock is shared.
    pub async fn restarted(&self) -> Store {
        store(self.connect().await, &self.clock)
    }

    pub async fn connect(&self) -> Db {
        self.place.connect().await
    }

    pub fn is_postgres(&self) -> bool {
        self.store.db.is_postgres()
    }

    /// Runs a statement of the test itself.
    pub async fn sql(&self, text: &'static str) -> u64 {
        q(plain(text)).execute(&self.store.db).await.unwrap()
    }

    pub async fn rows(&self, text: &'static str) -> Vec<Row> {
        q(plain(text)).fetch_all(&self.store.db).await.unwrap()
    }

    pub async fn count(&self, text: &'static str) -> i64 {
        self.rows(text).await[0].get("n").unwrap()
    }

    pub async fn end(self) {
        self.store.db.close().await;
        if let Place::Url(url) = self.place {
            super::postgres::drop_database(&url).await;
        }
    }
}

impl Place {
    async fn connect(&self) -> Db {
        match self {
            Place::File(folder) => Db::open_sqlite(&folder.path().join("chancery.db")).await.unwrap(),
            Place::Url(url) => Db::open_postgres(url, 8, "chancery").await.unwrap(),
        }
    }
}

fn store(db: Db, clock: &ManualClock) -> Store {
    Store::new(db, Arc::new(clock.clone()), entropy()).unwrap()
}

pub fn plain(text: &'static str) -> Sql {
    Sql { name: "test", sqlite: text, postgres: text }
}

/// Repeatable, and different for every caller, as two processes are.
pub fn entropy() -> Arc<dyn Entropy> {
    Arc::new(SeededEntropy::new(SEEDS.fetch_add(1, Ordering::Relaxed)))
}

/// Keys with all three seals, as `init` has them, and what it stores of them.
pub fn all_keys() -> (Arc<Keys>, Founding) {
    let entropy = entropy();
    let material = || KeyMaterial::generate(entropy.as_ref()).unwrap();
    let keys = Keys::locked(entropy.clone()).with_root(&material()).unwrap().with_unlock(&material()).unwrap();
    let (status, status_key) = keys.new_status_key().unwrap();
    let key_check = keys.key_check().unwrap();
    let founding = Founding { status_url: "http://ca.test:8080".into(), key_check, status_key };
    (Arc::new(keys.with_status(&status).unwrap()), founding)
}

/// The first hierarchy, with every seal loaded.
pub async fn founded(store: &Store) -> (Arc<Authority>, Arc<Keys>) {
    let (keys, founding) = all_keys();
    assert!(initialise(store, keys.as_ref(), &founding).await.unwrap());
    let authority = Authority::open(store.clone(), keys.clone(), vec!["ca.test".into()]).await.unwrap();
    (authority, keys)
}
