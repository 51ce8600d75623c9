//! Revocation for `verify`: the certificate and every CA certificate above it, as verifiers see it that check every CRL of
//! a chain. The CA says it of what it issued; for the rest a CRL does.

use std::path::Path;

use super::failure::Result;
use super::verify::{Case, read};
use super::{objects, output};
use crate::client::{Client, encode, fetch};
use crate::error::Error;
use crate::model::reason::RevocationReason;
use crate::model::serial::to_hex;
use crate::pki::certificate_facts::CertificateFacts;
use crate::pki::crl_facts::CrlFacts;
use crate::pki::oids::CRL_DISTRIBUTION_POINTS;
use crate::pki::tbs::{TbsView, split_certificate};

/// A hierarchy is a few levels; the limit stops a loop.
const MAX_DEPTH: usize = 8;

pub(super) enum Revocation {
    /// And who says so.
    Good(String),
    Revoked(String),
    /// And why nobody can say.
    Unknown(String),
}

impl Case {
    /// Of the certificate, then of each CA above it, nearest first.
    pub(super) async fn revocation(&self, crl: Option<&Path>) -> Result<Revocation> {
        let crls = crl.map(crls_of).transpose()?;
        let own = self.of_one(&self.facts, crls.as_ref(), true).await?;
        if matches!(own, Revocation::Revoked(_)) {
            return Ok(own);
        }
        if let Some(revoked) = self.issuer_as_the_ca_says().await? {
            return Ok(revoked);
        }
        let mut unchecked = None;
        for ca in self.above() {
            let name = ca.subject.to_string();
            match self.of_one(&ca, crls.as_ref(), false).await? {
                Revocation::Good(_) => {}
                Revocation::Revoked(why) => {
                    let serial = to_hex(&ca.serial);
                    return Ok(Revocation::Revoked(format!("stands under {name}, whose certificate {serial} {why}")));
                }
                Revocation::Unknown(why) => {
                    unchecked = unchecked.or(Some(format!("that of {name} not checked: {why}")))
                }
            }
        }
        Ok(match (own, unchecked) {
            (Revocation::Good(by), Some(why)) => Revocation::Good(format!("{by}; {why}")),
            (own, _) => own,
        })
    }

    /// The CA certificates above, without the root: those that came with the certificate count first.
    fn above(&self) -> Vec<CertificateFacts> {
        let known: Vec<_> = self
            .intermediates
            .iter()
            .filter_map(|der| CertificateFacts::parse(der).ok())
            .filter(|ca| ca.is_ca)
            .collect();
        let is_above = |ca: &&CertificateFacts, below: &CertificateFacts| {
            ca.subject == below.issuer
                && ca
                    .subject_key_id
                    .as_ref()
                    .zip(below.authority_key_id.as_ref())
                    .is_none_or(|(own, named)| own == named)
        };
        let mut path: Vec<CertificateFacts> = Vec::new();
        while path.len() < MAX_DEPTH {
            let below = path.last().unwrap_or(&self.facts);
            let Some(next) = known.iter().find(|ca| is_above(ca, below) && ca.subject != ca.issuer) else { break };
            path.push(next.clone());
        }
        path
    }

    /// `given` are CRLs of a file, which alone count for the certificate itself.
    async fn of_one(&self, facts: &CertificateFacts, given: Option<&Crls>, is_own: bool) -> Result<Revocation> {
        if let Some(crls) = given
            && let Some(der) = crls.of(facts.issuer.as_der(), is_own)
        {
            return Ok(self.in_crl(facts, der, &crls.from));
        }
        if let Some(client) = &self.client
            && let Some(told) = as_the_ca_says(client, facts).await?
        {
            return Ok(told);
        }
        let pointer = facts.extensions.iter().find(|e| e.id == CRL_DISTRIBUTION_POINTS);
        let Some(url) = pointer.and_then(|e| e.words.split(", ").find(|url| url.starts_with("http://"))) else {
            return Ok(Revocation::Unknown("it names no CRL".into()));
        };
        Ok(match fetch::plain(url).await {
            Ok(der) => self.in_crl(facts, &der, url),
            Err(error) => Revocation::Unknown(error.detail),
        })
    }

