//! The audit's seal: the key of its notes and its newest checkpoint, kept under the unlock key in the row of the
//! installation. The server signs on only where the table of checkpoints is what the seal says, so whoever can write
//! rows alone cannot have a forged history signed. Clearing the seal makes a new key, whose fingerprint is another one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::Authority;
use crate::error::{Error, Result};
use crate::model::audit::{AuditSeal, Checkpoint, origin};
use crate::model::id::{CheckpointId, KeyId};
use crate::model::key::KeyAlgorithm;
use crate::model::serial::to_hex;
use crate::pki::algorithm::verify;
use crate::pki::signed_note::VerifierKey;
use crate::pki::signer::{KeyPurpose, SealedKey};
use crate::store::engine::On;
use crate::store::{Tx, checkpoints, hierarchy};

const LABEL: &str = "audit-seal";
const PAGE: i64 = 500;

impl Authority {
    /// What the installation keeps of its audit; none before the first checkpoint of this version. Needs the unlock key.
    pub(super) async fn audit_seal<'a>(
        &self,
        on: impl Into<On<'a>>,
        installation: &[u8],
    ) -> Result<Option<AuditSeal>> {
        let Some(sealed) = checkpoints::seal(on).await? else { return Ok(None) };
        self.open_audit_seal(installation, &sealed).map(Some)
    }

    pub(super) fn open_audit_seal(&self, installation: &[u8], sealed: &[u8]) -> Result<AuditSeal> {
        let opened = self.keys.open_secret(LABEL, installation, sealed)?;
        serde_json::from_slice(&opened).map_err(|e| {
            Error::inconsistent("the audit's seal in the row of the installation is not JSON").because(e)
        })
    }

    /// The key that a seal names.
    pub(super) fn verifier(installation: &[u8], seal: &AuditSeal) -> Result<VerifierKey> {
        let none = || Error::inconsistent("the audit's key is not an Ed25519 key");
        let public_key = BASE64.decode(&seal.public_key).map_err(|e| none().because(e))?;
        VerifierKey::of(&origin(installation), &public_key).map_err(|e| none().because(e))
    }

    pub(super) async fn set_audit_seal(&self, tx: &mut Tx, installation: &[u8], seal: &AuditSeal) -> Result<()> {
        let text = serde_json::to_vec(seal).map_err(|e| Error::internal("the audit's seal does not serialise", e))?;
        checkpoints::set_seal(&mut *tx, self.keys.seal_secret(LABEL, installation, &text)?).await
    }

    /// The key that the seal names, with its private half under the unlock key.
    pub(super) async fn sealed_audit_key<'a>(&self, on: impl Into<On<'a>>, seal: &AuditSeal) -> Result<SealedKey> {
        let lost = |what: &str| {
            Error::inconsistent(format!(
                "the row {} of the table keys, the key of the audit, {what}, so no checkpoint is signed; the key never changes: \
                 copy its row from any backup of this database, then run `chancery audit verify`",
                seal.key_id
            ))
        };
        let key = hierarchy::key(on, seal.key_id).await?.ok_or_else(|| lost("is gone"))?;
        if BASE64.encode(&key.public_key) != seal.public_key {
            return Err(lost("holds another public key"));
        }
        Ok(key)
    }

    pub(super) async fn new_audit_key(&self, tx: &mut Tx) -> Result<SealedKey> {
        let (now, store) = (tx.now(), tx.store().clone());
        let id = KeyId::new(now, store.entropy.as_ref())?;
        let key = self.keys.generate(id, KeyAlgorithm::Ed25519, KeyPurpose::Internal)?;
        hierarchy::insert_key(tx, &key, now).await?;
        Ok(key)
    }

    /// Refuses a table of checkpoints that does not go on from the seal.
    pub(super) async fn check_seal(&self, tx: &mut Tx, seal: &AuditSeal) -> Result<()> {
        let newest = checkpoints::find(&mut *tx, seal.checkpoint).await?;
        let later = checkpoints::walk(&mut *tx, seal.checkpoint, PAGE).await?;
        goes_on(seal, newest, later)
    }

    /// Whether checkpoints can go on from the newest one. Reads two rows; `audit verify` reads all.
    pub(super) async fn check_newest_checkpoint(&self) -> Result<()> {
        let Some(row) = hierarchy::installation(&self.store).await? else { return Ok(()) };
        let Some(seal) = self.audit_seal(&self.store, &row.id).await? else { return Ok(()) };
        let key = self.sealed_audit_key(&self.store, &seal).await?;
        if let Err(error) = self.keys.open(&key) {
            let detail = format!(
                "the row {} of the table keys, the key of the audit, cannot be opened, so no checkpoint is signed; copy it from \
                 any backup of this database",
                seal.key_id
            );
            return Err(Error::inconsistent(detail).because(error));
        }
        let later = checkpoints::walk(&self.store, seal.checkpoint, PAGE).await?;
        goes_on(&seal, checkpoints::find(&self.store, seal.checkpoint).await?, later)
    }

    /// The seal that stands once `made` is the newest checkpoint.
    pub(super) fn next_seal(key: &SealedKey, number: u64, made: &Checkpoint) -> AuditSeal {
        AuditSeal {
            key_id: key.id,
            public_key: BASE64.encode(&key.public_key),
            number,
            checkpoint: made.id,
            sha256: to_hex(&made.sha256()),
        }
    }

    /// Checkpoints after `after`, in the order that they were made; a page of them.
    pub async fn checkpoints_after(&self, after: CheckpointId) -> Result<Vec<Checkpoint>> {
        checkpoints::walk(&self.store, after, PAGE).await
    }

    pub async fn newest_checkpoint(&self) -> Result<Option<Checkpoint>> {
        checkpoints::latest(&self.store).await
    }

    /// Name and public key that notes of this installation verify with; none before the first. While the server is locked
    /// it is the key of the newest checkpoint, as the database has it.
    pub async fn audit_key(&self) -> Result<Option<VerifierKey>> {
        let Some(row) = hierarchy::installation(&self.store).await? else { return Ok(None) };
        let public_key = if self.keys.can_open(KeyPurpose::Internal) {
            let seal = self.audit_seal(&self.store, &row.id).await?;
            seal.and_then(|seal| BASE64.decode(seal.public_key).ok())
        } else {
            match checkpoints::latest(&self.store).await?.filter(|latest| !latest.note.is_empty()) {
                Some(latest) => hierarchy::key(&self.store, latest.key_id).await?.map(|key| key.public_key),
                None => None,
            }
        };
        let Some(public_key) = public_key else { return Ok(None) };
        let key = VerifierKey::of(&origin(&row.id), &public_key);
        key.map(Some).map_err(|e| Error::inconsistent("the audit's key is not an Ed25519 key").because(e))
    }
}

/// Refuses when the newest checkpoint was changed or removed, or when one follows that the key did not sign. An earlier
/// version beside this one signs with the same key, without a note.
fn goes_on(seal: &AuditSeal, newest: Option<Checkpoint>, later: Vec<Checkpoint>) -> Result<()> {
    let changed = |id: CheckpointId, what: &str| {
        Err(Error::inconsistent(format!(
            "audit checkpoint {id} {what}, so no further checkpoint is signed; run `chancery audit verify` and restore the database"
        )))
    };
    let Some(mut before) = newest.filter(|found| to_hex(&found.sha256()) == seal.sha256) else {
        return changed(seal.checkpoint, "was changed or removed in the database");
    };
    let public_key = BASE64.decode(&seal.public_key).unwrap_or_default();
    for next in later {
        let follows = next.read()?.previous == Some(to_hex(&before.sha256()));
        if !follows || verify(&public_key, &next.message(), &next.signature).is_err() {
            return changed(next.id, "was not made by this CA");
        }
        before = next;
    }
    Ok(())
}
