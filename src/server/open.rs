//! From settings to an open installation: data directory, database with its schema, keys. The first start founds
//! the hierarchy; every later one must have the unlock key of the database, or be asked to run locked.

use std::path::Path;
use std::sync::Arc;

use super::config::{Config, prepare_data};
use super::founded::{self, Emptiness};
use super::startup::Startup;
use crate::authority::hierarchy::{self as founding, Founding};
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::error::{Error, ErrorKind, Result};
use crate::keys::seal::KeyMaterial;
use crate::keys::store::Keys;
use crate::keys::unlock::{self, KeyFile};
use crate::model::id::ReplicaId;
use crate::store::engine::{Db, Sessions};
use crate::store::hierarchy::{Installation, installation};
use crate::store::{Store, durability, migrate, replicas, schema_objects};

/// Connections of one replica to Postgres.
const CONNECTIONS: u32 = 24;

/// An open database with the keys that may be used.
#[derive(Debug)]
pub struct Opened {
    pub store: Store,
    pub keys: Arc<Keys>,
    /// This call founded the hierarchy.
    pub first_run: bool,
    pub locked: bool,
}

/// Opens the database of `serve` and `init`, and migrates it to this binary's schema.
pub async fn open_migrated(
    config: &Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    startup: &Startup,
) -> Result<Store> {
    let replica = ReplicaId::new(clock.now(), entropy.as_ref())?;
    config.check_own_name()?;
    // read before the database: whoever founds at the same time leaves its traces once an installation stands
    let mut may_found = founded::check_may_found(config, Emptiness::Empty);
    if !config.database.is_postgres() && is_empty(&config.database.sqlite_path()?) {
        // before the driver makes or changes the file
        std::mem::replace(&mut may_found, Ok(()))?;
    }
    let db = open_database(config, replica).await?;
    check_durability(config, &db).await?;
    let schema = migrate::schema(&db).await?;
    if schema.applied == 0 {
        may_found?;
    }
    // Postgres has a lock of its own: of two starts at once on SQLite the second finds the tables of the first
    let races = !config.database.is_postgres() && !schema.pending.is_empty();
    let _claim = if races { founded::claim_keys(config).await } else { None };
    let outcome = migrate::run_telling(&db, &|doing| startup.migrating(doing)).await;
    startup.migrated();
    outcome?;
    schema_objects::check(&db).await?;
    measured(replica, db, clock, entropy).await
}

