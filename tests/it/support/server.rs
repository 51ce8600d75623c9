//! A whole server in this process: real listeners on free ports, a database of its own, a clock that tests move.

use std::path::PathBuf;
use std::sync::Arc;

use chancery::app::App;
use chancery::clock::{Clock, ManualClock, SystemClock, Timestamp};
use chancery::entropy::SystemEntropy;
use chancery::jobs;
use chancery::server::config::Config;
use chancery::server::listen::Addresses;
use chancery::server::open;
use chancery::server::running::{self, Running};
use chancery::server::settings::Environment;
use chancery::store::jobs as queue;

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::wire::{self, Reply};

/// Two tests, `NAME::sqlite` and `NAME::postgres`, of one body over a server that runs.
#[macro_export]
macro_rules! on_both_servers {
    ($(async fn $name:ident($server:ident) $body:block)+) => {$(
        async fn $name($server: &mut $crate::support::server::TestServer) $body

        mod $name {
            use $crate::support::server::TestServer;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                let mut server = TestServer::sqlite().await;
                super::$name(&mut server).await;
                server.end().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                let mut server = TestServer::postgres().await;
                super::$name(&mut server).await;
                server.end().await;
            }
        }
    )+};
}

/// `end` it: what is left over in its queue fails the test.
pub struct TestServer {
    pub running: Option<Running>,
    pub clock: ManualClock,
    home: tempfile::TempDir,
    settings: Vec<(String, String)>,
    /// Dropped at the end.
    database: Option<String>,
}

impl TestServer {
    pub async fn sqlite() -> TestServer {
        TestServer::start(None, &[]).await
    }

    pub async fn postgres() -> TestServer {
        TestServer::start(Some(super::postgres::create_database().await), &[]).await
    }

    /// With more settings, as environment variables.
    pub async fn start(database: Option<String>, more: &[(&str, &str)]) -> TestServer {
        // the machine's time, because TLS clients judge by it
        let clock = ManualClock::at(SystemClock.now().truncated());
        TestServer::with(tempfile::tempdir().unwrap(), clock, database, more).await
    }

