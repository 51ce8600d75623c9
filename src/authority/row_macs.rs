//! The life of the row MACs: their key and the mark that every row must have one, both sealed under the unlock key in the
//! database, the mark also in the anchor file; the one sealing of rows of an earlier version; and the look at every row, which
//! compares it with its MAC and with what the audit says was written last.
//!
//! Sealing twice is harmless, and a process that dies within it leaves rows that are sealed by the next one: only the mark,
//! which comes last, makes a row without a MAC refused.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use serde_json::json;

use super::Authority;
use super::checks::{Check, Severity, check};
use super::told_rows::{RowsInAudit, TWICE, ToldRow, ToldRows};
use crate::entropy::random;
use crate::error::Result;
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::id::AuthorizationId;
use crate::model::serial::to_hex;
use crate::pki::signer::{KeyPurpose, KeyStore};
use crate::store::row_macs::{
    self, ALL_TABLES, ChangedRow, FoundRow, MacTable, PublicKey, RowKey, WITHDRAWALS, older_than,
};
use crate::store::{Store, Tx, audit, hierarchy, replicas, schema_objects, secrets};

/// Names of the shared secrets, and labels of their seals.
const KEY: &str = "row-macs";
const PUBLIC_KEY: &str = "public-row-macs";
const NO_KEY: &str = "their key is missing";
const MARK: &str = secrets::ROW_MACS_REQUIRED;
/// Other processes know the key by then, and what they began without it has ended.
const LEARNED_AFTER: std::time::Duration = std::time::Duration::from_secs(15);
/// Rows of one transaction, whose audit event names them all.
const PAGE: i64 = 100;
const LOOK_PAGE: i64 = 500;
/// Rows of a table that doctor looks at; `chancery fsck` looks at all.
const GLANCE: usize = 5_000;
/// Authorizations that are looked at every ten minutes: what is wrong with others is found when they are used.
const OFTEN: usize = 100_000;
/// Authorizations of one statement.
const LOOKED_UP: usize = 500;

/// Reads the key and the mark. Without either, rows have no MACs until a server has sealed them.
pub(super) async fn open(store: &Store, keys: &dyn KeyStore) -> Result<()> {
    let macs = store.row_macs();
    if macs.is_required() && macs.lost().is_none() { Ok(()) } else { reopen(store, keys).await }
}

/// The same for a process that has read them before.
pub(super) async fn reopen(store: &Store, keys: &dyn KeyStore) -> Result<()> {
    let macs = store.row_macs();
    let Some(installation) = hierarchy::installation(store).await? else { return Ok(()) };
    let (key, mut marks) = (secrets::find(store, KEY).await?, secrets::beginning(store, MARK).await?);
    let mut required: BTreeSet<String> = marks.iter().map(|(table, _)| table.clone()).collect();
    if macs.insists() {
        required.extend(ALL_TABLES.iter().map(|table| table.name.to_owned()).chain([WITHDRAWALS.to_owned()]));
        marks.clear();
    }
    let is_locked = !keys.can_open(KeyPurpose::Internal);
    // no mark can be opened then, and one that was renamed is missing elsewhere
    let is_known = |name: &String| name == WITHDRAWALS || ALL_TABLES.iter().any(|table| table.name == name);
    if is_locked && !required.iter().all(is_known) {
        required.extend(ALL_TABLES.iter().map(|table| table.name.to_owned()));
    }
    let public = secrets::find(store, PUBLIC_KEY).await?;
    let public = public.map(|sealed| keys.open_status(PUBLIC_KEY, &installation.id, sealed));
    macs.set_public(match public {
        Some(Ok(key)) => PublicKey::Ready(Arc::new(RowKey::new(&key, &installation.id, required.clone()))),
        Some(Err(_)) if !keys.can_open(KeyPurpose::Responder) => PublicKey::Unset,
        None if required.is_empty() => PublicKey::Unset,
        None | Some(Err(_)) => PublicKey::Lost,
    });
    if is_locked {
        if !required.is_empty() {
            macs.lock();
        }
        return Ok(());
    }
    let Some(key) = key else {
        if required.is_empty() {
            macs.forget();
        } else {
            macs.lose(NO_KEY);
        }
        return Ok(());
    };
    let opened = keys.open_secret(KEY, &installation.id, &key);
    let marked = marks
        .iter()
        .try_for_each(|(table, mark)| keys.open_secret(&format!("{MARK}{table}"), &installation.id, mark).map(drop));
    match (opened, marked) {
        (Ok(key), Ok(())) => macs.open(RowKey::new(&key, &installation.id, required)),
        (Err(error), _) | (_, Err(error)) => macs.lose(&error.detail),
    }
    Ok(())
}

