//! One subtree of a name constraint (RFC 5280 §4.2.1.10) and the names that stand in it. A permitted subtree is read
//! narrowly and an excluded one broadly, so that a verifier that reads it the other way finds no more than we do.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::der::{self, DerError, Tlv};
use super::general_name;
use super::name::{ComparableRdn, DistinguishedName};
use crate::model::identifier::Identifier;

/// The form of a GeneralName, by its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Dns,
    Ip,
    Email,
    Uri,
    Directory,
    /// A form that no name of ours has, by its tag number.
    Other(u8),
}

/// A name as constraints judge it, whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ConstrainedName {
    /// In lower case, without a dot at its end.
    Dns(String),
    Ip(Vec<u8>),
    Email(String),
    Uri(String),
    Directory(DistinguishedName),
    Other(u8),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subtree {
    base: Base,
    /// `minimum` is not 0 or `maximum` is there: the RFC lets nobody judge the names of this form.
    bounded: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Base {
    /// In lower case; empty is every name, a leading dot leaves the name itself out.
    Dns(String),
    Network {
        address: Vec<u8>,
        mask: Vec<u8>,
    },
    /// A mailbox, a host, or with a leading dot the hosts of a domain.
    Email(String),
    /// The host of a URI, or with a leading dot the hosts of a domain.
    Uri(String),
    Directory {
        name: DistinguishedName,
        rdns: Vec<ComparableRdn>,
    },
    Other(u8),
}

impl Form {
    pub fn of(tag: u8) -> Self {
        match tag {
            general_name::DNS => Form::Dns,
            general_name::IP => Form::Ip,
            general_name::EMAIL => Form::Email,
            general_name::URI => Form::Uri,
            general_name::DIRECTORY => Form::Directory,
            other => Form::Other(other & 0x1f),
        }
    }
}

impl ConstrainedName {
    /// From one GeneralName of a CA certificate, which may be of any form.
    pub fn read(entry: Tlv<'_>) -> Result<Self, DerError> {
        let text = || general_name::ascii(entry.content).map_err(|_| DerError("a name is not ASCII"));
        Ok(match Form::of(entry.tag) {
            Form::Dns => ConstrainedName::Dns(host(text()?)),
            Form::Ip => ConstrainedName::Ip(entry.content.to_vec()),
            Form::Email => ConstrainedName::Email(text()?.to_owned()),
            Form::Uri => ConstrainedName::Uri(text()?.to_owned()),
            Form::Directory => ConstrainedName::Directory(directory(entry)?),
            Form::Other(tag) => ConstrainedName::Other(tag),
        })
    }

    pub fn form(&self) -> Form {
        match self {
            ConstrainedName::Dns(_) => Form::Dns,
            ConstrainedName::Ip(_) => Form::Ip,
            ConstrainedName::Email(_) => Form::Email,
            ConstrainedName::Uri(_) => Form::Uri,
            ConstrainedName::Directory(_) => Form::Directory,
            ConstrainedName::Other(tag) => Form::Other(*tag),
        }
    }
}

impl From<&Identifier> for ConstrainedName {
    fn from(name: &Identifier) -> Self {
        match name {
            Identifier::Dns(dns) => ConstrainedName::Dns(dns.as_str().to_owned()),
            Identifier::Ip(IpAddr::V4(v4)) => ConstrainedName::Ip(v4.octets().to_vec()),
            Identifier::Ip(IpAddr::V6(v6)) => ConstrainedName::Ip(v6.octets().to_vec()),
            Identifier::Email(text) => ConstrainedName::Email(text.clone()),
            Identifier::Uri(text) => ConstrainedName::Uri(text.clone()),
        }
    }
}

impl fmt::Display for ConstrainedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConstrainedName::Dns(text) | ConstrainedName::Email(text) | ConstrainedName::Uri(text) => {
                f.write_str(text)
            }
            ConstrainedName::Ip(octets) => write!(f, "{}", address(octets)),
            ConstrainedName::Directory(name) => write!(f, "the subject {name}"),
            ConstrainedName::Other(tag) => write!(f, "a name of form [{tag}]"),
        }
    }
}

impl Subtree {
    /// From one GeneralSubtree.
    pub fn read(mut tree: der::Cursor<'_>) -> Result<Self, DerError> {
        let base = Base::read(tree.any()?)?;
        let minimum = tree.optional(der::context(0))?.is_some_and(|value| value.content != [0]);
        let maximum = tree.optional(der::context(1))?.is_some();
        tree.finish()?;
        Ok(Subtree { base, bounded: minimum || maximum })
    }

