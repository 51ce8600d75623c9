//! What people paste and programs save: DER, PEM with any text around it, PEM on one line or with `\n` written out, bare
//! base64 or base64url, all of it in UTF-8 or UTF-16 with or without a byte order mark, and PKCS#7 chains as AD CS exports them.
//! Strict where it counts: what comes out is DER, judged by whoever asked for it.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::certificate_facts::CertificateFacts;
use super::der::{self, Cursor, DerError};
use super::oids;
use super::pem::{self, Block};
use crate::error::{Error, Result};

/// Padding is left out by some programs.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// One value of a kind that only its bytes tell.
    Der(Vec<u8>),
    /// The blocks of a PEM text, in order; PKCS#7 is taken apart.
    Blocks(Vec<Block>),
}

/// Reads a file or a text. PKCS#7 in DER or base64 comes as blocks too.
pub fn read(bytes: &[u8]) -> Result<Input> {
    let text = text(bytes);
    match text.as_deref() {
        Some(text) if text.contains("-----BEGIN ") => {
            let mut blocks = Vec::new();
            for block in pem::decode_all(text)? {
                match block.label.as_str() {
                    "PKCS7" | "CMS" | "PKCS #7 SIGNED DATA" => blocks.extend(chain(&block.der)?),
                    // AD CS and old Netscape tools put a chain into a block that says CERTIFICATE
                    pem::CERTIFICATE if is_pkcs7(&block.der) => blocks.extend(chain(&block.der)?),
                    _ => blocks.push(block),
                }
            }
            Ok(Input::Blocks(blocks))
        }
        _ if bytes.first() == Some(&der::SEQUENCE) => whole(bytes.to_vec()),
        Some(text) => match bare(text) {
            Some(der) => whole(der),
            None => Err(Error::malformed("there is nothing in PEM, DER or base64 in it")),
        },
        None => Err(Error::malformed("it is neither PEM nor DER nor base64")),
    }
}

fn whole(der: Vec<u8>) -> Result<Input> {
    if is_pkcs7(&der) { chain(&der).map(Input::Blocks) } else { Ok(Input::Der(der)) }
}

/// UTF-8 or UTF-16 as a text with line breaks; none for bytes that are no text. Text around the blocks may have letters of an
/// older encoding.
fn text(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let utf16 = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = rest.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        String::from_utf16(&units).ok().map(Cow::Owned)
    };
    let found = match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes)?,
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes)?,
        [0xef, 0xbb, 0xbf, rest @ ..] => Cow::Borrowed(std::str::from_utf8(rest).ok()?),
        [first, 0, ..] if first.is_ascii_graphic() => utf16(bytes, u16::from_le_bytes)?,
        [0, second, ..] if second.is_ascii_graphic() => utf16(bytes, u16::from_be_bytes)?,
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) if bytes.windows(11).any(|w| w == b"-----BEGIN ") => String::from_utf8_lossy(bytes),
            Err(_) => return None,
        },
    };
    // as environment variables and JSON in JSON have it; no base64 holds a backslash
    let written_out = found.contains("\\n");
    Some(if written_out { Cow::Owned(found.replace("\\r", "").replace("\\n", "\n")) } else { found })
}

/// Base64 without any BEGIN line, or base64url as ACME and JSON have it.
fn bare(text: &str) -> Option<Vec<u8>> {
    let of_url = |c| match c {
        '-' => '+',
        '_' => '/',
        other => other,
    };
    let digits: String = text.chars().filter(|c| !c.is_whitespace()).map(of_url).collect();
    let der = BASE64.decode(digits).ok()?;
    (der.first() == Some(&der::SEQUENCE)).then_some(der)
}

/// The body of one PEM block.
pub(super) fn body(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    BASE64.decode(digits).ok()
}

fn is_pkcs7(der: &[u8]) -> bool {
    der::only_sequence(der).is_ok_and(|mut outer| outer.oid() == Ok(oids::PKCS7_SIGNED_DATA))
}

/// The certificates of a PKCS#7, the one that certifies none of the others first: their order in it means nothing
/// (RFC 5652 §5.1, a SET).
fn chain(der: &[u8]) -> Result<Vec<Block>> {
    let unreadable = |e| Error::malformed("the PKCS#7 chain cannot be read").because(e);
    let mut left = certificates(der).map_err(unreadable)?;
    let facts: Vec<_> =
        left.iter().map(|der| CertificateFacts::parse(der)).collect::<Result<_, _>>().map_err(unreadable)?;
    let mut known: Vec<_> = facts.into_iter().zip(left.drain(..)).collect();
    let mut blocks = Vec::with_capacity(known.len());
    let certifies = |one: &CertificateFacts, other: &CertificateFacts| {
        one.subject == other.issuer && one.fingerprint != other.fingerprint
    };
    while !known.is_empty() {
        let next = (0..known.len()).find(|at| !known.iter().any(|(other, _)| certifies(&known[*at].0, other)));
        let (_, der) = known.remove(next.unwrap_or(0));
        blocks.push(Block { label: pem::CERTIFICATE.to_owned(), der });
    }
    if blocks.is_empty() { Err(Error::malformed("the PKCS#7 holds no certificate")) } else { Ok(blocks) }
}

fn certificates(bytes: &[u8]) -> Result<Vec<Vec<u8>>, DerError> {
    let mut outer = der::only_sequence(bytes)?;
    outer.oid()?;
    let mut signed = outer.expect(der::context_constructed(0))?.inside().sequence()?;
    signed.integer()?;
    signed.expect(der::SET)?;
    signed.expect(der::SEQUENCE)?;
    let Some(set) = signed.optional(der::context_constructed(0))? else { return Ok(Vec::new()) };
    let mut list: Cursor<'_> = set.inside();
    let mut found = Vec::new();
    while !list.is_empty() {
        let one = list.any()?;
        // attribute certificates and the like have tags of their own
        if one.tag == der::SEQUENCE {
            found.push(one.raw.to_vec());
        }
    }
    Ok(found)
}
