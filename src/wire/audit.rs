//! Audit events in JSON.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// One event in its hash chain.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditEvent {
    pub id: String,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Such as `certificate.issued`.
    pub action: String,
    /// `done`, `refused` or `failed`.
    pub outcome: String,
    /// Such as `token:tok_…/name`.
    pub actor: String,
    /// Such as `certificate:crt_…`, or empty.
    pub object: String,
    pub request_id: String,
    #[schema(value_type = Object)]
    pub detail: Value,
    /// The chain that it belongs to: the replica, the lane within it, and the place in that.
    pub writer: String,
    pub lane: i64,
    pub seq: i64,
    /// SHA-256 in hex over the event and the one before it.
    pub hash: String,
    /// What is wrong with the event's row in the database; its other members are then what can be read of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}