    pub fn form(&self) -> Form {
        match &self.base {
            Base::Dns(_) => Form::Dns,
            Base::Network { .. } => Form::Ip,
            Base::Email(_) => Form::Email,
            Base::Uri(_) => Form::Uri,
            Base::Directory { .. } => Form::Directory,
            Base::Other(tag) => Form::Other(*tag),
        }
    }

    /// Names of its form cannot be judged (RFC 5280 §4.2.1.10 on minimum and maximum).
    pub fn is_bounded(&self) -> bool {
        self.bounded
    }

    /// The base of a directoryName.
    pub fn directory(&self) -> Option<&DistinguishedName> {
        match &self.base {
            Base::Directory { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Whether everything that the name stands for is in the subtree.
    pub fn covers(&self, name: &ConstrainedName) -> bool {
        match (&self.base, name) {
            (Base::Dns(base), ConstrainedName::Dns(dns)) => dns_covers(base, dns),
            (Base::Network { address, mask }, ConstrainedName::Ip(ip)) => in_network(ip, address, mask),
            (Base::Email(base), ConstrainedName::Email(text)) => email_covers(base, text),
            (Base::Uri(base), ConstrainedName::Uri(text)) => {
                uri_host(text).is_some_and(|host| host_fits(&host, base))
            }
            (Base::Directory { rdns, .. }, ConstrainedName::Directory(name)) => {
                name.comparable().is_ok_and(|own| own.starts_with(rdns))
            }
            _ => false,
        }
    }

    /// Whether anything that the name stands for may be in the subtree. A wildcard must not cover an excluded child
    /// (RUSTSEC-2026-0099, CVE-2025-61727); what verifiers read in two ways counts as excluded.
    pub fn touches(&self, name: &ConstrainedName) -> bool {
        self.covers(name)
            || match (&self.base, name) {
                (Base::Dns(base), ConstrainedName::Dns(dns)) => dns_touches(base, dns),
                (Base::Email(base), ConstrainedName::Email(text)) => base.is_empty() || email_touches(base, text),
                (Base::Uri(base), ConstrainedName::Uri(text)) => {
                    base.is_empty() || uri_host(text).is_none_or(|host| host_touches(&host, base))
                }
                (Base::Directory { name: base, .. }, ConstrainedName::Directory(name)) => {
                    base.comparable().is_err() || name.comparable().is_err()
                }
                (Base::Other(tag), ConstrainedName::Other(other)) => tag == other,
                _ => false,
            }
    }
}

impl Subtree {
    /// The names that lie in both; none when no name does. Of forms that no issuer of ours is made with only equal ones
    /// have anything in common.
    pub fn meet(&self, other: &Self) -> Option<Self> {
        if self.bounded || other.bounded {
            return None;
        }
        let base = match (&self.base, &other.base) {
            (Base::Dns(a), Base::Dns(b)) => narrower(a, b, true).map(Base::Dns),
            (Base::Email(a), Base::Email(b)) => narrower(a, b, false).map(Base::Email),
            (Base::Uri(a), Base::Uri(b)) => narrower(a, b, false).map(Base::Uri),
            (Base::Network { address: a, mask: m }, Base::Network { address: b, mask: n }) => networks(a, m, b, n),
            (a, b) => (a == b).then(|| a.clone()),
        };
        base.map(|base| Subtree { base, bounded: false })
    }

    /// Whether every name of another subtree is excluded by this one, which is read broadly.
    pub fn excludes_all_of(&self, other: &Self) -> bool {
        match (&self.base, &other.base) {
            (Base::Dns(own), Base::Dns(base)) => {
                let (own, base) = (own.trim_start_matches('.'), base.trim_start_matches('.'));
                own.is_empty() || is_within(base, own)
            }
            (Base::Email(own) | Base::Uri(own), Base::Email(base) | Base::Uri(base))
                if self.form() == other.form() =>
            {
                own.is_empty() || self.meet(other).as_ref() == Some(other) || own.strip_prefix('.') == Some(base)
            }
            _ => self.meet(other).as_ref() == Some(other),
        }
    }

    /// Whether these excluded subtrees together leave no name of this one. Only networks have finitely many names, so that
    /// several can cover one; of every other form an excluded subtree that covers it does so alone (`excludes_all_of`).
    pub fn is_covered_by(&self, excluded: &[&Self]) -> bool {
        let network = |tree: &Self| match &tree.base {
            Base::Network { address, mask } if !tree.bounded => Some((address.clone(), mask.clone())),
            _ => None,
        };
        let Some((address, mask)) = network(self) else { return false };
        let all: Vec<_> = excluded.iter().filter_map(|tree| network(tree)).collect();
        network_is_covered(&address, &mask, &all.iter().collect::<Vec<_>>(), &mut { MOST_SPLITS })
    }

    /// `.invalid`, by which a form without a permitted name is closed.
    pub fn is_closing(&self) -> bool {
        matches!(&self.base, Base::Email(base) | Base::Uri(base) if base == ".invalid")
    }
}

/// The narrower of two bases of which one lies in the other. A DNS base holds the names below it; a host holds itself
/// alone, and with a leading dot the hosts below.
fn narrower(a: &str, b: &str, holds_below: bool) -> Option<String> {
    let lies_in = |inner: &str, outer: &str| {
        if outer.is_empty() || inner == outer {
            return true;
        }
        let inner = inner.rsplit_once('@').filter(|_| !outer.contains('@')).map_or(inner, |(_, host)| host);
        let (below, own) = (outer.strip_prefix('.'), inner.trim_start_matches('.'));
        match below {
            Some(below) => is_within(own, below) && (own != below || inner.starts_with('.')),
            None if holds_below => is_within(own, outer),
            None => inner == outer,
        }
    };
    if lies_in(a, b) {
        return Some(a.to_owned());
    }
    lies_in(b, a).then(|| b.to_owned())
}

/// Splits of a network that one question costs at most; masks with holes could need more, and then nothing is claimed.
const MOST_SPLITS: u32 = 4_096;

type Network = (Vec<u8>, Vec<u8>);

/// Halves the network at the first bit that an excluded one fixes, until each part lies in one or apart from all.
fn network_is_covered(address: &[u8], mask: &[u8], excluded: &[&Network], splits: &mut u32) -> bool {
    let meets = |(other, fixed): &Network| {
        let octets = address.iter().zip(other).zip(mask.iter().zip(fixed));
        other.len() == address.len() && octets.into_iter().all(|((a, b), (m, n))| a & m & n == b & m & n)
    };
    let met: Vec<&Network> = excluded.iter().copied().filter(|network| meets(network)).collect();
    let open_bit = |(_, fixed): &Network| {
        let octets = mask.iter().zip(fixed).enumerate();
        octets.map(|(at, (m, n))| (at, n & !m)).find(|(_, open)| *open != 0)
    };
    if met.iter().any(|network| open_bit(network).is_none()) {
        return true;
    }
    let Some((at, open)) = met.first().and_then(|network| open_bit(network)).filter(|_| *splits > 0) else {
        return false;
    };
    *splits -= 1;
    let bit = 0x80 >> open.leading_zeros();
    let with = |octets: &[u8], set: bool| -> Vec<u8> {
        let octet = |(n, octet): (usize, &u8)| {
            if n != at {
                *octet
            } else if set {
                octet | bit
            } else {
                octet & !bit
            }
        };
        octets.iter().enumerate().map(octet).collect()
    };
    let narrower = with(mask, true);
    [false, true].into_iter().all(|half| network_is_covered(&with(address, half), &narrower, &met, splits))
}

fn networks(a: &[u8], m: &[u8], b: &[u8], n: &[u8]) -> Option<Base> {
    if a.len() != b.len() {
        return None;
    }
    let agree = a.iter().zip(b).zip(m.iter().zip(n)).all(|((a, b), (m, n))| a & m & n == b & m & n);
    let mask: Vec<u8> = m.iter().zip(n).map(|(m, n)| m | n).collect();
    let address = a.iter().zip(m).zip(b.iter().zip(n)).map(|((a, m), (b, n))| (a & m) | (b & n)).collect();
    agree.then_some(Base::Network { address, mask })
}

impl fmt::Display for Subtree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.base {
            Base::Dns(base) if base.is_empty() => f.write_str("every DNS name"),
            Base::Dns(base) | Base::Email(base) => f.write_str(base),
            Base::Uri(base) => write!(f, "URIs of {base}"),
            Base::Network { address: octets, mask } => {
                let length: u32 = mask.iter().map(|octet| octet.count_ones()).sum();
                write!(f, "{}/{length}", address(octets))
            }
            Base::Directory { name, .. } => write!(f, "{name}"),
            Base::Other(tag) => write!(f, "names of form [{tag}]"),
        }
    }
}

impl Base {
    fn read(base: Tlv<'_>) -> Result<Self, DerError> {
        let text = || {
            let text = general_name::ascii(base.content).map_err(|_| DerError("a constraint is not ASCII"))?;
            Ok(text.to_owned())
        };
        Ok(match Form::of(base.tag) {
            Form::Dns => Base::Dns(host(&text()?)),
            Form::Email => Base::Email(mailbox(&text()?)),
            Form::Uri => Base::Uri(host(&text()?)),
            Form::Ip => {
                let half = base.content.len() / 2;
                match base.content.split_at_checked(half) {
                    Some((address, mask)) if matches!(half, 4 | 16) && address.len() == mask.len() => {
                        Base::Network { address: address.to_vec(), mask: mask.to_vec() }
                    }
                    _ => return Err(DerError("an address constraint has neither 8 nor 32 octets")),
                }
            }
            Form::Directory => {
                let name = directory(base)?;
                Base::Directory { rdns: name.comparable()?, name }
            }
            Form::Other(tag) => Base::Other(tag),
        })
    }
}

fn directory(entry: Tlv<'_>) -> Result<DistinguishedName, DerError> {
    let mut inside = entry.inside();
    let name = inside.expect(der::SEQUENCE)?;
    inside.finish()?;
    DistinguishedName::from_der(name.raw)
}

/// A host for comparison: in lower case, without the dot that may stand at its end.
fn host(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    lower.strip_suffix('.').filter(|rest| !rest.is_empty()).map_or(lower.clone(), str::to_owned)
}

/// The local part stays as it is: only its host knows whether case counts (RFC 5321 §2.4).
fn mailbox(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((local, domain)) => format!("{local}@{}", host(domain)),
        None => host(text),
    }
}

