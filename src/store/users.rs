//! Users and the one-time set-up link. A password is here as its argon2id hash alone, a link as its SHA-256.

use super::Tx;
use super::engine::{On, Row, q, statements};
use super::row_macs::{self, SETUP_LINKS, Sealing, USERS, mac_columns, sealed, sealed_writes};
use crate::clock::{Timestamp, days};
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Role;
use crate::model::id::UserId;
use crate::model::user::{User, UserName};

macro_rules! columns {
    () => {
        concat!(
            "u.id, u.name, u.role, u.password_hash, u.created_by, u.created_at, u.password_changed_at, u.last_sign_in_at, u.disabled_at, \
             u.suspended_at, u.failed_sign_ins, ",
            mac_columns!("users", "u", "", "id")
        )
    };
}
pub(in crate::store) use columns;

statements! {
    BY_ID = concat!("SELECT ", columns!(), " FROM users u WHERE u.id = $1");
    BY_NAME = concat!("SELECT ", columns!(), " FROM users u WHERE u.name = $1");
    PAGE = concat!("SELECT ", columns!(), " FROM users u WHERE u.name > $1 ORDER BY u.name LIMIT $2");
    ADMIN = "SELECT id FROM users WHERE role = 'admin' AND disabled_at IS NULL LIMIT 1";
    OTHER_ADMIN = "SELECT id FROM users WHERE role = 'admin' AND disabled_at IS NULL AND suspended_at IS NULL AND id <> $1 LIMIT 1";
    SUSPENDED = "SELECT id FROM users WHERE suspended_at IS NOT NULL AND disabled_at IS NULL LIMIT 1";
    SIGNED_IN = "UPDATE users SET last_sign_in_at = $2 WHERE id = $1 AND disabled_at IS NULL AND suspended_at IS NULL AND password_hash = $3";
    /// One more wrong password, unless there are `$2` already.
    COUNT_FAILURE = "UPDATE users SET failed_sign_ins = failed_sign_ins + 1 WHERE name = $1 AND failed_sign_ins < $2 RETURNING id, failed_sign_ins";
    FORGET_FAILURES = "UPDATE users SET failed_sign_ins = 0 WHERE id = $1";
    LINK = concat!("SELECT secret_sha256, created_by, created_at, expires_at, ", mac_columns!("setup_links", "setup_links", "", "secret_sha256"),
        " FROM setup_links WHERE secret_sha256 = $1");
    /// A link that was opened or replaced opens nothing when it is put back.
    BURY_LINKS = "INSERT INTO row_floors (table_name, row_id, least_version, at) \
                  SELECT 'setup_links', secret_sha256, 9223372036854775807, $1 FROM setup_links WHERE expires_at > $1 ON CONFLICT DO NOTHING";
    FORGET_FLOORS = "DELETE FROM row_floors WHERE table_name = 'setup_links' AND at < $1";
    DROP_LINKS = "DELETE FROM setup_links RETURNING secret_sha256, expires_at";
    CLEAN_LINKS = "DELETE FROM setup_links WHERE expires_at <= $1";
}

sealed_writes! {
    INSERT = "INSERT INTO users (id, name, role, password_hash, created_by, created_at, password_changed_at, row_version, row_mac) \
              VALUES ($1, $2, $3, $4, $5, $6, $6, 1, $7)";
    SET_PASSWORD = "UPDATE users SET password_hash = $2, password_changed_at = $3, failed_sign_ins = 0 WHERE id = $1";
    SET_ROLE = "UPDATE users SET role = $2 WHERE id = $1";
    SET_DISABLED = "UPDATE users SET disabled_at = $2 WHERE id = $1";
    INSERT_LINK = "INSERT INTO setup_links (secret_sha256, created_by, created_at, expires_at, row_version, row_mac) VALUES ($1, $2, $3, $4, 1, $5)";
}

/// A name that is taken is a conflict.
pub async fn insert<'a>(on: impl Into<Sealing<'a>>, user: &User, password_hash: &str) -> Result<()> {
    let query = sealed(INSERT)
        .bind(user.id.to_vec())
        .bind(user.name.as_str())
        .bind(user.role.name())
        .bind(password_hash)
        .bind(&user.created_by)
        .bind(user.created_at);
    match row_macs::insert(on, USERS, query).await {
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

/// A user to look at.
pub async fn find<'a>(on: impl Into<On<'a>>, id: UserId) -> Result<Option<User>> {
    q(BY_ID).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(user).transpose()
}

/// The user with the hash of the password, to sign in: refused when the row was changed in the database.
pub async fn find_by_name<'a>(on: impl Into<Sealing<'a>>, name: &UserName) -> Result<Option<(User, String)>> {
    let (on, checker) = on.into().into_parts();
    let Some(row) = q(BY_NAME).bind(name.as_str()).fetch_optional(on).await? else { return Ok(None) };
    checker.check(USERS, &row, "")?;
    Ok(Some((user(&row)?, row.get("password_hash")?)))
}

