//! The number of a CRL (RFC 5280 §5.2.3): at most 20 octets, it never repeats and never goes back. Ours are
//! `epoch << 64 | counter`; those of an imported CA may be longer, and ours go on above them. And one entry of a CRL.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::reason::RevocationReason;
use super::serial::SerialNumber;
use crate::clock::Timestamp;

/// One entry of a CRL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub serial: SerialNumber,
    pub revoked_at: Timestamp,
    pub reason: RevocationReason,
    /// RFC 5280 §5.3.2.
    pub invalidity_date: Option<Timestamp>,
}

const OCTETS: usize = 20;
/// What was stored before longer numbers were: an older replica reads exactly so many octets.
const SHORT: usize = 16;

/// The highest number of 20 octets.
const LAST: CrlNumber = {
    let mut octets = [0xff; OCTETS];
    octets[0] = 0x7f;
    CrlNumber(octets)
};

/// Big endian, so that the order of the octets is that of the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CrlNumber([u8; OCTETS]);

impl CrlNumber {
    pub const ZERO: CrlNumber = CrlNumber([0; OCTETS]);

    pub const fn new(epoch: u64, counter: u64) -> Self {
        CrlNumber::from_u128((epoch as u128) << 64 | counter as u128)
    }

    const fn from_u128(number: u128) -> Self {
        let short = number.to_be_bytes();
        let mut octets = [0; OCTETS];
        let mut at = 0;
        while at < SHORT {
            octets[at + OCTETS - SHORT] = short[at];
            at += 1;
        }
        CrlNumber(octets)
    }

    /// A magnitude, big endian, with or without zeros before it. None above 20 octets, the sign's bit included.
    pub fn from_octets(magnitude: &[u8]) -> Option<Self> {
        let start = magnitude.iter().position(|b| *b != 0).unwrap_or(magnitude.len());
        let magnitude = magnitude.get(start..)?;
        let mut octets = [0; OCTETS];
        octets.get_mut(OCTETS.checked_sub(magnitude.len())?..)?.copy_from_slice(magnitude);
        (octets.first()? & 0x80 == 0).then_some(CrlNumber(octets))
    }

    /// All 20 octets, zeros before the number included.
    pub const fn octets(&self) -> &[u8; OCTETS] {
        &self.0
    }

    /// As the database has it: 16 octets while the number fits into them, else 20.
    pub fn stored(&self) -> Vec<u8> {
        match self.0.split_at(OCTETS - SHORT) {
            ([0, 0, 0, 0], short) => short.to_vec(),
            _ => self.0.to_vec(),
        }
    }

    /// The number after this one; none after the last.
    pub fn next(&self) -> Option<Self> {
        let mut octets = self.0;
        for octet in octets.iter_mut().rev() {
            let (sum, over) = octet.overflowing_add(1);
            *octet = sum;
            if !over {
                break;
            }
        }
        (octets.first()? & 0x80 == 0).then_some(CrlNumber(octets))
    }

    /// Fewer than 2^32 numbers follow this one: an issuer that publishes often could use them up.
    pub fn leaves_no_room(&self) -> bool {
        self.0.split_at(OCTETS - 4).0 == LAST.0.split_at(OCTETS - 4).0
    }

    /// The epoch of a number of our form. None of a number that an imported CA used whose upper part is no epoch of ours.
    pub fn epoch(&self) -> Option<i64> {
        let (high, low) = self.0.split_at(OCTETS - 16);
        let epoch = u64::from_be_bytes(low.get(..8)?.try_into().ok()?);
        if high.iter().any(|octet| *octet != 0) { None } else { i64::try_from(epoch).ok() }
    }

    /// The number `epochs << 64` above this one with a counter of zero. None above 20 octets.
    pub fn after_epochs(&self, epochs: u64) -> Option<Self> {
        let number = num_bigint::BigUint::from_bytes_be(&self.0) >> 64_u32;
        CrlNumber::from_octets(&((number + epochs) << 64_u32).to_bytes_be())
    }

    /// The counter of a number of this epoch.
    pub fn counter_of(&self, epoch: u64) -> Option<u64> {
        let (high, low) = self.0.split_at(OCTETS - 8);
        let counter = u64::from_be_bytes(low.try_into().ok()?);
        (CrlNumber::new(epoch, counter).0.split_at(OCTETS - 8).0 == high).then_some(counter)
    }
}

impl From<u128> for CrlNumber {
    fn from(number: u128) -> Self {
        CrlNumber::from_u128(number)
    }
}

/// Decimal, as RFC 5280 counts.
impl fmt::Display for CrlNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        num_bigint::BigUint::from_bytes_be(&self.0).fmt(f)
    }
}

impl FromStr for CrlNumber {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number: num_bigint::BigUint = text.parse().map_err(drop)?;
        CrlNumber::from_octets(&number.to_bytes_be()).ok_or(())
    }
}

/// A string of decimal digits: JSON numbers of this size are read wrongly by many programs.
impl Serialize for CrlNumber {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CrlNumber {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <String as Deserialize>::deserialize(d)?;
        text.parse()
            .map_err(|()| serde::de::Error::custom("a CRL number is not a decimal number of at most 20 octets"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_past_every_width_and_end_at_twenty_octets() {
        let mut last = CrlNumber::ZERO;
        for short in [1, 255, 256, u128::from(u64::MAX), 1 << 64, u128::MAX] {
            let number = CrlNumber::from(short);
            assert!(number > last && number.next().unwrap() > number);
            assert_eq!(number.to_string(), short.to_string());
            assert_eq!(number.stored(), short.to_be_bytes());
            last = number;
        }
        let above = CrlNumber::from(u128::MAX).next().unwrap();
        assert_eq!((above.stored().len(), above.counter_of(0)), (20, None));
        assert_eq!(CrlNumber::from_octets(&above.stored()), Some(above));
        assert_eq!(CrlNumber::new(3, 7).counter_of(3), Some(7));
        let mut end = [0xff; 20];
        assert_eq!(CrlNumber::from_octets(&end), None, "negative in 20 octets");
        end[0] = 0x7f;
        assert_eq!(CrlNumber::from_octets(&end).unwrap().next(), None);
        let mut near = end;
        assert!(CrlNumber::from_octets(&near).unwrap().leaves_no_room());
        near[15] = 0xfe;
        assert!(!CrlNumber::from_octets(&near).unwrap().leaves_no_room(), "2^32 numbers follow");
        assert_eq!(CrlNumber::from_octets(&[1; 21]), None);
        assert_eq!(CrlNumber::from_octets(&[0, 0, 5]), Some(CrlNumber::from(5)));
    }
    #[test]
    fn an_epoch_is_the_part_above_the_counter() {
        assert_eq!(CrlNumber::new(1_800_000_000, 7).epoch(), Some(1_800_000_000));
        assert_eq!(CrlNumber::from(9).epoch(), Some(0));
        let imported = CrlNumber::from_octets(&[1; 20]).unwrap();
        assert_eq!(imported.epoch(), None, "no epoch of ours is so large");
        let jumped = imported.after_epochs(3).unwrap();
        assert!(jumped > imported && jumped.octets().ends_with(&[0; 8]));
        assert_eq!(LAST.after_epochs(1), None);
        assert_eq!(imported.to_string().parse(), Ok(imported));
    }
}
