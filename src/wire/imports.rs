//! Certificates that a CA issued before it came here, in JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// Certificates to take, at most 500.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"certificates": [{"certificate": "-----BEGIN CERTIFICATE-----\n…",
    "revocation": {"revoked_at": "2026-01-02T03:04:05Z", "reason": "superseded"}}], "dry_run": true}))]
pub struct ImportRequest {
    pub certificates: Vec<PresentedCertificate>,
    /// Check everything, change nothing, and answer what would become of each.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// One certificate, and how it was revoked where it comes from.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PresentedCertificate {
    /// PEM, one certificate.
    pub certificate: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<PresentedRevocation>,
}

/// When and why it was revoked.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PresentedRevocation {
    #[schema(value_type = String, format = DateTime)]
    pub revoked_at: Timestamp,
    /// A reason of RFC 5280 §5.3.1; `unspecified` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the key is known or suspected to have been compromised (RFC 5280 §5.3.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub invalidity_date: Option<Timestamp>,
}

/// What became of each certificate, in the order of the request.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ImportResult {
    pub dry_run: bool,
    pub items: Vec<ImportedItem>,
}

/// What became of one certificate.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ImportedItem {
    /// `imported`, `imported_revoked`, `known`, `revoked` (it was here, and its revocation was not) or `refused`.
    #[schema(example = "imported")]
    pub outcome: String,
    /// The rule that refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
