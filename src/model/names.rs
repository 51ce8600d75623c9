//! Rules over names: what a profile or a grant allows. DNS names are compared label by label; a wildcard is the
//! set of names that it stands for; an empty list allows nothing.

use serde::{Deserialize, Serialize};

use super::identifier::{DnsName, Identifier, shown};
use super::network::IpNetwork;
use crate::error::{Error, ErrorKind, Result};

/// One rule, written as people write it: `*` any DNS name or address, `example.org` the name and all below it,
/// `.example.org` only below, `=host.example.org` exactly, `10.0.0.0/8` addresses, `@example.org` mailboxes,
/// `@*` any mailbox, `spiffe://td/` that URI and those below it, `*:` any URI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NameRule {
    Any,
    Suffix(String),
    Below(String),
    Exact(String),
    Network(IpNetwork),
    Mailbox(String),
    AnyMailbox,
    Uri(String),
    AnyUri,
}

impl NameRule {
    /// A rule as somebody writes it now.
    pub fn parse(text: &str) -> Result<Self> {
        let rule = NameRule::read(text)?;
        if let Some(wrong) = rule.more_than_one_wildcard() {
            return Err(Error::malformed(format!(
                "\"{}\" has an asterisk that stands for nothing, because \"{wrong}\" is no domain; an asterisk may only be \
                 the first label: write *.example.org or .example.org for the names below example.org",
                shown(text)
            )));
        }
        Ok(rule)
    }

    /// A domain below which there can be no name, because it has a wildcard label itself.
    fn more_than_one_wildcard(&self) -> Option<&str> {
        match self {
            NameRule::Below(domain) | NameRule::Suffix(domain) | NameRule::Mailbox(domain) => {
                domain.contains('*').then_some(domain)
            }
            NameRule::Any
            | NameRule::Exact(_)
            | NameRule::Network(_)
            | NameRule::AnyMailbox
            | NameRule::Uri(_)
            | NameRule::AnyUri => None,
        }
    }

    /// A rule as it is stored: earlier versions took some that fit no name.
    fn read(text: &str) -> Result<Self> {
        let dns = |name: &str| DnsName::parse(name).map(|n| n.as_str().to_owned());
        if text == "*" {
            Ok(NameRule::Any)
        } else if text == "@*" {
            Ok(NameRule::AnyMailbox)
        } else if text == "*:" {
            Ok(NameRule::AnyUri)
        } else if text.contains("://") || text.starts_with("urn:") {
            Ok(NameRule::Uri(text.to_owned()))
        } else if let Some(domain) = text.strip_prefix('@') {
            dns(domain).map(NameRule::Mailbox)
        } else if let Some(name) = text.strip_prefix('=') {
            dns(name).map(NameRule::Exact)
        } else if let Some(suffix) = text.strip_prefix('.').or_else(|| text.strip_prefix("*.")) {
            dns(suffix).map(NameRule::Below)
        } else if let Ok(network) = text.parse::<IpNetwork>() {
            Ok(NameRule::Network(network))
        } else {
            dns(text).map(NameRule::Suffix)
        }
    }

    /// Does the rule allow every name that `name` stands for?
    pub fn covers(&self, name: &Identifier) -> bool {
        match (self, name) {
            (NameRule::Any, Identifier::Dns(_) | Identifier::Ip(_)) => true,
            (NameRule::Suffix(suffix), Identifier::Dns(dns)) => dns.is_within(suffix),
            (NameRule::Below(suffix), Identifier::Dns(dns)) => {
                dns.is_within(suffix) && (dns.is_wildcard() || dns.base() != suffix)
            }
            (NameRule::Exact(exact), Identifier::Dns(dns)) => dns.as_str() == exact,
            (NameRule::Network(network), Identifier::Ip(ip)) => network.contains(*ip),
            (NameRule::Mailbox(domain), Identifier::Email(address)) => {
                address.rsplit_once('@').is_some_and(|(_, host)| host == domain)
            }
            (NameRule::AnyMailbox, Identifier::Email(_)) | (NameRule::AnyUri, Identifier::Uri(_)) => true,
            (NameRule::Uri(prefix), Identifier::Uri(uri)) => is_below(uri, prefix),
            _ => false,
        }
    }