    /// A CA above that this CA knows as revoked.
    async fn issuer_as_the_ca_says(&self) -> Result<Option<Revocation>> {
        let Some(client) = &self.client else { return Ok(None) };
        let found = known(client, &self.facts).await?;
        let above = &found["issuer_revocation"];
        Ok(above["issuer"].as_str().map(|slug| {
            let at = output::text(above, "revoked_at");
            Revocation::Revoked(format!("stands under the issuer {slug}, which was revoked at {at}"))
        }))
    }

    /// A CRL counts when the issuer signed it and it has not ended.
    fn in_crl(&self, facts: &CertificateFacts, der: &[u8], from: &str) -> Revocation {
        let unusable = |why: &str| Revocation::Unknown(format!("the CRL of {from} {why}"));
        let Ok(crl) = CrlFacts::parse(der) else { return unusable("cannot be read") };
        if crl.issuer != facts.issuer.as_der() {
            return unusable("is of another issuer");
        }
        let mut above = self.intermediates.iter().chain(&self.roots);
        if !above.any(|issuer| signed_by(&crl, issuer)) {
            return unusable("is not signed by the issuer");
        }
        if crl.next_update.is_some_and(|end| end <= self.at) {
            return unusable("has ended");
        }
        match crl.entries().find(|entry| entry.serial == facts.serial) {
            Some(entry) => {
                let reason = entry.reason.and_then(|code| RevocationReason::from_code(i64::from(code)).ok());
                was_revoked(entry.revoked_at, reason.unwrap_or(RevocationReason::Unspecified).name())
            }
            None => Revocation::Good(format!("CRL of {}", crl.this_update)),
        }
    }
}

/// The CRLs of a file.
struct Crls {
    ders: Vec<Vec<u8>>,
    from: String,
}

impl Crls {
    /// That of an issuer; for the certificate itself another one too, so that the verdict says that it does not fit.
    fn of(&self, issuer: &[u8], or_any: bool) -> Option<&[u8]> {
        let is_of = |der: &&Vec<u8>| CrlFacts::parse(der).is_ok_and(|crl| crl.issuer == issuer);
        let found = self.ders.iter().find(is_of).or(self.ders.first().filter(|_| or_any));
        found.map(Vec::as_slice)
    }
}

fn crls_of(path: &Path) -> Result<Crls, Error> {
    let blocks = objects::read(&read(path)?)?;
    Ok(Crls { ders: blocks.into_iter().map(|block| block.der).collect(), from: path.display().to_string() })
}

/// What this CA knows of a certificate; null when nothing.
async fn known(client: &Client, facts: &CertificateFacts) -> Result<serde_json::Value> {
    let path = format!("/api/v1/certificates?fingerprint={}", encode(&to_hex(&facts.fingerprint)));
    Ok(client.get(&path).await?["items"][0].clone())
}

/// None when this CA does not know it.
async fn as_the_ca_says(client: &Client, facts: &CertificateFacts) -> Result<Option<Revocation>> {
    let found = known(client, facts).await?;
    let revocation = &found["revocation"];
    Ok(match (found.is_null(), revocation.is_null()) {
        (true, _) => None,
        (false, true) => Some(Revocation::Good("the CA says so".into())),
        (false, false) => {
            let (at, reason) = (output::text(revocation, "revoked_at"), output::text(revocation, "reason"));
            Some(was_revoked(at, &reason))
        }
    })
}

fn was_revoked(at: impl std::fmt::Display, reason: &str) -> Revocation {
    Revocation::Revoked(format!("was revoked at {at} ({reason})"))
}

fn signed_by(crl: &CrlFacts<'_>, issuer: &[u8]) -> bool {
    let view = split_certificate(issuer).and_then(|(tbs, ..)| TbsView::parse(tbs));
    view.is_ok_and(|view| view.subject == crl.issuer && crl.verify(view.spki).is_ok())
}
