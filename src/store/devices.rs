//! Browsers that signed in before, and the one-time links that make a browser known.

use super::Tx;
use super::engine::{On, q, statements};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::id::{DeviceId, UserId};
use crate::model::user::UserName;

statements! {
    INSERT = "INSERT INTO known_devices (id, user_id, failures, created_at, expires_at, address, user_agent) VALUES ($1, $2, 0, $3, $4, $5, $6)";
    /// A device of the user with this name that may still try.
    KNOWN = "SELECT d.user_id FROM known_devices d JOIN users u ON u.id = d.user_id \
             WHERE d.id = $1 AND u.name = $2 AND u.disabled_at IS NULL AND d.failures < $3 AND d.expires_at > $4";
    COUNT_FAILURE = "UPDATE known_devices SET failures = failures + 1 WHERE id = $1 AND failures < $2 AND expires_at > $3";
    END = "DELETE FROM known_devices WHERE id = $1";
    END_OF_USER = "DELETE FROM known_devices WHERE user_id = $1";
    /// All but the newest `$2` of a user.
    TRIM = "DELETE FROM known_devices WHERE user_id = $1 AND id NOT IN (SELECT id FROM known_devices WHERE user_id = $1 ORDER BY id DESC LIMIT $2)";
    CLEAN = "DELETE FROM known_devices WHERE expires_at <= $1";
    DROP_LINKS = "DELETE FROM sign_in_links WHERE user_id = $1";
    INSERT_LINK = "INSERT INTO sign_in_links (user_id, secret_sha256, created_by, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)";
    TAKE_LINK = "DELETE FROM sign_in_links WHERE secret_sha256 = $1 AND expires_at > $2 RETURNING user_id";
    CLEAN_LINKS = "DELETE FROM sign_in_links WHERE expires_at <= $1";
}

/// A new known browser.
#[derive(Debug)]
pub struct Device {
    pub id: DeviceId,
    pub user_id: UserId,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub address: String,
    pub user_agent: String,
}

/// Inserts a device and keeps the newest `keep` of its user.
pub async fn insert(tx: &mut Tx, device: &Device, keep: i64) -> Result<()> {
    let query = q(INSERT)
        .bind(device.id.to_vec())
        .bind(device.user_id.to_vec())
        .bind(device.created_at)
        .bind(device.expires_at)
        .bind(&device.address)
        .bind(&device.user_agent);
    query.execute(&mut *tx).await?;
    q(TRIM).bind(device.user_id.to_vec()).bind(keep).execute(tx).await.map(drop)
}

/// Whether the device is one of this active user, has fewer than `limit` failures and has not expired.
pub async fn is_known<'a>(
    on: impl Into<On<'a>>,
    id: DeviceId,
    name: &UserName,
    limit: i64,
    now: Timestamp,
) -> Result<bool> {
    let query = q(KNOWN).bind(id.to_vec()).bind(name.as_str()).bind(limit).bind(now);
    Ok(query.fetch_optional(on).await?.is_some())
}

/// Counts a wrong password before the password is looked at; false when the device may not try any more.
pub async fn count_failure<'a>(on: impl Into<On<'a>>, id: DeviceId, limit: i64, now: Timestamp) -> Result<bool> {
    Ok(q(COUNT_FAILURE).bind(id.to_vec()).bind(limit).bind(now).execute(on).await? == 1)
}

pub async fn end<'a>(on: impl Into<On<'a>>, id: DeviceId) -> Result<()> {
    q(END).bind(id.to_vec()).execute(on).await.map(drop)
}

/// Forgets every device and the open link of a user.
pub async fn end_of_user(tx: &mut Tx, user: UserId) -> Result<()> {
    q(END_OF_USER).bind(user.to_vec()).execute(&mut *tx).await?;
    q(DROP_LINKS).bind(user.to_vec()).execute(tx).await.map(drop)
}

/// The one open link of a user: an older one ends, and true says that there was one.
pub async fn put_link(
    tx: &mut Tx,
    user: UserId,
    secret_sha256: &[u8; 32],
    by: &str,
    expires_at: Timestamp,
) -> Result<bool> {
    let now = tx.now();
    q(CLEAN_LINKS).bind(now).execute(&mut *tx).await?;
    let dropped = q(DROP_LINKS).bind(user.to_vec()).execute(&mut *tx).await?;
    let query = q(INSERT_LINK).bind(user.to_vec()).bind(secret_sha256.to_vec()).bind(by).bind(now).bind(expires_at);
    query.execute(tx).await?;
    Ok(dropped > 0)
}

/// Uses a link up: the user that it was made for, once.
pub async fn take_link(tx: &mut Tx, secret_sha256: &[u8; 32]) -> Result<Option<UserId>> {
    let now = tx.now();
    let row = q(TAKE_LINK).bind(secret_sha256.to_vec()).bind(now).fetch_optional(tx).await?;
    row.map(|row| row.id("user_id")).transpose()
}

/// Removes what has expired.
pub async fn clean(tx: &mut Tx) -> Result<()> {
    let now = tx.now();
    q(CLEAN).bind(now).execute(&mut *tx).await?;
    q(CLEAN_LINKS).bind(now).execute(tx).await.map(drop)
}
