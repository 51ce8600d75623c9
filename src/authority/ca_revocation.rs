//! Revoking what a root signed: CA certificates and the root's OCSP delegate. `serve` never loads a root's key, so such
//! a revocation reaches clients only when somebody with the key signs the root's CRLs: in the same transaction where
//! the key is at hand, else by `chancery ca crl sign`. Until then it is reported as critical.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::Authority;
use super::crl::sign_root_series;
use super::hierarchy::make::{NewKey, ROOT_RESPONDER_LIFE, add_responder, responder_algorithm};
use super::revoke::revoke_locked;
use super::snapshot::LoadedIssuer;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::audit::AuditEvent;
use crate::model::certificate::{Certificate, CertificateStatus, ShownStatus};
use crate::model::id::CertificateId;
use crate::model::issuer::{IssuerRole, IssuerState};
use crate::model::reason::RevocationReason;
use crate::pki::crl_facts::CrlFacts;
use crate::pki::signer::KeyPurpose;
use crate::store::domain_crls::DomainCrlHead;
use crate::store::revocations::{self, Revocation};
use crate::store::{Tx, certificates, crls, hierarchy};

const PAGE: i64 = 500;

/// Revocations of one issuer that its CRL in force does not list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingRevocations {
    pub issuer: String,
    pub count: usize,
    /// What to do.
    pub fix: String,
}

/// A revocation is on its CRL within 5 seconds; one that is not there after these is reported.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(15);
/// What to do when a server with the key does not publish.
const WAITS: &str = "a server that runs with its unlock key publishes them as soon as it can: see that one runs, unlocked, and what \
                     its log says of the job crl (a full disk, a locked table, a wrong clock)";

/// Its revocation changes what replicas serve.
pub(super) fn is_of_hierarchy(certificate: &Certificate) -> bool {
    certificate.is_of_hierarchy()
}

impl Authority {
    /// The issuer or root whose own certificate this is.
    pub fn issuer_with(&self, id: CertificateId) -> Option<Arc<LoadedIssuer>> {
        let has = |i: &&Arc<LoadedIssuer>| i.certificates.iter().any(|c| c.certificate_id == Some(id));
        self.snapshot().issuers.values().find(has).cloned()
    }

    /// Finds the issuer or root whose own certificate this is, also one that another process has just made.
    pub async fn issuer_with_now(&self, certificate: &Certificate) -> Result<Option<Arc<LoadedIssuer>>> {
        if certificate.is_of_hierarchy() && self.issuer_with(certificate.id).is_none() {
            self.reload().await?;
        }
        Ok(self.issuer_with(certificate.id))
    }

    /// The nearest CA above a certificate that is revoked, and since when: verifiers that check a whole chain refuse what
    /// stands below it.
    pub fn revoked_above(&self, certificate: &Certificate) -> Option<(String, Timestamp)> {
        let snapshot = self.snapshot();
        let issuer = snapshot.issuer_by_id(certificate.issuer_id)?;
        let mut path = std::iter::once(issuer).chain(snapshot.above(issuer));
        path.find_map(|ca| Some((ca.issuer.slug.clone(), ca.revoked_at?)))
    }

    /// The issuer of the certificate, or the CA above that one, that was removed: clients do not trust it any more.
    pub fn removed_above(&self, certificate: &Certificate) -> Option<String> {
        let snapshot = self.snapshot();
        let issuer = snapshot.issuer_by_id(certificate.issuer_id)?;
        let mut path = std::iter::once(issuer).chain(snapshot.above(issuer));
        path.find(|ca| ca.issuer.state == IssuerState::Removed).map(|ca| ca.issuer.slug.clone())
    }

    /// A root that is compromised is replaced: no verifier looks for a root on its own CRL.
    pub fn refuse_root(&self, certificate: &Certificate) -> Result<()> {
        let owner = self.issuer_with(certificate.id).filter(|owner| owner.issuer.role == IssuerRole::Root);
        owner.map_or(Ok(()), |root| Err(root_cannot_be_revoked(&root.issuer.slug, &root.issuer.domain)))
    }

