//! What an account's grant means for its orders: which names are certified without a proof, and whether the
//! account may order at all. Everything is asked again in the intent's transaction (authority/guard.rs).

use super::{Directory, Registration};
use crate::authority::guard::{Granted, Resting};
use crate::authority::snapshot::Snapshot;
use crate::error::{Error, ErrorKind, Result};
use crate::model::acme::Account;
use crate::model::grant::Grant;
use crate::model::identifier::Identifier;
use crate::pki::profile::ExtendedKeyUsage;
use crate::store::authorizations::HeldAuthorization;
use crate::store::grants;

impl Registration {
    /// The grant of a bound account, alive and good for the profile and issuer of this directory.
    pub(super) async fn grant_for_order(
        &self,
        directory: &Directory,
        account: &Account,
        slug: &str,
    ) -> Result<Option<Grant>> {
        let snapshot = self.authority.snapshot();
        let profile = &snapshot.profile(slug)?.profile;
        let grant = self.grant_of(account).await?;
        check_client_auth(&snapshot, slug, grant.is_some())?;
        let Some(grant) = grant else { return Ok(None) };
        grant.check_alive(self.store.now())?;
        grant.scope.check_profile(slug)?;
        let issuer = directory.issuer(&snapshot, profile.domain(), &[], self.store.now())?;
        grant.scope.check_issuer(&issuer.issuer.slug)?;
        Ok(Some(grant))
    }

    /// What finalize takes of the grant: names that have a granted authorization rest on it, the others are proved.
    pub(super) async fn granted(&self, account: &Account, proofs: &[HeldAuthorization]) -> Result<Option<Granted>> {
        let Some(grant) = self.grant_of(account).await? else { return Ok(None) };
        let resting = proofs.iter().filter(|proof| proof.is_granted);
        let names = resting.map(|proof| proof.authorization.name()).collect::<Result<Vec<Identifier>>>()?;
        Ok(Some(Granted { id: grant.id, names: Resting::Some(names), rules: grant.scope.names }))
    }

    pub(super) async fn grant_of(&self, account: &Account) -> Result<Option<Grant>> {
        let Some(grant) = account.grant else { return Ok(None) };
        let found = grants::find(&self.store, grant).await?;
        found.map(Some).ok_or_else(|| grants::gone(grant))
    }
}

/// Who signs in elsewhere by a certificate has it from an administrator.
pub(super) fn check_client_auth(snapshot: &Snapshot, slug: &str, is_granted: bool) -> Result<()> {
    if is_granted || !snapshot.profile(slug)?.profile.usages().contains(&ExtendedKeyUsage::ClientAuth) {
        return Ok(());
    }
    Err(Error::refused(
        ErrorKind::Forbidden,
        "acme.grant",
        format!("an account without a grant for profile {slug}, which has clientAuth"),
        "accounts under a grant",
        "ask an administrator for a key (chancery acme eab create) and register with it, or for a grant for this account (chancery acme accounts grant)",
    ).explained(format!("profile {slug} has clientAuth, so only accounts under a grant may use it")))
}

/// May it have the name without a proof?
pub(super) fn allows(grant: Option<&Grant>, name: &Identifier) -> bool {
    grant.is_some_and(|grant| grant.scope.check_name(name).is_ok())
}
