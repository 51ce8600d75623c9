//! What rate limits keep: one time for each limit (model/limits.rs), the failures of a name for an account, and the
//! limits that an account has in place of its directory's. Locked and saved in the transaction that they bound.

use std::collections::{BTreeMap, HashMap};

use super::Tx;
use super::engine::{On, Row, fetch_many, q, statements, write_many};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::id::AccountId;
use crate::model::limits::{AccountLimits, Limit, Paused};

statements! {
    /// In one order, so that two groups cannot wait for each other; a row that is not there yet is made, and so locked.
    LOCK = "INSERT INTO rate_limits (name, next_at, keep_until) VALUES ($1, 0, 0) \
            ON CONFLICT (name) DO UPDATE SET next_at = rate_limits.next_at RETURNING name, next_at",
        postgres "INSERT INTO rate_limits (name, next_at, keep_until) SELECT u.name, 0, 0 FROM UNNEST($1::text[]) AS u (name) ORDER BY u.name COLLATE \"C\" \
            ON CONFLICT (name) DO UPDATE SET next_at = rate_limits.next_at RETURNING name, next_at";
    SAVE = "WITH moved (name, next_at, keep_until) AS (VALUES ($1, $2, $3)) UPDATE rate_limits SET next_at = moved.next_at, keep_until = moved.keep_until \
            FROM moved WHERE rate_limits.name = moved.name",
        postgres "UPDATE rate_limits SET next_at = moved.next_at, keep_until = moved.keep_until \
            FROM UNNEST($1::text[], $2::bigint[], $3::bigint[]) AS moved (name, next_at, keep_until) WHERE rate_limits.name = moved.name";
    PEEK = "SELECT name, next_at FROM rate_limits WHERE name IN (VALUES ($1))",
        postgres "SELECT name, next_at FROM rate_limits WHERE name = ANY($1::text[])";
    EXPIRE = "DELETE FROM rate_limits WHERE keep_until <= $1";
    FAILURES = "SELECT account_id, name, next_at, failures, since, paused_at FROM acme_failures WHERE (account_id, name) IN (VALUES ($1, $2))",
        postgres "SELECT account_id, name, next_at, failures, since, paused_at FROM acme_failures \
            WHERE (account_id, name) IN (SELECT * FROM UNNEST($1::bytea[], $2::text[]))";
    FORGIVE = "DELETE FROM acme_failures WHERE (account_id, name) IN (VALUES ($1, $2))",
        postgres "DELETE FROM acme_failures WHERE (account_id, name) IN (SELECT * FROM UNNEST($1::bytea[], $2::text[]))";
    FAIL = "INSERT INTO acme_failures (account_id, name, next_at, failures, since, last_at, paused_at) VALUES ($1, $2, $3, 1, $4, $4, NULL) \
            ON CONFLICT (account_id, name) DO UPDATE SET failures = acme_failures.failures + 1, last_at = excluded.last_at, \
            next_at = CASE WHEN acme_failures.next_at > excluded.last_at THEN acme_failures.next_at - excluded.last_at + excluded.next_at ELSE excluded.next_at END, \
            paused_at = CASE WHEN acme_failures.paused_at IS NULL AND acme_failures.failures + 1 >= $5 AND excluded.last_at - acme_failures.since >= $6 \
            THEN excluded.last_at ELSE acme_failures.paused_at END RETURNING failures, since, paused_at";
    PAUSED = "SELECT name, failures, since, paused_at FROM acme_failures WHERE account_id = $1 AND paused_at IS NOT NULL ORDER BY name LIMIT 1000";
    RESUME = "DELETE FROM acme_failures WHERE account_id = $1 AND name = $2 AND paused_at IS NOT NULL";
    FORGET_FAILURES = "DELETE FROM acme_failures WHERE last_at <= $1";
    OF_ACCOUNT = "SELECT limits FROM acme_accounts WHERE id = $1";
}

/// Locks these limits until the transaction ends and says the time that each has kept.
pub async fn lock(tx: &mut Tx, names: impl Iterator<Item = String>) -> Result<BTreeMap<String, Timestamp>> {
    let names: BTreeMap<String, ()> = names.map(|name| (name, ())).collect();
    let keys = names.into_keys().map(|name| vec![name.into()]).collect();
    kept(&fetch_many(tx.raw(), LOCK, keys).await?)
}

/// The same without a lock; those that are not there are not in it.
pub async fn peek(tx: &mut Tx, names: impl Iterator<Item = String>) -> Result<BTreeMap<String, Timestamp>> {
    kept(&fetch_many(tx.raw(), PEEK, names.map(|name| vec![name.into()]).collect()).await?)
}

