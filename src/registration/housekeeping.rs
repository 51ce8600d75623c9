//! What time ends: orders and authorizations that ran out, spent nonces. Running it twice is harmless.

use serde_json::json;

use super::Registration;
use crate::error::Result;
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::store::{authorizations, orders};

impl Registration {
    /// Called every minute or so.
    pub async fn housekeep(&self) -> Result<()> {
        let mut tx = self.store.begin(&Actor::job("acme.housekeeping")).await?;
        let now = tx.now();
        let orders = orders::expire(&mut tx, now).await?;
        let authorizations = authorizations::expire(&mut tx, now).await?;
        self.forget_attempts(&mut tx).await?;
        if orders + authorizations > 0 {
            let detail = json!({"orders": orders, "authorizations": authorizations});
            tx.audit(AuditEvent::done("acme.expired", "", detail));
        }
        tx.commit().await?;
        self.nonces.forget_expired().await
    }
}
