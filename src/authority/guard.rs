//! What must still hold when the intent is committed. Key block, token, grant with its count, account and order
//! are read again inside the intent's transaction, so that nothing that ended meanwhile gets a certificate.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use crate::clock::{Timestamp, days};
use crate::error::{Error, ErrorKind, Result};
use crate::model::acme::AccountStatus;
use crate::model::certificate::Certificate;
use crate::model::grant::{Grant, Scope};
use crate::model::id::{CertificateId, GrantId, OrderId, TokenId};
use crate::model::identifier::Identifier;
use crate::model::limits::{Limit, Rate};
use crate::model::names::NameRule;
use crate::model::validity::Validity;
use crate::store::accounts::Held;
use crate::store::{Tx, grants, guards, limits, revocations};

/// Conditions of one issuance besides the key block, which always holds.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// The token that asks: not revoked, not expired.
    pub token: Option<TokenId>,
    /// When that token expires: no certificate starts later.
    pub token_expires_at: Option<Timestamp>,
    /// The grant that it acts under: alive, wide enough, and one use of its count is taken.
    pub grant: Option<Granted>,
    /// The ACME order that this finalizes: moves from ready to processing, its account being valid.
    pub order: Option<OrderId>,
    /// The thumbprint of the account's key that asked: the account has that key still.
    pub key: Option<[u8; 32]>,
    /// One more certificate for exactly these names.
    pub set: Option<NameSet>,
    /// The certificate that this one is issued in place of; the caller may see it.
    pub replaces: Option<CertificateId>,
    /// The Idempotency-Key that this request came with.
    pub idempotency: Option<IdempotencyClaim>,
}

/// Exactly these names in one ACME directory. That they had a certificate is kept for as long as it may be renewed.
#[derive(Debug, Clone)]
pub struct NameSet {
    /// Its row among the limits, which all accounts share.
    pub row: String,
    /// The row that says that this account had a certificate for them.
    pub own: String,
    /// The directory's limit; the account may have one of its own.
    pub limit: Limit,
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
#[derive(Default)]
pub(super) struct Group {
    /// The version of issuers and their states.
    hierarchy: i64,
    blocked: HashMap<[u8; 32], String>,
    alive: HashSet<TokenId>,
    /// Of each order.
    accounts: HashMap<OrderId, Held>,
    grants: HashMap<GrantId, Grant>,
    sets: BTreeMap<String, Timestamp>,
    /// Each `NameSet::own`, with the time of the certificate before, or zero.
    before: BTreeMap<String, Timestamp>,
    /// `NameSet::own` of what gets its certificate.
    had: BTreeSet<String>,
    /// Orders that moved to processing for a certificate of the group.
    moved: HashSet<(OrderId, CertificateId)>,
    judged: Vec<Result<()>>,
}

/// One row: its guard, its certificate, what stands in the subject, and the version of the hierarchy by which its issuer
/// was chosen.
pub(super) type Judged<'r> = (&'r Guard, &'r Certificate, Option<&'r str>, i64);

