//! How long somebody waits for the database in all. A statement that waits for a lock, or a database that has fallen
//! silent, ends on our side too: a request has a budget for all its waits together, whatever it asks for one after the
//! other. What waits is what takes long: statements that are answered at once take nothing from the budget, so that a
//! command which runs thousands of them goes on.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::monotonic;

/// A little less than the ten seconds that a client waits at most.
pub const REQUEST: Duration = Duration::from_millis(9_500);
/// A statement that took less has not waited.
const AT_ONCE: Duration = Duration::from_millis(250);

tokio::task_local! {
    static BUDGET: Arc<Budget>;
}

/// The time that is left for waiting.
#[derive(Debug)]
pub struct Budget {
    micros: AtomicU64,
}

impl Budget {
    pub fn of(most: Duration) -> Arc<Budget> {
        Arc::new(Budget { micros: AtomicU64::new(u64::try_from(most.as_micros()).unwrap_or(u64::MAX)) })
    }

    fn left(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Acquire))
    }

    fn spend(&self, time: Duration) {
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let less = |left: u64| Some(left.saturating_sub(time));
        // `less` always answers
        let _ = self.micros.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }
}

/// Runs work that waits for the database for at most `most` in all.
pub async fn within<F: Future>(most: Duration, work: F) -> F::Output {
    BUDGET.scope(Budget::of(most), work).await
}

/// The budget of whoever asks, for a task of its own that does the work.
pub fn current() -> Option<Arc<Budget>> {
    BUDGET.try_with(Arc::clone).ok()
}

/// Runs work on the budget of another task.
pub async fn on_behalf<F: Future>(of: Option<Arc<Budget>>, work: F) -> F::Output {
    match of {
        Some(budget) => BUDGET.scope(budget, work).await,
        None => work.await,
    }
}

/// Awaits an answer of the database, or of a task that waits for it, for at most `most` and what is left. None when it
/// did not come.
pub async fn wait<T>(most: Duration, answer: impl Future<Output = T>) -> Option<T> {
    let budget = current();
    let limit = budget.as_ref().map_or(most, |budget| budget.left().min(most));
    let started = monotonic();
    let answer = tokio::time::timeout(limit, answer).await.ok();
    let took = started.elapsed();
    if let Some(budget) = budget.filter(|_| took > AT_ONCE || answer.is_none()) {
        budget.spend(took);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn waits_are_added_up_and_quick_answers_are_not() {
        within(SECOND / 2, async {
            for _ in 0..100 {
                assert!(wait(SECOND, tokio::time::sleep(SECOND / 100)).await.is_some());
            }
            assert!(wait(SECOND, tokio::time::sleep(SECOND / 3)).await.is_some());
            assert!(wait(SECOND, tokio::time::sleep(SECOND / 3)).await.is_none());
        })
        .await;
    }

    #[tokio::test]
    async fn a_task_of_its_own_waits_on_the_same_budget() {
        within(SECOND / 2, async {
            assert_eq!(wait(SECOND / 3, std::future::pending::<()>()).await, None);
            let budget = current();
            let other = tokio::spawn(on_behalf(budget, wait(SECOND, std::future::pending::<()>())));
            assert_eq!(other.await.unwrap(), None);
            assert_eq!(current().unwrap().left(), Duration::ZERO);
            // what is answered without waiting is taken all the same
            assert_eq!(wait(SECOND, async { 1 }).await, Some(1));
        })
        .await;
        assert!(current().is_none());
    }
}
