//! dns-account-01 (draft-ietf-acme-dns-account-label): the value of dns-01 at a name that holds a label made of the
//! account's URL, so that several accounts prove one name side by side.

use aws_lc_rs::digest::{SHA256, digest};

use super::attempt::Attempt;
use super::claim::Claim;
use super::dns01;
use super::error::ValidationError;

const METHOD: &str = "dns-account-01";
/// Octets of the digest that the label holds: 16 letters of base32.
const LABEL_OCTETS: usize = 10;

pub(super) async fn prove(attempt: &mut Attempt<'_>, claim: &Claim<'_>) -> Result<(), ValidationError> {
    let base = claim.dns_base(METHOD)?;
    dns01::look_for(attempt, claim, format!("_{}._acme-challenge.{base}", label(claim.account_url))).await
}

fn label(account_url: &str) -> String {
    let digest = digest(&SHA256, account_url.as_bytes());
    base32(digest.as_ref().get(..LABEL_OCTETS).unwrap_or_default())
}

/// RFC 4648 §6 in lower case, for whole groups of five octets.
fn base32(octets: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut text = String::with_capacity(octets.len() * 8 / 5);
    for group in octets.chunks(5) {
        let bits = group.iter().fold(0_u64, |bits, octet| bits << 8 | u64::from(*octet));
        for n in (0..8).rev() {
            let letter = ALPHABET[(bits >> (5 * n) & 31) as usize];
            text.push(char::from(letter));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_that_of_rfc_4648() {
        assert_eq!(base32(b"fooba"), "mzxw6ytb");
        assert_eq!(base32(&[0xff; 10]), "7777777777777777");
        assert_eq!(base32(&[0; 5]), "aaaaaaaa");
    }

    #[test]
    fn the_label_is_the_draft_s_example() {
        assert_eq!(label("https://example.com/acme/acct/ExampleAccount"), "ujmmovf2vn55tgye");
    }
}
