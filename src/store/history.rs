//! Whether this database is the one that it was: the figures that an anchor remembers of it, and what is decided when they
//! are lower than remembered. What every transaction asks stands in memory and costs no statement.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::engine::{On, Row, fetch_many_alone, q, statements};
use super::{Store, Tx, checkpoints};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::anchor::{ChainEnd, CheckpointFigure, CrlFigures, Figures, FoundChain};
use crate::model::crl::CrlNumber;
use crate::model::id::{CheckpointId, IssuerId};
use crate::model::serial::to_hex;

statements! {
    /// All figures and the newest events, whoever wrote them. Each part fills the columns that it has.
    FIGURES = "SELECT 'installation' AS kind, '' AS name, id, epoch AS n, CAST(0 AS BIGINT) AS m, audit_seal AS hash, CAST(NULL AS BYTEA) AS event FROM installation \
        UNION ALL SELECT 'history', findings, NULL, COALESCE(rolled_back_at, 0), COALESCE(anchored_at, 0), NULL, NULL FROM history \
        UNION ALL SELECT 'version', topic, NULL, version, 0, NULL, NULL FROM versions \
        UNION ALL SELECT 'issuer', slug, id, crl_counter, 0, crl_number, NULL FROM issuers \
        UNION ALL SELECT 'domain', domain, NULL, counter, 0, NULL, NULL FROM domain_crls \
        UNION ALL SELECT 'event', '', writer, lane, seq, hash, id FROM (SELECT writer, lane, seq, hash, id FROM audit_events ORDER BY id DESC LIMIT 64) AS newest \
        UNION ALL SELECT 'row_macs', '', NULL, COUNT(*), 0, NULL, NULL FROM shared_secrets WHERE name LIKE 'row-macs-required:%' \
        UNION ALL SELECT 'checkpoint', '', id, 0, 0, NULL, NULL FROM (SELECT id FROM audit_checkpoints ORDER BY id DESC LIMIT 1) AS last";
    CHAINS = "WITH ends (writer, lane, seq) AS (VALUES ($1, $2, $3)) SELECT e.writer, e.lane, e.seq, a.hash, \
              COALESCE((SELECT MAX(b.seq) FROM audit_events b WHERE b.writer = e.writer AND b.lane = e.lane), 0) AS last \
              FROM ends e LEFT JOIN audit_events a ON a.writer = e.writer AND a.lane = e.lane AND a.seq = e.seq",
        postgres "SELECT e.writer, e.lane, e.seq, a.hash, \
              COALESCE((SELECT MAX(b.seq) FROM audit_events b WHERE b.writer = e.writer AND b.lane = e.lane), 0) AS last \
              FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[]) AS e (writer, lane, seq) \
              LEFT JOIN audit_events a ON a.writer = e.writer AND a.lane = e.lane AND a.seq = e.seq";
    ANCHORED = "UPDATE history SET anchored_at = $1 WHERE one = 1 AND anchored_at IS NULL";
    HOLD = "SELECT COALESCE(rolled_back_at, 0) AS at, findings, remembered FROM history WHERE one = 1",
        postgres "SELECT COALESCE(rolled_back_at, 0) AS at, findings, remembered FROM history WHERE one = 1 FOR UPDATE";
    MARK = "UPDATE history SET rolled_back_at = $1, findings = $2, remembered = $3 WHERE one = 1";
    RAISE_EPOCH = "UPDATE installation SET epoch = $1 WHERE epoch < $1";
    CERTIFICATES_OF = "SELECT COUNT(*) AS n FROM audit_events WHERE writer = $1 AND lane = $2 AND action = 'certificate.issued' AND outcome = 'done'";
    /// Lists of domains are made anew, with numbers of the new epoch.
    RENEW_DOMAIN_LISTS = "UPDATE domain_crls SET content = ''";
    RENEW_CRLS = "UPDATE issuers SET crl_dirty = TRUE";
    RAISE_CRL_NUMBER = "UPDATE issuers SET crl_number = $2 WHERE id = $1";
}

/// How long a client waits before it asks again while the database is older than remembered.
const AGAIN: Duration = Duration::from_secs(60);

