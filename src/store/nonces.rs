//! Epochs and spent nonces of Postgres, in UNLOGGED tables written without a durable commit: losing them loses
//! the epoch too, so that no nonce of the time before is ever good again. SQLite keeps both in memory.

use super::Store;
use super::engine::{On, q, statements};
use crate::clock::Timestamp;
use crate::error::{Error, Result};

statements! {
    LATEST = "SELECT epoch, nonce_key FROM nonce_epochs ORDER BY created_at DESC, epoch LIMIT 1";
    BY_EPOCH = "SELECT epoch, nonce_key FROM nonce_epochs WHERE epoch = $1";
    INSERT_EPOCH = "INSERT INTO nonce_epochs (epoch, nonce_key, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    SPEND = "INSERT INTO nonces_spent (nonce, expires_at) SELECT $1, $2 WHERE EXISTS (SELECT 1 FROM nonce_epochs WHERE epoch = $3) ON CONFLICT DO NOTHING";
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

/// True for exactly one caller on any replica, and only while the epoch is there.
pub async fn spend(store: &Store, nonce: &[u8], epoch: i64, expires_at: Timestamp) -> Result<bool> {
    let db = store.db.volatile();
    Ok(q(SPEND).bind(nonce).bind(expires_at).bind(epoch).execute(&db).await? == 1)
}

pub async fn forget(store: &Store, before: Timestamp) -> Result<u64> {
    let db = store.db.volatile();
    q(FORGET).bind(before).execute(&db).await
}

fn epoch(row: &super::engine::Row) -> Result<Epoch> {
    let key: Vec<u8> = row.get("nonce_key")?;
    let key = key.try_into().map_err(|_| Error::inconsistent("a nonce key in the database is not 32 bytes"))?;
    Ok(Epoch { number: row.get("epoch")?, key })
}
