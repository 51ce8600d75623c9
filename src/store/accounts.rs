//! ACME accounts (RFC 8555 §7.1.2). One key has one account in a directory: a unique constraint, so that two
//! concurrent registrations cannot make two.

use std::collections::HashMap;

use super::Tx;
use super::engine::{On, Row, Sql, fetch_many, q, statements};
use super::row_macs::{self, ACCOUNTS, Checker, RefusedRow, Sealing, mac_columns, sealed, sealed_writes};
use crate::error::{Error, Result};
use crate::model::acme::{Account, AccountKey, AccountStatus, Binding};
use crate::model::id::{AccountId, EabKeyId, GrantId};
use crate::model::limits::AccountLimits;

macro_rules! columns {
    () => {
        "id, directory, status, jwk, thumbprint, public_key, contact, url, terms_agreed, terms_url, grant_id, eab_key_id, eab, created_at, created_from"
    };
}
pub(super) use columns;

/// Of accounts that something rests on: with their MAC, which also covers their limits.
macro_rules! checked_columns {
    () => {
        concat!(
            "a.id, a.directory, a.status, a.jwk, a.thumbprint, a.public_key, a.contact, a.url, a.terms_agreed, a.terms_url, a.grant_id, \
             a.eab_key_id, a.eab, a.created_at, a.created_from, a.limits, ",
            mac_columns!("acme_accounts", "a", "", "id")
        )
    };
}
pub(super) use checked_columns;

statements! {
    FIND_CHECKED = concat!("SELECT ", checked_columns!(), " FROM acme_accounts a WHERE a.id = $1");
    HOLD = concat!("SELECT ", checked_columns!(), " FROM acme_accounts a WHERE a.id = $1"),
        postgres concat!("SELECT ", checked_columns!(), " FROM acme_accounts a WHERE a.id = $1 FOR UPDATE");
    OF_GRANT = concat!("SELECT ", checked_columns!(), " FROM acme_accounts a WHERE a.grant_id = $1 AND a.status = 'valid'"),
        postgres concat!("SELECT ", checked_columns!(), " FROM acme_accounts a WHERE a.grant_id = $1 AND a.status = 'valid' ORDER BY a.id FOR UPDATE");
    OF_EAB_KEY = concat!("SELECT ", checked_columns!(), " FROM acme_accounts a WHERE a.eab_key_id = $1 AND a.status = 'valid'"),
        postgres concat!("SELECT ", checked_columns!(), " FROM acme_accounts a WHERE a.eab_key_id = $1 AND a.status = 'valid' ORDER BY a.id FOR UPDATE");
    OF_PUBLIC_KEY = concat!("SELECT ", checked_columns!(), " FROM acme_accounts a WHERE a.public_key = $1 AND a.status = 'valid'"),
        postgres concat!("SELECT ", checked_columns!(), " FROM acme_accounts a WHERE a.public_key = $1 AND a.status = 'valid' ORDER BY a.id FOR UPDATE");
    FIND = concat!("SELECT ", columns!(), " FROM acme_accounts WHERE id = $1");
    LOCK = concat!("SELECT ", columns!(), " FROM acme_accounts WHERE id = $1"),
        postgres concat!("SELECT ", columns!(), " FROM acme_accounts WHERE id = $1 FOR UPDATE");
    HOLD_ALL = concat!("SELECT ", checked_columns!(), " FROM acme_accounts a WHERE a.id IN (VALUES ($1))"),
        postgres concat!("SELECT ", checked_columns!(), " FROM acme_accounts a WHERE a.id = ANY($1::bytea[]) ORDER BY a.id FOR SHARE");
    PAGE = concat!("SELECT ", columns!(), " FROM acme_accounts WHERE id < $1 ORDER BY id DESC LIMIT $2");
    BY_KEY = concat!("SELECT ", checked_columns!(), " FROM acme_accounts a WHERE a.directory = $1 AND a.thumbprint = $2");
    HAS_KEY = "SELECT 1 AS found FROM acme_accounts WHERE public_key = $1";
    SET_CONTACT = "UPDATE acme_accounts SET contact = $3 WHERE id = $1 AND thumbprint = $2 AND status = 'valid'";
    PUBLIC_KEYS = "SELECT id, public_key FROM acme_accounts WHERE status = 'valid' AND id > $1 ORDER BY id LIMIT $2";
}

