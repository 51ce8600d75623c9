//! The spellings of time, read here alone for the command line, settings, REST and ACME: a duration, a date or an
//! RFC 3339 time. Moments are cut to whole seconds and kept in UTC, because certificates have no fractions.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::identifier::shown;
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// 0001-01-01T00:00:00Z, Go's time of nothing.
pub const YEAR_ONE: Timestamp = Timestamp::from_secs(-62_135_596_800);

/// A text that says how long, or until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelled {
    Length(Duration),
    Moment(Timestamp),
}

/// Any spelling.
pub fn parse(text: &str) -> Result<Spelled> {
    if let Some(length) = read_duration(text.trim()) {
        return Ok(Spelled::Length(length));
    }
    read_moment(text.trim()).map(Spelled::Moment).ok_or_else(|| {
        Error::malformed(format!(
            "\"{}\" is not a time: write a duration (90d, 12h, 1h30m, 30s), a date (2027-01-05) or an RFC 3339 time (2027-01-05T10:00:00Z)",
            shown(text)
        ))
    })
}

/// A date, which means its first second in UTC, or an RFC 3339 time with any offset and fraction.
pub fn moment(text: &str) -> Result<Timestamp> {
    read_moment(text.trim()).ok_or_else(|| {
        Error::malformed(format!(
            "\"{}\" is not a time: write an RFC 3339 time (2027-01-05T10:00:00Z) or a date (2027-01-05)",
            shown(text)
        ))
    })
}

/// Any spelling of a moment; a duration counts from now into the future.
pub fn moment_ahead(text: &str, now: Timestamp) -> Result<Timestamp> {
    Ok(match parse(text)? {
        Spelled::Length(length) => (now + length).truncated(),
        Spelled::Moment(at) => at,
    })
}

/// Any spelling of a moment; a duration counts from now into the past.
pub fn moment_ago(text: &str, now: Timestamp) -> Result<Timestamp> {
    Ok(match parse(text)? {
        Spelled::Length(length) => (now - length).truncated(),
        Spelled::Moment(at) => at,
    })
}

/// Any spelling of a length; a moment means until then. The caller judges how long it may be.
pub fn length(text: &str, now: Timestamp) -> Result<Duration> {
    match parse(text)? {
        Spelled::Length(length) => Ok(length),
        Spelled::Moment(at) if at > now => Ok(at.since(now)),
        Spelled::Moment(_) => Err(Error::malformed(format!("\"{}\" is over: give a time after {now}", shown(text)))),
    }
}

/// A duration from one second to a century in whole seconds, which bounds what any profile may say.
pub fn parse_duration(text: &str) -> Result<Duration> {
    usable(parse_any_duration(text)?, text)
}

/// `length`, if it is from one second to a century in whole seconds.
pub fn usable(length: Duration, text: &str) -> Result<Duration> {
    if length.is_zero() || length > LONGEST || length.subsec_nanos() != 0 {
        let (shown, days) = (shown(text), LONGEST.as_secs() / 86_400);
        return Err(Error::malformed(format!(
            "\"{shown}\" is no usable duration: it must be 1s to {days}d in whole seconds"
        )));
    }
    Ok(length)
}

const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A duration without a limit, for callers that have one of their own and say it. What is too long to count is as long
/// as can be.
pub fn parse_any_duration(text: &str) -> Result<Duration> {
    read_duration(text.trim()).ok_or_else(|| {
        let what = match read_moment(text.trim()) {
            Some(_) => "is a moment, and what recurs has a length",
            None => "is not a duration",
        };
        Error::malformed(format!("\"{}\" {what}: write 90d, 12h, 1h30m, 30s or ISO 8601 (P90D, PT12H)", shown(text)))
    })
}

