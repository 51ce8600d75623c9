//! What must still hold when the intent is committed. Key block, token, grant with its count, account and order
//! are read again inside the intent's transaction, so that nothing that ended meanwhile gets a certificate.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, ErrorKind, Result};
use crate::model::certificate::Certificate;
use crate::model::grant::Scope;
use crate::model::id::{CertificateId, GrantId, OrderId, TokenId};
use crate::model::identifier::Identifier;
use crate::model::names::NameRule;
use crate::store::{Tx, grants, guards, revocations};

/// Conditions of one issuance besides the key block, which always holds.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// The token that asks: not revoked, not expired.
    pub token: Option<TokenId>,
    /// The grant that it acts under: alive, wide enough, and one use of its count is taken.
    pub grant: Option<Granted>,
    /// The ACME order that this finalizes: moves from ready to processing, its account being valid.
    pub order: Option<OrderId>,
    /// The Idempotency-Key that this request came with.
    pub idempotency: Option<IdempotencyClaim>,
}

/// What an issuance takes from a grant.
#[derive(Debug, Clone)]
pub struct Granted {
    pub id: GrantId,
    pub names: Resting,
    /// The grant's rules as they were read before: they may mention reserved names.
    pub rules: Vec<NameRule>,
}

/// Which names rest on the grant.
#[derive(Debug, Clone)]
pub enum Resting {
    /// Every name of the certificate.
    All,
    /// These; control over the others was proved.
    Some(Vec<Identifier>),
}

impl Granted {
    /// For a caller whose every name must be within the grant.
    pub fn all(id: GrantId, scope: &Scope) -> Self {
        Granted { id, names: Resting::All, rules: scope.names.clone() }
    }
}

/// Claimed in the intent's transaction, so that a retry after any crash finds it.
#[derive(Debug, Clone)]
pub struct IdempotencyClaim {
    pub actor: String,
    pub key: String,
    pub request_sha256: [u8; 32],
    pub expires_at: crate::clock::Timestamp,
}

/// What the rows of one group are judged by, read once for all of them in the transaction that commits them.
pub(super) struct Group {
    blocked: HashMap<[u8; 32], String>,
    alive: HashSet<TokenId>,
}

impl Group {
    pub(super) async fn read<'r>(
        tx: &mut Tx,
        rows: impl Iterator<Item = (&'r Guard, &'r Certificate)> + Clone,
    ) -> Result<Group> {
        let now = tx.now();
        let blocked = revocations::blocked_of(tx.raw(), rows.clone().map(|(_, c)| c.spki_sha256)).await?;
        let mut alive = HashSet::new();
        for token in rows.filter_map(|(guard, _)| guard.token).collect::<HashSet<_>>() {
            if guards::token_alive(&mut *tx, token, now).await? {
                alive.insert(token);
            }
        }
        Ok(Group { blocked, alive })
    }
}

/// Checks and takes everything for one intent. An error refuses this row only, and what it had taken is undone.
pub(super) async fn hold(
    tx: &mut Tx,
    group: &Group,
    guard: &Guard,
    certificate: &Certificate,
    common_name: Option<&str>,
) -> Result<()> {
    // one thing at most is taken, by its last statement: there is nothing to undo
    if [guard.idempotency.is_some(), guard.order.is_some(), guard.grant.is_some()].iter().filter(|h| **h).count() < 2
    {
        return take(tx, group, guard, certificate, common_name).await;
    }
    tx.raw().savepoint().await?;
    match take(tx, group, guard, certificate, common_name).await {
        Ok(()) => tx.raw().release().await,
        Err(error) => {
            tx.raw().undo().await?;
            Err(error)
        }
    }
}

