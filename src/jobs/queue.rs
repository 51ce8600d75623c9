//! Queued jobs: claimed under a lease with a fence, run, ended in the transaction of their effect. A job that was
//! enqueued already leased is run at once by its process; here it is found again only after a crash.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::app::App;
use crate::error::{Error, Result};
use crate::model::actor::Actor;
use crate::store::jobs::{self, ClaimedJob};

const LEASE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_secs(1);
const AT_ONCE: i64 = 8;

pub async fn run(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = stop.changed() => return,
        }
        if let Err(error) = turn(&app).await {
            tracing::warn!(error = %error.chain(), "jobs could not be claimed");
        }
    }
}

/// Claims what is due and runs it to its end. Returns how many jobs there were.
pub async fn turn(app: &Arc<App>) -> Result<usize> {
    if !app.store.is_clock_right().await? {
        return Ok(0);
    }
    let mut tx = app.store.begin(&Actor::job("queue")).await?;
    let until = tx.now() + LEASE;
    let claimed = jobs::claim(&mut tx, until, AT_ONCE).await?;
    if claimed.is_empty() {
        return Ok(0);
    }
    tx.commit().await?;
    let count = claimed.len();
    for job in claimed {
        let (kind, started) = (job.kind.clone(), crate::clock::monotonic());
        let outcome = dispatch(app, &job).await;
        if KINDS.contains(&kind.as_str()) {
            metrics::histogram!("chancery_job_duration_seconds", "kind" => kind.clone()).record(started.elapsed());
        }
        debug_assert!(outcome.is_err() || KINDS.contains(&kind.as_str()), "{kind} is missing in KINDS");
        if let Err(error) = outcome {
            // the lease ends by itself and the job is claimed again
            tracing::warn!(job = %job.id, kind, error = %error.chain(), "a job failed");
        }
    }
    Ok(count)
}

/// The kinds of queued jobs.
pub const KINDS: &[&str] = &[crate::model::acme::ValidateChallenge::KIND, crate::model::certificate::RevokeKey::KIND];

/// The one list of queued jobs.
async fn dispatch(app: &Arc<App>, job: &ClaimedJob) -> Result<()> {
    match job.kind.as_str() {
        crate::model::acme::ValidateChallenge::KIND => app.registration.validate(job).await,
        crate::model::certificate::RevokeKey::KIND => app.authority.revoke_compromised(job).await,
        other => Err(Error::inconsistent(format!("no job is of kind {other}; a newer replica may run it"))),
    }
}
