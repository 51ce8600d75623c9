//! Intents whose issuance was cut off between the two commits. Nobody may have the certificate, yet it may have
//! been signed: it is revoked, listed on the CRL, never signed again, and its order becomes invalid. Running it
//! twice is harmless: only rows that are still intended and older than any issuance may take are touched, so
//! another replica's running ones are left alone.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Authority;
use crate::clock::monotonic;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::certificate::CertificateStatus;
use crate::model::id::CertificateId;
use crate::store::{certificates, replicas};

/// Nothing is sealed later than this after its intent was committed.
pub const ISSUANCE_DEADLINE: Duration = Duration::from_secs(30);
/// When recovery takes over: the deadline, the outcome's commit, and clocks that differ between replicas.
pub const STALE_AFTER: Duration = Duration::from_secs(90);

const PAGE: i64 = 100;

/// Intents that could not be given up, so that each is told of once. Guards only itself.
#[derive(Debug, Default)]
pub(super) struct Stuck(Mutex<HashSet<CertificateId>>);

impl Authority {
    /// Revokes what is stale and returns how many there were. A row that cannot be given up does not keep the
    /// others waiting: it is counted, logged the first time, and tried again at the next turn.
    pub async fn recover(&self) -> Result<usize> {
        if planted!("intents-are-forgotten", true, !self.store.may_sign().await?) {
            return Ok(0);
        }
        let actor = Actor::job("recovery");
        let before =
            planted!("recovery-takes-what-runs", self.store.now() + STALE_AFTER, self.store.now() - STALE_AFTER);
        let (mut total, mut stuck) = (0, HashSet::new());
        let mut after = CertificateId::from_bytes([0; 16]);
        loop {
            let stale = certificates::stale_intents(&self.store, before, after, PAGE).await?;
            let Some(last) = stale.last() else { break };
            after = *last;
            for id in stale {
                match self.abandon(&actor, id, "no outcome was recorded in time").await {
                    Ok(()) => total += 1,
                    // the database is gone for all of them: the whole turn is tried again
                    Err(error) if error.kind == ErrorKind::Unavailable => return Err(error),
                    Err(error) => {
                        self.stuck.tell_once(id, &error);
                        stuck.insert(id);
                    }
                }
            }
        }
        metrics::gauge!("chancery_intents_stuck").set(f64::from(u32::try_from(stuck.len()).unwrap_or(u32::MAX)));
        self.stuck.keep_only(&stuck);
        Ok(total)
    }
}

/// How long after a server's end the database may still list its connections, one machine or two.
const GONE_WITHIN: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// How an issuance stands whose intent has no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processing {
    /// In this process.
    Here,
    /// In another one that is connected to the database.
    Elsewhere,
    /// No more: it has ended, or its process has: its order is ready again, its Idempotency-Key free.
    Over,
}

impl Authority {
    /// Who makes this certificate? When its process ended before the outcome, nobody was given it: it is
    /// revoked as recovery would do later, and an order is ready for another one. Should the process live after
    /// all, its outcome finds the intent revoked and is refused.
    pub async fn processing(&self, id: CertificateId) -> Result<Processing> {
        let certificate = certificates::find(&self.store, id).await?;
        let Some(intent) = certificate.filter(|c| c.status == CertificateStatus::Intended) else {
            return Ok(Processing::Over);
        };
        if intent.replica_id == self.store.replica() {
            return Ok(Processing::Here);
        }
        if replicas::is_alive(&self.store, intent.replica_id).await? {
            return Ok(Processing::Elsewhere);
        }
        let why = "the server that made it has ended; it is asked for again";
        self.take_back(&Actor::job("recovery"), id, why).await?;
        Ok(Processing::Over)
    }
}

impl Authority {
    /// The same. While another server runs it, a moment is given for the database to learn that the server has ended.
    pub async fn settled(&self, id: CertificateId) -> Result<Processing> {
        let started = monotonic();
        loop {
            match self.processing(id).await? {
                Processing::Elsewhere if started.elapsed() < GONE_WITHIN => tokio::time::sleep(LOOK_AGAIN).await,
                settled => return Ok(settled),
            }
        }
    }
}

impl Stuck {
    fn tell_once(&self, id: CertificateId, error: &Error) {
        if self.lock().insert(id) {
            tracing::error!(certificate = %id, error = %error.chain(),
                "an intent without outcome cannot be revoked: it may have been signed and is on no CRL; run `chancery fsck`");
        }
    }

    /// One that was given up after all is told of again should it come back.
    fn keep_only(&self, stuck: &HashSet<CertificateId>) {
        self.lock().retain(|id| stuck.contains(id));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<CertificateId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stuck_is_told_of_once() {
        let (stuck, id) = (Stuck::default(), CertificateId::from_bytes([7; 16]));
        let error = Error::inconsistent("a row");
        stuck.tell_once(id, &error);
        stuck.tell_once(id, &error);
        assert_eq!(stuck.count(), 1);
        stuck.keep_only(&HashSet::new());
        assert_eq!(stuck.count(), 0);
    }
}