sealed_writes! {
    INSERT = "INSERT INTO acme_accounts (id, directory, status, jwk, thumbprint, public_key, contact, url, terms_agreed, created_at, created_from, grant_id, \
              eab_key_id, eab, terms_url, row_version, row_mac) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 1, $16) \
              ON CONFLICT (directory, thumbprint) DO NOTHING";
    DEACTIVATE = "UPDATE acme_accounts SET status = 'deactivated' WHERE id = $1 AND thumbprint = $2 AND status = 'valid'";
    REVOKE = "UPDATE acme_accounts SET status = 'revoked' WHERE id = $1 AND status = 'valid'";
    REVOKE_ALL = "WITH made (id, version, mac) AS (VALUES ($1, $2, $3)) UPDATE acme_accounts SET status = 'revoked', row_version = made.version, \
                  row_mac = made.mac FROM made WHERE acme_accounts.id = made.id",
        postgres "UPDATE acme_accounts SET status = 'revoked', row_version = made.version, row_mac = made.mac \
                  FROM (SELECT * FROM UNNEST($1::bytea[], $2::bigint[], $3::bytea[]) AS u (id, version, mac)) AS made WHERE acme_accounts.id = made.id";
    AGREE = "UPDATE acme_accounts SET terms_agreed = $2, terms_url = $3 WHERE id = $1 AND status = 'valid'";
    SET_LIMITS = "UPDATE acme_accounts SET limits = $2 WHERE id = $1";
    SET_GRANT = "UPDATE acme_accounts SET grant_id = $2 WHERE id = $1 AND status = 'valid'";
    SET_KEY = "UPDATE acme_accounts SET jwk = $3, thumbprint = $4, public_key = $5 WHERE id = $1 AND thumbprint = $2 AND status = 'valid'";
}

/// False when the key has an account in this directory already.
pub async fn insert<'a>(on: impl Into<Sealing<'a>>, account: &Account) -> Result<bool> {
    let query = sealed(INSERT)
        .bind(account.id.to_vec())
        .bind(&account.directory)
        .bind(account.status.name())
        .bind(&account.key.jwk)
        .bind(account.key.thumbprint.to_vec())
        .bind(account.key.public_key.clone())
        .bind(contact_text(&account.contact)?)
        .bind(&account.url)
        .bind(account.terms_agreed)
        .bind(account.created_at)
        .bind(&account.created_from)
        .bind(account.grant.map(GrantId::to_vec))
        .bind(account.binding.as_ref().map(|b| b.key.to_vec()))
        .bind(account.binding.as_ref().map(|b| b.shown.to_string()))
        .bind(account.terms_url.as_deref());
    Ok(row_macs::insert(on, ACCOUNTS, query).await? == 1)
}

/// An account to act for: refused when it was changed in the database.
pub async fn find<'a>(on: impl Into<Sealing<'a>>, id: AccountId) -> Result<Option<Account>> {
    checked(on.into(), FIND_CHECKED, id).await
}

/// The same, its row for this transaction alone.
pub async fn hold<'a>(on: impl Into<Sealing<'a>>, id: AccountId) -> Result<Option<Account>> {
    checked(on.into(), HOLD, id).await
}

async fn checked(on: Sealing<'_>, text: Sql, id: AccountId) -> Result<Option<Account>> {
    let (on, checker) = on.into_parts();
    let Some(found) = q(text).bind(id.to_vec()).fetch_optional(on).await? else { return Ok(None) };
    checker.check(ACCOUNTS, &found, "")?;
    account(&found).map(Some)
}

/// An account to look at.
pub async fn look<'a>(on: impl Into<On<'a>>, id: AccountId) -> Result<Option<Account>> {
    q(FIND).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(account).transpose()
}

/// Newest first, before `before` (exclusive).
pub async fn page<'a>(on: impl Into<On<'a>>, before: Option<AccountId>, limit: i64) -> Result<Vec<Account>> {
    let before = before.map_or(vec![0xff; 16], AccountId::to_vec);
    q(PAGE).bind(before).bind(limit).fetch_all(on).await?.iter().map(account).collect()
}

