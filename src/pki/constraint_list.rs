//! Name constraints as people ask for them (RFC 5280 §4.2.1.10), written as the extension of an issuer. As soon as
//! one name is permitted, every form without a permitted name is closed: DNS and addresses by excluding all of them,
//! mailboxes and URIs by permitting and excluding `.invalid` (RFC 6761), because OpenSSL excludes nothing for an
//! empty mailbox or URI.

use std::net::IpAddr;

use super::{der, general_name};
use crate::error::{Error, ErrorKind, Result};
use crate::model::identifier::{DnsName, Identifier, shown};
use crate::model::network::IpNetwork;

/// Permitted and excluded subtrees; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConstraintList {
    permitted: Vec<Tree>,
    excluded: Vec<Tree>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Tree {
    form: Form,
    base: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Dns,
    Ip,
    Email,
    Uri,
}

impl Form {
    const ALL: [Form; 4] = [Form::Dns, Form::Ip, Form::Email, Form::Uri];

    const fn tag(self) -> u8 {
        match self {
            Form::Dns => general_name::DNS,
            Form::Ip => general_name::IP,
            Form::Email => general_name::EMAIL,
            Form::Uri => general_name::URI,
        }
    }
}

impl ConstraintList {
    /// `example.org` (the name and all below), `10.0.0.0/8`, `@example.org` (mailboxes of that host),
    /// `@.example.org` (of hosts below), `a@example.org`, `https://host` or `spiffe://host` (URIs of that host),
    /// `uri:.example.org` (of hosts below). None when nothing is asked for.
    pub fn parse(permit: &[String], exclude: &[String]) -> Result<Option<Self>> {
        let trees = |texts: &[String]| texts.iter().map(|text| Tree::parse(text)).collect::<Result<Vec<_>>>();
        let mut list = ConstraintList { permitted: trees(permit)?, excluded: trees(exclude)? };
        if let Some(both) = list.permitted.iter().position(|tree| list.excluded.contains(tree)) {
            let name = permit.get(both).map_or("", String::as_str);
            return Err(refuse(name, "permitted and excluded at once", "a name on one side only"));
        }
        if !list.permitted.is_empty() {
            list.close();
        }
        Ok((!list.permitted.is_empty() || !list.excluded.is_empty()).then_some(list))
    }

    /// The value of the extension.
    pub fn der(&self) -> Vec<u8> {
        let side = |number, trees: &[Tree]| match trees {
            [] => Vec::new(),
            trees => {
                let trees: Vec<_> = trees.iter().map(Tree::der).collect();
                let trees: Vec<_> = trees.iter().map(Vec::as_slice).collect();
                der::constructed(der::context_constructed(number), &trees)
            }
        };
        der::sequence(&[&side(0, &self.permitted), &side(1, &self.excluded)])
    }

    fn close(&mut self) {
        let open = Form::ALL.into_iter().filter(|form| !self.permitted.iter().any(|tree| tree.form == *form));
        for form in open.collect::<Vec<_>>() {
            let bases: &[&[u8]] = match form {
                Form::Dns => &[b""],
                Form::Ip => &[&[0; 8], &[0; 32]],
                Form::Email | Form::Uri => &[b".invalid"],
            };
            let trees = || bases.iter().map(|base| Tree { form, base: base.to_vec() });
            if matches!(form, Form::Email | Form::Uri) {
                self.permitted.extend(trees());
            }
            self.excluded.retain(|tree| tree.form != form);
            self.excluded.extend(trees());
        }
    }
}

impl Tree {
    fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if let Some(host) = text.strip_prefix("uri:") {
            return Ok(Tree { form: Form::Uri, base: host_or_below(text, host)? });
        }
        if let Some((_, host)) = text.split_once("://") {
            return Ok(Tree { form: Form::Uri, base: host_or_below(text, host)? });
        }
        if let Some((local, host)) = text.rsplit_once('@') {
            let host = host_or_below(text, host)?;
            let base = match local {
                "" => host,
                _ => match Identifier::email(text) {
                    Ok(mailbox) => mailbox.value().into_bytes(),
                    Err(_) => return Err(refuse(text, "no mailbox", ALLOWED)),
                },
            };
            return Ok(Tree { form: Form::Email, base });
        }
        if let Ok(network) = text.parse::<IpNetwork>() {
            return Ok(Tree { form: Form::Ip, base: octets(&network) });
        }
        match DnsName::parse(text) {
            Ok(name) if !name.is_wildcard() => Ok(Tree { form: Form::Dns, base: name.as_str().into() }),
            _ => Err(refuse(text, "no name, network, mailbox or URI host", ALLOWED)),
        }
    }

    fn der(&self) -> Vec<u8> {
        der::sequence(&[&der::tlv(self.form.tag(), &self.base)])
    }
}

