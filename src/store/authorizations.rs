//! ACME authorizations (RFC 8555 §7.1.4): made for one order or ahead of any, and shared by those that rest on them.

use std::collections::HashSet;

use super::Tx;
use super::engine::{On, Row, fetch_many, q, statements, write_many};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::acme::{Authorization, AuthorizationStatus, GRANTED};
use crate::model::id::{AccountId, AuthorizationId, OrderId};
use crate::model::identifier::Identifier;

macro_rules! columns {
    () => {
        "a.id, a.account_id, a.order_id, a.position, a.status, a.kind, a.value, a.wildcard, a.subdomains, a.expires_at, a.created_at"
    };
}
pub(super) use columns;

statements! {
    INSERT = "INSERT INTO acme_authorizations (id, account_id, order_id, position, status, kind, value, wildcard, subdomains, expires_at, created_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        postgres "INSERT INTO acme_authorizations (id, account_id, order_id, position, status, kind, value, wildcard, subdomains, expires_at, created_at) \
            SELECT * FROM UNNEST($1::bytea[], $2::bytea[], $3::bytea[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::boolean[], $9::boolean[], $10::bigint[], $11::bigint[])";
    FIND = concat!("SELECT ", columns!(), " FROM acme_authorizations a WHERE a.id = $1");
    LOCK = concat!("SELECT ", columns!(), " FROM acme_authorizations a WHERE a.id = $1"),
        postgres concat!("SELECT ", columns!(), " FROM acme_authorizations a WHERE a.id = $1 FOR UPDATE");
    OF_ORDER = concat!("SELECT ", columns!(), " FROM acme_order_authorizations l JOIN acme_authorizations a ON a.id = l.authorization_id \
                        WHERE l.order_id = $1 ORDER BY l.position");
    /// What was made ahead of any order; a grant's are no proofs.
    AHEAD = concat!("SELECT ", columns!(), " FROM acme_authorizations a WHERE a.account_id = $1 AND a.order_id IS NULL AND a.expires_at > $2 \
                  AND a.status IN ('pending', 'valid') \
                  AND NOT EXISTS (SELECT 1 FROM acme_challenges c WHERE c.authorization_id = a.id AND c.kind = $3) ORDER BY a.id DESC LIMIT 500");
    PROVED = concat!("SELECT ", columns!(), " FROM acme_authorizations a WHERE a.account_id = $1 AND a.kind = $2 AND a.value = $3 AND a.wildcard = $4 \
                  AND a.status = 'valid' AND a.expires_at > $5 AND a.created_at > $6 \
                  AND NOT EXISTS (SELECT 1 FROM acme_challenges c WHERE c.authorization_id = a.id AND c.kind = $7) ORDER BY a.id DESC LIMIT 1");
    OPEN_AHEAD = "SELECT COUNT(*) AS n FROM acme_authorizations WHERE account_id = $1 AND order_id IS NULL AND status IN ('pending', 'valid') AND expires_at > $2";
    LOCK_ALL = concat!("SELECT ", columns!(), " FROM acme_authorizations a WHERE a.id IN (VALUES ($1))"),
        postgres concat!("SELECT ", columns!(), " FROM acme_authorizations a WHERE a.id = ANY($1::bytea[]) ORDER BY a.id FOR UPDATE");
    SETTLE = "WITH verdict (id, status) AS (VALUES ($1, $2)) UPDATE acme_authorizations SET status = verdict.status \
              FROM verdict WHERE acme_authorizations.id = verdict.id AND acme_authorizations.status = 'pending' RETURNING acme_authorizations.id",
        postgres "UPDATE acme_authorizations SET status = verdict.status FROM UNNEST($1::bytea[], $2::text[]) AS verdict (id, status) \
              WHERE acme_authorizations.id = verdict.id AND acme_authorizations.status = 'pending' RETURNING acme_authorizations.id";
    DEACTIVATE = "UPDATE acme_authorizations SET status = 'deactivated' WHERE id = $1 AND status IN ('pending', 'valid')";
    DEACTIVATE_OF_ACCOUNT = "UPDATE acme_authorizations SET status = 'deactivated' WHERE account_id = $1 AND status IN ('pending', 'valid')";
    HOLDS = "SELECT 1 AS found FROM acme_authorizations WHERE account_id = $1 AND kind = $2 AND value = $3 AND wildcard = $4 AND status = 'valid' AND expires_at > $5 \
             AND NOT EXISTS (SELECT 1 FROM acme_challenges c WHERE c.authorization_id = acme_authorizations.id AND c.kind = $6) LIMIT 1";
    HOLDS_ZONE = "SELECT 1 AS found FROM acme_authorizations WHERE account_id = $1 AND kind = $2 AND value = $3 AND subdomains = $4 AND status = 'valid' AND expires_at > $5 \
             AND NOT EXISTS (SELECT 1 FROM acme_challenges c WHERE c.authorization_id = acme_authorizations.id AND c.kind = $6) LIMIT 1";
    GRANTED_OF_ORDER = concat!("SELECT ", columns!(), " FROM acme_order_authorizations l JOIN acme_authorizations a ON a.id = l.authorization_id \
                        WHERE l.order_id = $1 AND EXISTS (SELECT 1 FROM acme_challenges c WHERE c.authorization_id = a.id AND c.kind = $2) ORDER BY l.position");
    EXPIRE = "UPDATE acme_authorizations SET status = 'expired' WHERE status = 'valid' AND expires_at <= $1";
}

pub async fn insert(tx: &mut Tx, authorizations: &[&Authorization]) -> Result<()> {
    let row = |a: &&Authorization| {
        vec![
            a.id.to_vec().into(),
            a.account_id.to_vec().into(),
            a.order_id.map(OrderId::to_vec).into(),
            a.position.into(),
            a.status.name().into(),
            a.identifier.kind().into(),
            a.identifier.value().into(),
            a.wildcard.into(),
            a.subdomains.into(),
            a.expires_at.into(),
            a.created_at.into(),
        ]
    };
    write_many(tx.raw(), INSERT, authorizations.iter().map(row).collect()).await.map(drop)
}

pub async fn find<'a>(on: impl Into<On<'a>>, id: AuthorizationId) -> Result<Option<Authorization>> {
    q(FIND).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(authorization).transpose()
}

