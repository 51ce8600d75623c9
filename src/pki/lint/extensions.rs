//! Which extensions each kind of certificate has and which of them are critical; basic constraints, key
//! identifiers and pointers (RFC 5280 §4.2; RFC 6960 §4.2.2.2.1; RFC 9608).

use ::der::oid::ObjectIdentifier;

use super::{Checked, Findings, Kind, Outcome};
use crate::pki::der::{self, Cursor, DerError};
use crate::pki::general_name;
use crate::pki::oids;
use crate::pki::tbs::key_identifier;

/// Must it be critical? The SAN's criticality follows the subject and is judged there.
fn criticality(id: &ObjectIdentifier) -> Option<bool> {
    match *id {
        oids::BASIC_CONSTRAINTS | oids::KEY_USAGE | oids::NAME_CONSTRAINTS => Some(true),
        oids::SUBJECT_KEY_ID
        | oids::AUTHORITY_KEY_ID
        | oids::CRL_DISTRIBUTION_POINTS
        | oids::AUTHORITY_INFO_ACCESS
        | oids::CERTIFICATE_POLICIES
        | oids::OCSP_NOCHECK
        | oids::NO_REV_AVAIL => Some(false),
        _ => None,
    }
}

const LEAF: &[ObjectIdentifier] = &[
    oids::BASIC_CONSTRAINTS,
    oids::KEY_USAGE,
    oids::EXTENDED_KEY_USAGE,
    oids::CERTIFICATE_POLICIES,
    oids::SUBJECT_KEY_ID,
    oids::AUTHORITY_KEY_ID,
    oids::SUBJECT_ALT_NAME,
    oids::CRL_DISTRIBUTION_POINTS,
    oids::AUTHORITY_INFO_ACCESS,
    oids::NO_REV_AVAIL,
];

const RESPONDER: &[ObjectIdentifier] = &[
    oids::BASIC_CONSTRAINTS,
    oids::KEY_USAGE,
    oids::EXTENDED_KEY_USAGE,
    oids::CERTIFICATE_POLICIES,
    oids::SUBJECT_KEY_ID,
    oids::AUTHORITY_KEY_ID,
    oids::OCSP_NOCHECK,
];

const ISSUING: &[ObjectIdentifier] = &[
    oids::BASIC_CONSTRAINTS,
    oids::KEY_USAGE,
    oids::EXTENDED_KEY_USAGE,
    oids::CERTIFICATE_POLICIES,
    oids::SUBJECT_KEY_ID,
    oids::AUTHORITY_KEY_ID,
    oids::NAME_CONSTRAINTS,
    oids::CRL_DISTRIBUTION_POINTS,
    oids::AUTHORITY_INFO_ACCESS,
];

const ROOT: &[ObjectIdentifier] = &[oids::BASIC_CONSTRAINTS, oids::KEY_USAGE, oids::SUBJECT_KEY_ID];

pub(super) fn check(checked: &Checked<'_>, findings: &mut Findings) -> Outcome {
    let allowed = match checked.kind {
        Kind::Leaf => LEAF,
        Kind::Responder => RESPONDER,
        Kind::Issuing => ISSUING,
        Kind::Root => ROOT,
    };
    for (id, critical, _) in &checked.view.extensions {
        findings.require(
            allowed.contains(id),
            "extensions.known",
            "RFC 5280 §4.2",
            format!("{id} does not belong here"),
        );
        let right = criticality(id).is_none_or(|wanted| wanted == *critical);
        findings.require(right, "extensions.critical", "RFC 5280 §4.2", format!("{id} with critical={critical}"));
    }
    basic_constraints(checked, findings)?;
    key_identifiers(checked, findings)?;
    pointers(checked, findings)
}

fn basic_constraints(checked: &Checked<'_>, findings: &mut Findings) -> Outcome {
    let cites = "RFC 5280 §4.2.1.9";
    match (checked.view.ca()?, checked.kind) {
        (None, Kind::Leaf | Kind::Responder) => {
            let value = checked.view.extension(&oids::BASIC_CONSTRAINTS).map(|(_, value)| value);
            let empty = value.is_none_or(|v| v == [der::SEQUENCE, 0]);
            findings.require(empty, "basic_constraints.form", cites, "cA FALSE and no path length in a leaf");
        }
        (Some(_), Kind::Leaf | Kind::Responder) => findings.add("basic_constraints.ca", cites, "CA:TRUE in a leaf"),
        (None, Kind::Issuing | Kind::Root) => findings.add("basic_constraints.ca", cites, "no CA:TRUE in a CA"),
        (Some(_), Kind::Root) => {}
        (Some(own), Kind::Issuing) => {
            let nested = match (own, checked.above.path.path_len()) {
                (Some(own), Some((above, _))) => own < above,
                (None, Some(_)) => false,
                (_, None) => true,
            };
            findings.require(own.is_some(), "basic_constraints.path_len", cites, "no path length in an issuing CA");
            findings.require(nested, "basic_constraints.path_len", cites, "a path length not below the issuer's");
        }
    }
    if checked.above.path.path_len().is_some_and(|(left, _)| left == 0) && checked.kind == Kind::Issuing {
        findings.add("basic_constraints.path_len", cites, "the issuer may have no CA below it");
    }
    Ok(())
}

