//! The CA watches itself: what an operator should know before users do. One engine behind `chancery doctor` and
//! `GET /api/v1/system/checks`. Nothing here counts a whole table, so it may be asked often. A finding ends with what
//! to do; a command in it stands in backquotes and works as it is written (tests/it/cli/remedies.rs).

mod durability;
mod history;
mod issuers;
mod profiles;
mod publication;
mod remedies;
mod versions;

pub(in crate::authority) use remedies::{how_to_lift, how_to_publish};

use std::sync::Arc;

use super::Authority;
use super::recovery::STALE_AFTER;
use super::snapshot::LoadedIssuer;
use crate::error::Result;
use crate::model::clock_votes::{TOLERANCE, agree};
use crate::model::id::CertificateId;
use crate::model::identifier::shown;
use crate::model::issuer::{AnchorStanding, IssuerRole, IssuerState};
use crate::model::serial::to_hex;
use crate::model::trouble::Failure;
use crate::pki::ca_certificate::CaCertificate;
use crate::pki::signer::KeyPurpose;
use crate::store::bad_rows::BadRow;
use crate::store::{certificates, hierarchy, replicas, servers};

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

/// What goes on without the unlock key, what does not, and what to do.
const LOCKED: &str = "CRLs, OCSP answers and bundles are served on, with what was signed before, and revocations are recorded; \
                      nothing is issued and no CRL is signed; restart it with its unlock key, without --locked \
                      (CHANCERY_LOCKED, or locked in the configuration file)";

impl Authority {
    /// All checks, in the order in which an operator reads them. A check that cannot look is critical itself.
    pub async fn checks(&self) -> Vec<Check> {
        let mut checks = self.all_checks().await;
        if self.store.rollback().is_some() {
            let signs = |check: &&mut Check| check.name != "history" && check.severity != Severity::Ok;
            for check in checks.iter_mut().filter(signs) {
                check.detail = format!("before anything else run `chancery reconcile`; then: {}", check.detail);
            }
        }
        checks
    }

    async fn all_checks(&self) -> Vec<Check> {
        vec![
            self.check_database().await,
            self.check_durability().await.unwrap_or_else(|e| blind("durability", &e.detail)),
            self.check_clock().await,
            self.check_versions().await.unwrap_or_else(|e| blind("versions", &e.detail)),
            self.check_history().await.unwrap_or_else(|e| blind("history", &e.detail)),
            self.check_unlock_key().await.unwrap_or_else(|e| blind("unlock key", &e.detail)),
            self.check_external_url().await.unwrap_or_else(|e| blind("external_url", &e.detail)),
            self.check_issuers().await.unwrap_or_else(|e| blind("issuers", &e.detail)),
            self.check_profiles(),
            self.check_bundles().await.unwrap_or_else(|e| blind("bundles", &e.detail)),
            self.check_crls().await.unwrap_or_else(|e| blind("crls", &e.detail)),
            self.check_pending_revocations().await.unwrap_or_else(|e| blind("revocations", &e.detail)),
            self.check_delegations(),
            self.check_key_ids().await.unwrap_or_else(|e| blind("key identifiers", &e.detail)),
            self.check_domain_lists().await.unwrap_or_else(|e| blind("domain lists", &e.detail)),
            self.check_responders().await.unwrap_or_else(|e| blind("ocsp", &e.detail)),
            self.check_audit_seal().await.unwrap_or_else(|e| blind("audit", &e.detail)),
            self.check_rows().await.unwrap_or_else(|e| blind("rows", &e.detail)),
            self.check_intents().await.unwrap_or_else(|e| blind("intents", &e.detail)),
        ]
    }

