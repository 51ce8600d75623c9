//! One indirect CRL of each trust domain (RFC 5280 §5.2.5, §5.3.3), for programs that read a single list, such as etcd,
//! which compares serials alone. It holds what every issuer of the domain revoked, issuers that were removed and roots
//! among them, and every certificate of an issuer whose own certificates are all revoked. No certificate points to it.
//! Like an issuer's CRL, a second one stands ready, sealed, for the time that a server may be locked.
//! Built outside of any transaction and stored by compare-and-swap on its counter: running twice is harmless, because
//! the second finds nothing due or another counter.

mod entries;
mod served;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::Authority;
use super::crl::{CRL_EVERY, LARGE, READY_WAITS, Window, seal, too_soon};
use super::snapshot::{LoadedIssuer, Snapshot};
use crate::clock::{Timestamp, monotonic};
use crate::error::Result;
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::crl::CrlNumber;
use crate::model::issuer::IssuerRole;
use crate::model::key::SignatureAlgorithm;
use crate::pki::crl::{CrlEntries, CrlInput, CrlScope, prepare_crl};
use crate::pki::issuer::IssuerKey;
use crate::store::domain_crls::{self, DomainCrlAhead, DomainCrlHead};
use crate::store::history::domain_series;
use crate::store::{hierarchy, versions};

pub use served::DomainCrl;
pub(super) use served::other_than_its_row;

/// The name under which the status seal binds a list that stands ready, together with its domain and counter.
const LABEL: &str = "domain-crl";

/// For how long a large list lets issuers' CRLs go first: those are what most verifiers wait for.
const GIVES_WAY_FOR: Duration = Duration::from_secs(30);

/// What this process knows of domains' lists. Each mutex guards its map alone.
#[derive(Debug, Default)]
pub(super) struct DomainCrls {
    /// As last read, by domain.
    served: Mutex<HashMap<String, Arc<DomainCrl>>>,
    /// The versions of revocations and of the hierarchy at which a domain's list was found to be whole.
    seen: Mutex<HashMap<String, (i64, i64)>>,
    /// When the one for later of a large list was signed.
    ready_signed: Mutex<HashMap<String, Timestamp>>,
    /// The counter of a large list of this process, whose number is kept for the one that is to stand ready.
    reserved: Mutex<HashMap<String, i64>>,
    /// Held by the one request that reads the bytes of a list.
    reading: tokio::sync::Mutex<()>,
}

fn hold<T>(guarded: &Mutex<T>) -> MutexGuard<'_, T> {
    guarded.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DomainCrls {
    fn served(&self, domain: &str) -> Option<Arc<DomainCrl>> {
        hold(&self.served).get(domain).cloned()
    }

    fn seen(&self, domain: &str) -> Option<(i64, i64)> {
        hold(&self.seen).get(domain).copied()
    }

    /// The list that was served last, in DER.
    pub(super) fn last_of(&self, domain: &str) -> Option<Bytes> {
        self.served(domain).map(|list| list.der.clone())
    }

    fn see(&self, domain: &str, version: (i64, i64)) {
        hold(&self.seen).insert(domain.to_owned(), version);
    }
}

/// One publication of a list.
struct Publication<'a> {
    domain: &'a str,
    signer: &'a LoadedIssuer,
    key: &'a IssuerKey,
    before: Option<&'a DomainCrlHead>,
    content: String,
    now: Timestamp,
}

