//! Private keys as the rest of the house sees them: something that signs. Rows in the database, PKCS#11 and
//! failing ones in tests all look like this; only room `keys` knows how they are kept.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use zeroize::Zeroizing;

use crate::error::Result;
use crate::model::id::KeyId;
use crate::model::key::KeyAlgorithm;

/// A private key. `sign` hashes as `SignatureAlgorithm::for_key(self.algorithm())` says and returns what
/// stands in an X.509 signatureValue (DER ECDSA-Sig-Value, raw Ed25519, RSA PKCS#1 v1.5).
pub trait Signer: Send + Sync + fmt::Debug {
    fn algorithm(&self) -> KeyAlgorithm;

    /// The SubjectPublicKeyInfo in DER.
    fn public_key(&self) -> &[u8];

    fn sign<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignError>>;
}

#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("the signing key cannot be reached: {0}")]
    Unavailable(String),
    #[error("signing failed: {0}")]
    Failed(String),
}

/// What a key is for. It decides under which seal the key lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyPurpose {
    /// Under the root seal, which `serve` never loads.
    Root,
    /// Under the unlock key.
    Issuer,
    /// OCSP responders: under the status seal, so that status goes on while the server is locked.
    Responder,
    /// Whatever else the server must read back (EAB keys, audit checkpoint key): under the unlock key.
    Internal,
}

impl KeyPurpose {
    pub const fn name(self) -> &'static str {
        match self {
            KeyPurpose::Root => "root",
            KeyPurpose::Issuer => "issuer",
            KeyPurpose::Responder => "responder",
            KeyPurpose::Internal => "internal",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [KeyPurpose::Root, KeyPurpose::Issuer, KeyPurpose::Responder, KeyPurpose::Internal]
            .into_iter()
            .find(|p| p.name() == name)
    }
}

/// A private key as a row: encrypted PKCS#8 with id and purpose as associated data.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedKey {
    pub id: KeyId,
    pub purpose: KeyPurpose,
    pub algorithm: KeyAlgorithm,
    /// SubjectPublicKeyInfo in DER.
    pub public_key: Vec<u8>,
    pub sealed: Vec<u8>,
}

impl SealedKey {
    /// The private part was exported and removed (`ca root offline`).
    pub fn is_offline(&self) -> bool {
        self.sealed.is_empty()
    }
}

impl fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedKey({} {} {})", self.id, self.purpose.name(), self.algorithm)
    }
}

/// Makes and opens keys. A purpose whose seal is not loaded answers `ErrorKind::Locked`.
pub trait KeyStore: Send + Sync + fmt::Debug {
    fn generate(&self, id: KeyId, algorithm: KeyAlgorithm, purpose: KeyPurpose) -> Result<SealedKey>;

    fn open(&self, key: &SealedKey) -> Result<Arc<dyn Signer>>;

    /// Seals a key that others made (PKCS#8).
    fn import(&self, id: KeyId, purpose: KeyPurpose, pkcs8: &[u8]) -> Result<SealedKey>;

    /// The PKCS#8 of a root, for `ca root offline` alone; every other purpose is refused.
    fn reveal(&self, key: &SealedKey) -> Result<Zeroizing<Vec<u8>>>;

    fn can_open(&self, purpose: KeyPurpose) -> bool;

    /// Seals a secret that the server must read back, under the unlock key. `label` says what it is, `id` whose.
    fn seal_secret(&self, label: &str, id: &[u8], plaintext: &[u8]) -> Result<Vec<u8>>;

    fn open_secret(&self, label: &str, id: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>>;

    /// Seals what status needs later (CRLs ahead of their time) under the status key, which is outside the database and
    /// also loaded while the server is locked. Works in the bytes that it is given: they may be large.
    fn seal_status(&self, label: &str, id: &[u8], plaintext: Vec<u8>) -> Result<Vec<u8>>;

    fn open_status(&self, label: &str, id: &[u8], sealed: Vec<u8>) -> Result<Vec<u8>>;
}
