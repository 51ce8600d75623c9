//! Anti-replay nonces (RFC 8555 §6.5): stateless until they are spent. A nonce is its epoch, its time, 16 random
//! octets and a MAC over them, so giving one out stores nothing. Spent ones are kept until they expire: in memory
//! on SQLite, where a boot begins a new epoch, and in an UNLOGGED table beside the epoch's key on Postgres, where
//! any replica may redeem what another gave out. No spent nonce is forgotten while it could be redeemed again: when
//! there are too many, the epoch changes and all clients see one badNonce.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::authority::batch::{Batcher, WriteGroup};
use crate::clock::{Timestamp, hours, minutes};
use crate::entropy::random;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;
use crate::store::nonces::{self, Epoch, Shown};

pub const LIFETIME: Duration = hours(1);

/// Spent nonces that are kept: about 50 MB of memory, or 100 MB of an UNLOGGED table and its index, which is looked
/// after every minute and may hold what came meanwhile besides.
pub const MAX_SPENT: usize = 500_000;
/// Longer than any statement runs (store/engine.rs): afterwards no spend of an epoch that ended is under way.
const SETTLED: Duration = minutes(1);

const MAC: usize = 16;
const BODY: usize = 8 + 8 + 16;

pub struct Nonces {
    store: Store,
    current: ArcSwap<Epoch>,
    /// SQLite only: (time, random) of every spent nonce of the current epoch. The lock guards the check together
    /// with the insertion, so that of two equal nonces one wins.
    spent: Mutex<BTreeSet<(i64, [u8; 16])>>,
    /// Postgres only: who shows a nonce while others are being spent is spent with the next ones.
    spending: Option<Batcher<Shown, bool>>,
}

struct Spender(Store);

impl WriteGroup<Shown, bool> for Spender {
    type Begun = ();

    async fn begin(&self) -> Result<()> {
        Ok(())
    }

    async fn write(&self, (): (), shown: Arc<Vec<Shown>>) -> Result<Vec<Result<bool>>> {
        Ok(nonces::spend(&self.0, &shown).await?.into_iter().map(Ok).collect())
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces")
    }
}

struct Parts {
    epoch: i64,
    time: i64,
    random: [u8; 16],
    bytes: Vec<u8>,
}

impl Nonces {
    pub async fn open(store: Store) -> Result<Self> {
        let shared = store.db.is_postgres();
        let epoch = if shared { shared_epoch(&store).await? } else { fresh_epoch(&store)? };
        let spending = shared.then(|| Batcher::start(Spender(store.clone())));
        Ok(Nonces { store, current: ArcSwap::from_pointee(epoch), spent: Mutex::default(), spending })
    }

