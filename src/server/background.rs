//! What a running server does between requests: the jobs, and what concerns this process alone. Each loop is harmless when it runs twice, beside itself or beside
//! another replica; a failure is logged and tried again at the next turn.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::own_certificate::OwnTls;
use super::tls::HotCertificate;
use crate::app::App;
use crate::error::Result;
use crate::jobs;

const RENEW: Duration = Duration::from_secs(60);
const UPKEEP: Duration = Duration::from_secs(5);

/// Starts every loop; they end when `halt` turns true.
pub fn start(
    app: &Arc<App>,
    worker: bool,
    own: Option<(OwnTls, Arc<HotCertificate>)>,
    halt: &watch::Receiver<bool>,
) -> Vec<JoinHandle<()>> {
    let mut tasks = vec![
        tokio::spawn(jobs::run(app.clone(), worker, halt.clone())),
        every(UPKEEP, "metrics", halt.clone(), app.clone(), |_| async {
            crate::telemetry::metrics()?.run_upkeep();
            Ok(())
        }),
    ];
    if let Some((own, hot)) = own {
        let both = Arc::new((own, hot));
        let renew = |both: Arc<(OwnTls, Arc<HotCertificate>)>| async move { both.0.renew_if_due(&both.1).await };
        tasks.push(every(RENEW, "own certificate", halt.clone(), both, renew));
    }
    tasks
}

fn every<T, F>(
    period: Duration,
    name: &'static str,
    mut halt: watch::Receiver<bool>,
    with: Arc<T>,
    turn: impl Fn(Arc<T>) -> F + Send + 'static,
) -> JoinHandle<()>
where
    T: Send + Sync + 'static,
    F: Future<Output = Result<()>> + Send,
{
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                outcome = halt.changed() => {
                    drop(outcome);
                    return;
                }
            }
            if let Err(error) = turn(with.clone()).await {
                tracing::warn!(job = name, error = %error.chain(), "a background turn failed and is tried again");
            }
        }
    })
}
