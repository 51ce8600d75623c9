//! The CA's decisions: choose an issuer, issue, revoke, hierarchy, CRL, OCSP, recovery, audit. Knows the traits
//! `Signer` and `KeyStore`, never `keys`.

pub mod accepted_rows;
mod anchor;
pub mod audit_check;
mod audit_confirm;
mod audit_coverage;
pub mod audit_file;
pub mod audit_misplaced;
mod audit_seal;
pub mod batch;
pub mod blocked_keys;
mod ca_checks;
pub mod ca_revocation;
pub mod chain;
mod checkpoints;
pub mod checks;
pub mod compromise;
pub mod crl;
mod dependents;
pub mod domain_crl;
mod ended_rows;
pub mod foreign_crls;
pub mod fsck;
pub mod guard;
pub mod hierarchy;
mod holds;
pub mod imports;
pub mod issue;
pub mod key_ids;
pub mod ocsp;
mod ocsp_signer;
pub mod own;
pub mod own_url;
mod profiles;
mod queries;
pub mod reconcile;
pub mod reconciled_rows;
pub mod recovery;
pub mod renewal;
pub mod responders;
pub mod revoke;
mod revoked_cas;
mod row_macs;
mod shortened;
pub mod signers;
pub mod snapshot;
mod status_lifetimes;
pub mod target_failures;
mod told_rows;
mod trouble;
mod withdrawn;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

pub use crate::store::history::ROLLED_BACK;
pub use dependents::Dependents;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::id::{CrlId, IssuerId};
use crate::model::trouble::ServerTrouble;
use crate::pki::signer::KeyStore;
use crate::store::Store;
use crate::store::readings::Readings;
use anchor::AnchorKeeper;
pub use anchor::{RemoteAnchor, RemoteText};
use batch::Batcher;
use issue::{Intended, IntentRow, OutcomeRow, Writer};
use ocsp::OcspCache;
use snapshot::Snapshot;

/// The one object behind every surface that issues, revokes or answers about certificates.
pub struct Authority {
    pub(crate) store: Store,
    pub(crate) keys: Arc<dyn KeyStore>,
    /// The CA's own host names and addresses: reserved names.
    own_hosts: Vec<String>,
    snapshot: ArcSwap<Snapshot>,
    /// Orders reloads of `snapshot`: an older reading never replaces a newer one.
    readings: Readings,
    intents: Batcher<IntentRow, Intended>,
    outcomes: Batcher<OutcomeRow>,
    /// The CRL of each issuer, as it was served last.
    served: crl::ServedCrls,
    /// Held by the one publication of this process.
    publication: tokio::sync::Mutex<()>,
    /// When the CRL for later of a large list was signed. Guards only itself.
    ready_signed: Mutex<HashMap<IssuerId, Timestamp>>,
    /// Series of CRLs that were found changed in the database and are published anew. Guards only itself.
    wanted_anew: Mutex<std::collections::BTreeSet<String>>,
    /// CRLs in force that name the key identifier of their issuer. Guards only itself.
    right_crls: Mutex<HashMap<IssuerId, CrlId>>,
    /// Until when it need not be looked whether the database file holds what was deleted.
    pages_looked_at: tokio::sync::Mutex<Option<Timestamp>>,
    /// How far thisUpdate of CRL and OCSP lies back.
    crl_backdate: Duration,
    /// Figures of the database that are kept outside of it, to notice a restored one.
    anchor: AnchorKeeper,
    ocsp: OcspCache,
    domain_crls: domain_crl::DomainCrls,
    stuck: recovery::Stuck,
    /// When the last certificate of an issuer expires that signs no more, and when that was looked up. Guards only itself.
    over: Mutex<HashMap<IssuerId, (Timestamp, Option<Timestamp>)>>,
    /// Held by the one look at every row.
    rows_in_audit: tokio::sync::Mutex<told_rows::RowsInAudit>,
    renewals: ArcSwap<renewal::Rules>,
    /// Orders reloads of `renewals`.
    renewal_readings: Readings,
    /// Set by who publishes checkpoints.
    pub target_failures: target_failures::TargetFailures,
    /// What the row of this process says of its trouble.
    told_trouble: tokio::sync::Mutex<ServerTrouble>,
    /// Woken after every revocation of this process: the CRL builder need not wait for its poll.
    pub revoked: Notify,
}

