//! The anchor: figures of the database that are kept outside of it, so that a database from yesterday is noticed. They are
//! read every second, compared with what is remembered, and written to a file after the commits that they tell of; the
//! number of a CRL stands in the file before the CRL is served. What is remembered is never lowered, except by
//! `chancery reconcile`, which begins a new epoch. Running it twice is harmless: figures only rise.

mod file;
mod kept;
mod rollback;
mod watch;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::anchor::Anchor;
use crate::model::crl::CrlNumber;
use crate::model::serial::to_hex;
use file::{AnchorFile, StoredAnchor};

pub(super) use rollback::mark;

/// What this process remembers, and its file.
#[derive(Debug, Default)]
pub(super) struct AnchorKeeper {
    file: Option<AnchorFile>,
    /// Only a server writes.
    writes: AtomicBool,
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
}

/// Why there was nothing to compare with at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
enum FileTrouble {
    Missing,
    Unreadable(String),
}

/// The state of the anchor's file, as doctor reports it.
#[derive(Debug, Clone, Default)]
pub(super) struct AnchorHealth {
    pub path: Option<PathBuf>,
    /// Why it could not be written last.
    pub failure: Option<String>,
    /// When it took the place of one that was missing or unreadable.
    pub replaced_at: Option<Timestamp>,
    /// The file could not be read.
    pub unreadable: Option<String>,
}

impl AnchorKeeper {
    /// Without a path nothing outlasts the process.
    pub fn at(path: Option<PathBuf>) -> Self {
        AnchorKeeper { file: path.map(AnchorFile::at), ..AnchorKeeper::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writes(&self) -> bool {
        self.writes.load(Ordering::Acquire)
    }

    /// What this process remembers.
    pub fn memory(&self) -> Option<Anchor> {
        self.state().memory.clone()
    }

    /// In how many tables every row must have a MAC, as it is remembered.
    pub fn remembered_row_macs(&self) -> i64 {
        self.state().memory.as_ref().map_or(0, |anchor| anchor.figures.row_macs)
    }

    /// The epoch that is remembered.
    pub fn epoch(&self) -> i64 {
        self.state().memory.as_ref().map_or(0, |anchor| anchor.figures.epoch)
    }

    /// The number of this series that was served last.
    fn served(&self, series: &str) -> Option<CrlNumber> {
        self.state().memory.as_ref()?.figures.crls.get(series)?.served
    }

    pub fn health(&self) -> AnchorHealth {
        let state = self.state();
        AnchorHealth {
            path: self.file.as_ref().map(|file| file.path().to_owned()),
            failure: state.failure.clone(),
            replaced_at: state.memory.as_ref().and_then(|anchor| anchor.replaced_at),
            unreadable: match &state.found {
                Some(FileTrouble::Unreadable(why)) => Some(why.clone()),
                _ => None,
            },
        }
    }

    /// The anchor of this installation in the file, if there is one that can be read.
    fn recall(&self, installation: &[u8]) -> Result<(Option<Anchor>, Option<FileTrouble>)> {
        let Some(file) = &self.file else { return Ok((None, None)) };
        match file.read() {
            StoredAnchor::Missing => Ok((None, Some(FileTrouble::Missing))),
            StoredAnchor::Unreadable(why) => Ok((None, Some(FileTrouble::Unreadable(why)))),
            StoredAnchor::Anchor(anchor) if anchor.installation == to_hex(installation) => Ok((Some(*anchor), None)),
            StoredAnchor::Anchor(_) => {
                let detail = format!(
                    "the anchor {} is of another installation; name the file of this one with `anchor` \
                     (CHANCERY_ANCHOR), or move it away if the other installation is gone",
                    file.path().display()
                );
                Err(Error::new(ErrorKind::Config, detail))
            }
        }
    }

    /// Writes what is remembered, unless the file has it. A failure is kept for doctor and logged once.
    async fn write(&self) {
        let (Some(file), true) = (self.file.clone(), self.writes()) else { return };
        let Some(memory) = self.memory() else { return };
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

    fn note(&self, anchor: Anchor, failure: Option<String>) {
        let mut state = self.state();
        metrics::gauge!("chancery_anchor_written").set(if failure.is_none() { 1.0 } else { 0.0 });
        if let Some(why) = failure.as_ref().filter(|_| state.failure.is_none()) {
            let path = self.file.as_ref().map(|file| file.path().display().to_string()).unwrap_or_default();
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
