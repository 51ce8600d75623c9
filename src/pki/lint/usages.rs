//! Key usage and extended key usage (RFC 5280 §4.2.1.3, §4.2.1.12; RFC 3161 §2.3; RFC 6960 §4.2.2.2; RFC 8410 §5).

use super::{Checked, Findings, Kind, Outcome};
use crate::pki::algorithm::{KeyKind, Spki};
use crate::pki::oids;
use crate::pki::tbs::{CRL_SIGN, DIGITAL_SIGNATURE, KEY_CERT_SIGN};

const NON_REPUDIATION: u16 = 0x4000;
const KEY_ENCIPHERMENT: u16 = 0x2000;

pub(super) fn check(checked: &Checked<'_>, findings: &mut Findings) -> Outcome {
    key_usage(checked, findings)?;
    extended_key_usage(checked, findings)
}

fn key_usage(checked: &Checked<'_>, findings: &mut Findings) -> Outcome {
    let cites = "RFC 5280 §4.2.1.3";
    let Some(bits) = checked.view.key_usage()? else {
        findings.add("key_usage.present", cites, "missing");
        return Ok(());
    };
    let (needed, allowed) = match checked.kind {
        Kind::Leaf => (0, DIGITAL_SIGNATURE | NON_REPUDIATION | KEY_ENCIPHERMENT),
        Kind::Responder => (DIGITAL_SIGNATURE, DIGITAL_SIGNATURE),
        Kind::Issuing | Kind::Root => (KEY_CERT_SIGN | CRL_SIGN, KEY_CERT_SIGN | CRL_SIGN | DIGITAL_SIGNATURE),
    };
    let right = bits != 0 && bits & needed == needed && bits & !allowed == 0;
    findings.require(right, "key_usage.bits", cites, format!("{bits:#06x} does not fit this kind of certificate"));
    let rsa = Spki::parse(checked.view.spki).is_ok_and(|spki| spki.kind == KeyKind::Rsa);
    let enciphers = bits & KEY_ENCIPHERMENT != 0;
    findings.require(
        rsa || !enciphers,
        "key_usage.encipherment",
        "RFC 8813 §3, RFC 8410 §5",
        "keyEncipherment without RSA",
    );
    Ok(())
}

fn extended_key_usage(checked: &Checked<'_>, findings: &mut Findings) -> Outcome {
    let cites = "RFC 5280 §4.2.1.12";
    let usages = checked.view.extended_key_usage()?;
    let critical = checked.view.extension(&oids::EXTENDED_KEY_USAGE).is_some_and(|(critical, _)| critical);
    let any = usages.contains(&oids::ANY_EXTENDED_KEY_USAGE);
    findings.require(!any, "extended_key_usage.any", cites, "anyExtendedKeyUsage");
    let twice = usages.iter().enumerate().any(|(i, id)| usages.iter().take(i).any(|other| other == id));
    findings.require(!twice, "extended_key_usage.once", cites, "a usage stands twice");
    // a delegate needs OCSPSigning, and its issuer must not have it: that would be a delegation by the CA above
    let responder = checked.kind == Kind::Responder;
    let nested: Vec<_> = usages.iter().filter(|id| !responder || **id != oids::EKU_OCSP_SIGNING).copied().collect();
    if let Err(error) = checked.above.path.check_usages(&nested) {
        findings.add("extended_key_usage.nested", "BR §7.1.2.4, Windows and webpki", error.detail);
    }
    match checked.kind {
        Kind::Root => {
            findings.require(usages.is_empty(), "extended_key_usage.root", "BR §7.1.2.1", "a root has none")
        }
        Kind::Issuing => {
            findings.require(!usages.is_empty(), "extended_key_usage.present", cites, "missing");
            let delegated = usages.contains(&oids::EKU_OCSP_SIGNING);
            findings.require(
                !delegated,
                "extended_key_usage.delegation",
                "RFC 6960 §4.2.2.2",
                "OCSPSigning in an issuing CA: its key could answer OCSP about the CA itself",
            );
        }
        Kind::Responder => {
            let only = usages == [oids::EKU_OCSP_SIGNING];
            findings.require(only, "extended_key_usage.responder", "RFC 6960 §4.2.2.2", "OCSPSigning and no other");
        }
        Kind::Leaf => {
            findings.require(!usages.is_empty(), "extended_key_usage.present", cites, "missing");
            let responder = usages.contains(&oids::EKU_OCSP_SIGNING);
            findings.require(
                !responder,
                "extended_key_usage.responder",
                "RFC 6960 §4.2.2.2",
                "OCSPSigning in a leaf",
            );
            let stamps = usages.contains(&oids::EKU_TIME_STAMPING);
            let alone = usages.len() == 1 && critical;
            findings.require(
                !stamps || alone,
                "extended_key_usage.time_stamping",
                "RFC 3161 §2.3",
                "alone and critical",
            );
        }
    }
    Ok(())
}
