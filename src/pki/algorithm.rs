//! Signature algorithms in DER and the verification of signatures (RFC 3279, 4055, 5758, 8410). What we sign
//! has its hash fixed by the key; what others sign names its own, and weak ones are refused by name.

use ::der::oid::ObjectIdentifier;
use aws_lc_rs::signature::{self as aws, UnparsedPublicKey, VerificationAlgorithm};

use super::der::{self, Cursor, DerError};
use super::oids;
use crate::model::key::{KeyAlgorithm, SignatureAlgorithm};

/// The AlgorithmIdentifier that stands inside and outside of what we sign. ECDSA and EdDSA have no
/// parameters, RSA has NULL.
pub fn algorithm_identifier(algorithm: SignatureAlgorithm) -> Vec<u8> {
    match algorithm {
        SignatureAlgorithm::EcdsaP256Sha256 => der::sequence(&[&der::oid(&oids::ECDSA_SHA256)]),
        SignatureAlgorithm::EcdsaP384Sha384 => der::sequence(&[&der::oid(&oids::ECDSA_SHA384)]),
        SignatureAlgorithm::EcdsaP521Sha512 => der::sequence(&[&der::oid(&oids::ECDSA_SHA512)]),
        SignatureAlgorithm::Ed25519 => der::sequence(&[&der::oid(&oids::ED25519)]),
        SignatureAlgorithm::RsaPkcs1Sha256 => der::sequence(&[&der::oid(&oids::SHA256_WITH_RSA), &der::null()]),
    }
}

/// The kind of key in a SubjectPublicKeyInfo, before any policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

