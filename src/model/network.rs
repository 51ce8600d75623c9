//! IP networks in CIDR form (RFC 4632, RFC 4291 §2.3), and the IPv4 address that an IPv6 address may carry
//! inside it. No host bits, one spelling: what is configured is what is printed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::identifier::shown;

/// A network such as `10.0.0.0/8` or `fd00::/8`. An address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IpNetwork {
    base: IpAddr,
    prefix: u8,
}

impl IpNetwork {
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |why: String| Error::malformed(format!("\"{}\" is not a network: {why}", shown(text)));
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let base: IpAddr =
            address.parse().map_err(|_| refuse("write an address and a length, such as 10.0.0.0/8".to_owned()))?;
        let longest = width(base);
        let prefix = match prefix {
            None => longest,
            Some(digits) => digits
                .parse::<u8>()
                .ok()
                .filter(|n| *n <= longest && digits.bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(|| refuse(format!("the length after / is a number from 0 to {longest}")))?,
        };
        let network = IpNetwork { base: masked(base, prefix), prefix };
        if network.base != base {
            return Err(refuse(format!("it has bits set past its length; write {network}")));
        }
        Ok(network)
    }

    /// The network that counts as one client: an IPv6 client has a whole /64 to itself.
    pub fn of_client(address: IpAddr) -> Self {
        let base = address.to_canonical();
        let prefix = if base.is_ipv4() { 32 } else { 64 };
        IpNetwork { base: masked(base, prefix), prefix }
    }

    /// Of the same family and under the prefix. Takes the address as it stands: see [`forms`] for what it may carry.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.base.is_ipv4() && masked(address, self.prefix) == self.base
    }

    /// Its first address.
    pub fn address(&self) -> IpAddr {
        self.base
    }

    pub fn is_one_address(&self) -> bool {
        self.prefix == width(self.base)
    }

    pub fn prefix(&self) -> u8 {
        self.prefix
    }
}

/// The IPv4 address inside an IPv6 address that leads a packet there: mapped (`::ffff:0:0/96`), compatible
/// (`::/96`), NAT64 (`64:ff9b::/96`, RFC 6052; `64:ff9b:1::/48` with a /96 inside, RFC 8215), 6to4 (`2002::/16`,
/// RFC 3056) and Teredo (`2001::/32`, RFC 4380).
pub fn embedded_ipv4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match s {
        [0, 0, 0, 0, 0, 0xffff, high, low] => v4(high, low),
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 1, _, _, _, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        [0x2001, 0, _, _, _, _, high, low] => v4(!high, !low),
        _ => None,
    }
}

/// The address and, if it carries one, the IPv4 address in it. A rule that denies must look at each.
pub fn forms(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let inner = match address {
        IpAddr::V6(v6) => embedded_ipv4(v6).map(IpAddr::V4),
        IpAddr::V4(_) => None,
    };
    std::iter::once(address).chain(inner)
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
        }
    }
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl FromStr for IpNetwork {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        IpNetwork::parse(text)
    }
}

impl TryFrom<String> for IpNetwork {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        IpNetwork::parse(&text)
    }
}

impl From<IpNetwork> for String {
    fn from(network: IpNetwork) -> String {
        network.to_string()
    }
}
