//! What the audit tells of rows with MACs: the version and the MAC that each got last. A transaction that writes a row raises
//! its version by one, so a version that two events tell of says that the row was put back to an older state in between and
//! written on. That stays a finding until an operator accepts the row.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value};

use super::Authority;
use super::shortened::EndsLookedAt;
use super::withdrawn::Withdrawn;
use crate::clock::{hours, minutes};
use crate::error::Result;
use crate::model::audit::ChainedEvent;
use crate::model::id::{AuthorizationId, EventId, SessionId};
use crate::store::audit;
use crate::store::row_macs::{AUTHORIZATION_LIFE, BLOCKED_KEY, REVOCATION, ROWS, Told};

/// The member of an audit event's detail that says how many versions of a row were told twice when an operator accepted it.
pub(super) const TWICE: &str = "told_twice";
/// Audit events of one statement, few of which name rows.
const AUDIT_PAGE: i64 = 5_000;
/// Events of other processes are committed a little out of order, and their clocks are up to 30 seconds off.
const OUT_OF_ORDER: std::time::Duration = std::time::Duration::from_secs(40);
/// No session lasts longer, by far.
const SESSION_LIFE: std::time::Duration = hours(24);
/// Hexadecimal digits of a MAC that are remembered: as much as tells two of one version apart.
const MAC_TOLD: usize = 24;

/// By object.
#[derive(Debug, Default)]
pub(super) struct ToldRows(HashMap<String, ToldRow>);

/// What the audit tells of one row.
#[derive(Debug, Default, Clone)]
pub(super) struct ToldRow {
    pub version: i64,
    mac: String,
    versions: Versions,
    /// The newest version that two events tell of.
    repeated: Option<i64>,
    /// How many events tell of a version that an earlier one tells of.
    twice: u64,
    /// The part of them that an operator accepted.
    accepted: u64,
}

impl ToldRow {
    /// The row was deleted, and no version of it counts.
    pub fn has_ended(&self) -> bool {
        self.mac.is_empty()
    }

    pub fn is_mac(&self, hex: &str) -> bool {
        hex.starts_with(&self.mac)
    }

    /// A version that was told twice, unless an operator has accepted the row since.
    pub fn repeated(&self) -> Option<i64> {
        self.repeated.filter(|_| self.twice > self.accepted)
    }

    pub fn as_told(&self) -> Told {
        Told { version: self.version, twice: self.twice }
    }
}

impl ToldRows {
    /// Takes what an event tells of rows. Each event is given once, in any order. Returns the versions.
    pub fn take(&mut self, detail: &str) -> Vec<(String, i64)> {
        let mut told = Vec::new();
        if !detail.contains(ROWS) {
            return told;
        }
        let Ok(Value::Object(detail)) = serde_json::from_str(detail) else { return told };
        for (object, row) in detail.get(ROWS).and_then(Value::as_object).into_iter().flatten() {
            if object.starts_with(REVOCATION) || object.starts_with(BLOCKED_KEY) {
                continue;
            }
            let (version, mac) = (row.get(0).and_then(Value::as_i64), row.get(1).and_then(Value::as_str));
            let Some((version, mac)) = version.zip(mac) else { continue };
            let since = row.get(2).and_then(Value::as_i64).unwrap_or(version);
            self.0.entry(object.clone()).or_default().take(since, version, mac);
            told.push((object.clone(), version));
        }
        for (object, twice) in detail.get(TWICE).and_then(Value::as_object).into_iter().flatten() {
            let known = self.0.entry(object.clone()).or_default();
            known.accepted = known.accepted.max(twice.as_u64().unwrap_or(0));
        }
        told
    }

    pub fn get(&self, object: &str) -> Option<&ToldRow> {
        self.0.get(object)
    }

    pub fn as_told(&self, object: &str) -> Told {
        self.get(object).map(ToldRow::as_told).unwrap_or_default()
    }

    pub fn objects(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// For an event by which these rows are accepted: what was told twice of each.
    pub fn twice<'a>(&self, objects: impl IntoIterator<Item = &'a String>) -> Map<String, Value> {
        let twice = objects.into_iter().map(|object| (object.clone(), self.as_told(object).twice));
        twice.filter(|(_, twice)| *twice > 0).map(|(object, twice)| (object, twice.into())).collect()
    }
}

impl ToldRow {
    fn take(&mut self, since: i64, version: i64, mac: &str) {
        if self.versions.add(since, version) {
            self.twice += 1;
            self.repeated = self.repeated.max(Some(version));
        }
        if self.version <= version {
            self.version = version;
            mac.get(..MAC_TOLD).unwrap_or(mac).clone_into(&mut self.mac);
        }
    }
}

/// A set of versions, of which most are in one run.
#[derive(Debug, Default, Clone)]
struct Versions {
    run: Option<(i64, i64)>,
    /// First and last of the others, which touch neither the run nor each other.
    others: BTreeMap<i64, i64>,
}

