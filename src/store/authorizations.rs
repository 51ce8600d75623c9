//! ACME authorizations (RFC 8555 §7.1.4): made for one order or ahead of any, and shared by those that rest on them.

use std::collections::HashSet;

use super::engine::{Arg, On, Row, fetch_many, q, statements};
use super::row_macs::{
    self, AUTHORIZATION_LIFE, AUTHORIZATIONS, Checker, NewRow, RefusedRow, authorization_values, mac_columns, sealed,
    sealed_writes,
};
use super::{Store, Tx};
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

/// Of those that something rests on: with their MAC.
macro_rules! checked_columns {
    () => {
        concat!(authorization_values!(), ", ", mac_columns!("acme_authorizations", "a", "", "id"))
    };
}

statements! {
    FIND = concat!("SELECT ", columns!(), " FROM acme_authorizations a WHERE a.id = $1");
    LOCK = concat!("SELECT ", columns!(), " FROM acme_authorizations a WHERE a.id = $1"),
        postgres concat!("SELECT ", columns!(), " FROM acme_authorizations a WHERE a.id = $1 FOR UPDATE");
    PROOFS = concat!("SELECT ", checked_columns!(), " FROM acme_order_authorizations l JOIN acme_authorizations a ON a.id = l.authorization_id \
                        WHERE l.order_id = $1 ORDER BY l.position");
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
    LOCK_ALL = concat!("SELECT ", checked_columns!(), " FROM acme_authorizations a WHERE a.id IN (VALUES ($1))"),
        postgres concat!("SELECT ", checked_columns!(), " FROM acme_authorizations a WHERE a.id = ANY($1::bytea[]) ORDER BY a.id FOR UPDATE");
    DEACTIVATE_OF_ACCOUNT = "UPDATE acme_authorizations SET status = 'deactivated' WHERE account_id = $1 AND status IN ('pending', 'valid')";
    HOLDS = concat!("SELECT ", checked_columns!(), " FROM acme_authorizations a WHERE a.account_id = $1 AND a.kind = $2 AND a.value = $3 AND a.wildcard = $4 \
             AND a.status = 'valid' AND a.expires_at > $5 \
             AND NOT EXISTS (SELECT 1 FROM acme_challenges c WHERE c.authorization_id = a.id AND c.kind = $6) ORDER BY a.id DESC LIMIT 10");
    HOLDS_ZONE = concat!("SELECT ", checked_columns!(), " FROM acme_authorizations a WHERE a.account_id = $1 AND a.kind = $2 AND a.value = $3 AND a.subdomains = $4 \
             AND a.status = 'valid' AND a.expires_at > $5 \
             AND NOT EXISTS (SELECT 1 FROM acme_challenges c WHERE c.authorization_id = a.id AND c.kind = $6) ORDER BY a.id DESC LIMIT 10");
    EXPIRE = "UPDATE acme_authorizations SET status = 'expired' WHERE status = 'valid' AND expires_at <= $1";
    FORGET_FLOORS = "DELETE FROM row_floors WHERE table_name = 'acme_authorizations' AND at < $1";
}