/// A SubjectPublicKeyInfo taken apart: `key` is what stands in the BIT STRING.
#[derive(Debug, Clone, Copy)]
pub struct Spki<'a> {
    pub kind: KeyKind,
    pub key: &'a [u8],
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpkiError {
    #[error("the public key is {0}")]
    Der(#[from] DerError),
    #[error("the public key is of a kind that is not supported ({0})")]
    Unsupported(ObjectIdentifier),
    #[error("the elliptic curve is not supported ({0})")]
    UnsupportedCurve(ObjectIdentifier),
    #[error("the parameters of the public key's algorithm are not those of its RFC")]
    Parameters,
}

impl<'a> Spki<'a> {
    pub fn parse(spki_der: &'a [u8]) -> Result<Self, SpkiError> {
        let mut spki = der::only_sequence(spki_der)?;
        let mut algorithm = spki.sequence()?;
        let key = spki.bit_octets()?;
        spki.finish()?;
        let id = algorithm.oid()?;
        let kind = if id == oids::RSA_ENCRYPTION {
            // RFC 3279 §2.3.1: NULL, present
            algorithm.expect(der::NULL).ok().filter(|v| v.content.is_empty()).ok_or(SpkiError::Parameters)?;
            KeyKind::Rsa
        } else if id == oids::EC_PUBLIC_KEY {
            // RFC 5480 §2.1.1: namedCurve only
            curve(algorithm.oid().map_err(|_| SpkiError::Parameters)?)?
        } else if id == oids::ED25519 {
            KeyKind::Ed25519
        } else {
            return Err(SpkiError::Unsupported(id));
        };
        algorithm.finish().map_err(|_| SpkiError::Parameters)?;
        Ok(Spki { kind, key })
    }

    /// Kind and, for RSA, length of the modulus.
    pub fn algorithm(&self) -> Result<KeyAlgorithm, SpkiError> {
        Ok(match self.kind {
            KeyKind::P256 => KeyAlgorithm::P256,
            KeyKind::P384 => KeyAlgorithm::P384,
            KeyKind::P521 => KeyAlgorithm::P521,
            KeyKind::Ed25519 => KeyAlgorithm::Ed25519,
            KeyKind::Rsa => KeyAlgorithm::Rsa(rsa_bits(self.key)?),
        })
    }
}

fn curve(id: ObjectIdentifier) -> Result<KeyKind, SpkiError> {
    match id {
        oids::P256 => Ok(KeyKind::P256),
        oids::P384 => Ok(KeyKind::P384),
        oids::P521 => Ok(KeyKind::P521),
        other => Err(SpkiError::UnsupportedCurve(other)),
    }
}

fn rsa_bits(key: &[u8]) -> Result<u32, DerError> {
    let modulus = der::only_sequence(key)?.integer()?;
    let significant = modulus.iter().position(|b| *b != 0).and_then(|at| modulus.get(at..)).unwrap_or_default();
    let bits = significant.len() * 8 - significant.first().map_or(0, |b| b.leading_zeros() as usize);
    u32::try_from(bits).map_err(|_| DerError("the modulus is too long"))
}

/// A signature algorithm as others name it in what they signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureScheme {
    EcdsaSha256,
    EcdsaSha384,
    EcdsaSha512,
    Ed25519,
    RsaPkcs1Sha256,
    RsaPkcs1Sha384,
    RsaPkcs1Sha512,
    RsaPssSha256,
    RsaPssSha384,
    RsaPssSha512,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Key(#[from] SpkiError),
    #[error("the signature algorithm is {0}")]
    Der(#[from] DerError),
    #[error("it is signed with {0}, which is broken")]
    Weak(&'static str),
    #[error("the signature algorithm {0} is not supported")]
    Unsupported(ObjectIdentifier),
    #[error(
        "the RSA-PSS parameters are not supported: the hash is SHA-256, SHA-384 or SHA-512, MGF1 has the same one, and the salt is as long"
    )]
    PssParameters,
    #[error("the signature algorithm does not fit the key")]
    Mismatch,
    #[error("the signature does not verify")]
    Bad,
}

impl SignatureScheme {
    /// From an AlgorithmIdentifier in DER.
    pub fn parse(algorithm_der: &[u8]) -> Result<Self, VerifyError> {
        let mut algorithm = der::only_sequence(algorithm_der)?;
        let id = algorithm.oid()?;
        let scheme = match id {
            oids::ECDSA_SHA256 => SignatureScheme::EcdsaSha256,
            oids::ECDSA_SHA384 => SignatureScheme::EcdsaSha384,
            oids::ECDSA_SHA512 => SignatureScheme::EcdsaSha512,
            oids::ED25519 => SignatureScheme::Ed25519,
            oids::SHA256_WITH_RSA => SignatureScheme::RsaPkcs1Sha256,
            oids::SHA384_WITH_RSA => SignatureScheme::RsaPkcs1Sha384,
            oids::SHA512_WITH_RSA => SignatureScheme::RsaPkcs1Sha512,
            oids::RSA_PSS => return pss(algorithm),
            oids::ECDSA_SHA1 | oids::SHA1_WITH_RSA => return Err(VerifyError::Weak("SHA-1")),
            oids::MD5_WITH_RSA => return Err(VerifyError::Weak("MD5")),
            oids::MD2_WITH_RSA => return Err(VerifyError::Weak("MD2")),
            other => return Err(VerifyError::Unsupported(other)),
        };
        // RFC 4055 §5: accept NULL and absent for RSA; RFC 5758 §3.2, 8410 §3: absent for the others
        if scheme.is_rsa() && algorithm.optional(der::NULL)?.is_some_and(|v| !v.content.is_empty()) {
            return Err(DerError("NULL has content").into());
        }
        algorithm.finish()?;
        Ok(scheme)
    }

    fn is_rsa(self) -> bool {
        !matches!(
            self,
            SignatureScheme::EcdsaSha256
                | SignatureScheme::EcdsaSha384
                | SignatureScheme::EcdsaSha512
                | SignatureScheme::Ed25519
        )
    }
}

/// RSASSA-PSS-params (RFC 4055 §3.1); only the shape that RFC 8446 uses too.
fn pss(mut algorithm: Cursor<'_>) -> Result<SignatureScheme, VerifyError> {
    let shape = |mut algorithm: Cursor<'_>| -> Result<(ObjectIdentifier, ObjectIdentifier, u32), DerError> {
        let mut params = algorithm.sequence()?;
        let hash = digest(params.expect(der::context_constructed(0))?.inside())?;
        let mut mask = params.expect(der::context_constructed(1))?.inside().sequence()?;
        if mask.oid()? != oids::MGF1 {
            return Err(DerError("the mask is not MGF1"));
        }
        let mask_hash = digest(mask)?;
        let salt = params.expect(der::context_constructed(2))?.inside().small_integer()?;
        params.finish()?;
        Ok((hash, mask_hash, salt))
    };
    let (hash, mask_hash, salt) = shape(algorithm).map_err(|_| VerifyError::PssParameters)?;
    algorithm.any()?;
    algorithm.finish()?;
    match (hash, salt) {
        (oids::SHA256, 32) if mask_hash == hash => Ok(SignatureScheme::RsaPssSha256),
        (oids::SHA384, 48) if mask_hash == hash => Ok(SignatureScheme::RsaPssSha384),
        (oids::SHA512, 64) if mask_hash == hash => Ok(SignatureScheme::RsaPssSha512),
        _ => Err(VerifyError::PssParameters),
    }
}

fn digest(mut inside: Cursor<'_>) -> Result<ObjectIdentifier, DerError> {
    let mut algorithm = inside.sequence()?;
    inside.finish()?;
    let id = algorithm.oid()?;
    algorithm.optional(der::NULL)?;
    algorithm.finish()?;
    Ok(id)
}

