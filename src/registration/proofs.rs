//! What each name of an order rests on: the account's grant, a proof that it has already, or a challenge to come
//! (RFC 8555 §7.4, §7.4.1; RFC 9444). Chosen in the order's transaction, with what is shared locked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::directories::DNS_PERSIST;
use super::orders::Wanted;
use super::under_grant::allows;
use super::{Directory, Registration};
use crate::clock::Timestamp;
use crate::entropy::random;
use crate::error::Result;
use crate::model::acme::{Authorization, AuthorizationStatus, Challenge, ChallengeStatus, GRANTED, Order};
use crate::model::grant::Grant;
use crate::model::id::{AccountId, AuthorizationId, ChallengeId, OrderId};
use crate::model::identifier::Identifier;
use crate::store::{Tx, authorizations, challenges};

/// An authorization of an order, and its challenges when it is a new one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Proof {
    pub authorization: Authorization,
    /// `None`: it stood there before.
    pub challenges: Option<Vec<Challenge>>,
}

impl Proof {
    /// Writes what is new of it.
    pub async fn store(&self, tx: &mut Tx) -> Result<()> {
        let Some(list) = &self.challenges else { return Ok(()) };
        authorizations::insert(&mut *tx, &self.authorization).await?;
        for challenge in list {
            challenges::insert(&mut *tx, challenge).await?;
        }
        Ok(())
    }
}

/// For whom an authorization is made, and until when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holder {
    pub account: AccountId,
    pub order: Option<OrderId>,
    pub expires_at: Timestamp,
    pub created_at: Timestamp,
}

impl Registration {
    /// One proof a name, in the order of the names; names that one authorization covers share it.
    pub(super) async fn proofs_for(
        &self,
        tx: &mut Tx,
        directory: &Directory,
        grant: Option<&Grant>,
        order: &Order,
        names: &[Wanted],
    ) -> Result<Vec<Proof>> {
        let holder = Holder {
            account: order.account_id,
            order: Some(order.id),
            expires_at: order.expires_at,
            created_at: order.created_at,
        };
        let had = self.had(tx, directory, order, names).await?;
        let mut proofs = Vec::<Proof>::with_capacity(names.len());
        for wanted in names {
            let granted = allows(grant, &wanted.name);
            // a grant is asked anew by each order, so nothing rests on what an earlier one was granted
            if !granted && proofs.iter().any(|p| p.authorization.subdomains && p.authorization.covers(&wanted.name)) {
                continue;
            }
            let found = had.iter().filter(|a| !granted && a.covers(&wanted.name));
            match found.max_by_key(|a| a.status == AuthorizationStatus::Valid) {
                Some(found) if proofs.iter().any(|p| p.authorization.id == found.id) => {}
                Some(found) => proofs.push(Proof { authorization: found.clone(), challenges: None }),
                None => {
                    let place = i64::try_from(proofs.len()).unwrap_or(i64::MAX);
                    proofs.push(self.new_proof(directory, grant, holder, place, wanted)?);
                }
            }
        }
        Ok(proofs)
    }

    /// The authorizations of this account that its order may rest on.
    async fn had(
        &self,
        tx: &mut Tx,
        directory: &Directory,
        order: &Order,
        names: &[Wanted],
    ) -> Result<Vec<Authorization>> {
        let (now, reuse) = (tx.now(), directory.reuse());
        let mut found = Vec::new();
        if directory.config.pre_authorization {
            found = authorizations::ahead(&mut *tx, order.account_id, now).await?;
        }
        if !reuse.is_zero() {
            // in one order for everybody, so that two orders that share proofs do not wait for each other
            let mut sorted: Vec<_> = names.iter().map(|wanted| &wanted.name).collect();
            sorted.sort();
            for name in sorted {
                found.extend(authorizations::proved(&mut *tx, order.account_id, name, now, now - reuse).await?);
            }
        }
        let mut good = Vec::with_capacity(found.len());
        for authorization in found {
            if self.still_offered(tx, directory, &authorization).await? {
                good.push(authorization);
            }
        }
        Ok(good)
    }

