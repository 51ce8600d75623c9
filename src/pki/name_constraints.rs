//! Name constraints of an issuer (RFC 5280 §4.2.1.10), read from its certificate and applied to what stands
//! below it. What we cannot apply refuses.

use std::net::IpAddr;

use super::der::{self, Cursor, DerError};
use super::general_name;
use super::name::DistinguishedName;
use crate::model::identifier::Identifier;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameConstraints {
    permitted: Vec<Subtree>,
    excluded: Vec<Subtree>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subtree {
    /// The name and all below it; empty is every name.
    Dns(String),
    Network {
        base: Vec<u8>,
        mask: Vec<u8>,
    },
    /// A mailbox, a host, or with a leading dot the hosts of a domain.
    Email(String),
    /// The host of a URI, or with a leading dot the hosts of a domain.
    Uri(String),
    /// A Name prefix in DER, RDN by RDN.
    Directory(Vec<Vec<u8>>),
    /// A kind that no name of ours has.
    Other,
}

impl NameConstraints {
    /// From the value of the extension.
    pub fn parse(value: &[u8]) -> Result<Self, DerError> {
        let mut fields = der::only_sequence(value)?;
        let mut read = |tag| fields.optional(der::context_constructed(tag)).map(|f| f.map(|f| f.inside()));
        let (permitted, excluded) = (read(0)?, read(1)?);
        fields.finish()?;
        Ok(NameConstraints {
            permitted: permitted.map(subtrees).transpose()?.unwrap_or_default(),
            excluded: excluded.map(subtrees).transpose()?.unwrap_or_default(),
        })
    }

    /// Why a name may not stand below this issuer; none when it may.
    pub fn refuses(&self, name: &Identifier) -> Option<String> {
        if self.excluded.iter().any(|tree| tree.touches(name)) {
            return Some(format!("{name} is excluded by the issuer"));
        }
        let mut same_kind = self.permitted.iter().filter(|tree| tree.is_for(name)).peekable();
        if same_kind.peek().is_some() && !same_kind.any(|tree| tree.covers(name)) {
            return Some(format!("{name} is not permitted by the issuer"));
        }
        None
    }

    /// Why a subject may not stand below this issuer (directoryName constraints).
    pub fn refuses_subject(&self, subject: &DistinguishedName) -> Option<String> {
        if subject.is_empty() {
            return None;
        }
        let rdns = match rdns(subject.as_der()) {
            Ok(rdns) => rdns,
            Err(error) => return Some(error.to_string()),
        };
        let holds = |tree: &Subtree| matches!(tree, Subtree::Directory(prefix) if rdns.starts_with(prefix));
        let directories = |trees: &[Subtree]| trees.iter().any(|t| matches!(t, Subtree::Directory(_)));
        if self.excluded.iter().any(holds) {
            return Some(format!("the subject {subject} is excluded by the issuer"));
        }
        if directories(&self.permitted) && !self.permitted.iter().any(holds) {
            return Some(format!("the subject {subject} is not permitted by the issuer"));
        }
        None
    }
}

fn subtrees(mut list: Cursor<'_>) -> Result<Vec<Subtree>, DerError> {
    let mut trees = Vec::new();
    while !list.is_empty() {
        let mut tree = list.sequence()?;
        let base = tree.any()?;
        // minimum is 0 and maximum absent (RFC 5280 §4.2.1.10)
        tree.finish()?;
        let text = || {
            let text = general_name::ascii(base.content).map_err(|_| DerError("a constraint is not ASCII"))?;
            Ok(text.to_ascii_lowercase())
        };
        trees.push(match base.tag {
            general_name::DNS => Subtree::Dns(text()?.trim_start_matches('.').to_owned()),
            general_name::EMAIL => Subtree::Email(text()?),
            general_name::URI => Subtree::Uri(text()?),
            general_name::IP => {
                let half = base.content.len() / 2;
                match base.content.split_at_checked(half) {
                    Some((base, mask)) if matches!(half, 4 | 16) && base.len() == mask.len() => {
                        Subtree::Network { base: base.to_vec(), mask: mask.to_vec() }
                    }
                    _ => return Err(DerError("an address constraint has neither 8 nor 32 octets")),
                }
            }
            // directoryName is explicitly tagged, because Name is a CHOICE
            0xa4 => {
                let mut inside = base.inside();
                let name = inside.expect(der::SEQUENCE)?;
                inside.finish()?;
                Subtree::Directory(rdns(name.raw)?)
            }
            _ => Subtree::Other,
        });
    }
    if trees.is_empty() { Err(DerError("a list of constraints is empty")) } else { Ok(trees) }
}

fn rdns(name: &[u8]) -> Result<Vec<Vec<u8>>, DerError> {
    let mut name = der::only_sequence(name)?;
    let mut found = Vec::new();
    while !name.is_empty() {
        found.push(name.expect(der::SET)?.raw.to_vec());
    }
    Ok(found)
}

impl Subtree {
    fn is_for(&self, name: &Identifier) -> bool {
        match self {
            Subtree::Dns(_) => matches!(name, Identifier::Dns(_)),
            Subtree::Network { .. } => matches!(name, Identifier::Ip(_)),
            Subtree::Email(_) => matches!(name, Identifier::Email(_)),
            Subtree::Uri(_) => matches!(name, Identifier::Uri(_)),
            Subtree::Directory(_) | Subtree::Other => false,
        }
    }

    /// Does it hold everything that the name stands for?
    fn covers(&self, name: &Identifier) -> bool {
        match (self, name) {
            (Subtree::Dns(suffix), Identifier::Dns(dns)) => suffix.is_empty() || dns.is_within(suffix),
            (Subtree::Network { base, mask }, Identifier::Ip(ip)) => in_network(ip, base, mask),
            (Subtree::Email(rule), Identifier::Email(text)) => match text.rsplit_once('@') {
                Some(_) if rule.contains('@') => text.eq_ignore_ascii_case(rule),
                Some((_, host)) => host_fits(host, rule),
                None => false,
            },
            (Subtree::Uri(rule), Identifier::Uri(text)) => uri_host(text).is_some_and(|host| host_fits(&host, rule)),
            _ => false,
        }
    }

    /// Does it hold anything that the name stands for? A wildcard must not cover an excluded child (RUSTSEC-2026-0099,
    /// CVE-2025-61727), and a URI without a host cannot be judged.
    fn touches(&self, name: &Identifier) -> bool {
        let child = |suffix: &str, base: &str| suffix.split_once('.').is_some_and(|(_, parent)| parent == base);
        self.covers(name)
            || match (self, name) {
                (Subtree::Dns(suffix), Identifier::Dns(dns)) => dns.is_wildcard() && child(suffix, dns.base()),
                (Subtree::Uri(_), Identifier::Uri(text)) => uri_host(text).is_none(),
                _ => false,
            }
    }
}

fn in_network(ip: &IpAddr, base: &[u8], mask: &[u8]) -> bool {
    let octets = match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    octets.len() == base.len() && octets.iter().zip(base).zip(mask).all(|((a, b), m)| a & m == b & m)
}

fn host_fits(host: &str, rule: &str) -> bool {
    let host = host.to_ascii_lowercase();
    if rule.starts_with('.') { host.ends_with(rule) } else { host == rule }
}

fn uri_host(text: &str) -> Option<String> {
    let host = text.split_once("://")?.1.split(['/', '?', '#']).next()?.rsplit('@').next()?;
    let host = host.split(':').next()?;
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(tag: u8, content: &[u8]) -> Vec<u8> {
        der::sequence(&[&der::tlv(tag, content)])
    }

    fn constraints(permitted: &[Vec<u8>], excluded: &[Vec<u8>]) -> NameConstraints {
        let list = |tag, trees: &[Vec<u8>]| match trees {
            [] => Vec::new(),
            _ => {
                der::constructed(der::context_constructed(tag), &trees.iter().map(Vec::as_slice).collect::<Vec<_>>())
            }
        };
        NameConstraints::parse(&der::sequence(&[&list(0, permitted), &list(1, excluded)])).unwrap()
    }

    fn allows(constraints: &NameConstraints, name: &str) -> bool {
        constraints.refuses(&Identifier::guess(name).unwrap()).is_none()
    }

    #[test]
    fn permitted_and_excluded_subtrees_hold() {
        let permitted =
            [tree(0x82, b"Example.org"), tree(0x87, &[10, 0, 0, 0, 255, 0, 0, 0]), tree(0x81, b".example.org")];
        let rules = constraints(&permitted, &[tree(0x82, b"secret.example.org")]);
        for (name, allowed) in [
            ("example.org", true),
            ("a.example.org", true),
            ("evilexample.org", false),
            ("secret.example.org", false),
            ("x.secret.example.org", false),
            ("*.example.org", false),
            ("*.a.example.org", true),
            ("10.9.9.9", true),
            ("11.0.0.1", false),
            ("fd00::1", false),
            ("a@mail.example.org", true),
            ("a@example.org", false),
            ("spiffe://anything/x", true),
        ] {
            assert_eq!(allows(&rules, name), allowed, "{name}");
        }
    }

    #[test]
    fn uris_are_judged_by_host() {
        let rules = constraints(&[tree(0x86, b".example.org")], &[tree(0x86, b"bad.example.org")]);
        assert!(allows(&rules, "https://a.example.org:8443/x") && !allows(&rules, "https://bad.example.org/x"));
        assert!(!allows(&rules, "urn:uuid:1") && !allows(&rules, "https://evil.test/.example.org"));
    }

    #[test]
    fn directory_names_are_prefixes() {
        use crate::pki::name::SubjectFields;
        let organization = SubjectFields { organization: vec!["A".into()], ..SubjectFields::default() };
        let base = DistinguishedName::build(&organization).unwrap();
        let rules = constraints(&[tree(0xa4, base.as_der())], &[]);
        let below = SubjectFields { common_name: Some("x".into()), ..organization };
        assert_eq!(rules.refuses_subject(&DistinguishedName::build(&below).unwrap()), None);
        let foreign = DistinguishedName::build(&SubjectFields::common_name("x")).unwrap();
        assert!(rules.refuses_subject(&foreign).is_some());
    }

    #[test]
    fn crooked_constraints_are_refused() {
        for value in [&[0x30, 0x02, 0xa0, 0x00][..], &[0x31, 0], &tree(0x87, &[1, 2, 3])] {
            assert!(NameConstraints::parse(value).is_err());
        }
    }
}
