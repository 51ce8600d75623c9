//! Verdicts of many validations in one commit: challenge, authorization and orders move, the job ends, the audit
//! event tells. A verdict whose job somebody else has claimed meanwhile is left out, and says so.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::Describe;
use super::limits::{count_failure, name_of};
use crate::authority::batch::WriteGroup;
use crate::error::{Error, ErrorKind, Result};
use crate::model::acme::{Authorization, AuthorizationStatus};
use crate::model::actor::{Actor, ActorKind};
use crate::model::audit::{AuditEvent, Outcome};
use crate::model::id::{AccountId, AuthorizationId};
use crate::model::identifier::Identifier;
use crate::model::limits::Limits;
use crate::store::authorizations::HeldAuthorization;
use crate::store::jobs::{ClaimedJob, lost};
use crate::store::{Store, Tx, authorizations, challenges, jobs, limits, orders};

/// One verdict on its way to the disk.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub job: ClaimedJob,
    pub account: AccountId,
    /// As it was when its name was tried.
    pub tried: Authorization,
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

pub(super) struct Writer(pub(super) Store, pub(super) Describe);

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
            let (held, judged) = self.judge(&mut tx, &ours).await?;
            let judged: Vec<&Row> = judged.iter().map(AsRef::as_ref).collect();
            settle(&mut tx, &held, &judged).await?;
            judged.iter().for_each(|row| audit(&mut tx, row));
            tx.commit().await?;
        }
        let result = |row: &Row| if ended.contains(&row.job.id) { Ok(()) } else { Err(lost(&row.job)) };
        Ok(rows.iter().map(result).collect())
    }
}

type Authorizations = HashMap<AuthorizationId, HeldAuthorization>;

impl Writer {
    /// Locks the authorizations. One that was changed in the database, since its name was tried or before, is not proved.
    async fn judge<'r>(&self, tx: &mut Tx, rows: &[&'r Row]) -> Result<(Authorizations, Vec<Cow<'r, Row>>)> {
        let held = authorizations::lock_all(tx, rows.iter().map(|row| row.authorization)).await?;
        let held: Authorizations = held.into_iter().map(|held| (held.authorization.id, held)).collect();
        let judge = |row: &&'r Row| {
            let now = held.get(&row.authorization);
            let error = match now.and_then(|now| now.refusal.as_ref()) {
                Some(refused) => Error::from(refused),
                None if now.is_none_or(|now| is_as_tried(&now.authorization, &row.tried)) => {
                    return Cow::Borrowed(*row);
                }
                None => Error::new(
                    ErrorKind::Forbidden,
                    "the authorization is another one than was tried; make a new order",
                ),
            };
            let problem = (self.1)(&error);
            let verdict = challenges::Verdict { error: Some(problem.clone()), ..row.verdict.clone() };
            let failure = Some(Failed { why: error.detail, order: problem });
            Cow::Owned(Row { verdict, failure, caa: false, ..(*row).clone() })
        };
        let judged = rows.iter().map(judge).collect();
        Ok((held, judged))
    }
}

/// Whatever became of it since.
fn is_as_tried(now: &Authorization, tried: &Authorization) -> bool {
    *now == Authorization { status: now.status, ..tried.clone() }
}

/// Authorizations, which the caller holds, before orders, as everybody takes them. Every move says from which state it
/// goes.
async fn settle(tx: &mut Tx, held: &Authorizations, rows: &[&Row]) -> Result<()> {
    orders::lock_of(tx, rows.iter().map(|row| row.authorization)).await?;
    challenges::settle(tx, rows.iter().map(|row| &row.verdict)).await?;
    let now = tx.now();
    for row in rows.iter().filter(|row| row.caa) {
        challenges::note_caa(&mut *tx, row.verdict.challenge, Some(now), &row.verdict.timeline).await?;
    }
    let verdicts = rows.iter().filter_map(|row| Some((held.get(&row.authorization)?, status(row))));
    let moved = authorizations::settle(tx, verdicts).await?;
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
