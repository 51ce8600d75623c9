//! Migrations under a lock. Same numbers and names for both engines; a database whose schema is newer than this
//! binary is refused.

use std::borrow::Cow;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use super::engine::Db;
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
    21 "0021_replica_clocks", 22 "0022_write_proofs");

/// The schema version of this binary.
pub const LATEST: i64 = LIST[LIST.len() - 1].0;

/// How many steps there are; their numbers may have gaps.
pub const STEPS: usize = LIST.len();

pub async fn run(db: &Db) -> Result<()> {
    up_to(db, LATEST).await
}

/// The same up to a version: the schema that an older binary left.
pub async fn up_to(db: &Db, version: i64) -> Result<()> {
    let steps = LIST.iter().filter(|step| step.0 <= version).map(|(version, name, sqlite, postgres)| {
        let sql = if db.is_postgres() { *postgres } else { *sqlite };
        let sql = sqlx::SqlSafeStr::into_sql_str(sql);
        Migration::new(*version, Cow::Borrowed(*name), MigrationType::Simple, sql, false)
    });
    let migrator = Migrator::with_migrations(steps.collect());
    db.migrate(&migrator).await.map_err(|error| match error {
        MigrateError::VersionMissing(version) => Error::refused(
            ErrorKind::Conflict,
            "database.schema",
            format!("schema version {version}"),
            format!("at most {LATEST}, the newest that this binary knows"),
            "start the newer chancery that made it, or restore a backup of before",
        ),
        MigrateError::VersionMismatch(version) => Error::refused(
            ErrorKind::Config,
            "database.schema",
            format!("a migration {version} with another content"),
            "the migrations that this binary ships",
            "point --database-url at a database of Chancery's own",
        ),
        other => Error::new(ErrorKind::Unavailable, "the database could not be migrated").because(other),
    })
}
