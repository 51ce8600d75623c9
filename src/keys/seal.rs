//! Wrapping with a key-encryption key: AES-256-GCM. Label and id are associated data, so that a row that was
//! moved to another id or purpose does not open.
//!
//! `version (1) | fingerprint of the key-encryption key (8) | nonce (12) | ciphertext and tag`

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

use super::locked::LockedBytes;
use crate::entropy::{Entropy, random};
use crate::error::{Error, ErrorKind, Result};

const VERSION: u8 = 1;
const NONCE: usize = 12;
const HEADER: usize = 1 + 8 + NONCE;

/// 32 random bytes of a key-encryption key, in memory that is not swapped. Wiped when dropped, never printed.
pub struct KeyMaterial(LockedBytes);

impl KeyMaterial {
    pub fn generate(entropy: &dyn Entropy) -> Result<Self> {
        Ok(KeyMaterial(LockedBytes::new(&Zeroizing::new(random::<32>(entropy)?))?))
    }

    /// `None` when there are not 32 of them, or no memory.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        LockedBytes::new(bytes.try_into().ok()?).ok().map(KeyMaterial)
    }

    pub fn bytes(&self) -> &[u8; 32] {
        self.0.bytes()
    }

    pub fn fingerprint(&self) -> Fingerprint {
        let message = Zeroizing::new([b"chancery-key-fingerprint-v1".as_slice(), self.bytes().as_slice()].concat());
        let mut short = [0; 8];
        for (to, from) in short.iter_mut().zip(digest(&SHA256, &message).as_ref()) {
            *to = *from;
        }
        Fingerprint(short)
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyMaterial({})", self.fingerprint())
    }
}

/// Names a key-encryption key without telling anything of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 8]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("it is cut short or was not sealed by Chancery")]
    Format,
    #[error("it has seal version {0}, which this release does not know")]
    Version(u8),
    #[error("it was sealed with the key {sealed_with}, not with {loaded}")]
    OtherKey { sealed_with: Fingerprint, loaded: Fingerprint },
    #[error("it was changed, or it belongs to another id or purpose")]
    Tampered,
}

/// A key-encryption key ready for use. The cipher is set up for each use and wiped after it, so that between uses the
/// key stands in locked memory alone.
pub struct Seal {
    key: LockedBytes,
    fingerprint: Fingerprint,
}

impl Seal {
    pub fn new(material: &KeyMaterial) -> Result<Self> {
        Ok(Seal { key: LockedBytes::new(material.bytes())?, fingerprint: material.fingerprint() })
    }

    fn cipher(&self) -> std::result::Result<LessSafeKey, aws_lc_rs::error::Unspecified> {
        UnboundKey::new(&AES_256_GCM, self.key.bytes()).map(LessSafeKey::new)
    }

    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Nonces are random: below 2^32 seals under one key a repetition is out of reach (NIST SP 800-38D §8.3).
    pub fn seal(&self, entropy: &dyn Entropy, label: &str, id: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
        let nonce = random::<NONCE>(entropy)?;
        let mut body = Zeroizing::new(Vec::with_capacity(plaintext.len() + AES_256_GCM.tag_len()));
        body.extend_from_slice(plaintext);
        let aad = Aad::from(associated(label, id, self.fingerprint));
        self.cipher()
            .and_then(|cipher| cipher.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut *body))
            .map_err(|e| Error::internal("sealing failed", e))?;
        Ok([&[VERSION], self.fingerprint.0.as_slice(), &nonce, &body].concat())
    }

    /// The same in the bytes that are given, for what is large and no secret key.
    pub fn seal_large(&self, entropy: &dyn Entropy, label: &str, id: &[u8], mut body: Vec<u8>) -> Result<Vec<u8>> {
        let nonce = random::<NONCE>(entropy)?;
        let aad = Aad::from(associated(label, id, self.fingerprint));
        let tag = self.cipher().and_then(|cipher| {
            cipher.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, &mut body)
        });
        let tag = tag.map_err(|e| Error::internal("sealing failed", e))?;
        body.reserve_exact(HEADER + AES_256_GCM.tag_len());
        body.splice(0..0, [&[VERSION], self.fingerprint.0.as_slice(), &nonce].concat());
        body.extend_from_slice(tag.as_ref());
        Ok(body)
    }

    /// Opens what `seal_large` made, in its own bytes.
    pub fn open_large(&self, label: &str, id: &[u8], mut sealed: Vec<u8>) -> std::result::Result<Vec<u8>, OpenError> {
        let (header, _) = sealed.split_at_checked(HEADER).ok_or(OpenError::Format)?;
        let nonce = self.check(header)?;
        sealed.drain(..HEADER);
        let aad = Aad::from(associated(label, id, self.fingerprint));
        let length = self
            .cipher()
            .map_err(|_| OpenError::Format)?
            .open_in_place(nonce, aad, &mut sealed)
            .map_err(|_| OpenError::Tampered)?
            .len();
        sealed.truncate(length);
        Ok(sealed)
    }

    pub fn open(&self, label: &str, id: &[u8], sealed: &[u8]) -> std::result::Result<Zeroizing<Vec<u8>>, OpenError> {
        let (header, body) = sealed.split_at_checked(HEADER).ok_or(OpenError::Format)?;
        let nonce = self.check(header)?;
        let mut body = Zeroizing::new(body.to_vec());
        let aad = Aad::from(associated(label, id, self.fingerprint));
        let length = self
            .cipher()
            .map_err(|_| OpenError::Format)?
            .open_in_place(nonce, aad, &mut body)
            .map_err(|_| OpenError::Tampered)?
            .len();
        body.truncate(length);
        Ok(body)
    }

    /// Version and key of a header, which gives the nonce.
    fn check(&self, header: &[u8]) -> std::result::Result<Nonce, OpenError> {
        let (version, rest) = header.split_first().ok_or(OpenError::Format)?;
        if *version != VERSION {
            return Err(OpenError::Version(*version));
        }
        let (fingerprint, nonce) = rest.split_at_checked(8).ok_or(OpenError::Format)?;
        let sealed_with = Fingerprint(fingerprint.try_into().map_err(|_| OpenError::Format)?);
        if sealed_with != self.fingerprint {
            return Err(OpenError::OtherKey { sealed_with, loaded: self.fingerprint });
        }
        Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenError::Format)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal({})", self.fingerprint)
    }
}

