//! PEM around DER (RFC 7468), read as leniently as people paste it (text before and after, CRLF, any line
//! length) and in time linear to its length; and the certs-only PKCS#7 that old platforms want (RFC 2315).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{der, input, oids};
use crate::error::{Error, Result};

pub const CERTIFICATE: &str = "CERTIFICATE";

/// One block: what stands in its BEGIN line, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub label: String,
    pub der: Vec<u8>,
}

/// Octets of DER in one line, and in one piece of a large text.
const LINE: usize = 48;
const PIECE: usize = 1024 * LINE;

pub fn encode(label: &str, der: &[u8]) -> String {
    let mut out = String::with_capacity(encoded_length(label, der.len()));
    pieces(label, der).for_each(|piece| out.push_str(&piece));
    out
}

/// The text of `encode`, made piece by piece: that of a large CRL is never in memory as a whole.
pub fn pieces<D: AsRef<[u8]>>(label: &str, der: D) -> impl Iterator<Item = String> + use<D> {
    let (begin, end) = (format!("-----BEGIN {label}-----\n"), format!("-----END {label}-----\n"));
    let mut at = 0;
    let body = std::iter::from_fn(move || {
        let piece = der.as_ref().get(at..)?.chunks(PIECE).next()?;
        at += piece.len();
        let mut text = String::with_capacity(piece.len().div_ceil(LINE) * 65);
        for line in piece.chunks(LINE) {
            STANDARD.encode_string(line, &mut text);
            text.push('\n');
        }
        Some(text)
    });
    std::iter::once(begin).chain(body).chain(std::iter::once(end))
}

/// Octets of the text of `encode`.
pub fn encoded_length(label: &str, der: usize) -> usize {
    der.div_ceil(3) * 4 + der.div_ceil(LINE) + "-----BEGIN -----\n-----END -----\n".len() + 2 * label.len()
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Every block of `text`, in order; what stands between them is ignored. Line breaks may be missing.
pub fn decode_all(text: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, begun)) = rest.split_once(BEGIN) {
        let Some((label, after)) = begun.split_once(DASHES).filter(|(label, _)| is_label(label)) else {
            rest = begun;
            continue;
        };
        let (body, ended) = after.split_once(END).ok_or_else(|| bad("a block has no END line"))?;
        if body.contains(BEGIN) {
            return Err(bad("a block begins inside another one"));
        }
        // encapsulated headers of RFC 1421, as in encrypted keys: nothing here reads those
        if body.contains(':') {
            return Err(bad("a block has headers"));
        }
        rest = ended
            .strip_prefix(label)
            .and_then(|rest| rest.strip_prefix(DASHES))
            .ok_or_else(|| bad("a block ends with another label"))?;
        let der = input::body(body).ok_or_else(|| bad("a block is not base64"))?;
        blocks.push(Block { label: label.to_owned(), der });
    }
    Ok(blocks)
}

/// RFC 7468 §3: printable, and on one line.
fn is_label(label: &str) -> bool {
    !label.is_empty() && label.len() <= 64 && label.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
}

fn bad(why: &str) -> Error {
    Error::malformed(format!("the PEM text cannot be read: {why}"))
}

/// The certificates of a bundle; blocks of other kinds are skipped.
pub fn certificates(text: &str) -> Result<Vec<Vec<u8>>> {
    let blocks = decode_all(text)?;
    let certificates: Vec<_> = blocks.into_iter().filter(|b| b.label == CERTIFICATE).map(|b| b.der).collect();
    if certificates.is_empty() {
        return Err(bad("it holds no block of -----BEGIN CERTIFICATE-----"));
    }
    Ok(certificates)
}

/// A degenerate SignedData without signers: version 1, no digests, data without content (RFC 2315 §9.1).
pub fn p7b(certificates: &[&[u8]]) -> Vec<u8> {
    let content = der::sequence(&[&der::oid(&oids::PKCS7_DATA)]);
    let empty_set = der::tlv(der::SET, &[]);
    let members = der::constructed(der::context_constructed(0), certificates);
    let signed = der::sequence(&[&der::unsigned(&[1]), &empty_set, &content, &members, &empty_set]);
    let explicit = der::tlv(der::context_constructed(0), &signed);
    der::sequence(&[&der::oid(&oids::PKCS7_SIGNED_DATA), &explicit])
}

/// The CRL in a PEM text; none when the bytes are no such text.
pub fn crl(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.contains("-----BEGIN "))?;
    decode_all(text).ok()?.into_iter().find(|block| block.label == "X509 CRL").map(|block| block.der)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 47, 48, 49, 500, PIECE, 2 * PIECE + 1] {
            let text = encode("X Y", &vec![7; length]);
            assert!(text.lines().all(|l| l.len() <= 64));
            assert_eq!(text.len(), encoded_length("X Y", length));
            assert_eq!(decode_all(&text).unwrap(), [Block { label: "X Y".into(), der: vec![7; length] }]);
        }
    }

    #[test]
    fn text_around_blocks_is_ignored_and_broken_blocks_are_refused() {
        let text =
            format!("Certificate:\r\n{}\r\nend\n{}", encode("A", b"1").replace('\n', "\r\n"), encode("A", b"2"));
        assert_eq!(decode_all(&text).unwrap().len(), 2);
        for bad in [
            "-----BEGIN A-----\nAA==\n",
            "-----BEGIN A-----\nAA==\n-----END B-----\n",
            "-----BEGIN A-----\n-----BEGIN A-----\n-----END A-----",
            "-----BEGIN A-----\n!!!!\n-----END A-----",
            "-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\n-----END A-----",
        ] {
            assert!(decode_all(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ten_megabytes_of_dashes_take_no_time() {
        assert_eq!(decode_all(&"-----BEGIN -".repeat(900_000)).unwrap(), []);
    }
}
