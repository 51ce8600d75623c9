//! One indirect CRL of each trust domain (RFC 5280 §5.2.5, §5.3.3), for programs that read a single list, such as etcd,
//! which compares serials alone. It holds what every issuer of the domain revoked, issuers that were removed and roots
//! among them, and every certificate of an issuer whose own certificates are all revoked. No certificate points to it.
//! Built outside of any transaction and stored by compare-and-swap on its counter: running twice is harmless, because
//! the second finds nothing due or another counter.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::Authority;
use super::crl::{CRL_EVERY, CRL_LIFE};
use super::snapshot::{LoadedIssuer, Snapshot};
use crate::clock::{Timestamp, hours};
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::crl::CrlNumber;
use crate::model::id::CertificateId;
use crate::model::identifier::shown;
use crate::model::issuer::IssuerRole;
use crate::model::key::SignatureAlgorithm;
use crate::model::reason::RevocationReason;
use crate::model::serial::SerialNumber;
use crate::pki::crl::{CrlEntries, CrlInput, CrlScope, prepare_crl, seal_crl};
use crate::pki::issuer::IssuerKey;
use crate::store::domain_crls::{self, DomainCrlHead};
use crate::store::{hierarchy, revocations, versions};

const PAGE: i64 = 2_000;
/// A revoked certificate stays on the list for at least one list past its end.
const KEPT_PAST_END: Duration = hours(30);

/// A domain's list as it is served.
#[derive(Debug)]
pub struct DomainCrl {
    pub counter: i64,
    pub der: Vec<u8>,
    pub this_update: Timestamp,
    pub next_update: Timestamp,
}

/// What this process knows of domains' lists.
#[derive(Debug, Default)]
pub(super) struct DomainCrls {
    /// As last read, by domain.
    served: Mutex<HashMap<String, Arc<DomainCrl>>>,
    /// The versions of revocations and of the hierarchy at which a domain's list was found to be whole.
    seen: Mutex<HashMap<String, (i64, i64)>>,
}

impl DomainCrls {
    fn served(&self, domain: &str) -> Option<Arc<DomainCrl>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).get(domain).cloned()
    }

    fn seen(&self, domain: &str) -> Option<(i64, i64)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(domain).copied()
    }

    fn see(&self, domain: &str, version: (i64, i64)) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(domain.to_owned(), version);
    }
}

