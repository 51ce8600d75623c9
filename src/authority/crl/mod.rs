//! Publishing CRLs (RFC 5280 §5). What an issuer revoked is read and signed outside any transaction, so that a large
//! list does not stop issuing; two short transactions stand around it. The first takes over the issuer's dirt and the
//! number that was used last, the second stores the CRL if that number has not moved: running twice is harmless,
//! because of two one is stored and the other begins again or finds nothing due. A revocation that comes in between
//! marks the issuer dirty again, and a process that dies leaves it due.

mod ahead;
mod growth;
mod in_force;
mod milder;
mod rows;
mod series;

use std::time::Duration;

use super::Authority;
use crate::clock::{Timestamp, hours, minutes};
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::crl::CrlNumber;
use crate::model::id::IssuerId;
use crate::model::issuer::Issuer;
use crate::model::status_lifetimes::StatusLifetimes;
use crate::pki::crl::CrlEntries;
use crate::pki::issuer::IssuerKey;
use crate::store::crls::{self, CrlHead};
use crate::store::{Tx, hierarchy, revocations, status_lifetimes};

use growth::Basis;
pub use in_force::Crl;
pub(super) use in_force::ServedCrls;
pub(super) use rows::{LARGE_OCTETS, SKEW, other_than_its_row};
pub use series::{Publishing, Reader, collect, sign_first, sign_root_series};
use series::{SignedCrl, sign_last, store_signed};
pub(super) use series::{Window, counter_after, push_listed, seal};

/// How long a CRL is in force where no operator set it.
pub const CRL_LIFE: Duration = StatusLifetimes::DEFAULT.crl;
/// How often one is then published when nothing was revoked.
pub const CRL_EVERY: Duration = hours(6);
/// thisUpdate of CRL and OCSP lies so far back: verifiers whose clock is behind would refuse what comes from their
/// future (OpenSSL's CRL check allows no skew).
pub const BACKDATE: Duration = minutes(5);
/// A revoked certificate stays on the list for at least one CRL past its end.
pub(super) const KEPT_PAST_END: Duration = hours(30);
/// 9999-12-31T23:59:59Z: RFC 5280 §4.1.2.5 has no later time.
const FOR_EVER: Timestamp = Timestamp::from_secs(253_402_300_799);
/// How long the end of an issuer's last certificate is not looked up again.
const OVER_FOR: Duration = hours(1);
/// A list with more entries is large: its publications keep a distance, and the CRL for later is signed apart.
pub(super) const LARGE: i64 = 10_000;
/// How often the one for later of a large list is signed at most.
pub(super) const READY_WAITS: Duration = minutes(10);

/// The CRLs that one publication signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signs {
    Both,
    InForce,
    Ready,
}

/// A publication between its two transactions.
struct Begun {
    issuer: Issuer,
    /// When it began: what was revoked before is on the list.
    now: Timestamp,
    last: Option<CrlHead>,
    /// The highest number used; the CRL is stored only if it still is.
    number: CrlNumber,
    epoch: u64,
}

enum Outcome {
    Published,
    NothingDue,
    /// Another one was faster, and perhaps lists less.
    Overtaken,
}

impl Authority {
    /// Publishes the CRL of every issuer whose key is at hand and whose CRL is dirty or old. Returns how many. One
    /// that cannot be published does not keep the others waiting: the first such error comes when all were tried.
    pub async fn publish_due(&self) -> Result<usize> {
        // one at a time in this process: who waited mostly finds nothing due
        let _turn = self.publication.lock().await;
        if !self.store.may_sign().await? {
            return Ok(0);
        }
        let (mut published, mut failed) = (0, self.put_future_aside().await.err());
        failed = failed.or(self.outdate_crls().await.err());
        let snapshot = self.snapshot();
        for issuer in hierarchy::issuers(&self.store).await? {
            let Some(loaded) = snapshot.issuer_by_id(issuer.id) else { continue };
            let Some(key) = loaded.key.clone().filter(|key| key.signs_crls()) else { continue };
            // on the heap: what a publication holds over its waits is large
            match Box::pin(self.publish_if_due(&issuer, &key, loaded.lifetimes)).await {
                Ok(done) => published += usize::from(done),
                Err(error) => {
                    metrics::counter!("chancery_crl_publish_failures_total", "issuer" => issuer.slug.clone())
                        .increment(1);
                    failed = failed.or(Some(error));
                }
            }
        }
        failed.map_or(Ok(published), Err)
    }

