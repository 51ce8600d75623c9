//! What the fields of a profile may say together: each refusal names the RFC or the policy line behind it.

use ::der::oid::ObjectIdentifier;

use super::name::{DistinguishedName, SubjectFields};
use super::oids;
use super::profile::{AskedField, CommonNameRule, ExtendedKeyUsage as Usage, KeyUsage, Profile, ProfileConfig};
use crate::clock::{days, hours, minutes};
use crate::error::{Error, ErrorKind, Result};
use crate::model::identifier::shown;
use crate::model::key::KeyAlgorithm;

/// (holds, rule, value, allowed)
type Check = (bool, &'static str, String, &'static str);

pub(super) fn check(profile: &Profile) -> Result<()> {
    let checks = [slugs, lifetimes, usages, key_usages, names, subject];
    let broken = checks.iter().flat_map(|check| check(profile)).find(|(holds, ..)| !holds);
    let Some((_, rule, value, allowed)) = broken else { return Ok(()) };
    let fix = format!("change profile \"{}\"", shown(profile.name()));
    let wrong = format!("{rule} is {value}; it must be {allowed}");
    Err(Error::refused(ErrorKind::Unprocessable, format!("profile.{rule}"), value, allowed, fix).explained(wrong))
}

/// The policies of a profile, read. anyPolicy says nothing about a certificate of a person or a machine.
pub(super) fn policies(config: &ProfileConfig) -> Result<Vec<ObjectIdentifier>> {
    let mut found: Vec<ObjectIdentifier> = Vec::new();
    for text in &config.policies {
        let id = text.parse::<ObjectIdentifier>().ok().filter(|id| *id != oids::ANY_POLICY && !found.contains(id));
        found.push(id.filter(|_| found.len() < 16).ok_or_else(|| {
            let allowed = "up to 16 different object identifiers, such as 1.3.6.1.4.1.32473.1, without anyPolicy";
            let fix = format!("change profile \"{}\"", shown(&config.name));
            Error::refused(
                ErrorKind::Unprocessable,
                "profile.policies",
                format!("\"{}\"", shown(text)),
                allowed,
                &fix,
            )
            .explained(format!("policy \"{}\" cannot stand in a profile; it takes {allowed}", shown(text)))
        })?);
    }
    Ok(found)
}

