//! Migrations under a lock. Same numbers and names for both engines; a database whose schema is newer than this
//! binary is refused. `serve`, `init` and `chancery migrate --run` migrate; every other command refuses an older schema.
//!
//! On Postgres a step waits at most two seconds for a table: a session that waits for an exclusive lock keeps everybody
//! who comes after it waiting, an older server's requests too. It then lets go and tries again.

use std::borrow::Cow;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use super::engine::{Db, q, statements};
use crate::clock::monotonic;
use crate::error::{Error, ErrorKind, Result};

macro_rules! migrations {
    ($($version:literal $name:literal),+) => {
        const LIST: &[(i64, &str, &str, &str)] = &[$((
            $version,
            $name,
            include_str!(concat!("../../migrations/sqlite/", $name, ".sql")),
            include_str!(concat!("../../migrations/postgres/", $name, ".sql")),
        )),+];
    };
}
migrations!(1 "0001_core", 2 "0002_account_keys", 3 "0003_users", 4 "0004_grants", 5 "0005_foreign_issuers",
    6 "0006_shared_authorizations", 7 "0007_caa", 8 "0008_terms", 9 "0009_rate_limits",
    10 "0010_acme_attempts", 11 "0011_renewal_windows", 12 "0012_issuer_states", 14 "0014_anchor_standing",
    15 "0015_ocsp_signer", 16 "0016_domain_crls", 17 "0017_crl_numbers", 18 "0018_crls_ahead", 20 "0020_sign_in",
    21 "0021_replica_clocks", 22 "0022_write_proofs", 23 "0023_issuer_former", 24 "0024_servers",
    25 "0025_domain_crls_ahead",
    27 "0027_revocations_listed", 28 "0028_crl_bytes_last", 29 "0029_history", 30 "0030_suspensions", 31 "0031_audit_notes");

statements! {
    HAS_TABLE = "SELECT COUNT(*) AS n FROM sqlite_master WHERE name = '_sqlx_migrations'",
        postgres "SELECT COUNT(*) AS n FROM pg_class WHERE oid = to_regclass('_sqlx_migrations')";
    APPLIED = "SELECT version FROM _sqlx_migrations WHERE success ORDER BY version";
}

/// How long sessions that hold a table are waited for, all tries together.
const TABLE_WAIT: Duration = Duration::from_secs(600);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// The schema version of this binary.
pub const LATEST: i64 = LIST[LIST.len() - 1].0;

/// How many steps there are; their numbers may have gaps.
pub const STEPS: usize = LIST.len();

/// What a database has of this binary's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// The newest step that was applied; 0 for an empty database.
    pub applied: i64,
    /// Steps of this binary that the database lacks, oldest first: number and name.
    pub pending: Vec<(i64, &'static str)>,
    /// A step that this binary does not know.
    pub unknown: Option<i64>,
}

/// Reads the schema of a database and changes nothing.
pub async fn schema(db: &Db) -> Result<Schema> {
    let table: i64 = q(HAS_TABLE).fetch_one(db).await?.get("n")?;
    let rows = if table == 0 { Vec::new() } else { q(APPLIED).fetch_all(db).await? };
    let applied = rows.iter().map(|row| row.get::<i64>("version")).collect::<Result<Vec<_>>>()?;
    let missing = LIST.iter().filter(|step| !applied.contains(&step.0));
    Ok(Schema {
        applied: applied.last().copied().unwrap_or(0),
        pending: missing.map(|step| (step.0, step.1)).collect(),
        unknown: applied.into_iter().find(|version| LIST.iter().all(|step| step.0 != *version)),
    })
}

/// Applies the steps that are missing.
pub async fn run(db: &Db) -> Result<()> {
    let is_new = schema(db).await?.applied == 0;
    up_to(db, LATEST).await?;
    if is_new { db.mark_clean().await } else { Ok(()) }
}

/// The same up to a version: the schema that an older binary left. Each step is applied by itself and logged, so that a
/// large database shows how far it has come; a process that dies leaves the steps before.
pub async fn up_to(db: &Db, version: i64) -> Result<()> {
    let before = schema(db).await?;
    if let Some(unknown) = before.unknown {
        return Err(newer(unknown));
    }
    let existing = before.applied > 0;
    for (number, name) in before.pending.iter().filter(|step| step.0 <= version) {
        let started = monotonic();
        // another process may be steps ahead by now
        apply(db, *number, Newer::Ignored).await?;
        if existing {
            tracing::info!(target: "chancery", schema = number, name, seconds = started.elapsed().as_secs(), "the database was migrated");
        }
    }
    // also finds what is newer than this binary, or other than it
    apply(db, version, Newer::Refused).await
}

/// What is done about steps in the database above those that are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Newer {
    Refused,
    Ignored,
}

async fn apply(db: &Db, version: i64, newer_steps: Newer) -> Result<()> {
    let steps = LIST.iter().filter(|step| step.0 <= version).map(|(version, name, sqlite, postgres)| {
        let sql = if db.is_postgres() { *postgres } else { *sqlite };
        let sql = sqlx::SqlSafeStr::into_sql_str(sql);
        Migration::new(*version, Cow::Borrowed(*name), MigrationType::Simple, sql, false)
    });
    let mut migrator = Migrator::with_migrations(steps.collect());
    migrator.set_ignore_missing(newer_steps == Newer::Ignored);
    let started = monotonic();
    loop {
        let error = match db.migrate(&migrator).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if !waited_in_vain(&error) {
            return Err(told(error));
        }
        if started.elapsed() > TABLE_WAIT {
            let detail = format!(
                "the database could not be migrated to schema {version}: other sessions kept a table locked for \
                 {} minutes; end them (pg_stat_activity lists them) and start again",
                TABLE_WAIT.as_secs() / 60
            );
            return Err(Error::new(ErrorKind::Unavailable, detail));
        }
        tracing::info!(schema = version, "another session holds a table that the migration needs; trying again");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Postgres' lock_not_available.
fn waited_in_vain(error: &MigrateError) -> bool {
    let cause = match error {
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => cause,
        _ => return false,
    };
    cause.as_database_error().and_then(|e| e.code()).is_some_and(|code| code == "55P03")
}

fn told(error: MigrateError) -> Error {
    match error {
        MigrateError::VersionMissing(version) => newer(version),
        MigrateError::VersionMismatch(version) => Error::refused(
            ErrorKind::Config,
            "database.schema",
            format!("a migration {version} with another content"),
            "the migrations that this binary ships",
            "point --database-url at a database of Chancery's own",
        )
        .explained(format!("migration {version} of this database has another content than the one in this binary")),
        other => Error::new(ErrorKind::Unavailable, "the database could not be migrated").because(other),
    }
}

/// The refusal of a database that a newer binary made.
pub fn newer(version: i64) -> Error {
    Error::refused(
        ErrorKind::Conflict,
        "database.schema",
        format!("schema version {version}"),
        format!("at most {LATEST}, the newest that this binary knows"),
        "start the newer chancery that made it, or restore a backup of before",
    )
    .explained(format!("the database has schema version {version}, and this binary knows at most {LATEST}"))
}
