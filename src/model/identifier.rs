//! What a certificate names: parsed once, lower-cased, IDNA-checked. No raw name string passes this edge
//! (RFC 5280 §4.2.1.6, RFC 8738, RFC 9549).

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::model::text::is_deceptive;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Identifier {
    Dns(DnsName),
    Ip(IpAddr),
    /// RFC 822 mailbox in ASCII; the domain is lower case.
    Email(String),
    /// Absolute URI, kept as it was given.
    Uri(String),
}

/// A domain name of A-labels, lower case, with or without a wildcard as its whole left-most label.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsName(String);

impl DnsName {
    /// At most 253 octets of LDH labels of at most 63, no trailing dot, no address, `*.` only in front.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |why: &str| {
            Err(Error::new(ErrorKind::Malformed, format!("\"{}\" is not a DNS name: {why}", shown(text))))
        };
        if text.is_empty() {
            return refuse("it is empty");
        }
        if text.len() > 253 {
            return refuse("it is longer than 253 octets");
        }
        if !text.is_ascii() {
            return match idna::domain_to_ascii(text) {
                Ok(ascii) if !ascii.is_empty() => refuse(&format!("it is not ASCII; write its A-label form {ascii}")),
                _ => refuse("it is not ASCII; write it in its A-label (xn--) form"),
            };
        }
        let lower = text.to_ascii_lowercase();
        let host = lower.strip_prefix("*.").unwrap_or(&lower);
        if host.ends_with('.') {
            return refuse("it ends in a dot");
        }
        if host.parse::<IpAddr>().is_ok() || host.rsplit('.').next().is_some_and(ends_in_number) {
            return refuse("it is an IP address; ask for it as one");
        }
        for label in host.split('.') {
            if let Err(why) = check_label(label) {
                return refuse(why);
            }
        }
        Ok(DnsName(lower))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// The name without its wildcard label.
    pub fn base(&self) -> &str {
        self.0.strip_prefix("*.").unwrap_or(&self.0)
    }

    /// Label-wise: is it `suffix` itself or below it? A wildcard stands for everything below its base.
    pub fn is_within(&self, suffix: &str) -> bool {
        let base = self.base();
        base == suffix || base.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'))
    }
}

/// The form in which certificates have the domain in a search for names. Text that is no domain stays as it is.
pub fn a_labels(search: &str) -> String {
    let domain = search.trim_start_matches("*.").trim_end_matches('*');
    if domain.is_ascii() || !domain.contains('.') || domain.contains(|c: char| c.is_whitespace() || c == '@') {
        return search.to_owned();
    }
    idna::domain_to_ascii(domain).map_or_else(|_| search.to_owned(), |ascii| search.replacen(domain, &ascii, 1))
}

/// A last label that parsers of URLs take for a part of an IPv4 address (WHATWG URL §3.5 "ends in a number checker"): digits, or
/// `0x` with or without hexadecimal digits. In lower case.
fn ends_in_number(label: &str) -> bool {
    let digits = !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit());
    digits || label.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn check_label(label: &str) -> std::result::Result<(), &'static str> {
    if label.is_empty() {
        return Err("it has an empty label");
    }
    if label.len() > 63 {
        return Err("it has a label longer than 63 octets");
    }
    if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err("labels hold letters, digits and hyphens only, and a wildcard is the whole first label");
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err("a label begins or ends with a hyphen");
    }
    if label.get(2..4) == Some("--") {
        if !label.starts_with("xn--") {
            return Err("a label has hyphens in its third and fourth place and is no A-label");
        }
        // an A-label must decode, hold something that needed encoding, and encode back to itself (RUSTSEC-2024-0421)
        let (unicode, outcome) = idna::domain_to_unicode(label);
        if outcome.is_err()
            || unicode.is_ascii()
            || idna::domain_to_ascii_strict(&unicode).ok().as_deref() != Some(label)
        {
            return Err("an xn-- label is not valid punycode");
        }
    }
    Ok(())
}

impl TryFrom<String> for DnsName {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        DnsName::parse(&text)
    }
}

impl From<DnsName> for String {
    fn from(name: DnsName) -> String {
        name.0
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Identifier {
    pub fn dns(text: &str) -> Result<Self> {
        DnsName::parse(text).map(Identifier::Dns)
    }

    /// An address in its one canonical form: dotted IPv4, RFC 5952 IPv6; no zone, no IPv4-mapped (RFC 8738 §3).
    pub fn ip(text: &str) -> Result<Self> {
        match text.parse::<IpAddr>() {
            Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
                Err(Error::malformed(format!("\"{}\" is an IPv4-mapped address: write it as IPv4", shown(text))))
            }
            Ok(ip) if ip.to_string() == text => Ok(Identifier::Ip(ip)),
            Ok(ip) => Err(Error::malformed(format!("\"{}\" is not in canonical form: write {ip}", shown(text)))),
            Err(_) => Err(Error::malformed(format!("\"{}\" is not an IP address", shown(text)))),
        }
    }

    pub fn email(text: &str) -> Result<Self> {
        let refuse = |why: &str| Error::malformed(format!("\"{}\" is not a mail address: {why}", shown(text)));
        if !text.is_ascii() || text.len() > 254 {
            return Err(refuse("it is longer than 254 octets or not ASCII"));
        }
        let (local, domain) = text.rsplit_once('@').ok_or_else(|| refuse("it has no @"))?;
        let atext = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b);
        if local.is_empty()
            || local.len() > 64
            || !local.bytes().all(atext)
            || local.starts_with('.')
            || local.ends_with('.')
            || local.contains("..")
        {
            return Err(refuse("its local part is not a dot-atom of at most 64 octets"));
        }
        let domain = DnsName::parse(domain).map_err(|_| refuse("its domain is not a DNS name"))?;
        if domain.is_wildcard() {
            return Err(refuse("its domain is a wildcard"));
        }
        Ok(Identifier::Email(format!("{local}@{domain}")))
    }

