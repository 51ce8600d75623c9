//! The proof that `chancery reconcile` began an epoch, sealed under the unlock key. Figures of a lower epoch are not compared,
//! so whoever could raise the epoch by writing its row would hide an older or a changed database.

use crate::authority::Authority;
use crate::error::{Error, Result};
use crate::model::anchor::Lack;
use crate::pki::signer::KeyPurpose;
use crate::store::{Tx, hierarchy, secrets};

/// Name of the shared secret and label of its seal, followed by the epoch.
const BEGUN: &str = "epoch:";

impl Authority {
    /// Stands in the transaction that begins the epoch.
    pub(in crate::authority) async fn prove_epoch(&self, tx: &mut Tx, epoch: i64) -> Result<()> {
        let installation = hierarchy::installation(&mut *tx).await?;
        let installation = installation.ok_or_else(|| Error::inconsistent("there is no installation"))?;
        let name = format!("{BEGUN}{epoch}");
        let proof = self.keys.seal_secret(&name, &installation.id, b"begun")?;
        let now = tx.now();
        // one that was made up gives way
        secrets::delete(&mut *tx, &name).await?;
        secrets::insert(&mut *tx, &name, &proof, now).await
    }

    /// Did something other than `chancery reconcile` raise the epoch? A locked process cannot tell.
    pub(super) async fn epoch_lack(&self, installation: &[u8], epoch: i64) -> Result<Option<Lack>> {
        if !self.keys.can_open(KeyPurpose::Internal) {
            return Ok(None);
        }
        let name = format!("{BEGUN}{epoch}");
        let proof = secrets::find(&self.store, &name).await?;
        let is_proved = proof.is_some_and(|proof| self.keys.open_secret(&name, installation, &proof).is_ok());
        Ok((!is_proved).then_some(Lack::UnprovedEpoch { found: epoch }))
    }
}
