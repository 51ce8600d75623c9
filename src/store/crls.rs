//! CRLs as they were signed. The one in force is the newest whose thisUpdate has come; later ones stand ready.

use super::engine::{On, Row, q, statements};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::id::{CrlId, IssuerId};

macro_rules! columns {
    () => {
        "id, issuer_id, number, this_update, next_update, entries, der, created_at"
    };
}

statements! {
    INSERT = "INSERT INTO crls (id, issuer_id, number, this_update, next_update, entries, der, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    CURRENT = concat!("SELECT ", columns!(), " FROM crls WHERE issuer_id = $1 AND this_update <= $2 ORDER BY number DESC LIMIT 1");
    CURRENT_ID = "SELECT id FROM crls WHERE issuer_id = $1 AND this_update <= $2 ORDER BY number DESC LIMIT 1";
    CURRENT_WINDOW = "SELECT this_update, next_update FROM crls WHERE issuer_id = $1 AND this_update <= $2 ORDER BY number DESC LIMIT 1";
    NEWEST = concat!("SELECT ", columns!(), " FROM crls WHERE issuer_id = $1 ORDER BY number DESC LIMIT 1");
    MEASURE = "SELECT this_update, next_update, entries, CAST(length(der) AS BIGINT) AS size FROM crls WHERE issuer_id = $1 AND this_update <= $2 ORDER BY number DESC LIMIT 1";
    WITHDRAW = "DELETE FROM crls WHERE issuer_id = $1 AND this_update > $2";
    PRUNE = "DELETE FROM crls WHERE issuer_id = $1 AND next_update < $2";
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    pub id: CrlId,
    pub issuer_id: IssuerId,
    /// epoch << 64 | counter
    pub number: u128,
    pub this_update: Timestamp,
    pub next_update: Timestamp,
    pub entries: i64,
    pub der: Vec<u8>,
    pub created_at: Timestamp,
}

pub async fn insert<'a>(on: impl Into<On<'a>>, crl: &Crl) -> Result<()> {
    q(INSERT)
        .bind(crl.id.to_vec())
        .bind(crl.issuer_id.to_vec())
        .bind(crl.number.to_be_bytes().to_vec())
        .bind(crl.this_update)
        .bind(crl.next_update)
        .bind(crl.entries)
        .bind(crl.der.clone())
        .bind(crl.created_at)
        .execute(on)
        .await
        .map(drop)
}

/// What metrics and health tell of the CRL in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    pub this_update: Timestamp,
    pub next_update: Timestamp,
    pub entries: i64,
    /// Octets of its DER.
    pub size: i64,
}

pub async fn measure<'a>(on: impl Into<On<'a>>, issuer: IssuerId, now: Timestamp) -> Result<Option<Measure>> {
    let Some(row) = q(MEASURE).bind(issuer.to_vec()).bind(now).fetch_optional(on).await? else { return Ok(None) };
    Ok(Some(Measure {
        this_update: row.time("this_update")?,
        next_update: row.time("next_update")?,
        entries: row.get("entries")?,
        size: row.get("size")?,
    }))
}

/// The CRL in force at `now`.
pub async fn current<'a>(on: impl Into<On<'a>>, issuer: IssuerId, now: Timestamp) -> Result<Option<Crl>> {
    q(CURRENT).bind(issuer.to_vec()).bind(now).fetch_optional(on).await?.as_ref().map(row).transpose()
}

/// Which CRL is in force, without its bytes.
pub async fn current_id<'a>(on: impl Into<On<'a>>, issuer: IssuerId, now: Timestamp) -> Result<Option<CrlId>> {
    q(CURRENT_ID).bind(issuer.to_vec()).bind(now).fetch_optional(on).await?.map(|row| row.id("id")).transpose()
}

/// (thisUpdate, nextUpdate) of the CRL in force.
pub async fn current_window<'a>(
    on: impl Into<On<'a>>,
    issuer: IssuerId,
    now: Timestamp,
) -> Result<Option<(Timestamp, Timestamp)>> {
    let row = q(CURRENT_WINDOW).bind(issuer.to_vec()).bind(now).fetch_optional(on).await?;
    row.map(|row| Ok((row.time("this_update")?, row.time("next_update")?))).transpose()
}

/// The one of the highest number, whether its time has come or not.
pub async fn newest<'a>(on: impl Into<On<'a>>, issuer: IssuerId) -> Result<Option<Crl>> {
    q(NEWEST).bind(issuer.to_vec()).fetch_optional(on).await?.as_ref().map(row).transpose()
}

/// Removes CRLs that were made ready and whose time has not come: a revocation has outdated them.
pub async fn withdraw_future<'a>(on: impl Into<On<'a>>, issuer: IssuerId, now: Timestamp) -> Result<u64> {
    q(WITHDRAW).bind(issuer.to_vec()).bind(now).execute(on).await
}

/// Removes CRLs that ended before `before`.
pub async fn prune<'a>(on: impl Into<On<'a>>, issuer: IssuerId, before: Timestamp) -> Result<u64> {
    q(PRUNE).bind(issuer.to_vec()).bind(before).execute(on).await
}

fn row(row: &Row) -> Result<Crl> {
    let number: Vec<u8> = row.get("number")?;
    let number =
        <[u8; 16]>::try_from(number.as_slice()).map_err(|_| Error::inconsistent("a CRL number is not 16 bytes"))?;
    Ok(Crl {
        id: row.id("id")?,
        issuer_id: row.id("issuer_id")?,
        number: u128::from_be_bytes(number),
        this_update: row.time("this_update")?,
        next_update: row.time("next_update")?,
        entries: row.get("entries")?,
        der: row.get("der")?,
        created_at: row.time("created_at")?,
    })
}
