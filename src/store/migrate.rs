//! Migrations under a lock. Same numbers and names for both engines; a database whose schema is newer than this
//! binary is refused. `serve`, `init` and `chancery migrate --run` migrate; every other command refuses an older schema.
//!
//! On Postgres a step waits half a second for a table, lets go and tries again (`engine/migrating.rs`), and what takes long
//! is done while others write (`online.rs`).

mod online;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use super::engine::{Db, MigrationConnection, q, statements, waited_in_vain};
use crate::clock::monotonic;
use crate::error::{Error, ErrorKind, Result};
use online::OnlineStep;

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
    27 "0027_revocations_listed", 28 "0028_crl_bytes_last", 29 "0029_history", 30 "0030_suspensions", 31 "0031_audit_notes",
    34 "0034_raised_revocations", 35 "0035_imported_certificates", 36 "0036_side_by_side", 37 "0037_row_macs",
    38 "0038_acme_row_macs", 39 "0039_memory", 40 "0040_replacements_and_key_ids", 41 "0041_external_url",
    42 "0042_status_lifetimes");

statements! {
    HAS_TABLE = "SELECT COUNT(*) AS n FROM sqlite_master WHERE name = '_sqlx_migrations'",
        postgres "SELECT COUNT(*) AS n FROM pg_class WHERE oid = to_regclass('_sqlx_migrations')";
    APPLIED = "SELECT version FROM _sqlx_migrations WHERE success ORDER BY version";
}

/// How long sessions that hold a table are waited for, all tries together.
const TABLE_WAIT: Duration = Duration::from_secs(600);
/// Between two tries, in which others have the table.
pub(in crate::store) const PAUSE: Duration = Duration::from_secs(1);
/// Rows that one statement copies: some tens of milliseconds.
const BATCH: i64 = 5_000;
/// Between two messages about one step.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Is told in a sentence what a migration is doing.
pub type Progress<'a> = dyn Fn(&str) + Send + Sync + 'a;

/// The schema version of this binary.
pub const LATEST: i64 = LIST[LIST.len() - 1].0;

/// How many steps there are; their numbers may have gaps.
pub const STEPS: usize = LIST.len();

/// The tables of the newest schema, which both engines have.
pub fn tables() -> BTreeSet<&'static str> {
    let mut tables = BTreeSet::from(["_sqlx_migrations"]);
    for line in LIST.iter().flat_map(|step| step.2.lines()) {
        match line.trim_end_matches(['(', ';', ' ']).split(' ').collect::<Vec<_>>()[..] {
            ["CREATE", "TABLE", table] => drop(tables.insert(table)),
            ["DROP", "TABLE", table] => drop(tables.remove(table)),
            ["ALTER", "TABLE", before, "RENAME", "TO", table] => {
                tables.remove(before);
                tables.insert(table);
            }
            _ => {}
        }
    }
    tables
}

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
    run_telling(db, &|_| ()).await
}

/// The same for somebody who waits: `progress` is told each step, and what takes long in it.
pub async fn run_telling(db: &Db, progress: &Progress<'_>) -> Result<()> {
    let is_new = schema(db).await?.applied == 0;
    Upgrade { db, batch: BATCH, progress }.up_to(LATEST).await?;
    if is_new { db.mark_clean().await } else { Ok(()) }
}

/// Applies the steps up to a version: the schema that an older binary left.
pub async fn up_to(db: &Db, version: i64) -> Result<()> {
    Upgrade { db, batch: BATCH, progress: &|_| () }.up_to(version).await
}

/// A run of migrations.
pub struct Upgrade<'a> {
    pub db: &'a Db,
    /// Rows that one statement copies.
    pub batch: i64,
    pub progress: &'a Progress<'a>,
}

impl Upgrade<'_> {
    /// Each step is applied by itself and logged, so that a large database shows how far it has come; a process that dies
    /// leaves the steps before.
    pub async fn up_to(&self, version: i64) -> Result<()> {
        if let Some(unknown) = schema(self.db).await?.unknown {
            return Err(newer(unknown));
        }
        let mut connection = self.db.begin_migration(&|| self.tell(WAITING)).await.map_err(told)?;
        let outcome = self.steps(&mut connection, version).await;
        connection.end().await;
        outcome
    }

    async fn steps(&self, connection: &mut MigrationConnection, version: i64) -> Result<()> {
        // as another process left it that had the lock before
        let before = schema(self.db).await?;
        let existing = before.applied > 0;
        for (number, name) in before.pending.iter().filter(|step| step.0 <= version) {
            let started = monotonic();
            if existing {
                self.tell(&format!("migrating the database to schema {number} ({name})"));
            }
            let online = online::STEPS.iter().find(|step| step.version == *number);
            let online = online.filter(|_| existing && self.db.is_postgres());
            if let Some(step) = online {
                online::prepare(connection, step, self.batch, &|doing| self.tell(doing)).await.map_err(told)?;
            }
            // a step that came out of turn may stand above it
            self.apply(connection, *number, online, Newer::Ignored).await?;
            if existing {
                tracing::info!(target: "chancery", schema = number, name, seconds = started.elapsed().as_secs(), "the database was migrated");
            }
        }
        // also finds what is newer than this binary, or other than it
        self.apply(connection, version, None, Newer::Refused).await
    }

    fn tell(&self, doing: &str) {
        tracing::info!(target: "chancery", "{doing}");
        (self.progress)(doing);
    }

    async fn apply(
        &self,
        connection: &mut MigrationConnection,
        version: i64,
        online: Option<&OnlineStep>,
        newer_steps: Newer,
    ) -> Result<()> {
        let steps = LIST.iter().filter(|step| step.0 <= version).map(|(version, name, sqlite, postgres)| {
            let text = |text: &'static str| sqlx::SqlSafeStr::into_sql_str(text);
            let own = text(if self.db.is_postgres() { postgres } else { sqlite });
            let mut step = Migration::new(*version, Cow::Borrowed(*name), MigrationType::Simple, own, false);
            if let Some(online) = online.filter(|online| online.version == step.version) {
                // recorded with the checksum of the step's own text
                step.sql = text(online.rest);
            }
            step
        });
        let mut migrator = Migrator::with_migrations(steps.collect());
        migrator.set_ignore_missing(newer_steps == Newer::Ignored);
        waits_for_table(version, async || connection.apply(&mut migrator).await).await.map_err(told)
    }
}

const WAITING: &str = "another process migrates the database; waiting until it has ended";

/// What is done about steps in the database above those that are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Newer {
    Refused,
    Ignored,
}

/// Tries a change again while other sessions hold a table that it needs.
async fn waits_for_table(
    version: i64,
    mut change: impl AsyncFnMut() -> Result<(), MigrateError>,
) -> Result<(), MigrateError> {
    let started = monotonic();
    loop {
        match change().await {
            Err(error) if waited_in_vain(&error) && started.elapsed() < TABLE_WAIT => {
                tracing::info!(target: "chancery", schema = version, "another session holds a table that the migration needs; trying again");
            }
            outcome => return outcome,
        }
        tokio::time::sleep(PAUSE).await;
    }
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
        held if waited_in_vain(&held) => {
            let detail = format!(
                "the database could not be migrated: other sessions kept a table locked for {} minutes; end them \
                 (pg_stat_activity lists them) and start again",
                TABLE_WAIT.as_secs() / 60
            );
            Error::new(ErrorKind::Unavailable, detail).because(held)
        }
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
