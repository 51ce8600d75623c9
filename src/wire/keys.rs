//! Blocked keys in JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// A key to be blocked: by its fingerprint, or as something that holds its public key.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"fingerprint": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "comment": "found in a public repository"}))]
pub struct BlockKeyRequest {
    /// SHA-256 of the SubjectPublicKeyInfo in hex, any usual spelling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// A public key, a CSR or a certificate in PEM. Instead of `fingerprint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// `keyCompromise` (default) or `cACompromise`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, in words: one line of at most 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A key that is refused in requests and as an account key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BlockedKey {
    /// SHA-256 of the SubjectPublicKeyInfo in lower-case hex.
    pub fingerprint: String,
    #[schema(example = "keyCompromise")]
    pub reason: String,
    pub comment: String,
    #[schema(value_type = String, format = DateTime)]
    pub blocked_at: Timestamp,
    pub blocked_by: String,
    /// How many certificates here have the key; they are revoked.
    pub certificates: i64,
}
