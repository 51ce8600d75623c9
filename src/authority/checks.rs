//! The CA watches itself: what an operator should know before users do. One engine behind `chancery doctor` and
//! `GET /api/v1/system/checks`. Nothing here counts a whole table, so it may be asked often.

use std::sync::Arc;
use std::time::Duration;

use super::Authority;
use super::crl::CRL_EVERY;
use super::own::OWN_DOMAIN;
use super::recovery::STALE_AFTER;
use super::snapshot::{LoadedIssuer, Snapshot};
use crate::clock::{Timestamp, days, hours};
use crate::error::Result;
use crate::model::id::CertificateId;
use crate::model::identifier::shown;
use crate::model::issuer::{AnchorStanding, Issuer, IssuerRole, IssuerState};
use crate::pki::ca_certificate::CaCertificate;
use crate::pki::signer::KeyPurpose;
use crate::store::{certificates, crls, hierarchy};

/// How bad it is, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Ok,
    /// Works today, will not later.
    Warning,
    /// Something does not work now.
    Critical,
}

impl Severity {
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// One check and what it found; with a problem its detail says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    pub severity: Severity,
    pub detail: String,
}

impl Authority {
    /// All checks, in the order in which an operator reads them. A check that cannot look is critical itself.
    pub async fn checks(&self) -> Vec<Check> {
        vec![
            self.check_database().await,
            self.check_unlock_key(),
            self.check_issuers(),
            self.check_bundles(),
            self.check_crls().await.unwrap_or_else(|e| blind("crls", &e.detail)),
            self.check_pending_revocations().await.unwrap_or_else(|e| blind("revocations", &e.detail)),
            self.check_delegations(),
            self.check_domain_lists().await.unwrap_or_else(|e| blind("domain lists", &e.detail)),
            self.check_responders().await.unwrap_or_else(|e| blind("ocsp", &e.detail)),
            self.check_intents().await.unwrap_or_else(|e| blind("intents", &e.detail)),
        ]
    }

    async fn check_database(&self) -> Check {
        match hierarchy::issuers(&self.store).await {
            Ok(_) => check("database", Vec::new(), format!("{} answers", self.store.db.engine())),
            Err(error) => blind("database", &format!("{}; check --database-url", error.detail)),
        }
    }

    fn check_unlock_key(&self) -> Check {
        let locked = !self.keys.can_open(KeyPurpose::Issuer);
        let told = "not loaded: nothing can be issued; start without --locked".to_owned();
        let found = if locked { vec![(Severity::Critical, told)] } else { Vec::new() };
        check("unlock key", found, "it is the one of this database".into())
    }

    /// Every domain can issue, and no CA that signs is near its end.
    fn check_issuers(&self) -> Check {
        let (snapshot, now) = (self.snapshot(), self.store.now());
        let domains = snapshot.domains.iter().filter_map(|domain| cannot_issue(&snapshot, &domain.slug, now));
        let found: Vec<_> =
            domains.chain(snapshot.issuers.values().filter_map(|issuer| ending(issuer, now))).collect();
        let until = |(slug, issuer): (&String, &Arc<LoadedIssuer>)| {
            issuer.not_after().map(|end| format!("{slug} {} until {end}", issuer.issuer.state.name()))
        };
        check("issuers", found, snapshot.issuers.iter().filter_map(until).collect::<Vec<_>>().join(", "))
    }

    /// Clients trust whatever stands below a root of their bundle: one of others beside an own root needs a decision.
    fn check_bundles(&self) -> Check {
        let snapshot = self.snapshot();
        let (mut found, mut told) = (Vec::new(), Vec::new());
        for anchor in snapshot.anchors.iter().filter(|anchor| anchor.standing.is_trusted()) {
            let Some(root) = CaCertificate::read(&anchor.der).ok().filter(CaCertificate::is_root) else { continue };
            let (domain, name) = (&anchor.domain, shown(&root.name()));
            let is_own =
                |i: &std::sync::Arc<LoadedIssuer>| i.issuer.domain == *domain && i.issuer.role == IssuerRole::Root;
            told.push(format!("{domain} trusts {name} of others until {}", anchor.not_after));
            if anchor.standing == AnchorStanding::Kept && snapshot.issuers.values().any(is_own) {
                let text = format!(
                    "clients of {domain} trust {name} beside its own root, because of a cross-certificate: run `chancery ca anchor list`, then `ca anchor remove` or, to keep it, `ca anchor add`"
                );
                found.push((Severity::Warning, text));
            }
        }
        check("bundles", found, if told.is_empty() { "own roots alone".into() } else { told.join(", ") })
    }

    async fn check_crls(&self) -> Result<Check> {
        let now = self.store.now();
        let (mut found, mut told) = (Vec::new(), Vec::new());
        for issuer in hierarchy::issuers(&self.store).await? {
            if !self.needs_status(&issuer).await? {
                continue;
            }
            let slug = issuer.slug;
            let Some(crl) = crls::in_force(&self.store, issuer.id, now).await? else {
                found.push((Severity::Critical, format!("{slug} has no CRL in force; start the server unlocked")));
                continue;
            };
            let (this_update, next_update) = (crl.this_update, crl.next_update);
            told.push(format!("{slug} until {next_update}"));
            // a root's CRLs were signed for its whole life and last long
            let late = issuer.role == IssuerRole::Issuing && now.since(crl.starts_at) > CRL_EVERY + hours(1);
            if next_update <= now {
                found.push((
                    Severity::Critical,
                    format!("the CRL of {slug} ended at {next_update}; start the server"),
                ));
            } else if late {
                let text = format!("the CRL of {slug} is of {this_update}, is the server running and unlocked?");
                found.push((Severity::Warning, text));
            }
        }
        Ok(check("crls", found, told.join(", ")))
    }

