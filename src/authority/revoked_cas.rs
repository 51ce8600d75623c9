//! Which certificates of issuers are revoked, and since when: by serial on the list of the CA that signed them, here or
//! elsewhere. A revoked CA certificate leaves every chain that is served, while the issuer's other certificates stay.

use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::id::{IssuerCertificateId, IssuerId};
use crate::model::issuer::{Issuer, IssuerCertificate};
use crate::pki::ca_certificate::CaCertificate;
use crate::pki::crl_facts::CrlFacts;
use crate::store::{Store, foreign_crls, revocations};

/// RFC 5280 §5.3.1: on delta CRLs alone.
const REMOVE_FROM_CRL: u8 = 8;

/// A certificate that cannot be read counts as not revoked; fsck reports it. A root is never revoked by itself.
pub(super) async fn read(
    store: &Store,
    issuers: &[Issuer],
    certificates: &[IssuerCertificate],
) -> Result<HashMap<IssuerCertificateId, Timestamp>> {
    let parsed: Vec<_> = certificates.iter().filter_map(|c| Some((c, CaCertificate::read(&c.der).ok()?))).collect();
    let mut revoked = HashMap::new();
    for (certificate, ca) in parsed.iter().filter(|(_, ca)| ca.subject != ca.issuer) {
        let Ok(serial) = ca.serial() else { continue };
        let above = |id: IssuerId| parsed.iter().any(|(c, other)| c.issuer_id == id && other.fits_above(ca));
        for issuer in issuers.iter().filter(|issuer| above(issuer.id)) {
            if let Some(found) = revocations::find(store, issuer.id, &serial).await? {
                revoked.insert(certificate.id, found.revoked_at);
            }
        }
    }
    let foreign = foreign_crls::list(store).await?;
    for facts in foreign.iter().filter_map(|row| CrlFacts::parse(&row.der).ok()) {
        let below: Vec<_> =
            parsed.iter().filter(|(c, ca)| c.certificate_id.is_none() && ca.issuer == facts.issuer).collect();
        if below.is_empty() {
            continue;
        }
        // stored CRLs were verified when they came
        for entry in facts.entries().filter(|entry| entry.reason != Some(REMOVE_FROM_CRL)) {
            for (certificate, ca) in &below {
                if ca.serial().is_ok_and(|serial| serial.octets() == entry.serial) {
                    revoked.insert(certificate.id, entry.revoked_at);
                }
            }
        }
    }
    Ok(revoked)
}
