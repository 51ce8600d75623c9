//! The one way in which a row with a MAC is written: inserted with its first MAC, or changed under a lock, compared before
//! and given the next version after. Statements of such tables are `SealedSql`, which nothing else runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::tables::{ALL_TABLES, AUTHORIZATIONS, MacTable, authorization_rows, authorization_values, mac_columns};
use super::{Checker, Reading, RowFault, RowKey, RowMacs, Sealing, State, WrittenRow, fault, locked, values};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::id::AuthorizationId;
use crate::store::engine::{Arg, Query, Row, Sql, fetch_many, fetch_many_alone, q, statements, write_many};
use crate::store::{Store, Tx};

statements! {
    FLOOR = "INSERT INTO row_floors (table_name, row_id, least_version, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        postgres "INSERT INTO row_floors (table_name, row_id, least_version, at) \
            SELECT * FROM UNNEST($1::text[], $2::bytea[], $3::bigint[], $4::bigint[]) ON CONFLICT DO NOTHING";
    LIVING = authorization_rows!("a.id IN (VALUES ($1)) AND a.status IN ('pending', 'valid')"),
        postgres authorization_rows!("a.id = ANY($1::bytea[]) AND a.status IN ('pending', 'valid')");
}

/// A statement that writes columns of a MAC.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct SealedSql(pub(in crate::store) Sql);

/// `sealed_writes! { INSERT = "INSERT INTO t (id, row_version, row_mac) VALUES ($1, 1, $2)"; }` declares statements that
/// only `insert`, `update`, `withdraw` and what stands beside them run; a second text is that of Postgres.
macro_rules! sealed_writes {
    ($($(#[$doc:meta])* $name:ident = $sql:expr $(, postgres $pg:expr)?;)+) => {
        $($(#[$doc])* const $name: $crate::store::row_macs::SealedSql = $crate::store::row_macs::SealedSql($crate::store::engine::Sql {
            name: concat!("row_macs::sealed::", module_path!(), "::", stringify!($name)),
            sqlite: $sql,
            postgres: $crate::store::engine::pick(&[$sql $(, $pg)?]),
        });)+
        pub(in crate::store) const SEALED: &[$crate::store::row_macs::SealedSql] = &[$($name),+];
    };
}
pub(in crate::store) use sealed_writes;

/// The values of a sealed statement.
#[must_use]
pub(in crate::store) struct SealedQuery(Query);

pub(in crate::store) fn sealed(sql: SealedSql) -> SealedQuery {
    SealedQuery(q(sql.0))
}

impl SealedQuery {
    pub(in crate::store) fn bind(self, value: impl Into<Arg>) -> Self {
        SealedQuery(self.0.bind(value))
    }
}

impl RowMacs {
    /// The key to write a row of this table with; `None` where rows have no MACs yet.
    fn writing(&self, table: &MacTable) -> Result<Option<Arc<RowKey>>> {
        match (self.state(), self.key_of(table)?) {
            (State::Locked, None) => Err(locked()),
            (_, key) => Ok(key),
        }
    }
}

/// Inserts a row whose last column and last value is `row_mac`, which is not bound by the caller.
pub(in crate::store) async fn insert<'a>(
    on: impl Into<Sealing<'a>>,
    table: &MacTable,
    SealedQuery(query): SealedQuery,
) -> Result<u64> {
    let Sealing { on, macs, written } = on.into();
    let Some(key) = macs.writing(table)? else { return query.bind(None::<Vec<u8>>).execute(on).await };
    let row = values::of_insert(table, &query)?;
    let mac = key.mac(table, 1, &row);
    let inserted = query.bind(mac.clone()).execute(on).await?;
    if let Some(written) = written.filter(|_| inserted == 1) {
        note(written, values::object_of(table, &table.key_of(&row)), 1, mac);
    }
    Ok(inserted)
}

