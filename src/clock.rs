//! Time as a value that is passed in. BIGINT microseconds in the database, whole seconds in X.509,
//! RFC 3339 UTC in JSON. Only this file reads the machine's clock (`.clippy.toml`).

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_micros(micros: i64) -> Self {
        Timestamp(micros)
    }

    pub const fn from_secs(secs: i64) -> Self {
        Timestamp(secs * 1_000_000)
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds, rounded towards the past.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The same instant without its fraction of a second.
    pub const fn truncated(self) -> Self {
        Timestamp(self.secs() * 1_000_000)
    }

    /// RFC 3339 with its microseconds, as programs of ours write it; what people and clients write is read by
    /// `model::times`.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let parsed = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(parsed.unix_timestamp_nanos() / 1_000).ok().map(Timestamp)
    }

    pub fn to_utc(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// Time between the two, whichever is earlier.
    pub fn distance(self, other: Timestamp) -> Duration {
        Duration::from_micros(self.0.abs_diff(other.0))
    }

    /// Time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, d: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(d.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, d: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(i64::try_from(d.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// RFC 3339 UTC in whole seconds, as every surface prints it.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.truncated().to_utc().format(&Rfc3339).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// For what happens many times a second: RFC 3339 UTC with six digits of fraction.
pub mod exact {
    use super::{Deserialize, Deserializer, Serializer, Timestamp};

    /// `2026-11-28T14:07:23.120345Z`
    pub fn text(at: Timestamp) -> String {
        let whole = at.to_string();
        format!("{}.{:06}Z", whole.trim_end_matches('Z'), at.micros().rem_euclid(1_000_000))
    }

    pub fn serialize<S: Serializer>(at: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&text(*at))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(d)?;
        Timestamp::parse_rfc3339(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time"))
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    fn now(&self) -> Timestamp;

    /// Microseconds since a fixed moment, suspended time included. A clock that is set does not move it.
    fn ticks(&self) -> i64;

    /// The kernel reports that this clock is synchronized (NTP, PTP).
    fn is_synchronized(&self) -> bool {
        false
    }

    /// The time to use in place of the database's own; None reads the database's clock. For tests, whose clocks
    /// stand still.
    fn database_time(&self) -> Option<Timestamp> {
        None
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn ticks(&self) -> i64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes one timespec, which lives on this stack.
        match unsafe { libc::clock_gettime(TICKS, &raw mut time) } {
            0 => time.tv_sec * 1_000_000 + time.tv_nsec / 1_000,
            _ => 0,
        }
    }

    fn is_synchronized(&self) -> bool {
        kernel_time().is_some_and(|kernel| self.now().distance(kernel) < Duration::from_secs(1))
    }
}

/// Counts suspended time too: a laptop that slept has not jumped.
#[cfg(target_os = "linux")]
const TICKS: libc::clockid_t = libc::CLOCK_BOOTTIME;
#[cfg(not(target_os = "linux"))]
const TICKS: libc::clockid_t = libc::CLOCK_MONOTONIC;

/// The kernel's time while a time daemon keeps it synchronized. Containers and many virtual machines have none.
#[cfg(target_os = "linux")]
fn kernel_time() -> Option<Timestamp> {
    // SAFETY: timex is plain numbers, for which zero asks the kernel to change nothing and to fill it in.
    let (state, timex) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex)
    };
    let fraction = if timex.status & libc::STA_NANO != 0 { timex.time.tv_usec / 1_000 } else { timex.time.tv_usec };
    let synchronized = state >= 0 && state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0;
    synchronized.then_some(Timestamp(timex.time.tv_sec * 1_000_000 + fraction))
}
#[cfg(not(target_os = "linux"))]
fn kernel_time() -> Option<Timestamp> {
    None
}

/// The clock of one machine in a world that tests move. Clones are the same machine.
#[derive(Debug, Clone)]
pub struct ManualClock {
    /// The right time, in microseconds.
    world: Arc<AtomicI64>,
    /// This machine's error.
    error: Arc<AtomicI64>,
    /// The database's error, the same for every machine.
    database_error: Arc<AtomicI64>,
    synchronized: Arc<AtomicBool>,
}

impl ManualClock {
    pub fn at(start: Timestamp) -> Self {
        ManualClock {
            world: Arc::new(AtomicI64::new(start.micros())),
            error: Arc::default(),
            database_error: Arc::default(),
            synchronized: Arc::default(),
        }
    }

    /// Time passes for everybody.
    pub fn advance(&self, by: Duration) {
        self.world.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// The same, until this clock shows `to`.
    pub fn set(&self, to: Timestamp) {
        self.world.fetch_add(to.micros() - self.now().micros(), Ordering::SeqCst);
    }

    /// The clock of another machine in the same world.
    pub fn of_another_machine(&self) -> Self {
        ManualClock { error: Arc::default(), synchronized: Arc::default(), ..self.clone() }
    }

    /// This clock alone jumps, by seconds.
    pub fn jump(&self, seconds: i64) {
        self.error.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    /// The database's clock alone jumps, by seconds.
    pub fn jump_database(&self, seconds: i64) {
        self.database_error.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    /// What the kernel of this machine reports from now on.
    pub fn synchronize(&self, synchronized: bool) {
        self.synchronized.store(synchronized, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.world.load(Ordering::SeqCst) + self.error.load(Ordering::SeqCst))
    }

    fn ticks(&self) -> i64 {
        self.world.load(Ordering::SeqCst)
    }

    fn is_synchronized(&self) -> bool {
        self.synchronized.load(Ordering::SeqCst)
    }

    fn database_time(&self) -> Option<Timestamp> {
        Some(Timestamp(self.world.load(Ordering::SeqCst) + self.database_error.load(Ordering::SeqCst)))
    }
}

/// The machine's monotonic time, for measuring how long something took. Never for deciding what is valid.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
pub fn monotonic() -> std::time::Instant {
    std::time::Instant::now()
}

pub const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

pub const fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3_600)
}

pub const fn days(n: u64) -> Duration {
    Duration::from_secs(n * 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_times_keep_their_microseconds() {
        for (micros, text) in [
            (1_764_339_243_120_345, "2025-11-28T14:14:03.120345Z"),
            (1_764_339_243_000_000, "2025-11-28T14:14:03.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
        ] {
            let at = Timestamp::from_micros(micros);
            assert_eq!(exact::text(at), text);
            assert_eq!(Timestamp::parse_rfc3339(text), Some(at));
        }
    }
}
