//! Refusals of requests before anybody decided about them: a bad signature, a spent nonce, an unknown account or
//! token, a body that does not parse, a wrong password. They are audit events like any other, but anybody can send such requests
//! without end, so they are coalesced: the first of its kind in a minute is written at once, those that follow are
//! counted and written as one event when the minute is over. A flood costs two rows a minute for each kind of
//! refusal; a process that dies takes at most one minute's count with it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::session::Place;
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
    windows: Mutex<HashMap<Group, Window>>,
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

/// Somebody who was not let in: at the sign-in page, the set-up page or with a one-time link.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// `session.refused`, `setup.refused`, …
    pub action: &'static str,
    /// The user, if there is one of that name.
    pub object: &'a str,
    /// Words of ours.
    pub why: &'a str,
}

/// The key under which refusals are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Group {
    Request { surface: String, kind: ErrorKind },
    Entry { action: &'static str, object: String, why: String },
}

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
        let group = Group::Request { surface: refused.surface.to_owned(), kind: error.kind };
        let why: String = error.detail.chars().take(SENTENCE).collect();
        let first = json!({"surface": refused.surface, "kind": format!("{:?}", error.kind), "why": why, "from": refused.address});
        let event = AuditEvent::refused("request.refused", "", first);
        self.count_or_write(group, event, refused.address, refused.request_id).await;
    }

    /// Counts somebody who was not let in, and writes the first one of a minute for each user and reason.
    pub async fn note_entry(&self, entry: Entry<'_>, place: &Place) {
        let Entry { action, object, why } = entry;
        let group = Group::Entry { action, object: object.to_owned(), why: why.to_owned() };
        let event = AuditEvent::refused(action, object, json!({"why": why, "address": place.address}));
        self.count_or_write(group, event, &place.address, &place.request_id).await;
    }

    async fn count_or_write(&self, group: Group, first: AuditEvent, address: &str, request_id: &str) {
        let Some(over) = self.count(&group, address) else { return };
        let mut events = vec![first];
        events.extend(over.map(|window| summary(&group, &window)));
        self.write(&Actor::nobody(request_id), events).await;
    }

    /// Writes the counts of the minutes that are over, or of all. Called every minute and at the end.
    pub async fn flush(&self, all: bool) {
        let over = self.take(all).into_iter().filter(|(_, window)| window.more > 0);
        let events = over.map(|(group, window)| summary(&group, &window)).collect();
        self.write(&Actor::nobody(""), events).await;
    }

    /// `None` when it only adds to a count; else the first of a new minute, with the count of the one before if
    /// that has not been written yet.
    fn count(&self, group: &Group, address: &str) -> Option<Option<Window>> {
        let now = self.store.now();
        let mut windows = self.lock();
        if let Some(window) = windows.get_mut(group)
            && now.since(window.began) < WINDOW
        {
            window.more += 1;
            window.last = now;
            if window.addresses.len() < ADDRESSES && !window.addresses.contains(address) {
                window.addresses.insert(address.to_owned());
            }
            return None;
        }
        let fresh = Window { began: now, last: now, more: 0, addresses: BTreeSet::new() };
        Some(windows.insert(group.clone(), fresh).filter(|window| window.more > 0))
    }

    fn take(&self, all: bool) -> Vec<(Group, Window)> {
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

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Group, Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn summary(group: &Group, window: &Window) -> AuditEvent {
    let (count, from) = (window.more, &window.addresses);
    let (since, until) = (window.began, window.last);
    match group {
        Group::Request { surface, kind } => {
            let detail: Value = json!({"surface": surface, "kind": format!("{kind:?}"), "count": count,
                "since": since, "until": until, "from": from});
            AuditEvent::refused("requests.refused", "", detail)
        }
        Group::Entry { action, object, why } => {
            let detail: Value =
                json!({"action": action, "why": why, "count": count, "since": since, "until": until, "from": from});
            AuditEvent::refused("sign_ins.refused", object.clone(), detail)
        }
    }
}
