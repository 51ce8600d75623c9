//! MACs of rows that carry authority. Whoever can write rows alone cannot make one that counts, nor change one, nor move
//! one to another place: the key is sealed under the unlock key. The MAC is HMAC-SHA-256 over the installation, the table,
//! the row's version and every column that grants something (`tables.rs`). It is compared where the row is used.
//!
//! An older row that is put back has a good MAC. Where power was taken away, the row's least version stands in `row_floors`,
//! which is only ever added to; and the audit names the version and the MAC of every row that was written.

mod newest;
mod tables;
mod values;
mod withdrawals;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use aws_lc_rs::hmac;
use serde_json::json;

use super::engine::{Arg, On, Row, Sql};
use super::{
    Store, Tx, accounts, authorizations, eab_keys, grants, guards, hierarchy, profiles, sessions, status_lifetimes,
    suspensions, tokens, users,
};
use crate::error::{Error, ErrorKind, Result};
use crate::model::serial::to_hex;
use newest::{NewestVersions, Reading};

pub(in crate::store) use tables::{
    ACCOUNTS, ANCHORS, AUTHORIZATIONS, DIRECTORIES, EAB_KEY_COUNTS, EAB_KEYS, GRANT_COUNTS, GRANTS,
    ISSUER_CERTIFICATES, ISSUER_LIFETIMES, ISSUERS, PROFILES, SESSIONS, SETUP_LINKS, TOKENS, USERS,
    authorization_values, mac_columns,
};
pub use tables::{ALL_TABLES, AUTHORIZATION_LIFE, MacTable};
pub use withdrawals::{BLOCKED_KEY, REVOCATION, WITHDRAWALS, Withdrawal, revocation_object, said_of};
pub(in crate::store) use withdrawals::{ToldWithdrawal, name_rows, tell_key, tell_revocation};
pub use write::{FoundRow, Told, accept, find, living, seal_page, walk};
pub(in crate::store) use write::{
    NewRow, SealedSql, count, ended, insert, replace, sealed, sealed_writes, suspend, update, withdraw, withdraw_all,
    write_all,
};

/// The member of an audit event's detail that names the rows of its transaction.
pub const ROWS: &str = "rows";
const NO_PUBLIC_KEY: &str = "the key of rows that bundles are made of is missing, or cannot be opened";
/// Events of changed rows that one turn writes: somebody may change a whole table.
const TOLD_AT_ONCE: usize = 100;
/// The form of the MAC, its first octet. Another set of columns is another form.
const FORM: u8 = 1;

/// Every statement of the folder.
pub(in crate::store) fn statements() -> Vec<Sql> {
    let of_table = |table: &&MacTable| [table.read, table.seal, table.walk, table.hold];
    let sealed = [
        accounts::SEALED,
        authorizations::SEALED,
        eab_keys::SEALED,
        grants::SEALED,
        guards::SEALED,
        hierarchy::SEALED,
        profiles::SEALED,
        sessions::SEALED,
        status_lifetimes::SEALED,
        suspensions::SEALED,
        tokens::SEALED,
        users::SEALED,
    ];
    let sealed = sealed.into_iter().flatten().map(|sealed| sealed.0);
    ALL_TABLES.iter().flat_map(of_table).chain(sealed).chain(write::ALL.iter().copied()).collect()
}

/// What a process knows of MACs: the key, and the rows that it found changed.
#[derive(Debug, Default)]
pub struct RowMacs {
    /// Guards only itself.
    state: RwLock<State>,
    /// The key of rows that make up bundles and chains (`MacTable::is_public`), which are served while the server is locked:
    /// it lies under the status key. Guards only itself.
    public: RwLock<PublicKey>,
    /// More marks are remembered outside of the database than it has: every table counts as marked.
    insists: AtomicBool,
    /// By object, rows that were refused since the last look at every row, and those that it found. Guards only itself.
    changed: Mutex<BTreeMap<String, ChangedRow>>,
    /// Objects whose event was written. Guards only itself.
    told: Mutex<BTreeSet<String>>,
    newest: NewestVersions,
    /// Rises when what is known of versions is of another history of the database.
    history: AtomicU64,
}