    async fn publish_if_due(&self, issuer: &Issuer, key: &IssuerKey, lifetimes: StatusLifetimes) -> Result<bool> {
        let now = self.store.now();
        let last = crls::in_force(&self.store, issuer.id, now).await?;
        let is_dirty = issuer.crl_dirty || self.renew_changed(issuer, last.as_ref()).await?;
        let due = is_due(last.as_ref(), now, lifetimes);
        if !is_dirty && due && self.has_ended(issuer, key).await? {
            return self.publish_last(issuer, key, last.as_ref()).await;
        }
        let large = last.as_ref().is_some_and(|crl| crl.plausible_entries() > LARGE);
        let signs = match (is_dirty || due, large) {
            (true, false) => Signs::Both,
            (true, true)
                if last.as_ref().is_some_and(|crl| too_soon(crl.plausible_entries(), crl.created_at, now)) =>
            {
                return Ok(false);
            }
            (true, true) => Signs::InForce,
            (false, _) if self.wants_ready(issuer.id, last.as_ref(), now).await? => Signs::Ready,
            (false, _) => return Ok(false),
        };
        const TRIES: u32 = 3;
        for _ in 0..TRIES {
            let started = crate::clock::monotonic();
            match Box::pin(self.publish(issuer.id, key, signs)).await? {
                Outcome::Published => {
                    metrics::histogram!("chancery_crl_publish_duration_seconds", "issuer" => issuer.slug.clone())
                        .record(started.elapsed());
                    return Ok(signs != Signs::Ready);
                }
                Outcome::NothingDue => return Ok(false),
                Outcome::Overtaken => {}
            }
        }
        Ok(false)
    }

    /// Will nothing that an issuer signed be valid any more? Its own certificate has expired, or it signs nothing and its
    /// last certificate has expired.
    async fn has_ended(&self, issuer: &Issuer, key: &IssuerKey) -> Result<bool> {
        let expired = key.validity().not_after() + KEPT_PAST_END < self.store.now();
        Ok(expired || issuer.state.is_over_without_certificates() && self.is_over(issuer.id).await?)
    }

