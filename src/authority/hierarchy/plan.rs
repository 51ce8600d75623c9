//! What a trust domain or an issuer is to be, before any key is made: defaults of each domain (design/profiles.md)
//! and the rules for what may be asked.

use std::time::Duration;

use crate::clock::days;
use crate::error::{Error, ErrorKind, Result};
use crate::model::identifier::shown;
use crate::model::key::KeyAlgorithm;
use crate::model::status_lifetimes::LifetimesChange;
use crate::pki::constraint_list::ConstraintList;
use crate::pki::profile::{ExtendedKeyUsage, ProfileConfig, shipped};

use ExtendedKeyUsage::{ClientAuth, CodeSigning, EmailProtection, OcspSigning, ServerAuth, TimeStamping};

/// What is asked of a new domain, or of a new issuer in one. What is absent is the domain's default.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub domain: String,
    /// The key of the issuer; a new root's is as strong or stronger.
    pub key: Option<KeyAlgorithm>,
    pub usages: Vec<String>,
    pub permit: Vec<String>,
    pub exclude: Vec<String>,
    /// Without the name constraints that the other issuers of its domain have.
    pub unconstrained: bool,
    /// How long the issuer lives.
    pub years: Option<u32>,
    /// Base of its CRL, OCSP and issuer pointers; that of the newest issuer when absent.
    pub status_url: Option<String>,
    /// How long CRLs and OCSP answers of the new issuer are valid.
    pub lifetimes: LifetimesChange,
}

/// The same, checked and complete.
#[derive(Debug)]
pub struct Plan {
    pub domain: String,
    pub root_key: KeyAlgorithm,
    pub key: KeyAlgorithm,
    pub usages: Vec<ExtendedKeyUsage>,
    /// The value of the extension.
    pub constraints: Option<Vec<u8>>,
    pub root_life: Duration,
    pub life: Duration,
    /// The years were asked for: then the issuer above must live as long.
    pub exact: bool,
    pub status_url: Option<String>,
    pub lifetimes: LifetimesChange,
}

const YEARS: std::ops::RangeInclusive<u32> = 1..=25;

impl Plan {
    pub fn of(wanted: &Wanted) -> Result<Plan> {
        check_slug(&wanted.domain)?;
        let key = wanted.key.unwrap_or_else(|| default_key(&wanted.domain));
        let constraints = ConstraintList::parse(&wanted.permit, &wanted.exclude)?;
        let years = wanted.years.map_or_else(|| Ok(default_years(&wanted.domain)), check_years)?;
        Ok(Plan {
            domain: wanted.domain.clone(),
            root_key: root_key(key),
            key,
            usages: usages(wanted)?,
            constraints: constraints.map(|list| list.der()),
            root_life: life(years.max(10)),
            life: life(years),
            exact: wanted.years.is_some(),
            status_url: wanted.status_url.as_deref().map(check_status_url).transpose()?,
            lifetimes: wanted.lifetimes,
        })
    }

    /// Leaves of the domain's usages those that the CA above has too, unless it has none of them (then it says so).
    pub fn nest_usages(&mut self, above: &[der::oid::ObjectIdentifier]) {
        let has = |usage: &ExtendedKeyUsage| above.is_empty() || above.contains(&usage.oid());
        if self.usages.iter().any(|usage| *usage != OcspSigning && has(usage)) {
            self.usages.retain(has);
        }
    }

    /// The profiles that come with the domain: those that ship for it, else one for servers and one for clients.
    pub fn profiles(&self) -> Vec<ProfileConfig> {
        let all = shipped();
        let own: Vec<_> = all.iter().filter(|c| c.domain == self.domain).cloned().collect();
        if !own.is_empty() {
            return own;
        }
        let pattern = |name: &str, kind: &str, usage| {
            let config = all.iter().find(|c| c.name == name).filter(|_| self.usages.contains(&usage))?;
            let description = format!("{}, in trust domain {}", config.description, self.domain);
            let name = format!("{}-{kind}", self.domain);
            Some(ProfileConfig { name, domain: self.domain.clone(), description, ..config.clone() })
        };
        pattern("tls-server", "server", ServerAuth)
            .into_iter()
            .chain(pattern("tls-client", "client", ClientAuth))
            .collect()
    }
}

