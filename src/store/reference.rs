//! The clock that everything in a process goes by. It shows the machine's time while that agrees with the reference
//! time of the installation (`model/clock_votes.rs`), else the reference time, continued on the monotonic clock: a
//! wrong clock, also one that jumps between two measurements, neither judges nor dates anything. A process whose
//! clock is wrong signs nothing and leaves the work for all to others (`Store::check_clock`).

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::Store;
use super::engine::RawTx;
use super::replica_clocks::{self, ClockMark, ClockReading, ReplicaClock};
use crate::clock::{Clock, Timestamp, days, minutes};
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::clock_votes::{ClockVotes, TOLERANCE, agree};

/// A replica that was measured longer ago does not vote: it has ended or lost the database.
const LIVE: Duration = Duration::from_secs(10);
/// A measurement that took longer says nothing about clocks.
const ROUND_TRIP: Duration = Duration::from_secs(10);
/// How often the newest time is recorded.
const RECORD_EVERY: Duration = minutes(1);
/// A machine without a second clock to compare may have been stopped and set so far forward.
const FORWARD: Duration = days(1);

/// The reference time of one process.
pub struct ReferenceClock {
    machine: Arc<dyn Clock>,
    /// Reference time minus `Clock::ticks`.
    base: AtomicI64,
    /// Guards only itself.
    known: Mutex<Known>,
}

/// What the last measurement found.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// The database's clock minus `Clock::ticks`.
    database: Option<i64>,
    /// The own clock as peers are told.
    own: Option<ReplicaClock>,
    peers: usize,
    mark: Option<ClockMark>,
    recorded: Option<Timestamp>,
    database_is_wrong: bool,
}

impl fmt::Debug for ReferenceClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReferenceClock({})", self.now())
    }
}

impl Clock for ReferenceClock {
    fn now(&self) -> Timestamp {
        let (machine, reference) = (self.machine.now(), self.reference());
        if agree(machine.micros(), reference.micros()) { machine } else { reference }
    }

    fn ticks(&self) -> i64 {
        self.machine.ticks()
    }

    fn is_synchronized(&self) -> bool {
        self.machine.is_synchronized()
    }

    fn database_time(&self) -> Option<Timestamp> {
        self.machine.database_time()
    }
}

impl ReferenceClock {
    /// Trusts the machine until the first measurement.
    pub fn new(machine: Arc<dyn Clock>) -> Self {
        let base = machine.now().micros() - machine.ticks();
        ReferenceClock { machine, base: AtomicI64::new(base), known: Mutex::default() }
    }

    fn reference(&self) -> Timestamp {
        Timestamp::from_micros(self.base.load(Ordering::Acquire).saturating_add(self.machine.ticks()))
    }

    /// The machine's clock minus the reference time, in microseconds.
    pub fn offset(&self) -> i64 {
        self.machine.now().micros().saturating_sub(self.reference().micros())
    }

    /// The database's clock minus the reference time, in microseconds, as last measured.
    pub fn database_offset(&self) -> Option<i64> {
        self.known().database.map(|base| base.saturating_sub(self.base.load(Ordering::Acquire)))
    }

    /// The machine's clock is right.
    pub fn is_right(&self) -> bool {
        planted!("wrong-clock-signs", true, agree(self.offset(), 0))
    }

    fn known(&self) -> Known {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, known: Known) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// Is this time of the database what the last measurement lets expect?
    fn expects(&self, database: Timestamp) -> bool {
        let database = self.machine.database_time().unwrap_or(database);
        self.known().database.is_none_or(|base| agree(database.micros() - self.machine.ticks(), base))
    }

