//! Strict DER on the `der` crate: a cursor that reads one value after the other and never panics, and small
//! functions that write values. Tags stand as their identifier octet (X.690 §8.1.2); high tag numbers,
//! indefinite and non-minimal lengths are refused.

use ::der::oid::ObjectIdentifier;
use ::der::{Decode, Length, Reader, SliceReader};
use time::{Date, Month, PrimitiveDateTime, Time};

use crate::clock::Timestamp;

pub const BOOLEAN: u8 = 0x01;
pub const INTEGER: u8 = 0x02;
pub const BIT_STRING: u8 = 0x03;
pub const OCTET_STRING: u8 = 0x04;
pub const NULL: u8 = 0x05;
pub const OID: u8 = 0x06;
pub const ENUMERATED: u8 = 0x0a;
pub const UTF8_STRING: u8 = 0x0c;
pub const PRINTABLE_STRING: u8 = 0x13;
pub const TELETEX_STRING: u8 = 0x14;
pub const IA5_STRING: u8 = 0x16;
pub const UTC_TIME: u8 = 0x17;
pub const GENERALIZED_TIME: u8 = 0x18;
pub const UNIVERSAL_STRING: u8 = 0x1c;
pub const BMP_STRING: u8 = 0x1e;
pub const SEQUENCE: u8 = 0x30;
pub const SET: u8 = 0x31;

/// `[n]` of a primitive value with implicit tagging.
pub const fn context(n: u8) -> u8 {
    0x80 | n
}

/// `[n]` of a constructed value, or around a value with explicit tagging.
pub const fn context_constructed(n: u8) -> u8 {
    0xa0 | n
}

/// Why bytes are not the DER that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not valid DER: {0}")]
pub struct DerError(pub &'static str);

/// One value: its identifier octet, its content, and all of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tlv<'a> {
    pub tag: u8,
    pub content: &'a [u8],
    pub raw: &'a [u8],
}

impl<'a> Tlv<'a> {
    /// Reads the content as a row of values. The caller has checked that the tag is a constructed one.
    pub fn inside(&self) -> Cursor<'a> {
        Cursor(self.content)
    }

    /// The same value, if it has this tag.
    pub fn expect(self, tag: u8) -> Result<Tlv<'a>, DerError> {
        if self.tag == tag { Ok(self) } else { Err(DerError("a value has another type than expected")) }
    }
}

