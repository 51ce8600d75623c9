//! Publishing CRLs (RFC 5280 §5). Whoever builds one holds the issuer's row, so the number moves with the CRL that
//! it is in; running twice is harmless, because the second finds nothing due. Beside the one in force the next
//! stands ready, so that status goes on while the server is locked; a root's are all made when its key is at hand.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::Authority;
use crate::clock::{Timestamp, days, hours};
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::crl::CrlNumber;
use crate::model::id::{CrlId, IssuerId};
use crate::model::issuer::Issuer;
use crate::model::key::SignatureAlgorithm;
use crate::pki::crl::{CrlEntries, CrlError, CrlInput, CrlScope, prepare_crl, seal_crl};
use crate::pki::issuer::IssuerKey;
use crate::store::crls::{self, Crl};
use crate::store::{Tx, hierarchy, revocations};

/// nextUpdate of the CRL in force.
pub const CRL_LIFE: Duration = hours(24);
/// How often one is published when nothing was revoked.
pub const CRL_EVERY: Duration = hours(6);
/// When the one that stands ready begins, and how long it lasts: the time that a server may be locked.
const READY_AFTER: Duration = hours(20);
const READY_LIFE: Duration = days(7);
/// A root's series: one every 60 days, each for 120.
const ROOT_EVERY: Duration = days(60);
const ROOT_LIFE: Duration = days(120);
/// A revoked certificate stays on the list for at least one CRL past its end.
const KEPT_PAST_END: Duration = hours(30);

/// How long an issuer that is over is not looked at again.
const OVER_FOR: Duration = hours(1);

/// One window of a CRL to be signed.
#[derive(Debug, Clone, Copy)]
struct Window {
    this_update: Timestamp,
    next_update: Timestamp,
}

