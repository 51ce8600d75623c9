//! Signing: the CRL in force with the one that stands ready for the time a server may be locked, a root's series for
//! all of its life, and the last one of an issuer. Those for later are sealed under the status key before they are
//! stored.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::{BACKDATE, Begun, CRL_LIFE, KEPT_PAST_END, LARGE, begin, no_numbers};
use crate::authority::Authority;
use crate::clock::{Timestamp, days};
use crate::error::{Error, ErrorKind, Result};
use crate::model::audit::AuditEvent;
use crate::model::crl::CrlNumber;
use crate::model::id::{CrlId, IssuerId};
use crate::model::issuer::Issuer;
use crate::model::key::SignatureAlgorithm;
use crate::model::status_lifetimes::StatusLifetimes;
use crate::pki::crl::{CrlEntries, CrlError, CrlInput, CrlScope, PreparedCrl, prepare_crl, seal_crl};
use crate::pki::issuer::IssuerKey;
use crate::pki::oids;
use crate::pki::signer::{KeyPurpose, KeyStore, Signer};
use crate::store::crls::{self, CrlHead, NewCrl};
use crate::store::engine::On;
use crate::store::{Store, Tx, revocations};

/// A root's series: one every 60 days, each for 120.
const ROOT_EVERY: Duration = days(60);
const ROOT_LIFE: Duration = days(120);

/// What publishing needs beside the issuer's key: the status seal, how far thisUpdate lies back, and how long a CRL is good.
#[derive(Debug, Clone, Copy)]
pub struct Publishing<'a> {
    keys: &'a dyn KeyStore,
    backdate: Duration,
    lifetimes: StatusLifetimes,
}

/// One window of a CRL to be signed.
#[derive(Debug, Clone, Copy)]
pub(in crate::authority) struct Window {
    pub this_update: Timestamp,
    pub next_update: Timestamp,
    /// None: at once.
    pub starts_at: Option<Timestamp>,
}

pub(super) struct SignedCrl {
    number: CrlNumber,
    window: Window,
    entries: u64,
    pub(super) der: Vec<u8>,
}

impl Authority {
    pub(in crate::authority) fn publishing(&self) -> Publishing<'_> {
        Publishing { keys: self.keys.as_ref(), backdate: self.crl_backdate, lifetimes: StatusLifetimes::DEFAULT }
    }

    pub(in crate::authority) fn can_seal(&self) -> bool {
        self.publishing().can_seal()
    }
}

impl<'a> Publishing<'a> {
    /// For the hierarchy that is made before there is a server.
    pub fn first(keys: &'a dyn KeyStore) -> Self {
        Publishing { keys, backdate: BACKDATE, lifetimes: StatusLifetimes::DEFAULT }
    }

    /// Signs CRLs that last as long as these lifetimes say.
    pub fn lasting(self, lifetimes: StatusLifetimes) -> Self {
        Publishing { lifetimes, ..self }
    }

    pub(super) fn can_seal(&self) -> bool {
        self.keys.can_open(KeyPurpose::Responder)
    }

    /// The CRL in force from `now`. thisUpdate lies back, but never before the issuer's own beginning, and it does not
    /// go back behind the last one's when a clock did.
    pub(super) fn window_from(&self, now: Timestamp, last: Option<&CrlHead>, key: &IssuerKey) -> Window {
        self.window_after(now, last.map(|crl| crl.this_update), key)
    }

    /// The window of a list in force from `now`, after a list whose thisUpdate is `last`.
    pub(in crate::authority) fn window_after(
        &self,
        now: Timestamp,
        last: Option<Timestamp>,
        key: &IssuerKey,
    ) -> Window {
        let back = (now - self.backdate).max(key.validity().not_before()).min(now);
        Window {
            this_update: planted!("crl-this-update-goes-back", back, last.map_or(back, |last| back.max(last))),
            next_update: planted!("crl-lasts-48-hours", now + crate::clock::hours(48), now + self.lifetimes.crl),
            starts_at: None,
        }
    }

