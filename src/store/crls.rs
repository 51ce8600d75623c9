//! CRLs as they were signed. In force is the one of the highest number among those whose time has come. What was
//! signed for later lies sealed in a table of its own (`crls_ahead`) and is opened when it is read. Numbers are 16 or 20
//! octets, so they are ordered by length and then octet by octet.

use bytes::Bytes;

use super::engine::{LARGE_VALUE, LargeRow, On, Query, Row, q, statements, write_large};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::crl::CrlNumber;
use crate::model::id::{CrlId, IssuerId};

/// Columns that both tables have, then size, seal and the beginning of each.
macro_rules! heads {
    ($where:literal, $where_ahead:literal, $limit:literal) => {
        concat!(
            "SELECT id, issuer_id, number, this_update, next_update, entries, created_at, size, sealed, starts_at FROM (",
            "SELECT id, issuer_id, number, this_update, next_update, entries, created_at, CAST(length(der) AS BIGINT) AS size, ",
            "CAST(0 AS BIGINT) AS sealed, created_at AS starts_at FROM crls WHERE ",
            $where,
            " UNION ALL SELECT id, issuer_id, number, this_update, next_update, entries, created_at, CAST(length(sealed) AS BIGINT) AS size, ",
            "CAST(1 AS BIGINT) AS sealed, starts_at FROM crls_ahead WHERE ",
            $where_ahead,
            ") AS known ORDER BY length(number) DESC, number DESC LIMIT ",
            $limit
        )
    };
}

statements! {
    INSERT = "INSERT INTO crls (id, issuer_id, number, this_update, next_update, entries, der, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    INSERT_AHEAD = "INSERT INTO crls_ahead (id, issuer_id, number, this_update, next_update, entries, sealed, created_at, starts_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
    /// On SQLite; Postgres takes the row by COPY, which is not prepared.
    INSERT_ZEROS = "INSERT INTO crls (id, issuer_id, number, this_update, next_update, entries, created_at, der) VALUES ($1, $2, $3, $4, $5, $6, $7, zeroblob($8))",
        postgres "SELECT 1";
    /// The same.
    INSERT_ZEROS_AHEAD = "INSERT INTO crls_ahead (id, issuer_id, number, this_update, next_update, entries, created_at, starts_at, sealed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, zeroblob($9))",
        postgres "SELECT 1";
    KNOWN_AHEAD = "SELECT id FROM crls_ahead WHERE issuer_id = $1 AND number = $2";
    /// `starts_at` could be moved; thisUpdate stands in the sealed bytes too.
    LATEST = heads!("issuer_id = $1 AND this_update <= $2", "issuer_id = $1 AND starts_at <= $2 AND this_update <= $2", "4");
    NEWEST = heads!("issuer_id = $1", "issuer_id = $1", "1");
    /// In clear and not yet in force: of an older binary, which sealed nothing, or of a clock that was wrong.
    FUTURE = heads!("this_update > $1", "created_at > $2", "100");
    AHEAD = heads!("1 = 0 AND issuer_id = $1", "issuer_id = $1", "200");
    HAS_AHEAD = "SELECT id FROM crls_ahead WHERE issuer_id = $1 AND starts_at > $2 LIMIT 1";
    PIECE = "SELECT substr(der, $2, $3) AS piece FROM crls WHERE id = $1",
        postgres "SELECT substr(der, CAST($2 AS INTEGER), CAST($3 AS INTEGER)) AS piece FROM crls WHERE id = $1";
    PIECE_AHEAD = "SELECT substr(sealed, $2, $3) AS piece FROM crls_ahead WHERE id = $1",
        postgres "SELECT substr(sealed, CAST($2 AS INTEGER), CAST($3 AS INTEGER)) AS piece FROM crls_ahead WHERE id = $1";
    DELETE = "DELETE FROM crls WHERE id = $1";
    DELETE_AHEAD = "DELETE FROM crls_ahead WHERE id = $1";
    WITHDRAW = "DELETE FROM crls WHERE issuer_id = $1 AND this_update > $2";
    WITHDRAW_AHEAD = "DELETE FROM crls_ahead WHERE issuer_id = $1 AND (starts_at > $2 OR this_update > $2)";
    STATE = "SELECT crl_counter, crl_number, crl_retained_since FROM issuers WHERE id = $1";
    BEGIN = "UPDATE issuers SET crl_dirty = FALSE, crl_building = TRUE, crl_retained_since = COALESCE(crl_retained_since, $2) WHERE id = $1";
    STORED = "UPDATE issuers SET crl_number = $2, crl_counter = $3, crl_building = FALSE WHERE id = $1";
}

/// The octets of the shortest entry of a CRL: a serial of one octet, and a time.
pub(super) const ENTRY_OCTETS: i64 = 20;

const LARGE: LargeRow = LargeRow {
    copy: "COPY crls (id, issuer_id, number, this_update, next_update, entries, created_at, der) FROM STDIN (FORMAT binary)",
    zeros: INSERT_ZEROS,
    table: c"crls",
    column: c"der",
};
const LARGE_AHEAD: LargeRow = LargeRow {
    copy: "COPY crls_ahead (id, issuer_id, number, this_update, next_update, entries, created_at, starts_at, sealed) FROM STDIN (FORMAT binary)",
    zeros: INSERT_ZEROS_AHEAD,
    table: c"crls_ahead",
    column: c"sealed",
};

/// Everything about a CRL but its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlHead {
    pub id: CrlId,
    pub issuer_id: IssuerId,
    pub number: CrlNumber,
    pub this_update: Timestamp,
    pub next_update: Timestamp,
    pub entries: i64,
    /// When what it lists was read.
    pub created_at: Timestamp,
    /// Octets of what is stored.
    pub size: i64,
    /// It lies under the status seal.
    pub sealed: bool,
    /// From when on it is in force.
    pub starts_at: Timestamp,
}

