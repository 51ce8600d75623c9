//! To-be-signed bytes that have passed policy and lint. Moved, not copied: sealing consumes them, and only the
//! issuer that prepared them can seal them.

use crate::model::id::IssuerId;
use crate::model::identifier::Identifier;
use crate::model::serial::SerialNumber;
use crate::model::validity::Validity;

#[derive(Debug)]
pub struct Prepared {
    pub(super) issuer: IssuerId,
    pub(super) tbs: Vec<u8>,
    pub(super) facts: Facts,
}

/// Read back from the bytes, not taken from the inputs.
#[derive(Debug, Clone)]
pub struct Facts {
    pub serial: SerialNumber,
    /// RFC 4514.
    pub subject: String,
    pub names: Vec<Identifier>,
    pub validity: Validity,
    pub spki_sha256: [u8; 32],
}

impl Prepared {
    pub fn tbs(&self) -> &[u8] {
        &self.tbs
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }
}

/// A signed certificate whose signature was verified with the issuer's public key.
#[derive(Debug)]
pub struct SealedCertificate {
    pub(super) der: Vec<u8>,
    pub(super) fingerprint: [u8; 32],
    pub(super) facts: Facts,
}

impl SealedCertificate {
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    pub fn into_der(self) -> Vec<u8> {
        self.der
    }

    /// SHA-256 of the DER.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }
}
