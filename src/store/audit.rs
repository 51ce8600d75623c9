//! Audit events: appended in the transaction that caused them, one hash chain a lane of this replica.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::engine::{On, RawTx, Row, q, statements, write_many};
use crate::clock::Timestamp;
use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::model::actor::Actor;
use crate::model::audit::{AuditEvent, ChainedEvent, ListedEvent, Outcome};
use crate::model::id::{EventId, ReplicaId};

macro_rules! columns {
    () => {
        "writer, lane, seq, id, at, action, outcome, actor, object, request_id, detail, previous, hash"
    };
}

statements! {
    /// Postgres: nothing where the event before is missing, because another server with an older copy took over.
    INSERT = "INSERT INTO audit_events (writer, lane, seq, id, at, action, outcome, actor, object, request_id, detail, previous, hash) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        postgres "INSERT INTO audit_events (writer, lane, seq, id, at, action, outcome, actor, object, request_id, detail, previous, hash) \
              SELECT * FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bigint[], $6::text[], $7::text[], \
              $8::text[], $9::text[], $10::text[], $11::text[], $12::bytea[], $13::bytea[]) \
              WHERE ($3::bigint[])[1] = 1 OR EXISTS (SELECT 1 FROM audit_events p WHERE p.writer = ($1::bytea[])[1] \
              AND p.lane = ($2::bigint[])[1] AND p.seq = ($3::bigint[])[1] - 1)";
    PAGE = concat!("SELECT ", columns!(), " FROM audit_events WHERE id < $1 ORDER BY id DESC LIMIT $2");
    OF_OBJECT = concat!("SELECT ", columns!(), " FROM audit_events WHERE object = $1 ORDER BY id LIMIT $2");
    OF_OBJECT_NEWEST = concat!("SELECT ", columns!(), " FROM audit_events WHERE object = $1 ORDER BY id DESC LIMIT 1");
    /// Events whose detail names rows with MACs, and those that `authority/withdrawn.rs` reads.
    DONE_LIKE = concat!("SELECT ", columns!(), " FROM audit_events WHERE object = $1 AND outcome = 'done' AND action LIKE $2 ORDER BY id");
    DONE_TO = "SELECT action FROM audit_events WHERE object = $1 AND outcome = 'done' ORDER BY id DESC";
    WITH_ROWS = concat!("SELECT ", columns!(), " FROM audit_events WHERE id > $1 AND id <= $2 AND (detail LIKE '%\"rows\":{%' OR action IN \
              ('certificate.revoked', 'certificate.revocation_raised', 'certificate.abandoned', 'certificate.hold_lifted', 'key.blocked', 'key.unblocked')) ORDER BY id");
    DONE_SINCE = concat!("SELECT ", columns!(), " FROM audit_events WHERE id >= $1 AND action = $2 AND outcome = 'done' ORDER BY id");
    WINDOW = "SELECT id FROM audit_events WHERE id > $1 ORDER BY id LIMIT 1 OFFSET $2";
    NEWEST = "SELECT id FROM audit_events WHERE id > $1 ORDER BY id DESC LIMIT 1";
    CHAIN = concat!("SELECT ", columns!(), " FROM audit_events WHERE writer > $1 OR (writer = $1 AND (lane > $2 OR (lane = $2 AND seq > $3))) \
             ORDER BY writer, lane, seq LIMIT $4");
}

/// The action of an event by which a certificate was issued.
pub const ISSUED: &str = "certificate.issued";

/// The free ends of this replica's chains. A transaction takes one for the time of its commit.
#[derive(Debug, Default)]
pub struct Lanes {
    free: Mutex<Vec<Lane>>,
    next: AtomicI64,
    /// Lanes of an earlier one are never continued.
    generation: AtomicU64,
    /// The committed end of each lane that has an event, by its number. Guards only itself.
    ends: Mutex<Ends>,
    /// The id that was given last. Guards only itself.
    last: Mutex<u128>,
}

#[derive(Debug, Default)]
struct Ends {
    lanes: BTreeMap<i64, Lane>,
    /// The lane of the newest commit.
    newest: i64,
}

/// The end of one chain: the last sequence number and hash that are committed.
#[derive(Debug, Clone, Copy)]
pub struct Lane {
    pub number: i64,
    pub seq: i64,
    pub head: [u8; 32],
    /// How many certificates its events say were issued.
    pub certificates: u64,
    generation: u64,
    /// The last event.
    pub event: EventId,
}

impl Lanes {
    /// A free lane, or a new one: never waits, so it cannot deadlock with row locks.
    pub fn take(&self) -> Lane {
        let reused = self.free.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        reused.unwrap_or_else(|| Lane {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            seq: 0,
            head: [0; 32],
            certificates: 0,
            generation: self.generation.load(Ordering::Acquire),
            event: EventId::from_bytes([0; 16]),
        })
    }

    /// Greater than every id that this replica gave before, within one millisecond and when the clock steps back:
    /// lists are in the order of ids, and they must tell what happened in the order that it was written.
    pub fn next_id(&self, now: Timestamp, entropy: &dyn Entropy) -> Result<EventId> {
        let fresh = u128::from_be_bytes(EventId::new(now, entropy)?.bytes());
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // the first 48 bits are the millisecond
        *last = if fresh >> 80 > *last >> 80 { fresh } else { *last + 1 };
        Ok(EventId::from_bytes(last.to_be_bytes()))
    }

