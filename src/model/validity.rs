//! Validity periods in whole seconds, both ends included (RFC 5280 §4.1.2.5).

use std::time::Duration;

use super::times::{self, Spelled};
use crate::clock::Timestamp;
use crate::error::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Validity {
    /// Both ends are cut to whole seconds; the end may not lie before the start.
    pub fn new(not_before: Timestamp, not_after: Timestamp) -> Result<Self> {
        let (not_before, not_after) = (not_before.truncated(), not_after.truncated());
        if not_after < not_before {
            return Err(Error::malformed(format!("notAfter {not_after} lies before notBefore {not_before}")));
        }
        Ok(Validity { not_before, not_after })
    }

    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Both ends count: `notAfter - notBefore + 1 s` (the one-second incident, Mozilla bug 1715455).
    pub fn length(&self) -> Duration {
        self.not_after.since(self.not_before) + Duration::from_secs(1)
    }

    pub fn contains(&self, at: Timestamp) -> bool {
        self.not_before <= at && at < self.not_after + Duration::from_secs(1)
    }
}

/// How far the clock of an ACME client may be off, either way, when it gives a notBefore.
pub const START_SKEW: Duration = Duration::from_secs(60);

/// The validity that was asked for. Explicit values are honoured exactly or refused; only defaults are capped by the
/// issuer. The start is backdated on top of the length that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestedValidity {
    pub not_before: Option<Timestamp>,
    pub not_after: Option<Timestamp>,
    /// Length from now, or from `not_before` where that is given; at most one of this and `not_after`.
    pub ttl: Option<Duration>,
    /// The whole length of the certificate that this one replaces, used when no end is given. Like a default it is capped.
    pub like_before: Option<Duration>,
    /// When it was asked, if that was not now: an ACME order's times hold from the order on, however late it is
    /// finalized (RFC 8555 §7.4).
    pub asked_at: Option<Timestamp>,
}

impl RequestedValidity {
    /// From the text of a ttl: a duration, or the moment at which the certificate is to end.
    pub fn until(text: &str) -> Result<Self> {
        Ok(match times::parse(text)? {
            Spelled::Length(length) => {
                RequestedValidity { ttl: Some(times::usable(length, text)?), ..Self::default() }
            }
            Spelled::Moment(at) => RequestedValidity { not_after: Some(at), ..Self::default() },
        })
    }
}
