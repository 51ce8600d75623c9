//! Certificates: serials, intents, outcomes, lookups, keyset lists. Intents and outcomes are written for groups.

use super::engine::{On, RawTx, Row, q, statements, write_many};
use super::revocations::Revocation;
use crate::clock::{Timestamp, days};
use crate::error::{Error, Result};
use crate::model::certificate::{Certificate, CertificateFilter, CertificateStatus, ShownStatus};
use crate::model::id::{CertificateId, IssuerId, OrderId};
use crate::model::identifier::Identifier;
use crate::model::reason::RevocationReason;
use crate::model::revocation::NewRevocation;
use crate::model::serial::SerialNumber;
use crate::model::validity::Validity;

macro_rules! columns {
    () => {
        "c.id, c.serial, c.issuer_id, c.issuer, c.profile, c.profile_revision, c.status, c.subject, c.names, \
         c.not_before, c.not_after, c.spki_sha256, c.fingerprint, c.key_algorithm, c.via, c.requester, c.account_id, \
         c.order_id, c.replica_id, c.intended_at, c.issued_at, c.revoked_at, c.reason, c.invalidity_date"
    };
}

/// The conditions of a list; `$1` is the cursor, `$8` the limit. A NULL condition holds for every row.
macro_rules! filters {
    () => {
        " AND ($2 IS NULL OR c.profile = $2) AND ($3 IS NULL OR c.issuer = $3) AND ($4 IS NULL OR c.account_id = $4) \
         AND ($5 IS NULL OR c.requester = $5) AND ($6 IS NULL OR c.not_after < $6) \
         AND ($7 IS NULL OR c.status = $7) AND ($9 IS NULL OR c.not_after >= $9) AND ($10 IS NULL OR c.not_after < $10) \
         AND ($11 IS NULL OR EXISTS (SELECT 1 FROM certificate_bodies b WHERE b.certificate_id = c.id AND instr(b.der, $11) > 0))"
    };
}

/// Those of an issuer that are valid at `$2`, `Certificate::is_of_hierarchy` apart.
macro_rules! valid_of {
    () => {
        "issuer_id = $1 AND not_after >= $2 AND status = 'valid' \
         AND NOT (via = 'internal' AND profile IN ('root', 'issuing', 'ocsp'))"
    };
}

