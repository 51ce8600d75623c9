//! Keys that the server makes for a requester: returned once, never stored, never logged.

use rcgen::{KeyPair, PublicKeyData, RsaKeySize};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::model::key::KeyAlgorithm;

/// A fresh key pair. The secret does not print.
pub struct MadeKey {
    /// SubjectPublicKeyInfo in DER.
    pub spki: Vec<u8>,
    /// PKCS#8 in PEM.
    pub pem: Zeroizing<String>,
}

/// RSA takes up to seconds, so it happens off the runtime's threads.
pub async fn make(algorithm: KeyAlgorithm) -> Result<MadeKey> {
    let made = tokio::task::spawn_blocking(move || generate(algorithm)).await;
    made.map_err(|e| Error::internal("the key generation task ended early", e))?
}

fn generate(algorithm: KeyAlgorithm) -> Result<MadeKey> {
    let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
    let pair = match algorithm {
        KeyAlgorithm::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyAlgorithm::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        KeyAlgorithm::P521 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512),
        KeyAlgorithm::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        KeyAlgorithm::Rsa(2048) => rsa(RsaKeySize::_2048),
        KeyAlgorithm::Rsa(3072) => rsa(RsaKeySize::_3072),
        KeyAlgorithm::Rsa(4096) => rsa(RsaKeySize::_4096),
        KeyAlgorithm::Rsa(bits) => {
            return Err(Error::malformed(format!(
                "RSA-{bits} is not made here: choose RSA-2048, RSA-3072 or RSA-4096"
            )));
        }
    };
    let pair = pair.map_err(|e| Error::internal("a key could not be made", e))?;
    Ok(MadeKey { spki: pair.subject_public_key_info(), pem: Zeroizing::new(pair.serialize_pem()) })
}
