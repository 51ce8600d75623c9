//! Refusals of requests before anybody decided about them: a bad signature, a spent nonce, an unknown account or
//! token, a body that does not parse. They are audit events like any other, but anybody can send such requests
//! without end, so they are coalesced: the first of its kind in a minute is written at once, those that follow are
//! counted and written as one event when the minute is over. A flood costs two rows a minute for each kind of
//! refusal; a process that dies takes at most one minute's count with it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::{Timestamp, minutes};
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::store::Store;

const WINDOW: Duration = minutes(1);
/// Addresses that one event names.
const ADDRESSES: usize = 8;
const SENTENCE: usize = 300;

/// The counts of this process.
pub struct Refusals {
    store: Store,
    /// Guards only itself: no await while it is held. As many entries as there are scopes and kinds of error.
    windows: Mutex<HashMap<Place, Window>>,
}

impl std::fmt::Debug for Refusals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Refusals({:?})", self.store)
    }
}

/// Where a request was refused, by its request line and address.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    /// `acme:default`, `rest`: a name of ours, never one from the request.
    pub surface: &'a str,
    pub address: &'a str,
    pub request_id: &'a str,
}

type Place = (String, ErrorKind);

#[derive(Debug)]
struct Window {
    began: Timestamp,
    last: Timestamp,
    /// After the first, which was written at once.
    more: u64,
    addresses: BTreeSet<String>,
}

impl Refusals {
    pub fn new(store: Store) -> Self {
        Refusals { store, windows: Mutex::default() }
    }

    /// Counts a refusal, and writes the first one of a minute. Faults of ours, what has its event already and plain
    /// unknown paths are left out. The refusal stands whether or not it could be written.
    pub async fn note(&self, refused: Refused<'_>, error: &Error) {
        if !error.is_refusal() || error.is_recorded() || error.kind == ErrorKind::NotFound {
            return;
        }
        let Some(over) = self.count(refused, error.kind) else { return };
        let why: String = error.detail.chars().take(SENTENCE).collect();
        let first = json!({"surface": refused.surface, "kind": format!("{:?}", error.kind), "why": why, "from": refused.address});
        let mut events = vec![AuditEvent::refused("request.refused", "", first)];
        events.extend(over.map(|window| summary(&(refused.surface.to_owned(), error.kind), &window)));
        self.write(&Actor::nobody(refused.request_id), events).await;
    }

    /// Writes the counts of the minutes that are over, or of all. Called every minute and at the end.
    pub async fn flush(&self, all: bool) {
        let over = self.take(all).into_iter().filter(|(_, window)| window.more > 0);
        let events = over.map(|(place, window)| summary(&place, &window)).collect();
        self.write(&Actor::nobody(""), events).await;
    }

    /// `None` when it only adds to a count; else the first of a new minute, with the count of the one before if
    /// that has not been written yet.
    fn count(&self, refused: Refused<'_>, kind: ErrorKind) -> Option<Option<Window>> {
        let now = self.store.now();
        let mut windows = self.lock();
        let place = (refused.surface.to_owned(), kind);
        if let Some(window) = windows.get_mut(&place)
            && now.since(window.began) < WINDOW
        {
            window.more += 1;
            window.last = now;
            if window.addresses.len() < ADDRESSES && !window.addresses.contains(refused.address) {
                window.addresses.insert(refused.address.to_owned());
            }
            return None;
        }
        let fresh = Window { began: now, last: now, more: 0, addresses: BTreeSet::new() };
        Some(windows.insert(place, fresh).filter(|window| window.more > 0))
    }

    fn take(&self, all: bool) -> Vec<(Place, Window)> {
        let now = self.store.now();
        self.lock().extract_if(|_, window| all || now.since(window.began) >= WINDOW).collect()
    }

    async fn write(&self, actor: &Actor, events: Vec<AuditEvent>) {
        if events.is_empty() {
            return;
        }
        if let Err(error) = self.try_write(actor, events).await {
            tracing::warn!(error = %error.chain(), "refusals could not be written to the audit");
        }
    }

    async fn try_write(&self, actor: &Actor, events: Vec<AuditEvent>) -> Result<()> {
        let mut tx = self.store.begin(actor).await?;
        events.into_iter().for_each(|event| tx.audit(event));
        tx.commit().await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Place, Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn summary((surface, kind): &Place, window: &Window) -> AuditEvent {
    let detail: Value = json!({"surface": surface, "kind": format!("{kind:?}"), "count": window.more,
        "since": window.began, "until": window.last, "from": window.addresses});
    AuditEvent::refused("requests.refused", "", detail)
}
