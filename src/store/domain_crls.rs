//! The indirect CRL of each trust domain, and the one that stands ready for later, sealed. A new list replaces the one
//! before it only while the counter is the one that its maker read: of two replicas that sign at once one is stored. The
//! counter is that of the highest number, so one that stands ready is outdated as soon as the counter moves.

use bytes::Bytes;

use super::crls::{ENTRY_OCTETS, in_pieces};
use super::engine::{LARGE_VALUE, LargeRow, On, Query, Row, q, statements, write_large};
use super::{Store, Tx};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::id::{CertificateId, IssuerId};
use crate::model::serial::SerialNumber;

macro_rules! heads {
    ($where:literal) => {
        concat!(
            "SELECT d.domain, d.counter, d.issuer_id, d.content, d.this_update, d.next_update, d.entries, d.created_at, ",
            "CAST(length(d.der) AS BIGINT) AS size, a.starts_at AS ahead_starts_at, a.this_update AS ahead_this_update, ",
            "a.next_update AS ahead_next_update, a.entries AS ahead_entries, CAST(length(a.sealed) AS BIGINT) AS ahead_size ",
            "FROM domain_crls d LEFT JOIN domain_crls_ahead a ON a.domain = d.domain AND a.counter = d.counter ",
            $where
        )
    };
}

statements! {
    HEADS = heads!("ORDER BY d.domain");
    HEAD = heads!("WHERE d.domain = $1");
    PIECE = "SELECT substr(der, $3, $4) AS piece FROM domain_crls WHERE domain = $1 AND counter = $2",
        postgres "SELECT substr(der, CAST($3 AS INTEGER), CAST($4 AS INTEGER)) AS piece FROM domain_crls WHERE domain = $1 AND counter = $2";
    PIECE_AHEAD = "SELECT substr(sealed, $3, $4) AS piece FROM domain_crls_ahead WHERE domain = $1 AND counter = $2",
        postgres "SELECT substr(sealed, CAST($3 AS INTEGER), CAST($4 AS INTEGER)) AS piece FROM domain_crls_ahead WHERE domain = $1 AND counter = $2";
    ADVANCE = "UPDATE domain_crls SET counter = $3 WHERE domain = $1 AND counter = $2";
    LOCK_WITHOUT_AHEAD = "SELECT d.domain FROM domain_crls d WHERE d.domain = $1 AND d.counter = $2 \
                          AND NOT EXISTS (SELECT a.domain FROM domain_crls_ahead a WHERE a.domain = $1 AND a.counter = $2)",
        postgres "SELECT d.domain FROM domain_crls d WHERE d.domain = $1 AND d.counter = $2 \
                  AND NOT EXISTS (SELECT a.domain FROM domain_crls_ahead a WHERE a.domain = $1 AND a.counter = $2) FOR UPDATE OF d";
    REMOVE_AHEAD = "DELETE FROM domain_crls_ahead WHERE domain = $1";
    INSERT_AHEAD = "INSERT INTO domain_crls_ahead (domain, counter, starts_at, this_update, next_update, entries, sealed, created_at) \
                    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    INSERT = "INSERT INTO domain_crls (domain, counter, issuer_id, content, this_update, next_update, entries, der, created_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
    REPLACE = "UPDATE domain_crls SET counter = $2, issuer_id = $3, content = $4, this_update = $5, next_update = $6, entries = $7, der = $8, created_at = $9 \
               WHERE domain = $1 AND counter = $10";
    REMOVE = "DELETE FROM domain_crls WHERE domain = $1 AND counter = $2";
    /// On SQLite; Postgres takes the row by COPY, which is not prepared.
    INSERT_ZEROS = "INSERT INTO domain_crls (domain, counter, issuer_id, content, this_update, next_update, entries, created_at, der) \
                    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, zeroblob($9))",
        postgres "SELECT 1";
    /// The same.
    INSERT_ZEROS_AHEAD = "INSERT INTO domain_crls_ahead (domain, counter, starts_at, this_update, next_update, entries, created_at, sealed) \
                          VALUES ($1, $2, $3, $4, $5, $6, $7, zeroblob($8))",
        postgres "SELECT 1";
    COUNT = "SELECT COUNT(*) AS n FROM revocations WHERE issuer_id = $1";
    /// By the index of ends: what has expired is not read.
    CERTIFICATES = "SELECT id, serial, not_after FROM certificates WHERE issuer_id = $1 AND not_after >= $2 AND (not_after, id) > ($3, $4) ORDER BY not_after, id LIMIT $5";
    SHARED_SERIALS = "SELECT issuer_id, serial FROM revocations WHERE not_after >= $2 AND serial IN \
                      (SELECT serial FROM revocations WHERE length(serial) <= $1 AND not_after >= $2 GROUP BY serial HAVING COUNT(*) > 1) \
                      ORDER BY serial, issuer_id LIMIT $3";
}

const LARGE: LargeRow = LargeRow {
    copy: "COPY domain_crls (domain, counter, issuer_id, content, this_update, next_update, entries, created_at, der) FROM STDIN (FORMAT binary)",
    zeros: INSERT_ZEROS,
    table: c"domain_crls",
    column: c"der",
};
const LARGE_AHEAD: LargeRow = LargeRow {
    copy: "COPY domain_crls_ahead (domain, counter, starts_at, this_update, next_update, entries, created_at, sealed) FROM STDIN (FORMAT binary)",
    zeros: INSERT_ZEROS_AHEAD,
    table: c"domain_crls_ahead",
    column: c"sealed",
};

/// A domain's list without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainCrlHead {
    pub domain: String,
    /// That of the highest number of the domain: its own, or that of the one which stands ready or is to.
    pub counter: i64,
    /// The issuer that signed it.
    pub issuer_id: IssuerId,
    /// Of which revocations it was made.
    pub content: String,
    pub this_update: Timestamp,
    pub next_update: Timestamp,
    pub entries: i64,
    pub created_at: Timestamp,
    /// Octets.
    pub size: i64,
    pub ahead: Option<DomainCrlAhead>,
}

