//! "I am ready" of many clients in one commit: the challenges move pending → processing, each with its validation
//! job, leased to this process, and its audit event.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::limits::{check_failures, name_of};
use super::may_write;
use crate::authority::batch::WriteGroup;
use crate::clock::minutes;
use crate::error::{Error, Result};
use crate::model::acme::ValidateChallenge;
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::id::{AccountId, AuthorizationId, ChallengeId};
use crate::model::identifier::Identifier;
use crate::model::limits::Limits;
use crate::store::jobs::ClaimedJob;
use crate::store::{Store, Tx, accounts, authorizations, challenges, jobs, limits};

/// One client's answer on its way to the disk.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub actor: Actor,
    pub account: AccountId,
    /// The thumbprint of the account's key that signed.
    pub key: [u8; 32],
    /// The directory's.
    pub limits: Limits,
    pub authorization: AuthorizationId,
    pub challenge: ChallengeId,
    pub identifier: Identifier,
    pub kind: String,
    /// The client's.
    pub address: String,
}

/// How long others leave a validation to the process that began it. Should it have ended, its client, which waits for
/// 90 seconds (certbot), gets its verdict from another; one that is slower than this is run twice, and the first
/// verdict counts for nothing.
const LEASE: Duration = minutes(1);

pub(super) struct Writer(pub(super) Store);

/// Answers with the job, or `None` when the challenge could not be begun: it or its authorization is not pending
/// any more, or another of its challenges is tried.
impl WriteGroup<Ready, Option<ClaimedJob>> for Writer {
    type Begun = Tx;

    async fn begin(&self) -> Result<Tx> {
        self.0.begin_group(&Actor::system("acme")).await
    }

    async fn write(&self, mut tx: Tx, rows: Arc<Vec<Ready>>) -> Result<Vec<Result<Option<ClaimedJob>>>> {
        let judged = judge(&mut tx, &rows).await?;
        let good: Vec<&Ready> = rows.iter().zip(&judged).filter(|(_, j)| j.is_ok()).map(|(row, _)| row).collect();
        authorizations::lock_all(&mut tx, good.iter().map(|row| row.authorization)).await?;
        let mut begun = HashSet::new();
        for turn in turns(&good) {
            begun.extend(challenges::to_processing(&mut tx, &turn).await?);
        }
        // of two equal requests in one group the first has moved it
        let mut moved = begun.clone();
        let mine: Vec<bool> =
            rows.iter().zip(&judged).map(|(row, j)| j.is_ok() && moved.remove(&row.challenge)).collect();
        let mut enqueued = match begun.is_empty() {
            true => Vec::new().into_iter(),
            false => enqueue(&mut tx, &rows, &mine).await?.into_iter(),
        };
        let results: Vec<_> = judged
            .into_iter()
            .zip(&mine)
            .map(|(judged, mine)| judged.map(|()| mine.then(|| enqueued.next()).flatten()))
            .collect();
        if !begun.is_empty() {
            tx.commit().await?;
        }
        Ok(results)
    }
}

/// Each account is valid and has the key that signed until the group commits, and its name may be tried: an order is
/// open for days, and what failed since counts.
async fn judge(tx: &mut Tx, rows: &[Ready]) -> Result<Vec<Result<()>>> {
    let ids: BTreeSet<AccountId> = rows.iter().map(|row| row.account).collect();
    let accounts = accounts::hold_all(tx, ids.into_iter()).await?;
    let names: BTreeSet<_> = rows.iter().map(|row| (row.account, name_of(&row.identifier))).collect();
    let failures = limits::failures(tx, names.into_iter()).await?;
    let now = tx.now();
    let judge = |row: &Ready| {
        let held = accounts.get(&row.account).ok_or_else(|| Error::not_found("account"))?;
        may_write(held, &row.key)?;
        let name = (row.account, name_of(&row.identifier));
        let limits = held.limits.over(&row.limits);
        failures.get(&name).map_or(Ok(()), |failures| check_failures(&name.1, failures, &limits, now))
    };
    Ok(rows.iter().map(judge).collect())
}

async fn enqueue(tx: &mut Tx, rows: &[Ready], mine: &[bool]) -> Result<Vec<ClaimedJob>> {
    let mut payloads = Vec::with_capacity(rows.len());
    for (row, _) in rows.iter().zip(mine).filter(|(_, mine)| **mine) {
        let payload = serde_json::to_string(&ValidateChallenge { challenge: row.challenge });
        payloads.push(payload.map_err(|e| Error::internal("a job's payload cannot be written as JSON", e))?);
        let detail = json!({"identifier": row.identifier, "type": row.kind, "from": row.address});
        let object = format!("challenge:{}", row.challenge);
        tx.audit_as(&row.actor, AuditEvent::done("challenge.started", object, detail));
    }
    // a process whose clock is wrong leaves them to others
    if tx.store().check_clock().is_err() {
        jobs::enqueue_all(tx, ValidateChallenge::KIND, payloads).await?;
        return Ok(Vec::new());
    }
    let until = tx.now() + LEASE;
    jobs::enqueue_leased(tx, ValidateChallenge::KIND, payloads, until).await
}

/// One challenge of an authorization is tried at a time, so that their verdicts do not contradict each other: a second
/// one of the group is asked for in a statement after the first.
fn turns(rows: &[&Ready]) -> Vec<Vec<ChallengeId>> {
    let mut turns: Vec<(HashSet<AuthorizationId>, Vec<ChallengeId>)> = Vec::new();
    for row in rows {
        match turns.iter_mut().find(|(taken, _)| !taken.contains(&row.authorization)) {
            Some((taken, turn)) => {
                taken.insert(row.authorization);
                turn.push(row.challenge);
            }
            None => turns.push((HashSet::from([row.authorization]), vec![row.challenge])),
        }
    }
    turns.into_iter().map(|(_, turn)| turn).collect()
}