statements! {
    RESERVE = "INSERT INTO serials (serial, certificate_id) VALUES ($1, $2)",
        postgres "INSERT INTO serials (serial, certificate_id) SELECT * FROM UNNEST($1::bytea[], $2::bytea[])";
    INSERT = "INSERT INTO certificates (id, serial, issuer_id, issuer, profile, profile_revision, status, subject, names, not_before, \
              not_after, spki_sha256, key_algorithm, via, requester, account_id, order_id, replica_id, intended_at) \
              VALUES ($1, $2, $3, $4, $5, $6, 'intended', $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
        postgres "INSERT INTO certificates (id, serial, issuer_id, issuer, profile, profile_revision, status, subject, names, not_before, \
              not_after, spki_sha256, key_algorithm, via, requester, account_id, order_id, replica_id, intended_at) \
              SELECT a, b, c, d, e, f, 'intended', g, h, i, j, k, l, m, n, o, p, q, r FROM UNNEST($1::bytea[], $2::bytea[], $3::bytea[], \
              $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[], $9::bigint[], $10::bigint[], $11::bytea[], $12::text[], \
              $13::text[], $14::text[], $15::bytea[], $16::bytea[], $17::bytea[], $18::bigint[]) \
              AS u(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r)";
    INSERT_BODY = "INSERT INTO certificate_bodies (certificate_id, tbs, request) VALUES ($1, $2, $3)",
        postgres "INSERT INTO certificate_bodies (certificate_id, tbs, request) SELECT * FROM UNNEST($1::bytea[], $2::bytea[], $3::bytea[])";
    INSERT_NAME = "INSERT INTO certificate_names (name, certificate_id, reversed) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        postgres "INSERT INTO certificate_names (name, certificate_id, reversed) SELECT * FROM UNNEST($1::text[], $2::bytea[], $3::text[]) ON CONFLICT DO NOTHING";
    ISSUED = "UPDATE certificates SET status = 'valid', fingerprint = u.column2, issued_at = u.column3 \
              FROM (VALUES ($1, $2, $3)) AS u WHERE certificates.id = u.column1 AND status = 'intended' \
              AND NOT EXISTS (SELECT 1 FROM blocked_keys b WHERE b.spki_sha256 = certificates.spki_sha256)",
        postgres "UPDATE certificates SET status = 'valid', fingerprint = u.f, issued_at = u.t \
              FROM UNNEST($1::bytea[], $2::bytea[], $3::bigint[]) AS u(i, f, t) WHERE id = u.i AND status = 'intended' \
              AND NOT EXISTS (SELECT 1 FROM blocked_keys b WHERE b.spki_sha256 = certificates.spki_sha256)";
    STORE_DER = "UPDATE certificate_bodies SET der = u.column2 FROM (VALUES ($1, $2)) AS u WHERE certificate_id = u.column1",
        postgres "UPDATE certificate_bodies SET der = u.d FROM UNNEST($1::bytea[], $2::bytea[]) AS u(i, d) WHERE certificate_id = u.i";
    REVOKE = "UPDATE certificates SET status = 'revoked', revoked_at = $2, reason = $3, invalidity_date = $4 WHERE id = $1 AND status <> 'revoked'";
    PUT_BACK = "UPDATE certificates SET status = 'revoked', revoked_at = $2, reason = $3, invalidity_date = $4 WHERE id = $1";
    RAISE = "UPDATE certificates SET reason = $2, invalidity_date = $3 WHERE id = $1 AND status = 'revoked'";
    LIFT = "UPDATE certificates SET status = 'valid', revoked_at = NULL, reason = NULL, invalidity_date = NULL \
            WHERE id = $1 AND status = 'revoked' AND reason = 'certificateHold' AND fingerprint IS NOT NULL";
    BY_ID = concat!("SELECT ", columns!(), " FROM certificates c WHERE c.id = $1");
    LOCK = concat!("SELECT ", columns!(), " FROM certificates c WHERE c.id = $1"),
        postgres concat!("SELECT ", columns!(), " FROM certificates c WHERE c.id = $1 FOR UPDATE");
    BY_SERIAL = concat!("SELECT ", columns!(), " FROM serials s JOIN certificates c ON c.id = s.certificate_id WHERE s.serial = $1");
    /// One that was imported may share its serial with one of another issuer, and is then not in `serials`.
    BY_SERIAL_OF = concat!("SELECT ", columns!(), " FROM serials s JOIN certificates c ON c.id = s.certificate_id WHERE s.serial = $1 AND c.issuer_id = $2 \
        UNION ALL SELECT ", columns!(), " FROM certificates c WHERE c.serial = $1 AND c.issuer_id = $2 AND c.via = 'import' LIMIT 1");
    /// The same, to see whether there are several.
    HOLDERS = concat!("SELECT ", columns!(), " FROM serials s JOIN certificates c ON c.id = s.certificate_id WHERE s.serial = $1 AND c.issuer_id = $2 \
        UNION SELECT ", columns!(), " FROM certificates c WHERE c.serial = $1 AND c.issuer_id = $2 AND c.via = 'import' LIMIT 2");
    ALL_BY_SERIAL = concat!("SELECT ", columns!(), " FROM serials s JOIN certificates c ON c.id = s.certificate_id WHERE s.serial = $1 \
        UNION SELECT ", columns!(), " FROM certificates c WHERE c.serial = $1 AND c.via = 'import' ORDER BY 1 DESC");
    BY_FINGERPRINT = concat!("SELECT ", columns!(), " FROM certificates c WHERE c.fingerprint = $1");
    BY_ORDER = concat!("SELECT ", columns!(), " FROM certificates c WHERE c.order_id = $1");
    BY_KEY = concat!("SELECT ", columns!(), " FROM certificates c WHERE c.spki_sha256 = $1 AND c.id > $2 ORDER BY c.id LIMIT $3");
    STALE = "SELECT id FROM certificates WHERE status = 'intended' AND intended_at < $1 AND id > $2 ORDER BY id LIMIT $3";
    WITH_DER = concat!("SELECT ", columns!(), ", b.der FROM certificates c JOIN certificate_bodies b ON b.certificate_id = c.id WHERE c.id = $1");
    DER = "SELECT der FROM certificate_bodies WHERE certificate_id = $1";
    BODY = "SELECT tbs, request, der FROM certificate_bodies WHERE certificate_id = $1";
    LIST = concat!("SELECT ", columns!(), " FROM certificates c WHERE c.id < $1", filters!(), " ORDER BY c.id DESC LIMIT $8"),
        postgres concat!("SELECT ", columns!(), " FROM certificates c WHERE c.id < $1 AND ($2::text IS NULL OR c.profile = $2) AND ($3::text IS NULL OR c.issuer = $3) \
            AND ($4::bytea IS NULL OR c.account_id = $4) AND ($5::text IS NULL OR c.requester = $5) AND ($6::bigint IS NULL OR c.not_after < $6) \
            AND ($7::text IS NULL OR c.status = $7) AND ($9::bigint IS NULL OR c.not_after >= $9) AND ($10::bigint IS NULL OR c.not_after < $10) \
            AND ($11::bytea IS NULL OR EXISTS (SELECT 1 FROM certificate_bodies b WHERE b.certificate_id = c.id AND position($11 in b.der) > 0)) ORDER BY c.id DESC LIMIT $8");
    LIST_BY_NAME = concat!("SELECT ", columns!(), " FROM certificates c WHERE c.id < $1", filters!(),
        " AND c.id IN (SELECT n.certificate_id FROM certificate_names n WHERE n.name >= $12 AND n.name < $13) ORDER BY c.id DESC LIMIT $8"),
        postgres concat!("SELECT ", columns!(), " FROM certificates c WHERE c.id < $1 AND ($2::text IS NULL OR c.profile = $2) AND ($3::text IS NULL OR c.issuer = $3) \
            AND ($4::bytea IS NULL OR c.account_id = $4) AND ($5::text IS NULL OR c.requester = $5) AND ($6::bigint IS NULL OR c.not_after < $6) \
            AND ($7::text IS NULL OR c.status = $7) AND ($9::bigint IS NULL OR c.not_after >= $9) AND ($10::bigint IS NULL OR c.not_after < $10) \
            AND ($11::bytea IS NULL OR EXISTS (SELECT 1 FROM certificate_bodies b WHERE b.certificate_id = c.id AND position($11 in b.der) > 0)) \
            AND c.id IN (SELECT n.certificate_id FROM certificate_names n WHERE n.name >= $12 AND n.name < $13) ORDER BY c.id DESC LIMIT $8");
    LIST_BY_SUFFIX = concat!("SELECT ", columns!(), " FROM certificates c WHERE c.id < $1", filters!(),
        " AND c.id IN (SELECT n.certificate_id FROM certificate_names n WHERE n.reversed >= $12 AND n.reversed < $13) ORDER BY c.id DESC LIMIT $8"),
        postgres concat!("SELECT ", columns!(), " FROM certificates c WHERE c.id < $1 AND ($2::text IS NULL OR c.profile = $2) AND ($3::text IS NULL OR c.issuer = $3) \
            AND ($4::bytea IS NULL OR c.account_id = $4) AND ($5::text IS NULL OR c.requester = $5) AND ($6::bigint IS NULL OR c.not_after < $6) \
            AND ($7::text IS NULL OR c.status = $7) AND ($9::bigint IS NULL OR c.not_after >= $9) AND ($10::bigint IS NULL OR c.not_after < $10) \
            AND ($11::bytea IS NULL OR EXISTS (SELECT 1 FROM certificate_bodies b WHERE b.certificate_id = c.id AND position($11 in b.der) > 0)) \
            AND c.id IN (SELECT n.certificate_id FROM certificate_names n WHERE n.reversed >= $12 AND n.reversed < $13) ORDER BY c.id DESC LIMIT $8");
    WALK = concat!("SELECT ", columns!(), ", b.tbs, b.der FROM certificates c LEFT JOIN certificate_bodies b ON b.certificate_id = c.id WHERE c.id > $1 ORDER BY c.id LIMIT $2");
    NAME_ROWS = "SELECT n.name, n.certificate_id, n.reversed, c.names FROM certificate_names n LEFT JOIN certificates c ON c.id = n.certificate_id \
                 WHERE n.name > $1 OR (n.name = $1 AND n.certificate_id > $2) ORDER BY n.name, n.certificate_id LIMIT $3";
    STATES = "SELECT issuer, profile, CASE WHEN status = 'valid' AND not_after < $1 THEN 'expired' ELSE status END AS state, COUNT(*) AS n \
              FROM certificates GROUP BY 1, 2, 3";
    EXPIRING = "SELECT issuer, profile, COUNT(CASE WHEN not_after < $2 THEN 1 END) AS in_7d, COUNT(CASE WHEN not_after < $3 THEN 1 END) AS in_14d, COUNT(*) AS in_30d \
                FROM certificates WHERE status = 'valid' AND not_after >= $1 AND not_after < $4 GROUP BY issuer, profile";
    ENDING = concat!("SELECT ", columns!(), " FROM certificates c WHERE c.not_after >= $1 AND c.not_after < $2 AND c.status = 'valid' ORDER BY c.not_after, c.id LIMIT $3");
    /// Counts stop at a bound, so that a page costs the same whatever the table holds.
    COUNT_ENDING = "SELECT COUNT(*) AS n FROM (SELECT 1 AS one FROM certificates WHERE not_after >= $1 AND not_after < $2 AND status = 'valid' LIMIT $3) AS bounded";
    COUNT_VALID_OF = concat!("SELECT COUNT(*) AS n FROM certificates WHERE ", valid_of!());
    LAST_VALID_OF = concat!("SELECT MAX(not_after) AS last FROM certificates WHERE ", valid_of!());
    COUNT_NAMED = "SELECT COUNT(*) AS n FROM certificates c JOIN certificate_bodies b ON b.certificate_id = c.id \
                   WHERE c.issuer_id = $1 AND c.not_after >= $2 AND c.status = 'valid' AND c.via <> 'internal' AND instr(b.der, $3) > 0",
        postgres "SELECT COUNT(*) AS n FROM certificates c JOIN certificate_bodies b ON b.certificate_id = c.id \
                   WHERE c.issuer_id = $1 AND c.not_after >= $2 AND c.status = 'valid' AND c.via <> 'internal' AND position($3 in b.der) > 0";
    COUNT_SINCE = "SELECT COUNT(*) AS n FROM (SELECT 1 AS one FROM certificates WHERE id >= $1 LIMIT $2) AS bounded";
    COUNTS = "SELECT issuer, profile, status, COUNT(*) AS n FROM certificates GROUP BY issuer, profile, status";
}

