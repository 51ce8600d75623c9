//! ACME challenges (RFC 8555 §7.1.5).

use std::collections::HashSet;

use serde_json::Value;

use super::Tx;
use super::authorizations::{authorization, columns as authorization_columns};
use super::engine::{On, Row, fetch_many, q, statements, write_many};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::acme::{Authorization, Challenge, ChallengeStatus};
use crate::model::id::{AuthorizationId, ChallengeId};

macro_rules! columns {
    () => {
        "id, authorization_id, kind, token, status, validated_at, error"
    };
}

/// The usual ones first.
macro_rules! in_order {
    () => {
        " ORDER BY CASE c.kind WHEN 'http-01' THEN 0 WHEN 'dns-01' THEN 1 WHEN 'tls-alpn-01' THEN 2 ELSE 3 END, c.kind, c.id"
    };
}

/// A challenge beside its authorization, under names of its own.
macro_rules! with_authorization {
    () => {
        "c.id AS challenge_id, c.authorization_id, c.kind AS method, c.token, c.status AS challenge_status, c.validated_at, c.error"
    };
}

statements! {
    INSERT = "INSERT INTO acme_challenges (id, authorization_id, kind, token, status, validated_at) VALUES ($1, $2, $3, $4, $5, $6)",
        postgres "INSERT INTO acme_challenges (id, authorization_id, kind, token, status, validated_at) \
            SELECT * FROM UNNEST($1::bytea[], $2::bytea[], $3::text[], $4::text[], $5::text[], $6::bigint[])";
    FIND = concat!("SELECT ", columns!(), " FROM acme_challenges WHERE id = $1");
    WITH_AUTHORIZATION = concat!("SELECT ", authorization_columns!(), ", ", with_authorization!(), " FROM acme_challenges c \
                                  JOIN acme_authorizations a ON a.id = c.authorization_id WHERE c.id = $1");
    AUTHORIZATION_WITH = concat!("SELECT ", authorization_columns!(), ", ", with_authorization!(), " FROM acme_authorizations a \
                                  LEFT JOIN acme_challenges c ON a.id = c.authorization_id WHERE a.id = $1", in_order!());
    OF_AUTHORIZATION = concat!("SELECT ", columns!(), " FROM acme_challenges c WHERE authorization_id = $1", in_order!());
    OF_AUTHORIZATIONS = concat!("SELECT ", columns!(), " FROM acme_challenges WHERE authorization_id IN (VALUES ($1))"),
        postgres concat!("SELECT ", columns!(), " FROM acme_challenges WHERE authorization_id = ANY($1::bytea[])");
    TIMELINES = "SELECT id, timeline FROM acme_challenges WHERE authorization_id = $1 AND timeline IS NOT NULL";
    TIMELINE = "SELECT timeline FROM acme_challenges WHERE id = $1";
    KEEP_TRY = "UPDATE acme_challenges SET timeline = $2, error = $3 WHERE id = $1 AND status = 'processing'";
    PROCESSING = "WITH asked (id, at) AS (VALUES ($1, $2)) \
                  UPDATE acme_challenges SET status = 'processing' FROM asked WHERE acme_challenges.id = asked.id AND acme_challenges.status = 'pending' AND EXISTS \
                  (SELECT 1 FROM acme_authorizations a WHERE a.id = acme_challenges.authorization_id AND a.status = 'pending' AND a.expires_at > asked.at) \
                  AND NOT EXISTS (SELECT 1 FROM acme_challenges o WHERE o.authorization_id = acme_challenges.authorization_id AND o.status = 'processing') \
                  RETURNING acme_challenges.id",
        postgres "UPDATE acme_challenges SET status = 'processing' FROM UNNEST($1::bytea[], $2::bigint[]) AS asked (id, at) \
                  WHERE acme_challenges.id = asked.id AND acme_challenges.status = 'pending' AND EXISTS \
                  (SELECT 1 FROM acme_authorizations a WHERE a.id = acme_challenges.authorization_id AND a.status = 'pending' AND a.expires_at > asked.at) \
                  AND NOT EXISTS (SELECT 1 FROM acme_challenges o WHERE o.authorization_id = acme_challenges.authorization_id AND o.status = 'processing') \
                  RETURNING acme_challenges.id";
    SETTLE = "WITH verdict (id, status, at, error, timeline) AS (VALUES ($1, $2, $3, $4, $5)) \
              UPDATE acme_challenges SET status = verdict.status, validated_at = verdict.at, error = verdict.error, timeline = verdict.timeline \
              FROM verdict WHERE acme_challenges.id = verdict.id AND acme_challenges.status = 'processing' RETURNING acme_challenges.id",
        postgres "UPDATE acme_challenges SET status = verdict.status, validated_at = verdict.at, error = verdict.error, timeline = verdict.timeline \
              FROM UNNEST($1::bytea[], $2::text[], $3::bigint[], $4::text[], $5::text[]) AS verdict (id, status, at, error, timeline) \
              WHERE acme_challenges.id = verdict.id AND acme_challenges.status = 'processing' RETURNING acme_challenges.id";
    CAA = "SELECT caa_checked_at, timeline FROM acme_challenges WHERE id = $1";
    NOTE_CAA = "UPDATE acme_challenges SET caa_checked_at = $2, timeline = $3 WHERE id = $1";
}

