//! The anchor: figures of the database that are kept outside of it, so that a database from yesterday is noticed. They are
//! read every second, compared with what is remembered, and written to a file after the commits that they tell of; the
//! number of a CRL stands in the file before the CRL is served. What is remembered is never lowered, except by
//! `chancery reconcile`, which begins a new epoch. Running it twice is harmless: figures only rise.

mod audit_key;
mod epoch;
mod file;
mod kept;
mod remote;
mod rollback;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::anchor::Anchor;
use crate::model::crl::CrlNumber;
use crate::model::serial::to_hex;
use file::{AnchorFile, StoredAnchor};
use remote::{SharedAnchor, Written};

pub use remote::{RemoteAnchor, RemoteText};
pub(super) use rollback::mark;

/// What this process remembers, and its file.
#[derive(Debug, Default)]
pub(super) struct AnchorKeeper {
    file: Option<AnchorFile>,
    /// In place of the file, which then only names the folder of the CRLs that are kept.
    shared: Option<SharedAnchor>,
    /// Only a server writes.
    writes: AtomicBool,
    /// The CRLs beside the anchor are of an earlier epoch, and what they list was not compared with the database yet.
    unmerged: AtomicBool,
    /// Guards only itself: no await while it is held.
    state: Mutex<State>,
    /// Held by the one comparison or write.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    memory: Option<Anchor>,
    /// What the file has.
    written: Option<Anchor>,
    /// Why the file could not be written last.
    failure: Option<String>,
    /// The file was missing or unreadable when this process started.
    found: Option<FileTrouble>,
    /// This process has told the database of the rollback.
    marked: bool,
    /// The audit's seal that was opened last, with the fingerprint of its key.
    opened_seal: Option<(Vec<u8>, Option<String>)>,
}

/// Why there was nothing to compare with at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
enum FileTrouble {
    Missing,
    Unreadable(String),
    /// The place did not answer: what it has is compared as soon as it does.
    Away(String),
}

/// The state of the anchor's file, as doctor reports it.
#[derive(Debug, Clone, Default)]
pub(super) struct AnchorHealth {
    /// As the setting names it.
    pub place: Option<String>,
    /// Replicas share it over a network.
    pub is_shared: bool,
    /// Why it could not be written last.
    pub failure: Option<String>,
    /// When it took the place of one that was missing or unreadable.
    pub replaced_at: Option<Timestamp>,
    /// The file could not be read.
    pub unreadable: Option<String>,
}

impl AnchorKeeper {
    /// Without a path nothing outlasts the process. A place that is shared takes the anchor itself, and not the CRLs.
    pub fn at(path: Option<PathBuf>, shared: Option<Arc<dyn RemoteAnchor>>) -> Self {
        let (file, shared) = (path.map(AnchorFile::at), shared.map(SharedAnchor::at));
        AnchorKeeper { file, shared, ..AnchorKeeper::default() }
    }

