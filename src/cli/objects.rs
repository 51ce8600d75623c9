//! Reads certificates, CSRs, CRLs, OCSP answers and keys from PEM or DER and describes each as JSON. Of a private key it
//! describes the kind and the public half alone.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::keys::software;
use crate::model::reason::RevocationReason;
use crate::model::serial::to_hex;
use crate::pki::certificate_facts::CertificateFacts;
use crate::pki::crl_facts::CrlFacts;
use crate::pki::input::{self, Input};
use crate::pki::key_policy::{self, KeyPolicy, PublicKeyInfo};
use crate::pki::name::DistinguishedName;
use crate::pki::ocsp_facts::{OcspAnswer, OcspFacts, OcspSingle, OcspStatus, ResponderId};
use crate::pki::pem::{self, Block};
use crate::pki::request::CertificateRequest;
use crate::pki::{private_key, public_key};

const REQUEST: &str = "CERTIFICATE REQUEST";
const CRL: &str = "X509 CRL";
const OCSP: &str = "OCSP RESPONSE";
const PUBLIC_KEY: &str = "PUBLIC KEY";
const PRIVATE_KEY: &str = "PRIVATE KEY";

/// Every object of a file, in its order. A private key among them is refused.
pub fn read(content: &[u8]) -> Result<Vec<Block>> {
    let blocks = read_all(content)?;
    refuse_private(&blocks)?;
    Ok(blocks)
}

pub fn refuse_private(blocks: &[Block]) -> Result<()> {
    match blocks.iter().any(|block| block.label.ends_with(PRIVATE_KEY)) {
        true => Err(Error::malformed(
            "this file holds a private key, which is never shown; give the certificate or the CSR",
        )),
        false => Ok(()),
    }
}

/// Every object of a file, in its order, private keys too.
pub fn read_all(content: &[u8]) -> Result<Vec<Block>> {
    let blocks = match input::read(content)? {
        Input::Der(der) => vec![Block { label: label_of(&der)?.to_owned(), der }],
        Input::Blocks(blocks) => blocks,
    };
    match blocks.is_empty() {
        true => Err(Error::malformed("there is nothing in PEM or DER in it")),
        false => Ok(blocks),
    }
}

/// The certificates of a file, the first being the one that it is about; it may hold the key too.
pub fn certificates(content: &[u8]) -> Result<Vec<Vec<u8>>> {
    let blocks = read_all(content)?.into_iter().filter(|block| block.label == pem::CERTIFICATE);
    let found: Vec<_> = blocks.map(|block| block.der).collect();
    if found.is_empty() { Err(Error::malformed("there is no certificate in it")) } else { Ok(found) }
}

fn label_of(der: &[u8]) -> Result<&'static str> {
    if CertificateFacts::parse(der).is_ok() {
        Ok(pem::CERTIFICATE)
    } else if CrlFacts::parse(der).is_ok() {
        Ok(CRL)
    } else if OcspFacts::parse(der).is_ok() {
        Ok(OCSP)
    } else if CertificateRequest::from_der(der, &KeyPolicy::with_any_rsa_length()).is_ok() {
        Ok(REQUEST)
    } else if public_key::read(der).is_ok() {
        Ok(PUBLIC_KEY)
    } else if private_key::read(der, None).is_ok() {
        Ok(PRIVATE_KEY)
    } else {
        Err(Error::malformed("this DER is no certificate, CSR, CRL, OCSP answer or key"))
    }
}

/// The object in words.
pub fn describe(block: &Block) -> Result<Value> {
    let der = block.der.as_slice();
    let bad = |e: &dyn std::fmt::Display| Error::malformed(format!("this {} cannot be read: {e}", block.label));
    match block.label.as_str() {
        pem::CERTIFICATE | "TRUSTED CERTIFICATE" => {
            CertificateFacts::parse(der).map(|facts| certificate(&facts)).map_err(|e| bad(&e))
        }
        REQUEST | "NEW CERTIFICATE REQUEST" => {
            let request = CertificateRequest::from_der(der, &KeyPolicy::with_any_rsa_length());
            request.map(|request| csr(&request)).map_err(|e| bad(&e))
        }
        CRL => CrlFacts::parse(der).map(|facts| crl(&facts)).map_err(|e| bad(&e)),
        OCSP => OcspFacts::parse(der).map(|facts| ocsp(&facts)).map_err(|e| bad(&e)),
        PUBLIC_KEY => KeyPolicy::with_any_rsa_length().check(der).map(|key| public(&key)).map_err(|e| bad(&e)),
        label if label.ends_with(PRIVATE_KEY) => private(block),
        other => {
            Err(Error::malformed(format!("a PEM block {other} is no certificate, CSR, CRL, OCSP answer or key")))
        }
    }
}

fn public(key: &PublicKeyInfo) -> Value {
    json!({
        "kind": "public key",
        "key_algorithm": key.algorithm().name(),
        "spki_sha256": to_hex(&key.sha256()),
    })
}

