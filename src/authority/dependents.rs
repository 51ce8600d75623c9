//! What depends on an issuer or a root: shown before a command takes its power away.

use super::Authority;
use super::own::OWN_DOMAIN;
use super::signers::Candidates;
use super::snapshot::Snapshot;
use crate::error::Result;
use crate::model::identifier::Identifier;
use crate::model::issuer::{IssuerMove, IssuerRole};
use crate::store::certificates;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependents {
    pub role: IssuerRole,
    /// The issuer and everything below it, by slug.
    pub issuers: Vec<String>,
    /// Profiles that nobody would sign for without these issuers.
    pub profiles: Vec<String>,
    /// Certificates that are valid now, those of CAs of this installation and of OCSP delegates apart.
    pub valid_certificates: i64,
    /// A root under which issuers can be made, with valid certificates of its own and no issuer below it that signs.
    pub stands_alone: bool,
    /// The server's own certificate stands under it.
    pub own_certificate: bool,
    /// Who signs for the server's own names instead.
    pub own_successor: Option<String>,
    /// Who signs for the domain instead, where the names fit.
    pub successor: Option<String>,
    /// Issuers below a root that go on signing while the root is only retiring.
    pub signing_on: Vec<String>,
}

impl Dependents {
    /// Does this move take something away that no other issuer takes over? `directories` is how many ACME directories
    /// would have no issuer.
    pub fn must_confirm(&self, step: IssuerMove, directories: usize) -> bool {
        match (step, self.role) {
            (IssuerMove::Activate | IssuerMove::MakeDefault, _) => false,
            // a retiring root stays in the bundle, and what is below it goes on; but no issuer can be made under it any more
            (IssuerMove::Retire, IssuerRole::Root) => self.stands_alone,
            (IssuerMove::Retire, IssuerRole::Issuing) => {
                !self.profiles.is_empty() || directories > 0 || self.own_certificate && self.own_successor.is_none()
            }
            (IssuerMove::Remove, _) => self.valid_certificates > 0 || self.own_certificate,
            (IssuerMove::Revoke, _) => true,
        }
    }
}

impl Authority {
    pub async fn dependents(&self, slug: &str) -> Result<Dependents> {
        let (snapshot, now) = (self.snapshot(), self.store.now());
        let issuer = snapshot.issuer(slug)?;
        let below = subtree(&snapshot, slug)?;
        let domain = &issuer.issuer.domain;
        let gone = |slug: &str| below.iter().any(|one| one == slug);
        let signers = snapshot.signers(domain, now);
        let successor = signers.iter().find(|i| !gone(&i.issuer.slug)).map(|i| i.issuer.slug.clone());
        let signs = signers.iter().any(|i| gone(&i.issuer.slug));
        let of_domain = || snapshot.profiles.iter().filter(|(_, p)| p.profile.domain() == domain);
        let profiles =
            if signs && successor.is_none() { of_domain().map(|(s, _)| s.clone()).collect() } else { vec![] };
        let own_certificate = domain == OWN_DOMAIN && self.own_signer().is_some_and(|i| gone(&i.issuer.slug));
        let own_successor = signers.iter().find(|i| !gone(&i.issuer.slug) && i.fits(&self.own_names()));
        let signing_on: Vec<_> = match issuer.issuer.role {
            IssuerRole::Root => signers.iter().map(|i| i.issuer.slug.clone()).filter(|slug| gone(slug)).collect(),
            IssuerRole::Issuing => Vec::new(),
        };
        let own = certificates::count_valid_of(&self.store, issuer.issuer.id, now).await?;
        let is_root = issuer.issuer.role == IssuerRole::Root && issuer.issuer.state.signs();
        let mut valid = own;
        for loaded in below.iter().filter(|one| *one != slug).filter_map(|slug| snapshot.issuers.get(slug)) {
            valid += certificates::count_valid_of(&self.store, loaded.issuer.id, now).await?;
        }
        Ok(Dependents {
            role: issuer.issuer.role,
            profiles,
            valid_certificates: valid,
            stands_alone: is_root && own > 0 && signing_on.is_empty(),
            own_successor: own_successor.filter(|_| own_certificate).map(|i| i.issuer.slug.clone()),
            own_certificate,
            successor,
            signing_on,
            issuers: below,
        })
    }

    /// Would these names have an issuer of the domain without the ones that go?
    pub fn signs_without(
        &self,
        gone: &[String],
        domain: &str,
        candidates: Candidates<'_>,
        names: &[Identifier],
    ) -> bool {
        let (snapshot, now) = (self.snapshot(), self.store.now());
        let listed: Vec<String> = snapshot
            .signers(domain, now)
            .iter()
            .map(|i| i.issuer.slug.clone())
            .filter(|slug| candidates.allows(slug) && !gone.contains(slug))
            .collect();
        snapshot.signer(domain, Candidates::Listed(&listed), names, now).is_ok()
    }
}

/// An issuer and everything below it.
fn subtree(snapshot: &Snapshot, slug: &str) -> Result<Vec<String>> {
    let top = snapshot.issuer(slug)?.issuer.id;
    let below = snapshot
        .issuers
        .values()
        .filter(|i| i.issuer.id == top || snapshot.above(i).any(|above| above.issuer.id == top));
    Ok(below.map(|i| i.issuer.slug.clone()).collect())
}