    /// Could the rule allow any name that `name` stands for? Deny rules ask this, so that a wildcard cannot cover
    /// a forbidden child.
    pub fn touches(&self, name: &Identifier) -> bool {
        if self.covers(name) {
            return true;
        }
        let Identifier::Dns(dns) = name else { return false };
        match self {
            NameRule::Suffix(s) | NameRule::Below(s) | NameRule::Exact(s) if dns.is_wildcard() => {
                let host = s.strip_prefix("*.").unwrap_or(s);
                host.split_once('.').is_some_and(|(_, parent)| parent == dns.base())
            }
            _ => false,
        }
    }

    /// Does the rule itself speak of reserved names, so that it mentions them explicitly?
    fn mentions_reserved(&self, own: &[String]) -> bool {
        match self {
            NameRule::Suffix(s) | NameRule::Below(s) | NameRule::Exact(s) => {
                Identifier::dns(s).is_ok_and(|name| is_reserved(&name, own)) || s == "svc" || s == "cluster.local"
            }
            NameRule::Network(network) => {
                let text = network.to_string();
                let own_address = || text.split_once('/').is_some_and(|(ip, _)| own.iter().any(|o| o == ip));
                text.starts_with("127.") || text.starts_with("::1/") || (network.is_one_address() && own_address())
            }
            NameRule::Any | NameRule::Mailbox(_) | NameRule::AnyMailbox | NameRule::Uri(_) | NameRule::AnyUri => {
                false
            }
        }
    }
}

/// Does one of a grant's rules mention this reserved name itself? A wide rule that happens to hold it does not.
pub fn mentioned(name: &Identifier, rules: &[NameRule], own_hosts: &[String]) -> bool {
    rules.iter().any(|rule| rule.covers(name) && rule.mentions_reserved(own_hosts))
}

/// The URI itself or one whose path lies below it: `spiffe://td` does not hold `spiffe://td.evil`, and no dot
/// segment climbs out again.
fn is_below(uri: &str, prefix: &str) -> bool {
    let Some(rest) = uri.strip_prefix(prefix) else { return false };
    let boundary = rest.is_empty() || rest.starts_with('/') || prefix.ends_with(['/', ':']);
    let decoded = rest.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    boundary && !decoded.split(['/', '?', '#']).any(|segment| segment == "." || segment == "..")
}

impl std::fmt::Display for NameRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NameRule::Any => f.write_str("*"),
            NameRule::AnyMailbox => f.write_str("@*"),
            NameRule::AnyUri => f.write_str("*:"),
            NameRule::Suffix(s) | NameRule::Uri(s) => f.write_str(s),
            NameRule::Below(s) => write!(f, ".{s}"),
            NameRule::Exact(s) => write!(f, "={s}"),
            NameRule::Network(n) => write!(f, "{n}"),
            NameRule::Mailbox(s) => write!(f, "@{s}"),
        }
    }
}

impl TryFrom<String> for NameRule {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        NameRule::read(&text)
    }
}

impl From<NameRule> for String {
    fn from(rule: NameRule) -> String {
        rule.to_string()
    }
}

/// Names that need explicit mention: loopback, the names inside a Kubernetes cluster, and the CA's own hosts. Of the
/// API server's these are reserved, in every cluster domain, and each wildcard that covers one of them:
///
///     kubernetes          and every other name of one label that begins so
///     kubernetes.default
///     kubernetes.default.svc   and whatever follows it: kubernetes.default.svc.prod.example
///
/// They are what pods and kubelets look for, relative to their search domains. `kubernetes.example.org` is a host
/// like any other.
pub fn is_reserved(name: &Identifier, own_hosts: &[String]) -> bool {
    match name {
        Identifier::Dns(dns) => {
            let base = dns.base();
            dns.is_within("localhost")
                || dns.is_within("svc")
                || dns.is_within("cluster.local")
                || names_the_api_server(base, dns.is_wildcard())
                || own_hosts.iter().any(|own| dns.as_str() == own || (dns.is_wildcard() && covers_child(base, own)))
        }
        Identifier::Ip(ip) => ip.is_loopback() || own_hosts.iter().any(|own| *own == ip.to_string()),
        Identifier::Email(_) | Identifier::Uri(_) => false,
    }
}

