//! Certificates that a CA issued before it came here, or that a restored database lacks: each is verified to be signed by
//! an issuer of this installation, and then found, answered by OCSP and revoked as if it had been issued here. Taking one
//! twice changes nothing, unless it was revoked meanwhile where it came from.

use serde_json::json;

use super::revoke::raise_locked;
use super::snapshot::{LoadedIssuer, Snapshot};
use super::{Authority, compromise};
use crate::clock::{Timestamp, minutes};
use crate::error::{Error, ErrorKind, Result, RuleRefusal};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::certificate::{Certificate, CertificateStatus};
use crate::model::id::{CertificateId, ReplicaId};
use crate::model::reason::RevocationReason;
use crate::model::revocation::NewRevocation;
use crate::model::serial::{SerialNumber, to_hex};
use crate::pki::imported::ImportedCertificate;
use crate::store::imports::{self, Import};
use crate::store::revocations::{self, Revocation};
use crate::store::versions::{self, Topic};
use crate::store::{Tx, certificates, hierarchy};

/// How many are taken in one transaction at most.
pub const BATCH: usize = 500;
/// How far the clock of the old CA may have been ahead.
const AHEAD: std::time::Duration = minutes(5);

/// One certificate as it is presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    pub der: Vec<u8>,
    /// When and why it was revoked where it comes from.
    pub revoked: Option<(Timestamp, NewRevocation)>,
}

/// What became of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    Imported {
        is_revoked: bool,
    },
    /// It was here already.
    Known,
    /// It was here already, and its revocation was not.
    Revoked,
    Refused {
        rule: String,
        why: String,
    },
}

/// A certificate that was judged.
struct Judged<'a> {
    certificate: ImportedCertificate<'a>,
    serial: SerialNumber,
    issuer: std::sync::Arc<LoadedIssuer>,
    der: &'a [u8],
    revoked: Option<(Timestamp, NewRevocation)>,
}

impl Authority {
    /// Takes at most `BATCH` certificates in one transaction. Returns what became of each; a dry run changes nothing.
    pub async fn import_certificates(
        &self,
        actor: &Actor,
        presented: &[Presented],
        dry_run: bool,
    ) -> Result<Vec<Taken>> {
        if presented.len() > BATCH {
            let detail = format!("{} certificates are too many at once; send at most {BATCH}", presented.len());
            return Err(Error::malformed(detail));
        }
        self.store.check_clock()?;
        let snapshot = self.snapshot();
        let mut tx = self.store.begin(actor).await?;
        // of two imports at once the second finds what the first took; and a key that is blocked meanwhile waits
        versions::bump(&mut tx, Topic::Revocations).await?;
        let mut batch = Batch { tx: &mut tx, imported: Vec::new(), revoked: Vec::new(), changed: false };
        let mut taken = Vec::with_capacity(presented.len());
        for one in presented {
            let outcome = match judge(&snapshot, one, batch.tx.now()) {
                Ok(judged) => batch.take(&snapshot, judged).await,
                Err(refused) => Err(refused),
            };
            taken.push(match outcome {
                Ok(taken) => taken,
                Err(error) => refusal(error)?,
            });
        }
        let changed = batch.write().await?;
        if dry_run || !changed {
            return Ok(taken);
        }
        let count = |wanted: fn(&Taken) -> bool| taken.iter().filter(|one| wanted(one)).count();
        let detail = json!({
            "imported": count(|one| matches!(one, Taken::Imported { .. })),
            "imported_revoked": count(|one| *one == Taken::Imported { is_revoked: true }),
            "known": count(|one| *one == Taken::Known),
            "revoked": count(|one| *one == Taken::Revoked),
            "refused": count(|one| matches!(one, Taken::Refused { .. })),
        });
        tx.audit(AuditEvent::done("certificates.imported", "", detail));
        tx.commit().await?;
        self.forget_answers();
        self.revoked.notify_one();
        Ok(taken)
    }
}

/// Refusals are told one by one; a database that fails ends the batch.
fn refusal(error: Error) -> Result<Taken> {
    match error.rule {
        Some(rule) => Ok(Taken::Refused { rule: rule.name.clone(), why: error.detail }),
        None => Err(error),
    }
}

fn refuse(rule: &str, value: &str) -> RuleRefusal {
    let allowed = "a certificate that an issuer of this installation signed";
    Error::refused(ErrorKind::Unprocessable, rule, value, allowed, "leave it out, or import its CA first")
}

