//! GeneralName (RFC 5280 §4.2.1.6) to and from identifiers. Kinds that are no identifier of ours are refused by
//! their name, never passed over.

use std::net::IpAddr;

use super::der::{self, Tlv};
use super::oids;
use crate::model::identifier::Identifier;

pub const EMAIL: u8 = der::context(1);
pub const DNS: u8 = der::context(2);
/// Explicitly tagged, because Name is a CHOICE.
pub const DIRECTORY: u8 = der::context_constructed(4);
pub const URI: u8 = der::context(6);
pub const IP: u8 = der::context(7);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GeneralNameError {
    #[error("a name of kind {0}, which is not supported")]
    Kind(&'static str),
    #[error("a name that is not ASCII or has NUL in it")]
    Text,
    #[error("an iPAddress of {0} octets")]
    IpLength(usize),
    #[error("a name that is not valid: {0}")]
    Name(String),
}

/// The identifier that one GeneralName stands for.
pub fn identifier(entry: Tlv<'_>) -> Result<Identifier, GeneralNameError> {
    let name = match entry.tag {
        EMAIL => Identifier::email(ascii(entry.content)?),
        DNS => Identifier::dns(ascii(entry.content)?),
        URI => Identifier::uri(ascii(entry.content)?),
        IP => Identifier::ip(&address(entry.content)?.to_string()),
        _ => return Err(GeneralNameError::Kind(kind(entry))),
    };
    name.map_err(|e| GeneralNameError::Name(e.detail))
}

/// The GeneralName of an identifier.
pub fn encode(name: &Identifier) -> Vec<u8> {
    match name {
        Identifier::Dns(dns) => der::tlv(DNS, dns.as_str().as_bytes()),
        Identifier::Ip(IpAddr::V4(ip)) => der::tlv(IP, &ip.octets()),
        Identifier::Ip(IpAddr::V6(ip)) => der::tlv(IP, &ip.octets()),
        Identifier::Email(text) => der::tlv(EMAIL, text.as_bytes()),
        Identifier::Uri(text) => der::tlv(URI, text.as_bytes()),
    }
}

pub fn ascii(content: &[u8]) -> Result<&str, GeneralNameError> {
    let text = std::str::from_utf8(content).map_err(|_| GeneralNameError::Text)?;
    if text.is_ascii() && !text.contains('\0') { Ok(text) } else { Err(GeneralNameError::Text) }
}

pub fn address(octets: &[u8]) -> Result<IpAddr, GeneralNameError> {
    <[u8; 4]>::try_from(octets)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from))
        .map_err(|_| GeneralNameError::IpLength(octets.len()))
}

/// What the RFC calls the kind of a GeneralName.
pub fn kind(entry: Tlv<'_>) -> &'static str {
    match entry.tag & 0x1f {
        0 => match entry.inside().oid() {
            Ok(oids::OTHER_NAME_UPN) => "otherName (userPrincipalName)",
            Ok(oids::ON_DNS_SRV) => "otherName (SRVName)",
            _ => "otherName",
        },
        1 => "rfc822Name",
        2 => "dNSName",
        3 => "x400Address",
        4 => "directoryName",
        5 => "ediPartyName",
        6 => "uniformResourceIdentifier",
        7 => "iPAddress",
        8 => "registeredID",
        _ => "unknown",
    }
}
