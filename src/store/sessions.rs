//! Sessions of people, found by the SHA-256 of the cookie's secret, and the counts of attempts to sign in.

use super::engine::{On, Row, q, statements};
use super::users;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::id::{SessionId, UserId};
use crate::model::user::{Session, User};

statements! {
    INSERT = "INSERT INTO sessions (id, user_id, secret_sha256, created_at, last_seen_at, expires_at, address, user_agent) VALUES ($1, $2, $3, $4, $4, $5, $6, $7)";
    BY_SECRET = concat!("SELECT s.id AS session_id, s.user_id, s.created_at AS began_at, s.last_seen_at, s.expires_at, s.address, s.user_agent, ",
        users::columns!(), " FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.secret_sha256 = $1");
    OF_USER = "SELECT id AS session_id, user_id, created_at AS began_at, last_seen_at, expires_at, address, user_agent \
               FROM sessions WHERE user_id = $1 ORDER BY id DESC LIMIT $2";
    SEEN = "UPDATE sessions SET last_seen_at = $2 WHERE id = $1 AND last_seen_at < $2";
    END = "DELETE FROM sessions WHERE id = $1 AND user_id = $2";
    END_BY_SECRET = "DELETE FROM sessions WHERE secret_sha256 = $1";
    END_OF_USER = "DELETE FROM sessions WHERE user_id = $1 AND id <> $2";
    CLEAN = "DELETE FROM sessions WHERE expires_at <= $1 OR last_seen_at <= $2";
    /// One more attempt unless the key is blocked at `$2`; failures before `$3` are forgotten.
    ATTEMPT = "INSERT INTO sign_in_attempts (throttle_key, failures, last_at, blocked_until) VALUES ($1, 1, $2, $2) \
               ON CONFLICT (throttle_key) DO UPDATE SET last_at = $2, \
               failures = CASE WHEN sign_in_attempts.last_at < $3 THEN 1 ELSE sign_in_attempts.failures + 1 END \
               WHERE sign_in_attempts.blocked_until <= $2 RETURNING failures";
    BLOCK = "UPDATE sign_in_attempts SET blocked_until = $2 WHERE throttle_key = $1";
    BLOCKED = "SELECT blocked_until FROM sign_in_attempts WHERE throttle_key = $1";
    FORGET = "DELETE FROM sign_in_attempts WHERE throttle_key = $1";
    CLEAN_ATTEMPTS = "DELETE FROM sign_in_attempts WHERE last_at < $1 AND blocked_until < $1";
}

pub async fn insert<'a>(on: impl Into<On<'a>>, session: &Session, secret_sha256: &[u8; 32]) -> Result<()> {
    let query = q(INSERT)
        .bind(session.id.to_vec())
        .bind(session.user_id.to_vec())
        .bind(secret_sha256.to_vec())
        .bind(session.created_at)
        .bind(session.expires_at)
        .bind(&session.address)
        .bind(&session.user_agent);
    query.execute(on).await.map(drop)
}

pub async fn find<'a>(on: impl Into<On<'a>>, secret_sha256: &[u8; 32]) -> Result<Option<(Session, User)>> {
    let Some(row) = q(BY_SECRET).bind(secret_sha256.to_vec()).fetch_optional(on).await? else { return Ok(None) };
    Ok(Some((session(&row)?, users::user(&row)?)))
}

/// Newest first.
pub async fn of_user<'a>(on: impl Into<On<'a>>, user: UserId, limit: i64) -> Result<Vec<Session>> {
    q(OF_USER).bind(user.to_vec()).bind(limit).fetch_all(on).await?.iter().map(session).collect()
}

pub async fn seen<'a>(on: impl Into<On<'a>>, id: SessionId, at: Timestamp) -> Result<()> {
    q(SEEN).bind(id.to_vec()).bind(at).execute(on).await.map(drop)
}

/// Whether this user had it.
pub async fn end<'a>(on: impl Into<On<'a>>, id: SessionId, user: UserId) -> Result<bool> {
    Ok(q(END).bind(id.to_vec()).bind(user.to_vec()).execute(on).await? == 1)
}

pub async fn end_by_secret<'a>(on: impl Into<On<'a>>, secret_sha256: &[u8; 32]) -> Result<bool> {
    Ok(q(END_BY_SECRET).bind(secret_sha256.to_vec()).execute(on).await? == 1)
}

/// All of a user but `except`.
pub async fn end_of_user<'a>(on: impl Into<On<'a>>, user: UserId, except: Option<SessionId>) -> Result<u64> {
    let except = except.map_or_else(Vec::new, SessionId::to_vec);
    q(END_OF_USER).bind(user.to_vec()).bind(except).execute(on).await
}

/// Sessions that ended by `now` or were last seen by `idle_since`.
pub async fn clean<'a>(on: impl Into<On<'a>>, now: Timestamp, idle_since: Timestamp) -> Result<u64> {
    q(CLEAN).bind(now).bind(idle_since).execute(on).await
}

/// Counts an attempt and says how many failed with this one; None: the key is blocked and nothing was counted. In a
/// transaction, so that parallel attempts queue at the row.
pub async fn attempt<'a>(
    on: impl Into<On<'a>>,
    key: &str,
    now: Timestamp,
    forget_before: Timestamp,
) -> Result<Option<i64>> {
    let row = q(ATTEMPT).bind(key).bind(now).bind(forget_before).fetch_optional(on).await?;
    row.map(|row| row.get("failures")).transpose()
}

pub async fn block<'a>(on: impl Into<On<'a>>, key: &str, until: Timestamp) -> Result<()> {
    q(BLOCK).bind(key).bind(until).execute(on).await.map(drop)
}

pub async fn blocked_until<'a>(on: impl Into<On<'a>>, key: &str) -> Result<Option<Timestamp>> {
    q(BLOCKED).bind(key).fetch_optional(on).await?.map(|row| row.time("blocked_until")).transpose()
}

pub async fn forget<'a>(on: impl Into<On<'a>>, key: &str) -> Result<()> {
    q(FORGET).bind(key).execute(on).await.map(drop)
}

pub async fn clean_attempts<'a>(on: impl Into<On<'a>>, before: Timestamp) -> Result<u64> {
    q(CLEAN_ATTEMPTS).bind(before).execute(on).await
}

fn session(row: &Row) -> Result<Session> {
    Ok(Session {
        id: row.id("session_id")?,
        user_id: row.id("user_id")?,
        created_at: row.time("began_at")?,
        last_seen_at: row.time("last_seen_at")?,
        expires_at: row.time("expires_at")?,
        address: row.get("address")?,
        user_agent: row.get("user_agent")?,
    })
}
