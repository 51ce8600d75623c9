//! Who may do what: people and their sessions, API tokens, the caller of a request, permissions. Deny by default; an
//! error inside a check is a refusal. A token is known for at most 5 s after another replica revoked it.

pub mod caller;
pub mod device;
pub mod fair_queue;
pub mod grants;
pub mod idempotency;
pub mod link_secret;
pub mod operation;
pub mod password;
pub mod permission;
pub mod refusals;
pub mod secret;
pub mod session;
pub mod setup;
pub mod sign_in;
pub mod throttle;
pub mod tokens;
pub mod users;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::{Timestamp, monotonic};
use crate::error::{Error, ErrorKind, Result};
use crate::model::audit::AuditEvent;
use crate::model::identifier::shown;
use crate::model::token::Token;
use crate::pki::signer::KeyStore;
use crate::store::{self, Store};
pub use caller::Caller;
use device::DeviceKeys;
use password::Passwords;
pub use permission::Permission;
use refusals::Refusals;
use secret::Secret;

/// Under the 5 s within which every replica must see a change.
const KNOWN_FOR: Duration = Duration::from_secs(4);

/// `last_used_at` moves at most this often, so that a busy token is no write on every request.
const USED_EVERY: Duration = Duration::from_secs(60);

/// More tokens in use than this are looked up each time.
const CACHE_SIZE: usize = 10_000;

/// People and tokens, and what they may do.
pub struct Access {
    store: Store,
    /// Requests that were refused before it was known whose they are.
    pub refusals: Refusals,
    passwords: Passwords,
    devices: DeviceKeys,
    /// By SHA-256 of the secret. Guards only itself: no await while it is held.
    known: Mutex<HashMap<[u8; 32], Known>>,
}

#[derive(Clone)]
struct Known {
    token: Arc<Token>,
    /// Monotonic: a clock that jumps back must not keep a revoked token alive.
    read_at: Instant,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({:?})", self.store)
    }
}

impl Access {
    /// Without keys no browser is remembered: every one is as good as new.
    pub fn new(store: Store) -> Arc<Self> {
        Access::over(store, DeviceKeys::none())
    }

    /// `keys` seal the key of the device cookies.
    pub fn with_keys(store: Store, keys: Arc<dyn KeyStore>) -> Arc<Self> {
        Access::over(store, DeviceKeys::sealed_by(keys))
    }

    fn over(store: Store, devices: DeviceKeys) -> Arc<Self> {
        let (refusals, passwords) = (Refusals::new(store.clone()), Passwords::default());
        Arc::new(Access { refusals, passwords, devices, store, known: Mutex::new(HashMap::new()) })
    }

    /// The caller behind `Authorization: Bearer chy_…`. All failures say the same, so that nothing can be probed; only who
    /// has a token's secret learns that it is suspended.
    pub async fn caller(&self, bearer: &str, request_id: &str) -> Result<Caller> {
        let secret = Secret::parse(bearer).map_err(|_| unauthenticated())?;
        let token = self.token_of(&secret.sha256()).await?.ok_or_else(unauthenticated)?;
        let now = self.store.now();
        if token.status(now) == "suspended" {
            return Err(suspended(&token));
        }
        if !token.is_alive(now) {
            return Err(unauthenticated());
        }
        self.note_use(&token, &secret, now).await;
        Ok(Caller::of_token(&token, request_id))
    }

    /// Writes down that a change was refused to a caller.
    pub async fn refuse(&self, caller: &Caller, event: AuditEvent) -> Result<()> {
        self.store.record(caller.actor(), event).await
    }

    /// Forgets what it knows: after a change here, or when the version row of access moved.
    pub fn forget(&self) {
        self.lock().clear();
    }

    async fn token_of(&self, sha256: &[u8; 32]) -> Result<Option<Arc<Token>>> {
        if let Some(known) = self.lock().get(sha256).cloned()
            && monotonic().duration_since(known.read_at) < KNOWN_FOR
        {
            return Ok(Some(known.token));
        }
        // the age counts from before the read
        let read_at = monotonic();
        let Some(token) = store::tokens::find_by_secret(&self.store, sha256).await?.map(Arc::new) else {
            self.lock().remove(sha256);
            return Ok(None);
        };
        let mut known = self.lock();
        if known.len() >= CACHE_SIZE {
            known.clear();
        }
        known.insert(*sha256, Known { token: Arc::clone(&token), read_at });
        Ok(Some(token))
    }

    async fn note_use(&self, token: &Arc<Token>, secret: &Secret, now: Timestamp) {
        if token.last_used_at.is_some_and(|last| now.since(last) < USED_EVERY) {
            return;
        }
        let mut fresh = Token::clone(token);
        fresh.last_used_at = Some(now);
        if let Some(known) = self.lock().get_mut(&secret.sha256()) {
            known.token = Arc::new(fresh);
        }
        if let Err(error) = store::tokens::used(&self.store, token.id, now).await {
            tracing::warn!(token = %token.id, error = %error.chain(), "the last use of a token was not noted");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn suspended(token: &Token) -> Error {
    let name = shown(&token.name);
    let detail = format!(
        "token \"{name}\" is suspended since the database was restored from a backup, because it may have been revoked after \
         it; an administrator lets it work again on the server with `chancery reconcile --confirm {}`",
        token.id
    );
    Error::new(ErrorKind::Unauthenticated, detail)
}

pub fn unauthenticated() -> Error {
    let detail = "no good credential: send Authorization: Bearer chy_… with a token that is not expired or revoked";
    Error::new(ErrorKind::Unauthenticated, detail)
}
