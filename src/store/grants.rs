//! Grants: the bounds of tokens, EAB keys and whatever else acts in somebody's name.

use super::engine::{On, Row, q, statements};
use crate::error::{Error, Result};
use crate::model::grant::Grant;
use crate::model::id::GrantId;

statements! {
    INSERT = "INSERT INTO grants (id, scope, expires_at, max_count, used_count, created_at) VALUES ($1, $2, $3, $4, 0, $5)";
    FIND = "SELECT id, scope, expires_at, max_count, used_count, created_at, revoked_at FROM grants WHERE id = $1";
}

pub async fn insert<'a>(on: impl Into<On<'a>>, grant: &Grant) -> Result<()> {
    let scope = serde_json::to_string(&grant.scope).map_err(|e| Error::internal("a grant does not serialise", e))?;
    let query = q(INSERT).bind(grant.id.to_vec()).bind(scope).bind(grant.expires_at).bind(grant.max_count);
    query.bind(grant.created_at).execute(on).await.map(drop)
}

pub async fn find<'a>(on: impl Into<On<'a>>, id: GrantId) -> Result<Option<Grant>> {
    q(FIND).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(row).transpose()
}

fn row(row: &Row) -> Result<Grant> {
    Ok(Grant {
        id: row.id("id")?,
        scope: row.json("scope")?,
        expires_at: row.time_opt("expires_at")?,
        max_count: row.get("max_count")?,
        used_count: row.get("used_count")?,
        created_at: row.time("created_at")?,
        revoked_at: row.time_opt("revoked_at")?,
    })
}