/// A certificate before its signature, with the bytes that will be signed.
#[derive(Debug, Clone)]
pub struct Intent {
    pub certificate: Certificate,
    pub tbs: Vec<u8>,
    /// The CSR in DER, when there was one.
    pub request: Option<Vec<u8>>,
}

/// A signed and verified certificate.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub id: CertificateId,
    pub der: Vec<u8>,
    pub fingerprint: [u8; 32],
    pub issued_at: Timestamp,
}

/// Reserves the serials and writes the intents, all in the caller's transaction. A serial that exists is a conflict.
pub async fn intend(tx: &mut RawTx, intents: &[Intent]) -> Result<()> {
    let ids = || intents.iter().map(|i| &i.certificate);
    let reserve = ids().map(|c| vec![c.serial.octets().into(), c.id.to_vec().into()]);
    write_many(tx, RESERVE, reserve.collect()).await?;
    let rows = ids().map(|c| {
        Ok(vec![
            c.id.to_vec().into(),
            c.serial.octets().into(),
            c.issuer_id.to_vec().into(),
            (&c.issuer).into(),
            (&c.profile).into(),
            c.profile_revision.into(),
            (&c.subject).into(),
            json(&c.names)?.into(),
            c.validity.not_before().into(),
            c.validity.not_after().into(),
            c.spki_sha256.to_vec().into(),
            (&c.key_algorithm).into(),
            (&c.via).into(),
            (&c.requester).into(),
            c.account_id.map(|id| id.to_vec()).into(),
            c.order_id.map(OrderId::to_vec).into(),
            c.replica_id.to_vec().into(),
            c.intended_at.into(),
        ])
    });
    write_many(tx, INSERT, rows.collect::<Result<_>>()?).await?;
    let bodies = intents
        .iter()
        .map(|i| vec![i.certificate.id.to_vec().into(), i.tbs.clone().into(), i.request.clone().into()]);
    write_many(tx, INSERT_BODY, bodies.collect()).await?;
    insert_names(tx, ids()).await
}

