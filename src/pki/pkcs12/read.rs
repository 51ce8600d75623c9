//! Files as OpenSSL 3, Java 17 and Windows with AES write them. The MAC is verified before anything is decrypted; files of
//! older schemes are refused with the command that rewrites them.

use ::der::oid::ObjectIdentifier;
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::kdf::{self, Purpose, derive};
use crate::error::{Error, ErrorKind, Result};
use crate::pki::der::{self, Cursor, DerError};
use crate::pki::{oids, pbes2};

/// What an importer takes from the file.
pub struct Pkcs12 {
    /// PKCS#8.
    pub key: Zeroizing<Vec<u8>>,
    /// In the order of the file.
    pub certificates: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Found {
    keys: Vec<Zeroizing<Vec<u8>>>,
    certificates: Vec<Vec<u8>>,
}

/// Is this PKCS#12? It begins with version 3, where a key or a certificate has something else.
pub fn looks_like(bytes: &[u8]) -> bool {
    der::only_sequence(bytes).and_then(|mut pfx| pfx.small_integer()) == Ok(3)
}

pub fn read(bytes: &[u8], password: Option<&[u8]>) -> Result<Pkcs12> {
    let mut found = open(bytes, password)?;
    match (found.keys.pop(), found.keys.is_empty()) {
        (Some(key), true) => Ok(Pkcs12 { key, certificates: found.certificates }),
        (None, _) => Err(Error::malformed("the PKCS#12 file holds no private key")),
        (Some(_), false) => Err(Error::malformed("the PKCS#12 file holds more than one private key: export one")),
    }
}

/// The certificates alone, of a file with any number of keys.
pub fn certificates(bytes: &[u8], password: Option<&[u8]>) -> Result<Vec<Vec<u8>>> {
    Ok(open(bytes, password)?.certificates)
}

fn open(bytes: &[u8], password: Option<&[u8]>) -> Result<Found> {
    // without one it is the empty password, which many programs write
    let (password, is_given) = (password.unwrap_or_default(), password.is_some());
    let mut pfx = der::only_sequence(bytes).map_err(crooked)?;
    pfx.small_integer().map_err(crooked)?;
    let safe = content(&mut pfx, &oids::PKCS7_DATA).map_err(crooked)?;
    if !pfx.is_empty() {
        let verified = verify_mac(pfx.sequence().map_err(crooked)?, safe, password);
        let is_wrong = |e: &Error| e.rule.as_ref().is_some_and(|rule| rule.name == "key.password");
        verified.map_err(|e| if is_wrong(&e) && !is_given { pbes2::needs_password() } else { e })?;
    }
    let mut found = Found::default();
    let mut parts = der::only_sequence(safe).map_err(crooked)?;
    while !parts.is_empty() {
        read_part(parts.sequence().map_err(crooked)?, password, &mut found)?;
    }
    Ok(found)
}

/// The octets inside a ContentInfo of this type.
fn content<'a>(outer: &mut Cursor<'a>, expected: &ObjectIdentifier) -> Result<&'a [u8], DerError> {
    let mut info = outer.sequence()?;
    if info.oid()? != *expected {
        return Err(DerError("a part is of another kind"));
    }
    let octets = info.expect(der::context_constructed(0))?.inside().expect(der::OCTET_STRING)?;
    Ok(octets.content)
}

fn read_part(mut info: Cursor<'_>, password: &[u8], found: &mut Found) -> Result<()> {
    let kind = info.oid().map_err(crooked)?;
    let mut inside = info.expect(der::context_constructed(0)).map_err(crooked)?.inside();
    match kind {
        oids::PKCS7_DATA => {
            let bags = inside.expect(der::OCTET_STRING).map_err(crooked)?.content;
            read_bags(bags, password, found)
        }
        oids::PKCS7_ENCRYPTED_DATA => {
            let mut data = inside.sequence().map_err(crooked)?;
            data.small_integer().map_err(crooked)?;
            let mut encrypted = data.sequence().map_err(crooked)?;
            encrypted.oid().map_err(crooked)?;
            let algorithm = encrypted.expect(der::SEQUENCE).map_err(crooked)?.raw;
            let ciphertext = encrypted.expect(der::context(0)).map_err(crooked)?.content;
            read_bags(&pbes2::decrypt(algorithm, ciphertext, password)?, password, found)
        }
        other => {
            Err(Error::malformed(format!("the PKCS#12 file has a part of kind {other}, which is not supported")))
        }
    }
}

