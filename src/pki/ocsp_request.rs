//! OCSP requests (RFC 6960 §4.1, RFC 9654 for the nonce), read as strict DER. Signatures and requestor names
//! are let pass unread: we answer anyone.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

use super::algorithm::{Spki, SpkiError};
use super::der::{self, Cursor, DerError};
use super::extension::{Extension, extensions};
use super::oids;
use crate::model::serial::SerialNumber;

/// What a request may be as a whole; the HTTP side stops reading there.
pub const MAX_OCTETS: usize = 4096;

/// How many certificates one request may ask for.
pub const MAX_CERTIFICATES: usize = 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OcspRequest<'a> {
    /// One at least.
    pub certificates: Vec<CertId<'a>>,
    pub nonce: Option<Nonce<'a>>,
}

/// What the client calls the certificate: hashes of the issuer's name and key, and the serial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertId<'a> {
    /// `None` for a hash that we do not know: nothing matches then.
    pub hash: Option<CertIdHash>,
    pub issuer_name_hash: &'a [u8],
    pub issuer_key_hash: &'a [u8],
    /// `None` for what no certificate may have: negative, zero or above 20 octets.
    pub serial: Option<SerialNumber>,
    /// The whole CertID, to be echoed byte for byte.
    pub raw: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CertIdHash {
    Sha1,
    Sha256,
}

/// The extnValue of the nonce extension: an OCTET STRING of 1 to 128 octets, echoed as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce<'a> {
    raw: &'a [u8],
}

impl<'a> Nonce<'a> {
    /// RFC 9654 §2.1: 0 octets or more than 128 are malformed.
    pub fn parse(extension_value: &'a [u8]) -> Result<Self, DerError> {
        let mut value = Cursor::new(extension_value);
        let octets = value.expect(der::OCTET_STRING)?.content;
        value.finish()?;
        match octets.len() {
            1..=128 => Ok(Nonce { raw: extension_value }),
            _ => Err(DerError("a nonce has 1 to 128 octets")),
        }
    }

    /// The OCTET STRING in DER.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }
}

impl<'a> OcspRequest<'a> {
    /// Any error is answered with `malformedRequest`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DerError> {
        if bytes.len() > MAX_OCTETS {
            return Err(DerError("the request is longer than 4096 octets"));
        }
        let mut outer = der::only_sequence(bytes)?;
        let mut request = outer.sequence()?;
        outer.optional(der::context_constructed(0))?;
        outer.finish()?;

        if let Some(version) = request.optional(der::context_constructed(0))? {
            // v1 is the default and some clients write it all the same
            let mut version = version.inside();
            if version.small_integer()? != 0 {
                return Err(DerError("the version is not v1"));
            }
            version.finish()?;
        }
        request.optional(der::context_constructed(1))?;
        let certificates = certificates(request.sequence()?)?;
        let nonce = match request.optional(der::context_constructed(2))? {
            Some(explicit) => nonce(&read_extensions(explicit.inside())?)?,
            None => None,
        };
        request.finish()?;
        Ok(OcspRequest { certificates, nonce })
    }
}

fn certificates(mut list: Cursor<'_>) -> Result<Vec<CertId<'_>>, DerError> {
    let mut found = Vec::new();
    while !list.is_empty() {
        if found.len() == MAX_CERTIFICATES {
            return Err(DerError("the request asks for more than 20 certificates"));
        }
        let mut one = list.sequence()?;
        found.push(CertId::read(&mut one)?);
        if let Some(explicit) = one.optional(der::context_constructed(0))? {
            read_extensions(explicit.inside())?;
        }
        one.finish()?;
    }
    if found.is_empty() { Err(DerError("the request asks for no certificate")) } else { Ok(found) }
}

/// Unknown extensions are ignored unless they are critical (RFC 6960 §4.4).
fn read_extensions(mut inside: Cursor<'_>) -> Result<Vec<Extension<'_>>, DerError> {
    let found = extensions(&mut inside)?;
    inside.finish()?;
    if found.iter().any(|e| e.critical && e.id != oids::OCSP_NONCE) {
        return Err(DerError("a critical extension is not known"));
    }
    Ok(found)
}

fn nonce<'a>(extensions: &[Extension<'a>]) -> Result<Option<Nonce<'a>>, DerError> {
    extensions.iter().find(|e| e.id == oids::OCSP_NONCE).map(|e| Nonce::parse(e.value)).transpose()
}