impl Versions {
    /// Whether one of them was there.
    fn add(&mut self, first: i64, last: i64) -> bool {
        let (mut first, mut last, mut was_there) = (first.min(last), last, false);
        loop {
            let touches = |(from, to): (i64, i64)| from <= last.saturating_add(1) && first <= to.saturating_add(1);
            let below = self.others.range(..=last.saturating_add(1)).next_back();
            let found = self.run.filter(|run| touches(*run));
            let (from, to) = match (found, below.map(|(from, to)| (*from, *to)).filter(|other| touches(*other))) {
                (Some(run), _) => {
                    self.run = None;
                    run
                }
                (None, Some(other)) => {
                    self.others.remove(&other.0);
                    other
                }
                (None, None) => break,
            };
            was_there |= from <= last && first <= to;
            (first, last) = (first.min(from), last.max(to));
        }
        match self.run {
            None => self.run = Some((first, last)),
            Some(_) => drop(self.others.insert(first, last)),
        }
        was_there
    }
}

/// The part of the audit that a process has read so far, kept to compare rows with it.
#[derive(Debug, Default)]
pub(super) struct RowsInAudit {
    pub rows: ToldRows,
    pub withdrawn: Withdrawn,
    pub ends: EndsLookedAt,
    /// The id to go on after.
    after: Vec<u8>,
    /// Events after `after` that were read.
    seen: HashSet<EventId>,
    /// `RowMacs::history` at the time of reading. Another number there means that the database is another one.
    history: u64,
}

impl Authority {
    /// Reads what the audit tells of rows since the last time, so that this process refuses older ones. Called by every server.
    pub async fn read_told_rows(&self) -> Result<()> {
        let mut told = self.rows_in_audit.lock().await;
        self.read_on(&mut told).await
    }

    /// All of the audit the first time: no time that the database tells says where rows begin to have MACs.
    pub(super) async fn read_on(&self, told: &mut RowsInAudit) -> Result<()> {
        let macs = self.store.row_macs();
        if told.history != macs.history() {
            *told = RowsInAudit { history: macs.history(), ..RowsInAudit::default() };
        }
        loop {
            let (events, last) = audit::with_rows(&self.store, &told.after, AUDIT_PAGE).await?;
            let Some(last) = last else { break };
            events.iter().for_each(|event| self.take_told(told, event));
            told.after = last;
        }
        let overlap = EventId::earliest(self.store.now() - OUT_OF_ORDER);
        if overlap.to_vec() < told.after {
            told.after = overlap.to_vec();
        }
        told.seen.retain(|id| *id > overlap);
        let oldest = AuthorizationId::first_at(self.store.now() - AUTHORIZATION_LIFE);
        let session = SessionId::first_at(self.store.now() - SESSION_LIFE);
        told.rows.0.retain(|object, _| match object.split_once(':') {
            Some(("authorization", id)) => id.parse::<AuthorizationId>().is_ok_and(|id| id >= oldest),
            Some(("session", id)) => id.parse::<SessionId>().is_ok_and(|id| id >= session),
            _ => true,
        });
        Ok(())
    }

    fn take_told(&self, told: &mut RowsInAudit, event: &ChainedEvent) {
        if !told.seen.insert(event.id) {
            return;
        }
        let lately = event.id.time() > self.store.now() - minutes(1);
        for (object, version) in told.rows.take(&event.detail) {
            self.store.row_macs().told(&object, version, lately);
        }
        told.withdrawn.take(event, self.store.row_macs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(details: &[&str]) -> Option<i64> {
        let mut rows = ToldRows::default();
        details.iter().for_each(|detail| drop(rows.take(detail)));
        rows.get("token:a").and_then(ToldRow::repeated)
    }

    #[test]
    fn a_version_that_is_told_twice_is_found_in_any_order() {
        let of = |version: i64| format!(r#"{{"rows":{{"token:a":[{version},"00"]}}}}"#);
        let mut events: Vec<String> = (1..=40).map(of).collect();
        let all = |events: &[String]| told(&events.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(all(&events), None);
        events.reverse();
        assert_eq!(all(&events), None);
        // two writers by turns, one after the other, as fsck reads them
        let (odd, even): (Vec<_>, Vec<_>) = events.into_iter().enumerate().partition(|(at, _)| at % 2 == 0);
        let mut events: Vec<String> = odd.into_iter().chain(even).map(|(_, event)| event).collect();
        assert_eq!(all(&events), None);
        events.push(of(7));
        assert_eq!(all(&events), Some(7));
        events.push(r#"{"rows":{"token:a":[41,"00"]},"told_twice":{"token:a":1}}"#.to_owned());
        assert_eq!(all(&events), None);
        events.push(of(8));
        assert_eq!(all(&events), Some(8));
    }

    #[test]
    fn versions_of_one_transaction_count_all() {
        let both = r#"{"rows":{"token:a":[4,"00",3]}}"#;
        let one = r#"{"rows":{"token:a":[3,"00"]}}"#;
        assert_eq!(told(&[both]), None);
        assert_eq!(told(&[both, one]), Some(3));
        assert_eq!(told(&[one, both]), Some(4));
        let ended = format!(r#"{{"rows":{{"token:a":[{},""]}}}}"#, i64::MAX);
        assert_eq!(told(&[both, &ended]), None);
        let mut rows = ToldRows::default();
        rows.take(&ended);
        assert!(rows.get("token:a").is_some_and(ToldRow::has_ended));
        for unreadable in ["rows", r#"{"rows":7}"#, r#"{"rows":{"token:a":["x",1]}}"#] {
            assert!(rows.take(unreadable).is_empty());
        }
    }
}