/// How many rows are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    All,
    /// All, but of authorizations at most so many, and those that the audit or a request found.
    Often,
    Glance,
}

impl Look {
    fn most(self, table: &MacTable) -> usize {
        match self {
            Look::All => usize::MAX,
            Look::Often if table.is_told => usize::MAX,
            Look::Often => OFTEN,
            Look::Glance => GLANCE,
        }
    }
}

/// What is wrong with a row, by its MAC and by what the audit says was written last.
pub(super) fn changed(row: &FoundRow, told: Option<&ToldRow>) -> Option<ChangedRow> {
    if let Some(fault) = row.fault {
        return Some(ChangedRow { what: fault.words().to_owned(), has_good_mac: false });
    }
    let told = told?;
    let has_good_mac = true;
    if let Some(version) = told.repeated() {
        let what = format!(
            "was put back in the database to an older state and then written on: the audit tells of its version {version} twice"
        );
        return Some(ChangedRow { what, has_good_mac });
    }
    let differs = row.version == told.version && !told.is_mac(&to_hex(&row.mac));
    let is_other = row.version < told.version || differs;
    is_other.then(|| ChangedRow { what: older_than(row.version, told.version), has_good_mac })
}

fn authorization(object: &str) -> Option<AuthorizationId> {
    object.strip_prefix("authorization:")?.parse().ok()
}

impl Authority {
    /// Called by a server before it serves and every few seconds: learns of the key and the mark, makes them where no older
    /// process is on the database, and writes the events of changed rows.
    pub async fn keep_row_macs(&self) -> Result<()> {
        self.tell_changed_rows().await?;
        let macs = self.store.row_macs();
        self.keep_withdrawals().await?;
        if macs.is_required() && macs.lost().is_none() || !self.keys.can_open(KeyPurpose::Internal) {
            return Ok(());
        }
        open(&self.store, self.keys.as_ref()).await?;
        if macs.lost().is_some() || self.store.rollback().is_some() {
            return Ok(());
        }
        if macs.is_required() {
            return self.reload().await;
        }
        let others = replicas::others(&self.store).await?;
        if others.older {
            return Ok(());
        }
        if !macs.is_open() {
            self.make_row_key().await?;
        }
        let made = secrets::made_at(&self.store, KEY).await?;
        if others.any && made.is_none_or(|at| self.store.now() < at + LEARNED_AFTER) {
            return Ok(());
        }
        let tables: Vec<_> = ALL_TABLES.iter().copied().filter(|table| !macs.requires(table)).collect();
        self.seal_rows(&tables, &ToldRows::default()).await?;
        self.keep_withdrawals().await
    }

    pub(super) async fn make_row_key(&self) -> Result<()> {
        let installation = hierarchy::installation(&self.store).await?;
        let Some(installation) = installation else { return Ok(()) };
        let key = random::<32>(self.store.entropy.as_ref())?;
        let sealed = self.keys.seal_secret(KEY, &installation.id, &key)?;
        let public = random::<32>(self.store.entropy.as_ref())?;
        let public = self.keys.seal_status(PUBLIC_KEY, &installation.id, public.to_vec())?;
        secrets::insert(&self.store, PUBLIC_KEY, &public, self.store.now()).await?;
        // of two processes at once the first one's is kept; this one comes last, since it says that both are there
        secrets::insert(&self.store, KEY, &sealed, self.store.now()).await?;
        open(&self.store, self.keys.as_ref()).await
    }

    /// Gives every row of these tables a MAC that has none that fits, above the versions that the audit tells of; then marks
    /// the tables. Returns the number of rows.
    pub(super) async fn seal_rows(&self, tables: &[&MacTable], told: &ToldRows) -> Result<u64> {
        let actor = Actor::system("row MACs");
        let mut sealed = 0;
        for table in tables {
            let mut after = Vec::new();
            loop {
                let mut tx = self.store.begin(&actor).await?;
                let page = if table.is_told { PAGE } else { LOOK_PAGE };
                let of = |object: &str| told.as_told(object);
                let (rows, next) = row_macs::seal_page(&mut tx, table, &after, page, of).await?;
                sealed += rows.len() as u64;
                if tx.wrote_rows() {
                    let detail = json!({"table": table.name, TWICE: told.twice(&rows)});
                    tx.audit(AuditEvent::done("rows.sealed", "", detail));
                }
                tx.commit().await?;
                let Some(next) = next else { break };
                after = next;
            }
        }
        let mut tx = self.store.begin(&actor).await?;
        let names: Vec<_> = tables.iter().map(|table| table.name).collect();
        self.mark_tables(&mut tx, &names).await?;
        tx.commit().await?;
        reopen(&self.store, self.keys.as_ref()).await?;
        Ok(sealed)
    }