impl<'a> CertId<'a> {
    pub(super) fn read(list: &mut Cursor<'a>) -> Result<Self, DerError> {
        let whole = list.expect(der::SEQUENCE)?;
        let mut id = whole.inside();
        let mut algorithm = id.sequence()?;
        let hash = match algorithm.oid()? {
            oids::SHA1 => Some(CertIdHash::Sha1),
            oids::SHA256 => Some(CertIdHash::Sha256),
            _ => None,
        };
        if hash.is_some() {
            // RFC 5754 §2: NULL or absent
            if algorithm.optional(der::NULL)?.is_some_and(|null| !null.content.is_empty()) {
                return Err(DerError("NULL has content"));
            }
            algorithm.finish()?;
        }
        let issuer_name_hash = id.expect(der::OCTET_STRING)?.content;
        let issuer_key_hash = id.expect(der::OCTET_STRING)?.content;
        let serial = SerialNumber::from_octets(id.integer()?).ok();
        id.finish()?;
        Ok(CertId { hash, issuer_name_hash, issuer_key_hash, serial, raw: whole.raw })
    }

    /// Does it speak of a certificate of this issuer?
    pub fn is_of(&self, issuer: &IssuerHashes) -> bool {
        let (name, key) = match self.hash {
            Some(CertIdHash::Sha1) => (&issuer.name_sha1[..], &issuer.key_sha1[..]),
            Some(CertIdHash::Sha256) => (&issuer.name_sha256[..], &issuer.key_sha256[..]),
            None => return false,
        };
        self.issuer_name_hash == name && self.issuer_key_hash == key
    }
}

/// The hashes under which clients know an issuer; made once for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerHashes {
    name_sha1: Vec<u8>,
    key_sha1: Vec<u8>,
    name_sha256: Vec<u8>,
    key_sha256: Vec<u8>,
}

impl IssuerHashes {
    /// Of the issuer's subject in DER and its SubjectPublicKeyInfo.
    pub fn of(name: &[u8], public_key: &[u8]) -> Result<Self, SpkiError> {
        // the key hash is over the BIT STRING's octets, without tag, length and unused bits (RFC 6960 §4.1.1)
        let key = Spki::parse(public_key)?.key;
        Ok(IssuerHashes {
            name_sha1: sha1(name),
            key_sha1: sha1(key),
            name_sha256: sha256(name),
            key_sha256: sha256(key),
        })
    }

    /// SHA-1 of the key: the KeyHash of a ResponderID (RFC 6960 §4.2.1).
    pub fn key_sha1(&self) -> &[u8] {
        &self.key_sha1
    }
}

/// A request for one certificate, as a client sends it.
pub fn encode_request(
    issuer: &IssuerHashes,
    hash: CertIdHash,
    serial: &SerialNumber,
    nonce: Option<&[u8]>,
) -> Vec<u8> {
    let (id, name, key) = match hash {
        CertIdHash::Sha1 => (&oids::SHA1, &issuer.name_sha1, &issuer.key_sha1),
        CertIdHash::Sha256 => (&oids::SHA256, &issuer.name_sha256, &issuer.key_sha256),
    };
    let algorithm = der::sequence(&[&der::oid(id), &der::null()]);
    let cert_id = der::sequence(&[
        &algorithm,
        &der::octet_string(name),
        &der::octet_string(key),
        &der::tlv(der::INTEGER, serial.octets()),
    ]);
    let list = der::sequence(&[&der::sequence(&[&cert_id])]);
    let extensions = nonce.map_or(Vec::new(), |octets| {
        let one = der::extension(&oids::OCSP_NONCE, false, &der::octet_string(octets));
        der::constructed(der::context_constructed(2), &[&der::sequence(&[&one])])
    });
    der::sequence(&[&der::sequence(&[&list, &extensions])])
}

fn sha1(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().to_vec()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}