/// What people call a domain.
pub fn title(domain: &str) -> &str {
    match domain {
        "tls" => "TLS servers",
        "mtls" => "TLS clients and peers",
        "kubernetes" => "Kubernetes",
        "front-proxy" => "Kubernetes front proxy",
        "code-signing" => "Code signing",
        "timestamping" => "Time stamping",
        "smime" => "S/MIME",
        "dev" => "Development",
        other => other,
    }
}

/// The first of `{domain}-1`, `{domain}-2`, … that no issuer ever had; a root is `{domain}-root`.
pub fn free_slug(domain: &str, root: bool, taken: &[&str]) -> String {
    let taken = |slug: &String| taken.contains(&slug.as_str());
    let first = if root { format!("{domain}-root") } else { format!("{domain}-1") };
    let later = (2..).map(|n| if root { format!("{domain}-root-{n}") } else { format!("{domain}-{n}") });
    std::iter::once(first).chain(later).find(|slug| !taken(slug)).unwrap_or_default()
}

pub fn life(years: u32) -> Duration {
    let years = u64::from(years);
    days(years * 365 + years / 4)
}

fn default_key(domain: &str) -> KeyAlgorithm {
    // mail programs and gpgsm know RSA alone
    if domain == "smime" { KeyAlgorithm::Rsa(3072) } else { KeyAlgorithm::P256 }
}

fn root_key(issuer: KeyAlgorithm) -> KeyAlgorithm {
    match issuer {
        KeyAlgorithm::P256 | KeyAlgorithm::P384 => KeyAlgorithm::P384,
        KeyAlgorithm::P521 => KeyAlgorithm::P521,
        KeyAlgorithm::Ed25519 => KeyAlgorithm::Ed25519,
        KeyAlgorithm::Rsa(bits) => KeyAlgorithm::Rsa(bits.max(3072)),
    }
}

/// An issuer outlives what it signs: signatures of code and time last three years, mail two.
fn default_years(domain: &str) -> u32 {
    match domain {
        "code-signing" | "timestamping" | "smime" => 6,
        _ => 3,
    }
}

fn check_years(years: u32) -> Result<u32> {
    if YEARS.contains(&years) {
        return Ok(years);
    }
    Err(Error::refused(
        ErrorKind::Unprocessable,
        "issuer.years",
        format!("{years} years"),
        format!("{} to {} years", YEARS.start(), YEARS.end()),
        "ask for a life in between",
    )
    .explained(format!(
        "a CA cannot be made for {years} years; it lasts {} to {} years",
        YEARS.start(),
        YEARS.end()
    )))
}

/// Those asked for, or the domain's. Never OCSPSigning, by which the CA above would let the issuer's key answer for the
/// issuer's own certificate (RFC 6960 §4.2.2.2).
fn usages(wanted: &Wanted) -> Result<Vec<ExtendedKeyUsage>> {
    let mut usages = Vec::new();
    for text in &wanted.usages {
        let usage = parse_usage(text)?;
        if usage == OcspSigning {
            return Err(refuse_usage(
                "OCSPSigning, by which the issuer's key could answer OCSP about the issuer itself",
            ));
        }
        if !usages.contains(&usage) {
            usages.push(usage);
        }
    }
    if usages.is_empty() {
        usages.extend_from_slice(match wanted.domain.as_str() {
            "tls" => &[ServerAuth],
            "front-proxy" => &[ClientAuth],
            "code-signing" => &[CodeSigning],
            "timestamping" => &[TimeStamping],
            "smime" => &[EmailProtection],
            _ => &[ServerAuth, ClientAuth],
        });
    }
    Ok(usages)
}

fn parse_usage(text: &str) -> Result<ExtendedKeyUsage> {
    let found = ExtendedKeyUsage::ALL.into_iter().find(|usage| usage.name().eq_ignore_ascii_case(text));
    found.ok_or_else(|| refuse_usage(&format!("\"{}\"", shown(text))))
}

fn refuse_usage(value: &str) -> Error {
    let all: Vec<_> =
        ExtendedKeyUsage::ALL.into_iter().filter(|u| *u != OcspSigning).map(ExtendedKeyUsage::name).collect();
    Error::refused(ErrorKind::Unprocessable, "issuer.extended_key_usage", value, all.join(", "), "name some of these")
        .explained(format!("extended key usage {value} cannot be given to a CA; there are {}", all.join(", ")))
}