/// A row that was changed in the database by something other than Chancery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedRow {
    /// What is wrong with it; follows its name in a sentence.
    pub what: String,
    /// Its MAC fits, and the audit tells of another row.
    pub has_good_mac: bool,
}

#[derive(Debug, Default, Clone)]
enum State {
    /// Not opened yet: rows are written without a MAC and none is compared.
    #[default]
    Unset,
    /// The server is locked. Nothing is issued, and no row with authority is written: what a changed row could still do
    /// (read, revoke) whoever writes rows can do without it.
    Locked,
    /// Rows must have MACs and the key cannot be read: nothing is accepted.
    Lost(Arc<str>),
    Ready(Arc<RowKey>),
}

/// What a process has of the key of public rows.
#[derive(Debug, Default, Clone)]
pub enum PublicKey {
    /// Rows have no MACs yet, or the status key is not at hand.
    #[default]
    Unset,
    /// Rows must have MACs, and the key is missing or cannot be opened.
    Lost,
    Ready(Arc<RowKey>),
}

/// The key of the MACs.
pub struct RowKey {
    key: hmac::Key,
    installation: Vec<u8>,
    /// The tables whose rows are refused without a good MAC.
    required: BTreeSet<String>,
}

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RowKey")
    }
}

impl RowKey {
    pub fn new(key: &[u8], installation: &[u8], required: BTreeSet<String>) -> Self {
        RowKey { key: hmac::Key::new(hmac::HMAC_SHA256, key), installation: installation.to_vec(), required }
    }

    fn requires(&self, table: &MacTable) -> bool {
        self.required.contains(table.name)
    }

    fn context(&self, table: &MacTable, version: i64, values: &[Arg]) -> hmac::Context {
        metrics::counter!("chancery_row_macs_total").increment(1);
        let mut context = hmac::Context::with_key(&self.key);
        values::feed(&mut context, b"chancery-row-mac");
        context.update(&[FORM]);
        values::feed(&mut context, &self.installation);
        values::feed(&mut context, table.name.as_bytes());
        context.update(&version.to_be_bytes());
        for (name, value) in table.covered(values) {
            values::feed(&mut context, name.as_bytes());
            values::feed_value(&mut context, value);
        }
        context
    }

    fn mac(&self, table: &MacTable, version: i64, values: &[Arg]) -> Vec<u8> {
        [&[FORM], self.context(table, version, values).sign().as_ref()].concat()
    }

    fn is_genuine(&self, table: &MacTable, version: i64, values: &[Arg], mac: &[u8]) -> bool {
        let made = self.mac(table, version, values);
        aws_lc_rs::constant_time::verify_slices_are_equal(&made, mac).is_ok()
    }
}

impl RowMacs {
    fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub fn open(&self, key: RowKey) {
        self.set(State::Ready(Arc::new(key)));
    }

    pub fn set_public(&self, key: PublicKey) {
        *self.public.write().unwrap_or_else(PoisonError::into_inner) = key;
    }

    fn public(&self) -> Result<Option<Arc<RowKey>>> {
        match self.public.read().unwrap_or_else(PoisonError::into_inner).clone() {
            PublicKey::Unset => Ok(None),
            PublicKey::Lost => Err(lost(NO_PUBLIC_KEY)),
            PublicKey::Ready(key) => Ok(Some(key)),
        }
    }

    /// The key that the rows of a table are compared with; none where they are not compared.
    fn key_of(&self, table: &MacTable) -> Result<Option<Arc<RowKey>>> {
        match self.state() {
            State::Unset => Ok(None),
            State::Locked if !table.is_public => Ok(None),
            State::Locked => self.public(),
            State::Lost(why) => Err(lost(&why)),
            State::Ready(_) if table.is_public => self.public()?.map(Some).ok_or_else(|| lost(NO_PUBLIC_KEY)),
            State::Ready(key) => Ok(Some(key)),
        }
    }

