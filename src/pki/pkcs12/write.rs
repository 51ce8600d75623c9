//! A private key with its chain as PKCS#12. By default what OpenSSL 3, Java 8u301, Windows Server 2019 and everything newer
//! read; the legacy scheme is for what is older, which knows no AES here.

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::kdf::{self, Purpose, derive};
use super::{bmp, kdf::Hash};
use crate::entropy::{Entropy, random};
use crate::error::{Error, ErrorKind, Result};
use crate::model::serial::to_hex;
use crate::pki::cbc::Cipher;
use crate::pki::{der, key_policy, oids, pbes2, private_key};

/// Of each key and of the MAC. .NET refuses a file with more than 300,000 in one place or 600,000 in all, and fewer in the MAC
/// than in the keys would be the way in.
const ITERATIONS: u32 = 100_000;
/// What old programs write and read fast.
const LEGACY_ITERATIONS: u32 = 2_048;
/// In characters.
const LONGEST_PASSWORD: usize = 200;

/// By which algorithms the file is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// AES-256 by PBKDF2 with HMAC-SHA-256, and a MAC of SHA-256.
    Modern,
    /// Triple DES and SHA-1, for Windows Server 2016 and Java before 8u301.
    Legacy,
}

/// What the file holds.
pub struct Contents<'a> {
    /// PKCS#8.
    pub key: &'a [u8],
    /// In DER, the one of the key first.
    pub chain: &'a [Vec<u8>],
    /// What Windows shows as the friendly name, and Java as the alias.
    pub name: &'a str,
}

/// Refuses a password that programs read differently from one another.
pub fn check_password(password: &str) -> Result<()> {
    let value = match password {
        "" => "an empty password".to_owned(),
        long if long.len() > LONGEST_PASSWORD => format!("a password of {} characters", long.len()),
        odd if odd.bytes().any(|b| !(b' '..=b'~').contains(&b)) => "a password with other characters".to_owned(),
        _ => return Ok(()),
    };
    let allowed = format!("1 to {LONGEST_PASSWORD} printable ASCII characters");
    let fix = "choose another one, or let one be made";
    let sentence = format!(
        "the password of a PKCS#12 file has {allowed}, because programs read others differently, and this is {value}; {fix}"
    );
    Err(Error::refused(ErrorKind::Unprocessable, "pkcs12.password", value, allowed, fix).saying(sentence))
}

/// A password that nobody guesses: 128 random bits.
pub fn make_password(entropy: &dyn Entropy) -> Result<Zeroizing<String>> {
    Ok(Zeroizing::new(to_hex(&random::<16>(entropy)?)))
}

