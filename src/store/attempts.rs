//! ACME requests that were refused, found by account, order and name, and when certificates were fetched.

use super::Tx;
use super::engine::{On, Row, q, statements, write_many};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::attempt::{Attempt, AttemptFilter, Downloads};
use crate::model::id::{AttemptId, OrderId};

macro_rules! columns {
    () => {
        "id, at, last_at, times, action, directory, account_id, order_id, address, names, code, detail, rule, request_id"
    };
}

/// `$1` is the cursor, `$2` the oldest id, `$5` the limit. A NULL condition holds for every row.
macro_rules! filters {
    () => {
        " WHERE id < $1 AND id >= $2 AND (CAST($3 AS TEXT) IS NULL OR directory = $3) \
         AND (CAST($4 AS BYTEA) IS NULL OR account_id = $4)"
    };
}

statements! {
    INSERT = "INSERT INTO acme_attempts (id, at, last_at, times, action, directory, account_id, order_id, address, names, code, detail, rule, request_id) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    INSERT_NAME = "INSERT INTO acme_attempt_names (name, attempt_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        postgres "INSERT INTO acme_attempt_names (name, attempt_id) SELECT * FROM UNNEST($1::text[], $2::bytea[]) ON CONFLICT DO NOTHING";
    AGAIN = "UPDATE acme_attempts SET times = times + $2, last_at = $3 WHERE id = $1";
    FIND = concat!("SELECT ", columns!(), " FROM acme_attempts WHERE id = $1");
    LIST = concat!("SELECT ", columns!(), " FROM acme_attempts", filters!(), " ORDER BY id DESC LIMIT $5");
    LIST_OF_ACCOUNT = concat!("SELECT ", columns!(), " FROM acme_attempts WHERE id < $1 AND id >= $2 AND (CAST($3 AS TEXT) IS NULL OR directory = $3) \
                   AND account_id = $4 ORDER BY id DESC LIMIT $5");
    LIST_BY_NAME = concat!("SELECT ", columns!(), " FROM acme_attempts", filters!(),
        " AND id IN (SELECT n.attempt_id FROM acme_attempt_names n WHERE n.name >= $6 AND n.name < $7) ORDER BY id DESC LIMIT $5");
    OF_ORDER = concat!("SELECT ", columns!(), " FROM acme_attempts WHERE order_id = $1 ORDER BY id LIMIT $2");
    /// The newest one that is over the number to keep.
    SURPLUS = "SELECT id FROM acme_attempts ORDER BY id DESC LIMIT 1 OFFSET $1";
    FORGET_NAMES = "DELETE FROM acme_attempt_names WHERE attempt_id <= $1";
    FORGET = "DELETE FROM acme_attempts WHERE id <= $1";
    DOWNLOADED = "INSERT INTO acme_downloads (order_id, first_at, last_at, times, address) VALUES ($1, $2, $3, $4, $5) \
                  ON CONFLICT (order_id) DO UPDATE SET last_at = excluded.last_at, times = acme_downloads.times + excluded.times",
        postgres "INSERT INTO acme_downloads (order_id, first_at, last_at, times, address) \
                  SELECT * FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[]) \
                  ON CONFLICT (order_id) DO UPDATE SET last_at = excluded.last_at, times = acme_downloads.times + excluded.times";
    DOWNLOADS = "SELECT order_id, first_at, last_at, times, address FROM acme_downloads WHERE order_id = $1";
}

pub async fn insert(tx: &mut Tx, attempt: &Attempt) -> Result<()> {
    let names =
        serde_json::to_string(&attempt.names).map_err(|e| Error::internal("names cannot be written as JSON", e))?;
    q(INSERT)
        .bind(attempt.id.to_vec())
        .bind(attempt.at)
        .bind(attempt.last_at)
        .bind(attempt.times)
        .bind(&attempt.action)
        .bind(&attempt.directory)
        .bind(attempt.account_id.map(|id| id.to_vec()))
        .bind(attempt.order_id.map(OrderId::to_vec))
        .bind(&attempt.address)
        .bind(names)
        .bind(&attempt.code)
        .bind(&attempt.detail)
        .bind(attempt.rule.as_deref())
        .bind(&attempt.request_id)
        .execute(&mut *tx)
        .await?;
    let rows = attempt.names.iter().map(|name| vec![name.into(), attempt.id.to_vec().into()]).collect();
    write_many(tx.raw(), INSERT_NAME, rows).await.map(drop)
}

/// Adds what was counted since it was written.
pub async fn again<'a>(on: impl Into<On<'a>>, id: AttemptId, times: i64, last_at: Timestamp) -> Result<bool> {
    Ok(q(AGAIN).bind(id.to_vec()).bind(times).bind(last_at).execute(on).await? == 1)
}

