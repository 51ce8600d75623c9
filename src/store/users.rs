//! Users and the one-time set-up link. A password is here as its argon2id hash alone, a link as its SHA-256.

use super::Tx;
use super::engine::{On, Row, q, statements};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Role;
use crate::model::id::UserId;
use crate::model::user::{User, UserName};

macro_rules! columns {
    () => {
        "u.id, u.name, u.role, u.created_by, u.created_at, u.password_changed_at, u.last_sign_in_at, u.disabled_at, u.failed_sign_ins"
    };
}
pub(in crate::store) use columns;

statements! {
    INSERT = "INSERT INTO users (id, name, role, password_hash, created_by, created_at, password_changed_at) VALUES ($1, $2, $3, $4, $5, $6, $6)";
    BY_ID = concat!("SELECT ", columns!(), " FROM users u WHERE u.id = $1");
    BY_NAME = concat!("SELECT ", columns!(), ", u.password_hash FROM users u WHERE u.name = $1");
    PAGE = concat!("SELECT ", columns!(), " FROM users u WHERE u.name > $1 ORDER BY u.name LIMIT $2");
    OTHER_ADMIN = "SELECT id FROM users WHERE role = 'admin' AND disabled_at IS NULL AND id <> $1 LIMIT 1";
    SET_PASSWORD = "UPDATE users SET password_hash = $2, password_changed_at = $3, failed_sign_ins = 0 WHERE id = $1";
    SET_ROLE = "UPDATE users SET role = $2 WHERE id = $1";
    SET_DISABLED = "UPDATE users SET disabled_at = $2 WHERE id = $1";
    SIGNED_IN = "UPDATE users SET last_sign_in_at = $2 WHERE id = $1 AND disabled_at IS NULL AND password_hash = $3";
    /// One more wrong password, unless there are `$2` already.
    COUNT_FAILURE = "UPDATE users SET failed_sign_ins = failed_sign_ins + 1 WHERE name = $1 AND failed_sign_ins < $2 RETURNING id, failed_sign_ins";
    FORGET_FAILURES = "UPDATE users SET failed_sign_ins = 0 WHERE id = $1";
    INSERT_LINK = "INSERT INTO setup_links (secret_sha256, created_by, created_at, expires_at) VALUES ($1, $2, $3, $4)";
    LINK = "SELECT expires_at FROM setup_links WHERE secret_sha256 = $1";
    DROP_LINKS = "DELETE FROM setup_links";
    CLEAN_LINKS = "DELETE FROM setup_links WHERE expires_at <= $1";
}

/// A name that is taken is a conflict.
pub async fn insert<'a>(on: impl Into<On<'a>>, user: &User, password_hash: &str) -> Result<()> {
    let query = q(INSERT)
        .bind(user.id.to_vec())
        .bind(user.name.as_str())
        .bind(user.role.name())
        .bind(password_hash)
        .bind(&user.created_by)
        .bind(user.created_at);
    match query.execute(on).await {
        Err(error) if error.kind == ErrorKind::Conflict => Err(Error::refused(
            ErrorKind::Conflict,
            "user.name",
            format!("\"{}\", which exists", user.name),
            "a name that nobody has",
            "choose another name",
        )
        .explained(format!("user \"{}\" exists already", user.name))),
        other => other.map(drop),
    }
}

pub async fn find<'a>(on: impl Into<On<'a>>, id: UserId) -> Result<Option<User>> {
    q(BY_ID).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(user).transpose()
}

/// The user with the hash of the password.
pub async fn find_by_name<'a>(on: impl Into<On<'a>>, name: &UserName) -> Result<Option<(User, String)>> {
    let Some(row) = q(BY_NAME).bind(name.as_str()).fetch_optional(on).await? else { return Ok(None) };
    Ok(Some((user(&row)?, row.get("password_hash")?)))
}

/// By name, after `after` (exclusive).
pub async fn page<'a>(on: impl Into<On<'a>>, after: &str, limit: i64) -> Result<Vec<User>> {
    q(PAGE).bind(after).bind(limit).fetch_all(on).await?.iter().map(user).collect()
}

/// Is there an active administrator besides this one?
pub async fn other_admin<'a>(on: impl Into<On<'a>>, id: Option<UserId>) -> Result<bool> {
    let id = id.map_or_else(Vec::new, UserId::to_vec);
    Ok(q(OTHER_ADMIN).bind(id).fetch_optional(on).await?.is_some())
}