fn names_the_api_server(base: &str, wildcard: bool) -> bool {
    // a wildcard stands for the first label
    let rest = if wildcard { Some(base) } else { base.strip_prefix("kubernetes.") };
    let in_default = |rest: &str| rest == "default" || rest == "default.svc" || rest.starts_with("default.svc.");
    rest.is_some_and(in_default) || (!wildcard && !base.contains('.') && base.starts_with("kubernetes"))
}

fn covers_child(base: &str, host: &str) -> bool {
    host.split_once('.').is_some_and(|(_, parent)| parent == base)
}

/// Allow and deny lists. Deny beats allow; an empty allow list allows nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NameRules {
    pub allow: Vec<NameRule>,
    pub deny: Vec<NameRule>,
}

impl NameRules {
    /// Refuses a name that no rule allows, that one denies, or that is reserved and not mentioned. `rule` names
    /// the rule in the refusal, `who` whose list it is.
    /// `grant` holds the rules of the grant that it is asked under, which may mention a reserved name too.
    pub fn check(
        &self,
        name: &Identifier,
        own_hosts: &[String],
        grant: &[NameRule],
        rule: &str,
        who: &str,
    ) -> Result<()> {
        let refuse = |allowed: String, wrong: &str, fix: &str| {
            let value = format!("{} \"{}\"", name.kind(), shown(&name.value()));
            let wrong = format!("{value} {wrong}");
            Err(Error::refused(ErrorKind::RejectedIdentifier, rule, value, allowed, fix).explained(wrong))
        };
        if let Some(denied) = self.deny.iter().find(|r| r.touches(name)) {
            let wrong = format!("is among the names that {who} denies ({denied})");
            return refuse(format!("any name of {who} outside {denied}"), &wrong, "ask for another name");
        }
        let allowing: Vec<_> = self.allow.iter().filter(|r| r.covers(name)).collect();
        if allowing.is_empty() {
            let list: Vec<_> = self.allow.iter().take(10).map(ToString::to_string).collect();
            let list = if list.is_empty() { "nothing (the list is empty)".to_owned() } else { list.join(", ") };
            let wrong = format!("is not among the names that {who} allows: {list}");
            let fix = "ask for a name under these, or an operator for another rule";
            return refuse(format!("{list} by {who}"), &wrong, fix);
        }
        let by_profile = || allowing.iter().any(|r| r.mentions_reserved(own_hosts));
        if is_reserved(name, own_hosts) && !by_profile() && !mentioned(name, grant, own_hosts) {
            const RESERVED: &str = "loopback, *.svc, *.cluster.local, the API server's kubernetes and kubernetes.default.svc, the CA's own hosts";
            return refuse(
                format!("a name that is not reserved ({RESERVED}), or one that {who} or a grant mentions itself"),
                &format!("is reserved ({RESERVED}), and neither {who} nor a grant mentions it by itself"),
                "ask an operator to allow this name by itself",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str], deny: &[&str]) -> NameRules {
        let parse = |list: &[&str]| list.iter().map(|t| NameRule::parse(t).unwrap()).collect();
        NameRules { allow: parse(allow), deny: parse(deny) }
    }

    fn allowed(rules: &NameRules, name: &str) -> bool {
        rules
            .check(&Identifier::guess(name).unwrap(), &["ca.corp.test".to_owned()], &[], "names.allow", "the test")
            .is_ok()
    }

    #[test]
    fn a_rule_with_a_second_wildcard_is_refused_and_a_stored_one_still_read() {
        for text in ["*.*.x.example", ".*.x.example", "@*.x.example"] {
            let error = NameRule::parse(text).unwrap_err();
            assert!(error.detail.contains("first label"), "{text}: {}", error.detail);
            assert!(NameRule::try_from(text.to_owned()).is_ok(), "{text}");
        }
        for text in ["*", "@*", "*.x.example", "=*.x.example"] {
            assert!(NameRule::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn suffixes_are_compared_by_label() {
        let rules = rules(&["example.org"], &["=bad.example.org"]);
        for (name, expected) in [
            ("example.org", true),
            ("a.example.org", true),
            ("*.a.example.org", true),
            ("evilexample.org", false),
            ("example.org.evil.test", false),
            ("bad.example.org", false),
            ("*.example.org", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(allowed(&rules, name), expected, "{name}");
        }
    }

    #[test]
    fn an_empty_list_allows_nothing() {
        assert!(!allowed(&rules(&[], &[]), "a.example.org"));
    }

    #[test]
    fn reserved_names_need_explicit_mention() {
        let any = rules(&["*"], &[]);
        for name in [
            "localhost",
            "a.localhost",
            "x.svc",
            "db.default.svc.cluster.local",
            "kubernetes",
            "127.0.0.1",
            "::1",
            "ca.corp.test",
            "*.corp.test",
        ] {
            assert!(!allowed(&any, name), "{name}");
        }
        assert!(allowed(&any, "www.corp.test"));
        assert!(allowed(&rules(&["svc"], &[]), "db.default.svc"));
        assert!(allowed(&rules(&["=localhost", "127.0.0.0/8"], &[]), "localhost"));
        assert!(!allowed(&rules(&["corp.test"], &[]), "ca.corp.test"));
        assert!(allowed(&rules(&["=ca.corp.test"], &[]), "ca.corp.test"));
    }

    #[test]
    fn the_api_servers_names_are_reserved_exactly() {
        for (name, expected) in [
            ("kubernetes", true),
            ("kubernetes-admin", true),
            ("KUBERNETES", true),
            ("kubernetes.default", true),
            ("kubernetes.default.svc", true),
            ("kubernetes.default.svc.cluster.local", true),
            ("kubernetes.default.svc.prod.example", true),
            ("*.default", true),
            ("*.default.svc.prod.example", true),
            ("kubernetes.example.org", false),
            ("kubernetes-dashboard.example.org", false),
            ("kubernetes.default.example.org", false),
            ("kubernetes.defaults", false),
            ("kubernetes.default.svcs.example", false),
            ("a.kubernetes.example.org", false),
            ("a.kubernetes.default", false),
            ("*.kubernetes.example.org", false),
            ("*.example.org", false),
            ("kube", false),
            ("mykubernetes", false),
        ] {
            let parsed = Identifier::guess(name).unwrap();
            assert_eq!(is_reserved(&parsed, &[]), expected, "{name}");
        }
    }

    #[test]
    fn a_grant_mentions_reserved_names_by_rules_of_their_own() {
        let own = ["ca.corp.test".to_owned(), "10.0.0.5".to_owned()];
        for (rule, name, expected) in [
            ("*", "localhost", false),
            ("=localhost", "localhost", true),
            ("svc", "db.default.svc", true),
            ("corp.test", "ca.corp.test", false),
            ("=ca.corp.test", "ca.corp.test", true),
            ("10.0.0.0/8", "10.0.0.5", false),
            ("10.0.0.5", "10.0.0.5", true),
            ("127.0.0.0/8", "127.0.0.1", true),
            ("=localhost", "db.default.svc", false),
        ] {
            let rules = [NameRule::parse(rule).unwrap()];
            assert_eq!(mentioned(&Identifier::guess(name).unwrap(), &rules, &own), expected, "{rule} {name}");
        }
    }

    #[test]
    fn uris_are_compared_by_segment() {
        let rules = rules(&["spiffe://td/ns", "urn:uuid:"], &[]);
        for (name, expected) in [
            ("spiffe://td/ns", true),
            ("spiffe://td/ns/a/sa/b", true),
            ("spiffe://td/nsx", false),
            ("spiffe://td", false),
            ("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", true),
            ("urn:isbn:1", false),
        ] {
            assert_eq!(allowed(&rules, name), expected, "{name}");
        }
        let web = NameRules { allow: vec![NameRule::parse("https://x.test/a/").unwrap()], deny: Vec::new() };
        for name in ["https://x.test/a/../b", "https://x.test/a/%2E%2e/b", "https://x.test/a/b%2f..%2fc"] {
            assert!(!allowed(&web, name), "{name}");
        }
        for text in ["@*", "*:", "spiffe://td/"] {
            assert_eq!(NameRule::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn below_leaves_the_name_itself_out() {
        let below = rules(&[".example.org"], &[]);
        assert!(!allowed(&below, "example.org"));
        assert!(allowed(&below, "*.example.org"));
    }
}
