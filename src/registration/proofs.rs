//! What each name of an order rests on: the account's grant, a proof that it has already, or a challenge to come
//! (RFC 8555 §7.4, §7.4.1; RFC 9444). Chosen in the order's transaction, with what is shared locked.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Directory;
use super::directories::DNS_PERSIST;
use super::orders::Wanted;
use super::placing::Asked;
use super::under_grant::allows;
use crate::clock::Timestamp;
use crate::entropy::random;
use crate::error::Result;
use crate::model::acme::{Authorization, AuthorizationStatus, Challenge, ChallengeStatus, GRANTED};
use crate::model::grant::Grant;
use crate::model::id::{AccountId, AuthorizationId, ChallengeId, OrderId};
use crate::model::identifier::Identifier;
use crate::store::{Store, Tx, authorizations, challenges};

/// An authorization of an order, and its challenges when it is a new one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Proof {
    pub authorization: Authorization,
    /// `None`: it stood there before.
    pub challenges: Option<Vec<Challenge>>,
}

impl Proof {
    /// A new one that rests on the account's grant.
    pub fn is_granted(&self) -> bool {
        self.challenges.iter().flatten().any(|challenge| challenge.kind == GRANTED)
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

/// One proof a name, in the order of the names; names that one authorization covers share it.
pub(super) fn of_order(store: &Store, row: &Asked, had: &Had) -> Result<Vec<Proof>> {
    let (order, grant, directory) = (&row.order, row.grant.as_ref(), row.directory.as_ref());
    let holder = Holder {
        account: order.account_id,
        order: Some(order.id),
        expires_at: order.expires_at,
        created_at: order.created_at,
    };
    let had = had.of(row)?;
    let mut proofs = Vec::<Proof>::with_capacity(row.names.len());
    for wanted in &row.names {
        let granted = allows(grant, &wanted.name);
        // a grant is asked anew by each order, so nothing rests on what an earlier one was granted
        if !granted && proofs.iter().any(|p| p.authorization.subdomains && p.authorization.covers(&wanted.name)) {
            continue;
        }
        let found = had.iter().filter(|a| !granted && a.covers(&wanted.name));
        // the order ends with what it rests on
        match found.max_by_key(|a| (a.status == AuthorizationStatus::Valid, a.expires_at, a.id)) {
            Some(found) if proofs.iter().any(|p| p.authorization.id == found.id) => {}
            Some(found) => proofs.push(Proof { authorization: (*found).clone(), challenges: None }),
            None => {
                let place = i64::try_from(proofs.len()).unwrap_or(i64::MAX);
                proofs.push(new_proof(store, directory, grant, holder, place, wanted)?);
            }
        }
    }
    Ok(proofs)
}

/// The authorizations of the accounts of a group that their orders may rest on, locked so that none misses a verdict.
pub(super) struct Had {
    found: Vec<(Authorization, Vec<Challenge>)>,
    now: Timestamp,
}

impl Had {
    pub async fn read(tx: &mut Tx, rows: &[Asked]) -> Result<Had> {
        let now = tx.now();
        let mut ids = BTreeSet::new();
        for row in rows {
            let (account, reuse) = (row.order.account_id, row.directory.reuse());
            if row.directory.config.pre_authorization {
                ids.extend(authorizations::ahead(&mut *tx, account, now).await?.iter().map(|a| a.id));
            }
            if reuse.is_zero() {
                continue;
            }
            for wanted in &row.names {
                let proved = authorizations::proved(&mut *tx, account, &wanted.name, now, now - reuse).await?;
                ids.extend(proved.map(|a| a.id));
            }
        }
        let locked = authorizations::lock_all(tx, ids.iter().copied()).await?;
        let mut all = challenges::of_authorizations(tx, ids.into_iter()).await?;
        let mut found = Vec::with_capacity(locked.len());
        // one whose row was changed in the database counts for nothing, and was noted
        for authorization in locked.into_iter().filter(|held| held.refusal.is_none()).map(|held| held.authorization) {
            let (own, rest) = all.into_iter().partition(|c| c.authorization_id == authorization.id);
            all = rest;
            found.push((authorization, own));
        }
        // the newest first
        found.sort_by_key(|(authorization, _)| std::cmp::Reverse(authorization.id));
        Ok(Had { found, now })
    }

    /// Those that this order may rest on, as they are now that they are locked.
    fn of(&self, row: &Asked) -> Result<Vec<&Authorization>> {
        let (directory, reuse) = (row.directory.as_ref(), row.directory.reuse());
        let mut good = Vec::new();
        for (a, list) in self.found.iter().filter(|(a, _)| a.account_id == row.order.account_id) {
            let counts = match (a.order_id, a.shown_status(self.now)) {
                (None, AuthorizationStatus::Pending | AuthorizationStatus::Valid)
                    if directory.config.pre_authorization =>
                {
                    true
                }
                (_, AuthorizationStatus::Valid) => !reuse.is_zero() && a.created_at > self.now - reuse,
                _ => false,
            };
            if counts && still_offered(directory, a, list)? {
                good.push(a);
            }
        }
        Ok(good)
    }
}

/// A proof counts while the directory still takes its method, and covers more names while it still allows that.
fn still_offered(directory: &Directory, authorization: &Authorization, list: &[Challenge]) -> Result<bool> {
    if authorization.subdomains && !directory.config.subdomains {
        return Ok(false);
    }
    // its record is to be looked at again as soon as its TTL is over (draft-ietf-acme-dns-persist, Validation Data
    // Reuse and TTL Handling), which asks nothing of the client
    let by_record = |c: &Challenge| c.kind == DNS_PERSIST && c.status == ChallengeStatus::Valid;
    if authorization.order_id.is_some() && list.iter().any(by_record) {
        return Ok(false);
    }
    let offered = directory.challenges_for(&authorization.name()?);
    let counts = |c: &&Challenge| match authorization.status {
        AuthorizationStatus::Valid => c.status == ChallengeStatus::Valid,
        _ => true,
    };
    Ok(list.iter().filter(counts).any(|c| offered.contains(&c.kind.as_str())))
}

/// A new authorization: granted, for the ancestor that the client offers, or for the name itself.
pub(super) fn new_proof(
    store: &Store,
    directory: &Directory,
    grant: Option<&Grant>,
    holder: Holder,
    position: i64,
    wanted: &Wanted,
) -> Result<Proof> {
    if allows(grant, &wanted.name) {
        let authorization = made(store, holder, position, &wanted.name, AuthorizationStatus::Valid)?;
        let challenge = new_challenge(store, authorization.id, GRANTED)?;
        return Ok(Proof { authorization, challenges: Some(vec![challenge]) });
    }
    if let Some(above) = &wanted.ancestor
        && let Some(proof) = proof_of_zone(store, directory, holder, position, above)?
    {
        return Ok(proof);
    }
    let authorization = made(store, holder, position, &wanted.name, AuthorizationStatus::Pending)?;
    let kinds = directory.challenges_for(&wanted.name);
    let list = kinds.into_iter().map(|kind| new_challenge(store, authorization.id, kind)).collect::<Result<_>>()?;
    Ok(Proof { authorization, challenges: Some(list) })
}

/// One authorization over a name and all below it, where the directory allows that and can prove it.
pub(super) fn proof_of_zone(
    store: &Store,
    directory: &Directory,
    holder: Holder,
    position: i64,
    name: &Identifier,
) -> Result<Option<Proof>> {
    let kinds = directory.challenges_for_subdomains(name);
    if !directory.config.subdomains || kinds.is_empty() {
        return Ok(None);
    }
    let mut authorization = made(store, holder, position, name, AuthorizationStatus::Pending)?;
    authorization.subdomains = true;
    let list = kinds.into_iter().map(|kind| new_challenge(store, authorization.id, kind)).collect::<Result<_>>()?;
    Ok(Some(Proof { authorization, challenges: Some(list) }))
}

fn made(
    store: &Store,
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
        id: AuthorizationId::new(holder.created_at, store.entropy.as_ref())?,
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
fn new_challenge(store: &Store, authorization: AuthorizationId, kind: &str) -> Result<Challenge> {
    let (now, entropy) = (store.now(), store.entropy.as_ref());
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
