//! The targets of checkpoints that failed last, each with the reason: what `doctor` says of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Guards only itself.
#[derive(Debug, Default)]
pub struct TargetFailures(Mutex<BTreeMap<String, String>>);

impl TargetFailures {
    /// How the last turn of a target ended; None: it has everything.
    pub fn set(&self, target: &str, failure: Option<String>) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match failure {
            Some(why) => drop(failures.insert(target.to_owned(), why)),
            None => drop(failures.remove(target)),
        }
    }

    /// Target and reason.
    pub fn list(&self) -> Vec<(String, String)> {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.iter().map(|(target, why)| (target.clone(), why.clone())).collect()
    }
}