fn slugs(profile: &Profile) -> Vec<Check> {
    let slug_ok = |s: &str| {
        !s.is_empty() && s.len() <= 63 && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let form = "lower-case letters, digits and hyphens, at most 63";
    vec![
        (slug_ok(profile.name()), "name", shown(profile.name()), form),
        (slug_ok(profile.domain()), "domain", shown(profile.domain()), form),
    ]
}

fn lifetimes(profile: &Profile) -> Vec<Check> {
    let rule = &profile.config().lifetime;
    let (default, max) = (profile.default_lifetime(&[], false), profile.max_lifetime(&[], false));
    let acme_ip = profile.acme_address_lifetime();
    let no_revocation = profile.no_revocation();
    let value = |text: &str| shown(text);
    vec![
        (default <= max, "lifetime.default", value(&rule.default), "at most the maximum"),
        (acme_ip.is_none_or(|d| d <= max), "lifetime.acme_ip", format!("{acme_ip:?}"), "at most the maximum"),
        // leaves of three years are the longest that a shipped profile has (code signing, time stamping)
        (max <= days(3 * 366), "lifetime.max", value(&rule.max), "at most 3 y"),
        (
            profile.order_lifetime().is_none_or(|d| (minutes(1)..=days(30)).contains(&d)),
            "lifetime.acme_order",
            format!("{:?}", rule.acme_order),
            "1 m to 30 d",
        ),
        (
            profile.max_start_delay() <= days(366),
            "lifetime.max_start_delay",
            format!("{:?}", rule.max_start_delay),
            "at most 1 y",
        ),
        (profile.backdate() <= hours(24), "lifetime.backdate", value(&rule.backdate), "at most 1 d"),
        (profile.backdate() < default, "lifetime.backdate", value(&rule.backdate), "below the default lifetime"),
        (
            !no_revocation || max <= days(10),
            "no_revocation",
            format!("used with lifetimes of {}", shown(&rule.max)),
            "used with lifetimes of at most 10 d (BR §1.6.1)",
        ),
    ]
}

fn usages(profile: &Profile) -> Vec<Check> {
    let config = profile.config();
    let usages = profile.usages();
    let has = |usage| usages.contains(&usage);
    let alone = usages.len() == 1;
    let twice = usages.iter().enumerate().any(|(i, u)| usages.iter().take(i).any(|other| other == u));
    let rule = "extended_key_usage";
    let stamps = alone && config.critical_extended_key_usage;
    let email = config.names.required.iter().any(|kind| kind == "email");
    vec![
        (!usages.is_empty(), rule, "none".into(), "at least one (an empty list would mean any)"),
        (!twice, rule, "a usage twice".into(), "each usage once"),
        (
            !has(Usage::TimeStamping) || stamps,
            rule,
            "timeStamping".into(),
            "the only usage, and critical (RFC 3161 §2.3)",
        ),
        (!has(Usage::CodeSigning) || alone, rule, "codeSigning".into(), "the only usage (CSBR §7.1.2.3)"),
        (!has(Usage::OcspSigning), rule, "OCSPSigning".into(), "usages of leaves: OCSP responders are the CA's own"),
        (
            !has(Usage::EmailProtection) || email,
            rule,
            "emailProtection".into(),
            "used with email in names.required (RFC 8550 §3)",
        ),
    ]
}

fn key_usages(profile: &Profile) -> Vec<Check> {
    let config = profile.config();
    let rsa_only = config.keys.iter().all(|k| k.is_rsa());
    let enciphers = config.key_usage.contains(&KeyUsage::KeyEncipherment);
    let server = config.extended_key_usage.contains(&Usage::ServerAuth);
    let known = |k: &&KeyAlgorithm| super::key_policy::KeyPolicy::KINDS.contains(k);
    let unknown = config.keys.iter().find(|k| !known(k)).map(|k| k.name());
    let for_rsa = config.key_encipherment_for_rsa;
    vec![
        (!config.keys.is_empty(), "keys", "none".into(), "at least one kind of key"),
        (unknown.is_none(), "keys", unknown.unwrap_or_default(), "one of the kinds that this CA accepts"),
        (!config.key_usage.is_empty(), "key_usage", "none".into(), "at least one (RFC 5280 §4.2.1.3)"),
        (
            !enciphers || rsa_only,
            "key_usage",
            "keyEncipherment".into(),
            "used only where all keys are RSA (RFC 8813 §3)",
        ),
        (
            !for_rsa || server,
            "key_encipherment_for_rsa",
            "true".into(),
            "used only with serverAuth (RFC 5246 §7.4.2)",
        ),
    ]
}

fn names(profile: &Profile) -> Vec<Check> {
    let config = profile.config();
    let rule = &config.names;
    let unknown = rule.kinds.iter().find(|k| !["dns", "ip", "email", "uri"].contains(&k.as_str()));
    let stray = rule.required.iter().find(|k| !rule.kinds.contains(k));
    let server = config.extended_key_usage.contains(&Usage::ServerAuth);
    let (min, max) = (rule.min.to_string(), rule.max.to_string());
    let dns = rule.kinds.iter().any(|k| k == "dns");
    let host = dns || rule.kinds.iter().any(|k| k == "ip");
    let none = rule.kinds.is_empty();
    vec![
        (unknown.is_none(), "names.kinds", unknown.map(|k| shown(k)).unwrap_or_default(), "dns, ip, email, uri"),
        (
            stray.is_none(),
            "names.required",
            stray.map(|k| shown(k)).unwrap_or_default(),
            "kinds that names.kinds has",
        ),
        (rule.min <= rule.max && rule.max <= 100, "names.max", max.clone(), "at least names.min and at most 100"),
        (none == (rule.max == 0), "names.max", max.clone(), "0 exactly when no kind is allowed"),
        (rule.required.len() <= rule.max, "names.max", max, "at least as many as the required kinds"),
        (
            !server || rule.min > 0,
            "names.min",
            min,
            "at least 1 for serverAuth (RFC 9525 §2: names stand in the SAN)",
        ),
        (!server || host, "names.kinds", rule.kinds.join(", "), "a list with dns or ip for serverAuth"),
        (
            none || !rule.allow.is_empty(),
            "names.allow",
            "an empty list".into(),
            "a list with at least one rule: an empty one allows nothing",
        ),
        (!rule.wildcards || dns, "names.wildcards", "true".into(), "used only where names.kinds has dns"),
    ]
}

fn subject(profile: &Profile) -> Vec<Check> {
    let config = profile.config();
    let rule = &config.subject;
    let mut fixed = profile.fixed_subject();
    if let CommonNameRule::Fixed(text) | CommonNameRule::Prefixed(text) = &rule.common_name {
        fixed.common_name = Some(text.clone());
    }
    let broken = DistinguishedName::build(&fixed).err().map(|e| e.to_string());
    let dns = config.names.kinds.iter().any(|k| k == "dns");
    let first_dns = rule.common_name == CommonNameRule::FirstDns;
    let nameless =
        rule.common_name == CommonNameRule::None && fixed == SubjectFields::default() && rule.asked.is_empty();
    let twice = rule.asked.iter().any(|field| match field {
        AskedField::Country => rule.country.is_some(),
        AskedField::State => rule.state.is_some(),
        AskedField::Locality => rule.locality.is_some(),
        AskedField::Organization => !rule.organization.is_empty(),
        AskedField::OrganizationalUnit => !rule.organizational_unit.is_empty(),
    });
    vec![
        (broken.is_none(), "subject", broken.unwrap_or_default(), "a name within RFC 5280 App. A"),
        (!first_dns || dns, "subject.common_name", "first-dns".into(), "used only where names.kinds has dns"),
        (
            !nameless || config.names.min > 0,
            "names.min",
            "0".into(),
            "at least 1 with an empty subject (RFC 5280 §4.1.2.6)",
        ),
        (
            !twice,
            "subject.asked",
            "an attribute that the profile fixes".into(),
            "an attribute that the profile does not fix",
        ),
    ]
}