/// Makes certificates findable by their names.
pub(super) async fn insert_names(tx: &mut RawTx, all: impl Iterator<Item = &Certificate>) -> Result<()> {
    let names =
        all.flat_map(|c| c.names.iter().map(|n| vec![n.value().into(), c.id.to_vec().into(), reversed(n).into()]));
    write_many(tx, INSERT_NAME, names.collect()).await.map(drop)
}

/// Stores the signed certificates. Returns how many intents were still open: one that recovery revoked, or whose
/// key was blocked meanwhile, does not count, and then nothing of the group may be released.
pub async fn complete(tx: &mut RawTx, outcomes: &[Outcome]) -> Result<u64> {
    let rows = outcomes
        .iter()
        .map(|o| vec![o.id.to_vec().into(), o.fingerprint.to_vec().into(), o.issued_at.into()])
        .collect();
    let open = write_many(tx, ISSUED, rows).await?;
    let ders = outcomes.iter().map(|o| vec![o.id.to_vec().into(), o.der.clone().into()]).collect();
    write_many(tx, STORE_DER, ders).await?;
    Ok(open)
}

/// Whether it was open or valid before. The row in `revocations` is the caller's to add.
pub async fn revoke<'a>(on: impl Into<On<'a>>, id: CertificateId, at: Timestamp, new: NewRevocation) -> Result<bool> {
    let query = q(REVOKE).bind(id.to_vec()).bind(at).bind(new.reason.name()).bind(new.invalidity_date);
    Ok(query.execute(on).await? == 1)
}