    /// The newest audit checkpoint. While the server is locked, the unlock key's check has said so.
    async fn check_audit_seal(&self) -> Result<Check> {
        let mut found = Vec::new();
        if self.keys.can_open(KeyPurpose::Internal)
            && let Err(error) = self.check_newest_checkpoint().await
        {
            found.push((Severity::Critical, error.detail));
        }
        for (target, why) in self.target_failures.list() {
            let text = format!(
                "audit checkpoints do not reach {target}: {why}; it is tried again, and `checkpoints` (CHANCERY_CHECKPOINTS) \
                 names the targets"
            );
            found.push((Severity::Warning, text));
        }
        for (url, trouble) in servers::troubles_of_others(&self.store).await? {
            for Failure { place, why } in trouble.checkpoints {
                let text = format!(
                    "audit checkpoints do not reach {place} from the server {url}: {why}; it is tried again, and `checkpoints` \
                     (CHANCERY_CHECKPOINTS) names the targets"
                );
                found.push((Severity::Warning, text));
            }
        }
        Ok(check("audit", found, "the newest checkpoint is the one that was signed".to_owned()))
    }

    async fn check_database(&self) -> Check {
        let read = match hierarchy::issuers(&self.store).await {
            Ok(_) => self.store.db.may_hold_deleted().await,
            Err(error) => Err(error),
        };
        match read {
            Ok(deleted) => {
                let text = "the file of an earlier version may still hold CRLs of a later time that were deleted; make \
                            twice its size free on the disk, and a server that runs with its unlock key writes the file \
                            anew within an hour: `chancery serve`";
                let mut found = if deleted { vec![(Severity::Warning, text.to_owned())] } else { Vec::new() };
                found.extend(self.write_failure().await.map(|why| (Severity::Critical, why)));
                let bad = |row: &BadRow| (Severity::Critical, row.to_string());
                found.extend(self.snapshot().bad_rows.iter().map(bad));
                check("database", found, format!("{} answers", self.store.db.engine()))
            }
            Err(error) => blind("database", &format!("{}; check --database-url", error.detail)),
        }
    }

    /// Why nothing can be stored, if that is so. A server has proved a write in the last seconds; the process of a command
    /// proves one now.
    async fn write_failure(&self) -> Option<String> {
        self.store.write_failure()?;
        let failed = self.store.prove_write().await.err().map(|error| error.detail);
        let why = failed.or_else(|| self.store.write_failure())?;
        Some(format!("nothing can be stored, so nothing is issued or revoked: {why}"))
    }

    /// This machine's clock beside the reference time, measured now: what a server compares before it signs.
    async fn check_clock(&self) -> Check {
        if let Err(error) = self.store.measure_clock().await {
            return blind("clock", &error.detail);
        }
        let mut found = Vec::new();
        if let Err(error) = self.store.check_clock() {
            found.push((Severity::Critical, error.detail));
        }
        let database = self.store.reference().database_offset().filter(|offset| !agree(*offset, 0));
        if let Some(offset) = database.map(|micros| micros / 1_000_000) {
            let text = format!(
                "the database's clock is {offset:+} s from the reference time of the servers; set it by NTP on the \
                 machine of the database, and compare again with `chancery clock show`"
            );
            found.push((Severity::Warning, text));
        }
        check("clock", found, format!("within {} s of the reference time", TOLERANCE.as_secs()))
    }

    /// Checks that the unlock key is loaded: in this process, and in the servers on the same database when a command on the
    /// host runs the check.
    async fn check_unlock_key(&self) -> Result<Check> {
        if !self.keys.can_open(KeyPurpose::Issuer) {
            return Ok(check(
                "unlock key",
                vec![(Severity::Critical, format!("the server is locked: {LOCKED}"))],
                String::new(),
            ));
        }
        let mut found = Vec::new();
        for (at, server) in servers::newest(&self.store.db).await?.into_iter().enumerate() {
            // one process serves a SQLite database: the one that started last
            let runs = match self.store.db.is_postgres() {
                true => replicas::is_alive(&self.store, server.replica).await?,
                false => at == 0,
            };
            if server.locked && runs {
                let text = format!("the server that started at {} is locked: {LOCKED}", server.started_at);
                found.push((Severity::Critical, text));
            }
        }
        Ok(check("unlock key", found, "it is the one of this database".into()))
    }