/// `90d`, `12h`, `30m`, `45s`, `500ms`, `2w`, `1y` (365 d), sums such as `1d12h`, `0`, or ISO 8601 `P90D`, `PT12H`.
fn read_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, iso) = match text.strip_prefix('P') {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (mut millis, mut time_part, mut seen) = (0u64, !iso, false);
    while !rest.is_empty() {
        if iso && !time_part && rest.starts_with('T') {
            (rest, time_part) = (&rest[1..], true);
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        // nothing but digits: a number that does not parse is too large
        let number: u64 = rest.get(..digits).filter(|d| !d.is_empty())?.parse().unwrap_or(u64::MAX);
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = rest.get(digits..digits + if iso { letters.min(1) } else { letters })?;
        let seconds = match (iso, time_part, unit) {
            (false, _, "ms") => 0,
            (false, _, "s") | (true, true, "S") => 1,
            (false, _, "m") | (true, true, "M") => 60,
            (false, _, "h") | (true, true, "H") => 3_600,
            (false, _, "d") | (true, false, "D") => 86_400,
            (false, _, "w") | (true, false, "W") => 7 * 86_400,
            (false, _, "y") | (true, false, "Y") => 365 * 86_400,
            _ => return None,
        };
        let unit_millis = if seconds == 0 { 1 } else { seconds * 1_000 };
        millis = millis.saturating_add(number.saturating_mul(unit_millis));
        rest = &rest[digits + unit.len()..];
        seen = true;
    }
    seen.then(|| Duration::from_millis(millis))
}

/// RFC 3339 allows a blank for the T and lower case (§5.6); seconds may be left out, as browsers do.
fn read_moment(text: &str) -> Option<Timestamp> {
    if !text.is_ascii() {
        return None;
    }
    let mut whole = text.to_ascii_uppercase();
    if whole.len() == 10 {
        whole.push_str("T00:00:00Z");
    }
    if whole.as_bytes().get(10) == Some(&b' ') {
        whole.replace_range(10..11, "T");
    }
    if matches!(whole.as_bytes().get(16), Some(b'Z' | b'+' | b'-')) {
        whole.insert_str(16, ":00");
    }
    if whole.as_bytes().get(19) == Some(&b'.') {
        let digits = whole[20..].bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        whole.replace_range(19..20 + digits, "");
    }
    Some(Timestamp::from_secs(OffsetDateTime::parse(&whole, &Rfc3339).ok()?.unix_timestamp()))
}

/// A duration as people write it, in its largest whole unit.
pub fn shown_duration(time: Duration) -> String {
    let secs = time.as_secs();
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let unit = units.into_iter().find(|(size, _)| secs > 0 && secs.is_multiple_of(*size));
    unit.map_or_else(|| format!("{secs}s"), |(size, name)| format!("{}{name}", secs / size))
}

/// How far a time is from now, in words: `in 6 days`, `2 hours ago`, `just now`.
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    apart(at, now, span)
}

/// How far a time is from now, in as few letters as possible: `in 6d`, `2h ago`, `just now`.
pub fn relative_short(at: Timestamp, now: Timestamp) -> String {
    apart(at, now, |time| {
        let (count, unit) = in_one_unit(time);
        format!("{count}{}", unit.get(..1).unwrap_or_default())
    })
}

fn apart(at: Timestamp, now: Timestamp, shown: impl Fn(Duration) -> String) -> String {
    if at > now {
        return format!("in {}", shown(at.since(now)));
    }
    match now.since(at) {
        passed if passed < Duration::from_secs(60) => "just now".to_owned(),
        passed => format!("{} ago", shown(passed)),
    }
}

