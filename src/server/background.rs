//! What a running server does between requests. Each loop is harmless when it runs twice, beside itself or beside
//! another replica; a failure is logged and tried again at the next turn.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::listen::Stop;
use super::own_certificate::OwnTls;
use super::tls::HotCertificate;
use crate::app::App;
use crate::error::Result;

/// Another process's change must be seen within 5 s.
const REFRESH: Duration = Duration::from_secs(1);
const RECOVER: Duration = Duration::from_secs(30);
const RENEW: Duration = Duration::from_secs(60);
const UPKEEP: Duration = Duration::from_secs(5);

/// Starts every loop; they end when a stop begins.
pub fn start(
    app: &Arc<App>,
    own: Option<(OwnTls, Arc<HotCertificate>)>,
    stop: &watch::Receiver<Stop>,
) -> Vec<JoinHandle<()>> {
    let mut tasks =
        vec![
            every(REFRESH, "refresh", stop.clone(), app.clone(), |app| async move {
                app.authority.refresh().await.map(drop)
            }),
            every(RECOVER, "recovery", stop.clone(), app.clone(), |app| async move {
                let found = app.authority.recover().await?;
                if found > 0 {
                    tracing::warn!(found, "intents without outcome were revoked");
                    metrics::counter!("chancery_intents_recovered_total")
                        .increment(u64::try_from(found).unwrap_or(u64::MAX));
                }
                Ok(())
            }),
            every(UPKEEP, "metrics", stop.clone(), app.clone(), |_| async {
                crate::telemetry::metrics()?.run_upkeep();
                Ok(())
            }),
        ];
    if let Some((own, hot)) = own {
        let both = Arc::new((own, hot));
        tasks.push(every(RENEW, "own certificate", stop.clone(), both, |both| async move {
            both.0.renew_if_due(&both.1).await
        }));
    }
    tasks
}

fn every<T, F>(
    period: Duration,
    name: &'static str,
    mut stop: watch::Receiver<Stop>,
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
                outcome = stop.changed() => {
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
