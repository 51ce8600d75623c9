//! Group commits. One worker a lane takes what is waiting (no linger timer), writes it in one transaction and
//! answers each caller after the commit. A failed group is retried row by row, so one bad row fails alone.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, ErrorKind, Result};
use crate::store::patience::{self, Budget};

/// At most this many rows share a transaction.
const GROUP: usize = 64;
/// What may wait in one lane before callers are told to come back.
const WAITING: usize = 2_048;

/// How long a caller waits for its commit, a little less than the ten seconds that its client waits at most. What waits
/// longer has given up and is not written any more; a transaction waits no longer than that for locks and answers.
const PATIENCE: Duration = Duration::from_secs(9);

struct Item<T, R> {
    row: T,
    answer: oneshot::Sender<Result<R>>,
}

/// A queue of rows of one kind, each answered with an `R`.
pub struct Batcher<T, R = ()> {
    lanes: Vec<mpsc::Sender<Item<T, R>>>,
    next: AtomicUsize,
}

impl<T, R> std::fmt::Debug for Batcher<T, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Batcher")
    }
}

/// Writes a group in one transaction: the outer error fails (and retries) the group, the inner ones a row each.
pub trait WriteGroup<T, R = ()>: Send + Sync + 'static {
    /// A transaction that has begun. Who comes while it is waited for joins the group.
    type Begun: Send;

    fn begin(&self) -> impl Future<Output = Result<Self::Begun>> + Send;

    fn write(&self, begun: Self::Begun, rows: Arc<Vec<T>>) -> impl Future<Output = Result<Vec<Result<R>>>> + Send;

    /// Several, so that a slow commit does not stall all; one makes the larger groups, which is worth more where an
    /// operation has many commits or where there is one writer anyway.
    fn lanes(&self) -> usize {
        1
    }
}

impl<T: Clone + Send + Sync + 'static, R: Send + 'static> Batcher<T, R> {
    /// Spawns the workers; they end when the batcher is dropped.
    pub fn start<W: WriteGroup<T, R>>(writer: W) -> Self {
        let writer = Arc::new(writer);
        let lanes = (0..writer.lanes()).map(|_| {
            let (sender, receiver) = mpsc::channel(WAITING);
            tokio::spawn(work(receiver, Arc::clone(&writer)));
            sender
        });
        Batcher { lanes: lanes.collect(), next: AtomicUsize::new(0) }
    }

    /// Returns after the commit that contains `row`. An error whose kind is `Unavailable` leaves it unknown.
    pub async fn commit(&self, row: T) -> Result<R> {
        let (answer, committed) = oneshot::channel();
        let lane = self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len().max(1);
        let busy = || {
            Error::new(ErrorKind::Unavailable, "too many requests wait for the database; try again in a second")
                .retry_after(Duration::from_secs(1))
        };
        let sender = self.lanes.get(lane).ok_or_else(busy)?;
        sender.try_send(Item { row, answer }).map_err(|_| busy())?;
        let Some(answer) = patience::wait(PATIENCE, committed).await else {
            let detail = "other requests hold what this one needs in the database; try again in a moment";
            return Err(Error::new(ErrorKind::Unavailable, detail).retry_after(Duration::from_secs(1)));
        };
        answer.map_err(|_| Error::new(ErrorKind::Unavailable, "the writer stopped before the commit"))?
    }
}

async fn work<T: Clone + Send + Sync + 'static, R: Send, W: WriteGroup<T, R>>(
    mut queue: mpsc::Receiver<Item<T, R>>,
    writer: Arc<W>,
) {
    let mut items = Vec::with_capacity(GROUP);
    while queue.recv_many(&mut items, GROUP).await > 0 {
        let budget = Some(Budget::of(PATIENCE));
        let begun = patience::on_behalf(budget.clone(), writer.begin()).await;
        while items.len() < GROUP
            && let Ok(late) = queue.try_recv()
        {
            items.push(late);
        }
        items.retain(|item| !item.answer.is_closed());
        if items.is_empty() {
            continue;
        }
        let (rows, answers): (Vec<T>, Vec<_>) = items.drain(..).map(|item| (item.row, item.answer)).unzip();
        let rows = Arc::new(rows);
        metrics::histogram!("chancery_commit_group_rows")
            .record(f64::from(u32::try_from(rows.len()).unwrap_or(u32::MAX)));
        let written = match begun {
            Ok(begun) => patience::on_behalf(budget, writer.write(begun, Arc::clone(&rows))).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(results) => {
                for (answer, result) in answers.into_iter().zip(results) {
                    // the caller may be gone: its row is committed all the same, and recovery sees to it
                    let _ = answer.send(result);
                }
            }
            Err(error) if answers.len() == 1 => {
                for answer in answers {
                    let mut told = Error::new(error.kind, error.detail.clone()).because(error.chain());
                    told.retry_after = error.retry_after;
                    let _ = answer.send(Err(told));
                }
            }
            Err(_) => one_by_one(rows.as_ref(), answers, writer.as_ref()).await,
        }
    }
}

async fn one_by_one<T: Clone + Send + Sync + 'static, R, W: WriteGroup<T, R>>(
    rows: &[T],
    answers: Vec<oneshot::Sender<Result<R>>>,
    writer: &W,
) {
    let mut out_of_reach: Option<String> = None;
    for (row, answer) in rows.iter().zip(answers) {
        if answer.is_closed() {
            continue;
        }
        // a database that is gone for one is gone for all: they need not wait for it one after the other. A row that
        // waits for a lock fails alone.
        if let Some(why) = &out_of_reach {
            let error = Error::new(ErrorKind::Unavailable, why.clone()).retry_after(Duration::from_secs(1));
            let _ = answer.send(Err(error));
            continue;
        }
        let budget = Some(Budget::of(PATIENCE));
        let written = match patience::on_behalf(budget.clone(), writer.begin()).await {
            Ok(begun) => patience::on_behalf(budget, writer.write(begun, Arc::new(vec![row.clone()]))).await,
            Err(error) => {
                out_of_reach = Some(error.detail.clone());
                Err(error)
            }
        };
        let outcome = match written {
            Ok(mut results) => {
                results.pop().unwrap_or_else(|| Err(Error::inconsistent("a written row has no result")))
            }
            Err(error) => Err(error),
        };
        let _ = answer.send(outcome);
    }
}