    /// The last CRL of an issuer that has ended, once. That of code-signing and timestamping never expires: signatures are
    /// verified long after (ETSI EN 319 411-1 §6.3.9).
    async fn publish_last(&self, issuer: &Issuer, key: &IssuerKey, last: Option<&CrlHead>) -> Result<bool> {
        let until = if series::retains(issuer, key) { FOR_EVER } else { key.validity().not_after() };
        if last.is_some_and(|crl| crl.next_update >= until) || until <= self.store.now() {
            return Ok(false);
        }
        let mut tx = self.store.begin(&Actor::job("crl")).await?;
        let locked = hierarchy::lock_issuer(&mut tx, issuer.id).await?;
        let locked = locked.ok_or_else(|| Error::inconsistent("an issuer vanished while its last CRL was made"))?;
        let now = tx.now();
        // another replica may have done it while we waited for the row
        if locked.crl_dirty
            || crls::in_force(&mut tx, issuer.id, now).await?.is_some_and(|crl| crl.next_update >= until)
        {
            return Ok(false);
        }
        sign_last(&mut tx, &self.publishing(), &locked, key, until).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Does no CRL stand ready for the time that the server may be locked? Looked at for large lists alone, whose one
    /// for later is not signed with each publication.
    async fn wants_ready(&self, issuer: IssuerId, last: Option<&CrlHead>, now: Timestamp) -> Result<bool> {
        let large = last.is_some_and(|crl| crl.plausible_entries() > LARGE && !crl.sealed);
        let signed_at = || self.ready_signed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let waits = signed_at().get(&issuer).is_some_and(|at| now.since(*at) < READY_WAITS);
        if !large || waits || !self.can_seal() || crls::has_ahead(&self.store, issuer, now).await? {
            return Ok(false);
        }
        signed_at().insert(issuer, now);
        Ok(true)
    }

    /// Has the last certificate of an issuer expired? Asked of those that sign no more, by probes every few seconds: a
    /// full scan, and so once an hour.
    pub(super) async fn is_over(&self, id: IssuerId) -> Result<bool> {
        let now = self.store.now();
        let known = || self.over.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let seen = known().get(&id).copied().filter(|(seen, _)| now.since(*seen) < OVER_FOR);
        let last = match seen {
            Some((_, last)) => last,
            None => {
                let last = hierarchy::last_end(&self.store, id).await?;
                known().insert(id, (now, last));
                last
            }
        };
        Ok(last.is_none_or(|end| end + KEPT_PAST_END < now))
    }

    async fn publish(&self, id: IssuerId, key: &IssuerKey, signs: Signs) -> Result<Outcome> {
        let begun = self.begin_publication(id, key, signs).await?;
        let Some((begun, lifetimes)) = begun else { return Ok(Outcome::NothingDue) };
        let started = crate::clock::monotonic();
        let (entries, basis) = Box::pin(self.read_entries(&begun)).await?;
        let (read, listed) = (started.elapsed(), entries.count());
        let (now, publishing) = (begun.now, self.publishing().lasting(lifetimes));
        let mut number = begun.number;
        let mut signed = Vec::with_capacity(2);
        let windows = match signs {
            // a list that has become large is not in memory twice
            Signs::Both if publishing.can_seal() && i64::try_from(listed).is_ok_and(|count| count <= LARGE) => {
                vec![publishing.window_from(now, begun.last.as_ref(), key), publishing.ready(now)]
            }
            Signs::Both | Signs::InForce => vec![publishing.window_from(now, begun.last.as_ref(), key)],
            Signs::Ready => vec![publishing.ready(now)],
        };
        let count = windows.len();
        let mut entries = Some(entries);
        for (at, window) in windows.into_iter().enumerate() {
            number = number.next().ok_or_else(no_numbers)?;
            // the last one takes the entries: a large list is not in memory twice
            let own = if at + 1 == count { entries.take() } else { entries.clone() };
            let own = own.unwrap_or_default();
            signed.push(Box::pin(series::sign(&begun.issuer, key, number, window, own)).await?);
        }
        let small = i64::try_from(listed).is_ok_and(|count| count <= LARGE);
        if let Some(next) = signed.first().filter(|_| small)
            && self.restores_milder(id, &next.der).await?
        {
            tracing::error!(issuer = %begun.issuer.slug, "revocations were changed in the database and are put back; the CRL is made anew");
            return Ok(Outcome::Overtaken);
        }
        let (issuer, sealed) = (begun.issuer.slug.clone(), started.elapsed());
        let outcome = Box::pin(self.finish_publication(begun, signed, basis)).await;
        tracing::debug!(issuer, entries = listed, ?read, signed = ?sealed, stored = ?started.elapsed(), "a CRL was published");
        outcome
    }

    /// What the CRL lists, and how that was read.
    async fn read_entries(&self, begun: &Begun) -> Result<(CrlEntries, Basis)> {
        let (issuer, now, last) = (&begun.issuer, begun.now, begun.last.as_ref());
        let octets = last.map_or(0, |crl| usize::try_from(crl.size).unwrap_or(0));
        if let (entries, Some(basis)) = self.grow(issuer.id, CrlEntries::with_octets(octets)).await? {
            return Ok((entries, basis));
        }
        // before the entries: a change in between has the next list read as a whole once more
        let changes = revocations::changes(&self.store, issuer.id).await?;
        let basis = Basis { alive_at: series::listed_from(issuer, now, last), read_at: now, whole_at: now, changes };
        Ok((collect(series::Reader::Store(&self.store), issuer, now, last).await?, basis))
    }

    /// The first transaction: is there something to do, and from where does it go on?
    async fn begin_publication(
        &self,
        id: IssuerId,
        key: &IssuerKey,
        signs: Signs,
    ) -> Result<Option<(Begun, StatusLifetimes)>> {
        let mut tx = self.store.begin(&Actor::job("crl")).await?;
        let issuer = hierarchy::lock_issuer(&mut tx, id).await?;
        let issuer = issuer.ok_or_else(|| Error::inconsistent("an issuer vanished while its CRL was made"))?;
        let now = tx.now();
        let last = crls::in_force(&mut tx, id, now).await?;
        // with the dirt: this process may not have heard of those that made it
        let lifetimes = status_lifetimes::of(&mut tx, id).await?;
        // another replica may have done it while we waited for the row
        let due = issuer.crl_dirty || is_due(last.as_ref(), now, lifetimes);
        // what is dirty needs a CRL in force, and the one for later would take its dirt away
        if due == (signs == Signs::Ready) {
            return Ok(None);
        }
        let begun = begin(&mut tx, issuer, key, now, last).await?;
        tx.commit().await?;
        Ok(Some((begun, lifetimes)))
    }

    /// The second transaction.
    async fn finish_publication(&self, begun: Begun, signed: Vec<SignedCrl>, basis: Basis) -> Result<Outcome> {
        self.store.check_signing()?;
        let mut tx = self.store.begin(&Actor::job("crl")).await?;
        let id = begun.issuer.id;
        hierarchy::lock_issuer(&mut tx, id).await?;
        if epoch(&mut tx).await? != begun.epoch {
            return Ok(Outcome::Overtaken);
        }
        let state = crls::state(&mut tx, id, begun.epoch).await?;
        if planted!("crl-stored-over-a-newer-one", false, state.number != begun.number) {
            return Ok(Outcome::Overtaken);
        }
        let in_force = store_signed(&mut tx, &self.publishing(), &begun, state.counter, signed).await?;
        match in_force {
            None => tx.commit().await?,
            Some((crl, der)) => {
                self.serve_once_stored(id, crl, der, tx.commit()).await?;
                self.served.set_basis(id, crl, basis);
            }
        }
        Ok(Outcome::Published)
    }
}

/// Takes over the dirt of an issuer whose row is locked.
async fn begin(
    tx: &mut Tx,
    mut issuer: Issuer,
    key: &IssuerKey,
    now: Timestamp,
    last: Option<CrlHead>,
) -> Result<Begun> {
    tx.store().check_signing()?;
    let epoch = epoch(tx).await?;
    let retains = series::retains(&issuer, key);
    crls::begin(tx, issuer.id, retains.then_some(now)).await?;
    let state = crls::state(tx, issuer.id, epoch).await?;
    if issuer.crl_retained_since != state.retained_since {
        issuer.crl_retained_since = state.retained_since;
        // OCSP says it too
        crate::store::versions::bump(&mut *tx, crate::store::versions::Topic::Hierarchy).await?;
    }
    Ok(Begun { issuer, now, last, number: state.number, epoch })
}

async fn epoch(tx: &mut Tx) -> Result<u64> {
    Ok(hierarchy::installation(tx).await?.map_or(0, |i| u64::try_from(i.epoch).unwrap_or(0)))
}

/// By the time of signing: thisUpdate is backdated, and that of a CRL made ready lies after it.
fn is_due(last: Option<&CrlHead>, now: Timestamp, lifetimes: StatusLifetimes) -> bool {
    last.is_none_or(|crl| now.since(crl.created_at) >= lifetimes.crl_interval())
}

/// Large lists are published at a distance that grows with them: 2 s for a million entries. What was revoked meanwhile
/// is in the next one.
pub(super) fn too_soon(entries: i64, signed_at: Timestamp, now: Timestamp) -> bool {
    const PER_ENTRY: Duration = Duration::from_micros(2);
    let distance = PER_ENTRY * u32::try_from(entries).unwrap_or(u32::MAX);
    entries > LARGE && signed_at <= now && now.since(signed_at) < distance
}

fn no_numbers() -> Error {
    Error::new(
        ErrorKind::Inconsistent,
        "the CRL numbers of an issuer are used up; make its successor with `chancery ca create`",
    )
}