/// What is left to read.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn any(&mut self) -> Result<Tlv<'a>, DerError> {
        let tag = *self.0.first().ok_or(DerError("a value is missing"))?;
        if tag & 0x1f == 0x1f {
            return Err(DerError("a tag number is above 30"));
        }
        if let Some((length, rest)) =
            self.0.get(1..).and_then(<[u8]>::split_first).filter(|(length, _)| **length < 0x80)
        {
            let length = usize::from(*length);
            let content = rest.get(..length).ok_or(DerError("a value ends too early"))?;
            let (raw, rest) = self.0.split_at_checked(length + 2).ok_or(DerError("a value ends too early"))?;
            self.0 = rest;
            return Ok(Tlv { tag, content, raw });
        }
        let mut reader = SliceReader::new(self.0.get(1..).unwrap_or_default()).map_err(|_| DerError("too long"))?;
        let length = Length::decode(&mut reader).map_err(|_| DerError("a length is not minimal or not definite"))?;
        let content = reader.read_slice(length).map_err(|_| DerError("a value ends too early"))?;
        let used = 1 + usize::try_from(reader.position()).map_err(|_| DerError("too long"))?;
        let (raw, rest) = self.0.split_at_checked(used).ok_or(DerError("a value ends too early"))?;
        self.0 = rest;
        Ok(Tlv { tag, content, raw })
    }

    pub fn expect(&mut self, tag: u8) -> Result<Tlv<'a>, DerError> {
        match self.peek() {
            Some(found) if found == tag => self.any(),
            Some(_) => Err(DerError("a value has another type than expected")),
            None => Err(DerError("a value is missing")),
        }
    }

    pub fn optional(&mut self, tag: u8) -> Result<Option<Tlv<'a>>, DerError> {
        if self.peek() == Some(tag) { self.any().map(Some) } else { Ok(None) }
    }

    /// The content of a SEQUENCE.
    pub fn sequence(&mut self) -> Result<Cursor<'a>, DerError> {
        Ok(self.expect(SEQUENCE)?.inside())
    }

    pub fn oid(&mut self) -> Result<ObjectIdentifier, DerError> {
        oid_of(self.expect(OID)?.content)
    }

    /// The content octets of an INTEGER in their minimal form.
    pub fn integer(&mut self) -> Result<&'a [u8], DerError> {
        minimal_integer(self.expect(INTEGER)?.content)
    }

    /// An INTEGER from 0 to 2^31 - 1.
    pub fn small_integer(&mut self) -> Result<u32, DerError> {
        small(self.integer()?)
    }

    /// A BOOLEAN with DEFAULT FALSE: absent is false, and an encoded FALSE is not DER (X.690 §11.5).
    pub fn default_false(&mut self) -> Result<bool, DerError> {
        match self.optional(BOOLEAN)? {
            None => Ok(false),
            Some(Tlv { content: [0xff], .. }) => Ok(true),
            Some(_) => Err(DerError("a default value is encoded, or TRUE is not 0xff")),
        }
    }

    /// A BIT STRING of whole octets.
    pub fn bit_octets(&mut self) -> Result<&'a [u8], DerError> {
        match self.expect(BIT_STRING)?.content {
            [0, octets @ ..] => Ok(octets),
            _ => Err(DerError("a BIT STRING is not made of whole octets")),
        }
    }

    /// UTCTime or GeneralizedTime as RFC 5280 §4.1.2.5 wants them: seconds, `Z`, no fraction.
    pub fn time(&mut self) -> Result<Timestamp, DerError> {
        let value = self.any()?;
        match value.tag {
            UTC_TIME => {
                let (year, rest) = value.content.split_at_checked(2).ok_or(BAD_TIME)?;
                let year = digits(year)?;
                parse_time(if year >= 50 { 1900 + year } else { 2000 + year }, rest)
            }
            GENERALIZED_TIME => {
                let (year, rest) = value.content.split_at_checked(4).ok_or(BAD_TIME)?;
                parse_time(digits(year)?, rest)
            }
            _ => Err(DerError("a time is neither UTCTime nor GeneralizedTime")),
        }
    }

    pub fn finish(&self) -> Result<(), DerError> {
        if self.is_empty() { Ok(()) } else { Err(DerError("there are bytes after the last value")) }
    }

    /// The octets that were not read yet.
    pub fn rest(self) -> Vec<u8> {
        self.0.to_vec()
    }

    /// The same without a copy.
    pub fn left(&self) -> &'a [u8] {
        self.0
    }

    pub fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }
}

/// The content of the one SEQUENCE that `bytes` is; nothing may follow it.
pub fn only_sequence(bytes: &[u8]) -> Result<Cursor<'_>, DerError> {
    let mut outer = Cursor::new(bytes);
    let inner = outer.sequence()?;
    outer.finish()?;
    Ok(inner)
}

pub fn oid_of(content: &[u8]) -> Result<ObjectIdentifier, DerError> {
    ObjectIdentifier::from_bytes(content).map_err(|_| DerError("an object identifier is not valid"))
}

pub fn minimal_integer(content: &[u8]) -> Result<&[u8], DerError> {
    match content {
        [] => Err(DerError("an INTEGER is empty")),
        [0, next, ..] if next & 0x80 == 0 => Err(DerError("an INTEGER is not minimal")),
        [0xff, next, ..] if next & 0x80 != 0 => Err(DerError("an INTEGER is not minimal")),
        _ => Ok(content),
    }
}

/// The value of a positive INTEGER's octets, if it fits.
pub fn small(octets: &[u8]) -> Result<u32, DerError> {
    if octets.len() > 4 || octets.first().is_some_and(|b| b & 0x80 != 0) {
        return Err(DerError("an INTEGER is negative or too large"));
    }
    Ok(octets.iter().fold(0, |n, b| n << 8 | u32::from(*b)))
}

/// The positions that are set in a named BIT STRING, most significant first. Trailing zero bits must have
/// been removed (X.690 §11.2.2).
pub fn named_bits(content: &[u8]) -> Result<u16, DerError> {
    let (unused, octets) = content.split_first().ok_or(DerError("a BIT STRING is empty"))?;
    let last = octets.last().copied().unwrap_or(0);
    let trimmed = match octets {
        [] => *unused == 0,
        _ => *unused < 8 && last != 0 && last.trailing_zeros() == u32::from(*unused),
    };
    if !trimmed || octets.len() > 2 {
        return Err(DerError("a named BIT STRING has trailing zero bits or too many"));
    }
    let high = octets.first().copied().unwrap_or(0);
    let low = octets.get(1).copied().unwrap_or(0);
    Ok(u16::from_be_bytes([high, low]))
}