impl Authority {
    /// Publishes the list of every domain whose revocations or signer changed, or whose list is old. Returns how many.
    /// A domain whose list cannot be published does not keep the others waiting.
    pub async fn publish_domains_due(&self) -> Result<usize> {
        if !self.store.may_sign().await? {
            return Ok(0);
        }
        let (mut published, mut failed) = (0, None);
        let snapshot = self.snapshot();
        // read before what it covers: a change in between is found by the next turn
        let version = (versions::read(&self.store).await?.revocations, snapshot.versions.hierarchy);
        let known = domain_crls::heads(&self.store).await?;
        for domain in &snapshot.domains {
            let Some(signer) = signer(&snapshot, &domain.slug, self.store.now()) else { continue };
            let before = known.iter().find(|head| head.domain == domain.slug);
            match self.publish_domain_if_due(&snapshot, &domain.slug, &signer, before, version).await {
                Ok(done) => published += usize::from(done),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(published), Err)
    }

    async fn publish_domain_if_due(
        &self,
        snapshot: &Snapshot,
        domain: &str,
        signer: &LoadedIssuer,
        before: Option<&DomainCrlHead>,
        version: (i64, i64),
    ) -> Result<bool> {
        let now = self.store.now();
        let is_wanted = self.take_wanted(&domain_series(domain));
        let young = before.filter(|_| !is_wanted).filter(|head| {
            head.issuer_id == signer.issuer.id && head.created_at <= now && now.since(head.created_at) < every(signer)
        });
        let waits = young.is_some_and(|head| self.wants_ready_list(head, now));
        if young.is_some() && !waits && self.domain_crls.seen(domain) == Some(version) {
            return Ok(false);
        }
        if before.is_some_and(|head| too_soon(head.plausible_entries(), head.created_at, now)) {
            return Ok(false);
        }
        let Some(key) = signer.key.as_deref() else { return Ok(false) };
        let content = self.content(snapshot, domain).await?;
        let publication = Publication { domain, signer, key, before, content, now };
        if let Some(head) = young.filter(|head| head.content == publication.content) {
            if waits {
                self.ready_list(snapshot, &publication, head).await?;
            }
            self.domain_crls.see(domain, version);
            return Ok(false);
        }
        let stored = self.publish_domain(snapshot, &publication).await?;
        if stored {
            self.domain_crls.see(domain, version);
        }
        Ok(stored)
    }

    /// Does none stand ready? That of a large list is not signed with each publication.
    fn wants_ready_list(&self, head: &DomainCrlHead, now: Timestamp) -> bool {
        let signed_at = hold(&self.domain_crls.ready_signed).get(&head.domain).copied();
        let rests =
            head.plausible_entries() > LARGE && signed_at.is_some_and(|at| at <= now && now.since(at) < READY_WAITS);
        head.ahead.is_none() && !rests && self.can_seal()
    }

    async fn publish_domain(&self, snapshot: &Snapshot, publication: &Publication<'_>) -> Result<bool> {
        let Publication { domain, signer, key, before, now, .. } = publication;
        let octets = before.map_or(0, |head| usize::try_from(head.size).unwrap_or(0));
        // one list at a time in this process: a large one fills memory
        let _turn = self.publication.lock().await;
        if self.gives_way(snapshot, *before).await? {
            return Ok(false);
        }
        let started = monotonic();
        let entries = self.domain_entries(snapshot, domain, *now, octets).await?;
        if self.gives_way(snapshot, *before).await? {
            return Ok(false);
        }
        let read = started.elapsed();
        let count = entries.count();
        let number = before.map_or(0, |head| head.counter) + 1;
        let publishing = self.publishing().lasting(signer.lifetimes);
        let window = publishing.window_after(*now, before.map(|head| head.this_update), key);
        let both = self.can_seal() && i64::try_from(count).is_ok_and(|count| count <= LARGE);
        let ahead = match both {
            true => Some(self.sign_ready_list(publication, number + 1, entries.clone()).await?),
            false => None,
        };
        let der = Bytes::from(self.sign_list(publication, number, window, entries).await?);
        let signed = started.elapsed();
        // to move the counter later, SQLite would write all of a large row anew and hold it in memory twice
        let reserves = ahead.is_none() && self.can_seal();
        let counter = number + i64::from(ahead.is_some() || reserves);
        let list = DomainCrlHead {
            domain: (*domain).to_owned(),
            counter,
            issuer_id: signer.issuer.id,
            content: publication.content.clone(),
            this_update: window.this_update,
            next_update: window.next_update,
            entries: i64::try_from(count).unwrap_or(i64::MAX),
            created_at: *now,
            size: i64::try_from(der.len()).unwrap_or(i64::MAX),
            ahead: None,
        };
        let mut tx = self.store.begin(&Actor::job("crl")).await?;
        if !domain_crls::replace(&mut tx, before.map(|head| head.counter), &list, der.clone()).await? {
            return Ok(false);
        }
        // one that stood ready lacks what this one lists
        domain_crls::replace_ahead(&mut tx, domain, counter, ahead).await?;
        let detail = json!({"domain": domain, "number": number, "entries": count, "issuer": signer.issuer.slug});
        tx.audit(AuditEvent::done("crl.published", format!("domain:{domain}"), detail));
        tx.commit().await?;
        if reserves {
            hold(&self.domain_crls.reserved).insert((*domain).to_owned(), counter);
        }
        self.remember_list(domain, &der).await;
        self.domain_crls.take_over(&list, der);
        tracing::debug!(domain, entries = count, ?read, ?signed, stored = ?started.elapsed(), "the list of a domain was published");
        Ok(true)
    }

    /// Does a CRL wait that is to be out before the next of these lists? A small list keeps nobody waiting.
    async fn gives_way(&self, snapshot: &Snapshot, before: Option<&DomainCrlHead>) -> Result<bool> {
        let now = self.store.now();
        let yields = |head: &DomainCrlHead| {
            head.plausible_entries() > LARGE && head.created_at <= now && now.since(head.created_at) < GIVES_WAY_FOR
        };
        if !before.is_some_and(yields) {
            return Ok(false);
        }
        let signs = |id| snapshot.issuer_by_id(id).is_some_and(|loaded| loaded.key.is_some());
        Ok(hierarchy::issuers(&self.store).await?.iter().any(|issuer| issuer.crl_dirty && signs(issuer.id)))
    }

    /// Signs the one for later alone: of a large list, or where an older replica published without one.
    async fn ready_list(
        &self,
        snapshot: &Snapshot,
        publication: &Publication<'_>,
        head: &DomainCrlHead,
    ) -> Result<()> {
        let Publication { domain, now, .. } = publication;
        hold(&self.domain_crls.ready_signed).insert((*domain).to_owned(), *now);
        let octets = usize::try_from(head.size).unwrap_or(0);
        let _turn = self.publication.lock().await;
        let entries = self.domain_entries(snapshot, domain, *now, octets).await?;
        // another process cannot know that a number was kept, and takes the next one
        let reserved = hold(&self.domain_crls.reserved).get(*domain) == Some(&head.counter);
        let number = head.counter + i64::from(!reserved);
        let ahead = self.sign_ready_list(publication, number, entries).await?;
        let mut tx = self.store.begin(&Actor::job("crl")).await?;
        let own = match reserved {
            true => domain_crls::lock_without_ahead(&mut tx, domain, number).await?,
            false => domain_crls::advance(&mut tx, domain, head.counter, number).await?,
        };
        if !own {
            return Ok(());
        }
        domain_crls::replace_ahead(&mut tx, domain, number, Some(ahead)).await?;
        tx.commit().await
    }

    async fn sign_ready_list(
        &self,
        publication: &Publication<'_>,
        number: i64,
        entries: CrlEntries,
    ) -> Result<(DomainCrlAhead, Vec<u8>)> {
        let window = self.publishing().lasting(publication.signer.lifetimes).ready(publication.now);
        let count = i64::try_from(entries.count()).unwrap_or(i64::MAX);
        let der = self.sign_list(publication, number, window, entries).await?;
        let sealed = self.keys.seal_status(LABEL, &seal_id(publication.domain, number), der)?;
        let ahead = DomainCrlAhead {
            starts_at: window.starts_at.unwrap_or(publication.now),
            this_update: window.this_update,
            next_update: window.next_update,
            entries: count,
            size: i64::try_from(sealed.len()).unwrap_or(i64::MAX),
        };
        Ok((ahead, sealed))
    }

    async fn sign_list(
        &self,
        publication: &Publication<'_>,
        number: i64,
        window: Window,
        entries: CrlEntries,
    ) -> Result<Vec<u8>> {
        let Publication { domain, signer, key, .. } = publication;
        let epoch = hierarchy::installation(&self.store).await?.map_or(0, |i| i.epoch);
        let url = url(&signer.issuer.status_url, domain);
        let input = CrlInput {
            issuer_name: key.subject(),
            authority_key_id: key.key_id(),
            algorithm: SignatureAlgorithm::for_key(key.signer().algorithm()),
            this_update: window.this_update,
            next_update: window.next_update,
            number: list_number(epoch, number),
            scope: CrlScope::Indirect(&url),
            expired_certs_on_crl: None,
        };
        let count = entries.count();
        self.store.check_signing()?;
        seal(prepare_crl(&input, entries)?, key.signer().clone(), count).await
    }
}

/// The CRL number of a list: its place in the domain's own series.
pub(super) fn list_number(epoch: i64, number: i64) -> CrlNumber {
    CrlNumber::new(u64::try_from(epoch).unwrap_or(0), u64::try_from(number).unwrap_or(0))
}

/// A sealed list opens as the one of its domain and number alone.
fn seal_id(domain: &str, number: i64) -> Vec<u8> {
    [&number.to_be_bytes(), domain.as_bytes()].concat()
}

/// How often a list is made anew when nothing changed: as often as the CRL of its signer, and at least as often as entries of
/// expired certificates need (`KEPT_PAST_END`).
fn every(signer: &LoadedIssuer) -> Duration {
    signer.lifetimes.crl_interval().min(CRL_EVERY)
}

/// Where a domain's list is served.
pub fn url(status_url: &str, domain: &str) -> String {
    format!("{status_url}/crl/domain/{domain}.crl")
}

pub(super) fn of_domain<'a>(snapshot: &'a Snapshot, domain: &'a str) -> impl Iterator<Item = &'a LoadedIssuer> {
    snapshot.issuers.values().map(AsRef::as_ref).filter(move |loaded| loaded.issuer.domain == domain)
}

/// Who signs the list: the issuer that signs for the domain; when it cannot, another one that is not revoked; else a
/// revoked one, which publishes on: programs that compare serials alone must learn of what it signed.
fn signer(snapshot: &Snapshot, domain: &str, now: Timestamp) -> Option<Arc<LoadedIssuer>> {
    let fits = |loaded: &Arc<LoadedIssuer>| {
        loaded.issuer.domain == domain
            && loaded.issuer.role == IssuerRole::Issuing
            && loaded.key.is_some()
            && loaded.certificates.first().is_some_and(|c| c.not_after > now)
    };
    let first = snapshot.signers(domain, now).into_iter().find(|loaded| fits(loaded)).cloned();
    let ends =
        |loaded: &&Arc<LoadedIssuer>| (loaded.revoked_at.is_none(), loaded.certificates.first().map(|c| c.not_after));
    first.or_else(|| snapshot.issuers.values().filter(|loaded| fits(loaded)).max_by_key(ends).cloned())
}
