//! Renewal information (RFC 9773): by which text a certificate is named, and when it should be renewed.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::serial::SerialNumber;
use crate::error::{Error, Result};

/// One text has one decoding, so that a certificate has one name: it is compared as text in the database.
const STRICT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(false),
);

/// Authority key identifier and serial number of a certificate (RFC 9773 §4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalId {
    /// The keyIdentifier of its authorityKeyIdentifier.
    pub key_id: Vec<u8>,
    pub serial: SerialNumber,
}

impl fmt::Display for RenewalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", STRICT.encode(&self.key_id), STRICT.encode(self.serial.octets()))
    }
}

impl FromStr for RenewalId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::malformed(
                "a certificate is named by the base64url of its authority key identifier, a period and the base64url \
                 of its serial number, both without padding (RFC 9773 §4.1)",
            )
        };
        let (key_id, serial) = text.split_once('.').filter(|_| text.len() <= 200).ok_or_else(wrong)?;
        let key_id = STRICT.decode(key_id).ok().filter(|id| !id.is_empty()).ok_or_else(wrong)?;
        let serial = STRICT.decode(serial).ok().and_then(|octets| SerialNumber::from_octets(&octets).ok());
        Ok(RenewalId { key_id, serial: serial.ok_or_else(wrong)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ar1_the_example_of_the_rfc() {
        let key_id = crate::model::serial::parse_hex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4").unwrap();
        let serial = SerialNumber::from_octets(&[0x00, 0x87, 0x65, 0x43, 0x21]).unwrap();
        let id = RenewalId { key_id, serial };
        assert_eq!(id.to_string(), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
        assert_eq!("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE".parse::<RenewalId>().unwrap(), id);
    }

    #[test]
    fn ar3_one_certificate_has_one_text() {
        for bad in [
            "",
            ".",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.",
            ".AIdlQyE",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ=.AIdlQyE=",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE.AIdlQyE",
            // a serial with its sign bit set, one with a needless zero, and trailing bits that are not zero
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.h2VDIQ",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AACHZUMh",
            "aYhba4dGQEHhs3uEe6CuLN4ByNR.AIdlQyE",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyF",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdl+/E",
        ] {
            assert!(bad.parse::<RenewalId>().is_err(), "{bad}");
        }
        let long = format!("{}.AIdlQyE", "A".repeat(400));
        assert!(long.parse::<RenewalId>().is_err());
    }
}
