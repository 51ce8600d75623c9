//! A certificate that a CA issued before it came here, as its row is made from it. Names of a kind that has no type here
//! are left out of the row and stay in the certificate.

use super::algorithm::{SignatureScheme, Spki, VerifyError, verify_with};
use super::der::{self, DerError};
use super::general_name;
use super::key_policy::sha256;
use super::name::DistinguishedName;
use super::oids;
use super::tbs::{TbsView, split_certificate};
use crate::model::identifier::Identifier;

/// Its parts, read and not judged.
#[derive(Debug)]
pub struct ImportedCertificate<'a> {
    pub view: TbsView<'a>,
    pub subject: String,
    pub names: Vec<Identifier>,
    pub key_algorithm: String,
    pub spki_sha256: [u8; 32],
    pub fingerprint: [u8; 32],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> ImportedCertificate<'a> {
    pub fn parse(der: &'a [u8]) -> Result<Self, DerError> {
        let (tbs, algorithm, signature) = split_certificate(der)?;
        let view = TbsView::parse(tbs)?;
        Ok(ImportedCertificate {
            subject: subject(view.subject),
            names: names(&view),
            key_algorithm: key_algorithm(view.spki),
            spki_sha256: sha256(view.spki),
            fingerprint: sha256(der),
            view,
            algorithm,
            signature,
        })
    }

    /// Is it signed by this key (SubjectPublicKeyInfo)?
    pub fn verify(&self, public_key: &[u8]) -> Result<(), VerifyError> {
        verify_with(SignatureScheme::parse(self.algorithm)?, public_key, self.view.raw, self.signature)
    }
}

/// RFC 4514; empty where it cannot be written so.
pub fn subject(name: &[u8]) -> String {
    DistinguishedName::from_der(name).map(|name| name.to_string()).unwrap_or_default()
}

/// `P-256`; empty for a kind that we do not know.
pub fn key_algorithm(spki: &[u8]) -> String {
    Spki::parse(spki).and_then(|spki| spki.algorithm()).map(|a| a.name()).unwrap_or_default()
}

/// What a certificate is found by: the names of its SAN, each once; without a SAN its common name, as old CAs wrote it.
pub fn names(view: &TbsView<'_>) -> Vec<Identifier> {
    let mut found: Vec<Identifier> = Vec::new();
    let mut add = |name: Identifier| {
        if !found.contains(&name) {
            found.push(name);
        }
    };
    match view.extension(&oids::SUBJECT_ALT_NAME).and_then(|(_, value)| der::only_sequence(value).ok()) {
        Some(mut list) => {
            while let Ok(entry) = list.any() {
                general_name::identifier(entry).ok().map(&mut add);
            }
        }
        None => {
            let subject = DistinguishedName::from_der(view.subject);
            let texts = subject.and_then(|name| name.texts(&oids::COMMON_NAME)).unwrap_or_default();
            texts.iter().filter_map(|text| Identifier::guess(text).ok()).for_each(add);
        }
    }
    found
}
