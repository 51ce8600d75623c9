//! What a running server does between requests: the jobs, and what concerns this process alone. Each loop is
//! harmless when it runs twice, beside itself or beside another replica; a failure is logged and tried again.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::checkpoint_targets::{self, Publisher};
use super::listen::Connections;
use super::ops::{Purpose, Readiness};
use super::own_certificate::Source;
use super::tls::HotCertificate;
use super::{limits, metrics};
use crate::app::App;
use crate::clock::minutes;
use crate::error::Result;
use crate::jobs;

const UPKEEP: Duration = Duration::from_secs(10);
/// Full counts of what the database holds.
const CENSUS: Duration = minutes(5);

/// Starts every loop; they end when `halt` turns true.
pub fn start(
    app: &Arc<App>,
    publishers: Vec<Publisher>,
    worker: bool,
    readiness: Readiness,
    shown: Option<(Source, Arc<HotCertificate>)>,
    connections: Connections,
    halt: &watch::Receiver<bool>,
) -> Vec<JoinHandle<()>> {
    let mut tasks = vec![
        tokio::spawn(jobs::run(app.clone(), worker, halt.clone())),
        every(app, UPKEEP, "memory", halt, Arc::new(connections), |connections| async move {
            if connections.many_ended() {
                limits::give_back_free_memory();
            }
            Ok(())
        }),
        every(app, UPKEEP, "metrics", halt, Arc::new((app.clone(), readiness)), |both| async move {
            crate::telemetry::metrics()?.run_upkeep();
            // sets chancery_ready and chancery_status_ready, also where nobody probes
            both.1.ask(Purpose::Issuing).await;
            both.1.ask(Purpose::Status).await;
            metrics::measure(&both.0).await
        }),
        every(app, CENSUS, "census", halt, app.clone(), |app| async move { metrics::census(&app).await }),
    ];
    let publish = |publisher: Arc<Publisher>| async move { publisher.publish().await };
    for publisher in publishers {
        tasks.push(every(app, checkpoint_targets::PERIOD, "checkpoint target", halt, Arc::new(publisher), publish));
    }
    if let Some(shown) = shown {
        let period = shown.0.period();
        let renew = |both: Arc<(Source, Arc<HotCertificate>)>| async move { both.0.renew_if_due(&both.1).await };
        tasks.push(every(app, period, "own certificate", halt, Arc::new(shown), renew));
    }
    tasks
}

fn every<T, F>(
    app: &Arc<App>,
    period: Duration,
    name: &'static str,
    halt: &watch::Receiver<bool>,
    with: Arc<T>,
    work: impl Fn(Arc<T>) -> F + Send + Sync + 'static,
) -> JoinHandle<()>
where
    T: Send + Sync + 'static,
    F: Future<Output = Result<()>> + Send,
{
    let (clock, halt) = (app.clock.clone(), halt.clone());
    tokio::spawn(async move {
        let turn = || {
            let working = work(with.clone());
            async move {
                if let Err(error) = working.await {
                    tracing::warn!(job = name, error = %error.chain(), "a background turn failed and is tried again");
                }
            }
        };
        jobs::every(clock, period, halt, turn).await;
    })
}
