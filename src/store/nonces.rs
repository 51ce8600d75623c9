//! Epochs and spent nonces of Postgres, in UNLOGGED tables written without a durable commit: losing them loses
//! the epoch too, so that no nonce of the time before is ever good again. SQLite keeps both in memory.

use std::collections::HashSet;

use super::Store;
use super::engine::{On, fetch_many_alone, q, statements};
use crate::clock::Timestamp;
use crate::error::{Error, Result};

statements! {
    LATEST = "SELECT epoch, nonce_key FROM nonce_epochs ORDER BY created_at DESC, epoch LIMIT 1";
    BY_EPOCH = "SELECT epoch, nonce_key FROM nonce_epochs WHERE epoch = $1";
    INSERT_EPOCH = "INSERT INTO nonce_epochs (epoch, nonce_key, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    /// In one order, so that two groups cannot wait for each other.
    SPEND = "WITH asked (nonce, expires_at, epoch) AS (VALUES ($1, $2, $3)) INSERT INTO nonces_spent (nonce, expires_at) SELECT nonce, expires_at FROM asked \
             WHERE EXISTS (SELECT 1 FROM nonce_epochs e WHERE e.epoch = asked.epoch) ON CONFLICT DO NOTHING RETURNING nonce",
        postgres "INSERT INTO nonces_spent (nonce, expires_at) SELECT nonce, expires_at FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[]) AS asked (nonce, expires_at, epoch) \
             WHERE EXISTS (SELECT 1 FROM nonce_epochs e WHERE e.epoch = asked.epoch) ORDER BY nonce ON CONFLICT DO NOTHING RETURNING nonce";
    // as far as the bound only: what is beyond is not worth counting
    COUNT = "SELECT COUNT(*) AS held FROM (SELECT 1 FROM nonces_spent LIMIT $1) AS bounded";
    EPOCHS = "SELECT epoch, nonce_key, created_at FROM nonce_epochs LIMIT 2";
    END_EPOCHS = "DELETE FROM nonce_epochs";
    FORGET_OTHERS = "DELETE FROM nonces_spent WHERE nonce IN (SELECT nonce FROM nonces_spent WHERE substr(nonce, 1, 8) <> $1 LIMIT $2)";
    FORGET = "DELETE FROM nonces_spent WHERE expires_at < $1";
}

/// A key and the number that nonces name it by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    pub number: i64,
    pub key: [u8; 32],
}

pub async fn latest<'a>(on: impl Into<On<'a>>) -> Result<Option<Epoch>> {
    q(LATEST).fetch_optional(on).await?.as_ref().map(epoch).transpose()
}

pub async fn find<'a>(on: impl Into<On<'a>>, number: i64) -> Result<Option<Epoch>> {
    q(BY_EPOCH).bind(number).fetch_optional(on).await?.as_ref().map(epoch).transpose()
}

pub async fn insert_epoch<'a>(on: impl Into<On<'a>>, epoch: &Epoch, now: Timestamp) -> Result<()> {
    q(INSERT_EPOCH).bind(epoch.number).bind(epoch.key.to_vec()).bind(now).execute(on).await.map(drop)
}

/// A nonce that somebody shows.
#[derive(Debug, Clone)]
pub struct Shown {
    pub nonce: Vec<u8>,
    pub epoch: i64,
    pub expires_at: Timestamp,
}

/// True for exactly one of those who show a nonce, on any replica, and only while its epoch is there.
pub async fn spend(store: &Store, shown: &[Shown]) -> Result<Vec<bool>> {
    let row = |s: &Shown| vec![s.nonce.clone().into(), s.expires_at.into(), s.epoch.into()];
    let rows = fetch_many_alone(&store.db.volatile(), SPEND, shown.iter().map(row).collect()).await?;
    let mut spent: HashSet<Vec<u8>> = rows.iter().map(|row| row.get("nonce")).collect::<Result<_>>()?;
    Ok(shown.iter().map(|s| spent.remove(&s.nonce)).collect())
}

pub async fn forget(store: &Store, before: Timestamp) -> Result<u64> {
    let db = store.db.volatile();
    q(FORGET).bind(before).execute(&db).await
}

/// How many spent nonces are kept, `most` at most.
pub async fn count(store: &Store, most: i64) -> Result<i64> {
    let db = store.db.volatile();
    q(COUNT).bind(most).fetch_one(&db).await?.get("held")
}

/// No nonce of the time before is good any more. Its rows stay: a spend that is under way still meets them.
pub async fn renew(store: &Store, epoch: &Epoch, now: Timestamp) -> Result<()> {
    let db = store.db.volatile();
    // a spend between the two finds no epoch and is told badNonce
    q(END_EPOCHS).execute(&db).await?;
    insert_epoch(&db, epoch, now).await
}

/// The epoch when it is the only one, and since when it is there.
pub async fn only(store: &Store) -> Result<Option<(Epoch, Timestamp)>> {
    match q(EPOCHS).fetch_all(&store.db).await?.as_slice() {
        [row] => Ok(Some((epoch(row)?, row.time("created_at")?))),
        _ => Ok(None),
    }
}

/// Forgets what was spent of other epochs. Call it when none of them can be redeemed any more.
pub async fn forget_others(store: &Store, epoch: i64) -> Result<()> {
    /// So many go in a statement, which has a time limit.
    const BATCH: i64 = 50_000;
    let db = store.db.volatile();
    while q(FORGET_OTHERS).bind(epoch.to_be_bytes().as_slice()).bind(BATCH).execute(&db).await? > 0 {}
    Ok(())
}

fn epoch(row: &super::engine::Row) -> Result<Epoch> {
    let key: Vec<u8> = row.get("nonce_key")?;
    let key = key.try_into().map_err(|_| Error::inconsistent("a nonce key in the database is not 32 bytes"))?;
    Ok(Epoch { number: row.get("epoch")?, key })
}