    pub fn lock(&self) {
        self.set(State::Locked);
    }

    /// Takes every table as marked, whatever marks the database has. Says whether that is new.
    pub fn insist(&self, insists: bool) -> bool {
        self.insists.swap(insists, Ordering::AcqRel) != insists
    }

    pub fn insists(&self) -> bool {
        self.insists.load(Ordering::Acquire)
    }

    /// Begins as with a database of an earlier version.
    pub fn forget(&self) {
        self.set(State::Unset);
    }

    pub fn lose(&self, why: &str) {
        self.set(State::Lost(why.into()));
    }

    /// Are rows without a good MAC refused, in every table that bears them?
    pub fn is_required(&self) -> bool {
        match self.state() {
            State::Unset | State::Locked => false,
            State::Lost(_) => true,
            State::Ready(key) => ALL_TABLES.iter().all(|table| key.requires(table)),
        }
    }

    /// Can rows of this table be looked at?
    pub fn reads(&self, table: &MacTable) -> bool {
        self.key_of(table).is_ok_and(|key| key.is_some() || self.is_locked())
    }

    /// Are the MACs of rows compared that bundles are made of?
    pub fn compares_public(&self) -> bool {
        matches!(self.public(), Ok(Some(_)))
    }

    /// Are rows of this table refused without a good MAC?
    pub fn requires(&self, table: &MacTable) -> bool {
        self.key_of(table).is_ok_and(|key| key.is_some_and(|key| key.requires(table)))
    }

    pub fn is_open(&self) -> bool {
        matches!(self.state(), State::Ready(_))
    }

    /// Rows must have MACs, and the key of most of them is not at hand.
    pub fn is_locked(&self) -> bool {
        matches!(self.state(), State::Locked)
    }

    /// The audit tells that a row was written; `lately` is within the last minute.
    pub fn told(&self, object: &str, version: i64, lately: bool) {
        self.newest.told(object, version, lately);
    }

    /// A transaction that wrote these rows has committed.
    pub(super) fn committed(&self, rows: &BTreeMap<String, WrittenRow>) {
        rows.iter().for_each(|(object, row)| self.newest.wrote(object, row.version));
    }

    /// The database was restored, or reconciled: versions that are known are of another history.
    pub fn forget_versions(&self) {
        self.history.fetch_add(1, Ordering::AcqRel);
        self.newest.forget();
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.retain(|_, row| !row.has_good_mac);
        show_count(changed.len());
    }

    /// Another number: what was read of the audit before is of another history of the database.
    pub fn history(&self) -> u64 {
        self.history.load(Ordering::Acquire)
    }

    /// Why no MAC can be compared although every row must have one.
    pub fn lost(&self) -> Option<Arc<str>> {
        match self.state() {
            State::Lost(why) => Some(why),
            State::Locked if self.public().is_err() => Some(NO_PUBLIC_KEY.into()),
            State::Unset | State::Locked | State::Ready(_) => None,
        }
    }

    /// Rows that were changed in the database, by object.
    pub fn changed(&self) -> BTreeMap<String, ChangedRow> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a look at every row found takes the place of what was found one by one.
    pub fn set_changed(&self, found: BTreeMap<String, ChangedRow>) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).retain(|object| found.contains_key(object));
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        *changed = found;
        show_count(changed.len());
    }

    /// An operator has accepted the row.
    pub fn accepted(&self, object: &str) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.remove(object);
        show_count(changed.len());
    }

    /// Changed rows whose event is due: each is returned once.
    pub fn take_untold(&self) -> Vec<(String, ChangedRow)> {
        let changed = self.changed();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        changed.into_iter().filter(|(object, _)| told.insert(object.clone())).take(TOLD_AT_ONCE).collect()
    }

    /// What the look at every row found of a row whose MAC fits: the audit tells of another one.
    fn replayed(&self, object: &str) -> Option<String> {
        let changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.get(object).filter(|row| row.has_good_mac).map(|row| row.what.clone())
    }

    /// Remembers that a row is an older one of its own. Returns the sentence by which it is refused.
    pub fn refuse_older(&self, object: &str, what: &str) -> String {
        self.note(object, what, true);
        refused(object, what).detail
    }

    /// Remembers a row that is refused; `has_good_mac` says that it is an older one of its own.
    fn note(&self, object: &str, what: &str, has_good_mac: bool) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        let row = ChangedRow { what: what.to_owned(), has_good_mac };
        if changed.insert(object.to_owned(), row).is_none() {
            tracing::error!(object, what, "a row was changed in the database and is refused");
        }
        show_count(changed.len());
    }
}