    fn until(&self, now: Timestamp, next_update: Timestamp, last: Option<&CrlHead>, key: &IssuerKey) -> Window {
        Window { next_update, ..self.window_from(now, last, key) }
    }

    pub(in crate::authority) fn ready(&self, now: Timestamp) -> Window {
        self.later(now + self.lifetimes.ready_after(), self.lifetimes.ready_life())
    }

    fn later(&self, starts_at: Timestamp, life: Duration) -> Window {
        Window { this_update: starts_at - self.backdate, next_update: starts_at + life, starts_at: Some(starts_at) }
    }
}

/// The first CRL of a new issuer and the one after it, in the transaction that makes the issuer: nobody ever meets an
/// issuer without one.
pub async fn sign_first(tx: &mut Tx, publishing: &Publishing<'_>, issuer: &Issuer, key: &IssuerKey) -> Result<()> {
    let now = tx.now();
    let last = crls::in_force(&mut *tx, issuer.id, now).await?;
    let mut windows = vec![publishing.window_from(now, last.as_ref(), key)];
    windows.extend(publishing.can_seal().then(|| publishing.ready(now)));
    sign_series(tx, publishing, issuer, key, last, windows).await
}

/// A root's CRLs for all of its life, while its key is at hand; none for a root that may sign none.
pub async fn sign_root_series(
    tx: &mut Tx,
    publishing: &Publishing<'_>,
    issuer: &Issuer,
    key: &IssuerKey,
) -> Result<()> {
    if !key.signs_crls() {
        return Ok(());
    }
    let (now, end) = (tx.now(), key.validity().not_after());
    let last = crls::in_force(&mut *tx, issuer.id, now).await?;
    let mut windows = vec![publishing.until(now, now + ROOT_LIFE, last.as_ref(), key)];
    let mut start = now + ROOT_EVERY;
    while start < end {
        windows.push(publishing.later(start, ROOT_LIFE));
        start = start + ROOT_EVERY;
    }
    sign_series(tx, publishing, issuer, key, last, windows).await
}

/// The last CRL of an issuer that ends: one in force until `until`, and none after it.
pub(super) async fn sign_last(
    tx: &mut Tx,
    publishing: &Publishing<'_>,
    issuer: &Issuer,
    key: &IssuerKey,
    until: Timestamp,
) -> Result<()> {
    let now = tx.now();
    let last = crls::in_force(&mut *tx, issuer.id, now).await?;
    let windows = vec![publishing.until(now, until.max(now + CRL_LIFE), last.as_ref(), key)];
    sign_series(tx, publishing, issuer, key, last, windows).await
}

/// Signs one CRL for each window and stores them, in the caller's transaction, which holds the issuer's row.
async fn sign_series(
    tx: &mut Tx,
    publishing: &Publishing<'_>,
    issuer: &Issuer,
    key: &IssuerKey,
    last: Option<CrlHead>,
    windows: Vec<Window>,
) -> Result<()> {
    let now = tx.now();
    let begun = begin(tx, issuer.clone(), key, now, last).await?;
    let entries = collect(Reader::Tx(tx), &begun.issuer, now, begun.last.as_ref()).await?;
    let (mut number, mut signed) = (begun.number, Vec::with_capacity(windows.len()));
    for window in windows {
        number = number.next().ok_or_else(no_numbers)?;
        signed.push(sign(issuer, key, number, window, entries.clone()).await?);
    }
    let state = crls::state(tx, issuer.id, begun.epoch).await?;
    store_signed(tx, publishing, &begun, state.counter, signed).await.map(drop)
}