/// Revokes a certificate as this revocation says, whatever its row says.
pub async fn put_back<'a>(on: impl Into<On<'a>>, revocation: &Revocation) -> Result<()> {
    let query = q(PUT_BACK).bind(revocation.certificate_id.to_vec()).bind(revocation.revoked_at);
    query.bind(revocation.reason.name()).bind(revocation.invalidity_date).execute(on).await.map(drop)
}

/// Changes why a certificate is revoked, and not when. Whether it is revoked.
pub async fn raise<'a>(on: impl Into<On<'a>>, id: CertificateId, new: NewRevocation) -> Result<bool> {
    Ok(q(RAISE).bind(id.to_vec()).bind(new.reason.name()).bind(new.invalidity_date).execute(on).await? == 1)
}

/// Takes a hold back. Whether the certificate was on hold; an intent that was given up never is.
pub async fn lift<'a>(on: impl Into<On<'a>>, id: CertificateId) -> Result<bool> {
    Ok(q(LIFT).bind(id.to_vec()).execute(on).await? == 1)
}

pub async fn find<'a>(on: impl Into<On<'a>>, id: CertificateId) -> Result<Option<Certificate>> {
    one(q(BY_ID).bind(id.to_vec()).fetch_optional(on).await?)
}

/// The row, locked until the transaction ends.
pub async fn lock<'a>(on: impl Into<On<'a>>, id: CertificateId) -> Result<Option<Certificate>> {
    one(q(LOCK).bind(id.to_vec()).fetch_optional(on).await?)
}

pub async fn find_by_serial<'a>(on: impl Into<On<'a>>, serial: &SerialNumber) -> Result<Option<Certificate>> {
    one(q(BY_SERIAL).bind(serial.octets()).fetch_optional(on).await?)
}

/// The certificate of an issuer with this serial.
pub async fn find_by_serial_of<'a>(
    on: impl Into<On<'a>>,
    issuer: IssuerId,
    serial: &SerialNumber,
) -> Result<Option<Certificate>> {
    one(q(BY_SERIAL_OF).bind(serial.octets()).bind(issuer.to_vec()).fetch_optional(on).await?)
}

/// The certificate of an issuer with this serial, and a second one where somebody wrote it into the database.
pub async fn holders<'a>(on: impl Into<On<'a>>, issuer: IssuerId, serial: &SerialNumber) -> Result<Vec<Certificate>> {
    q(HOLDERS).bind(serial.octets()).bind(issuer.to_vec()).fetch_all(on).await?.iter().map(row).collect()
}

/// Every certificate with this serial, newest first: several only where CAs were imported that used the same one.
pub async fn all_by_serial<'a>(on: impl Into<On<'a>>, serial: &SerialNumber) -> Result<Vec<Certificate>> {
    q(ALL_BY_SERIAL).bind(serial.octets()).fetch_all(on).await?.iter().map(row).collect()
}

pub async fn find_by_fingerprint<'a>(on: impl Into<On<'a>>, sha256: &[u8]) -> Result<Option<Certificate>> {
    one(q(BY_FINGERPRINT).bind(sha256).fetch_optional(on).await?)
}

pub async fn find_by_order<'a>(on: impl Into<On<'a>>, order: OrderId) -> Result<Option<Certificate>> {
    one(q(BY_ORDER).bind(order.to_vec()).fetch_optional(on).await?)
}

