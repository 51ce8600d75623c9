//! Rules over renewal windows (RFC 9773): few rows, read whole by every replica when their version moves.

use super::Tx;
use super::engine::{On, Row, q, statements};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::id::RenewalWindowId;
use crate::model::renewal::{RenewalRule, Window};

macro_rules! columns {
    () => {
        "id, filter, issued_before, starts_at, ends_at, reason, explanation_url, created_by, created_at, expires_at"
    };
}

statements! {
    INSERT = "INSERT INTO renewal_windows (id, filter, issued_before, starts_at, ends_at, reason, explanation_url, created_by, created_at, expires_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    ACTIVE = concat!("SELECT ", columns!(), " FROM renewal_windows WHERE expires_at > $1 ORDER BY id DESC");
    COUNT_ACTIVE = "SELECT COUNT(*) AS n FROM renewal_windows WHERE expires_at > $1";
    PAGE = concat!("SELECT ", columns!(), " FROM renewal_windows WHERE id < $1 ORDER BY id DESC LIMIT $2");
    FIND = concat!("SELECT ", columns!(), " FROM renewal_windows WHERE id = $1");
    DELETE = "DELETE FROM renewal_windows WHERE id = $1";
}

pub async fn insert(tx: &mut Tx, rule: &RenewalRule) -> Result<()> {
    let filter =
        serde_json::to_string(&rule.filter).map_err(|e| Error::internal("a filter does not serialise", e))?;
    q(INSERT)
        .bind(rule.id.to_vec())
        .bind(filter)
        .bind(rule.issued_before)
        .bind(rule.window.start)
        .bind(rule.window.end)
        .bind(&rule.reason)
        .bind(rule.explanation_url.as_deref())
        .bind(&rule.created_by)
        .bind(rule.created_at)
        .bind(rule.expires_at)
        .execute(tx)
        .await
        .map(drop)
}

/// Those that are not over, newest first.
pub async fn active<'a>(on: impl Into<On<'a>>, now: Timestamp) -> Result<Vec<RenewalRule>> {
    q(ACTIVE).bind(now).fetch_all(on).await?.iter().map(rule).collect()
}

pub async fn count_active<'a>(on: impl Into<On<'a>>, now: Timestamp) -> Result<i64> {
    q(COUNT_ACTIVE).bind(now).fetch_one(on).await?.get("n")
}

/// Newest first, before `before` (exclusive), those that are over too.
pub async fn page<'a>(
    on: impl Into<On<'a>>,
    before: Option<RenewalWindowId>,
    limit: i64,
) -> Result<Vec<RenewalRule>> {
    let before = before.map_or(vec![0xff; 16], RenewalWindowId::to_vec);
    q(PAGE).bind(before).bind(limit).fetch_all(on).await?.iter().map(rule).collect()
}

pub async fn find<'a>(on: impl Into<On<'a>>, id: RenewalWindowId) -> Result<Option<RenewalRule>> {
    q(FIND).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(rule).transpose()
}

/// Whether it was there.
pub async fn delete(tx: &mut Tx, id: RenewalWindowId) -> Result<bool> {
    Ok(q(DELETE).bind(id.to_vec()).execute(tx).await? == 1)
}

fn rule(row: &Row) -> Result<RenewalRule> {
    Ok(RenewalRule {
        id: row.id("id")?,
        filter: row.json("filter")?,
        issued_before: row.time("issued_before")?,
        window: Window { start: row.time("starts_at")?, end: row.time("ends_at")? },
        reason: row.get("reason")?,
        explanation_url: row.get("explanation_url")?,
        created_by: row.get("created_by")?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
    })
}