async fn take(
    tx: &mut Tx,
    group: &Group,
    guard: &Guard,
    certificate: &Certificate,
    common_name: Option<&str>,
) -> Result<()> {
    let now = tx.now();
    if let Some(reason) = group.blocked.get(&certificate.spki_sha256) {
        return Err(blocked(reason));
    }
    if let Some(token) = guard.token
        && !group.alive.contains(&token)
    {
        return Err(Error::new(
            ErrorKind::Unauthenticated,
            "the token was revoked or has expired; ask for a new one",
        ));
    }
    hold_account(tx, guard).await?;
    if let Some(order) = guard.order
        && !guards::order_to_processing(&mut *tx, order, certificate.id, now).await?
    {
        return Err(Error::new(
            ErrorKind::OrderNotReady,
            "the order is not ready: it was finalized before or has expired; make a new order",
        ));
    }
    if let Some(idempotency) = &guard.idempotency {
        claim(tx, idempotency, certificate.id).await?;
    }
    match &guard.grant {
        Some(granted) => within(tx, granted, certificate, common_name).await,
        None => Ok(()),
    }
}

pub(super) fn blocked(reason: &str) -> Error {
    Error::refused(
        ErrorKind::BadKey,
        "key.blocked",
        "this public key",
        format!("a key that was not reported as compromised ({reason})"),
        "make a new key",
    )
}

/// The grant as it is now allows this certificate. One use is taken last, so that a refusal has taken nothing.
async fn within(tx: &mut Tx, granted: &Granted, certificate: &Certificate, common_name: Option<&str>) -> Result<()> {
    let missing = || Error::inconsistent(format!("grant {} is missing", granted.id));
    let now = tx.now();
    // its bounds never change, its end and its count do
    let grant = grants::find(&mut *tx, granted.id).await?.ok_or_else(missing)?;
    match &granted.names {
        Resting::All => {
            grant.scope.check(&certificate.profile, &certificate.issuer, &certificate.names, common_name)?;
        }
        Resting::Some(names) => {
            // a common name that is a proved name needs no grant
            let proved = |cn: &&str| certificate.names.iter().any(|name| name.value() == **cn);
            let common_name = common_name.filter(|cn| !proved(cn));
            grant.scope.check(&certificate.profile, &certificate.issuer, names, common_name)?;
        }
    }
    if grant.max_count.is_none() {
        // held to the end of this transaction: a revocation waits for it, or this sees the revocation
        return grants::hold(tx, granted.id).await?.ok_or_else(missing)?.check_alive(now);
    }
    if guards::use_grant(tx, granted.id, now).await? {
        return Ok(());
    }
    grants::find(tx, granted.id).await?.ok_or_else(missing)?.check_alive(now)?;
    Err(Error::new(ErrorKind::Conflict, format!("grant {} was changed meanwhile; try again", granted.id)))
}

/// Takes an Idempotency-Key for what is done to this certificate; a conflict when it is taken.
pub(super) async fn claim(tx: &mut Tx, claim: &IdempotencyClaim, certificate: CertificateId) -> Result<()> {
    let now = tx.now();
    let (actor, key, sha256) = (&claim.actor, &claim.key, &claim.request_sha256);
    if guards::claim_key(tx, actor, key, sha256, certificate, now, claim.expires_at).await? {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Conflict,
        "a request with this Idempotency-Key is under way or was answered; repeat it to get its answer",
    )
    .retry_after(std::time::Duration::from_secs(1)))
}

/// The second half, in the transaction of the outcome.
pub(super) async fn settle(tx: &mut Tx, guard: &Guard) -> Result<()> {
    hold_account(tx, guard).await?;
    if let Some(order) = guard.order
        && !guards::order_to_valid(&mut *tx, order).await?
    {
        return Err(Error::inconsistent(format!("order {order} left processing while its certificate was made")));
    }
    if let Some(claim) = &guard.idempotency {
        guards::answer_key(tx, &claim.actor, &claim.key, 201).await?;
    }
    Ok(())
}

/// The account behind the order is valid at both commits: one that was deactivated while its certificate was made
/// does not get it.
async fn hold_account(tx: &mut Tx, guard: &Guard) -> Result<()> {
    match guard.order {
        Some(order) if !guards::ordering_account_alive(&mut *tx, order).await? => Err(Error::new(
            ErrorKind::AccountInactive,
            "the account of the order is no longer valid: make a new account with a new key",
        )),
        _ => Ok(()),
    }
}
