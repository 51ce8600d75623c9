//! Turns that come again: the first at once, each next one when the period has passed on the server's clock or on
//! the machine's, so that a test that moves the clock sees what a day would bring.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::clock::{Clock, Timestamp, monotonic};

/// How often the clock is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Runs `turn` until `stop` says so.
pub async fn every<F: Future<Output = ()>>(
    clock: Arc<dyn Clock>,
    period: Duration,
    mut stop: watch::Receiver<bool>,
    turn: impl Fn() -> F,
) {
    let mut ticks = tokio::time::interval(period.min(LOOK));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last: Option<(std::time::Instant, Timestamp)> = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.changed() => return,
        }
        let (instant, now) = (monotonic(), clock.now());
        // a clock that was set back does not hold the work up: the machine's time counts too
        let due = last.is_none_or(|(then, at)| period <= LOOK || then.elapsed() >= period || now.since(at) >= period);
        if due {
            last = Some((instant, now));
            turn().await;
        }
    }
}
