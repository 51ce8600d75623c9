//! CRLs ahead of their time. Each says "nothing more was revoked" for a time that has not come, so they lie sealed under
//! the status key, which is outside the database, and are opened when they are read. Every second what lies in clear
//! before its time is put aside: CRLs of an older binary are sealed, CRLs of a clock that was wrong are withdrawn.
//! Running twice is harmless: each is looked at again under its issuer's lock, and who comes second finds it gone.

use std::time::Duration;

use serde_json::json;

use super::rows::SKEW;
use crate::authority::Authority;
use crate::clock::{Timestamp, hours};
use crate::error::{Error, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::pki::crl_facts::CrlFacts;
use crate::store::crls::{self, CrlHead, NewCrl};
use crate::store::hierarchy;

/// The name under which the status seal binds a sealed CRL, together with its id.
pub(super) const LABEL: &str = "crl";
/// How soon it is tried again to write a file anew.
const AGAIN: Duration = hours(1);

impl Authority {
    /// Seals CRLs of later that an older binary left in clear, and withdraws those that were signed in the future.
    pub(super) async fn put_future_aside(&self) -> Result<()> {
        let now = self.store.now();
        // a root of an older binary has dozens
        for _ in 0..20 {
            let found = crls::future(&self.store, now, now + SKEW).await?;
            let (wrong, early): (Vec<_>, Vec<_>) = found.into_iter().partition(|crl| crl.created_at > now + SKEW);
            let early: Vec<_> = early.into_iter().filter(|crl| !crl.sealed && self.can_seal()).collect();
            if wrong.is_empty() && early.is_empty() {
                if self.can_seal() {
                    self.forget_deleted_pages().await;
                }
                break;
            }
            for crl in &wrong {
                self.withdraw(crl).await?;
            }
            for crl in &early {
                self.seal_stored(crl).await?;
            }
        }
        Ok(())
    }

    /// Once after an upgrade on SQLite, when every CRL of later is sealed: the clear ones that were deleted before can still
    /// be read in freed pages. A failure stops nothing; doctor reports it, and an hour later it is tried again.
    async fn forget_deleted_pages(&self) {
        let now = self.store.now();
        let mut looked = self.pages_looked_at.lock().await;
        if looked.is_some_and(|until| now < until) {
            return;
        }
        let outcome = match self.store.db.may_hold_deleted().await {
            Ok(false) => {
                *looked = Some(Timestamp::from_micros(i64::MAX));
                return;
            }
            Ok(true) => self.store.db.write_anew().await,
            Err(error) => Err(error),
        };
        *looked = Some(now + AGAIN);
        match outcome {
            Ok(()) => {
                tracing::info!("the database file was written anew without what was deleted before the upgrade")
            }
            Err(error) => tracing::warn!(error = %error.chain(),
                "the database file could not be written anew; it may hold readable CRLs of a later time"),
        }
    }

    /// A CRL whose signer's clock was ahead. What it listed may be missing in the one that is in force now.
    async fn withdraw(&self, crl: &CrlHead) -> Result<()> {
        let mut tx = self.store.begin(&Actor::job("crl")).await?;
        let Some(issuer) = hierarchy::lock_issuer(&mut tx, crl.issuer_id).await? else { return Ok(()) };
        let now = tx.now();
        if !crls::delete(&mut tx, crl).await? {
            return Ok(());
        }
        hierarchy::mark_crl_dirty(&mut tx, issuer.id).await?;
        let detail = json!({"issuer": issuer.slug, "number": crl.number.to_string(), "signed_at": crl.created_at,
            "this_update": crl.this_update, "now": now});
        tx.audit(AuditEvent::done("crl.withdrawn", format!("issuer:{}", issuer.id), detail));
        tx.commit().await?;
        tracing::warn!(issuer = %issuer.slug, number = %crl.number, signed_at = %crl.created_at,
            "a CRL that was signed in the future is withdrawn; compare the clocks of the replicas");
        Ok(())
    }

    async fn seal_stored(&self, crl: &CrlHead) -> Result<()> {
        let Some(der) = crls::bytes(&self.store, crl).await? else { return Ok(()) };
        let sealed = self.keys.seal_status(LABEL, &crl.id.bytes(), der)?;
        let mut tx = self.store.begin(&Actor::job("crl")).await?;
        hierarchy::lock_issuer(&mut tx, crl.issuer_id).await?;
        if !crls::delete(&mut tx, crl).await? {
            return Ok(());
        }
        let new = NewCrl {
            id: crl.id,
            issuer_id: crl.issuer_id,
            number: crl.number,
            this_update: crl.this_update,
            next_update: crl.next_update,
            entries: crl.entries,
            created_at: crl.created_at,
            bytes: sealed.into(),
        };
        crls::insert_ahead(&mut tx, new, crl.this_update + self.crl_backdate).await?;
        tx.commit().await
    }

    /// The bytes of a CRL, opened if it was sealed. None when it was removed meanwhile.
    pub(in crate::authority) async fn crl_bytes(&self, crl: &CrlHead) -> Result<Option<Vec<u8>>> {
        let Some(stored) = crls::bytes(&self.store, crl).await? else { return Ok(None) };
        if !crl.sealed {
            return Ok(Some(stored));
        }
        let der = self.keys.open_status(LABEL, &crl.id.bytes(), stored)?;
        // the row beside it is in clear and could be another's
        let agrees = CrlFacts::parse(&der).is_ok_and(|facts| {
            facts.crl_number() == Some(crl.number) && facts.this_update == crl.this_update.truncated()
        });
        if !agrees {
            return Err(Error::inconsistent(format!(
                "the sealed CRL {} is not the one of its row; sign the CRLs anew with `chancery ca crl sign`",
                crl.number
            )));
        }
        Ok(Some(der))
    }
}