/// Why the database is taken to be older than remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollback {
    pub found_at: Timestamp,
    /// What it lacks, as sentences.
    pub findings: Vec<String>,
}

/// What a process knows of the history of its database.
#[derive(Debug, Default)]
pub struct History {
    /// Guards only itself.
    rollback: Mutex<Option<Arc<Rollback>>>,
    /// The highest version of revocations that was read.
    revocations: AtomicI64,
}

/// What the database says of itself at one moment.
#[derive(Debug, Clone, Default)]
pub struct FoundHistory {
    /// None before there is an installation.
    pub installation: Option<Vec<u8>>,
    /// What the installation keeps of its audit under the unlock key; none before the first checkpoint.
    pub audit_seal: Option<Vec<u8>>,
    pub figures: Figures,
    pub anchored: bool,
    pub rolled_back_at: Option<Timestamp>,
    pub findings: Vec<String>,
    /// Rows that make no sense, each with table and row. They are left out of the figures.
    pub unreadable: Vec<String>,
}

/// What a transaction compares with what its process remembers: read before its first statement.
#[derive(Debug, Clone)]
pub struct Witness {
    /// The end of the chain that this process committed to last: writer, lane, seq.
    pub end: Option<(Vec<u8>, i64, i64)>,
    pub revocations: i64,
}

