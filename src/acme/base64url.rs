//! base64url as RFC 8555 §6.1 wants it: no padding, no other alphabet, no blanks, trailing bits zero. One text
//! has one decoding and one decoding has one text.

use base64::Engine as _;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig, general_purpose::URL_SAFE_NO_PAD};

use crate::error::{Error, Result};

const STRICT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(false),
);

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// `what` names the place for the sentence that refuses.
pub fn decode(text: &str, what: &str) -> Result<Vec<u8>> {
    STRICT.decode(text).map_err(|_| {
        Error::malformed(format!("{what} is not base64url without padding (RFC 8555 §6.1, RFC 4648 §5)"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_has_one_decoding() {
        assert_eq!(decode("_-8", "t").unwrap(), [0xff, 0xef]);
        for bad in ["_-8=", "/+8", "_-9", "_-8 ", "_\n-8", "A"] {
            assert!(decode(bad, "t").is_err(), "{bad}");
        }
    }
}