pub async fn set_password<'a>(on: impl Into<On<'a>>, id: UserId, hash: &str, at: Timestamp) -> Result<bool> {
    Ok(q(SET_PASSWORD).bind(id.to_vec()).bind(hash).bind(at).execute(on).await? == 1)
}

pub async fn set_role<'a>(on: impl Into<On<'a>>, id: UserId, role: Role) -> Result<bool> {
    Ok(q(SET_ROLE).bind(id.to_vec()).bind(role.name()).execute(on).await? == 1)
}

pub async fn set_disabled<'a>(on: impl Into<On<'a>>, id: UserId, at: Option<Timestamp>) -> Result<bool> {
    Ok(q(SET_DISABLED).bind(id.to_vec()).bind(at).execute(on).await? == 1)
}

/// Notes a sign-in; false when the user was disabled or the password changed since it was read.
pub async fn signed_in<'a>(on: impl Into<On<'a>>, id: UserId, hash: &str, at: Timestamp) -> Result<bool> {
    Ok(q(SIGNED_IN).bind(id.to_vec()).bind(at).bind(hash).execute(on).await? == 1)
}

/// Counts a wrong password before the password is looked at. The user and the new count; `None`: nobody has this name,
/// or `limit` was reached before.
pub async fn count_failure<'a>(on: impl Into<On<'a>>, name: &UserName, limit: i64) -> Result<Option<(UserId, i64)>> {
    let Some(row) = q(COUNT_FAILURE).bind(name.as_str()).bind(limit).fetch_optional(on).await? else {
        return Ok(None);
    };
    Ok(Some((row.id("id")?, row.get("failed_sign_ins")?)))
}

pub async fn forget_failures<'a>(on: impl Into<On<'a>>, id: UserId) -> Result<()> {
    q(FORGET_FAILURES).bind(id.to_vec()).execute(on).await.map(drop)
}

/// The one link that is open: older ones end, and true says that there was one.
pub async fn put_link(tx: &mut Tx, secret_sha256: &[u8; 32], by: &str, expires_at: Timestamp) -> Result<bool> {
    let now = tx.now();
    q(CLEAN_LINKS).bind(now).execute(&mut *tx).await?;
    let dropped = q(DROP_LINKS).execute(&mut *tx).await?;
    let query = q(INSERT_LINK).bind(secret_sha256.to_vec()).bind(by).bind(now).bind(expires_at);
    query.execute(tx).await?;
    Ok(dropped > 0)
}

/// When the link with this secret ends.
pub async fn link<'a>(on: impl Into<On<'a>>, secret_sha256: &[u8; 32]) -> Result<Option<Timestamp>> {
    let row = q(LINK).bind(secret_sha256.to_vec()).fetch_optional(on).await?;
    row.map(|row| row.time("expires_at")).transpose()
}

pub async fn drop_links<'a>(on: impl Into<On<'a>>) -> Result<u64> {
    q(DROP_LINKS).execute(on).await
}

pub async fn clean_links<'a>(on: impl Into<On<'a>>, now: Timestamp) -> Result<u64> {
    q(CLEAN_LINKS).bind(now).execute(on).await
}

/// Until this transaction ends nobody else makes, demotes or disables an administrator (READ COMMITTED would let two
/// see none; SQLite's one writer is that lock already).
pub async fn lock_admins(tx: &mut Tx) -> Result<()> {
    tx.raw().lock_installation().await
}

pub(super) fn user(row: &Row) -> Result<User> {
    let (name, role): (String, String) = (row.get("name")?, row.get("role")?);
    Ok(User {
        id: row.id("id")?,
        name: UserName::parse(&name)
            .map_err(|e| Error::inconsistent("a user has a name that cannot be").because(e))?,
        role: Role::from_name(&role).ok_or_else(|| Error::inconsistent(format!("a user has the role {role}")))?,
        created_by: row.get("created_by")?,
        created_at: row.time("created_at")?,
        password_changed_at: row.time("password_changed_at")?,
        last_sign_in_at: row.time_opt("last_sign_in_at")?,
        disabled_at: row.time_opt("disabled_at")?,
        failed_sign_ins: row.get("failed_sign_ins")?,
    })
}
