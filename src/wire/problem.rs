//! The shape of a problem document (RFC 9457), for clients and the OpenAPI document. Only `http/problem.rs`
//! makes one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request failed (RFC 9457, `application/problem+json`).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "type": "https://ca.example:8443/errors/refused", "title": "Refused by a rule", "status": 403,
    "detail": "the grant does not allow profile \"tls-client\"; it allows tls-server; ask an administrator for a wider grant",
    "code": "refused", "instance": "req_01KAQ5V2X8J4M6N7P9R1S3T5V7", "rule": "grant.profiles",
    "value": "\"tls-client\"", "allowed": "tls-server", "fix": "ask an administrator for a wider grant"
}))]
pub struct Problem {
    /// The page that explains the code.
    pub r#type: String,
    pub title: String,
    pub status: u16,
    /// What was refused, why, and what to do.
    pub detail: String,
    /// Stable, snake_case.
    pub code: String,
    /// The request id: it finds the line in the server's log.
    pub instance: String,
    /// The rule that refused, its value, what it allows and what to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// The parts of the request that are wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemPart>,
}

/// One part of a request that is wrong.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProblemPart {
    /// JSON pointer (RFC 6901) into the request body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    pub code: String,
    pub detail: String,
}
