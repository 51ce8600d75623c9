//! The anchor: what is remembered of a database outside of it. Its figures only rise while the database stays the one that
//! it is, so a database whose figures are lower was restored from a backup, or is a copy that lacks the newest commits.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::crl::CrlNumber;
use super::id::{CheckpointId, EventId, ReplicaId};
use super::text::counted;
use crate::clock::Timestamp;

/// The form of the file; a reader refuses others.
pub const FORMAT: u32 = 1;
/// Chains that are remembered: of each the last event. Every process starts chains of its own, and whoever lacks a commit
/// lacks the newest ones.
const CHAINS: usize = 64;

/// What a process remembers, in memory and as the JSON of its anchor file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    pub format: u32,
    /// The id of the installation in hex.
    pub installation: String,
    /// When these figures were read.
    pub at: Timestamp,
    #[serde(flatten)]
    pub figures: Figures,
    /// When this anchor took the place of one that was missing or unreadable: whether the database was older then cannot
    /// be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_at: Option<Timestamp>,
}

/// Figures of one database at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Raised by `chancery reconcile` alone: figures of a lower epoch are no longer compared.
    pub epoch: i64,
    /// The version rows, by topic.
    pub versions: BTreeMap<String, i64>,
    /// By the id of an issuer, or `domain:` and the slug of a trust domain.
    pub crls: BTreeMap<String, CrlFigures>,
    /// The ends of audit chains, the one that moved last at the end.
    pub events: Vec<ChainEnd>,
    /// The newest checkpoint of the audit.
    pub checkpoint: Option<CheckpointFigure>,
    /// How many tables must have a MAC in every row.
    #[serde(default)]
    pub row_macs: i64,
    /// Fingerprint of the key that signs the audit's checkpoints. It never changes, except by `chancery reconcile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_key: Option<String>,
}

/// The numbers of one series of CRLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrlFigures {
    /// The highest one used, also by a CRL that stands ready for later.
    pub highest: CrlNumber,
    /// The one that this process served last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<CrlNumber>,
}

/// The last event of an audit chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainEnd {
    pub writer: ReplicaId,
    pub lane: i64,
    pub seq: i64,
    pub event: EventId,
    /// The event's hash in hex.
    pub hash: String,
    /// How many certificates the chain says were issued; known of the own chains alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointFigure {
    pub id: CheckpointId,
    pub sha256: String,
}

/// What the database has of a chain whose end is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundChain {
    pub end: ChainEnd,
    /// The hash of the event at the remembered place, in hex; None: there is none.
    pub hash: Option<String>,
    /// The last event that is there; 0: none.
    pub last: i64,
}

impl FoundChain {
    pub fn is_whole(&self) -> bool {
        self.hash.as_ref() == Some(&self.end.hash)
    }

    /// Events that were remembered and are not there. One that has another content counts.
    pub fn missing(&self) -> u64 {
        if self.is_whole() { 0 } else { u64::try_from(self.end.seq - self.last).unwrap_or(0).max(1) }
    }
}

