//! The chains of an issuer: every way up (`pki::path_finder`) over the certificates of our issuers and those of others
//! above them.

use aws_lc_rs::digest::{Context, SHA256};

use super::Authority;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::certificate::Certificate;
use crate::model::issuer::{Anchor, IssuerCertificate};
use crate::model::serial::to_hex;
use crate::pki::ca_certificate::CaCertificate;
use crate::pki::certificate_facts::CertificateFacts;
use crate::pki::path::IssuingPath;
use crate::pki::path_finder;

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
pub(super) struct Above {
    all: Vec<CaCertificate>,
    now: Timestamp,
}

impl Above {
    /// One that cannot be read stands above nothing; fsck tells of it.
    pub fn read(issuers: &[IssuerCertificate], anchors: &[Anchor], now: Timestamp) -> Self {
        let all = issuers.iter().map(|c| &c.der).chain(anchors.iter().map(|a| &a.der));
        Above { all: all.filter_map(|der| CaCertificate::read(der).ok()).collect(), now }
    }

    /// The usual path of a certificate: the best one that is valid, else any that is known.
    pub fn path(&self, der: &[u8]) -> Result<IssuingPath> {
        let unreadable = |e: Error| Error::inconsistent("the certificate of an issuer cannot be read").because(e);
        let own = CaCertificate::read(der).map_err(unreadable)?;
        if let Ok(path) = path_finder::best(&own, &self.all, self.now) {
            return Ok(path);
        }
        let found = path_finder::find(&own, &self.all, self.now);
        let known = found.complete.into_iter().chain(found.open.into_iter().map(|(path, _)| path));
        known.flat_map(IssuingPath::new).next().map_or_else(|| IssuingPath::new(vec![own]), Ok)
    }

    /// Every way up from the certificates of an issuer, each once. Roots are left out, so that a way up to another
    /// certificate of the same root is no other way.
    pub fn chains(&self, own: &[IssuerCertificate]) -> Vec<Chain> {
        let mut chains: Vec<Chain> = Vec::new();
        for certificate in own.iter().filter_map(|c| CaCertificate::read(&c.der).ok()) {
            let found = path_finder::find(&certificate, &self.all, self.now);
            let ways = found.complete.into_iter().chain(found.open.into_iter().map(|(path, _)| path));
            for chain in ways.filter_map(|path| Chain::of(&path)) {
                if chains.len() < MOST && !chains.iter().any(|other| other.ders == chain.ders) {
                    chains.push(chain);
                }
            }
        }
        chains
    }
}

impl Chain {
    fn of(path: &[CaCertificate]) -> Option<Self> {
        let first = path.first()?;
        let below: Vec<_> = path.iter().filter(|ca| !ca.is_root()).collect();
        Some(Chain {
            until: below.iter().map(|ca| ca.validity.not_after()).min().unwrap_or(first.validity.not_after()),
            ders: below.into_iter().map(|ca| ca.der.clone()).collect(),
            key_id: first.subject_key_id.clone(),
        })
    }
}

/// The certificates of a path in DER, without the root.
pub(super) fn without_root(path: &IssuingPath) -> Vec<Vec<u8>> {
    path.cas().iter().filter(|ca| !ca.is_root()).map(|ca| ca.der.clone()).collect()
}

pub(super) fn is_self_issued(der: &[u8]) -> bool {
    CaCertificate::read(der).is_ok_and(|c| c.is_self_issued())
}
