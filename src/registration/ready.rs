//! "I am ready" of many clients in one commit: the challenges move pending → processing, each with its validation
//! job, leased to this process, and its audit event.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::json;

use crate::authority::batch::WriteGroup;
use crate::clock::minutes;
use crate::error::{Error, Result};
use crate::model::acme::ValidateChallenge;
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::id::{AuthorizationId, ChallengeId};
use crate::model::identifier::Identifier;
use crate::store::jobs::ClaimedJob;
use crate::store::{Store, Tx, authorizations, challenges, jobs};

/// One client's answer on its way to the disk.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub actor: Actor,
    pub authorization: AuthorizationId,
    pub challenge: ChallengeId,
    pub identifier: Identifier,
    pub kind: String,
    /// The client's.
    pub address: String,
}

pub(super) struct Writer(pub(super) Store);

/// Answers with the job, or `None` when the challenge could not be begun: it or its authorization is not pending
/// any more, or another of its challenges is tried.
impl WriteGroup<Ready, Option<ClaimedJob>> for Writer {
    type Begun = Tx;

    async fn begin(&self) -> Result<Tx> {
        self.0.begin_group(&Actor::system("acme")).await
    }

    fn lanes(&self) -> usize {
        1
    }

    async fn write(&self, mut tx: Tx, rows: Arc<Vec<Ready>>) -> Result<Vec<Result<Option<ClaimedJob>>>> {
        authorizations::lock_all(&mut tx, rows.iter().map(|row| row.authorization)).await?;
        let mut begun = HashSet::new();
        for turn in turns(&rows) {
            begun.extend(challenges::to_processing(&mut tx, &turn).await?);
        }
        // of two equal requests in one group the first has moved it
        let mut moved = begun.clone();
        let mine: Vec<bool> = rows.iter().map(|row| moved.remove(&row.challenge)).collect();
        if begun.is_empty() {
            return Ok(rows.iter().map(|_| Ok(None)).collect());
        }
        let mut enqueued = enqueue(&mut tx, &rows, &mine).await?.into_iter();
        let results: Vec<_> = mine.iter().map(|mine| Ok(mine.then(|| enqueued.next()).flatten())).collect();
        tx.commit().await?;
        Ok(results)
    }
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
    let until = tx.now() + minutes(2);
    jobs::enqueue_leased(tx, ValidateChallenge::KIND, payloads, until).await
}

/// One challenge of an authorization is tried at a time, so that their verdicts do not contradict each other: a second
/// one of the group is asked for in a statement after the first.
fn turns(rows: &[Ready]) -> Vec<Vec<ChallengeId>> {
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
