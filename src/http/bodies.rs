//! How much memory the bodies of requests may take. What arrives is counted, not what is announced, and it counts until
//! the last reader is done with it. Strangers share one budget and people who are signed in another, so that thousands
//! of half-sent requests cost no more than their budget. Each stranger's network may always have a little, so that one
//! that fills the budget does not shut the others out.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;

use crate::error::{Error, ErrorKind, Result};
use crate::model::network::IpNetwork;

/// Largest ACME request, twice: what one network has for itself.
const OWN: usize = 100 * 1024;
/// Networks that have something for themselves at the same time.
const NETWORKS: usize = 256;
const FIRST: usize = 1024;

/// Of requests before anybody knows whose they are: forms, ACME, OCSP.
pub static STRANGERS: BodyBudget = BodyBudget::new("strangers", 24 << 20);
/// Of people and tokens.
pub static SIGNED_IN: BodyBudget = BodyBudget::new("signed_in", 64 << 20);

/// Octets that bodies may take together.
#[derive(Debug)]
pub struct BodyBudget {
    name: &'static str,
    shared: usize,
    /// Guards only itself: no await while it is held.
    state: Mutex<Option<BudgetState>>,
}

#[derive(Debug, Default)]
struct BudgetState {
    shared: usize,
    /// What networks have of their own, while the shared part is full.
    own: HashMap<IpNetwork, usize>,
}

/// Octets that one body has taken; given back when it is dropped.
#[derive(Debug)]
struct BodyShare {
    budget: &'static BodyBudget,
    client: Option<IpNetwork>,
    shared: usize,
    own: usize,
}

/// A body with its share.
struct HeldBody {
    bytes: Vec<u8>,
    _share: BodyShare,
}

impl AsRef<[u8]> for HeldBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why a body was not read.
#[derive(Debug)]
pub(super) enum BodyFailure {
    TooLarge,
    /// No memory is left for it.
    Full(Error),
    BrokenOff(axum::Error),
}

impl BodyBudget {
    const fn new(name: &'static str, shared: usize) -> Self {
        BodyBudget { name, shared, state: Mutex::new(None) }
    }

    /// Reads a body of at most `limit` octets in one piece: a body that drips in keeps no buffer for each drop.
    pub(super) async fn collect(
        &'static self,
        client: Option<IpNetwork>,
        mut body: Body,
        limit: usize,
    ) -> Result<Bytes, BodyFailure> {
        let mut share = BodyShare { budget: self, client, shared: 0, own: 0 };
        let mut bytes: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(BodyFailure::BrokenOff)?.into_data() else { continue };
            let length = bytes.len() + data.len();
            if length > limit {
                return Err(BodyFailure::TooLarge);
            }
            if length > bytes.capacity() {
                let capacity = length.max(bytes.capacity() * 2).max(FIRST.min(limit)).min(limit);
                share.grow(capacity - bytes.capacity()).map_err(BodyFailure::Full)?;
                bytes.reserve_exact(capacity - bytes.len());
            }
            bytes.extend_from_slice(&data);
        }
        Ok(if bytes.is_empty() { Bytes::new() } else { Bytes::from_owner(HeldBody { bytes, _share: share }) })
    }

    fn lock(&self) -> MutexGuard<'_, Option<BudgetState>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, state: &BudgetState) {
        let held = state.shared + state.own.values().sum::<usize>();
        metrics::gauge!("chancery_request_body_bytes", "budget" => self.name)
            .set(u32::try_from(held).map_or(f64::MAX, f64::from));
    }
}

impl BodyShare {
    fn grow(&mut self, by: usize) -> Result<()> {
        let mut state = self.budget.lock();
        let state = state.get_or_insert_default();
        if state.shared + by <= self.budget.shared {
            state.shared += by;
            self.shared += by;
        } else if !self.grow_own(state, by) {
            metrics::counter!("chancery_request_bodies_refused_total", "budget" => self.budget.name).increment(1);
            let detail = "too many request bodies are being received at this moment; send it again in a few seconds";
            return Err(Error::new(ErrorKind::RateLimited, detail).retry_after(Duration::from_secs(5)));
        }
        self.budget.show(state);
        Ok(())
    }

    fn grow_own(&mut self, state: &mut BudgetState, by: usize) -> bool {
        let Some(client) = self.client else { return false };
        let networks = state.own.len();
        let has = state.own.get(&client).copied().unwrap_or(0);
        if has + by > OWN || (has == 0 && networks >= NETWORKS) {
            return false;
        }
        state.own.insert(client, has + by);
        self.own += by;
        true
    }
}

impl Drop for BodyShare {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        let state = state.get_or_insert_default();
        state.shared -= self.shared;
        if let Some(client) = self.client
            && self.own > 0
            && let Some(own) = state.own.get_mut(&client)
        {
            *own -= self.own;
            if *own == 0 {
                state.own.remove(&client);
            }
        }
        self.budget.show(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SMALL: BodyBudget = BodyBudget::new("test", 4_096);

    fn network(address: &str) -> Option<IpNetwork> {
        Some(IpNetwork::of_client(address.parse().unwrap()))
    }

    async fn read(address: &str, length: usize) -> Result<Bytes, BodyFailure> {
        SMALL.collect(network(address), Body::from(vec![b'a'; length]), OWN * 2).await
    }

    fn held() -> (usize, usize) {
        let mut state = SMALL.lock();
        let state = state.get_or_insert_default();
        (state.shared, state.own.values().sum())
    }

    #[tokio::test]
    async fn one_that_fills_the_budget_leaves_each_other_client_its_own() {
        let first = read("10.0.0.1", 4_000).await.unwrap();
        let second = read("10.0.0.1", OWN).await.unwrap();
        assert!(matches!(read("10.0.0.1", 200).await, Err(BodyFailure::Full(_))), "one network has no more");
        let other = read("10.0.0.2", 200).await.unwrap();
        assert_eq!((first.len(), second.len(), other.len()), (4_000, OWN, 200));
        let kept = other.slice(1..3);
        drop((first, second, other));
        assert_eq!(held(), (0, FIRST), "as long as anybody reads it");
        drop(kept);
        assert_eq!(held(), (0, 0));

        // a body that drips in takes what it is long, twice at most
        let drops = futures_util::stream::iter((0..3_000).map(|_| Ok::<_, std::io::Error>(vec![b'a'])));
        let dripped = SMALL.collect(None, Body::from_stream(drops), 3_500).await.unwrap();
        assert_eq!((dripped.len(), held()), (3_000, (3_500, 0)));
        drop(dripped);
        let late = SMALL.collect(None, Body::from(vec![b'a'; 101]), 100).await;
        assert!(matches!(late, Err(BodyFailure::TooLarge)) && held() == (0, 0));
    }
}