impl Store {
    /// Why the database is taken to be older than remembered, if it is.
    pub fn rollback(&self) -> Option<Arc<Rollback>> {
        self.history.rollback.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns what was there before.
    pub fn set_rollback(&self, rollback: Option<Rollback>) -> Option<Arc<Rollback>> {
        let mut kept = self.history.rollback.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_none() && rollback.is_some() {
            self.lanes.abandon();
        }
        if kept.is_some() != rollback.is_some() {
            self.row_macs.forget_versions();
        }
        std::mem::replace(&mut *kept, rollback.map(Arc::new))
    }

    /// An error while the database is older than remembered: asked before anything is signed. Costs no statement.
    pub fn check_history(&self) -> Result<()> {
        match self.rollback() {
            None => Ok(()),
            Some(_) => Err(Error::new(ErrorKind::Unavailable, ROLLED_BACK).retry_after(AGAIN)),
        }
    }

    /// An error while nothing may be signed: the machine's clock is wrong, or the database is older than remembered.
    pub fn check_signing(&self) -> Result<()> {
        self.check_clock()?;
        self.check_history()
    }

    /// Whether periodic work that signs may go on. Measures the clock.
    pub async fn may_sign(&self) -> Result<bool> {
        Ok(self.is_clock_right().await? && self.rollback().is_none())
    }

    pub fn witness(&self) -> Witness {
        let end = self.lanes.newest().map(|lane| (self.replica.to_vec(), lane.number, lane.seq));
        Witness { end, revocations: self.history.revocations.load(Ordering::Acquire) }
    }

    /// Compares what a transaction found with what was remembered before it. `rolled_back` is what the database says.
    pub fn check_witness(&self, witness: &Witness, rolled_back: bool, revocations: i64, has_end: bool) -> Result<()> {
        let lack = if witness.end.is_some() && !has_end {
            Some("the newest audit event of this process is missing".to_owned())
        } else if revocations < witness.revocations {
            let remembered = witness.revocations;
            Some(format!("its version of revocations is {revocations}, and {remembered} is remembered"))
        } else if rolled_back {
            Some("another process found it".to_owned())
        } else {
            None
        };
        if let Some(lack) = lack {
            self.found_rollback(&lack);
        }
        self.check_history()
    }

    /// What a transaction found. Who watches the history looks at the rest within a second.
    pub(super) fn found_rollback(&self, finding: &str) {
        if self.rollback().is_none() {
            self.set_rollback(Some(Rollback { found_at: self.now(), findings: vec![finding.to_owned()] }));
        }
    }

    pub fn saw_revocations(&self, version: i64) {
        self.history.revocations.fetch_max(version, Ordering::AcqRel);
    }

    /// A reconciled database begins anew.
    pub fn forget_revocations(&self, version: i64) {
        self.history.revocations.store(version, Ordering::Release);
    }

    /// The ends of this process's own chains.
    pub fn own_ends(&self) -> Vec<ChainEnd> {
        let end = |lane: super::audit::Lane| ChainEnd {
            writer: self.replica,
            lane: lane.number,
            seq: lane.seq,
            event: lane.event,
            hash: to_hex(&lane.head),
            certificates: Some(lane.certificates),
        };
        self.lanes.ends().into_iter().map(end).collect()
    }
}

/// The one sentence about a database that is older than remembered.
pub const ROLLED_BACK: &str = "the database is older than what this CA remembers: a backup was restored, or a copy without \
                               the newest commits took over; nothing is signed until `chancery reconcile` has been run on \
                               the host of the server";

/// All figures at one moment, in one statement. `known` saves the reading of a checkpoint that is known.
pub async fn read(store: &Store, known: Option<&CheckpointFigure>) -> Result<FoundHistory> {
    let mut found = FoundHistory::default();
    let (mut numbers, mut events) = (Vec::new(), Vec::new());
    let mut checkpoint: Option<CheckpointId> = None;
    for row in q(FIGURES).fetch_all(store).await? {
        match row.get::<String>("kind")?.as_str() {
            "installation" => {
                found.installation = Some(row.get("id")?);
                found.figures.epoch = row.get("n")?;
                found.audit_seal = row.get("hash")?;
            }
            "history" => {
                found.rolled_back_at = at(row.get("n")?);
                found.anchored = row.get::<i64>("m")? > 0;
                found.findings = row.json("name")?;
            }
            "version" => drop(found.figures.versions.insert(row.get("name")?, row.get("n")?)),
            "row_macs" => found.figures.row_macs = row.get("n")?,
            "event" => match chain_end(&row) {
                Ok(end) => events.push(end),
                Err(error) => found.unreadable.push(unreadable_event(&row, &error)),
            },
            "checkpoint" => match row.id("id") {
                Ok(id) => checkpoint = Some(id),
                Err(error) => {
                    // what is known stays the newest one
                    checkpoint = known.map(|known| known.id);
                    let id = to_hex(&row.get::<Vec<u8>>("id").unwrap_or_default());
                    found.unreadable.push(format!("the row of audit_checkpoints with the id {id}: {}", error.detail));
                }
            },
            _ => match series(&row) {
                Ok(series) => numbers.push(series),
                Err(error) => {
                    let name: String = row.get("name").unwrap_or_default();
                    found.unreadable.push(format!("the CRL numbers of {name}: {}", error.detail));
                }
            },
        }
    }
    // several of them are of one chain
    found.figures.add_chains(&events);
    let epoch = u64::try_from(found.figures.epoch).unwrap_or(0);
    for (series, counter, number) in numbers {
        let counted = CrlNumber::new(epoch, u64::try_from(counter).unwrap_or(0));
        let highest = number.map_or(counted, |number| number.max(counted));
        found.figures.crls.insert(series, CrlFigures { highest, served: None });
    }
    found.figures.checkpoint = match (checkpoint, known) {
        (None, _) => None,
        (Some(id), Some(known)) if known.id == id => Some(known.clone()),
        (Some(_), _) => newest_checkpoint(store).await?,
    };
    Ok(found)
}

/// The newest checkpoint as it is in the database now.
pub async fn newest_checkpoint(store: &Store) -> Result<Option<CheckpointFigure>> {
    let last = checkpoints::latest(store).await?;
    Ok(last.map(|last| CheckpointFigure { id: last.id, sha256: to_hex(&last.sha256()) }))
}

/// What the database has of these chains.
pub async fn chains(store: &Store, ends: &[ChainEnd]) -> Result<Vec<FoundChain>> {
    let keys = ends.iter().map(|end| vec![end.writer.to_vec().into(), end.lane.into(), end.seq.into()]);
    let rows = fetch_many_alone(&store.db, CHAINS, keys.collect()).await?;
    let mut found = Vec::with_capacity(ends.len());
    for row in rows {
        let (writer, lane) = (row.id("writer")?, row.get::<i64>("lane")?);
        let end = ends.iter().find(|end| (end.writer, end.lane) == (writer, lane));
        let Some(end) = end.cloned() else { continue };
        let hash: Option<Vec<u8>> = row.get("hash")?;
        found.push(FoundChain { end, hash: hash.as_deref().map(to_hex), last: row.get("last")? });
    }
    Ok(found)
}

/// Notes that an anchor was written: from now on one that is missing is a finding.
pub async fn anchored(store: &Store) -> Result<()> {
    q(ANCHORED).bind(store.now()).execute(store).await.map(drop)
}

/// The mark of a database that is older than remembered.
#[derive(Debug, Clone, Default)]
pub struct Mark {
    pub at: Option<Timestamp>,
    pub findings: Vec<String>,
    /// JSON of an anchor; empty for none.
    pub remembered: String,
}

/// Reads the mark and holds its row until the transaction ends.
pub async fn hold(tx: &mut Tx) -> Result<Mark> {
    let row = q(HOLD).fetch_one(tx).await?;
    Ok(Mark { at: at(row.get("at")?), findings: row.json("findings")?, remembered: row.get("remembered")? })
}

pub async fn mark(tx: &mut Tx, mark: &Mark) -> Result<()> {
    let findings =
        serde_json::to_string(&mark.findings).map_err(|e| Error::internal("findings do not serialise", e))?;
    q(MARK).bind(mark.at).bind(findings).bind(&mark.remembered).execute(tx).await.map(drop)
}

/// A new epoch, above the one that the installation has. CRLs and lists of domains are made anew in it.
pub async fn begin_epoch(tx: &mut Tx, epoch: i64) -> Result<()> {
    if q(RAISE_EPOCH).bind(epoch).execute(&mut *tx).await? != 1 {
        return Err(Error::inconsistent(format!("the epoch {epoch} is not above the one of the installation")));
    }
    q(RENEW_CRLS).execute(&mut *tx).await?;
    q(RENEW_DOMAIN_LISTS).execute(tx).await.map(drop)
}

/// Lets the CRLs of an issuer go on above this number.
pub async fn raise_crl_number(tx: &mut Tx, issuer: IssuerId, number: CrlNumber) -> Result<()> {
    q(RAISE_CRL_NUMBER).bind(issuer.to_vec()).bind(number.stored()).execute(tx).await.map(drop)
}

/// How many certificates a chain says were issued.
pub async fn certificates_of<'a>(on: impl Into<On<'a>>, end: &ChainEnd) -> Result<u64> {
    let row = q(CERTIFICATES_OF).bind(end.writer.to_vec()).bind(end.lane).fetch_one(on).await?;
    Ok(u64::try_from(row.get::<i64>("n")?).unwrap_or(0))
}

