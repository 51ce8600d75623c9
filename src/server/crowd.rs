//! Who makes way when a listener is nearly full: of the client with the most connections the one that has been quiet
//! for longest. A client that opens thousands closes its own. A connection whose handler is at work is left alone; one
//! that waits for its client (for a handshake, for the next request, for the rest of a body) is not.
//!
//! Behind a proxy that is trusted, connections say nothing about clients: each counts by itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::stall::Activity;
use crate::clock::monotonic;
use crate::model::network::IpNetwork;

/// The connections of one listener.
#[derive(Debug)]
pub struct Crowd {
    listener: &'static str,
    limit: usize,
    /// Guards only itself: no await while it is held.
    seats: Mutex<HashMap<u64, Arc<Seat>>>,
}

/// One connection.
#[derive(Debug)]
pub struct Seat {
    since: Instant,
    /// `None` while it is not known, and behind a trusted proxy.
    client: OnceLock<IpNetwork>,
    /// From the end of the handshake.
    activity: OnceLock<Arc<Activity>>,
    is_closing: AtomicBool,
    close: Notify,
}

/// A seat until it is dropped.
#[derive(Debug)]
pub struct Seated {
    crowd: Arc<Crowd>,
    id: u64,
    seat: Arc<Seat>,
}

impl Crowd {
    pub fn new(listener: &'static str, limit: usize) -> Arc<Self> {
        Arc::new(Crowd { listener, limit, seats: Mutex::default() })
    }

    /// A new connection. Ids rise, so each is used once.
    pub fn enter(self: &Arc<Self>, id: u64) -> Seated {
        let seat = Arc::new(Seat {
            since: monotonic(),
            client: OnceLock::new(),
            activity: OnceLock::new(),
            is_closing: AtomicBool::new(false),
            close: Notify::new(),
        });
        self.lock().insert(id, Arc::clone(&seat));
        Seated { crowd: Arc::clone(self), id, seat }
    }

    /// Closes a few connections when the listener is nearly full, never `newcomer`. A few at once, so that a flood
    /// does not search the crowd for each of its connections.
    pub fn make_way(&self, newcomer: &Seated) {
        let spare = self.limit / 16;
        let seats = self.lock();
        if seats.len() <= self.limit - spare {
            return;
        }
        let mut counts: HashMap<IpNetwork, usize> = HashMap::new();
        for client in seats.values().filter(|seat| !seat.is_closing()).filter_map(|seat| seat.client.get()) {
            *counts.entry(*client).or_default() += 1;
        }
        let others = seats.iter().filter(|(id, seat)| **id != newcomer.id && !seat.is_closing());
        let mut quiet: Vec<(usize, Duration, &Arc<Seat>)> = others
            .filter_map(|(_, seat)| {
                let connections = seat.client.get().and_then(|client| counts.get(client)).copied().unwrap_or(1);
                Some((connections, seat.quiet_for()?, seat))
            })
            .collect();
        quiet.sort_unstable_by_key(|(connections, quiet, _)| std::cmp::Reverse((*connections, *quiet)));
        // the biggest client is not the biggest any more after a few of its connections
        let few = (spare / 4).max(1);
        for (_, _, seat) in quiet.into_iter().take(few) {
            seat.is_closing.store(true, Ordering::Relaxed);
            seat.close.notify_one();
            metrics::counter!("chancery_connections_closed_total", "listener" => self.listener).increment(1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seated {
    pub fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.crowd.lock().remove(&self.id);
    }
}

impl Seat {
    pub fn is_of(&self, client: IpAddr) {
        // the first to know is right: a connection has one client
        let _ = self.client.set(IpNetwork::of_client(client));
    }

    pub fn speaks(&self, activity: &Arc<Activity>) {
        let _ = self.activity.set(Arc::clone(activity));
    }

    /// Returns when this connection is to make way.
    pub async fn closed(&self) {
        self.close.notified().await;
    }

    fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    /// `None` while a handler works.
    fn quiet_for(&self) -> Option<Duration> {
        self.activity.get().map_or_else(|| Some(self.since.elapsed()), |activity| activity.quiet_for())
    }
}