/// What an account is while its row is held.
#[derive(Debug, Clone)]
pub struct Held {
    /// Why the row counts for nothing: it was changed in the database.
    pub refusal: Option<RefusedRow>,
    pub status: AccountStatus,
    /// Of its present key.
    pub thumbprint: [u8; 32],
    /// Those that it has for itself.
    pub limits: AccountLimits,
}

/// These accounts, unchanged until the transaction ends. Any number may hold a row.
pub async fn hold_all(tx: &mut Tx, ids: impl Iterator<Item = AccountId>) -> Result<HashMap<AccountId, Held>> {
    let rows = fetch_many(tx.raw(), HOLD_ALL, ids.map(|id| vec![id.to_vec().into()]).collect()).await?;
    let checker = Checker::from(tx.store());
    rows.iter().map(|row| Ok((row.id("id")?, held(&checker, row)?))).collect()
}

/// One that is refused has no power and no limits of its own, whatever stands in it.
pub(super) fn held(checker: &Checker, row: &Row) -> Result<Held> {
    let refusal = checker.judge(ACCOUNTS, row)?;
    if refusal.is_some() {
        let (status, limits) = (AccountStatus::Revoked, AccountLimits::default());
        return Ok(Held { refusal, status, thumbprint: [0; 32], limits });
    }
    Ok(Held {
        refusal,
        status: AccountStatus::from_name(&row.get::<String>("status")?)?,
        thumbprint: thumbprint(row)?,
        limits: super::limits::read(row.get("limits")?)?,
    })
}

/// The row, for this transaction alone, to look at and to end.
pub async fn lock<'a>(on: impl Into<On<'a>>, id: AccountId) -> Result<Option<Account>> {
    q(LOCK).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(account).transpose()
}

pub async fn find_by_key<'a>(
    on: impl Into<Sealing<'a>>,
    directory: &str,
    thumbprint: &[u8; 32],
) -> Result<Option<Account>> {
    let (on, checker) = on.into().into_parts();
    let query = q(BY_KEY).bind(directory).bind(thumbprint.to_vec());
    let Some(found) = query.fetch_optional(on).await? else { return Ok(None) };
    checker.check(ACCOUNTS, &found, "")?;
    account(&found).map(Some)
}

/// Is this SubjectPublicKeyInfo the key of any account?
pub async fn has_key<'a>(on: impl Into<On<'a>>, public_key: &[u8]) -> Result<bool> {
    Ok(q(HAS_KEY).bind(public_key).fetch_optional(on).await?.is_some())
}

/// False when it is not valid or has another key than `key`, by its thumbprint.
pub async fn set_contact<'a>(
    on: impl Into<On<'a>>,
    id: AccountId,
    key: &[u8; 32],
    contact: &[String],
) -> Result<bool> {
    let query = q(SET_CONTACT).bind(id.to_vec()).bind(key.to_vec()).bind(contact_text(contact)?);
    Ok(query.execute(on).await? == 1)
}

/// The same.
pub async fn deactivate(tx: &mut Tx, id: AccountId, key: &[u8; 32]) -> Result<bool> {
    row_macs::withdraw(tx, ACCOUNTS, &id.bytes(), sealed(DEACTIVATE).bind(id.to_vec()).bind(key.to_vec())).await
}

/// It agreed to these terms of service.
pub async fn agree(tx: &mut Tx, id: AccountId, terms: &str) -> Result<bool> {
    row_macs::update(tx, ACCOUNTS, &id.bytes(), sealed(AGREE).bind(id.to_vec()).bind(true).bind(terms)).await
}

/// It acts under this grant from now on.
pub async fn set_grant(tx: &mut Tx, id: AccountId, grant: GrantId) -> Result<bool> {
    row_macs::replace(tx, ACCOUNTS, &id.bytes(), sealed(SET_GRANT).bind(id.to_vec()).bind(grant.to_vec())).await
}

/// Limits of its own, as text; none, and it has those of its directory. False when there is no such account.
pub(super) async fn set_limits(tx: &mut Tx, id: AccountId, limits: Option<String>) -> Result<bool> {
    row_macs::update(tx, ACCOUNTS, &id.bytes(), sealed(SET_LIMITS).bind(id.to_vec()).bind(limits)).await
}