/// Locks the row: its challenges, its verdict and the orders that come to rest on it wait for each other here.
pub async fn lock<'a>(on: impl Into<On<'a>>, id: AuthorizationId) -> Result<Option<Authorization>> {
    q(LOCK).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(authorization).transpose()
}

/// What the account asked for ahead of any order and may still rest on, newest first.
pub async fn ahead<'a>(on: impl Into<On<'a>>, account: AccountId, now: Timestamp) -> Result<Vec<Authorization>> {
    let query = q(AHEAD).bind(account.to_vec()).bind(now).bind(GRANTED);
    query.fetch_all(on).await?.iter().map(authorization).collect()
}

/// The account's newest proof of exactly this name that was begun after `since` and holds.
pub async fn proved<'a>(
    on: impl Into<On<'a>>,
    account: AccountId,
    name: &Identifier,
    now: Timestamp,
    since: Timestamp,
) -> Result<Option<Authorization>> {
    let (value, wildcard) = parts(name);
    let query = q(PROVED).bind(account.to_vec()).bind(name.kind()).bind(value).bind(wildcard);
    let query = query.bind(now).bind(since).bind(GRANTED);
    query.fetch_optional(on).await?.as_ref().map(authorization).transpose()
}

/// How many the account has that were made ahead and still count.
pub async fn open_ahead<'a>(on: impl Into<On<'a>>, account: AccountId, now: Timestamp) -> Result<i64> {
    q(OPEN_AHEAD).bind(account.to_vec()).bind(now).fetch_one(on).await?.get("n")
}

