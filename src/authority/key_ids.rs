//! Authority key identifiers (RFC 5280 §4.2.1.1). An issuer signs under one, which is fixed with its key. Earlier versions
//! served an issuer under a cross-certificate with another one: what they published is
//! published anew at once, and what they issued is reported and called back, because verifiers that check CRLs refuse it.

use super::Authority;
use super::checks::{Check, Severity, check, how_to_publish};
use super::snapshot::LoadedIssuer;
use crate::error::{ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::serial::to_hex;
use crate::pki::certificate_facts::CertificateFacts;
use crate::pki::crl_facts::CrlFacts;
use crate::store::{certificates, hierarchy};

impl LoadedIssuer {
    /// Key identifiers under which it was certified beside the one that it signs under.
    pub fn other_key_ids(&self) -> impl Iterator<Item = &[u8]> {
        let own = self.key_id.as_slice();
        self.key_ids().filter(move |id| *id != own)
    }

    /// Whether a certificate or CRL that it signed under this authority key identifier must be signed again.
    pub fn is_outdated(&self, key_id: Option<&[u8]>) -> bool {
        key_id.is_some_and(|id| id != self.key_id)
    }
}

impl Authority {
    /// Marks the CRLs for publication that an earlier version signed under another key identifier.
    pub(super) async fn outdate_crls(&self) -> Result<()> {
        for loaded in self.snapshot().issuers.values().filter(|i| i.key.is_some() && i.has_other_key_ids()) {
            if self.has_outdated_crl(loaded).await? {
                let mut tx = self.store.begin(&Actor::job("crl")).await?;
                hierarchy::mark_crl_dirty(&mut tx, loaded.issuer.id).await?;
                tx.commit().await?;
            }
        }
        Ok(())
    }

    /// Whether the CRL in force of an issuer names another key identifier. Each CRL is read once.
    async fn has_outdated_crl(&self, loaded: &LoadedIssuer) -> Result<bool> {
        let crl = match self.current_crl(&loaded.issuer.slug).await {
            Ok(crl) => crl,
            Err(error) if error.kind == ErrorKind::Unavailable => return Ok(false),
            Err(error) => return Err(error),
        };
        let known = || self.right_crls.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if known().get(&loaded.issuer.id) == Some(&crl.id) {
            return Ok(false);
        }
        let outdated = CrlFacts::parse(&crl.der).is_ok_and(|facts| loaded.is_outdated(facts.authority_key_id));
        if !outdated {
            known().insert(loaded.issuer.id, crl.id);
        }
        Ok(outdated)
    }

    /// What earlier versions left under other key identifiers. Counted in the database, of the few issuers that had one.
    pub(super) async fn check_key_ids(&self) -> Result<Check> {
        let (snapshot, now) = (self.snapshot(), self.store.now());
        let mut found = Vec::new();
        for (slug, loaded) in snapshot.issuers.iter().filter(|(_, i)| i.has_other_key_ids()) {
            if self.has_outdated_crl(loaded).await? {
                let text = format!(
                    "the CRL of {slug} names another key identifier than its certificate has; {}",
                    how_to_publish(loaded)
                );
                found.push((Severity::Critical, text));
            }
            for id in loaded.other_key_ids() {
                let count = certificates::count_named(&self.store, loaded.issuer.id, id, now).await?;
                if count > 0 {
                    found.push((Severity::Warning, to_issue_anew(slug, count, &to_hex(id))));
                }
            }
        }
        Ok(check("key identifiers", found, "each issuer used a single key identifier".into()))
    }
}

fn to_issue_anew(slug: &str, count: i64, id: &str) -> String {
    let (noun, verb, them) =
        if count == 1 { ("certificate", "names", "it") } else { ("certificates", "name", "them") };
    format!(
        "{count} valid {noun} of {slug} {verb} the key identifier {id} of a cross-certificate, under which an earlier version \
         issued {them}: verifiers that check CRLs refuse {them}; list {them} with `chancery find --status valid --issuer {slug} \
         --authority-key-id {id}` and issue each anew (ACME clients are called back, RFC 9773); each counts until it is revoked \
         or has expired"
    )
}

/// Whether a certificate that this issuer signed names the identifier that it signs under now; one without any does too.
pub(super) fn is_under(der: &[u8], key_id: &[u8]) -> bool {
    CertificateFacts::parse(der).is_ok_and(|facts| facts.authority_key_id.is_none_or(|id| id == key_id))
}
