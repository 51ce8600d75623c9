//! Revocations in a narrow table of their own, and keys that may never be certified again.

use std::collections::HashMap;

use super::engine::{On, RawTx, fetch_many, fetch_many_alone, q, statements, sweep};
use super::row_macs::{revocation_object, said_of, tell_key, tell_revocation};
use super::{Store, Tx};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::crl::Listed;
use crate::model::id::{CertificateId, IssuerId};
use crate::model::reason::RevocationReason;
use crate::model::revocation::NewRevocation;
use crate::model::serial::{SerialNumber, parse_hex, to_hex};

macro_rules! columns {
    () => {
        "serial, certificate_id, revoked_at, reason, not_after, invalidity_date"
    };
}

/// Is the newest event of this process there, and what does the database say of its own age?
macro_rules! history {
    ($asked:literal) => {
        concat!(
            "(SELECT COUNT(*) FROM ",
            $asked,
            " JOIN audit_events e ON e.writer = asked.writer AND e.lane = asked.lane AND e.seq = asked.seq) AS ends, ",
            "(SELECT r.version FROM versions r WHERE r.topic = 'revocations') AS revocations, ",
            "(SELECT rolled_back_at FROM history WHERE one = 1) AS rolled_back_at"
        )
    };
}

statements! {
    INSERT = "INSERT INTO revocations (issuer_id, serial, certificate_id, revoked_at, reason, not_after, invalidity_date) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    PUT_BACK = "INSERT INTO revocations (issuer_id, serial, certificate_id, revoked_at, reason, not_after, invalidity_date) VALUES ($1, $2, $3, $4, $5, $6, $7) \
                ON CONFLICT (issuer_id, serial) DO UPDATE SET certificate_id = excluded.certificate_id, revoked_at = excluded.revoked_at, \
                reason = excluded.reason, not_after = excluded.not_after, invalidity_date = excluded.invalidity_date";
    RAISE = "UPDATE revocations SET reason = $3, invalidity_date = $4 WHERE issuer_id = $1 AND serial = $2";
    REMOVE = "DELETE FROM revocations WHERE issuer_id = $1 AND serial = $2";
    NOTE_CHANGE = "UPDATE issuers SET revocations_changed = revocations_changed + 1, crl_dirty = TRUE WHERE id = $1";
    CHANGES = "SELECT revocations_changed FROM issuers WHERE id = $1";
    PAGE = concat!("SELECT ", columns!(), " FROM revocations WHERE issuer_id = $1 AND serial > $2 AND not_after >= $3 ORDER BY serial LIMIT $4");
    /// A million rows one by one cost seconds; the database writes them in one text.
    LISTED = "SELECT group_concat(hex(serial) || ' ' || revoked_at || ' ' || reason || ' ' || COALESCE(invalidity_date, ''), ',') AS listed FROM \
              (SELECT serial, revoked_at, reason, invalidity_date FROM revocations WHERE issuer_id = $1 AND serial > $2 AND not_after >= $3 ORDER BY serial LIMIT $4) AS page",
        postgres "SELECT string_agg(encode(serial, 'hex') || ' ' || revoked_at || ' ' || reason || ' ' || COALESCE(CAST(invalidity_date AS text), ''), ',' ORDER BY serial) AS listed FROM \
                  (SELECT serial, revoked_at, reason, invalidity_date FROM revocations WHERE issuer_id = $1 AND serial > $2 AND not_after >= $3 ORDER BY serial LIMIT $4) AS page";
    /// In one statement, and so of one moment.
    CHANGED = "SELECT COUNT(*) AS n, (SELECT revocations_changed FROM issuers WHERE id = $1) AS changes, \
               group_concat(CASE WHEN revoked_at >= $3 THEN hex(serial) || ' ' || revoked_at || ' ' || reason || ' ' || COALESCE(invalidity_date, '') END, ',') AS listed \
               FROM revocations WHERE issuer_id = $1 AND not_after >= $2",
        postgres "SELECT COUNT(*) AS n, (SELECT revocations_changed FROM issuers WHERE id = $1) AS changes, \
                  string_agg(CASE WHEN revoked_at >= $3 THEN encode(serial, 'hex') || ' ' || revoked_at || ' ' || reason || ' ' || COALESCE(CAST(invalidity_date AS text), '') END, ',') AS listed \
                  FROM revocations WHERE issuer_id = $1 AND not_after >= $2";
    BETWEEN = "SELECT serial FROM revocations WHERE issuer_id = $1 AND not_after >= $2 AND revoked_at > $3 AND revoked_at <= $4 ORDER BY serial LIMIT $5";
    /// Of these certificates those that are revoked in both places, and whether one of them says that it is on hold.
    REVOKED_OF = "SELECT c.id, CAST(CASE WHEN 'certificateHold' IN (r.reason, c.reason) THEN 1 ELSE 0 END AS BIGINT) AS held FROM certificates c JOIN revocations r ON r.issuer_id = c.issuer_id AND r.serial = c.serial \
                  WHERE c.status = 'revoked' AND c.id IN (VALUES ($1))",
        postgres "SELECT c.id, CAST(CASE WHEN 'certificateHold' IN (r.reason, c.reason) THEN 1 ELSE 0 END AS BIGINT) AS held FROM certificates c JOIN revocations r ON r.issuer_id = c.issuer_id AND r.serial = c.serial \
                  WHERE c.status = 'revoked' AND c.id = ANY($1::bytea[])";
    WALK = "SELECT issuer_id, serial, certificate_id, revoked_at, reason, not_after, invalidity_date FROM revocations \
            WHERE (issuer_id, serial) > ($1, $2) ORDER BY issuer_id, serial LIMIT $3";
    /// With what was signed, after an issuer and a serial.
    ENDED = "SELECT r.issuer_id, r.serial, r.certificate_id, r.not_after, b.tbs, b.der FROM revocations r \
             LEFT JOIN certificate_bodies b ON b.certificate_id = r.certificate_id \
             WHERE (r.issuer_id, r.serial) > ($1, $2) AND r.not_after < $3 ORDER BY r.issuer_id, r.serial LIMIT $4";
    LENGTHEN = "UPDATE revocations SET not_after = $3 WHERE issuer_id = $1 AND serial = $2 AND not_after < $3";
    FIND = concat!("SELECT ", columns!(), " FROM revocations WHERE issuer_id = $1 AND serial = $2");
    BLOCK = "INSERT INTO blocked_keys (spki_sha256, reason, blocked_at, actor) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    BLOCKED = "SELECT reason FROM blocked_keys WHERE spki_sha256 = $1";
    /// All that an intent compares with what its process knows, in one statement: the version of the hierarchy, which
    /// stays as it is until the transaction ends, the database's time on Postgres, and which keys are blocked.
    BEFORE_INTENT = concat!("WITH asked (spki_sha256, writer, lane, seq) AS (VALUES ($1, $2, $3, $4)) \
            SELECT NULL AS micros, v.version, b.spki_sha256, b.reason, ", history!("asked"), " FROM versions v \
            LEFT JOIN blocked_keys b ON b.spki_sha256 IN (SELECT spki_sha256 FROM asked) WHERE v.topic = 'hierarchy'"),
        postgres concat!("SELECT t.micros, v.version, b.spki_sha256, b.reason, ",
            history!("UNNEST($2::bytea[], $3::bigint[], $4::bigint[]) AS asked (writer, lane, seq)"), " FROM versions v \
            CROSS JOIN (SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) AS micros) t \
            LEFT JOIN blocked_keys b ON b.spki_sha256 = ANY($1::bytea[]) WHERE v.topic = 'hierarchy' FOR SHARE OF v");
}