/// (name, time to keep, until when the row is kept).
pub async fn save(tx: &mut Tx, moved: impl Iterator<Item = (String, Timestamp, Timestamp)>) -> Result<()> {
    let rows = moved.map(|(name, next, keep)| vec![name.into(), next.into(), keep.into()]).collect();
    write_many(tx.raw(), SAVE, rows).await.map(drop)
}

/// What is known of the failures of one name for one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    pub next_at: Timestamp,
    pub count: i64,
    pub since: Timestamp,
    pub paused_at: Option<Timestamp>,
}

pub async fn failures(
    tx: &mut Tx,
    names: impl Iterator<Item = (AccountId, String)>,
) -> Result<HashMap<(AccountId, String), Failures>> {
    let keys = names.map(|(account, name)| vec![account.to_vec().into(), name.into()]).collect();
    let rows = fetch_many(tx.raw(), FAILURES, keys).await?;
    let read = |row: &Row| {
        let failures = Failures {
            next_at: row.time("next_at")?,
            count: row.get("failures")?,
            since: row.time("since")?,
            paused_at: row.time_opt("paused_at")?,
        };
        Ok(((row.id("account_id")?, row.get("name")?), failures))
    };
    rows.iter().map(read).collect()
}

/// Counts a failure; `Some` when this one paused the name.
pub async fn fail(tx: &mut Tx, account: AccountId, name: &str, limit: Limit, pause: Limit) -> Result<Option<Paused>> {
    let now = tx.now();
    let step = limit.0.map_or(0, |rate| rate.step());
    let (most, span) = match pause.0 {
        Some(rate) => (i64::from(rate.count), i64::try_from(rate.period.as_micros()).unwrap_or(i64::MAX)),
        None => (i64::MAX, i64::MAX),
    };
    let query = q(FAIL).bind(account.to_vec()).bind(name).bind(now.micros().saturating_add(step)).bind(now);
    let row = query.bind(most).bind(span).fetch_one(tx).await?;
    let paused_at = row.time_opt("paused_at")?.filter(|at| *at == now);
    let (failures, since) = (row.get("failures")?, row.time("since")?);
    Ok(paused_at.map(|paused_at| Paused { name: name.to_owned(), failures, since, paused_at }))
}

/// A success ends what was counted before.
pub async fn forgive(tx: &mut Tx, names: impl Iterator<Item = (AccountId, String)>) -> Result<()> {
    let keys = names.map(|(account, name)| vec![account.to_vec().into(), name.into()]).collect();
    write_many(tx.raw(), FORGIVE, keys).await.map(drop)
}

/// The paused names of an account, at most 1000.
pub async fn paused<'a>(on: impl Into<On<'a>>, account: AccountId) -> Result<Vec<Paused>> {
    let rows = q(PAUSED).bind(account.to_vec()).fetch_all(on).await?;
    let read = |row: &Row| {
        Ok(Paused {
            name: row.get("name")?,
            failures: row.get("failures")?,
            since: row.time("since")?,
            paused_at: row.time("paused_at")?,
        })
    };
    rows.iter().map(read).collect()
}

/// False when the name is not paused.
pub async fn resume(tx: &mut Tx, account: AccountId, name: &str) -> Result<bool> {
    Ok(q(RESUME).bind(account.to_vec()).bind(name).execute(tx).await? == 1)
}

/// Housekeeping: limits that are full again, and failures of long ago.
pub async fn expire(tx: &mut Tx, now: Timestamp, failures_before: Timestamp) -> Result<u64> {
    let limits = q(EXPIRE).bind(now).execute(&mut *tx).await?;
    Ok(limits + q(FORGET_FAILURES).bind(failures_before).execute(tx).await?)
}

/// `None` when there is no such account.
pub async fn of_account<'a>(on: impl Into<On<'a>>, id: AccountId) -> Result<Option<AccountLimits>> {
    let row = q(OF_ACCOUNT).bind(id.to_vec()).fetch_optional(on).await?;
    row.map(|row| read(row.get("limits")?)).transpose()
}

/// False when there is no such account.
pub async fn set_of_account(tx: &mut Tx, id: AccountId, limits: &AccountLimits) -> Result<bool> {
    let text = serde_json::to_string(limits).map_err(|e| Error::internal("limits cannot be written as JSON", e))?;
    let text = Some(text).filter(|text| text != "{}");
    super::accounts::set_limits(tx, id, text).await
}

pub(super) fn read(text: Option<String>) -> Result<AccountLimits> {
    let Some(text) = text else { return Ok(AccountLimits::default()) };
    serde_json::from_str(&text).map_err(|e| Error::inconsistent("an account's limits cannot be read").because(e))
}

fn kept(rows: &[Row]) -> Result<BTreeMap<String, Timestamp>> {
    rows.iter().map(|row| Ok((row.get("name")?, row.time("next_at")?))).collect()
}