const ALLOWED: &str = "example.org (it and all below), 10.0.0.0/8, @example.org, @.example.org, a@example.org, spiffe://example.org, uri:.example.org";

/// A constraint on a URI or a mailbox is one on its host: a path or a port cannot be said.
fn host_or_below(text: &str, host: &str) -> Result<Vec<u8>> {
    let (dot, name) = match host.strip_prefix('.') {
        Some(below) => (".", below),
        None => ("", host),
    };
    match DnsName::parse(name) {
        Ok(name) if !name.is_wildcard() => Ok(format!("{dot}{}", name.as_str()).into_bytes()),
        _ => Err(refuse(text, "more or less than a host", ALLOWED)),
    }
}

fn octets(network: &IpNetwork) -> Vec<u8> {
    fn mask(length: usize, bits: u8) -> Vec<u8> {
        let byte = |i: usize| {
            let left = usize::from(bits).saturating_sub(i * 8).min(8);
            u8::try_from(0xff00_u16 >> left & 0xff).unwrap_or(0xff)
        };
        (0..length).map(byte).collect()
    }
    match network.address() {
        IpAddr::V4(v4) => [v4.octets().to_vec(), mask(4, network.prefix())].concat(),
        IpAddr::V6(v6) => [v6.octets().to_vec(), mask(16, network.prefix())].concat(),
    }
}

fn refuse(text: &str, why: &str, allowed: &str) -> Error {
    let value = format!("\"{}\", which is {why}", shown(text));
    Error::refused(
        ErrorKind::Unprocessable,
        "issuer.name_constraints",
        value,
        allowed,
        "write it in one of these forms",
    )
    .explained(format!("name constraint \"{}\" is {why}; it must be {allowed}", shown(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::name_constraints::NameConstraints;

    fn list(permit: &[&str], exclude: &[&str]) -> Result<Option<ConstraintList>> {
        let texts = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        ConstraintList::parse(&texts(permit), &texts(exclude))
    }

    fn allowed(list: &ConstraintList, name: &str) -> bool {
        NameConstraints::parse(&list.der()).unwrap().refuses(&Identifier::guess(name).unwrap()).is_none()
    }

    #[test]
    fn each_form_that_is_not_permitted_is_closed() {
        for (permit, open) in [
            ("example.org", "a.example.org"),
            ("10.0.0.0/8", "10.1.2.3"),
            ("fd00::/8", "fd00::1"),
            ("@example.org", "a@example.org"),
            ("spiffe://example.org", "spiffe://example.org/x"),
        ] {
            let rules = list(&[permit], &[]).unwrap().unwrap();
            for name in [
                "a.example.org",
                "b.test",
                "10.1.2.3",
                "fd00::1",
                "a@example.org",
                "a@x.invalid",
                "spiffe://example.org/x",
                "https://x.invalid/y",
            ] {
                assert_eq!(allowed(&rules, name), name == open, "{permit} and {name}");
            }
        }
    }

    #[test]
    fn excluding_alone_closes_nothing_else() {
        let rules = list(&[], &["example.org", "uri:.bad.test"]).unwrap().unwrap();
        assert!(!allowed(&rules, "a.example.org") && !allowed(&rules, "https://a.bad.test/"));
        assert!(allowed(&rules, "example.test") && allowed(&rules, "10.0.0.1") && allowed(&rules, "a@b.test"));
        assert_eq!(list(&[], &[]).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_said_is_refused_with_the_forms_that_can() {
        for text in [
            "",
            "*.example.org",
            ".example.org",
            "a b",
            "https://example.org/path",
            "https://h:1",
            "@",
            "a@.b.org",
            "a@b@example.org",
            "@a@example.org",
            "a..b@example.org",
            "a,b@example.org",
            "10.0.0.0/33",
            "spiffe://",
        ] {
            let error = list(&[text], &[]).unwrap_err();
            assert_eq!(error.rule.unwrap().name, "issuer.name_constraints", "{text}");
        }
        assert!(list(&["example.org"], &["example.org"]).is_err());
    }
}
