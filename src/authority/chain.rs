//! Which certificate stands above which: by name byte for byte and key identifier (RFC 5280 §6.1.3, §4.2.1.1), over
//! the certificates of our issuers and those of others above them. Signatures were verified when they came.

use crate::model::issuer::{Anchor, IssuerCertificate};
use crate::pki::ca_certificate::CaCertificate;

/// A hierarchy is a few levels; the bound stops a loop that a damaged database might hold.
const LONGEST: usize = 8;

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

pub(super) fn is_self_issued(der: &[u8]) -> bool {
    CaCertificate::read(der).is_ok_and(|c| c.subject == c.issuer)
}
