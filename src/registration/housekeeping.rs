//! What time ends: orders and authorizations that ran out, spent nonces. Running it twice is harmless.

use super::Registration;
use crate::error::Result;
use crate::model::actor::Actor;
use crate::store::{authorizations, orders};

impl Registration {
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