    /// A proof counts while the directory still takes its method, and covers more names while it still allows that.
    async fn still_offered(&self, tx: &mut Tx, directory: &Directory, authorization: &Authorization) -> Result<bool> {
        if authorization.subdomains && !directory.config.subdomains {
            return Ok(false);
        }
        let offered = directory.challenges_for(&authorization.name()?);
        let list = challenges::of_authorization(&mut *tx, authorization.id).await?;
        // its record is to be looked at again as soon as its TTL is over (draft-ietf-acme-dns-persist, Validation Data
        // Reuse and TTL Handling), which asks nothing of the client
        let by_record = |c: &Challenge| c.kind == DNS_PERSIST && c.status == ChallengeStatus::Valid;
        if authorization.order_id.is_some() && list.iter().any(by_record) {
            return Ok(false);
        }
        let counts = |c: &Challenge| match authorization.status {
            AuthorizationStatus::Valid => c.status == ChallengeStatus::Valid,
            _ => true,
        };
        Ok(list.iter().filter(|c| counts(c)).any(|c| offered.contains(&c.kind.as_str())))
    }

    /// A new authorization: granted, for the ancestor that the client offers, or for the name itself.
    pub(super) fn new_proof(
        &self,
        directory: &Directory,
        grant: Option<&Grant>,
        holder: Holder,
        position: i64,
        wanted: &Wanted,
    ) -> Result<Proof> {
        if allows(grant, &wanted.name) {
            let authorization = self.made(holder, position, &wanted.name, AuthorizationStatus::Valid)?;
            let challenge = self.new_challenge(authorization.id, GRANTED)?;
            return Ok(Proof { authorization, challenges: Some(vec![challenge]) });
        }
        if let Some(above) = &wanted.ancestor
            && let Some(proof) = self.proof_of_zone(directory, holder, position, above)?
        {
            return Ok(proof);
        }
        let authorization = self.made(holder, position, &wanted.name, AuthorizationStatus::Pending)?;
        let kinds = directory.challenges_for(&wanted.name);
        let list = kinds.into_iter().map(|kind| self.new_challenge(authorization.id, kind)).collect::<Result<_>>()?;
        Ok(Proof { authorization, challenges: Some(list) })
    }

    /// One authorization over a name and all below it, where the directory allows that and can prove it.
    pub(super) fn proof_of_zone(
        &self,
        directory: &Directory,
        holder: Holder,
        position: i64,
        name: &Identifier,
    ) -> Result<Option<Proof>> {
        let kinds = directory.challenges_for_subdomains(name);
        if !directory.config.subdomains || kinds.is_empty() {
            return Ok(None);
        }
        let mut authorization = self.made(holder, position, name, AuthorizationStatus::Pending)?;
        authorization.subdomains = true;
        let list = kinds.into_iter().map(|kind| self.new_challenge(authorization.id, kind)).collect::<Result<_>>()?;
        Ok(Some(Proof { authorization, challenges: Some(list) }))
    }

    fn made(
        &self,
        holder: Holder,
        position: i64,
        name: &Identifier,
        status: AuthorizationStatus,
    ) -> Result<Authorization> {
        let (identifier, wildcard) = match name {
            Identifier::Dns(dns) if dns.is_wildcard() => (Identifier::dns(dns.base())?, true),
            other => (other.clone(), false),
        };
        Ok(Authorization {
            id: AuthorizationId::new(holder.created_at, self.store.entropy.as_ref())?,
            account_id: holder.account,
            order_id: holder.order,
            position,
            status,
            identifier,
            wildcard,
            subdomains: false,
            expires_at: holder.expires_at,
            created_at: holder.created_at,
        })
    }

    /// A granted one is valid from the beginning.
    fn new_challenge(&self, authorization: AuthorizationId, kind: &str) -> Result<Challenge> {
        let (now, entropy) = (self.store.now(), self.store.entropy.as_ref());
        let granted = kind == GRANTED;
        Ok(Challenge {
            id: ChallengeId::new(now, entropy)?,
            authorization_id: authorization,
            kind: kind.into(),
            // 256 bits, one token a challenge
            token: URL_SAFE_NO_PAD.encode(random::<32>(entropy)?),
            status: if granted { ChallengeStatus::Valid } else { ChallengeStatus::Pending },
            validated_at: granted.then_some(now),
            error: None,
        })
    }
}
