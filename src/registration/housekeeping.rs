//! What time brings: validations that another process left behind, orders and authorizations that ran out, spent
//! nonces. Running it twice is harmless.

use super::Registration;
use crate::clock::minutes;
use crate::error::Result;
use crate::model::acme::ValidateChallenge;
use crate::model::actor::Actor;
use crate::store::{authorizations, jobs, orders};

/// Jobs claimed in one turn.
const BATCH: i64 = 16;

impl Registration {
    /// Claims what is due and free, and runs it; says how many jobs there were. Called every few seconds.
    pub async fn run_due(&self) -> Result<usize> {
        let mut tx = self.store.begin(&Actor::job("acme.validate")).await?;
        let until = tx.now() + minutes(2);
        let claimed = jobs::claim_kind(&mut tx, ValidateChallenge::KIND, until, BATCH).await?;
        tx.commit().await?;
        for outcome in futures_util::future::join_all(claimed.iter().map(|job| self.validate(job))).await {
            if let Err(error) = outcome {
                tracing::warn!(error = %error.chain(), "a validation failed and is tried again");
            }
        }
        Ok(claimed.len())
    }

    /// Called every minute or so.
    pub async fn housekeep(&self) -> Result<()> {
        let mut tx = self.store.begin(&Actor::job("acme.housekeeping")).await?;
        let now = tx.now();
        orders::expire(&mut tx, now).await?;
        authorizations::expire(&mut tx, now).await?;
        tx.commit().await?;
        self.nonces.forget_expired().await
    }
}
