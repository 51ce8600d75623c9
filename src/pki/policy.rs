//! The one choke point: profile, issuer and standards judged on the bytes that will be signed, not on the inputs
//! (OpenBao GHSA-g892-p242-8g86 had two sources of names and one check). Deny by default.

use der::oid::ObjectIdentifier;

use super::der::DerError;
use super::issuer::Ask;
use super::name::DistinguishedName;
use super::oids;
use super::profile::{ExtendedKeyUsage, Profile};
use super::tbs::{self, TbsView};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::identifier::Identifier;
use crate::model::serial::SerialNumber;
use crate::model::validity::Validity;

/// What the issuer's own certificate allows below it.
#[derive(Debug)]
pub struct Bounds<'a> {
    pub subject: &'a [u8],
    pub key_id: &'a [u8],
    pub validity: Validity,
    pub usages: &'a [ObjectIdentifier],
}

/// Extensions that a leaf of ours may have; any other is a refusal.
const LEAF_EXTENSIONS: [ObjectIdentifier; 9] = [
    oids::BASIC_CONSTRAINTS,
    oids::KEY_USAGE,
    oids::EXTENDED_KEY_USAGE,
    oids::SUBJECT_KEY_ID,
    oids::AUTHORITY_KEY_ID,
    oids::SUBJECT_ALT_NAME,
    oids::CRL_DISTRIBUTION_POINTS,
    oids::AUTHORITY_INFO_ACCESS,
    oids::NO_REV_AVAIL,
];

pub fn judge_leaf(bytes: &[u8], profile: &Profile, bounds: &Bounds<'_>, ask: &Ask) -> Result<()> {
    let view = TbsView::parse(bytes).map_err(broken)?;
    standards(&view, bounds)?;
    validity(&view, profile, bounds, ask)?;
    names(&view, profile, ask)?;
    usages(&view, profile, bounds)
}

fn broken(error: DerError) -> Error {
    Error::internal("bytes that were just built cannot be read", error)
}

fn lint(rule: &str, value: impl std::fmt::Display, allowed: &str) -> Error {
    Error::refused(ErrorKind::Refused, format!("lint.{rule}"), value, allowed, "report this: the CA built it wrongly")
}

fn standards(view: &TbsView<'_>, bounds: &Bounds<'_>) -> Result<()> {
    let serial = SerialNumber::from_octets(view.serial)?;
    if serial.octets().len() < 17 {
        return Err(lint("serial", serial, "at least 128 random bits (design: unique over all issuers)"));
    }
    if view.issuer != bounds.subject {
        return Err(lint("issuer_name", "another name", "the issuer's subject byte for byte (RFC 5280 §4.1.2.4)"));
    }
    if view.authority_key_id().map_err(broken)? != Some(bounds.key_id) {
        return Err(lint(
            "authority_key_id",
            "another identifier",
            "the issuer's key identifier (RFC 5280 §4.2.1.1)",
        ));
    }
    if view.ca().map_err(broken)?.is_some() {
        return Err(lint("basic_constraints", "CA:TRUE", "CA:FALSE in a leaf (RFC 5280 §4.2.1.9)"));
    }
    if let Some((id, ..)) = view.extensions.iter().find(|(id, ..)| !LEAF_EXTENSIONS.contains(id)) {
        return Err(lint("extensions", id, "the extensions of a leaf"));
    }
    let empty_subject = DistinguishedName::from_der(view.subject).map_err(broken)?.is_empty();
    let san = view.extension(&oids::SUBJECT_ALT_NAME);
    if empty_subject && san.is_none_or(|(critical, _)| !critical) {
        return Err(Error::refused(
            ErrorKind::Refused,
            "subject.present",
            "a certificate without a subject and without names",
            "a subject or a critical subjectAltName (RFC 5280 §4.1.2.6)",
            "ask for a name",
        ));
    }
    Ok(())
}

