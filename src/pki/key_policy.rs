//! Which public keys may be certified or hold an account (CA/B BR §6.1.5, §6.1.6; CVE-2017-15361 ROCA;
//! CVE-2022-26320 close primes). A `PublicKeyInfo` exists only for a key that passed.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{self as aws, ParsedPublicKey};

use super::algorithm::{KeyKind, Spki, SpkiError};
use super::der::{self, DerError};
use super::{oids, rsa_weakness};
use crate::error::{Error, ErrorKind};
use crate::model::key::KeyAlgorithm;

/// A public key that passed a `KeyPolicy`: kind, SubjectPublicKeyInfo byte for byte as it came, and its SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKeyInfo {
    algorithm: KeyAlgorithm,
    spki: Vec<u8>,
    sha256: [u8; 32],
}

impl PublicKeyInfo {
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-256 of the SubjectPublicKeyInfo: the name under which keys are blocked.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }
}

/// The kinds of key that are accepted. Weak ones are refused whatever the kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPolicy {
    kinds: Vec<KeyAlgorithm>,
    any_rsa_length: bool,
}

impl Default for KeyPolicy {
    fn default() -> Self {
        KeyPolicy { kinds: Self::KINDS.to_vec(), any_rsa_length: false }
    }
}

impl KeyPolicy {
    pub const KINDS: [KeyAlgorithm; 7] = [
        KeyAlgorithm::P256,
        KeyAlgorithm::P384,
        KeyAlgorithm::P521,
        KeyAlgorithm::Ed25519,
        KeyAlgorithm::Rsa(2048),
        KeyAlgorithm::Rsa(3072),
        KeyAlgorithm::Rsa(4096),
    ];

    pub fn of_kinds(kinds: &[KeyAlgorithm]) -> Self {
        KeyPolicy { kinds: kinds.to_vec(), any_rsa_length: false }
    }

    /// Every RSA length from 2048 to 4096 that is a multiple of 8, beside the usual kinds.
    pub fn with_any_rsa_length() -> Self {
        KeyPolicy { any_rsa_length: true, ..Self::default() }
    }

    /// Judges a SubjectPublicKeyInfo in DER.
    pub fn check(&self, spki_der: &[u8]) -> Result<PublicKeyInfo, KeyRefusal> {
        let spki = Spki::parse(spki_der)?;
        let algorithm = spki.algorithm().map_err(KeyRefusal::Malformed)?;
        match spki.kind {
            KeyKind::Rsa => check_rsa(spki.key)?,
            KeyKind::P256 => check_point(&aws::ECDSA_P256_SHA256_ASN1, 32, spki.key)?,
            KeyKind::P384 => check_point(&aws::ECDSA_P384_SHA384_ASN1, 48, spki.key)?,
            KeyKind::P521 => check_point(&aws::ECDSA_P521_SHA512_ASN1, 66, spki.key)?,
            KeyKind::Ed25519 => check_ed25519(spki.key)?,
        }
        let accepted = self.kinds.contains(&algorithm) || (algorithm.is_rsa() && self.any_rsa_length);
        if !accepted {
            return Err(match algorithm {
                KeyAlgorithm::Rsa(bits) if self.kinds.iter().any(|k| k.is_rsa()) => KeyRefusal::RsaBits(bits),
                other => KeyRefusal::Kind(other, self.allowed()),
            });
        }
        Ok(public_key_info(algorithm, spki_der))
    }

    fn allowed(&self) -> String {
        self.kinds.iter().map(|k| k.name()).collect::<Vec<_>>().join(", ")
    }
}

fn public_key_info(algorithm: KeyAlgorithm, spki_der: &[u8]) -> PublicKeyInfo {
    PublicKeyInfo { algorithm, spki: spki_der.to_vec(), sha256: sha256(spki_der) }
}

