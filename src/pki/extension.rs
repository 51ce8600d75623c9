//! The Extensions of a certificate, a CRL, a CRL entry or an OCSP message (RFC 5280 §4.2), read strictly.

use ::der::oid::ObjectIdentifier;

use super::der::{Cursor, DerError, OCTET_STRING};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension<'a> {
    pub id: ObjectIdentifier,
    pub critical: bool,
    /// The content of extnValue.
    pub value: &'a [u8],
}

/// Reads `SEQUENCE OF Extension`: one at least, each kind once.
pub fn extensions<'a>(from: &mut Cursor<'a>) -> Result<Vec<Extension<'a>>, DerError> {
    let mut list = from.sequence()?;
    let mut found: Vec<Extension<'a>> = Vec::new();
    while !list.is_empty() {
        let mut one = list.sequence()?;
        let id = one.oid()?;
        let critical = one.default_false()?;
        let value = one.expect(OCTET_STRING)?.content;
        one.finish()?;
        if found.iter().any(|other| other.id == id) {
            return Err(DerError("an extension stands twice"));
        }
        found.push(Extension { id, critical, value });
    }
    if found.is_empty() { Err(DerError("a list of extensions is empty")) } else { Ok(found) }
}
