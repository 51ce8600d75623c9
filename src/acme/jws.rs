//! The signed envelope of every ACME request: a flattened JWS in JSON (RFC 7515 §7.2.2, RFC 8555 §6.2), read
//! strictly. Parsing needs no database; which key verifies and whether the nonce is good is decided by callers,
//! in this order: shape, header, key, signature, url, nonce. So nobody but the key's holder can spend a nonce.

use aws_lc_rs::signature::{self, VerificationAlgorithm};
use serde_json::{Map, Value};

use super::jwk::{Curve, Jwk};
use super::{base64url, json};
use crate::error::{Error, ErrorKind, Result};

/// A CSR with a hundred names takes about ten thousand octets of it.
pub const MAX_BODY: usize = 50_000;

const WHAT: &str = "the protected header";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

impl Algorithm {
    pub const ALL: [Algorithm; 5] =
        [Algorithm::Es256, Algorithm::Es384, Algorithm::Es512, Algorithm::EdDsa, Algorithm::Rs256];

    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::Es512 => "ES512",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    /// Names are compared exactly: `none`, `None` and HMACs are simply not in the list.
    fn parse(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name).ok_or_else(|| {
            Error::refused(
                ErrorKind::BadSignatureAlgorithm,
                "jws.alg",
                crate::model::identifier::shown(name),
                Self::ALL.map(Algorithm::name).join(", "),
                "sign with one of these",
            )
            .explained(format!(
                "the JWS is signed with algorithm {}; this CA takes {}",
                crate::model::identifier::shown(name),
                Self::ALL.map(Algorithm::name).join(", ")
            ))
        })
    }

    fn fits(self, key: &Jwk) -> bool {
        matches!(
            (self, key),
            (Algorithm::Rs256, Jwk::Rsa { .. })
                | (Algorithm::Es256, Jwk::Ec { curve: Curve::P256, .. })
                | (Algorithm::Es384, Jwk::Ec { curve: Curve::P384, .. })
                | (Algorithm::Es512, Jwk::Ec { curve: Curve::P521, .. })
                | (Algorithm::EdDsa, Jwk::Ed25519(_))
        )
    }
}

/// Who signs: exactly one of the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signed {
    /// A key of its own: newAccount, revocation by certificate key, the inner JWS of a key change.
    ByKey(Jwk),
    /// The URL of an account.
    ByAccount(String),
}

/// A JWS whose signature nobody has looked at yet.
#[derive(Debug, Clone)]
pub struct Jws {
    pub algorithm: Algorithm,
    pub signer: Signed,
    pub nonce: Option<String>,
    pub url: String,
    input: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// The members of any flattened JWS, decoded; which algorithms and keys are good is the caller's.
#[derive(Debug, Clone)]
pub struct Parts {
    pub header: Map<String, Value>,
    /// What is signed.
    pub input: Vec<u8>,
    pub payload: Vec<u8>,
    pub signature: Vec<u8>,
}

impl Parts {
    pub fn from_members(outer: &Map<String, Value>) -> Result<Self> {
        // what is not understood MUST be ignored (RFC 7515 §7.2.1); these two are understood, and null is as absent
        let is_there = |name: &&str| outer.get(*name).is_some_and(|value| !value.is_null());
        if let Some(name) = ["header", "signatures"].iter().find(|name| is_there(name)) {
            return Err(Error::malformed(format!(
                "the JWS has a member \"{name}\": a flattened JWS has one signature and no unprotected header (RFC 8555 §6.2)"
            )));
        }
        let part = |name: &str| {
            json::string(outer, name, "the JWS")?
                .ok_or_else(|| Error::malformed(format!("the JWS has no member \"{name}\"")))
        };
        let (protected, payload, signature) = (part("protected")?, part("payload")?, part("signature")?);
        let input = format!("{protected}.{payload}").into_bytes();
        let mut header = json::parse_object(&base64url::decode(protected, "\"protected\"")?, WHAT)?;
        let payload = base64url::decode(payload, "\"payload\"")?;
        let signature = base64url::decode(signature, "\"signature\"")?;
        if signature.is_empty() {
            return Err(Error::malformed("the JWS has an empty signature"));
        }
        if header.contains_key("crit") {
            return Err(Error::malformed("\"crit\" is refused: this server knows no critical header parameter"));
        }
        if header.contains_key("b64") {
            return Err(Error::malformed("\"b64\" is refused: payloads are base64url (RFC 7797 must not be used)"));
        }
        // as in payloads
        header.retain(|_, value| !value.is_null());
        Ok(Parts { header, input, payload, signature })
    }
}

/// The payload of a JWS whose signature held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload(Vec<u8>);

impl Jws {
    pub fn parse(body: &[u8]) -> Result<Self> {
        if body.len() > MAX_BODY {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("the request is larger than {MAX_BODY} octets: ask for fewer names"),
            ));
        }
        Self::from_members(&json::parse_object(body, "the JWS")?)
    }

    /// The same for one JWS inside another (key change).
    pub fn from_members(outer: &Map<String, Value>) -> Result<Self> {
        let Parts { header, input, payload, signature } = Parts::from_members(outer)?;
        let header = &header;
        let alg = json::string(header, "alg", WHAT)?
            .ok_or_else(|| Error::malformed("the protected header has no \"alg\""))?;
        let algorithm = Algorithm::parse(alg)?;
        let signer = match (header.get("jwk"), json::string(header, "kid", WHAT)?) {
            (Some(Value::Object(members)), None) => Signed::ByKey(Jwk::parse(members, alg)?),
            (Some(_), None) => return Err(Error::malformed("\"jwk\" must be a JSON object")),
            (None, Some(kid)) => Signed::ByAccount(kid.to_owned()),
            _ => return Err(Error::malformed("the protected header must have exactly one of \"jwk\" and \"kid\"")),
        };
        if let Signed::ByKey(key) = &signer {
            fitting(algorithm, key)?;
        }
        let url = json::string(header, "url", WHAT)?
            .ok_or_else(|| Error::malformed("the protected header has no \"url\""))?
            .to_owned();
        let nonce = json::string(header, "nonce", WHAT)?.map(str::to_owned);
        // what is not base64url is malformed (RFC 8555 §6.5.2); Pebble and Boulder say badNonce
        nonce.as_deref().map(|text| base64url::decode(text, "\"nonce\"")).transpose()?;
        Ok(Jws { algorithm, signer, nonce, url, input, payload, signature })
    }

    /// Checks the signature with `key`; only then there is a payload.
    pub fn verify(&self, key: &Jwk) -> Result<Payload> {
        fitting(self.algorithm, key)?;
        if !holds(self.algorithm, key, &self.input, &self.signature) {
            return Err(Error::malformed("the signature of the JWS does not verify with this key"));
        }
        Ok(Payload(self.payload.clone()))
    }
}

