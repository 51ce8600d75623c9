//! Profiles in JSON, as they are written and exported.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// The rules of a profile. What they may say together is checked: a profile that contradicts itself is refused.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "lab-server", "description": "Servers of the lab", "domain": "tls",
    "subject": {"common_name": "first-dns"},
    "names": {"kinds": ["dns"], "min": 1, "max": 20, "allow": ["lab.example"]},
    "keys": ["P-256", "P-384"], "lifetime": {"default": "30d", "max": "90d", "backdate": "60s"},
    "key_usage": ["digitalSignature"], "extended_key_usage": ["serverAuth"]
}))]
pub struct ProfileRules {
    /// Lower-case letters, digits and hyphens; it stays.
    pub name: String,
    pub description: String,
    /// The trust domain whose issuers sign it.
    pub domain: String,
    pub subject: SubjectRules,
    pub names: NameRules,
    /// `P-256`, `P-384`, `P-521`, `Ed25519`, `RSA-2048` …
    pub keys: Vec<String>,
    pub lifetime: LifetimeRules,
    /// `digitalSignature`, `nonRepudiation`, `keyEncipherment`.
    pub key_usage: Vec<String>,
    /// RSA keys of TLS servers get keyEncipherment as well.
    #[serde(default)]
    pub key_encipherment_for_rsa: bool,
    /// `serverAuth`, `clientAuth`, `codeSigning`, `emailProtection`, `timeStamping`.
    pub extended_key_usage: Vec<String>,
    #[serde(default)]
    pub critical_extended_key_usage: bool,
    /// Certificate policies as dotted numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// noRevAvail (RFC 9608) in place of CRL and OCSP pointers.
    #[serde(default)]
    pub no_revocation: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubjectRules {
    /// `none`, `first-dns`, `as-asked`, `member`, `{"prefixed": TEXT}` or `{"fixed": TEXT}`.
    #[schema(value_type = Value)]
    pub common_name: Value,
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
    /// `country`, `state`, `locality`, `organization`, `organizational_unit`: what whoever asks must give.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NameRules {
    /// `dns`, `ip`, `email`, `uri`.
    pub kinds: Vec<String>,
    /// Kinds of which there must be one at least.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
    #[schema(maximum = 100)]
    pub min: u32,
    #[schema(maximum = 100)]
    pub max: u32,
    #[serde(default)]
    pub wildcards: bool,
    /// As in a grant; empty allows nothing. Reserved names need a rule of their own.
    #[serde(default)]
    pub allow: Vec<String>,
    #[serde(default)]
    pub deny: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LifetimeRules {
    pub default: String,
    pub max: String,
    /// Default and maximum with an IP address by ACME.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme_ip: Option<String>,
    /// How far a default notBefore lies in the past.
    pub backdate: String,
    /// How long an ACME order under it may be open: a week when absent, at most `30d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme_order: Option<String>,
    /// How far after now an explicit not_before may lie: a week when absent, at most a year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_start_delay: Option<String>,
}

/// A merge patch of the rules (RFC 7396): members that are absent stay, null ends what may be absent.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(value_type = Object, example = json!({"lifetime": {"max": "30d", "default": "30d"}}))]
pub struct ProfilePatch(pub Value);

/// One revision of a profile.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProfileRevision {
    pub revision: i64,
    pub actor: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The rules as they were.
    #[schema(value_type = Object)]
    pub rules: Value,
}