/// One that stands ready under the status seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DomainCrlAhead {
    /// From when on it is in force.
    pub starts_at: Timestamp,
    pub this_update: Timestamp,
    pub next_update: Timestamp,
    pub entries: i64,
    pub size: i64,
}

impl DomainCrlHead {
    /// The one that stood ready, once its time has come. `starts_at` could be moved; thisUpdate stands in the sealed bytes
    /// too.
    pub fn taken_over_by(&self, now: Timestamp) -> Option<DomainCrlAhead> {
        self.ahead.filter(|ahead| ahead.starts_at.max(ahead.this_update) <= now)
    }

    /// How many entries it can have, whatever its row says.
    pub fn plausible_entries(&self) -> i64 {
        self.entries.min(self.size / ENTRY_OCTETS)
    }

    /// Until when the list is good that is in force at `now`, and how many entries it has.
    pub fn in_force(&self, now: Timestamp) -> (Timestamp, i64) {
        self.taken_over_by(now).map_or((self.next_update, self.entries), |ahead| (ahead.next_update, ahead.entries))
    }
}

pub async fn heads<'a>(on: impl Into<On<'a>>) -> Result<Vec<DomainCrlHead>> {
    q(HEADS).fetch_all(on).await?.iter().map(head).collect()
}

pub async fn find<'a>(on: impl Into<On<'a>>, domain: &str) -> Result<Option<DomainCrlHead>> {
    q(HEAD).bind(domain).fetch_optional(on).await?.as_ref().map(head).transpose()
}

