//! The one choke point: profile, issuer and standards judged on the bytes that will be signed, not on the inputs
//! (OpenBao GHSA-g892-p242-8g86 had two sources of names and one check). Deny by default.

use super::algorithm::Spki;
use super::der::DerError;
use super::issuer::Ask;
use super::lint::Above;
use super::name::{DistinguishedName, SubjectFields};
use super::oids;
use super::path::IssuingPath;
use super::policies;
use super::profile::Profile;
use super::tbs::TbsView;
use crate::clock::{Timestamp, hours};
use crate::error::{Error, ErrorKind, Result};
use crate::model::identifier::Identifier;
use crate::model::validity::START_SKEW;

/// Profile and issuer, told in words that help who asked; what is left is lint's (`pki::lint`).
pub fn judge_leaf(bytes: &[u8], profile: &Profile, above: &Above<'_>, ask: &Ask) -> Result<()> {
    let view = TbsView::parse(bytes).map_err(broken)?;
    names(&view, profile, above, ask)?;
    subject_or_names(&view)?;
    constraints(&view, above)?;
    validity(&view, profile, above, ask)?;
    usages(&view, profile, above)?;
    policies(&view, profile, above)
}

fn broken(error: DerError) -> Error {
    Error::internal("bytes that were just built cannot be read", error)
}

fn built_wrongly(rule: &str, value: impl std::fmt::Display, allowed: &str) -> Error {
    Error::refused(
        ErrorKind::Refused,
        format!("lint.{rule}"),
        &value,
        allowed,
        "report this: the CA built it wrongly",
    )
    .explained(format!("the CA built {value} into the certificate instead of {allowed}"))
}

fn subject_or_names(view: &TbsView<'_>) -> Result<()> {
    let empty_subject = DistinguishedName::from_der(view.subject).map_err(broken)?.is_empty();
    if empty_subject && view.extension(&oids::SUBJECT_ALT_NAME).is_none() {
        return Err(Error::refused(
            ErrorKind::Refused,
            "subject.present",
            "a certificate without a subject and without names",
            "a subject or a critical subjectAltName (RFC 5280 §4.1.2.6)",
            "ask for a name",
        )
        .explained("the certificate would have neither a subject nor a name (RFC 5280 §4.1.2.6)"));
    }
    Ok(())
}

/// What every CA of the path permits (RFC 5280 §6.1.3 b, c).
fn constraints(view: &TbsView<'_>, above: &Above<'_>) -> Result<()> {
    planted!("constraints-of-cas-are-ignored", (), above.path.check_names(&view.names().map_err(broken)?)?);
    above.path.check_subject(&DistinguishedName::from_der(view.subject).map_err(broken)?)
}

fn policies(view: &TbsView<'_>, profile: &Profile, above: &Above<'_>) -> Result<()> {
    let own = view.extension(&oids::CERTIFICATE_POLICIES).map(|(_, value)| policies::policies(value));
    let own = own.transpose().map_err(broken)?.unwrap_or_default();
    if own != profile.policies().iter().copied().collect() {
        return Err(built_wrongly("policies", "other certificate policies", "those of the profile"));
    }
    above.path.check_policies(&own)
}

