//! ACME challenges (RFC 8555 §7.1.5).

use serde_json::Value;

use super::engine::{On, Row, q, statements};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::acme::{Challenge, ChallengeStatus};
use crate::model::id::{AuthorizationId, ChallengeId};

macro_rules! columns {
    () => {
        "id, authorization_id, kind, token, status, validated_at, error"
    };
}

statements! {
    INSERT = "INSERT INTO acme_challenges (id, authorization_id, kind, token, status, validated_at) VALUES ($1, $2, $3, $4, $5, $6)";
    FIND = concat!("SELECT ", columns!(), " FROM acme_challenges WHERE id = $1");
    OF_AUTHORIZATION = concat!("SELECT ", columns!(), " FROM acme_challenges WHERE authorization_id = $1 ORDER BY kind DESC, id");
    PROCESSING = "UPDATE acme_challenges SET status = 'processing' WHERE id = $1 AND status = 'pending' AND EXISTS \
                  (SELECT 1 FROM acme_authorizations a WHERE a.id = acme_challenges.authorization_id AND a.status = 'pending' AND a.expires_at > $2) \
                  AND NOT EXISTS (SELECT 1 FROM acme_challenges o WHERE o.authorization_id = acme_challenges.authorization_id AND o.status = 'processing')";
    SETTLE = "UPDATE acme_challenges SET status = $2, validated_at = $3, error = $4, timeline = $5 WHERE id = $1 AND status = 'processing'";
}

pub async fn insert<'a>(on: impl Into<On<'a>>, challenge: &Challenge) -> Result<()> {
    q(INSERT)
        .bind(challenge.id.to_vec())
        .bind(challenge.authorization_id.to_vec())
        .bind(&challenge.kind)
        .bind(&challenge.token)
        .bind(challenge.status.name())
        .bind(challenge.validated_at)
        .execute(on)
        .await
        .map(drop)
}

pub async fn find<'a>(on: impl Into<On<'a>>, id: ChallengeId) -> Result<Option<Challenge>> {
    q(FIND).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(challenge).transpose()
}

pub async fn of_authorization<'a>(on: impl Into<On<'a>>, id: AuthorizationId) -> Result<Vec<Challenge>> {
    q(OF_AUTHORIZATION).bind(id.to_vec()).fetch_all(on).await?.iter().map(challenge).collect()
}

/// pending → processing, while its authorization is pending and no other of its challenges is tried; says whether
/// it moved. The caller holds the order's row.
pub async fn to_processing<'a>(on: impl Into<On<'a>>, id: ChallengeId, now: Timestamp) -> Result<bool> {
    Ok(q(PROCESSING).bind(id.to_vec()).bind(now).execute(on).await? == 1)
}

/// processing → valid (with its time) or invalid (with its problem). `timeline` is for operators: what was tried.
pub async fn settle<'a>(
    on: impl Into<On<'a>>,
    id: ChallengeId,
    status: ChallengeStatus,
    validated_at: Option<Timestamp>,
    error: Option<&Value>,
    timeline: &str,
) -> Result<bool> {
    let query = q(SETTLE)
        .bind(id.to_vec())
        .bind(status.name())
        .bind(validated_at)
        .bind(error.map(Value::to_string))
        .bind(timeline);
    Ok(query.execute(on).await? == 1)
}

fn challenge(row: &Row) -> Result<Challenge> {
    let error: Option<String> = row.get("error")?;
    Ok(Challenge {
        id: row.id("id")?,
        authorization_id: row.id("authorization_id")?,
        kind: row.get("kind")?,
        token: row.get("token")?,
        status: ChallengeStatus::from_name(&row.get::<String>("status")?)?,
        validated_at: row.time_opt("validated_at")?,
        error: error.as_deref().and_then(|text| serde_json::from_str(text).ok()),
    })
}