/// The name under which a public key is known, of its SubjectPublicKeyInfo.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// Why a public key is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    #[error("{0}")]
    Malformed(SpkiError),
    #[error("{0} keys are not accepted here")]
    Kind(KeyAlgorithm, String),
    #[error("an RSA modulus of {0} bits")]
    RsaBits(u32),
    #[error("an RSA public exponent other than 65537")]
    RsaExponent,
    #[error("an even RSA modulus")]
    RsaEven,
    #[error("an RSA modulus that is a prime number")]
    RsaPrime,
    #[error("an RSA modulus that {0} divides")]
    RsaSmallFactor(u32),
    #[error("an RSA modulus whose primes are close together")]
    RsaClosePrimes,
    #[error("an RSA modulus with the fingerprint of a ROCA generator")]
    RsaRoca,
    #[error("an elliptic curve point that is not in uncompressed form")]
    EcForm,
    #[error("a point that is not on its curve")]
    EcOffCurve,
    #[error("an Ed25519 key that is not 32 octets of canonical form")]
    Ed25519Form,
    #[error("an Ed25519 point of small order")]
    Ed25519SmallOrder,
}

impl From<SpkiError> for KeyRefusal {
    fn from(error: SpkiError) -> Self {
        KeyRefusal::Malformed(error)
    }
}

impl From<DerError> for KeyRefusal {
    fn from(error: DerError) -> Self {
        KeyRefusal::Malformed(SpkiError::Der(error))
    }
}

impl KeyRefusal {
    /// The rule by its dotted name.
    pub fn rule(&self) -> &'static str {
        match self {
            KeyRefusal::Malformed(_) => "key.encoding",
            KeyRefusal::Kind(..) => "key.kind",
            KeyRefusal::RsaBits(_) => "key.rsa_bits",
            KeyRefusal::RsaExponent => "key.rsa_exponent",
            KeyRefusal::RsaEven => "key.rsa_even",
            KeyRefusal::RsaPrime => "key.rsa_prime",
            KeyRefusal::RsaSmallFactor(_) => "key.rsa_small_factor",
            KeyRefusal::RsaClosePrimes => "key.rsa_close_primes",
            KeyRefusal::RsaRoca => "key.rsa_roca",
            KeyRefusal::EcForm => "key.ec_form",
            KeyRefusal::EcOffCurve => "key.ec_point",
            KeyRefusal::Ed25519Form => "key.ed25519_form",
            KeyRefusal::Ed25519SmallOrder => "key.ed25519_small_order",
        }
    }

    fn allowed(&self) -> String {
        match self {
            KeyRefusal::Kind(_, allowed) => allowed.clone(),
            KeyRefusal::RsaBits(_) => "2048, 3072 or 4096 bits".into(),
            KeyRefusal::RsaExponent => "65537".into(),
            KeyRefusal::EcForm | KeyRefusal::EcOffCurve => "an uncompressed point on P-256, P-384 or P-521".into(),
            KeyRefusal::Malformed(_) => "P-256, P-384, P-521, Ed25519 or RSA in DER (RFC 3279, 5480, 8410)".into(),
            _ => "a key from a sound generator".into(),
        }
    }
}

impl From<KeyRefusal> for Error {
    fn from(refusal: KeyRefusal) -> Error {
        let fix = "make a new key, for example with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`";
        Error::refused(ErrorKind::BadKey, refusal.rule(), &refusal, refusal.allowed(), fix)
            .explained(format!("this public key is not accepted: {refusal}; this CA takes {}", refusal.allowed()))
    }
}

fn check_rsa(key: &[u8]) -> Result<(), KeyRefusal> {
    let mut parts = der::only_sequence(key)?;
    let (modulus, exponent) = (parts.integer()?, parts.integer()?);
    parts.finish()?;
    if modulus.first().is_none_or(|b| b & 0x80 != 0) {
        return Err(DerError("the modulus is negative").into());
    }
    if planted!("rsa-with-any-exponent", false, exponent != [1, 0, 1]) {
        return Err(KeyRefusal::RsaExponent);
    }
    let bits = match (Spki { kind: KeyKind::Rsa, key }).algorithm()? {
        KeyAlgorithm::Rsa(bits) => bits,
        _ => 0,
    };
    // above 4096 every check costs too much, below 2048 none helps
    if planted!("rsa-of-1024-bits", false, !(2048..=4096).contains(&bits) || bits % 8 != 0) {
        return Err(KeyRefusal::RsaBits(bits));
    }
    rsa_weakness::check(modulus)
}

