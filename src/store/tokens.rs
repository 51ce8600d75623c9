//! API tokens. The secret is never here, only its SHA-256; 256 random bits need no salt and no slow hash.

use super::engine::{On, Row, q, statements};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::actor::Role;
use crate::model::id::{GrantId, TokenId};
use crate::model::token::Token;

statements! {
    INSERT = "INSERT INTO tokens (id, name, secret_sha256, role, grant_id, created_by, created_at, expires_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    BY_SECRET = "SELECT t.id, t.name, t.role, t.grant_id, t.created_by, t.created_at, t.expires_at, t.revoked_at, t.suspended_at, t.last_used_at, \
                 g.scope FROM tokens t LEFT JOIN grants g ON g.id = t.grant_id WHERE t.secret_sha256 = $1";
    BY_ID = "SELECT t.id, t.name, t.role, t.grant_id, t.created_by, t.created_at, t.expires_at, t.revoked_at, t.suspended_at, t.last_used_at, \
             g.scope FROM tokens t LEFT JOIN grants g ON g.id = t.grant_id WHERE t.id = $1";
    PAGE = "SELECT t.id, t.name, t.role, t.grant_id, t.created_by, t.created_at, t.expires_at, t.revoked_at, t.suspended_at, t.last_used_at, \
            g.scope FROM tokens t LEFT JOIN grants g ON g.id = t.grant_id WHERE t.id < $1 ORDER BY t.id DESC LIMIT $2";
    REVOKE = "UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    REVOKE_OF_GRANT = "UPDATE tokens SET revoked_at = $2 WHERE grant_id = $1 AND revoked_at IS NULL";
    USED = "UPDATE tokens SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)";
}

pub async fn insert<'a>(on: impl Into<On<'a>>, token: &Token, secret_sha256: &[u8; 32]) -> Result<()> {
    let query = q(INSERT)
        .bind(token.id.to_vec())
        .bind(&token.name)
        .bind(secret_sha256.to_vec())
        .bind(token.role.name())
        .bind(token.grant_id.map(|id| id.to_vec()))
        .bind(&token.created_by)
        .bind(token.created_at)
        .bind(token.expires_at);
    query.execute(on).await.map(drop)
}

pub async fn find_by_secret<'a>(on: impl Into<On<'a>>, secret_sha256: &[u8; 32]) -> Result<Option<Token>> {
    one(q(BY_SECRET).bind(secret_sha256.to_vec()).fetch_optional(on).await?)
}

pub async fn find<'a>(on: impl Into<On<'a>>, id: TokenId) -> Result<Option<Token>> {
    one(q(BY_ID).bind(id.to_vec()).fetch_optional(on).await?)
}

/// Newest first, before `before` (exclusive).
pub async fn page<'a>(on: impl Into<On<'a>>, before: Option<TokenId>, limit: i64) -> Result<Vec<Token>> {
    let before = before.map_or(vec![0xff; 16], TokenId::to_vec);
    q(PAGE).bind(before).bind(limit).fetch_all(on).await?.iter().map(row).collect()
}

/// Whether it was not revoked before.
pub async fn revoke<'a>(on: impl Into<On<'a>>, id: TokenId, at: Timestamp) -> Result<bool> {
    Ok(q(REVOKE).bind(id.to_vec()).bind(at).execute(on).await? == 1)
}

pub async fn revoke_of_grant<'a>(on: impl Into<On<'a>>, grant: GrantId, at: Timestamp) -> Result<u64> {
    q(REVOKE_OF_GRANT).bind(grant.to_vec()).bind(at).execute(on).await
}

pub async fn used<'a>(on: impl Into<On<'a>>, id: TokenId, at: Timestamp) -> Result<()> {
    q(USED).bind(id.to_vec()).bind(at).execute(on).await.map(drop)
}

fn one(found: Option<Row>) -> Result<Option<Token>> {
    found.as_ref().map(row).transpose()
}

fn row(row: &Row) -> Result<Token> {
    let role: String = row.get("role")?;
    let scope = match row.get::<Option<String>>("scope")? {
        Some(_) => Some(row.json("scope")?),
        None => None,
    };
    let token = Token {
        id: row.id("id")?,
        name: row.get("name")?,
        role: Role::from_name(&role).ok_or_else(|| Error::inconsistent(format!("a token has the role {role}")))?,
        grant_id: row.id_opt("grant_id")?,
        scope,
        created_by: row.get("created_by")?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
        revoked_at: row.time_opt("revoked_at")?,
        suspended_at: row.time_opt("suspended_at")?,
        last_used_at: row.time_opt("last_used_at")?,
    };
    // a token whose grant is gone must not become one without bounds
    if token.grant_id.is_some() && token.scope.is_none() {
        return Err(Error::inconsistent(format!("the grant of token {} is missing", token.id)));
    }
    Ok(token)
}
