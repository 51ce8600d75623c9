//! Verdicts of many validations in one commit: challenge, authorization and orders move, the job ends, the audit
//! event tells. A verdict whose job somebody else has claimed meanwhile is left out, and says so.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::limits::{count_failure, name_of};
use crate::authority::batch::WriteGroup;
use crate::error::Result;
use crate::model::acme::AuthorizationStatus;
use crate::model::actor::{Actor, ActorKind};
use crate::model::audit::{AuditEvent, Outcome};
use crate::model::id::{AccountId, AuthorizationId};
use crate::model::identifier::Identifier;
use crate::model::limits::Limits;
use crate::store::jobs::{ClaimedJob, lost};
use crate::store::{Store, Tx, authorizations, challenges, jobs, limits, orders};

/// One verdict on its way to the disk.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub job: ClaimedJob,
    pub account: AccountId,
    pub authorization: AuthorizationId,
    pub identifier: Identifier,
    pub kind: String,
    /// CAA was looked at with the proof, and permits.
    pub caa: bool,
    pub verdict: challenges::Verdict,
    pub failure: Option<Failed>,
    /// The directory's.
    pub limits: Limits,
}

/// What is said when a name was not proved.
#[derive(Debug, Clone)]
pub(super) struct Failed {
    /// One sentence.
    pub why: String,
    /// The problem document of its orders, which may have many names.
    pub order: Value,
}

pub(super) struct Writer(pub(super) Store);

impl WriteGroup<Row> for Writer {
    type Begun = Tx;

    async fn begin(&self) -> Result<Tx> {
        self.0.begin_group(&Actor::job("acme.validate")).await
    }

    async fn write(&self, mut tx: Tx, rows: Arc<Vec<Row>>) -> Result<Vec<Result<()>>> {
        let ended = jobs::finish_all(&mut tx, rows.iter().map(|row| &row.job)).await?;
        let ours: Vec<&Row> = rows
            .iter()
            .filter(|row| planted!("verdict-without-a-lease", true, ended.contains(&row.job.id)))
            .collect();
        if !ours.is_empty() {
            settle(&mut tx, &ours).await?;
            ours.iter().for_each(|row| audit(&mut tx, row));
            tx.commit().await?;
        }
        let result = |row: &Row| if ended.contains(&row.job.id) { Ok(()) } else { Err(lost(&row.job)) };
        Ok(rows.iter().map(result).collect())
    }
}

/// Authorizations before orders, as everybody takes them. Every move says from which state it goes.
async fn settle(tx: &mut Tx, rows: &[&Row]) -> Result<()> {
    authorizations::lock_all(tx, rows.iter().map(|row| row.authorization)).await?;
    orders::lock_of(tx, rows.iter().map(|row| row.authorization)).await?;
    challenges::settle(tx, rows.iter().map(|row| &row.verdict)).await?;
    let now = tx.now();
    for row in rows.iter().filter(|row| row.caa) {
        challenges::note_caa(&mut *tx, row.verdict.challenge, Some(now), &row.verdict.timeline).await?;
    }
    let moved = authorizations::settle(tx, rows.iter().map(|row| (row.authorization, status(row)))).await?;
    let proved: HashSet<_> = rows.iter().filter(|row| row.failure.is_none()).map(|row| row.authorization).collect();
    orders::to_ready(tx, proved.into_iter()).await?;
    let good = rows.iter().filter(|row| row.failure.is_none());
    limits::forgive(tx, good.map(|row| (row.account, name_of(&row.identifier)))).await?;
    let mut bad: Vec<_> = rows.iter().filter(|row| moved.contains(&row.authorization)).collect();
    // in one order for everybody: failures of a name are one row
    bad.sort_by_key(|row| (row.account, name_of(&row.identifier)));
    for row in bad {
        if let Some(failed) = &row.failure {
            orders::fail(&mut *tx, row.authorization, &failed.order).await?;
            if let Some(paused) = count_failure(tx, row.account, &row.identifier, &row.limits).await? {
                let detail = json!({"name": paused.name, "failures": paused.failures, "since": paused.since});
                tx.audit(AuditEvent::done("account.paused", super::accounts::object(row.account), detail));
            }
        }
    }
    Ok(())
}

fn status(row: &Row) -> AuthorizationStatus {
    if planted!("failed-proof-counts", true, row.failure.is_none()) {
        AuthorizationStatus::Valid
    } else {
        AuthorizationStatus::Invalid
    }
}

fn audit(tx: &mut Tx, row: &Row) {
    let actor = Actor { kind: ActorKind::Account(row.account), ..Actor::job("acme.validate") };
    let event = AuditEvent {
        action: "challenge.validated",
        outcome: if row.failure.is_none() { Outcome::Done } else { Outcome::Failed },
        object: format!("challenge:{}", row.verdict.challenge),
        detail: json!({"identifier": row.identifier, "type": row.kind, "why": row.failure.as_ref().map(|f| &f.why)}),
    };
    tx.audit_as(&actor, event);
}