/// By name, after `after` (exclusive).
pub async fn page<'a>(on: impl Into<On<'a>>, after: &str, limit: i64) -> Result<Vec<User>> {
    q(PAGE).bind(after).bind(limit).fetch_all(on).await?.iter().map(user).collect()
}

/// Is there an administrator who is not disabled? One who is suspended counts: a restored backup gives no new set-up.
pub async fn has_admin<'a>(on: impl Into<On<'a>>) -> Result<bool> {
    Ok(q(ADMIN).fetch_optional(on).await?.is_some())
}

/// Is there an active administrator besides this one?
pub async fn other_admin<'a>(on: impl Into<On<'a>>, id: UserId) -> Result<bool> {
    Ok(q(OTHER_ADMIN).bind(id.to_vec()).fetch_optional(on).await?.is_some())
}

/// Does a user wait to be confirmed since the database was restored?
pub async fn is_one_suspended<'a>(on: impl Into<On<'a>>) -> Result<bool> {
    Ok(q(SUSPENDED).fetch_optional(on).await?.is_some())
}

/// The password before opens nothing any more, also where its row is put back.
pub async fn set_password(tx: &mut Tx, id: UserId, hash: &str, at: Timestamp) -> Result<bool> {
    let query = sealed(SET_PASSWORD).bind(id.to_vec()).bind(hash).bind(at);
    check(&mut *tx, id).await?;
    row_macs::withdraw(tx, USERS, &id.bytes(), query).await
}

/// The role before is gone, also where its row is put back.
pub async fn set_role(tx: &mut Tx, id: UserId, role: Role) -> Result<bool> {
    check(&mut *tx, id).await?;
    row_macs::withdraw(tx, USERS, &id.bytes(), sealed(SET_ROLE).bind(id.to_vec()).bind(role.name())).await
}

pub async fn disable(tx: &mut Tx, id: UserId, at: Timestamp) -> Result<bool> {
    row_macs::withdraw(tx, USERS, &id.bytes(), sealed(SET_DISABLED).bind(id.to_vec()).bind(at)).await
}

pub async fn enable(tx: &mut Tx, id: UserId) -> Result<bool> {
    row_macs::update(tx, USERS, &id.bytes(), sealed(SET_DISABLED).bind(id.to_vec()).bind(None::<Timestamp>)).await
}

/// Refuses a user whose row was changed in the database.
async fn check(tx: &mut Tx, id: UserId) -> Result<()> {
    let (on, checker) = Sealing::from(tx).into_parts();
    let row = q(BY_ID).bind(id.to_vec()).fetch_optional(on).await?;
    row.map_or(Ok(()), |row| checker.check(USERS, &row, ""))
}

/// Notes a sign-in; false when the user was disabled or suspended or the password changed since it was read.
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
    let dropped = drop_links(&mut *tx).await?;
    let query = sealed(INSERT_LINK).bind(secret_sha256.to_vec()).bind(by).bind(now).bind(expires_at);
    row_macs::insert(tx, SETUP_LINKS, query).await?;
    Ok(dropped > 0)
}

/// When the link with this secret ends. Refused when its row was changed in the database.
pub async fn link<'a>(on: impl Into<Sealing<'a>>, secret_sha256: &[u8; 32]) -> Result<Option<Timestamp>> {
    let (on, checker) = on.into().into_parts();
    let Some(row) = q(LINK).bind(secret_sha256.to_vec()).fetch_optional(on).await? else { return Ok(None) };
    checker.check(SETUP_LINKS, &row, "")?;
    row.time("expires_at").map(Some)
}

pub async fn drop_links(tx: &mut Tx) -> Result<u64> {
    let now = tx.now();
    q(FORGET_FLOORS).bind(now - days(1)).execute(&mut *tx).await?;
    q(BURY_LINKS).bind(now).execute(&mut *tx).await?;
    let rows = q(DROP_LINKS).fetch_all(&mut *tx).await?;
    row_macs::ended(tx, SETUP_LINKS, &rows)
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
        suspended_at: row.time_opt("suspended_at")?,
        failed_sign_ins: row.get("failed_sign_ins")?,
    })
}