    /// In the transaction that revokes `certificate` or lifts its hold: when its issuer is a root whose key is at hand, signs
    /// that root's CRLs anew, after revoking the CA certificates of the same compromised key.
    pub(super) async fn publish_roots(
        &self,
        tx: &mut Tx,
        certificate: &Certificate,
        reason: RevocationReason,
    ) -> Result<()> {
        let snapshot = self.snapshot();
        let root_of = |certificate: &Certificate| {
            let issuer = snapshot.issuer_by_id(certificate.issuer_id)?;
            (issuer.issuer.role == IssuerRole::Root && issuer.key.is_some()).then(|| issuer.clone())
        };
        if is_of_hierarchy(certificate)
            && is_last_of_its_issuer(tx, certificate).await?
            && hierarchy::revoke_of_certificate(&mut *tx, certificate.id).await? > 0
        {
            let owner = self.issuer_with(certificate.id);
            let default = match &owner {
                Some(owner) => super::hierarchy::settle_default(tx, &snapshot, &owner.issuer.domain, None).await?,
                None => None,
            };
            let slug = owner.map(|owner| owner.issuer.slug.clone());
            let detail = json!({"certificate": certificate.id, "reason": reason.name(), "issuer": slug,
                "default_issuer": default});
            tx.audit(AuditEvent::done("issuer.revoked", certificate.object(), detail));
        }
        let mut roots = BTreeMap::new();
        roots.extend(root_of(certificate).map(|root| (root.issuer.slug.clone(), root)));
        if reason.blocks_key() && is_of_hierarchy(certificate) {
            for sibling in siblings(tx, certificate).await? {
                let Some(root) = root_of(&sibling) else { continue };
                // under its lock: another command may have revoked it meanwhile
                let Some(sibling) = certificates::lock(&mut *tx, sibling.id).await? else { continue };
                if sibling.shown_status(tx.now()) != ShownStatus::Valid {
                    continue;
                }
                revoke_locked(tx, sibling, RevocationReason::KeyCompromise.into(), Some(certificate.id)).await?;
                roots.insert(root.issuer.slug.clone(), root);
            }
        }
        for root in roots.values() {
            self.sign_root(tx, root).await?;
        }
        Ok(())
    }

    /// A root's CRLs for the rest of its life, and a delegate when it has none that may answer. Its key is at hand.
    pub(super) async fn sign_root(&self, tx: &mut Tx, root: &LoadedIssuer) -> Result<()> {
        let slug = &root.issuer.slug;
        let key = root.key.as_deref().ok_or_else(|| super::hierarchy::no_key(root))?;
        let issuer = hierarchy::lock_issuer(&mut *tx, root.issuer.id).await?;
        let issuer = issuer.ok_or_else(|| Error::inconsistent(format!("issuer {slug} vanished")))?;
        let now = tx.now();
        let alive = hierarchy::responders(&mut *tx, now).await?;
        if issuer.role == IssuerRole::Root && !alive.iter().any(|r| r.issuer_id == issuer.id) {
            let algorithm = responder_algorithm(key.signer().algorithm());
            let own = NewKey::make(&self.store, self.keys.as_ref(), algorithm, KeyPurpose::Responder)?;
            add_responder(tx, own, &issuer, key, ROOT_RESPONDER_LIFE).await?;
        }
        sign_root_series(tx, &self.publishing(), &issuer, key).await
    }

    /// What an operator must still do so that clients learn of this revocation; none when the CRL in force lists it, or
    /// the server will publish it within seconds.
    pub async fn revocation_to_publish(&self, certificate: &Certificate) -> Result<Option<String>> {
        let CertificateStatus::Revoked { reason, .. } = certificate.status else { return Ok(None) };
        let snapshot = self.snapshot();
        let Some(issuer) = snapshot.issuer_by_id(certificate.issuer_id) else { return Ok(None) };
        // a server that has the issuer's key publishes within seconds
        let by_itself = issuer.issuer.role != IssuerRole::Root && issuer.key.is_some();
        if by_itself || certificate.validity.not_after() < self.store.now() {
            return Ok(None);
        }
        let slug = &issuer.issuer.slug;
        if !issuer.signs_crls() {
            return Ok(Some(format!(
                "revoked here, and OCSP says so; {slug} signs no CRL, because its certificate lacks the key usage cRLSign, so \
                 clients that do not ask OCSP still trust it; replace {slug} with `chancery ca create {} --new-root`",
                issuer.issuer.domain
            )));
        }
        let (serial, fix) = (&certificate.serial, super::checks::how_to_publish(issuer));
        let listed = self.listed(issuer).await?;
        Ok(match listed.get(serial.octets()) {
            None => Some(format!(
                "revoked here, but clients still trust it: the CRL of {slug} does not list serial {serial}; {fix}"
            )),
            // our CRLs leave the code of unspecified out
            Some(code) if code.unwrap_or(0) != reason.code() => Some(format!(
                "revoked for {} here, but the CRL of {slug} lists serial {serial} with another reason; {fix}",
                reason.name()
            )),
            Some(_) => None,
        })
    }