fn show_count(changed: usize) {
    metrics::gauge!("chancery_changed_rows").set(changed as f64);
}

/// Where a statement about rows with MACs runs, with the key, and with the list of the transaction's rows.
pub struct Sealing<'a> {
    on: On<'a>,
    macs: Arc<RowMacs>,
    written: Option<&'a mut BTreeMap<String, WrittenRow>>,
}

impl fmt::Debug for Sealing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealing")
    }
}

impl<'a> From<&'a Store> for Sealing<'a> {
    fn from(store: &'a Store) -> Self {
        Sealing { on: On::Db(&store.db), macs: Arc::clone(&store.row_macs), written: None }
    }
}

impl<'a> From<&'a mut Tx> for Sealing<'a> {
    fn from(tx: &'a mut Tx) -> Self {
        Sealing { on: On::Tx(&mut tx.raw), macs: Arc::clone(&tx.store.row_macs), written: Some(&mut tx.rows) }
    }
}

impl<'a> Sealing<'a> {
    /// Where the statement runs, and what compares the rows that it returns.
    pub(in crate::store) fn into_parts(self) -> (On<'a>, Checker) {
        (self.on, Checker(self.macs))
    }
}

/// Version and MAC of a row that a transaction wrote. Without a MAC: the row has ended, and no version of it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenRow {
    /// The first version that counts as written: a transaction may write a row twice.
    pub since: i64,
    pub version: i64,
    pub mac: Vec<u8>,
}

/// Compares rows with their MACs.
#[derive(Debug, Clone)]
pub(in crate::store) struct Checker(Arc<RowMacs>);

impl From<&Store> for Checker {
    fn from(store: &Store) -> Self {
        Checker(Arc::clone(&store.row_macs))
    }
}

/// Why a row among many is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRow {
    kind: ErrorKind,
    detail: String,
}

impl From<&RefusedRow> for Error {
    fn from(refused: &RefusedRow) -> Self {
        Error::new(refused.kind, refused.detail.clone())
    }
}

/// What is wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFault {
    NoMac,
    Changed,
    /// Older than the version by which power was taken away.
    Older,
}

impl RowFault {
    pub const fn words(self) -> &'static str {
        match self {
            RowFault::NoMac => {
                "was added to the database or changed there by something other than Chancery: it has no MAC"
            }
            RowFault::Changed => "was changed in the database by something other than Chancery: its MAC does not fit",
            RowFault::Older => "was put back in the database as it was before its power was taken away",
        }
    }
}

impl Checker {
    /// The sentence by which a row is refused, for tables that are read whole.
    pub(in crate::store) fn refusal(&self, table: &MacTable, row: &Row) -> Result<Option<String>> {
        Ok(self.judge(table, row)?.map(|refused| refused.detail))
    }

    /// Why a row is refused, for what reads many at once.
    pub(in crate::store) fn judge(&self, table: &MacTable, row: &Row) -> Result<Option<RefusedRow>> {
        match self.check(table, row, "") {
            Ok(()) => Ok(None),
            // also where no row can be checked: the server starts, and status goes on
            Err(Error { kind: kind @ (ErrorKind::Forbidden | ErrorKind::Unavailable), detail, .. }) => {
                Ok(Some(RefusedRow { kind, detail }))
            }
            Err(error) => Err(error),
        }
    }