/// Changes one row by a statement that touches it alone; false when it touched none. A row that was changed in the
/// database stays refused: nothing makes it good by the way.
pub(in crate::store) async fn update(
    tx: &mut Tx,
    table: &MacTable,
    id: impl Into<RowId>,
    query: SealedQuery,
) -> Result<bool> {
    change(tx, table, id.into(), query, Move::Change).await
}

/// The same for a statement that takes power away: it also works on a row that was changed in the database, and an older
/// version of the row counts no more.
pub(in crate::store) async fn withdraw(
    tx: &mut Tx,
    table: &MacTable,
    id: impl Into<RowId>,
    query: SealedQuery,
) -> Result<bool> {
    change(tx, table, id.into(), query, Move::Withdraw).await
}

/// The same for a statement that takes power away for a time. A row that was changed in the database is refused already:
/// it is suspended and gets no MAC, so that an operator can still accept it.
pub(in crate::store) async fn suspend(
    tx: &mut Tx,
    table: &MacTable,
    id: impl Into<RowId>,
    query: SealedQuery,
) -> Result<bool> {
    change(tx, table, id.into(), query, Move::Suspend).await
}

/// The same for a statement that gives the row other power in place of what it had: an older version counts no more, and a
/// row that was changed in the database stays refused.
pub(in crate::store) async fn replace(
    tx: &mut Tx,
    table: &MacTable,
    id: impl Into<RowId>,
    query: SealedQuery,
) -> Result<bool> {
    change(tx, table, id.into(), query, Move::Replace).await
}

impl Sealing<'_> {
    /// The first MAC of a row that is inserted together with another one's.
    pub(in crate::store) fn first(&mut self, table: &MacTable, values: &[Arg]) -> Result<Option<Vec<u8>>> {
        let Some(key) = self.macs.writing(table)? else { return Ok(None) };
        let mac = key.mac(table, 1, values);
        if let Some(written) = &mut self.written {
            note(written, values::object_of(table, &table.key_of(values)), 1, mac.clone());
        }
        Ok(Some(mac))
    }
}

/// Counts one use by a statement whose first values are id, version and MAC of the count that becomes one more; false when
/// it touched no row. The row is locked from here on.
pub(in crate::store) async fn count(
    tx: &mut Tx,
    table: &MacTable,
    id: &[u8],
    SealedSql(sql): SealedSql,
    rest: Vec<Arg>,
) -> Result<bool> {
    let macs = Arc::clone(&tx.store.row_macs);
    let key = macs.writing(table)?;
    let Some(before) = q(table.read).bind(id).fetch_optional(&mut *tx).await? else { return Ok(false) };
    Checker(macs).check_as(table, &before, "", Reading::Held)?;
    let version = before.get::<i64>("row_version")?.saturating_add(1);
    let mut values = values::read(table, &before, "")?;
    for value in &mut values {
        if let Arg::Int(Some(count)) = value {
            *count = count.saturating_add(1);
        }
    }
    let mac = key.map(|key| key.mac(table, version, &values));
    let query = q(sql).bind(id).bind(version).bind(mac.clone());
    let query = rest.into_iter().fold(query, |query, arg| query.bind(arg));
    if query.execute(&mut *tx).await? != 1 {
        return Ok(false);
    }
    if let Some(mac) = mac {
        note(&mut tx.rows, values::object_of(table, &table.key_of(&values)), version, mac);
    }
    Ok(true)
}

/// A row that a statement for many writes: the values of its MAC, and its version.
pub(in crate::store) struct NewRow {
    pub values: Vec<Arg>,
    pub version: i64,
}

