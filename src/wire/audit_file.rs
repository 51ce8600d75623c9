//! The exported audit: a file of JSON lines that `chancery audit verify FILE` checks without the database. First what it is,
//! then keys, checkpoints in the order of their making, events in the order of their chains, and how many there were.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::clock::{Timestamp, exact};
use crate::error::{Error, Result};
use crate::model::audit::{ChainedEvent, Checkpoint};
use crate::model::id::{CheckpointId, EventId, KeyId, ReplicaId};
use crate::model::serial::{from_hex, to_hex};

pub const VERSION: u32 = 1;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum AuditLine {
    Audit {
        version: u32,
        /// The key of the notes as `NAME+HASH+KEY`; absent when no checkpoint of this version was made yet.
        verifier_key: Option<String>,
        #[serde(with = "exact")]
        exported_at: Timestamp,
    },
    Key {
        id: KeyId,
        /// SubjectPublicKeyInfo in base64.
        public_key: String,
    },
    Checkpoint(CheckpointLine),
    Event(EventLine),
    End {
        checkpoints: u64,
        events: u64,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckpointLine {
    id: CheckpointId,
    #[serde(with = "exact")]
    at: Timestamp,
    heads: String,
    key_id: KeyId,
    /// Base64.
    signature: String,
    note: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventLine {
    writer: ReplicaId,
    lane: i64,
    seq: i64,
    id: EventId,
    #[serde(with = "exact")]
    at: Timestamp,
    action: String,
    outcome: String,
    actor: String,
    object: String,
    request_id: String,
    /// JSON as it was hashed.
    detail: String,
    /// SHA-256 in hex.
    previous: String,
    hash: String,
}

impl From<&Checkpoint> for CheckpointLine {
    fn from(row: &Checkpoint) -> Self {
        CheckpointLine {
            id: row.id,
            at: row.at,
            heads: row.heads.clone(),
            key_id: row.key_id,
            signature: BASE64.encode(&row.signature),
            note: row.note.clone(),
        }
    }
}

impl TryFrom<CheckpointLine> for Checkpoint {
    type Error = Error;
    fn try_from(line: CheckpointLine) -> Result<Self> {
        let signature = BASE64.decode(&line.signature);
        let signature = signature.map_err(|e| Error::malformed("a signature is not base64").because(e))?;
        Ok(Checkpoint {
            id: line.id,
            at: line.at,
            heads: line.heads,
            key_id: line.key_id,
            signature,
            note: line.note,
        })
    }
}

impl From<ChainedEvent> for EventLine {
    fn from(event: ChainedEvent) -> Self {
        EventLine {
            writer: event.writer,
            lane: event.lane,
            seq: event.seq,
            id: event.id,
            at: event.at,
            action: event.action,
            outcome: event.outcome,
            actor: event.actor,
            object: event.object,
            request_id: event.request_id,
            detail: event.detail,
            previous: to_hex(&event.previous),
            hash: to_hex(&event.hash),
        }
    }
}

impl TryFrom<EventLine> for ChainedEvent {
    type Error = Error;
    fn try_from(line: EventLine) -> Result<Self> {
        Ok(ChainedEvent {
            writer: line.writer,
            lane: line.lane,
            seq: line.seq,
            id: line.id,
            at: line.at,
            action: line.action,
            outcome: line.outcome,
            actor: line.actor,
            object: line.object,
            request_id: line.request_id,
            detail: line.detail,
            previous: hash(&line.previous)?,
            hash: hash(&line.hash)?,
        })
    }
}

fn hash(hex: &str) -> Result<[u8; 32]> {
    let bytes = from_hex(hex).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.ok_or_else(|| Error::malformed("a hash is not 64 hexadecimal digits"))
}
