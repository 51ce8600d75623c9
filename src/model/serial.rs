//! Serial numbers (RFC 5280 §4.1.2.2): positive, at most 20 octets, and here always 20 octets with 158 random
//! bits, unique over all issuers that we made, because etcd compares serials only.

use std::fmt;
use std::str::FromStr;

use crate::entropy::{Entropy, random};
use crate::error::{Error, Result};

/// The content octets of the INTEGER: big endian, minimal, the first bit clear, not zero.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SerialNumber(Vec<u8>);

impl SerialNumber {
    pub const MAX_OCTETS: usize = 20;

    /// Draws one of 20 octets: the first is 0x40..=0x7f, so the length never varies and 158 bits are random.
    pub fn draw(entropy: &dyn Entropy) -> Result<Self> {
        let mut octets = random::<20>(entropy)?;
        octets[0] = (octets[0] & 0x3f) | 0x40;
        Ok(SerialNumber(octets.to_vec()))
    }

    /// From the octets of a DER INTEGER or a database column.
    pub fn from_octets(octets: &[u8]) -> Result<Self> {
        let minimal = octets.len() == 1 || octets.first() != Some(&0) || octets.get(1).is_some_and(|b| b & 0x80 != 0);
        let positive = octets.first().is_some_and(|b| b & 0x80 == 0) && octets.iter().any(|b| *b != 0);
        // a leading zero octet before 20 further ones is refused too: 20 octets at most
        if !positive || !minimal || octets.len() > Self::MAX_OCTETS {
            return Err(Error::malformed("a serial number is a positive integer of at most 20 octets"));
        }
        Ok(SerialNumber(octets.to_vec()))
    }

    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

/// Lower-case hex without separators.
impl fmt::Display for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hex in any usual spelling: case, colons, spaces, leading zeros, `0x` or OpenSSL's `serial=` before it.
impl FromStr for SerialNumber {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let octets = parse_hex(plain_digits(text))
            .ok_or_else(|| Error::malformed("a serial number is written in hexadecimal"))?;
        let start = octets.iter().position(|b| *b != 0).unwrap_or(octets.len());
        let mut octets = octets.get(start..).unwrap_or_default().to_vec();
        if octets.first().is_some_and(|b| b & 0x80 != 0) {
            octets.insert(0, 0);
        }
        SerialNumber::from_octets(&octets)
    }
}

impl serde::Serialize for SerialNumber {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for SerialNumber {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        <String as serde::Deserialize>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A serial number without what programs print before its digits.
fn plain_digits(text: &str) -> &str {
    let text = text.trim();
    let text = text.strip_prefix("serial=").unwrap_or(text);
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text)
}

/// The serial number that a search may mean; a name of hexadecimal digits, such as `cafe`, may be meant as well.
pub fn searched(text: &str) -> Option<SerialNumber> {
    let is_written_so = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b' ');
    plain_digits(text).bytes().all(is_written_so).then(|| text.parse().ok())?
}

/// Hex digits with `:`, `-` or blanks between them; an odd count gets a leading zero. At most 256 digits.
pub fn parse_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() > 512 {
        return None;
    }
    let mut digits: Vec<u8> = Vec::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ':' | '-' | ' ' => {}
            _ => digits.push(u8::try_from(c.to_digit(16)?).ok()?),
        }
    }
    if digits.is_empty() || digits.len() > 256 {
        return None;
    }
    if digits.len() % 2 == 1 {
        digits.insert(0, 0);
    }
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// `None` for what is not pairs of lower-case hexadecimal digits.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
