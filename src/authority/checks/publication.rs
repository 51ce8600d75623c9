//! What verifiers fetch: is there a CRL in force and a living OCSP delegate for each issuer whose certificates somebody may
//! still verify?

use std::time::Duration;

use super::super::snapshot::{LoadedIssuer, Snapshot};
use super::remedies::how_to_publish;
use super::{Check, Severity, check};
use crate::authority::Authority;
use crate::clock::{Timestamp, days, hours};
use crate::error::{Error, Result};
use crate::model::issuer::{Issuer, IssuerRole};
use crate::store::{crls, hierarchy};

/// A certificate of before that names the CRL of a CA that may sign none.
fn names_a_missing_crl(snapshot: &Snapshot, loaded: &LoadedIssuer) -> Option<String> {
    let urls = loaded.path.cas().first()?.crl_urls();
    let above =
        snapshot.issuers.values().find(|above| !above.signs_crls() && urls.contains(&above.issuer.crl_url()))?;
    let (slug, above) = (&loaded.issuer.slug, &above.issuer.slug);
    Some(format!(
        "the certificate of {slug} names a CRL of {above}, which may sign none, so verifiers that ask for it refuse \
         everybody; `chancery ca renew {slug}` makes one that names none"
    ))
}

/// How old a CRL may be before somebody should look: one publication was missed, and another one in a while.
fn late(loaded: &LoadedIssuer) -> Duration {
    let interval = loaded.lifetimes.crl_interval();
    interval + interval.min(hours(1))
}

impl Authority {
    pub(super) async fn check_crls(&self) -> Result<Check> {
        let snapshot = self.snapshot();
        let (mut found, mut told) = (Vec::new(), Vec::new());
        for issuer in hierarchy::issuers(&self.store).await? {
            if !self.needs_status(&issuer).await? {
                continue;
            }
            let missing = || Error::inconsistent(format!("issuer {} is not loaded", issuer.slug));
            let loaded = snapshot.issuer_by_id(issuer.id).ok_or_else(missing)?;
            if let Some(named) = names_a_missing_crl(&snapshot, loaded) {
                found.push((Severity::Warning, named));
            }
            if !loaded.signs_crls() {
                told.push(format!(
                    "{} signs none, because its certificate lacks cRLSign: in trust domain {} use no program that asks for the CRL of every \
                     CA of a chain, such as nginx with ssl_crl",
                    issuer.slug, issuer.domain
                ));
                continue;
            }
            match self.crl_problem(loaded).await? {
                (Some(problem), _) => found.push(problem),
                (None, until) => told.extend(until.map(|until| format!("{} until {until}", issuer.slug))),
            }
        }
        Ok(check("crls", found, told.join(", ")))
    }

    /// Checks the CRL of an issuer. Returns a finding, or the time until which the CRL is in force.
    async fn crl_problem(&self, loaded: &LoadedIssuer) -> Result<(Option<(Severity, String)>, Option<Timestamp>)> {
        let (slug, id, now) = (&loaded.issuer.slug, loaded.issuer.id, self.store.now());
        let problem =
            |severity, what: String| Ok((Some((severity, format!("{what}; {}", how_to_publish(loaded)))), None));
        let Some(crl) = crls::in_force(&self.store, id, now).await? else {
            return problem(
                Severity::Critical,
                format!("{slug} has no CRL in force, so verifiers refuse what it signed"),
            );
        };
        let end = crl.next_update;
        if end <= now {
            return problem(Severity::Critical, format!("the CRL of {slug} expired at {end}"));
        }
        match loaded.issuer.role {
            // a root's CRLs are signed for its whole life, or come one by one from where its key is
            IssuerRole::Root if end <= now + days(7) && !crls::has_ahead(&self.store, id, now).await? => {
                problem(Severity::Warning, format!("the CRL of {slug} expires at {end}, and no later one is signed"))
            }
            IssuerRole::Issuing if now.since(crl.starts_at) > late(loaded) => problem(
                Severity::Warning,
                format!("the CRL of {slug} of {} should have been replaced by a newer one", crl.this_update),
            ),
            IssuerRole::Root | IssuerRole::Issuing => Ok((None, Some(end))),
        }
    }

    pub(super) async fn check_responders(&self) -> Result<Check> {
        let (snapshot, now) = (self.snapshot(), self.store.now());
        let alive = hierarchy::responders(&self.store, now).await?;
        let (mut found, mut told) = (Vec::new(), Vec::new());
        for issuer in hierarchy::issuers(&self.store).await?.into_iter().filter(|i| i.role == IssuerRole::Issuing) {
            let Some(loaded) = snapshot.issuer_by_id(issuer.id) else { continue };
            if !self.needs_status(&issuer).await? {
                continue;
            }
            let (slug, fix) = (&issuer.slug, how_to_publish(loaded));
            match alive.iter().filter(|r| r.issuer_id == issuer.id).map(|r| r.not_after).max() {
                Some(end) if end > now + days(2) => told.push(format!("{slug} until {end}")),
                Some(end) => {
                    found.push((Severity::Warning, format!("the OCSP responder of {slug} expires at {end}; {fix}")));
                }
                None => found.push((Severity::Critical, format!("{slug} has no OCSP responder; {fix}"))),
            }
        }
        Ok(check("ocsp", found, told.join(", ")))
    }

    /// Does anybody still verify what this CA signed?
    pub async fn needs_status(&self, issuer: &Issuer) -> Result<bool> {
        let (snapshot, now) = (self.snapshot(), self.store.now());
        if snapshot.issuer_by_id(issuer.id).is_some_and(|loaded| loaded.is_expired(now)) {
            return Ok(false);
        }
        Ok(!issuer.state.is_over_without_certificates() || !self.is_over(issuer.id).await?)
    }
}
