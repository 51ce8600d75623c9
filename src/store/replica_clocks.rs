//! Clocks of the running processes beside the database's clock, and the newest time that was recorded.

use super::engine::{Db, On, Row, q, statements};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::id::ReplicaId;

macro_rules! micros {
    () => {
        "(SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) AS micros)"
    };
}
macro_rules! lite_micros {
    () => {
        "(SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER) AS micros)"
    };
}
macro_rules! peers {
    ($micros:expr) => {
        concat!(
            "SELECT t.micros, m.recorded_at, m.trusted, r.replica_id, r.offset_micros, r.measured_at FROM ",
            $micros,
            " t CROSS JOIN clock_mark m LEFT JOIN replica_clocks r ON r.replica_id <> $1 WHERE m.id = 1"
        )
    };
}

macro_rules! running {
    () => {
        "replica_clocks WHERE measured_at >= (SELECT MAX(measured_at) FROM replica_clocks) - 10000000"
    };
}

statements! {
    READ = peers!(lite_micros!()), postgres peers!(micros!());
    /// Writes the own clock and reads the others in one round trip.
    BEAT = "INSERT INTO replica_clocks (replica_id, offset_micros, measured_at, version) VALUES ($1, $2, $3, $4) \
            ON CONFLICT (replica_id) DO UPDATE SET offset_micros = $2, measured_at = $3, version = $4",
        postgres concat!("WITH written AS (INSERT INTO replica_clocks (replica_id, offset_micros, measured_at, version) VALUES ($1, $2, $3, $4) \
            ON CONFLICT (replica_id) DO UPDATE SET offset_micros = EXCLUDED.offset_micros, measured_at = EXCLUDED.measured_at, version = EXCLUDED.version) ", peers!(micros!()));
    MARK = "SELECT recorded_at, trusted FROM clock_mark WHERE id = 1";
    RECORD = "UPDATE clock_mark SET recorded_at = $1 WHERE id = 1 AND trusted = $2";
    TRUST = "UPDATE clock_mark SET recorded_at = $1, trusted = trusted + 1 WHERE id = 1";
    /// Processes before schema 21 have no row; their connections have the name alone.
    VERSIONS = concat!("SELECT version, COUNT(*) AS n FROM ", running!(), " GROUP BY version"),
        postgres concat!("SELECT version, COUNT(*) AS n FROM (SELECT version FROM ", running!(), " UNION ALL SELECT DISTINCT '' FROM pg_stat_activity \
                          WHERE datname = current_database() AND application_name = 'chancery') AS v GROUP BY version");
    LEAVE = "DELETE FROM replica_clocks WHERE replica_id = $1 OR measured_at < $2";
}

/// What this process says of itself.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The versions of the processes that measured their clocks in the last ten seconds, with their count; empty for a version
/// before 0.36, which does not say it.
pub async fn versions(db: &Db) -> Result<Vec<(String, i64)>> {
    let rows = q(VERSIONS).fetch_all(db).await?;
    let mut found = rows.iter().map(|row| Ok((row.get("version")?, row.get("n")?))).collect::<Result<Vec<_>>>()?;
    found.sort();
    Ok(found)
}

/// The newest recorded time; None before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockMark {
    pub at: Option<Timestamp>,
    /// How often an operator declared a machine's clock to be right.
    pub trusted: i64,
}

/// Another process: its clock minus the database's, measured when the database's clock showed `measured_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaClock {
    pub offset: i64,
    pub measured_at: Timestamp,
}

/// One look at the database's clock.
#[derive(Debug, Clone)]
pub struct ClockReading {
    pub database: Timestamp,
    pub mark: ClockMark,
    pub peers: Vec<ReplicaClock>,
}

pub async fn read(db: &Db, replica: ReplicaId) -> Result<ClockReading> {
    reading(&q(READ).bind(replica.to_vec()).fetch_all(db).await?)
}

/// Reads, and writes the own clock as it was measured before.
pub async fn beat(db: &Db, replica: ReplicaId, own: ReplicaClock) -> Result<ClockReading> {
    let query = q(BEAT).bind(replica.to_vec()).bind(own.offset).bind(own.measured_at).bind(VERSION);
    reading(&query.fetch_all(&db.volatile()).await?)
}

pub async fn mark(db: &Db) -> Result<ClockMark> {
    mark_of(&q(MARK).fetch_one(db).await?)
}

/// Records the time, unless an operator declared another clock to be right meanwhile.
pub async fn record<'a>(on: impl Into<On<'a>>, at: Timestamp, trusted: i64) -> Result<()> {
    q(RECORD).bind(at).bind(trusted).execute(on).await.map(drop)
}

/// Declares `at` to be the right time, whatever was recorded before.
pub async fn trust(tx: &mut super::Tx, at: Timestamp) -> Result<()> {
    q(TRUST).bind(at).execute(tx).await.map(drop)
}

/// Removes the row of a process that ends, and of those that ended without a word.
pub async fn leave(db: &Db, replica: ReplicaId, before: Timestamp) -> Result<()> {
    q(LEAVE).bind(replica.to_vec()).bind(before).execute(db).await.map(drop)
}

fn mark_of(row: &Row) -> Result<ClockMark> {
    let at: i64 = row.get("recorded_at")?;
    Ok(ClockMark { at: (at > 0).then_some(Timestamp::from_micros(at)), trusted: row.get("trusted")? })
}

fn reading(rows: &[Row]) -> Result<ClockReading> {
    let first = rows.first().ok_or_else(|| crate::error::Error::inconsistent("the row of clock_mark is missing"))?;
    let mut peers = Vec::with_capacity(rows.len());
    for row in rows {
        if row.get::<Option<Vec<u8>>>("replica_id")?.is_some() {
            peers.push(ReplicaClock { offset: row.get("offset_micros")?, measured_at: row.time("measured_at")? });
        }
    }
    Ok(ClockReading { database: first.time("micros")?, mark: mark_of(first)?, peers })
}