fn validity(view: &TbsView<'_>, profile: &Profile, above: &Above<'_>, ask: &Ask) -> Result<()> {
    let (from, to) = (view.validity.not_before(), view.validity.not_after());
    let refuse = |rule: &str, value: Timestamp, allowed: String, fix: &str| {
        let what = if rule == "not_before" { "start" } else { "expire" };
        let wrong = format!("the certificate would {what} at {value}; it must be {allowed}");
        Err(Error::refused(ErrorKind::Refused, format!("validity.{rule}"), value, allowed, fix).explained(wrong))
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
    if planted!("expired-certificate-is-made", false, to < ask.now.truncated()) {
        return refuse("not_after", to, format!("a time after now, {}", ask.now), "ask for a later notAfter");
    }
    let (earliest, latest) = start_bounds(profile, ask);
    if from < earliest {
        return refuse(
            "not_before",
            from,
            format!("{earliest} or later by profile {}", profile.name()),
            "leave not_before out",
        );
    }
    if ask.validity.not_before.is_some() && from > latest {
        return refuse(
            "not_before",
            from,
            format!("{latest} or earlier by profile {}", profile.name()),
            "ask for an earlier start, or again when it is nearer",
        );
    }
    // both ends count (Mozilla bug 1715455), and the backdate with them
    let max = profile.max_lifetime(&view.names().map_err(broken)?, ask.via_acme);
    if planted!("lifetime-has-no-maximum", false, view.validity.length() > max) {
        return refuse(
            "lifetime",
            to,
            format!("at most {} d from notBefore by profile {}", max.as_secs() / 86_400, profile.name()),
            "ask for a shorter ttl",
        );
    }
    if planted!(
        "certificate-outlives-its-issuer",
        false,
        from < above.validity.not_before() || to > above.validity.not_after()
    ) {
        return refuse("issuer", to, within(above), "ask for a shorter ttl, or an operator for a new issuer");
    }
    Ok(())
}

/// Between which times an explicit start may lie. An order's start was judged when the order was made, however late it
/// is finalized; its creation may have been written down a little later.
fn start_bounds(profile: &Profile, ask: &Ask) -> (Timestamp, Timestamp) {
    match ask.validity.asked_at.filter(|_| ask.validity.not_before.is_some()) {
        Some(made) => {
            let made = made.min(ask.now);
            ((made - profile.backdate().max(START_SKEW) - START_SKEW).truncated(), made + START_SKEW)
        }
        None => (
            (ask.now - profile.backdate().max(hours(1))).truncated(),
            ask.now + profile.max_start_delay() + START_SKEW,
        ),
    }
}

/// The issuer's own validity, or that of the CA above it that expires first.
fn within(above: &Above<'_>) -> String {
    let (from, to) = (above.validity.not_before(), above.validity.not_after());
    match above.path.first_to_expire().filter(|ca| ca.subject != above.subject) {
        Some(ca) => format!("within {from} to {to}, when {} expires", ca.described()),
        None => format!("within the issuer's own {from} to {to}"),
    }
}

/// The subject that the profile gives. A CN that only repeats a DNS name is left out where a directoryName constraint
/// of the path forbids it: such constraints leave an empty subject free (RFC 5280 §4.2.1.10).
pub(super) fn subject(
    profile: &Profile,
    path: &IssuingPath,
    ask: &Ask,
    names: &[Identifier],
) -> Result<DistinguishedName> {
    let mut fields = profile.subject(ask.common_name.as_deref(), &ask.subject, names)?;
    let build = |fields: &SubjectFields| {
        DistinguishedName::build(fields).map_err(|e| {
            let rule = format!("subject.{}", e.attribute);
            {
                let sentence = e.to_string();
                Error::refused(ErrorKind::Refused, rule, e.value, e.why, "ask for another value").explained(sentence)
            }
        })
    };
    let subject = build(&fields)?;
    if !profile.common_name_is_a_name() || path.check_subject(&subject).is_ok() {
        return Ok(subject);
    }
    fields.common_name = None;
    build(&fields)
}

fn names(view: &TbsView<'_>, profile: &Profile, above: &Above<'_>, ask: &Ask) -> Result<()> {
    let names = view.names().map_err(broken)?;
    if ask.reserved_allowed {
        profile.check_shape(&names)?;
    } else {
        profile.check_names(&names, &ask.own_hosts, &ask.granted)?;
    }
    let found = DistinguishedName::from_der(view.subject).map_err(broken)?;
    if found != subject(profile, above.path, ask, &names)? {
        return Err(built_wrongly("subject", found, "the subject that the profile gives"));
    }
    Ok(())
}

fn usages(view: &TbsView<'_>, profile: &Profile, above: &Above<'_>) -> Result<()> {
    let usages = view.extended_key_usage().map_err(broken)?;
    let expected: Vec<_> = profile.usages().iter().map(|u| u.oid()).collect();
    if usages != expected || usages.is_empty() || usages.contains(&oids::ANY_EXTENDED_KEY_USAGE) {
        return Err(built_wrongly("extended_key_usage", "other usages", "those of the profile (RFC 5280 §4.2.1.12)"));
    }
    above.path.check_usages(&usages)?;
    let algorithm = Spki::parse(view.spki).and_then(|spki| spki.algorithm());
    let key = algorithm.map_err(|e| Error::internal("a public key that was just copied cannot be read", e))?;
    if view.key_usage().map_err(broken)? != Some(profile.key_usage(key)) {
        return Err(built_wrongly("key_usage", "other bits", "those of the profile (RFC 5280 §4.2.1.3)"));
    }
    Ok(())
}