fn key_identifiers(checked: &Checked<'_>, findings: &mut Findings) -> Outcome {
    let own = checked.view.subject_key_id()?;
    let derived = key_identifier(checked.view.spki)?;
    let right = own == Some(checked.above.below_key_id.unwrap_or(&derived));
    findings.require(right, "subject_key_id", "RFC 5280 §4.2.1.2, RFC 7093 §2", "not that of the public key");
    let cites = "RFC 5280 §4.2.1.1";
    let expected = der::sequence(&[&der::tlv(der::context(0), checked.above.key_id)]);
    match (checked.view.extension(&oids::AUTHORITY_KEY_ID), checked.kind) {
        (None, Kind::Root) => {}
        (Some(_), Kind::Root) => findings.add("authority_key_id", cites, "a root names no authority"),
        (None, _) => findings.add("authority_key_id", cites, "missing"),
        (Some((_, value)), _) => {
            let exact = value == expected;
            findings.require(exact, "authority_key_id", cites, "not the issuer's key identifier alone");
        }
    }
    Ok(())
}

fn pointers(checked: &Checked<'_>, findings: &mut Findings) -> Outcome {
    let view = checked.view;
    let crl = view.extension(&oids::CRL_DISTRIBUTION_POINTS).map(|(_, value)| crl_urls(value)).transpose()?;
    let access = view.extension(&oids::AUTHORITY_INFO_ACCESS).map(|(_, value)| access_urls(value)).transpose()?;
    for url in crl.iter().flatten().chain(access.iter().flatten()) {
        let plain = url.starts_with("http://") && url::Url::parse(url).is_ok_and(|u| u.has_host());
        findings.require(
            plain,
            "pointers.http",
            "RFC 5280 §4.2.1.13, §4.2.2.1, §8",
            format!("{url} is not plain http"),
        );
    }
    let no_rev_avail = view.extension(&oids::NO_REV_AVAIL);
    let nocheck = view.extension(&oids::OCSP_NOCHECK);
    for (_, value) in no_rev_avail.iter().chain(&nocheck) {
        let null = *value == [der::NULL, 0];
        findings.require(null, "extensions.null", "RFC 6960 §4.2.2.2.1, RFC 9608 §2", "its value is not NULL");
    }
    let pointed = crl.is_some() || access.is_some();
    match checked.kind {
        Kind::Leaf => {
            let one = no_rev_avail.is_some() != pointed;
            let detail = "either pointers to CRL and OCSP, or noRevAvail";
            findings.require(one, "pointers.revocation", "RFC 9608 §4, RFC 5280 §4.2.1.13", detail);
        }
        Kind::Responder => {
            findings.require(nocheck.is_some(), "ocsp_nocheck", "RFC 6960 §4.2.2.2.1", "missing");
        }
        Kind::Issuing => {
            let above = checked.above.path.cas().first();
            let (right, what) = match above.is_none_or(|above| above.signs_crls) {
                true => (crl.is_some(), "names no CRL of the CA above"),
                false => (crl.is_none(), "names a CRL of a CA that may sign none"),
            };
            findings.require(right, "pointers.revocation", "RFC 5280 §4.2.1.13", what);
        }
        Kind::Root => {}
    }
    Ok(())
}

/// The fullName URIs of every distribution point; reasons and cRLIssuer are not ours to write.
fn crl_urls(value: &[u8]) -> Result<Vec<String>, DerError> {
    let mut points = der::only_sequence(value)?;
    let mut urls = Vec::new();
    while !points.is_empty() {
        let mut point = points.sequence()?;
        let mut name = point.expect(der::context_constructed(0))?.inside();
        point.finish()?;
        let mut full = name.expect(der::context_constructed(0))?.inside();
        name.finish()?;
        urls.push(uri(&mut full)?);
        full.finish()?;
    }
    Ok(urls)
}

fn access_urls(value: &[u8]) -> Result<Vec<String>, DerError> {
    let mut list = der::only_sequence(value)?;
    let mut urls = Vec::new();
    while !list.is_empty() {
        let mut description = list.sequence()?;
        if ![oids::AD_OCSP, oids::AD_CA_ISSUERS].contains(&description.oid()?) {
            return Err(DerError("an access method is neither OCSP nor caIssuers"));
        }
        urls.push(uri(&mut description)?);
        description.finish()?;
    }
    Ok(urls)
}

fn uri(from: &mut Cursor<'_>) -> Result<String, DerError> {
    let name = from.expect(general_name::URI)?;
    general_name::ascii(name.content).map(str::to_owned).map_err(|_| DerError("a URI is not ASCII"))
}
