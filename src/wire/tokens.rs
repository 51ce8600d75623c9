//! API tokens in JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// A list that is absent is left to the role (nothing for a requester's names); one that is empty allows nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "ci", "role": "requester", "expires": "90d", "allow_names": ["lab.example", "10.0.0.0/8"], "profiles": ["tls-server"]
}))]
pub struct TokenRequest {
    /// What uses it: 1 to 100 characters.
    pub name: String,
    /// `viewer`, `auditor`, `requester` (default), `operator` or `admin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// How long it works, such as `30d`: 90 days by default, 365 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// `example.org` (it and all below), `.example.org` (below), `=a.example.org` (exactly), `10.0.0.0/8`,
    /// `@example.org` (mailboxes), `spiffe://td/` (URIs that begin so), `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_names: Option<Vec<String>>,
    /// Common names that are no name of the certificate, other attributes as `O=Lab Ltd`, or `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subjects: Option<Vec<String>>,
    /// Slugs of profiles, or `*`; absent is `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profiles: Option<Vec<String>>,
    /// Slugs of issuers, or `*`; absent is `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuers: Option<Vec<String>>,
    /// How many certificates it may get at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_count: Option<i64>,
    /// An existing grant in place of the lists and the count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
}

/// An API token without its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Token {
    pub id: String,
    pub name: String,
    pub role: String,
    /// `active`, `expired`, `revoked` or, after a restore, `suspended`.
    pub status: String,
    /// The grant that bounds it; null: none.
    pub grant: Option<String>,
    /// What it may ask for; null: without bounds.
    pub scope: Option<TokenScope>,
    pub created_by: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Timestamp>,
    /// The secret: this once, in the answer to its creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// The allow-lists of a grant.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenScope {
    pub names: Vec<String>,
    pub subjects: Vec<String>,
    pub profiles: Vec<String>,
    pub issuers: Vec<String>,
}
