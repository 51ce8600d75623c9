//! ACME orders (RFC 8555 §7.1.3). Every move says in its WHERE from which state it goes; finalize's two moves
//! stand in `guards`, inside the authority's transactions.

use std::collections::HashMap;

use serde_json::Value;

use super::Tx;
use super::engine::{On, Row, fetch_many, q, statements, write_many};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::acme::{Order, OrderStatus};
use crate::model::id::{AccountId, AuthorizationId, CertificateId, OrderId};
use crate::model::serial::parse_hex;

macro_rules! columns {
    () => {
        "id, account_id, directory, status, identifiers, profile, not_before, not_after, error, certificate_id, replaces, expires_at, created_at"
    };
}
pub(super) use columns;

statements! {
    INSERT = "INSERT INTO acme_orders (id, account_id, directory, status, identifiers, profile, not_before, not_after, replaces, expires_at, created_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        postgres "INSERT INTO acme_orders (id, account_id, directory, status, identifiers, profile, not_before, not_after, replaces, expires_at, created_at) \
            SELECT * FROM UNNEST($1::bytea[], $2::bytea[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::text[], $10::bigint[], $11::bigint[])";
    COVER = "INSERT INTO acme_order_authorizations (order_id, position, authorization_id) VALUES ($1, $2, $3)",
        postgres "INSERT INTO acme_order_authorizations (order_id, position, authorization_id) SELECT * FROM UNNEST($1::bytea[], $2::bigint[], $3::bytea[])";
    FIND = concat!("SELECT ", columns!(), " FROM acme_orders WHERE id = $1");
    VIEW = concat!("SELECT ", columns!(), ", (SELECT group_concat(hex(l.authorization_id)) FROM (SELECT authorization_id FROM acme_order_authorizations \
                    WHERE order_id = acme_orders.id ORDER BY position) AS l) AS parts FROM acme_orders WHERE id = $1"),
        postgres concat!("SELECT ", columns!(), ", (SELECT string_agg(encode(l.authorization_id, 'hex'), ',' ORDER BY l.position) \
                    FROM acme_order_authorizations l WHERE l.order_id = acme_orders.id) AS parts FROM acme_orders WHERE id = $1");
    /// In one order, so that two who hold several cannot wait for each other.
    LOCK_OF_AUTHORIZATIONS = "SELECT id FROM acme_orders WHERE status IN ('pending', 'ready') AND id IN \
             (SELECT l.order_id FROM acme_order_authorizations l WHERE l.authorization_id IN (VALUES ($1))) ORDER BY id",
        postgres "SELECT id FROM acme_orders WHERE status IN ('pending', 'ready') AND id IN \
             (SELECT l.order_id FROM acme_order_authorizations l WHERE l.authorization_id = ANY($1::bytea[])) ORDER BY id FOR UPDATE";
    PAGE = "SELECT id FROM acme_orders WHERE account_id = $1 AND id > $2 AND status <> 'invalid' \
            AND (status NOT IN ('pending', 'ready') OR expires_at > $3) ORDER BY id LIMIT $4";
    RECENT = concat!("SELECT ", columns!(), " FROM acme_orders WHERE id < $1 ORDER BY id DESC LIMIT $2");
    RECENT_OF_ACCOUNT = concat!("SELECT ", columns!(), " FROM acme_orders WHERE account_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
    OPEN = "SELECT u.column1 AS account_id, (SELECT COUNT(*) FROM acme_orders o WHERE o.account_id = u.column1 AND o.status IN ('pending', 'ready') \
            AND o.expires_at > u.column2) AS n FROM (VALUES ($1, $2)) AS u",
        postgres "SELECT u.account_id, (SELECT COUNT(*) FROM acme_orders o WHERE o.account_id = u.account_id AND o.status IN ('pending', 'ready') \
            AND o.expires_at > u.now) AS n FROM UNNEST($1::bytea[], $2::bigint[]) AS u (account_id, now)";
    READY = "UPDATE acme_orders SET status = 'ready' WHERE status = 'pending' AND id IN \
             (SELECT l.order_id FROM acme_order_authorizations l WHERE l.authorization_id IN (VALUES ($1))) AND NOT EXISTS \
             (SELECT 1 FROM acme_order_authorizations l JOIN acme_authorizations a ON a.id = l.authorization_id \
              WHERE l.order_id = acme_orders.id AND a.status <> 'valid')",
        postgres "UPDATE acme_orders SET status = 'ready' WHERE status = 'pending' AND id IN \
             (SELECT l.order_id FROM acme_order_authorizations l WHERE l.authorization_id = ANY($1::bytea[])) AND NOT EXISTS \
             (SELECT 1 FROM acme_order_authorizations l JOIN acme_authorizations a ON a.id = l.authorization_id \
              WHERE l.order_id = acme_orders.id AND a.status <> 'valid')";
    FAIL = "UPDATE acme_orders SET status = 'invalid', error = $2 WHERE status IN ('pending', 'ready') AND id IN \
            (SELECT l.order_id FROM acme_order_authorizations l WHERE l.authorization_id = $1)";
    FAIL_OF_ACCOUNT = "UPDATE acme_orders SET status = 'invalid' WHERE account_id = $1 AND status IN ('pending', 'ready')";
    FREE = "UPDATE acme_orders SET status = 'invalid' WHERE replaces = $1 AND status IN ('pending', 'ready') AND expires_at <= $2";
    REPLACING = "SELECT id FROM acme_orders WHERE replaces = $1 AND status <> 'invalid'";
    SUCCESSOR = "SELECT certificate_id FROM acme_orders WHERE replaces = $1 AND status = 'valid'";
    STATES = "SELECT directory, status, COUNT(*) AS n FROM acme_orders GROUP BY directory, status";
    FAIL_OF_REVOKED = "UPDATE acme_orders SET status = 'invalid' WHERE status IN ('pending', 'ready') AND EXISTS \
                       (SELECT 1 FROM acme_accounts a WHERE a.id = acme_orders.account_id AND a.status = 'revoked')";
    EXPIRE = "UPDATE acme_orders SET status = 'invalid' WHERE status IN ('pending', 'ready') AND expires_at <= $1";
}

pub async fn insert(tx: &mut Tx, orders: &[&Order]) -> Result<()> {
    let mut rows = Vec::with_capacity(orders.len());
    for order in orders {
        let identifiers = serde_json::to_string(&order.identifiers)
            .map_err(|e| Error::internal("identifiers cannot be written as JSON", e))?;
        rows.push(vec![
            order.id.to_vec().into(),
            order.account_id.to_vec().into(),
            order.directory.as_str().into(),
            order.status.name().into(),
            identifiers.into(),
            order.profile.as_str().into(),
            order.not_before.into(),
            order.not_after.into(),
            order.replaces.as_deref().into(),
            order.expires_at.into(),
            order.created_at.into(),
        ]);
    }
    write_many(tx.raw(), INSERT, rows).await.map(drop)
}

pub async fn find<'a>(on: impl Into<On<'a>>, id: OrderId) -> Result<Option<Order>> {
    q(FIND).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(order).transpose()
}

/// The same with the ids of its authorizations, in the order of its identifiers.
pub async fn view<'a>(on: impl Into<On<'a>>, id: OrderId) -> Result<Option<(Order, Vec<AuthorizationId>)>> {
    let row = q(VIEW).bind(id.to_vec()).fetch_optional(on).await?;
    row.map(|row| Ok((order(&row)?, parts(row.get("parts")?)?))).transpose()
}

