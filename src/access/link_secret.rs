//! The secret of a one-time link: 96 bits in the fragment of a URL, which no log and no proxy sees. Only its SHA-256 is
//! kept.

use std::fmt;

use super::secret::sha256;
use crate::clock::Timestamp;
use crate::entropy::{Entropy, random};
use crate::error::Result;

/// The purpose of a one-time link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The first administrator.
    SetUp,
    /// A browser that is not known yet.
    SignIn,
}

/// Crockford's base 32 in lower case: no i, l, o, u to misread.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// `s_` and 96 bits in five groups of four. Does not print.
pub struct LinkSecret(String);

/// A one-time link that was just made.
#[derive(Debug)]
pub struct NewLink {
    pub secret: LinkSecret,
    pub expires_at: Timestamp,
    /// It ends a link from before that nobody had used.
    pub replaces: bool,
}

impl fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecret(…)")
    }
}

impl LinkSecret {
    pub(super) fn draw(entropy: &dyn Entropy) -> Result<Self> {
        let bits = random::<12>(entropy)?.iter().fold(0_u128, |all, b| all << 8 | u128::from(*b));
        let digit = |place: u32| char::from(ALPHABET[usize::try_from(bits >> (5 * place) & 31).unwrap_or(0)]);
        Ok(LinkSecret((0..20).rev().map(digit).collect()))
    }

    /// The secret, with or without `s_` and hyphens, or the whole link.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.rsplit_once('#').map_or(text, |(_, secret)| secret).to_ascii_lowercase();
        let text = text.strip_prefix("s_").unwrap_or(&text);
        let digits: String = text.chars().filter(|c| *c != '-' && !c.is_whitespace()).collect();
        let fits = digits.len() == 20 && digits.bytes().all(|b| ALPHABET.contains(&b));
        fits.then_some(LinkSecret(digits))
    }

    /// As it stands in the link.
    pub fn expose(&self) -> String {
        let digits: Vec<char> = self.0.chars().collect();
        format!("s_{}", digits.chunks(4).map(|c| c.iter().collect::<String>()).collect::<Vec<_>>().join("-"))
    }

    /// The hash that is stored. It covers the purpose, so a secret of one purpose is unknown for another.
    pub(super) fn hash(&self, purpose: Purpose) -> [u8; 32] {
        let word = match purpose {
            Purpose::SetUp => "set-up",
            Purpose::SignIn => "sign-in",
        };
        sha256(format!("chancery {word} {}", self.0).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn a_secret_may_be_pasted_in_any_form() {
        let secret = LinkSecret::draw(&SeededEntropy::new(3)).unwrap();
        let shown = secret.expose();
        assert_eq!(shown.len(), 2 + 20 + 4);
        let forms = [
            shown.clone(),
            format!("  https://ca.test/setup#{shown}\n"),
            shown.to_uppercase(),
            shown.replace('-', ""),
            shown.trim_start_matches("s_").to_owned(),
        ];
        for form in forms {
            assert_eq!(
                LinkSecret::parse(&form).map(|s| s.hash(Purpose::SetUp)),
                Some(secret.hash(Purpose::SetUp)),
                "{form}"
            );
        }
        for wrong in ["", "s_", "s_uuuu-uuuu-uuuu-uuuu-uuuu", &shown[..20]] {
            assert!(LinkSecret::parse(wrong).is_none(), "{wrong}");
        }
        assert!(!format!("{secret:?}").contains(&shown[2..6]));
    }
}
