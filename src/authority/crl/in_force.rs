//! The CRL in force, as it is served. Each request looks up which one that is; with the database away the one that was
//! served last goes on until its nextUpdate, from memory: a process that starts without its database has none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;

use super::growth::Basis;
use crate::authority::Authority;
use crate::clock::{Timestamp, monotonic};
use crate::error::{Error, ErrorKind, Result};
use crate::model::crl::CrlNumber;
use crate::model::id::{CrlId, IssuerId};
use crate::model::serial::to_hex;
use crate::pki::crl_facts::CrlFacts;
use crate::store::crls::{self, CrlHead};

/// How long a request waits for the database while there is one to serve.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the database is left alone after it did not answer.
const REST: Duration = Duration::from_secs(2);

/// A CRL ready to be sent.
#[derive(Debug, Clone)]
pub struct Crl {
    pub id: CrlId,
    pub number: CrlNumber,
    pub this_update: Timestamp,
    pub next_update: Timestamp,
    pub signed_at: Timestamp,
    pub entries: i64,
    pub der: Bytes,
    /// A hash of the bytes, in hex.
    pub tag: String,
    /// From when on it is served. None where another one came within the same second: that time says nothing.
    pub modified: Option<Timestamp>,
}

/// What this process served last, by issuer.
#[derive(Debug, Default)]
pub struct ServedCrls(Mutex<HashMap<IssuerId, Arc<Slot>>>);

#[derive(Debug, Default)]
struct Slot {
    last: Mutex<Option<Arc<Crl>>>,
    /// Held by the one request that looks whether there is a newer one.
    looking: tokio::sync::Mutex<()>,
    /// Held by the one request that reads its bytes: a large list is not in memory once for each request.
    reading: tokio::sync::Mutex<()>,
    failed_at: Mutex<Option<Instant>>,
    /// What this process has just signed: served when the database says that it is in force, and not read again.
    signed: Mutex<Option<(CrlId, Bytes)>>,
    /// From which the next large list goes on.
    basis: Mutex<Option<(CrlId, Basis)>>,
}

fn hold<T>(guarded: &Mutex<T>) -> MutexGuard<'_, T> {
    // each guards one value that is replaced whole
    guarded.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ServedCrls {
    fn slot(&self, issuer: IssuerId) -> Arc<Slot> {
        Arc::clone(hold(&self.0).entry(issuer).or_default())
    }

    /// The CRL of this process that is served, and how its entries were read.
    pub(super) fn basis(&self, issuer: IssuerId) -> Option<(Arc<Crl>, Basis)> {
        let slot = self.slot(issuer);
        let (id, basis) = (*hold(&slot.basis))?;
        slot.last().filter(|crl| crl.id == id).map(|crl| (crl, basis))
    }

    pub(super) fn set_basis(&self, issuer: IssuerId, crl: CrlId, basis: Basis) {
        *hold(&self.slot(issuer).basis) = Some((crl, basis));
    }

    /// Lets every CRL be read as a whole again: the database has become another one.
    pub(in crate::authority) fn forget_bases(&self) {
        hold(&self.0).values().for_each(|slot| *hold(&slot.basis) = None);
    }

    /// The CRL that was served last, in DER.
    pub(in crate::authority) fn last_of(&self, issuer: IssuerId) -> Option<Bytes> {
        Some(self.slot(issuer).last()?.der.clone())
    }
}

impl Slot {
    fn last(&self) -> Option<Arc<Crl>> {
        hold(&self.last).clone()
    }

    fn signed(&self, id: CrlId) -> Option<Bytes> {
        hold(&self.signed).as_ref().filter(|(signed, _)| *signed == id).map(|(_, der)| der.clone())
    }

    fn rests(&self) -> bool {
        hold(&self.failed_at).is_some_and(|at| at.elapsed() < REST)
    }
}

impl Authority {
    /// The CRL in force of an issuer, by slug. It works while locked, and for a while without the database.
    pub async fn current_crl(&self, slug: &str) -> Result<Arc<Crl>> {
        let snapshot = self.snapshot();
        let loaded = snapshot.issuer(slug)?;
        if !loaded.signs_crls() {
            let detail = format!("CRL of {slug}: its certificate lacks the key usage cRLSign, so that it signs none");
            return Err(Error::not_found(detail));
        }
        let issuer = loaded.issuer.id;
        let slot = self.served.slot(issuer);
        let missing = || {
            Error::new(ErrorKind::Unavailable, format!("issuer {slug} has no CRL yet; try again in a few seconds"))
                .retry_after(Duration::from_secs(5))
        };
        let Some(last) = slot.last() else {
            return self.look_up(issuer, &slot).await?.ok_or_else(missing);
        };
        // while one request looks, the others need not
        let Ok(_looking) = slot.looking.try_lock() else { return self.still_good(last, slug) };
        if slot.rests() {
            return self.still_good(last, slug);
        }
        match self.look_up(issuer, &slot).await {
            Ok(found) => found.ok_or_else(missing),
            Err(error) => {
                *hold(&slot.failed_at) = Some(monotonic());
                tracing::warn!(issuer = slug, error = %error.chain(), "the CRL that was served last is served on");
                self.still_good(last, slug)
            }
        }
    }

    /// Commits a CRL and puts it in the place of the one that was served, which is not needed in memory any more.
    pub(super) async fn serve_once_stored(
        &self,
        issuer: IssuerId,
        id: CrlId,
        der: Bytes,
        commit: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        let slot = self.served.slot(issuer);
        // before the commit: a request right behind it would read a large list once more
        *hold(&slot.signed) = Some((id, der));
        let committed = commit.await;
        if committed.is_ok()
            && let Err(error) = self.look_up(issuer, &slot).await
        {
            tracing::debug!(error = %error.chain(), "a CRL that was just signed is served by the next request");
            return Ok(());
        }
        *hold(&slot.signed) = None;
        committed
    }