    /// Names the step that an operator must still take so that clients learn that a hold was lifted. None when the CRL in
    /// force does not list the certificate, or when the server publishes the next CRL by itself.
    pub async fn lifted_to_publish(&self, certificate: &Certificate) -> Result<Option<String>> {
        let snapshot = self.snapshot();
        let Some(issuer) = snapshot.issuer_by_id(certificate.issuer_id) else { return Ok(None) };
        let by_itself = issuer.issuer.role != IssuerRole::Root && issuer.key.is_some();
        if by_itself || !issuer.signs_crls() || !self.listed(issuer).await?.contains_key(certificate.serial.octets())
        {
            return Ok(None);
        }
        let fix = super::checks::how_to_publish(issuer);
        Ok(Some(format!(
            "lifted here, but clients still refuse it: the CRL of {} lists serial {}; {fix}",
            issuer.issuer.slug, certificate.serial
        )))
    }

    /// Revocations that are not on the CRL in force of their issuer: of every root, of issuers whose key is not loaded here,
    /// and of the others once they have waited for longer than a publication takes. A root's list is short; that of a busy
    /// issuer is read only when something waits.
    pub async fn pending_revocations(&self) -> Result<Vec<PendingRevocations>> {
        let snapshot = self.snapshot();
        let mut pending = Vec::new();
        for issuer in hierarchy::issuers(&self.store).await? {
            let Some(loaded) = snapshot.issuer_by_id(issuer.id) else { continue };
            let is_root = issuer.role == IssuerRole::Root;
            if !loaded.signs_crls() || !is_root && !issuer.crl_dirty {
                continue;
            }
            let publishes = !is_root && loaded.key.is_some();
            let count = if publishes { self.overdue(loaded).await? } else { self.unlisted(loaded).await? };
            if count > 0 {
                let fix = match publishes {
                    true => WAITS.to_owned(),
                    false if is_root => how_to_sign(loaded),
                    false => super::checks::how_to_publish(loaded),
                };
                pending.push(PendingRevocations { issuer: issuer.slug, count, fix });
            }
        }
        Ok(pending)
    }

    /// Revocations that a server with the issuer's key should have published by now.
    async fn overdue(&self, issuer: &LoadedIssuer) -> Result<usize> {
        let (id, now) = (issuer.issuer.id, self.store.now());
        let last = crls::in_force(&self.store, id, now).await?;
        // a revocation that was committed while the list was read has a time shortly before it
        let from = last.map_or(Timestamp::from_micros(0), |crl| crl.created_at - PUBLISHED_WITHIN);
        let waiting = revocations::between(&self.store, id, now, from, now - PUBLISHED_WITHIN, PAGE).await?;
        if waiting.is_empty() {
            return Ok(0);
        }
        let listed = self.listed(issuer).await?;
        Ok(waiting.iter().filter(|serial| !listed.contains_key(*serial)).count())
    }

    /// How many revocations of a trust domain its list should have by now and has not, because it was made before them.
    pub(super) async fn overdue_in_list(&self, list: &DomainCrlHead) -> Result<usize> {
        let now = self.store.now();
        if list.taken_over_by(now).is_some() {
            return Ok(0);
        }
        let (snapshot, mut count) = (self.snapshot(), 0);
        for loaded in snapshot.issuers.values().filter(|i| i.issuer.domain == list.domain) {
            let until = now - PUBLISHED_WITHIN;
            count +=
                revocations::between(&self.store, loaded.issuer.id, now, list.created_at, until, PAGE).await?.len();
        }
        Ok(count)
    }