    /// As the setting names it.
    fn place(&self) -> Option<String> {
        let shared = self.shared.as_ref().map(SharedAnchor::name);
        shared.or_else(|| self.file.as_ref().map(|file| file.path().display().to_string()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writes(&self) -> bool {
        self.writes.load(Ordering::Acquire)
    }

    /// Are CRLs of an earlier epoch kept whose revocations the database may lack?
    pub fn has_unmerged(&self) -> bool {
        self.unmerged.load(Ordering::Acquire)
    }

    /// What this process remembers.
    pub fn memory(&self) -> Option<Anchor> {
        self.state().memory.clone()
    }

    /// Was there no anchor to compare the database with?
    pub fn found_nothing(&self) -> bool {
        let state = self.state();
        state.written.is_none() && state.found.is_some()
    }

    /// The epoch that is remembered.
    pub fn epoch(&self) -> i64 {
        self.state().memory.as_ref().map_or(0, |anchor| anchor.figures.epoch)
    }

    /// The number of this series that was served last.
    pub fn served(&self, series: &str) -> Option<CrlNumber> {
        self.state().memory.as_ref()?.figures.crls.get(series)?.served
    }

    pub fn health(&self) -> AnchorHealth {
        let state = self.state();
        AnchorHealth {
            place: self.place(),
            is_shared: self.shared.is_some(),
            failure: state.failure.clone(),
            replaced_at: state.memory.as_ref().and_then(|anchor| anchor.replaced_at),
            unreadable: match &state.found {
                Some(FileTrouble::Unreadable(why) | FileTrouble::Away(why)) => Some(why.clone()),
                Some(FileTrouble::Missing) | None => None,
            },
        }
    }

    /// The anchor of this installation in the file, if there is one that can be read.
    async fn recall(&self, installation: &[u8]) -> Result<(Option<Anchor>, Option<FileTrouble>)> {
        let stored = match (&self.shared, &self.file) {
            (Some(shared), _) => match shared.read().await {
                Ok(stored) => stored,
                Err(why) => return Ok((None, Some(FileTrouble::Away(why.to_string())))),
            },
            (None, Some(file)) => file.read(),
            (None, None) => return Ok((None, None)),
        };
        match stored {
            StoredAnchor::Missing => Ok((None, Some(FileTrouble::Missing))),
            StoredAnchor::Unreadable(why) => Ok((None, Some(FileTrouble::Unreadable(why)))),
            StoredAnchor::Anchor(anchor) if anchor.installation == to_hex(installation) => Ok((Some(*anchor), None)),
            StoredAnchor::Anchor(_) => {
                let detail = format!(
                    "the anchor {} is of another installation; name the one of this installation with `anchor` \
                     (CHANCERY_ANCHOR), or move it away if the other installation is gone",
                    self.place().unwrap_or_default()
                );
                Err(Error::new(ErrorKind::Config, detail))
            }
        }
    }

    /// Writes what is remembered, unless the file has it. A failure is kept for doctor and logged once.
    async fn write(&self) {
        let (Some(file), true) = (self.file.clone(), self.writes()) else { return };
        let Some(memory) = self.memory() else { return };
        if let Some(shared) = &self.shared {
            return self.share(shared, memory).await;
        }
        if self.state().written.as_ref().is_some_and(|written| is_same(written, &memory)) {
            return;
        }
        let mut raised = memory.clone();
        let writing = tokio::task::spawn_blocking(move || file.raise(&mut raised));
        let failure = match writing.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        self.note(memory, failure);
    }

    /// A place that failed last is not waited for: the end of the write is looked at the next time.
    async fn share(&self, shared: &SharedAnchor, memory: Anchor) {
        if let Some(ended) = shared.ended() {
            self.take_over(ended);
        }
        let (is_written, works) = {
            let state = self.state();
            (state.written.as_ref().is_some_and(|written| is_same(written, &memory)), state.failure.is_none())
        };
        let is_away = matches!(self.state().found, Some(FileTrouble::Away(_)));
        if is_written && works {
            return;
        }
        if let Some(ended) = shared.write(&memory, works && !is_away).await {
            self.take_over(ended);
        }
    }

    /// Learns how a write ended. If the place could not be read before, the database is compared from now on with what the
    /// place held.
    fn take_over(&self, written: Written) {
        let Written { memory, outcome } = written;
        if let Ok(stored) = &outcome {
            let mut state = self.state();
            let was_away = matches!(state.found, Some(FileTrouble::Away(_)));
            if let (true, Some(memory), Some(stored)) = (was_away, &mut state.memory, stored) {
                memory.figures.rise_to(&stored.figures);
            }
            if was_away {
                state.found = None;
            }
        }
        self.note(memory, outcome.err().map(|error| error.to_string()));
    }

    fn note(&self, anchor: Anchor, failure: Option<String>) {
        let mut state = self.state();
        metrics::gauge!("chancery_anchor_written").set(if failure.is_none() { 1.0 } else { 0.0 });
        if let Some(why) = failure.as_ref().filter(|_| state.failure.is_none()) {
            let path = self.place().unwrap_or_default();
            tracing::error!(
                why,
                path,
                "the anchor cannot be written, so an older database may go unnoticed; it is tried again"
            );
        }
        if failure.is_none() {
            state.written = Some(anchor);
        }
        state.failure = failure;
    }
}

/// The time alone is no reason to write.
fn is_same(written: &Anchor, memory: &Anchor) -> bool {
    written.figures == memory.figures && written.replaced_at == memory.replaced_at
}
