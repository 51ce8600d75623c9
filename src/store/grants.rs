//! Grants: the bounds of tokens, EAB keys and whatever else acts in somebody's name. What an issuance takes of one
//! stands in `guards`.

use super::engine::{On, Row, q, statements};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::grant::Grant;
use crate::model::id::GrantId;

macro_rules! columns {
    () => {
        "id, name, scope, expires_at, max_count, used_count, created_by, created_at, revoked_at, suspended_at"
    };
}

statements! {
    INSERT = "INSERT INTO grants (id, name, scope, expires_at, max_count, used_count, created_by, created_at) \
              VALUES ($1, $2, $3, $4, $5, 0, $6, $7)";
    FIND = concat!("SELECT ", columns!(), " FROM grants WHERE id = $1");
    LOCK = concat!("SELECT ", columns!(), " FROM grants WHERE id = $1"),
        postgres concat!("SELECT ", columns!(), " FROM grants WHERE id = $1 FOR SHARE");
    PAGE = concat!("SELECT ", columns!(), " FROM grants WHERE id < $1 ORDER BY id DESC LIMIT $2");
    REVOKE = "UPDATE grants SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
}

pub async fn insert<'a>(on: impl Into<On<'a>>, grant: &Grant) -> Result<()> {
    let scope = serde_json::to_string(&grant.scope).map_err(|e| Error::internal("a grant does not serialise", e))?;
    let query = q(INSERT).bind(grant.id.to_vec()).bind(&grant.name).bind(scope).bind(grant.expires_at);
    let query = query.bind(grant.max_count).bind(&grant.created_by).bind(grant.created_at);
    query.execute(on).await.map(drop)
}

pub async fn find<'a>(on: impl Into<On<'a>>, id: GrantId) -> Result<Option<Grant>> {
    q(FIND).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(row).transpose()
}

/// The same, held until the transaction ends: a revocation waits for whoever acts under it now, and the other way.
pub async fn hold<'a>(on: impl Into<On<'a>>, id: GrantId) -> Result<Option<Grant>> {
    q(LOCK).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(row).transpose()
}

/// Newest first, before `before` (exclusive).
pub async fn page<'a>(on: impl Into<On<'a>>, before: Option<GrantId>, limit: i64) -> Result<Vec<Grant>> {
    let before = before.map_or(vec![0xff; 16], GrantId::to_vec);
    q(PAGE).bind(before).bind(limit).fetch_all(on).await?.iter().map(row).collect()
}

/// Whether it was not revoked before.
pub async fn revoke<'a>(on: impl Into<On<'a>>, id: GrantId, at: Timestamp) -> Result<bool> {
    Ok(q(REVOKE).bind(id.to_vec()).bind(at).execute(on).await? == 1)
}

fn row(row: &Row) -> Result<Grant> {
    Ok(Grant {
        id: row.id("id")?,
        name: row.get("name")?,
        scope: row.json("scope")?,
        expires_at: row.time_opt("expires_at")?,
        max_count: row.get("max_count")?,
        used_count: row.get("used_count")?,
        created_by: row.get("created_by")?,
        created_at: row.time("created_at")?,
        revoked_at: row.time_opt("revoked_at")?,
        suspended_at: row.time_opt("suspended_at")?,
    })
}
