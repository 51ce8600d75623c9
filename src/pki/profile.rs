//! Profiles: issuance rules that passed every check. `Profile` is made from `ProfileConfig` only, and decides what
//! a certificate will say. From a request only the key and checked names are taken.

use std::time::Duration;

use ::der::oid::ObjectIdentifier;

use super::name::{DistinguishedName, SubjectFields};
use super::oids;
pub use super::profile_config::*;
use super::profile_rules;
pub use super::profile_shipped::shipped;
use crate::clock::days;
use crate::error::{Error, ErrorKind, Result};
use crate::model::identifier::{DnsName, Identifier, shown};
use crate::model::key::KeyAlgorithm;
use crate::model::names::{NameRule, NameRules};
use crate::model::times::parse_duration;

/// How far after now an explicit notBefore may lie by a profile that says nothing else: certificates are made ahead
/// of a planned change, not ahead of their reason.
pub const MAX_START_DELAY: Duration = days(7);

/// Checked rules.
#[derive(Debug, Clone)]
pub struct Profile {
    config: ProfileConfig,
    default: Duration,
    max: Duration,
    acme_ip: Option<Duration>,
    backdate: Duration,
    acme_order: Option<Duration>,
    max_start_delay: Duration,
    rules: NameRules,
    policies: Vec<ObjectIdentifier>,
}

impl Profile {
    /// Refuses rules that contradict each other or a standard.
    pub fn new(config: ProfileConfig) -> Result<Self> {
        let (default, max) = (parse_duration(&config.lifetime.default)?, parse_duration(&config.lifetime.max)?);
        let acme_ip = config.lifetime.acme_ip.as_deref().map(parse_duration).transpose()?;
        let acme_order = config.lifetime.acme_order.as_deref().map(parse_duration).transpose()?;
        let backdate = match config.lifetime.backdate.as_str() {
            "0s" => Duration::ZERO,
            text => parse_duration(text)?,
        };
        let rules = NameRules { allow: config.names.allow.clone(), deny: config.names.deny.clone() };
        let policies = profile_rules::policies(&config)?;
        let max_start_delay = match config.lifetime.max_start_delay.as_deref() {
            None => MAX_START_DELAY,
            Some("0s") => Duration::ZERO,
            Some(text) => parse_duration(text)?,
        };
        let profile =
            Profile { default, max, acme_ip, backdate, acme_order, max_start_delay, rules, policies, config };
        profile_rules::check(&profile)?;
        Ok(profile)
    }

    pub fn config(&self) -> &ProfileConfig {
        &self.config
    }

    pub fn name(&self) -> &str {
        &self.config.name
    }

    pub fn domain(&self) -> &str {
        &self.config.domain
    }

    /// The longest lifetime; with an address by ACME the shorter one, because addresses change hands.
    pub fn max_lifetime(&self, names: &[Identifier], via_acme: bool) -> Duration {
        self.address_lifetime(names, via_acme).unwrap_or(self.max)
    }

    pub fn backdate(&self) -> Duration {
        self.backdate
    }

    /// How far after now an explicit notBefore may lie.
    pub fn max_start_delay(&self) -> Duration {
        self.max_start_delay
    }

    /// How long an ACME order may be open, if the profile says so.
    pub fn order_lifetime(&self) -> Option<Duration> {
        self.acme_order
    }

    pub fn usages(&self) -> &[ExtendedKeyUsage] {
        &self.config.extended_key_usage
    }

    pub fn critical_usages(&self) -> bool {
        self.config.critical_extended_key_usage
    }

    /// The certificate policies that every certificate asserts.
    pub fn policies(&self) -> &[ObjectIdentifier] {
        &self.policies
    }

    pub fn no_revocation(&self) -> bool {
        self.config.no_revocation
    }

    /// The subject that the certificate will have; `asked` is what was asked of it, without a common name.
    pub fn subject(
        &self,
        common_name: Option<&str>,
        asked: &SubjectFields,
        names: &[Identifier],
    ) -> Result<SubjectFields> {
        let rule = &self.config.subject;
        let mut fields = self.fixed_subject();
        fields.common_name = self.common_name(common_name, names)?;
        for field in &rule.asked {
            match field {
                AskedField::Country => fields.country = Some(self.given("country", &asked.country)?),
                AskedField::State => fields.state = Some(self.given("state", &asked.state)?),
                AskedField::Locality => fields.locality = Some(self.given("locality", &asked.locality)?),
                AskedField::Organization => {
                    fields.organization = vec![self.given("organization", &asked.organization)?];
                }
                AskedField::OrganizationalUnit => {
                    fields.organizational_unit = vec![self.given("organizational_unit", &asked.organizational_unit)?];
                }
            }
        }
        Ok(fields)
    }

