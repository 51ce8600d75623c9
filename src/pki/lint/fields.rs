//! The fields before the extensions: serial, signature, names, validity, public key (RFC 5280 §4.1.2).

use super::{Checked, Findings, Kind, Outcome};
use crate::model::serial::SerialNumber;
use crate::pki::algorithm::{Spki, algorithm_identifier};
use crate::pki::der::{self, DerError};
use crate::pki::name;

pub(super) fn check(checked: &Checked<'_>, findings: &mut Findings) -> Outcome {
    let view = checked.view;
    let serial = SerialNumber::from_octets(view.serial);
    findings.require(serial.is_ok(), "serial.form", "RFC 5280 §4.1.2.2", "not positive and of at most 20 octets");
    // 128 random bits and a fixed top pattern are 17 octets at least
    findings.require(view.serial.len() >= 17, "serial.random", "BR §7.1", "fewer than 128 random bits");
    let expected = algorithm_identifier(checked.signature);
    let same = view.signature == expected;
    findings.require(same, "signature", "RFC 5280 §4.1.1.2", "not the algorithm of the issuer's key");

    let issuer_is_above = view.issuer == checked.above.subject;
    findings.require(issuer_is_above, "issuer.bytes", "RFC 5280 §4.1.2.4", "not the issuer's subject byte for byte");
    findings.require(view.issuer.len() > 2, "issuer.empty", "RFC 5280 §4.1.2.4", "an empty issuer name");
    let self_issued = view.issuer == view.subject;
    let alone = (checked.kind == Kind::Root) == self_issued;
    findings.require(alone, "subject.self_issued", "RFC 5280 §3.2", "only a root has its own name as issuer");
    let empty_ca = checked.kind.is_ca() && view.subject.len() <= 2;
    findings.require(!empty_ca, "subject.empty", "RFC 5280 §4.1.2.6", "a CA without a name");
    // a CA or a delegate below the directory name of another CA keeps its string types
    let copied = matches!(checked.kind, Kind::Issuing | Kind::Responder);
    for broken in name::strictness(view.subject)?.into_iter().filter(|_| !copied) {
        findings.add("subject.strings", "RFC 5280 App. A", broken);
    }
    validity(checked, findings)?;
    let key = Spki::parse(view.spki).and_then(|spki| spki.algorithm());
    if let Err(error) = key {
        findings.add("spki", "RFC 5280 §4.1.2.7", error);
    }
    Ok(())
}

fn validity(checked: &Checked<'_>, findings: &mut Findings) -> Outcome {
    let (own, above) = (checked.view.validity, checked.above.validity);
    let within = above.not_before() <= own.not_before() && own.not_after() <= above.not_after();
    findings.require(within, "validity.nested", "RFC 5280 §6.1.3", "not within the issuer's validity");
    let mut tbs = der::only_sequence(checked.view.raw)?;
    let before_validity = 4;
    for _ in 0..before_validity {
        tbs.any()?;
    }
    let written = tbs.any().map_err(|_| DerError("the validity is missing"))?;
    let expected = der::sequence(&[&der::time(own.not_before()), &der::time(own.not_after())]);
    let minimal = written.raw == expected;
    findings.require(minimal, "validity.form", "RFC 5280 §4.1.2.5", "UTCTime through 2049, GeneralizedTime after");
    Ok(())
}
