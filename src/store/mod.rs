//! The only room that speaks SQL. One file a repository: private rows become domain records here, and columns
//! that make no sense become a named inconsistency error.

pub mod accounts;
pub mod acme_lists;
pub mod attempts;
pub mod audit;
pub mod authorizations;
pub mod bad_rows;
pub mod blocked_keys;
mod bulk;
pub mod certificates;
pub mod challenges;
pub mod checkpoints;
pub mod crls;
pub mod devices;
pub mod domain_crls;
pub mod durability;
pub mod eab_keys;
pub mod engine;
pub mod faults;
pub mod foreign_crls;
mod freed_pages;
pub mod grants;
pub mod guards;
pub mod hierarchy;
pub mod history;
pub mod idempotency;
pub mod imports;
pub mod jobs;
pub mod limits;
pub mod migrate;
pub mod nonces;
pub mod ocsp_signers;
pub mod orders;
pub mod orphans;
mod outages;
pub use outages::is_busy;
pub mod patience;
mod pool;
pub mod profiles;
pub mod readings;
pub mod reference;
pub mod renewals;
pub mod replacements;
pub mod replica_clocks;
pub mod replicas;
pub mod revocations;
pub mod row_macs;
pub mod schema_objects;
pub mod secrets;
pub mod servers;
pub mod sessions;
pub mod status_lifetimes;
pub mod suspensions;
pub mod tokens;
pub mod users;
pub mod versions;
pub mod write_proof;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::{Clock, Timestamp};
use crate::entropy::Entropy;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::id::ReplicaId;
use audit::{Lane, Lanes};
use engine::{Db, On, RawTx, Sql};
use faults::{CommitFault, Commits};
use history::History;
use reference::ReferenceClock;
use row_macs::{RowMacs, WrittenRow};
use write_proof::WriteProof;

/// Every statement of the room, for the test that prepares them all on both engines.
pub fn statements() -> Vec<Sql> {
    [
        accounts::ALL,
        acme_lists::ALL,
        attempts::ALL,
        audit::ALL,
        authorizations::ALL,
        blocked_keys::ALL,
        certificates::ALL,
        challenges::ALL,
        checkpoints::ALL,
        crls::ALL,
        domain_crls::ALL,
        durability::ALL,
        eab_keys::ALL,
        foreign_crls::ALL,
        grants::ALL,
        guards::ALL,
        hierarchy::ALL,
        history::ALL,
        idempotency::ALL,
        imports::ALL,
        jobs::ALL,
        limits::ALL,
        migrate::ALL,
        nonces::ALL,
        ocsp_signers::ALL,
        orders::ALL,
        orphans::ALL,
        profiles::ALL,
        renewals::ALL,
        replacements::ALL,
        replica_clocks::ALL,
        replicas::ALL,
        revocations::ALL,
        servers::ALL,
        sessions::ALL,
        status_lifetimes::ALL,
        suspensions::ALL,
        tokens::ALL,
        users::ALL,
        devices::ALL,
        schema_objects::ALL,
        secrets::ALL,
        versions::ALL,
        write_proof::ALL,
    ]
    .concat()
    .into_iter()
    .chain(row_macs::statements())
    .collect()
}

/// The database of one replica. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub db: Db,
    /// Shows the reference time of the installation.
    pub clock: Arc<dyn Clock>,
    reference: Arc<ReferenceClock>,
    pub entropy: Arc<dyn Entropy>,
    replica: ReplicaId,
    lanes: Arc<Lanes>,
    commits: Arc<Commits>,
    write_proof: Arc<WriteProof>,
    history: Arc<History>,
    row_macs: Arc<RowMacs>,
    /// Transactions of this process that changed ACME accounts.
    account_changes: Arc<AtomicU64>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({}, {})", self.db.engine(), self.replica)
    }
}

