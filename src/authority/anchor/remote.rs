//! An anchor that replicas share over a network, such as a ConfigMap of Kubernetes. Replicas replace it one after the other, each
//! only what it has read, so figures only rise. One write at a time is under way; a place that does not answer holds nobody up
//! for longer than [`PATIENCE`] once, and is then tried beside the work.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::file::{StoredAnchor, parse};
use super::is_same;
use crate::model::anchor::Anchor;

/// How long a caller waits for a place that answered last time.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a write is begun anew because another replica was faster.
const TRIES: usize = 5;
const SLOW: &str = "no answer within 2 seconds";

/// A place for one text with versions.
pub trait RemoteAnchor: Send + Sync + fmt::Debug {
    /// As the setting names it.
    fn name(&self) -> String;

    fn read(&self) -> BoxFuture<'_, io::Result<RemoteText>>;

    /// Replaces the text of this version and returns the version after it; None: it has another version by now.
    fn replace<'a>(&'a self, text: &'a str, version: &'a str) -> BoxFuture<'a, io::Result<Option<String>>>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteText {
    /// None: nothing was written yet.
    pub text: Option<String>,
    pub version: String,
}

/// How a write ended.
#[derive(Debug)]
pub(super) struct Written {
    /// The memory that this process wanted to write.
    pub memory: Anchor,
    /// The anchor that the place held before the write; an error says why the place gave no answer.
    pub outcome: io::Result<Option<Anchor>>,
}

/// The anchor that the place holds, if it holds one, and the version that the place gave it.
type Stored = (Option<Anchor>, String);

#[derive(Debug, Clone)]
pub(super) struct SharedAnchor {
    place: Arc<dyn RemoteAnchor>,
    /// The anchor as it was read or written last. It is `None` when the place has to be read again. A caller holds the lock
    /// while it writes.
    known: Arc<tokio::sync::Mutex<Option<Stored>>>,
    /// How the last write ended, until a caller takes it. This lock guards nothing else.
    ended: Arc<Mutex<Option<Written>>>,
}

impl SharedAnchor {
    pub fn at(place: Arc<dyn RemoteAnchor>) -> Self {
        SharedAnchor { place, known: Arc::default(), ended: Arc::default() }
    }

    pub fn name(&self) -> String {
        self.place.name()
    }

    /// An error: the place does not answer.
    pub async fn read(&self) -> io::Result<StoredAnchor> {
        let read = tokio::time::timeout(PATIENCE, self.place.read()).await;
        let read = read.unwrap_or_else(|_| Err(io::Error::other(SLOW)))?;
        let Some(text) = read.text else { return Ok(StoredAnchor::Missing) };
        Ok(parse(text.as_bytes())
            .map_or_else(StoredAnchor::Unreadable, |anchor| StoredAnchor::Anchor(Box::new(anchor))))
    }

    /// The end of a write that nobody has looked at yet.
    pub fn ended(&self) -> Option<Written> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Begins a write unless one is under way, and waits for its end if the place is `trusted` to answer.
    pub async fn write(&self, memory: &Anchor, trusted: bool) -> Option<Written> {
        if let Ok(mut known) = Arc::clone(&self.known).try_lock_owned() {
            let (shared, memory) = (self.clone(), memory.clone());
            let writing = tokio::spawn(async move {
                let outcome = shared.raise(&mut known, &memory).await;
                *shared.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(Written { memory, outcome });
            });
            if trusted {
                let _ = tokio::time::timeout(PATIENCE, writing).await;
            }
        }
        let slow = || Written { memory: memory.clone(), outcome: Err(io::Error::other(SLOW)) };
        self.ended().or_else(|| trusted.then(slow))
    }

    /// What another replica has written is not lowered.
    async fn raise(&self, known: &mut Option<Stored>, memory: &Anchor) -> io::Result<Option<Anchor>> {
        for _ in 0..TRIES {
            let (stored, version) = match known.take() {
                Some(known) => known,
                None => {
                    let read = self.place.read().await?;
                    (read.text.and_then(|text| parse(text.as_bytes()).ok()), read.version)
                }
            };
            let raised = merged(memory, stored.as_ref())?;
            if stored.as_ref().is_some_and(|stored| is_same(stored, &raised)) {
                *known = Some((stored.clone(), version));
                return Ok(stored);
            }
            let text = serde_json::to_string_pretty(&raised)?;
            if let Some(version) = self.place.replace(&text, &version).await? {
                *known = Some((Some(raised), version));
                return Ok(stored);
            }
        }
        Err(io::Error::other("other replicas replaced it each time; it is tried again"))
    }
}

fn merged(memory: &Anchor, stored: Option<&Anchor>) -> io::Result<Anchor> {
    let mut raised = memory.clone();
    let Some(stored) = stored else { return Ok(raised) };
    if stored.installation != memory.installation {
        return Err(io::Error::other(
            "it is the anchor of another installation; name one of this installation alone",
        ));
    }
    raised.figures.rise_to(&stored.figures);
    if raised.figures.epoch == stored.figures.epoch {
        raised.replaced_at = raised.replaced_at.or(stored.replaced_at);
    }
    Ok(raised)
}
