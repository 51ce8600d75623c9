//! What must still hold when the intent is committed. Key block, token, grant with its count, account and order
//! are read again inside the intent's transaction, so that nothing that ended meanwhile gets a certificate.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, ErrorKind, Result};
use crate::model::certificate::Certificate;
use crate::model::id::{CertificateId, GrantId, OrderId, TokenId};
use crate::store::{Tx, guards, revocations};

/// Conditions of one issuance besides the key block, which always holds.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// The token that asks: not revoked, not expired.
    pub token: Option<TokenId>,
    /// The grant that it acts under: alive, and one use of its count is taken.
    pub grant: Option<GrantId>,
    /// The ACME order that this finalizes: moves from ready to processing, its account being valid.
    pub order: Option<OrderId>,
    /// The Idempotency-Key that this request came with.
    pub idempotency: Option<IdempotencyClaim>,
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
pub(super) async fn hold(tx: &mut Tx, group: &Group, guard: &Guard, certificate: &Certificate) -> Result<()> {
    // one thing at most is taken, by its last statement: there is nothing to undo
    if [guard.idempotency.is_some(), guard.order.is_some(), guard.grant.is_some()].iter().filter(|h| **h).count() < 2
    {
        return take(tx, group, guard, certificate).await;
    }
    tx.raw().savepoint().await?;
    match take(tx, group, guard, certificate).await {
        Ok(()) => tx.raw().release().await,
        Err(error) => {
            tx.raw().undo().await?;
            Err(error)
        }
    }
}

async fn take(tx: &mut Tx, group: &Group, guard: &Guard, certificate: &Certificate) -> Result<()> {
    let now = tx.now();
    if let Some(reason) = group.blocked.get(&certificate.spki_sha256) {
        return Err(Error::refused(
            ErrorKind::BadKey,
            "key.blocked",
            "this public key",
            format!("a key that was not reported as compromised ({reason})"),
            "make a new key",
        ));
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
    if let Some(grant) = guard.grant
        && !guards::use_grant(tx, grant, now).await?
    {
        return Err(Error::refused(
            ErrorKind::Refused,
            "grant.alive",
            format!("grant {grant}"),
            "a grant that is not revoked, not expired and not used up",
            "ask an operator for a new one",
        ));
    }
    Ok(())
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