    /// Writes the marks of these tables that are missing. A mark that was made up gives way.
    pub(super) async fn mark_tables(&self, tx: &mut Tx, tables: &[&str]) -> Result<()> {
        let Some(installation) = hierarchy::installation(&mut *tx).await? else { return Ok(()) };
        for (table, mark) in secrets::beginning(&mut *tx, MARK).await? {
            let name = format!("{MARK}{table}");
            if self.keys.open_secret(&name, &installation.id, &mark).is_err() {
                secrets::delete(&mut *tx, &name).await?;
            }
        }
        let now = tx.now();
        for table in tables {
            let name = format!("{MARK}{table}");
            let mark = self.keys.seal_secret(&name, &installation.id, b"required")?;
            secrets::insert(&mut *tx, &name, &mark, now).await?;
        }
        tx.audit(AuditEvent::done("rows.macs_required", "", json!({"tables": tables})));
        Ok(())
    }

    /// Is the key of the MACs in the database?
    pub(super) async fn has_row_key(&self) -> Result<bool> {
        Ok(secrets::find(&self.store, KEY).await?.is_some())
    }

    /// One event for each changed row that this process found.
    async fn tell_changed_rows(&self) -> Result<()> {
        for (object, ChangedRow { what, .. }) in self.store.row_macs().take_untold() {
            let newest = audit::of_object_newest(&self.store, &object).await?;
            if newest.is_some_and(|event| event.action == "row.changed_outside") {
                continue;
            }
            let event = AuditEvent::refused("row.changed_outside", &object, json!({"what": what}));
            self.store.record(&Actor::system("row MACs"), event).await?;
        }
        Ok(())
    }

    /// Looks at every row, and remembers what it found for metrics and doctor.
    pub async fn look_at_rows(&self) -> Result<()> {
        if !self.has_macs() {
            return Ok(());
        }
        let mut told = self.rows_in_audit.lock().await;
        let mut found = self.compared(&mut told).await?;
        if self.store.rollback().is_some() {
            found.extend(self.changed_withdrawals(&mut told.withdrawn).await?);
        } else {
            found.extend(self.restore_withdrawals(&mut told.withdrawn).await?);
            found.extend(self.look_at_crls().await?);
            found.extend(self.look_at_ends(&mut told.ends).await?);
        }
        drop(told);
        self.store.row_macs().set_changed(found);
        self.tell_changed_rows().await
    }

    /// Compares every row with the audit for a command on the host. It changes no row and writes no event.
    pub async fn compare_rows(&self) -> Result<()> {
        if !self.has_macs() {
            return Ok(());
        }
        let mut told = self.rows_in_audit.lock().await;
        let mut found = self.compared(&mut told).await?;
        found.extend(self.changed_withdrawals(&mut told.withdrawn).await?);
        self.store.row_macs().set_changed(found);
        Ok(())
    }

    /// Rows and tables that differ from what the audit and the schema say, by object.
    async fn compared(&self, told: &mut RowsInAudit) -> Result<BTreeMap<String, ChangedRow>> {
        // the audit first: a row that was written meanwhile is newer than it says, never older
        self.read_on(told).await?;
        let mut found = self.changed_rows(Some(&told.rows), Look::Often).await?;
        found.extend(self.foreign_objects().await?);
        Ok(found)
    }

    /// Without the key of MACs rows are still compared with the audit.
    fn has_macs(&self) -> bool {
        self.store.row_macs().is_open() || self.store.row_macs().is_locked()
    }

