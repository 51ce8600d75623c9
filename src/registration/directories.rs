//! ACME directories: what each offers and requires, as data. A change is seen by every replica within 5 s.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ORDER_LIFETIME, Registration};
use crate::authority::signers::Candidates;
use crate::authority::snapshot::{LoadedIssuer, Snapshot};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::id::DirectoryId;
use crate::model::identifier::{DnsName, Identifier, shown};
use crate::model::limits::Limits;
use crate::model::names::NameRule;
use crate::model::network::IpNetwork;
use crate::model::times::parse_duration;
use crate::store::profiles::{self, StoredDirectory};
use crate::store::versions::{self, Topic};
use crate::validation::{CaaMode, Method, Rules};

pub(super) const DNS_PERSIST: &str = Method::DnsPersist01.name();

/// Challenges that this server can offer.
pub const CHALLENGES: [&str; 5] = ["http-01", "dns-01", "tls-alpn-01", "dns-account-01", "dns-persist-01"];
/// Those that a directory offers when nobody says otherwise: the ones of RFCs.
const USUAL: [&str; 3] = ["http-01", "dns-01", "tls-alpn-01"];
/// Names by which zones may mean this CA.
const MAX_IDENTITIES: usize = 10;

/// What an ACME directory offers, as its row has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DirectoryConfig {
    /// Slugs of profiles; the first one is used when an order names none.
    pub profiles: Vec<String>,
    /// Slugs of the issuers that may sign here; `*` is any of the profile's domain.
    #[serde(skip_serializing_if = "is_any_issuer")]
    pub issuers: Vec<String>,
    /// Names that are certified here at all, and those of them that are not.
    #[serde(skip_serializing_if = "is_any_name")]
    pub allow_names: Vec<NameRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny_names: Vec<NameRule>,
    /// What control over a name can be proved by. Empty: nothing, so that only names within a grant are certified.
    #[serde(skip_serializing_if = "is_usual")]
    pub challenges: Vec<String>,
    /// New accounts need an external account key (RFC 8555 §7.3.4).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub external_account_required: bool,
    /// DNS servers that validations of this directory ask; those of the settings when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resolvers: Vec<SocketAddr>,
    /// Where its validations connect, in place of the settings' ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http01_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_alpn01_port: Option<u16>,
    /// Both narrow what the settings allow.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_networks: Vec<IpNetwork>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny_networks: Vec<IpNetwork>,
    /// What CAA records mean (RFC 8659).
    #[serde(skip_serializing_if = "is_off")]
    pub caa: CaaMode,
    /// The names of this CA in CAA records and in those of dns-persist-01.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub caa_identities: Vec<DnsName>,
    /// newAuthz is there (RFC 8555 §7.4.1).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pre_authorization: bool,
    /// One proof may cover the names below its own (RFC 9444).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub subdomains: bool,
    /// How long the proof of one order serves the account's next ones, such as `8h`; absent: each order proves anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reuse_authorizations: Option<String>,
    #[serde(skip_serializing_if = "are_usual")]
    pub limits: Limits,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms_of_service: Option<String>,
    /// Accounts that agreed to other terms, or to none, get no further order until they agree to these.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub require_current_terms: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub website: Option<String>,
}

impl Default for DirectoryConfig {
    fn default() -> Self {
        DirectoryConfig {
            profiles: vec!["tls-server".into()],
            issuers: vec![ANY.into()],
            allow_names: vec![NameRule::Any],
            deny_names: Vec::new(),
            challenges: USUAL.map(str::to_owned).to_vec(),
            external_account_required: false,
            resolvers: Vec::new(),
            http01_port: None,
            tls_alpn01_port: None,
            allow_networks: Vec::new(),
            deny_networks: Vec::new(),
            caa: CaaMode::Off,
            caa_identities: Vec::new(),
            pre_authorization: false,
            subdomains: false,
            reuse_authorizations: None,
            limits: Limits::default(),
            terms_of_service: None,
            require_current_terms: false,
            website: None,
        }
    }
}

/// Whatever fits, in a list of slugs.
pub const ANY: &str = "*";

fn is_usual(challenges: &[String]) -> bool {
    challenges == USUAL
}

fn is_off(mode: &CaaMode) -> bool {
    *mode == CaaMode::Off
}

fn are_usual(limits: &Limits) -> bool {
    *limits == Limits::default()
}