    async fn check_responders(&self) -> Result<Check> {
        let now = self.store.now();
        let alive = hierarchy::responders(&self.store, now).await?;
        let (mut found, mut told) = (Vec::new(), Vec::new());
        for issuer in hierarchy::issuers(&self.store).await?.into_iter().filter(|i| i.role == IssuerRole::Issuing) {
            if !self.needs_status(&issuer).await? {
                continue;
            }
            match alive.iter().filter(|r| r.issuer_id == issuer.id).map(|r| r.not_after).max() {
                Some(end) if end > now + days(2) => told.push(format!("{} until {end}", issuer.slug)),
                Some(end) => {
                    let text =
                        format!("the OCSP responder of {} ends at {end}; start the server unlocked", issuer.slug);
                    found.push((Severity::Warning, text));
                }
                None => {
                    let text = format!("{} has no OCSP responder; start the server unlocked", issuer.slug);
                    found.push((Severity::Critical, text));
                }
            }
        }
        Ok(check("ocsp", found, told.join(", ")))
    }

    /// Does anybody still verify what this CA signed?
    async fn needs_status(&self, issuer: &Issuer) -> Result<bool> {
        let (snapshot, now) = (self.snapshot(), self.store.now());
        if snapshot.issuer_by_id(issuer.id).is_some_and(|loaded| loaded.is_expired(now)) {
            return Ok(false);
        }
        Ok(!issuer.state.is_over_without_certificates() || !self.is_over(issuer.id).await?)
    }

    async fn check_intents(&self) -> Result<Check> {
        let (before, first) = (self.store.now() - STALE_AFTER, CertificateId::from_bytes([0; 16]));
        let stale = certificates::stale_intents(&self.store, before, first, 100).await?.len();
        let text = format!("{stale} without outcome wait for recovery; is the server running?");
        let found = if stale > 0 { vec![(Severity::Warning, text)] } else { Vec::new() };
        Ok(check("intents", found, "none is overdue".into()))
    }
}

/// How long before the end of a CA an operator is warned, each time more urgently.
const WARNED: [(Duration, &str); 3] =
    [(days(7), "within 7 days: act now"), (days(30), "within 30 days"), (days(90), "within 90 days")];

/// What to do about a CA whose end is near. One that has expired is a matter of its domain.
fn ending(loaded: &LoadedIssuer, now: Timestamp) -> Option<(Severity, String)> {
    let slug = &loaded.issuer.slug;
    match loaded.issuer.state {
        IssuerState::Prepared | IssuerState::Active => {}
        IssuerState::Retiring | IssuerState::Removed | IssuerState::Revoked => return None,
    }
    let Some(end) = loaded.not_after() else {
        return Some((Severity::Critical, format!("{slug} has no certificate")));
    };
    let (_, when) = WARNED.into_iter().find(|(before, _)| end > now && end.since(now) <= *before)?;
    let fix = match loaded.issuer.role {
        IssuerRole::Root => format!("`chancery ca create {} --new-root` makes the next one", loaded.issuer.domain),
        IssuerRole::Issuing => format!("run `chancery ca renew {slug}`, or create and activate a successor"),
    };
    Some((Severity::Warning, format!("{slug} expires at {end}, {when}; {fix}")))
}

/// A domain in which something should sign and nothing does. One that was retired as a whole is left alone.
fn cannot_issue(snapshot: &Snapshot, domain: &str, now: Timestamp) -> Option<(Severity, String)> {
    if !snapshot.signers(domain, now).is_empty() {
        return None;
    }
    let issuing = |i: &&Arc<LoadedIssuer>| i.issuer.domain == domain && i.issuer.role == IssuerRole::Issuing;
    let meant = |i: &&Arc<LoadedIssuer>| match i.issuer.state {
        IssuerState::Active | IssuerState::Revoked => true,
        // the server's own certificate stands in this domain
        IssuerState::Prepared | IssuerState::Retiring | IssuerState::Removed => domain == OWN_DOMAIN,
    };
    let why: Vec<_> = snapshot
        .issuers
        .values()
        .filter(issuing)
        .filter(meant)
        .filter_map(|i| Some(format!("{} {}", i.issuer.slug, snapshot.may_sign(i, now).err()?.clause())))
        .collect();
    (!why.is_empty()).then(|| {
        let expired = |i: &&Arc<LoadedIssuer>| issuing(i) && i.issuer.state.signs() && i.is_expired(now);
        let fix = match snapshot.issuers.values().find(expired) {
            Some(issuer) => format!("run `chancery ca renew {}`", issuer.issuer.slug),
            None => format!("run `chancery ca create {domain} --under ROOT`, or activate an issuer that is there"),
        };
        (Severity::Critical, format!("trust domain {domain} cannot issue: {}; {fix}", why.join(", ")))
    })
}

pub(super) fn check(name: &'static str, problems: Vec<(Severity, String)>, good: String) -> Check {
    match problems.iter().map(|p| p.0).max() {
        None => Check { name, severity: Severity::Ok, detail: good },
        Some(severity) => {
            let detail = problems.into_iter().map(|p| p.1).collect::<Vec<_>>().join("; ");
            Check { name, severity, detail }
        }
    }
}

fn blind(name: &'static str, why: &str) -> Check {
    Check { name, severity: Severity::Critical, detail: format!("cannot be looked at: {why}") }
}
