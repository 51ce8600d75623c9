//! Where an installation of a week lives: the data directories of its servers and their database, copied from a
//! template that was founded once, since founding makes keys for some time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chancery::access::tokens::NewToken;
use chancery::clock::{ManualClock, Timestamp};
use chancery::model::actor::{Actor, Role};
use chancery::server::config::Config;
use chancery::server::settings::Environment;
use tempfile::TempDir;

use crate::acme::AcmeIdentity;
use crate::node::Node;
use crate::postgres;

/// When every week begins: 2026-11-02T00:00:00Z.
pub const START: Timestamp = Timestamp::from_secs(1_793_577_600);
/// What the administrator's token and the key of the ACME account are called.
pub const NAME: &str = "simulation";
pub const EXTERNAL: &str = "https://ca.test";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    pub fn name(self) -> &'static str {
        match self {
            Engine::Sqlite => "sqlite",
            Engine::Postgres => "postgres",
        }
    }

    pub fn named(text: &str) -> Result<Engine, String> {
        let known = [Engine::Sqlite, Engine::Postgres].into_iter().find(|engine| engine.name() == text);
        known.ok_or_else(|| format!("--engine takes sqlite or postgres, not \"{text}\""))
    }

    /// Servers at once: one process serves a SQLite database.
    pub fn servers(self) -> usize {
        if self == Engine::Postgres { 2 } else { 1 }
    }
}

/// A founded installation with a token of an administrator and an ACME account.
pub struct Template {
    place: Place,
    pub token: String,
    pub identity: AcmeIdentity,
}

impl Template {
    pub fn found(engine: Engine) -> Template {
        let url = (engine == Engine::Postgres).then(|| wait(postgres::create_database()));
        let place = Place { home: folder(), engine, url };
        fs::create_dir(place.data(0)).unwrap();
        let clock = ManualClock::at(START - Duration::from_secs(3_600));
        let node = Node::open(&place, 0, &clock, 0).expect("an empty database is founded");
        let app = node.app().clone();
        let token = node.run(async {
            let new = NewToken { name: NAME.into(), role: Some(Role::Admin), ..NewToken::default() };
            let (_, secret) = app.access.create_token(&Actor::host(0, NAME), &new).await.unwrap();
            secret.expose().to_owned()
        });
        let token = token.expect("nothing is broken yet");
        let identity = AcmeIdentity::register(&node, &token);
        for _ in 0..2 {
            assert_eq!(node.every_turn(), Vec::<String>::new(), "the periodic work of a new installation");
        }
        node.stop(&place);
        Template { place, token, identity }
    }

    pub fn engine(&self) -> Engine {
        self.place.engine
    }

    /// An installation of its own.
    pub fn copied(&self) -> Place {
        let home = folder();
        let url = self.place.url.as_ref().map(|url| wait(postgres::copy_database(url)));
        let place = Place { home, engine: self.place.engine, url };
        copy_folder(&self.place.data(0), &place.data(0));
        for server in 1..place.engine.servers() {
            fs::create_dir(place.data(server)).unwrap();
        }
        place
    }

    pub fn remove(self) {
        self.place.remove();
    }
}

pub struct Place {
    home: TempDir,
    pub engine: Engine,
    url: Option<String>,
}

/// A copy of the database.
pub enum Backup {
    File(Vec<u8>),
    Database(String),
}

impl Place {
    pub fn data(&self, server: usize) -> PathBuf {
        self.home.path().join(format!("data-{server}"))
    }

    pub fn config(&self, server: usize) -> Config {
        let (data, key) = (self.data(server), self.data(0).join("unlock.key"));
        let (data, key) = (data.display().to_string(), key.display().to_string());
        let mut settings = vec![
            ("CHANCERY_DATA", data.as_str()),
            ("CHANCERY_UNLOCK_KEY", &key),
            ("CHANCERY_EXTERNAL_URL", EXTERNAL),
            ("CHANCERY_STATUS_URL", "http://status.test"),
        ];
        if let Some(url) = &self.url {
            // what a machine's crash would lose is no matter here
            settings.extend([("CHANCERY_DATABASE_URL", url.as_str()), ("CHANCERY_ALLOW_UNSAFE_DATABASE", "true")]);
        }
        Config::load(&Default::default(), &Environment::of(&settings)).unwrap()
    }

    fn file(&self) -> PathBuf {
        self.data(0).join("chancery.db")
    }

    /// The database as it is; no server runs.
    pub fn backup(&self) -> Backup {
        match &self.url {
            Some(url) => Backup::Database(wait(postgres::copy_database(url))),
            None => Backup::File(fs::read(self.file()).unwrap()),
        }
    }

    /// Puts a copy in the place of the database; no server runs.
    pub fn put_back(&self, backup: &Backup) {
        match (backup, &self.url) {
            (Backup::Database(copy), Some(url)) => wait(postgres::take_over(url, copy)),
            (Backup::File(bytes), None) => {
                for beside in ["chancery.db-wal", "chancery.db-shm"] {
                    let _ = fs::remove_file(self.data(0).join(beside));
                }
                fs::write(self.file(), bytes).unwrap();
            }
            _ => panic!("a copy of the other engine"),
        }
    }

    /// Returns once no connection of this process to the database file is left: sqlx ends them in threads.
    pub fn wait_until_closed(&self) {
        if self.engine == Engine::Postgres {
            return;
        }
        let file = self.file();
        let is_ours = |link: PathBuf| link.starts_with(self.home.path()) && link.file_name() == file.file_name();
        for _ in 0..20_000 {
            let mut links = fs::read_dir("/proc/self/fd").unwrap().flatten();
            if !links.any(|entry| fs::read_link(entry.path()).is_ok_and(is_ours)) {
                return;
            }
            // the threads tell nobody that they have ended
            std::thread::sleep(Duration::from_micros(500));
        }
        panic!("connections to the database stay open");
    }

    pub fn remove(self) {
        if let Some(url) = &self.url {
            wait(postgres::drop_database(url));
        }
    }
}

impl Backup {
    pub fn remove(self) {
        if let Backup::Database(url) = self {
            wait(postgres::drop_database(&url));
        }
    }
}

/// In memory where there is such a file system: nothing here outlasts a power failure.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let make = tempfile::Builder::new().prefix("chancery-simulation-").to_owned();
    make.tempdir_in(memory).or_else(|_| make.tempdir()).unwrap()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let copy = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &copy);
        } else {
            fs::copy(entry.path(), &copy).unwrap();
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work)
}
