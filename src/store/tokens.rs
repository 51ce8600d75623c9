//! API tokens. The secret is never here, only its SHA-256; 256 random bits need no salt and no slow hash.

use super::Tx;
use super::engine::{On, Row, q, statements};
use super::row_macs::{self, GRANTS, Sealing, TOKENS, mac_columns, sealed, sealed_writes};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::actor::Role;
use crate::model::id::{GrantId, TokenId};
use crate::model::token::Token;

macro_rules! columns {
    () => {
        concat!(
            "t.id, t.name, t.secret_sha256, t.role, t.grant_id, t.created_by, t.created_at, t.expires_at, t.revoked_at, t.suspended_at, \
             t.last_used_at, g.id AS g_id, g.name AS g_name, g.scope AS g_scope, g.expires_at AS g_expires_at, g.max_count AS g_max_count, \
             g.created_by AS g_created_by, g.created_at AS g_created_at, g.revoked_at AS g_revoked_at, g.suspended_at AS g_suspended_at, ",
            mac_columns!("tokens", "t", "", "id"),
            ", ",
            mac_columns!("grants", "g", "g_", "id"),
            " FROM tokens t LEFT JOIN grants g ON g.id = t.grant_id"
        )
    };
}

statements! {
    BY_SECRET = concat!("SELECT ", columns!(), " WHERE t.secret_sha256 = $1");
    BY_ID = concat!("SELECT ", columns!(), " WHERE t.id = $1");
    PAGE = concat!("SELECT ", columns!(), " WHERE t.id < $1 ORDER BY t.id DESC LIMIT $2");
    OF_GRANT = "SELECT id FROM tokens WHERE grant_id = $1 AND revoked_at IS NULL";
    USED = "UPDATE tokens SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)";
}

sealed_writes! {
    INSERT = "INSERT INTO tokens (id, name, secret_sha256, role, grant_id, created_by, created_at, expires_at, row_version, row_mac) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9)";
    REVOKE = "UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
}

pub async fn insert<'a>(on: impl Into<Sealing<'a>>, token: &Token, secret_sha256: &[u8; 32]) -> Result<()> {
    let query = sealed(INSERT)
        .bind(token.id.to_vec())
        .bind(&token.name)
        .bind(secret_sha256.to_vec())
        .bind(token.role.name())
        .bind(token.grant_id.map(|id| id.to_vec()))
        .bind(&token.created_by)
        .bind(token.created_at)
        .bind(token.expires_at);
    row_macs::insert(on, TOKENS, query).await.map(drop)
}

/// The token behind a secret, to act with: refused when the token or its grant was changed in the database.
pub async fn find_by_secret<'a>(on: impl Into<Sealing<'a>>, secret_sha256: &[u8; 32]) -> Result<Option<Token>> {
    let (on, checker) = on.into().into_parts();
    let Some(found) = q(BY_SECRET).bind(secret_sha256.to_vec()).fetch_optional(on).await? else { return Ok(None) };
    checker.check(TOKENS, &found, "")?;
    if found.get::<Option<Vec<u8>>>("g_id")?.is_some() {
        checker.check(GRANTS, &found, "g_")?;
    }
    row(&found).map(Some)
}

/// A token to look at.
pub async fn find<'a>(on: impl Into<On<'a>>, id: TokenId) -> Result<Option<Token>> {
    q(BY_ID).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(row).transpose()
}

/// Newest first, before `before` (exclusive).
pub async fn page<'a>(on: impl Into<On<'a>>, before: Option<TokenId>, limit: i64) -> Result<Vec<Token>> {
    let before = before.map_or(vec![0xff; 16], TokenId::to_vec);
    q(PAGE).bind(before).bind(limit).fetch_all(on).await?.iter().map(row).collect()
}

/// Whether it was not revoked before.
pub async fn revoke(tx: &mut Tx, id: TokenId, at: Timestamp) -> Result<bool> {
    row_macs::withdraw(tx, TOKENS, &id.bytes(), sealed(REVOKE).bind(id.to_vec()).bind(at)).await
}

pub async fn revoke_of_grant(tx: &mut Tx, grant: GrantId, at: Timestamp) -> Result<u64> {
    let mut revoked = 0;
    for found in q(OF_GRANT).bind(grant.to_vec()).fetch_all(&mut *tx).await? {
        revoked += u64::from(revoke(tx, found.id("id")?, at).await?);
    }
    Ok(revoked)
}

pub async fn used<'a>(on: impl Into<On<'a>>, id: TokenId, at: Timestamp) -> Result<()> {
    q(USED).bind(id.to_vec()).bind(at).execute(on).await.map(drop)
}

fn row(row: &Row) -> Result<Token> {
    let role: String = row.get("role")?;
    let scope = match row.get::<Option<String>>("g_scope")? {
        Some(_) => Some(row.json("g_scope")?),
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
