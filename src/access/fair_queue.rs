//! A queue for work that costs much and that strangers can ask for: a few turns at once, and a line for each client.
//! Clients take turns, so that one who asks a thousand times waits behind himself and not in front of the others.
//! Clients that failed often of late get one turn in four while others wait.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::clock::{minutes, monotonic};
use crate::error::{Error, ErrorKind, Result};

/// Failures after which a client is one that fails, for [`FAILING_FOR`] after the last.
const FAILING_AFTER: u32 = 5;
const FAILING_FOR: Duration = minutes(10);
/// Clients whose failures are remembered.
const REMEMBERED: usize = 10_000;
/// Every such turn belongs to clients that fail.
const TURNS: u64 = 4;

/// Limits of one queue.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// Turns at the same time.
    pub at_once: usize,
    /// Waiting requests of one client.
    pub per_client: usize,
    /// Waiting requests of all clients.
    pub waiting: usize,
    /// Longest wait.
    pub patience: Duration,
}

/// The queue of this process. Its name is a label of the metrics.
#[derive(Debug)]
pub struct FairQueue {
    name: &'static str,
    limits: QueueLimits,
    /// Guards only itself: no await while it is held.
    state: Mutex<QueueState>,
}

/// The right to work until it is dropped.
#[derive(Debug)]
pub struct Turn(Option<Arc<FairQueue>>);

type Waiter = oneshot::Sender<Turn>;

#[derive(Debug, Default)]
struct QueueState {
    running: usize,
    waiting: usize,
    served: u64,
    /// The waiting requests of each client, oldest first; never empty.
    lines: HashMap<String, VecDeque<Waiter>>,
    /// Each client with a line stands in one of these two once.
    calm: VecDeque<String>,
    failing: VecDeque<String>,
    failures: HashMap<String, (u32, Instant)>,
}

impl FairQueue {
    pub fn new(name: &'static str, limits: QueueLimits) -> Arc<Self> {
        Arc::new(FairQueue { name, limits, state: Mutex::default() })
    }

    /// Waits for a turn of this client. A line or a queue that is full, and a wait that is too long, are refused.
    pub async fn enter(self: &Arc<Self>, client: &str) -> Result<Turn> {
        let waiting = {
            let mut state = self.lock();
            if state.running < self.limits.at_once && state.waiting == 0 {
                state.running += 1;
                return Ok(Turn(Some(Arc::clone(self))));
            }
            let receiver = state.join(client, &self.limits);
            self.dispatch(&mut state);
            receiver
        };
        let outcome = match waiting {
            Some(receiver) => tokio::time::timeout(self.limits.patience, receiver).await.ok().and_then(Result::ok),
            None => None,
        };
        outcome.ok_or_else(|| {
            metrics::counter!("chancery_sign_in_queue_refused_total", "queue" => self.name).increment(1);
            busy()
        })
    }

    /// Remembers that this client failed.
    pub fn failed(&self, client: &str) {
        let (now, mut state) = (monotonic(), self.lock());
        if state.failures.len() >= REMEMBERED && !state.failures.contains_key(client) {
            state.failures.retain(|_, (_, last)| now.duration_since(*last) < FAILING_FOR);
            if state.failures.len() >= REMEMBERED {
                state.failures.clear();
            }
        }
        let (count, last) = state.failures.entry(client.to_owned()).or_insert((0, now));
        *count = if now.duration_since(*last) < FAILING_FOR { count.saturating_add(1) } else { 1 };
        *last = now;
    }

    /// Requests that wait now.
    pub fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// Gives free turns to whoever is next. A request whose client left is passed over.
    fn dispatch(self: &Arc<Self>, state: &mut QueueState) {
        while state.running < self.limits.at_once
            && let Some(waiter) = state.next()
        {
            state.running += 1;
            if let Err(mut turn) = waiter.send(Turn(Some(Arc::clone(self)))) {
                // dropping it as it is would lock the state again
                turn.0 = None;
                state.running -= 1;
            }
        }
        let waiting = u32::try_from(state.waiting).map_or(f64::MAX, f64::from);
        metrics::gauge!("chancery_sign_in_queue", "queue" => self.name).set(waiting);
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            let mut state = queue.lock();
            state.running -= 1;
            queue.dispatch(&mut state);
        }
    }
}

