//! CAA (RFC 8659, parameters RFC 8657): whom a zone lets issue. The records of the name are looked up, and where it
//! has none those of its parent, up to the top; the first set found decides. Addresses have no CAA (RFC 8738 §6).

use serde::{Deserialize, Serialize};

use super::attempt::{Attempt, StepKind};
use super::error::{CaaSeen, ValidationError};
use super::issue_value::IssueValue;
use super::resolver::{CaaRecord, DnsFailure};
use crate::model::identifier::{DnsName, Identifier, shown};

/// What CAA records mean here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaaMode {
    /// They are not looked up.
    #[default]
    Off,
    /// A refusal stands in the timeline and in the log, and nothing else happens.
    Log,
    /// They refuse, and so does a lookup that fails.
    Enforce,
}

impl CaaMode {
    pub const ALL: [CaaMode; 3] = [CaaMode::Off, CaaMode::Log, CaaMode::Enforce];

    pub const fn name(self) -> &'static str {
        match self {
            CaaMode::Off => "off",
            CaaMode::Log => "log",
            CaaMode::Enforce => "enforce",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        CaaMode::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// For whom permission is looked for.
pub(super) struct Applicant<'a> {
    /// The names of this CA.
    pub identities: &'a [String],
    pub account_url: &'a str,
    /// Name of the validation method, as RFC 8657 §4 has it.
    pub method: &'a str,
}

pub(super) async fn check(
    attempt: &mut Attempt<'_>,
    name: &Identifier,
    applicant: &Applicant<'_>,
) -> Result<(), ValidationError> {
    let name = match name {
        Identifier::Dns(name) => name,
        Identifier::Ip(_) | Identifier::Email(_) | Identifier::Uri(_) => return Ok(()),
    };
    let mut at = Some(name.base());
    while let Some(place) = at {
        let records = look_up(attempt, place).await?;
        if !records.is_empty() {
            let verdict = judge(&records, name, applicant);
            let words = verdict.as_ref().map_or_else(CaaSeen::words, |()| "it permits this CA".to_owned());
            attempt.note(StepKind::Caa, format!("CAA {place}: {words}"));
            let identity = applicant.identities.first().cloned().unwrap_or_default();
            return verdict.map_err(|seen| ValidationError::Caa { name: place.to_owned(), identity, seen });
        }
        at = place
            .split_once('.')
            .map(|(_, parent)| parent)
            .filter(|_| planted!("caa-of-parents-is-ignored", false, true));
    }
    attempt.note(StepKind::Caa, format!("no CAA record from {} up to the top", shown(name.base())));
    Ok(())
}

async fn look_up(attempt: &mut Attempt<'_>, place: &str) -> Result<Vec<CaaRecord>, ValidationError> {
    let resolver = attempt.resolver.clone();
    match attempt.within(resolver.caa(place)).await.unwrap_or(Err(DnsFailure::Timeout)) {
        Ok(records) => {
            attempt.note(StepKind::Caa, format!("CAA {}: {} records", shown(place), records.len()));
            Ok(records)
        }
        Err(DnsFailure::NxDomain) => {
            attempt.note(StepKind::Caa, format!("CAA {}: no such name", shown(place)));
            Ok(Vec::new())
        }
        Err(failure) => {
            attempt.note(StepKind::Caa, format!("CAA {}: {failure}", shown(place)));
            planted!(
                "caa-failure-permits",
                Ok(Vec::new()),
                Err(ValidationError::CaaLookup { name: place.to_owned(), failure })
            )
        }
    }
}

/// Tags that this CA understands; those behind issuewild say nothing about certificates for servers.
const KNOWN: [&str; 6] = ["issue", "issuewild", "iodef", "issuemail", "contactemail", "contactphone"];

/// The one set that counts (RFC 8659 §4): permitted by any one of its properties, or when none restricts.
fn judge(records: &[CaaRecord], name: &DnsName, applicant: &Applicant<'_>) -> Result<(), CaaSeen> {
    let is = |record: &CaaRecord, tag: &str| record.tag.eq_ignore_ascii_case(tag);
    if let Some(unknown) = records
        .iter()
        .find(|r| planted!("caa-critical-tag-is-ignored", false, r.critical) && !KNOWN.iter().any(|tag| is(r, tag)))
    {
        return Err(CaaSeen::CriticalUnknown { tag: unknown.tag.clone() });
    }
    let wild = name.is_wildcard() && records.iter().any(|r| is(r, "issuewild"));
    let tag = if wild { "issuewild" } else { "issue" };
    let mut restricting = records.iter().filter(|r| is(r, tag)).peekable();
    if restricting.peek().is_none() {
        return Ok(());
    }
    let mut nearest = CaaSeen::Nobody;
    for record in restricting {
        match permits(&record.value, applicant) {
            Ok(()) => return Ok(()),
            Err(seen) => nearest = nearest.max(seen),
        }
    }
    Err(nearest)
}

/// A value that does not match the grammar permits nobody (RFC 8659 §4.2).
fn permits(value: &[u8], applicant: &Applicant<'_>) -> Result<(), CaaSeen> {
    let Ok(value) = IssueValue::parse(value) else { return Err(CaaSeen::Malformed) };
    let Some(issuer) = &value.issuer else { return Err(CaaSeen::Nobody) };
    if planted!(
        "caa-of-another-ca-permits",
        false,
        !applicant.identities.iter().any(|own| own.eq_ignore_ascii_case(issuer))
    ) {
        return Err(CaaSeen::OtherIssuer);
    }
    // RFC 8657 §3 and §4: a parameter that stands twice can be satisfied by nobody
    let mut accounts = value.all("accounturi");
    match (accounts.next(), accounts.next()) {
        (None, _) => {}
        (Some(uri), None) if planted!("caa-account-is-ignored", !uri.is_empty(), uri == applicant.account_url) => {}
        (Some(_), None) => return Err(CaaSeen::OtherAccount),
        (Some(_), Some(_)) => return Err(CaaSeen::Repeated),
    }
    let mut methods = value.all("validationmethods");
    match (methods.next(), methods.next()) {
        (None, _) => Ok(()),
        (Some(list), None) if !is_list(list) => Err(CaaSeen::Malformed),
        (Some(list), None)
            if planted!(
                "caa-method-is-ignored",
                !list.is_empty(),
                list.split(',').any(|method| method == applicant.method)
            ) =>
        {
            Ok(())
        }
        (Some(_), None) => Err(CaaSeen::OtherMethod { method: applicant.method.to_owned() }),
        (Some(_), Some(_)) => Err(CaaSeen::Repeated),
    }
}

/// Labels of letters, digits and hyphens with commas between them, or nothing (RFC 8657 §4).
fn is_list(text: &str) -> bool {
    text.is_empty()
        || text.split(',').all(|l| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(name: &str, records: &[(&str, bool, &str)]) -> Result<(), CaaSeen> {
        let records: Vec<_> = records
            .iter()
            .map(|(tag, critical, value)| CaaRecord {
                critical: *critical,
                tag: (*tag).to_owned(),
                value: value.as_bytes().to_vec(),
            })
            .collect();
        let applicant = Applicant {
            identities: &["ca.example".to_owned()],
            account_url: "https://ca.example/acme/account/1",
            method: "dns-01",
        };
        judge(&records, &DnsName::parse(name).unwrap(), &applicant)
    }

    #[test]
    fn c2_wildcards_go_by_issuewild_where_there_is_one() {
        let (ours, other) = ("ca.example", "other.example");
        assert_eq!(
            verdict("*.a.test", &[("issue", false, ours), ("issuewild", false, other)]),
            Err(CaaSeen::OtherIssuer)
        );
        assert_eq!(verdict("*.a.test", &[("issue", false, other), ("issuewild", false, ours)]), Ok(()));
        assert_eq!(verdict("*.a.test", &[("issue", false, ours)]), Ok(()));
        assert_eq!(verdict("*.a.test", &[("issue", false, other)]), Err(CaaSeen::OtherIssuer));
        assert_eq!(verdict("a.test", &[("issue", false, ours), ("issuewild", false, ";")]), Ok(()));
        assert_eq!(verdict("a.test", &[("issuewild", false, ";")]), Ok(()), "no issue restricts nothing");
    }

    #[test]
    fn c3_an_empty_issuer_forbids_and_so_does_nonsense() {
        for value in [";", "", " ; ", "; accounturi=https://ca.example/acme/account/1"] {
            assert_eq!(verdict("a.test", &[("issue", false, value)]), Err(CaaSeen::Nobody), "{value}");
        }
        assert_eq!(verdict("a.test", &[("issue", false, "%%%%%")]), Err(CaaSeen::Malformed));
        assert_eq!(verdict("a.test", &[("issue", false, ";"), ("issue", false, "ca.example")]), Ok(()), "any one");
    }

    #[test]
    fn c4_unknown_tags_forbid_only_when_critical() {
        let ours = ("issue", false, "ca.example");
        assert_eq!(verdict("a.test", &[ours, ("future", false, "x")]), Ok(()));
        let seen = Err(CaaSeen::CriticalUnknown { tag: "future".to_owned() });
        assert_eq!(verdict("a.test", &[ours, ("future", true, "x")]), seen);
        assert_eq!(verdict("a.test", &[("issue", true, "ca.example")]), Ok(()), "critical and understood");
        assert_eq!(verdict("a.test", &[("iodef", true, "mailto:a@a.test")]), Ok(()), "iodef alone restricts nothing");
        assert_eq!(verdict("a.test", &[("future", false, "x")]), Ok(()));
    }

    #[test]
    fn c6_the_account_is_compared_letter_by_letter() {
        let issue = |value: &str| verdict("a.test", &[("issue", false, value)]);
        assert_eq!(issue("ca.example; accounturi=https://ca.example/acme/account/1"), Ok(()));
        assert_eq!(issue("ca.example; accounturi=https://CA.example/acme/account/1"), Err(CaaSeen::OtherAccount));
        assert_eq!(issue("ca.example; accounturi=https://ca.example/acme/account/12"), Err(CaaSeen::OtherAccount));
        assert_eq!(issue("ca.example; accounturi="), Err(CaaSeen::OtherAccount));
        let twice =
            "ca.example; accounturi=https://ca.example/acme/account/1; accounturi=https://ca.example/acme/account/1";
        assert_eq!(issue(twice), Err(CaaSeen::Repeated));
    }

    #[test]
    fn c7_methods_are_a_list_and_unknown_ones_are_passed_over() {
        let issue = |value: &str| verdict("a.test", &[("issue", false, value)]);
        assert_eq!(issue("ca.example; validationmethods=dns-01"), Ok(()));
        assert_eq!(issue("ca.example; validationmethods=future-77,dns-01"), Ok(()));
        let other = Err(CaaSeen::OtherMethod { method: "dns-01".to_owned() });
        assert_eq!(issue("ca.example; validationmethods=http-01,tls-alpn-01"), other);
        assert_eq!(issue("ca.example; validationmethods="), other, "an empty list lets nobody");
        assert_eq!(issue("ca.example; validationmethods=dns-01,,http-01"), Err(CaaSeen::Malformed));
        assert_eq!(issue("ca.example; validationmethods=dns_01"), Err(CaaSeen::Malformed));
        assert_eq!(issue("ca.example; validationmethods=dns-01; validationmethods=dns-01"), Err(CaaSeen::Repeated));
    }

    #[test]
    fn c8_tags_and_issuers_are_compared_without_case() {
        assert_eq!(verdict("a.test", &[("ISSUE", false, "Ca.EXAMPLE")]), Ok(()));
        assert_eq!(verdict("a.test", &[("Issue", false, "other.example")]), Err(CaaSeen::OtherIssuer));
        let spaced = "\tca.example\t;\t AccountURI\t=\t https://ca.example/acme/account/1 ; x=y";
        assert_eq!(verdict("a.test", &[("issue", false, spaced)]), Ok(()));
        assert_eq!(verdict("a.test", &[("issue", false, "www.ca.example")]), Err(CaaSeen::OtherIssuer));
    }
}
