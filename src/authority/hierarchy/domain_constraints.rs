//! Name constraints that nobody asked for: a new issuer of a trust domain whose other issuers are all constrained alike is
//! constrained as they are. Without them it would sign what the domain was never meant to hold.

use super::plan::{Plan, Wanted};
use crate::authority::snapshot::{LoadedIssuer, Snapshot};
use crate::error::{Error, ErrorKind, Result};
use crate::model::issuer::{IssuerRole, IssuerState};
use crate::pki::oids;
use crate::pki::tbs::{TbsView, split_certificate};

impl Plan {
    /// Takes the constraints of the domain's issuers, unless other ones or none were asked for. Refused where those issuers
    /// are constrained to different names. Whether anything was taken.
    pub(super) fn take_constraints(&mut self, wanted: &Wanted, snapshot: &Snapshot) -> Result<bool> {
        if wanted.unconstrained && self.constraints.is_some() {
            let detail = "an issuer that permits or excludes names is not unconstrained; leave out one of them";
            return Err(Error::malformed(detail));
        }
        if wanted.unconstrained || self.constraints.is_some() {
            return Ok(false);
        }
        let of_domain = |issuer: &&std::sync::Arc<LoadedIssuer>| {
            let (issuer, state) = (&issuer.issuer, issuer.issuer.state);
            issuer.domain == self.domain
                && issuer.role == IssuerRole::Issuing
                && matches!(state, IssuerState::Prepared | IssuerState::Active | IssuerState::Retiring)
        };
        let known: Vec<_> = snapshot.issuers.values().filter(of_domain).collect();
        let values = known.iter().map(|issuer| constraints_of(issuer)).collect::<Result<Vec<_>>>()?;
        let Some(first) = values.first().filter(|_| values.iter().all(Option::is_some)) else { return Ok(false) };
        if values.iter().any(|value| value != first) {
            let slugs: Vec<_> = known.iter().map(|issuer| issuer.issuer.slug.as_str()).collect();
            return Err(differ(&self.domain, &slugs.join(", ")));
        }
        self.constraints.clone_from(first);
        Ok(true)
    }
}

/// The value of the extension in an issuer's own certificate.
fn constraints_of(issuer: &LoadedIssuer) -> Result<Option<Vec<u8>>> {
    let Some(own) = issuer.path.cas().first() else { return Ok(None) };
    let unreadable = |e| {
        let slug = &issuer.issuer.slug;
        Error::inconsistent(format!("the certificate of issuer {slug} cannot be read")).because(e)
    };
    let (raw, ..) = split_certificate(&own.der).map_err(unreadable)?;
    let view = TbsView::parse(raw).map_err(unreadable)?;
    Ok(view.extension(&oids::NAME_CONSTRAINTS).map(|(_, value)| value.to_vec()))
}

fn differ(domain: &str, slugs: &str) -> Error {
    let value = "an issuer without name constraints";
    let allowed = "the names that it is to permit or exclude";
    let fix = "give them with --permit and --exclude, or --unconstrained for an issuer that may sign every name";
    let sentence =
        format!("the issuers of trust domain {domain} ({slugs}) are constrained to different names; {fix}");
    Error::refused(ErrorKind::Unprocessable, "issuer.name_constraints", value, allowed, fix).saying(sentence)
}