/// Opens the database of a command on the host, which must have this binary's schema: a command that migrated would
/// do so under a server that runs.
pub async fn open_store(config: &Config, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<Store> {
    let replica = ReplicaId::new(clock.now(), entropy.as_ref())?;
    let db = open_existing_database(config, replica).await?;
    let schema = migrate::schema(&db).await?;
    if schema.applied == 0 {
        return Err(no_installation(config));
    }
    if let Some(newer) = schema.unknown {
        return Err(migrate::newer(newer));
    }
    if !schema.pending.is_empty() {
        let detail = format!(
            "the database {} has schema {} and this chancery needs {}; run `chancery migrate --run`, or start the \
             server of this version, which migrates it",
            config.database,
            schema.applied,
            migrate::LATEST
        );
        return Err(Error::new(ErrorKind::Locked, detail));
    }
    measured(replica, db, clock, entropy).await
}

/// Opens a database that is there: a SQLite file is not made.
pub async fn open_existing_database(config: &Config, replica: ReplicaId) -> Result<Db> {
    if !config.database.is_postgres() && !config.database.sqlite_path()?.exists() {
        return Err(no_installation(config));
    }
    open_database(config, replica).await
}

async fn measured(replica: ReplicaId, db: Db, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<Store> {
    let store = Store::of(replica, db, clock, entropy);
    store.measure_clock().await?;
    Ok(store)
}

/// The driver would write into it, or make it.
fn is_empty(file: &Path) -> bool {
    file.metadata().map_or(true, |about| about.len() == 0)
}

async fn open_database(config: &Config, replica: ReplicaId) -> Result<Db> {
    let db = if config.database.is_postgres() {
        Db::open_postgres(config.database.expose(), CONNECTIONS, &replicas::connection_name(replica)).await
    } else {
        Db::open_sqlite(&config.database.sqlite_path()?).await
    };
    let shown = &config.database;
    let db = db.map_err(|error| match error.kind {
        ErrorKind::Unavailable if shown.is_postgres() => {
            let text = format!("the database {shown} cannot be reached: {}", error.detail);
            Error::new(ErrorKind::Unavailable, text)
        }
        ErrorKind::Unavailable => {
            let text = format!("the database {shown} cannot be reached; check the file and its directory");
            Error::new(ErrorKind::Unavailable, text).because(error)
        }
        _ => error,
    })?;
    check_sessions(&db).await?;
    Ok(db)
}

/// Opens an installation, or founds it when the database is empty. `status_url` is the base that the first issuers
/// keep.
pub async fn open_or_found(config: &Config, store: Store, status_url: &str) -> Result<Opened> {
    let may_found = founded::check_may_found(config, Emptiness::WithoutCa);
    let first_run = match installation(&store).await? {
        Some(_) => false,
        None if may_found.is_ok() && config.locked => {
            let detail =
                "this database holds no CA yet, and making one needs the unlock key; start once without --locked";
            return Err(Error::new(ErrorKind::Locked, detail));
        }
        None => {
            may_found?;
            found(config, &store, status_url).await?
        }
    };
    let row = installation(&store).await?.ok_or_else(|| Error::inconsistent("the installation row is gone"))?;
    let (keys, locked) = open_keys(config, &store, &row)?;
    founded::remember(config, &row.id);
    Ok(Opened { store, keys: Arc::new(keys), first_run, locked })
}

/// Locks, settings and prepared statements belong to a session. Behind a pooler that gives each transaction another one,
/// they would be lost or somebody else's.
async fn check_sessions(db: &Db) -> Result<()> {
    let mode = match db.sessions().await {
        Ok(Sessions::Own) => return Ok(()),
        Ok(Sessions::SharedByTransaction) => "transaction",
        Ok(Sessions::SharedByStatement) => "statement",
        Err(error) => {
            tracing::warn!(error = %error.chain(), "whether a pooler lies before the database could not be found out");
            return Ok(());
        }
    };
    let detail = format!(
        "the database is behind a connection pooler in {mode} mode, where connections share sessions, and a CA needs locks and \
         settings that last as long as its session; set pool_mode = session for this database in PgBouncer, or connect to \
         Postgres itself"
    );
    Err(Error::new(ErrorKind::Config, detail))
}

/// A server that acknowledges what a crash may take back is no place for a CA.
async fn check_durability(config: &Config, db: &Db) -> Result<()> {
    let found = durability::read(db).await?;
    if !found.fsync && !config.allow_unsafe_database {
        let detail = "the Postgres server runs with fsync=off: a crash of its machine loses certificates and revocations \
                      that were answered; set fsync = on there, or allow_unsafe_database (CHANCERY_ALLOW_UNSAFE_DATABASE) \
                      to true here if this CA may be lost";
        return Err(Error::new(ErrorKind::Config, detail));
    }
    if !found.fsync {
        tracing::warn!(
            "the Postgres server runs with fsync=off: a crash of its machine loses certificates and revocations"
        );
    }
    if !found.full_page_writes {
        tracing::warn!(
            "the Postgres server runs with full_page_writes=off: unless its file system writes pages whole, a crash can destroy them"
        );
    }
    Ok(())
}

/// Opens an installation that exists, for commands on the host.
pub async fn open_existing(config: &Config, store: Store) -> Result<Opened> {
    let row = installation(&store).await?.ok_or_else(|| no_installation(config))?;
    let (keys, locked) = open_keys(config, &store, &row)?;
    Ok(Opened { store, keys: Arc::new(keys), first_run: false, locked })
}

/// The same with the root key, when its file is there: for `ca` commands on the host, never for `serve`.
pub async fn open_with_root(config: &Config, store: Store, root_key: Option<&Path>) -> Result<Opened> {
    let row = installation(&store).await?.ok_or_else(|| no_installation(config))?;
    let (keys, locked) = open_keys(config, &store, &row)?;
    let usual = config.data.join(KeyFile::Root.file_name());
    let root = match root_key {
        Some(named) => Some(unlock::read(KeyFile::Root, named)?),
        None => unlock::read_if_exists(KeyFile::Root, &usual)?,
    };
    let keys = match root {
        Some(root) => keys.with_root(&root)?,
        None => keys,
    };
    Ok(Opened { store, keys: Arc::new(keys), first_run: false, locked })
}

fn no_installation(config: &Config) -> Error {
    let yet = || format!("the database {} holds no CA yet; run `chancery init` or `chancery serve`", config.database);
    Error::new(ErrorKind::Conflict, founded::lost_database(config).unwrap_or_else(yet))
}

/// Key files first, then the database: after a crash in between, the next start finds keys without a hierarchy and
/// uses them. Of two replicas that race one founds; the other's new files are taken away again.
async fn found(config: &Config, store: &Store, status_url: &str) -> Result<bool> {
    prepare_data(&config.data)?;
    let _claim = founded::claim_keys(config).await;
    // another start with these keys may have made a CA meanwhile, here or in another database
    let may_found = founded::check_may_found(config, Emptiness::WithoutCa);
    if installation(store).await?.is_some() {
        return Ok(false);
    }
    may_found?;
    let entropy = store.entropy.clone();
    let root_path = config.data.join(KeyFile::Root.file_name());
    let fresh: Vec<_> = [&config.unlock_key, &root_path].into_iter().filter(|p| !p.exists()).cloned().collect();
    let unlock = unlock::read_or_create(KeyFile::Unlock, &config.unlock_key, entropy.as_ref())?;
    let root = unlock::read_or_create(KeyFile::Root, &root_path, entropy.as_ref())?;
    let (keys, founding) = founder(&entropy, &unlock, &root, status_url)?;
    let won = founding::initialise(store, &keys, &founding).await?;
    if let Some(row) = installation(store).await?.filter(|_| won) {
        founded::remember(config, &row.id);
    }
    if !won {
        for path in &fresh {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::warn!(%error, path = %path.display(), "a key file that nothing needs could not be removed");
            }
        }
        if fresh.contains(&config.unlock_key) {
            let detail = format!(
                "another process made this CA at the same moment; put its unlock key into {}, then start again",
                config.unlock_key.display()
            );
            return Err(Error::new(ErrorKind::Conflict, detail));
        }
    }
    Ok(won)
}

fn founder(
    entropy: &Arc<dyn Entropy>,
    unlock: &KeyMaterial,
    root: &KeyMaterial,
    status_url: &str,
) -> Result<(Keys, Founding)> {
    let keys = Keys::locked(entropy.clone()).with_unlock(unlock)?.with_root(root)?;
    let key_check = keys.key_check()?;
    let (status, status_key) = keys.new_status_key()?;
    let founding = Founding { status_url: status_url.to_owned(), key_check, status_key };
    Ok((keys.with_status(&status)?, founding))
}

/// The seals of a running server: unlock and status, never root.
fn open_keys(config: &Config, store: &Store, row: &Installation) -> Result<(Keys, bool)> {
    founded::check_is_known(config, &row.id)?;
    let keys = Keys::locked(store.entropy.clone());
    let status_path = config.data.join(KeyFile::Status.file_name());
    if config.locked {
        let keys = match unlock::read_if_exists(KeyFile::Status, &status_path)? {
            Some(status) => keys.with_status(&status)?,
            None => keys,
        };
        return Ok((keys, true));
    }
    let keys = keys.with_unlock(&unlock::read(KeyFile::Unlock, &config.unlock_key)?)?;
    keys.verify_key_check(&row.key_check)?;
    let status = keys.open_status_key(&row.status_key)?;
    if prepare_data(&config.data).is_ok() {
        // a copy that lets status go on when this replica starts locked; without it a locked start has no responder
        unlock::replace(KeyFile::Status, &status_path, &status, store.entropy.as_ref())?;
    }
    Ok((keys.with_status(&status)?, false))
}
