//! The rows that an issuance holds on to: token, grant, order and Idempotency-Key, each moved by one statement
//! that says in its WHERE what must hold.

use std::collections::{HashMap, HashSet};

use super::Tx;
use super::accounts::{Held, checked_columns, held};
use super::engine::{On, fetch_many, q, statements};
use super::row_macs::{self, Checker, GRANT_COUNTS, mac_columns, sealed_writes};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::id::{CertificateId, GrantId, OrderId, TokenId};

statements! {
    TOKEN_ALIVE = "SELECT 1 AS alive FROM tokens WHERE id = $1 AND revoked_at IS NULL AND suspended_at IS NULL AND expires_at > $2";
    ORDERING_ACCOUNTS = concat!("SELECT o.id AS order_id, ", checked_columns!(), " FROM acme_orders o JOIN acme_accounts a ON a.id = o.account_id \
                                WHERE o.id IN (VALUES ($1))"),
        postgres concat!("SELECT o.id AS order_id, ", checked_columns!(), " FROM acme_orders o JOIN acme_accounts a ON a.id = o.account_id \
                         WHERE o.id = ANY($1::bytea[]) ORDER BY a.id FOR SHARE OF a");
    ORDER_PROCESSING = "WITH made (id, certificate_id, now) AS (VALUES ($1, $2, $3)) UPDATE acme_orders SET status = 'processing', certificate_id = made.certificate_id \
                        FROM made WHERE acme_orders.id = made.id AND acme_orders.status = 'ready' AND acme_orders.expires_at > made.now \
                        RETURNING acme_orders.id, acme_orders.certificate_id",
        postgres "UPDATE acme_orders SET status = 'processing', certificate_id = made.certificate_id \
            FROM (SELECT * FROM UNNEST($1::bytea[], $2::bytea[], $3::bigint[]) AS u (id, certificate_id, now)) AS made \
            WHERE acme_orders.id = made.id AND acme_orders.status = 'ready' AND acme_orders.expires_at > made.now \
            RETURNING acme_orders.id, acme_orders.certificate_id";
    LOCK_ORDERS = "SELECT id FROM acme_orders WHERE id IN (VALUES ($1))",
        postgres "SELECT id FROM acme_orders WHERE id = ANY($1::bytea[]) ORDER BY id FOR UPDATE";
    ORDER_VALID = "UPDATE acme_orders SET status = 'valid' WHERE status = 'processing' AND id IN (VALUES ($1)) RETURNING id",
        postgres "UPDATE acme_orders SET status = 'valid' WHERE status = 'processing' AND id = ANY($1::bytea[]) RETURNING id";
    ORDER_READY = "UPDATE acme_orders SET status = 'ready', certificate_id = NULL WHERE id = $1 AND status = 'processing' AND certificate_id = $2";
    LEAVE_ORDER = "UPDATE certificates SET order_id = NULL WHERE id = $1";
    ORDER_INVALID = "UPDATE acme_orders SET status = 'invalid', error = $2 WHERE id = $1 AND status = 'processing'";
    CLAIM_KEY = "INSERT INTO idempotency_keys (actor, idempotency_key, request_sha256, certificate_id, created_at, expires_at) \
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    ANSWER_KEY = "UPDATE idempotency_keys SET status = $3 WHERE actor = $1 AND idempotency_key = $2";
    FREE_KEY = "DELETE FROM idempotency_keys WHERE certificate_id = $1 AND status IS NULL";
}

sealed_writes! {
    USE_GRANT = "UPDATE grants SET used_count = used_count + 1, count_version = $2, count_mac = $3 WHERE id = $1 AND revoked_at IS NULL \
                 AND suspended_at IS NULL AND (expires_at IS NULL OR expires_at > $4) AND used_count < max_count";
}

pub async fn token_alive<'a>(on: impl Into<On<'a>>, token: TokenId, now: Timestamp) -> Result<bool> {
    Ok(q(TOKEN_ALIVE).bind(token.to_vec()).bind(now).fetch_optional(on).await?.is_some())
}

/// Takes one use of a grant with a count; false when it ended or is used up. The row is locked from here on, so
/// that of two at once the second sees what the first has taken.
pub async fn use_grant(tx: &mut Tx, grant: GrantId, now: Timestamp) -> Result<bool> {
    row_macs::count(tx, GRANT_COUNTS, &grant.bytes(), USE_GRANT, vec![now.into()]).await
}

/// The accounts of these orders, kept as they are until this transaction ends. An order that does not exist is not its account's fault. Many finalizations share that lock, and a deactivation waits
/// for them or they for it. Take it before the orders' rows, as the deactivation does.
pub async fn ordering_accounts(tx: &mut Tx, orders: impl Iterator<Item = OrderId>) -> Result<HashMap<OrderId, Held>> {
    let rows = fetch_many(tx.raw(), ORDERING_ACCOUNTS, orders.map(|id| vec![id.to_vec().into()]).collect()).await?;
    let checker = Checker::from(tx.store());
    rows.iter().map(|row| Ok((row.id("order_id")?, held(&checker, row)?))).collect()
}

/// ready → processing, each for its certificate; returns those that moved. Of two certificates for one order one gets it.
pub async fn orders_to_processing(
    tx: &mut Tx,
    made: &[(OrderId, CertificateId)],
    now: Timestamp,
) -> Result<HashSet<(OrderId, CertificateId)>> {
    // an update takes its rows in no order, so that two groups could wait for each other: they are locked before
    if tx.raw().is_postgres() && made.len() > 1 {
        let keys = made.iter().map(|(order, _)| vec![order.to_vec().into()]).collect();
        fetch_many(tx.raw(), LOCK_ORDERS, keys).await?;
    }
    let row = |(order, certificate): &(OrderId, CertificateId)| {
        vec![order.to_vec().into(), certificate.to_vec().into(), now.into()]
    };
    let rows = fetch_many(tx.raw(), ORDER_PROCESSING, made.iter().map(row).collect()).await?;
    rows.iter().map(|row| Ok((row.id("id")?, row.id("certificate_id")?))).collect()
}

/// processing → valid; returns those that moved. Nobody else moves an order out of processing at the same time, so
/// that groups do not wait for each other here.
pub async fn orders_to_valid(tx: &mut Tx, orders: impl Iterator<Item = OrderId>) -> Result<HashSet<OrderId>> {
    let rows = fetch_many(tx.raw(), ORDER_VALID, orders.map(|id| vec![id.to_vec().into()]).collect()).await?;
    rows.iter().map(|row| row.id("id")).collect()
}

/// processing → ready, for a finalization that was cut off and is begun again, as if it had not reached us. An order
/// has one certificate: the one that was given up is none of its any more.
pub async fn order_to_ready(tx: &mut Tx, order: OrderId, certificate: CertificateId) -> Result<bool> {
    let moved = q(ORDER_READY).bind(order.to_vec()).bind(certificate.to_vec()).execute(&mut *tx).await? == 1;
    if moved {
        q(LEAVE_ORDER).bind(certificate.to_vec()).execute(tx).await?;
    }
    Ok(moved)
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