/// Those of these certificates that are revoked, each with whether a row of it says that it is on hold.
pub async fn reasons_of(store: &Store, certificates: &[CertificateId]) -> Result<HashMap<CertificateId, bool>> {
    let rows = certificates.iter().map(|id| vec![id.to_vec().into()]).collect();
    let revoked = fetch_many_alone(&store.db, REVOKED_OF, rows).await?;
    revoked.iter().map(|row| Ok((row.id("id")?, row.get::<i64>("held")? == 1))).collect()
}

/// A row as it stands, whether it makes sense or not.
#[derive(Debug, Clone)]
pub struct StoredRevocation {
    pub issuer_id: Vec<u8>,
    pub serial: Vec<u8>,
    certificate_id: Vec<u8>,
    pub revoked_at: i64,
    reason: String,
    not_after: i64,
    invalidity_date: Option<i64>,
}

impl StoredRevocation {
    /// Its name in the audit.
    pub fn object(&self) -> String {
        let issuer = IssuerId::try_from(self.issuer_id.clone());
        revocation_object(&issuer.map_or_else(|_| to_hex(&self.issuer_id), |id| id.to_string()), &self.serial)
    }

    /// Its values as the audit names them.
    pub fn said(&self) -> Vec<serde_json::Value> {
        let id = CertificateId::try_from(self.certificate_id.clone());
        let certificate = id.map_or_else(|_| to_hex(&self.certificate_id), |id| id.to_string());
        said_of(&certificate, self.revoked_at, &self.reason, self.not_after, self.invalidity_date)
    }
}