/// Its kind and its public half; the key itself never leaves the file.
fn private(block: &Block) -> Result<Value> {
    if block.label.starts_with("ENCRYPTED") {
        return Ok(json!({"kind": "private key", "encrypted": true}));
    }
    let key = private_key::read(&block.der, None)?;
    let (algorithm, key) = software::read(&key)?;
    Ok(json!({
        "kind": "private key",
        "encrypted": false,
        "key_algorithm": algorithm.name(),
        "spki_sha256": to_hex(&key_policy::sha256(&key.public_key)),
    }))
}

pub fn certificate(facts: &CertificateFacts) -> Value {
    let id = |octets: &Option<Vec<u8>>| octets.as_deref().map(to_hex);
    json!({
        "kind": "certificate",
        "serial": serial(&facts.serial),
        "subject": facts.subject.to_string(),
        "issuer": facts.issuer.to_string(),
        "names": facts.names,
        "not_before": facts.validity.not_before(),
        "not_after": facts.validity.not_after(),
        "key_algorithm": facts.key_algorithm,
        "signature_algorithm": facts.signature_algorithm,
        "key_usage": facts.key_usage,
        "extended_key_usage": facts.extended_key_usage,
        "ca": facts.is_ca,
        "path_length": facts.path_len,
        "fingerprint": to_hex(&facts.fingerprint),
        "spki_sha256": to_hex(&facts.spki_sha256),
        "subject_key_id": id(&facts.subject_key_id),
        "authority_key_id": id(&facts.authority_key_id),
        "extensions": facts.extensions.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn csr(request: &CertificateRequest) -> Value {
    json!({
        "kind": "certificate request",
        "subject": request.subject().to_string(),
        "names": request.san().iter().map(|name| name.value()).collect::<Vec<_>>(),
        "key_algorithm": request.public_key().algorithm().name(),
        "asked_extensions": request.asked_extensions().iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>(),
        "signature": "good",
    })
}

fn crl(facts: &CrlFacts<'_>) -> Value {
    let revoked: Vec<Value> = facts
        .entries()
        .map(|entry| {
            let reason = entry.reason.and_then(|code| RevocationReason::from_code(i64::from(code)).ok());
            json!({"serial": serial(entry.serial), "revoked_at": entry.revoked_at, "reason": reason.map(RevocationReason::name)})
        })
        .collect();
    json!({
        "kind": "certificate revocation list",
        "issuer": name(facts.issuer),
        "number": facts.crl_number().map(|n| n.to_string()).or_else(|| facts.number.map(to_hex)),
        "this_update": facts.this_update,
        "next_update": facts.next_update,
        "authority_key_id": facts.authority_key_id.map(to_hex),
        "scope": if facts.is_indirect { "indirect" } else if facts.distribution_point.is_some() { "partial" } else if facts.delta_base.is_some() { "delta" } else { "complete" },
        "entries": facts.count,
        "revoked": revoked,
    })
}

fn ocsp(facts: &OcspFacts<'_>) -> Value {
    match facts {
        OcspFacts::Failed(failure) => json!({"kind": "OCSP answer", "failure": format!("{failure:?}")}),
        OcspFacts::Answered(answer) => answered(answer),
    }
}

fn answered(answer: &OcspAnswer<'_>) -> Value {
    let responder = match answer.responder {
        ResponderId::ByName(der) => name(der),
        ResponderId::ByKey(hash) => format!("key {}", to_hex(hash)),
    };
    json!({
        "kind": "OCSP answer",
        "responder": responder,
        "produced_at": answer.produced_at,
        "certificates": answer.certificates.len(),
        "answers": answer.singles.iter().map(single).collect::<Vec<_>>(),
    })
}

fn single(single: &OcspSingle<'_>) -> Value {
    let mut told = json!({
        "serial": single.cert_id.serial.as_ref().map(ToString::to_string),
        "this_update": single.this_update,
        "next_update": single.next_update,
    });
    match single.status {
        OcspStatus::Good => told["status"] = "good".into(),
        OcspStatus::Unknown => told["status"] = "unknown".into(),
        OcspStatus::Revoked { at, reason } => {
            let reason = reason.and_then(|code| RevocationReason::from_code(i64::from(code)).ok());
            told["status"] = "revoked".into();
            told["revoked_at"] = at.to_string().into();
            told["reason"] = reason.map(RevocationReason::name).into();
        }
    }
    told
}

fn name(der: &[u8]) -> String {
    DistinguishedName::from_der(der).map_or_else(|_| to_hex(der), |name| name.to_string())
}

/// As REST prints it: without the octet that DER puts before a high bit, and with every other zero.
fn serial(octets: &[u8]) -> String {
    match octets {
        [0, rest @ ..] if rest.first().is_some_and(|first| first & 0x80 != 0) => to_hex(rest),
        other => to_hex(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_loses_the_octet_of_its_sign_and_no_other() {
        assert_eq!(serial(&[0, 0x80, 1]), "8001");
        assert_eq!(serial(&[0x0a, 0]), "0a00");
        assert_eq!(serial(&[0]), "00");
    }

    #[test]
    fn a_private_key_is_never_shown() {
        let text = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
        assert!(read(text.as_bytes()).unwrap_err().detail.contains("never shown"));
    }
}