/// Certificates of one key, oldest first, after `after`.
pub async fn of_key<'a>(
    on: impl Into<On<'a>>,
    spki_sha256: &[u8; 32],
    after: CertificateId,
    limit: i64,
) -> Result<Vec<Certificate>> {
    q(BY_KEY)
        .bind(spki_sha256.to_vec())
        .bind(after.to_vec())
        .bind(limit)
        .fetch_all(on)
        .await?
        .iter()
        .map(row)
        .collect()
}

/// Intents older than `before`: no issuance takes that long, so whoever made them is gone or gave up. Ids only,
/// after `after`: a row that cannot be read must not hide the others.
pub async fn stale_intents<'a>(
    on: impl Into<On<'a>>,
    before: Timestamp,
    after: CertificateId,
    limit: i64,
) -> Result<Vec<CertificateId>> {
    let rows = q(STALE).bind(before).bind(after.to_vec()).bind(limit).fetch_all(on).await?;
    rows.iter().map(|row| row.id("id")).collect()
}

/// The same with its DER, which an intent without outcome has not.
pub async fn find_with_der<'a>(
    on: impl Into<On<'a>>,
    id: CertificateId,
) -> Result<Option<(Certificate, Option<Vec<u8>>)>> {
    let found = q(WITH_DER).bind(id.to_vec()).fetch_optional(on).await?;
    found.map(|found| Ok((row(&found)?, found.get("der")?))).transpose()
}

/// The DER; none for an intent without outcome.
pub async fn der<'a>(on: impl Into<On<'a>>, id: CertificateId) -> Result<Option<Vec<u8>>> {
    match q(DER).bind(id.to_vec()).fetch_optional(on).await? {
        Some(row) => row.get("der"),
        None => Ok(None),
    }
}

/// (to-be-signed bytes, CSR).
pub async fn body<'a>(on: impl Into<On<'a>>, id: CertificateId) -> Result<Option<(Vec<u8>, Option<Vec<u8>>)>> {
    let Some(row) = q(BODY).bind(id.to_vec()).fetch_optional(on).await? else { return Ok(None) };
    Ok(Some((row.get("tbs")?, row.get("request")?)))
}

/// Newest first, at most `limit`, before `before` (exclusive).
pub async fn list<'a>(
    on: impl Into<On<'a>>,
    filter: &CertificateFilter,
    before: Option<CertificateId>,
    limit: i64,
    now: Timestamp,
) -> Result<Vec<Certificate>> {
    let range = filter.name.as_deref().map(NameRange::parse);
    let sql = match &range {
        None => LIST,
        Some(NameRange { suffix: false, .. }) => LIST_BY_NAME,
        Some(NameRange { suffix: true, .. }) => LIST_BY_SUFFIX,
    };
    let (status, alive_from, over_before) = match filter.status {
        None => (None, None, None),
        Some(ShownStatus::Intended) => (Some("intended"), None, None),
        Some(ShownStatus::Revoked) => (Some("revoked"), None, None),
        Some(ShownStatus::Valid) => (Some("valid"), Some(now.truncated()), None),
        Some(ShownStatus::Expired) => (Some("valid"), None, Some(now.truncated())),
    };
    let mut query = q(sql)
        .bind(before.map_or(vec![0xff; 16], CertificateId::to_vec))
        .bind(filter.profile.clone())
        .bind(filter.issuer.clone())
        .bind(filter.account_id.map(|id| id.to_vec()))
        .bind(filter.requester.clone())
        .bind(filter.expires_before)
        .bind(status)
        .bind(limit)
        .bind(alive_from)
        .bind(over_before)
        .bind(filter.authority_key_id.as_deref().map(key_id_field));
    if let Some(range) = range {
        query = query.bind(range.from).bind(range.to);
    }
    query.fetch_all(on).await?.iter().map(row).collect()
}

/// A row as fsck meets it: its id as it stands there, and what can be read of the rest.
#[derive(Debug)]
pub struct Walked {
    pub id: Vec<u8>,
    pub read: Result<Whole>,
}

/// A row with its to-be-signed bytes and DER, as far as they are there.
pub type Whole = (Certificate, Option<Vec<u8>>, Option<Vec<u8>>);

/// Valid ones that end from `from` to `to`, the next to end first.
pub async fn ending<'a>(
    on: impl Into<On<'a>>,
    from: Timestamp,
    to: Timestamp,
    limit: i64,
) -> Result<Vec<Certificate>> {
    q(ENDING).bind(from).bind(to).bind(limit).fetch_all(on).await?.iter().map(row).collect()
}