/// All rows in the order of issuers and serials, after these.
pub async fn walk(store: &Store, (issuer, serial): &(Vec<u8>, Vec<u8>), limit: i64) -> Result<Vec<StoredRevocation>> {
    let rows = q(WALK).bind(issuer.clone()).bind(serial.clone()).bind(limit).fetch_all(store).await?;
    let read = |row: &super::engine::Row| {
        Ok(StoredRevocation {
            issuer_id: row.get("issuer_id")?,
            serial: row.get("serial")?,
            certificate_id: row.get("certificate_id")?,
            revoked_at: row.get("revoked_at")?,
            reason: row.get("reason")?,
            not_after: row.get("not_after")?,
            invalidity_date: row.get("invalidity_date")?,
        })
    };
    rows.iter().map(read).collect()
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    pub serial: SerialNumber,
    pub certificate_id: CertificateId,
    pub revoked_at: Timestamp,
    pub reason: RevocationReason,
    pub not_after: Timestamp,
    /// RFC 5280 §5.3.2.
    pub invalidity_date: Option<Timestamp>,
}

/// A revocation whose certificate is said to have expired.
#[derive(Debug, Clone)]
pub struct Ended {
    pub issuer_id: IssuerId,
    pub serial: SerialNumber,
    pub certificate_id: CertificateId,
    pub not_after: Timestamp,
    /// To-be-signed bytes, and the DER if it was signed, of the certificate that it names.
    pub body: Option<(Vec<u8>, Option<Vec<u8>>)>,
}

/// In the order of issuers and serials, after `after`, those whose certificate is said to have ended before `now`.
pub async fn ended(
    store: &Store,
    (issuer, serial): &(Vec<u8>, Vec<u8>),
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Ended>> {
    let query = q(ENDED).bind(issuer.clone()).bind(serial.clone()).bind(now).bind(limit);
    let mut ended = Vec::new();
    for row in query.fetch_all(store).await? {
        let tbs: Option<Vec<u8>> = row.get("tbs")?;
        ended.push(Ended {
            issuer_id: row.id("issuer_id")?,
            serial: SerialNumber::from_octets(&row.get::<Vec<u8>>("serial")?)?,
            certificate_id: row.id("certificate_id")?,
            not_after: row.time("not_after")?,
            body: match tbs {
                Some(tbs) => Some((tbs, row.get("der")?)),
                None => None,
            },
        });
    }
    Ok(ended)
}

/// Gives a revocation the end of its certificate, where it says an earlier one. The caller calls `note_change` in the same
/// transaction.
pub async fn lengthen<'a>(
    on: impl Into<On<'a>>,
    issuer: IssuerId,
    serial: &SerialNumber,
    end: Timestamp,
) -> Result<()> {
    q(LENGTHEN).bind(issuer.to_vec()).bind(serial.octets()).bind(end).execute(on).await.map(drop)
}

/// `version` rises with each change of one revocation: it stands in the audit.
pub async fn insert(tx: &mut Tx, issuer: IssuerId, r: &Revocation, version: i64) -> Result<()> {
    write(tx, INSERT, issuer, r).await?;
    tell_revocation(tx, issuer, &r.serial, version, r.said());
    Ok(())
}

/// Writes a revocation as the audit names it, whatever row of it there is, and names nothing anew. The caller calls
/// `note_change` in the same transaction.
pub async fn put_back(tx: &mut Tx, issuer: IssuerId, r: &Revocation) -> Result<()> {
    write(tx, PUT_BACK, issuer, r).await
}

