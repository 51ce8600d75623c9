//! When a certificate should be renewed (RFC 9773), whoever asks and over whichever surface.

use super::Authority;
use crate::error::Result;
use crate::model::certificate::Certificate;
use crate::model::renewal::RenewalId;
use crate::store::certificates;

impl Authority {
    /// The certificate that was given out under this authority key identifier and serial number.
    pub async fn certificate_by_renewal_id(&self, id: &RenewalId) -> Result<Option<Certificate>> {
        let snapshot = self.snapshot();
        // a stranger's costs no statement
        if !snapshot.issuers.values().any(|issuer| issuer.is_named_by(&id.key_id)) {
            return Ok(None);
        }
        let found = certificates::find_by_serial(&self.store, &id.serial).await?;
        Ok(found.filter(|certificate| {
            let issuer = snapshot.issuer_by_id(certificate.issuer_id);
            certificate.fingerprint.is_some() && issuer.is_some_and(|issuer| issuer.is_named_by(&id.key_id))
        }))
    }
}
