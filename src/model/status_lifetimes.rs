//! How long the CRLs and the OCSP answers of an issuer are valid, and what follows from that: how often they are made anew.

use std::time::Duration;

use super::identifier::shown;
use super::times::{parse_any_duration, shown_duration};
use crate::clock::{days, hours, minutes};
use crate::error::{Error, ErrorKind, Result};

/// From signing to nextUpdate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusLifetimes {
    pub crl: Duration,
    pub ocsp: Duration,
}

/// What an operator set; the default where nothing is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SetLifetimes {
    pub crl: Option<Duration>,
    pub ocsp: Option<Duration>,
}

/// What is to change: none leaves it, and none inside goes back to the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LifetimesChange {
    pub crl: Option<Option<Duration>>,
    pub ocsp: Option<Option<Duration>>,
}

/// The shortest leaves a quarter of an hour between publications; the longest is what an offline verifier can want.
const CRL: [Duration; 2] = [hours(1), days(365)];
/// The longest is what is left of a delegate when it is renewed: no answer outlives its signer.
const OCSP: [Duration; 2] = [minutes(15), days(30)];
/// A list is made anew at least so often, so that one that cannot be made is noticed.
const LONGEST_INTERVAL: Duration = days(7);
/// For how long a server may be locked.
const LOCKED_FOR: Duration = days(7);
const OCSP_CACHED: Duration = hours(1);

impl StatusLifetimes {
    pub const DEFAULT: StatusLifetimes = StatusLifetimes { crl: hours(24), ocsp: hours(12) };

    /// How often a CRL is published when nothing was revoked: three publications may fail before one expires.
    pub fn crl_interval(self) -> Duration {
        (self.crl / 4).min(LONGEST_INTERVAL)
    }

    /// When the CRL that stands ready begins: before the one in force expires, and after others should have followed.
    pub fn ready_after(self) -> Duration {
        self.crl * 5 / 6
    }

    /// How long the CRL that stands ready lasts.
    pub fn ready_life(self) -> Duration {
        self.crl.max(LOCKED_FOR)
    }

    /// How long an OCSP answer is given again before a younger one is signed.
    pub fn ocsp_cached(self) -> Duration {
        (self.ocsp / 4).min(OCSP_CACHED)
    }
}

impl Default for StatusLifetimes {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl SetLifetimes {
    /// What holds. A value out of range, which nothing of ours writes, is the default.
    pub fn resolved(self) -> StatusLifetimes {
        let within = |set: Option<Duration>, [least, most]: [Duration; 2], default| {
            set.filter(|length| (least..=most).contains(length)).unwrap_or(default)
        };
        let default = StatusLifetimes::DEFAULT;
        StatusLifetimes { crl: within(self.crl, CRL, default.crl), ocsp: within(self.ocsp, OCSP, default.ocsp) }
    }

    pub fn changed(self, change: LifetimesChange) -> Self {
        SetLifetimes { crl: change.crl.unwrap_or(self.crl), ocsp: change.ocsp.unwrap_or(self.ocsp) }
    }
}

/// The lifetime of a CRL as an operator writes it.
pub fn parse_crl(text: &str) -> Result<Duration> {
    parse("crl_lifetime", text, CRL)
}

/// The lifetime of an OCSP answer as an operator writes it.
pub fn parse_ocsp(text: &str) -> Result<Duration> {
    parse("ocsp_lifetime", text, OCSP)
}

fn parse(member: &str, text: &str, [least, most]: [Duration; 2]) -> Result<Duration> {
    let length = parse_any_duration(text)?;
    if (least..=most).contains(&length) && length.subsec_nanos() == 0 {
        return Ok(length);
    }
    let value = format!("{member} {}", shown(text));
    let allowed = format!("{} to {} in whole seconds", shown_duration(least), shown_duration(most));
    let sentence = format!("{value} is not {allowed}; choose a length within these bounds");
    Err(Error::refused(ErrorKind::Unprocessable, format!("issuer.{member}"), value, allowed, "choose another length")
        .saying(sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_from_a_lifetime_fits_into_it() {
        for crl in [hours(1), hours(24), days(7), days(30), days(365)] {
            let lifetimes = SetLifetimes { crl: Some(crl), ocsp: None }.resolved();
            assert_eq!(lifetimes.crl, crl);
            assert!(lifetimes.crl_interval() < lifetimes.ready_after(), "{crl:?}");
            assert!(lifetimes.ready_after() < crl && lifetimes.ready_life() >= crl, "{crl:?}");
        }
        assert_eq!(StatusLifetimes::DEFAULT.crl_interval(), hours(6));
        assert_eq!(StatusLifetimes::DEFAULT.ready_after(), hours(20));
        assert_eq!(StatusLifetimes::DEFAULT.ocsp_cached(), hours(1));
        let odd = SetLifetimes { crl: Some(days(366)), ocsp: Some(minutes(14)) };
        assert_eq!(odd.resolved(), StatusLifetimes::DEFAULT);
    }
}