async fn write(tx: &mut Tx, text: super::engine::Sql, issuer: IssuerId, r: &Revocation) -> Result<()> {
    q(text)
        .bind(issuer.to_vec())
        .bind(r.serial.octets())
        .bind(r.certificate_id.to_vec())
        .bind(r.revoked_at)
        .bind(r.reason.name())
        .bind(r.not_after)
        .bind(r.invalidity_date)
        .execute(tx)
        .await
        .map(drop)
}

impl Revocation {
    fn said(&self) -> Vec<serde_json::Value> {
        let (at, end) = (self.revoked_at.micros(), self.not_after.micros());
        let date = self.invalidity_date.map(Timestamp::micros);
        said_of(&self.certificate_id.to_string(), at, self.reason.name(), end, date)
    }
}

/// Changes why a certificate is revoked, and not when. The caller calls `note_change` in the same transaction.
pub async fn raise(
    tx: &mut Tx,
    issuer: IssuerId,
    serial: &SerialNumber,
    new: NewRevocation,
    version: i64,
) -> Result<()> {
    let query = q(RAISE).bind(issuer.to_vec()).bind(serial.octets());
    query.bind(new.reason.name()).bind(new.invalidity_date).execute(&mut *tx).await?;
    if let Some(raised) = find(&mut *tx, issuer, serial).await? {
        tell_revocation(tx, issuer, serial, version, raised.said());
    }
    Ok(())
}

/// Takes a revocation back: that of a hold. The caller calls `note_change` in the same transaction.
pub async fn remove(
    tx: &mut Tx,
    issuer: IssuerId,
    serial: &SerialNumber,
    certificate: CertificateId,
    version: i64,
) -> Result<()> {
    q(REMOVE).bind(issuer.to_vec()).bind(serial.octets()).execute(&mut *tx).await?;
    tell_taken_back(tx, issuer, serial, certificate, version);
    Ok(())
}

/// Has the transaction's event name a revocation that was taken back.
pub fn tell_taken_back(
    tx: &mut Tx,
    issuer: IssuerId,
    serial: &SerialNumber,
    certificate: CertificateId,
    version: i64,
) {
    tell_revocation(tx, issuer, serial, version, vec![certificate.to_string().into()]);
}

/// Counts a change of a revocation that stands on lists, and asks for a new CRL: lists that go on from the one before
/// are read as a whole.
pub async fn note_change<'a>(on: impl Into<On<'a>>, issuer: IssuerId) -> Result<()> {
    q(NOTE_CHANGE).bind(issuer.to_vec()).execute(on).await.map(drop)
}

/// How often revocations of an issuer were changed or taken back.
pub async fn changes<'a>(on: impl Into<On<'a>>, issuer: IssuerId) -> Result<i64> {
    match q(CHANGES).bind(issuer.to_vec()).fetch_optional(on).await? {
        Some(row) => row.get("revocations_changed"),
        None => Ok(0),
    }
}

/// In the order of serials, after `after`, those whose certificate ends at `alive_at` or later.
pub async fn page<'a>(
    on: impl Into<On<'a>>,
    issuer: IssuerId,
    after: Option<&SerialNumber>,
    alive_at: Timestamp,
    limit: i64,
) -> Result<Vec<Revocation>> {
    let after = after.map_or(Vec::new(), |s| s.octets().to_vec());
    let rows = q(PAGE).bind(issuer.to_vec()).bind(after).bind(alive_at).bind(limit).fetch_all(on).await?;
    rows.iter().map(revocation).collect()
}

/// What a CRL lists, in the order of serials after `after`: those whose certificate ends at `alive_at` or later.
pub async fn listed<'a>(
    on: impl Into<On<'a>>,
    issuer: IssuerId,
    after: Option<&SerialNumber>,
    alive_at: Timestamp,
    limit: i64,
) -> Result<Vec<Listed>> {
    let after = after.map_or(Vec::new(), |s| s.octets().to_vec());
    let row = q(LISTED).bind(issuer.to_vec()).bind(after).bind(alive_at).bind(limit).fetch_one(on).await?;
    let text: Option<String> = row.get("listed")?;
    text.as_deref().unwrap_or_default().split_terminator(',').map(read_listed).collect()
}