impl Group {
    /// Reads and locks in the order of the house (accounts, limits, orders), judges each row by what takes nothing, and
    /// moves the orders of the good ones at once.
    pub(super) async fn read(tx: &mut Tx, rows: &[Judged<'_>]) -> Result<Group> {
        let witness = tx.store().witness();
        let keys = rows.iter().map(|(_, c, ..)| c.spki_sha256);
        let found = revocations::before_intent(tx.raw(), keys, witness.end.as_ref()).await?;
        tx.store().check_clock_at(found.database_time).await?;
        tx.store().check_witness(&witness, found.rolled_back, found.revocations, found.has_end)?;
        let now = tx.now();
        let mut group = Group { blocked: found.blocked, hierarchy: found.hierarchy, ..Group::default() };
        for token in rows.iter().filter_map(|(guard, ..)| guard.token).collect::<HashSet<_>>() {
            if guards::token_alive(&mut *tx, token, now).await? {
                group.alive.insert(token);
            }
        }
        group.accounts = guards::ordering_accounts(tx, rows.iter().filter_map(|(guard, ..)| guard.order)).await?;
        let sets: Vec<&NameSet> = rows.iter().filter_map(|(guard, ..)| guard.set.as_ref()).collect();
        let kept = limits::lock(tx, sets.iter().flat_map(|set| [set.row.clone(), set.own.clone()])).await?;
        let own: BTreeSet<&str> = sets.iter().map(|set| set.own.as_str()).collect();
        (group.before, group.sets) = kept.into_iter().partition(|(row, _)| own.contains(row.as_str()));
        for id in rows.iter().filter_map(|(guard, ..)| Some(guard.grant.as_ref()?.id)).collect::<BTreeSet<_>>() {
            let missing = || grants::gone(id);
            // its bounds never change, its end and its count do
            let mut grant = grants::find(&mut *tx, id).await?.ok_or_else(missing)?;
            if grant.max_count.is_none() {
                // held to the end of this transaction: a revocation waits for it, or this sees the revocation
                grant = grants::hold(&mut *tx, id).await?.ok_or_else(missing)?;
            }
            group.grants.insert(id, grant);
        }
        for row in rows {
            let judged = if group.is_current(row) { group.judge(row, now) } else { Err(hierarchy_moved()) };
            let judged = if judged.is_ok() { group.take_set(row.0, now) } else { judged };
            group.judged.push(judged);
        }
        let good = rows.iter().zip(&group.judged).filter(|(row, judged)| judged.is_ok() && group.takes(row.0) == 0);
        let made: Vec<_> = good.filter_map(|((guard, c, ..), _)| Some((guard.order?, c.id))).collect();
        group.moved = guards::orders_to_processing(tx, &made, now).await?;
        Ok(group)
    }

    /// Nobody changed an issuer since this row's issuer was chosen: what was retired or revoked meanwhile signs nothing.
    pub(super) fn is_current(&self, row: &Judged<'_>) -> bool {
        planted!("retired-issuer-signs", true, self.hierarchy == row.3)
    }

    /// The account had a certificate for exactly these names.
    pub(super) fn renews(&self, guard: &Guard) -> bool {
        guard.set.as_ref().and_then(|set| self.before.get(&set.own)).is_some_and(|at| at.micros() > 0)
    }

    /// What takes nothing.
    fn judge(&self, (guard, certificate, common_name, _): &Judged<'_>, now: Timestamp) -> Result<()> {
        if let Some(reason) =
            self.blocked.get(&certificate.spki_sha256).filter(|_| planted!("blocked-key-is-certified", false, true))
        {
            return Err(blocked(reason));
        }
        if guard.token.is_some_and(|token| planted!("revoked-token-issues", false, !self.alive.contains(&token))) {
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                "the token was revoked or has expired; ask for a new one",
            ));
        }
        if let Some(account) = guard.order.and_then(|order| self.accounts.get(&order)) {
            if let Some(refused) = &account.refusal {
                return Err(refused.into());
            }
            if planted!("ended-account-begins-a-certificate", false, account.status != AccountStatus::Valid) {
                return Err(account_ended());
            }
            if guard.key.is_some_and(|key| planted!("old-account-key-finalizes", false, key != account.thumbprint)) {
                return Err(old_key());
            }
        }
        let Some(granted) = &guard.grant else { return Ok(()) };
        let grant = self.grant(granted)?;
        planted!("grant-is-outgrown", (), within(grant, granted, certificate, *common_name)?);
        check_start(certificate.validity, grant.expires_at, "grant")?;
        if planted!("ended-grant-issues", false, grant.max_count.is_none()) { grant.check_alive(now) } else { Ok(()) }
    }

    /// One more of the set of names, counted before its order moves.
    fn take_set(&mut self, guard: &Guard, now: Timestamp) -> Result<()> {
        let Some(set) = &guard.set else { return Ok(()) };
        let own =
            guard.order.and_then(|order| self.accounts.get(&order)).and_then(|account| account.limits.certificates);
        let kept = self.sets.entry(set.row.clone()).or_insert(Timestamp::from_micros(0));
        let Some(rate) = own.unwrap_or(set.limit).0 else { return Ok(()) };
        planted!("set-of-names-has-no-limit", {
            return Ok(());
        });
        *kept = rate.take(*kept, now).map_err(|again| same_names(rate, now, again))?;
        Ok(())
    }

    /// The order did not move after all.
    fn give_back(&mut self, guard: &Guard) {
        let Some(set) = &guard.set else { return };
        let own =
            guard.order.and_then(|order| self.accounts.get(&order)).and_then(|account| account.limits.certificates);
        if let (Some(rate), Some(kept)) = (own.unwrap_or(set.limit).0, self.sets.get_mut(&set.row)) {
            *kept = Timestamp::from_micros(kept.micros() - rate.step());
        }
    }

    fn grant(&self, granted: &Granted) -> Result<&Grant> {
        self.grants.get(&granted.id).ok_or_else(|| grants::gone(granted.id))
    }

    /// How many things the row takes by statements of its own.
    fn takes(&self, guard: &Guard) -> usize {
        let counted = |granted: &Granted| self.grants.get(&granted.id).is_some_and(|g| g.max_count.is_some());
        usize::from(guard.idempotency.is_some()) + usize::from(guard.grant.as_ref().is_some_and(counted))
    }

    /// Keeps what was taken of the sets of names.
    pub(super) async fn save(&mut self, tx: &mut Tx) -> Result<()> {
        let (now, remembered) = (tx.now(), tx.now() + REMEMBERED);
        let sets = std::mem::take(&mut self.sets).into_iter();
        let sets = sets.map(|(row, kept)| (row, kept, kept.max(remembered)));
        let had = std::mem::take(&mut self.had).into_iter().map(|row| (row, now, remembered));
        limits::save(tx, sets.chain(had)).await
    }
}

