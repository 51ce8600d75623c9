//! The secret of a token: `chy_`, 256 random bits in hex, and 8 hex digits of their SHA-256, by which scanners
//! and our own door recognise it without a database. It does not print.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};

use crate::entropy::{Entropy, random};
use crate::error::{Error, Result};
use crate::model::serial::to_hex;

const PREFIX: &str = "chy_";

pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(chy_…)")
    }
}

impl Secret {
    pub fn draw(entropy: &dyn Entropy) -> Result<Self> {
        let body = format!("{PREFIX}{}", to_hex(&random::<32>(entropy)?));
        Ok(Secret(format!("{body}{}", checksum(&body))))
    }

    /// Refuses what cannot be a token before anybody looks it up.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = || Error::malformed("this is not a token of the form chy_ and 72 hexadecimal digits");
        let digits = text.strip_prefix(PREFIX).ok_or_else(refuse)?;
        if digits.len() != 72 || !digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(refuse());
        }
        let (body, sum) = text.split_at(PREFIX.len() + 64);
        if checksum(body) != sum {
            return Err(refuse());
        }
        Ok(Secret(text.to_owned()))
    }

    /// What is stored and looked up: no comparison of secrets, so nothing to time.
    pub fn sha256(&self) -> [u8; 32] {
        sha256(self.0.as_bytes())
    }

    /// The one time that it is shown.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

fn checksum(body: &str) -> String {
    to_hex(sha256(body.as_bytes()).get(..4).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn a_mistyped_token_is_recognised_without_the_database() {
        let secret = Secret::draw(&SeededEntropy::new(7)).unwrap();
        assert!(Secret::parse(secret.expose()).is_ok());
        let wrong = secret.expose().replacen(['0', '1', '2'], "9", 1);
        assert!(wrong != secret.expose() && Secret::parse(&wrong).is_err());
        assert!(Secret::parse("").is_err() && Secret::parse("chy_").is_err());
        assert!(!format!("{secret:?}").contains(&secret.expose()[4..]));
    }
}