/// The name or a name below it, label by label.
fn is_within(name: &str, suffix: &str) -> bool {
    name == suffix || name.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'))
}

/// A wildcard stands for the names below its base, never for the base itself (RFC 9525 §6.3).
fn dns_covers(base: &str, dns: &str) -> bool {
    let (wildcard, own) = dns.strip_prefix("*.").map_or((false, dns), |own| (true, own));
    match base.strip_prefix('.') {
        Some(below) => is_within(own, below) && (wildcard || own != below),
        None => base.is_empty() || is_within(own, base),
    }
}

fn dns_touches(base: &str, dns: &str) -> bool {
    let base = base.strip_prefix('.').unwrap_or(base);
    let base = base.strip_prefix("*.").unwrap_or(base);
    let (wildcard, own) = dns.strip_prefix("*.").map_or((false, dns), |own| (true, own));
    let is_child = || base.split_once('.').is_some_and(|(_, parent)| parent == own);
    base.is_empty() || is_within(own, base) || (wildcard && is_child())
}

fn email_covers(base: &str, text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    match base.rsplit_once('@') {
        Some((own, at)) => local == own && host(domain) == at,
        None => host_fits(&host(domain), base),
    }
}

fn email_touches(base: &str, text: &str) -> bool {
    match (text.rsplit_once('@'), base.rsplit_once('@')) {
        (None, _) => true,
        // no mailbox: some read it as its host
        (Some((_, domain)), Some(("", at))) => host_touches(&host(domain), at),
        (Some(_), Some(_)) => false,
        (Some((_, domain)), None) => host_touches(&host(domain), base),
    }
}

