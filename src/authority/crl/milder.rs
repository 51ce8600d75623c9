//! A CRL that says less of a certificate than the one before it. That is right where the certificate has expired or its hold was
//! lifted. Else somebody changed or deleted its revocation in the database, and it is put back from the audit before the CRL is
//! stored. Large lists are left to the look at every row.

use std::collections::HashMap;

use crate::authority::Authority;
use crate::error::{ErrorKind, Result};
use crate::model::id::IssuerId;
use crate::model::reason::RevocationReason;
use crate::model::serial::SerialNumber;
use crate::pki::crl_facts::{CrlEntry, CrlFacts};
use crate::store::certificates;

/// Certificates that one publication asks the audit of; the look at every row finds the others.
const MOST: usize = 200;

impl Authority {
    /// Puts back revocations that the next CRL leaves out or makes milder. Says whether there were any, so that the CRL is made
    /// anew.
    pub(super) async fn restores_milder(&self, issuer: IssuerId, next: &[u8]) -> Result<bool> {
        let kept = || self.anchor.kept(&issuer.to_string());
        let Some(before) = self.served.last_of(issuer).or_else(kept) else { return Ok(false) };
        if !self.store.row_macs().is_open() {
            return Ok(false);
        }
        let (mut restored, now) = (false, self.store.now());
        for serial in milder(&before, next).into_iter().take(MOST) {
            let certificate = match certificates::find_by_serial_of(&self.store, issuer, &serial).await {
                // a row that makes no sense is named by fsck
                Err(error) if matches!(error.kind, ErrorKind::Inconsistent | ErrorKind::Malformed) => continue,
                found => found?,
            };
            let Some(certificate) = certificate.filter(|found| found.validity.not_after() > now) else { continue };
            restored |= self.restore_revocation(certificate.id, issuer, &serial).await?;
        }
        Ok(restored)
    }
}

fn milder(before: &[u8], next: &[u8]) -> Vec<SerialNumber> {
    let (Ok(before), Ok(next)) = (CrlFacts::parse(before), CrlFacts::parse(next)) else { return Vec::new() };
    let said: HashMap<&[u8], CrlEntry<'_>> = next.entries().map(|entry| (entry.serial, entry)).collect();
    let hold = Some(RevocationReason::CertificateHold.code());
    let is_milder = |entry: &CrlEntry<'_>| {
        said.get(entry.serial)
            .is_none_or(|now| now.reason == hold && entry.reason != hold || now.revoked_at > entry.revoked_at)
    };
    before.entries().filter(is_milder).filter_map(|entry| SerialNumber::from_octets(entry.serial).ok()).collect()
}