/// Verifies what one of our own keys signed: the hash is fixed by the kind of key, as in `SignatureAlgorithm`.
pub fn verify(spki_der: &[u8], message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
    let scheme = match Spki::parse(spki_der)?.kind {
        KeyKind::P256 => SignatureScheme::EcdsaSha256,
        KeyKind::P384 => SignatureScheme::EcdsaSha384,
        KeyKind::P521 => SignatureScheme::EcdsaSha512,
        KeyKind::Ed25519 => SignatureScheme::Ed25519,
        KeyKind::Rsa => SignatureScheme::RsaPkcs1Sha256,
    };
    verify_with(scheme, spki_der, message, signature)
}

/// Verifies with the algorithm that the signed thing names, if it fits the key.
pub fn verify_with(
    scheme: SignatureScheme,
    spki_der: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), VerifyError> {
    use KeyKind::*;
    use SignatureScheme::*;
    let spki = Spki::parse(spki_der)?;
    let algorithm: &'static dyn VerificationAlgorithm = match (spki.kind, scheme) {
        (P256, EcdsaSha256) => &aws::ECDSA_P256_SHA256_ASN1,
        (P256, EcdsaSha384) => &aws::ECDSA_P256_SHA384_ASN1,
        (P256, EcdsaSha512) => &aws::ECDSA_P256_SHA512_ASN1,
        (P384, EcdsaSha256) => &aws::ECDSA_P384_SHA256_ASN1,
        (P384, EcdsaSha384) => &aws::ECDSA_P384_SHA384_ASN1,
        (P384, EcdsaSha512) => &aws::ECDSA_P384_SHA512_ASN1,
        (P521, EcdsaSha256) => &aws::ECDSA_P521_SHA256_ASN1,
        (P521, EcdsaSha384) => &aws::ECDSA_P521_SHA384_ASN1,
        (P521, EcdsaSha512) => &aws::ECDSA_P521_SHA512_ASN1,
        (KeyKind::Ed25519, SignatureScheme::Ed25519) => &aws::ED25519,
        (Rsa, RsaPkcs1Sha256) => &aws::RSA_PKCS1_2048_8192_SHA256,
        (Rsa, RsaPkcs1Sha384) => &aws::RSA_PKCS1_2048_8192_SHA384,
        (Rsa, RsaPkcs1Sha512) => &aws::RSA_PKCS1_2048_8192_SHA512,
        (Rsa, RsaPssSha256) => &aws::RSA_PSS_2048_8192_SHA256,
        (Rsa, RsaPssSha384) => &aws::RSA_PSS_2048_8192_SHA384,
        (Rsa, RsaPssSha512) => &aws::RSA_PSS_2048_8192_SHA512,
        (P256 | P384 | P521 | KeyKind::Ed25519 | Rsa, _) => return Err(VerifyError::Mismatch),
    };
    UnparsedPublicKey::new(algorithm, spki.key).verify(message, signature).map_err(|_| VerifyError::Bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_have_the_parameters_of_their_rfc() {
        assert_eq!(algorithm_identifier(SignatureAlgorithm::Ed25519), [0x30, 5, 6, 3, 0x2b, 0x65, 0x70]);
        assert!(algorithm_identifier(SignatureAlgorithm::RsaPkcs1Sha256).ends_with(&[5, 0]));
        assert!(algorithm_identifier(SignatureAlgorithm::EcdsaP256Sha256).ends_with(&[4, 3, 2]));
    }

    #[test]
    fn every_own_algorithm_parses_back() {
        for (own, scheme) in [
            (SignatureAlgorithm::EcdsaP256Sha256, SignatureScheme::EcdsaSha256),
            (SignatureAlgorithm::EcdsaP384Sha384, SignatureScheme::EcdsaSha384),
            (SignatureAlgorithm::EcdsaP521Sha512, SignatureScheme::EcdsaSha512),
            (SignatureAlgorithm::Ed25519, SignatureScheme::Ed25519),
            (SignatureAlgorithm::RsaPkcs1Sha256, SignatureScheme::RsaPkcs1Sha256),
        ] {
            assert_eq!(SignatureScheme::parse(&algorithm_identifier(own)), Ok(scheme));
        }
    }

    #[test]
    fn weak_hashes_are_named() {
        let sha1 = der::sequence(&[&der::oid(&oids::ECDSA_SHA1)]);
        assert_eq!(SignatureScheme::parse(&sha1), Err(VerifyError::Weak("SHA-1")));
        let ecdsa_null = der::sequence(&[&der::oid(&oids::ECDSA_SHA256), &der::null()]);
        assert!(SignatureScheme::parse(&ecdsa_null).is_err());
    }
}