/// The file, in DER.
pub fn write(contents: &Contents<'_>, password: &str, scheme: Scheme, entropy: &dyn Entropy) -> Result<Vec<u8>> {
    check_password(password)?;
    let first = contents.chain.first().map(Vec::as_slice).unwrap_or_default();
    // by which readers find the certificate of the key
    let id = attribute(&oids::LOCAL_KEY_ID, &der::octet_string(&key_policy::sha256(first)[..20]));
    let name = attribute(&oids::FRIENDLY_NAME, &bmp_string(contents.name));
    let own = der::set_of(vec![name, id]);
    let certificates: Vec<Vec<u8>> = contents
        .chain
        .iter()
        .enumerate()
        .map(|(at, certificate)| certificate_bag(certificate, if at == 0 { own.as_slice() } else { &[] }))
        .collect();
    let bags = der::sequence(&certificates.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let (algorithm, ciphertext) = seal(&bags, password, scheme, entropy)?;
    let encrypted =
        der::sequence(&[&der::oid(&oids::PKCS7_DATA), &algorithm, &der::tlv(der::context(0), &ciphertext)]);
    let encrypted = content(&oids::PKCS7_ENCRYPTED_DATA, &der::sequence(&[&der::unsigned(&[0]), &encrypted]));
    let (algorithm, ciphertext) = seal(&private_key::first_version(contents.key)?, password, scheme, entropy)?;
    let key = der::sequence(&[&algorithm, &der::octet_string(&ciphertext)]);
    let key = der::sequence(&[&der::oid(&oids::SHROUDED_KEY_BAG), &explicit(&key), &own]);
    let plain = content(&oids::PKCS7_DATA, &der::octet_string(&der::sequence(&[&key])));
    let safe = der::sequence(&[&encrypted, &plain]);
    let mac = mac(&safe, password, scheme, entropy)?;
    Ok(der::sequence(&[&der::unsigned(&[3]), &content(&oids::PKCS7_DATA, &der::octet_string(&safe)), &mac]))
}

/// The AlgorithmIdentifier, and the ciphertext.
fn seal(plain: &[u8], password: &str, scheme: Scheme, entropy: &dyn Entropy) -> Result<(Vec<u8>, Vec<u8>)> {
    match scheme {
        Scheme::Modern => {
            let (salt, iv) = (random::<16>(entropy)?, random::<16>(entropy)?);
            pbes2::seal(plain, password.as_bytes(), &salt, iv, ITERATIONS)
        }
        Scheme::Legacy => {
            let salt = random::<8>(entropy)?;
            let password = bmp(password);
            let octets = |purpose, length| derive(kdf::SHA1, purpose, &password, &salt, LEGACY_ITERATIONS, length);
            let (key, iv) = (
                octets(Purpose::Key, Cipher::TripleDes.key_length()),
                octets(Purpose::Iv, Cipher::TripleDes.block()),
            );
            let sealed = Cipher::TripleDes.encrypt(&key, &iv, plain);
            let sealed = sealed.ok_or_else(|| Error::new(ErrorKind::Internal, "encrypting by a password failed"))?;
            let parameters = der::sequence(&[&der::octet_string(&salt), &count(LEGACY_ITERATIONS)]);
            Ok((der::sequence(&[&der::oid(&oids::PBE_SHA1_TRIPLE_DES), &parameters]), sealed))
        }
    }
}

fn mac(safe: &[u8], password: &str, scheme: Scheme, entropy: &dyn Entropy) -> Result<Vec<u8>> {
    let salt = random::<16>(entropy)?;
    let (hash, id, keyed, iterations): (Hash, _, _, _) = match scheme {
        Scheme::Modern => (kdf::SHA256, oids::SHA256, hmac::HMAC_SHA256, ITERATIONS),
        Scheme::Legacy => (kdf::SHA1, oids::SHA1, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, LEGACY_ITERATIONS),
    };
    let key = derive(hash, Purpose::Mac, &bmp(password), &salt, iterations, hash.algorithm.output_len());
    let tag = hmac::sign(&hmac::Key::new(keyed, &key), safe);
    let algorithm = der::sequence(&[&der::oid(&id), &der::null()]);
    let info = der::sequence(&[&algorithm, &der::octet_string(tag.as_ref())]);
    Ok(der::sequence(&[&info, &der::octet_string(&salt), &count(iterations)]))
}

fn count(iterations: u32) -> Vec<u8> {
    der::unsigned(&iterations.to_be_bytes())
}

fn explicit(value: &[u8]) -> Vec<u8> {
    der::tlv(der::context_constructed(0), value)
}

fn content(id: &::der::oid::ObjectIdentifier, value: &[u8]) -> Vec<u8> {
    der::sequence(&[&der::oid(id), &explicit(value)])
}

fn certificate_bag(certificate: &[u8], attributes: &[u8]) -> Vec<u8> {
    let certificate =
        der::sequence(&[&der::oid(&oids::X509_CERTIFICATE), &explicit(&der::octet_string(certificate))]);
    der::sequence(&[&der::oid(&oids::CERTIFICATE_BAG), &explicit(&certificate), attributes])
}

fn attribute(id: &::der::oid::ObjectIdentifier, value: &[u8]) -> Vec<u8> {
    der::sequence(&[&der::oid(id), &der::tlv(der::SET, value)])
}

fn bmp_string(text: &str) -> Vec<u8> {
    der::tlv(der::BMP_STRING, &text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::pki::pkcs12;

    #[test]
    fn what_was_written_opens_with_its_password_alone() {
        let (algorithm, octets) = (der::sequence(&[&der::oid(&oids::PBES2)]), der::octet_string(b"a private key"));
        let key = |version: u8, more: &[u8]| der::sequence(&[&der::unsigned(&[version]), &algorithm, &octets, more]);
        let second = key(1, &der::tlv(der::context(1), b"\0public"));
        let contents = Contents { key: &second, chain: &[b"leaf".to_vec(), b"above".to_vec()], name: "web" };
        let file = write(&contents, "pass word", Scheme::Modern, &SeededEntropy::new(1)).unwrap();
        let read = pkcs12::read(&file, Some(b"pass word")).unwrap();
        assert_eq!(read.key.as_slice(), key(0, &[]), "version 1, without the public key");
        assert_eq!(read.certificates, [b"leaf".to_vec(), b"above".to_vec()]);
        assert!(pkcs12::read(&file, Some(b"Pass word")).is_err());
        for odd in ["", "päss", "a\nb", &"x".repeat(201)] {
            let refused = write(&contents, odd, Scheme::Legacy, &SeededEntropy::new(1)).unwrap_err();
            assert_eq!(refused.rule.unwrap().name, "pkcs12.password", "{odd}");
        }
    }
}