pub async fn insert(tx: &mut Tx, challenges: &[&Challenge]) -> Result<()> {
    let row = |c: &&Challenge| {
        vec![
            c.id.to_vec().into(),
            c.authorization_id.to_vec().into(),
            c.kind.as_str().into(),
            c.token.as_str().into(),
            c.status.name().into(),
            c.validated_at.into(),
        ]
    };
    write_many(tx.raw(), INSERT, challenges.iter().map(row).collect()).await.map(drop)
}

pub async fn find<'a>(on: impl Into<On<'a>>, id: ChallengeId) -> Result<Option<Challenge>> {
    q(FIND).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(challenge).transpose()
}

/// The same with its authorization.
pub async fn find_with<'a>(on: impl Into<On<'a>>, id: ChallengeId) -> Result<Option<(Authorization, Challenge)>> {
    let row = q(WITH_AUTHORIZATION).bind(id.to_vec()).fetch_optional(on).await?;
    row.map(|row| Ok((authorization(&row)?, beside(&row)?))).transpose()
}

/// An authorization with its challenges, as `of_authorization` has them.
pub async fn authorization_with<'a>(
    on: impl Into<On<'a>>,
    id: AuthorizationId,
) -> Result<Option<(Authorization, Vec<Challenge>)>> {
    let rows = q(AUTHORIZATION_WITH).bind(id.to_vec()).fetch_all(on).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let own = authorization(first)?;
    // one without challenges has one row without one
    let none = first.id_opt::<ChallengeId>("challenge_id")?.is_none();
    let list = if none { Vec::new() } else { rows.iter().map(beside).collect::<Result<_>>()? };
    Ok(Some((own, list)))
}

pub async fn of_authorization<'a>(on: impl Into<On<'a>>, id: AuthorizationId) -> Result<Vec<Challenge>> {
    q(OF_AUTHORIZATION).bind(id.to_vec()).fetch_all(on).await?.iter().map(challenge).collect()
}

/// Those of many, in no order.
pub async fn of_authorizations(tx: &mut Tx, ids: impl Iterator<Item = AuthorizationId>) -> Result<Vec<Challenge>> {
    let keys = ids.map(|id| vec![id.to_vec().into()]).collect();
    fetch_many(tx.raw(), OF_AUTHORIZATIONS, keys).await?.iter().map(challenge).collect()
}

