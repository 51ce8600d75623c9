//! ACME accounts (RFC 8555 §7.1.2). One key has one account in a directory: a unique constraint, so that two
//! concurrent registrations cannot make two.

use std::collections::HashMap;

use super::Tx;
use super::engine::{On, Row, fetch_many, q, statements};
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

statements! {
    INSERT = "INSERT INTO acme_accounts (id, directory, status, jwk, thumbprint, public_key, contact, url, terms_agreed, created_at, created_from, grant_id, eab_key_id, eab, terms_url) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) ON CONFLICT (directory, thumbprint) DO NOTHING";
    FIND = concat!("SELECT ", columns!(), " FROM acme_accounts WHERE id = $1");
    LOCK = concat!("SELECT ", columns!(), " FROM acme_accounts WHERE id = $1"),
        postgres concat!("SELECT ", columns!(), " FROM acme_accounts WHERE id = $1 FOR UPDATE");
    HOLD_ALL = "SELECT id, status, thumbprint, limits FROM acme_accounts WHERE id IN (VALUES ($1))",
        postgres "SELECT id, status, thumbprint, limits FROM acme_accounts WHERE id = ANY($1::bytea[]) ORDER BY id FOR SHARE";
    PAGE = concat!("SELECT ", columns!(), " FROM acme_accounts WHERE id < $1 ORDER BY id DESC LIMIT $2");
    BY_KEY = concat!("SELECT ", columns!(), " FROM acme_accounts WHERE directory = $1 AND thumbprint = $2");
    HAS_KEY = "SELECT 1 AS found FROM acme_accounts WHERE public_key = $1";
    SET_CONTACT = "UPDATE acme_accounts SET contact = $3 WHERE id = $1 AND thumbprint = $2 AND status = 'valid'";
    DEACTIVATE = "UPDATE acme_accounts SET status = 'deactivated' WHERE id = $1 AND thumbprint = $2 AND status = 'valid'";
    REVOKE = "UPDATE acme_accounts SET status = 'revoked' WHERE id = $1 AND status = 'valid'";
    REVOKE_BY_KEY = "UPDATE acme_accounts SET status = 'revoked' WHERE public_key = $1 AND status = 'valid' RETURNING id";
    PUBLIC_KEYS = "SELECT id, public_key FROM acme_accounts WHERE status = 'valid' AND id > $1 ORDER BY id LIMIT $2";
    REVOKE_OF_GRANT = "UPDATE acme_accounts SET status = 'revoked' WHERE grant_id = $1 AND status = 'valid'";
    REVOKE_OF_KEY = "UPDATE acme_accounts SET status = 'revoked' WHERE eab_key_id = $1 AND status = 'valid'";
    AGREE = "UPDATE acme_accounts SET terms_agreed = $2, terms_url = $3 WHERE id = $1 AND status = 'valid'";
    SET_GRANT = "UPDATE acme_accounts SET grant_id = $2 WHERE id = $1 AND status = 'valid'";
    SET_KEY = "UPDATE acme_accounts SET jwk = $3, thumbprint = $4, public_key = $5 WHERE id = $1 AND thumbprint = $2 AND status = 'valid'";
}

/// False when the key has an account in this directory already.
pub async fn insert<'a>(on: impl Into<On<'a>>, account: &Account) -> Result<bool> {
    let query = q(INSERT)
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
    Ok(query.execute(on).await? == 1)
}

pub async fn find<'a>(on: impl Into<On<'a>>, id: AccountId) -> Result<Option<Account>> {
    q(FIND).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(account).transpose()
}

/// Newest first, before `before` (exclusive).
pub async fn page<'a>(on: impl Into<On<'a>>, before: Option<AccountId>, limit: i64) -> Result<Vec<Account>> {
    let before = before.map_or(vec![0xff; 16], AccountId::to_vec);
    q(PAGE).bind(before).bind(limit).fetch_all(on).await?.iter().map(account).collect()
}