fn is_any_issuer(issuers: &[String]) -> bool {
    issuers == [ANY]
}

fn is_any_name(rules: &[NameRule]) -> bool {
    rules == [NameRule::Any]
}

/// A directory of this installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    pub slug: String,
    pub config: DirectoryConfig,
}

impl Directory {
    /// The profile of a new order: the one that it names (draft-ietf-acme-profiles §4), else the first; a directory
    /// without one issues nothing.
    pub fn profile(&self, asked: Option<&str>) -> Result<&str> {
        let offered = &self.config.profiles;
        let found = match asked {
            Some(name) => offered.iter().find(|slug| *slug == name),
            None => offered.first(),
        };
        found.map(String::as_str).ok_or_else(|| {
            let value = match asked {
                Some(name) => format!("profile \"{}\"", shown(name)),
                None => "an order".to_owned(),
            };
            let (allowed, fix) = match offered.as_slice() {
                [] => (
                    "nothing (its list of profiles is empty)".to_owned(),
                    "ask an operator to add a profile to the directory",
                ),
                some => (some.join(", "), "name one of meta.profiles, or none"),
            };
            let wrong = match offered.as_slice() {
                [] => format!("ACME directory {} offers no profile, so it issues nothing", self.slug),
                some => format!("ACME directory {} does not offer {value}, only {}", self.slug, some.join(", ")),
            };
            let value = format!("{value} in directory {}", self.slug);
            Error::refused(ErrorKind::InvalidProfile, "acme.profiles", value, allowed, fix).explained(wrong)
        })
    }

    /// The issuer that signs here for a profile's domain and these names.
    pub fn issuer<'s>(
        &self,
        snapshot: &'s Snapshot,
        domain: &str,
        names: &[Identifier],
        now: Timestamp,
    ) -> Result<&'s Arc<LoadedIssuer>> {
        snapshot.signer(domain, self.issuers(), names, now)
    }

    /// Whether an issuer here may sign these names together (RFC 8555 §7.4: what finalize would refuse is refused at once).
    pub fn check_issuers(
        &self,
        snapshot: &Snapshot,
        domain: &str,
        names: &[Identifier],
        now: Timestamp,
    ) -> Result<()> {
        self.issuer(snapshot, domain, names, now)?.path.check_names(names)
    }

    fn issuers(&self) -> Candidates<'_> {
        match self.config.issuers.iter().any(|slug| slug == ANY) {
            true => Candidates::Any,
            false => Candidates::Listed(&self.config.issuers),
        }
    }

    /// Names that are certified here at all, whoever asks.
    pub fn check_name(&self, name: &Identifier) -> Result<()> {
        let denied = self.config.deny_names.iter().find(|rule| rule.touches(name));
        if denied.is_none() && self.config.allow_names.iter().any(|rule| rule.covers(name)) {
            return Ok(());
        }
        let list = |rules: &[NameRule]| rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let allowed = match (self.config.allow_names.as_slice(), denied) {
            ([], _) => "no names at all".to_owned(),
            (_, Some(rule)) => format!("names that {rule} does not touch"),
            (some, None) => list(some),
        };
        let fix = "ask in the directory that certifies it, or an operator to change the rules of this one";
        let value = format!("{} \"{name}\" in directory {}", name.kind(), self.slug);
        let what = format!("{} \"{name}\"", name.kind());
        let wrong = match denied {
            Some(rule) => format!("ACME directory {} denies {what} by its rule {rule}", self.slug),
            None => format!("ACME directory {} does not certify {what}, only {allowed}", self.slug),
        };
        Err(Error::refused(ErrorKind::RejectedIdentifier, "directory.names", value, allowed, fix).explained(wrong))
    }

    /// How long a proof serves later orders.
    pub fn reuse(&self) -> Duration {
        self.config.reuse_authorizations.as_deref().and_then(|text| parse_duration(text).ok()).unwrap_or_default()
    }

    /// The challenges by which the names below this one can be proved together (RFC 9444): only control over its zone
    /// says anything about them.
    pub fn challenges_for_subdomains(&self, name: &Identifier) -> Vec<&str> {
        self.challenges_for(name).into_iter().filter(|kind| kind.starts_with("dns-")).collect()
    }

    /// What this directory changes in the settings of validation.
    pub fn validation_rules(&self) -> Rules {
        let config = &self.config;
        Rules {
            http01_port: config.http01_port,
            tls_alpn01_port: config.tls_alpn01_port,
            resolvers: config.resolvers.clone(),
            allow_networks: config.allow_networks.clone(),
            deny_networks: config.deny_networks.clone(),
            identities: self.identities(),
            caa: config.caa,
        }
    }

    /// The names by which zones mean this CA.
    pub fn identities(&self) -> Vec<String> {
        self.config.caa_identities.iter().map(ToString::to_string).collect()
    }

    /// The challenges by which control over this name can be proved here (RFC 8555 §8, RFC 8738 §7).
    pub fn challenges_for(&self, name: &Identifier) -> Vec<&str> {
        let fits = |kind: &str| Method::from_name(kind).is_some_and(|method| method.fits(name));
        self.config.challenges.iter().map(String::as_str).filter(|kind| fits(kind)).collect()
    }
}

