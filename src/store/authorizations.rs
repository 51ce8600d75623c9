//! ACME authorizations (RFC 8555 §7.1.4), each of one order.

use super::engine::{On, Row, q, statements};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::acme::{Authorization, AuthorizationStatus, GRANTED};
use crate::model::id::{AccountId, AuthorizationId, OrderId};
use crate::model::identifier::Identifier;

macro_rules! columns {
    () => {
        "id, account_id, order_id, position, status, kind, value, wildcard, expires_at, created_at"
    };
}

statements! {
    INSERT = "INSERT INTO acme_authorizations (id, account_id, order_id, position, status, kind, value, wildcard, expires_at, created_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    FIND = concat!("SELECT ", columns!(), " FROM acme_authorizations WHERE id = $1");
    OF_ORDER = concat!("SELECT ", columns!(), " FROM acme_authorizations WHERE order_id = $1 ORDER BY position");
    SETTLE = "UPDATE acme_authorizations SET status = $2 WHERE id = $1 AND status = 'pending'";
    DEACTIVATE = "UPDATE acme_authorizations SET status = 'deactivated' WHERE id = $1 AND status IN ('pending', 'valid')";
    DEACTIVATE_OF_ACCOUNT = "UPDATE acme_authorizations SET status = 'deactivated' WHERE account_id = $1 AND status IN ('pending', 'valid')";
    HOLDS = "SELECT 1 AS found FROM acme_authorizations WHERE account_id = $1 AND kind = $2 AND value = $3 AND wildcard = $4 AND status = 'valid' AND expires_at > $5 \
             AND NOT EXISTS (SELECT 1 FROM acme_challenges c WHERE c.authorization_id = acme_authorizations.id AND c.kind = $6) LIMIT 1";
    GRANTED_OF_ORDER = concat!("SELECT ", columns!(), " FROM acme_authorizations WHERE order_id = $1 AND EXISTS \
                        (SELECT 1 FROM acme_challenges c WHERE c.authorization_id = acme_authorizations.id AND c.kind = $2) ORDER BY position");
    EXPIRE = "UPDATE acme_authorizations SET status = 'expired' WHERE status = 'valid' AND expires_at <= $1";
}

pub async fn insert<'a>(on: impl Into<On<'a>>, authorization: &Authorization) -> Result<()> {
    q(INSERT)
        .bind(authorization.id.to_vec())
        .bind(authorization.account_id.to_vec())
        .bind(authorization.order_id.to_vec())
        .bind(authorization.position)
        .bind(authorization.status.name())
        .bind(authorization.identifier.kind())
        .bind(authorization.identifier.value())
        .bind(authorization.wildcard)
        .bind(authorization.expires_at)
        .bind(authorization.created_at)
        .execute(on)
        .await
        .map(drop)
}

pub async fn find<'a>(on: impl Into<On<'a>>, id: AuthorizationId) -> Result<Option<Authorization>> {
    q(FIND).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(authorization).transpose()
}

pub async fn of_order<'a>(on: impl Into<On<'a>>, order: OrderId) -> Result<Vec<Authorization>> {
    q(OF_ORDER).bind(order.to_vec()).fetch_all(on).await?.iter().map(authorization).collect()
}

/// pending → valid or invalid.
pub async fn settle<'a>(on: impl Into<On<'a>>, id: AuthorizationId, status: AuthorizationStatus) -> Result<bool> {
    Ok(q(SETTLE).bind(id.to_vec()).bind(status.name()).execute(on).await? == 1)
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
    let (value, wildcard) = match identifier {
        Identifier::Dns(name) => (name.base().to_owned(), name.is_wildcard()),
        other => (other.value(), false),
    };
    let query = q(HOLDS).bind(account.to_vec()).bind(identifier.kind()).bind(value).bind(wildcard);
    let query = query.bind(now).bind(GRANTED);
    Ok(query.fetch_optional(on).await?.is_some())
}

/// Housekeeping: what ran out is expired in its row too.
pub async fn expire<'a>(on: impl Into<On<'a>>, now: Timestamp) -> Result<u64> {
    q(EXPIRE).bind(now).execute(on).await
}

fn authorization(row: &Row) -> Result<Authorization> {
    Ok(Authorization {
        id: row.id("id")?,
        account_id: row.id("account_id")?,
        order_id: row.id("order_id")?,
        position: row.get("position")?,
        status: AuthorizationStatus::from_name(&row.get::<String>("status")?)?,
        identifier: Identifier::from_parts(&row.get::<String>("kind")?, &row.get::<String>("value")?)?,
        wildcard: row.get("wildcard")?,
        expires_at: row.time("expires_at")?,
        created_at: row.time("created_at")?,
    })
}
