//! Sessions of people, found by the SHA-256 of the cookie's secret, and the counts of attempts to sign in.

use std::time::Duration;

use super::engine::{On, Query, Row, q, statements};
use super::row_macs::{self, SESSIONS, Sealing, USERS, mac_columns, sealed, sealed_writes};
use super::{Tx, users};
use crate::clock::{Timestamp, hours};
use crate::error::Result;
use crate::model::id::{SessionId, UserId};
use crate::model::user::{Session, User};

statements! {
    BY_SECRET = concat!("SELECT s.id AS session_id, s.user_id, s.created_at AS began_at, s.last_seen_at, s.expires_at, s.address, s.user_agent, \
        s.id AS s_id, s.user_id AS s_user_id, s.secret_sha256 AS s_secret_sha256, s.created_at AS s_created_at, s.expires_at AS s_expires_at, ",
        mac_columns!("sessions", "s", "s_", "id"), ", ", users::columns!(), " FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.secret_sha256 = $1");
    OF_USER = "SELECT id AS session_id, user_id, created_at AS began_at, last_seen_at, expires_at, address, user_agent \
               FROM sessions WHERE user_id = $1 ORDER BY id DESC LIMIT $2";
    SEEN = "UPDATE sessions SET last_seen_at = $2 WHERE id = $1 AND last_seen_at < $2";
    END = "DELETE FROM sessions WHERE id = $1 AND user_id = $2 RETURNING id, expires_at";
    END_BY_SECRET = "DELETE FROM sessions WHERE secret_sha256 = $1 RETURNING id, expires_at";
    END_OF_USER = "DELETE FROM sessions WHERE user_id = $1 AND id <> $2 RETURNING id, expires_at";
    CLEAN = "DELETE FROM sessions WHERE expires_at <= $1 OR last_seen_at <= $2 RETURNING id, expires_at";
    BURY_OF_USER = "INSERT INTO row_floors (table_name, row_id, least_version, at) SELECT 'sessions', id, 9223372036854775807, $1 FROM sessions \
            WHERE user_id = $2 AND id <> $3 ON CONFLICT DO NOTHING";
    END_ALL = "DELETE FROM sessions RETURNING id, expires_at";
    /// Sessions that are about to be deleted: they open nothing when they are put back. NULL is any.
    BURY = "INSERT INTO row_floors (table_name, row_id, least_version, at) SELECT 'sessions', id, 9223372036854775807, $1 FROM sessions \
            WHERE expires_at > $1 AND (CAST($2 AS BYTEA) IS NULL OR user_id = $2) AND (CAST($3 AS BYTEA) IS NULL OR id = $3) \
            AND (CAST($4 AS BYTEA) IS NULL OR secret_sha256 = $4) AND last_seen_at <= $5 ON CONFLICT DO NOTHING";
    FORGET_FLOORS = "DELETE FROM row_floors WHERE table_name = 'sessions' AND at < $1";
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

sealed_writes! {
    INSERT = "INSERT INTO sessions (id, user_id, secret_sha256, created_at, last_seen_at, expires_at, address, user_agent, row_version, row_mac) \
              VALUES ($1, $2, $3, $4, $4, $5, $6, $7, 1, $8)";
}

/// No session lasts longer: floors of ended ones are kept for so long.
const LONGEST: Duration = hours(13);

pub async fn insert<'a>(on: impl Into<Sealing<'a>>, session: &Session, secret_sha256: &[u8; 32]) -> Result<()> {
    let query = sealed(INSERT)
        .bind(session.id.to_vec())
        .bind(session.user_id.to_vec())
        .bind(secret_sha256.to_vec())
        .bind(session.created_at)
        .bind(session.expires_at)
        .bind(&session.address)
        .bind(&session.user_agent);
    row_macs::insert(on, SESSIONS, query).await.map(drop)
}

/// The session behind a cookie with its user: refused when one of the two rows was changed in the database.
pub async fn find<'a>(on: impl Into<Sealing<'a>>, secret_sha256: &[u8; 32]) -> Result<Option<(Session, User)>> {
    let (on, checker) = on.into().into_parts();
    let Some(row) = q(BY_SECRET).bind(secret_sha256.to_vec()).fetch_optional(on).await? else { return Ok(None) };
    checker.check(SESSIONS, &row, "s_")?;
    checker.check(USERS, &row, "")?;
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
pub async fn end(tx: &mut Tx, id: SessionId, user: UserId) -> Result<bool> {
    bury(tx, Some(user.to_vec()), Some(id.to_vec()), None).await?;
    Ok(ended(tx, q(END).bind(id.to_vec()).bind(user.to_vec())).await? == 1)
}

pub async fn end_by_secret(tx: &mut Tx, secret_sha256: &[u8; 32]) -> Result<bool> {
    bury(tx, None, None, Some(secret_sha256.to_vec())).await?;
    Ok(ended(tx, q(END_BY_SECRET).bind(secret_sha256.to_vec())).await? == 1)
}

/// Every session of everybody.
pub async fn end_all(tx: &mut Tx) -> Result<()> {
    bury(tx, None, None, None).await?;
    ended(tx, q(END_ALL)).await.map(drop)
}

/// Deletes sessions, and tells the audit of those that could have gone on.
async fn ended(tx: &mut Tx, delete: Query) -> Result<u64> {
    let rows = delete.fetch_all(&mut *tx).await?;
    row_macs::ended(tx, SESSIONS, &rows)
}

async fn bury(tx: &mut Tx, user: Option<Vec<u8>>, id: Option<Vec<u8>>, secret: Option<Vec<u8>>) -> Result<()> {
    let now = tx.now();
    q(BURY).bind(now).bind(user).bind(id).bind(secret).bind(i64::MAX).execute(tx).await.map(drop)
}

/// All of a user but `except`.
pub async fn end_of_user(tx: &mut Tx, user: UserId, except: Option<SessionId>) -> Result<u64> {
    let except = except.map_or_else(Vec::new, SessionId::to_vec);
    let now = tx.now();
    q(BURY_OF_USER).bind(now).bind(user.to_vec()).bind(except.clone()).execute(&mut *tx).await?;
    ended(tx, q(END_OF_USER).bind(user.to_vec()).bind(except)).await
}

/// Sessions that ended by `now` or were last seen by `idle_since`.
pub async fn clean(tx: &mut Tx, now: Timestamp, idle_since: Timestamp) -> Result<u64> {
    q(FORGET_FLOORS).bind(now - LONGEST).execute(&mut *tx).await?;
    let none = || None::<Vec<u8>>;
    q(BURY).bind(now).bind(none()).bind(none()).bind(none()).bind(idle_since).execute(&mut *tx).await?;
    ended(tx, q(CLEAN).bind(now).bind(idle_since)).await
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