impl CrlHead {
    /// How many entries it can have: the column `entries` says what its row says, and the bytes bound it.
    pub fn plausible_entries(&self) -> i64 {
        self.entries.min(self.size / ENTRY_OCTETS)
    }
}

/// A CRL that has just been signed.
#[derive(Debug)]
pub struct NewCrl {
    pub id: CrlId,
    pub issuer_id: IssuerId,
    pub number: CrlNumber,
    pub this_update: Timestamp,
    pub next_update: Timestamp,
    pub entries: i64,
    pub created_at: Timestamp,
    /// In clear, or sealed.
    pub bytes: Bytes,
}

/// Stores a CRL that is in force at once. A large one is written in pieces: a copy of it would be megabytes.
pub async fn insert(tx: &mut super::Tx, crl: NewCrl) -> Result<()> {
    if crl.bytes.len() >= LARGE_VALUE {
        let args = values(q(INSERT_ZEROS), &crl).bind(crl.created_at).into_args();
        return write_large(tx.raw(), LARGE, args, &crl.bytes).await;
    }
    values(q(INSERT), &crl).bind(crl.bytes.to_vec()).bind(crl.created_at).execute(tx).await.map(drop)
}

/// Stores a sealed CRL that is in force from `starts_at` on; one that is there stays as it is. The caller holds the
/// issuer's row.
pub async fn insert_ahead(tx: &mut super::Tx, crl: NewCrl, starts_at: Timestamp) -> Result<()> {
    if crl.bytes.len() < LARGE_VALUE {
        let query = values(q(INSERT_AHEAD), &crl).bind(crl.bytes.to_vec()).bind(crl.created_at).bind(starts_at);
        return query.execute(tx).await.map(drop);
    }
    let known = q(KNOWN_AHEAD).bind(crl.issuer_id.to_vec()).bind(crl.number.stored());
    if known.fetch_optional(&mut *tx).await?.is_some() {
        return Ok(());
    }
    let args = values(q(INSERT_ZEROS_AHEAD), &crl).bind(crl.created_at).bind(starts_at).into_args();
    write_large(tx.raw(), LARGE_AHEAD, args, &crl.bytes).await
}

