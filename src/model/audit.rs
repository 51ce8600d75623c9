//! Audit events and their hash chain. One chain a writer (replica and lane), so that commits are not serialised.

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::id::{CheckpointId, EventId, KeyId, ReplicaId};
use super::serial::to_hex;
use crate::clock::Timestamp;
use crate::error::{Error, Result};

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

/// An event as lists show it.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedEvent {
    /// As far as it can be read.
    pub event: ChainedEvent,
    /// What is wrong with its row in the database.
    pub fault: Option<String>,
}

impl std::ops::Deref for ListedEvent {
    type Target = ChainedEvent;

    fn deref(&self) -> &ChainedEvent {
        &self.event
    }
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

/// The end of one chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub writer: ReplicaId,
    pub lane: i64,
    pub seq: i64,
    pub hash: [u8; 32],
}

/// What a checkpoint signs: the chains that moved, and the checkpoint before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heads {
    /// SHA-256 of the checkpoint before in hex; absent in the first.
    pub previous: Option<String>,
    pub heads: Vec<Head>,
}

/// A signed checkpoint, as the row has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub id: CheckpointId,
    pub at: Timestamp,
    /// `Heads` as JSON, byte for byte as it was signed.
    pub heads: String,
    pub key_id: KeyId,
    pub signature: Vec<u8>,
    /// The signed note over `note_text`, as it is published; empty in a checkpoint of an earlier version.
    pub note: String,
}

impl Checkpoint {
    /// The bytes that are signed.
    pub fn message(&self) -> Vec<u8> {
        let (id, at, key) = (self.id.bytes(), self.at.micros().to_be_bytes(), self.key_id.bytes());
        [b"chancery-audit-checkpoint-v1".as_slice(), &id, &at, &key, self.heads.as_bytes()].concat()
    }

    /// The text of the note: origin, number, hash, then lines for people. The hash covers heads and signature, so the note
    /// fixes every event before it.
    pub fn note_text(&self, origin: &str, number: u64) -> String {
        let hash = BASE64.encode(self.sha256());
        format!("{origin}\n{number}\n{hash}\nid {}\nat {}\nsha256 {}\n", self.id, self.at, to_hex(&self.sha256()))
    }

    /// Its name in the one after it: over message and signature.
    pub fn sha256(&self) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        context.update(&self.message());
        context.update(&self.signature);
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }

    pub fn read(&self) -> Result<Heads> {
        serde_json::from_str(&self.heads).map_err(|e| {
            Error::inconsistent(format!("the heads of audit checkpoint {} are not JSON", self.id)).because(e)
        })
    }
}

/// What the installation keeps of its audit under the unlock key: nobody who can only write rows can make another, and a
/// table of checkpoints that disagrees with it was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditSeal {
    pub key_id: KeyId,
    /// SubjectPublicKeyInfo in base64.
    pub public_key: String,
    /// How many checkpoints have a note.
    pub number: u64,
    /// The newest checkpoint with a note.
    pub checkpoint: CheckpointId,
    /// Its SHA-256 in hex.
    pub sha256: String,
}

/// The name of an installation in its notes and in its verifier key.
pub fn origin(installation: &[u8]) -> String {
    format!("chancery-audit/{}", to_hex(installation))
}
