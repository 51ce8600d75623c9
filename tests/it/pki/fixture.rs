//! Certificate authorities made by OpenSSL around keys that our signers open, and OpenSSL's command line.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use chancery::keys::software::{self, SoftwareSigner};
use chancery::model::key::KeyAlgorithm;
use chancery::model::serial::SerialNumber;
use chancery::pki::signer::Signer;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Extension, X509NameBuilder};
use tempfile::TempDir;

/// 2026-06-01, inside the validity of every certificate here.
pub const NOW: i64 = 1_780_272_000;

pub const ALGORITHMS: [KeyAlgorithm; 5] =
    [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::P521, KeyAlgorithm::Ed25519, KeyAlgorithm::Rsa(2048)];

/// A key with a certificate.
pub struct Party {
    pub signer: Arc<dyn Signer>,
    pub certificate: X509,
    key: PKey<Private>,
}

impl Party {
    pub fn root(algorithm: KeyAlgorithm) -> Self {
        Party::make(algorithm, "Test CA", 1, None)
    }

    /// A delegated OCSP responder of this issuer.
    pub fn responder(&self, algorithm: KeyAlgorithm) -> Self {
        Party::make(algorithm, "Test OCSP", 2, Some((self, Some("ocsp"))))
    }

    pub fn leaf(&self, serial: u32) -> Self {
        Party::make(KeyAlgorithm::P256, "leaf", serial, Some((self, None)))
    }

    fn make(algorithm: KeyAlgorithm, cn: &str, serial: u32, issuer: Option<(&Party, Option<&str>)>) -> Self {
        let pair = software::generate(algorithm).unwrap();
        let key = PKey::private_key_from_pkcs8(&pair.pkcs8).unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("O", "Chancery tests").unwrap();
        name.append_entry_by_text("CN", cn).unwrap();
        let name = name.build();
        let mut b = X509::builder().unwrap();
        b.set_version(2).unwrap();
        b.set_serial_number(&BigNum::from_u32(serial).unwrap().to_asn1_integer().unwrap()).unwrap();
        b.set_subject_name(&name).unwrap();
        b.set_issuer_name(issuer.map_or(&name, |(i, _)| i.certificate.subject_name())).unwrap();
        b.set_pubkey(&key).unwrap();
        b.set_not_before(&Asn1Time::from_unix(NOW - 86_400).unwrap()).unwrap();
        b.set_not_after(&Asn1Time::from_unix(NOW + 30 * 86_400).unwrap()).unwrap();
        let context = b.x509v3_context(issuer.map(|(i, _)| i.certificate.as_ref()), None);
        let ski = SubjectKeyIdentifier::new().build(&context).unwrap();
        b.append_extension(ski).unwrap();
        match issuer {
            None => {
                b.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
                b.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build().unwrap()).unwrap();
            }
            Some((_, role)) => {
                let context = b.x509v3_context(issuer.map(|(i, _)| i.certificate.as_ref()), None);
                b.append_extension(AuthorityKeyIdentifier::new().keyid(true).build(&context).unwrap()).unwrap();
                b.append_extension(KeyUsage::new().critical().digital_signature().build().unwrap()).unwrap();
                if role == Some("ocsp") {
                    b.append_extension(ExtendedKeyUsage::new().other("OCSPSigning").build().unwrap()).unwrap();
                    let nocheck = openssl::asn1::Asn1Object::from_str("1.3.6.1.5.5.7.48.1.5").unwrap();
                    let null = openssl::asn1::Asn1OctetString::new_from_bytes(&[5, 0]).unwrap();
                    b.append_extension(X509Extension::new_from_der(&nocheck, false, &null).unwrap()).unwrap();
                }
            }
        }
        let signing = issuer.map_or(&key, |(i, _)| &i.key);
        let hash = match signing.id() {
            openssl::pkey::Id::ED25519 => MessageDigest::null(),
            _ => MessageDigest::sha256(),
        };
        b.sign(signing, hash).unwrap();
        let signer = Arc::new(SoftwareSigner::from_pkcs8(algorithm, &pair.pkcs8).unwrap());
        Party { signer, certificate: b.build(), key }
    }

    pub fn der(&self) -> Vec<u8> {
        self.certificate.to_der().unwrap()
    }

    pub fn name(&self) -> Vec<u8> {
        self.certificate.subject_name().to_der().unwrap()
    }

    pub fn key_id(&self) -> Vec<u8> {
        self.certificate.subject_key_id().unwrap().as_slice().to_vec()
    }
}

pub fn serial(n: u32) -> SerialNumber {
    format!("{n:x}").parse().unwrap()
}

/// A directory of files for OpenSSL's command line.
pub struct Bench(TempDir);

impl Bench {
    pub fn new() -> Self {
        Bench(tempfile::tempdir().unwrap())
    }

    pub fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn put_pem(&self, name: &str, party: &Party) -> PathBuf {
        self.put(name, &party.certificate.to_pem().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs `openssl ARGS` here: whether it succeeded, and all that it printed.
    pub fn openssl(&self, args: &[&str]) -> (bool, String) {
        let output = Command::new("openssl").args(args).current_dir(self.0.path()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }
}
