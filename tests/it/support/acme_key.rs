//! What an ACME client signs with: a P-256 key and its JWS (RFC 8555 §6.2), and certificate requests.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub struct Key {
    pair: Arc<EcdsaKeyPair>,
}

impl Key {
    pub fn new() -> Key {
        Key { pair: Arc::new(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()) }
    }

    pub fn from_pkcs8(pkcs8: &[u8]) -> Key {
        Key { pair: Arc::new(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).unwrap()) }
    }

    pub fn copy(&self) -> Key {
        Key { pair: self.pair.clone() }
    }

    pub fn point(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    pub fn jwk(&self) -> Value {
        json!({"crv": "P-256", "kty": "EC", "x": b64(&self.point()[1..33]), "y": b64(&self.point()[33..])})
    }

    pub fn thumbprint(&self) -> String {
        b64(digest(&SHA256, self.jwk().to_string().as_bytes()))
    }

    /// r‖s
    pub fn signature(&self, input: &str) -> Vec<u8> {
        self.pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap().as_ref().to_vec()
    }

    pub fn sign(&self, input: &str) -> String {
        b64(self.signature(input))
    }

    /// A JWS over exactly this header text and payload text.
    pub fn jws(&self, header: &str, payload: &str) -> Value {
        let (protected, payload) = (b64(header), b64(payload));
        let signature = self.sign(&format!("{protected}.{payload}"));
        json!({"protected": protected, "payload": payload, "signature": signature})
    }
}

pub fn csr(names: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    (csr_by(&key, names), key.serialize_der())
}

pub fn csr_by(key: &rcgen::KeyPair, names: &[&str]) -> Vec<u8> {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.serialize_request(key).unwrap().der().to_vec()
}