const BAD_TIME: DerError = DerError("a time is not YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ");

fn digits(text: &[u8]) -> Result<i32, DerError> {
    text.iter().try_fold(0, |n, b| match b {
        b'0'..=b'9' => Ok(n * 10 + i32::from(b - b'0')),
        _ => Err(BAD_TIME),
    })
}

fn parse_time(year: i32, rest: &[u8]) -> Result<Timestamp, DerError> {
    let [mo1, mo2, d1, d2, h1, h2, mi1, mi2, s1, s2, b'Z'] = rest else { return Err(BAD_TIME) };
    let two = |a: &u8, b: &u8| digits(&[*a, *b]).and_then(|n| u8::try_from(n).map_err(|_| BAD_TIME));
    let month = Month::try_from(two(mo1, mo2)?).map_err(|_| BAD_TIME)?;
    let date = Date::from_calendar_date(year, month, two(d1, d2)?).map_err(|_| BAD_TIME)?;
    let time = Time::from_hms(two(h1, h2)?, two(mi1, mi2)?, two(s1, s2)?).map_err(|_| BAD_TIME)?;
    Ok(Timestamp::from_secs(PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp()))
}

pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 6);
    out.push(tag);
    write_length(&mut out, content.len());
    out.extend_from_slice(content);
    out
}

/// Appends a DER length.
pub fn write_length(out: &mut Vec<u8>, length: usize) {
    if length < 0x80 {
        // fits by the comparison
        out.push(length as u8);
        return;
    }
    let bytes = length.to_be_bytes();
    let skip = length.leading_zeros() as usize / 8;
    let significant = bytes.get(skip..).unwrap_or_default();
    out.push(0x80 | significant.len() as u8);
    out.extend_from_slice(significant);
}

/// A constructed value of parts that are DER already.
pub fn constructed(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|p| p.len()).sum();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    write_length(&mut out, length);
    parts.iter().for_each(|p| out.extend_from_slice(p));
    out
}

pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    constructed(SEQUENCE, parts)
}

