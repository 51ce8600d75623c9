//! `ca set`: how long the CRLs and the OCSP answers of an issuer are valid. What is published with the lifetime of before is
//! good until it expires; a new list is published at once.

use serde_json::json;

use super::Authority;
use super::snapshot::LoadedIssuer;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::issuer::{Issuer, IssuerRole};
use crate::model::status_lifetimes::{LifetimesChange, SetLifetimes};
use crate::model::times::shown_duration;
use crate::store::versions::{self, Topic};
use crate::store::{Tx, hierarchy, status_lifetimes};

impl Authority {
    /// Running it twice changes nothing the second time.
    pub async fn set_lifetimes(&self, actor: &Actor, slug: &str, change: LifetimesChange) -> Result<()> {
        let snapshot = self.snapshot();
        let loaded = snapshot.issuer(slug)?;
        if change.crl.is_some() {
            check_publishes(loaded)?;
        }
        let mut tx = self.begin_change(actor).await?;
        hierarchy::lock_issuer(&mut tx, loaded.issuer.id).await?;
        if !write(&mut tx, &loaded.issuer, change).await? {
            return Ok(());
        }
        if change.crl.is_some() {
            hierarchy::mark_crl_dirty(&mut tx, loaded.issuer.id).await?;
        }
        versions::bump(&mut tx, Topic::Hierarchy).await?;
        // every replica forgets the answers that are valid for another time
        versions::bump(&mut tx, Topic::Revocations).await?;
        tx.commit().await?;
        self.forget_answers();
        self.reload().await
    }
}

/// Writes and audits what changes; false when nothing does. The caller holds the issuer's row.
pub(super) async fn write(tx: &mut Tx, issuer: &Issuer, change: LifetimesChange) -> Result<bool> {
    let before = status_lifetimes::find(&mut *tx, issuer.id).await?;
    let after = before.unwrap_or_default().changed(change);
    if before.unwrap_or_default() == after {
        return Ok(false);
    }
    status_lifetimes::set(tx, issuer.id, after, before.is_some()).await?;
    let told = |set: SetLifetimes| {
        let lifetimes = set.resolved();
        json!({"crl": shown_duration(lifetimes.crl), "ocsp": shown_duration(lifetimes.ocsp)})
    };
    let detail = json!({"issuer": issuer.slug, "lifetimes": told(after), "before": told(before.unwrap_or_default())});
    tx.audit(AuditEvent::done("issuer.lifetimes_set", format!("issuer:{}", issuer.id), detail));
    Ok(true)
}

/// Does this installation publish the issuer's CRL as it becomes due?
fn check_publishes(loaded: &LoadedIssuer) -> Result<()> {
    let slug = &loaded.issuer.slug;
    let (value, why) = if loaded.issuer.role == IssuerRole::Root {
        (format!("root {slug}"), "its CRLs are signed for all of its life by `chancery ca crl sign`".to_owned())
    } else if loaded.sealed_key.is_offline() {
        (format!("issuer {slug}"), "its key is not here, and its CRLs are imported".to_owned())
    } else if !loaded.signs_crls() {
        (format!("issuer {slug}"), "its certificate does not let it sign CRLs".to_owned())
    } else {
        return Ok(());
    };
    let (allowed, fix) =
        ("an issuer that publishes its own CRLs", "set crl_lifetime on the issuers below it or beside it");
    let sentence = format!("crl_lifetime of {value} cannot be set, because {why}; {fix}");
    Err(Error::refused(ErrorKind::Unprocessable, "issuer.crl_lifetime", value, allowed, fix).saying(sentence))
}