/// The list in DER, or sealed the one that stood ready. None when another one took its place.
pub async fn bytes(store: &Store, list: &DomainCrlHead, ahead: Option<DomainCrlAhead>) -> Result<Option<Vec<u8>>> {
    let (text, size) = match ahead {
        None => (PIECE, list.size),
        Some(ahead) => (PIECE_AHEAD, ahead.size),
    };
    let piece = |from, octets| q(text).bind(&list.domain).bind(list.counter).bind(from).bind(octets);
    in_pieces(store, size, piece).await
}

/// Takes the number after the highest one for a list that stands ready. False when another replica took it meanwhile.
pub async fn advance<'a>(on: impl Into<On<'a>>, domain: &str, from: i64, to: i64) -> Result<bool> {
    Ok(q(ADVANCE).bind(domain).bind(from).bind(to).execute(on).await? == 1)
}

/// Locks a list whose counter is this one and for which none stands ready with that number. False when there is no such
/// list.
pub async fn lock_without_ahead(tx: &mut Tx, domain: &str, counter: i64) -> Result<bool> {
    Ok(q(LOCK_WITHOUT_AHEAD).bind(domain).bind(counter).fetch_optional(tx).await?.is_some())
}

/// Puts this one in place of the one that stood ready.
pub async fn replace_ahead(
    tx: &mut Tx,
    domain: &str,
    counter: i64,
    ahead: Option<(DomainCrlAhead, Vec<u8>)>,
) -> Result<()> {
    q(REMOVE_AHEAD).bind(domain).execute(&mut *tx).await?;
    let Some((ahead, sealed)) = ahead else { return Ok(()) };
    let now = tx.now();
    let values = |query: Query| {
        let query = query.bind(domain).bind(counter).bind(ahead.starts_at).bind(ahead.this_update);
        query.bind(ahead.next_update).bind(ahead.entries)
    };
    if sealed.len() >= LARGE_VALUE {
        let args = values(q(INSERT_ZEROS_AHEAD)).bind(now).into_args();
        return write_large(tx.raw(), LARGE_AHEAD, args, &sealed).await;
    }
    values(q(INSERT_AHEAD)).bind(sealed).bind(now).execute(tx).await.map(drop)
}

/// Stores the list that follows `before`. False when another replica stored one meanwhile.
pub async fn replace(tx: &mut Tx, before: Option<i64>, list: &DomainCrlHead, der: Bytes) -> Result<bool> {
    let values = |query: Query| {
        let query = query.bind(&list.domain).bind(list.counter).bind(list.issuer_id.to_vec()).bind(&list.content);
        query.bind(list.this_update).bind(list.next_update).bind(list.entries)
    };
    let Some(counter) = before else {
        return Ok(values(q(INSERT)).bind(der.to_vec()).bind(list.created_at).execute(tx).await? == 1);
    };
    if der.len() < LARGE_VALUE {
        let query = values(q(REPLACE)).bind(der.to_vec()).bind(list.created_at).bind(counter);
        return Ok(query.execute(tx).await? == 1);
    }
    // in pieces it can only be written into a new row; the old one is held by whoever removed it
    if q(REMOVE).bind(&list.domain).bind(counter).execute(&mut *tx).await? != 1 {
        return Ok(false);
    }
    let args = values(q(INSERT_ZEROS)).bind(list.created_at).into_args();
    write_large(tx.raw(), LARGE, args, &der).await?;
    Ok(true)
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
    let ahead = match row.time_opt("ahead_starts_at")? {
        None => None,
        Some(starts_at) => Some(DomainCrlAhead {
            starts_at,
            this_update: row.time("ahead_this_update")?,
            next_update: row.time("ahead_next_update")?,
            entries: row.get("ahead_entries")?,
            size: row.get("ahead_size")?,
        }),
    };
    Ok(DomainCrlHead {
        domain: row.get("domain")?,
        counter: row.get("counter")?,
        issuer_id: row.id("issuer_id")?,
        content: row.get("content")?,
        this_update: row.time("this_update")?,
        next_update: row.time("next_update")?,
        entries: row.get("entries")?,
        created_at: row.time("created_at")?,
        size: row.get("size")?,
        ahead,
    })
}