/// All that a CRL lists, in the order of serials after `after`, in one sweep. False on an engine that reads pages as well.
pub async fn sweep_listed(
    store: &super::Store,
    issuer: IssuerId,
    after: Option<&SerialNumber>,
    alive_at: Timestamp,
    mut each: impl FnMut(Listed) -> Result<()> + Send,
) -> Result<bool> {
    if !store.db.is_postgres() {
        return Ok(false);
    }
    let mut tx = store.db.begin().await?;
    // COPY takes no parameters; these are octets in hexadecimal and a number
    let copy = format!(
        "COPY (SELECT serial, revoked_at, reason, COALESCE(int8send(invalidity_date), '') FROM revocations WHERE issuer_id = '\\x{}' AND serial > '\\x{}' \
         AND not_after >= {} ORDER BY serial) TO STDOUT (FORMAT binary)",
        to_hex(&issuer.bytes()),
        to_hex(after.map_or(&[], SerialNumber::octets)),
        alive_at.micros()
    );
    let read = |columns: &[&[u8]]| {
        let unreadable = || Error::inconsistent("a revocation cannot be read");
        let [serial, revoked_at, reason, invalidity_date] = columns else { return Err(unreadable()) };
        let time = |octets: &[u8]| {
            let octets = <[u8; 8]>::try_from(octets).map_err(|e| unreadable().because(e))?;
            Ok::<_, Error>(Timestamp::from_micros(i64::from_be_bytes(octets)))
        };
        let reason = std::str::from_utf8(reason).map_err(|e| unreadable().because(e))?;
        each(Listed {
            serial: SerialNumber::from_octets(serial)?,
            revoked_at: time(revoked_at)?,
            reason: RevocationReason::from_name(reason).map_err(|e| unreadable().because(e))?,
            invalidity_date: Some(*invalidity_date).filter(|octets| !octets.is_empty()).map(time).transpose()?,
        })
    };
    let swept = sweep(&mut tx, "revocations::sweep_listed", &copy, read).await?;
    tx.commit().await?;
    Ok(swept)
}

/// The serials of an issuer's revocations after `from` and not after `until` whose certificates end at `alive_at` or later.
pub async fn between<'a>(
    on: impl Into<On<'a>>,
    issuer: IssuerId,
    alive_at: Timestamp,
    from: Timestamp,
    until: Timestamp,
    limit: i64,
) -> Result<Vec<Vec<u8>>> {
    let query = q(BETWEEN).bind(issuer.to_vec()).bind(alive_at).bind(from).bind(until).bind(limit);
    query.fetch_all(on).await?.iter().map(|row| row.get("serial")).collect()
}

/// What changed among an issuer's revocations.
#[derive(Debug, Clone)]
pub struct Changed {
    /// How many there are.
    pub count: u64,
    /// How often some were changed or taken back, ever.
    pub changes: i64,
    /// The recent ones, in the order of serials.
    pub recent: Vec<Listed>,
}

/// Of an issuer's revocations whose certificates end at `alive_at` or later: how many there are, and those since `since`.
pub async fn changed<'a>(
    on: impl Into<On<'a>>,
    issuer: IssuerId,
    alive_at: Timestamp,
    since: Timestamp,
) -> Result<Changed> {
    let row = q(CHANGED).bind(issuer.to_vec()).bind(alive_at).bind(since).fetch_one(on).await?;
    let (count, text): (i64, Option<String>) = (row.get("n")?, row.get("listed")?);
    let parts = text.as_deref().unwrap_or_default().split_terminator(',');
    let mut recent = parts.map(read_listed).collect::<Result<Vec<_>>>()?;
    recent.sort_unstable_by(|a, b| a.serial.cmp(&b.serial));
    let changes: Option<i64> = row.get("changes")?;
    Ok(Changed { count: count.unsigned_abs(), changes: changes.unwrap_or(0), recent })
}