/// Settings of an authority.
#[derive(Debug, Clone)]
pub struct Opening {
    /// How far thisUpdate of CRL and OCSP lies back.
    pub crl_backdate: Duration,
    /// The anchor's file; without one nothing is remembered when the process ends.
    pub anchor: Option<PathBuf>,
    /// Where replicas share the anchor, in place of its file.
    pub shared_anchor: Option<Arc<dyn RemoteAnchor>>,
}

impl Default for Opening {
    fn default() -> Self {
        Opening { crl_backdate: crl::BACKDATE, anchor: None, shared_anchor: None }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({:?})", self.store)
    }
}

impl Authority {
    /// Opens an initialised installation. Needs a tokio runtime: the commit workers are spawned here.
    pub async fn open(store: Store, keys: Arc<dyn KeyStore>, own_hosts: Vec<String>) -> Result<Arc<Self>> {
        Authority::open_with(store, keys, own_hosts, Opening::default()).await
    }

    /// The same with settings.
    pub async fn open_with(
        store: Store,
        keys: Arc<dyn KeyStore>,
        own_hosts: Vec<String>,
        opening: Opening,
    ) -> Result<Arc<Self>> {
        row_macs::open(&store, keys.as_ref()).await?;
        let snapshot = Snapshot::load(&store, keys.as_ref()).await?;
        Ok(Arc::new(Authority {
            intents: Batcher::start(Writer(store.clone())),
            outcomes: Batcher::start(Writer(store.clone())),
            snapshot: ArcSwap::from_pointee(snapshot),
            readings: Readings::default(),
            served: crl::ServedCrls::default(),
            publication: tokio::sync::Mutex::default(),
            ready_signed: Mutex::default(),
            wanted_anew: Mutex::default(),
            right_crls: Mutex::default(),
            pages_looked_at: tokio::sync::Mutex::default(),
            crl_backdate: opening.crl_backdate,
            anchor: AnchorKeeper::at(opening.anchor, opening.shared_anchor),
            ocsp: OcspCache::default(),
            domain_crls: domain_crl::DomainCrls::default(),
            stuck: recovery::Stuck::default(),
            over: Mutex::default(),
            rows_in_audit: tokio::sync::Mutex::default(),
            renewals: ArcSwap::from_pointee(renewal::Rules::load(&store).await?),
            renewal_readings: Readings::default(),
            target_failures: target_failures::TargetFailures::default(),
            told_trouble: tokio::sync::Mutex::default(),
            revoked: Notify::new(),
            own_hosts,
            store,
            keys,
        }))
    }

    /// Issuers, profiles and responders as this replica last read them.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Reads hierarchy and profiles again when another process has changed them, and says so; rules over renewals too.
    /// Called every second.
    pub async fn refresh(&self) -> Result<bool> {
        let versions = crate::store::versions::read(&self.store).await?;
        self.refresh_renewals(versions.renewals).await?;
        let known = self.snapshot.load().versions;
        if (versions.hierarchy, versions.profiles) == (known.hierarchy, known.profiles) {
            return Ok(false);
        }
        self.reload().await?;
        Ok(true)
    }

    pub async fn reload(&self) -> Result<()> {
        let reading = self.readings.begin();
        let fresh = Snapshot::load(&self.store, self.keys.as_ref()).await?;
        self.readings.end(reading, || self.snapshot.store(Arc::new(fresh)));
        // an issuer may sign again, or have been taken over
        self.over.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
        Ok(())
    }

    pub fn own_hosts(&self) -> &[String] {
        &self.own_hosts
    }

    pub fn store(&self) -> &Store {
        &self.store
    }
}