impl Registration {
    pub fn directory(&self, slug: &str) -> Result<Directory> {
        self.shared_directory(slug).map(|directory| directory.as_ref().clone())
    }

    /// The same without a copy, for every request.
    pub fn shared_directory(&self, slug: &str) -> Result<Arc<Directory>> {
        let found = self.directories.load().iter().find(|d| d.slug == slug).cloned();
        found.ok_or_else(|| match self.refused_directories.load().get(slug) {
            Some(why) => Error::new(ErrorKind::Forbidden, why.clone()),
            None => Error::not_found("ACME directory"),
        })
    }

    /// The slugs of all directories.
    pub fn directories(&self) -> Vec<String> {
        self.directories.load().iter().map(|d| d.slug.clone()).collect()
    }

    pub fn all_directories(&self) -> Vec<Directory> {
        self.directories.load().iter().map(|directory| directory.as_ref().clone()).collect()
    }

    /// The slugs of the directories in which a profile has an issuer now and would have none without the issuers of
    /// `gone`.
    pub fn directories_without(&self, gone: &[String]) -> Vec<String> {
        let snapshot = self.authority.snapshot();
        let loses = |directory: &Directory, slug: &String| {
            let Some(loaded) = snapshot.profiles.get(slug) else { return false };
            let signs = |gone: &[String]| {
                self.authority.signs_without(gone, loaded.profile.domain(), directory.issuers(), &[])
            };
            signs(&[]) && !signs(gone)
        };
        let lost = |directory: &&Directory| directory.config.profiles.iter().any(|slug| loses(directory, slug));
        self.all_directories().iter().filter(lost).map(|directory| directory.slug.clone()).collect()
    }

    /// The profiles that a directory offers, each with what people are told of it (draft-ietf-acme-profiles §3).
    pub fn described(&self, directory: &Directory) -> Vec<(String, String)> {
        let snapshot = self.authority.snapshot();
        let there =
            directory.config.profiles.iter().filter_map(|slug| snapshot.profiles.get(slug).map(|p| (slug, p)));
        there.map(|(slug, p)| (slug.clone(), p.config.description.clone())).collect()
    }

    /// Reads the directories again when another process has changed them.
    pub async fn refresh(&self) -> Result<()> {
        let version = versions::read(&self.store).await?.directories;
        if version != self.version.load(std::sync::atomic::Ordering::Acquire) {
            self.reload().await?;
        }
        Ok(())
    }

    pub async fn reload(&self) -> Result<()> {
        let reading = self.readings.begin();
        // the version first: a change between the two reads is read again at the next turn
        let version = versions::read(&self.store).await?.directories;
        let (mut fresh, mut refused) = (Vec::new(), std::collections::BTreeMap::new());
        for StoredDirectory { slug, config, refused: why } in profiles::directories(&self.store).await? {
            if let Some(why) = why {
                refused.insert(slug, why);
                continue;
            }
            let config = serde_json::from_str(&config).map_err(|e| {
                Error::inconsistent(format!("the configuration of ACME directory {slug} cannot be read")).because(e)
            })?;
            fresh.push(Arc::new(Directory { slug, config }));
        }
        self.readings.end(reading, || {
            self.directories.store(std::sync::Arc::new(fresh));
            self.refused_directories.store(std::sync::Arc::new(refused));
            self.version.store(version, std::sync::atomic::Ordering::Release);
        });
        Ok(())
    }

