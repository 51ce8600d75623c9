//! Records as words of a page: times in UTC, what is left of them, requesters, text without control characters.

use std::time::Duration;

use crate::clock::{Timestamp, exact};
use crate::model::text::printable;
pub use crate::model::times::{relative, span};

/// `2026-11-29`
pub fn day(at: Timestamp) -> String {
    at.to_string().get(..10).unwrap_or_default().to_owned()
}

/// `2026-11-29 14:02`
pub fn minute(at: Timestamp) -> String {
    at.to_string().get(..16).unwrap_or_default().replace('T', " ")
}

/// `2026-11-29 14:02:07`
pub fn second(at: Timestamp) -> String {
    at.to_string().get(..19).unwrap_or_default().replace('T', " ")
}

/// `2026-11-29 14:02:07.120`
pub fn millisecond(at: Timestamp) -> String {
    exact::text(at).get(..23).unwrap_or_default().replace('T', " ")
}

/// How long a certificate is valid: its last second counts (RFC 5280 §4.1.2.5).
pub fn life(from: Timestamp, until: Timestamp) -> String {
    span(until.since(from) + Duration::from_secs(1))
}

/// 1234567 as `1 234 567`, with narrow spaces.
pub fn number(n: i64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A count that stops at `bound`: `10 000+`.
pub fn bounded(n: i64, bound: u16) -> String {
    if n >= i64::from(bound) { format!("{}+", number(n)) } else { number(n) }
}

/// What others wrote, with characters that would hide or turn text around made visible.
pub fn clean(text: &str) -> String {
    printable(text).into_owned()
}

/// The last characters of a serial or fingerprint, by which people tell two apart.
pub fn tail(hex: &str) -> String {
    format!("…{}", hex.get(hex.len().saturating_sub(8)..).unwrap_or(hex))
}

/// `7f3a 91c2 …`: groups of four digits.
pub fn grouped(hex: &str) -> String {
    let digits: Vec<char> = hex.chars().collect();
    digits.chunks(4).map(|c| c.iter().collect::<String>()).collect::<Vec<_>>().join(" ")
}

/// Who asked: a word for the kind and the name that people know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    pub kind: &'static str,
    pub name: String,
    /// `/accounts/acc_…`, when there is a page.
    pub page: Option<String>,
}

impl Requester {
    /// From `token:tok_…/name`, `account:acc_…`, `host:0/root`, `system/own certificate`.
    pub fn of(text: &str) -> Self {
        let (who, name) = text.split_once('/').unwrap_or((text, ""));
        let (kind, id) = who.split_once(':').unwrap_or((who, ""));
        let kind = match kind {
            "token" => "token",
            "user" => "user",
            "account" => "ACME account",
            "host" => "host",
            "key-holder" => "key holder",
            "job" => "job",
            _ => "system",
        };
        let page = (kind == "ACME account").then(|| format!("/accounts/{}", clean(id)));
        let name = if name.is_empty() { tail(id) } else { clean(name) };
        Requester { kind, name, page }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{days, hours};

    #[test]
    fn times_are_told_in_one_unit() {
        let now = Timestamp::from_secs(1_793_491_200);
        assert_eq!((day(now), minute(now)), ("2026-11-01".into(), "2026-11-01 00:00".into()));
        assert_eq!(relative(now + days(6), now), "in 6 days");
        assert_eq!(relative(now - hours(3), now), "3 hours ago");
        assert_eq!(relative(now, now), "just now");
        assert_eq!(span(days(800)), "2 years");
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!((bounded(9, 10), bounded(10, 10)), ("9".into(), "10+".into()));
    }

    #[test]
    fn text_that_hides_is_shown() {
        assert_eq!(clean("a\u{202e}b\n"), "a\\u202eb\\u000a");
    }

    #[test]
    fn requesters_have_names() {
        let name = |text| Requester::of(text).name;
        assert_eq!(name("token:tok_01/ci"), "ci");
        assert_eq!(name("host:0/root"), "root");
        assert_eq!(name("account:acc_01K9ABCDEFGH"), "…ABCDEFGH");
        assert_eq!(Requester::of("account:acc_1").page.unwrap(), "/accounts/acc_1");
    }
}
