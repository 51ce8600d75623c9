//! The proof that `chancery reconcile` began an epoch, sealed under the unlock key, and under the status key for locked processes. Figures of a lower epoch are not compared,
//! so whoever could raise the epoch by writing its row would hide an older or a changed database.

use crate::authority::Authority;
use crate::error::{Error, Result};
use crate::model::actor::Actor;
use crate::model::anchor::Lack;
use crate::pki::signer::KeyPurpose;
use crate::store::{Tx, hierarchy, secrets};

/// Names of the shared secrets and labels of their seals, followed by the epoch. A locked process knows the proof that lies
/// under the status key.
const BEGUN: &str = "epoch:";
const STATUS_BEGUN: &str = "status-epoch:";

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
        secrets::insert(&mut *tx, &name, &proof, now).await?;
        self.prove_epoch_to_locked(tx, &installation.id, epoch).await
    }

    async fn prove_epoch_to_locked(&self, tx: &mut Tx, installation: &[u8], epoch: i64) -> Result<()> {
        if !self.keys.can_open(KeyPurpose::Responder) {
            return Ok(());
        }
        let (name, now) = (format!("{STATUS_BEGUN}{epoch}"), tx.now());
        let proof = self.keys.seal_status(&name, installation, b"begun".to_vec())?;
        secrets::delete(&mut *tx, &name).await?;
        secrets::insert(&mut *tx, &name, &proof, now).await
    }

    /// Proves an epoch to locked processes that an earlier version began.
    pub(super) async fn keep_epoch_proof(&self) -> Result<()> {
        let found = self.read_history(None).await?;
        let (Some(installation), epoch) = (found.installation, found.figures.epoch) else { return Ok(()) };
        let can_prove = epoch > 0 && self.keys.can_open(KeyPurpose::Internal);
        if !can_prove
            || self.is_proved_to_locked(&installation, epoch).await?
            || self.epoch_lack(&installation, epoch).await?.is_some()
        {
            return Ok(());
        }
        let mut tx = self.store.begin(&Actor::system("anchor")).await?;
        self.prove_epoch_to_locked(&mut tx, &installation, epoch).await?;
        tx.commit().await
    }

    async fn is_proved_to_locked(&self, installation: &[u8], epoch: i64) -> Result<bool> {
        let name = format!("{STATUS_BEGUN}{epoch}");
        let proof = secrets::find(&self.store, &name).await?;
        Ok(proof.is_some_and(|proof| self.keys.open_status(&name, installation, proof).is_ok()))
    }

    /// Did something other than `chancery reconcile` raise the epoch? A process without any key cannot tell.
    pub(super) async fn epoch_lack(&self, installation: &[u8], epoch: i64) -> Result<Option<Lack>> {
        if !self.keys.can_open(KeyPurpose::Internal) {
            let cannot_tell = !self.keys.can_open(KeyPurpose::Responder);
            let is_proved = cannot_tell || self.is_proved_to_locked(installation, epoch).await?;
            return Ok((!is_proved).then_some(Lack::UnprovedEpoch { found: epoch }));
        }
        let name = format!("{BEGUN}{epoch}");
        let proof = secrets::find(&self.store, &name).await?;
        let is_proved = proof.is_some_and(|proof| self.keys.open_secret(&name, installation, &proof).is_ok());
        Ok((!is_proved).then_some(Lack::UnprovedEpoch { found: epoch }))
    }
}
