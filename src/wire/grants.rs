//! Grants in JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::tokens::TokenScope;
use crate::clock::Timestamp;

/// A grant bounds tokens, EAB keys and whatever else acts under it. An empty list allows nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "team-a", "allow_names": ["a.lab.example", "10.1.0.0/16"], "profiles": ["tls-server"], "expires": "365d", "max_count": 100
}))]
pub struct GrantRequest {
    /// What it is for: 1 to 100 characters.
    pub name: String,
    /// `example.org` (it and all below), `.example.org` (below), `=a.example.org` (exactly), `=*.example.org`,
    /// `10.0.0.0/8`, `@example.org` (mailboxes), `spiffe://td/` (URIs that begin so), `*`; absent is none.
    /// Reserved names (localhost, `*.svc`, the CA's own hosts, …) need a rule of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_names: Option<Vec<String>>,
    /// Common names that are no name of the certificate, or `*`; absent is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subjects: Option<Vec<String>>,
    /// Slugs of profiles, or `*`; absent is `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profiles: Option<Vec<String>>,
    /// Slugs of issuers, or `*`; absent is `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuers: Option<Vec<String>>,
    /// How long certificates may be asked for, such as `365d`; absent is without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// How many certificates at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_count: Option<i64>,
}

/// A grant. It is never changed; to widen one, make another.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Grant {
    pub id: String,
    pub name: String,
    /// `active`, `used_up`, `expired`, `revoked` or, after a restore, `suspended`.
    pub status: String,
    pub scope: TokenScope,
    pub max_count: Option<i64>,
    /// Certificates that were asked for under it; counted when there is a maximum.
    pub used_count: i64,
    pub created_by: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
}

/// What ended with a grant.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GrantRevocation {
    pub grant: Grant,
    pub tokens: u64,
    pub eab_keys: u64,
    pub accounts: u64,
    pub orders: u64,
}
