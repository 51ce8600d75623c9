//! The one choke point: profile, issuer and standards judged on the bytes that will be signed, not on the inputs
//! (OpenBao GHSA-g892-p242-8g86 had two sources of names and one check). Deny by default.

use super::algorithm::Spki;
use super::der::DerError;
use super::issuer::Ask;
use super::lint::Above;
use super::name::DistinguishedName;
use super::oids;
use super::profile::Profile;
use super::tbs::TbsView;
use crate::clock::{Timestamp, hours};
use crate::error::{Error, ErrorKind, Result};

/// Profile and issuer, told in words that help who asked; what is left is lint's (`pki::lint`).
pub fn judge_leaf(bytes: &[u8], profile: &Profile, above: &Above<'_>, ask: &Ask) -> Result<()> {
    let view = TbsView::parse(bytes).map_err(broken)?;
    names(&view, profile, ask)?;
    subject_or_names(&view)?;
    validity(&view, profile, above, ask)?;
    usages(&view, profile, above)
}

fn broken(error: DerError) -> Error {
    Error::internal("bytes that were just built cannot be read", error)
}

fn built_wrongly(rule: &str, value: impl std::fmt::Display, allowed: &str) -> Error {
    Error::refused(ErrorKind::Refused, format!("lint.{rule}"), value, allowed, "report this: the CA built it wrongly")
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
        ));
    }
    Ok(())
}

fn validity(view: &TbsView<'_>, profile: &Profile, above: &Above<'_>, ask: &Ask) -> Result<()> {
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
    // an explicit start may lie an hour before it was asked for, never further; an order waits days for its finalize
    let asked_at = ask.validity.asked_at.filter(|_| ask.validity.not_before.is_some()).unwrap_or(ask.now);
    let earliest = (asked_at.min(ask.now) - profile.backdate().max(hours(1))).truncated();
    if from < earliest {
        return refuse(
            "not_before",
            from,
            format!("{earliest} or later by profile {}", profile.name()),
            "leave not_before out",
        );
    }
    // both ends count (Mozilla bug 1715455), and the backdate with them
    let max = profile.max_lifetime(&view.names().map_err(broken)?, ask.via_acme);
    if view.validity.length() > max {
        return refuse(
            "lifetime",
            to,
            format!("at most {} d from notBefore by profile {}", max.as_secs() / 86_400, profile.name()),
            "ask for a shorter ttl",
        );
    }
    if from < above.validity.not_before() || to > above.validity.not_after() {
        return refuse(
            "issuer",
            to,
            format!("within the issuer's own {} to {}", above.validity.not_before(), above.validity.not_after()),
            "ask for a shorter ttl, or an operator for a new issuer",
        );
    }
    Ok(())
}

fn names(view: &TbsView<'_>, profile: &Profile, ask: &Ask) -> Result<()> {
    let names = view.names().map_err(broken)?;
    if ask.reserved_allowed {
        profile.check_shape(&names)?;
    } else {
        profile.check_names(&names, &ask.own_hosts, &ask.granted)?;
    }
    let subject = DistinguishedName::from_der(view.subject).map_err(broken)?;
    let expected = profile.subject(ask.common_name.as_deref(), &ask.subject, &names)?;
    if subject != DistinguishedName::build(&expected).map_err(|e| built_wrongly("subject", e, "a name"))? {
        return Err(built_wrongly("subject", subject, "the subject that the profile gives"));
    }
    Ok(())
}

fn usages(view: &TbsView<'_>, profile: &Profile, above: &Above<'_>) -> Result<()> {
    let usages = view.extended_key_usage().map_err(broken)?;
    let expected: Vec<_> = profile.usages().iter().map(|u| u.oid()).collect();
    if usages != expected || usages.is_empty() || usages.contains(&oids::ANY_EXTENDED_KEY_USAGE) {
        return Err(built_wrongly("extended_key_usage", "other usages", "those of the profile (RFC 5280 §4.2.1.12)"));
    }
    if !above.usages.is_empty()
        && let Some(outside) = usages.iter().find(|u| !above.usages.contains(u))
    {
        return Err(Error::refused(
            ErrorKind::Refused,
            "issuer.extended_key_usage",
            outside,
            "the usages of the issuer's certificate",
            "use an issuer of the profile's domain",
        ));
    }
    let algorithm = Spki::parse(view.spki).and_then(|spki| spki.algorithm());
    let key = algorithm.map_err(|e| Error::internal("a public key that was just copied cannot be read", e))?;
    if view.key_usage().map_err(broken)? != Some(profile.key_usage(key)) {
        return Err(built_wrongly("key_usage", "other bits", "those of the profile (RFC 5280 §4.2.1.3)"));
    }
    Ok(())
}