impl QueueState {
    /// Puts a request at the end of its client's line; `None` when it is full.
    fn join(&mut self, client: &str, limits: &QueueLimits) -> Option<oneshot::Receiver<Turn>> {
        self.leave(client);
        let length = self.lines.get(client).map_or(0, VecDeque::len);
        if length >= limits.per_client || (self.waiting >= limits.waiting && !self.make_way(length)) {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        if length == 0 {
            let ring = if self.is_failing(client) { &mut self.failing } else { &mut self.calm };
            ring.push_back(client.to_owned());
        }
        self.lines.entry(client.to_owned()).or_default().push_back(sender);
        self.waiting += 1;
        Some(receiver)
    }

    /// Forgets the waiting requests of this client whose connection has ended, but the oldest: an empty line would have
    /// to leave its ring too.
    fn leave(&mut self, client: &str) {
        let Some(line) = self.lines.get_mut(client) else { return };
        let before = line.len();
        let mut first = true;
        line.retain(|waiter| std::mem::take(&mut first) || !waiter.is_closed());
        self.waiting -= before - line.len();
    }

    /// Refuses the newest request of the longest line, if that is longer than `own`.
    fn make_way(&mut self, own: usize) -> bool {
        let Some(line) = self.lines.values_mut().max_by_key(|line| line.len()) else { return false };
        if line.len() <= own + 1 || line.pop_back().is_none() {
            return false;
        }
        self.waiting -= 1;
        true
    }

    fn next(&mut self) -> Option<Waiter> {
        loop {
            let failing = self.calm.is_empty() || (self.served % TURNS == TURNS - 1 && !self.failing.is_empty());
            let ring = if failing { &mut self.failing } else { &mut self.calm };
            let client = ring.pop_front()?;
            let line = self.lines.get_mut(&client)?;
            let waiter = line.pop_front();
            if line.is_empty() {
                self.lines.remove(&client);
            } else {
                ring.push_back(client);
            }
            let Some(waiter) = waiter else { continue };
            self.waiting -= 1;
            if !waiter.is_closed() {
                self.served += 1;
                return Some(waiter);
            }
        }
    }

    fn is_failing(&self, client: &str) -> bool {
        let recent = |last: &Instant| monotonic().duration_since(*last) < FAILING_FOR;
        self.failures.get(client).is_some_and(|(count, last)| *count >= FAILING_AFTER && recent(last))
    }
}

fn busy() -> Error {
    let detail = "too many people are signing in at this moment; try again in a few seconds";
    Error::new(ErrorKind::RateLimited, detail).retry_after(Duration::from_secs(3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use futures_util::future::join_all;

    const LIMITS: QueueLimits = QueueLimits { at_once: 1, per_client: 8, waiting: 12, patience: minutes(1) };

    fn queue() -> Arc<FairQueue> {
        FairQueue::new("test", LIMITS)
    }

    /// The order in which these clients, who come in this order, get their turns.
    async fn order(queue: &Arc<FairQueue>, clients: &[&'static str]) -> Vec<&'static str> {
        let held = queue.enter("first").await.unwrap();
        let done = Arc::new(Mutex::new(Vec::new()));
        let wait = |client: &'static str| {
            let (queue, done) = (Arc::clone(queue), Arc::clone(&done));
            async move {
                if let Ok(turn) = queue.enter(client).await {
                    done.lock().unwrap().push(client);
                    drop(turn);
                }
            }
        };
        let mut all = Box::pin(join_all(clients.iter().map(|client| wait(client))));
        assert!(all.as_mut().now_or_never().is_none(), "all of them wait");
        drop(held);
        all.await;
        Arc::into_inner(done).unwrap().into_inner().unwrap()
    }

    #[tokio::test]
    async fn one_client_does_not_starve_another() {
        let queue = queue();
        assert_eq!(order(&queue, &["loud", "loud", "loud", "loud", "quiet"]).await[1], "quiet");
        assert_eq!((queue.waiting(), queue.lock().running), (0, 0));
    }

    #[tokio::test]
    async fn clients_that_fail_wait_behind_others_and_still_get_turns() {
        let queue = queue();
        for _ in 0..FAILING_AFTER {
            queue.failed("guesser");
        }
        let clients = ["guesser", "guesser", "a", "b", "c", "d", "e"];
        let served = order(&queue, &clients).await;
        let at = |who| served.iter().position(|client| *client == who).unwrap();
        assert!(at("a") < at("guesser") && at("guesser") < at("e"), "{served:?}");
    }

    #[tokio::test]
    async fn a_full_queue_takes_from_the_longest_line() {
        let queue = queue();
        let clients = ["a", "a", "a", "a", "a", "a", "b", "b", "b", "b", "b", "b", "quiet"];
        let served = order(&queue, &clients).await;
        assert_eq!(served.len(), LIMITS.waiting, "one was refused: {served:?}");
        assert!(served.contains(&"quiet"));
        let one = ["a"; 9];
        assert_eq!(order(&queue, &one).await.len(), LIMITS.per_client);
    }

    #[tokio::test]
    async fn a_client_that_leaves_gives_its_turn_on() {
        let queue = queue();
        let held = queue.enter("first").await.unwrap();
        let mut gone = Box::pin(queue.enter("gone"));
        assert!(gone.as_mut().now_or_never().is_none());
        let mut stays = Box::pin(queue.enter("stays"));
        assert!(stays.as_mut().now_or_never().is_none());
        drop(gone);
        drop(held);
        drop(stays.await.unwrap());
        assert_eq!((queue.waiting(), queue.lock().running), (0, 0));
        let error = FairQueue::new("test", QueueLimits { patience: Duration::ZERO, ..LIMITS });
        let _held = error.enter("a").await.unwrap();
        let error = error.enter("b").await.unwrap_err();
        assert!(error.kind == ErrorKind::RateLimited && error.retry_after.is_some());
    }
}
