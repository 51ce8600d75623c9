//! The one wait of the tests: for work that runs beside them and cannot be told our clock.

use std::time::Duration;

/// Between two looks at something that a background task or a socket finishes in its own time.
pub async fn pause() {
    // a validation talks to real sockets, whose pace no ManualClock sets
    tokio::time::sleep(Duration::from_millis(10)).await;
}
