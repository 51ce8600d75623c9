//! Signed checkpoints of the audit: without them the newest events of a chain could be cut off and the rest would
//! still be whole. Each is also a signed note, which is published outside (`server/checkpoint_targets.rs`). One is made
//! every hour in which something happened, by whichever replica comes first; its hash also goes to the log. Making two is
//! harmless: the second finds a young one under the lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Authority;
use super::audit_coverage::OVERLAP;
use crate::clock::{Timestamp, hours};
use crate::error::{Error, Result};
use crate::model::actor::Actor;
use crate::model::audit::{Checkpoint, Heads, origin};
use crate::model::id::CheckpointId;
use crate::model::serial::to_hex;
use crate::pki::signed_note::VerifierKey;
use crate::pki::signer::{KeyPurpose, SealedKey, Signer};
use crate::store::{checkpoints, hierarchy};

const EVERY: Duration = hours(1);

/// A start is quiet: a process logs its checkpoints from the second on, which holds the hash of the first.
static TOLD: AtomicBool = AtomicBool::new(false);

impl Authority {
    /// Makes a checkpoint if one is due. A locked server, which cannot open the key, leaves it to others.
    pub async fn checkpoint_due(&self) -> Result<bool> {
        if !self.keys.can_open(KeyPurpose::Internal) || !self.store.may_sign().await? {
            return Ok(false);
        }
        let mut tx = self.store.begin(&Actor::job("audit-checkpoint")).await?;
        tx.raw().lock_installation().await?;
        let now = tx.now();
        let last = checkpoints::latest(&mut tx).await?;
        // events from now on are compared with a checkpoint of their own time
        let was_set_back = last.as_ref().is_some_and(|last| now < last.at - OVERLAP);
        if !was_set_back && last.as_ref().is_some_and(|last| now.since(last.at) < EVERY) {
            return Ok(false);
        }
        let usual = last.as_ref().filter(|_| !was_set_back).map(|last| last.at - OVERLAP);
        let since = usual.unwrap_or(Timestamp::from_micros(0));
        let heads = checkpoints::heads(&mut tx, since).await?;
        let before = last.as_ref().map(Checkpoint::read).transpose()?;
        if heads.iter().all(|head| before.as_ref().is_some_and(|before| before.heads.contains(head))) {
            return Ok(false);
        }
        let heads = Heads { previous: last.as_ref().map(|last| to_hex(&last.sha256())), heads };
        let installation = hierarchy::installation(&mut tx).await?;
        let installation = installation.ok_or_else(|| Error::inconsistent("the installation row is gone"))?;
        let (installation, epoch) = (installation.id, installation.epoch);
        let (key, number) = match self.audit_seal(&mut tx, &installation).await? {
            Some(seal) => {
                self.check_seal(&mut tx, &seal).await?;
                (self.sealed_audit_key(&mut tx, &seal).await?, seal.number + 1)
            }
            None => {
                self.check_new_audit_key(epoch)?;
                (self.new_audit_key(&mut tx).await?, 1)
            }
        };
        let id = self.id_after(last.as_ref(), now)?;
        let made = self.signed((id, now), &heads, &key, &origin(&installation), number).await?;
        checkpoints::insert(&mut tx, &made).await?;
        self.set_audit_seal(&mut tx, &installation, &Authority::next_seal(&key, number, &made)).await?;
        tx.commit().await?;
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit 52 bits")]
        metrics::gauge!("chancery_audit_last_checkpoint_timestamp_seconds").set(now.secs() as f64);
        let (sha256, chains) = (to_hex(&made.sha256()), heads.heads.len());
        if TOLD.swap(true, Ordering::Relaxed) {
            tracing::info!(checkpoint = %made.id, sha256, chains, "audit checkpoint");
        } else {
            tracing::debug!(checkpoint = %made.id, sha256, chains, "audit checkpoint");
        }
        Ok(true)
    }

    /// Checkpoints are walked in the order of their ids, also where the clock was set back.
    fn id_after(&self, last: Option<&Checkpoint>, now: Timestamp) -> Result<CheckpointId> {
        let fresh = CheckpointId::new(now, self.store.entropy.as_ref())?;
        let next =
            |last: &Checkpoint| CheckpointId::from_bytes((u128::from_be_bytes(last.id.bytes()) + 1).to_be_bytes());
        Ok(last.map_or(fresh, |last| fresh.max(next(last))))
    }

    /// Signs the row as earlier versions read it, and the note that fixes the row.
    async fn signed(
        &self,
        (id, at): (CheckpointId, Timestamp),
        heads: &Heads,
        key: &SealedKey,
        origin: &str,
        number: u64,
    ) -> Result<Checkpoint> {
        let text = serde_json::to_string(heads).map_err(|e| Error::internal("heads do not serialise", e))?;
        let mut made = Checkpoint { id, at, heads: text, key_id: key.id, signature: Vec::new(), note: String::new() };
        let signer = self.keys.open(key)?;
        let failed = |e| Error::internal("the audit checkpoint could not be signed", e);
        made.signature = Signer::sign(signer.as_ref(), &made.message()).await.map_err(failed)?;
        let verifier = VerifierKey::of(origin, &key.public_key);
        let verifier = verifier.map_err(|e| Error::internal("the audit's key signs no notes", e))?;
        let text = made.note_text(origin, number);
        let signature = Signer::sign(signer.as_ref(), text.as_bytes()).await.map_err(failed)?;
        made.note = verifier.note(&text, &signature);
        Ok(made)
    }
}
