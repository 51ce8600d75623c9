//! Steps for a Postgres that servers of the version before are using. What takes long on a large table is done ahead of the
//! step, outside of any transaction and without a lock that writers wait for: rows are copied in parts, indexes are built
//! CONCURRENTLY. The step itself is then short. It leads to the same schema as the step's own text and is recorded as that
//! step (tests/it/store/migrations.rs compares both). Every piece may run twice: a process that dies anywhere here leaves
//! things that an older version does not look at, and the next start goes on.

use sqlx::migrate::MigrateError;

use super::{Progress, waits_for_table};
use crate::clock::monotonic;
use crate::store::engine::MigrationConnection;

/// One step's pieces, and the rest of it that runs in the step's transaction.
pub struct OnlineStep {
    pub version: i64,
    pub before: &'static [Piece],
    pub rest: &'static str,
}

pub enum Piece {
    /// A short change that waits for writers briefly.
    Change(&'static str),
    /// An index that is built while others write; a half-built one is dropped first.
    Index { name: &'static str, build: &'static str, drop: &'static str },
    /// Rows of a table: the statement takes the key of the last row and the size of the part.
    Copy { table: &'static str, part: &'static str },
}

macro_rules! rest {
    ($name:literal) => {
        include_str!(concat!("../../../migrations/online/", $name, ".sql"))
    };
}

pub const STEPS: &[OnlineStep] = &[
    OnlineStep {
        version: 6,
        before: &[
            Piece::Change(
                "CREATE TABLE IF NOT EXISTS acme_order_authorizations (order_id BYTEA NOT NULL, position BIGINT NOT NULL, \
                 authorization_id BYTEA NOT NULL, PRIMARY KEY (order_id, position))",
            ),
            Piece::Change(
                "CREATE INDEX IF NOT EXISTS acme_order_authorizations_of ON acme_order_authorizations (authorization_id)",
            ),
            // from here on what an older server places is linked too; what stands there already is copied
            Piece::Change(rest!("link_authorizations")),
            Piece::Copy {
                table: "acme_authorizations",
                part: "WITH part AS (SELECT id, order_id, position FROM acme_authorizations WHERE id > $1 ORDER BY id LIMIT $2), \
                       copied AS (INSERT INTO acme_order_authorizations (order_id, position, authorization_id) \
                       SELECT order_id, position, id FROM part WHERE order_id IS NOT NULL ON CONFLICT DO NOTHING) \
                       SELECT id FROM part ORDER BY id DESC LIMIT 1",
            },
            Piece::Index {
                name: "acme_authorizations_ahead",
                build: "CREATE INDEX CONCURRENTLY IF NOT EXISTS acme_authorizations_ahead ON acme_authorizations (account_id, id) WHERE order_id IS NULL",
                drop: "DROP INDEX CONCURRENTLY IF EXISTS acme_authorizations_ahead",
            },
            Piece::Change("ALTER TABLE acme_orders ADD COLUMN IF NOT EXISTS replaces TEXT"),
            Piece::Index {
                name: "acme_orders_replacing",
                build: "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS acme_orders_replacing ON acme_orders (replaces) \
                 WHERE replaces IS NOT NULL AND status <> 'invalid'",
                drop: "DROP INDEX CONCURRENTLY IF EXISTS acme_orders_replacing",
            },
        ],
        rest: rest!("0006_shared_authorizations"),
    },
    OnlineStep {
        version: 9,
        before: &[Piece::Index {
            name: "acme_orders_open",
            build: "CREATE INDEX CONCURRENTLY IF NOT EXISTS acme_orders_open ON acme_orders (account_id, expires_at) WHERE status IN ('pending', 'ready')",
            drop: "DROP INDEX CONCURRENTLY IF EXISTS acme_orders_open",
        }],
        rest: rest!("0009_rate_limits"),
    },
    OnlineStep {
        version: 10,
        before: &[Piece::Index {
            name: "acme_authorizations_of_value",
            build: "CREATE INDEX CONCURRENTLY IF NOT EXISTS acme_authorizations_of_value ON acme_authorizations (value COLLATE \"C\")",
            drop: "DROP INDEX CONCURRENTLY IF EXISTS acme_authorizations_of_value",
        }],
        rest: rest!("0010_acme_attempts"),
    },
    OnlineStep {
        version: 27,
        before: &[Piece::Index {
            name: "revocations_listed",
            build: "CREATE INDEX CONCURRENTLY IF NOT EXISTS revocations_listed ON revocations (issuer_id, serial, not_after, revoked_at, reason)",
            drop: "DROP INDEX CONCURRENTLY IF EXISTS revocations_listed",
        }],
        rest: rest!("0027_revocations_listed"),
    },
    OnlineStep {
        version: 34,
        before: &[
            Piece::Change("ALTER TABLE revocations ADD COLUMN IF NOT EXISTS invalidity_date BIGINT"),
            Piece::Index {
                name: "revocations_listed_whole",
                build: "CREATE INDEX CONCURRENTLY IF NOT EXISTS revocations_listed_whole ON revocations \
                        (issuer_id, serial, not_after, revoked_at, reason, invalidity_date)",
                drop: "DROP INDEX CONCURRENTLY IF EXISTS revocations_listed_whole",
            },
        ],
        rest: rest!("0034_raised_revocations"),
    },
];

/// How many rows a table has, by the planner's estimate.
const ROWS: &str = "SELECT GREATEST(CAST(reltuples AS BIGINT), 0) FROM pg_class WHERE oid = to_regclass($1)";
/// An index that a killed process left half-built is of no use to anybody.
const IS_BROKEN: &str =
    "SELECT CAST(1 AS BIGINT) FROM pg_index WHERE indexrelid = to_regclass($1) AND NOT indisvalid";

/// Runs what comes ahead of a step.
pub async fn prepare(
    connection: &mut MigrationConnection,
    step: &OnlineStep,
    batch: i64,
    progress: &Progress<'_>,
) -> Result<(), MigrateError> {
    for piece in step.before {
        match piece {
            Piece::Change(text) => waits_for_table(step.version, async || connection.change(text).await).await?,
            Piece::Index { name, build, drop } => {
                if connection.number_of(IS_BROKEN, name).await? > 0 {
                    connection.change_patiently(drop).await?;
                }
                progress(&format!("schema {}: building the index {name}", step.version));
                connection.change_patiently(build).await?;
            }
            Piece::Copy { table, part } => copy(connection, step.version, table, part, batch, progress).await?,
        }
    }
    Ok(())
}

async fn copy(
    connection: &mut MigrationConnection,
    version: i64,
    table: &str,
    part: &'static str,
    batch: i64,
    progress: &Progress<'_>,
) -> Result<(), MigrateError> {
    let all = connection.number_of(ROWS, table).await?;
    let (mut last, mut done, mut told) = (Vec::new(), 0, None);
    while let Some(key) = connection.copy_part(part, &last, batch).await? {
        (last, done) = (key, done + batch);
        if told.is_none_or(|at: std::time::Instant| at.elapsed() > super::TELL_EVERY) {
            told = Some(monotonic());
            // a table that was not analyzed yet has no estimate, or an old one
            let of_all = if done < all { format!(" of about {all}") } else { String::new() };
            progress(&format!("schema {version}: up to {done}{of_all} rows of {table} are copied"));
        }
    }
    Ok(())
}
