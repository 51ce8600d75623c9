//! Do database, DER, audit chains and CRLs agree? Runs beside a running server: what is being written is read
//! again before it counts as a disagreement, and an intent without outcome is counted and is none. A row that cannot
//! be read is a finding like any other and does not end the check.

mod certificates;
mod chains;
mod crls;
mod domain_lists;
mod history;
mod names;

pub(in crate::authority) use chains::AuditRow;

use std::collections::{HashMap, HashSet};

use x509_parser::prelude::{FromDer, X509Certificate};

use super::Authority;
use super::snapshot::Snapshot;
use super::told_rows::ToldRows;
use super::withdrawn::Withdrawn;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::id::{CertificateId, IssuerId};
use crate::store::{certificates as rows, domain_crls, hierarchy, orphans};

const PAGE: i64 = 500;

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

impl Report {
    fn finding(&mut self, sentence: impl Into<String>) {
        self.findings.push(sentence.into());
    }

    /// A row that makes no sense is a finding; a database that does not answer ends the check.
    pub(super) fn readable<T>(&mut self, what: &str, read: Result<T>) -> Result<Option<T>> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(error) if database_failed(&error) => Err(error),
            Err(error) => {
                self.finding(format!("{what} cannot be read: {}", error.chain()));
                Ok(None)
            }
        }
    }
}

fn database_failed(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Unavailable | ErrorKind::TimedOut | ErrorKind::Internal)
}

/// One certificate as the first walk saw it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    id: CertificateId,
    released: bool,
    revoked: bool,
    /// Distinct names, each of which has a row to be found by.
    names: usize,
}

/// What an issuer's certificates say of it.
#[derive(Debug, Clone)]
struct Key {
    spki: Vec<u8>,
    /// The last end of its certificates.
    not_after: Timestamp,
}

/// What the audit chains say about certificates.
#[derive(Debug, Default)]
struct Told {
    issued: HashSet<String>,
    revoked: HashSet<String>,
    /// Rows with MACs.
    rows: ToldRows,
    withdrawn: Withdrawn,
}

impl Authority {
    /// Reads everything. Certificates come before the audit: an event is committed with its certificate, so what
    /// was seen of the one must be in the other.
    pub async fn fsck(&self) -> Result<Report> {
        let mut report = Report::default();
        self.report_rollback(&mut report);
        let issuers = report.readable("the table of issuers", hierarchy::issuers(&self.store).await)?;
        // read anew: a row may have been changed since the last look
        let fresh = Snapshot::load(&self.store, self.keys.as_ref()).await;
        let fresh = report.readable("the hierarchy", fresh)?.unwrap_or_default();
        fresh.bad_rows.iter().for_each(|bad| report.finding(bad.to_string()));
        let keys = self.issuer_keys(&mut report).await?;
        let seen = self.check_certificates(&keys, &mut report).await?;
        self.check_names(&seen, &mut report).await?;
        for orphan in orphans::find(&self.store).await? {
            report.finding(orphan);
        }
        let mut told = self.check_audit(&mut report).await?;
        compare(&seen, &told, &mut report);
        self.check_unseen(&seen, &told, &mut report).await?;
        if let Some(why) = self.store.row_macs().lost() {
            report.finding(format!("rows that grant something cannot be checked: {why}"));
        }
        self.external_url_finding().await?.into_iter().for_each(|finding| report.finding(finding));
        for (object, foreign) in self.foreign_objects().await? {
            report.finding(format!("{object} {}", foreign.what));
        }
        for (object, changed) in self.changed_rows(Some(&told.rows), super::row_macs::Look::All).await? {
            report.finding(format!("{object} {}", changed.what));
        }
        for (object, missing) in self.changed_withdrawals(&mut told.withdrawn).await? {
            report.finding(format!("{object} {}", missing.what));
        }
        for issuer in issuers.unwrap_or_default() {
            if self.snapshot().issuer_by_id(issuer.id).is_none_or(|loaded| loaded.signs_crls()) {
                self.check_crl(&issuer, keys.get(&issuer.id), &mut report).await?;
            }
        }
        let lists = domain_crls::heads(&self.store).await;
        for head in report.readable("the table of domains' lists", lists)?.unwrap_or_default() {
            self.check_domain_list(&head, &keys, &mut report).await?;
        }
        Ok(report)
    }

    /// SubjectPublicKeyInfo of each issuer, from its certificates.
    async fn issuer_keys(&self, report: &mut Report) -> Result<HashMap<IssuerId, Key>> {
        let mut keys: HashMap<IssuerId, Key> = HashMap::new();
        let read = hierarchy::issuer_certificates(&self.store).await;
        for certificate in report.readable("the table of issuers' certificates", read)?.unwrap_or_default() {
            match X509Certificate::from_der(&certificate.der) {
                Ok((_, parsed)) => {
                    let spki = parsed.public_key().raw.to_vec();
                    let key =
                        keys.entry(certificate.issuer_id).or_insert(Key { spki, not_after: certificate.not_after });
                    key.not_after = key.not_after.max(certificate.not_after);
                }
                Err(error) => {
                    let id = certificate.id;
                    report.finding(format!("issuer certificate {id} cannot be read: {error}"));
                }
            }
        }
        Ok(keys)
    }

    /// Events about certificates that the first walk did not see: made meanwhile, or gone.
    async fn check_unseen(&self, seen: &[Seen], told: &Told, report: &mut Report) -> Result<()> {
        let known: HashSet<String> = seen.iter().map(|s| object(s.id)).collect();
        for object in told.issued.union(&told.revoked).filter(|o| !known.contains(*o)) {
            let id = object.strip_prefix("certificate:").and_then(|text| text.parse::<CertificateId>().ok());
            let found = match id {
                Some(id) => match rows::find(&self.store, id).await {
                    Err(error) if database_failed(&error) => return Err(error),
                    // it is there, and the walk told that it cannot be read
                    Err(_) => continue,
                    Ok(found) => found,
                },
                None => None,
            };
            if found.is_none() {
                report.finding(format!("the audit tells of {object}, and there is no such certificate"));
            }
        }
        Ok(())
    }
}

fn compare(seen: &[Seen], told: &Told, report: &mut Report) {
    for Seen { id, released, revoked, .. } in seen {
        let object = object(*id);
        if *released && !told.issued.contains(&object) {
            report.finding(format!("certificate {id} was issued and the audit does not tell of it"));
        }
        if *revoked && !told.revoked.contains(&object) {
            report.finding(format!("certificate {id} was revoked and the audit does not tell of it"));
        }
    }
}

fn object(id: CertificateId) -> String {
    format!("certificate:{id}")
}