fn at(micros: i64) -> Option<Timestamp> {
    (micros > 0).then_some(Timestamp::from_micros(micros))
}

fn chain_end(row: &Row) -> Result<ChainEnd> {
    Ok(ChainEnd {
        writer: row.id("id")?,
        lane: row.get("n")?,
        seq: row.get("m")?,
        event: row.id("event")?,
        hash: to_hex(&row.get::<Vec<u8>>("hash")?),
        certificates: None,
    })
}

fn unreadable_event(row: &Row, error: &Error) -> String {
    let writer = to_hex(&row.get::<Vec<u8>>("id").unwrap_or_default());
    let (lane, seq) = (row.get::<i64>("n").unwrap_or_default(), row.get::<i64>("m").unwrap_or_default());
    format!("the row of audit_events with writer {writer}, lane {lane} and seq {seq}: {}", error.detail)
}

/// Name, counter, and the highest number where it is kept beside the counter.
fn series(row: &Row) -> Result<(String, i64, Option<CrlNumber>)> {
    let counter = row.get("n")?;
    if row.get::<String>("kind")? == "domain" {
        return Ok((domain_series(&row.get::<String>("name")?), counter, None));
    }
    let number: Option<Vec<u8>> = row.get("hash")?;
    let number = number.map(|octets| {
        CrlNumber::from_octets(&octets).ok_or_else(|| Error::inconsistent("a CRL number has more than 20 octets"))
    });
    Ok((row.id::<IssuerId>("id")?.to_string(), counter, number.transpose()?))
}

/// The name of a trust domain's series of lists.
pub fn domain_series(domain: &str) -> String {
    format!("domain:{domain}")
}