/// Uncompressed only (RFC 5480 §2.2 leaves compressed optional, and verifiers differ); aws-lc checks field and
/// curve. The point at infinity has one octet and falls by its length.
fn check_point(
    algorithm: &'static aws::EcdsaVerificationAlgorithm,
    size: usize,
    point: &[u8],
) -> Result<(), KeyRefusal> {
    if point.len() != 1 + 2 * size || point.first() != Some(&4) {
        return Err(KeyRefusal::EcForm);
    }
    ParsedPublicKey::new(algorithm, point).map(|_| ()).map_err(|_| KeyRefusal::EcOffCurve)
}

/// The y coordinates of the points whose order divides 8, little endian without the sign bit. The two that
/// are not canonical (p and p + 1) fall before.
const SMALL_ORDER: [[u8; 32]; 5] = {
    let mut one = [0; 32];
    one[0] = 1;
    let mut minus_one = [0xff; 32];
    minus_one[0] = 0xec;
    minus_one[31] = 0x7f;
    [
        [0; 32],
        one,
        minus_one,
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
            0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
            0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ]
};

fn check_ed25519(key: &[u8]) -> Result<(), KeyRefusal> {
    let mut y = <[u8; 32]>::try_from(key).map_err(|_| KeyRefusal::Ed25519Form)?;
    y[31] &= 0x7f;
    let (first, middle, last) = (y[0], &y[1..31], y[31]);
    if first >= 0xed && last == 0x7f && middle.iter().all(|b| *b == 0xff) {
        return Err(KeyRefusal::Ed25519Form);
    }
    if SMALL_ORDER.contains(&y) { Err(KeyRefusal::Ed25519SmallOrder) } else { Ok(()) }
}

/// The SubjectPublicKeyInfo of a JWK's `n` and `e` (RFC 7518 §6.3.1: no leading zero octets).
pub fn spki_from_rsa(n: &[u8], e: &[u8]) -> Result<Vec<u8>, KeyRefusal> {
    if n.first().is_none_or(|b| *b == 0) || e.first().is_none_or(|b| *b == 0) {
        return Err(DerError("n or e is empty or begins with a zero octet (RFC 7518 §6.3.1)").into());
    }
    let algorithm = der::sequence(&[&der::oid(&oids::RSA_ENCRYPTION), &der::null()]);
    let key = der::sequence(&[&der::unsigned(n), &der::unsigned(e)]);
    Ok(der::sequence(&[&algorithm, &der::bit_string(&key)]))
}

/// The SubjectPublicKeyInfo of a JWK's `x` and `y`, each exactly as long as the field (RFC 7518 §6.2.1.2).
pub fn spki_from_ec(curve: KeyAlgorithm, x: &[u8], y: &[u8]) -> Result<Vec<u8>, KeyRefusal> {
    let (id, size) = match curve {
        KeyAlgorithm::P256 => (oids::P256, 32),
        KeyAlgorithm::P384 => (oids::P384, 48),
        KeyAlgorithm::P521 => (oids::P521, 66),
        KeyAlgorithm::Ed25519 | KeyAlgorithm::Rsa(_) => return Err(KeyRefusal::EcForm),
    };
    if x.len() != size || y.len() != size {
        return Err(DerError("x or y is not as long as the curve's field (RFC 7518 §6.2.1.2)").into());
    }
    let algorithm = der::sequence(&[&der::oid(&oids::EC_PUBLIC_KEY), &der::oid(&id)]);
    Ok(der::sequence(&[&algorithm, &der::bit_string(&[&[4], x, y].concat())]))
}

/// The SubjectPublicKeyInfo of an OKP JWK's `x` (RFC 8037 §2).
pub fn spki_from_ed25519(x: &[u8]) -> Result<Vec<u8>, KeyRefusal> {
    if x.len() != 32 {
        return Err(KeyRefusal::Ed25519Form);
    }
    let algorithm = der::sequence(&[&der::oid(&oids::ED25519)]);
    Ok(der::sequence(&[&algorithm, &der::bit_string(x)]))
}
