//! Commits and statements, counted, and the place where tests break them: before the disk or after it, as a lost
//! connection does. `Commits` serves the table of faults (tests/it/issuance/faults.rs), `Statements` the simulation
//! (tests/simulation). In a server nothing ever plans a fault.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::error::{DatabaseError, ErrorKind};
use tokio::sync::{Notify, Semaphore};

use super::pool::silent;

/// How a commit goes wrong. Its caller gets the same error for the first two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// Nothing is saved.
    Fails,
    /// It is saved, and the reply is lost.
    LosesReply,
    /// It keeps its locks until a test opens the gate, and is saved then.
    Waits,
}

#[derive(Debug)]
pub struct Commits {
    count: AtomicU64,
    /// Spares every real commit the lock.
    any: AtomicBool,
    /// (action of an audit event in the transaction, fault), each used once.
    planned: Mutex<Vec<(&'static str, CommitFault)>>,
    /// One permit for each commit that has come to the gate.
    waiting: Semaphore,
    /// One permit lets one commit through.
    gate: Semaphore,
}

impl Default for Commits {
    fn default() -> Self {
        Commits {
            count: AtomicU64::new(0),
            any: AtomicBool::new(false),
            planned: Mutex::default(),
            waiting: Semaphore::new(0),
            gate: Semaphore::new(0),
        }
    }
}

impl Commits {
    /// How many transactions this store has committed, or tried to.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Breaks the next commit that carries an audit event of this action.
    pub fn plan(&self, action: &'static str, fault: CommitFault) {
        self.planned.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((action, fault));
        self.any.store(true, Ordering::Release);
    }

    pub(super) fn next<'a>(&self, mut actions: impl Iterator<Item = &'a str>) -> Option<CommitFault> {
        self.count.fetch_add(1, Ordering::Relaxed);
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut planned = self.planned.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let at = planned.iter().position(|(action, _)| actions.any(|a| a == *action))?;
        Some(planned.remove(at).1)
    }

    /// Returns when a commit planned with `Waits` has come to the gate.
    pub async fn arrived(&self) {
        if let Ok(permit) = self.waiting.acquire().await {
            permit.forget();
        }
    }

    /// Lets one commit through.
    pub fn open_gate(&self) {
        self.gate.add_permits(1);
    }

    pub(super) async fn wait_at_gate(&self) {
        self.waiting.add_permits(1);
        if let Ok(permit) = self.gate.acquire().await {
            permit.forget();
        }
    }
}

/// What happens to a statement or a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementFault {
    /// It is not run.
    Fails(Outage),
    /// It is run, and its answer is lost.
    LosesAnswer(Outage),
    /// The process is killed before it is run: nothing of the process goes on.
    DiesBefore,
    /// The process is killed once it was run.
    DiesAfter,
}

/// What the process is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// The connection broke.
    Broken,
    /// No answer came in the time that there is.
    Silent,
}

/// The faults of one database handle. Statements and commits are counted together, in the order in which they begin.
#[derive(Debug, Default)]
pub struct Statements {
    /// Spares every real statement the lock.
    any: AtomicBool,
    plan: Mutex<Plan>,
    died: Notify,
}

#[derive(Debug, Default)]
struct Plan {
    passed: u64,
    /// (how many pass before, fault), each used once.
    faults: Vec<(u64, StatementFault)>,
    full: bool,
}

impl Statements {
    /// Breaks one statement or commit, after so many others from now on.
    pub fn plan(&self, after: u64, fault: StatementFault) {
        let mut plan = self.locked();
        let at = plan.passed + after;
        plan.faults.push((at, fault));
        self.any.store(true, Ordering::Release);
    }

    /// From now on the disk is full, or has space again: commits that store something fail.
    pub fn fill_disk(&self, full: bool) {
        self.locked().full = full;
        self.any.store(true, Ordering::Release);
    }

    /// Faults that were planned and have not happened do not happen. Says how many those were.
    pub fn clear(&self) -> usize {
        let mut plan = self.locked();
        plan.full = false;
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut plan.faults).len()
    }

    /// Returns when the process was to die.
    pub async fn died(&self) {
        self.died.notified().await;
    }

    fn locked(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<StatementFault> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut plan = self.locked();
        let passed = plan.passed;
        plan.passed += 1;
        let at = plan.faults.iter().position(|(at, _)| *at <= passed)?;
        Some(plan.faults.swap_remove(at).1)
    }

    /// Fails while the disk is full.
    pub(super) fn check_space(&self) -> Result<(), sqlx::Error> {
        let full = self.any.load(Ordering::Acquire) && self.locked().full;
        if full { Err(sqlx::Error::Database(Box::new(DiskFull))) } else { Ok(()) }
    }

    /// Runs a statement or a commit, with the fault that is planned for it.
    pub(super) async fn run<T>(
        &self,
        statement: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        match self.next() {
            None => statement.await,
            Some(StatementFault::Fails(outage)) => Err(outage.error()),
            Some(StatementFault::LosesAnswer(outage)) => {
                statement.await?;
                Err(outage.error())
            }
            Some(StatementFault::DiesBefore) => self.die().await,
            Some(StatementFault::DiesAfter) => {
                // what the statement answered reaches nobody
                drop(statement.await);
                self.die().await
            }
        }
    }

    async fn die<T>(&self) -> T {
        self.died.notify_one();
        std::future::pending().await
    }
}

impl Outage {
    fn error(self) -> sqlx::Error {
        match self {
            Outage::Broken => sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()),
            Outage::Silent => silent(),
        }
    }
}

/// disk_full of PostgreSQL, for both engines.
#[derive(Debug)]
struct DiskFull;

impl fmt::Display for DiskFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no space left on device")
    }
}

impl StdError for DiskFull {}

impl DatabaseError for DiskFull {
    fn message(&self) -> &str {
        "no space left on device"
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed("53100"))
    }

    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}