    /// What the profile itself says of the subject.
    pub(super) fn fixed_subject(&self) -> SubjectFields {
        let rule = &self.config.subject;
        SubjectFields {
            country: rule.country.clone(),
            state: rule.state.clone(),
            locality: rule.locality.clone(),
            organization: rule.organization.clone(),
            organizational_unit: rule.organizational_unit.clone(),
            ..SubjectFields::default()
        }
    }

    /// One attribute as asked. Kubernetes takes `system:` for itself: only a profile says such things.
    fn given<'a>(&self, attribute: &str, asked: impl IntoIterator<Item = &'a String>) -> Result<String> {
        let mut asked = asked.into_iter();
        match (asked.next(), asked.next()) {
            (Some(text), None) if !text.starts_with("system:") => Ok(text.clone()),
            (found, _) => Err(Error::refused(
                ErrorKind::Refused,
                format!("subject.{attribute}"),
                found.map_or_else(|| "nothing".to_owned(), |text| format!("\"{}\"", shown(text))),
                format!("one value, not of system:*, by profile {}", self.config.name),
                format!("ask for one {attribute}"),
            )
            .explained(match found {
                Some(text) => format!(
                    "profile {} takes one {attribute} that does not begin with system:, and \"{}\" was asked for",
                    self.config.name,
                    shown(text)
                ),
                None => format!("profile {} takes one {attribute}, and none was asked for", self.config.name),
            })),
        }
    }

    /// Refuses a CSR that asks for a group of Kubernetes that this profile does not give: whoever asks for one and gets a
    /// certificate without it would learn that from a cluster's refusals at best.
    pub fn check_groups(&self, asked: &DistinguishedName) -> Result<()> {
        // an organization that cannot be read is no group, and is never copied
        let asked = asked.texts(&oids::ORGANIZATION).unwrap_or_default();
        let given = &self.config.subject.organization;
        let Some(group) = asked.iter().find(|group| group.starts_with("system:") && !given.contains(group)) else {
            return Ok(());
        };
        let allowed = match given.is_empty() {
            true => format!("no organization of system:* by profile {}", self.config.name),
            false => format!("{} by profile {}", shown(&given.join(", ")), self.config.name),
        };
        let (group, name) = (shown(group), &self.config.name);
        let fix = "make the CSR without that organization, or ask for a profile that gives it";
        Err(Error::refused(ErrorKind::Refused, "subject.organization", format!("\"{group}\""), allowed, fix).explained(
            format!("the CSR asks for O={group}, a group that Kubernetes keeps for itself, and profile {name} does not give it"),
        ))
    }

    /// The lifetime when none was asked for.
    pub fn default_lifetime(&self, names: &[Identifier], via_acme: bool) -> Duration {
        self.address_lifetime(names, via_acme).unwrap_or(self.default)
    }

    pub(super) fn acme_address_lifetime(&self) -> Option<Duration> {
        self.acme_ip
    }

    fn address_lifetime(&self, names: &[Identifier], via_acme: bool) -> Option<Duration> {
        let has_ip = names.iter().any(|n| matches!(n, Identifier::Ip(_)));
        self.acme_ip.filter(|_| via_acme && has_ip)
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
        )
        .explained(format!("profile {} takes no {key} keys, only {}", self.config.name, allowed.join(", "))))
    }

    /// Checks names on their own: newOrder asks before there is a CSR. `own_hosts` are the CA's, `grant` the rules
    /// of the grant that they are asked under: either may mention reserved names.
    pub fn check_names(&self, names: &[Identifier], own_hosts: &[String], grant: &[NameRule]) -> Result<()> {
        self.check_shape(names)?;
        names.iter().try_for_each(|name| self.check_name(name, own_hosts, grant))
    }

    /// How many names of which kinds, without saying which ones.
    pub fn check_shape(&self, names: &[Identifier]) -> Result<()> {
        let rule = &self.config.names;
        let who = format!("profile {}", self.config.name);
        if rule.max == 0
            && let Some(first) = names.first()
        {
            let first = shown(&first.value()).to_string();
            return Err(Error::refused(
                ErrorKind::Refused,
                "names.count",
                format!("{} names", names.len()),
                format!("no names by {who}"),
                "leave the names out; a common name says who the certificate is for",
            )
            .explained(format!(
                "{who} takes no names in the certificate's list of names, and \"{}\" was asked for",
                first
            )));
        }
        if names.len() < rule.min || names.len() > rule.max {
            return Err(Error::refused(
                ErrorKind::Refused,
                "names.count",
                format!("{} names", names.len()),
                format!("{} to {} by {who}", rule.min, rule.max),
                if names.len() < rule.min {
                    "name what the certificate is for: `chancery issue NAME`, REST: \"names\""
                } else {
                    "ask for fewer names or split them over several certificates"
                },
            )
            .explained(format!(
                "{} names were asked for; {who} takes {} to {}",
                names.len(),
                rule.min,
                rule.max
            )));
        }
        if let Some(missing) = rule.required.iter().find(|kind| !names.iter().any(|name| name.kind() == *kind)) {
            return Err(Error::refused(
                ErrorKind::Refused,
                "names.required",
                format!("no name of kind {missing}"),
                format!("at least one {} by {who}", rule.required.join(" and one ")),
                "ask for one more name",
            )
            .explained(format!("{who} needs a name of kind {missing} in each certificate, and none was asked for")));
        }
        names.iter().try_for_each(|name| self.check_kind(name))
    }

    /// May this name be certified, whatever the others are?
    pub fn check_name(&self, name: &Identifier, own_hosts: &[String], grant: &[NameRule]) -> Result<()> {
        self.check_kind(name)?;
        self.rules.check(name, own_hosts, grant, "names.allow", &format!("profile {}", self.config.name))
    }

    fn check_kind(&self, name: &Identifier) -> Result<()> {
        let rule = &self.config.names;
        let who = format!("profile {}", self.config.name);
        if !rule.kinds.iter().any(|k| k == name.kind()) {
            return Err(Error::refused(
                ErrorKind::RejectedIdentifier,
                "names.kinds",
                format!("{} \"{}\"", name.kind(), shown(&name.value())),
                format!("{} by {who}", if rule.kinds.is_empty() { "none".to_owned() } else { rule.kinds.join(", ") }),
                "leave it out or ask for another profile",
            )
            .explained(match rule.kinds.join(", ") {
                kinds if kinds.is_empty() => {
                    format!("{who} takes no names, and {} \"{}\" was asked for", name.kind(), shown(&name.value()))
                }
                kinds => format!(
                    "{who} takes names of kind {kinds}, and {} \"{}\" was asked for",
                    name.kind(),
                    shown(&name.value())
                ),
            }));
        }
        if !rule.wildcards && matches!(name, Identifier::Dns(dns) if dns.is_wildcard()) {
            return Err(Error::refused(
                ErrorKind::RejectedIdentifier,
                "names.wildcards",
                format!("\"{name}\""),
                format!("names without a wildcard by {who}"),
                "ask for the names one by one",
            )
            .explained(format!("{who} takes no wildcards, and \"{name}\" was asked for")));
        }
        Ok(())
    }

    /// Is a CSR's CN one more name to certify? Not where the CN says who somebody is (`system:node:a`, `alice`).
    pub fn common_name_is_a_name(&self) -> bool {
        matches!(self.config.subject.common_name, CommonNameRule::FirstDns | CommonNameRule::None)
    }

    /// The common name that the certificate will have.
    pub fn common_name(&self, asked: Option<&str>, names: &[Identifier]) -> Result<Option<String>> {
        let refuse = |value: &str, allowed: String| {
            let (value, name) = (format!("\"{}\"", shown(value)), &self.config.name);
            let wrong = format!("profile {name} does not take the common name {value}; it must be {allowed}");
            let (allowed, fix) = (format!("{allowed} by profile {name}"), "ask for it so, or leave it out");
            Err(Error::refused(ErrorKind::Refused, "subject.common_name", value, allowed, fix).explained(wrong))
        };
        let missing = |allowed: String| {
            let name = &self.config.name;
            let wrong = format!("profile {name} needs a common name, and none was asked for; it must be {allowed}");
            let fix = "give one: `chancery issue --common-name NAME`, REST: \"common_name\"";
            let allowed = format!("{allowed} by profile {name}");
            Err(Error::refused(ErrorKind::Refused, "subject.common_name", "no common name", allowed, fix)
                .explained(wrong))
        };
        let refuse = |value: Option<&str>, allowed: String| match value {
            Some(value) => refuse(value, allowed),
            None => missing(allowed),
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
            (CommonNameRule::Fixed(fixed), Some(asked)) => refuse(Some(asked), format!("\"{fixed}\"")),
            (CommonNameRule::FirstDns, _) => Ok(first_dns()),
            (CommonNameRule::AsAsked | CommonNameRule::Member, Some(asked)) if asked.starts_with("system:") => {
                refuse(Some(asked), "a name outside system:*, which Kubernetes keeps for itself".into())
            }
            (CommonNameRule::AsAsked, asked) => Ok(asked.map(str::to_owned)),
            (CommonNameRule::Member, Some(asked)) if DnsName::parse(asked).is_ok_and(|n| !n.is_wildcard()) => {
                Ok(Some(asked.to_ascii_lowercase()))
            }
            (CommonNameRule::Member, asked) => refuse(asked, "the member's name as a DNS label or name".into()),
            (CommonNameRule::Prefixed(prefix), Some(asked))
                if asked.len() > prefix.len() && asked.starts_with(prefix.as_str()) =>
            {
                Ok(Some(asked.to_owned()))
            }
            (CommonNameRule::Prefixed(prefix), asked) => refuse(asked, format!("{prefix}NAME")),
        }
    }
}