impl Authority {
    /// Publishes the list of every domain whose revocations or signer changed, or whose list is old. Returns how many.
    /// A domain whose list cannot be published does not keep the others waiting.
    pub async fn publish_domains_due(&self) -> Result<usize> {
        if !self.store.is_clock_right().await? {
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
        let young = before.filter(|head| {
            head.issuer_id == signer.issuer.id && now.since(head.this_update) < CRL_EVERY && head.this_update <= now
        });
        if young.is_some() && self.domain_crls.seen(domain) == Some(version) {
            return Ok(false);
        }
        let content = self.content(snapshot, domain).await?;
        if young.is_some_and(|head| head.content == content) {
            self.domain_crls.see(domain, version);
            return Ok(false);
        }
        let Some(key) = signer.key.as_deref() else { return Ok(false) };
        let stored = self.publish_domain(snapshot, domain, (signer, key), before, content).await?;
        if stored {
            self.domain_crls.see(domain, version);
        }
        Ok(stored)
    }

    /// How many revocations each issuer of a domain has, and which issuers are revoked themselves.
    async fn content(&self, snapshot: &Snapshot, domain: &str) -> Result<String> {
        let mut parts = Vec::new();
        for loaded in of_domain(snapshot, domain) {
            let count = domain_crls::count(&self.store, loaded.issuer.id).await?;
            parts.push(format!(
                "{}:{count}{}",
                loaded.issuer.slug,
                if loaded.revoked_at.is_some() { "!" } else { "" }
            ));
        }
        Ok(parts.join(","))
    }

    async fn publish_domain(
        &self,
        snapshot: &Snapshot,
        domain: &str,
        (signer, key): (&LoadedIssuer, &IssuerKey),
        before: Option<&DomainCrlHead>,
        content: String,
    ) -> Result<bool> {
        let now = self.store.now();
        let entries = self.domain_entries(snapshot, domain, now).await?;
        let count = i64::try_from(entries.count()).unwrap_or(i64::MAX);
        let counter = before.map_or(0, |head| head.counter) + 1;
        let epoch = hierarchy::installation(&self.store).await?.map_or(0, |i| i.epoch);
        let number = CrlNumber::new(u64::try_from(epoch).unwrap_or(0), u64::try_from(counter).unwrap_or(0));
        // as of every CRL: it lies back, not before the signer's own beginning, and does not go back when a clock did
        let back = (now - self.crl_backdate).max(key.validity().not_before()).min(now);
        let this_update = before.map_or(back, |head| back.max(head.this_update));
        let next_update = now + CRL_LIFE;
        let url = url(&signer.issuer.status_url, domain);
        let input = CrlInput {
            issuer_name: key.subject(),
            authority_key_id: key.key_id(),
            algorithm: SignatureAlgorithm::for_key(key.signer().algorithm()),
            this_update,
            next_update,
            number,
            scope: CrlScope::Indirect(&url),
            expired_certs_on_crl: None,
        };
        self.store.check_clock()?;
        let der = seal_crl(prepare_crl(&input, entries)?, key.signer().as_ref(), key.signer().public_key()).await?;
        let list = DomainCrlHead {
            domain: domain.to_owned(),
            counter,
            issuer_id: signer.issuer.id,
            content,
            this_update,
            next_update,
            entries: count,
        };
        let mut tx = self.store.begin(&Actor::job("crl")).await?;
        if !domain_crls::replace(&mut tx, before.map(|head| head.counter), &list, der, now).await? {
            return Ok(false);
        }
        let detail = json!({"domain": domain, "number": counter, "entries": count, "issuer": signer.issuer.slug});
        tx.audit(AuditEvent::done("crl.published", format!("domain:{domain}"), detail));
        tx.commit().await?;
        Ok(true)
    }

    /// Entries in groups: one for each name of an issuer, because that is what an entry names.
    async fn domain_entries(&self, snapshot: &Snapshot, domain: &str, now: Timestamp) -> Result<CrlEntries> {
        let mut groups: BTreeMap<&[u8], Vec<&LoadedIssuer>> = BTreeMap::new();
        for loaded in of_domain(snapshot, domain) {
            groups.entry(loaded.subject()).or_default().push(loaded);
        }
        let mut entries = CrlEntries::new();
        for (name, issuers) in groups {
            entries.under(name);
            match issuers.as_slice() {
                [one] if one.revoked_at.is_none() => self.push_revocations(one, now, &mut entries).await?,
                // twins of one name, and every certificate of a revoked key: put in order first
                several => {
                    let mut all = BTreeMap::new();
                    for issuer in several {
                        self.collect_all(issuer, now, &mut all).await?;
                    }
                    for (serial, (at, reason)) in all {
                        entries.push(SerialNumber::from_octets(&serial)?, at, reason)?;
                    }
                }
            }
        }
        Ok(entries)
    }

    async fn push_revocations(&self, issuer: &LoadedIssuer, now: Timestamp, entries: &mut CrlEntries) -> Result<()> {
        let mut last = None;
        loop {
            let alive_at = now - KEPT_PAST_END;
            let page = revocations::page(&self.store, issuer.issuer.id, last.as_ref(), alive_at, PAGE).await?;
            let Some(end) = page.last() else { return Ok(()) };
            last = Some(end.serial.clone());
            for revocation in page {
                entries.push(revocation.serial, revocation.revoked_at, Some(revocation.reason))?;
            }
        }
    }

    /// Everything of a revoked issuer's key is revoked with it, without a reason of its own.
    async fn collect_all(
        &self,
        issuer: &LoadedIssuer,
        now: Timestamp,
        all: &mut BTreeMap<Vec<u8>, (Timestamp, Option<RevocationReason>)>,
    ) -> Result<()> {
        let (id, alive_at) = (issuer.issuer.id, now - KEPT_PAST_END);
        if let Some(at) = issuer.revoked_at {
            let mut after = (alive_at, CertificateId::from_bytes([0; 16]));
            loop {
                let page = domain_crls::certificates(&self.store, id, alive_at, after, PAGE).await?;
                let Some((_, end)) = page.last() else { break };
                after = *end;
                all.extend(page.into_iter().map(|(serial, _)| (serial.octets().to_vec(), (at, None))));
            }
        }
        let mut last = None;
        loop {
            let page = revocations::page(&self.store, id, last.as_ref(), alive_at, PAGE).await?;
            let Some(end) = page.last() else { return Ok(()) };
            last = Some(end.serial.clone());
            all.extend(page.into_iter().map(|r| (r.serial.octets().to_vec(), (r.revoked_at, Some(r.reason)))));
        }
    }

    /// The list of a domain, read again when its counter moved. With the database away the one that was served last goes
    /// on until its nextUpdate.
    pub async fn domain_crl(&self, domain: &str) -> Result<Arc<DomainCrl>> {
        if !self.snapshot().domains.iter().any(|d| d.slug == domain) {
            return Err(Error::not_found(format!("trust domain \"{}\"", shown(domain))));
        }
        let known = self.domain_crls.served(domain);
        match self.read_domain_crl(domain, known.as_ref()).await {
            Err(error) if error.kind == ErrorKind::Unavailable => {
                known.filter(|crl| self.store.now() < crl.next_update).ok_or(error)
            }
            read => read,
        }
    }

    async fn read_domain_crl(&self, domain: &str, known: Option<&Arc<DomainCrl>>) -> Result<Arc<DomainCrl>> {
        let missing = || {
            let detail = format!("trust domain {domain} has no list yet; try again in a few seconds");
            Error::new(ErrorKind::Unavailable, detail).retry_after(Duration::from_secs(5))
        };
        let head = domain_crls::find(&self.store, domain).await?.ok_or_else(missing)?;
        if let Some(known) = known.filter(|known| known.counter == head.counter) {
            return Ok(Arc::clone(known));
        }
        let (counter, der) = domain_crls::der(&self.store, domain).await?.ok_or_else(missing)?;
        let crl = Arc::new(DomainCrl { counter, der, this_update: head.this_update, next_update: head.next_update });
        // a list between the two reads: the next request reads its head
        let mut served = self.domain_crls.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.insert(domain.to_owned(), Arc::clone(&crl));
        Ok(crl)
    }
}

/// Where a domain's list is served.
pub fn url(status_url: &str, domain: &str) -> String {
    format!("{status_url}/crl/domain/{domain}.crl")
}

fn of_domain<'a>(snapshot: &'a Snapshot, domain: &'a str) -> impl Iterator<Item = &'a LoadedIssuer> {
    snapshot.issuers.values().map(AsRef::as_ref).filter(move |loaded| loaded.issuer.domain == domain)
}

/// Who signs the list: the issuer that signs for the domain; when it cannot, another one that is not revoked.
fn signer(snapshot: &Snapshot, domain: &str, now: Timestamp) -> Option<Arc<LoadedIssuer>> {
    let fits = |loaded: &Arc<LoadedIssuer>| {
        loaded.issuer.domain == domain
            && loaded.issuer.role == IssuerRole::Issuing
            && loaded.key.is_some()
            && loaded.revoked_at.is_none()
            && loaded.certificates.first().is_some_and(|c| c.not_after > now)
    };
    let first = snapshot.signers(domain, now).into_iter().find(|loaded| fits(loaded)).cloned();
    let ends = |loaded: &&Arc<LoadedIssuer>| loaded.certificates.first().map(|c| c.not_after);
    first.or_else(|| snapshot.issuers.values().filter(|loaded| fits(loaded)).max_by_key(ends).cloned())
}
