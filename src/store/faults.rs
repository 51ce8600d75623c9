//! Commits, counted, and the place where the table of faults (tests/it/issuance/faults.rs) breaks them: before the
//! disk or after it, as a lost connection does. In a server nothing ever plans a fault.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How a commit goes wrong. The caller is told the same in both cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// Nothing is saved.
    Fails,
    /// It is saved, and the reply is lost.
    LosesReply,
}

#[derive(Debug, Default)]
pub struct Commits {
    count: AtomicU64,
    /// Spares every real commit the lock.
    any: AtomicBool,
    /// (action of an audit event in the transaction, fault), each used once.
    planned: Mutex<Vec<(&'static str, CommitFault)>>,
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
}
