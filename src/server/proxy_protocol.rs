//! PROXY protocol version 2 (HAProxy's specification, §2.2): the header that a load balancer sends before the first
//! byte of its client. Where a listener expects it, a connection without it is closed: whether a header is there is
//! never guessed, because a client could write one itself.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Longest addresses and extensions together. The longest extension in use is a client's certificate.
const MAX_LENGTH: u16 = 16 * 1024;

/// Why a header is refused.
#[derive(Debug)]
pub enum BadHeader {
    /// The first bytes are not the signature: no header, or version 1.
    Absent,
    /// The client closed or the socket failed before the header was complete.
    CutOff(io::Error),
    Version(u8),
    Command(u8),
    /// A family or transport that no TCP connection has.
    Family(u8),
    /// Shorter than its addresses or longer than the limit.
    Length(u16),
    /// The source is no address of a host.
    Source(IpAddr),
}

impl fmt::Display for BadHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadHeader::Absent => f.write_str("no header of version 2 stands at its beginning"),
            BadHeader::CutOff(error) => write!(f, "the header is incomplete: {error}"),
            BadHeader::Version(n) => write!(f, "version {n} is not 2"),
            BadHeader::Command(n) => write!(f, "command {n} is neither LOCAL nor PROXY"),
            BadHeader::Family(n) => write!(f, "family and transport {n:#04x} are not those of a TCP connection"),
            BadHeader::Length(n) => write!(f, "the length {n} does not fit"),
            BadHeader::Source(ip) => write!(f, "the source {ip} is not the address of a host"),
        }
    }
}

impl From<io::Error> for BadHeader {
    fn from(error: io::Error) -> Self {
        BadHeader::CutOff(error)
    }
}

/// Reads one header and nothing after it. `None` where it names no IP address: a connection of the load balancer
/// itself (LOCAL, its health check) or of a client without one. The caller limits the time.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<IpAddr>, BadHeader> {
    let mut start = [0; 16];
    stream.read_exact(&mut start).await?;
    if start[..12] != SIGNATURE {
        return Err(BadHeader::Absent);
    }
    let (version, command, family) = (start[12] >> 4, start[12] & 0x0f, start[13]);
    let length = u16::from_be_bytes([start[14], start[15]]);
    if version != 2 {
        return Err(BadHeader::Version(version));
    }
    if length > MAX_LENGTH {
        return Err(BadHeader::Length(length));
    }
    let mut rest = vec![0; usize::from(length)];
    stream.read_exact(&mut rest).await?;
    match command {
        // its family and addresses mean nothing
        0 => Ok(None),
        1 => source(family, &rest).ok_or(BadHeader::Length(length))?,
        other => Err(BadHeader::Command(other)),
    }
}

/// `None` when the block is too short for its family. Extensions behind the addresses are skipped.
fn source(family: u8, block: &[u8]) -> Option<Result<Option<IpAddr>, BadHeader>> {
    let address = match family {
        // unknown to the load balancer
        0x00 => return Some(Ok(None)),
        // 4 + 4 + 2 + 2 octets
        0x11 => IpAddr::V4(Ipv4Addr::from(*block.get(..12)?.first_chunk::<4>()?)),
        // 16 + 16 + 2 + 2 octets
        0x21 => IpAddr::V6(Ipv6Addr::from(*block.get(..36)?.first_chunk::<16>()?)),
        // a client that came over a socket of the load balancer's own host
        0x31 => return block.get(..216).map(|_| Ok(None)),
        other => return Some(Err(BadHeader::Family(other))),
    };
    let address = address.to_canonical();
    let is_host = !address.is_unspecified() && !address.is_multicast();
    Some(if is_host { Ok(Some(address)) } else { Err(BadHeader::Source(address)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version_and_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[version_and_command, family], &length, block].concat()
    }

    const V4: [u8; 12] = [203, 0, 113, 7, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];

    async fn read_all(bytes: &[u8]) -> Result<Option<String>, String> {
        let mut rest = bytes;
        let read = read(&mut rest).await;
        read.map(|address| address.map(|a| a.to_string())).map_err(|why| why.to_string())
    }

    #[tokio::test]
    async fn addresses_are_read_and_nothing_after_the_header() {
        let mut bytes = header(0x21, 0x11, &V4);
        bytes.extend(b"GET /");
        let mut rest = &bytes[..];
        assert_eq!(read(&mut rest).await.unwrap(), Some("203.0.113.7".parse().unwrap()));
        assert_eq!(rest, b"GET /");
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(read_all(&header(0x21, 0x21, &v6)).await.unwrap().as_deref(), Some("2001:db8::7"));
        let extended = [&V4[..], &[0x20, 0, 200], &[7; 200]].concat();
        assert_eq!(read_all(&header(0x21, 0x11, &extended)).await.unwrap().as_deref(), Some("203.0.113.7"));
    }

    #[tokio::test]
    async fn local_and_unknown_leave_the_address_of_the_connection() {
        for bytes in [
            header(0x20, 0x00, &[]),
            header(0x20, 0x11, &V4),
            header(0x20, 0xff, b"anything"),
            header(0x21, 0x00, &[]),
            header(0x21, 0x31, &[0; 216]),
        ] {
            assert_eq!(read_all(&bytes).await, Ok(None), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn everything_else_is_refused() {
        let mut long = header(0x21, 0x11, &V4);
        long[14..16].copy_from_slice(&[0xff, 0xff]);
        for (bytes, why) in [
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 1 2\r\n".to_vec(), "no header"),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), "no header"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefghijk".to_vec(), "no header"),
            (header(0x21, 0x11, &V4)[..20].to_vec(), "incomplete"),
            (header(0x11, 0x11, &V4), "version 1"),
            (header(0x31, 0x11, &V4), "version 3"),
            (header(0x22, 0x11, &V4), "command 2"),
            (header(0x21, 0x12, &V4), "family and transport 0x12"),
            (header(0x21, 0x41, &V4), "family and transport 0x41"),
            (header(0x21, 0x10, &V4), "family and transport 0x10"),
            (header(0x21, 0x11, &V4[..11]), "length 11"),
            (header(0x21, 0x21, &V4), "length 12"),
            (header(0x21, 0x31, &[0; 215]), "length 215"),
            (header(0x21, 0x11, &[0; 12]), "not the address of a host"),
            (long, "length 65535"),
            (Vec::new(), "incomplete"),
        ] {
            let refused = read_all(&bytes).await.unwrap_err();
            assert!(refused.contains(why), "{refused} for {bytes:?}");
        }
    }
}
