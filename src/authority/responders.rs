//! OCSP delegates renew themselves when a third of their life is left. Running twice is harmless: the issuer's row
//! is locked, and the second finds a young delegate.

use super::Authority;
use super::hierarchy::make::{NewKey, RESPONDER_LIFE, add_responder, responder_algorithm};
use super::key_ids::is_under;
use crate::error::Result;
use crate::model::actor::Actor;
use crate::pki::signer::KeyPurpose;
use crate::store::hierarchy;
use crate::store::versions::{self, Topic};

impl Authority {
    /// Renews what is due for every issuer whose key is at hand. Returns how many.
    pub async fn renew_responders(&self) -> Result<usize> {
        if !self.store.may_sign().await? {
            return Ok(0);
        }
        let mut renewed = 0;
        for loaded in self.snapshot().issuers.values() {
            let Some(key) = &loaded.key else { continue };
            let mut tx = self.store.begin(&Actor::job("ocsp-responder")).await?;
            let Some(issuer) = hierarchy::lock_issuer(&mut tx, loaded.issuer.id).await? else { continue };
            let now = tx.now();
            let newest = hierarchy::responders(&mut tx, now).await?.into_iter().find(|r| r.issuer_id == issuer.id);
            let young = newest.is_some_and(|r| {
                r.not_after.since(now) * 3 > r.not_after.since(r.not_before) && is_under(&r.der, key.key_id())
            });
            if young || key.validity().not_after() <= now {
                continue;
            }
            if issuer.state.is_over_without_certificates() && self.is_over(issuer.id).await? {
                continue;
            }
            let algorithm = responder_algorithm(key.signer().algorithm());
            let own = NewKey::make(&self.store, self.keys.as_ref(), algorithm, KeyPurpose::Responder)?;
            add_responder(&mut tx, own, &issuer, key, RESPONDER_LIFE).await?;
            versions::bump(&mut tx, Topic::Hierarchy).await?;
            tx.commit().await?;
            renewed += 1;
        }
        if renewed > 0 {
            self.reload().await?;
        }
        Ok(renewed)
    }
}