    async fn unlisted(&self, issuer: &LoadedIssuer) -> Result<usize> {
        let (id, now) = (issuer.issuer.id, self.store.now());
        let mut missing = 0;
        let mut listed: Option<HashMap<Vec<u8>, Option<u8>>> = None;
        let mut last = None;
        loop {
            let page: Vec<Revocation> = revocations::page(&self.store, id, last.as_ref(), now, PAGE).await?;
            let Some(end) = page.last() else { return Ok(missing) };
            if listed.is_none() {
                listed = Some(self.listed(issuer).await?);
            }
            let known = listed.as_ref();
            missing +=
                page.iter().filter(|r| known.is_none_or(|known| !known.contains_key(r.serial.octets()))).count();
            last = Some(end.serial.clone());
        }
    }

    /// The serials on the CRL in force, each with the code of its reason.
    async fn listed(&self, issuer: &LoadedIssuer) -> Result<HashMap<Vec<u8>, Option<u8>>> {
        let crl = match self.current_crl(&issuer.issuer.slug).await {
            Ok(crl) => crl,
            Err(error) if error.kind == ErrorKind::Unavailable => return Ok(HashMap::new()),
            Err(error) => return Err(error),
        };
        let unreadable =
            |e| Error::inconsistent(format!("the CRL of {} cannot be read", issuer.issuer.slug)).because(e);
        let facts = CrlFacts::parse(&crl.der).map_err(unreadable)?;
        Ok(facts.entries().map(|entry| (entry.serial.to_vec(), entry.reason)).collect())
    }
}

/// Also said by the command line of roots that were imported, which have no row among the certificates.
pub fn root_cannot_be_revoked(slug: &str, domain: &str) -> Error {
    let value = format!("{slug} is a root: only its own CRL could list it, and no verifier looks for a root there");
    let fix = format!(
        "replace it: run `chancery ca create {domain} --new-root`, `chancery ca create {domain} --under ROOT` with the new root \
         and `chancery ca activate` for both, then `chancery ca retire` for {slug} and the issuers under it, and \
         `chancery ca remove {slug}`, which takes it out of /bundles/{domain}.pem"
    );
    let sentence = format!("{value}; {fix}");
    Error::refused(ErrorKind::Conflict, "revocation.root", value, "a certificate that a CA above signed", fix)
        .saying(sentence)
}

/// Has the issuer whose certificate this is no other of this installation that is not revoked? A cross-certificate does
/// not count: clients of the domain do not trust what is above it. The issuer's row is locked first, so that of several
/// revocations at once one finds that it is the last.
async fn is_last_of_its_issuer(tx: &mut Tx, certificate: &Certificate) -> Result<bool> {
    let all = hierarchy::issuer_certificates(&mut *tx).await?;
    let Some(own) = all.iter().find(|c| c.certificate_id == Some(certificate.id)) else { return Ok(false) };
    let owner = hierarchy::lock_issuer(&mut *tx, own.issuer_id).await?;
    if owner.is_none_or(|owner| owner.role != IssuerRole::Issuing) {
        return Ok(false);
    }
    let others = all.iter().filter(|c| c.issuer_id == own.issuer_id).filter_map(|c| c.certificate_id);
    for id in others.filter(|id| *id != certificate.id) {
        let other = certificates::find(&mut *tx, id).await?;
        if other.is_some_and(|other| !matches!(other.status, CertificateStatus::Revoked { .. })) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The other CA certificates of the key.
async fn siblings(tx: &mut Tx, certificate: &Certificate) -> Result<Vec<Certificate>> {
    let mut found = Vec::new();
    let mut after = CertificateId::from_bytes([0; 16]);
    loop {
        let page = certificates::of_key(&mut *tx, &certificate.spki_sha256, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = last.id;
        found.extend(page.into_iter().filter(|c| c.id != certificate.id && is_of_hierarchy(c)));
    }
}

/// How the key of a root comes to sign its CRLs.
pub(super) fn how_to_sign(root: &LoadedIssuer) -> String {
    let slug = &root.issuer.slug;
    if root.sealed_key.is_offline() {
        return format!(
            "run `chancery ca root online FILE`, then `chancery ca crl sign {slug}` on the host of the CA, \
             or sign its CRL where the key is and run `chancery ca crl import FILE`"
        );
    }
    format!("run `chancery ca crl sign {slug}` on the host that has root.key; `--root-key FILE` says where it lies")
}