/// valid → revoked.
pub async fn revoke(tx: &mut Tx, id: AccountId) -> Result<bool> {
    row_macs::withdraw(tx, ACCOUNTS, &id.bytes(), sealed(REVOKE).bind(id.to_vec())).await
}

/// Ends the accounts of a key, in every directory. Returns them.
pub async fn revoke_by_key(tx: &mut Tx, public_key: &[u8]) -> Result<Vec<AccountId>> {
    let rows = q(OF_PUBLIC_KEY).bind(public_key).fetch_all(&mut *tx).await?;
    revoke_all(tx, &rows).await?;
    rows.iter().map(|row| row.id("id")).collect()
}

async fn revoke_all(tx: &mut Tx, rows: &[Row]) -> Result<u64> {
    row_macs::withdraw_all(tx, ACCOUNTS, REVOKE_ALL, rows, ("status", AccountStatus::Revoked.name().into())).await?;
    Ok(rows.len() as u64)
}

/// The keys of valid accounts, after `after`.
pub async fn public_keys<'a>(
    on: impl Into<On<'a>>,
    after: AccountId,
    limit: i64,
) -> Result<Vec<(AccountId, Vec<u8>)>> {
    let rows = q(PUBLIC_KEYS).bind(after.to_vec()).bind(limit).fetch_all(on).await?;
    rows.iter().map(|row| Ok((row.id("id")?, row.get("public_key")?))).collect()
}

/// valid → revoked for all that act under the grant; their orders end by `orders::fail_of_revoked`.
pub async fn revoke_of_grant(tx: &mut Tx, grant: GrantId) -> Result<u64> {
    let rows = q(OF_GRANT).bind(grant.to_vec()).fetch_all(&mut *tx).await?;
    revoke_all(tx, &rows).await
}

/// The same for all that the key has registered.
pub async fn revoke_of_key(tx: &mut Tx, key: EabKeyId) -> Result<u64> {
    let rows = q(OF_EAB_KEY).bind(key.to_vec()).fetch_all(&mut *tx).await?;
    revoke_all(tx, &rows).await
}

/// Moves the account from the key that it had to another one; false when the key has changed meanwhile.
pub async fn set_key(tx: &mut Tx, id: AccountId, old: &[u8; 32], new: &AccountKey) -> Result<bool> {
    let query = sealed(SET_KEY)
        .bind(id.to_vec())
        .bind(old.to_vec())
        .bind(&new.jwk)
        .bind(new.thumbprint.to_vec())
        .bind(new.public_key.clone());
    row_macs::replace(tx, ACCOUNTS, &id.bytes(), query).await
}

fn contact_text(contact: &[String]) -> Result<String> {
    serde_json::to_string(contact).map_err(|e| Error::internal("contacts cannot be written as JSON", e))
}

pub(super) fn thumbprint(row: &Row) -> Result<[u8; 32]> {
    let octets: Vec<u8> = row.get("thumbprint")?;
    octets.try_into().map_err(|_| Error::inconsistent("a thumbprint in the database is not 32 bytes"))
}

pub(super) fn account(row: &Row) -> Result<Account> {
    Ok(Account {
        id: row.id("id")?,
        directory: row.get("directory")?,
        status: AccountStatus::from_name(&row.get::<String>("status")?)?,
        key: AccountKey { jwk: row.get("jwk")?, thumbprint: thumbprint(row)?, public_key: row.get("public_key")? },
        contact: row.json("contact")?,
        url: row.get("url")?,
        terms_agreed: row.get("terms_agreed")?,
        terms_url: row.get("terms_url")?,
        grant: row.id_opt("grant_id")?,
        binding: binding(row)?,
        created_at: row.time("created_at")?,
        created_from: row.get("created_from")?,
    })
}

/// With a grant always, which may be alone: an operator gives one to an account that has no binding. Any other half
/// would be an account that lost its bounds.
fn binding(row: &Row) -> Result<Option<Binding>> {
    let shown: Option<String> = row.get("eab")?;
    match (row.id_opt::<GrantId>("grant_id")?, row.id_opt("eab_key_id")?, shown) {
        (_, None, None) => Ok(None),
        (Some(_), Some(key), Some(_)) => Ok(Some(Binding { key, shown: row.json("eab")? })),
        _ => Err(Error::inconsistent("an account has half of an external account binding")),
    }
}
