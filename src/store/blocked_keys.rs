//! Keys that were blocked, as they are listed, and lifted.

use std::collections::HashSet;

use super::engine::{On, Row, fetch_many_alone, q, statements};
use super::row_macs::tell_key;
use super::{Store, Tx};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::blocked_key::{BlockedKey, KeyFingerprint};

macro_rules! columns {
    () => {
        "SELECT b.spki_sha256, b.reason, b.comment, b.blocked_at, b.actor, \
         (SELECT COUNT(*) FROM certificates c WHERE c.spki_sha256 = b.spki_sha256) AS certificates FROM blocked_keys b"
    };
}

statements! {
    INSERT = "INSERT INTO blocked_keys (spki_sha256, reason, comment, blocked_at, actor) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    FIND = concat!(columns!(), " WHERE b.spki_sha256 = $1");
    LIST = concat!(columns!(), " WHERE b.spki_sha256 > $1 ORDER BY b.spki_sha256 LIMIT $2");
    PRESENT = "SELECT spki_sha256 FROM blocked_keys WHERE spki_sha256 IN (VALUES ($1))",
        postgres "SELECT spki_sha256 FROM blocked_keys WHERE spki_sha256 = ANY($1::bytea[])";
    REMOVE = "DELETE FROM blocked_keys WHERE spki_sha256 = $1";
}

/// False: the key is blocked already, and nothing changes.
pub async fn insert(
    tx: &mut Tx,
    key: KeyFingerprint,
    reason: &str,
    comment: &str,
    at: Timestamp,
    version: i64,
) -> Result<bool> {
    let by = tx.actor().to_string();
    let query = q(INSERT).bind(key.0.to_vec()).bind(reason).bind(comment).bind(at).bind(by);
    let is_new = query.execute(&mut *tx).await? == 1;
    tell_key(tx, &key.to_string(), version, vec![reason.into()]);
    Ok(is_new)
}

pub async fn find<'a>(on: impl Into<On<'a>>, key: KeyFingerprint) -> Result<Option<BlockedKey>> {
    q(FIND).bind(key.0.to_vec()).fetch_optional(on).await?.as_ref().map(row).transpose()
}

/// Those of these keys that are not blocked.
pub async fn missing_of(store: &Store, keys: &[KeyFingerprint]) -> Result<Vec<KeyFingerprint>> {
    let rows = keys.iter().map(|key| vec![key.0.to_vec().into()]).collect();
    let present = fetch_many_alone(&store.db, PRESENT, rows).await?;
    let read = |row: &Row| Ok(KeyFingerprint(super::certificates::sha256(row.get("spki_sha256")?)?));
    let present: HashSet<_> = present.iter().map(read).collect::<Result<_>>()?;
    Ok(keys.iter().filter(|key| !present.contains(key)).copied().collect())
}

/// In the order of their fingerprints, after `after`.
pub async fn list<'a>(on: impl Into<On<'a>>, after: Option<KeyFingerprint>, limit: u16) -> Result<Vec<BlockedKey>> {
    let after = after.map_or(Vec::new(), |key| key.0.to_vec());
    q(LIST).bind(after).bind(i64::from(limit)).fetch_all(on).await?.iter().map(row).collect()
}

pub async fn remove(tx: &mut Tx, key: KeyFingerprint, version: i64) -> Result<()> {
    q(REMOVE).bind(key.0.to_vec()).execute(&mut *tx).await?;
    tell_unblocked(tx, key, version);
    Ok(())
}

/// Has the transaction's event name a key that is blocked no more.
pub fn tell_unblocked(tx: &mut Tx, key: KeyFingerprint, version: i64) {
    tell_key(tx, &key.to_string(), version, Vec::new());
}

fn row(row: &Row) -> Result<BlockedKey> {
    Ok(BlockedKey {
        key: KeyFingerprint(super::certificates::sha256(row.get("spki_sha256")?)?),
        reason: row.get("reason")?,
        comment: row.get("comment")?,
        blocked_at: row.time("blocked_at")?,
        blocked_by: row.get("actor")?,
        certificates: row.get("certificates")?,
    })
}
