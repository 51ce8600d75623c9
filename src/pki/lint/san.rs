//! The subjectAltName and the common name beside it (RFC 5280 §4.2.1.6; RFC 9525; SPIFFE X509-SVID §2; BR §7.1.4).

use super::{Checked, Findings, Kind, Outcome};
use crate::model::identifier::Identifier;
use crate::pki::name::DistinguishedName;
use crate::pki::{der, general_name, oids};

pub(super) fn check(checked: &Checked<'_>, findings: &mut Findings) -> Outcome {
    let view = checked.view;
    let subject = DistinguishedName::from_der(view.subject)?;
    let names = view.names()?;
    let server = view.extended_key_usage()?.contains(&oids::EKU_SERVER_AUTH) && checked.kind == Kind::Leaf;
    let cites = "RFC 5280 §4.2.1.6";
    match view.extension(&oids::SUBJECT_ALT_NAME) {
        None => {
            findings.require(!subject.is_empty(), "san.present", "RFC 5280 §4.1.2.6", "neither subject nor names");
            findings.require(!server, "san.present", "RFC 9525 §2", "a TLS server without names");
        }
        Some((critical, value)) => {
            findings.require(!names.is_empty(), "san.empty", cites, "an empty list");
            let fits = critical == subject.is_empty();
            findings.require(fits, "san.critical", cites, "critical exactly when the subject is empty");
            let encoded: Vec<_> = names.iter().map(general_name::encode).collect();
            let again = der::sequence(&encoded.iter().map(Vec::as_slice).collect::<Vec<_>>());
            findings.require(again == value, "san.canonical", cites, "a name is not in its canonical form");
        }
    }
    let twice = names.iter().enumerate().find(|(i, name)| names.iter().take(*i).any(|other| other == *name));
    if let Some((_, name)) = twice {
        findings.add("san.once", cites, format!("{name} stands twice"));
    }
    spiffe(&names, findings);
    if server {
        common_name(&subject, &names, findings)?;
    }
    let path = checked.above.path;
    for judged in [path.check_names(&names), path.check_subject(&subject)] {
        if let Err(error) = judged {
            findings.add("san.constraints", "RFC 5280 §4.2.1.10", error.detail);
        }
    }
    Ok(())
}

fn spiffe(names: &[Identifier], findings: &mut Findings) {
    let uris: Vec<_> = names.iter().filter(|name| matches!(name, Identifier::Uri(_))).collect();
    let is_spiffe = |name: &&Identifier| name.value().starts_with("spiffe://");
    let lone = !uris.iter().any(is_spiffe) || uris.len() == 1;
    findings.require(lone, "san.spiffe", "SPIFFE X509-SVID §2", "a SPIFFE id stands beside another URI");
}

/// Verifiers that still read the CN must not learn a host that is not in the SAN. `kube-apiserver` and
/// `system:node:a` are no hosts to anybody.
fn common_name(subject: &DistinguishedName, names: &[Identifier], findings: &mut Findings) -> Outcome {
    for text in subject.texts(&oids::COMMON_NAME)? {
        let host = Identifier::ip(&text).or_else(|_| Identifier::dns(&text)).ok();
        let host = host.filter(|name| matches!(name, Identifier::Ip(_)) || text.contains('.'));
        let known = host.is_none_or(|name| names.contains(&name));
        findings.require(known, "san.common_name", "BR §7.1.4.3", format!("CN {text} is not among the names"));
    }
    Ok(())
}