/// Opening failed: a wrong key-encryption key is a matter of how we were started, all else of the database.
pub fn refusal(what: &str, seal: &str, error: OpenError) -> Error {
    match error {
        OpenError::OtherKey { sealed_with, loaded } => Error::new(
            ErrorKind::Locked,
            format!(
                "{what} was sealed with the {seal} key {sealed_with} and the one loaded is {loaded}: start with the {seal} key that belongs to this database"
            ),
        ),
        OpenError::Format | OpenError::Version(_) | OpenError::Tampered => Error::inconsistent(format!(
            "{what} cannot be opened: {error}; restore its row from a backup and run `chancery fsck`"
        )),
    }
}

/// Unambiguous: the label's length comes first.
fn associated(label: &str, id: &[u8], fingerprint: Fingerprint) -> Vec<u8> {
    let length = (label.len() as u64).to_be_bytes();
    [b"chancery-seal".as_slice(), &[VERSION], &fingerprint.0, &length, label.as_bytes(), id].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    fn seal(seed: u64) -> (Seal, SeededEntropy) {
        let entropy = SeededEntropy::new(seed);
        (Seal::new(&KeyMaterial::generate(&entropy).unwrap()).unwrap(), entropy)
    }

    #[test]
    fn what_was_sealed_opens_and_no_two_seals_are_alike() {
        let (seal, entropy) = seal(1);
        for plaintext in [&b""[..], b"secret", &[7; 5000]] {
            let one = seal.seal(&entropy, "key/issuer", b"id", plaintext).unwrap();
            let two = seal.seal(&entropy, "key/issuer", b"id", plaintext).unwrap();
            assert_ne!(one, two);
            assert_eq!(*seal.open("key/issuer", b"id", &one).unwrap(), plaintext);
        }
    }

    #[test]
    fn each_changed_byte_and_each_truncation_is_refused() {
        let (seal, entropy) = seal(2);
        let good = seal.seal(&entropy, "key/issuer", b"id", b"a private key").unwrap();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert!(seal.open("key/issuer", b"id", &bad).is_err(), "byte {at} bit {bit}");
            }
            assert!(seal.open("key/issuer", b"id", &good[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(seal.open("key/issuer", b"id", &[good.as_slice(), &[0]].concat()), Err(OpenError::Tampered));
    }

    #[test]
    fn another_label_id_or_key_is_told_apart() {
        let (seal_a, entropy) = seal(3);
        let (seal_b, _) = seal(4);
        let sealed = seal_a.seal(&entropy, "key/issuer", b"id", b"x").unwrap();
        assert_eq!(seal_a.open("key/issuer", b"ie", &sealed), Err(OpenError::Tampered));
        assert_eq!(seal_a.open("key/root", b"id", &sealed), Err(OpenError::Tampered));
        // the border between label and id cannot be moved
        assert_eq!(seal_a.open("key/issueri", b"d", &sealed), Err(OpenError::Tampered));
        assert!(matches!(seal_b.open("key/issuer", b"id", &sealed), Err(OpenError::OtherKey { .. })));
        let message = refusal("key 1", "unlock", seal_b.open("key/issuer", b"id", &sealed).unwrap_err());
        assert_eq!(message.kind, ErrorKind::Locked);
    }

    #[test]
    fn key_material_is_not_printed() {
        let material = KeyMaterial::from_bytes(&[0x41; 32]).unwrap();
        assert!(!format!("{material:?}").contains("4141"));
        assert!(KeyMaterial::from_bytes(&[0; 31]).is_none());
    }
}