    /// Gives a lane back whose commit succeeded.
    pub fn committed(&self, lane: Lane) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_current(&lane) {
            ends.lanes.insert(lane.number, lane);
            ends.newest = lane.number;
        }
        drop(ends);
        self.give(lane);
    }

    /// Goes on in new chains: the database may lack the ends of these.
    pub fn abandon(&self) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        self.generation.fetch_add(1, Ordering::AcqRel);
        *ends = Ends::default();
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn is_current(&self, lane: &Lane) -> bool {
        lane.generation == self.generation.load(Ordering::Acquire)
    }

    /// The committed ends of this process's chains.
    pub fn ends(&self) -> Vec<Lane> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).lanes.values().copied().collect()
    }

    /// The end of the chain that this process committed to last.
    pub fn newest(&self) -> Option<Lane> {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.lanes.get(&ends.newest).copied()
    }

    /// Gives a lane back whose head is known to be what the database has.
    pub fn give(&self, lane: Lane) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_current(&lane) {
            free.push(lane);
        }
    }
}

impl Lane {
    pub fn chain(
        &mut self,
        writer: ReplicaId,
        id: EventId,
        at: Timestamp,
        actor: &Actor,
        event: AuditEvent,
    ) -> ChainedEvent {
        let mut chained = ChainedEvent {
            writer,
            lane: self.number,
            seq: self.seq + 1,
            id,
            at,
            action: event.action.to_owned(),
            outcome: event.outcome.name().to_owned(),
            actor: actor.to_string(),
            object: event.object,
            request_id: actor.request_id.clone(),
            detail: event.detail.to_string(),
            previous: self.head,
            hash: [0; 32],
        };
        chained.hash = chained.compute_hash();
        self.seq = chained.seq;
        self.head = chained.hash;
        self.event = chained.id;
        self.certificates += u64::from(chained.action == ISSUED && chained.outcome == Outcome::Done.name());
        chained
    }
}

/// False: the event before these is missing, and nothing was written.
pub(super) async fn insert(tx: &mut RawTx, events: Vec<ChainedEvent>) -> Result<bool> {
    let rows = events.into_iter().map(|e| {
        vec![
            e.writer.to_vec().into(),
            e.lane.into(),
            e.seq.into(),
            e.id.to_vec().into(),
            e.at.into(),
            e.action.into(),
            e.outcome.into(),
            e.actor.into(),
            e.object.into(),
            e.request_id.into(),
            e.detail.into(),
            e.previous.to_vec().into(),
            e.hash.to_vec().into(),
        ]
    });
    Ok(write_many(tx, INSERT, rows.collect()).await? > 0)
}

/// Newest first, before `before` (exclusive; `None` starts at the newest).
pub async fn page<'a>(on: impl Into<On<'a>>, before: Option<EventId>, limit: i64) -> Result<Vec<ListedEvent>> {
    let before = before.map_or(vec![0xff; 16], EventId::to_vec);
    if before == [0; 16] {
        return Ok(Vec::new());
    }
    Ok(q(PAGE).bind(before).bind(limit).fetch_all(on).await?.iter().map(listed).collect())
}

/// Events of one object, oldest first.
pub async fn of_object<'a>(on: impl Into<On<'a>>, object: &str, limit: i64) -> Result<Vec<ListedEvent>> {
    Ok(q(OF_OBJECT).bind(object).bind(limit).fetch_all(on).await?.iter().map(listed).collect())
}

/// One bad row is shown as bad and hides no other.
fn listed(row: &Row) -> ListedEvent {
    let fault = |what: &str| {
        format!(
            "{what}; somebody changed the database, or its disk fails: run `chancery fsck`, which names every such row"
        )
    };
    match event(row) {
        Ok(event) if event.hash == event.compute_hash() => ListedEvent { event, fault: None },
        Ok(event) => {
            ListedEvent { event, fault: Some(fault("this row of audit_events has not the content of its hash")) }
        }
        Err(error) => {
            let what = format!("this row of audit_events cannot be read: {}", error.detail);
            ListedEvent { event: readable(row), fault: Some(fault(&what)) }
        }
    }
}

/// What can be read of a row.
fn readable(row: &Row) -> ChainedEvent {
    let text = |column| row.get::<String>(column).unwrap_or_default();
    let octets = |column| row.get::<Vec<u8>>(column).ok().and_then(|bytes| hash(bytes).ok()).unwrap_or_default();
    ChainedEvent {
        writer: row.id("writer").unwrap_or(ReplicaId::from_bytes([0; 16])),
        lane: row.get("lane").unwrap_or_default(),
        seq: row.get("seq").unwrap_or_default(),
        id: row.id("id").unwrap_or_else(|_| place_in_list(row)),
        at: row.time("at").unwrap_or(Timestamp::from_micros(0)),
        action: text("action"),
        outcome: text("outcome"),
        actor: text("actor"),
        object: text("object"),
        request_id: text("request_id"),
        detail: text("detail"),
        previous: octets("previous"),
        hash: octets("hash"),
    }
}