    /// `before` is what `now` and `ticks` showed before the database was asked.
    fn learn(&self, before: (Timestamp, i64), reading: &ClockReading) {
        let (now, ticks) = (self.machine.now(), self.machine.ticks());
        let round_trip = ticks - before.1;
        if round_trip > i64::try_from(ROUND_TRIP.as_micros()).unwrap_or(i64::MAX) {
            return;
        }
        let database = self.machine.database_time().unwrap_or(reading.database);
        let middle = before.1 + round_trip / 2;
        let database_base = database.micros() - middle;
        let own = before.0.micros() + (now.micros() - before.0.micros()) / 2 - database.micros();
        let live = |peer: &&ReplicaClock| peer.measured_at.distance(database) <= LIVE;
        let peers: Vec<i64> = reading.peers.iter().filter(live).map(|peer| peer.offset).collect();
        let mut known = self.known();
        let base = self.base.load(Ordering::Acquire);
        let votes = ClockVotes {
            own,
            peers: &peers,
            history: known.database.map(|_| base - database_base),
            mark: reading.mark.at.map(|at| at.micros() - database.micros()),
            synchronized: self.machine.is_synchronized(),
        };
        let decided = votes.decide();
        self.base.store(database_base + decided.offset, Ordering::Release);
        let wrong = !agree(decided.offset, 0);
        if wrong && !known.database_is_wrong {
            tracing::warn!(
                "the database's clock is {} the reference time; set it by NTP: nothing else stops because of it",
                difference(-decided.offset)
            );
        }
        known = Known {
            database: Some(database_base),
            own: Some(ReplicaClock { offset: own, measured_at: database }),
            peers: peers.len(),
            mark: Some(reading.mark),
            database_is_wrong: wrong,
            ..known
        };
        self.keep(known);
    }

    /// One process alone with its database file: its records and its monotonic clock are all there is to compare.
    fn learn_alone(&self, mark: ClockMark) {
        let (now, ticks, mut known) = (self.machine.now(), self.machine.ticks(), self.known());
        let expected = match (known.mark, mark.at) {
            // the first look: a machine that was switched off may be far ahead of what was recorded, never behind it
            (None, Some(at)) => {
                warn_of_leap(now.max(at), at, FORWARD);
                now.max(at)
            }
            (Some(before), Some(at)) if before.trusted != mark.trusted && agree(at.micros(), now.micros()) => now,
            _ => self.reference(),
        };
        let forward = now > expected && now.since(expected) <= FORWARD;
        let right = agree(now.micros(), expected.micros()) || forward || self.machine.is_synchronized();
        if right {
            warn_of_leap(now, expected, TOLERANCE);
        }
        let reference = if right { now } else { expected };
        self.base.store(reference.micros() - ticks, Ordering::Release);
        known.mark = Some(mark);
        self.keep(known);
    }

    fn is_to_record(&self, now: Timestamp) -> bool {
        self.is_right() && self.known().recorded.is_none_or(|at| at.distance(now) >= RECORD_EVERY)
    }

    pub(super) fn has_recorded(&self, at: Timestamp) {
        let mut known = self.known();
        known.recorded = Some(at);
        self.keep(known);
    }

    fn wrong_clock(&self) -> Error {
        let known = self.known();
        let (what, fix) = match (known.database, known.peers) {
            (None, _) => (
                "the time that this CA recorded last".to_owned(),
                "set it by NTP, or run `chancery clock trust` if it is right now",
            ),
            (Some(_), 0) => ("the database's clock".to_owned(), "set both by NTP"),
            (Some(_), n) if known.database_is_wrong => (format!("the clocks of {n} other replicas"), "set it by NTP"),
            (Some(_), 1) => ("the clocks of the database and of another replica".to_owned(), "set it by NTP"),
            (Some(_), n) => (format!("the clocks of the database and of {n} other replicas"), "set it by NTP"),
        };
        let offset = difference(self.offset());
        let detail = format!(
            "this server's clock is {offset} {what}: until its clock is right it signs nothing, publishes nothing and changes no CA; {fix} (`chancery clock show` compares them)"
        );
        Error::new(ErrorKind::Unavailable, detail).retry_after(Duration::from_secs(30))
    }
}

fn warn_of_leap(now: Timestamp, expected: Timestamp, more_than: Duration) {
    if now.distance(expected) > more_than {
        let offset = difference(now.micros() - expected.micros());
        tracing::warn!(
            "this machine's clock is {offset} the time expected from its records; it is taken to be right"
        );
    }
}

/// `3 days ahead of`, `40 seconds behind`
fn difference(micros: i64) -> String {
    let seconds = micros.unsigned_abs() / 1_000_000;
    let (n, unit) = match seconds {
        172_800.. => ((seconds + 43_200) / 86_400, "days"),
        7_200.. => ((seconds + 1_800) / 3_600, "hours"),
        119.. => ((seconds + 30) / 60, "minutes"),
        _ => (seconds, "seconds"),
    };
    format!("{n} {unit} {}", if micros < 0 { "behind" } else { "ahead of" })
}

