//! The fingerprint of the audit's key in the anchor. Whoever clears the audit's seal and all checkpoints in the database would
//! else have the server make a new key and sign a forged history with it.

use crate::authority::Authority;
use crate::error::{Error, Result};
use crate::model::anchor::{CheckpointFigure, Figures, Lack};
use crate::pki::signer::KeyPurpose;
use crate::store::history::{self, FoundHistory};

impl Authority {
    /// The figures of the database, with the fingerprint of the audit's key where the unlock key is at hand.
    pub(in crate::authority) async fn read_history(&self, known: Option<&CheckpointFigure>) -> Result<FoundHistory> {
        let mut found = history::read(&self.store, known).await?;
        found.figures.audit_key = self.fingerprint_of_seal(&found);
        Ok(found)
    }

    /// A seal that cannot be opened names no key. One that was opened before is not opened again.
    fn fingerprint_of_seal(&self, found: &FoundHistory) -> Option<String> {
        let (installation, sealed) = found.installation.as_ref().zip(found.audit_seal.as_ref())?;
        if !self.keys.can_open(KeyPurpose::Internal) {
            return None;
        }
        let known = self.anchor.state().opened_seal.clone();
        if let Some((_, fingerprint)) = known.filter(|(known, _)| known == sealed) {
            return fingerprint;
        }
        let key =
            self.open_audit_seal(installation, sealed).and_then(|seal| Authority::verifier(installation, &seal));
        let fingerprint = key.ok().map(|key| key.fingerprint());
        self.anchor.state().opened_seal = Some((sealed.clone(), fingerprint.clone()));
        fingerprint
    }

    /// A locked process cannot tell.
    pub(super) fn audit_key_lack(&self, remembered: &Figures, found: &Figures) -> Option<Lack> {
        if found.epoch > remembered.epoch || !self.keys.can_open(KeyPurpose::Internal) {
            return None;
        }
        let key = remembered.audit_key.clone()?;
        let is_other = found.audit_key.as_ref() != Some(&key);
        is_other.then(|| Lack::AuditKey { remembered: key, found: found.audit_key.clone() })
    }

    /// Refuses to make a key of the audit where one is remembered. After `chancery reconcile` the epoch is higher.
    pub(in crate::authority) fn check_new_audit_key(&self, epoch: i64) -> Result<()> {
        let memory = self.anchor.memory().filter(|memory| memory.figures.epoch >= epoch);
        let Some(remembered) = memory.and_then(|memory| memory.figures.audit_key) else { return Ok(()) };
        let lack = Lack::AuditKey { remembered, found: None };
        Err(Error::inconsistent(format!("no other key of the audit is made: {lack}; run `chancery audit verify`")))
    }
}
