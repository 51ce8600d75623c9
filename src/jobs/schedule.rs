//! Periodic work. A failure is logged here, where it stops travelling, and tried again at the next turn.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::App;
use crate::clock::minutes;
use crate::error::Result;

const SECOND: Duration = Duration::from_secs(1);
const PROOF: Duration = Duration::from_secs(5);
const ROW_MACS: Duration = Duration::from_secs(2);
const TOLD_ROWS: Duration = Duration::from_secs(15);

/// One piece of periodic work.
pub struct PeriodicWork {
    /// As metrics have it.
    pub name: &'static str,
    pub period: Duration,
    /// A web process needs it too.
    pub everywhere: bool,
    turn: fn(Arc<App>) -> BoxFuture<'static, Result<()>>,
}

impl PeriodicWork {
    const fn of(name: &'static str, period: Duration, turn: fn(Arc<App>) -> BoxFuture<'static, Result<()>>) -> Self {
        PeriodicWork { name, period, everywhere: false, turn }
    }

    const fn everywhere(self) -> Self {
        PeriodicWork { everywhere: true, ..self }
    }

    pub async fn turn(&self, app: &Arc<App>) -> Result<()> {
        (self.turn)(Arc::clone(app)).await
    }
}

impl fmt::Debug for PeriodicWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeriodicWork({}, {:?})", self.name, self.period)
    }
}

/// The one list of periodic work.
pub const WORK: &[PeriodicWork] = &[
    PeriodicWork::of("clock", SECOND, |app| Box::pin(async move { app.store.beat().await })).everywhere(),
    PeriodicWork::of("write-proof", PROOF, |app| Box::pin(async move { app.store.prove_write().await })).everywhere(),
    PeriodicWork::of("versions", SECOND, |app| Box::pin(async move { app.refresh().await })).everywhere(),
    PeriodicWork::of("anchor", SECOND, |app| Box::pin(async move { app.remember().await })).everywhere(),
    PeriodicWork::of("row-macs", ROW_MACS, |app| Box::pin(async move { app.authority.keep_row_macs().await }))
        .everywhere(),
    PeriodicWork::of("told-rows", TOLD_ROWS, |app| Box::pin(async move { app.authority.read_told_rows().await }))
        .everywhere(),
    PeriodicWork::of("trouble", Duration::from_secs(5), |app| {
        Box::pin(async move { app.authority.tell_trouble().await })
    })
    .everywhere(),
    PeriodicWork::of("refusals", minutes(1), |app| {
        Box::pin(async move {
            app.write_refusals(false).await;
            Ok(())
        })
    })
    .everywhere(),
    PeriodicWork::of("crl", SECOND, |app| Box::pin(async move { app.authority.publish_due().await.map(drop) })),
    PeriodicWork::of("domain-crls", SECOND, |app| {
        Box::pin(async move { app.authority.publish_domains_due().await.map(drop) })
    }),
    PeriodicWork::of("foreign-crls", minutes(1), |app| Box::pin(async move { app.fetch_foreign_crls().await })),
    PeriodicWork::of("recovery", Duration::from_secs(30), |app| {
        Box::pin(async move { app.authority.recover().await.map(drop) })
    }),
    PeriodicWork::of("audit-checkpoint", minutes(5), |app| {
        Box::pin(async move { app.authority.checkpoint_due().await.map(drop) })
    }),
    PeriodicWork::of("ocsp-responders", minutes(10), |app| {
        Box::pin(async move { app.authority.renew_responders().await.map(drop) })
    }),
    PeriodicWork::of("row-look", minutes(10), |app| Box::pin(async move { app.authority.look_at_rows().await })),
    PeriodicWork::of("housekeeping", minutes(1), |app| Box::pin(async move { app.housekeep().await })),
];

/// Starts a task for each piece of work.
pub fn spawn(tasks: &mut JoinSet<()>, app: &Arc<App>, worker: bool, stop: &watch::Receiver<bool>) {
    for work in WORK.iter().filter(|work| worker || work.everywhere) {
        let (app, clock, stop) = (Arc::clone(app), Arc::clone(&app.clock), stop.clone());
        tasks.spawn(async move {
            let turn = || async { report(work.name, work.turn(&app).await) };
            super::periodic::every(clock, work.period, stop, turn).await;
        });
    }
    if !worker {
        return;
    }
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
