//! The public key in what people have of it: a certificate, a CSR, or a public key, in PEM or DER. Nothing is judged: a weak
//! key has to be blocked too.

use super::algorithm::Spki;
use super::der::{self, DerError};
use super::pem;
use super::tbs::{TbsView, split_certificate};
use crate::error::{Error, Result};

/// The SubjectPublicKeyInfo in DER.
pub fn read(bytes: &[u8]) -> Result<Vec<u8>> {
    let none = |e| Error::malformed("there is no public key, certificate or CSR in PEM or DER in it").because(e);
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.contains("-----BEGIN "));
    let der = match text {
        None => bytes.to_vec(),
        Some(text) => {
            let first = pem::decode_all(text)?.into_iter().next();
            first.ok_or_else(|| none(DerError("no block of PEM")))?.der
        }
    };
    let found = of_certificate(&der).or_else(|_| of_request(&der)).or_else(|_| of_key(&der));
    found.map_err(none)
}

fn of_certificate(der: &[u8]) -> Result<Vec<u8>, DerError> {
    let (tbs, ..) = split_certificate(der)?;
    Ok(TbsView::parse(tbs)?.spki.to_vec())
}

/// RFC 2986 §4: version, subject, key.
fn of_request(der: &[u8]) -> Result<Vec<u8>, DerError> {
    let mut info = der::only_sequence(der)?.sequence()?;
    info.small_integer()?;
    info.expect(der::SEQUENCE)?;
    Ok(info.expect(der::SEQUENCE)?.raw.to_vec())
}

fn of_key(der: &[u8]) -> Result<Vec<u8>, DerError> {
    let mut spki = der::only_sequence(der)?;
    spki.expect(der::SEQUENCE)?.inside().oid()?;
    spki.bit_octets()?;
    spki.finish()?;
    // what is read so far could be another structure of the same shape
    Spki::parse(der).map_err(|_| DerError("not a public key of a kind that is known"))?;
    Ok(der.to_vec())
}
