//! External account keys (RFC 8555 §7.3.4). The secret is sealed; only who asks for it by name gets the row of it.

use super::Tx;
use super::engine::{On, Row, q, statements};
use super::row_macs::{self, EAB_KEY_COUNTS, EAB_KEYS, Sealing, mac_columns, sealed, sealed_writes};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::eab::EabKey;
use crate::model::id::{EabKeyId, GrantId};

macro_rules! columns {
    () => {
        concat!(
            "id, kid, name, directory, grant_id, sealed, max_accounts, used_accounts, created_by, created_at, expires_at, revoked_at, suspended_at, last_used_at, ",
            mac_columns!("eab_keys", "eab_keys", "", "id")
        )
    };
}

statements! {
    FIND = concat!("SELECT ", columns!(), " FROM eab_keys WHERE id = $1");
    SEALED_SECRET = "SELECT sealed FROM eab_keys WHERE id = $1";
    FIND_BY_KID = concat!("SELECT ", columns!(), " FROM eab_keys WHERE kid = $1");
    PAGE = concat!("SELECT ", columns!(), " FROM eab_keys WHERE id < $1 ORDER BY id DESC LIMIT $2");
    OF_GRANT = "SELECT id FROM eab_keys WHERE grant_id = $1 AND revoked_at IS NULL";
}

sealed_writes! {
    INSERT = "INSERT INTO eab_keys (id, kid, name, directory, grant_id, sealed, max_accounts, used_accounts, created_by, created_at, expires_at, \
              count_version, count_mac, row_version, row_mac) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, $9, $10, 1, $11, 1, $12)";
    USE = "UPDATE eab_keys SET used_accounts = used_accounts + 1, count_version = $2, count_mac = $3, last_used_at = $4 WHERE id = $1 \
           AND revoked_at IS NULL AND suspended_at IS NULL AND expires_at > $4 AND (max_accounts IS NULL OR used_accounts < max_accounts)";
    REVOKE = "UPDATE eab_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
}

pub async fn insert<'a>(on: impl Into<Sealing<'a>>, key: &EabKey, secret: &[u8]) -> Result<()> {
    let mut on: Sealing<'a> = on.into();
    let count = on.first(EAB_KEY_COUNTS, &[key.id.to_vec().into(), 0i64.into()])?;
    let query = sealed(INSERT)
        .bind(key.id.to_vec())
        .bind(key.given_kid.as_deref())
        .bind(&key.name)
        .bind(&key.directory)
        .bind(key.grant_id.to_vec())
        .bind(secret)
        .bind(key.max_accounts)
        .bind(&key.created_by)
        .bind(key.created_at)
        .bind(key.expires_at)
        .bind(count);
    row_macs::insert(on, EAB_KEYS, query).await.map(drop)
}

/// A key to register accounts with: refused when it was changed in the database.
pub async fn find<'a>(on: impl Into<Sealing<'a>>, id: EabKeyId) -> Result<Option<EabKey>> {
    let (on, checker) = on.into().into_parts();
    let Some(found) = q(FIND).bind(id.to_vec()).fetch_optional(on).await? else { return Ok(None) };
    checker.check(EAB_KEYS, &found, "")?;
    row(&found).map(Some)
}

/// The key with this key id, which an operator gave: refused when it was changed in the database. The key id itself is
/// under no MAC: it only finds the row, whose HMAC key the client must have.
pub async fn find_by_kid<'a>(on: impl Into<Sealing<'a>>, kid: &str) -> Result<Option<EabKey>> {
    let (on, checker) = on.into().into_parts();
    let Some(found) = q(FIND_BY_KID).bind(kid).fetch_optional(on).await? else { return Ok(None) };
    checker.check(EAB_KEYS, &found, "")?;
    row(&found).map(Some)
}

/// A key to look at.
pub async fn look<'a>(on: impl Into<On<'a>>, id: EabKeyId) -> Result<Option<EabKey>> {
    q(FIND).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(row).transpose()
}

/// The sealed MAC key.
pub async fn secret<'a>(on: impl Into<On<'a>>, id: EabKeyId) -> Result<Option<Vec<u8>>> {
    q(SEALED_SECRET).bind(id.to_vec()).fetch_optional(on).await?.map(|row| row.get("sealed")).transpose()
}

/// Newest first, before `before` (exclusive).
pub async fn page<'a>(on: impl Into<On<'a>>, before: Option<EabKeyId>, limit: i64) -> Result<Vec<EabKey>> {
    let before = before.map_or(vec![0xff; 16], EabKeyId::to_vec);
    q(PAGE).bind(before).bind(limit).fetch_all(on).await?.iter().map(row).collect()
}

/// Takes one account of it; false when it ended or is used up.
pub async fn take(tx: &mut Tx, id: EabKeyId, now: Timestamp) -> Result<bool> {
    row_macs::count(tx, EAB_KEY_COUNTS, &id.bytes(), USE, vec![now.into()]).await
}

/// Whether it was not revoked before.
pub async fn revoke(tx: &mut Tx, id: EabKeyId, at: Timestamp) -> Result<bool> {
    row_macs::withdraw(tx, EAB_KEYS, &id.bytes(), sealed(REVOKE).bind(id.to_vec()).bind(at)).await
}

pub async fn revoke_of_grant(tx: &mut Tx, grant: GrantId, at: Timestamp) -> Result<u64> {
    let mut revoked = 0;
    for found in q(OF_GRANT).bind(grant.to_vec()).fetch_all(&mut *tx).await? {
        revoked += u64::from(revoke(tx, found.id("id")?, at).await?);
    }
    Ok(revoked)
}

fn row(row: &Row) -> Result<EabKey> {
    Ok(EabKey {
        id: row.id("id")?,
        given_kid: row.get("kid")?,
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