impl Authority {
    /// Publishes the CRL of every issuer whose key is at hand and whose CRL is dirty or old. Returns how many. One
    /// that cannot be published does not keep the others waiting: the first such error comes when all were tried.
    pub async fn publish_due(&self) -> Result<usize> {
        let (mut published, mut failed) = (0, None);
        if !self.store.is_clock_right().await? {
            return Ok(0);
        }
        let snapshot = self.snapshot();
        for issuer in hierarchy::issuers(&self.store).await? {
            let Some(key) = snapshot.issuer_by_id(issuer.id).and_then(|i| i.key.clone()) else { continue };
            match self.publish_if_due(&issuer, &key).await {
                Ok(done) => published += usize::from(done),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(published), Err)
    }

    async fn publish_if_due(&self, issuer: &Issuer, key: &IssuerKey) -> Result<bool> {
        let due = match crls::current_window(&self.store, issuer.id, self.store.now()).await? {
            Some((this_update, _)) => self.store.now().since(this_update) >= CRL_EVERY,
            None => true,
        };
        if !issuer.crl_dirty
            && (!due || issuer.state.is_over_without_certificates() && self.is_over(issuer.id).await?)
        {
            return Ok(false);
        }
        self.publish(issuer.id, key, due).await
    }

    /// Has the last certificate of an issuer ended? Asked of retired ones alone: a full scan, and so once an hour.
    pub(super) async fn is_over(&self, id: IssuerId) -> Result<bool> {
        let now = self.store.now();
        let known = || self.over.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if known().get(&id).is_some_and(|seen| now.since(*seen) < OVER_FOR) {
            return Ok(true);
        }
        let last = hierarchy::last_end(&self.store, id).await?;
        let over = last.is_none_or(|end| end + KEPT_PAST_END < now);
        if over {
            known().insert(id, now);
        }
        Ok(over)
    }

    async fn publish(&self, id: IssuerId, key: &IssuerKey, due: bool) -> Result<bool> {
        let mut tx = self.store.begin(&Actor::job("crl")).await?;
        let issuer = hierarchy::lock_issuer(&mut tx, id).await?;
        let issuer = issuer.ok_or_else(|| Error::inconsistent("an issuer vanished while its CRL was made"))?;
        let now = tx.now();
        let fresh = crls::current_window(&mut tx, id, now).await?;
        // another replica may have done it while we waited for the row
        let still_due = due && fresh.is_none_or(|(this_update, _)| now.since(this_update) >= CRL_EVERY);
        if !issuer.crl_dirty && !still_due {
            return Ok(false);
        }
        // a clock that went back must not make thisUpdate go back
        let start = fresh.map_or(now, |(this_update, _)| now.max(this_update));
        sign_series(&mut tx, &issuer, key, &from(start)).await?;
        crls::prune(&mut tx, id, now - days(2)).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The CRL in force of an issuer, by slug; read from the database, so it works while locked.
    pub async fn current_crl(&self, slug: &str) -> Result<Arc<Crl>> {
        let snapshot = self.snapshot();
        let issuer = snapshot.issuer(slug)?.issuer.id;
        let now = self.store.now();
        let missing = || {
            Error::new(ErrorKind::Unavailable, format!("issuer {slug} has no CRL yet; try again in a few seconds"))
                .retry_after(Duration::from_secs(5))
        };
        let id = crls::current_id(&self.store, issuer, now).await?.ok_or_else(missing)?;
        if let Some(known) = self.crls.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(&issuer)
            && known.id == id
        {
            return Ok(Arc::clone(known));
        }
        let crl = Arc::new(crls::current(&self.store, issuer, now).await?.ok_or_else(missing)?);
        self.crls.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(issuer, Arc::clone(&crl));
        Ok(crl)
    }
}

/// The first CRL of a new issuer and the one after it, in the transaction that makes the issuer: nobody ever meets an
/// issuer without one.
pub(super) async fn sign_first(tx: &mut Tx, issuer: &Issuer, key: &IssuerKey) -> Result<()> {
    let windows = from(tx.now());
    sign_series(tx, issuer, key, &windows).await
}

/// The one in force from `start`, and the one that stands ready.
fn from(start: Timestamp) -> [Window; 2] {
    let ready = start + READY_AFTER;
    [
        Window { this_update: start, next_update: start + CRL_LIFE },
        Window { this_update: ready, next_update: ready + READY_LIFE },
    ]
}

/// A root's CRLs for all of its life, while its key is at hand.
pub(super) async fn sign_root_series(tx: &mut Tx, issuer: &Issuer, key: &IssuerKey) -> Result<()> {
    let (now, end) = (tx.now(), key.validity().not_after());
    let mut windows = Vec::new();
    let mut start = now;
    while start < end {
        windows.push(Window { this_update: start, next_update: start + ROOT_LIFE });
        start = start + ROOT_EVERY;
    }
    sign_series(tx, issuer, key, &windows).await
}

/// Signs one CRL for each window, withdraws those that stood ready, and moves the counter, in the caller's
/// transaction, which holds the issuer's row.
async fn sign_series(tx: &mut Tx, issuer: &Issuer, key: &IssuerKey, windows: &[Window]) -> Result<()> {
    tx.store().check_clock()?;
    let now = tx.now();
    let epoch = hierarchy::installation(&mut *tx).await?.map_or(0, |i| i.epoch);
    let entries = collect(tx, issuer.id, now).await?;
    let count = entries.count();
    crls::withdraw_future(&mut *tx, issuer.id, now).await?;
    let mut counter = issuer.crl_counter;
    for window in windows {
        counter += 1;
        let number = CrlNumber::new(u64::try_from(epoch).unwrap_or(0), u64::try_from(counter).unwrap_or(0));
        let der = sign(issuer, key, number, *window, entries.clone()).await?;
        let crl = Crl {
            id: CrlId::new(now, tx.store().entropy.as_ref())?,
            issuer_id: issuer.id,
            number: number.0,
            this_update: window.this_update,
            next_update: window.next_update,
            entries: i64::try_from(count).unwrap_or(i64::MAX),
            der,
            created_at: now,
        };
        crls::insert(&mut *tx, &crl).await?;
    }
    hierarchy::crl_stored(&mut *tx, issuer.id, counter).await?;
    let detail = json!({"issuer": issuer.slug, "number": counter, "entries": count, "signed": windows.len()});
    tx.audit(AuditEvent::done("crl.published", format!("issuer:{}", issuer.id), detail));
    Ok(())
}

async fn collect(tx: &mut Tx, issuer: IssuerId, now: Timestamp) -> Result<CrlEntries> {
    const PAGE: i64 = 2_000;
    let mut entries = CrlEntries::new();
    let mut last = None;
    loop {
        let page = revocations::page(&mut *tx, issuer, last.as_ref(), now - KEPT_PAST_END, PAGE).await?;
        let full = i64::try_from(page.len()).unwrap_or(0) == PAGE;
        for revocation in page {
            last = Some(revocation.serial.clone());
            entries.push(revocation.serial, revocation.revoked_at, Some(revocation.reason)).map_err(failed)?;
        }
        if !full {
            return Ok(entries);
        }
    }
}

async fn sign(
    issuer: &Issuer,
    key: &IssuerKey,
    number: CrlNumber,
    window: Window,
    entries: CrlEntries,
) -> Result<Vec<u8>> {
    let signer = key.signer();
    let input = CrlInput {
        issuer_name: key.subject(),
        authority_key_id: key.key_id(),
        algorithm: SignatureAlgorithm::for_key(signer.algorithm()),
        this_update: window.this_update,
        next_update: window.next_update,
        number,
        scope: CrlScope::Complete,
        expired_certs_on_crl: None,
    };
    let prepared = prepare_crl(&input, entries).map_err(failed)?;
    let sealed = seal_crl(prepared, signer.as_ref(), signer.public_key()).await;
    sealed.map_err(|e| {
        metrics::counter!("chancery_crl_publish_failures_total", "issuer" => issuer.slug.clone()).increment(1);
        failed(e)
    })
}

fn failed(error: CrlError) -> Error {
    match error {
        CrlError::Sign(e) => Error::new(ErrorKind::Unavailable, "the signing key did not answer").because(e),
        other => Error::internal("a CRL could not be made", other),
    }
}
