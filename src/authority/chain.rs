//! Which certificate stands above which: by name byte for byte and key identifier (RFC 5280 §6.1.3, §4.2.1.1), over
//! the certificates of our issuers and those of others above them. Signatures were verified when they came.

use aws_lc_rs::digest::{Context, SHA256};

use super::Authority;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::certificate::Certificate;
use crate::model::issuer::{Anchor, IssuerCertificate};
use crate::model::serial::to_hex;
use crate::pki::ca_certificate::CaCertificate;
use crate::pki::certificate_facts::CertificateFacts;

/// A hierarchy is a few levels; the bound stops a loop that a damaged database might hold.
const LONGEST: usize = 8;

/// Ways up that one issuer has at most: renewed or cross-signed a few times.
const MOST: usize = 16;

/// One way from an issuer's certificate up, nearest first, without the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub ders: Vec<Vec<u8>>,
    /// When the first of them ends.
    until: Timestamp,
    /// Of the issuer's certificate.
    key_id: Option<Vec<u8>>,
}

impl Chain {
    /// It stands in URLs: the same certificates have the same name, whatever other chains come and go.
    pub fn name(&self) -> String {
        let mut all = Context::new(&SHA256);
        self.ders.iter().for_each(|der| all.update(der));
        to_hex(all.finish().as_ref().get(..8).unwrap_or_default())
    }

    /// May a certificate with this authority key identifier stand below it?
    fn fits(&self, named: Option<&[u8]>) -> bool {
        self.key_id.as_deref().zip(named).is_none_or(|(own, named)| own == named)
    }
}

impl Authority {
    /// The chains that go with a certificate: the usual one, then every other that is valid and leads elsewhere (RFC 8555
    /// §7.4.2).
    pub fn chains_of(&self, certificate: &Certificate, der: &[u8]) -> Result<Vec<Chain>> {
        let unreadable = |e| Error::inconsistent(format!("{} cannot be read", certificate.id)).because(e);
        let named = CertificateFacts::parse(der).map_err(unreadable)?.authority_key_id;
        let (snapshot, now) = (self.snapshot(), self.store().now());
        let Some(issuer) = snapshot.issuer_by_id(certificate.issuer_id) else { return Ok(Vec::new()) };
        let (usual, others): (Vec<_>, Vec<_>) =
            issuer.chains.iter().filter(|c| c.fits(named.as_deref())).cloned().partition(|c| c.ders == issuer.chain);
        let mut chains = usual;
        chains.extend(others.into_iter().filter(|c| now < c.until));
        if chains.is_empty() {
            chains.push(Chain { ders: issuer.chain.clone(), until: now, key_id: None });
        }
        Ok(chains)
    }
}

/// Every CA certificate that is known.
#[derive(Debug)]
pub(super) struct Above(Vec<CaCertificate>);

impl Above {
    /// One that cannot be read stands above nothing; fsck tells of it.
    pub fn read(issuers: &[IssuerCertificate], anchors: &[Anchor]) -> Self {
        let all = issuers.iter().map(|c| &c.der).chain(anchors.iter().map(|a| &a.der));
        Above(all.filter_map(|der| CaCertificate::read(der).ok()).collect())
    }

    /// The certificate itself and those above it in DER, without the root.
    pub fn chain(&self, der: &[u8]) -> Vec<Vec<u8>> {
        let mut chain = Vec::new();
        let mut next = CaCertificate::read(der).ok();
        while let Some(one) = next.take().filter(|one| one.subject != one.issuer && chain.len() < LONGEST) {
            // of several the one that lives longest
            let above =
                self.0.iter().filter(|above| above.fits_above(&one)).max_by_key(|above| above.validity.not_after());
            next = above.cloned();
            chain.push(one.der);
        }
        chain
    }
}

impl Above {
    /// Every way up from the certificates of an issuer, each once. Roots are left out, so that a way up to another
    /// certificate of the same root is no other way.
    pub fn chains(&self, own: &[IssuerCertificate]) -> Vec<Chain> {
        let mut found = Vec::new();
        for certificate in own.iter().filter_map(|c| CaCertificate::read(&c.der).ok()) {
            self.climb(vec![certificate], &mut found);
        }
        found
    }

    fn climb(&self, path: Vec<CaCertificate>, found: &mut Vec<Chain>) {
        let Some(last) = path.last().filter(|last| last.subject != last.issuer) else { return };
        let above: Vec<_> = self.0.iter().filter(|above| above.fits_above(last)).collect();
        if above.is_empty() || above.iter().any(|above| above.subject == above.issuer) {
            let chain = Chain {
                ders: path.iter().map(|c| c.der.clone()).collect(),
                until: path.iter().map(|c| c.validity.not_after()).min().unwrap_or(last.validity.not_after()),
                key_id: path.first().and_then(|c| c.subject_key_id.clone()),
            };
            if found.len() < MOST && !found.iter().any(|other| other.ders == chain.ders) {
                found.push(chain);
            }
        }
        for next in above.into_iter().filter(|above| above.subject != above.issuer) {
            if path.len() < LONGEST && found.len() < MOST && !path.iter().any(|c| c.der == next.der) {
                self.climb(path.iter().cloned().chain([next.clone()]).collect(), found);
            }
        }
    }
}

pub(super) fn is_self_issued(der: &[u8]) -> bool {
    CaCertificate::read(der).is_ok_and(|c| c.subject == c.issuer)
}
