//! Do database, DER, audit chains and CRLs agree? Runs beside a running server: what is being written is read
//! again before it counts as a disagreement, and an intent without outcome is counted and is none.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Authority;
use crate::error::Result;
use crate::model::audit::ChainedEvent;
use crate::model::certificate::{Certificate, CertificateStatus};
use crate::model::id::{CertificateId, IssuerId, ReplicaId};
use crate::model::issuer::Issuer;
use crate::model::serial::SerialNumber;
use crate::pki::algorithm::{Spki, verify};
use crate::pki::crl_facts::CrlFacts;
use crate::pki::der::DerError;
use crate::pki::name::DistinguishedName;
use crate::pki::tbs::TbsView;
use crate::store::{audit, certificates, crls, hierarchy, revocations};

const PAGE: i64 = 500;
/// A revocation is on the CRL within 5 s.
const CRL_PATIENCE: u32 = 8;

/// What was looked at, and every disagreement as one sentence.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub certificates: u64,
    /// Intents without outcome: recovery will revoke them.
    pub open_intents: u64,
    pub events: u64,
    pub crls: u64,
    /// CRLs that wait for a server to publish the newest revocations.
    pub crls_due: u64,
    pub findings: Vec<String>,
}

/// What the audit chains say about certificates.
#[derive(Debug, Default)]
struct Told {
    issued: HashSet<String>,
    revoked: HashSet<String>,
}

impl Authority {
    /// Reads everything. Certificates come before the audit: an event is committed with its certificate, so what
    /// was seen of the one must be in the other.
    pub async fn fsck(&self) -> Result<Report> {
        let mut report = Report::default();
        let issuers = hierarchy::issuers(&self.store).await?;
        let keys = self.issuer_keys(&mut report).await?;
        let seen = self.check_certificates(&keys, &mut report).await?;
        let told = self.check_audit(&mut report).await?;
        compare(&seen, &told, &mut report);
        self.check_unseen(&seen, &told, &mut report).await?;
        for issuer in &issuers {
            self.check_crl(issuer, &keys, &mut report).await?;
        }
        Ok(report)
    }

    /// SubjectPublicKeyInfo of each issuer, from its certificates.
    async fn issuer_keys(&self, report: &mut Report) -> Result<HashMap<IssuerId, Vec<u8>>> {
        let mut keys = HashMap::new();
        for certificate in hierarchy::issuer_certificates(&self.store).await? {
            match X509Certificate::from_der(&certificate.der) {
                Ok((_, parsed)) => {
                    keys.insert(certificate.issuer_id, parsed.public_key().raw.to_vec());
                }
                Err(error) => {
                    let id = certificate.certificate_id;
                    report.findings.push(format!("issuer certificate {id} cannot be read: {error}"));
                }
            }
        }
        Ok(keys)
    }

    async fn check_certificates(
        &self,
        keys: &HashMap<IssuerId, Vec<u8>>,
        report: &mut Report,
    ) -> Result<Vec<(CertificateId, bool, bool)>> {
        let mut seen = Vec::new();
        let mut after = CertificateId::from_bytes([0; 16]);
        loop {
            let page = certificates::walk(&self.store, after, PAGE).await?;
            let Some((last, ..)) = page.last() else { return Ok(seen) };
            after = last.id;
            for (certificate, tbs, der) in &page {
                report.certificates += 1;
                let released = der.is_some();
                let revoked = matches!(certificate.status, CertificateStatus::Revoked { .. });
                seen.push((certificate.id, released, revoked));
                if certificate.status == CertificateStatus::Intended {
                    report.open_intents += 1;
                }
                if let Some(why) = disagreement(certificate, tbs, der.as_deref(), keys.get(&certificate.issuer_id)) {
                    report
                        .findings
                        .push(format!("certificate {} (serial {}): {why}", certificate.id, certificate.serial));
                }
                self.check_serial(certificate, report).await?;
                self.check_revocation(certificate, report).await?;
            }
        }
    }