/// A figure that the database lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    Epoch {
        remembered: i64,
        found: i64,
    },
    /// A higher epoch that `chancery reconcile` did not begin.
    UnprovedEpoch {
        found: i64,
    },
    Version {
        topic: String,
        remembered: i64,
        found: i64,
    },
    Crl {
        series: String,
        remembered: CrlNumber,
        found: Option<CrlNumber>,
    },
    Events {
        events: u64,
        chains: usize,
    },
    Checkpoint {
        id: CheckpointId,
        changed: bool,
    },
    RowMacs {
        remembered: i64,
        found: i64,
    },
    AuditKey {
        remembered: String,
        found: Option<String>,
    },
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Epoch { remembered, found } => {
                write!(f, "its epoch is {found}, and {remembered} is remembered")
            }
            Lack::UnprovedEpoch { found } => {
                write!(f, "its epoch was raised to {found} by something other than `chancery reconcile`")
            }
            Lack::Version { topic, remembered, found } => {
                let missing = remembered - found;
                let (changes, are) = (counted(missing, "change"), are(missing == 1));
                let what = in_words(topic);
                write!(f, "the newest {changes} to {what} {are} missing (it has {found} of {remembered})")
            }
            Lack::Crl { series, remembered, found: None } => {
                write!(f, "it has no CRLs of {series}, and number {remembered} is remembered")
            }
            Lack::Crl { series, remembered, found: Some(found) } => {
                write!(f, "the newest CRL number of {series} is {found}, and {remembered} is remembered")
            }
            Lack::Events { events, chains } => {
                let (missing, are) = (counted(*events, "audit event"), are(*events == 1));
                write!(f, "{missing} at the end of {} {are} missing", counted(*chains, "chain"))
            }
            Lack::RowMacs { remembered, found } => {
                write!(f, "rows must have MACs in {remembered} tables, and the marks of {found} are there")
            }
            Lack::Checkpoint { id, changed: false } => write!(f, "audit checkpoint {id} is missing"),
            Lack::Checkpoint { id, changed: true } => {
                write!(f, "audit checkpoint {id} is not the one that is remembered")
            }
            Lack::AuditKey { remembered, found: None } => {
                write!(
                    f,
                    "the audit's key {remembered} is remembered, and its seal in the row of the installation is gone or changed"
                )
            }
            Lack::AuditKey { remembered, found: Some(found) } => {
                write!(f, "the audit's key is {found}, and {remembered} is remembered")
            }
        }
    }
}

/// The topic of a version as people call it.
fn in_words(topic: &str) -> &str {
    match topic {
        "hierarchy" => "issuers and trust domains",
        "access" => "users, tokens, grants and EAB keys",
        "directories" => "ACME directories",
        "renewals" => "rules of renewals",
        other => other,
    }
}

fn are(one: bool) -> &'static str {
    if one { "is" } else { "are" }
}

impl Anchor {
    pub fn new(installation: &[u8], at: Timestamp, figures: Figures) -> Self {
        let installation = super::serial::to_hex(installation);
        Anchor { format: FORMAT, installation, at, figures, replaced_at: None }
    }
}

impl Figures {
    /// What `found` lacks of these figures. Chains come separately, because they need a look at each one.
    pub fn lacks(&self, found: &Figures, chains: &[FoundChain]) -> Vec<Lack> {
        if planted!("rollback-is-not-noticed", true, found.epoch > self.epoch) {
            return Vec::new();
        }
        let mut lacks = Vec::new();
        if found.epoch < self.epoch {
            lacks.push(Lack::Epoch { remembered: self.epoch, found: found.epoch });
        }
        for (topic, remembered) in &self.versions {
            let version = found.versions.get(topic).copied().unwrap_or(0);
            if version < *remembered {
                lacks.push(Lack::Version { topic: topic.clone(), remembered: *remembered, found: version });
            }
        }
        for (series, remembered) in &self.crls {
            let highest = found.crls.get(series).map(|crl| crl.highest);
            if highest.is_none_or(|highest| highest < remembered.highest) {
                let (series, remembered) = (series.clone(), remembered.highest);
                lacks.push(Lack::Crl { series, remembered, found: highest });
            }
        }
        let broken: Vec<_> = chains.iter().filter(|chain| !chain.is_whole()).collect();
        if !broken.is_empty() {
            let events = broken.iter().map(|chain| chain.missing()).sum();
            lacks.push(Lack::Events { events, chains: broken.len() });
        }
        lacks.extend(self.checkpoint_lack(found));
        if self.row_macs > found.row_macs {
            lacks.push(Lack::RowMacs { remembered: self.row_macs, found: found.row_macs });
        }
        lacks
    }

