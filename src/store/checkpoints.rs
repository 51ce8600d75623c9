//! Signed checkpoints of the audit: the heads of its chains at one moment. A checkpoint lists the chains that moved
//! since the one before, and names that one by its hash.

use super::engine::{On, Row, q, statements};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::audit::{Checkpoint, Head};
use crate::model::id::{CheckpointId, EventId, ReplicaId};

macro_rules! columns {
    () => {
        "id, at, heads, key_id, signature, note"
    };
}

statements! {
    INSERT = "INSERT INTO audit_checkpoints (id, at, heads, key_id, signature, note) VALUES ($1, $2, $3, $4, $5, $6)";
    SEAL = "SELECT audit_seal FROM installation";
    SET_SEAL = "UPDATE installation SET audit_seal = $1";
    FIND = concat!("SELECT ", columns!(), " FROM audit_checkpoints WHERE id = $1");
    LATEST = concat!("SELECT ", columns!(), " FROM audit_checkpoints ORDER BY id DESC LIMIT 1");
    WALK = concat!("SELECT ", columns!(), " FROM audit_checkpoints WHERE id > $1 ORDER BY id LIMIT $2");
    HEADS = "SELECT a.writer, a.lane, a.seq, a.hash FROM audit_events a WHERE a.id >= $1 AND NOT EXISTS \
             (SELECT 1 FROM audit_events b WHERE b.writer = a.writer AND b.lane = a.lane AND b.seq = a.seq + 1) ORDER BY a.writer, a.lane";
}

pub async fn insert<'a>(on: impl Into<On<'a>>, checkpoint: &Checkpoint) -> Result<()> {
    q(INSERT)
        .bind(checkpoint.id.to_vec())
        .bind(checkpoint.at)
        .bind(&checkpoint.heads)
        .bind(checkpoint.key_id.to_vec())
        .bind(checkpoint.signature.clone())
        .bind(&checkpoint.note)
        .execute(on)
        .await
        .map(drop)
}

pub async fn latest<'a>(on: impl Into<On<'a>>) -> Result<Option<Checkpoint>> {
    q(LATEST).fetch_optional(on).await?.as_ref().map(checkpoint).transpose()
}

/// What the installation keeps of its audit under the unlock key; none before the first checkpoint of this version.
pub async fn seal<'a>(on: impl Into<On<'a>>) -> Result<Option<Vec<u8>>> {
    match q(SEAL).fetch_optional(on).await? {
        Some(row) => row.get("audit_seal"),
        None => Ok(None),
    }
}

pub async fn set_seal<'a>(on: impl Into<On<'a>>, sealed: Vec<u8>) -> Result<()> {
    q(SET_SEAL).bind(sealed).execute(on).await.map(drop)
}

pub async fn find<'a>(on: impl Into<On<'a>>, id: CheckpointId) -> Result<Option<Checkpoint>> {
    q(FIND).bind(id.to_vec()).fetch_optional(on).await?.as_ref().map(checkpoint).transpose()
}

/// In the order that they were made, after `after`.
pub async fn walk<'a>(on: impl Into<On<'a>>, after: CheckpointId, limit: i64) -> Result<Vec<Checkpoint>> {
    q(WALK).bind(after.to_vec()).bind(limit).fetch_all(on).await?.iter().map(checkpoint).collect()
}

/// A row of the table: its id, and what can be read of it.
#[derive(Debug)]
pub struct CheckpointRow {
    pub id: Vec<u8>,
    pub checkpoint: Result<Checkpoint>,
}

/// Every row whose id comes after the given octets; all ids come after none.
pub async fn rows<'a>(on: impl Into<On<'a>>, after: &[u8], limit: i64) -> Result<Vec<CheckpointRow>> {
    let rows = q(WALK).bind(after.to_vec()).bind(limit).fetch_all(on).await?;
    rows.iter().map(|row| Ok(CheckpointRow { id: row.get("id")?, checkpoint: checkpoint(row) })).collect()
}

/// The ends of all chains with an event since `since`.
pub async fn heads<'a>(on: impl Into<On<'a>>, since: Timestamp) -> Result<Vec<Head>> {
    let rows = q(HEADS).bind(EventId::earliest(since).to_vec()).fetch_all(on).await?;
    // a row that cannot be read is no head; fsck and doctor name it
    Ok(rows.iter().filter_map(|row| head(row).ok()).collect())
}

fn head(row: &Row) -> Result<Head> {
    let hash: Vec<u8> = row.get("hash")?;
    let writer: ReplicaId = row.id("writer")?;
    let hash = hash.try_into().map_err(|_| Error::inconsistent("an audit hash is not 32 bytes"))?;
    Ok(Head { writer, lane: row.get("lane")?, seq: row.get("seq")?, hash })
}

fn checkpoint(row: &Row) -> Result<Checkpoint> {
    Ok(Checkpoint {
        id: row.id("id")?,
        at: row.time("at")?,
        heads: row.get("heads")?,
        key_id: row.id("key_id")?,
        signature: row.get("signature")?,
        note: row.get("note")?,
    })
}
