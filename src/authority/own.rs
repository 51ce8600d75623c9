//! The issuer that signs for this server and the root above it: its TLS certificate, `/root.pem`, the receipt and the
//! trust page name one and the same root, and move together when another issuer becomes the default.

use std::sync::Arc;

use super::Authority;
use super::signers::Candidates;
use super::snapshot::{LoadedIssuer, Snapshot};
use crate::model::identifier::Identifier;
use crate::model::issuer::IssuerRole;
use crate::pki::ca_certificate::CaCertificate;

/// The trust domain of the server's own certificate.
pub const OWN_DOMAIN: &str = "tls";

impl Authority {
    /// The issuer that signs for this server's own names now.
    pub fn own_signer(&self) -> Option<Arc<LoadedIssuer>> {
        let snapshot = self.snapshot();
        snapshot.signer(OWN_DOMAIN, Candidates::Any, &self.own_names(), self.store().now()).ok().cloned()
    }

    /// The root under which this server's own certificate stands, in DER. While nobody signs for the server it is that
    /// of the default issuer, else an active one.
    pub fn own_root(&self) -> Option<Vec<u8>> {
        let snapshot = self.snapshot();
        let in_domain = |i: &&Arc<LoadedIssuer>| i.issuer.domain == OWN_DOMAIN;
        let default = || snapshot.issuers.values().filter(in_domain).find(|i| i.issuer.is_default).cloned();
        let above = self.own_signer().or_else(default).and_then(|issuer| root_of(&snapshot, &issuer));
        let is_active = |i: &&Arc<LoadedIssuer>| i.issuer.role == IssuerRole::Root && i.issuer.state.signs();
        let active = || {
            let root = snapshot.issuers.values().filter(in_domain).find(is_active)?;
            root.certificates.first().map(|c| c.der.clone())
        };
        above.or_else(active).or_else(|| snapshot.roots(OWN_DOMAIN).first().map(|der| der.to_vec()))
    }

    pub(super) fn own_names(&self) -> Vec<Identifier> {
        self.own_hosts().iter().filter_map(|name| Identifier::guess(name).ok()).collect()
    }
}

/// The root of a domain's bundle that the chain of an issuer ends in.
fn root_of(snapshot: &Snapshot, issuer: &LoadedIssuer) -> Option<Vec<u8>> {
    let top = CaCertificate::read(issuer.chain.last()?).ok()?;
    let roots = snapshot.roots(&issuer.issuer.domain);
    let mut above = roots.into_iter().filter(|der| CaCertificate::read(der).is_ok_and(|root| root.fits_above(&top)));
    above.next().map(<[u8]>::to_vec)
}