/// Where the next page goes on after an id that is none; zeros where nothing comes after it.
fn place_in_list(row: &Row) -> EventId {
    // SQLite sorts text below all octets
    let is_text = row.get::<String>("id").is_ok();
    let mut bytes = if is_text { Vec::new() } else { row.get::<Vec<u8>>("id").unwrap_or_default() };
    let mut place = [0; 16];
    if bytes.len() < 16 {
        // the greatest one below it
        let last = bytes.iter().rposition(|byte| *byte > 0);
        bytes.truncate(last.map_or(0, |last| last + 1));
        let Some(last) = bytes.last_mut() else { return EventId::from_bytes(place) };
        *last -= 1;
        bytes.resize(16, 0xff);
    }
    place.copy_from_slice(bytes.get(..16).unwrap_or(&[0; 16]));
    EventId::from_bytes(place)
}

pub async fn of_object_newest<'a>(on: impl Into<On<'a>>, object: &str) -> Result<Option<ChainedEvent>> {
    q(OF_OBJECT_NEWEST).bind(object).fetch_optional(on).await?.as_ref().map(event).transpose()
}

/// What was done since then by this action, oldest first.
pub async fn done_since<'a>(on: impl Into<On<'a>>, action: &str, since: Timestamp) -> Result<Vec<ChainedEvent>> {
    let rows = q(DONE_SINCE).bind(EventId::first_at(since).to_vec()).bind(action).fetch_all(on).await?;
    rows.iter().map(event).collect()
}

/// Which of these actions was done last to the object, as the audit tells.
pub async fn last_of<'a>(on: impl Into<On<'a>>, object: &str, actions: &[&str]) -> Result<Option<String>> {
    let done = q(DONE_TO).bind(object).fetch_all(on).await?;
    let done = done.iter().map(|row| row.get::<String>("action")).collect::<Result<Vec<_>>>()?;
    Ok(done.into_iter().find(|action| actions.contains(&action.as_str())))
}

/// What was done to the object by actions of this pattern, oldest first. An event that cannot be read is left to the check of
/// the audit.
pub async fn done_to(store: &super::Store, object: &str, pattern: &str) -> Result<Vec<ChainedEvent>> {
    let rows = q(DONE_LIKE).bind(object).bind(pattern).fetch_all(store).await?;
    Ok(rows.iter().filter_map(|row| event(row).ok()).collect())
}

/// Of the next so many events after an id those that name rows with MACs, revocations or blocked keys, oldest first, and the
/// id to go on after; none at the end. Ids are octets, because one that is no id hides none that comes after it; an event that
/// cannot be read is left to the check of the audit.
pub async fn with_rows(
    store: &super::Store,
    after: &[u8],
    window: i64,
) -> Result<(Vec<ChainedEvent>, Option<Vec<u8>>)> {
    let last = match q(WINDOW).bind(after).bind(window).fetch_optional(store).await? {
        Some(row) => Some(row),
        None => q(NEWEST).bind(after).fetch_optional(store).await?,
    };
    let Some(last) = last else { return Ok((Vec::new(), None)) };
    let last: Vec<u8> = last.get("id")?;
    let rows = q(WITH_ROWS).bind(after).bind(last.clone()).fetch_all(store).await?;
    Ok((rows.iter().filter_map(|row| event(row).ok()).collect(), Some(last)))
}

/// A row of a chain: where it stands, and what can be read of it.
#[derive(Debug)]
pub struct ChainRow {
    /// (writer, lane, seq)
    pub place: (Vec<u8>, i64, i64),
    pub event: Result<ChainedEvent>,
}

/// The chains in order, after the given place: fsck walks them all.
pub async fn chain_rows<'a>(
    on: impl Into<On<'a>>,
    (writer, lane, seq): &(Vec<u8>, i64, i64),
    limit: i64,
) -> Result<Vec<ChainRow>> {
    let rows = q(CHAIN).bind(writer.clone()).bind(*lane).bind(*seq).bind(limit).fetch_all(on).await?;
    rows.iter()
        .map(|row| {
            let place = (row.get("writer")?, row.get("lane")?, row.get("seq")?);
            Ok(ChainRow { place, event: event(row) })
        })
        .collect()
}

fn event(row: &Row) -> Result<ChainedEvent> {
    Ok(ChainedEvent {
        writer: row.id("writer")?,
        lane: row.get("lane")?,
        seq: row.get("seq")?,
        id: row.id("id")?,
        at: row.time("at")?,
        action: row.get("action")?,
        outcome: row.get("outcome")?,
        actor: row.get("actor")?,
        object: row.get("object")?,
        request_id: row.get("request_id")?,
        detail: row.get("detail")?,
        previous: hash(row.get("previous")?)?,
        hash: hash(row.get("hash")?)?,
    })
}

fn hash(bytes: Vec<u8>) -> Result<[u8; 32]> {
    bytes.as_slice().try_into().map_err(|_| Error::inconsistent("an audit hash is not 32 bytes"))
}
