//! dns-persist-01 (draft-ietf-acme-dns-persist): a TXT record at `_validation-persist.NAME` that stays, names this CA
//! and the account, and may hold for wildcards and names below (`policy=wildcard`) and until a time
//! (`persistUntil`). There is no token: the record is the same for every order.

use super::attempt::Attempt;
use super::claim::Claim;
use super::dns01::texts;
use super::error::{PersistSeen, ValidationError};
use super::issue_value::{IssueValue, meant_for};
use super::resolver::DnsFailure;
use crate::clock::Timestamp;

const METHOD: &str = "dns-persist-01";
/// Names above the one asked for whose records are looked at.
const MAX_ABOVE: usize = 8;

pub(super) async fn prove(attempt: &mut Attempt<'_>, claim: &Claim<'_>) -> Result<(), ValidationError> {
    let base = claim.dns_base(METHOD)?;
    let wild = claim.name.to_string().starts_with("*.") || claim.subdomains;
    let above = std::iter::successors(base.split_once('.'), |(_, rest)| rest.split_once('.')).map(|(_, rest)| rest);
    let mut nearest: Option<PersistSeen> = None;
    for (level, name) in std::iter::once(base).chain(above.take(MAX_ABOVE)).enumerate() {
        let place = format!("_validation-persist.{name}");
        let found = match texts(attempt, &place).await {
            Ok(found) => found,
            Err(DnsFailure::NxDomain) => Vec::new(),
            Err(failure) => return Err(ValidationError::TxtLookup { name: place, failure }),
        };
        // a record of a name above holds for this one only when it says so
        let asked = Asked {
            issuers: &attempt.rules.identities,
            account_url: claim.account_url,
            wild: wild || level > 0,
            now: attempt.validator.clock.now(),
        };
        match judge(&found, &asked) {
            Ok(()) => return Ok(()),
            Err(seen) if level == 0 => nearest = Some(seen),
            Err(PersistSeen::Nothing) => {}
            Err(seen) if nearest == Some(PersistSeen::Nothing) => nearest = Some(seen),
            Err(_) => {}
        }
    }
    let issuer = attempt.rules.identities.first().map_or("", String::as_str);
    let policy = if wild { "; policy=wildcard" } else { "" };
    Err(ValidationError::Persist {
        name: format!("_validation-persist.{base}"),
        expected: format!("{issuer}; accounturi={}{policy}", claim.account_url),
        seen: nearest.unwrap_or(PersistSeen::Nothing),
    })
}

struct Asked<'a> {
    issuers: &'a [String],
    account_url: &'a str,
    /// Must the record hold for more than its own name?
    wild: bool,
    now: Timestamp,
}

/// Any one record that fits is enough; else the one that came nearest is told of.
fn judge(texts: &[Vec<u8>], asked: &Asked<'_>) -> Result<(), PersistSeen> {
    let mut nearest = PersistSeen::Nothing;
    for text in texts {
        let ours = |issuer: &String| asked.issuers.iter().any(|own| own.eq_ignore_ascii_case(issuer));
        let meant = meant_for(text).is_some_and(|issuer| ours(&issuer.trim_end_matches('.').to_owned()));
        let verdict = if meant { fits(text, asked) } else { Err(PersistSeen::OtherIssuer) };
        match verdict {
            Ok(()) => return Ok(()),
            Err(seen) => nearest = nearest.max(seen),
        }
    }
    Err(nearest)
}

fn fits(text: &[u8], asked: &Asked<'_>) -> Result<(), PersistSeen> {
    let Ok(value) = IssueValue::parse(text) else { return Err(PersistSeen::Malformed) };
    if value.repeats() {
        return Err(PersistSeen::Repeated);
    }
    let one = |tag: &'static str| value.all(tag).next();
    let account = one("accounturi").ok_or(PersistSeen::NoAccount)?;
    let until = one("persistuntil").map(|text| seconds(text).ok_or(PersistSeen::BadUntil)).transpose()?;
    if account != asked.account_url {
        return Err(PersistSeen::OtherAccount);
    }
    if until.is_some_and(|end| asked.now > Timestamp::from_secs(end)) {
        return Err(PersistSeen::Passed);
    }
    if asked.wild && !one("policy").is_some_and(|policy| policy.eq_ignore_ascii_case("wildcard")) {
        return Err(PersistSeen::NoPolicy);
    }
    Ok(())
}