    pub async fn create_directory(&self, actor: &Actor, slug: &str, config: DirectoryConfig) -> Result<Directory> {
        check_slug(slug)?;
        self.check(&config)?;
        let mut tx = self.store.begin(actor).await?;
        let id = DirectoryId::new(tx.now(), self.store.entropy.as_ref())?;
        match profiles::insert_directory(&mut tx, id, slug, &text(&config)?).await {
            Err(error) if error.kind == ErrorKind::Conflict => {
                let why = format!("there is an ACME directory {slug} already: change it, or take another name");
                return Err(Error::new(ErrorKind::Conflict, why));
            }
            other => other?,
        }
        versions::bump(&mut tx, Topic::Directories).await?;
        tx.audit(AuditEvent::done("directory.created", format!("directory:{slug}"), json!({"config": config})));
        tx.commit().await?;
        self.reload().await?;
        self.directory(slug)
    }

    /// Replaces what a directory offers and requires. Accounts and orders that are there go on; an order is finalized by
    /// the profiles, issuers and rules over names of that moment.
    pub async fn change_directory(&self, actor: &Actor, slug: &str, config: DirectoryConfig) -> Result<Directory> {
        let before = self.directory(slug)?;
        self.check(&config)?;
        let mut tx = self.store.begin(actor).await?;
        if !profiles::update_directory(&mut tx, slug, &text(&config)?).await? {
            return Err(Error::not_found("ACME directory"));
        }
        versions::bump(&mut tx, Topic::Directories).await?;
        let detail = json!({"before": before.config, "config": config});
        tx.audit(AuditEvent::done("directory.changed", format!("directory:{slug}"), detail));
        tx.commit().await?;
        self.reload().await?;
        self.directory(slug)
    }

    fn check(&self, config: &DirectoryConfig) -> Result<()> {
        let refuse = |rule: &str, value: &str, allowed: String| {
            let value = format!("\"{}\"", shown(value));
            let fix = format!("change {rule} of the directory");
            let wrong = format!("{value} cannot stand in {rule}; it must be {allowed}");
            let rule = format!("directory.{rule}");
            Err(Error::refused(ErrorKind::Unprocessable, rule, value, allowed, fix).explained(wrong))
        };
        let snapshot = self.authority.snapshot();
        if let Some(unknown) = config.profiles.iter().find(|slug| !snapshot.profiles.contains_key(*slug)) {
            let known: Vec<_> = snapshot.profiles.keys().map(String::as_str).collect();
            return refuse("profiles", unknown, format!("one of {}", known.join(", ")));
        }
        if let Some(unknown) = config.issuers.iter().find(|s| *s != ANY && !snapshot.issuers.contains_key(*s)) {
            let known: Vec<_> = snapshot.issuers.keys().map(String::as_str).collect();
            return refuse("issuers", unknown, format!("one of *, {}", known.join(", ")));
        }
        if config.http01_port == Some(0) || config.tls_alpn01_port == Some(0) {
            return refuse("ports", "0", "1 to 65535".into());
        }
        if let Some(text) = &config.reuse_authorizations
            && !parse_duration(text).is_ok_and(|time| time <= ORDER_LIFETIME)
        {
            return refuse("reuse_authorizations", text, "a time up to 7d, such as 8h".into());
        }
        let rules = config.allow_names.len() + config.deny_names.len();
        if rules > 1000 {
            return refuse("names", &format!("{rules} rules"), "at most 1000 rules".into());
        }
        let networks = config.allow_networks.len() + config.deny_networks.len();
        if networks > 1000 {
            return refuse("networks", &format!("{networks} networks"), "at most 1000 networks".into());
        }
        if let Some(unknown) = config.challenges.iter().find(|c| !CHALLENGES.contains(&c.as_str())) {
            return refuse("challenges", unknown, format!("one of {}", CHALLENGES.join(", ")));
        }
        if let Some(wild) = config.caa_identities.iter().find(|name| name.is_wildcard()) {
            return refuse("caa_identities", wild.as_str(), "a DNS name without a wildcard".into());
        }
        let identities = config.caa_identities.len();
        let named = config.caa != CaaMode::Off || config.challenges.iter().any(|c| c == DNS_PERSIST);
        if identities > MAX_IDENTITIES || (named && identities == 0) {
            let allowed = format!("1 to {MAX_IDENTITIES} names of this CA with caa log or enforce, or {DNS_PERSIST}");
            let value = format!("{identities} names");
            let wrong = format!(
                "caa log or enforce, and the challenge {DNS_PERSIST}, need 1 to {MAX_IDENTITIES} CAA identities, and there are {identities}"
            );
            let fix = "set --caa-identities ca.example";
            let rule = "directory.caa_identities";
            return Err(Error::refused(ErrorKind::Unprocessable, rule, value, allowed, fix).explained(wrong));
        }
        if let Some(wrong) = config.resolvers.iter().find(|r| r.port() == 0 || r.ip().is_unspecified()) {
            return refuse("resolvers", &wrong.to_string(), "an address with a port, such as 10.0.0.53:53".into());
        }
        if config.resolvers.len() > 8 {
            return refuse("resolvers", &format!("{} servers", config.resolvers.len()), "at most 8 servers".into());
        }
        if config.require_current_terms && config.terms_of_service.is_none() {
            return Err(Error::refused(
                ErrorKind::Unprocessable,
                "directory.require_current_terms",
                "true",
                "a directory with terms_of_service",
                "name the terms that accounts must agree to",
            )
            .explained("require_current_terms needs terms_of_service"));
        }
        for url in [&config.terms_of_service, &config.website].into_iter().flatten() {
            if !(url.starts_with("https://") || url.starts_with("http://")) || Identifier::uri(url).is_err() {
                return refuse("url", url, "an http or https URL".into());
            }
        }
        Ok(())
    }
}

