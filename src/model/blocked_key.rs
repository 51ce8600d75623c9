//! A blocked key: it is not certified and is no account key, because a revocation reported it as compromised or somebody
//! blocked it. `chancery key unblock` takes back the block of a key that no certificate here has.

use std::fmt;
use std::str::FromStr;

use super::serial::{parse_hex, to_hex};
use crate::clock::Timestamp;

/// SHA-256 of a SubjectPublicKeyInfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyFingerprint(pub [u8; 32]);

impl fmt::Display for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

/// Hexadecimal in any usual spelling: colons, blanks, upper case, `SHA256:` before it.
impl FromStr for KeyFingerprint {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.strip_prefix("SHA256:").or_else(|| text.strip_prefix("sha256:")).unwrap_or(text);
        let digits: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
        let whole = Some(digits).filter(|digits| digits.len() == 64);
        whole.and_then(|digits| parse_hex(&digits)?.try_into().ok()).map(KeyFingerprint).ok_or(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockedKey {
    pub key: KeyFingerprint,
    pub reason: String,
    /// Why, in words; empty where nobody gave any.
    pub comment: String,
    pub blocked_at: Timestamp,
    pub blocked_by: String,
    /// How many certificates here have the key.
    pub certificates: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_people_write_them() {
        let plain = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let key: KeyFingerprint = plain.parse().unwrap();
        assert_eq!(key.to_string(), plain);
        let colons: Vec<String> = key.0.iter().map(|octet| format!("{octet:02X}")).collect();
        for text in [colons.join(":"), format!("SHA256:{plain}"), plain.to_uppercase()] {
            assert_eq!(text.parse(), Ok(key), "{text}");
        }
        for text in ["", "00", &plain[1..], "zz86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"] {
            assert!(text.parse::<KeyFingerprint>().is_err(), "{text}");
        }
    }
}