fn validity(view: &TbsView<'_>, profile: &Profile, bounds: &Bounds<'_>, ask: &Ask) -> Result<()> {
    let (from, to) = (view.validity.not_before(), view.validity.not_after());
    let refuse = |rule: &str, value: Timestamp, allowed: String, fix: &str| {
        Err(Error::refused(ErrorKind::Refused, format!("validity.{rule}"), value, allowed, fix))
    };
    for (asked, got, rule) in
        [(ask.validity.not_before, from, "not_before"), (ask.validity.not_after, to, "not_after")]
    {
        if asked.is_some_and(|asked| asked.truncated() != got) {
            return refuse(
                rule,
                got,
                "exactly the time that was asked for".into(),
                "report this: the CA built it wrongly",
            );
        }
    }
    if to < ask.now.truncated() {
        return refuse("not_after", to, format!("a time after now, {}", ask.now), "ask for a later notAfter");
    }
    let earliest = (ask.now - profile.backdate()).truncated();
    if from < earliest && from != bounds.validity.not_before() {
        return refuse(
            "not_before",
            from,
            format!("{earliest} or later by profile {}", profile.name()),
            "leave not_before out",
        );
    }
    // the part before now is the backdate, which is not the requester's to pay for; both ends count
    let max = profile.max_lifetime();
    if view.validity.length() > max {
        return refuse(
            "lifetime",
            to,
            format!("at most {} d from notBefore by profile {}", max.as_secs() / 86_400, profile.name()),
            "ask for a shorter ttl",
        );
    }
    if from < bounds.validity.not_before() || to > bounds.validity.not_after() {
        return refuse(
            "issuer",
            to,
            format!("within the issuer's own {} to {}", bounds.validity.not_before(), bounds.validity.not_after()),
            "ask for a shorter ttl, or an operator for a new issuer",
        );
    }
    Ok(())
}

fn names(view: &TbsView<'_>, profile: &Profile, ask: &Ask) -> Result<()> {
    let names = view.names().map_err(broken)?;
    if ask.reserved_allowed {
        return Ok(());
    }
    profile.check_names(&names, &ask.own_hosts)?;
    let subject = DistinguishedName::from_der(view.subject).map_err(broken)?;
    let server = profile.usages().contains(&ExtendedKeyUsage::ServerAuth);
    for common_name in subject.texts(&oids::COMMON_NAME).map_err(broken)? {
        // a verifier that still reads the CN must not learn a name that was not checked
        let known =
            names.iter().any(|n| matches!(n, Identifier::Dns(_) | Identifier::Ip(_)) && n.value() == common_name);
        if server && !profile.has_fixed_name() && !known {
            return Err(lint("common_name", format!("\"{common_name}\""), "one of the names in the SAN"));
        }
    }
    let organizations = subject.texts(&oids::ORGANIZATION).map_err(broken)?;
    if organizations != profile.organizations() {
        return Err(lint("organization", organizations.join(", "), "the organizations of the profile"));
    }
    Ok(())
}

fn usages(view: &TbsView<'_>, profile: &Profile, bounds: &Bounds<'_>) -> Result<()> {
    let usages = view.extended_key_usage().map_err(broken)?;
    let expected: Vec<_> = profile.usages().iter().map(|u| u.oid()).collect();
    if usages != expected || usages.is_empty() || usages.contains(&oids::ANY_EXTENDED_KEY_USAGE) {
        return Err(lint("extended_key_usage", "other usages", "those of the profile (RFC 5280 §4.2.1.12)"));
    }
    if !bounds.usages.is_empty()
        && let Some(outside) = usages.iter().find(|u| !bounds.usages.contains(u))
    {
        return Err(Error::refused(
            ErrorKind::Refused,
            "issuer.extended_key_usage",
            outside,
            "the usages of the issuer's certificate",
            "use an issuer of the profile's domain",
        ));
    }
    let key_usage = view.key_usage().map_err(broken)?.unwrap_or(0);
    if key_usage == 0 || key_usage & (tbs::KEY_CERT_SIGN | tbs::CRL_SIGN) != 0 {
        return Err(lint(
            "key_usage",
            format!("{key_usage:#06x}"),
            "usages of a leaf, at least one (RFC 5280 §4.2.1.3)",
        ));
    }
    Ok(())
}