/// How long it is known that a set of names had a certificate, so that its next one counts as a renewal.
const REMEMBERED: Duration = days(400);

/// Takes everything for the `n`th row. An error refuses this row only, and what it had taken is undone.
pub(super) async fn hold(
    tx: &mut Tx,
    group: &mut Group,
    n: usize,
    (guard, certificate, ..): Judged<'_>,
) -> Result<()> {
    if let Some(judged) = group.judged.get_mut(n) {
        std::mem::replace(judged, Ok(()))?;
    }
    let taken = take_all(tx, group, guard, certificate).await;
    match (&taken, &guard.set) {
        (Err(_), _) => group.give_back(guard),
        (Ok(()), Some(set)) => drop(group.had.insert(set.own.clone())),
        (Ok(()), None) => {}
    }
    taken
}

async fn take_all(tx: &mut Tx, group: &Group, guard: &Guard, certificate: &Certificate) -> Result<()> {
    let takes = group.takes(guard);
    if takes == 0 {
        return match guard.order {
            Some(order)
                if planted!("order-is-issued-twice", false, !group.moved.contains(&(order, certificate.id))) =>
            {
                Err(not_ready())
            }
            _ => Ok(()),
        };
    }
    // one thing at most is taken, by its last statement: there is nothing to undo
    if takes + usize::from(guard.order.is_some()) < 2 {
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
    if let Some(order) = guard.order
        && guards::orders_to_processing(tx, &[(order, certificate.id)], now).await?.is_empty()
    {
        return Err(not_ready());
    }
    if let Some(idempotency) = &guard.idempotency {
        claim(tx, idempotency, certificate.id).await?;
    }
    match &guard.grant {
        Some(granted) if group.grant(granted)?.max_count.is_some() => use_one(tx, granted.id).await,
        _ => Ok(()),
    }
}

/// Its issuer is chosen again, unless this happens again and again.
pub(super) fn hierarchy_moved() -> Error {
    let detail = "the issuers of this CA are being changed; try again in a moment";
    Error::new(ErrorKind::Unavailable, detail).retry_after(Duration::from_secs(1))
}

fn not_ready() -> Error {
    Error::new(
        ErrorKind::OrderNotReady,
        "the order is not ready: it was finalized before or has expired; make a new order",
    )
}

/// The account behind the order is valid at both commits: one that was deactivated while its certificate was made
/// does not get it.
fn account_ended() -> Error {
    Error::new(
        ErrorKind::AccountInactive,
        "the account of the order is no longer valid: make a new account with a new key",
    )
}

/// As a signature by any other key is refused.
pub fn old_key() -> Error {
    Error::malformed("the signature of the JWS does not verify with this key: the account has another key now")
}

pub(super) fn blocked(reason: &str) -> Error {
    Error::refused(ErrorKind::BadKey, "key.blocked", "this public key", "a key that is not blocked", "make a new key")
        .explained(format!("this public key is blocked ({reason})"))
}

/// Nobody issues for a time in which he may not issue any more.
pub(super) fn check_start(validity: Validity, expires_at: Option<Timestamp>, authority: &str) -> Result<()> {
    match expires_at {
        Some(end) if validity.not_before() > end => Err(Error::refused(
            ErrorKind::Refused,
            "validity.authority",
            validity.not_before(),
            format!("a start before {end}, when the {authority} that asks expires"),
            format!("ask for an earlier start, or with a {authority} that lasts longer"),
        )
        .explained(format!(
            "the certificate would start at {}, but the {authority} that asks for it expires at {end}",
            validity.not_before()
        ))),
        _ => Ok(()),
    }
}

/// The grant as it is now allows this certificate.
fn within(grant: &Grant, granted: &Granted, certificate: &Certificate, common_name: Option<&str>) -> Result<()> {
    match &granted.names {
        Resting::All => grant.scope.check(&certificate.profile, &certificate.issuer, &certificate.names, common_name),
        Resting::Some(names) => {
            // a common name that is a proved name needs no grant
            let proved = |cn: &&str| certificate.names.iter().any(|name| name.value() == **cn);
            let common_name = common_name.filter(|cn| !proved(cn));
            grant.scope.check(&certificate.profile, &certificate.issuer, names, common_name)
        }
    }
}

/// One use of a grant with a count is taken last, so that a refusal has taken nothing.
async fn use_one(tx: &mut Tx, id: GrantId) -> Result<()> {
    let missing = || grants::gone(id);
    let now = tx.now();
    if guards::use_grant(tx, id, now).await? {
        return Ok(());
    }
    grants::find(tx, id).await?.ok_or_else(missing)?.check_alive(now)?;
    Err(Error::new(ErrorKind::Conflict, format!("grant {id} was changed meanwhile; try again")))
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

/// The second half for a group, in the transaction of its outcomes. An error is the group's: it goes row by row.
pub(super) async fn settle(tx: &mut Tx, guards: &[&Guard]) -> Result<()> {
    let accounts = guards::ordering_accounts(tx, guards.iter().filter_map(|guard| guard.order)).await?;
    if accounts
        .values()
        .any(|account| planted!("ended-account-gets-its-certificate", false, account.status != AccountStatus::Valid))
    {
        return Err(account_ended());
    }
    let valid = guards::orders_to_valid(tx, guards.iter().filter_map(|guard| guard.order)).await?;
    if let Some(order) = guards.iter().filter_map(|guard| guard.order).find(|order| !valid.contains(order)) {
        return Err(Error::inconsistent(format!("order {order} left processing while its certificate was made")));
    }
    for claim in guards.iter().filter_map(|guard| guard.idempotency.as_ref()) {
        guards::answer_key(&mut *tx, &claim.actor, &claim.key, 201).await?;
    }
    Ok(())
}

fn same_names(rate: Rate, now: Timestamp, again: Timestamp) -> Error {
    limited(
        "certificates",
        "one more certificate for exactly these names",
        &format!("{rate} for one set of names"),
        now,
        again,
    )
}

/// What a limit says: the rule, its numbers, and when there is one again.
pub fn limited(rule: &str, value: &str, allowed: &str, now: Timestamp, again: Timestamp) -> Error {
    let wait = Duration::from_micros(u64::try_from(again.micros() - now.micros()).unwrap_or_default());
    let wait = Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_micros() > 0));
    let again = (now + wait).truncated();
    Error::refused(
        ErrorKind::RateLimited,
        format!("acme.limits.{rule}"),
        value,
        allowed,
        format!("try again after {again}, or ask an operator for another limit"),
    )
    .explained(format!("{value} is over the limit of {allowed}"))
    .retry_after(wait)
}
