//! A validation may run more than once: after a fault of ours, or when a process died in it. What was seen before is
//! kept, for operators as steps and for the client as entries of the challenge's error (RFC 8555 §8.2).

use serde_json::{Value, json};

use super::Registration;
use crate::error::{Error, Result};
use crate::model::acme::Challenge;
use crate::store::challenges;
use crate::store::jobs::ClaimedJob;
use crate::validation::{Step, StepKind};

/// Steps that are kept of one challenge: the last ones.
const STEPS: usize = 200;
const ENTRIES: usize = 10;

impl Registration {
    /// The steps of all tries so far as JSON.
    pub(super) async fn all_tries(
        &self,
        job: &ClaimedJob,
        challenge: &Challenge,
        steps: Vec<Step>,
    ) -> Result<String> {
        let mut all: Vec<Step> = Vec::new();
        if job.attempts > 1 {
            let earlier = challenges::timeline(&self.store, challenge.id).await?;
            all = earlier.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
            let why = if all.is_empty() { ": the one before ended without a verdict" } else { "" };
            let at = steps.first().map_or_else(|| self.store.now(), |step| step.at);
            all.push(Step { at, what: StepKind::Retry, detail: format!("attempt {}{why}", job.attempts) });
        }
        all.extend(steps);
        let all = all.split_off(all.len().saturating_sub(STEPS));
        serde_json::to_string(&all).map_err(|e| Error::internal("a timeline cannot be written as JSON", e))
    }

    /// Before the same job runs again.
    pub(super) async fn keep_try(&self, challenge: &Challenge, timeline: &str, failure: &Error) -> Result<()> {
        let error = with_earlier(challenge, (self.describe)(failure));
        challenges::keep_try(&self.store, challenge.id, timeline, &error).await.map(drop)
    }
}

/// The problem with those of the tries before it as subproblems.
pub(super) fn with_earlier(challenge: &Challenge, mut problem: Value) -> Value {
    let Some(earlier) = &challenge.error else { return problem };
    let mut entries: Vec<Value> = earlier["subproblems"].as_array().cloned().unwrap_or_default();
    entries.push(json!({"type": earlier["type"], "detail": earlier["detail"]}));
    let entries = entries.split_off(entries.len().saturating_sub(ENTRIES));
    if let Some(members) = problem.as_object_mut() {
        members.insert("subproblems".into(), entries.into());
    }
    problem
}