pub async fn of_order<'a>(on: impl Into<On<'a>>, order: OrderId) -> Result<Vec<Authorization>> {
    q(OF_ORDER).bind(order.to_vec()).fetch_all(on).await?.iter().map(authorization).collect()
}

/// The same for many, in one order for everybody, so that two groups cannot wait for each other; as they are now.
pub async fn lock_all(tx: &mut Tx, ids: impl Iterator<Item = AuthorizationId>) -> Result<Vec<Authorization>> {
    let keys = ids.map(|id| vec![id.to_vec().into()]).collect();
    fetch_many(tx.raw(), LOCK_ALL, keys).await?.iter().map(authorization).collect()
}

/// pending → valid or invalid; returns those that moved.
pub async fn settle(
    tx: &mut Tx,
    verdicts: impl Iterator<Item = (AuthorizationId, AuthorizationStatus)>,
) -> Result<HashSet<AuthorizationId>> {
    let rows = verdicts.map(|(id, status)| vec![id.to_vec().into(), status.name().into()]).collect();
    fetch_many(tx.raw(), SETTLE, rows).await?.iter().map(|row| row.id("id")).collect()
}

pub async fn deactivate<'a>(on: impl Into<On<'a>>, id: AuthorizationId) -> Result<bool> {
    Ok(q(DEACTIVATE).bind(id.to_vec()).execute(on).await? == 1)
}

pub async fn deactivate_of_account<'a>(on: impl Into<On<'a>>, account: AccountId) -> Result<u64> {
    q(DEACTIVATE_OF_ACCOUNT).bind(account.to_vec()).execute(on).await
}

/// Those that rest on the account's grant.
pub async fn granted_of_order<'a>(on: impl Into<On<'a>>, order: OrderId) -> Result<Vec<Authorization>> {
    q(GRANTED_OF_ORDER).bind(order.to_vec()).bind(GRANTED).fetch_all(on).await?.iter().map(authorization).collect()
}

/// Has this account proved control over the name, and does the proof hold now? What a grant allows is no proof.
pub async fn holds<'a>(
    on: impl Into<On<'a>>,
    account: AccountId,
    identifier: &Identifier,
    now: Timestamp,
) -> Result<bool> {
    let (value, wildcard) = parts(identifier);
    let query = q(HOLDS).bind(account.to_vec()).bind(identifier.kind()).bind(value).bind(wildcard);
    let query = query.bind(now).bind(GRANTED);
    Ok(query.fetch_optional(on).await?.is_some())
}

/// The same over the name and all below it (RFC 9444 §4.1).
pub async fn holds_zone<'a>(on: impl Into<On<'a>>, account: AccountId, zone: &str, now: Timestamp) -> Result<bool> {
    let query = q(HOLDS_ZONE).bind(account.to_vec()).bind("dns").bind(zone).bind(true).bind(now).bind(GRANTED);
    Ok(query.fetch_optional(on).await?.is_some())
}

/// Housekeeping: what ran out is expired in its row too.
pub async fn expire<'a>(on: impl Into<On<'a>>, now: Timestamp) -> Result<u64> {
    q(EXPIRE).bind(now).execute(on).await
}

/// A name as its authorization has it: the wildcard label apart (RFC 8555 §7.1.4).
fn parts(name: &Identifier) -> (String, bool) {
    match name {
        Identifier::Dns(dns) => (dns.base().to_owned(), dns.is_wildcard()),
        other => (other.value(), false),
    }
}

pub(super) fn authorization(row: &Row) -> Result<Authorization> {
    Ok(Authorization {
        id: row.id("id")?,
        account_id: row.id("account_id")?,
        order_id: row.id_opt("order_id")?,
        position: row.get("position")?,
        status: AuthorizationStatus::from_name(&row.get::<String>("status")?)?,
        identifier: Identifier::from_parts(&row.get::<String>("kind")?, &row.get::<String>("value")?)?,
        wildcard: row.get("wildcard")?,
        subdomains: row.get("subdomains")?,
        expires_at: row.time("expires_at")?,
        created_at: row.time("created_at")?,
    })
}
