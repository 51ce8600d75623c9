//! The issuer that signs for this server and the root above it: its TLS certificate, `/root.pem`, the receipt and the
//! trust page name one and the same root, and move together when another issuer becomes the default.

use std::cmp::Reverse;
use std::sync::Arc;

use super::Authority;
use super::signers::Candidates;
use super::snapshot::{LoadedIssuer, Snapshot};
use crate::model::identifier::Identifier;
use crate::model::issuer::{Former, IssuerRole, IssuerState};

/// The trust domain of the server's own certificate.
pub const OWN_DOMAIN: &str = "tls";

impl Authority {
    /// The issuer that signs for this server's own names now.
    pub fn own_signer(&self) -> Option<Arc<LoadedIssuer>> {
        let snapshot = self.snapshot();
        snapshot.signer(OWN_DOMAIN, Candidates::Any, &self.own_names(), self.store().now()).ok().cloned()
    }

    /// The root above this server's own certificate in DER, by the path of the issuer that signs for it. While nobody does
    /// it is the one above the issuer that did so last: the default, else one that is retiring.
    pub fn own_root(&self) -> Option<Vec<u8>> {
        let snapshot = self.snapshot();
        let by_path = |issuer: Arc<LoadedIssuer>| root_above(&issuer);
        let mut others: Vec<_> = snapshot
            .issuers
            .values()
            .filter(|i| i.issuer.domain == OWN_DOMAIN && i.issuer.role == IssuerRole::Issuing)
            .filter_map(|i| Some((last_signer(i)?, i)))
            .collect();
        others.sort_by_key(|(rank, i)| (*rank, Reverse(i.issuer.created_at), i.issuer.id.bytes()));
        let signed_last = || others.iter().find_map(|(_, issuer)| root_above(issuer));
        self.own_signer().and_then(by_path).or_else(signed_last).or_else(|| active_root(&snapshot))
    }

    pub(super) fn own_names(&self) -> Vec<Identifier> {
        self.own_hosts().iter().filter_map(|name| Identifier::guess(name).ok()).collect()
    }
}

/// How likely an issuer signed for the server last, the likeliest first; none for one that never did or is not trusted.
fn last_signer(issuer: &LoadedIssuer) -> Option<u8> {
    match issuer.issuer.state {
        IssuerState::Active if issuer.issuer.is_default => Some(0),
        IssuerState::Retiring if issuer.issuer.former == Former::Default => Some(1),
        IssuerState::Active => Some(2),
        IssuerState::Retiring => Some(3),
        IssuerState::Revoked => Some(4),
        IssuerState::Prepared | IssuerState::Removed => None,
    }
}

/// Where the usual path of an issuer ends, if clients of its domain trust that root.
fn root_above(issuer: &LoadedIssuer) -> Option<Vec<u8>> {
    let usual = issuer.chains.first().filter(|usual| usual.ends_in_bundle())?;
    usual.path().cas().last().filter(|root| root.is_root()).map(|root| root.der.clone())
}

fn active_root(snapshot: &Snapshot) -> Option<Vec<u8>> {
    let is_it = |i: &&Arc<LoadedIssuer>| {
        i.issuer.domain == OWN_DOMAIN && i.issuer.role == IssuerRole::Root && i.issuer.state.signs()
    };
    let root = snapshot.issuers.values().find(is_it)?;
    root.certificates.first().map(|c| c.der.clone())
}
