//! Encrypted keys in the form of OpenSSL before 1.0, which step-ca still writes: PEM with the headers of RFC 1421
//! (Proc-Type: 4,ENCRYPTED). The key of the cipher is MD5 over password and salt, once: weak, and read only to leave it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::cbc::Cipher;
use super::pbes2::{needs_password, wrong_password};
use super::pem::Block;
use crate::error::{Error, ErrorKind, Result};
use crate::model::identifier::shown;
use crate::model::serial::parse_hex;

/// The one private key of a PEM text with these headers, decrypted and still in its own form.
pub fn open(text: &str, password: Option<&[u8]>) -> Result<Block> {
    let crooked = |why: &str| Error::malformed(format!("the encrypted private key cannot be read: {why}"));
    let mut lines = text.lines().map(str::trim);
    let label = lines
        .find_map(|line| {
            line.strip_prefix("-----BEGIN ")?.strip_suffix("-----").filter(|l| l.ends_with("PRIVATE KEY"))
        })
        .ok_or_else(|| crooked("it has no BEGIN line"))?;
    let (mut info, mut body, mut ended) = (None, String::new(), false);
    for line in lines {
        if line.starts_with("-----END ") {
            ended = true;
            break;
        }
        match line.split_once(':') {
            Some(("DEK-Info", value)) => info = Some(value.trim().to_owned()),
            Some(_) => {}
            None => body.push_str(line),
        }
    }
    if !ended {
        return Err(crooked("it has no END line"));
    }
    let info = info.ok_or_else(|| crooked("it has no header DEK-Info"))?;
    let (cipher, iv) = info.split_once(',').ok_or_else(|| crooked("DEK-Info names no IV"))?;
    let cipher = cipher_of(cipher.trim())?;
    let iv = parse_hex(iv.trim()).filter(|iv| iv.len() == cipher.block());
    let iv = iv.ok_or_else(|| crooked("the IV in DEK-Info has not the length of a block"))?;
    let bytes = STANDARD.decode(body).map_err(|_| crooked("it is not base64"))?;
    let password = password.ok_or_else(needs_password)?;
    let key = key_of(password, &iv, cipher.key_length());
    let bytes = cipher.decrypt(&key, &iv, &bytes).ok_or_else(wrong_password)?;
    // the padding of a wrong password is right once in 256 times
    if super::der::only_sequence(&bytes).is_err() {
        return Err(wrong_password());
    }
    Ok(Block { label: label.to_owned(), der: bytes.to_vec() })
}

fn cipher_of(name: &str) -> Result<Cipher> {
    match name {
        "AES-128-CBC" => Ok(Cipher::Aes128),
        "AES-192-CBC" => Ok(Cipher::Aes192),
        "AES-256-CBC" => Ok(Cipher::Aes256),
        "DES-EDE3-CBC" => Ok(Cipher::TripleDes),
        other => {
            let value = format!("encryption by {}", shown(other));
            let fix = "rewrite it: `openssl pkcs8 -topk8 -in OLD.key -out ca.key`";
            let refused =
                Error::refused(ErrorKind::Malformed, "key.encryption", &value, "AES or triple DES in CBC mode", fix);
            Err(refused.explained(format!(
                "the private key is encrypted by {}; only AES and triple DES in CBC mode are read",
                shown(other)
            )))
        }
    }
}

/// EVP_BytesToKey with MD5 and one round; the salt is the first half of the IV.
fn key_of(password: &[u8], iv: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(length + 16));
    let mut last: Zeroizing<Vec<u8>> = Zeroizing::default();
    while key.len() < length {
        let salt = iv.iter().copied().take(8).collect::<Vec<_>>();
        let digest = Md5::new().chain_update(&*last).chain_update(password).chain_update(salt).finalize();
        last = Zeroizing::new(digest.to_vec());
        key.extend_from_slice(&last);
    }
    key.truncate(length);
    key
}
