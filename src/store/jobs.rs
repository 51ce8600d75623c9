//! Jobs and leases. A job is enqueued in the transaction that causes it, claimed under a lease with a fence, and
//! the fence is compared in the statement that ends it.

use std::collections::HashSet;

use super::engine::{Arg, On, Row, fetch_many, q, statements, write_many};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::id::{JobId, ReplicaId};

statements! {
    INSERT = "INSERT INTO jobs (id, kind, payload, run_at, attempts, lease_until, fence, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        postgres "INSERT INTO jobs (id, kind, payload, run_at, attempts, lease_until, fence, created_at) \
            SELECT * FROM UNNEST($1::bytea[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[])";
    DUE = "SELECT id, kind, payload, attempts, fence FROM jobs WHERE run_at <= $1 AND lease_until <= $1 ORDER BY run_at LIMIT $2",
        postgres "SELECT id, kind, payload, attempts, fence FROM jobs WHERE run_at <= $1 AND lease_until <= $1 ORDER BY run_at LIMIT $2 FOR UPDATE SKIP LOCKED";
    CLAIM = "UPDATE jobs SET lease_until = $2, fence = fence + 1, attempts = attempts + 1 WHERE id = $1";
    FINISH = "DELETE FROM jobs WHERE id = $1 AND fence = $2";
    FINISH_ALL = "DELETE FROM jobs WHERE (id, fence) IN (VALUES ($1, $2)) RETURNING id",
        postgres "DELETE FROM jobs WHERE (id, fence) IN (SELECT * FROM UNNEST($1::bytea[], $2::bigint[])) RETURNING id";
    POSTPONE = "UPDATE jobs SET run_at = $3, lease_until = 0, last_error = $4 WHERE id = $1 AND fence = $2";
    STATES = "SELECT kind, CASE WHEN lease_until > $1 THEN 'running' ELSE 'waiting' END AS state, COUNT(*) AS n FROM jobs GROUP BY 1, 2";
    LEASE = "SELECT holder, fence, until FROM leases WHERE name = $1",
        postgres "SELECT holder, fence, until FROM leases WHERE name = $1 FOR UPDATE";
    INSERT_LEASE = "INSERT INTO leases (name, holder, fence, until) VALUES ($1, $2, 1, $3) ON CONFLICT DO NOTHING";
    TAKE_LEASE = "UPDATE leases SET holder = $2, fence = fence + 1, until = $3 WHERE name = $1";
    RENEW_LEASE = "UPDATE leases SET until = $3 WHERE name = $1 AND holder = $2";
}

/// A job that this process may run until its lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedJob {
    pub id: JobId,
    pub kind: String,
    pub payload: String,
    pub attempts: i64,
    pub fence: i64,
}

/// Enqueues a job that anybody may claim from `run_at` on.
pub async fn enqueue(tx: &mut super::Tx, kind: &str, payload: &str, run_at: Timestamp) -> Result<JobId> {
    let now = tx.now();
    let id = JobId::new(now, tx.store().entropy.as_ref())?;
    let job = ClaimedJob { id, kind: kind.to_owned(), payload: payload.to_owned(), attempts: 0, fence: 0 };
    write_many(tx.raw(), INSERT, vec![row(&job, run_at, Timestamp::from_micros(0), now)]).await?;
    Ok(id)
}

/// Enqueues jobs that anybody may claim at once.
pub async fn enqueue_all(tx: &mut super::Tx, kind: &str, payloads: Vec<String>) -> Result<()> {
    let now = tx.now();
    for payload in payloads {
        enqueue(tx, kind, &payload, now).await?;
    }
    Ok(())
}

/// Enqueues jobs already leased to this process until `until`: it runs them at once and claiming costs no commit;
/// after a crash another process claims them when the lease is over.
pub async fn enqueue_leased(
    tx: &mut super::Tx,
    kind: &str,
    payloads: Vec<String>,
    until: Timestamp,
) -> Result<Vec<ClaimedJob>> {
    let now = tx.now();
    let mut claimed = Vec::with_capacity(payloads.len());
    for payload in payloads {
        let id = JobId::new(now, tx.store().entropy.as_ref())?;
        claimed.push(ClaimedJob { id, kind: kind.to_owned(), payload, attempts: 1, fence: 1 });
    }
    let rows = claimed.iter().map(|job| row(job, now, until, now)).collect();
    write_many(tx.raw(), INSERT, rows).await?;
    Ok(claimed)
}