    pub fn mint(&self) -> Result<String> {
        let epoch = self.current.load();
        let mut bytes = Vec::with_capacity(BODY + MAC);
        bytes.extend_from_slice(&epoch.number.to_be_bytes());
        bytes.extend_from_slice(&self.store.now().secs().to_be_bytes());
        bytes.extend_from_slice(&random::<16>(self.store.entropy.as_ref())?);
        let mac = mac(&epoch, &bytes);
        bytes.extend_from_slice(&mac);
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Ok for exactly one caller; everything else is badNonce and the client takes the new one from the header.
    pub async fn redeem(&self, nonce: &str) -> Result<()> {
        let outcome = self.try_redeem(nonce).await;
        if outcome.as_ref().is_err_and(|e| e.kind == ErrorKind::BadNonce) {
            metrics::counter!("chancery_acme_nonce_rejected_total").increment(1);
        }
        outcome
    }

    async fn try_redeem(&self, nonce: &str) -> Result<()> {
        let parts = parse(nonce)?;
        let now = self.store.now();
        let age = now.secs().saturating_sub(parts.time);
        if age > i64::try_from(LIFETIME.as_secs()).unwrap_or(i64::MAX) || age < -300 {
            return Err(bad("it has expired"));
        }
        match &self.spending {
            Some(spending) => self.redeem_shared(spending, &parts).await,
            None => self.redeem_here(&parts, now),
        }
    }

    fn redeem_here(&self, parts: &Parts, now: Timestamp) -> Result<()> {
        let epoch = **self.current.load();
        if parts.epoch != epoch.number || !authentic(&epoch, parts) {
            return Err(bad("this server did not give it out, or has restarted since"));
        }
        let mut spent = self.spent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if spent.len() >= MAX_SPENT {
            // what has expired cannot be redeemed any more, so it may be forgotten
            let oldest = (now - LIFETIME).secs() - 1;
            *spent = spent.split_off(&(oldest, [0; 16]));
        }
        if spent.len() >= MAX_SPENT {
            self.current.store(Arc::new(fresh_epoch(&self.store)?));
            spent.clear();
            return Err(bad("too many were spent within the hour, so all have been renewed"));
        }
        // the epoch may have changed while this caller waited for the lock
        if self.current.load().number != parts.epoch {
            return Err(bad("it has been renewed"));
        }
        if spent.insert((parts.time, parts.random)) { Ok(()) } else { Err(bad("it was used before")) }
    }

    async fn redeem_shared(&self, spending: &Batcher<Shown, bool>, parts: &Parts) -> Result<()> {
        let mut epoch = **self.current.load();
        if parts.epoch != epoch.number {
            // another replica began a new one: what this one gives out of the old one would be refused there
            epoch = shared_epoch(&self.store).await?;
            self.current.store(Arc::new(epoch));
        }
        if parts.epoch != epoch.number {
            // from a race at the first start
            let found = nonces::find(&self.store, parts.epoch).await?;
            epoch =
                found.ok_or_else(|| bad("this server did not give it out, or its database has restarted since"))?;
        }
        if !authentic(&epoch, parts) {
            return Err(bad("this server did not give it out"));
        }
        let expires_at = Timestamp::from_secs(parts.time) + LIFETIME;
        let shown = Shown { nonce: parts.bytes.clone(), epoch: epoch.number, expires_at };
        if spending.commit(shown).await? {
            return Ok(());
        }
        if nonces::find(&self.store, epoch.number).await?.is_none() {
            self.current.store(Arc::new(shared_epoch(&self.store).await?));
            return Err(bad("the database has restarted since it was given out"));
        }
        Err(bad("it was used before"))
    }

    /// Spent nonces that are kept now, up to a little more than the bound.
    pub async fn held(&self) -> Result<usize> {
        if self.store.db.is_postgres() {
            let held = nonces::count(&self.store, i64::try_from(2 * MAX_SPENT).unwrap_or(i64::MAX)).await?;
            return Ok(usize::try_from(held).unwrap_or(usize::MAX));
        }
        Ok(self.spent.lock().unwrap_or_else(std::sync::PoisonError::into_inner).len())
    }

    /// On Postgres the rows of an epoch that ended go a minute after it, so that a spend of it that is under way still
    /// meets them and nothing is redeemed twice.
    async fn bound_shared(&self) -> Result<()> {
        let most = i64::try_from(MAX_SPENT).unwrap_or(i64::MAX);
        if nonces::count(&self.store, most).await? < most {
            return Ok(());
        }
        if let Some((epoch, since)) = nonces::only(&self.store).await? {
            if self.store.now() < since + SETTLED {
                return Ok(());
            }
            nonces::forget_others(&self.store, epoch.number).await?;
        }
        if nonces::count(&self.store, most).await? >= most {
            nonces::renew(&self.store, &fresh_epoch(&self.store)?, self.store.now()).await?;
            self.current.store(Arc::new(shared_epoch(&self.store).await?));
        }
        Ok(())
    }

    /// Housekeeping: forgets spent nonces that have expired, and ends the epoch when there are too many all the same.
    pub async fn forget_expired(&self) -> Result<()> {
        let oldest = self.store.now() - LIFETIME;
        if self.store.db.is_postgres() {
            nonces::forget(&self.store, oldest - Duration::from_secs(1)).await?;
            return self.bound_shared().await;
        }
        let mut spent = self.spent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *spent = spent.split_off(&(oldest.secs() - 1, [0; 16]));
        Ok(())
    }
}

fn fresh_epoch(store: &Store) -> Result<Epoch> {
    let number = i64::from_be_bytes(random::<8>(store.entropy.as_ref())?) & i64::MAX;
    Ok(Epoch { number, key: random(store.entropy.as_ref())? })
}

async fn shared_epoch(store: &Store) -> Result<Epoch> {
    if let Some(epoch) = nonces::latest(store).await? {
        return Ok(epoch);
    }
    nonces::insert_epoch(&store.db.volatile(), &fresh_epoch(store)?, store.now()).await?;
    nonces::latest(store).await?.ok_or_else(|| Error::inconsistent("the nonce epoch that was just stored is gone"))
}

fn mac(epoch: &Epoch, body: &[u8]) -> [u8; MAC] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &epoch.key), body);
    let mut mac = [0; MAC];
    mac.copy_from_slice(&tag.as_ref()[..MAC]);
    mac
}

fn authentic(epoch: &Epoch, parts: &Parts) -> bool {
    let (body, tag) = parts.bytes.split_at(BODY);
    constant_time::verify_slices_are_equal(&mac(epoch, body), tag).is_ok()
}

fn parse(nonce: &str) -> Result<Parts> {
    let bytes = URL_SAFE_NO_PAD.decode(nonce).map_err(|_| bad("it is not base64url"))?;
    if bytes.len() != BODY + MAC {
        return Err(bad("this server did not give it out"));
    }
    let eight = |from: usize| {
        let mut part = [0; 8];
        part.copy_from_slice(&bytes[from..from + 8]);
        i64::from_be_bytes(part)
    };
    let mut random = [0; 16];
    random.copy_from_slice(&bytes[16..32]);
    Ok(Parts { epoch: eight(0), time: eight(8), random, bytes })
}

fn bad(why: &str) -> Error {
    Error::new(ErrorKind::BadNonce, format!("the nonce is not good: {why}; repeat with the one in Replay-Nonce"))
}
