//! Profiles: checked issuance rules. `ProfileConfig` is what people write and the database holds; `Profile` is
//! made from it by checks only, and decides what a certificate will say. From a request only the key and checked
//! names are taken.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::days;
use crate::error::{Error, ErrorKind, Result};
use crate::model::identifier::{Identifier, shown};
use crate::model::key::KeyAlgorithm;
use crate::model::names::{NameRule, NameRules};
use crate::model::validity::parse_duration;

/// A profile as data. Unknown fields are errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileConfig {
    pub name: String,
    pub description: String,
    /// The trust domain whose issuers sign it.
    pub domain: String,
    pub subject: SubjectRule,
    pub names: NamesRule,
    pub keys: Vec<KeyAlgorithm>,
    pub lifetime: LifetimeRule,
    pub key_usage: Vec<KeyUsage>,
    /// RSA keys of TLS servers and peers get keyEncipherment as well.
    #[serde(default)]
    pub key_encipherment_for_rsa: bool,
    pub extended_key_usage: Vec<ExtendedKeyUsage>,
    /// RFC 3161 §2.3 wants it critical for timeStamping.
    #[serde(default)]
    pub critical_extended_key_usage: bool,
    /// noRevAvail (RFC 9608) and no CRL or OCSP pointer.
    #[serde(default)]
    pub no_revocation: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectRule {
    pub common_name: CommonNameRule,
    #[serde(default)]
    pub organization: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommonNameRule {
    None,
    /// The first DNS name of at most 64 octets, else empty.
    FirstDns,
    /// What was asked for, which may be nothing.
    AsAsked,
    /// What was asked for must begin so, with something behind it.
    Prefixed(String),
    Fixed(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamesRule {
    /// `dns`, `ip`, `email`, `uri`.
    pub kinds: Vec<String>,
    pub min: usize,
    pub max: usize,
    #[serde(default)]
    pub wildcards: bool,
    #[serde(default)]
    pub allow: Vec<NameRule>,
    #[serde(default)]
    pub deny: Vec<NameRule>,
}

/// Durations as people write them (`90d`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LifetimeRule {
    pub default: String,
    pub max: String,
    /// The default with an IP address by ACME.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme_ip: Option<String>,
    /// How far a default notBefore lies in the past.
    pub backdate: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeyUsage {
    DigitalSignature,
    NonRepudiation,
    KeyEncipherment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ExtendedKeyUsage {
    ServerAuth,
    ClientAuth,
    CodeSigning,
    EmailProtection,
    TimeStamping,
    #[serde(rename = "OCSPSigning")]
    OcspSigning,
}

/// Checked rules.
#[derive(Debug, Clone)]
pub struct Profile {
    config: ProfileConfig,
    default: Duration,
    max: Duration,
    acme_ip: Option<Duration>,
    backdate: Duration,
    rules: NameRules,
}

impl Profile {
    /// Refuses rules that contradict each other or a standard.
    pub fn new(config: ProfileConfig) -> Result<Self> {
        let name = shown(&config.name);
        let refuse = |rule: &str, value: String, allowed: &str| {
            let rule = format!("profile.{rule}");
            Error::refused(ErrorKind::Unprocessable, rule, value, allowed, format!("change profile \"{name}\""))
        };
        let (default, max) = (parse_duration(&config.lifetime.default)?, parse_duration(&config.lifetime.max)?);
        let acme_ip = config.lifetime.acme_ip.as_deref().map(parse_duration).transpose()?;
        let backdate = match config.lifetime.backdate.as_str() {
            "0s" => Duration::ZERO,
            text => parse_duration(text)?,
        };
        let slug_ok = |s: &str| {
            !s.is_empty()
                && s.len() <= 63
                && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !slug_ok(&config.name) || !slug_ok(&config.domain) {
            return Err(refuse("name", name.clone(), "lower-case letters, digits and hyphens, at most 63"));
        }
        if default > max || acme_ip.is_some_and(|d| d > max) {
            return Err(refuse("lifetime", config.lifetime.default.clone(), "a default of at most the maximum"));
        }
        // leaves of three years are the longest that a shipped profile has (code signing, time stamping)
        if max > days(3 * 366) || backdate > days(1) || backdate >= default {
            return Err(refuse(
                "lifetime",
                config.lifetime.max.clone(),
                "a maximum of 3 y, a backdate of at most 1 d and below the default",
            ));
        }
        if config.extended_key_usage.is_empty() {
            return Err(refuse("extended_key_usage", "none".into(), "at least one (an empty list would mean any)"));
        }
        let time_stamping = config.extended_key_usage.contains(&ExtendedKeyUsage::TimeStamping);
        if time_stamping && (config.extended_key_usage.len() > 1 || !config.critical_extended_key_usage) {
            return Err(refuse(
                "extended_key_usage",
                "timeStamping".into(),
                "timeStamping alone and critical (RFC 3161 §2.3)",
            ));
        }
        if config.extended_key_usage.contains(&ExtendedKeyUsage::OcspSigning) {
            return Err(refuse(
                "extended_key_usage",
                "OCSPSigning".into(),
                "usages of leaves; responders are the CA's own",
            ));
        }
        if config.keys.is_empty() {
            return Err(refuse("keys", "none".into(), "at least one kind of key"));
        }
        let tls_server = config.extended_key_usage.contains(&ExtendedKeyUsage::ServerAuth);
        if tls_server && config.names.min == 0 {
            return Err(refuse(
                "names.min",
                "0".into(),
                "at least 1 for serverAuth (RFC 9525: names stand in the SAN)",
            ));
        }
        if config.names.min > config.names.max || config.names.max > 100 {
            return Err(refuse("names.max", config.names.max.to_string(), "at least names.min and at most 100"));
        }
        if let Some(kind) = config.names.kinds.iter().find(|k| !["dns", "ip", "email", "uri"].contains(&k.as_str())) {
            return Err(refuse("names.kinds", shown(kind), "dns, ip, email, uri"));
        }
        let rules = NameRules { allow: config.names.allow.clone(), deny: config.names.deny.clone() };
        Ok(Profile { default, max, acme_ip, backdate, rules, config })
    }

    pub fn name(&self) -> &str {
        &self.config.name
    }

    pub fn domain(&self) -> &str {
        &self.config.domain
    }

    pub fn max_lifetime(&self) -> Duration {
        self.max
    }

    pub fn backdate(&self) -> Duration {
        self.backdate
    }

    pub fn usages(&self) -> &[ExtendedKeyUsage] {
        &self.config.extended_key_usage
    }

    pub fn critical_usages(&self) -> bool {
        self.config.critical_extended_key_usage
    }

    pub fn no_revocation(&self) -> bool {
        self.config.no_revocation
    }

    pub fn organizations(&self) -> &[String] {
        &self.config.subject.organization
    }

    /// The lifetime when none was asked for.
    pub fn default_lifetime(&self, names: &[Identifier], via_acme: bool) -> Duration {
        let has_ip = names.iter().any(|n| matches!(n, Identifier::Ip(_)));
        self.acme_ip.filter(|_| via_acme && has_ip).unwrap_or(self.default)
    }

    /// keyUsage bits for this key, bit 0 first.
    pub fn key_usage(&self, key: KeyAlgorithm) -> u16 {
        let mut bits = 0;
        for usage in &self.config.key_usage {
            bits |= match usage {
                KeyUsage::DigitalSignature => 0x8000,
                KeyUsage::NonRepudiation => 0x4000,
                KeyUsage::KeyEncipherment => 0x2000,
            };
        }
        if self.config.key_encipherment_for_rsa && key.is_rsa() {
            bits |= 0x2000;
        }
        bits
    }

    pub fn check_key(&self, key: KeyAlgorithm) -> Result<()> {
        if self.config.keys.contains(&key) {
            return Ok(());
        }
        let allowed: Vec<_> = self.config.keys.iter().map(|k| k.name()).collect();
        Err(Error::refused(
            ErrorKind::BadKey,
            "profile.keys",
            format!("a {key} key"),
            format!("{} by profile {}", allowed.join(", "), self.config.name),
            "make a key of one of these kinds",
        ))
    }

    /// Checks names on their own: newOrder asks before there is a CSR. `own_hosts` are the CA's.
    pub fn check_names(&self, names: &[Identifier], own_hosts: &[String]) -> Result<()> {
        let rule = &self.config.names;
        let who = format!("profile {}", self.config.name);
        if names.len() < rule.min || names.len() > rule.max {
            return Err(Error::refused(
                ErrorKind::Refused,
                "names.count",
                format!("{} names", names.len()),
                format!("{} to {} by {who}", rule.min, rule.max),
                "ask for fewer names or split them over several certificates",
            ));
        }
        names.iter().try_for_each(|name| self.check_name(name, own_hosts))
    }

    pub fn check_name(&self, name: &Identifier, own_hosts: &[String]) -> Result<()> {
        let rule = &self.config.names;
        let who = format!("profile {}", self.config.name);
        if !rule.kinds.iter().any(|k| k == name.kind()) {
            return Err(Error::refused(
                ErrorKind::RejectedIdentifier,
                "names.kinds",
                format!("{} \"{}\"", name.kind(), shown(&name.value())),
                format!("{} by {who}", if rule.kinds.is_empty() { "none".to_owned() } else { rule.kinds.join(", ") }),
                "leave it out or ask for another profile",
            ));
        }
        if !rule.wildcards && matches!(name, Identifier::Dns(dns) if dns.is_wildcard()) {
            return Err(Error::refused(
                ErrorKind::RejectedIdentifier,
                "names.wildcards",
                format!("\"{name}\""),
                format!("names without a wildcard by {who}"),
                "ask for the names one by one",
            ));
        }
        self.rules.check(name, own_hosts, "names.allow", &who)
    }

    /// The common name is a fixed or prefixed one of the profile (system:node:NAME), not one of the names.
    pub fn has_fixed_name(&self) -> bool {
        matches!(
            self.config.subject.common_name,
            CommonNameRule::Fixed(_) | CommonNameRule::Prefixed(_) | CommonNameRule::AsAsked
        )
    }

    /// The common name that the certificate will have.
    pub fn common_name(&self, asked: Option<&str>, names: &[Identifier]) -> Result<Option<String>> {
        let refuse = |value: &str, allowed: String| {
            Err(Error::refused(
                ErrorKind::Refused,
                "subject.common_name",
                format!("\"{}\"", shown(value)),
                format!("{allowed} by profile {}", self.config.name),
                "ask for it so, or leave it out",
            ))
        };
        let first_dns = || {
            names.iter().find_map(|n| match n {
                Identifier::Dns(dns) if dns.as_str().len() <= 64 => Some(dns.as_str().to_owned()),
                _ => None,
            })
        };
        match (&self.config.subject.common_name, asked) {
            (CommonNameRule::None, _) => Ok(None),
            (CommonNameRule::Fixed(fixed), None) => Ok(Some(fixed.clone())),
            (CommonNameRule::Fixed(fixed), Some(asked)) if asked == fixed => Ok(Some(fixed.clone())),
            (CommonNameRule::Fixed(fixed), Some(asked)) => refuse(asked, format!("\"{fixed}\"")),
            (CommonNameRule::FirstDns, _) => Ok(first_dns()),
            (CommonNameRule::AsAsked, asked) => Ok(asked.map(str::to_owned)),
            (CommonNameRule::Prefixed(prefix), Some(asked))
                if asked.len() > prefix.len() && asked.starts_with(prefix.as_str()) =>
            {
                Ok(Some(asked.to_owned()))
            }
            (CommonNameRule::Prefixed(prefix), asked) => refuse(asked.unwrap_or(""), format!("{prefix}NAME")),
        }
    }
}

/// The profiles that ship and can be used as soon as their trust domain is there.
pub fn shipped() -> Vec<ProfileConfig> {
    use KeyAlgorithm::{Ed25519, P256, P384, P521, Rsa};
    vec![ProfileConfig {
        name: "tls-server".into(),
        description: "TLS servers: any name that is not reserved".into(),
        domain: "tls".into(),
        subject: SubjectRule { common_name: CommonNameRule::FirstDns, organization: Vec::new() },
        names: NamesRule {
            kinds: vec!["dns".into(), "ip".into()],
            min: 1,
            max: 100,
            wildcards: true,
            allow: vec![NameRule::Any],
            deny: Vec::new(),
        },
        keys: vec![P256, P384, P521, Ed25519, Rsa(2048), Rsa(3072), Rsa(4096)],
        lifetime: LifetimeRule {
            default: "90d".into(),
            max: "397d".into(),
            acme_ip: Some("7d".into()),
            backdate: "60s".into(),
        },
        key_usage: vec![KeyUsage::DigitalSignature],
        key_encipherment_for_rsa: true,
        extended_key_usage: vec![ExtendedKeyUsage::ServerAuth],
        critical_extended_key_usage: false,
        no_revocation: false,
    }]
}
