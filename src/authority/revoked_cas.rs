//! Which certificates of issuers are revoked, and since when: by serial on the list of the CA that signed them, here or
//! elsewhere. A revoked CA certificate leaves every chain that is served, while the issuer's other certificates stay.
//! What a CA elsewhere says is read anew each time and never stored as a state: that CA may take it back (a hold).

use std::collections::HashMap;

use super::foreign_crls::key_hash;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::id::{IssuerCertificateId, IssuerId};
use crate::model::issuer::{Anchor, Issuer, IssuerCertificate};
use crate::pki::ca_certificate::CaCertificate;
use crate::pki::crl_facts::CrlFacts;
use crate::store::foreign_crls::ForeignCrl;
use crate::store::{Store, foreign_crls, revocations};

/// RFC 5280 §5.3.1: on delta CRLs alone.
const REMOVE_FROM_CRL: u8 = 8;

const CERTIFICATE_HOLD: u8 = 6;

/// A hierarchy has a few levels; the limit stops a loop.
const MAX_DEPTH: usize = 8;

/// The revocation of a CA certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CaRevocation {
    pub at: Timestamp,
    /// The CA elsewhere that says so; none for a CA of this installation.
    pub by: Option<String>,
    /// That CA may take it back (certificateHold, RFC 5280 §5.3.1).
    pub on_hold: bool,
}

/// A certificate that cannot be read counts as not revoked; fsck reports it. A root is never revoked by itself.
pub(super) async fn read(
    store: &Store,
    issuers: &[Issuer],
    certificates: &[IssuerCertificate],
    anchors: &[Anchor],
) -> Result<HashMap<IssuerCertificateId, CaRevocation>> {
    let parsed: Vec<_> = certificates.iter().filter_map(|c| Some((c, CaCertificate::read(&c.der).ok()?))).collect();
    let mut revoked = HashMap::new();
    for (certificate, ca) in parsed.iter().filter(|(_, ca)| ca.subject != ca.issuer) {
        let Ok(serial) = ca.serial() else { continue };
        let above = |id: IssuerId| parsed.iter().any(|(c, other)| c.issuer_id == id && other.fits_above(ca));
        for issuer in issuers.iter().filter(|issuer| above(issuer.id)) {
            if let Some(found) = revocations::find(store, issuer.id, &serial).await? {
                revoked.insert(certificate.id, CaRevocation { at: found.revoked_at, by: None, on_hold: false });
            }
        }
    }
    let rows = foreign_crls::list(store).await?;
    let elsewhere = Elsewhere::read(&rows, anchors);
    for (certificate, ca) in parsed.iter().filter(|(c, _)| c.certificate_id.is_none()) {
        let found = elsewhere.revocation(ca, 0);
        revoked.extend(found.map(|found| (certificate.id, found)));
    }
    Ok(revoked)
}

/// What CAs elsewhere say about certificates that they signed.
struct Elsewhere<'a> {
    anchors: Vec<CaCertificate>,
    /// Each with the CA whose key signed it: stored CRLs were verified when they came.
    lists: Vec<(CaCertificate, CrlFacts<'a>)>,
}

impl<'a> Elsewhere<'a> {
    fn read(rows: &'a [ForeignCrl], anchors: &[Anchor]) -> Self {
        let anchors: Vec<_> = anchors.iter().filter_map(|anchor| CaCertificate::read(&anchor.der).ok()).collect();
        let list = |row: &'a ForeignCrl| {
            let facts = CrlFacts::parse(&row.der).ok()?;
            let signer = anchors.iter().find(|ca| key_hash(ca) == row.ca && ca.subject == facts.issuer)?;
            Some((signer.clone(), facts))
        };
        let lists = rows.iter().filter_map(list).collect();
        Elsewhere { anchors, lists }
    }

    /// The revocation of a certificate, or of every CA elsewhere that stands above it: verifiers refuse both alike. A list
    /// that has expired still counts: only a newer one takes a revocation back.
    fn revocation(&self, ca: &CaCertificate, depth: usize) -> Option<CaRevocation> {
        if ca.is_self_issued() || depth > MAX_DEPTH {
            return None;
        }
        if let Some(found) = self.listed(ca) {
            return Some(found);
        }
        let above: Vec<_> = self.anchors.iter().filter(|above| ca.is_signed_by(above)).collect();
        let revoked: Vec<_> = above.iter().filter_map(|above| self.revocation(above, depth + 1)).collect();
        if revoked.len() != above.len() {
            return None;
        }
        // it comes back with the first of them
        let on_hold = revoked.iter().any(|found| found.on_hold);
        revoked.into_iter().max().map(|last| CaRevocation { on_hold, ..last })
    }

    fn listed(&self, ca: &CaCertificate) -> Option<CaRevocation> {
        let serial = ca.serial().ok()?;
        let mut of_issuer = self.lists.iter().filter(|(_, facts)| facts.issuer == ca.issuer);
        of_issuer.find_map(|(signer, facts)| {
            let mut entries = facts.entries().filter(|entry| entry.reason != Some(REMOVE_FROM_CRL));
            let entry = entries.find(|entry| entry.serial == serial.octets())?;
            // another CA of the same name says nothing about it
            ca.is_signed_by(signer).then(|| CaRevocation {
                at: entry.revoked_at,
                by: Some(signer.name()),
                on_hold: entry.reason == Some(CERTIFICATE_HOLD),
            })
        })
    }
}