    fn checkpoint_lack(&self, found: &Figures) -> Option<Lack> {
        let remembered = self.checkpoint.as_ref()?;
        let id = remembered.id;
        match &found.checkpoint {
            None => Some(Lack::Checkpoint { id, changed: false }),
            Some(checkpoint) if checkpoint.id < id => Some(Lack::Checkpoint { id, changed: false }),
            Some(checkpoint) if checkpoint.id == id && checkpoint.sha256 != remembered.sha256 => {
                Some(Lack::Checkpoint { id, changed: true })
            }
            Some(_) => None,
        }
    }

    /// Takes over what is higher in `other`, and everything of a higher epoch.
    pub fn rise_to(&mut self, other: &Figures) {
        if other.epoch < self.epoch {
            return;
        }
        if other.epoch > self.epoch {
            *self = other.clone();
            return;
        }
        for (topic, version) in &other.versions {
            let known = self.versions.entry(topic.clone()).or_insert(*version);
            *known = (*known).max(*version);
        }
        self.row_macs = self.row_macs.max(other.row_macs);
        self.rise_to_crls(other);
        self.add_chains(&other.events);
        let newer = |ours: &CheckpointFigure, theirs: &CheckpointFigure| theirs.id > ours.id;
        match (&self.checkpoint, &other.checkpoint) {
            (Some(ours), Some(theirs)) if !newer(ours, theirs) => {}
            (_, None) => {}
            (_, Some(theirs)) => self.checkpoint = Some(theirs.clone()),
        }
        if self.audit_key.is_none() {
            self.audit_key.clone_from(&other.audit_key);
        }
    }

    /// The CRL numbers alone, whatever the epochs are.
    pub fn rise_to_crls(&mut self, other: &Figures) {
        for (series, crl) in &other.crls {
            let known = self.crls.entry(series.clone()).or_insert(*crl);
            known.highest = known.highest.max(crl.highest);
            known.served = known.served.max(crl.served);
        }
    }