pub fn check_slug(domain: &str) -> Result<()> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let fits = domain.len() <= 30
        && domain.bytes().all(inner)
        && domain.starts_with(|c: char| c.is_ascii_lowercase())
        && !domain.ends_with('-')
        && !domain.contains("--");
    if fits {
        return Ok(());
    }
    Err(Error::refused(
        ErrorKind::Unprocessable,
        "domain.name",
        format!("\"{}\"", shown(domain)),
        "at most 30 lower-case letters, digits and single hyphens, a letter first, such as etcd or code-signing",
        "choose another name",
    ).explained(format!("a trust domain cannot be named \"{}\"; a name has at most 30 lower-case letters, digits and single hyphens, a letter first, such as etcd or code-signing", shown(domain))))
}

/// `/crl/domain/…` holds the lists of whole domains, so that no issuer can be called so.
pub fn check_issuer_slug(slug: &str) -> Result<()> {
    check_slug(slug)?;
    if slug != "domain" {
        return Ok(());
    }
    Err(Error::refused(
        ErrorKind::Unprocessable,
        "issuer.slug",
        "\"domain\"",
        "a name other than domain: /crl/domain/ holds the lists of whole trust domains",
        "choose another one with --name, or leave it out",
    )
    .explained("an issuer cannot be named \"domain\": /crl/domain/ holds the CRLs of whole trust domains"))
}

/// The pointers of certificates are plain HTTP: fetching a CRL over TLS would ask for another CRL (RFC 5280 §8).
fn check_status_url(text: &str) -> Result<String> {
    let fits = url::Url::parse(text)
        .is_ok_and(|u| u.scheme() == "http" && u.has_host() && u.query().is_none() && u.fragment().is_none());
    if fits {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Err(Error::refused(
        ErrorKind::Unprocessable,
        "issuer.status_url",
        format!("\"{}\"", shown(text)),
        "an http:// URL that every client can reach",
        "leave it out to use that of the other issuers",
    )
    .explained(format!(
        "status URL \"{}\" cannot be used; it must be an http:// URL that every client can reach",
        shown(text)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::profile::Profile;

    fn plan(domain: &str) -> Plan {
        Plan::of(&Wanted { domain: domain.into(), ..Wanted::default() }).unwrap()
    }

    #[test]
    fn each_domain_has_the_usages_of_its_profiles() {
        for domain in
            ["tls", "mtls", "kubernetes", "etcd", "front-proxy", "code-signing", "timestamping", "smime", "dev", "x"]
        {
            let plan = plan(domain);
            let profiles = plan.profiles();
            assert!(!profiles.is_empty(), "{domain}");
            for config in profiles {
                assert_eq!(config.domain, domain);
                assert!(config.extended_key_usage.iter().all(|u| plan.usages.contains(u)), "{}", config.name);
                let profile = Profile::new(config).unwrap();
                assert!(
                    profile.max_lifetime(&[], false) * 2 <= plan.life,
                    "{domain}: issuers outlive what they sign"
                );
            }
            assert!(!plan.usages.contains(&OcspSigning));
        }
        assert!(plan("smime").root_key.is_rsa() && plan("smime").key.is_rsa());
    }

    #[test]
    fn what_contradicts_a_rule_is_refused_by_its_name() {
        let wanted = |edit: fn(&mut Wanted)| {
            let mut wanted = Wanted { domain: "etcd".into(), ..Wanted::default() };
            edit(&mut wanted);
            Plan::of(&wanted).err().and_then(|e| e.rule).map(|r| r.name)
        };
        type Edit = fn(&mut Wanted);
        let cases: [(Edit, &str); 10] = [
            (|w| w.domain = "Etcd".into(), "domain.name"),
            (|w| w.domain = "-etcd".into(), "domain.name"),
            (|w| w.domain = "x".repeat(31), "domain.name"),
            (|w| w.domain.clear(), "domain.name"),
            (|w| w.years = Some(0), "issuer.years"),
            (|w| w.years = Some(26), "issuer.years"),
            (|w| w.usages = vec!["anyExtendedKeyUsage".into()], "issuer.extended_key_usage"),
            (|w| w.usages = vec!["OCSPSigning".into()], "issuer.extended_key_usage"),
            (|w| w.permit = vec!["*.x".into()], "issuer.name_constraints"),
            (|w| w.status_url = Some("https://ca".into()), "issuer.status_url"),
        ];
        for (i, (edit, rule)) in cases.into_iter().enumerate() {
            assert_eq!(wanted(edit).as_deref(), Some(rule), "case {i}");
        }
    }
}