    /// On a copy of what an earlier version left in `stored`; of Postgres the dump there is loaded first.
    pub async fn stored(stored: &std::path::Path, postgres: bool, now: Timestamp) -> TestServer {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        std::fs::create_dir(&data).unwrap();
        for entry in std::fs::read_dir(stored).unwrap() {
            let file = entry.unwrap();
            let copy = data.join(file.file_name());
            std::fs::copy(file.path(), &copy).unwrap();
            std::fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        let database = if postgres { Some(super::postgres::load(&stored.join("dump.sql")).await) } else { None };
        TestServer::with(home, ManualClock::at(now), database, &[]).await
    }

    async fn with(
        home: tempfile::TempDir,
        clock: ManualClock,
        database: Option<String>,
        more: &[(&str, &str)],
    ) -> TestServer {
        let data = home.path().join("data");
        let mut settings = vec![("CHANCERY_DATA".to_owned(), data.display().to_string())];
        for listener in ["", "_HTTP", "_OPS"] {
            settings.push((format!("CHANCERY_LISTEN{listener}"), "127.0.0.1:0".to_owned()));
        }
        settings.extend(database.iter().map(|url| ("CHANCERY_DATABASE_URL".to_owned(), url.clone())));
        // the cluster of the tests runs with fsync=off
        settings.extend(database.iter().map(|_| ("CHANCERY_ALLOW_UNSAFE_DATABASE".to_owned(), "true".to_owned())));
        settings.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let mut server = TestServer { running: None, clock, home, settings, database };
        server.running = Some(server.launch().await);
        server
    }

    /// Another replica on the same database with the same unlock key: its disk is its own, the clock is shared.
    pub async fn replica_with(&self, settings: &[(&str, &str)]) -> TestServer {
        self.replica_at(self.clock.clone(), settings).await
    }

    /// The same on a machine with this clock.
    pub async fn replica_at(&self, clock: ManualClock, settings: &[(&str, &str)]) -> TestServer {
        let key = self.data().join("unlock.key").display().to_string();
        let home = tempfile::tempdir().unwrap();
        let settings = [settings, &[("CHANCERY_UNLOCK_KEY", &key)]].concat();
        let mut server = TestServer::with(home, clock, self.database.clone(), &settings).await;
        server.keep_database();
        server
    }

    /// Another one drops it.
    pub fn keep_database(&mut self) {
        self.database = None;
    }

    /// Its own database on Postgres.
    pub fn database_url(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// An empty database of the same kind.
    pub async fn database(&self) -> Option<String> {
        if self.database.is_some() { Some(super::postgres::create_database().await) } else { None }
    }

    /// Stops and starts again on the same disk and database, with other settings.
    pub async fn restart_with(&mut self, settings: &[(&str, &str)]) {
        for (name, value) in settings {
            self.settings.retain(|(known, _)| known != name);
            self.settings.push(((*name).to_owned(), (*value).to_owned()));
        }
        self.restart().await;
    }

    pub async fn restart(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
        self.running = Some(self.launch().await);
    }

    /// Stops, copies the database and starts again.
    pub async fn backup(&mut self) -> Backup {
        self.stop().await;
        let backup = self.copy().await;
        self.running = Some(self.launch().await);
        backup
    }

    /// The database as it is now; a SQLite server must not run.
    pub async fn copy(&self) -> Backup {
        match &self.database {
            Some(url) => Backup::Database(super::postgres::copy_database(url).await),
            None => Backup::File(std::fs::read(self.data().join("chancery.db")).unwrap()),
        }
    }

    /// Puts an earlier copy in the place of the database of a server that does not run.
    pub async fn put_back(&self, backup: &Backup) {
        match (backup, &self.database) {
            (Backup::Database(copy), Some(url)) => super::postgres::take_over(url, copy).await,
            (Backup::File(bytes), None) => {
                for rest in ["chancery.db-wal", "chancery.db-shm"] {
                    let _ = std::fs::remove_file(self.data().join(rest));
                }
                std::fs::write(self.data().join("chancery.db"), bytes).unwrap();
            }
            _ => panic!("a copy of the other engine"),
        }
    }

    /// Stops, restores the database from a copy and starts again.
    pub async fn restore(&mut self, backup: &Backup) {
        self.stop().await;
        self.put_back(backup).await;
        self.running = Some(self.launch().await);
    }

    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    pub async fn start_again(&mut self) {
        self.running = Some(self.launch().await);
    }

    /// What a start on this disk says that fails.
    pub async fn refused_start(&self) -> chancery::error::Error {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        running::start(&self.config(), clock, Arc::new(SystemEntropy::new())).await.map(drop).unwrap_err()
    }

    pub fn clock_seconds(&self) -> i64 {
        self.clock.now().secs()
    }

    fn config(&self) -> Config {
        let pairs: Vec<(&str, &str)> = self.settings.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        Config::load(&Default::default(), &Environment::of(&pairs)).unwrap()
    }

    /// What a `chancery ca` command on this host works with: the keys of the roots included.
    pub async fn host(&self) -> Arc<App> {
        let config = self.config();
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let store = open::open_store(&config, clock, Arc::new(SystemEntropy::new())).await.unwrap();
        let opened = open::open_with_root(&config, store, None).await.unwrap();
        let addresses = self.running().addresses;
        running::app(&config, opened, running::urls(&config, &addresses), &addresses).await.unwrap()
    }

    /// The same while no server runs.
    pub async fn host_of_stopped(&self) -> Arc<App> {
        let config = self.config();
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let store = open::open_store(&config, clock, Arc::new(SystemEntropy::new())).await.unwrap();
        let opened = open::open_with_root(&config, store, None).await.unwrap();
        let addresses = Addresses::configured(&config);
        running::app(&config, opened, running::urls(&config, &addresses), &addresses).await.unwrap()
    }

    async fn launch(&self) -> Running {
        let config = self.config();
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        running::start(&config, clock, Arc::new(SystemEntropy::new())).await.unwrap()
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("it was not stopped")
    }

    pub fn app(&self) -> &Arc<App> {
        &self.running().app
    }

    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    pub async fn root_pem(&self) -> Vec<u8> {
        self.http("/root.pem").await.body
    }

    /// GET on the plain listener.
    pub async fn http(&self, path: &str) -> Reply {
        wire::get(self.running().addresses.http, path).await
    }

    /// GET on the listener for metrics and health.
    pub async fn ops(&self, path: &str) -> Reply {
        wire::get(self.running().addresses.ops, path).await
    }

    /// Over TLS, verified against the root.
    pub async fn https(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let stream = self.tls().await;
        wire::ask(stream, method, path, headers, body).await.expect("an answer")
    }

    /// A connection that was verified against the root at the time that the server goes by.
    pub async fn tls(&self) -> TlsStream<TcpStream> {
        let root = self.root_pem().await;
        wire::tls(self.running().addresses.https, &root, self.app().clock.now()).await.unwrap()
    }

    /// The certificate that the HTTPS listener shows now, in DER.
    pub async fn shown(&self) -> Vec<u8> {
        wire::shown(&self.tls().await).swap_remove(0)
    }

    /// Runs queued jobs until none is left; the runner of the server helps.
    pub async fn drain_jobs(&self) {
        while self.queued().await > 0 {
            jobs::turn(self.app()).await.unwrap();
            tokio::task::yield_now().await;
        }
    }

    async fn queued(&self) -> i64 {
        let app = self.app();
        queue::states(&app.store, app.clock.now()).await.unwrap().iter().map(|(.., n)| n).sum()
    }

    /// Stops it; a job left over fails the test.
    pub async fn end(mut self) {
        let left = self.queued().await;
        if let Some(running) = self.running.take() {
            assert!(running.stop().await, "something was still in flight");
        }
        if let Some(url) = &self.database {
            super::postgres::drop_database(url).await;
        }
        assert_eq!(left, 0, "jobs left over");
    }
}

/// A copy of a server's database.
pub enum Backup {
    File(Vec<u8>),
    Database(String),
}

impl Backup {
    pub async fn remove(self) {
        if let Backup::Database(url) = self {
            super::postgres::drop_database(&url).await;
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        assert!(
            self.running.is_none() || std::thread::panicking(),
            "a test ends its server, which looks at its queue"
        );
    }
}