/// Is it a certificate of version 3 that one of our issuers signed?
fn judge<'a>(snapshot: &Snapshot, presented: &'a Presented, now: Timestamp) -> Result<Judged<'a>> {
    let certificate = ImportedCertificate::parse(&presented.der).map_err(|e| {
        let sentence = format!("it cannot be read as a certificate of version 3: {e}");
        refuse("import.certificate", "not a certificate").saying(sentence)
    })?;
    let serial = SerialNumber::from_octets(certificate.view.serial).map_err(|e| {
        let sentence = format!("its serial number {} is not allowed: {}", to_hex(certificate.view.serial), e.detail);
        refuse("import.serial", "a serial number").saying(sentence)
    })?;
    let mut named = snapshot.issuers.values().filter(|i| i.subject() == certificate.view.issuer).peekable();
    if named.peek().is_none() {
        let above = crate::pki::imported::subject(certificate.view.issuer);
        let sentence = format!("no issuer here is called {above}; import that CA first with `chancery ca import`");
        return Err(refuse("import.issuer", &above).saying(sentence));
    }
    let mut why = None;
    let signer = named.find(|issuer| match certificate.verify(issuer.public_key()) {
        Ok(()) => true,
        Err(error) => {
            why = Some(error.to_string());
            false
        }
    });
    let Some(issuer) = signer.cloned() else {
        let why = why.unwrap_or_default();
        let sentence = format!("its signature is not that of the issuer whose name it has: {why}");
        return Err(refuse("import.signature", "another signature").saying(sentence));
    };
    let revoked = presented.revoked.map(|(at, new)| (at.truncated(), new));
    if let Some((at, _)) = revoked
        && at > now + AHEAD
    {
        let sentence = format!("it is said to be revoked at {at}, which lies in the future; now is {now}");
        return Err(refuse("import.revocation", "a revocation in the future").saying(sentence));
    }
    // an invalidity date that makes no sense is left out: it says nothing that clients would need
    let sound = |at, new: NewRevocation| if new.check_date(at, now).is_ok() { new } else { new.reason.into() };
    let revoked = revoked.map(|(at, new)| (at.min(now), sound(at.min(now), new)));
    Ok(Judged { certificate, serial, issuer, der: &presented.der, revoked })
}

/// What one transaction takes.
struct Batch<'a> {
    tx: &'a mut Tx,
    imported: Vec<Import>,
    /// Those of `imported` that are revoked, and whether there is a row of the revocation already.
    revoked: Vec<(Certificate, Timestamp, NewRevocation, bool)>,
    changed: bool,
}