/// A length of time in its largest unit that is at least two, rounded towards zero: `119 minutes`, `2 hours`.
pub fn span(time: Duration) -> String {
    let (count, unit) = in_one_unit(time);
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

fn in_one_unit(time: Duration) -> (u64, &'static str) {
    let seconds = time.as_secs();
    match seconds {
        0..60 => (seconds, "second"),
        60..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        172_800..63_072_000 => (seconds / 86_400, "day"),
        _ => (seconds / 31_536_000, "year"),
    }
}

/// As a member of JSON: a moment in any spelling that needs no clock.
impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        moment(&text).map_err(|e| serde::de::Error::custom(e.detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_out_of_range_is_told_apart_from_no_duration() {
        let detail = |text: &str| parse_duration(text).unwrap_err().detail;
        for text in ["0d", "0", "36501d", "99999999999999999999999d", "18446744073709551615y1d", "500ms", "1s1ms"] {
            assert!(detail(text).contains("must be 1s to 36500d"), "{text}: {}", detail(text));
            assert!(parse_any_duration(text).is_ok(), "{text}");
        }
        for text in ["2027-01-05", "2027-01-05T10:00:00Z"] {
            assert!(
                detail(text).contains("is a moment, and what recurs has a length: write 90d"),
                "{}",
                detail(text)
            );
        }
        for text in ["", "P", "d", "1", "1x", "-1d", "1D", "PT1m", "P1H", "1 d", "1mss", "1dé", "é"] {
            assert!(detail(text).contains("is not a duration"), "{text}: {}", detail(text));
        }
    }

    #[test]
    fn durations_are_sums() {
        for (text, seconds) in [
            ("90d", 7_776_000),
            ("12h", 43_200),
            ("1h30m", 5_400),
            ("30s", 30),
            ("5m", 300),
            ("1d12h", 129_600),
            ("2160h0m0s", 7_776_000),
            ("2w", 1_209_600),
            ("1y", 31_536_000),
            ("P90D", 7_776_000),
            ("PT12H", 43_200),
            ("P1DT1M", 86_460),
            (" 30s\n", 30),
            ("1000ms", 1),
        ] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        assert_eq!(parse_any_duration("500ms").unwrap(), Duration::from_millis(500));
    }

    #[test]
    fn moments_are_cut_to_seconds_and_converted_to_utc() {
        for (text, utc) in [
            ("2027-01-05T10:00:00.123456+01:00", "2027-01-05T09:00:00Z"),
            ("2027-01-05T09:00:00.999999999999Z", "2027-01-05T09:00:00Z"),
            ("2027-01-05t09:00:00z", "2027-01-05T09:00:00Z"),
            ("2027-01-05 09:00:00-00:30", "2027-01-05T09:30:00Z"),
            ("2027-01-05 09:00Z", "2027-01-05T09:00:00Z"),
            ("2027-01-05", "2027-01-05T00:00:00Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(moment(text).unwrap().to_string(), utc, "{text}");
        }
        for text in [
            "",
            "2027-02-30",
            "2027-01-05T10:00:00",
            "2027-01-05T10:00:00.Z",
            "1h",
            "now",
            "2027-01-05T25:00:00Z",
            "2027-1-5",
            "２０２７-01-05",
        ] {
            assert!(moment(text).unwrap_err().detail.contains("is not a time"), "{text}");
        }
    }

    #[test]
    fn a_duration_counts_from_now_and_a_moment_ends_a_length() {
        let now = Timestamp::from_secs(1_000_000_000);
        assert_eq!(moment_ahead("1m", now).unwrap(), Timestamp::from_secs(1_000_000_060));
        assert_eq!(moment_ago("1m", now).unwrap(), Timestamp::from_secs(999_999_940));
        assert_eq!(length("2001-09-09T01:47:40Z", now).unwrap(), Duration::from_secs(60));
        assert_eq!(length("1h", now).unwrap(), Duration::from_secs(3_600));
        assert!(length("2001-09-09", now).unwrap_err().detail.contains("is over"));
        assert!(length("soon", now).unwrap_err().detail.contains("is not a time"));
    }

    #[test]
    fn a_duration_is_shown_in_its_largest_whole_unit() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (3_600, "1h"), (5_400, "90m"), (8_640_000, "100d")] {
            assert_eq!(shown_duration(Duration::from_secs(seconds)), text);
        }
    }
}