/// What an account is while its row is held.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    pub status: AccountStatus,
    /// Of its present key.
    pub thumbprint: [u8; 32],
    /// Those that it has for itself.
    pub limits: AccountLimits,
}

/// These accounts, unchanged until the transaction ends. Any number may hold a row.
pub async fn hold_all(tx: &mut Tx, ids: impl Iterator<Item = AccountId>) -> Result<HashMap<AccountId, Held>> {
    let rows = fetch_many(tx.raw(), HOLD_ALL, ids.map(|id| vec![id.to_vec().into()]).collect()).await?;
    let read = |row: &Row| {
        let held = Held {
            status: AccountStatus::from_name(&row.get::<String>("status")?)?,
            thumbprint: thumbprint(row)?,
            limits: super::limits::read(row.get("limits")?)?,
        };
        Ok((row.id("id")?, held))
    };
    rows.iter().map(read).collect()
}

/// The row, for this transaction alone.
pub async fn lock<'a>(on: impl Into<On<'a>>, id: AccountId) -> Result<Option<Account>> {
    q(LOCK).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(account).transpose()
}

pub async fn find_by_key<'a>(
    on: impl Into<On<'a>>,
    directory: &str,
    thumbprint: &[u8; 32],
) -> Result<Option<Account>> {
    let query = q(BY_KEY).bind(directory).bind(thumbprint.to_vec());
    query.fetch_optional(on).await?.as_ref().map(account).transpose()
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
pub async fn deactivate<'a>(on: impl Into<On<'a>>, id: AccountId, key: &[u8; 32]) -> Result<bool> {
    Ok(q(DEACTIVATE).bind(id.to_vec()).bind(key.to_vec()).execute(on).await? == 1)
}

/// It agreed to these terms of service.
pub async fn agree<'a>(on: impl Into<On<'a>>, id: AccountId, terms: &str) -> Result<bool> {
    Ok(q(AGREE).bind(id.to_vec()).bind(true).bind(terms).execute(on).await? == 1)
}

/// It acts under this grant from now on.
pub async fn set_grant<'a>(on: impl Into<On<'a>>, id: AccountId, grant: GrantId) -> Result<bool> {
    Ok(q(SET_GRANT).bind(id.to_vec()).bind(grant.to_vec()).execute(on).await? == 1)
}

/// valid → revoked.
pub async fn revoke<'a>(on: impl Into<On<'a>>, id: AccountId) -> Result<bool> {
    Ok(q(REVOKE).bind(id.to_vec()).execute(on).await? == 1)
}

/// Ends the accounts of a key, in every directory. Returns them.
pub async fn revoke_by_key<'a>(on: impl Into<On<'a>>, public_key: &[u8]) -> Result<Vec<AccountId>> {
    q(REVOKE_BY_KEY).bind(public_key).fetch_all(on).await?.iter().map(|row| row.id("id")).collect()
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
pub async fn revoke_of_grant<'a>(on: impl Into<On<'a>>, grant: GrantId) -> Result<u64> {
    q(REVOKE_OF_GRANT).bind(grant.to_vec()).execute(on).await
}

/// The same for all that the key has registered.
pub async fn revoke_of_key<'a>(on: impl Into<On<'a>>, key: EabKeyId) -> Result<u64> {
    q(REVOKE_OF_KEY).bind(key.to_vec()).execute(on).await
}

/// Moves the account from the key that it had to another one; false when the key has changed meanwhile.
pub async fn set_key<'a>(on: impl Into<On<'a>>, id: AccountId, old: &[u8; 32], new: &AccountKey) -> Result<bool> {
    let query = q(SET_KEY)
        .bind(id.to_vec())
        .bind(old.to_vec())
        .bind(&new.jwk)
        .bind(new.thumbprint.to_vec())
        .bind(new.public_key.clone());
    Ok(query.execute(on).await? == 1)
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