fn values(query: Query, crl: &NewCrl) -> Query {
    query
        .bind(crl.id.to_vec())
        .bind(crl.issuer_id.to_vec())
        .bind(crl.number.stored())
        .bind(crl.this_update)
        .bind(crl.next_update)
        .bind(crl.entries)
}

/// Those whose time has come, the one in force first.
pub async fn latest<'a>(on: impl Into<On<'a>>, issuer: IssuerId, now: Timestamp) -> Result<Vec<CrlHead>> {
    q(LATEST).bind(issuer.to_vec()).bind(now).fetch_all(on).await?.iter().map(head).collect()
}

/// The CRL in force at `now`.
pub async fn in_force<'a>(on: impl Into<On<'a>>, issuer: IssuerId, now: Timestamp) -> Result<Option<CrlHead>> {
    Ok(latest(on, issuer, now).await?.into_iter().next())
}

/// The one of the highest number, whether its time has come or not.
pub async fn newest<'a>(on: impl Into<On<'a>>, issuer: IssuerId) -> Result<Option<CrlHead>> {
    q(NEWEST).bind(issuer.to_vec()).fetch_all(on).await?.first().map(head).transpose()
}

/// A few of those that lie in clear before their time at `now`, or were signed after `wrong`.
pub async fn future<'a>(on: impl Into<On<'a>>, now: Timestamp, wrong: Timestamp) -> Result<Vec<CrlHead>> {
    q(FUTURE).bind(now).bind(wrong).fetch_all(on).await?.iter().map(head).collect()
}

/// Those that lie sealed.
pub async fn ahead<'a>(on: impl Into<On<'a>>, issuer: IssuerId) -> Result<Vec<CrlHead>> {
    q(AHEAD).bind(issuer.to_vec()).fetch_all(on).await?.iter().map(head).collect()
}

/// Does one stand ready for later?
pub async fn has_ahead<'a>(on: impl Into<On<'a>>, issuer: IssuerId, now: Timestamp) -> Result<bool> {
    Ok(q(HAS_AHEAD).bind(issuer.to_vec()).bind(now).fetch_optional(on).await?.is_some())
}

/// The stored bytes. None when the CRL was removed meanwhile.
pub async fn bytes(store: &super::Store, crl: &CrlHead) -> Result<Option<Vec<u8>>> {
    let text = if crl.sealed { PIECE_AHEAD } else { PIECE };
    let piece = |from, octets| q(text).bind(crl.id.to_vec()).bind(from).bind(octets);
    in_pieces(store, crl.size, piece).await
}

/// Reads `size` octets by a query for each piece (from, count), so that the database's copy of a large list is a small
/// one. None when a piece is not there any more.
pub(super) async fn in_pieces(
    store: &super::Store,
    size: i64,
    query: impl Fn(i64, i64) -> Query,
) -> Result<Option<Vec<u8>>> {
    // SQLite reads all of the value for each piece
    let most: i64 = if store.db.is_postgres() { 1 << 20 } else { 8 << 20 };
    let size = usize::try_from(size).unwrap_or(0);
    let mut all = Vec::with_capacity(size);
    while all.len() < size {
        let from = i64::try_from(all.len()).unwrap_or(i64::MAX) + 1;
        let Some(row) = query(from, most).fetch_optional(store).await? else { return Ok(None) };
        let piece: Vec<u8> = row.get("piece")?;
        if piece.is_empty() {
            return Err(Error::inconsistent("a CRL is shorter than it was a moment ago"));
        }
        if piece.len() == size {
            return Ok(Some(piece));
        }
        all.extend_from_slice(&piece);
    }
    Ok(Some(all))
}

