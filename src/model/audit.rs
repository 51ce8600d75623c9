//! Audit events and their hash chain. One chain a writer (replica and lane), so that commits are not serialised.

use aws_lc_rs::digest::{Context, SHA256};
use serde_json::Value;

use super::id::{EventId, ReplicaId};
use crate::clock::Timestamp;

/// What happened, before it has a place in a chain.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEvent {
    /// `certificate.intended`, `certificate.issued`, `certificate.rejected`, `certificate.revoked`, `token.created` …
    pub action: &'static str,
    pub outcome: Outcome,
    /// `certificate:crt_…`, `token:tok_…`, or empty.
    pub object: String,
    /// Facts for the reader, without secrets.
    pub detail: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Refused,
    Failed,
}

impl Outcome {
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
        }
    }
}

impl AuditEvent {
    pub fn done(action: &'static str, object: impl std::fmt::Display, detail: Value) -> Self {
        AuditEvent { action, outcome: Outcome::Done, object: object.to_string(), detail }
    }

    pub fn refused(action: &'static str, object: impl std::fmt::Display, detail: Value) -> Self {
        AuditEvent { outcome: Outcome::Refused, ..AuditEvent::done(action, object, detail) }
    }
}

/// An event in its chain, as the row has it.
#[derive(Debug, Clone, PartialEq)]
pub struct ChainedEvent {
    pub writer: ReplicaId,
    pub lane: i64,
    pub seq: i64,
    pub id: EventId,
    pub at: Timestamp,
    pub action: String,
    pub outcome: String,
    pub actor: String,
    pub object: String,
    pub request_id: String,
    pub detail: String,
    pub previous: [u8; 32],
    pub hash: [u8; 32],
}

impl ChainedEvent {
    /// SHA-256 over every column, each with its length in front, the previous hash included.
    pub fn compute_hash(&self) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        let mut add = |bytes: &[u8]| {
            context.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(bytes);
        };
        add(b"chancery-audit-v1");
        add(&self.writer.bytes());
        add(&self.lane.to_be_bytes());
        add(&self.seq.to_be_bytes());
        add(&self.id.bytes());
        add(&self.at.micros().to_be_bytes());
        for text in [&self.action, &self.outcome, &self.actor, &self.object, &self.request_id, &self.detail] {
            add(text.as_bytes());
        }
        add(&self.previous);
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }
}
