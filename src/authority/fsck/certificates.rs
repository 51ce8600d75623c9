//! Certificates: row against to-be-signed bytes, DER, signature, serial and revocation.

use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Key, PAGE, Report, Seen};
use crate::authority::Authority;
use crate::error::Result;
use crate::model::certificate::{Certificate, CertificateStatus};
use crate::model::id::IssuerId;
use crate::pki::algorithm::verify;
use crate::pki::der::DerError;
use crate::pki::imported::{self, ImportedCertificate};
use crate::pki::tbs::TbsView;
use crate::store::certificates::{self, Walked};
use crate::store::revocations;

impl Authority {
    pub(super) async fn check_certificates(
        &self,
        keys: &HashMap<IssuerId, Key>,
        report: &mut Report,
    ) -> Result<Vec<Seen>> {
        let mut seen = Vec::new();
        let mut after = Vec::new();
        loop {
            let page = certificates::walk(&self.store, &after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(seen) };
            after.clone_from(&last.id);
            for Walked { id, read } in page {
                report.certificates += 1;
                let what = format!("the row of certificate {}", crate::model::serial::to_hex(&id));
                if let Some((certificate, tbs, der)) = report.readable(&what, read)? {
                    // the audit counts those that were imported and does not name them
                    seen.push(saw(&certificate, der.is_some() && !certificate.is_imported()));
                    self.check_one(&certificate, tbs.as_deref(), der.as_deref(), keys, report).await?;
                }
            }
        }
    }

    async fn check_one(
        &self,
        certificate: &Certificate,
        tbs: Option<&[u8]>,
        der: Option<&[u8]>,
        keys: &HashMap<IssuerId, Key>,
        report: &mut Report,
    ) -> Result<()> {
        if certificate.status == CertificateStatus::Intended {
            report.open_intents += 1;
        }
        let key = keys.get(&certificate.issuer_id).map(|key| key.spki.as_slice());
        let why = match tbs {
            Some(tbs) => disagreement(certificate, tbs, der, key),
            None => Some("its to-be-signed bytes are missing".to_owned()),
        };
        if let Some(why) = why {
            report.finding(format!("certificate {} (serial {}): {why}", certificate.id, certificate.serial));
        }
        self.check_serial(certificate, report).await?;
        self.check_revocation(certificate, report).await
    }

    /// The narrow table keeps serials unique: each certificate has its row there.
    async fn check_serial(&self, certificate: &Certificate, report: &mut Report) -> Result<()> {
        let (id, serial) = (certificate.id, &certificate.serial);
        let what = format!("the certificate that serial {serial} is reserved for");
        let found = match certificate.is_imported() {
            // another CA may have used its serial too
            true => certificates::find_by_serial_of(&self.store, certificate.issuer_id, serial).await,
            false => certificates::find_by_serial(&self.store, serial).await,
        };
        let holder = report.readable(&what, found)?;
        if holder.is_some_and(|holder| holder.is_none_or(|h| h.id != id)) {
            report.finding(format!("certificate {id}: its serial {serial} is not reserved for it"));
        }
        Ok(())
    }

    async fn check_revocation(&self, certificate: &Certificate, report: &mut Report) -> Result<()> {
        let CertificateStatus::Revoked { at, reason, invalidity_date } = certificate.status else { return Ok(()) };
        let id = certificate.id;
        let row = revocations::find(&self.store, certificate.issuer_id, &certificate.serial).await;
        let Some(row) = report.readable(&format!("the revocation of certificate {id}"), row)? else { return Ok(()) };
        let agrees = row.is_some_and(|r| {
            r.certificate_id == id
                && r.revoked_at == at
                && r.reason == reason
                && r.invalidity_date == invalidity_date
                && r.not_after == certificate.validity.not_after()
        });
        if !agrees {
            report.finding(format!("certificate {id} is revoked and its row among the revocations says otherwise"));
        }
        Ok(())
    }
}

fn saw(certificate: &Certificate, released: bool) -> Seen {
    let names: std::collections::BTreeSet<String> = certificate.names.iter().map(|name| name.value()).collect();
    Seen {
        id: certificate.id,
        released,
        revoked: matches!(certificate.status, CertificateStatus::Revoked { .. }),
        names: names.len(),
    }
}

/// Row, to-be-signed bytes and DER of one certificate.
fn disagreement(certificate: &Certificate, tbs: &[u8], der: Option<&[u8]>, key: Option<&[u8]>) -> Option<String> {
    if let Some(why) = other_than_its_row(certificate, tbs) {
        return Some(why);
    }
    let Some(der) = der else {
        let released = certificate.status == CertificateStatus::Valid || certificate.fingerprint.is_some();
        return released.then(|| "it is valid and its DER is missing".to_owned());
    };
    if certificate.fingerprint.as_ref().map(|f| &f[..]) != Some(digest(&SHA256, der).as_ref()) {
        return Some("its fingerprint is not that of its DER".into());
    }
    let parsed = match X509Certificate::from_der(der) {
        Ok((_, parsed)) => parsed,
        Err(error) => return Some(format!("its DER cannot be read: {error}")),
    };
    if parsed.tbs_certificate.as_ref() != tbs {
        return Some("what was signed is not what was intended".into());
    }
    let Some(key) = key else { return Some("its issuer has no certificate".into()) };
    let verified = match ImportedCertificate::parse(der).ok().filter(|_| certificate.is_imported()) {
        Some(imported) => imported.verify(key),
        None => verify(key, tbs, &parsed.signature_value.data),
    };
    if let Err(error) = verified {
        return Some(format!("its signature is not that of its issuer: {error}"));
    }
    None
}

/// What the to-be-signed bytes say, column by column. They are those of the DER, which is compared apart.
fn other_than_its_row(certificate: &Certificate, tbs: &[u8]) -> Option<String> {
    let unreadable = |error: DerError| format!("its to-be-signed bytes cannot be read: {error}");
    let view = match TbsView::parse(tbs) {
        Ok(view) => view,
        Err(error) => return Some(unreadable(error)),
    };
    let names = match view.names() {
        _ if certificate.is_imported() => imported::names(&view),
        Ok(names) => names,
        Err(error) => return Some(unreadable(error)),
    };
    let (subject, algorithm) = (imported::subject(view.subject), imported::key_algorithm(view.spki));
    let agree = [
        ("serial", view.serial == certificate.serial.octets()),
        ("subject", subject == certificate.subject),
        ("names", names == certificate.names),
        ("dates", view.validity == certificate.validity),
        ("public key", digest(&SHA256, view.spki).as_ref() == certificate.spki_sha256),
        ("kind of key", algorithm == certificate.key_algorithm),
    ];
    let (what, _) = agree.into_iter().find(|(_, agree)| !agree)?;
    Some(format!("its {what} in the row is not what was signed"))
}
