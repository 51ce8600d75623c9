//! Renewal information (RFC 9773): by which text a certificate is named, and when it should be renewed.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};

use super::certificate::{Certificate, CertificateStatus};
use super::id::{AccountId, CertificateId, RenewalWindowId};
use super::identifier::Identifier;
use super::serial::SerialNumber;
use crate::clock::{Timestamp, days, hours};
use crate::error::{Error, Result};

/// One text has one decoding, so that a certificate has one name: it is compared as text in the database.
const STRICT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(false),
);

/// Authority key identifier and serial number of a certificate (RFC 9773 §4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalId {
    /// The keyIdentifier of its authorityKeyIdentifier.
    pub key_id: Vec<u8>,
    pub serial: SerialNumber,
}

impl fmt::Display for RenewalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", STRICT.encode(&self.key_id), STRICT.encode(self.serial.octets()))
    }
}

impl FromStr for RenewalId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::malformed(
                "a certificate is named by the base64url of its authority key identifier, a period and the base64url \
                 of its serial number, both without padding (RFC 9773 §4.1)",
            )
        };
        let (key_id, serial) = text.split_once('.').filter(|_| text.len() <= 200).ok_or_else(wrong)?;
        let key_id = STRICT.decode(key_id).ok().filter(|id| !id.is_empty()).ok_or_else(wrong)?;
        let serial = STRICT.decode(serial).ok().and_then(|octets| SerialNumber::from_octets(&octets).ok());
        Ok(RenewalId { key_id, serial: serial.ok_or_else(wrong)? })
    }
}

/// When to renew. `end` is always after `start` (RFC 9773 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub start: Timestamp,
    pub end: Timestamp,
}

const SECOND: Duration = Duration::from_secs(1);

impl Window {
    /// Of a certificate that nobody said anything about: it begins when a third of the life is left, or the half of one
    /// below ten days, and lasts for a twentieth of it. Only times of the certificate go into it, so that every answer is the
    /// same; clients choose their moment in it at random (RFC 9773 §4.2).
    pub fn of_life(from: Timestamp, until: Timestamp) -> Self {
        let (from, until) = (from.truncated(), until.truncated());
        let life = until.since(from) + SECOND;
        let left = life / if life < days(10) { 2 } else { 3 };
        let start = (until - left).truncated().max(from);
        let end = (start + (life / 20).max(SECOND)).truncated().min(until);
        // a life of one second has no inside
        Window { start: start.min(end - SECOND), end }
    }

    /// Wholly in the past, as seen from this moment on: renew at once.
    pub fn before(at: Timestamp) -> Self {
        let end = at.truncated() - SECOND;
        Window { start: end - hours(1), end }
    }

    /// What of it lies before `until`; none when nothing does.
    fn up_to(self, until: Timestamp) -> Option<Self> {
        let end = self.end.min(until);
        (self.start < end).then_some(Window { end, ..self })
    }
}

/// Which certificates a rule moves. Everything given must hold; one that gives nothing is refused before it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RenewalFilter {
    /// Exactly these, when there are any.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub certificates: BTreeSet<CertificateId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// Exact requester as printed (`token:…`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requester: Option<String>,
    /// As in the list of certificates: exact, `*.example.org` or `www*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_before: Option<Timestamp>,
}

impl RenewalFilter {
    pub fn is_empty(&self) -> bool {
        *self == RenewalFilter::default()
    }

    pub fn fits(&self, c: &Certificate) -> bool {
        let holds = |asked: &Option<String>, value: &str| asked.as_ref().is_none_or(|asked| asked == value);
        (self.certificates.is_empty() || self.certificates.contains(&c.id))
            && holds(&self.issuer, &c.issuer)
            && holds(&self.profile, &c.profile)
            && holds(&self.requester, &c.requester)
            && self.account.is_none_or(|id| c.account_id == Some(id))
            && self.expires_before.is_none_or(|at| c.validity.not_after() < at)
            && self.name.as_ref().is_none_or(|text| c.names.iter().any(|name| is_named(name, text)))
    }
}

fn is_named(name: &Identifier, text: &str) -> bool {
    let (value, text) = (name.value(), text.to_lowercase());
    if let Some(suffix) = text.strip_prefix("*.") {
        return value.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
    }
    match text.strip_suffix('*') {
        Some(prefix) => value.starts_with(prefix),
        None => value == text,
    }
}

/// An operator's word about many certificates: one row, matched when a client asks, whatever their number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalRule {
    pub id: RenewalWindowId,
    pub filter: RenewalFilter,
    /// Never after the rule was made: what replaces a certificate must not be called back by the same rule.
    pub issued_before: Timestamp,
    pub window: Window,
    pub reason: String,
    pub explanation_url: Option<String>,
    pub created_by: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

impl RenewalRule {
    pub fn is_active(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }
}

/// What is suggested for one certificate, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    pub window: Window,
    pub source: RenewalSource,
    /// When to ask again (RFC 9773 §4.3).
    pub retry_after: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenewalSource {
    Life,
    Rule(Box<RenewalRule>),
    Revocation,
    /// It names another key identifier than its issuer signs under.
    KeyIdentifier,
    /// Its issuer, or a CA above that one, was removed.
    Removal,
}

