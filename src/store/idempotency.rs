//! Idempotency-Keys: which request a key belongs to and what it was answered. An issuance claims its key in the
//! transaction of its intent (`guards`); other requests record theirs with the answer.

use super::engine::{On, q, statements};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::id::CertificateId;

statements! {
    FIND = "SELECT request_sha256, certificate_id, status, body, expires_at FROM idempotency_keys \
            WHERE actor = $1 AND idempotency_key = $2";
    DROP_EXPIRED = "DELETE FROM idempotency_keys WHERE actor = $1 AND idempotency_key = $2 AND expires_at <= $3";
    RECORD = "INSERT INTO idempotency_keys (actor, idempotency_key, request_sha256, status, body, created_at, expires_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7)";
    CLEAN = "DELETE FROM idempotency_keys WHERE expires_at <= $1";
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub request_sha256: [u8; 32],
    /// The certificate that an issuance made or is making.
    pub certificate_id: Option<CertificateId>,
    /// None while the first request is in flight.
    pub status: Option<i64>,
    /// The answer of another request than an issuance, without secrets.
    pub body: Option<String>,
    pub expires_at: Timestamp,
}

pub async fn find<'a>(on: impl Into<On<'a>>, actor: &str, key: &str) -> Result<Option<Known>> {
    let Some(row) = q(FIND).bind(actor).bind(key).fetch_optional(on).await? else { return Ok(None) };
    let hash: Vec<u8> = row.get("request_sha256")?;
    let short = |_| Error::inconsistent("the hash of an Idempotency-Key is not 32 bytes");
    Ok(Some(Known {
        request_sha256: hash.try_into().map_err(short)?,
        certificate_id: row.id_opt("certificate_id")?,
        status: row.get("status")?,
        body: row.get("body")?,
        expires_at: row.time("expires_at")?,
    }))
}

/// Forgets a key whose day is over, so that it may be claimed again.
pub async fn drop_expired<'a>(on: impl Into<On<'a>>, actor: &str, key: &str, now: Timestamp) -> Result<u64> {
    q(DROP_EXPIRED).bind(actor).bind(key).bind(now).execute(on).await
}

/// Key and answer of a request that is no issuance, in the transaction of its change. `Conflict` when it is taken.
pub async fn record<'a>(
    on: impl Into<On<'a>>,
    (actor, key): (&str, &str),
    request_sha256: &[u8; 32],
    (status, body): (i64, &str),
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<()> {
    let query = q(RECORD).bind(actor).bind(key).bind(request_sha256.to_vec()).bind(status).bind(body);
    query.bind(now).bind(expires_at).execute(on).await.map(drop)
}

/// Housekeeping. Returns how many went.
pub async fn clean<'a>(on: impl Into<On<'a>>, now: Timestamp) -> Result<u64> {
    q(CLEAN).bind(now).execute(on).await
}
