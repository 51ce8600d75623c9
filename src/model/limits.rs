//! Rate limits as data and as arithmetic: `count/period` texts, and the generic cell rate algorithm (GCRA), which
//! keeps one time a limit and needs no window to be counted over.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::identifier::shown;
use super::times::parse_duration;
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// `count` within `period`: all at once, or spread; one comes back every `period / count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub count: u32,
    pub period: Duration,
}

impl Rate {
    pub const fn new(count: u32, period_secs: u64) -> Self {
        Rate { count, period: Duration::from_secs(period_secs) }
    }

    /// What one costs, in microseconds.
    pub fn step(&self) -> i64 {
        let micros = i64::try_from(self.period.as_micros()).unwrap_or(i64::MAX);
        micros / i64::from(self.count) + i64::from(micros % i64::from(self.count) != 0)
    }

    /// Takes one at `now`. `Ok` is the time to keep in place of `kept`, `Err` when there is one again.
    pub fn take(&self, kept: Timestamp, now: Timestamp) -> std::result::Result<Timestamp, Timestamp> {
        let next = kept.max(now).micros() + self.step();
        let latest = now.micros() + self.step().saturating_mul(i64::from(self.count));
        match next <= latest {
            true => Ok(Timestamp::from_micros(next)),
            false => Err(Timestamp::from_micros(next - latest + now.micros())),
        }
    }
}

/// Written as the duration that it was: `3h`, `7d`.
fn period(period: Duration) -> String {
    let secs = period.as_secs();
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];
    let fits = units.into_iter().find(|(size, _)| secs.is_multiple_of(*size)).unwrap_or((1, 's'));
    format!("{}{}", secs / fits.0, fits.1)
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.count, period(self.period))
    }
}

/// `300/3h`, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Limit(pub Option<Rate>);

impl FromStr for Limit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "none" {
            return Ok(Limit(None));
        }
        let wrong = || {
            Error::malformed(format!(
                "\"{}\" is no limit: write a count from 1 to 1000000 and a period from 1s to 366d such as 300/3h, or none",
                shown(text)
            ))
        };
        let (count, period) = text.split_once('/').ok_or_else(wrong)?;
        let count = number(count).filter(|count| (1..=1_000_000).contains(count)).ok_or_else(wrong)?;
        let period = parse_duration(period).map_err(|_| wrong())?;
        if !(1..=366 * 86_400).contains(&period.as_secs()) {
            return Err(wrong());
        }
        Ok(Limit(Some(Rate { count, period })))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("none"),
            Some(rate) => write!(f, "{}/{}", rate.count, period(rate.period)),
        }
    }
}

/// How many at the same time: `300`, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Most(pub Option<u32>);

impl FromStr for Most {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "none" {
            return Ok(Most(None));
        }
        let count = number(text).filter(|count| (1..=1_000_000).contains(count));
        count.map(|count| Most(Some(count))).ok_or_else(|| {
            Error::malformed(format!("\"{}\" is no limit: write a count from 1 to 1000000, or none", shown(text)))
        })
    }
}

impl fmt::Display for Most {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("none"),
            Some(count) => write!(f, "{count}"),
        }
    }
}

fn number(text: &str) -> Option<u32> {
    Some(text).filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

macro_rules! as_text {
    ($($name:ident)+) => {$(
        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(limit: $name) -> String {
                limit.to_string()
            }
        }
    )+};
}
as_text! { Limit Most }

/// The limits of an ACME directory. The defaults stop a client that has run wild and nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// New accounts of one address; of one /64 with IPv6, which is what one host has.
    pub new_accounts: Limit,
    /// New orders of one account, and authorizations ahead of them; what renews has ten times as many of its own.
    pub new_orders: Limit,
    /// The same of one address, whatever the accounts.
    pub new_orders_per_address: Limit,
    /// Certificates for exactly the same set of names in this directory, whatever the accounts.
    pub certificates: Limit,
    /// Validations of one name that fail for one account.
    pub failed_validations: Limit,
    /// Orders of one account that are pending or ready at the same time.
    pub open_orders: Most,
    /// So many failures of one name for one account without a success, over at least this time, pause it.
    pub pause: Limit,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            new_accounts: Limit(Some(Rate::new(500, 3 * 3_600))),
            new_orders: Limit(Some(Rate::new(3_000, 3 * 3_600))),
            new_orders_per_address: Limit(None),
            certificates: Limit(Some(Rate::new(100, 7 * 86_400))),
            failed_validations: Limit(Some(Rate::new(60, 3_600))),
            open_orders: Most(Some(300)),
            pause: Limit(Some(Rate::new(20, 2 * 86_400))),
        }
    }
}

/// What one account has in place of its directory's limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_orders: Option<Limit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Limit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_validations: Option<Limit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_orders: Option<Most>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Limit>,
}

impl AccountLimits {
    /// The directory's limits as they are for this account.
    pub fn over(&self, limits: &Limits) -> Limits {
        Limits {
            new_orders: self.new_orders.unwrap_or(limits.new_orders),
            certificates: self.certificates.unwrap_or(limits.certificates),
            failed_validations: self.failed_validations.unwrap_or(limits.failed_validations),
            open_orders: self.open_orders.unwrap_or(limits.open_orders),
            pause: self.pause.unwrap_or(limits.pause),
            ..*limits
        }
    }
}

/// A name that an account cannot order until an operator says so: its validations failed for days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    pub name: String,
    pub failures: i64,
    pub since: Timestamp,
    pub paused_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_has_exactly_its_count_and_comes_back_evenly() {
        for (count, secs) in [(1, 1), (3, 10), (7, 3_600), (300, 10_800), (999_983, 86_400)] {
            let (rate, now) = (Rate::new(count, secs), Timestamp::from_secs(1_000_000));
            let mut kept = Timestamp::from_micros(0);
            for n in 0..count {
                kept = rate.take(kept, now).unwrap_or_else(|at| panic!("{n} of {count}: again at {at}"));
            }
            let again = rate.take(kept, now).unwrap_err();
            assert_eq!(again.micros() - now.micros(), rate.step(), "{count}/{secs}s");
            assert!(rate.take(kept, Timestamp::from_micros(again.micros() - 1)).is_err());
            kept = rate.take(kept, again).unwrap();
            assert!(rate.take(kept, again).is_err(), "one came back and one was taken");
        }
    }

    #[test]
    fn limits_are_read_and_written_as_texts() {
        for (text, written) in [("300/3h", "300/3h"), ("1/90m", "1/90m"), ("5/168h", "5/7d"), ("none", "none")] {
            assert_eq!(text.parse::<Limit>().unwrap().to_string(), written);
        }
        for wrong in ["", "3", "0/1h", "3/0s", "-1/1h", "3/400d", "+3/1h", "3/1h/1h", "1000001/1h", "None"] {
            assert!(wrong.parse::<Limit>().is_err(), "{wrong}");
        }
        assert_eq!("12".parse::<Most>().unwrap(), Most(Some(12)));
        for wrong in ["", "0", "-1", "1000001", "+1"] {
            assert!(wrong.parse::<Most>().is_err(), "{wrong}");
        }
        let limits = Limits::default();
        let text = serde_json::to_string(&limits).unwrap();
        assert_eq!(serde_json::from_str::<Limits>(&text).unwrap(), limits);
        assert!(serde_json::from_str::<Limits>(r#"{"new_order":"1/1h"}"#).is_err());
    }
}
