//! External account keys (RFC 8555 §7.3.4). The secret is sealed; only who asks for it by name gets the row of it.

use super::engine::{On, Row, q, statements};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::eab::EabKey;
use crate::model::id::{EabKeyId, GrantId};

macro_rules! columns {
    () => {
        "id, name, directory, grant_id, max_accounts, used_accounts, created_by, created_at, expires_at, revoked_at, suspended_at, last_used_at"
    };
}

statements! {
    INSERT = "INSERT INTO eab_keys (id, name, directory, grant_id, sealed, max_accounts, used_accounts, created_by, created_at, expires_at) \
              VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8, $9)";
    FIND = concat!("SELECT ", columns!(), " FROM eab_keys WHERE id = $1");
    SEALED = "SELECT sealed FROM eab_keys WHERE id = $1";
    PAGE = concat!("SELECT ", columns!(), " FROM eab_keys WHERE id < $1 ORDER BY id DESC LIMIT $2");
    USE = "UPDATE eab_keys SET used_accounts = used_accounts + 1, last_used_at = $2 WHERE id = $1 AND revoked_at IS NULL \
           AND suspended_at IS NULL AND expires_at > $2 AND (max_accounts IS NULL OR used_accounts < max_accounts)";
    REVOKE = "UPDATE eab_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    REVOKE_OF_GRANT = "UPDATE eab_keys SET revoked_at = $2 WHERE grant_id = $1 AND revoked_at IS NULL";
}

pub async fn insert<'a>(on: impl Into<On<'a>>, key: &EabKey, sealed: &[u8]) -> Result<()> {
    q(INSERT)
        .bind(key.id.to_vec())
        .bind(&key.name)
        .bind(&key.directory)
        .bind(key.grant_id.to_vec())
        .bind(sealed)
        .bind(key.max_accounts)
        .bind(&key.created_by)
        .bind(key.created_at)
        .bind(key.expires_at)
        .execute(on)
        .await
        .map(drop)
}

pub async fn find<'a>(on: impl Into<On<'a>>, id: EabKeyId) -> Result<Option<EabKey>> {
    q(FIND).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(row).transpose()
}

/// The sealed MAC key.
pub async fn sealed<'a>(on: impl Into<On<'a>>, id: EabKeyId) -> Result<Option<Vec<u8>>> {
    q(SEALED).bind(id.to_vec()).fetch_optional(on).await?.map(|row| row.get("sealed")).transpose()
}

/// Newest first, before `before` (exclusive).
pub async fn page<'a>(on: impl Into<On<'a>>, before: Option<EabKeyId>, limit: i64) -> Result<Vec<EabKey>> {
    let before = before.map_or(vec![0xff; 16], EabKeyId::to_vec);
    q(PAGE).bind(before).bind(limit).fetch_all(on).await?.iter().map(row).collect()
}

/// Takes one account of it; false when it ended or is used up.
pub async fn take<'a>(on: impl Into<On<'a>>, id: EabKeyId, now: Timestamp) -> Result<bool> {
    Ok(q(USE).bind(id.to_vec()).bind(now).execute(on).await? == 1)
}

/// Whether it was not revoked before.
pub async fn revoke<'a>(on: impl Into<On<'a>>, id: EabKeyId, at: Timestamp) -> Result<bool> {
    Ok(q(REVOKE).bind(id.to_vec()).bind(at).execute(on).await? == 1)
}

pub async fn revoke_of_grant<'a>(on: impl Into<On<'a>>, grant: GrantId, at: Timestamp) -> Result<u64> {
    q(REVOKE_OF_GRANT).bind(grant.to_vec()).bind(at).execute(on).await
}

fn row(row: &Row) -> Result<EabKey> {
    Ok(EabKey {
        id: row.id("id")?,
        name: row.get("name")?,
        directory: row.get("directory")?,
        grant_id: row.id("grant_id")?,
        max_accounts: row.get("max_accounts")?,
        used_accounts: row.get("used_accounts")?,
        created_by: row.get("created_by")?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
        revoked_at: row.time_opt("revoked_at")?,
        suspended_at: row.time_opt("suspended_at")?,
        last_used_at: row.time_opt("last_used_at")?,
    })
}