fn read_listed(text: &str) -> Result<Listed> {
    let unreadable = || Error::inconsistent(format!("a revocation cannot be read: {text}"));
    let mut parts = text.splitn(4, ' ');
    let mut part = || parts.next().ok_or_else(unreadable);
    let serial = SerialNumber::from_octets(&parse_hex(part()?).ok_or_else(unreadable)?)?;
    let time = |text: &str| {
        let micros = text.parse().map_err(|e: std::num::ParseIntError| unreadable().because(e))?;
        Ok::<_, Error>(Timestamp::from_micros(micros))
    };
    let revoked_at = time(part()?)?;
    let reason = RevocationReason::from_name(part()?).map_err(|e| unreadable().because(e))?;
    let invalidity_date = Some(part()?).filter(|text| !text.is_empty()).map(time).transpose()?;
    Ok(Listed { serial, revoked_at, reason, invalidity_date })
}

pub async fn find<'a>(on: impl Into<On<'a>>, issuer: IssuerId, serial: &SerialNumber) -> Result<Option<Revocation>> {
    q(FIND).bind(issuer.to_vec()).bind(serial.octets()).fetch_optional(on).await?.as_ref().map(revocation).transpose()
}

/// Blocks a key for ever; blocking it twice changes nothing.
pub async fn block_key(
    tx: &mut Tx,
    spki_sha256: &[u8; 32],
    reason: &str,
    at: Timestamp,
    actor: &str,
    version: i64,
) -> Result<()> {
    q(BLOCK).bind(spki_sha256.to_vec()).bind(reason).bind(at).bind(actor).execute(&mut *tx).await?;
    tell_key(tx, &to_hex(spki_sha256), version, vec![reason.into()]);
    Ok(())
}

/// Why the key is blocked, if it is.
pub async fn blocked<'a>(on: impl Into<On<'a>>, spki_sha256: &[u8; 32]) -> Result<Option<String>> {
    q(BLOCKED).bind(spki_sha256.to_vec()).fetch_optional(on).await?.map(|row| row.get("reason")).transpose()
}

/// Why each blocked key is blocked.
pub type BlockedKeys = HashMap<[u8; 32], String>;

/// What an intent is judged by before anything else.
#[derive(Debug, Default)]
pub struct BeforeIntent {
    pub blocked: BlockedKeys,
    /// The version of issuers and their states. Who changes them waits until this transaction ends.
    pub hierarchy: i64,
    /// The database's time, where it has a clock of its own.
    pub database_time: Option<Timestamp>,
    /// The newest event that this process committed is there.
    pub has_end: bool,
    /// The version of revocations.
    pub revocations: i64,
    /// A process found the database to be older than remembered.
    pub rolled_back: bool,
}

/// `end` is the newest event that this process committed: writer, lane, seq.
pub async fn before_intent(
    tx: &mut RawTx,
    keys: impl Iterator<Item = [u8; 32]>,
    end: Option<&(Vec<u8>, i64, i64)>,
) -> Result<BeforeIntent> {
    let (writer, lane, seq) = match end {
        Some((writer, lane, seq)) => (Some(writer.clone()), Some(*lane), Some(*seq)),
        None => (None, None, None),
    };
    let row = |key: [u8; 32]| vec![key.to_vec().into(), writer.clone().into(), lane.into(), seq.into()];
    let keys = keys.map(row).collect();
    let rows = fetch_many(tx, BEFORE_INTENT, keys).await?;
    let mut found = BeforeIntent::default();
    for row in &rows {
        found.database_time = row.time_opt("micros")?;
        found.hierarchy = row.get("version")?;
        found.has_end = row.get::<i64>("ends")? > 0;
        found.revocations = row.get("revocations")?;
        found.rolled_back = row.time_opt("rolled_back_at")?.is_some();
        if let Some(key) = row.get::<Option<Vec<u8>>>("spki_sha256")? {
            found.blocked.insert(super::certificates::sha256(key)?, row.get("reason")?);
        }
    }
    Ok(found)
}

fn revocation(row: &super::engine::Row) -> Result<Revocation> {
    let reason: String = row.get("reason")?;
    Ok(Revocation {
        serial: SerialNumber::from_octets(&row.get::<Vec<u8>>("serial")?)?,
        certificate_id: row.id("certificate_id")?,
        revoked_at: row.time("revoked_at")?,
        reason: RevocationReason::from_name(&reason)
            .map_err(|e| Error::inconsistent("a revocation has an unknown reason").because(e))?,
        not_after: row.time("not_after")?,
        invalidity_date: row.time_opt("invalidity_date")?,
    })
}