    /// Refuses a row that grants something and was not written by this CA. The columns of the row may bear a prefix.
    pub(in crate::store) fn check(&self, table: &MacTable, row: &Row, prefix: &str) -> Result<()> {
        self.check_as(table, row, prefix, Reading::Alone)
    }

    fn check_as(&self, table: &MacTable, row: &Row, prefix: &str, reading: Reading) -> Result<()> {
        let fault = match self.0.key_of(table)? {
            Some(key) if key.requires(table) => fault(&key, table, row, prefix),
            // what is known of its versions needs no key
            None if self.0.is_locked() => None,
            Some(_) | None => return Ok(()),
        };
        let object = values::object(table, row, prefix);
        if let Some(fault) = fault {
            self.0.note(&object, fault.words(), false);
            return Err(refused(&object, fault.words()));
        }
        if let Some(what) = self.0.replayed(&object) {
            return Err(refused(&object, &what));
        }
        let Ok(version) = row.get::<i64>(&format!("{prefix}row_version")) else {
            let what = RowFault::Changed.words();
            self.0.note(&object, what, false);
            return Err(refused(&object, what));
        };
        let Some(newest) = self.0.newest.above(&object, version, reading) else { return Ok(()) };
        let what = older_than(version, newest);
        self.0.note(&object, &what, true);
        Err(refused(&object, &what))
    }
}

/// What is wrong with a row of a version below the newest one; follows its name in a sentence.
pub fn older_than(version: i64, newest: i64) -> String {
    if newest == i64::MAX {
        return "was put back in the database after it had ended".to_owned();
    }
    format!(
        "is another row than the audit says was written last: its version is {version}, and the audit tells of {newest}"
    )
}

/// What is wrong with a row, whether MACs are required or not.
fn fault(key: &RowKey, table: &MacTable, row: &Row, prefix: &str) -> Option<RowFault> {
    let column = |name: &str| format!("{prefix}{name}");
    let Ok(mac) = row.get::<Option<Vec<u8>>>(&column("row_mac")) else { return Some(RowFault::Changed) };
    let Some(mac) = mac else { return Some(RowFault::NoMac) };
    let version = row.get::<i64>(&column("row_version"));
    let (Ok(version), Ok(values)) = (version, values::read(table, row, prefix)) else {
        return Some(RowFault::Changed);
    };
    if !key.is_genuine(table, version, &values, &mac) {
        return Some(RowFault::Changed);
    }
    let floor = row.get::<Option<i64>>(&column("row_floor")).unwrap_or(Some(i64::MAX));
    floor.is_some_and(|floor| version < floor).then_some(RowFault::Older)
}

fn refused(object: &str, what: &str) -> Error {
    let detail = format!(
        "{object} {what}; it is refused until an operator has looked at it: run `chancery fsck` on the host of the server, then \
         restore the row from a backup, revoke it, or accept it with `chancery fsck --accept {object}`"
    );
    Error::new(ErrorKind::Forbidden, detail)
}

fn lost(why: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "rows that grant something cannot be checked: {why}; restore the rows \"row-macs\" and \"public-row-macs\" of \
             the table shared_secrets from a backup"
        ),
    )
}

fn locked() -> Error {
    let detail = "the server is locked, so nothing that grants something can be written; restart it with its unlock key, without --locked";
    Error::new(ErrorKind::Locked, detail)
}

/// As the audit names the rows of a transaction: object → [version, MAC in hex], and the first version where there are more.
fn in_audit(rows: &BTreeMap<String, WrittenRow>) -> serde_json::Value {
    let entry = |(object, row): (&String, &WrittenRow)| {
        let mut told = vec![json!(row.version), json!(to_hex(&row.mac))];
        told.extend((row.since < row.version).then(|| json!(row.since)));
        (object.clone(), json!(told))
    };
    serde_json::Value::Object(rows.iter().map(entry).collect())
}
