//! Renewal windows (RFC 9773) in JSON: of one certificate, and the rules by which operators move them for many.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// When a certificate should be renewed, as its ACME clients are told too.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Renewals {
    /// Its id.
    pub certificate: String,
    pub serial: String,
    /// Its name in ACME (RFC 9773 §4.1): `replaces` of the order that renews it. Null for a certificate without an
    /// authority key identifier.
    pub renewal_id: Option<String>,
    /// Renew at a moment between `start` and `end`, chosen at random; at once when it is over.
    #[schema(value_type = String, format = DateTime)]
    pub start: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub end: Timestamp,
    /// Who says so: `life` (its dates), `rule` (an operator), `revocation`, `removal` (a CA above it was removed), or
    /// `key_identifier` (it names another one than its issuer's CRLs, so that verifiers which check them refuse it).
    pub source: String,
    /// The rule, when one says so.
    pub renewal_window: Option<String>,
    pub reason: Option<String>,
    pub explanation_url: Option<String>,
    /// Seconds after which to ask again.
    pub retry_after: u64,
    /// The newest certificate that was issued in its place, by an ACME order or with `replaces` over REST.
    pub replaced_by: Option<String>,
}

/// Moves the renewal windows of all certificates that are there now and fit. Everything given must hold, and something
/// must be given.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"issuer": "tls-1", "name": "*.lab.example", "end": "2026-12-01T00:00:00Z",
    "reason": "tls-1 is retired in December", "explanation_url": "https://wiki.lab.example/tls-1"}))]
pub struct RenewalWindowRequest {
    /// Ids of certificates, at most 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Vec<String>>,
    /// The slug of an issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The slug of a profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The id of an ACME account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Exactly this requester, as a certificate's record prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<String>,
    /// A name: exact, `*.example.org` (all below it) or `www*` (what begins so).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_before: Option<Timestamp>,
    /// Now by default, and never later: what replaces a certificate is not called back by the same rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub issued_before: Option<Timestamp>,
    /// A time, how long from now, or `now`. Without start and end: renew at once, in a window that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// A day after the start when only that is given. A certificate that ends before is told its own end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub end: Option<Timestamp>,
    /// Why: 1 to 200 characters.
    pub reason: String,
    /// A page for people, which ACME clients show (RFC 9773 §4.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation_url: Option<String>,
    /// How long the rule holds: a year by default, three at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// A rule that moves renewal windows.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RenewalWindow {
    pub id: String,
    /// `active`, `expired`, or `cancelled` in the answer that cancels it.
    pub status: String,
    pub certificates: Vec<String>,
    pub issuer: Option<String>,
    pub profile: Option<String>,
    pub account: Option<String>,
    pub requester: Option<String>,
    pub name: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_before: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    pub issued_before: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub start: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub end: Timestamp,
    pub reason: String,
    pub explanation_url: Option<String>,
    pub created_by: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}