/// A base-10 integer; more digits than a time of any use has are none.
fn seconds(text: &str) -> Option<i64> {
    let digits = (1..=12).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "https://ca.example/acme/account/1";

    fn verdict(records: &[&str], wild: bool) -> Result<(), PersistSeen> {
        let texts: Vec<_> = records.iter().map(|r| r.replace("ACCOUNT", ACCOUNT).into_bytes()).collect();
        let issuers = ["ca.example".to_owned(), "second.example".to_owned()];
        judge(&texts, &Asked { issuers: &issuers, account_url: ACCOUNT, wild, now: Timestamp::from_secs(1_000) })
    }

    #[test]
    fn records_that_prove() {
        for record in [
            "ca.example; accounturi=ACCOUNT",
            "ca.example;accounturi=ACCOUNT",
            "second.example; accounturi=ACCOUNT; policy=wildcard",
            "CA.Example; AccountURI=ACCOUNT; policy=other; future=1",
            "ca.example; persistUntil=1000; accounturi=ACCOUNT",
        ] {
            assert_eq!(verdict(&[record], false), Ok(()), "{record}");
        }
        assert_eq!(verdict(&["ca.example; accounturi=ACCOUNT; Policy=WildCard"], true), Ok(()));
        let several = ["v=spf1 -all", "ca.example; accounturi=x", "ca.example; a", "ca.example; accounturi=ACCOUNT"];
        assert_eq!(verdict(&several, false), Ok(()), "any one that fits");
    }

    #[test]
    fn records_that_do_not() {
        for (record, wild, seen) in [
            ("other.example; accounturi=ACCOUNT", false, PersistSeen::OtherIssuer),
            ("ca.example", false, PersistSeen::NoAccount),
            ("ca.example;", false, PersistSeen::NoAccount),
            ("ca.example; policy=wildcard", true, PersistSeen::NoAccount),
            ("ca.example; accounturi=ACCOUNT;", false, PersistSeen::Malformed),
            ("ca.example; accounturi=ACCOUNT; policy", false, PersistSeen::Malformed),
            ("ca.example.; accounturi=ACCOUNT", false, PersistSeen::Malformed),
            ("ca.example; accounturi=ACCOUNT; accounturi=ACCOUNT", false, PersistSeen::Repeated),
            ("ca.example; accounturi=ACCOUNT; x=1; X=1", false, PersistSeen::Repeated),
            ("ca.example; accounturi=ACCOUNT2", false, PersistSeen::OtherAccount),
            ("ca.example; accounturi=HTTPS://ca.example/acme/account/1", false, PersistSeen::OtherAccount),
            ("ca.example; accounturi=ACCOUNT; persistUntil=999", false, PersistSeen::Passed),
            ("ca.example; accounturi=ACCOUNT; persistUntil=tomorrow", false, PersistSeen::BadUntil),
            ("ca.example; accounturi=ACCOUNT; persistUntil=1e9", false, PersistSeen::BadUntil),
            ("ca.example; accounturi=ACCOUNT; persistUntil=", false, PersistSeen::BadUntil),
            ("ca.example; accounturi=ACCOUNT; persistUntil=99999999999999999999", false, PersistSeen::BadUntil),
            ("ca.example; accounturi=ACCOUNT", true, PersistSeen::NoPolicy),
            ("ca.example; accounturi=ACCOUNT; policy=all", true, PersistSeen::NoPolicy),
        ] {
            assert_eq!(verdict(&[record], wild), Err(seen), "{record}");
        }
        assert_eq!(verdict(&[], false), Err(PersistSeen::Nothing));
        let nearest = ["other.example; accounturi=ACCOUNT", "ca.example; accounturi=ACCOUNT; persistUntil=1"];
        assert_eq!(verdict(&nearest, false), Err(PersistSeen::Passed), "the nearest is told of");
    }
}
