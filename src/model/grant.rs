//! A grant bounds what its holder may ask for: names, addresses, URIs, subjects, profiles, issuers, expiry, count.
//! Each list is an allow-list, and an empty one allows nothing; `*` stands for everything and must be written.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::id::GrantId;
use super::identifier::{Identifier, shown};
use super::names::NameRule;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// A grant as its row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub id: GrantId,
    /// What it is for; that of a token which brought its own bounds is the token's.
    pub name: String,
    pub scope: Scope,
    pub expires_at: Option<Timestamp>,
    pub max_count: Option<i64>,
    pub used_count: i64,
    pub created_by: String,
    pub created_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
    /// Since when it does not work, because the database was restored; an operator confirms it.
    pub suspended_at: Option<Timestamp>,
}

impl Grant {
    /// `active`, `used_up`, `expired`, `revoked`, `suspended`.
    pub fn status(&self, now: Timestamp) -> &'static str {
        match (self.revoked_at, self.expires_at, self.max_count) {
            (Some(_), ..) => "revoked",
            (None, Some(end), _) if end <= now => "expired",
            _ if self.suspended_at.is_some() => "suspended",
            (None, _, Some(max)) if self.used_count >= max => "used_up",
            _ => "active",
        }
    }

    /// Refuses what is asked after its end; says which end it was.
    pub fn check_alive(&self, now: Timestamp) -> Result<()> {
        let refuse = |rule: &str, value: String, allowed: String, wrong: String| {
            let fix = "ask an administrator for a new grant";
            let wrong = format!("grant {} {wrong}", self.id);
            Err(Error::refused(ErrorKind::Refused, format!("grant.{rule}"), value, allowed, fix).explained(wrong))
        };
        if let Some(at) = self.revoked_at {
            return refuse(
                "revoked",
                format!("a request at {now}"),
                format!("none since grant {} was revoked at {at}", self.id),
                format!("was revoked at {at}"),
            );
        }
        if let Some(end) = self.expires_at.filter(|end| *end <= now) {
            return refuse(
                "expires",
                format!("a request at {now}"),
                format!("one before grant {} expired at {end}", self.id),
                format!("expired at {end}"),
            );
        }
        if let Some(at) = self.suspended_at {
            return Err(suspended("grant.suspended", &format!("grant {}", self.id), &self.id.to_string(), at));
        }
        match self.max_count {
            Some(max) if self.used_count >= max => {
                let number = self.used_count.saturating_add(1);
                refuse(
                    "count",
                    format!("certificate number {number}"),
                    format!("at most {max} under grant {}", self.id),
                    match max {
                        1 => "allows 1 certificate, and it was issued".to_owned(),
                        _ => format!("allows {max} certificates, and all were issued"),
                    },
                )
            }
            _ => Ok(()),
        }
    }
}

/// Says that something does not work until an operator confirms it by its id.
pub fn suspended(rule: &str, what: &str, id: &str, at: Timestamp) -> Error {
    let allowed = format!("none until {what} is confirmed");
    let fix = format!("ask an administrator to run `chancery reconcile --confirm {id}` on the host of the server");
    let sentence = format!("{what} is suspended since {at}, because the database of this CA was restored; {fix}");
    Error::refused(ErrorKind::Refused, rule, "a request", allowed, fix).saying(sentence)
}

/// The allow-lists.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scope {
    /// DNS names, addresses, mailboxes and URIs, as `NameRule` writes them.
    pub names: Vec<NameRule>,
    /// Common names that are no name of the certificate, other attributes as `O=Lab Ltd`, or `*`.
    pub subjects: Vec<String>,
    pub profiles: Vec<String>,
    pub issuers: Vec<String>,
}

impl Scope {
    /// May it ask for this name?
    pub fn check_name(&self, name: &Identifier) -> Result<()> {
        let fits = self.names.iter().any(|rule| rule.covers(name));
        refuse_unless(fits, ErrorKind::RejectedIdentifier, "grant.names", &name.value(), listed(&self.names))
    }