pub async fn find<'a>(on: impl Into<On<'a>>, id: AttemptId) -> Result<Option<Attempt>> {
    q(FIND).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(attempt).transpose()
}

/// Newest first, at most `limit`, before `before` (exclusive).
pub async fn list<'a>(
    on: impl Into<On<'a>>,
    filter: &AttemptFilter,
    before: Option<AttemptId>,
    limit: i64,
) -> Result<Vec<Attempt>> {
    let sql = match (&filter.name, filter.account) {
        (Some(_), _) => LIST_BY_NAME,
        (None, Some(_)) => LIST_OF_ACCOUNT,
        (None, None) => LIST,
    };
    let mut query = q(sql)
        .bind(before.map_or(vec![0xff; 16], AttemptId::to_vec))
        .bind(filter.since.map_or(vec![0; 16], |at| AttemptId::first_at(at).to_vec()))
        .bind(filter.directory.as_deref())
        .bind(filter.account.map(|id| id.to_vec()))
        .bind(limit);
    if let Some(name) = &filter.name {
        let (from, to) = name.range();
        query = query.bind(from).bind(to);
    }
    query.fetch_all(on).await?.iter().map(attempt).collect()
}

/// Those about one order, oldest first.
pub async fn of_order<'a>(on: impl Into<On<'a>>, order: OrderId, limit: i64) -> Result<Vec<Attempt>> {
    q(OF_ORDER).bind(order.to_vec()).bind(limit).fetch_all(on).await?.iter().map(attempt).collect()
}

/// Forgets what is older than `before` and what is over the newest `keep`; says how many.
pub async fn forget(tx: &mut Tx, before: Timestamp, keep: i64) -> Result<u64> {
    let surplus = q(SURPLUS).bind(keep).fetch_optional(&mut *tx).await?;
    let surplus = surplus.as_ref().map(|row| row.id::<AttemptId>("id")).transpose()?;
    let last = surplus.unwrap_or(AttemptId::first_at(before)).max(AttemptId::first_at(before));
    q(FORGET_NAMES).bind(last.to_vec()).execute(&mut *tx).await?;
    q(FORGET).bind(last.to_vec()).execute(&mut *tx).await
}

/// Each order once.
pub async fn downloaded(tx: &mut Tx, downloads: &[Downloads]) -> Result<()> {
    let rows = downloads.iter().map(|d| {
        vec![d.order_id.to_vec().into(), d.first_at.into(), d.last_at.into(), d.times.into(), (&d.address).into()]
    });
    write_many(tx.raw(), DOWNLOADED, rows.collect()).await.map(drop)
}

pub async fn downloads<'a>(on: impl Into<On<'a>>, order: OrderId) -> Result<Option<Downloads>> {
    let found = q(DOWNLOADS).bind(order.to_vec()).fetch_optional(on).await?;
    let read = |row: &Row| {
        Ok(Downloads {
            order_id: row.id("order_id")?,
            first_at: row.time("first_at")?,
            last_at: row.time("last_at")?,
            times: row.get("times")?,
            address: row.get("address")?,
        })
    };
    found.as_ref().map(read).transpose()
}

fn attempt(row: &Row) -> Result<Attempt> {
    Ok(Attempt {
        id: row.id("id")?,
        at: row.time("at")?,
        last_at: row.time("last_at")?,
        times: row.get("times")?,
        action: row.get("action")?,
        directory: row.get("directory")?,
        account_id: row.id_opt("account_id")?,
        order_id: row.id_opt("order_id")?,
        address: row.get("address")?,
        names: row.json("names")?,
        code: row.get("code")?,
        detail: row.get("detail")?,
        rule: row.get("rule")?,
        request_id: row.get("request_id")?,
    })
}