sealed_writes! {
    INSERT = "INSERT INTO acme_authorizations (id, account_id, order_id, position, status, kind, value, wildcard, subdomains, expires_at, created_at, row_version, row_mac) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        postgres "INSERT INTO acme_authorizations (id, account_id, order_id, position, status, kind, value, wildcard, subdomains, expires_at, created_at, row_version, row_mac) \
            SELECT * FROM UNNEST($1::bytea[], $2::bytea[], $3::bytea[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::boolean[], $9::boolean[], \
            $10::bigint[], $11::bigint[], $12::bigint[], $13::bytea[])";
    SETTLE = "WITH verdict (id, status, version, mac) AS (VALUES ($1, $2, $3, $4)) UPDATE acme_authorizations SET status = verdict.status, \
              row_version = verdict.version, row_mac = verdict.mac \
              FROM verdict WHERE acme_authorizations.id = verdict.id AND acme_authorizations.status = 'pending' RETURNING acme_authorizations.id",
        postgres "UPDATE acme_authorizations SET status = verdict.status, row_version = verdict.version, row_mac = verdict.mac \
              FROM UNNEST($1::bytea[], $2::text[], $3::bigint[], $4::bytea[]) AS verdict (id, status, version, mac) \
              WHERE acme_authorizations.id = verdict.id AND acme_authorizations.status = 'pending' RETURNING acme_authorizations.id";
    DEACTIVATE = "UPDATE acme_authorizations SET status = 'deactivated' WHERE id = $1 AND status IN ('pending', 'valid')";
}

/// An authorization as an order or a verdict rests on it.
#[derive(Debug, Clone)]
pub struct HeldAuthorization {
    pub authorization: Authorization,
    /// It rests on the account's grant.
    pub is_granted: bool,
    version: i64,
    /// Why it counts for nothing although it is pending or valid: its row was changed in the database.
    pub refusal: Option<RefusedRow>,
}

/// New ones, each with whether it rests on the account's grant.
pub async fn insert(tx: &mut Tx, authorizations: &[(&Authorization, bool)]) -> Result<()> {
    let rows = authorizations.iter().map(|(a, granted)| NewRow { values: values(a, *granted), version: 1 }).collect();
    let shown = |values: &[Arg]| values.iter().take(COLUMNS).cloned().collect();
    row_macs::write_all(tx, AUTHORIZATIONS, INSERT, rows, shown).await.map(drop)
}

/// Columns of the MAC that are columns of the table: all but the last one.
const COLUMNS: usize = 11;
/// The place of the status among them.
const STATUS: usize = 4;

/// In the order of `AUTHORIZATIONS`.
fn values(a: &Authorization, granted: bool) -> Vec<Arg> {
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
        granted.into(),
    ]
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

/// What the order rests on, in the order of its identifiers: refused when a row of it was changed in the database.
pub async fn proofs(store: &Store, order: OrderId) -> Result<Vec<HeldAuthorization>> {
    let (checker, rows) = (Checker::from(store), q(PROOFS).bind(order.to_vec()).fetch_all(&store.db.keyed()).await?);
    let proofs: Vec<_> = rows.iter().map(|row| held(&checker, row)).collect::<Result<_>>()?;
    match proofs.iter().find_map(|proof: &HeldAuthorization| proof.refusal.as_ref()) {
        Some(refused) => Err(refused.into()),
        None => Ok(proofs),
    }
}

/// The same for many, in one order for everybody, so that two groups cannot wait for each other; as they are now.
pub async fn lock_all(tx: &mut Tx, ids: impl Iterator<Item = AuthorizationId>) -> Result<Vec<HeldAuthorization>> {
    let keys = ids.map(|id| vec![id.to_vec().into()]).collect();
    let rows = fetch_many(tx.raw(), LOCK_ALL, keys).await?;
    let checker = Checker::from(tx.store());
    rows.iter().map(|row| held(&checker, row)).collect()
}

/// pending → valid or invalid; returns those that moved. The caller holds them, and has compared those that become valid
/// with what was proved.
pub async fn settle<'h>(
    tx: &mut Tx,
    verdicts: impl Iterator<Item = (&'h HeldAuthorization, AuthorizationStatus)>,
) -> Result<HashSet<AuthorizationId>> {
    let settled = |(held, status): (&HeldAuthorization, AuthorizationStatus)| NewRow {
        values: values(&Authorization { status, ..held.authorization.clone() }, held.is_granted),
        version: held.version.saturating_add(1),
    };
    let shown = |values: &[Arg]| [0, STATUS].iter().filter_map(|n| values.get(*n)).cloned().collect();
    let rows = verdicts.map(settled).collect();
    let moved = row_macs::write_all(tx, AUTHORIZATIONS, SETTLE, rows, shown).await?;
    moved.iter().map(|row| row.id("id")).collect()
}

pub async fn deactivate(tx: &mut Tx, id: AuthorizationId) -> Result<bool> {
    row_macs::withdraw(tx, AUTHORIZATIONS, &id.bytes(), sealed(DEACTIVATE).bind(id.to_vec())).await
}

pub async fn deactivate_of_account<'a>(on: impl Into<On<'a>>, account: AccountId) -> Result<u64> {
    q(DEACTIVATE_OF_ACCOUNT).bind(account.to_vec()).execute(on).await
}

/// Has this account proved control over the name, and does the proof hold now? What a grant allows is no proof.
pub async fn holds(store: &Store, account: AccountId, identifier: &Identifier, now: Timestamp) -> Result<bool> {
    let (value, wildcard) = parts(identifier);
    let query = q(HOLDS).bind(account.to_vec()).bind(identifier.kind()).bind(value).bind(wildcard);
    any_good(store, &query.bind(now).bind(GRANTED).fetch_all(store).await?)
}

/// The same over the name and all below it (RFC 9444 §4.1).
pub async fn holds_zone(store: &Store, account: AccountId, zone: &str, now: Timestamp) -> Result<bool> {
    let query = q(HOLDS_ZONE).bind(account.to_vec()).bind("dns").bind(zone).bind(true).bind(now).bind(GRANTED);
    any_good(store, &query.fetch_all(store).await?)
}

fn any_good(store: &Store, rows: &[Row]) -> Result<bool> {
    let checker = Checker::from(store);
    let good = rows.iter().map(|row| Ok(checker.judge(AUTHORIZATIONS, row)?.is_none()));
    Ok(good.collect::<Result<Vec<bool>>>()?.contains(&true))
}

/// Housekeeping: what ran out is expired in its row too.
pub async fn expire<'a>(on: impl Into<On<'a>>, now: Timestamp) -> Result<u64> {
    q(EXPIRE).bind(now).execute(on).await
}

/// Housekeeping: of one that was given up no older copy can be good by now.
pub async fn forget_floors<'a>(on: impl Into<On<'a>>, now: Timestamp) -> Result<u64> {
    q(FORGET_FLOORS).bind(now - AUTHORIZATION_LIFE).execute(on).await
}

/// One that has ended needs no MAC: its status refuses it.
fn held(checker: &Checker, row: &Row) -> Result<HeldAuthorization> {
    let authorization = authorization(row)?;
    let lives = matches!(authorization.status, AuthorizationStatus::Pending | AuthorizationStatus::Valid);
    let refusal = if lives { checker.judge(AUTHORIZATIONS, row)? } else { None };
    Ok(HeldAuthorization {
        authorization,
        is_granted: row.get("granted")?,
        version: row.get("row_version")?,
        refusal,
    })
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
