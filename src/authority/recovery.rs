//! Intents whose issuance was cut off between the two commits. Nobody may have the certificate, yet it may have
//! been signed: it is revoked, listed on the CRL, never signed again, and its order becomes invalid. Running it
//! twice is harmless: only rows that are still intended and older than any issuance may take are touched, so
//! another replica's running ones are left alone.

use std::time::Duration;

use super::Authority;
use crate::error::Result;
use crate::model::actor::Actor;
use crate::store::certificates;

/// Nothing is sealed later than this after its intent was committed.
pub const ISSUANCE_DEADLINE: Duration = Duration::from_secs(30);
/// When recovery takes over: the deadline, the outcome's commit, and clocks that differ between replicas.
pub const STALE_AFTER: Duration = Duration::from_secs(90);

impl Authority {
    /// Revokes what is stale and returns how many there were.
    pub async fn recover(&self) -> Result<usize> {
        let actor = Actor::job("recovery");
        let mut total = 0;
        loop {
            let before = self.store.now() - STALE_AFTER;
            let stale = certificates::stale_intents(&self.store, before, 100).await?;
            if stale.is_empty() {
                return Ok(total);
            }
            for intent in &stale {
                self.abandon(&actor, intent.id, "no outcome was recorded in time").await?;
            }
            total += stale.len();
        }
    }
}
