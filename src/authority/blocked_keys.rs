//! Keys that somebody blocks without a certificate: a key that was found in a public place, or on a stolen machine. What
//! follows is what follows a revocation for keyCompromise (`compromise.rs`).

use serde_json::json;

use super::{Authority, compromise, withdrawn};
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::blocked_key::{BlockedKey, KeyFingerprint};
use crate::model::certificate::RevokeKey;
use crate::model::id::CertificateId;
use crate::model::reason::RevocationReason;
use crate::pki::key_policy::sha256;
use crate::store::versions::{self, Topic};
use crate::store::{blocked_keys, certificates, jobs};

/// The longest comment, in characters.
const COMMENT: usize = 500;

/// A key to block: its fingerprint, and the key itself where it is known, by which its ACME accounts are found at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyToBlock {
    pub fingerprint: KeyFingerprint,
    /// SubjectPublicKeyInfo in DER.
    pub spki: Option<Vec<u8>>,
}

impl From<KeyFingerprint> for KeyToBlock {
    fn from(fingerprint: KeyFingerprint) -> Self {
        KeyToBlock { fingerprint, spki: None }
    }
}

impl KeyToBlock {
    pub fn of_spki(spki: Vec<u8>) -> Self {
        KeyToBlock { fingerprint: KeyFingerprint(sha256(&spki)), spki: Some(spki) }
    }
}

impl Authority {
    /// Blocks a key, ends the ACME accounts that it signs for, and has its certificates revoked.
    pub async fn block_key(
        &self,
        actor: &Actor,
        key: impl Into<KeyToBlock>,
        reason: RevocationReason,
        comment: &str,
    ) -> Result<BlockedKey> {
        check(reason, comment)?;
        let KeyToBlock { fingerprint: key, spki } = key.into();
        let snapshot = self.snapshot();
        if snapshot.check_own_key(&key.0, ErrorKind::Conflict).is_err() {
            let value = format!(
                "key {key} is one that this CA holds itself (an issuer's, an OCSP responder's or the audit's)"
            );
            let fix = "revoke the certificate of the issuer with `chancery revoke ISSUER --reason keyCompromise`";
            let sentence = format!("{value}; {fix}");
            return Err(
                Error::refused(ErrorKind::Conflict, "key.own", value, "a key of others", fix).saying(sentence)
            );
        }
        let mut tx = self.store.begin(actor).await?;
        // whoever takes a key for an account or lifts a hold holds that row, so that it sees the block or is seen here
        versions::bump(&mut tx, Topic::Revocations).await?;
        let now = tx.now();
        let version = withdrawn::told_of(&mut tx, &format!("key:{key}")).await?.next_version;
        if !blocked_keys::insert(&mut tx, key, reason.name(), comment, now, version).await? {
            let detail = format!("key {key} is blocked already; `chancery key list` shows since when and why");
            return Err(Error::new(ErrorKind::Conflict, detail));
        }
        let ended = match &spki {
            Some(spki) => compromise::end_accounts_with(&mut tx, spki).await?,
            None => compromise::end_accounts_of_key(&mut tx, &key.0).await?,
        };
        let first = certificates::of_key(&mut tx, &key.0, CertificateId::from_bytes([0; 16]), 1).await?;
        if let Some(certificate) = first.first() {
            let payload = RevokeKey { certificate: certificate.id };
            let text = serde_json::to_string(&payload).map_err(|e| Error::internal("a job does not serialise", e))?;
            jobs::enqueue(&mut tx, RevokeKey::KIND, &text, now).await?;
        }
        let detail = json!({"reason": reason.name(), "comment": comment, "accounts_ended": ended});
        tx.audit(AuditEvent::done("key.blocked", format!("key:{key}"), detail));
        let blocked = blocked_keys::find(&mut tx, key).await?;
        tx.commit().await?;
        self.forget_answers();
        blocked.ok_or_else(|| Error::inconsistent(format!("the block of key {key} is missing")))
    }

    /// Lets a key be certified again. Only one that no certificate here has: those were revoked with it, and stay so.
    pub async fn unblock_key(&self, actor: &Actor, key: KeyFingerprint) -> Result<BlockedKey> {
        let mut tx = self.store.begin(actor).await?;
        versions::bump(&mut tx, Topic::Revocations).await?;
        let missing = || Error::not_found(format!("blocked key {key}"));
        let blocked = blocked_keys::find(&mut tx, key).await?.ok_or_else(missing)?;
        if blocked.certificates > 0 {
            // a job revokes them after the block
            let (have, are) = match blocked.certificates {
                1 => ("certificate here has", "is"),
                _ => ("certificates here have", "are"),
            };
            let count = blocked.certificates;
            let value = format!("{count} {have} key {key} and {are} revoked within seconds of its block");
            let fix = "make a new key";
            let sentence = format!("{value}, so it stays blocked; {fix}");
            let allowed = "a key that no certificate here has";
            return Err(Error::refused(ErrorKind::Conflict, "key.unblock", value, allowed, fix).saying(sentence));
        }
        self.store.row_macs().check_taking_back()?;
        let version = withdrawn::told_of(&mut tx, &format!("key:{key}")).await?.next_version;
        blocked_keys::remove(&mut tx, key, version).await?;
        let detail = json!({"reason": blocked.reason, "comment": blocked.comment, "blocked_at": blocked.blocked_at,
            "blocked_by": blocked.blocked_by});
        tx.audit(AuditEvent::done("key.unblocked", format!("key:{key}"), detail));
        tx.commit().await?;
        Ok(blocked)
    }

    pub async fn blocked_keys(&self, after: Option<KeyFingerprint>, limit: u16) -> Result<Vec<BlockedKey>> {
        blocked_keys::list(&self.store, after, limit).await
    }
}

fn check(reason: RevocationReason, comment: &str) -> Result<()> {
    if !reason.blocks_key() {
        let value = format!("reason {} says nothing of the key", reason.name());
        let (allowed, fix) = ("keyCompromise or cACompromise", "give keyCompromise, or leave the reason out");
        let sentence = format!("{value}; {fix}");
        let refused = Error::refused(ErrorKind::BadRevocationReason, "key.reason", value, allowed, fix);
        return Err(refused.saying(sentence));
    }
    if comment.chars().count() > COMMENT || comment.chars().any(char::is_control) {
        return Err(Error::malformed(format!("a comment is one line of at most {COMMENT} characters")));
    }
    Ok(())
}
