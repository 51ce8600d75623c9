//! What time ends: orders and authorizations that ran out, spent nonces. Running it twice is harmless.

use std::time::Duration;

use serde_json::json;

use super::Registration;
use crate::clock::days;
use crate::error::Result;
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::store::{authorizations, limits, orders};

/// A name that nobody has tried for so long begins anew, also a paused one.
const FAILURES_KEPT: Duration = days(90);

impl Registration {
    /// Called every minute or so.
    pub async fn housekeep(&self) -> Result<()> {
        let mut tx = self.store.begin(&Actor::job("acme.housekeeping")).await?;
        let now = tx.now();
        let orders = orders::expire(&mut tx, now).await?;
        let authorizations = authorizations::expire(&mut tx, now).await?;
        authorizations::forget_floors(&mut tx, now).await?;
        limits::expire(&mut tx, now, now - FAILURES_KEPT).await?;
        self.forget_attempts(&mut tx).await?;
        if orders + authorizations > 0 {
            let detail = json!({"orders": orders, "authorizations": authorizations});
            tx.audit(AuditEvent::done("acme.expired", "", detail));
        }
        tx.commit().await?;
        self.nonces.forget_expired().await
    }
}
