//! The newest version of each row that this process knows of, by what it wrote itself and by what the audit tells. A row with
//! a lower version was put back in the database, whatever its MAC says: the process refuses to go on from there.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;

use crate::clock::monotonic;

/// A row that was read before another transaction wrote it may be compared after that: no statement takes as long as this.
const IN_FLIGHT: Duration = Duration::from_secs(12);
/// Rows that are remembered, some 50 octets each. What comes later is found by the look at every row alone.
const MOST: usize = 1_000_000;

/// How a row was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// The transaction holds it, so that nobody has written it since.
    Held,
    /// Somebody may have written it since.
    Alone,
}

#[derive(Debug, Clone, Copy)]
struct Newest {
    version: i64,
    /// None: long ago.
    since: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct NewestVersions {
    /// By the first half of the SHA-256 of the row's name. Guards only itself.
    rows: Mutex<HashMap<[u8; 16], Newest>>,
}

impl NewestVersions {
    /// A transaction of this process wrote the row just now.
    pub(super) fn wrote(&self, object: &str, version: i64) {
        self.learn(object, version, Some(monotonic()));
    }

    /// The audit tells that the row was written; `lately` is within the last minute.
    pub(super) fn told(&self, object: &str, version: i64, lately: bool) {
        self.learn(object, version, lately.then(monotonic));
    }

    fn learn(&self, object: &str, version: i64, since: Option<Instant>) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = rows.len() >= MOST;
        match rows.get_mut(&key(object)) {
            Some(known) if known.version < version => *known = Newest { version, since },
            Some(_) => {}
            None if is_full => {}
            None => drop(rows.insert(key(object), Newest { version, since })),
        }
    }

    /// The newest version, where it is above the one that was read.
    pub(super) fn above(&self, object: &str, version: i64, reading: Reading) -> Option<i64> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = rows.get(&key(object)).filter(|newest| newest.version > version)?;
        let is_settled = newest.since.is_none_or(|since| since.elapsed() > IN_FLIGHT);
        (reading == Reading::Held || is_settled).then_some(newest.version)
    }

    pub(super) fn forget(&self) {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn key(object: &str) -> [u8; 16] {
    let mut key = [0; 16];
    let digest = digest::digest(&digest::SHA256, object.as_bytes());
    key.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_version_is_refused_unless_it_may_have_been_read_before() {
        let newest = NewestVersions::default();
        newest.wrote("token:a", 3);
        newest.told("token:b", 3, false);
        newest.told("token:b", 2, true);
        assert_eq!(newest.above("token:a", 2, Reading::Held), Some(3));
        assert_eq!(newest.above("token:a", 2, Reading::Alone), None);
        assert_eq!(newest.above("token:b", 2, Reading::Alone), Some(3));
        for (object, version) in [("token:a", 3), ("token:a", 4), ("token:c", 1)] {
            assert_eq!(newest.above(object, version, Reading::Held), None);
        }
        newest.forget();
        assert_eq!(newest.above("token:a", 2, Reading::Held), None);
    }
}
