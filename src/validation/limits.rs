//! How much validation runs at once: attempts in the process, connections to one address. Whoever waits for a
//! place waits a bounded time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::config::Concurrency;
use crate::model::network::forms;

#[derive(Debug)]
pub(super) struct Limits {
    attempts: Arc<Semaphore>,
    per_target: usize,
    /// Guards the table alone. An entry lives as long as someone holds or awaits a place in it.
    targets: Mutex<HashMap<IpAddr, Weak<Semaphore>>>,
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    /// Keeps the table's entry alive for as long as the place is held.
    _semaphore: Arc<Semaphore>,
}

impl Limits {
    pub fn new(concurrency: &Concurrency) -> Self {
        let at_most = |n: u32| (n as usize).min(Semaphore::MAX_PERMITS);
        Limits {
            attempts: Arc::new(Semaphore::new(at_most(concurrency.global))),
            per_target: at_most(concurrency.per_target),
            targets: Mutex::default(),
        }
    }

    /// `None` when no place came free within `wait`.
    pub async fn attempt(&self, wait: Duration) -> Option<Place> {
        place(self.attempts.clone(), wait).await
    }

    /// The same for one connection to `address`; an IPv6 address that leads to an IPv4 one counts as that.
    pub async fn connection(&self, address: IpAddr, wait: Duration) -> Option<Place> {
        place(self.target(forms(address).last().unwrap_or(address)), wait).await
    }

    fn target(&self, address: IpAddr) -> Arc<Semaphore> {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = targets.get(&address).and_then(Weak::upgrade) {
            return semaphore;
        }
        targets.retain(|_, entry| entry.strong_count() > 0);
        let semaphore = Arc::new(Semaphore::new(self.per_target));
        targets.insert(address, Arc::downgrade(&semaphore));
        semaphore
    }
}

async fn place(semaphore: Arc<Semaphore>, wait: Duration) -> Option<Place> {
    let permit = tokio::time::timeout(wait, semaphore.clone().acquire_owned()).await.ok()?.ok()?;
    Some(Place { _permit: permit, _semaphore: semaphore })
}
