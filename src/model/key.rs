//! Kinds of keys and of signatures, by the names that people write.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What a key is. RSA carries its modulus length in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeyAlgorithm {
    P256,
    P384,
    P521,
    Ed25519,
    Rsa(u32),
}

impl KeyAlgorithm {
    pub fn name(self) -> String {
        match self {
            KeyAlgorithm::P256 => "P-256".into(),
            KeyAlgorithm::P384 => "P-384".into(),
            KeyAlgorithm::P521 => "P-521".into(),
            KeyAlgorithm::Ed25519 => "Ed25519".into(),
            KeyAlgorithm::Rsa(bits) => format!("RSA-{bits}"),
        }
    }

    pub fn is_rsa(self) -> bool {
        matches!(self, KeyAlgorithm::Rsa(_))
    }
}

impl std::fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

impl std::str::FromStr for KeyAlgorithm {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "p-256" | "p256" | "ec-256" | "secp256r1" | "prime256v1" => KeyAlgorithm::P256,
            "p-384" | "p384" | "ec-384" | "secp384r1" => KeyAlgorithm::P384,
            "p-521" | "p521" | "ec-521" | "secp521r1" => KeyAlgorithm::P521,
            "ed25519" => KeyAlgorithm::Ed25519,
            "rsa-2048" | "rsa2048" => KeyAlgorithm::Rsa(2048),
            "rsa-3072" | "rsa3072" => KeyAlgorithm::Rsa(3072),
            "rsa-4096" | "rsa4096" => KeyAlgorithm::Rsa(4096),
            _ => {
                return Err(Error::malformed(format!(
                    "\"{}\" is not a kind of key: allowed are P-256, P-384, P-521, Ed25519, RSA-2048, RSA-3072, RSA-4096",
                    super::identifier::shown(text)
                )));
            }
        })
    }
}

impl TryFrom<String> for KeyAlgorithm {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        // stored keys may be RSA of a length that nobody may ask for any more
        match text.strip_prefix("RSA-").map(str::parse) {
            Some(Ok(bits)) => Ok(KeyAlgorithm::Rsa(bits)),
            _ => text.parse(),
        }
    }
}

impl From<KeyAlgorithm> for String {
    fn from(algorithm: KeyAlgorithm) -> String {
        algorithm.name()
    }
}

/// How an issuer or a responder signs. The hash is fixed by the key, so that nobody can choose a weak one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    EcdsaP256Sha256,
    EcdsaP384Sha384,
    EcdsaP521Sha512,
    Ed25519,
    RsaPkcs1Sha256,
}

impl SignatureAlgorithm {
    pub fn for_key(algorithm: KeyAlgorithm) -> Self {
        match algorithm {
            KeyAlgorithm::P256 => SignatureAlgorithm::EcdsaP256Sha256,
            KeyAlgorithm::P384 => SignatureAlgorithm::EcdsaP384Sha384,
            KeyAlgorithm::P521 => SignatureAlgorithm::EcdsaP521Sha512,
            KeyAlgorithm::Ed25519 => SignatureAlgorithm::Ed25519,
            KeyAlgorithm::Rsa(_) => SignatureAlgorithm::RsaPkcs1Sha256,
        }
    }
}
