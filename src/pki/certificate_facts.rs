//! What a certificate says, in words: for inspect, pages and fsck. Reads certificates of others too, so it is
//! strict about DER and tolerant about content; nothing here decides anything.

use std::fmt;

use ::der::oid::ObjectIdentifier;

use super::algorithm::Spki;
use super::der::{self, Cursor, DerError, Tlv};
use super::general_name;
use super::key_policy::sha256;
use super::name::DistinguishedName;
use super::oids;
use super::tbs::{TbsView, split_certificate};
use crate::model::serial::to_hex;
use crate::model::validity::Validity;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Content octets of the INTEGER, which others may have made negative or long.
    pub serial: Vec<u8>,
    pub subject: DistinguishedName,
    pub issuer: DistinguishedName,
    pub validity: Validity,
    /// `P-256`, or the dotted identifier of a kind that we do not know.
    pub key_algorithm: String,
    pub signature_algorithm: String,
    /// Of the SubjectPublicKeyInfo.
    pub spki_sha256: [u8; 32],
    /// Of the whole certificate.
    pub fingerprint: [u8; 32],
    /// The subjectAltName in words; kinds that are no identifier of ours say so (`otherName …`).
    pub names: Vec<String>,
    pub key_usage: Vec<&'static str>,
    pub extended_key_usage: Vec<String>,
    pub is_ca: bool,
    pub path_len: Option<u32>,
    pub subject_key_id: Option<Vec<u8>>,
    pub authority_key_id: Option<Vec<u8>>,
    pub extensions: Vec<ExtensionFacts>,
}

/// One extension: its name, or the dotted identifier of an unknown one, and its value in words or in hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionFacts {
    pub id: ObjectIdentifier,
    pub critical: bool,
    pub words: String,
}

impl CertificateFacts {
    /// A certificate of version 3 in DER, and nothing behind it.
    pub fn parse(certificate: &[u8]) -> Result<Self, DerError> {
        let (tbs, algorithm, _) = split_certificate(certificate)?;
        let view = TbsView::parse(tbs)?;
        let ca = view.ca()?;
        Ok(CertificateFacts {
            serial: view.serial.to_vec(),
            subject: DistinguishedName::from_der(view.subject)?,
            issuer: DistinguishedName::from_der(view.issuer)?,
            validity: view.validity,
            key_algorithm: key_words(view.spki)?,
            signature_algorithm: signature_words(der::only_sequence(algorithm)?.oid()?),
            spki_sha256: sha256(view.spki),
            fingerprint: sha256(certificate),
            names: match view.extension(&oids::SUBJECT_ALT_NAME) {
                Some((_, value)) => general_names(der::only_sequence(value)?)?,
                None => Vec::new(),
            },
            key_usage: view.key_usage()?.map(key_usage_words).unwrap_or_default(),
            extended_key_usage: view.extended_key_usage()?.iter().map(usage_words).collect(),
            is_ca: ca.is_some(),
            path_len: ca.flatten(),
            subject_key_id: view.subject_key_id()?.map(<[u8]>::to_vec),
            authority_key_id: view.authority_key_id()?.map(<[u8]>::to_vec),
            extensions: view.extensions.iter().map(|(id, c, value)| extension_facts(id, *c, value)).collect(),
        })
    }
}

/// `subjectAltName, critical: www.example.org`
impl ExtensionFacts {
    /// `keyUsage`, or the dotted identifier of one that we do not know.
    pub fn name(&self) -> String {
        name_of(&self.id)
    }
}

/// `keyUsage`, or the dotted identifier of an extension that we do not know.
pub fn name_of(id: &ObjectIdentifier) -> String {
    extension_name(id).map_or_else(|| id.to_string(), str::to_owned)
}

impl fmt::Display for ExtensionFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match extension_name(&self.id) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "{}", self.id)?,
        }
        write!(f, "{}: {}", if self.critical { ", critical" } else { "" }, self.words)
    }
}

