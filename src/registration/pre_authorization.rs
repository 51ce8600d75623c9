//! Pre-authorization (RFC 8555 §7.4.1): a name is proved ahead of any order, alone or with all names below it
//! (RFC 9444 §4.2). The account's next orders rest on it.

use serde_json::json;

use super::attempts::Tried;
use super::orders::{AskedName, Wanted};
use super::proofs::{Holder, Proof, new_proof, proof_of_zone};
use super::{Directory, MAX_AHEAD, ORDER_LIFETIME, Origin, Registration, still_signs};
use crate::clock::minutes;
use crate::error::{Error, ErrorKind, Result};
use crate::model::acme::{Account, Authorization, Challenge};
use crate::model::audit::AuditEvent;
use crate::model::grant::Grant;
use crate::store::{Tx, accounts, authorizations, challenges};

impl Registration {
    pub async fn new_authorization(
        &self,
        origin: &Origin,
        directory: &Directory,
        account: &Account,
        asked: AskedName,
        subdomains: bool,
    ) -> Result<(Authorization, Vec<Challenge>)> {
        let actor = origin.account(account);
        let tried = || Tried::authorization(origin, &directory.slug, &asked);
        let (wanted, grant) = match self.checked_ahead(directory, account, asked.clone()).await {
            Ok(checked) => checked,
            Err(error) => return self.refused_attempt(&actor, tried(), error).await,
        };
        let now = self.store.now();
        let end = now + ORDER_LIFETIME;
        let holder = Holder {
            account: account.id,
            order: None,
            expires_at: grant.as_ref().and_then(|g| g.expires_at).map_or(end, |limit| limit.min(end)).truncated(),
            created_at: now,
        };
        let whole = match subdomains {
            true => proof_of_zone(&self.store, directory, holder, 0, &wanted.name)?,
            false => None,
        };
        let proof = match whole {
            Some(proof) => proof,
            None => new_proof(&self.store, directory, grant.as_ref(), holder, 0, &wanted)?,
        };
        let mut tx = self.store.begin(&actor).await?;
        let held = match hold_place(&mut tx, account).await {
            Ok(()) => {
                let address = &origin.address;
                Registration::take_authorization(&mut tx, directory, account.id, address, &wanted.name).await
            }
            refused => refused,
        };
        if let Err(error) = held {
            drop(tx);
            return self.refused_attempt(&actor, tried(), error).await;
        }
        let granted = proof.is_granted();
        let Proof { authorization, challenges } = proof;
        let list: Vec<Challenge> = challenges.unwrap_or_default();
        authorizations::insert(&mut tx, &[(&authorization, granted)]).await?;
        challenges::insert(&mut tx, &list.iter().collect::<Vec<_>>()).await?;
        let detail = json!({"identifier": authorization.identifier, "subdomains": authorization.subdomains});
        let object = format!("authorization:{}", authorization.id);
        tx.audit(AuditEvent::done("authorization.created", object, detail));
        tx.commit().await?;
        Ok((authorization, list))
    }

    async fn checked_ahead(
        &self,
        directory: &Directory,
        account: &Account,
        asked: AskedName,
    ) -> Result<(Wanted, Option<Grant>)> {
        if asked.value.starts_with("*.") {
            return Err(Error::malformed(
                "a wildcard cannot be authorized ahead of an order (RFC 8555 §7.4.1): order it, or ask for its base",
            ));
        }
        let profile = directory.profile(None)?;
        let grant = self.grant_for_order(directory, account, profile).await?;
        let mut names = self.checked_names(directory, profile, grant.as_ref(), &[asked])?;
        let wanted = names.pop().ok_or_else(|| Error::malformed("newAuthz names one identifier"))?;
        Ok((wanted, grant))
    }
}

/// In its transaction: the account is valid, and does not pile up what it never orders.
async fn hold_place(tx: &mut Tx, account: &Account) -> Result<()> {
    let now = tx.now();
    let held = accounts::hold(&mut *tx, account.id).await?;
    still_signs(account, &held.ok_or_else(|| Error::not_found("account"))?)?;
    let open = authorizations::open_ahead(&mut *tx, account.id, now).await?;
    if open < MAX_AHEAD {
        return Ok(());
    }
    let error = Error::refused(
        ErrorKind::RateLimited,
        "acme.open_authorizations",
        format!("one more authorization beside {open} that were made ahead of orders"),
        format!("at most {MAX_AHEAD} that are pending or valid"),
        "order what you need, or deactivate those that you gave up",
    ).explained(format!("the account has {open} authorizations that were made ahead of orders and are pending or valid; the limit is {MAX_AHEAD}"));
    Err(error.retry_after(minutes(10)))
}