    /// Rows that differ from their MAC or from what the audit says, by object.
    pub(super) async fn changed_rows(
        &self,
        told: Option<&ToldRows>,
        look: Look,
    ) -> Result<BTreeMap<String, ChangedRow>> {
        let (mut found, mut seen) = (BTreeMap::new(), HashSet::new());
        let mut take = |rows: Vec<FoundRow>, seen: &mut HashSet<String>| {
            for row in rows {
                let changed = changed(&row, told.and_then(|told| told.get(&row.object)));
                found.extend(changed.map(|changed| (row.object.clone(), changed)));
                seen.insert(row.object);
            }
        };
        for table in ALL_TABLES.iter().filter(|table| self.is_compared(table)) {
            let (mut after, mut looked) = (Vec::new(), 0);
            while looked < look.most(table) {
                let (rows, next) = row_macs::walk(&self.store, table, &after, LOOK_PAGE).await?;
                looked += rows.len();
                take(rows, &mut seen);
                if next.is_empty() {
                    break;
                }
                after = next;
            }
        }
        if look == Look::Often {
            let noted = self.store.row_macs().changed();
            let ids = told
                .into_iter()
                .flat_map(ToldRows::objects)
                .chain(noted.keys())
                .filter(|object| !seen.contains(*object));
            let ids: Vec<_> = ids.filter_map(|object| authorization(object)).collect();
            for ids in ids.chunks(LOOKED_UP) {
                take(row_macs::living(&self.store, ids).await?, &mut seen);
            }
        }
        let lasting: Vec<_> = ALL_TABLES.iter().filter(|table| table.lasts && self.is_compared(table)).collect();
        let lasting = |object: &str| lasting.iter().any(|table| object.split(':').next() == Some(table.object));
        for object in
            told.into_iter().flat_map(ToldRows::objects).filter(|object| lasting(object) && !seen.contains(*object))
        {
            let what = "is gone from the database, and the audit tells of it".to_owned();
            found.insert(object.clone(), ChangedRow { what, has_good_mac: false });
        }
        Ok(found)
    }

    fn is_compared(&self, table: &MacTable) -> bool {
        let macs = self.store.row_macs();
        macs.requires(table) || macs.is_locked() && macs.reads(table)
    }

    /// What stands between the server and its tables, by table.
    pub(super) async fn foreign_objects(&self) -> Result<BTreeMap<String, ChangedRow>> {
        let mut found = BTreeMap::<String, ChangedRow>::new();
        for object in schema_objects::foreign(&self.store).await? {
            let row = ChangedRow { what: object.what, has_good_mac: false };
            let name = format!("table:{}", object.table);
            found.entry(name).and_modify(|known| known.what += &format!(", and it {}", row.what)).or_insert(row);
        }
        Ok(found)
    }

    pub(super) async fn check_rows(&self) -> Result<Check> {
        let macs = self.store.row_macs();
        let foreign = self.foreign_objects().await?;
        if !foreign.is_empty() {
            let text = |(object, ChangedRow { what, .. })| {
                let text = format!("{object} {what}; remove it, or restore the database from a backup");
                (Severity::Critical, text)
            };
            return Ok(check("rows", foreign.into_iter().map(text).collect(), String::new()));
        }
        let mut found = Vec::new();
        if let Some(why) = macs.lost() {
            let text = format!(
                "rows that grant something cannot be checked and are refused: {why}; restore the rows of the table shared_secrets \
                 whose names begin with \"row-macs\" or \"public-row-macs\" from a backup"
            );
            found.push((Severity::Critical, text));
        } else if !macs.is_required() && !macs.is_locked() {
            if !self.keys.can_open(KeyPurpose::Internal) {
                return Ok(check("rows", found, "they are compared once the server has its unlock key".to_owned()));
            }
            if !replicas::others(&self.store).await?.older {
                let good = "they bear no MACs yet; a server that starts gives them MACs";
                return Ok(check("rows", found, good.to_owned()));
            }
            let text = "rows that grant something are accepted without a MAC while an earlier version runs on this \
                        database; stop it, and start this version once more: `chancery serve`";
            found.push((Severity::Warning, text.to_owned()));
        } else {
            let mut changed = macs.changed();
            changed.extend(self.changed_rows(None, Look::Glance).await?);
            for (object, ChangedRow { what, .. }) in changed.into_iter().take(20) {
                let text =
                    format!("{object} {what}; look at it with `chancery fsck`, then restore, revoke or accept it");
                found.push((Severity::Critical, text));
            }
        }
        let good = match (macs.is_locked(), macs.compares_public()) {
            (false, _) => "every row that grants something is as this CA wrote it",
            (true, true) => {
                "rows are as the audit tells, and those that bundles are made of have good MACs; the other MACs are not compared \
                 while the server is locked"
            }
            (true, false) => {
                "rows are as the audit tells; no MAC is compared while the server is locked and its status key is not at hand"
            }
        };
        Ok(check("rows", found, good.to_owned()))
    }
}
