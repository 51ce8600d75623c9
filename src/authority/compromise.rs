//! A key that is no longer its owner's alone. The revocation that says so blocks the key, ends the ACME accounts that it
//! signs for and revokes the issuer whose key it is, all in its own transaction; a job that is enqueued there revokes
//! the key's other certificates. Issuances under way are refused at their intent or at their outcome, whichever comes
//! after the block. Running the job twice is harmless: it revokes what is not revoked, each under its row's lock.

use serde_json::json;

use super::revoke::{raise_locked, revoke_locked};
use super::{Authority, withdrawn};
use crate::error::{Error, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::certificate::{Certificate, RevokeKey, ShownStatus};
use crate::model::id::{AccountId, CertificateId};
use crate::model::reason::RevocationReason;
use crate::model::serial::to_hex;
use crate::pki::key_policy::sha256;
use crate::pki::tbs::TbsView;
use crate::store::jobs::{self, ClaimedJob};
use crate::store::versions::{self, Topic};
use crate::store::{Tx, accounts, authorizations, certificates, hierarchy, orders, revocations};

const PAGE: i64 = 100;
const ACCOUNTS: i64 = 2_000;

/// In the transaction of the revocation, after it has moved the revocation version: whoever takes a key for an account
/// holds that row, so that it sees the block or is seen here.
pub(super) async fn block(tx: &mut Tx, certificate: &Certificate, reason: RevocationReason) -> Result<()> {
    let (now, by, key) = (tx.now(), tx.actor().to_string(), certificate.spki_sha256);
    let version = withdrawn::told_of(tx, &format!("key:{}", to_hex(&key))).await?.next_version;
    revocations::block_key(tx, &key, reason.name(), now, &by, version).await?;
    let ended = end_accounts(tx, certificate.id).await?;
    let revoked = hierarchy::revoke_of_certificate(&mut *tx, certificate.id).await? > 0;
    if revoked {
        versions::bump(&mut *tx, Topic::Hierarchy).await?;
    }
    let payload = RevokeKey { certificate: certificate.id };
    let text = serde_json::to_string(&payload).map_err(|e| Error::internal("a job does not serialise", e))?;
    jobs::enqueue(tx, RevokeKey::KIND, &text, now).await?;
    let detail = json!({"certificate": certificate.id, "reason": reason.name(), "accounts_ended": ended,
        "issuer_revoked": revoked});
    tx.audit(AuditEvent::done("key.blocked", format!("key:{}", to_hex(&key)), detail));
    Ok(())
}

/// Ends the accounts that sign with the certificate's key, with their open orders and authorizations.
async fn end_accounts(tx: &mut Tx, id: CertificateId) -> Result<usize> {
    let Some((tbs, _)) = certificates::body(&mut *tx, id).await? else { return Ok(0) };
    let unreadable = |e| Error::inconsistent(format!("the bytes of certificate {id} cannot be read")).because(e);
    let spki = TbsView::parse(&tbs).map_err(unreadable)?.spki.to_vec();
    end_accounts_with(tx, &spki).await
}

/// Ends the accounts of a key of which only the SHA-256 is known. This reads the keys of all accounts.
pub(super) async fn end_accounts_of_key(tx: &mut Tx, spki_sha256: &[u8; 32]) -> Result<usize> {
    let (mut after, mut ended) = (AccountId::from_bytes([0; 16]), 0);
    loop {
        let page = accounts::public_keys(&mut *tx, after, ACCOUNTS).await?;
        let Some((last, _)) = page.last() else { return Ok(ended) };
        after = *last;
        for (_, key) in page.iter().filter(|(_, key)| sha256(key) == *spki_sha256) {
            ended += end_accounts_with(tx, key).await?;
        }
    }
}

pub(super) async fn end_accounts_with(tx: &mut Tx, spki: &[u8]) -> Result<usize> {
    tx.accounts_change();
    let ended = accounts::revoke_by_key(&mut *tx, spki).await?;
    for account in &ended {
        authorizations::deactivate_of_account(&mut *tx, *account).await?;
        orders::fail_of_account(&mut *tx, *account).await?;
        tx.audit(AuditEvent::done("account.revoked", format!("account:{account}"), json!({"why": "keyCompromise"})));
    }
    Ok(ended.len())
}

impl Authority {
    /// The job: revokes every other certificate of the key, intents among them.
    pub async fn revoke_compromised(&self, job: &ClaimedJob) -> Result<()> {
        let unreadable = || Error::inconsistent(format!("the payload of {} cannot be read", job.id));
        let payload: RevokeKey = serde_json::from_str(&job.payload).map_err(|e| unreadable().because(e))?;
        let told = certificates::find(&self.store, payload.certificate).await?;
        let key = told
            .ok_or_else(|| Error::inconsistent(format!("certificate {} is missing", payload.certificate)))?
            .spki_sha256;
        let mut after = CertificateId::from_bytes([0; 16]);
        loop {
            let page = certificates::of_key(&self.store, &key, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for certificate in &page {
                self.revoke_with(certificate.id, payload.certificate).await?;
            }
        }
        jobs::finish(&self.store, job).await
    }

    async fn revoke_with(&self, id: CertificateId, cause: CertificateId) -> Result<()> {
        let mut tx = self.store.begin(&Actor::job("key-compromise")).await?;
        let Some(certificate) = certificates::lock(&mut tx, id).await? else { return Ok(()) };
        let reason = RevocationReason::KeyCompromise;
        let (first, certificate) = match certificate.shown_status(tx.now()) {
            ShownStatus::Valid | ShownStatus::Intended => {
                (true, revoke_locked(&mut tx, certificate, reason.into(), Some(cause)).await?)
            }
            // a hold could be lifted
            ShownStatus::Revoked if certificate.is_on_hold() => {
                (false, raise_locked(&mut tx, certificate, reason.into(), Some(cause)).await?)
            }
            ShownStatus::Revoked | ShownStatus::Expired => return Ok(()),
        };
        if hierarchy::revoke_of_certificate(&mut tx, id).await? > 0 {
            versions::bump(&mut tx, Topic::Hierarchy).await?;
        }
        tx.commit().await?;
        self.after_revocation(&certificate, reason, first);
        Ok(())
    }
}