impl Renewal {
    /// The same certificate where its authority key identifier is not its issuer's any more: renewed at once.
    pub fn outdated(self, certificate: &Certificate) -> Self {
        let window = Window::before(certificate.intended_at);
        Renewal { window, source: RenewalSource::KeyIdentifier, ..self }
    }

    /// The same certificate once its issuer, or a CA above that one, was removed: renewed at once.
    pub fn removed(self, certificate: &Certificate) -> Self {
        Renewal { window: Window::before(certificate.intended_at), source: RenewalSource::Removal, ..self }
    }

    /// The same certificate once it, or a CA above it, was revoked.
    pub fn revoked_at(self, at: Timestamp) -> Self {
        Renewal { window: Window::before(at), source: RenewalSource::Revocation, ..self }
    }

    /// Revocation counts most, then the newest rule that says something about the life of this certificate. A default
    /// notBefore lies before the certificate was made, which is no life that anybody had.
    pub fn of(certificate: &Certificate, newest_first: &[RenewalRule], now: Timestamp) -> Self {
        let until = certificate.validity.not_after();
        let from = certificate.validity.not_before().max(certificate.intended_at).min(until);
        let retry_after = retry_after(until.since(from));
        if let CertificateStatus::Revoked { at, .. } = certificate.status {
            return Renewal { window: Window::before(at), source: RenewalSource::Revocation, retry_after };
        }
        let moved = newest_first
            .iter()
            .filter(|rule| rule.is_active(now) && certificate.intended_at < rule.issued_before)
            .filter(|rule| rule.filter.fits(certificate))
            .find_map(|rule| rule.window.up_to(until).map(|window| (window, rule)));
        match moved {
            Some((window, rule)) => {
                Renewal { window, source: RenewalSource::Rule(Box::new(rule.clone())), retry_after }
            }
            None => Renewal { window: Window::of_life(from, until), source: RenewalSource::Life, retry_after },
        }
    }
}

/// Six hours, as RFC 9773 §4.3.1 reckons; a tenth of a short life, so that clients see a moved window in time.
fn retry_after(life: Duration) -> Duration {
    (life / 10).clamp(Duration::from_secs(5), hours(6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ar1_the_example_of_the_rfc() {
        let key_id = crate::model::serial::parse_hex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4").unwrap();
        let serial = SerialNumber::from_octets(&[0x00, 0x87, 0x65, 0x43, 0x21]).unwrap();
        let id = RenewalId { key_id, serial };
        assert_eq!(id.to_string(), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
        assert_eq!("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE".parse::<RenewalId>().unwrap(), id);
    }

    #[test]
    fn ar3_one_certificate_has_one_text() {
        for bad in [
            "",
            ".",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.",
            ".AIdlQyE",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ=.AIdlQyE=",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE.AIdlQyE",
            // a serial with its sign bit set, one with a needless zero, and trailing bits that are not zero
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.h2VDIQ",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AACHZUMh",
            "aYhba4dGQEHhs3uEe6CuLN4ByNR.AIdlQyE",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyF",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdl+/E",
        ] {
            assert!(bad.parse::<RenewalId>().is_err(), "{bad}");
        }
        let long = format!("{}.AIdlQyE", "A".repeat(400));
        assert!(long.parse::<RenewalId>().is_err());
    }

    #[test]
    fn ar2_no_life_has_a_window_without_inside_or_past_its_end() {
        let from = Timestamp::from_secs(1_800_000_000);
        let ar6 = [
            (300, 150, 15),
            (3_600, 1_800, 180),
            (6 * 86_400, 3 * 86_400, 25_920),
            (90 * 86_400, 60 * 86_400, 388_800),
        ];
        for (life, start, length) in ar6 {
            let window = Window::of_life(from, from + Duration::from_secs(life) - SECOND);
            let got = (window.start.since(from).as_secs(), window.end.since(window.start).as_secs());
            // the last second of a life counts, so that halves and thirds may lie one beside
            assert!(got.0.abs_diff(start) <= 1 && got.1 == length, "{life} s: {got:?}");
        }
        for secs in (0..20_000).chain((20_000..40_000_000).step_by(7_919)) {
            let until = from + Duration::from_secs(secs);
            let window = Window::of_life(from, until);
            assert!(window.start < window.end && window.end <= until, "{secs} s: {window:?}");
            assert!(secs == 0 || window.start >= from, "{secs} s: {window:?}");
            assert_eq!(window.up_to(until), Some(window));
        }
    }

    #[test]
    fn names_match_as_in_the_list() {
        let name = |text: &str| Identifier::guess(text).unwrap();
        for (text, pattern, fits) in [
            ("www.example.org", "www.example.org", true),
            ("www.example.org", "WWW.example.org", true),
            ("www.example.org", "*.example.org", true),
            ("a.b.example.org", "*.example.org", true),
            ("example.org", "*.example.org", false),
            ("xexample.org", "*.example.org", false),
            ("www.example.org", "www*", true),
            ("www.example.org", "ww", false),
            ("10.0.0.7", "10.0.*", true),
        ] {
            assert_eq!(is_named(&name(text), pattern), fits, "{text} {pattern}");
        }
    }
}
