//! Encryption by a password as OpenSSL writes it: PBES2 with PBKDF2 or scrypt and AES-CBC (RFC 8018 §6.2, RFC 7914
//! §7); triple DES, by which easy-rsa encrypts, is read alone. Older schemes (RC2, the PBES1 of PKCS#12) are refused by name
//! with the command that rewrites the file.

use std::num::NonZeroU32;

use ::der::oid::ObjectIdentifier;
use aws_lc_rs::cipher::{AES_256, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::pbkdf2;
use zeroize::Zeroizing;

use super::cbc::Cipher;
use super::der::{self, Cursor, DerError};
use super::{oids, scrypt};
use crate::error::{Error, ErrorKind, Result};

/// What OWASP asks of PBKDF2-HMAC-SHA256.
const ITERATIONS: u32 = 600_000;
/// More would only keep us busy: 10 s of one core.
const MOST_ITERATIONS: u32 = 20_000_000;

enum Kdf {
    Pbkdf2(pbkdf2::Algorithm, NonZeroU32),
    Scrypt(scrypt::Parameters),
}

struct Scheme<'a> {
    salt: &'a [u8],
    kdf: Kdf,
    cipher: Cipher,
    iv: &'a [u8],
}

/// Decrypts what an AlgorithmIdentifier of PBES2 describes.
pub fn decrypt(algorithm: &[u8], ciphertext: &[u8], password: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let scheme = Scheme::parse(algorithm)?;
    let mut key = Zeroizing::new(vec![0; scheme.cipher.key_length()]);
    match scheme.kdf {
        Kdf::Pbkdf2(prf, iterations) => pbkdf2::derive(prf, iterations, scheme.salt, password, &mut key),
        Kdf::Scrypt(parameters) => scrypt::derive(parameters, password, scheme.salt, &mut key),
    }
    if scheme.iv.len() != scheme.cipher.block() {
        return Err(crooked(DerError("an IV has not the length of a block")));
    }
    scheme.cipher.decrypt(&key, scheme.iv, ciphertext).ok_or_else(wrong_password)
}

/// EncryptedPrivateKeyInfo (RFC 5958 §3) with AES-256-CBC and PBKDF2-HMAC-SHA256.
pub fn encrypt(pkcs8: &[u8], password: &[u8], salt: &[u8; 16], iv: [u8; 16]) -> Result<Vec<u8>> {
    let (algorithm, ciphertext) = seal(pkcs8, password, salt, iv, ITERATIONS)?;
    Ok(der::sequence(&[&algorithm, &der::octet_string(&ciphertext)]))
}

/// The AlgorithmIdentifier and the ciphertext of AES-256-CBC and PBKDF2-HMAC-SHA256.
pub(super) fn seal(
    plain: &[u8],
    password: &[u8],
    salt: &[u8; 16],
    iv: [u8; 16],
    iterations: u32,
) -> Result<(Vec<u8>, Vec<u8>)> {
    let failed = |_| Error::new(ErrorKind::Internal, "encrypting by a password failed");
    let mut key = Zeroizing::new([0; 32]);
    let rounds = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, password, key.as_mut_slice());
    let unbound = UnboundCipherKey::new(&AES_256, key.as_slice()).map_err(failed)?;
    let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(unbound).map_err(failed)?;
    // it is encrypted where it lies
    let mut text = plain.to_vec();
    cipher.less_safe_encrypt(&mut text, EncryptionContext::Iv128(iv.into())).map_err(failed)?;
    let prf = der::sequence(&[&der::oid(&oids::HMAC_SHA256), &der::null()]);
    let count = der::unsigned(&iterations.to_be_bytes());
    let parameters = der::sequence(&[&der::octet_string(salt), &count, &prf]);
    let kdf = der::sequence(&[&der::oid(&oids::PBKDF2), &parameters]);
    let aes = der::sequence(&[&der::oid(&oids::AES_256_CBC), &der::octet_string(&iv)]);
    let algorithm = der::sequence(&[&der::oid(&oids::PBES2), &der::sequence(&[&kdf, &aes])]);
    Ok((algorithm, text))
}

/// The PKCS#8 key inside an EncryptedPrivateKeyInfo.
pub fn open(encrypted: &[u8], password: Option<&[u8]>) -> Result<Zeroizing<Vec<u8>>> {
    let password = password.ok_or_else(needs_password)?;
    let mut outer = der::only_sequence(encrypted).map_err(crooked)?;
    let algorithm = outer.expect(der::SEQUENCE).map_err(crooked)?.raw;
    let ciphertext = outer.expect(der::OCTET_STRING).map_err(crooked)?.content;
    outer.finish().map_err(crooked)?;
    decrypt(algorithm, ciphertext, password)
}

pub fn wrong_password() -> Error {
    let (value, allowed) = ("a password that does not open it", "the password it was written with");
    Error::refused(ErrorKind::Malformed, "key.password", value, allowed, "check --password-file")
        .explained("the password does not open this key")
}