    /// The narrow table keeps serials unique: each certificate has its row there.
    async fn check_serial(&self, certificate: &Certificate, report: &mut Report) -> Result<()> {
        let holder = certificates::find_by_serial(&self.store, &certificate.serial).await?;
        if holder.is_none_or(|h| h.id != certificate.id) {
            let (id, serial) = (certificate.id, &certificate.serial);
            report.findings.push(format!("certificate {id}: its serial {serial} is not reserved for it"));
        }
        Ok(())
    }

    async fn check_revocation(&self, certificate: &Certificate, report: &mut Report) -> Result<()> {
        let CertificateStatus::Revoked { at, reason } = certificate.status else { return Ok(()) };
        let row = revocations::find(&self.store, certificate.issuer_id, &certificate.serial).await?;
        let agrees =
            row.is_some_and(|r| r.certificate_id == certificate.id && r.revoked_at == at && r.reason == reason);
        if !agrees {
            let id = certificate.id;
            report
                .findings
                .push(format!("certificate {id} is revoked and its row among the revocations says otherwise"));
        }
        Ok(())
    }

    /// Walks every chain: hashes, links and sequence numbers without a gap.
    async fn check_audit(&self, report: &mut Report) -> Result<Told> {
        let mut told = Told::default();
        let mut place = (ReplicaId::from_bytes([0; 16]), -1, -1);
        let mut previous: Option<ChainedEvent> = None;
        loop {
            let page = audit::chain_after(&self.store, place, PAGE).await?;
            let Some(last) = page.last() else { return Ok(told) };
            place = (last.writer, last.lane, last.seq);
            for event in page {
                report.events += 1;
                if let Some(why) = broken_link(previous.as_ref(), &event) {
                    let (writer, lane, seq) = (event.writer, event.lane, event.seq);
                    report.findings.push(format!("audit chain {writer}/{lane} at {seq}: {why}"));
                }
                if event.action == "certificate.issued" {
                    told.issued.insert(event.object.clone());
                } else if event.action == "certificate.revoked" || event.action == "certificate.abandoned" {
                    told.revoked.insert(event.object.clone());
                }
                previous = Some(event);
            }
        }
    }

    /// Events about certificates that the first walk did not see: made meanwhile, or gone.
    async fn check_unseen(
        &self,
        seen: &[(CertificateId, bool, bool)],
        told: &Told,
        report: &mut Report,
    ) -> Result<()> {
        let known: HashSet<String> = seen.iter().map(|(id, ..)| object(*id)).collect();
        for object in told.issued.union(&told.revoked).filter(|o| !known.contains(*o)) {
            let id = object.strip_prefix("certificate:").and_then(|text| text.parse::<CertificateId>().ok());
            let found = match id {
                Some(id) => certificates::find(&self.store, id).await?,
                None => None,
            };
            if found.is_none() {
                report.findings.push(format!("the audit tells of {object}, and there is no such certificate"));
            }
        }
        Ok(())
    }

    async fn check_crl(&self, issuer: &Issuer, keys: &HashMap<IssuerId, Vec<u8>>, report: &mut Report) -> Result<()> {
        for attempt in 0.. {
            let judged = self.judge_crl(issuer, keys.get(&issuer.id)).await?;
            match judged {
                Judged::Agrees => report.crls += 1,
                Judged::None => {}
                Judged::Behind if attempt < CRL_PATIENCE => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
                Judged::Behind => report.crls_due += 1,
                Judged::Wrong(_) if attempt == 0 => continue,
                Judged::Wrong(why) => report.findings.push(format!("the CRL of {}: {why}", issuer.slug)),
            }
            return Ok(());
        }
        Ok(())
    }