    /// Everything about one certificate at once.
    pub fn check(&self, profile: &str, issuer: &str, names: &[Identifier], common_name: Option<&str>) -> Result<()> {
        self.check_profile(profile)?;
        self.check_issuer(issuer)?;
        names.iter().try_for_each(|name| self.check_name(name))?;
        let other = common_name.filter(|cn| !names.iter().any(|name| name.value() == **cn));
        other.map_or(Ok(()), |cn| self.check_subject(cn))
    }

    /// A common name that is also a name of the certificate is judged there.
    pub fn check_subject(&self, common_name: &str) -> Result<()> {
        let as_name = Identifier::guess(common_name).is_ok_and(|name| self.check_name(&name).is_ok());
        let fits = as_name || any_is(&self.subjects, common_name);
        refuse_unless(fits, ErrorKind::Refused, "grant.subjects", common_name, listed(&self.subjects))
    }

    pub fn check_profile(&self, slug: &str) -> Result<()> {
        refuse_unless(self.sees_profile(slug), ErrorKind::Refused, "grant.profiles", slug, listed(&self.profiles))
    }

    pub fn check_issuer(&self, slug: &str) -> Result<()> {
        refuse_unless(self.sees_issuer(slug), ErrorKind::Refused, "grant.issuers", slug, listed(&self.issuers))
    }

    pub fn sees_profile(&self, slug: &str) -> bool {
        any_is(&self.profiles, slug)
    }

    pub fn sees_issuer(&self, slug: &str) -> bool {
        any_is(&self.issuers, slug)
    }
}

fn any_is(list: &[String], value: &str) -> bool {
    list.iter().any(|entry| entry == "*" || entry == value)
}

fn listed(list: &[impl fmt::Display]) -> String {
    if list.is_empty() {
        "nothing".to_owned()
    } else {
        list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

fn refuse_unless(fits: bool, kind: ErrorKind, rule: &str, value: &str, allowed: String) -> Result<()> {
    if fits {
        return Ok(());
    }
    let what = rule.strip_prefix("grant.").and_then(|list| list.strip_suffix('s')).unwrap_or(rule);
    let value = format!("\"{}\"", shown(value));
    let wrong = format!("the grant does not allow {what} {value}; it allows {allowed}");
    Err(Error::refused(kind, rule, value, allowed, "ask an administrator for a wider grant").explained(wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_scope_allows_nothing() {
        let scope = Scope::default();
        for name in ["a.example", "10.0.0.1", "a@b.example", "urn:x:y"] {
            assert!(scope.check_name(&Identifier::guess(name).unwrap()).is_err());
        }
        assert!(scope.check_profile("tls-server").is_err() && scope.check_issuer("tls-1").is_err());
        assert!(scope.check_subject("alice").is_err());
    }

    #[test]
    fn a_grant_ends_at_its_second_and_with_its_count() {
        let at = Timestamp::from_secs;
        let grant = Grant {
            id: GrantId::from_bytes([1; 16]),
            name: "test".into(),
            scope: Scope::default(),
            expires_at: Some(at(100)),
            max_count: Some(2),
            used_count: 1,
            created_by: "test".into(),
            created_at: at(1),
            revoked_at: None,
            suspended_at: None,
        };
        assert!(grant.check_alive(at(99)).is_ok());
        let rule = |grant: &Grant, now| grant.check_alive(at(now)).unwrap_err().rule.unwrap().name;
        assert_eq!((rule(&grant, 100), grant.status(at(100))), ("grant.expires".into(), "expired"));
        let used = Grant { used_count: 2, ..grant.clone() };
        assert_eq!((rule(&used, 1), used.status(at(1))), ("grant.count".into(), "used_up"));
        let revoked = Grant { revoked_at: Some(at(2)), ..grant };
        assert_eq!((rule(&revoked, 3), revoked.status(at(3))), ("grant.revoked".into(), "revoked"));
    }

    #[test]
    fn a_common_name_needs_a_subject_or_a_name_rule() {
        let scope = Scope { names: vec![NameRule::parse("lab.example").unwrap()], ..Scope::default() };
        assert!(scope.check_subject("db.lab.example").is_ok() && scope.check_subject("kubernetes-admin").is_err());
    }
}