impl Payload {
    /// POST-as-GET: the payload is exactly the empty string (RFC 8555 §6.3).
    pub fn expect_empty(&self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(Error::malformed(
            "this resource is read by POST-as-GET: its payload is the empty string, not {} (RFC 8555 §6.3)",
        ))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its members. Null is as absent: clients in Go, Java and .NET write it for what they leave out.
    pub fn object(&self) -> Result<Map<String, Value>> {
        let mut members = json::parse_object(&self.0, "the payload")?;
        members.retain(|_, value| !value.is_null());
        Ok(members)
    }
}

fn fitting(algorithm: Algorithm, key: &Jwk) -> Result<()> {
    if algorithm.fits(key) {
        return Ok(());
    }
    Err(Error::malformed(format!(
        "\"alg\" {} does not fit the key: RS256 goes with RSA, ES256, ES384 and ES512 with P-256, P-384 and P-521, EdDSA with Ed25519",
        algorithm.name()
    )))
}

fn holds(algorithm: Algorithm, key: &Jwk, input: &[u8], signature: &[u8]) -> bool {
    let point = |x: &[u8], y: &[u8]| [&[4u8][..], x, y].concat();
    let with = |alg: &dyn VerificationAlgorithm, public: &[u8]| alg.verify_sig(public, input, signature).is_ok();
    match (algorithm, key) {
        (Algorithm::Rs256, Jwk::Rsa { n, e }) => signature::RsaPublicKeyComponents { n, e }
            .verify(&signature::RSA_PKCS1_2048_8192_SHA256, input, signature)
            .is_ok(),
        (Algorithm::Es256, Jwk::Ec { x, y, .. }) => with(&signature::ECDSA_P256_SHA256_FIXED, &point(x, y)),
        (Algorithm::Es384, Jwk::Ec { x, y, .. }) => with(&signature::ECDSA_P384_SHA384_FIXED, &point(x, y)),
        (Algorithm::Es512, Jwk::Ec { x, y, .. }) => with(&signature::ECDSA_P521_SHA512_FIXED, &point(x, y)),
        (Algorithm::EdDsa, Jwk::Ed25519(x)) => !small_order(x) && with(&signature::ED25519, x),
        _ => false,
    }
}

/// The points of order 1, 2, 4 and 8 of edwards25519, sign bit aside, canonical or not: with such a key one
/// signature fits many messages.
fn small_order(x: &[u8; 32]) -> bool {
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
            0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
            0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let mut y = *x;
    y[31] &= 0x7f;
    let (low, high) = (y[0], y[31]);
    let middle = |byte: u8| y[1..31].iter().all(|b| *b == byte);
    let small = middle(0) && high == 0 && low <= 1;
    // p-1, p, p+1 with p = 2^255 - 19
    let around_p = middle(0xff) && high == 0x7f && (0xec..=0xee).contains(&low);
    small || around_p || ORDER_8.contains(&y)
}