impl Store {
    /// Compares this machine's clock with the others' without a trace. For commands, and before anything is decided.
    pub async fn measure_clock(&self) -> Result<()> {
        if !self.db.is_postgres() {
            self.reference.learn_alone(replica_clocks::mark(&self.db).await?);
            return Ok(());
        }
        let before = (self.reference.machine.now(), self.reference.machine.ticks());
        let reading = replica_clocks::read(&self.db, self.replica).await?;
        self.reference.learn(before, &reading);
        Ok(())
    }

    /// The same for a server: its clock votes, and the newest time is recorded. Called every second.
    pub async fn beat(&self) -> Result<()> {
        let own = self.reference.known().own.filter(|_| self.db.is_postgres());
        match own {
            None => self.measure_clock().await?,
            Some(own) => {
                let before = (self.reference.machine.now(), self.reference.machine.ticks());
                let reading = replica_clocks::beat(&self.db, self.replica, own).await?;
                self.reference.learn(before, &reading);
                // the others need not wait a second for a clock that was set
                if let Some(now) = self.reference.known().own.filter(|now| !agree(now.offset, own.offset)) {
                    replica_clocks::beat(&self.db, self.replica, now).await?;
                }
            }
        }
        self.record_time().await
    }

    async fn record_time(&self) -> Result<()> {
        let now = self.now();
        let Some(mark) = self.reference.known().mark.filter(|_| self.reference.is_to_record(now)) else {
            return Ok(());
        };
        replica_clocks::record(&self.db.volatile(), now, mark.trusted).await?;
        self.reference.has_recorded(now);
        Ok(())
    }

    /// Records the time with a change, on SQLite: a process may end before a server has recorded one. Returns the time
    /// that counts as recorded once the change is committed.
    pub(super) async fn record_time_with(&self, tx: &mut RawTx) -> Result<Option<Timestamp>> {
        let now = self.now();
        if self.db.is_postgres() || !self.reference.is_to_record(now) {
            return Ok(None);
        }
        let trusted = self.reference.known().mark.map_or(0, |mark| mark.trusted);
        replica_clocks::record(tx, now, trusted).await?;
        Ok(Some(now))
    }

    /// This server's clock no longer votes.
    pub async fn leave_clocks(&self) -> Result<()> {
        let before = self.reference.known().own.map_or(Timestamp::from_micros(0), |own| own.measured_at - days(1));
        replica_clocks::leave(&self.db, self.replica, before).await
    }

    /// Takes this machine's clock as right from now on, whatever was recorded: for SQLite, where no other clock votes.
    pub async fn trust_clock(&self, actor: &Actor) -> Result<Timestamp> {
        if self.db.is_postgres() {
            let detail = "the clocks of the database and of the replicas are compared with each other; set the wrong one by NTP";
            return Err(Error::new(ErrorKind::Conflict, detail));
        }
        let (now, recorded) = (self.reference.machine.now(), replica_clocks::mark(&self.db).await?.at);
        let mut tx = self.begin(actor).await?;
        replica_clocks::trust(&mut tx, now).await?;
        tx.audit(AuditEvent::done("clock.trusted", "", json!({"now": now, "recorded": recorded})));
        tx.commit().await?;
        self.measure_clock().await?;
        Ok(now)
    }

    /// An error while this machine's clock is wrong: asked before anything is signed or done for all replicas. Costs
    /// no statement.
    pub fn check_clock(&self) -> Result<()> {
        if self.reference.is_right() { Ok(()) } else { Err(self.reference.wrong_clock()) }
    }

    /// The same with what a transaction saw of the database's clock: when that is a surprise, this machine stood still
    /// or the database's clock was set, and the clocks are compared anew.
    pub async fn check_clock_at(&self, database: Option<Timestamp>) -> Result<()> {
        if database.is_some_and(|time| !self.reference.expects(time)) {
            self.measure_clock().await?;
        }
        self.check_clock()
    }

    /// The same after a new measurement, for periodic work.
    pub async fn is_clock_right(&self) -> Result<bool> {
        self.measure_clock().await?;
        Ok(self.reference.is_right())
    }

    pub fn reference(&self) -> &ReferenceClock {
        &self.reference
    }
}