/// A SET OF: its members in ascending order of their encodings (X.690 §11.6).
pub fn set_of(mut members: Vec<Vec<u8>>) -> Vec<u8> {
    members.sort();
    constructed(SET, &members.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

pub fn oid(id: &ObjectIdentifier) -> Vec<u8> {
    tlv(OID, id.as_bytes())
}

/// An INTEGER of a non-negative number given big endian, with or without leading zeros.
pub fn unsigned(magnitude: &[u8]) -> Vec<u8> {
    let start = magnitude.iter().position(|b| *b != 0).unwrap_or(magnitude.len());
    let magnitude = magnitude.get(start..).unwrap_or_default();
    match magnitude.first() {
        Some(b) if b & 0x80 == 0 => tlv(INTEGER, magnitude),
        _ => tlv(INTEGER, &[&[0], magnitude].concat()),
    }
}

pub fn boolean_true() -> Vec<u8> {
    tlv(BOOLEAN, &[0xff])
}

pub fn null() -> Vec<u8> {
    tlv(NULL, &[])
}

pub fn octet_string(octets: &[u8]) -> Vec<u8> {
    tlv(OCTET_STRING, octets)
}

/// A BIT STRING of whole octets.
pub fn bit_string(octets: &[u8]) -> Vec<u8> {
    tlv(BIT_STRING, &[&[0], octets].concat())
}

/// A named BIT STRING: bit 0 is the most significant one of `bits`.
pub fn named_bit_string(bits: u16) -> Vec<u8> {
    let octets = bits.to_be_bytes();
    let used = match bits.trailing_zeros() {
        16 => &octets[..0],
        8.. => &octets[..1],
        _ => &octets[..],
    };
    let unused = used.last().map_or(0, |b| b.trailing_zeros() as u8);
    tlv(BIT_STRING, &[&[unused], used].concat())
}

/// UTCTime through 2049, GeneralizedTime after (RFC 5280 §4.1.2.5).
pub fn time(at: Timestamp) -> Vec<u8> {
    let mut out = Vec::with_capacity(17);
    write_time(&mut out, at);
    out
}

/// Appends what `time` gives: CRLs have a million of them.
pub fn write_time(out: &mut Vec<u8>, at: Timestamp) {
    let text = time_text(at);
    match at.to_utc().year() {
        1950..2050 => {
            out.extend_from_slice(&[UTC_TIME, 13]);
            out.extend_from_slice(text.get(2..).unwrap_or_default());
        }
        _ => {
            out.extend_from_slice(&[GENERALIZED_TIME, 15]);
            out.extend_from_slice(&text);
        }
    }
}

/// GeneralizedTime, as OCSP wants everywhere (RFC 6960 §4.2.2.1).
pub fn generalized_time(at: Timestamp) -> Vec<u8> {
    tlv(GENERALIZED_TIME, &time_text(at))
}

/// `YYYYMMDDHHMMSSZ`. X.509 has no years beyond 9999 nor before 0.
fn time_text(at: Timestamp) -> [u8; 15] {
    let t = at.to_utc();
    let year = t.year().clamp(0, 9999).unsigned_abs();
    let digit = |n: u32| b'0' + (n % 10) as u8;
    let pair = |n: u8| [digit(u32::from(n) / 10), digit(u32::from(n))];
    let [mo, d, h, mi, s] = [u8::from(t.month()), t.day(), t.hour(), t.minute(), t.second()].map(pair);
    [
        digit(year / 1000),
        digit(year / 100),
        digit(year / 10),
        digit(year),
        mo[0],
        mo[1],
        d[0],
        d[1],
        h[0],
        h[1],
        mi[0],
        mi[1],
        s[0],
        s[1],
        b'Z',
    ]
}

/// One Extension (RFC 5280 §4.1); DEFAULT FALSE is left out.
pub fn extension(id: &ObjectIdentifier, critical: bool, value: &[u8]) -> Vec<u8> {
    let flag = if critical { boolean_true() } else { Vec::new() };
    sequence(&[&oid(id), &flag, &octet_string(value)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_turn_at_2050_and_survive_the_round_trip() {
        for (secs, tag) in [(2_524_607_999, UTC_TIME), (2_524_608_000, GENERALIZED_TIME), (0, UTC_TIME)] {
            let at = Timestamp::from_secs(secs);
            let bytes = time(at);
            assert_eq!(bytes[0], tag);
            assert_eq!(Cursor::new(&bytes).time(), Ok(at));
        }
    }

    #[test]
    fn lax_encodings_are_refused() {
        for (bytes, why) in [
            (&[0x30, 0x80, 0, 0][..], "indefinite length"),
            (&[0x30, 0x81, 0x01, 0x00], "long form for a short length"),
            (&[0x30, 0x02, 0x00], "too short"),
            (&[0x3f, 0x20, 0x00], "high tag number"),
            (&[], "nothing"),
        ] {
            assert!(Cursor::new(bytes).any().is_err(), "{why}");
        }
        assert!(Cursor::new(&[0x02, 0x02, 0x00, 0x01]).integer().is_err());
        assert!(Cursor::new(&[0x01, 0x01, 0x00]).default_false().is_err());
        assert!(Cursor::new(b"\x17\x0b2401010000Z").time().is_err());
        assert!(only_sequence(&[0x30, 0x00, 0x00]).is_err());
    }

    #[test]
    fn named_bits_lose_their_trailing_zeros() {
        assert_eq!(named_bit_string(0x8000), [3, 2, 7, 0x80]);
        assert_eq!(named_bit_string(0x0600), [3, 2, 1, 0x06]);
        assert_eq!(named_bit_string(0x0080), [3, 3, 7, 0, 0x80]);
        assert_eq!(named_bit_string(0), [3, 1, 0]);
        for bits in [0x8000, 0x0600, 0x0080, 0, 0xff80] {
            assert_eq!(named_bits(&named_bit_string(bits)[2..]), Ok(bits));
        }
        assert!(named_bits(&[0, 0x80]).is_err());
    }

    #[test]
    fn long_lengths_are_minimal() {
        assert_eq!(tlv(4, &[0; 127])[..2], [4, 127]);
        assert_eq!(tlv(4, &[0; 128])[..3], [4, 0x81, 128]);
        assert_eq!(tlv(4, &[0; 256])[..4], [4, 0x82, 1, 0]);
        assert_eq!(unsigned(&[0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(unsigned(&[]), [2, 1, 0]);
    }
}
