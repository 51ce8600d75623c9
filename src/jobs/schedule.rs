//! Periodic work. A failure is logged here, where it stops travelling, and tried again at the next turn.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::App;
use crate::clock::minutes;
use crate::error::Result;

const SECOND: Duration = Duration::from_secs(1);
const PROOF: Duration = Duration::from_secs(5);

/// The names of periodic work, as metrics have them.
pub const NAMES: &[&str] = &[
    "clock",
    "write-proof",
    "versions",
    "anchor",
    "refusals",
    "crl",
    "domain-crls",
    "foreign-crls",
    "recovery",
    "audit-checkpoint",
    "ocsp-responders",
    "housekeeping",
];

/// The one list of periodic work.
pub fn spawn(tasks: &mut JoinSet<()>, app: &Arc<App>, worker: bool, stop: &watch::Receiver<bool>) {
    every(tasks, app, stop, "clock", SECOND, |app| async move { app.store.beat().await });
    every(tasks, app, stop, "write-proof", PROOF, |app| async move { app.store.prove_write().await });
    every(tasks, app, stop, "versions", SECOND, |app| async move { app.refresh().await });
    every(tasks, app, stop, "anchor", SECOND, |app| async move { app.remember().await });
    every(tasks, app, stop, "refusals", minutes(1), |app| async move {
        app.write_refusals(false).await;
        Ok(())
    });
    if !worker {
        return;
    }
    every(tasks, app, stop, "crl", SECOND, |app| async move { app.authority.publish_due().await.map(drop) });
    every(tasks, app, stop, "domain-crls", SECOND, |app| async move {
        app.authority.publish_domains_due().await.map(drop)
    });
    every(tasks, app, stop, "foreign-crls", minutes(1), |app| async move { app.fetch_foreign_crls().await });
    every(tasks, app, stop, "recovery", Duration::from_secs(30), |app| async move {
        app.authority.recover().await.map(drop)
    });
    every(tasks, app, stop, "audit-checkpoint", minutes(5), |app| async move {
        app.authority.checkpoint_due().await.map(drop)
    });
    every(tasks, app, stop, "ocsp-responders", minutes(10), |app| async move {
        app.authority.renew_responders().await.map(drop)
    });
    every(tasks, app, stop, "housekeeping", minutes(1), |app| async move { app.housekeep().await });
    let (app, mut stop) = (Arc::clone(app), stop.clone());
    tasks.spawn(async move {
        // a revocation of this process need not wait for the poll
        loop {
            tokio::select! {
                () = app.authority.revoked.notified() => report("crl", app.authority.publish_due().await.map(drop)),
                _ = stop.changed() => return,
            }
        }
    });
}

fn every<F>(
    tasks: &mut JoinSet<()>,
    app: &Arc<App>,
    stop: &watch::Receiver<bool>,
    name: &'static str,
    period: Duration,
    work: impl Fn(Arc<App>) -> F + Send + Sync + 'static,
) where
    F: Future<Output = Result<()>> + Send + 'static,
{
    debug_assert!(NAMES.contains(&name), "{name} is missing in NAMES");
    let (app, clock, stop) = (Arc::clone(app), Arc::clone(&app.clock), stop.clone());
    tasks.spawn(async move {
        let turn = || {
            let working = work(Arc::clone(&app));
            async move { report(name, working.await) }
        };
        super::periodic::every(clock, period, stop, turn).await;
    });
}

fn report(name: &'static str, outcome: Result<()>) {
    let word = match outcome {
        Ok(()) => "done",
        Err(error) => {
            tracing::warn!(job = name, error = %error.chain(), "periodic work failed and will be tried again");
            "failed"
        }
    };
    metrics::counter!("chancery_periodic_runs_total", "job" => name, "outcome" => word).increment(1);
}
