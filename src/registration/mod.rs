//! The RA's decisions (RFC 8555): accounts, orders, authorizations, finalize, nonces. Knows no HTTP and no JWS;
//! every function takes the actor, opens its transaction and writes its audit event in it.

pub mod accounts;
mod attempts;
pub mod authorizations;
mod caa;
pub mod challenge_tests;
mod compromised;
pub mod directories;
pub mod external_accounts;
pub mod finalize;
pub mod housekeeping;
mod known;
pub mod limits;
pub mod nonces;
mod operators;
pub mod orders;
mod placing;
mod pre_authorization;
mod proofs;
mod queries;
mod ready;
mod renewal;
pub mod revoke;
pub mod terms;
pub mod timeline;
mod tries;
mod under_grant;
pub mod validate;
mod verdicts;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;

use crate::access::refusals::Refusals;
use crate::authority::Authority;
use crate::authority::batch::Batcher;
use crate::authority::guard::old_key;
use crate::clock::{Timestamp, days};
use crate::error::{Error, ErrorKind, Result};
use crate::model::acme::{Account, AccountStatus};
use crate::model::actor::{Actor, ActorKind};
use crate::store::accounts::{Held, hold_all};
use crate::store::jobs::ClaimedJob;
use crate::store::readings::Readings;
use crate::store::{Store, Tx};
use crate::validation::Validator;

pub use directories::{Directory, DirectoryConfig};

/// How long an order, and each authorization in it, may be open.
pub const ORDER_LIFETIME: Duration = days(7);
/// Identifiers of one order.
pub const MAX_NAMES: usize = 100;
/// Authorizations of one account that were made ahead of orders and count.
const MAX_AHEAD: i64 = 300;

/// Who asks over ACME: where from, and in which request.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The client's address without port, or empty.
    pub address: String,
    pub request_id: String,
}

impl Origin {
    pub fn account(&self, account: &Account) -> Actor {
        Actor {
            kind: ActorKind::Account(account.id),
            name: String::new(),
            request_id: self.request_id.clone(),
            grant: account.grant,
        }
    }

    /// Before there is an account, and for whoever holds only a certificate's key.
    pub fn key_holder(&self) -> Actor {
        Actor { kind: ActorKind::KeyHolder, name: String::new(), request_id: self.request_id.clone(), grant: None }
    }
}

/// The problem document of an error, as it is stored in orders and challenges. Made by `http/problem.rs`, which
/// lies above this room and therefore comes in as a function.
pub type Describe = fn(&Error) -> Value;

pub struct Registration {
    store: Store,
    authority: Arc<Authority>,
    validator: Arc<Validator>,
    pub nonces: nonces::Nonces,
    /// Requests that were refused before it was known whose they are.
    pub refusals: Refusals,
    /// Requests that were refused by its own rules, and downloads.
    attempts: attempts::Attempts,
    directories: ArcSwap<Vec<Arc<Directory>>>,
    /// Directories whose row was changed in the database: the sentence by which each is refused.
    refused_directories: ArcSwap<std::collections::BTreeMap<String, String>>,
    /// Of the directories as they were last read.
    version: AtomicI64,
    readings: Readings,
    describe: Describe,
    known: known::Known,
    orders: Batcher<placing::Asked, orders::OrderView>,
    ready: Batcher<ready::Ready, Option<ClaimedJob>>,
    verdicts: Batcher<verdicts::Row>,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registration({:?})", self.store)
    }
}

impl Registration {
    pub async fn open(authority: Arc<Authority>, validator: Arc<Validator>, describe: Describe) -> Result<Arc<Self>> {
        let store = authority.store().clone();
        let registration = Registration {
            nonces: nonces::Nonces::open(store.clone()).await?,
            refusals: Refusals::new(store.clone()),
            attempts: attempts::Attempts::default(),
            directories: ArcSwap::from_pointee(Vec::new()),
            refused_directories: ArcSwap::default(),
            version: AtomicI64::new(-1),
            readings: Readings::default(),
            known: known::Known::default(),
            orders: Batcher::start(placing::Writer(store.clone())),
            ready: Batcher::start(ready::Writer(store.clone())),
            verdicts: Batcher::start(verdicts::Writer(store.clone(), describe)),
            store,
            authority,
            validator,
            describe,
        };
        registration.reload().await?;
        Ok(Arc::new(registration))
    }

    pub fn now(&self) -> Timestamp {
        self.store.now()
    }
}

/// Only a valid account may do anything.
pub fn active(account: Account) -> Result<Account> {
    must_be_valid(account.status).map(|()| account)
}

pub fn must_be_valid(status: AccountStatus) -> Result<()> {
    match status {
        AccountStatus::Valid => Ok(()),
        status => Err(Error::new(
            ErrorKind::AccountInactive,
            format!("the account is {}: make a new account with a new key", status.name()),
        )),
    }
}

/// The account as it is now is valid and has the key that the request was verified with, which may be what was
/// remembered: another process may have moved the account to another key since.
fn still_signs(signed: &Account, now: &Account) -> Result<()> {
    must_be_valid(now.status)?;
    if now.key.thumbprint == signed.key.thumbprint { Ok(()) } else { Err(old_key()) }
}

/// The same in the transaction that writes, where the row is held.
fn may_write(held: &Held, key: &[u8; 32]) -> Result<()> {
    if let Some(refused) = &held.refusal {
        return Err(refused.into());
    }
    planted!("ended-account-writes", (), must_be_valid(held.status)?);
    if planted!("old-account-key-writes", true, held.thumbprint == *key) { Ok(()) } else { Err(old_key()) }
}

/// The account is so until the transaction ends. Take it before anything else of the account.
async fn hold(tx: &mut Tx, account: &Account) -> Result<()> {
    let held = hold_all(tx, std::iter::once(account.id)).await?;
    may_write(held.get(&account.id).ok_or_else(|| Error::not_found("account"))?, &account.key.thumbprint)
}