/// pending → processing, while its authorization is pending and no other of its challenges is tried; returns those
/// that moved. The caller holds the authorizations' rows and names one challenge of each.
pub async fn to_processing(tx: &mut Tx, ids: &[ChallengeId]) -> Result<HashSet<ChallengeId>> {
    let now = tx.now();
    let rows = ids.iter().map(|id| vec![id.to_vec().into(), now.into()]).collect();
    fetch_many(tx.raw(), PROCESSING, rows).await?.iter().map(|row| row.id("id")).collect()
}

/// What became of a challenge that was tried.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub challenge: ChallengeId,
    /// A problem document when it failed.
    pub error: Option<Value>,
    /// For operators: what was tried.
    pub timeline: String,
}

/// processing → valid (with its time) or invalid (with its problem); returns those that moved.
pub async fn settle<'v>(tx: &mut Tx, verdicts: impl Iterator<Item = &'v Verdict>) -> Result<HashSet<ChallengeId>> {
    let now = tx.now();
    let rows = verdicts.map(|verdict| {
        let status = if verdict.error.is_none() { ChallengeStatus::Valid } else { ChallengeStatus::Invalid };
        vec![
            verdict.challenge.to_vec().into(),
            status.name().into(),
            verdict.error.is_none().then_some(now).into(),
            verdict.error.as_ref().map(Value::to_string).into(),
            verdict.timeline.as_str().into(),
        ]
    });
    fetch_many(tx.raw(), SETTLE, rows.collect()).await?.iter().map(|row| row.id("id")).collect()
}

/// When CAA was looked at last, and the timeline.
pub async fn caa<'a>(on: impl Into<On<'a>>, id: ChallengeId) -> Result<(Option<Timestamp>, String)> {
    let Some(row) = q(CAA).bind(id.to_vec()).fetch_optional(on).await? else { return Ok((None, String::new())) };
    Ok((row.time_opt("caa_checked_at")?, row.get::<Option<String>>("timeline")?.unwrap_or_default()))
}

pub async fn note_caa<'a>(
    on: impl Into<On<'a>>,
    id: ChallengeId,
    checked_at: Option<Timestamp>,
    timeline: &str,
) -> Result<()> {
    q(NOTE_CAA).bind(id.to_vec()).bind(checked_at).bind(timeline).execute(on).await.map(drop)
}

/// What was tried, as JSON, of those challenges of an authorization that were.
pub async fn timelines<'a>(on: impl Into<On<'a>>, id: AuthorizationId) -> Result<Vec<(ChallengeId, String)>> {
    let rows = q(TIMELINES).bind(id.to_vec()).fetch_all(on).await?;
    rows.iter().map(|row| Ok((row.id("id")?, row.get("timeline")?))).collect()
}

pub async fn timeline<'a>(on: impl Into<On<'a>>, id: ChallengeId) -> Result<Option<String>> {
    match q(TIMELINE).bind(id.to_vec()).fetch_optional(on).await? {
        Some(row) => row.get("timeline"),
        None => Ok(None),
    }
}

/// Keeps what was tried so far while the challenge is tried again.
pub async fn keep_try<'a>(on: impl Into<On<'a>>, id: ChallengeId, timeline: &str, error: &Value) -> Result<bool> {
    Ok(q(KEEP_TRY).bind(id.to_vec()).bind(timeline).bind(error.to_string()).execute(on).await? == 1)
}

fn challenge(row: &Row) -> Result<Challenge> {
    read(row, "id", "kind", "status")
}

fn beside(row: &Row) -> Result<Challenge> {
    read(row, "challenge_id", "method", "challenge_status")
}

fn read(row: &Row, id: &str, kind: &str, status: &str) -> Result<Challenge> {
    let error: Option<String> = row.get("error")?;
    Ok(Challenge {
        id: row.id(id)?,
        authorization_id: row.id("authorization_id")?,
        kind: row.get(kind)?,
        token: row.get("token")?,
        status: ChallengeStatus::from_name(&row.get::<String>(status)?)?,
        validated_at: row.time_opt("validated_at")?,
        error: error.as_deref().and_then(|text| serde_json::from_str(text).ok()),
    })
}