    /// Adds ends of chains and keeps those that moved last.
    pub fn add_chains(&mut self, ends: &[ChainEnd]) {
        let mut ends: Vec<&ChainEnd> = ends.iter().collect();
        ends.sort_by_key(|end| end.event);
        for end in ends {
            let place = self.events.iter().position(|known| (known.writer, known.lane) == (end.writer, end.lane));
            let known = place.and_then(|place| self.events.get_mut(place)).map(|known| (known.seq, known));
            match known {
                Some((seq, _)) if seq > end.seq => {}
                Some((seq, known)) if seq == end.seq => known.certificates = known.certificates.or(end.certificates),
                // not by the id: after a clock was set back the newest events have lower ones
                Some(_) | None => {
                    self.events.retain(|known| (known.writer, known.lane) != (end.writer, end.lane));
                    self.events.push(end.clone());
                }
            }
        }
        let over = self.events.len().saturating_sub(CHAINS);
        self.events.drain(..over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut Figures);

    fn figures() -> Figures {
        let crl = CrlFigures { highest: CrlNumber::from(9), served: Some(CrlNumber::from(8)) };
        Figures {
            epoch: 3,
            versions: BTreeMap::from([("revocations".to_owned(), 5)]),
            crls: BTreeMap::from([("domain:tls".to_owned(), crl)]),
            events: vec![end(1, 7)],
            checkpoint: Some(CheckpointFigure { id: CheckpointId::from_bytes([4; 16]), sha256: "aa".into() }),
            row_macs: 2,
            audit_key: Some("ab".into()),
        }
    }

    fn end(writer: u8, seq: i64) -> ChainEnd {
        ChainEnd {
            writer: ReplicaId::from_bytes([writer; 16]),
            lane: 0,
            seq,
            event: EventId::from_bytes([u8::try_from(seq).unwrap(); 16]),
            hash: format!("{writer}/{seq}"),
            certificates: None,
        }
    }

    #[test]
    fn a_database_that_is_as_new_or_newer_lacks_nothing() {
        let anchor = figures();
        assert!(anchor.lacks(&figures(), &[]).is_empty());
        let mut newer = figures();
        newer.versions.insert("revocations".into(), 6);
        newer.crls.get_mut("domain:tls").unwrap().highest = CrlNumber::from(10);
        newer.checkpoint.as_mut().unwrap().id = CheckpointId::from_bytes([5; 16]);
        assert!(anchor.lacks(&newer, &[]).is_empty());
        let reconciled = Figures { epoch: 4, ..Figures::default() };
        assert!(anchor.lacks(&reconciled, &[]).is_empty(), "a higher epoch was decided by an operator");
    }

    #[test]
    fn each_figure_that_is_lower_is_a_lack() {
        let anchor = figures();
        let lower: [(Change, &str); 7] = [
            (|f| f.row_macs = 1, "in 2 tables, and the marks of 1 are there"),
            (|f| f.epoch = 2, "its epoch is 2, and 3 is remembered"),
            (
                |f| *f.versions.get_mut("revocations").unwrap() = 4,
                "the newest 1 change to revocations is missing (it has 4 of 5)",
            ),
            (|f| f.crls.clear(), "it has no CRLs of domain:tls, and number 9 is remembered"),
            (|f| f.crls.get_mut("domain:tls").unwrap().highest = CrlNumber::from(8), "is 8, and 9 is remembered"),
            (|f| f.checkpoint = None, "is missing"),
            (|f| f.checkpoint.as_mut().unwrap().sha256 = "bb".into(), "is not the one that is remembered"),
        ];
        for (change, word) in lower {
            let mut found = figures();
            change(&mut found);
            let lacks = anchor.lacks(&found, &[]);
            assert!(matches!(&lacks[..], [lack] if lack.to_string().contains(word)), "{word}: {lacks:?}");
        }
        let cut = FoundChain { end: end(1, 7), hash: None, last: 4 };
        let other = FoundChain { end: end(2, 3), hash: Some("2/x".into()), last: 9 };
        let whole = FoundChain { end: end(3, 3), hash: Some("3/3".into()), last: 3 };
        let lacks = anchor.lacks(&figures(), &[cut, other, whole]);
        assert_eq!(lacks, [Lack::Events { events: 4, chains: 2 }]);
    }

    #[test]
    fn an_anchor_only_rises() {
        let mut anchor = figures();
        let mut other = figures();
        other.versions.insert("revocations".into(), 4);
        other.versions.insert("access".into(), 1);
        other.crls.get_mut("domain:tls").unwrap().highest = CrlNumber::from(8);
        other.events = vec![end(1, 6), end(2, 9)];
        anchor.rise_to(&other);
        assert_eq!((anchor.versions["revocations"], anchor.versions["access"]), (5, 1));
        assert_eq!(anchor.crls["domain:tls"].highest, CrlNumber::from(9));
        assert_eq!(anchor.events, [end(1, 7), end(2, 9)]);
        anchor.rise_to(&Figures { epoch: 2, ..other.clone() });
        assert_eq!(anchor.epoch, 3);
        anchor.rise_to(&Figures { audit_key: Some("cd".into()), ..other.clone() });
        assert_eq!(anchor.audit_key.as_deref(), Some("ab"));
        let many: Vec<ChainEnd> = (10..100).map(|seq| end(u8::try_from(seq).unwrap(), seq)).collect();
        anchor.add_chains(&many);
        assert_eq!((anchor.events.len(), anchor.events[63].seq), (CHAINS, 99));
    }

    #[test]
    fn the_file_is_plain_json() {
        let anchor = Anchor::new(&[0xab; 16], Timestamp::from_secs(1_800_000_000), figures());
        let text = serde_json::to_string(&anchor).unwrap();
        assert!(text.contains(r#""highest":"9""#) && text.contains(r#""format":1"#), "{text}");
        assert_eq!(serde_json::from_str::<Anchor>(&text).unwrap(), anchor);
    }
}
