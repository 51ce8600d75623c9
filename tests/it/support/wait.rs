//! Waiting for what another task or process does by itself: polling with an end, and the one place for a pause.

use std::time::Duration;

use chancery::clock::monotonic;

/// Longer than anything that is waited for takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until the answer is there; `what` is told when it never is.
pub async fn until<T>(what: &str, question: impl AsyncFn() -> Option<T>) -> T {
    let start = monotonic();
    loop {
        if let Some(answer) = question().await {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: still not after {PATIENCE:?}");
        pause(Duration::from_millis(30)).await;
    }
}

/// For what must *not* happen meanwhile, and for a client that is slow on purpose.
pub async fn pause(time: Duration) {
    // other processes and tasks move by themselves: they have no clock of ours to move
    tokio::time::sleep(time).await;
}