    fn still_good(&self, last: Arc<Crl>, slug: &str) -> Result<Arc<Crl>> {
        if last.next_update > self.store.now() {
            return Ok(last);
        }
        let detail =
            format!("the last CRL of issuer {slug} expired at {}, and the database cannot be read", last.next_update);
        Err(Error::new(ErrorKind::Unavailable, detail).retry_after(Duration::from_secs(5)))
    }

    async fn look_up(&self, issuer: IssuerId, slot: &Slot) -> Result<Option<Arc<Crl>>> {
        let (last, series) = (slot.last(), issuer.to_string());
        // a CRL may be pruned between the two reads
        for _ in 0..3 {
            let found = self.head(issuer, last.is_some()).await?;
            let number = found.as_ref().map(|(head, _)| head.number);
            if self.is_behind_served(&series, number).await? && self.is_gone(issuer, number).await? {
                return self.last_of_newer(issuer, slot, number);
            }
            let Some((head, modified)) = found else { return Ok(None) };
            if let Some(known) = last.as_ref().filter(|known| known.id == head.id) {
                return Ok(Some(Arc::clone(known)));
            }
            let signed = slot.signed(head.id);
            let _reading = match signed {
                Some(_) => None,
                None => Some(slot.reading.lock().await),
            };
            // another request, or the publication itself, may have put it there meanwhile
            if let Some(known) = slot.last().filter(|known| known.id == head.id) {
                return Ok(Some(known));
            }
            let der = match signed {
                Some(der) => der,
                None => {
                    let Some(der) = self.crl_bytes(&head).await? else { continue };
                    let der = Bytes::from(der);
                    if let Some(why) = self.fault_of_stored(&head, &der).await? {
                        tracing::error!(series, number = %head.number, why, "a CRL was changed in the database and is not served");
                        self.want_anew(&series);
                        return self.last_of_newer(issuer, slot, None);
                    }
                    der
                }
            };
            let crl = Arc::new(served(&head, der, modified));
            self.remember_served(&series, crl.number, &crl.der).await;
            *hold(&slot.last) = Some(Arc::clone(&crl));
            hold(&slot.signed).take_if(|(signed, _)| *signed == crl.id);
            return Ok(Some(crl));
        }
        Err(Error::new(ErrorKind::Unavailable, "the CRL changes too fast").retry_after(Duration::from_secs(1)))
    }

    /// Returns the CRL to serve while the database holds an older one than was served before, or one that was changed. That
    /// is the newer CRL from memory, or the one that is kept beside the anchor: the older one lacks revocations that clients
    /// already know.
    fn last_of_newer(&self, issuer: IssuerId, slot: &Slot, than: Option<CrlNumber>) -> Result<Option<Arc<Crl>>> {
        let is_newer = |crl: &Crl| than.is_none_or(|than| crl.number > than) && crl.next_update > self.store.now();
        if let Some(last) = slot.last().filter(|last| is_newer(last)) {
            return Ok(Some(last));
        }
        let kept = self.anchor.kept(&issuer.to_string()).and_then(|der| self.read_kept(issuer, der));
        match kept.filter(is_newer) {
            Some(crl) => {
                let crl = Arc::new(crl);
                *hold(&slot.last) = Some(Arc::clone(&crl));
                Ok(Some(crl))
            }
            None => self.store.check_history().map(|()| None),
        }
    }

    /// A CRL from beside the anchor, if it is one of this issuer.
    fn read_kept(&self, issuer: IssuerId, der: Bytes) -> Option<Crl> {
        let snapshot = self.snapshot();
        let facts = CrlFacts::parse(&der).ok()?;
        facts.verify(snapshot.issuer_by_id(issuer)?.public_key()).ok()?;
        let head = CrlHead {
            // no row has it
            id: CrlId::from_bytes([0; 16]),
            issuer_id: issuer,
            number: facts.crl_number()?,
            this_update: facts.this_update,
            next_update: facts.next_update?,
            entries: i64::try_from(facts.count).ok()?,
            created_at: facts.this_update,
            size: i64::try_from(der.len()).ok()?,
            sealed: false,
            starts_at: facts.this_update,
        };
        Some(served(&head, der.clone(), None))
    }

    async fn head(&self, issuer: IssuerId, hurried: bool) -> Result<Option<(CrlHead, Option<Timestamp>)>> {
        let asking = crls::latest(&self.store, issuer, self.store.now());
        let known = match hurried {
            false => asking.await?,
            true => tokio::time::timeout(PATIENCE, asking).await.map_err(|e| {
                Error::new(ErrorKind::Unavailable, "the database did not answer in time").because(e)
            })??,
        };
        Ok(known.split_first().map(|(head, others)| (head.clone(), modified(head, others))))
    }
}

/// If-Modified-Since compares whole seconds: with two CRLs of one second it would keep a client at the older one.
fn modified(head: &CrlHead, others: &[CrlHead]) -> Option<Timestamp> {
    others.iter().all(|other| other.starts_at.secs() < head.starts_at.secs()).then_some(head.starts_at)
}

fn served(head: &CrlHead, der: Bytes, modified: Option<Timestamp>) -> Crl {
    let hash = to_hex(digest(&SHA256, &der).as_ref());
    Crl {
        id: head.id,
        number: head.number,
        this_update: head.this_update,
        next_update: head.next_update,
        signed_at: head.created_at,
        entries: head.entries,
        der,
        tag: hash.get(..32).unwrap_or_default().to_owned(),
        modified,
    }
}