fn read_bags(bags: &[u8], password: &[u8], found: &mut Found) -> Result<()> {
    let mut bags = der::only_sequence(bags).map_err(crooked)?;
    while !bags.is_empty() {
        let mut bag = bags.sequence().map_err(crooked)?;
        let kind = bag.oid().map_err(crooked)?;
        let value = bag.expect(der::context_constructed(0)).map_err(crooked)?;
        match kind {
            oids::KEY_BAG => found.keys.push(Zeroizing::new(value.content.to_vec())),
            oids::SHROUDED_KEY_BAG => found.keys.push(pbes2::open(value.content, Some(password))?),
            oids::CERTIFICATE_BAG => {
                let mut certificate = value.inside().sequence().map_err(crooked)?;
                if certificate.oid().map_err(crooked)? == oids::X509_CERTIFICATE {
                    let der = certificate.expect(der::context_constructed(0)).map_err(crooked)?;
                    let der = der.inside().expect(der::OCTET_STRING).map_err(crooked)?.content;
                    found.certificates.push(der.to_vec());
                }
            }
            oids::SAFE_CONTENTS_BAG => read_bags(value.content, password, found)?,
            // CRLs and secrets are not asked for
            _ => {}
        }
    }
    Ok(())
}

fn verify_mac(mut mac: Cursor<'_>, safe: &[u8], password: &[u8]) -> Result<()> {
    let mut info = mac.sequence().map_err(crooked)?;
    let mut algorithm = info.sequence().map_err(crooked)?;
    let tag = info.expect(der::OCTET_STRING).map_err(crooked)?.content;
    let salt = mac.expect(der::OCTET_STRING).map_err(crooked)?.content;
    let iterations = if mac.is_empty() { 1 } else { mac.small_integer().map_err(crooked)? };
    let id = algorithm.oid().map_err(crooked)?;
    let (hash, keyed) = match id {
        oids::SHA1 => (kdf::SHA1, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        oids::SHA256 => (kdf::SHA256, hmac::HMAC_SHA256),
        oids::SHA384 => (kdf::SHA384, hmac::HMAC_SHA384),
        oids::SHA512 => (kdf::SHA512, hmac::HMAC_SHA512),
        other => return Err(unsupported(&other)),
    };
    if iterations == 0 || iterations > 10_000_000 {
        return Err(crooked(DerError("an iteration count is out of range")));
    }
    let text = std::str::from_utf8(password).map_err(|_| Error::malformed("the password is not UTF-8"))?;
    // some programs write an empty password as no octets at all
    let bmp = super::bmp(text);
    let forms: &[&[u8]] = if text.is_empty() { &[&bmp, &[]] } else { &[&bmp] };
    let opens = |password: &&[u8]| {
        let key = derive(hash, Purpose::Mac, password, salt, iterations, hash.algorithm.output_len());
        hmac::verify(&hmac::Key::new(keyed, &key), safe, tag).is_ok()
    };
    forms.iter().any(opens).then_some(()).ok_or_else(|| {
        let value = "a password that does not open it, or a file that was changed";
        Error::refused(
            ErrorKind::Malformed,
            "key.password",
            value,
            "the password it was written with",
            "check --password-file",
        )
        .explained("the password does not open this file, or the file was changed")
    })
}

fn unsupported(id: &ObjectIdentifier) -> Error {
    Error::refused(
        ErrorKind::Malformed,
        "key.encryption",
        format!("a PKCS#12 MAC by {id}"),
        "an HMAC of SHA-1, SHA-256, SHA-384 or SHA-512 (RFC 7292)",
        "rewrite it with OpenSSL 3: `openssl pkcs12 -in OLD.p12 -nodes -out ca.pem`",
    )
    .explained(format!(
        "the PKCS#12 file has a MAC by {id}; only an HMAC of SHA-1, SHA-256, SHA-384 or SHA-512 (RFC 7292) is read"
    ))
}

fn crooked(error: DerError) -> Error {
    Error::malformed("the PKCS#12 file cannot be read").because(error)
}