fn row(job: &ClaimedJob, run_at: Timestamp, lease: Timestamp, now: Timestamp) -> Vec<Arg> {
    vec![
        job.id.to_vec().into(),
        job.kind.clone().into(),
        job.payload.clone().into(),
        run_at.into(),
        job.attempts.into(),
        lease.into(),
        job.fence.into(),
        now.into(),
    ]
}

/// Claims up to `limit` jobs that are due and free.
pub async fn claim(tx: &mut super::Tx, until: Timestamp, limit: i64) -> Result<Vec<ClaimedJob>> {
    let now = tx.now();
    let rows = q(DUE).bind(now).bind(limit).fetch_all(&mut *tx).await?;
    let mut claimed = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut job = job(row)?;
        q(CLAIM).bind(job.id.to_vec()).bind(until).execute(&mut *tx).await?;
        job.attempts += 1;
        job.fence += 1;
        claimed.push(job);
    }
    Ok(claimed)
}

/// Ends a job in the transaction of its effect; a conflict when somebody else has claimed it meanwhile.
pub async fn finish<'a>(on: impl Into<On<'a>>, job: &ClaimedJob) -> Result<()> {
    fenced(q(FINISH).bind(job.id.to_vec()).bind(job.fence).execute(on).await?, job)
}

/// The same for many; those that are not returned are somebody else's by now.
pub async fn finish_all<'j>(
    tx: &mut super::Tx,
    jobs: impl Iterator<Item = &'j ClaimedJob>,
) -> Result<HashSet<JobId>> {
    let keys = jobs.map(|job| vec![job.id.to_vec().into(), job.fence.into()]).collect();
    fetch_many(tx.raw(), FINISH_ALL, keys).await?.iter().map(|row| row.id("id")).collect()
}

pub async fn postpone<'a>(on: impl Into<On<'a>>, job: &ClaimedJob, run_at: Timestamp, error: &str) -> Result<()> {
    let query = q(POSTPONE).bind(job.id.to_vec()).bind(job.fence).bind(run_at).bind(error);
    fenced(query.execute(on).await?, job)
}

/// (kind, waiting or running, how many).
pub async fn states<'a>(on: impl Into<On<'a>>, now: Timestamp) -> Result<Vec<(String, String, i64)>> {
    let rows = q(STATES).bind(now).fetch_all(on).await?;
    rows.iter().map(|r| Ok((r.get("kind")?, r.get("state")?, r.get("n")?))).collect()
}

/// Takes or renews the named lease; `Some(fence)` when this replica holds it.
pub async fn lease(tx: &mut super::Tx, name: &str, holder: ReplicaId, until: Timestamp) -> Result<Option<i64>> {
    let now = tx.now();
    q(INSERT_LEASE).bind(name).bind(holder.to_vec()).bind(until).execute(&mut *tx).await?;
    let row = q(LEASE).bind(name).fetch_one(&mut *tx).await?;
    let (held_by, fence, ends): (Vec<u8>, i64, i64) = (row.get("holder")?, row.get("fence")?, row.get("until")?);
    if held_by == holder.to_vec() {
        q(RENEW_LEASE).bind(name).bind(holder.to_vec()).bind(until).execute(tx).await?;
        return Ok(Some(fence));
    }
    if ends > now.micros() {
        return Ok(None);
    }
    q(TAKE_LEASE).bind(name).bind(holder.to_vec()).bind(until).execute(tx).await?;
    Ok(Some(fence + 1))
}

fn fenced(touched: u64, job: &ClaimedJob) -> Result<()> {
    if touched == 1 { Ok(()) } else { Err(lost(job)) }
}

/// Another process has claimed the job since.
pub fn lost(job: &ClaimedJob) -> Error {
    Error::new(crate::error::ErrorKind::Conflict, format!("{} {} is somebody else's by now", job.kind, job.id))
}

fn job(row: &Row) -> Result<ClaimedJob> {
    Ok(ClaimedJob {
        id: row.id("id")?,
        kind: row.get("kind")?,
        payload: row.get("payload")?,
        attempts: row.get("attempts")?,
        fence: row.get("fence")?,
    })
}