fn extension_name(id: &ObjectIdentifier) -> Option<&'static str> {
    Some(match *id {
        oids::BASIC_CONSTRAINTS => "basicConstraints",
        oids::KEY_USAGE => "keyUsage",
        oids::EXTENDED_KEY_USAGE => "extKeyUsage",
        oids::SUBJECT_ALT_NAME => "subjectAltName",
        oids::ISSUER_ALT_NAME => "issuerAltName",
        oids::SUBJECT_KEY_ID => "subjectKeyIdentifier",
        oids::AUTHORITY_KEY_ID => "authorityKeyIdentifier",
        oids::NAME_CONSTRAINTS => "nameConstraints",
        oids::CRL_DISTRIBUTION_POINTS => "cRLDistributionPoints",
        oids::FRESHEST_CRL => "freshestCRL",
        oids::AUTHORITY_INFO_ACCESS => "authorityInfoAccess",
        oids::SUBJECT_INFO_ACCESS => "subjectInfoAccess",
        oids::CERTIFICATE_POLICIES => "certificatePolicies",
        oids::POLICY_MAPPINGS => "policyMappings",
        oids::POLICY_CONSTRAINTS => "policyConstraints",
        oids::INHIBIT_ANY_POLICY => "inhibitAnyPolicy",
        oids::TLS_FEATURE => "tlsFeature",
        oids::OCSP_NOCHECK => "ocspNoCheck",
        oids::NO_REV_AVAIL => "noRevAvail",
        _ => return None,
    })
}

/// The extensions of bytes that are not signed yet.
pub fn extensions_of(tbs: &[u8]) -> Result<Vec<ExtensionFacts>, DerError> {
    let view = TbsView::parse(tbs)?;
    Ok(view.extensions.iter().map(|(id, c, value)| extension_facts(id, *c, value)).collect())
}

fn extension_facts(id: &ObjectIdentifier, critical: bool, value: &[u8]) -> ExtensionFacts {
    let words = extension_words(id, value).unwrap_or_else(|_| to_hex(value));
    ExtensionFacts { id: *id, critical, words }
}

/// The value in words; an error means hex.
fn extension_words(id: &ObjectIdentifier, value: &[u8]) -> Result<String, DerError> {
    Ok(match *id {
        oids::BASIC_CONSTRAINTS => {
            let mut inside = der::only_sequence(value)?;
            let ca = inside.default_false()?;
            match inside.is_empty() {
                true if ca => "CA".to_owned(),
                true => "not a CA".to_owned(),
                false => format!("CA, path length {}", inside.small_integer()?),
            }
        }
        oids::KEY_USAGE => {
            key_usage_words(der::named_bits(Cursor::new(value).expect(der::BIT_STRING)?.content)?).join(", ")
        }
        oids::EXTENDED_KEY_USAGE => oid_list(value)?.iter().map(usage_words).collect::<Vec<_>>().join(", "),
        oids::SUBJECT_ALT_NAME | oids::ISSUER_ALT_NAME => general_names(der::only_sequence(value)?)?.join(", "),
        oids::SUBJECT_KEY_ID => to_hex(Cursor::new(value).expect(der::OCTET_STRING)?.content),
        oids::AUTHORITY_KEY_ID => match der::only_sequence(value)?.optional(der::context(0))? {
            Some(id) => to_hex(id.content),
            None => return Err(DerError("no key identifier")),
        },
        oids::CRL_DISTRIBUTION_POINTS | oids::FRESHEST_CRL | oids::AUTHORITY_INFO_ACCESS => {
            let mut urls = Vec::new();
            collect_uris(Cursor::new(value), 0, &mut urls)?;
            urls.join(", ")
        }
        oids::CERTIFICATE_POLICIES => {
            let mut list = der::only_sequence(value)?;
            let mut policies = Vec::new();
            while !list.is_empty() {
                policies.push(list.sequence()?.oid()?.to_string());
            }
            policies.join(", ")
        }
        oids::OCSP_NOCHECK | oids::NO_REV_AVAIL => "yes".to_owned(),
        _ => return Err(DerError("an unknown extension")),
    })
}