impl Store {
    pub fn new(db: Db, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<Self> {
        let replica = ReplicaId::new(clock.now(), entropy.as_ref())?;
        Ok(Store::of(replica, db, clock, entropy))
    }

    /// For a process whose connections bear the name of its id (`replicas::connection_name`).
    pub fn of(replica: ReplicaId, db: Db, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let reference = Arc::new(ReferenceClock::new(clock));
        Store {
            db,
            clock: reference.clone(),
            reference,
            entropy,
            replica,
            lanes: Arc::new(Lanes::default()),
            commits: Arc::default(),
            write_proof: Arc::default(),
            history: Arc::default(),
            row_macs: Arc::default(),
            account_changes: Arc::default(),
        }
    }

    /// This process in audit chains and intents; never the same twice.
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Commits of this process's transactions.
    pub fn commits(&self) -> &Commits {
        &self.commits
    }

    /// What this process knows of the MACs of rows.
    pub fn row_macs(&self) -> &RowMacs {
        &self.row_macs
    }

    /// Moves with every transaction of this process that changed an ACME account, once it has ended.
    pub fn account_changes(&self) -> u64 {
        self.account_changes.load(Ordering::Acquire)
    }

    /// A transaction in the name of `actor`. Its audit events are chained and written when it commits.
    pub async fn begin(&self, actor: &Actor) -> Result<Tx> {
        Ok(self.transaction(self.db.begin().await?, actor))
    }

    /// The same for many rows of one kind (`authority/batch.rs`).
    pub async fn begin_group(&self, actor: &Actor) -> Result<Tx> {
        Ok(self.transaction(self.db.begin_group().await?, actor))
    }

    fn transaction(&self, raw: RawTx, actor: &Actor) -> Tx {
        Tx {
            raw,
            store: self.clone(),
            actor: actor.clone(),
            events: Vec::new(),
            rows: BTreeMap::new(),
            withdrawals: Vec::new(),
            accounts: false,
        }
    }

    /// How many transactions of one kind are worth having at once: SQLite has one writer.
    pub fn lanes(&self) -> usize {
        if self.db.is_postgres() { 2 } else { 1 }
    }

    /// Writes one event in a transaction of its own: refusals that change nothing else.
    pub async fn record(&self, actor: &Actor, event: AuditEvent) -> Result<()> {
        let mut tx = self.begin(actor).await?;
        tx.audit(event);
        tx.commit().await
    }
}

/// One open transaction with its audit events. Dropped = rolled back, events included.
pub struct Tx {
    raw: RawTx,
    store: Store,
    actor: Actor,
    events: Vec<(Actor, AuditEvent)>,
    /// The rows with a MAC that it wrote, by object.
    rows: BTreeMap<String, WrittenRow>,
    /// The revocations and blocked keys that it wrote or removed.
    withdrawals: Vec<row_macs::ToldWithdrawal>,
    /// It changes ACME accounts.
    accounts: bool,
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tx({}, {} events)", self.actor, self.events.len())
    }
}

impl Tx {
    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    pub fn now(&self) -> Timestamp {
        self.store.now()
    }

    /// Adds an event that is written, in its chain, when this transaction commits.
    pub fn audit(&mut self, event: AuditEvent) {
        self.events.push((self.actor.clone(), event));
    }

    /// The same for another actor: a group commit carries the events of several.
    pub fn audit_as(&mut self, actor: &Actor, event: AuditEvent) {
        self.events.push((actor.clone(), event));
    }

    /// Whoever changes an ACME account says so: what this process remembers of accounts ends with the commit.
    pub fn accounts_change(&mut self) {
        self.accounts = true;
    }

    /// Has it written a row with a MAC?
    pub fn wrote_rows(&self) -> bool {
        !self.rows.is_empty()
    }

    pub fn raw(&mut self) -> &mut RawTx {
        &mut self.raw
    }

    /// Writes the audit events and commits. A lane (one hash chain) is held from here to the end of the commit, so
    /// its order is the order in the database; when the outcome is unknown the lane is given up and never continued.
    pub async fn commit(self) -> Result<()> {
        let changes = self.accounts.then(|| Arc::clone(&self.store.account_changes));
        let outcome = self.end().await;
        if let Some(changes) = changes {
            // also when the outcome is unknown
            changes.fetch_add(1, Ordering::AcqRel);
        }
        outcome
    }

    async fn end(self) -> Result<()> {
        let Tx { mut raw, store, actor, mut events, rows, withdrawals, .. } = self;
        row_macs::name_rows(&mut events, &actor, &rows, withdrawals);
        let fault = store.commits.next(events.iter().map(|(_, event)| event.action));
        if events.is_empty() {
            return raw.commit().await;
        }
        let recorded = store.record_time_with(&mut raw).await?;
        let before = store.lanes.take();
        let mut lane = before;
        if let Err(error) = append(&mut raw, &store, events, &mut lane).await {
            store.lanes.give(before);
            return Err(error);
        }
        match fault {
            None => raw.commit().await?,
            Some(CommitFault::Fails) => return Err(lost()),
            Some(CommitFault::LosesReply) => return raw.commit().await.and(Err(lost())),
            Some(CommitFault::Waits) => {
                store.commits.wait_at_gate().await;
                raw.commit().await?;
            }
        }
        store.lanes.committed(lane);
        store.row_macs.committed(&rows);
        if let Some(at) = recorded {
            store.reference.has_recorded(at);
        }
        Ok(())
    }
}

/// What a commit says whose connection broke.
fn lost() -> Error {
    Error::new(ErrorKind::Unavailable, "the connection to the database was lost during a commit")
}

async fn append(raw: &mut RawTx, store: &Store, events: Vec<(Actor, AuditEvent)>, lane: &mut Lane) -> Result<()> {
    let mut rows = Vec::with_capacity(events.len());
    for (actor, event) in events {
        let now = store.now();
        let id = store.lanes.next_id(now, store.entropy.as_ref())?;
        rows.push(lane.chain(store.replica, id, now, &actor, event));
    }
    if audit::insert(raw, rows).await? {
        return Ok(());
    }
    store.found_rollback("an audit event of this process is missing");
    store.check_history()
}

impl<'a> From<&'a mut Tx> for On<'a> {
    fn from(tx: &'a mut Tx) -> Self {
        On::Tx(&mut tx.raw)
    }
}

impl<'a> From<&'a Store> for On<'a> {
    fn from(store: &'a Store) -> Self {
        On::Db(&store.db)
    }
}