    /// Clients trust whatever stands below a root of their bundle, and nothing else: a root of others beside an own one
    /// needs a decision, and what stands below a root that has left the bundle is refused.
    async fn check_bundles(&self) -> Result<Check> {
        let snapshot = self.snapshot();
        let (mut found, mut told) = (Vec::new(), Vec::new());
        for anchor in snapshot.anchors.iter().filter(|anchor| anchor.standing.is_trusted()) {
            let Some(root) = CaCertificate::read(&anchor.der).ok().filter(CaCertificate::is_root) else { continue };
            let (domain, name) = (&anchor.domain, shown(&root.name()));
            let is_own = |i: &Arc<LoadedIssuer>| i.issuer.domain == *domain && i.issuer.role == IssuerRole::Root;
            told.push(format!("{domain} trusts {name} of others until {}", anchor.not_after));
            if anchor.standing == AnchorStanding::Kept && snapshot.issuers.values().any(is_own) {
                let print = to_hex(&super::hierarchy::import::fingerprint(&anchor.der));
                let text = format!(
                    "clients of {domain} trust {name} beside its own root, because of a cross-certificate; look at what depends on it with `chancery ca anchor remove {domain} {print}`, which changes nothing without --yes, or keep it by `chancery ca anchor add {domain} FILE` with its certificate"
                );
                found.push((Severity::Warning, text));
            }
        }
        for root in snapshot.issuers.values().filter(|i| i.issuer.role == IssuerRole::Root) {
            if !root.issuer.state.is_trusted() {
                found.extend(self.refused_below(root).await?.map(|text| (Severity::Warning, text)));
            }
        }
        Ok(check(
            "bundles",
            found,
            if told.is_empty() { "bundles hold only this CA's roots".into() } else { told.join(", ") },
        ))
    }

    /// How many certificates are valid under and below a root that is in no bundle, and what to do about them.
    async fn refused_below(&self, root: &LoadedIssuer) -> Result<Option<String>> {
        let (snapshot, now) = (self.snapshot(), self.store.now());
        let is_below = |i: &LoadedIssuer| {
            i.issuer.role == IssuerRole::Issuing && snapshot.above(i).any(|up| up.issuer.id == root.issuer.id)
        };
        let (mut count, mut issuers) = (0, Vec::new());
        for loaded in snapshot.issuers.values().filter(|i| i.issuer.id == root.issuer.id || is_below(i)) {
            let valid = certificates::count_valid_of(&self.store, loaded.issuer.id, now).await?;
            count += valid;
            if valid > 0 {
                issuers.push(format!("{} {valid}", loaded.issuer.slug));
            }
        }
        let (slug, domain, state) = (&root.issuer.slug, &root.issuer.domain, root.issuer.state);
        let fix = match state {
            IssuerState::Revoked => "replace them by certificates of an issuer under another root".to_owned(),
            _ => {
                format!("replace them, or run `chancery ca retire {slug}`, which puts the root back into the bundle")
            }
        };
        Ok((count > 0).then(|| {
            let (noun, verb, them) =
                if count == 1 { ("certificate", "is", "it") } else { ("certificates", "are", "them") };
            format!(
                "root {slug} is {} and not in /bundles/{domain}.pem, and {count} {noun} below it {verb} valid ({}): clients \
                 that have fetched the bundle refuse {them}; {fix}",
                state.name(),
                issuers.join(", ")
            )
        }))
    }

    async fn check_intents(&self) -> Result<Check> {
        let (before, first) = (self.store.now() - STALE_AFTER, CertificateId::from_bytes([0; 16]));
        let stale = certificates::stale_intents(&self.store, before, first, 100).await?.len();
        let text = format!(
            "{stale} signings were begun and left unfinished; a server that runs revokes them: `chancery serve`"
        );
        let found = if stale > 0 { vec![(Severity::Warning, text)] } else { Vec::new() };
        Ok(check("intents", found, "no signing was begun and left unfinished".into()))
    }
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
