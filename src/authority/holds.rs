//! Holds (certificateHold, RFC 5280 §5.3.1): a revocation that can be taken back. A certificate whose hold was lifted is
//! missing on the next complete CRL, which is all that a complete CRL says of it; removeFromCRL stands in delta CRLs
//! only. Nothing else is ever taken back.

use ::der::oid::ObjectIdentifier;
use serde_json::json;

use super::revoke::reason_of;
use super::{Authority, withdrawn};
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::certificate::{Certificate, CertificateStatus};
use crate::model::id::CertificateId;
use crate::model::reason::RevocationReason;
use crate::pki::oids;
use crate::store::versions::{self, Topic};
use crate::store::{certificates, revocations};

impl Authority {
    /// Takes the hold of a certificate back: OCSP says good again, and the next CRL does not list it.
    pub async fn lift_hold(&self, actor: &Actor, id: CertificateId) -> Result<Certificate> {
        let mut tx = self.store.begin(actor).await?;
        let certificate = certificates::lock(&mut tx, id).await?;
        let mut certificate = certificate.ok_or_else(|| Error::not_found(format!("certificate {id}")))?;
        liftable(&certificate)?;
        self.store.row_macs().check_taking_back()?;
        let told = withdrawn::told_of(&mut tx, &certificate.object()).await?;
        if told.is_final {
            return Err(not_held_by_the_audit(&certificate));
        }
        // whoever blocks a key holds this row: the block is seen here, or its job finds a valid certificate
        versions::bump(&mut tx, Topic::Revocations).await?;
        if let Some(reason) = revocations::blocked(&mut tx, &certificate.spki_sha256).await? {
            return Err(key_is_blocked(&certificate, &reason));
        }
        if !certificates::lift(&mut tx, id).await? {
            return Err(Error::inconsistent(format!("certificate {id} is on hold and was never issued")));
        }
        revocations::remove(&mut tx, certificate.issuer_id, &certificate.serial, id, told.next_version).await?;
        revocations::note_change(&mut tx, certificate.issuer_id).await?;
        certificate.status = CertificateStatus::Valid;
        let detail = json!({"serial": certificate.serial, "names": certificate.names, "issuer": certificate.issuer});
        tx.audit(AuditEvent::done("certificate.hold_lifted", certificate.object(), detail));
        self.publish_roots(&mut tx, &certificate, RevocationReason::CertificateHold).await?;
        tx.commit().await?;
        self.forget_answers();
        self.revoked.notify_one();
        Ok(certificate)
    }
}

/// A hold needs a certificate that somebody has and that nothing here rests on.
pub(super) fn can_be_held(certificate: &Certificate) -> Result<()> {
    let id = certificate.id;
    let refuse = |value: String, allowed: &str, fix: String| {
        let sentence = format!("{value}; {fix}");
        Err(Error::refused(ErrorKind::Conflict, "revocation.hold", value, allowed, fix).saying(sentence))
    };
    if certificate.is_of_hierarchy() {
        return refuse(
            format!("certificate {id} is that of a CA or of its OCSP delegate, which cannot be put on hold"),
            "a certificate that no other one depends on",
            "run `chancery ca retire` to stop a CA from signing, which can be undone, or give a final reason".into(),
        );
    }
    if certificate.status == CertificateStatus::Intended {
        return refuse(
            format!("certificate {id} is not signed yet, so there is nothing to put on hold"),
            "a certificate that was issued",
            "try again in a minute, or give a final reason".into(),
        );
    }
    Ok(())
}

/// Refuses holds of code signing and timestamping certificates. Their signatures are verified for years. After a hold is
/// lifted all of them are valid again, and with them those that a thief made during the hold. RFC 3161 §4 names no hold
/// for timestamping, and the CA/Browser Forum's rules for code signing name none either.
pub(super) fn check_usages(certificate: &Certificate, usages: &[ObjectIdentifier]) -> Result<()> {
    let kind = match usages {
        usages if usages.contains(&oids::EKU_TIME_STAMPING) => "a timestamping",
        usages if usages.contains(&oids::EKU_CODE_SIGNING) => "a code signing",
        _ => return Ok(()),
    };
    let value = format!("{kind} certificate ({}) cannot be put on hold", certificate.id);
    let allowed = "superseded, cessationOfOperation, affiliationChanged or keyCompromise";
    let fix = "signatures made meanwhile would become good again when it is lifted; give a final reason, such as superseded";
    let sentence = format!("{value}, because {fix}");
    Err(Error::refused(ErrorKind::BadRevocationReason, "revocation.hold", value, allowed, fix).saying(sentence))
}

fn liftable(certificate: &Certificate) -> Result<()> {
    if certificate.is_on_hold() {
        return Ok(());
    }
    let id = certificate.id;
    let value = match reason_of(&certificate.status) {
        None => format!("certificate {id} is not revoked"),
        Some(reason) => format!("certificate {id} is revoked for {}, which is final", reason.name()),
    };
    let (allowed, fix) =
        ("a certificate revoked for certificateHold", "only a hold can be lifted; issue a new certificate");
    let sentence = match certificate.status {
        CertificateStatus::Revoked { .. } => format!("{value}; {fix}"),
        CertificateStatus::Intended | CertificateStatus::Valid => format!("{value}, so there is no hold to lift"),
    };
    Err(Error::refused(ErrorKind::Conflict, "revocation.lift", value, allowed, fix).saying(sentence))
}

fn not_held_by_the_audit(certificate: &Certificate) -> Error {
    let id = certificate.id;
    let value =
        format!("the audit says that certificate {id} was revoked for good, and its row in the database was changed");
    let fix = "only a hold can be lifted; issue a new certificate, and look at the database with `chancery fsck`";
    let sentence = format!("{value}; {fix}");
    let allowed = "a certificate that was revoked for certificateHold";
    Error::refused(ErrorKind::Conflict, "revocation.lift", value, allowed, fix).saying(sentence)
}

fn key_is_blocked(certificate: &Certificate, reason: &str) -> Error {
    let value = format!("the key of certificate {} is blocked ({reason})", certificate.id);
    let fix = "revoke the certificate for keyCompromise and issue one with a new key";
    let sentence = format!("{value}, so its hold cannot be lifted; {fix}");
    Error::refused(ErrorKind::Conflict, "key.blocked", value, "a key that is not blocked", fix).saying(sentence)
}
