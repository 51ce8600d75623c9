//! Revocations that say that their certificate has expired, compared with the certificate that was signed. A list takes up
//! what has not expired, so whoever could shorten the end would take a revoked certificate off it. What was shortened gets
//! the signed end back. Each look goes on where the one before ended.

use std::collections::BTreeMap;

use serde_json::json;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Authority;
use crate::clock::Timestamp;
use crate::error::{ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::id::CertificateId;
use crate::pki::algorithm::verify;
use crate::pki::imported::ImportedCertificate;
use crate::pki::tbs::TbsView;
use crate::store::revocations::{self, Ended};
use crate::store::row_macs::ChangedRow;
use crate::store::versions::{self, Topic};
use crate::store::{certificates, hierarchy};

/// Revocations of one look: those of a few years where few are revoked.
const MOST: i64 = 5_000;

/// The issuer and the serial of the revocation that was looked at last.
pub(super) type EndsLookedAt = (Vec<u8>, Vec<u8>);

impl Authority {
    pub(super) async fn look_at_ends(&self, after: &mut EndsLookedAt) -> Result<BTreeMap<String, ChangedRow>> {
        let (mut found, now) = (BTreeMap::new(), self.store.now());
        let page = revocations::ended(&self.store, after, now, MOST).await?;
        let is_full = i64::try_from(page.len()).is_ok_and(|count| count == MOST);
        let last = page.last().map(|last| (last.issuer_id.to_vec(), last.serial.octets().to_vec()));
        for ended in page {
            let Some((id, end)) = self.signed_end(&ended).await? else { continue };
            if end <= ended.not_after.truncated() {
                continue;
            }
            self.lengthen(&ended, id, end).await?;
            let what = format!(
                "was taken off the lists in the database: its revocation said that it expired at {}, and it was signed until {end}; \
                 it is listed again",
                ended.not_after
            );
            found.insert(format!("certificate:{id}"), ChangedRow { what, has_good_mac: false });
        }
        *after = last.filter(|_| is_full).unwrap_or_default();
        Ok(found)
    }

    /// The certificate and its end as it was signed. Where its bytes are gone, or only a CRL tells of it, it may be valid as long
    /// as its issuer. None where its issuer did not sign what is there.
    async fn signed_end(&self, ended: &Ended) -> Result<Option<(CertificateId, Timestamp)>> {
        let is_of = |tbs: &[u8]| TbsView::parse(tbs).is_ok_and(|view| view.serial == ended.serial.octets());
        let (id, tbs, der) = match &ended.body {
            Some((tbs, der)) if is_of(tbs) => (ended.certificate_id, tbs.clone(), der.clone()),
            // it may name another certificate
            _ => {
                let own = match certificates::find_by_serial_of(&self.store, ended.issuer_id, &ended.serial).await {
                    // a row that makes no sense is named by fsck, and the others are looked at
                    Err(error) if matches!(error.kind, ErrorKind::Inconsistent | ErrorKind::Malformed) => None,
                    found => found?,
                };
                let Some(own) = own else { return Ok(self.latest_end(ended, ended.certificate_id)) };
                let Some((tbs, _)) = certificates::body(&self.store, own.id).await? else {
                    return Ok(self.latest_end(ended, own.id));
                };
                (own.id, tbs, certificates::der(&self.store, own.id).await?)
            }
        };
        let snapshot = self.snapshot();
        let Some(issuer) = snapshot.issuer_by_id(ended.issuer_id) else { return Ok(None) };
        if let Some(der) = der {
            let Ok((_, parsed)) = X509Certificate::from_der(&der) else { return Ok(None) };
            let key = issuer.public_key();
            let signed = parsed.tbs_certificate.as_ref();
            let is_signed = verify(key, signed, &parsed.signature_value.data).is_ok()
                || ImportedCertificate::parse(&der).is_ok_and(|imported| imported.verify(key).is_ok());
            if !is_signed {
                return Ok(None);
            }
            return Ok(end_of(signed).filter(|_| is_of(signed)).map(|end| (id, end)));
        }
        // what was intended and never signed is listed until the end that it would have had
        Ok(end_of(&tbs).filter(|_| is_of(&tbs)).map(|end| (id, end)))
    }

    /// The first end of the issuer's certificates: what it signed under an earlier one may be listed until then.
    fn latest_end(&self, ended: &Ended, id: CertificateId) -> Option<(CertificateId, Timestamp)> {
        let snapshot = self.snapshot();
        let issuer = snapshot.issuer_by_id(ended.issuer_id)?;
        issuer.certificates.iter().map(|own| own.not_after).min().map(|end| (id, end))
    }

    async fn lengthen(&self, ended: &Ended, id: CertificateId, end: Timestamp) -> Result<()> {
        let mut tx = self.store.begin(&Actor::system("row MACs")).await?;
        hierarchy::lock_issuer(&mut tx, ended.issuer_id).await?;
        revocations::lengthen(&mut tx, ended.issuer_id, &ended.serial, end).await?;
        revocations::note_change(&mut tx, ended.issuer_id).await?;
        versions::bump(&mut tx, Topic::Revocations).await?;
        let detail = json!({"serial": ended.serial, "found": ended.not_after, "signed": end});
        tx.audit(AuditEvent::done("revocation.end_restored", format!("certificate:{id}"), detail));
        tx.commit().await
    }
}

fn end_of(tbs: &[u8]) -> Option<Timestamp> {
    Some(TbsView::parse(tbs).ok()?.validity.not_after())
}
