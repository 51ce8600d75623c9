//! The number of a CRL (RFC 5280 §5.2.3): it never repeats and never goes back. The counter moves in the
//! transaction that stores the CRL, the epoch when a restore or a rollback of the database is found.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CrlNumber(pub u128);

impl CrlNumber {
    pub const fn new(epoch: u64, counter: u64) -> Self {
        CrlNumber((epoch as u128) << 64 | counter as u128)
    }

    pub const fn epoch(self) -> u64 {
        (self.0 >> 64) as u64
    }

    pub const fn counter(self) -> u64 {
        self.0 as u64
    }
}

/// Decimal, as RFC 5280 counts.
impl fmt::Display for CrlNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