/// Withdraws those that stood ready, stores the new ones and moves the number. The caller holds the issuer's row. Returns
/// the one that is in force once this is committed.
pub(super) async fn store_signed(
    tx: &mut Tx,
    publishing: &Publishing<'_>,
    begun: &Begun,
    counter: i64,
    signed: Vec<SignedCrl>,
) -> Result<Option<(CrlId, Bytes)>> {
    let (issuer, now) = (&begun.issuer, tx.now());
    planted!("crl-of-the-future-stays", (), crls::withdraw_future(tx, issuer.id, now).await?);
    let Some(highest) = signed.last().map(|crl| crl.number) else { return Ok(None) };
    let at_once = signed.iter().filter(|crl| crl.window.starts_at.is_none()).count();
    crls::prune(tx, issuer.id, now, crls::KEPT.saturating_sub(at_once)).await?;
    let mut in_force = None;
    let (count, entries) = (signed.len(), signed.first().map_or(0, |crl| crl.entries));
    for crl in signed {
        let id = CrlId::new(now, tx.store().entropy.as_ref())?;
        let bytes = match crl.window.starts_at {
            None => Bytes::from(crl.der),
            Some(_) => publishing.keys.seal_status(super::ahead::LABEL, &id.bytes(), crl.der)?.into(),
        };
        let new = NewCrl {
            id,
            issuer_id: issuer.id,
            number: crl.number,
            this_update: crl.window.this_update,
            next_update: crl.window.next_update,
            entries: i64::try_from(crl.entries).unwrap_or(i64::MAX),
            created_at: begun.now,
            bytes,
        };
        match crl.window.starts_at {
            None => {
                in_force = Some((id, new.bytes.clone()));
                crls::insert(&mut *tx, new).await?;
            }
            Some(starts_at) => crls::insert_ahead(&mut *tx, new, starts_at).await?,
        }
    }
    crls::stored(tx, issuer.id, highest, counter_after(counter, highest, begun.epoch, count)).await?;
    let detail = json!({"issuer": issuer.slug, "number": highest.to_string(), "entries": entries, "signed": count});
    tx.audit(AuditEvent::done("crl.published", format!("issuer:{}", issuer.id), detail));
    Ok(in_force)
}

/// What an older replica goes on from: the number's low half while the number is of its form.
pub(in crate::authority) fn counter_after(counter: i64, number: CrlNumber, epoch: u64, count: usize) -> i64 {
    let of_epoch = number.counter_of(epoch).and_then(|low| i64::try_from(low).ok());
    of_epoch.unwrap_or_else(|| counter.saturating_add(i64::try_from(count).unwrap_or(i64::MAX))).max(counter)
}

/// Do revoked certificates of this issuer stay listed past their end? A signature made with a stolen code-signing or
/// timestamping key is looked at long after the certificate has expired.
pub(super) fn retains(issuer: &Issuer, key: &IssuerKey) -> bool {
    let signs = |usage| key.usages().contains(usage);
    matches!(issuer.domain.as_str(), "code-signing" | "timestamping")
        || signs(&oids::EKU_CODE_SIGNING)
        || signs(&oids::EKU_TIME_STAMPING)
}

/// Where entries are read.
pub enum Reader<'a> {
    Store(&'a Store),
    Tx(&'a mut Tx),
}

impl Reader<'_> {
    fn on(&mut self) -> On<'_> {
        match self {
            Reader::Store(store) => On::from(*store),
            Reader::Tx(tx) => On::from(&mut **tx),
        }
    }
}

/// What the issuer's CRL lists at `now`, after `last`. A revoked certificate that expired after `last` was made is
/// listed once more, however long no CRL was made: an entry is removed only after it appeared on a CRL issued past the
/// end of its certificate (RFC 5280 §3.3).
pub async fn collect(
    mut reader: Reader<'_>,
    issuer: &Issuer,
    now: Timestamp,
    last: Option<&CrlHead>,
) -> Result<CrlEntries> {
    let octets = last.map_or(0, |crl| usize::try_from(crl.size).unwrap_or(0));
    let mut entries = CrlEntries::with_octets(octets);
    push_listed(&mut reader, issuer.id, listed_from(issuer, now, last), &mut entries).await?;
    Ok(entries)
}

