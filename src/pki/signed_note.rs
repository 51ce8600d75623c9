//! Signed notes (C2SP signed-note): a text and Ed25519 signatures over it, in the form that transparency logs and their
//! witnesses read. One key signs here; signatures of others (a witness's) may stand beside it.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::algorithm::{KeyKind, Spki};
use super::{der, oids};
use crate::model::serial::to_hex;

/// The signature type of Ed25519 in key hashes and verifier keys.
const TYPE: u8 = 0x01;
/// An em dash and a space begin a signature line.
const DASH: &str = "\u{2014} ";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("a note ends with an empty line and signature lines")]
    Format,
    #[error("the note is not signed by {0}")]
    NotSigned(String),
    #[error("the signature of {0} does not fit the text of the note")]
    Signature(String),
    #[error("a verifier key is NAME+HASH+KEY, as `chancery audit key` prints it")]
    Key,
    #[error("the key that signs notes must be Ed25519")]
    KeyKind,
}

/// A name and an Ed25519 public key; prints as `NAME+HASH+KEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: [u8; 32],
}

impl VerifierKey {
    /// `spki` is a SubjectPublicKeyInfo in DER.
    pub fn of(name: &str, spki: &[u8]) -> Result<Self, NoteError> {
        let parsed = Spki::parse(spki).map_err(|_| NoteError::KeyKind)?;
        let key = <[u8; 32]>::try_from(parsed.key).ok().filter(|_| parsed.kind == KeyKind::Ed25519);
        VerifierKey::new(name, key.ok_or(NoteError::KeyKind)?)
    }

    fn new(name: &str, key: [u8; 32]) -> Result<Self, NoteError> {
        let bad = name.is_empty() || name.chars().any(|c| c.is_whitespace() || c == '+');
        if bad { Err(NoteError::Key) } else { Ok(VerifierKey { name: name.to_owned(), key }) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the SubjectPublicKeyInfo in hex: what people compare.
    pub fn fingerprint(&self) -> String {
        to_hex(digest(&SHA256, &self.spki()).as_ref())
    }

    pub fn spki(&self) -> Vec<u8> {
        let algorithm = der::sequence(&[&der::oid(&oids::ED25519)]);
        der::sequence(&[&algorithm, &der::bit_string(&self.key)])
    }

    fn typed(&self) -> Vec<u8> {
        [&[TYPE], self.key.as_slice()].concat()
    }

    fn hash(&self) -> [u8; 4] {
        let whole = digest(&SHA256, &[self.name.as_bytes(), b"\n", &self.typed()].concat());
        let mut hash = [0; 4];
        hash.copy_from_slice(&whole.as_ref()[..4]);
        hash
    }

    /// The note of `text`, which ends with a line feed, and its signature.
    pub fn note(&self, text: &str, signature: &[u8]) -> String {
        let signed = BASE64.encode([self.hash().as_slice(), signature].concat());
        format!("{text}\n{DASH}{} {signed}\n", self.name)
    }

    /// The text of a note that this key signed.
    pub fn verify<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let end = note.rfind("\n\n").ok_or(NoteError::Format)?;
        let (text, lines) = (&note[..=end], &note[end + 2..]);
        if lines.is_empty() || !lines.ends_with('\n') {
            return Err(NoteError::Format);
        }
        let mut found = Err(NoteError::NotSigned(self.name.clone()));
        for line in lines.lines() {
            let (name, encoded) =
                line.strip_prefix(DASH).and_then(|rest| rest.split_once(' ')).ok_or(NoteError::Format)?;
            let bytes = BASE64.decode(encoded).ok().filter(|bytes| bytes.len() > 4).ok_or(NoteError::Format)?;
            // a line of another key is no matter of ours, also under the same name
            if name == self.name && bytes[..4] == self.hash() {
                let good = UnparsedPublicKey::new(&ED25519, self.key).verify(text.as_bytes(), &bytes[4..]);
                good.map_err(|_| NoteError::Signature(self.name.clone()))?;
                found = Ok(text);
            }
        }
        found
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}+{}", self.name, to_hex(&self.hash()), BASE64.encode(self.typed()))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;
    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let bytes = BASE64.decode(key).map_err(|_| NoteError::Key)?;
        let key = bytes.strip_prefix(&[TYPE]).and_then(|key| <[u8; 32]>::try_from(key).ok()).ok_or(NoteError::Key)?;
        let key = VerifierKey::new(name, key)?;
        if to_hex(&key.hash()) == hash.to_ascii_lowercase() { Ok(key) } else { Err(NoteError::Key) }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    // the example of golang.org/x/mod/sumdb/note
    const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn a_note_of_another_program_verifies() {
        let key: VerifierKey = KEY.parse().unwrap();
        assert_eq!((key.name(), key.to_string().as_str()), ("PeterNeumann", KEY));
        assert_eq!(key.verify(NOTE).unwrap(), NOTE.split_once("\n\n").unwrap().0.to_owned() + "\n");
    }

    #[test]
    fn each_change_of_a_note_is_refused() {
        let pair = Ed25519KeyPair::generate().unwrap();
        let key = VerifierKey::new("ca/1", pair.public_key().as_ref().try_into().unwrap()).unwrap();
        assert_eq!(VerifierKey::of("ca/1", &key.spki()).unwrap(), key);
        let note = key.note("one\ntwo\n", pair.sign(b"one\ntwo\n").as_ref());
        assert_eq!(key.verify(&note).unwrap(), "one\ntwo\n");
        for at in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            assert!(key.verify(&changed).is_err(), "byte {at}");
        }
        let other: VerifierKey = KEY.parse().unwrap();
        assert_eq!(other.verify(&note), Err(NoteError::NotSigned("PeterNeumann".into())));
        // a witness signs beside
        let both = format!("{note}{}", NOTE.lines().last().unwrap().to_owned() + "\n");
        assert!(key.verify(&both).is_ok());
        assert_eq!(other.verify(&both), Err(NoteError::Signature("PeterNeumann".into())));
    }

    #[test]
    fn a_key_whose_hash_does_not_fit_is_refused() {
        for bad in
            ["", "a+b", "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "a b+00000000+AA=="]
        {
            assert_eq!(bad.parse::<VerifierKey>(), Err(NoteError::Key), "{bad}");
        }
    }
}