/// Hexadecimal ids with commas between them: the one list that both engines can aggregate.
fn parts(text: Option<String>) -> Result<Vec<AuthorizationId>> {
    let read = |hex: &str| {
        let octets = parse_hex(&hex.to_ascii_lowercase());
        octets.ok_or_else(|| Error::inconsistent("an order's list of authorizations cannot be read"))?.try_into()
    };
    text.as_deref().unwrap_or_default().split(',').filter(|hex| !hex.is_empty()).map(read).collect()
}

/// Writes which authorizations each order rests on, in the order of its identifiers.
pub async fn cover<'o>(tx: &mut Tx, orders: impl Iterator<Item = (OrderId, &'o [AuthorizationId])>) -> Result<()> {
    let mut rows = Vec::new();
    for (id, authorizations) in orders {
        rows.extend((0i64..).zip(authorizations).map(|(n, a)| vec![id.to_vec().into(), n.into(), a.to_vec().into()]));
    }
    write_many(tx.raw(), COVER, rows).await.map(drop)
}

/// Locks the open orders that rest on these authorizations: whoever settles one holds them, so that two of one order
/// cannot both see the other one pending. Take the authorizations' own locks first. One writer needs none.
pub async fn lock_of(tx: &mut Tx, authorizations: impl Iterator<Item = AuthorizationId>) -> Result<()> {
    if !tx.raw().is_postgres() {
        return Ok(());
    }
    let keys = authorizations.map(|id| vec![id.to_vec().into()]).collect();
    fetch_many(tx.raw(), LOCK_OF_AUTHORIZATIONS, keys).await.map(drop)
}