/// The CRL at `now`, after `last`, lists certificates that end then or later.
pub(super) fn listed_from(issuer: &Issuer, now: Timestamp, last: Option<&CrlHead>) -> Timestamp {
    let kept = now - KEPT_PAST_END;
    // all that is known stays where expired ones are kept; the date on the CRL promises no more than was kept
    match issuer.crl_retained_since {
        Some(_) => planted!("crl-drops-what-it-retains", kept, Timestamp::from_micros(0)),
        None => planted!(
            "crl-keeps-expired-entries",
            Timestamp::from_micros(0),
            planted!("crl-drops-entries-at-expiry", now, last.map_or(kept, |crl| kept.min(crl.created_at)))
        ),
    }
}

/// Adds what an issuer revoked whose certificates end at `alive_at` or later.
pub(in crate::authority) async fn push_listed(
    reader: &mut Reader<'_>,
    issuer: IssuerId,
    alive_at: Timestamp,
    entries: &mut CrlEntries,
) -> Result<()> {
    const PAGE: i64 = 5_000;
    let mut last = None;
    loop {
        let page = revocations::listed(reader.on(), issuer, last.as_ref(), alive_at, PAGE).await?;
        let full = i64::try_from(page.len()).unwrap_or(0) == PAGE;
        last = page.last().map(|listed| listed.serial.clone());
        for listed in page {
            planted!("crl-without-an-entry", {
                if listed.serial.octets()[1] < 32 {
                    continue;
                }
            });
            planted!("crl-lists-2000-rows", {
                if entries.count() >= 2_000 {
                    return Ok(());
                }
            });
            entries.list(listed).map_err(failed)?;
        }
        if !full {
            return Ok(());
        }
        if let Reader::Store(store) = reader
            && revocations::sweep_listed(store, issuer, last.as_ref(), alive_at, |listed| {
                entries.list(listed).map_err(failed)
            })
            .await?
        {
            return Ok(());
        }
    }
}

pub(super) async fn sign(
    issuer: &Issuer,
    key: &IssuerKey,
    number: CrlNumber,
    window: Window,
    entries: CrlEntries,
) -> Result<SignedCrl> {
    let signer = key.signer().clone();
    let used = planted!("crl-number-twice", CrlNumber::from(1), number);
    let input = CrlInput {
        issuer_name: key.subject(),
        authority_key_id: key.key_id(),
        algorithm: SignatureAlgorithm::for_key(signer.algorithm()),
        this_update: window.this_update,
        next_update: window.next_update,
        number: used,
        scope: CrlScope::Complete,
        expired_certs_on_crl: issuer.crl_retained_since,
    };
    let count = entries.count();
    let der = seal(prepare_crl(&input, entries).map_err(failed)?, signer, count).await?;
    Ok(SignedCrl { number, window, entries: count, der })
}

/// Signs and checks a list of `count` entries; a large one on the blocking pool: hashing, verifying and reading tens of
/// megabytes would hold up what else this thread does.
pub(in crate::authority) async fn seal(
    prepared: PreparedCrl,
    signer: Arc<dyn Signer>,
    count: u64,
) -> Result<Vec<u8>> {
    let sealing = async move { seal_crl(prepared, signer.as_ref(), signer.public_key()).await };
    if i64::try_from(count).unwrap_or(i64::MAX) <= LARGE {
        return sealing.await.map_err(failed);
    }
    let runtime = tokio::runtime::Handle::current();
    let done = tokio::task::spawn_blocking(move || runtime.block_on(sealing)).await;
    done.map_err(|e| Error::internal("signing a CRL was broken off", e))?.map_err(failed)
}

pub(super) fn failed(error: CrlError) -> Error {
    match error {
        CrlError::Sign(e) => Error::new(ErrorKind::Unavailable, "the signing key did not answer").because(e),
        other => Error::internal("a CRL could not be made", other),
    }
}
