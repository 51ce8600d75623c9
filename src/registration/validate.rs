//! The validation job: asks the validator, and its verdict goes to challenge, authorization and order in the one
//! transaction that ends the job (`verdicts`). Running it twice is harmless: every move says from which state it goes, and the
//! job's fence lets only the last claimer write.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::tries::with_earlier;
use super::verdicts::Failed;
use super::{Registration, verdicts};
use crate::error::{Error, Result, Subproblem};
use crate::model::acme::{Account, Authorization, Challenge, ChallengeStatus, ValidateChallenge};
use crate::store::jobs::ClaimedJob;
use crate::store::{accounts, authorizations, challenges, jobs};
use crate::validation::{CaaMode, Claim, Method, key_authorization};

/// After a fault of ours (no resolver, no memory) the same job runs again.
const RETRY_AFTER: Duration = Duration::from_secs(5);
const MAX_ATTEMPTS: i64 = 5;

impl Registration {
    pub async fn validate(&self, job: &ClaimedJob) -> Result<()> {
        let Some((account, authorization, challenge)) = self.subject(job).await? else {
            return jobs::finish(&self.store, job).await;
        };
        self.validate_subject(job, &account, &authorization, &challenge).await
    }

    /// The same for the process that enqueued it a moment ago and has the records in hand.
    pub(super) async fn validate_subject(
        &self,
        job: &ClaimedJob,
        account: &Account,
        authorization: &Authorization,
        challenge: &Challenge,
    ) -> Result<()> {
        let started = crate::clock::monotonic();
        let thumbprint = URL_SAFE_NO_PAD.encode(account.key.thumbprint);
        let expected = key_authorization(&challenge.token, &thumbprint)?;
        let method = Method::from_name(&challenge.kind)
            .ok_or_else(|| Error::inconsistent(format!("{} is of a kind that nobody can try", challenge.id)))?;
        // the directory as it is now: an operator mends its resolvers while orders wait
        let rules = self.shared_directory(&account.directory)?.validation_rules();
        let caa = rules.caa != CaaMode::Off;
        let claim = Claim {
            name: &authorization.name()?,
            token: &challenge.token,
            key_authorization: &expected,
            account_url: &account.url,
            subdomains: authorization.subdomains,
        };
        let verdict = self.validator.prove(method, &rules, &claim).await;
        let timeline = self.all_tries(job, challenge, verdict.timeline).await?;
        metrics::histogram!("chancery_acme_validation_duration_seconds", "type" => challenge.kind.clone())
            .record(started.elapsed().as_secs_f64());
        match verdict.result {
            Ok(()) => self.settle(job, account, authorization, challenge, timeline, Ok(caa)).await,
            Err(failure) if failure.is_ours() && job.attempts < MAX_ATTEMPTS => {
                let error = Error::from(failure);
                self.keep_try(challenge, &timeline, &error).await?;
                jobs::postpone(&self.store, job, self.store.now() + RETRY_AFTER, &error.detail).await
            }
            Err(failure) => self.settle(job, account, authorization, challenge, timeline, Err(failure.into())).await,
        }
    }

    /// What the job is about; `None` when there is nothing left to do.
    async fn subject(&self, job: &ClaimedJob) -> Result<Option<(Account, Authorization, Challenge)>> {
        let payload: ValidateChallenge = serde_json::from_str(&job.payload)
            .map_err(|e| Error::inconsistent(format!("the payload of {} cannot be read", job.id)).because(e))?;
        let Some(challenge) = challenges::find(&self.store, payload.challenge).await? else { return Ok(None) };
        if challenge.status != ChallengeStatus::Processing {
            return Ok(None);
        }
        let found = authorizations::find(&self.store, challenge.authorization_id).await?;
        let Some(authorization) = found else { return Ok(None) };
        let Some(account) = accounts::find(&self.store, authorization.account_id).await? else { return Ok(None) };
        Ok(Some((account, authorization, challenge)))
    }

    /// `Ok` says whether CAA was looked at.
    async fn settle(
        &self,
        job: &ClaimedJob,
        account: &Account,
        authorization: &Authorization,
        challenge: &Challenge,
        timeline: String,
        verdict: Result<bool>,
    ) -> Result<()> {
        let (caa, failure) = verdict.map_or_else(|failure| (false, Some(failure)), |caa| (caa, None));
        let row = verdicts::Row {
            job: job.clone(),
            account: authorization.account_id,
            tried: authorization.clone(),
            authorization: authorization.id,
            identifier: authorization.identifier.clone(),
            kind: challenge.kind.clone(),
            caa,
            limits: self.shared_directory(&account.directory)?.config.limits,
            verdict: challenges::Verdict {
                challenge: challenge.id,
                error: failure.as_ref().map(|e| with_earlier(challenge, (self.describe)(e))),
                timeline,
            },
            failure: failure
                .as_ref()
                .map(|e| Failed { why: e.detail.clone(), order: (self.describe)(&unproved(authorization, e)) }),
        };
        self.verdicts.commit(row).await?;
        let outcome = if failure.is_none() { "valid" } else { "invalid" };
        let reason = failure.map_or_else(|| "none".to_owned(), |e| e.kind.code().to_owned());
        metrics::counter!("chancery_acme_challenges_total", "type" => challenge.kind.clone(), "outcome" => outcome, "reason" => reason)
            .increment(1);
        Ok(())
    }
}

/// The failure as the order tells it, which may have many names (RFC 8555 §6.7.1).
fn unproved(authorization: &Authorization, failure: &Error) -> Error {
    let (kind, value) = (authorization.identifier.kind(), authorization.identifier.value());
    let part = Subproblem {
        kind: failure.kind,
        detail: failure.detail.clone(),
        identifier: Some((kind.to_owned(), value.clone())),
        pointer: None,
        rule: failure.rule.clone(),
    };
    let detail = match failure.detail.contains(&value) {
        true => failure.detail.clone(),
        false => format!("{value}: {}", failure.detail),
    };
    Error::new(failure.kind, detail).with_subproblems(vec![part])
}
