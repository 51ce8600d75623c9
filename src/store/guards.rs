//! The rows that an issuance holds on to: token, grant, order and Idempotency-Key, each moved by one statement
//! that says in its WHERE what must hold.

use super::Tx;
use super::engine::{On, q, statements};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::id::{CertificateId, GrantId, OrderId, TokenId};

statements! {
    TOKEN_ALIVE = "SELECT 1 AS alive FROM tokens WHERE id = $1 AND revoked_at IS NULL AND expires_at > $2";
    USE_GRANT = "UPDATE grants SET used_count = used_count + 1 WHERE id = $1 AND revoked_at IS NULL \
                 AND (expires_at IS NULL OR expires_at > $2) AND used_count < max_count";
    ORDERING_ACCOUNT = "SELECT a.status FROM acme_accounts a WHERE a.id = (SELECT o.account_id FROM acme_orders o WHERE o.id = $1)",
        postgres "SELECT a.status FROM acme_accounts a WHERE a.id = (SELECT o.account_id FROM acme_orders o WHERE o.id = $1) FOR SHARE";
    ORDER_PROCESSING = "UPDATE acme_orders SET status = 'processing', certificate_id = $2 WHERE id = $1 AND status = 'ready' AND expires_at > $3";
    ORDER_VALID = "UPDATE acme_orders SET status = 'valid' WHERE id = $1 AND status = 'processing'";
    ORDER_INVALID = "UPDATE acme_orders SET status = 'invalid', error = $2 WHERE id = $1 AND status = 'processing'";
    CLAIM_KEY = "INSERT INTO idempotency_keys (actor, idempotency_key, request_sha256, certificate_id, created_at, expires_at) \
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    ANSWER_KEY = "UPDATE idempotency_keys SET status = $3 WHERE actor = $1 AND idempotency_key = $2";
    FREE_KEY = "DELETE FROM idempotency_keys WHERE certificate_id = $1 AND status IS NULL";
}

pub async fn token_alive<'a>(on: impl Into<On<'a>>, token: TokenId, now: Timestamp) -> Result<bool> {
    Ok(q(TOKEN_ALIVE).bind(token.to_vec()).bind(now).fetch_optional(on).await?.is_some())
}

/// Takes one use of a grant with a count; false when it ended or is used up. The row is locked from here on, so
/// that of two at once the second sees what the first has taken.
pub async fn use_grant(tx: &mut Tx, grant: GrantId, now: Timestamp) -> Result<bool> {
    Ok(q(USE_GRANT).bind(grant.to_vec()).bind(now).execute(tx).await? == 1)
}

/// Is the order's account valid, and kept so until this transaction ends? An order that does not exist is not its
/// account's fault. Many finalizations share that lock, and a
/// deactivation waits for them or they for it. Take it before the order's row, as the deactivation does.
pub async fn ordering_account_alive<'a>(on: impl Into<On<'a>>, order: OrderId) -> Result<bool> {
    let row = q(ORDERING_ACCOUNT).bind(order.to_vec()).fetch_optional(on).await?;
    Ok(row.map(|r| r.get::<String>("status")).transpose()?.is_none_or(|status| status == "valid"))
}

pub async fn order_to_processing<'a>(
    on: impl Into<On<'a>>,
    order: OrderId,
    certificate: CertificateId,
    now: Timestamp,
) -> Result<bool> {
    Ok(q(ORDER_PROCESSING).bind(order.to_vec()).bind(certificate.to_vec()).bind(now).execute(on).await? == 1)
}

pub async fn order_to_valid<'a>(on: impl Into<On<'a>>, order: OrderId) -> Result<bool> {
    Ok(q(ORDER_VALID).bind(order.to_vec()).execute(on).await? == 1)
}

/// A finalization that will never end well; `problem` is the stored error of the order as JSON.
pub async fn order_to_invalid<'a>(on: impl Into<On<'a>>, order: OrderId, problem: &str) -> Result<bool> {
    Ok(q(ORDER_INVALID).bind(order.to_vec()).bind(problem).execute(on).await? == 1)
}

/// False when the key is taken already.
pub async fn claim_key<'a>(
    on: impl Into<On<'a>>,
    actor: &str,
    key: &str,
    request_sha256: &[u8; 32],
    certificate: CertificateId,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<bool> {
    let query = q(CLAIM_KEY)
        .bind(actor)
        .bind(key)
        .bind(request_sha256.to_vec())
        .bind(certificate.to_vec())
        .bind(now)
        .bind(expires_at);
    Ok(query.execute(on).await? == 1)
}

pub async fn answer_key<'a>(on: impl Into<On<'a>>, actor: &str, key: &str, status: i64) -> Result<()> {
    q(ANSWER_KEY).bind(actor).bind(key).bind(status).execute(on).await.map(drop)
}

/// Frees the key of an issuance that was given up, so that a retry may issue.
pub async fn free_key<'a>(on: impl Into<On<'a>>, certificate: CertificateId) -> Result<()> {
    q(FREE_KEY).bind(certificate.to_vec()).execute(on).await.map(drop)
}
