//! `ProfileConfig`: a profile as people write it and the database holds it. Unknown fields are errors; what the
//! fields may say together is checked by `Profile::new`.

use serde::{Deserialize, Serialize};

use crate::model::key::KeyAlgorithm;
use crate::model::names::NameRule;

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
    /// Certificate policies as dotted numbers (RFC 5280 §4.2.1.4); a CA above may require one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub organizational_unit: Vec<String>,
    /// Attributes that whoever asks must give; none of them may be fixed above too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<AskedField>,
}

/// An attribute of the subject that is taken as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskedField {
    Country,
    State,
    Locality,
    Organization,
    OrganizationalUnit,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommonNameRule {
    None,
    /// The first DNS name of at most 64 octets, else empty.
    FirstDns,
    /// What was asked for, which may be nothing.
    AsAsked,
    /// What was asked for, which must be there and be a DNS name or label: a member of a cluster.
    Member,
    /// What was asked for must begin so, with something behind it.
    Prefixed(String),
    Fixed(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamesRule {
    /// `dns`, `ip`, `email`, `uri`.
    pub kinds: Vec<String>,
    /// Kinds of which there must be one at least.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
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
    /// Default and maximum with an IP address by ACME.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme_ip: Option<String>,
    /// How far a default notBefore lies in the past.
    pub backdate: String,
    /// How long an ACME order under it may be open; a week when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme_order: Option<String>,
    /// How far after now an explicit notBefore may lie; a week when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_start_delay: Option<String>,
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