/// Removes one CRL. False when it was gone.
pub async fn delete<'a>(on: impl Into<On<'a>>, crl: &CrlHead) -> Result<bool> {
    let text = if crl.sealed { DELETE_AHEAD } else { DELETE };
    Ok(q(text).bind(crl.id.to_vec()).execute(on).await? == 1)
}

/// Removes CRLs that were made ready and whose time has not come: a revocation has outdated them.
pub async fn withdraw_future(tx: &mut super::Tx, issuer: IssuerId, now: Timestamp) -> Result<()> {
    q(WITHDRAW).bind(issuer.to_vec()).bind(now).execute(&mut *tx).await?;
    q(WITHDRAW_AHEAD).bind(issuer.to_vec()).bind(now).execute(tx).await.map(drop)
}

/// Removes all but the newest `kept` of those whose time has come. Before a new one is stored, so that SQLite takes the
/// pages that become free: else as many again would be written to its log.
pub async fn prune(tx: &mut super::Tx, issuer: IssuerId, now: Timestamp, kept: usize) -> Result<()> {
    loop {
        let known = latest(&mut *tx, issuer, now).await?;
        if known.len() <= kept {
            return Ok(());
        }
        for old in known.iter().skip(kept) {
            delete(&mut *tx, old).await?;
        }
    }
}

/// How many CRLs of an issuer are kept.
pub const KEPT: usize = 3;

/// What an issuer's row says of its CRLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrlState {
    pub counter: i64,
    /// The highest number ever used, older replicas' included.
    pub number: CrlNumber,
    /// Since when revoked certificates stay listed past their end.
    pub retained_since: Option<Timestamp>,
}

/// Read under the issuer's lock. `epoch` is the installation's.
pub async fn state(tx: &mut super::Tx, issuer: IssuerId, epoch: u64) -> Result<CrlState> {
    let row = q(STATE).bind(issuer.to_vec()).fetch_one(&mut *tx).await?;
    let counter: i64 = row.get("crl_counter")?;
    let known: Option<Vec<u8>> = row.get("crl_number")?;
    let known = known.map(|octets| self::number(&octets)).transpose()?;
    let stored = newest(&mut *tx, issuer).await?.map(|crl| crl.number);
    let counted = CrlNumber::new(epoch, u64::try_from(counter).unwrap_or(0));
    let number = [known, stored].into_iter().flatten().fold(counted, CrlNumber::max);
    Ok(CrlState { counter, number, retained_since: row.time_opt("crl_retained_since")? })
}

/// Takes the dirt of an issuer over to the publication that begins: a revocation that comes later marks it dirty again.
/// `retained_since` is kept from the first time on.
pub async fn begin(tx: &mut super::Tx, issuer: IssuerId, retained_since: Option<Timestamp>) -> Result<()> {
    q(BEGIN).bind(issuer.to_vec()).bind(retained_since).execute(tx).await.map(drop)
}

/// In the transaction that stores the CRLs up to this number. `counter` is for older replicas.
pub async fn stored(tx: &mut super::Tx, issuer: IssuerId, number: CrlNumber, counter: i64) -> Result<()> {
    q(STORED).bind(issuer.to_vec()).bind(number.stored()).bind(counter).execute(tx).await.map(drop)
}

fn number(octets: &[u8]) -> Result<CrlNumber> {
    let number = CrlNumber::from_octets(octets).filter(|_| matches!(octets.len(), 16 | 20));
    number.ok_or_else(|| Error::inconsistent("a CRL number is not 16 or 20 bytes"))
}

fn head(row: &Row) -> Result<CrlHead> {
    Ok(CrlHead {
        id: row.id("id")?,
        issuer_id: row.id("issuer_id")?,
        number: number(&row.get::<Vec<u8>>("number")?)?,
        this_update: row.time("this_update")?,
        next_update: row.time("next_update")?,
        entries: row.get("entries")?,
        created_at: row.time("created_at")?,
        size: row.get("size")?,
        sealed: row.get::<i64>("sealed")? == 1,
        starts_at: row.time("starts_at")?,
    })
}