/// How many valid ones end from `from` to `to`, at most `bound`.
pub async fn count_ending<'a>(on: impl Into<On<'a>>, from: Timestamp, to: Timestamp, bound: i64) -> Result<i64> {
    q(COUNT_ENDING).bind(from).bind(to).bind(bound).fetch_one(on).await?.get("n")
}

/// How many certificates of an issuer or a root are valid at `now`, those of CAs of this installation and of OCSP delegates
/// apart: a full count, for commands.
pub async fn count_valid_of<'a>(on: impl Into<On<'a>>, issuer: IssuerId, now: Timestamp) -> Result<i64> {
    q(COUNT_VALID_OF).bind(issuer.to_vec()).bind(now).fetch_one(on).await?.get("n")
}

/// When the last of these ends: a full scan, for checks.
pub async fn last_valid_of<'a>(on: impl Into<On<'a>>, issuer: IssuerId, now: Timestamp) -> Result<Option<Timestamp>> {
    let row = q(LAST_VALID_OF).bind(issuer.to_vec()).bind(now).fetch_one(on).await?;
    Ok(row.get::<Option<i64>>("last")?.map(Timestamp::from_micros))
}

/// How many certificates of an issuer are valid at `now` and name this authority key identifier, those of the CA itself
/// apart: a full count, for commands.
pub async fn count_named<'a>(on: impl Into<On<'a>>, issuer: IssuerId, key_id: &[u8], now: Timestamp) -> Result<i64> {
    q(COUNT_NAMED).bind(issuer.to_vec()).bind(now).bind(key_id_field(key_id)).fetch_one(on).await?.get("n")
}

/// The keyIdentifier of an authorityKeyIdentifier in DER, by which a certificate with it is found: `[0]` stands before it
/// there, and another tag in a subjectKeyIdentifier.
fn key_id_field(key_id: &[u8]) -> Vec<u8> {
    let length = u8::try_from(key_id.len()).unwrap_or(u8::MAX);
    [&[0x80, length], key_id].concat()
}

/// How many have this id or a later one, at most `bound`.
pub async fn count_since<'a>(on: impl Into<On<'a>>, id: CertificateId, bound: i64) -> Result<i64> {
    q(COUNT_SINCE).bind(id.to_vec()).bind(bound).fetch_one(on).await?.get("n")
}

/// All certificates in the order of their ids, after `after`: fsck.
pub async fn walk<'a>(on: impl Into<On<'a>>, after: &[u8], limit: i64) -> Result<Vec<Walked>> {
    let rows = q(WALK).bind(after).bind(limit).fetch_all(on).await?;
    let read = |r: &Row| Ok((row(r)?, r.get("tbs")?, r.get("der")?));
    rows.iter().map(|r| Ok(Walked { id: r.get("id")?, read: read(r) })).collect()
}

/// A row that a certificate is found by.
#[derive(Debug, Clone)]
pub struct NameRow {
    pub name: String,
    pub certificate_id: Vec<u8>,
    /// The certificate is there and has this name, and its reversed form is right.
    pub agrees: bool,
}

/// All name rows in order, after `after`: fsck.
pub async fn name_rows<'a>(
    on: impl Into<On<'a>>,
    (name, id): &(String, Vec<u8>),
    limit: i64,
) -> Result<Vec<NameRow>> {
    let rows = q(NAME_ROWS).bind(name).bind(id.clone()).bind(limit).fetch_all(on).await?;
    rows.iter()
        .map(|row| {
            let (name, backwards): (String, String) = (row.get("name")?, row.get("reversed")?);
            // names that cannot be read were told of by the walk over certificates
            let names: Vec<Identifier> = row.json("names").unwrap_or_default();
            let agrees = names.iter().any(|n| n.value() == name && reversed(n) == backwards);
            Ok(NameRow { name, certificate_id: row.get("certificate_id")?, agrees })
        })
        .collect()
}

/// (issuer, profile, status, count): for start and metrics housekeeping, not for requests.
pub async fn counts<'a>(on: impl Into<On<'a>>) -> Result<Vec<(String, String, String, i64)>> {
    let rows = q(COUNTS).fetch_all(on).await?;
    rows.iter().map(|r| Ok((r.get("issuer")?, r.get("profile")?, r.get("status")?, r.get("n")?))).collect()
}