/// Runs a statement for many rows, each with the values that `shown` takes from it, its version and its MAC, in that
/// order. The caller holds the rows or makes them, and has compared what it read of them.
pub(in crate::store) async fn write_all(
    tx: &mut Tx,
    table: &MacTable,
    SealedSql(sql): SealedSql,
    rows: Vec<NewRow>,
    shown: impl Fn(&[Arg]) -> Vec<Arg>,
) -> Result<Vec<Row>> {
    let key = tx.store.row_macs.writing(table)?;
    let mut bound = Vec::with_capacity(rows.len());
    for NewRow { values, version } in rows {
        let mac = key.as_ref().map(|key| key.mac(table, version, &values));
        if let Some(mac) = mac.as_ref().filter(|_| table.is_told) {
            note(&mut tx.rows, values::object_of(table, &table.key_of(&values)), version, mac.clone());
        }
        bound.push(shown(&values).into_iter().chain([version.into(), mac.into()]).collect());
    }
    fetch_many(tx.raw(), sql, bound).await
}

/// Takes power away from rows that the transaction holds, by a statement that sets one column to `value`: its values are
/// the key, version and MAC. One that was changed in the database keeps its MAC, and no version of it counts.
pub(in crate::store) async fn withdraw_all(
    tx: &mut Tx,
    table: &MacTable,
    SealedSql(sql): SealedSql,
    rows: &[Row],
    (column, value): (&str, Arg),
) -> Result<()> {
    let Some(key) = tx.store.row_macs.writing(table)? else {
        let keep = |row: &Row| Ok(with(table.key_of_row(row, ""), row.get("row_version")?, row.get("row_mac")?));
        let rows = rows.iter().map(keep).collect::<Result<_>>()?;
        return fetch_many(tx.raw(), sql, rows).await.map(drop);
    };
    let now = tx.now();
    let (mut bound, mut floors) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    for row in rows {
        let id = table.key_of_row(row, "");
        let mut version = row.get::<i64>("row_version")?.saturating_add(1);
        let mut least = version;
        let is_wrong = fault(&key, table, row, "").is_some() || is_older(&tx.store.row_macs, table, row)?;
        let mac = if key.requires(table) && is_wrong {
            (version, least) = (version.saturating_sub(1), i64::MAX);
            row.get("row_mac")?
        } else {
            let mut values = values::read(table, row, "")?;
            for (_, changed) in table.columns.iter().zip(&mut values).filter(|(own, _)| own.name == column) {
                *changed = value.clone();
            }
            let mac = key.mac(table, version, &values);
            note(&mut tx.rows, values::object_of(table, &id), version, mac.clone());
            Some(mac)
        };
        let mut floor = vec![table.name.into()];
        floor.extend(id.iter().cloned().chain([least.into(), now.into()]));
        floors.push(floor);
        bound.push(with(id, version, mac));
    }
    fetch_many(tx.raw(), sql, bound).await?;
    write_many(tx.raw(), FLOOR, floors).await.map(drop)
}

/// Notes a row that the transaction wrote, perhaps once more.
fn note(rows: &mut BTreeMap<String, WrittenRow>, object: String, version: i64, mac: Vec<u8>) {
    let since = rows.get(&object).map_or(version, |written| written.since.min(version));
    rows.insert(object, WrittenRow { since, version, mac });
}

/// Tells the audit that these rows were deleted and that none of them counts, should it be put back. Each has the key of its
/// table; those that time has ended already need not be told. Returns how many there are.
pub(in crate::store) fn ended(tx: &mut Tx, table: &MacTable, rows: &[Row]) -> Result<u64> {
    let now = tx.now();
    let has_macs = !matches!(tx.store.row_macs.state(), State::Unset);
    for row in rows.iter().filter(|_| has_macs) {
        if !row.time("expires_at").is_ok_and(|at| at <= now) {
            let object = values::object(table, row, "");
            tx.rows.insert(object, WrittenRow { since: i64::MAX, version: i64::MAX, mac: Vec::new() });
        }
    }
    Ok(rows.len() as u64)
}

/// Does this process know of a newer version than that of a row that the transaction holds?
fn is_older(macs: &RowMacs, table: &MacTable, row: &Row) -> Result<bool> {
    let (object, version) = (values::object(table, row, ""), row.get::<i64>("row_version")?);
    Ok(macs.newest.above(&object, version, Reading::Held).is_some())
}