fn host_fits(host: &str, base: &str) -> bool {
    match base.strip_prefix('.') {
        Some(below) => host != below && is_within(host, below),
        None => host == base,
    }
}

/// A leading dot leaves the domain itself out by the RFC; some verifiers read it as the domain with all below.
fn host_touches(host: &str, base: &str) -> bool {
    match base.strip_prefix('.') {
        Some(below) => is_within(host, below),
        None => host == base,
    }
}

fn in_network(ip: &[u8], address: &[u8], mask: &[u8]) -> bool {
    ip.len() == address.len() && ip.iter().zip(address).zip(mask).all(|((a, b), m)| a & m == b & m)
}

/// The host of a URI when it is a host name: no authority, an empty one, an IP address and a percent-encoded host are
/// none (RFC 5280 §4.2.1.10).
pub(super) fn uri_host(text: &str) -> Option<String> {
    let authority = text.split_once(':')?.1.strip_prefix("//")?;
    let authority = authority.split(['/', '?', '#']).next()?;
    let place = authority.rsplit('@').next()?;
    if place.starts_with('[') {
        return None;
    }
    let name = host(place.split(':').next()?);
    let is_name = !name.is_empty() && !name.contains('%') && !name.split('.').any(str::is_empty);
    (is_name && name.parse::<IpAddr>().is_err()).then_some(name)
}

fn address(octets: &[u8]) -> String {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Ipv4Addr::from(v4).to_string();
    }
    <[u8; 16]>::try_from(octets).map_or_else(|_| "an address".to_owned(), |v6| Ipv6Addr::from(v6).to_string())
}