    async fn judge_crl(&self, issuer: &Issuer, key: Option<&Vec<u8>>) -> Result<Judged> {
        // what must be on the list is read before the list, what is on it is looked up after
        let now = self.store.now();
        let must = self.serials_that_must_be_listed(issuer.id, now).await?;
        let dirty = hierarchy::issuers(&self.store).await?.iter().any(|i| i.id == issuer.id && i.crl_dirty);
        let Some(crl) = crls::current(&self.store, issuer.id, now).await? else { return Ok(Judged::None) };
        let facts = match CrlFacts::parse(&crl.der) {
            Ok(facts) => facts,
            Err(error) => return Ok(Judged::Wrong(format!("it cannot be read: {error}"))),
        };
        if facts.short_number() != Some(crl.number) {
            return Ok(Judged::Wrong("its number is not that of its row".into()));
        }
        if key.is_none_or(|key| facts.verify(key).is_err()) {
            return Ok(Judged::Wrong("its signature is not that of its issuer".into()));
        }
        let mut listed = HashSet::new();
        for entry in facts.entries() {
            let serial = SerialNumber::from_octets(entry.serial)?;
            if revocations::find(&self.store, issuer.id, &serial).await?.is_none() {
                return Ok(Judged::Wrong(format!("it lists {serial}, which was never revoked")));
            }
            listed.insert(serial);
        }
        match must.iter().find(|serial| !listed.contains(*serial)) {
            None => Ok(Judged::Agrees),
            Some(_) if dirty => Ok(Judged::Behind),
            Some(serial) => Ok(Judged::Wrong(format!("it does not list {serial}, which is revoked"))),
        }
    }

    async fn serials_that_must_be_listed(
        &self,
        issuer: IssuerId,
        now: crate::clock::Timestamp,
    ) -> Result<Vec<SerialNumber>> {
        let mut serials: Vec<SerialNumber> = Vec::new();
        loop {
            let page = revocations::page(&self.store, issuer, serials.last(), now, PAGE).await?;
            if page.is_empty() {
                return Ok(serials);
            }
            serials.extend(page.into_iter().map(|r| r.serial));
        }
    }
}

enum Judged {
    Agrees,
    /// There is none yet, or none in force: a server publishes it.
    None,
    /// It waits for the next publication.
    Behind,
    Wrong(String),
}

/// Row, to-be-signed bytes and DER of one certificate.
fn disagreement(certificate: &Certificate, tbs: &[u8], der: Option<&[u8]>, key: Option<&Vec<u8>>) -> Option<String> {
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
    if let Err(error) = verify(key, tbs, &parsed.signature_value.data) {
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
        Ok(names) => names,
        Err(error) => return Some(unreadable(error)),
    };
    let subject = DistinguishedName::from_der(view.subject).map(|name| name.to_string()).unwrap_or_default();
    let algorithm = Spki::parse(view.spki).and_then(|spki| spki.algorithm()).map(|a| a.name()).unwrap_or_default();
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

fn broken_link(previous: Option<&ChainedEvent>, event: &ChainedEvent) -> Option<&'static str> {
    let before = previous.filter(|p| (p.writer, p.lane) == (event.writer, event.lane));
    let (seq, hash) = before.map_or((1, [0; 32]), |p| (p.seq + 1, p.hash));
    if event.seq != seq {
        Some("an event is missing before it")
    } else if event.previous != hash {
        Some("it does not follow from the event before it")
    } else if event.hash != event.compute_hash() {
        Some("it was changed after it was written")
    } else {
        None
    }
}

fn compare(seen: &[(CertificateId, bool, bool)], told: &Told, report: &mut Report) {
    for (id, released, revoked) in seen {
        let object = object(*id);
        if *released && !told.issued.contains(&object) {
            report.findings.push(format!("certificate {id} was issued and the audit does not tell of it"));
        }
        if *revoked && !told.revoked.contains(&object) {
            report.findings.push(format!("certificate {id} was revoked and the audit does not tell of it"));
        }
    }
}

fn object(id: CertificateId) -> String {
    format!("certificate:{id}")
}
