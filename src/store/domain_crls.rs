//! The indirect CRL of each trust domain. A new list replaces the one before it only while the counter is the one that
//! its maker read: of two replicas that sign at once one is stored.

use super::engine::{On, Row, q, statements};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::id::{CertificateId, IssuerId};
use crate::model::serial::SerialNumber;

macro_rules! head_columns {
    () => {
        "domain, counter, issuer_id, content, this_update, next_update, entries"
    };
}

statements! {
    HEADS = concat!("SELECT ", head_columns!(), " FROM domain_crls ORDER BY domain");
    HEAD = concat!("SELECT ", head_columns!(), " FROM domain_crls WHERE domain = $1");
    DER = "SELECT counter, der FROM domain_crls WHERE domain = $1";
    INSERT = "INSERT INTO domain_crls (domain, counter, issuer_id, content, this_update, next_update, entries, der, created_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
    REPLACE = "UPDATE domain_crls SET counter = $2, issuer_id = $3, content = $4, this_update = $5, next_update = $6, entries = $7, der = $8, created_at = $9 \
               WHERE domain = $1 AND counter = $10";
    COUNT = "SELECT COUNT(*) AS n FROM revocations WHERE issuer_id = $1";
    /// By the index of ends: what has expired is not read.
    CERTIFICATES = "SELECT id, serial, not_after FROM certificates WHERE issuer_id = $1 AND not_after >= $2 AND (not_after, id) > ($3, $4) ORDER BY not_after, id LIMIT $5";
    SHARED_SERIALS = "SELECT issuer_id, serial FROM revocations WHERE not_after >= $2 AND serial IN \
                      (SELECT serial FROM revocations WHERE length(serial) <= $1 AND not_after >= $2 GROUP BY serial HAVING COUNT(*) > 1) \
                      ORDER BY serial, issuer_id LIMIT $3";
}

/// A domain's list without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainCrlHead {
    pub domain: String,
    pub counter: i64,
    /// The issuer that signed it.
    pub issuer_id: IssuerId,
    /// Of which revocations it was made.
    pub content: String,
    pub this_update: Timestamp,
    pub next_update: Timestamp,
    pub entries: i64,
}

pub async fn heads<'a>(on: impl Into<On<'a>>) -> Result<Vec<DomainCrlHead>> {
    q(HEADS).fetch_all(on).await?.iter().map(head).collect()
}

pub async fn find<'a>(on: impl Into<On<'a>>, domain: &str) -> Result<Option<DomainCrlHead>> {
    q(HEAD).bind(domain).fetch_optional(on).await?.as_ref().map(head).transpose()
}

/// The list in DER with its counter.
pub async fn der<'a>(on: impl Into<On<'a>>, domain: &str) -> Result<Option<(i64, Vec<u8>)>> {
    let row = q(DER).bind(domain).fetch_optional(on).await?;
    row.map(|row| Ok((row.get("counter")?, row.get("der")?))).transpose()
}

/// Stores the list that follows `before`. False when another replica stored one meanwhile.
pub async fn replace<'a>(
    on: impl Into<On<'a>>,
    before: Option<i64>,
    list: &DomainCrlHead,
    der: Vec<u8>,
    now: Timestamp,
) -> Result<bool> {
    let query = q(if before.is_some() { REPLACE } else { INSERT })
        .bind(&list.domain)
        .bind(list.counter)
        .bind(list.issuer_id.to_vec())
        .bind(&list.content)
        .bind(list.this_update)
        .bind(list.next_update)
        .bind(list.entries)
        .bind(der)
        .bind(now);
    let query = match before {
        Some(counter) => query.bind(counter),
        None => query,
    };
    Ok(query.execute(on).await? == 1)
}

/// How many revocations an issuer has: they are never removed, so a change of the list is a change of the count.
pub async fn count<'a>(on: impl Into<On<'a>>, issuer: IssuerId) -> Result<i64> {
    q(COUNT).bind(issuer.to_vec()).fetch_one(on).await?.get("n")
}

/// Where a walk over certificates goes on.
pub type After = (Timestamp, CertificateId);

/// Certificates of an issuer that end at `alive_at` or later, behind `after`, by their end.
pub async fn certificates<'a>(
    on: impl Into<On<'a>>,
    issuer: IssuerId,
    alive_at: Timestamp,
    after: After,
    limit: i64,
) -> Result<Vec<(SerialNumber, After)>> {
    let (end, id) = after;
    let query = q(CERTIFICATES).bind(issuer.to_vec()).bind(alive_at).bind(end).bind(id.to_vec()).bind(limit);
    let rows = query.fetch_all(on).await?;
    rows.iter()
        .map(|row| {
            let serial = SerialNumber::from_octets(&row.get::<Vec<u8>>("serial")?)?;
            Ok((serial, (row.time("not_after")?, row.id("id")?)))
        })
        .collect()
}

/// Serials of at most so many octets that several issuers revoked: of imported CAs, which count theirs.
pub async fn shared_serials<'a>(
    on: impl Into<On<'a>>,
    octets: i64,
    alive_at: Timestamp,
    limit: i64,
) -> Result<Vec<(IssuerId, SerialNumber)>> {
    let rows = q(SHARED_SERIALS).bind(octets).bind(alive_at).bind(limit).fetch_all(on).await?;
    rows.iter()
        .map(|row| Ok((row.id("issuer_id")?, SerialNumber::from_octets(&row.get::<Vec<u8>>("serial")?)?)))
        .collect()
}

fn head(row: &Row) -> Result<DomainCrlHead> {
    Ok(DomainCrlHead {
        domain: row.get("domain")?,
        counter: row.get("counter")?,
        issuer_id: row.id("issuer_id")?,
        content: row.get("content")?,
        this_update: row.time("this_update")?,
        next_update: row.time("next_update")?,
        entries: row.get("entries")?,
    })
}
