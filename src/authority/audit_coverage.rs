//! What checkpoints saw of the chains: which checkpoint was the first to cover an event, and whether an earlier one should have.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::{Timestamp, hours};
use crate::model::audit::{ChainedEvent, Head};
use crate::model::id::ReplicaId;

/// An event's id is drawn before its commit, and clocks of replicas differ: a checkpoint lists the chains that moved since
/// this long before the last one. An event that is older than a checkpoint by more was there when it was made.
pub(super) const OVERLAP: Duration = hours(1);

/// The checkpoints of an audit in the order of their making.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    made: Vec<Timestamp>,
    /// Ends of each chain (writer, lane): sequence number, and the place of the checkpoint that saw it. Both only rise.
    ends: HashMap<(ReplicaId, i64), Vec<(i64, usize)>>,
    /// The place of the newest checkpoint with a verified note.
    signed: Option<usize>,
}

impl Coverage {
    pub fn add(&mut self, at: Timestamp, heads: &[Head], has_note: bool) {
        let place = self.made.len();
        self.made.push(at);
        for head in heads {
            self.ends.entry((head.writer, head.lane)).or_default().push((head.seq, place));
        }
        if has_note {
            self.signed = Some(place);
        }
    }

    /// Whether a note fixes the event: one of its own checkpoint, or one of a later checkpoint, which names those before it.
    pub fn is_signed(&self, event: &ChainedEvent) -> bool {
        self.first(event).zip(self.signed).is_some_and(|(first, signed)| first <= signed)
    }

    /// The newest checkpoint that should have covered the event and did not.
    pub fn missed_by(&self, event: &ChainedEvent) -> Option<Timestamp> {
        let before = self.first(event).unwrap_or(self.made.len()).checked_sub(1)?;
        let at = *self.made.get(before)?;
        (event.at.min(event.id.time()) < at - OVERLAP).then_some(at)
    }

    fn first(&self, event: &ChainedEvent) -> Option<usize> {
        let ends = self.ends.get(&(event.writer, event.lane))?;
        ends.get(ends.partition_point(|(seq, _)| *seq < event.seq)).map(|(_, place)| *place)
    }
}
