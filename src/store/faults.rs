//! Commits, counted, and the place where the table of faults (tests/it/issuance/faults.rs) breaks them: before the
//! disk or after it, as a lost connection does. In a server nothing ever plans a fault.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Semaphore;

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
