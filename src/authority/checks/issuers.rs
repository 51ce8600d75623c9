//! Can every trust domain issue, and does no CA that signs expire soon?

use std::sync::Arc;
use std::time::Duration;

use super::remedies::{how_to_issue, how_to_outlast};
use super::{Check, Severity, check};
use crate::authority::Authority;
use crate::authority::own::OWN_DOMAIN;
use crate::authority::snapshot::{LoadedIssuer, Snapshot};
use crate::clock::{Timestamp, days};
use crate::error::Result;
use crate::model::issuer::{IssuerRole, IssuerState};
use crate::store::certificates;

/// How long before a CA expires an operator is warned, each time more urgently.
const WARNED: [(Duration, &str); 3] =
    [(days(7), "within 7 days: act now"), (days(30), "within 30 days"), (days(90), "within 90 days")];

impl Authority {
    pub(super) async fn check_issuers(&self) -> Result<Check> {
        let (snapshot, now) = (self.snapshot(), self.store.now());
        let (mut found, mut told) = (Vec::new(), Vec::new());
        for domain in &snapshot.domains {
            match self.cannot_issue(&snapshot, &domain.slug, now).await? {
                Some((Severity::Ok, text)) => told.push(text),
                problem => found.extend(problem),
            }
        }
        found.extend(snapshot.issuers.values().filter_map(|issuer| expiring(&snapshot, issuer, now)));
        for (slug, issuer) in &snapshot.issuers {
            let state = if issuer.on_hold { "on hold" } else { issuer.issuer.state.name() };
            told.extend(issuer.not_after().map(|end| format!("{slug} {state} until {end}")));
        }
        Ok(check("issuers", found, told.join(", ")))
    }

    /// The trust domains that cannot issue and should, each with the reason and what to do.
    pub async fn domains_without_signer(&self) -> Result<Vec<(String, String)>> {
        let (snapshot, now) = (self.snapshot(), self.store.now());
        let mut found = Vec::new();
        for domain in &snapshot.domains {
            match self.cannot_issue(&snapshot, &domain.slug, now).await? {
                Some((Severity::Warning | Severity::Critical, why)) => found.push((domain.slug.clone(), why)),
                Some((Severity::Ok, _)) | None => {}
            }
        }
        Ok(found)
    }

    /// A domain in which nothing signs. One that was retired as a whole and has no certificate left is no problem.
    async fn cannot_issue(
        &self,
        snapshot: &Snapshot,
        domain: &str,
        now: Timestamp,
    ) -> Result<Option<(Severity, String)>> {
        if !snapshot.signers(domain, now).is_empty() {
            return Ok(None);
        }
        let issuing: Vec<_> = issuing(snapshot, domain).collect();
        let why = issuing
            .iter()
            .filter_map(|i| Some(format!("{} {}", i.issuer.slug, snapshot.may_sign(i, now).err()?.clause())));
        let why: Vec<_> = why.collect();
        let why = if why.is_empty() { "it has no issuer".to_owned() } else { why.join(", ") };
        let fix = how_to_issue(snapshot, domain, now);
        let retired = |i: &&Arc<LoadedIssuer>| {
            matches!(i.issuer.state, IssuerState::Prepared | IssuerState::Retiring | IssuerState::Removed)
        };
        // the server's own certificate stands in its domain
        if domain == OWN_DOMAIN || !issuing.iter().all(retired) {
            return Ok(Some((Severity::Critical, format!("trust domain {domain} cannot issue: {why}; {fix}"))));
        }
        let mut last = None;
        // certificates of a CA that came from elsewhere may stand under its root
        for loaded in snapshot.issuers.values().filter(|i| i.issuer.domain == domain) {
            last = last.max(certificates::last_valid_of(&self.store, loaded.issuer.id, now).await?);
        }
        Ok(Some(match last {
            Some(end) => {
                let text = format!(
                    "trust domain {domain} cannot issue, so its certificates cannot be renewed, the last of which expires at \
                     {end}: {why}; {fix}"
                );
                (Severity::Warning, text)
            }
            None => (
                Severity::Ok,
                format!(
                    "trust domain {domain} cannot issue ({why}), and nobody uses it: no certificate of it is valid; to use it {fix}"
                ),
            ),
        }))
    }
}

/// The issuers of a domain that are no roots.
pub(super) fn issuing<'s>(snapshot: &'s Snapshot, domain: &str) -> impl Iterator<Item = &'s Arc<LoadedIssuer>> {
    snapshot.issuers.values().filter(move |i| i.issuer.domain == domain && i.issuer.role == IssuerRole::Issuing)
}

/// What to do about a CA that expires soon. One that has expired is a matter of its domain.
fn expiring(snapshot: &Snapshot, loaded: &LoadedIssuer, now: Timestamp) -> Option<(Severity, String)> {
    let slug = &loaded.issuer.slug;
    match loaded.issuer.state {
        IssuerState::Prepared | IssuerState::Active => {}
        IssuerState::Retiring | IssuerState::Removed | IssuerState::Revoked => return None,
    }
    let Some(end) = loaded.not_after() else {
        return Some((Severity::Critical, format!("{slug} has no certificate; run `chancery fsck`")));
    };
    let (_, when) = WARNED.into_iter().find(|(before, _)| end > now && end.since(now) <= *before)?;
    let fix = how_to_outlast(snapshot, loaded, end, now);
    Some((Severity::Warning, format!("{slug} expires at {end}, {when}; {fix}")))
}