/// Ids of an account's orders that are not invalid, oldest first, after `after` (exclusive).
pub async fn page<'a>(
    on: impl Into<On<'a>>,
    account: AccountId,
    after: Option<OrderId>,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<OrderId>> {
    let after = after.map_or(vec![0; 16], OrderId::to_vec);
    let query = q(PAGE).bind(account.to_vec()).bind(after).bind(now).bind(limit);
    query.fetch_all(on).await?.iter().map(|row| row.id("id")).collect()
}

/// Orders in any state, of one account or of all, newest first, before `before` (exclusive).
pub async fn recent<'a>(
    on: impl Into<On<'a>>,
    account: Option<AccountId>,
    before: Option<OrderId>,
    limit: i64,
) -> Result<Vec<Order>> {
    let before = before.map_or(vec![0xff; 16], OrderId::to_vec);
    let query = match account {
        Some(account) => q(RECENT_OF_ACCOUNT).bind(account.to_vec()),
        None => q(RECENT),
    };
    query.bind(before).bind(limit).fetch_all(on).await?.iter().map(order).collect()
}

/// How many orders of these accounts are pending or ready.
pub async fn open_of(tx: &mut Tx, accounts: impl Iterator<Item = AccountId>) -> Result<HashMap<AccountId, i64>> {
    let now = tx.now();
    let keys = accounts.map(|id| vec![id.to_vec().into(), now.into()]).collect();
    let rows = fetch_many(tx.raw(), OPEN, keys).await?;
    rows.iter().map(|row| Ok((row.id("account_id")?, row.get("n")?))).collect()
}

/// pending → ready for the orders that rest on these authorizations, when all of theirs are valid; how many moved.
pub async fn to_ready(tx: &mut Tx, authorizations: impl Iterator<Item = AuthorizationId>) -> Result<u64> {
    write_many(tx.raw(), READY, authorizations.map(|id| vec![id.to_vec().into()]).collect()).await
}

/// pending or ready → invalid with this problem, for the orders that rest on the authorization; how many moved.
pub async fn fail<'a>(on: impl Into<On<'a>>, authorization: AuthorizationId, problem: &Value) -> Result<u64> {
    q(FAIL).bind(authorization.to_vec()).bind(problem.to_string()).execute(on).await
}

pub async fn fail_of_account<'a>(on: impl Into<On<'a>>, account: AccountId) -> Result<u64> {
    q(FAIL_OF_ACCOUNT).bind(account.to_vec()).execute(on).await
}

/// The order that is not invalid and replaces this certificate. One that ran out counts no longer, also before
/// housekeeping has come by.
pub async fn replacing(tx: &mut Tx, replaces: &str) -> Result<Option<OrderId>> {
    let now = tx.now();
    q(FREE).bind(replaces).bind(now).execute(&mut *tx).await?;
    q(REPLACING).bind(replaces).fetch_optional(tx).await?.map(|row| row.id("id")).transpose()
}

/// What the certificate was replaced by.
pub async fn successor<'a>(on: impl Into<On<'a>>, replaces: &str) -> Result<Option<CertificateId>> {
    match q(SUCCESSOR).bind(replaces).fetch_optional(on).await? {
        Some(row) => row.id_opt("certificate_id"),
        None => Ok(None),
    }
}

/// (directory, status, how many): a full count, so never on a request.
pub async fn states<'a>(on: impl Into<On<'a>>) -> Result<Vec<(String, String, i64)>> {
    let rows = q(STATES).fetch_all(on).await?;
    rows.iter().map(|r| Ok((r.get("directory")?, r.get("status")?, r.get("n")?))).collect()
}

/// Ends the open orders of accounts that were revoked.
pub async fn fail_of_revoked<'a>(on: impl Into<On<'a>>) -> Result<u64> {
    q(FAIL_OF_REVOKED).execute(on).await
}

/// Housekeeping: what ran out becomes invalid in its row too.
pub async fn expire<'a>(on: impl Into<On<'a>>, now: Timestamp) -> Result<u64> {
    q(EXPIRE).bind(now).execute(on).await
}

pub(super) fn order(row: &Row) -> Result<Order> {
    let error: Option<String> = row.get("error")?;
    Ok(Order {
        id: row.id("id")?,
        account_id: row.id("account_id")?,
        directory: row.get("directory")?,
        status: OrderStatus::from_name(&row.get::<String>("status")?)?,
        identifiers: row.json("identifiers")?,
        profile: row.get("profile")?,
        not_before: row.time_opt("not_before")?,
        not_after: row.time_opt("not_after")?,
        error: error.as_deref().and_then(|text| serde_json::from_str(text).ok()),
        certificate_id: row.id_opt("certificate_id")?,
        replaces: row.get("replaces")?,
        expires_at: row.time("expires_at")?,
        created_at: row.time("created_at")?,
    })
}
