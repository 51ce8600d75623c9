//! What several read anew at once and keep in memory: a reading that began earlier never takes the place of one that began
//! later, so that whoever changed rows and read them again goes on with what it wrote.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The readings of one thing.
#[derive(Debug, Default)]
pub struct Readings {
    begun: AtomicU64,
    /// The one that is kept. Guards the exchange.
    kept: Mutex<u64>,
}

/// One reading, from before its first statement.
#[derive(Debug)]
pub struct Reading(u64);

impl Readings {
    pub fn begin(&self) -> Reading {
        Reading(self.begun.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// Keeps what was read by `keep`, unless a reading that began later is kept already.
    pub fn end(&self, reading: Reading, keep: impl FnOnce()) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if *kept < reading.0 {
            *kept = reading.0;
            keep();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_that_began_earlier_takes_the_place_of_none_that_began_later() {
        let (readings, kept) = (Readings::default(), Mutex::new(""));
        let (slow, quick) = (readings.begin(), readings.begin());
        readings.end(quick, || *kept.lock().unwrap() = "quick");
        readings.end(slow, || *kept.lock().unwrap() = "slow");
        assert_eq!(*kept.lock().unwrap(), "quick");
        readings.end(readings.begin(), || *kept.lock().unwrap() = "next");
        assert_eq!(*kept.lock().unwrap(), "next");
    }
}
