//! Events whose time is earlier than that of checkpoints that do not have them. Somebody added them later, or they were written
//! after the clock was set back. For the latter an operator gives a word (`chancery audit confirm`): an audit event that names
//! the chain, the events and the hash of the last of them, so it covers no event that is added afterwards.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::model::audit::{ChainedEvent, Outcome};
use crate::model::id::ReplicaId;
use crate::model::serial::to_hex;
use crate::model::text::counted;

/// The action of the event by which an operator confirms events.
pub(super) const CONFIRMED: &str = "audit.clock_confirmed";
/// Events of which more is not remembered: about 100 MB.
const LIMIT: usize = 1_000_000;

/// Events of one chain, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRange {
    pub writer: ReplicaId,
    pub lane: i64,
    pub first: i64,
    pub last: i64,
    /// The hash of the last one in hex, which covers the others.
    pub sha256: String,
}

impl EventRange {
    /// As findings and `chancery audit confirm` name it.
    pub fn chain(&self) -> String {
        format!("{}/{}", self.writer, self.lane)
    }

    pub fn count(&self) -> u64 {
        u64::try_from(self.last - self.first + 1).unwrap_or(0)
    }

    fn place(&self) -> String {
        if self.first == self.last { self.first.to_string() } else { format!("{} to {}", self.first, self.last) }
    }
}

/// The detail of the event by which an operator confirms events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClockConfirmation {
    pub reason: String,
    pub ranges: Vec<EventRange>,
}

#[derive(Debug)]
struct Misplaced {
    seq: i64,
    hash: [u8; 32],
    at: Timestamp,
    /// The time of the checkpoint that should have it; None: it is from before the founding.
    missed_by: Option<Timestamp>,
}

/// All of them, and what operators confirmed.
#[derive(Debug, Default)]
pub(super) struct Misplacements {
    /// By writer and lane, in the order of the chain.
    events: BTreeMap<(ReplicaId, i64), Vec<Misplaced>>,
    count: usize,
    confirmations: Vec<(ChainedEvent, ClockConfirmation)>,
}

/// What `audit verify` says of the misplaced events, once the whole audit was read.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub findings: Vec<String>,
    pub unconfirmed: Vec<EventRange>,
    /// What operators confirmed, as sentences.
    pub confirmed: Vec<String>,
}

impl Misplacements {
    pub fn add(&mut self, event: &ChainedEvent, missed_by: Option<Timestamp>) {
        self.count += 1;
        if self.count > LIMIT {
            return;
        }
        let at = event.at.min(event.id.time());
        let misplaced = Misplaced { seq: event.seq, hash: event.hash, at, missed_by };
        self.events.entry((event.writer, event.lane)).or_default().push(misplaced);
    }

    /// Keeps the event if an operator confirms others by it.
    pub fn see(&mut self, event: &ChainedEvent) {
        if event.action != CONFIRMED || event.outcome != Outcome::Done.name() {
            return;
        }
        if let Ok(confirmation) = serde_json::from_str(&event.detail) {
            self.confirmations.push((event.clone(), confirmation));
        }
    }

    pub fn judge(mut self, founded: Option<Timestamp>) -> Judged {
        let mut judged = Judged::default();
        for (event, confirmation) in std::mem::take(&mut self.confirmations) {
            for range in &confirmation.ranges {
                let known = self.take_out(range);
                let (chain, place) = (range.chain(), range.place());
                let reason = &confirmation.reason;
                judged.confirmed.push(if known {
                    format!("audit chain {chain} at {place} was written after the clock was set back, by the word of {} at {}: {reason}", event.actor, event.at)
                } else {
                    format!("{} confirmed audit chain {chain} at {place} at {}, which are not the events that are there: {reason}", event.actor, event.at)
                });
            }
        }
        for ((writer, lane), events) in &self.events {
            for run in events.chunk_by(|a, b| a.seq + 1 == b.seq && a.missed_by.is_some() == b.missed_by.is_some()) {
                let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
                let sha256 = to_hex(&last.hash);
                let range = EventRange { writer: *writer, lane: *lane, first: first.seq, last: last.seq, sha256 };
                judged.findings.push(finding(&range, first, founded));
                judged.unconfirmed.push(range);
            }
        }
        if let Some(more) = self.count.checked_sub(LIMIT).filter(|more| *more > 0) {
            judged.findings.push(format!(
                "{} more have earlier times than checkpoints that do not have them",
                counted(more, "audit event")
            ));
        }
        judged
    }

    /// Whether the last event of the range is there, with that hash; then the range is no finding.
    fn take_out(&mut self, range: &EventRange) -> bool {
        let Some(events) = self.events.get_mut(&(range.writer, range.lane)) else { return false };
        let known = events.iter().any(|event| event.seq == range.last && to_hex(&event.hash) == range.sha256);
        if known {
            events.retain(|event| !(range.first..=range.last).contains(&event.seq));
        }
        known
    }
}

fn finding(range: &EventRange, first: &Misplaced, founded: Option<Timestamp>) -> String {
    let (chain, place, at) = (range.chain(), range.place(), first.at);
    let (times, them) =
        if range.count() == 1 { ("its time is", "it was") } else { ("their times begin at", "they were") };
    let confirm = format!(
        "if the clock was set back, run `chancery audit confirm {chain} --reason TEXT` on the host of the database"
    );
    match (first.missed_by, founded) {
        (Some(missed), _) => format!(
            "audit chain {chain} at {place}: {times} {at}, and the checkpoint of {missed} does not have {}: {them} added later, \
             or the clock was set back; {confirm}",
            if range.count() == 1 { "it" } else { "them" }
        ),
        (None, Some(founded)) => format!(
            "audit chain {chain} at {place}: {times} {at}, and this CA was founded at {founded}: {them} added later, or the clock \
             was set back; {confirm}"
        ),
        (None, None) => format!("audit chain {chain} at {place}: {times} {at}, before this CA was founded"),
    }
}