impl Batch<'_> {
    async fn take(&mut self, snapshot: &Snapshot, judged: Judged<'_>) -> Result<Taken> {
        let fingerprint = judged.certificate.fingerprint;
        if self.imported.iter().any(|import| import.certificate.fingerprint == Some(fingerprint)) {
            return Ok(Taken::Known);
        }
        if let Some(known) = certificates::find_by_fingerprint(&mut *self.tx, &fingerprint).await? {
            return self.revoke_known(known, judged.revoked).await;
        }
        let is_ours = |issuer: &std::sync::Arc<LoadedIssuer>| issuer.certificates.iter().any(|c| c.der == judged.der);
        if let Some(own) = snapshot.issuers.values().find(|issuer| is_ours(issuer)) {
            let sentence = format!("it is the certificate of issuer {}, which is here", own.issuer.slug);
            return Err(refuse("import.issuer_certificate", "the certificate of an issuer").saying(sentence));
        }
        let id = judged.issuer.issuer.id;
        let same = certificates::find_by_serial_of(&mut *self.tx, id, &judged.serial).await?;
        let twin =
            self.imported.iter().any(|i| i.certificate.issuer_id == id && i.certificate.serial == judged.serial);
        if same.is_some() || twin {
            let sentence = format!(
                "issuer {} has another certificate with its serial {}; of two with one serial only the first can be \
                 revoked and answered for",
                judged.issuer.issuer.slug, judged.serial
            );
            return Err(refuse("import.serial", "a serial that is taken").saying(sentence));
        }
        let known = revocations::find(&mut *self.tx, id, &judged.serial).await?;
        let import = self.import_of(&judged)?;
        let blocked = revocations::blocked(&mut *self.tx, &import.certificate.spki_sha256).await?;
        let now = self.tx.now();
        let revoked = match (&known, judged.revoked) {
            (Some(row), presented) => {
                let status = CertificateStatus::Revoked {
                    at: row.revoked_at,
                    reason: row.reason,
                    invalidity_date: row.invalidity_date,
                };
                let as_listed = NewRevocation { reason: row.reason, invalidity_date: row.invalidity_date };
                let new = presented.map(|(_, new)| new).filter(|new| new.raises(&status)).unwrap_or(as_listed);
                Some((row.revoked_at, new))
            }
            (None, Some(presented)) => Some(presented),
            (None, None) if blocked.is_some() => Some((now, RevocationReason::KeyCompromise.into())),
            (None, None) => None,
        };
        if let Some((at, new)) = revoked {
            self.revoked.push((import.certificate.clone(), at, new, known.is_some()));
        }
        self.imported.push(import);
        Ok(Taken::Imported { is_revoked: revoked.is_some() })
    }

    /// A certificate that is here already takes over a revocation from where it comes from.
    async fn revoke_known(
        &mut self,
        known: Certificate,
        revoked: Option<(Timestamp, NewRevocation)>,
    ) -> Result<Taken> {
        let Some((at, new)) = revoked else { return Ok(Taken::Known) };
        let Some(known) = certificates::lock(&mut *self.tx, known.id).await? else { return Ok(Taken::Known) };
        if known.is_of_hierarchy() {
            return Ok(Taken::Known);
        }
        match known.status {
            CertificateStatus::Valid => self.write_revocation(known, at, new, false).await?,
            CertificateStatus::Revoked { .. } if new.raises(&known.status) => {
                let certificate = raise_locked(&mut *self.tx, known, new, None).await?;
                if new.reason.blocks_key() {
                    compromise::block(&mut *self.tx, &certificate, new.reason).await?;
                }
            }
            CertificateStatus::Revoked { .. } | CertificateStatus::Intended => return Ok(Taken::Known),
        }
        self.changed = true;
        Ok(Taken::Revoked)
    }

    fn import_of(&self, judged: &Judged<'_>) -> Result<Import> {
        let (certificate, view, now) = (&judged.certificate, &judged.certificate.view, self.tx.now());
        // its place among the others is that of its age, and not before the epoch of ids
        let made = view.validity.not_before().clamp(Timestamp::from_micros(0), now);
        let record = Certificate {
            id: CertificateId::new(made, self.tx.store().entropy.as_ref())?,
            serial: judged.serial.clone(),
            issuer_id: judged.issuer.issuer.id,
            issuer: judged.issuer.issuer.slug.clone(),
            profile: Certificate::IMPORTED_PROFILE.into(),
            profile_revision: 0,
            status: CertificateStatus::Valid,
            subject: certificate.subject.clone(),
            names: certificate.names.clone(),
            validity: view.validity,
            spki_sha256: certificate.spki_sha256,
            fingerprint: Some(certificate.fingerprint),
            key_algorithm: certificate.key_algorithm.clone(),
            via: imports::VIA.into(),
            requester: self.tx.actor().to_string(),
            account_id: None,
            order_id: None,
            replica_id: ReplicaId::from_bytes([0; 16]),
            intended_at: now,
            issued_at: Some(view.validity.not_before()),
        };
        Ok(Import { certificate: record, tbs: view.raw.to_vec(), der: judged.der.to_vec() })
    }

    /// Writes what was collected. Whether there was anything.
    async fn write(mut self) -> Result<bool> {
        let imported = std::mem::take(&mut self.imported);
        if !imported.is_empty() {
            imports::insert(self.tx.raw(), &imported).await?;
        }
        for (certificate, at, new, is_listed) in std::mem::take(&mut self.revoked) {
            self.write_revocation(certificate, at, new, is_listed).await?;
        }
        Ok(!imported.is_empty() || self.changed)
    }

    async fn write_revocation(
        &mut self,
        mut certificate: Certificate,
        at: Timestamp,
        new: NewRevocation,
        is_listed: bool,
    ) -> Result<()> {
        let NewRevocation { reason, invalidity_date } = new;
        let (issuer, serial) = (certificate.issuer_id, certificate.serial.clone());
        certificates::revoke(&mut *self.tx, certificate.id, at, new).await?;
        if is_listed {
            imports::claim_revocation(self.tx.raw(), issuer, &serial, &certificate).await?;
            let version = self.tx.now().micros();
            revocations::raise(self.tx, issuer, &serial, new, version).await?;
            revocations::note_change(&mut *self.tx, issuer).await?;
        } else {
            let not_after = certificate.validity.not_after();
            let row = Revocation {
                serial,
                certificate_id: certificate.id,
                revoked_at: at,
                reason,
                not_after,
                invalidity_date,
            };
            let version = self.tx.now().micros();
            revocations::insert(self.tx, issuer, &row, version).await?;
            // its date lies back, so that a list that goes on from the last one would not look for it
            revocations::note_change(&mut *self.tx, issuer).await?;
        }
        certificate.status = CertificateStatus::Revoked { at, reason, invalidity_date };
        let detail = json!({"serial": certificate.serial, "names": certificate.names, "issuer": certificate.issuer,
            "reason": reason.name(), "revoked_at": at, "by": "an import"});
        self.tx.audit(AuditEvent::done("certificate.revoked", certificate.object(), detail));
        hierarchy::mark_crl_dirty(&mut *self.tx, issuer).await?;
        if reason.blocks_key() {
            compromise::block(&mut *self.tx, &certificate, reason).await?;
        }
        Ok(())
    }
}