fn with(key: Vec<Arg>, version: i64, mac: Option<Vec<u8>>) -> Vec<Arg> {
    key.into_iter().chain([version.into(), mac.into()]).collect()
}

/// The key of a row: its values, and what stands for it among the floors.
pub(in crate::store) struct RowId {
    values: Vec<Arg>,
    floor: Vec<u8>,
}

impl From<&[u8]> for RowId {
    fn from(id: &[u8]) -> Self {
        RowId { values: vec![id.into()], floor: id.to_vec() }
    }
}

impl<const N: usize> From<&[u8; N]> for RowId {
    fn from(id: &[u8; N]) -> Self {
        RowId::from(id.as_slice())
    }
}

impl From<&Vec<u8>> for RowId {
    fn from(id: &Vec<u8>) -> Self {
        RowId::from(id.as_slice())
    }
}

/// A certificate of others in a domain; one that is in two domains has one floor.
impl From<(&str, &[u8; 32])> for RowId {
    fn from((domain, fingerprint): (&str, &[u8; 32])) -> Self {
        RowId { values: vec![domain.into(), fingerprint.as_slice().into()], floor: fingerprint.to_vec() }
    }
}

fn keyed(sql: Sql, id: &RowId) -> Query {
    id.values.iter().fold(q(sql), |query, value| query.bind(value.clone()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    Change,
    Replace,
    Withdraw,
    Suspend,
}

impl Move {
    /// It takes power away, so it works on any row.
    const fn takes_away(self) -> bool {
        matches!(self, Move::Withdraw | Move::Suspend)
    }
}

async fn change(
    tx: &mut Tx,
    table: &MacTable,
    id: RowId,
    SealedQuery(query): SealedQuery,
    how: Move,
) -> Result<bool> {
    let macs = Arc::clone(&tx.store.row_macs);
    let Some(key) = macs.writing(table)? else { return Ok(query.execute(tx).await? == 1) };
    let Some(before) = keyed(table.read, &id).fetch_optional(&mut *tx).await? else { return Ok(false) };
    let mut wrong = fault(&key, table, &before, "");
    if wrong.is_none() && is_older(&macs, table, &before)? {
        wrong = Some(RowFault::Older);
    }
    let wrong = wrong.filter(|_| key.requires(table));
    if !how.takes_away() {
        Checker(Arc::clone(&macs)).check_as(table, &before, "", Reading::Held)?;
    }
    // what the statement says, not what it leaves: a trigger in the database writes other values
    let row = values::of_update(table, &query, &values::read(table, &before, "")?)?;
    if query.execute(&mut *tx).await? != 1 {
        return Ok(false);
    }
    if how == Move::Suspend && wrong.is_some() {
        return Ok(true);
    }
    let version = before.get::<i64>("row_version")?.saturating_add(1);
    if how != Move::Change {
        // of a row that was changed no version counts
        let least = if wrong.is_some() { i64::MAX } else { version };
        let now = tx.now();
        let floor = vec![table.name.into(), id.floor.clone().into(), least.into(), now.into()];
        write_many(tx.raw(), FLOOR, vec![floor]).await?;
    }
    if wrong.is_none() {
        let after = keyed(table.read, &id).fetch_one(&mut *tx).await?;
        if !values::same(&row, &values::read(table, &after, "")?) {
            let object = values::object(table, &before, "");
            return Err(Error::inconsistent(format!(
                "the database wrote {object} otherwise than it was told, and the change was taken back: look for triggers and \
                 rules on the table {}",
                table.name
            )));
        }
        seal(tx, table, &key, vec![Version { row, since: version, version }], true).await?;
    }
    Ok(true)
}

/// What the audit tells of a row.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told {
    /// Its newest version.
    pub version: i64,
    /// How many events tell of a version that another one tells of.
    pub twice: u64,
}

impl Told {
    /// The version of a row that is taken as it stands: above each that counted. `row` is the version that it has, where its
    /// MAC proves it, and whoever changed a row could have written any other one.
    fn accepted(self, table: &MacTable, key: &RowKey, row: &Row) -> Result<i64> {
        let has_good_mac = matches!(fault(key, table, row, ""), None | Some(RowFault::Older));
        let own = if has_good_mac || self.version == 0 { row.get::<i64>("row_version")? } else { 0 };
        let least = row.get::<Option<i64>>("row_floor")?.filter(|least| *least < i64::MAX).unwrap_or(0);
        Ok(own.max(least).max(self.version).saturating_add(1))
    }
}

/// A row that gets a MAC.
struct Version {
    row: Vec<Arg>,
    /// The first version that counts as written.
    since: i64,
    version: i64,
}

/// Writes versions and MACs of rows that the transaction holds, and tells the audit of them.
async fn seal(tx: &mut Tx, table: &MacTable, key: &RowKey, rows: Vec<Version>, is_told: bool) -> Result<()> {
    let mut sealed = Vec::with_capacity(rows.len());
    for Version { row, since, version } in rows {
        let (id, mac) = (table.key_of(&row), key.mac(table, version, &row));
        if is_told {
            let object = values::object_of(table, &id);
            note(&mut tx.rows, object.clone(), version, mac.clone());
            if let Some(written) = tx.rows.get_mut(&object) {
                written.since = written.since.min(since);
            }
        }
        sealed.push(id.into_iter().chain([version.into(), mac.into()]).collect());
    }
    write_many(tx.raw(), table.seal, sealed).await.map(drop)
}

/// Of these authorizations those that are pending or valid.
pub async fn living(store: &Store, ids: &[AuthorizationId]) -> Result<Vec<FoundRow>> {
    let Some(key) = store.row_macs.key_of(AUTHORIZATIONS)? else { return Ok(Vec::new()) };
    let ids = ids.iter().map(|id| vec![id.to_vec().into()]).collect();
    let rows = fetch_many_alone(&store.db, LIVING, ids).await?;
    Ok(rows.iter().map(|row| found(Some(&key), AUTHORIZATIONS, row)).collect())
}

/// A row as a look at every row finds it.
#[derive(Debug, Clone)]
pub struct FoundRow {
    pub object: String,
    pub version: i64,
    pub mac: Vec<u8>,
    pub fault: Option<RowFault>,
}

/// A page of rows after a key, with what is wrong with each; the key of the last one goes on. Nothing before rows have MACs.
pub async fn walk(store: &Store, table: &MacTable, after: &[Arg], limit: i64) -> Result<(Vec<FoundRow>, Vec<Arg>)> {
    let key = store.row_macs.key_of(table)?;
    if key.is_none() && !store.row_macs.is_locked() {
        return Ok((Vec::new(), Vec::new()));
    }
    let rows = bound(table.walk, table, after, store.now()).bind(limit).fetch_all(store).await?;
    let found: Vec<FoundRow> = rows.iter().map(|row| found(key.as_deref(), table, row)).collect();
    let last = rows.last().map(|row| table.key_of_row(row, "")).unwrap_or_default();
    Ok((found, last))
}

/// Gives a page of rows MACs where they have none that fits, with versions above those that the audit tells of. Returns the
/// names of the rows that got one, and where to go on; `None` at the end. What stands there now is taken to be right.
pub async fn seal_page(
    tx: &mut Tx,
    table: &MacTable,
    after: &[Arg],
    limit: i64,
    told: impl Fn(&str) -> Told,
) -> Result<(Vec<String>, Option<Vec<Arg>>)> {
    let Some(key) = tx.store.row_macs.key_of(table)? else { return Ok((Vec::new(), None)) };
    let now = tx.now();
    let rows = bound(table.hold, table, after, now).bind(limit).fetch_all(&mut *tx).await?;
    let Some(last) = rows.last().map(|row| table.key_of_row(row, "")) else {
        return Ok((Vec::new(), None));
    };
    let (mut sealed, mut objects) = (Vec::new(), Vec::new());
    for row in &rows {
        if matches!(fault(&key, table, row, ""), Some(RowFault::NoMac | RowFault::Changed)) {
            let object = values::object(table, row, "");
            let told = told(&object);
            let version = told.accepted(table, &key, row)?;
            let since = if told.version > 0 { told.version.saturating_add(1) } else { version };
            sealed.push(Version { row: values::read(table, row, "")?, since, version });
            objects.push(object);
        }
    }
    seal(tx, table, &key, sealed, table.is_told).await?;
    Ok((objects, (!last.is_empty()).then_some(last)))
}

/// The row that the audit calls `object`, with what is wrong with it, and its columns in words.
pub async fn find(store: &Store, object: &str) -> Result<Option<(FoundRow, Vec<(&'static str, String)>)>> {
    for table in ALL_TABLES.iter().filter(|table| object.split(':').next() == Some(table.object)) {
        let Some(key) = store.row_macs.key_of(table)? else { return Ok(None) };
        let mut after = Vec::new();
        loop {
            let rows = bound(table.walk, table, &after, store.now()).bind(500i64).fetch_all(store).await?;
            if let Some(row) = rows.iter().find(|row| values::object(table, row, "") == object) {
                return Ok(Some((found(Some(&key), table, row), values::in_words(table, row))));
            }
            after = rows.last().map(|row| table.key_of_row(row, "")).unwrap_or_default();
            if after.is_empty() {
                break;
            }
        }
    }
    Ok(None)
}

/// Takes the row that the audit calls `object` as it stands now, with a version above each that counted. False: there is no
/// such row.
pub async fn accept(tx: &mut Tx, object: &str, told: Told) -> Result<bool> {
    let macs = Arc::clone(&tx.store.row_macs);
    for table in ALL_TABLES.iter().filter(|table| object.split(':').next() == Some(table.object)) {
        let Some(key) = macs.writing(table)? else { return Ok(false) };
        let mut after = Vec::new();
        loop {
            let now = tx.now();
            let rows = bound(table.walk, table, &after, now).bind(500i64).fetch_all(&mut *tx).await?;
            after = rows.last().map(|row| table.key_of_row(row, "")).unwrap_or_default();
            if let Some(row) = rows.iter().find(|row| values::object(table, row, "") == object) {
                let least = row.get::<Option<i64>>("row_floor")?.unwrap_or(0);
                if least == i64::MAX {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!(
                            "{object} was revoked or ended after it was changed, so it is accepted no more; make a new one"
                        ),
                    ));
                }
                let version = told.accepted(table, &key, row)?;
                let since = if told.version > 0 { told.version.saturating_add(1) } else { version };
                let row = values::read(table, row, "")?;
                seal(tx, table, &key, vec![Version { row, since, version }], true).await?;
                return Ok(true);
            }
            if after.is_empty() {
                break;
            }
        }
    }
    Ok(false)
}

/// Without the key of its table the MAC is compared with nothing.
fn found(key: Option<&RowKey>, table: &MacTable, row: &Row) -> FoundRow {
    FoundRow {
        object: values::object(table, row, ""),
        version: row.get("row_version").unwrap_or_default(),
        mac: row.get::<Option<Vec<u8>>>("row_mac").ok().flatten().unwrap_or_default(),
        fault: key.and_then(|key| fault(key, table, row, "")),
    }
}

fn bound(sql: Sql, table: &MacTable, after: &[Arg], now: Timestamp) -> Query {
    let start = table.first_key(now);
    let after = if after.is_empty() { start.as_slice() } else { after };
    after.iter().fold(q(sql), |query, arg| query.bind(arg.clone()))
}
