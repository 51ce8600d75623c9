//! Validity periods in whole seconds, both ends included (RFC 5280 §4.1.2.5).

use std::time::Duration;

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

/// What was asked of the validity. Explicit values are honoured exactly or refused; only defaults are
/// backdated and capped by the issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestedValidity {
    pub not_before: Option<Timestamp>,
    pub not_after: Option<Timestamp>,
    /// Length from notBefore; at most one of this and `not_after`.
    pub ttl: Option<Duration>,
    /// When it was asked, if that was not now: an ACME order's times hold from the order on, however late it is
    /// finalized (RFC 8555 §7.4).
    pub asked_at: Option<Timestamp>,
}

/// `90d`, `12h`, `30m`, `45s`, `2w`, `1y` (365 d), sums such as `1d12h`, or ISO 8601 `P90D`, `PT12H`.
/// From one second to a century, which bounds what any profile may say.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let time = parse_any_duration(text)?;
    if time.is_zero() || time > LONGEST {
        let (shown, days) = (super::identifier::shown(text), LONGEST.as_secs() / 86_400);
        return Err(Error::malformed(format!("\"{shown}\" is no usable duration: it must be 1s to {days}d")));
    }
    Ok(time)
}

const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The same without a limit, for callers that have one of their own and say it. What is too long to count is as long as can
/// be.
pub fn parse_any_duration(text: &str) -> Result<Duration> {
    let refuse = || {
        let shown = super::identifier::shown(text);
        Error::malformed(format!("\"{shown}\" is not a duration: write 90d, 12h, 30m or ISO 8601 (P90D, PT12H)"))
    };
    let (mut rest, iso) = match text.strip_prefix('P') {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (mut total, mut time_part, mut seen) = (0u64, !iso, false);
    while !rest.is_empty() {
        if iso && !time_part && rest.starts_with('T') {
            (rest, time_part) = (&rest[1..], true);
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number = rest.get(..digits).filter(|d| !d.is_empty()).ok_or_else(refuse)?;
        // nothing but digits: one that does not parse is too large
        let number: u64 = number.parse().unwrap_or(u64::MAX);
        let unit = rest.get(digits..).and_then(|r| r.chars().next()).ok_or_else(refuse)?;
        let secs = match (iso, time_part, unit) {
            (false, _, 's') | (true, true, 'S') => 1,
            (false, _, 'm') | (true, true, 'M') => 60,
            (false, _, 'h') | (true, true, 'H') => 3_600,
            (false, _, 'd') | (true, false, 'D') => 86_400,
            (false, _, 'w') | (true, false, 'W') => 7 * 86_400,
            (false, _, 'y') | (true, false, 'Y') => 365 * 86_400,
            _ => return Err(refuse()),
        };
        total = total.saturating_add(number.saturating_mul(secs));
        rest = rest.get(digits + unit.len_utf8()..).ok_or_else(refuse)?;
        seen = true;
    }
    if seen { Ok(Duration::from_secs(total)) } else { Err(refuse()) }
}

/// A duration as people write it, in its largest whole unit.
pub fn shown_duration(time: Duration) -> String {
    let secs = time.as_secs();
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let unit = units.into_iter().find(|(size, _)| secs > 0 && secs.is_multiple_of(*size));
    unit.map_or_else(|| format!("{secs}s"), |(size, name)| format!("{}{name}", secs / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_out_of_range_is_told_apart_from_no_duration() {
        let detail = |text: &str| parse_duration(text).unwrap_err().detail;
        for text in ["0d", "36501d", "99999999999999999999999d", "18446744073709551615y1d"] {
            assert!(detail(text).contains("must be 1s to 36500d"), "{text}: {}", detail(text));
            assert!(parse_any_duration(text).is_ok(), "{text}");
        }
        for text in ["", "P", "d", "1", "1x", "-1d"] {
            assert!(detail(text).contains("is not a duration"), "{text}: {}", detail(text));
        }
        assert_eq!(parse_duration("1d12h").unwrap(), Duration::from_secs(129_600));
    }

    #[test]
    fn a_duration_is_shown_in_its_largest_whole_unit() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (3_600, "1h"), (5_400, "90m"), (8_640_000, "100d")] {
            assert_eq!(shown_duration(Duration::from_secs(seconds)), text);
        }
    }
}