fn oid_list(value: &[u8]) -> Result<Vec<ObjectIdentifier>, DerError> {
    let mut list = der::only_sequence(value)?;
    let mut found = Vec::new();
    while !list.is_empty() {
        found.push(list.oid()?);
    }
    Ok(found)
}

/// Every `[6]` in there, whatever stands around it. Six levels are more than any pointer has.
fn collect_uris(mut from: Cursor<'_>, depth: u8, urls: &mut Vec<String>) -> Result<(), DerError> {
    while !from.is_empty() {
        let value = from.any()?;
        if value.tag == general_name::URI {
            urls.push(text(value));
        } else if value.tag & 0x20 != 0 && depth < 6 {
            collect_uris(value.inside(), depth + 1, urls)?;
        }
    }
    Ok(())
}

fn general_names(mut list: Cursor<'_>) -> Result<Vec<String>, DerError> {
    let mut names = Vec::new();
    while !list.is_empty() {
        let entry = list.any()?;
        names.push(match entry.tag {
            general_name::DNS | general_name::EMAIL | general_name::URI => text(entry),
            general_name::IP => general_name::address(entry.content)
                .map_or_else(|_| format!("iPAddress {}", to_hex(entry.content)), |ip| ip.to_string()),
            // a Name is explicitly tagged, being a CHOICE
            0xa4 => format!("directoryName {}", DistinguishedName::from_der(entry.content)?),
            _ => format!("{} {}", general_name::kind(entry), to_hex(entry.content)),
        });
    }
    Ok(names)
}

/// Text of others: control characters do not reach a terminal or a page.
fn text(value: Tlv<'_>) -> String {
    String::from_utf8_lossy(value.content).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn key_words(spki: &[u8]) -> Result<String, DerError> {
    if let Ok(algorithm) = Spki::parse(spki).and_then(|spki| spki.algorithm()) {
        return Ok(algorithm.name());
    }
    Ok(der::only_sequence(spki)?.sequence()?.oid()?.to_string())
}

fn signature_words(id: ObjectIdentifier) -> String {
    match id {
        oids::ECDSA_SHA256 => "ECDSA-SHA256".to_owned(),
        oids::ECDSA_SHA384 => "ECDSA-SHA384".to_owned(),
        oids::ECDSA_SHA512 => "ECDSA-SHA512".to_owned(),
        oids::ED25519 => "Ed25519".to_owned(),
        oids::SHA256_WITH_RSA => "RSA-SHA256".to_owned(),
        oids::SHA384_WITH_RSA => "RSA-SHA384".to_owned(),
        oids::SHA512_WITH_RSA => "RSA-SHA512".to_owned(),
        oids::RSA_PSS => "RSA-PSS".to_owned(),
        oids::SHA1_WITH_RSA => "RSA-SHA1".to_owned(),
        oids::ECDSA_SHA1 => "ECDSA-SHA1".to_owned(),
        oids::MD5_WITH_RSA => "RSA-MD5".to_owned(),
        other => other.to_string(),
    }
}

/// RFC 5280 §4.2.1.3, bit 0 first.
const KEY_USAGES: [&str; 9] = [
    "digitalSignature",
    "nonRepudiation",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
];

fn key_usage_words(bits: u16) -> Vec<&'static str> {
    KEY_USAGES.into_iter().enumerate().filter(|(i, _)| bits & (0x8000 >> i) != 0).map(|(_, word)| word).collect()
}

fn usage_words(id: &ObjectIdentifier) -> String {
    match *id {
        oids::EKU_SERVER_AUTH => "serverAuth".to_owned(),
        oids::EKU_CLIENT_AUTH => "clientAuth".to_owned(),
        oids::EKU_CODE_SIGNING => "codeSigning".to_owned(),
        oids::EKU_EMAIL_PROTECTION => "emailProtection".to_owned(),
        oids::EKU_TIME_STAMPING => "timeStamping".to_owned(),
        oids::EKU_OCSP_SIGNING => "OCSPSigning".to_owned(),
        oids::ANY_EXTENDED_KEY_USAGE => "anyExtendedKeyUsage".to_owned(),
        other => other.to_string(),
    }
}
