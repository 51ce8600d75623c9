//! Stopping: SIGTERM or SIGINT makes /readyz answer 503, lets requests in flight finish within the drain time
//! (none in flight: no wait), and ends with exit code 0. A second signal ends at once.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::listen::{Connections, Stop};
use crate::clock::monotonic;
use crate::error::{Error, Result};

#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn listen() -> Result<Signals> {
        let one = |kind| signal(kind).map_err(|e| Error::internal("cannot listen for signals", e));
        Ok(Signals { terminate: one(SignalKind::terminate())?, interrupt: one(SignalKind::interrupt())? })
    }

    /// Returns at the next SIGTERM or SIGINT.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Stops accepting and waits until no connection is open, at most `patience`. True when all finished.
pub async fn drain(stop: &watch::Sender<Stop>, connections: &Connections, patience: Duration) -> bool {
    stop.send_replace(Stop::Draining);
    let start = monotonic();
    while connections.count() > 0 {
        if start.elapsed() >= patience {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    true
}