/// (issuer, profile, state, count) with `expired` told from `valid`: a full count, so never on a request.
pub async fn states<'a>(on: impl Into<On<'a>>, now: Timestamp) -> Result<Vec<(String, String, String, i64)>> {
    let rows = q(STATES).bind(now).fetch_all(on).await?;
    rows.iter().map(|r| Ok((r.get("issuer")?, r.get("profile")?, r.get("state")?, r.get("n")?))).collect()
}

/// (issuer, profile, how many valid ones end within 7, 14 and 30 days).
pub async fn expiring<'a>(on: impl Into<On<'a>>, now: Timestamp) -> Result<Vec<(String, String, [i64; 3])>> {
    let query = q(EXPIRING).bind(now).bind(now + days(7)).bind(now + days(14)).bind(now + days(30));
    let rows = query.fetch_all(on).await?;
    rows.iter()
        .map(|r| Ok((r.get("issuer")?, r.get("profile")?, [r.get("in_7d")?, r.get("in_14d")?, r.get("in_30d")?])))
        .collect()
}

/// A half-open range of names or of reversed names.
struct NameRange {
    suffix: bool,
    from: String,
    to: String,
}

impl NameRange {
    /// `*.example.org` = below it, `www*` = prefix, else exact.
    fn parse(text: &str) -> NameRange {
        let text = crate::model::identifier::a_labels(&text.to_lowercase());
        if let Some(suffix) = text.strip_prefix("*.") {
            let from = format!("{}.", reverse_labels(suffix));
            return NameRange { suffix: true, to: after_prefix(&from), from };
        }
        match text.strip_suffix('*') {
            Some(prefix) => NameRange { suffix: false, from: prefix.to_owned(), to: after_prefix(prefix) },
            None => NameRange { suffix: false, to: format!("{text}\u{1}"), from: text },
        }
    }
}

/// Greater than everything that begins with `prefix`: both engines compare names as bytes.
fn after_prefix(prefix: &str) -> String {
    format!("{prefix}\u{10ffff}")
}

fn reverse_labels(name: &str) -> String {
    name.split('.').rev().collect::<Vec<_>>().join(".")
}

fn reversed(name: &Identifier) -> String {
    match name {
        Identifier::Dns(dns) => reverse_labels(dns.as_str()),
        other => other.value(),
    }
}

pub(super) fn json(names: &[Identifier]) -> Result<String> {
    serde_json::to_string(names).map_err(|e| Error::internal("names do not serialise", e))
}

fn one(found: Option<Row>) -> Result<Option<Certificate>> {
    found.as_ref().map(row).transpose()
}

fn row(row: &Row) -> Result<Certificate> {
    let status: String = row.get("status")?;
    let status = match (status.as_str(), row.time_opt("revoked_at")?, row.get::<Option<String>>("reason")?) {
        ("intended", None, None) => CertificateStatus::Intended,
        ("valid", None, None) => CertificateStatus::Valid,
        ("revoked", Some(at), Some(reason)) => CertificateStatus::Revoked {
            at,
            reason: RevocationReason::from_name(&reason)
                .map_err(|e| Error::inconsistent("a certificate has an unknown reason").because(e))?,
            invalidity_date: row.time_opt("invalidity_date")?,
        },
        _ => return Err(Error::inconsistent(format!("a certificate has the status {status} and does not fit it"))),
    };
    Ok(Certificate {
        id: row.id("id")?,
        serial: SerialNumber::from_octets(&row.get::<Vec<u8>>("serial")?)?,
        issuer_id: row.id("issuer_id")?,
        issuer: row.get("issuer")?,
        profile: row.get("profile")?,
        profile_revision: row.get("profile_revision")?,
        status,
        subject: row.get("subject")?,
        names: row.json("names")?,
        validity: Validity::new(row.time("not_before")?, row.time("not_after")?)?,
        spki_sha256: sha256(row.get("spki_sha256")?)?,
        fingerprint: row.get::<Option<Vec<u8>>>("fingerprint")?.map(sha256).transpose()?,
        key_algorithm: row.get("key_algorithm")?,
        via: row.get("via")?,
        requester: row.get("requester")?,
        account_id: row.id_opt("account_id")?,
        order_id: row.id_opt("order_id")?,
        replica_id: row.id("replica_id")?,
        intended_at: row.time("intended_at")?,
        issued_at: row.time_opt("issued_at")?,
    })
}

pub(super) fn sha256(bytes: Vec<u8>) -> Result<[u8; 32]> {
    bytes.as_slice().try_into().map_err(|_| Error::inconsistent("a SHA-256 in the database is not 32 bytes"))
}