/// Rules over names as people write them.
pub fn names(member: &str, texts: &[String]) -> Result<Vec<NameRule>> {
    let allowed =
        "a rule over names as in a grant, such as example.org, .example.org, =host.example.org or 10.0.0.0/8";
    parsed(member, texts, allowed, |text| NameRule::parse(text).ok())
}

pub fn networks(member: &str, texts: &[String]) -> Result<Vec<IpNetwork>> {
    parsed(member, texts, "a network such as 10.0.0.0/8", |text| IpNetwork::parse(text).ok())
}

pub fn hosts(member: &str, texts: &[String]) -> Result<Vec<DnsName>> {
    parsed(member, texts, "a DNS name such as ca.example.org", |text| DnsName::parse(text).ok())
}

pub fn caa_mode(text: &str) -> Result<CaaMode> {
    CaaMode::from_name(text).ok_or_else(|| {
        let value = format!("\"{}\"", shown(text));
        let allowed = CaaMode::ALL.map(CaaMode::name).join(", ");
        Error::refused(ErrorKind::Unprocessable, "directory.caa", &value, &allowed, "name one of these")
            .explained(format!("caa {value} does not exist; there are {allowed}"))
    })
}

pub fn servers(member: &str, texts: &[String]) -> Result<Vec<SocketAddr>> {
    let allowed = "an address with a port, such as 10.0.0.53:53 or [fd00::53]:53";
    parsed(member, texts, allowed, |text| text.parse().ok())
}

fn parsed<T>(member: &str, texts: &[String], allowed: &str, read: fn(&str) -> Option<T>) -> Result<Vec<T>> {
    let parse = |text: &String| {
        read(text).ok_or_else(|| {
            let value = format!("\"{}\"", shown(text));
            Error::refused(ErrorKind::Unprocessable, format!("directory.{member}"), &value, allowed, "correct it")
                .explained(format!("{value} in {member} cannot be read; it must be {allowed}"))
        })
    };
    texts.iter().map(parse).collect()
}

fn text(config: &DirectoryConfig) -> Result<String> {
    serde_json::to_string(config).map_err(|e| Error::internal("a directory does not serialise", e))
}

fn check_slug(slug: &str) -> Result<()> {
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if (1..=63).contains(&slug.len()) && slug.bytes().all(letters) && !slug.starts_with('-') && !slug.ends_with('-') {
        return Ok(());
    }
    Err(Error::refused(
        ErrorKind::Unprocessable,
        "directory.slug",
        format!("\"{}\"", shown(slug)),
        "1 to 63 lower-case letters, digits and hyphens inside",
        "it stands in URLs for ever: choose a short one",
    )
    .explained(format!(
        "a directory cannot be named \"{}\"; a name has 1 to 63 lower-case letters, digits and hyphens inside",
        shown(slug)
    )))
}