    /// An absolute URI of ASCII with a scheme; SPIFFE ids follow the path rules of X509-SVID §2.
    pub fn uri(text: &str) -> Result<Self> {
        let refuse = |why: &str| Error::malformed(format!("\"{}\" is not an absolute URI: {why}", shown(text)));
        if text.len() > 2048 || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(refuse("it is longer than 2048 octets or has blanks, controls or non-ASCII characters"));
        }
        if text.bytes().any(|b| b"<>\"\\^`{|}".contains(&b)) {
            return Err(refuse("it has characters that a URI must percent-encode"));
        }
        let (scheme, rest) = text.split_once(':').ok_or_else(|| refuse("it has no scheme"))?;
        let valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if !valid || rest.is_empty() {
            return Err(refuse("its scheme or its content is missing"));
        }
        if rest.strip_prefix("//").is_some_and(|authority| host(authority).is_empty()) {
            return Err(refuse("its host is empty (RFC 5280 §4.2.1.6)"));
        }
        if scheme.eq_ignore_ascii_case("spiffe") {
            check_spiffe(text).map_err(refuse)?;
        }
        Ok(Identifier::Uri(text.to_owned()))
    }

    /// A name as people write it: an address, a mail address, a URI, else a DNS name.
    pub fn guess(text: &str) -> Result<Self> {
        if text.contains("://") || text.starts_with("urn:") {
            Identifier::uri(text)
        } else if text.contains('@') {
            Identifier::email(text)
        } else if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Identifier::ip(&ip.to_string())
        } else {
            Identifier::dns(text)
        }
    }

    /// `dns`, `ip`, `email`, `uri`: the type in ACME, REST and SQL.
    pub fn kind(&self) -> &'static str {
        match self {
            Identifier::Dns(_) => "dns",
            Identifier::Ip(_) => "ip",
            Identifier::Email(_) => "email",
            Identifier::Uri(_) => "uri",
        }
    }

    pub fn value(&self) -> String {
        match self {
            Identifier::Dns(name) => name.0.clone(),
            Identifier::Ip(ip) => ip.to_string(),
            Identifier::Email(text) | Identifier::Uri(text) => text.clone(),
        }
    }

    pub fn from_parts(kind: &str, value: &str) -> Result<Self> {
        match kind {
            "dns" => Identifier::dns(value),
            "ip" => Identifier::ip(value),
            "email" => Identifier::email(value),
            "uri" => Identifier::uri(value),
            other => Err(Error::new(
                ErrorKind::UnsupportedIdentifier,
                format!("identifier type \"{}\" is not supported: allowed are dns, ip, email and uri", shown(other)),
            )),
        }
    }
}

/// The host in what follows `//`: without user, port, path, query and fragment (RFC 3986 §3.2).
fn host(rest: &str) -> &str {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if host.starts_with('[') { host } else { host.split(':').next().unwrap_or_default() }
}

fn check_spiffe(text: &str) -> std::result::Result<(), &'static str> {
    let rest = text.strip_prefix("spiffe://").ok_or("a SPIFFE id begins with spiffe:// in lower case")?;
    let (domain, path) = rest.split_once('/').map_or((rest, None), |(d, p)| (d, Some(p)));
    let domain_ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
    if domain.is_empty() || domain.len() > 255 || !domain.bytes().all(domain_ok) {
        return Err("a SPIFFE trust domain is lower-case letters, digits, dots, hyphens and underscores");
    }
    let segment_ok = |s: &str| {
        !s.is_empty() && s != "." && s != ".." && s.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
    };
    match path {
        Some(path) if !path.split('/').all(segment_ok) => Err("a SPIFFE path has an empty, dot or foreign segment"),
        _ => Ok(()),
    }
}

/// What may be echoed of text from outside: 60 characters, none that could steer a terminal or turn a page around.
pub fn shown(text: &str) -> String {
    let mut short: String = text.chars().filter(|c| !is_deceptive(*c)).take(60).collect();
    if text.chars().count() > 60 {
        short.push('…');
    }
    short
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.value())
    }
}

#[derive(Serialize, Deserialize)]
struct Parts {
    r#type: String,
    value: String,
}

impl Serialize for Identifier {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        Parts { r#type: self.kind().to_owned(), value: self.value() }.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Identifier {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let parts = Parts::deserialize(d)?;
        Identifier::from_parts(&parts.r#type, &parts.value).map_err(serde::de::Error::custom)
    }
}
