//! Account keys of every kind, by OpenSSL: JWK, `alg` and signatures as JOSE wants them (RFC 7518 §3, RFC 8037 §3.1).

use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::{MessageDigest, hash};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer as OpensslSigner;
use openssl::stack::Stack;
use openssl::x509::X509ReqBuilder;
use openssl::x509::extension::SubjectAlternativeName;
use serde_json::{Value, json};

use super::client::b64;

pub struct Signer {
    pub alg: &'static str,
    pub jwk: Value,
    key: PKey<Private>,
}

impl Signer {
    /// One of each algorithm that is accepted.
    pub fn all() -> Vec<Signer> {
        vec![Signer::rs256(2048), Signer::ec("ES256"), Signer::ec("ES384"), Signer::ec("ES512"), Signer::eddsa()]
    }

    pub fn rs256(bits: u32) -> Signer {
        let rsa = Rsa::generate(bits).unwrap();
        let jwk = json!({"kty": "RSA", "n": b64(rsa.n().to_vec()), "e": b64(rsa.e().to_vec())});
        Signer { alg: "RS256", jwk, key: PKey::from_rsa(rsa).unwrap() }
    }

    pub fn ec(alg: &'static str) -> Signer {
        let (curve, name, _, octets) = curve(alg);
        let group = EcGroup::from_curve_name(curve).unwrap();
        let key = EcKey::generate(&group).unwrap();
        let (mut x, mut y, mut context) =
            (BigNum::new().unwrap(), BigNum::new().unwrap(), BigNumContext::new().unwrap());
        key.public_key().affine_coordinates(&group, &mut x, &mut y, &mut context).unwrap();
        let part = |n: &BigNum| b64(n.to_vec_padded(octets).unwrap());
        let jwk = json!({"kty": "EC", "crv": name, "x": part(&x), "y": part(&y)});
        Signer { alg, jwk, key: PKey::from_ec_key(key).unwrap() }
    }

    pub fn eddsa() -> Signer {
        let key = PKey::generate_ed25519().unwrap();
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": b64(key.raw_public_key().unwrap())});
        Signer { alg: "EdDSA", jwk, key }
    }

    /// RSA PKCS#1 v1.5, r‖s, or Ed25519.
    pub fn sign(&self, input: &str) -> Vec<u8> {
        match self.alg {
            "RS256" => {
                let mut signer = OpensslSigner::new(MessageDigest::sha256(), &self.key).unwrap();
                signer.sign_oneshot_to_vec(input.as_bytes()).unwrap()
            }
            "EdDSA" => {
                let mut signer = OpensslSigner::new_without_digest(&self.key).unwrap();
                signer.sign_oneshot_to_vec(input.as_bytes()).unwrap()
            }
            alg => {
                let (_, _, digest, octets) = curve(alg);
                let digest = hash(digest, input.as_bytes()).unwrap();
                let pair = EcdsaSig::sign(&digest, &self.key.ec_key().unwrap()).unwrap();
                let part = |n: &openssl::bn::BigNumRef| n.to_vec_padded(octets).unwrap();
                [part(pair.r()), part(pair.s())].concat()
            }
        }
    }

    /// A request for a certificate of this key.
    pub fn csr(&self, name: &str) -> Vec<u8> {
        let mut request = X509ReqBuilder::new().unwrap();
        request.set_version(0).unwrap();
        request.set_pubkey(&self.key).unwrap();
        let names = SubjectAlternativeName::new().dns(name).build(&request.x509v3_context(None)).unwrap();
        let mut extensions = Stack::new().unwrap();
        extensions.push(names).unwrap();
        request.add_extensions(&extensions).unwrap();
        let digest = if self.alg == "EdDSA" { MessageDigest::null() } else { MessageDigest::sha256() };
        request.sign(&self.key, digest).unwrap();
        request.build().to_der().unwrap()
    }

    /// A JWS over exactly this header text and payload text.
    pub fn jws(&self, header: &str, payload: &str) -> Value {
        let (protected, payload) = (b64(header), b64(payload));
        let signature = b64(self.sign(&format!("{protected}.{payload}")));
        json!({"protected": protected, "payload": payload, "signature": signature})
    }
}

fn curve(alg: &str) -> (Nid, &'static str, MessageDigest, i32) {
    match alg {
        "ES256" => (Nid::X9_62_PRIME256V1, "P-256", MessageDigest::sha256(), 32),
        "ES384" => (Nid::SECP384R1, "P-384", MessageDigest::sha384(), 48),
        "ES512" => (Nid::SECP521R1, "P-521", MessageDigest::sha512(), 66),
        other => panic!("{other} has no curve"),
    }
}

/// The same ECDSA signature with its other s, which verifies too: (r, n - s).
pub fn other_s(signature: &[u8], alg: &str) -> Vec<u8> {
    let (nid, _, _, octets) = curve(alg);
    let group = EcGroup::from_curve_name(nid).unwrap();
    let (mut order, mut other, mut context) =
        (BigNum::new().unwrap(), BigNum::new().unwrap(), BigNumContext::new().unwrap());
    group.order(&mut order, &mut context).unwrap();
    let (r, s) = signature.split_at(signature.len() / 2);
    other.checked_sub(&order, &BigNum::from_slice(s).unwrap()).unwrap();
    [r.to_vec(), other.to_vec_padded(octets).unwrap()].concat()
}
