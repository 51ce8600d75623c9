//! Grants: the bounds of tokens, EAB keys and whatever else acts in somebody's name. What an issuance takes of one
//! stands in `guards`.

use super::Tx;
use super::engine::{On, Row, Sql, q, statements};
use super::row_macs::{self, GRANT_COUNTS, GRANTS, Sealing, mac_columns, sealed, sealed_writes};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::grant::Grant;
use crate::model::id::GrantId;

macro_rules! columns {
    () => {
        concat!(
            "id, name, scope, expires_at, max_count, used_count, created_by, created_at, revoked_at, suspended_at, ",
            mac_columns!("grants", "grants", "", "id")
        )
    };
}

statements! {
    FIND = concat!("SELECT ", columns!(), " FROM grants WHERE id = $1");
    LOCK = concat!("SELECT ", columns!(), " FROM grants WHERE id = $1"),
        postgres concat!("SELECT ", columns!(), " FROM grants WHERE id = $1 FOR SHARE");
    PAGE = concat!("SELECT ", columns!(), " FROM grants WHERE id < $1 ORDER BY id DESC LIMIT $2");
}

sealed_writes! {
    INSERT = "INSERT INTO grants (id, name, scope, expires_at, max_count, used_count, created_by, created_at, count_version, count_mac, row_version, row_mac) \
              VALUES ($1, $2, $3, $4, $5, 0, $6, $7, 1, $8, 1, $9)";
    REVOKE = "UPDATE grants SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
}

pub async fn insert<'a>(on: impl Into<Sealing<'a>>, grant: &Grant) -> Result<()> {
    let scope = serde_json::to_string(&grant.scope).map_err(|e| Error::internal("a grant does not serialise", e))?;
    let query = sealed(INSERT).bind(grant.id.to_vec()).bind(&grant.name).bind(scope).bind(grant.expires_at);
    let mut on: Sealing<'a> = on.into();
    let count = on.first(GRANT_COUNTS, &[grant.id.to_vec().into(), 0i64.into()])?;
    let query = query.bind(grant.max_count).bind(&grant.created_by).bind(grant.created_at).bind(count);
    row_macs::insert(on, GRANTS, query).await.map(drop)
}

/// The refusal of whoever acts under a grant whose row somebody deleted.
pub fn gone(grant: GrantId) -> Error {
    let detail = format!(
        "grant {grant} is gone from the database, so nothing is given under it; restore its row from a backup, or create a new grant"
    );
    Error::new(ErrorKind::Forbidden, detail)
}

/// A grant to act under: refused when it was changed in the database.
pub async fn find<'a>(on: impl Into<Sealing<'a>>, id: GrantId) -> Result<Option<Grant>> {
    checked(on.into(), FIND, id).await
}

/// The same, held until the transaction ends: a revocation waits for whoever acts under it now, and the other way.
pub async fn hold<'a>(on: impl Into<Sealing<'a>>, id: GrantId) -> Result<Option<Grant>> {
    checked(on.into(), LOCK, id).await
}

async fn checked(on: Sealing<'_>, text: Sql, id: GrantId) -> Result<Option<Grant>> {
    let (on, checker) = on.into_parts();
    let Some(found) = q(text).bind(id.to_vec()).fetch_optional(on).await? else { return Ok(None) };
    checker.check(GRANTS, &found, "")?;
    row(&found).map(Some)
}

/// A grant to look at.
pub async fn look<'a>(on: impl Into<On<'a>>, id: GrantId) -> Result<Option<Grant>> {
    q(FIND).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(row).transpose()
}

/// Newest first, before `before` (exclusive).
pub async fn page<'a>(on: impl Into<On<'a>>, before: Option<GrantId>, limit: i64) -> Result<Vec<Grant>> {
    let before = before.map_or(vec![0xff; 16], GrantId::to_vec);
    q(PAGE).bind(before).bind(limit).fetch_all(on).await?.iter().map(row).collect()
}

/// Whether it was not revoked before.
pub async fn revoke(tx: &mut Tx, id: GrantId, at: Timestamp) -> Result<bool> {
    row_macs::withdraw(tx, GRANTS, &id.bytes(), sealed(REVOKE).bind(id.to_vec()).bind(at)).await
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