pub fn needs_password() -> Error {
    let value = "an encrypted private key without a password";
    Error::refused(
        ErrorKind::Malformed,
        "key.password",
        value,
        "a password",
        "name a file that holds it with --password-file",
    )
    .explained("the private key is encrypted, and no password was given")
}

impl<'a> Scheme<'a> {
    fn parse(algorithm: &'a [u8]) -> Result<Self> {
        let mut outer = der::only_sequence(algorithm).map_err(crooked)?;
        let id = outer.oid().map_err(crooked)?;
        if id != oids::PBES2 {
            return Err(unsupported(&id));
        }
        let mut parameters = outer.sequence().map_err(crooked)?;
        let mut kdf = parameters.sequence().map_err(crooked)?;
        let mut cipher = parameters.sequence().map_err(crooked)?;
        let id = kdf.oid().map_err(crooked)?;
        let inside = kdf.sequence().map_err(crooked)?;
        let (salt, kdf) = match id {
            oids::PBKDF2 => read_kdf(inside)?,
            oids::SCRYPT => read_scrypt(inside)?,
            other => return Err(unsupported(&other)),
        };
        let id = cipher.oid().map_err(crooked)?;
        let cipher_algorithm = match id {
            oids::AES_128_CBC => Cipher::Aes128,
            oids::AES_192_CBC => Cipher::Aes192,
            oids::AES_256_CBC => Cipher::Aes256,
            oids::DES_EDE3_CBC => Cipher::TripleDes,
            other => return Err(unsupported(&other)),
        };
        let iv = cipher.expect(der::OCTET_STRING).map_err(crooked)?.content;
        Ok(Scheme { salt, kdf, cipher: cipher_algorithm, iv })
    }
}

fn read_kdf(mut kdf: Cursor<'_>) -> Result<(&[u8], Kdf)> {
    let salt = kdf.expect(der::OCTET_STRING).map_err(crooked)?.content;
    let count = kdf.small_integer().map_err(crooked)?;
    let iterations = NonZeroU32::new(count).filter(|n| n.get() <= MOST_ITERATIONS);
    let iterations = iterations.ok_or_else(|| crooked(DerError("an iteration count is out of range")))?;
    kdf.optional(der::INTEGER).map_err(crooked)?;
    let prf = match kdf.optional(der::SEQUENCE).map_err(crooked)? {
        None => pbkdf2::PBKDF2_HMAC_SHA1,
        Some(prf) => match prf.inside().oid().map_err(crooked)? {
            oids::HMAC_SHA1 => pbkdf2::PBKDF2_HMAC_SHA1,
            oids::HMAC_SHA256 => pbkdf2::PBKDF2_HMAC_SHA256,
            oids::HMAC_SHA384 => pbkdf2::PBKDF2_HMAC_SHA384,
            oids::HMAC_SHA512 => pbkdf2::PBKDF2_HMAC_SHA512,
            other => return Err(unsupported(&other)),
        },
    };
    kdf.finish().map_err(crooked)?;
    Ok((salt, Kdf::Pbkdf2(prf, iterations)))
}

/// RFC 7914 §7.1.
fn read_scrypt(mut kdf: Cursor<'_>) -> Result<(&[u8], Kdf)> {
    let salt = kdf.expect(der::OCTET_STRING).map_err(crooked)?.content;
    let mut number = || kdf.small_integer().map_err(crooked);
    let parameters = scrypt::Parameters::new(number()?, number()?, number()?);
    let parameters = parameters.ok_or_else(|| crooked(DerError("the parameters of scrypt are out of range")))?;
    kdf.optional(der::INTEGER).map_err(crooked)?;
    kdf.finish().map_err(crooked)?;
    Ok((salt, Kdf::Scrypt(parameters)))
}

fn unsupported(id: &ObjectIdentifier) -> Error {
    Error::refused(
        ErrorKind::Malformed,
        "key.encryption",
        format!("encryption by {id}"),
        "PBES2 with PBKDF2 or scrypt and AES or triple DES in CBC mode (RFC 8018)",
        "rewrite it with OpenSSL 3: `openssl pkcs12 -legacy -nodes -in OLD.p12 -out ca.pem` or `openssl pkcs8 -topk8 -in OLD.key -out ca.key`",
    ).explained(format!("the key is encrypted by {id}; only PBES2 with PBKDF2 or scrypt and AES or triple DES in CBC mode (RFC 8018) is read"))
}

fn crooked(error: DerError) -> Error {
    Error::malformed("the encrypted private key cannot be read").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encrypted_opens_with_its_password_alone() {
        let sealed = encrypt(b"a private key", b"pass", &[1; 16], [2; 16]).unwrap();
        assert_eq!(open(&sealed, Some(b"pass")).unwrap().as_slice(), b"a private key");
        assert_eq!(open(&sealed, Some(b"Pass")).unwrap_err().rule.unwrap().name, "key.password");
        assert_eq!(open(&sealed, None).unwrap_err().rule.unwrap().name, "key.password");
        for cut in 0..sealed.len() {
            assert!(open(&sealed[..cut], Some(b"pass")).is_err());
        }
    }
}
