//! Private keys as people keep them, turned into PKCS#8 (RFC 5958): PEM or DER, PKCS#8 bare or encrypted, and the older
//! forms of OpenSSL (PKCS#1 for RSA, SEC 1 for elliptic curves), bare or encrypted with headers in the PEM.

use zeroize::Zeroizing;

use super::der::{self, DerError};
use super::pem::{self, Block};
use super::{oids, pbes2, traditional_pem};
use crate::error::{Error, Result};

/// The one private key of a file, as PKCS#8 in DER.
pub fn read(bytes: &[u8], password: Option<&[u8]>) -> Result<Zeroizing<Vec<u8>>> {
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| text.contains("-----BEGIN ")) else {
        return from_der(bytes, password);
    };
    if text.contains("Proc-Type:") {
        return from_block(&traditional_pem::open(text, password)?, password);
    }
    let blocks = pem::decode_all(text)?;
    let mut keys = blocks.iter().filter(|block| block.label.ends_with("PRIVATE KEY"));
    match (keys.next(), keys.next()) {
        (Some(block), None) => from_block(block, password),
        (None, _) => Err(Error::malformed("the file holds no block of -----BEGIN PRIVATE KEY-----")),
        (Some(_), Some(_)) => Err(Error::malformed("the file holds more than one private key: give one")),
    }
}

/// A key as PKCS#8 of version 1, in PEM.
pub fn to_pem(pkcs8: &[u8]) -> Result<Zeroizing<String>> {
    Ok(Zeroizing::new(pem::encode("PRIVATE KEY", &first_version(pkcs8)?)))
}

/// A key as PKCS#8 of version 1. Ed25519 keys are made with version 2, which adds the public key (RFC 5958 §2); OpenSSL
/// before 3.5 and all that is built on it read no such key.
pub fn first_version(pkcs8: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let read = || {
        let mut key = der::only_sequence(pkcs8)?;
        key.integer()?;
        Ok((key.expect(der::SEQUENCE)?.raw, key.expect(der::OCTET_STRING)?.raw))
    };
    let (algorithm, octets) = read().map_err(crooked)?;
    Ok(Zeroizing::new(der::sequence(&[&der::unsigned(&[0]), algorithm, octets])))
}

fn from_block(block: &Block, password: Option<&[u8]>) -> Result<Zeroizing<Vec<u8>>> {
    match block.label.as_str() {
        "PRIVATE KEY" => Ok(Zeroizing::new(block.der.clone())),
        "ENCRYPTED PRIVATE KEY" => pbes2::open(&block.der, password),
        "RSA PRIVATE KEY" => Ok(from_pkcs1(&block.der)),
        "EC PRIVATE KEY" => from_sec1(&block.der).map_err(crooked),
        other => Err(Error::malformed(format!("a private key of kind \"{other}\" is not supported"))),
    }
}

/// DER tells its form by its first fields.
fn from_der(bytes: &[u8], password: Option<&[u8]>) -> Result<Zeroizing<Vec<u8>>> {
    let mut outer = der::only_sequence(bytes).map_err(crooked)?;
    if outer.peek() == Some(der::SEQUENCE) {
        return pbes2::open(bytes, password);
    }
    outer.integer().map_err(crooked)?;
    match outer.peek() {
        Some(der::SEQUENCE) => Ok(Zeroizing::new(bytes.to_vec())),
        Some(der::INTEGER) => Ok(from_pkcs1(bytes)),
        _ => from_sec1(bytes).map_err(crooked),
    }
}

fn from_pkcs1(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let algorithm = der::sequence(&[&der::oid(&oids::RSA_ENCRYPTION), &der::null()]);
    wrapped(&algorithm, bytes)
}

/// The curve stands in the key (RFC 5915 §3).
fn from_sec1(bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, DerError> {
    let mut key = der::only_sequence(bytes)?;
    key.small_integer()?;
    key.expect(der::OCTET_STRING)?;
    let curve = key.optional(der::context_constructed(0))?.ok_or(DerError("an EC key names no curve"))?;
    let curve = curve.inside().oid()?;
    let algorithm = der::sequence(&[&der::oid(&oids::EC_PUBLIC_KEY), &der::oid(&curve)]);
    Ok(wrapped(&algorithm, bytes))
}

fn wrapped(algorithm: &[u8], key: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(der::sequence(&[&der::unsigned(&[0]), algorithm, &der::octet_string(key)]))
}

fn crooked(error: DerError) -> Error {
    Error::malformed("the private key cannot be read").because(error)
}
