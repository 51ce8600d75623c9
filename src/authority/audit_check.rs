//! Whether the record of the audit is whole: hashes, links and sequence numbers of every chain, and checkpoints that follow
//! from each other, are signed by the audit's key and still find in the chains what they saw. Reads rows in their order and
//! knows no database, so it also reads an exported file.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::audit_coverage::{Coverage, OVERLAP};
use super::audit_misplaced::{EventRange, Misplacements};
use crate::clock::{Timestamp, hours};
use crate::model::audit::{AuditSeal, ChainedEvent, Checkpoint, Head};
use crate::model::id::{KeyId, ReplicaId};
use crate::model::serial::to_hex;
use crate::pki::algorithm::verify;
use crate::pki::signed_note::VerifierKey;

/// The first checkpoint is made in the minutes after the founding. One that covers more was made after others were removed.
const YOUNG: Duration = hours(2);

/// What somebody knows of the audit from outside the database.
#[derive(Debug, Clone, Default)]
pub struct KnownOutside {
    /// A fingerprint or a verifier key, as `chancery audit key` printed it.
    pub key: Option<String>,
    /// SHA-256 of checkpoints in hex.
    pub checkpoints: Vec<String>,
    /// Signed notes that were published.
    pub notes: Vec<String>,
}

/// Where the record is read from, and what holds it together.
#[derive(Debug, Default)]
pub struct AuditKeys {
    /// The key of the notes.
    pub verifier: Option<VerifierKey>,
    /// SubjectPublicKeyInfo of each key that signed checkpoints.
    pub public: HashMap<KeyId, Vec<u8>>,
    /// The seal, where the unlock key is at hand.
    pub seal: Option<AuditSeal>,
    /// When the installation was founded, where the database is at hand.
    pub founded: Option<Timestamp>,
}

/// The end of a check.
#[derive(Debug, Clone, Default)]
pub struct AuditVerdict {
    pub events: u64,
    pub checkpoints: u64,
    /// The key is the one that somebody knows from outside, and it signed a checkpoint.
    pub authenticated: bool,
    /// Up to which checkpoint the audit is signed.
    pub signed: Option<SignedUpTo>,
    /// Events that no signed checkpoint saw yet: only their hashes speak for them.
    pub unsigned_events: u64,
    /// Fingerprint of the key of the notes.
    pub key: Option<String>,
    pub findings: Vec<String>,
    /// Events that were added later or written after the clock was set back; nobody confirmed them.
    pub misplaced: Vec<EventRange>,
    /// What operators said of the clock, as sentences.
    pub confirmed: Vec<String>,
}

/// The newest checkpoint whose note verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedUpTo {
    pub number: u64,
    pub at: Timestamp,
}

/// A check under way: all checkpoints in the order of their making, then all events in the order of their chains.
#[derive(Debug, Default)]
pub struct AuditCheck {
    keys: AuditKeys,
    known: KnownOutside,
    verdict: AuditVerdict,
    before: Option<Checkpoint>,
    /// The number of the newest note.
    note: Option<u64>,
    /// The checkpoint that the seal names was seen.
    sealed: bool,
    /// Ends of chains that checkpoints saw: (writer, lane, seq) → (hash, when).
    witnessed: HashMap<(ReplicaId, i64, i64), (String, Timestamp)>,
    hashes: HashSet<String>,
    coverage: Coverage,
    genesis: Option<Genesis>,
    misplaced: Misplacements,
    previous: Option<ChainedEvent>,
}

/// The first checkpoint, and the times of what it covers.
#[derive(Debug)]
struct Genesis {
    at: Timestamp,
    heads: HashMap<(ReplicaId, i64), i64>,
    oldest: Option<Timestamp>,
    /// The newest covered event that is older than the checkpoint by more than it may be.
    newest_early: Option<Timestamp>,
}

impl AuditCheck {
    pub fn new(keys: AuditKeys, known: KnownOutside) -> Self {
        AuditCheck { keys, known, ..AuditCheck::default() }
    }

    pub fn finding(&mut self, sentence: impl Into<String>) {
        self.verdict.findings.push(sentence.into());
    }

    pub fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        self.verdict.checkpoints += 1;
        let hash = to_hex(&checkpoint.sha256());
        let note = self.note;
        if let Err(why) = self.signatures(checkpoint, &hash) {
            self.finding(format!("audit checkpoint {}: {why}", checkpoint.id));
            return;
        }
        let heads = match checkpoint.read() {
            Ok(heads) => heads,
            Err(error) => return self.finding(format!("audit checkpoint {}: {}", checkpoint.id, error.detail)),
        };
        if heads.previous != self.before.as_ref().map(|before| to_hex(&before.sha256())) {
            self.finding(format!("audit checkpoint {}: one before it is missing or was changed", checkpoint.id));
        }
        for head in &heads.heads {
            let seen = (to_hex(&head.hash), checkpoint.at);
            self.witnessed.insert((head.writer, head.lane, head.seq), seen);
        }
        let noted = self.note.filter(|_| self.note != note);
        self.coverage.add(checkpoint.at, &heads.heads, noted.is_some());
        if let Some(number) = noted {
            self.verdict.signed = Some(SignedUpTo { number, at: checkpoint.at });
        }
        if self.before.is_none() {
            self.genesis = Some(Genesis::of(checkpoint.at, &heads.heads));
        }
        self.hashes.insert(hash);
        self.before = Some(checkpoint.clone());
    }

    /// The row's signature, and the note over the row.
    fn signatures(&mut self, checkpoint: &Checkpoint, hash: &str) -> Result<(), String> {
        let Some(public_key) = self.keys.public.get(&checkpoint.key_id) else {
            return Err("its key is not among the keys of this CA".into());
        };
        if verify(public_key, &checkpoint.message(), &checkpoint.signature).is_err() {
            return Err("its signature is not that of its key".into());
        }
        let of_audit = self.keys.verifier.as_ref().is_some_and(|key| key.spki() == *public_key);
        if checkpoint.note.is_empty() {
            // of an earlier version: before the first note with a key of its own, after it with the key of the audit
            return if of_audit || self.note.is_none() { Ok(()) } else { Err("it has no signed note".into()) };
        }
        let Some(verifier) = self.keys.verifier.as_ref().filter(|_| of_audit) else {
            return Err("its key is not the key of this audit".into());
        };
        let text = verifier.verify(&checkpoint.note).map_err(|e| e.to_string())?;
        let number = text.lines().nth(1).and_then(|line| line.parse().ok()).unwrap_or(0);
        if text != checkpoint.note_text(verifier.name(), number) {
            return Err("its note is of another checkpoint".into());
        }
        let expected = self.note.map_or(1, |number| number + 1);
        if number != expected {
            self.finding(format!(
                "audit checkpoint number {expected} is missing: number {number} comes in its place"
            ));
        }
        self.note = Some(number);
        self.sealed |=
            self.keys.seal.as_ref().is_some_and(|seal| (seal.number, seal.sha256.as_str()) == (number, hash));
        Ok(())
    }

    pub fn event(&mut self, event: &ChainedEvent) {
        self.verdict.events += 1;
        let (writer, lane, seq) = (event.writer, event.lane, event.seq);
        if let Some(why) = broken_link(self.previous.as_ref(), event) {
            self.finding(format!("audit chain {writer}/{lane} at {seq}: {why}"));
        }
        if let Some((hash, at)) = self.witnessed.remove(&(writer, lane, seq))
            && hash != to_hex(&event.hash)
        {
            self.finding(format!(
                "audit chain {writer}/{lane} at {seq}: it is not the event that the checkpoint of {at} saw"
            ));
        }
        if let Some(genesis) = &mut self.genesis {
            genesis.covers(event);
        }
        if !self.coverage.is_signed(event) {
            self.verdict.unsigned_events += 1;
        }
        self.judge_time(event);
        self.misplaced.see(event);
        self.previous = Some(event.clone());
    }

    /// Whether the event can have been written at its time.
    fn judge_time(&mut self, event: &ChainedEvent) {
        let missed_by = self.coverage.missed_by(event);
        let is_before = self.keys.founded.is_some_and(|founded| event.at < founded - OVERLAP);
        if missed_by.is_some() || is_before {
            self.misplaced.add(event, missed_by);
        }
    }

    /// What only the whole can tell.
    pub fn finish(mut self) -> AuditVerdict {
        for ((writer, lane, seq), (_, at)) in std::mem::take(&mut self.witnessed) {
            self.finding(format!("audit chain {writer}/{lane} was cut: the checkpoint of {at} saw its event {seq}"));
        }
        if let Some(genesis) = self.genesis.take().filter(Genesis::is_young) {
            self.finding(format!(
                "the oldest audit checkpoint is of {}, and events long before it have none: earlier checkpoints were removed",
                genesis.at
            ));
        }
        let judged = std::mem::take(&mut self.misplaced).judge(self.keys.founded);
        judged.findings.into_iter().for_each(|finding| self.finding(finding));
        (self.verdict.misplaced, self.verdict.confirmed) = (judged.unconfirmed, judged.confirmed);
        self.compare_seal();
        self.compare_known();
        self.verdict.key = self.keys.verifier.as_ref().map(VerifierKey::fingerprint);
        self.verdict
    }

    /// One more checkpoint may have been made since the seal was read.
    fn compare_seal(&mut self) {
        let Some(seal) = self.keys.seal.take().filter(|_| !self.sealed) else { return };
        let newest = self.note.unwrap_or(0);
        self.finding(format!(
            "audit checkpoint number {} ({}) was made by this CA and is not there; the newest is number {newest}: checkpoints \
             were removed or changed",
            seal.number, seal.checkpoint
        ));
    }

    fn compare_known(&mut self) {
        let known = std::mem::take(&mut self.known);
        if let Some(key) = &known.key {
            let is_own = self.keys.verifier.as_ref().is_some_and(|own| is_key(own, key));
            self.verdict.authenticated = is_own && self.verdict.signed.is_some();
            if is_own && self.verdict.signed.is_none() {
                self.finding(format!(
                    "no checkpoint is there that the key {key} signed, so nothing says that this audit is the one of that key"
                ));
            } else if !is_own {
                let own = self.keys.verifier.as_ref().map_or_else(|| "no key".into(), VerifierKey::fingerprint);
                self.finding(format!("the audit is signed by {own}, not by the key {key}"));
            }
        }
        for hash in &known.checkpoints {
            if !self.hashes.contains(&hash.to_ascii_lowercase()) {
                self.finding(format!("checkpoint {hash} was published, and the audit does not have it"));
            }
        }
        for note in &known.notes {
            let why = match self.keys.verifier.as_ref().map(|key| key.verify(note)) {
                None => "there is no key to compare it with".to_owned(),
                Some(Err(error)) => error.to_string(),
                Some(Ok(text)) if self.hashes.contains(&hash_of_note(text)) => continue,
                Some(Ok(_)) => "the audit does not have it".to_owned(),
            };
            let number = note.lines().nth(1).unwrap_or_default();
            self.finding(format!("checkpoint number {number} was published: {why}"));
        }
    }
}

impl Genesis {
    fn of(at: Timestamp, heads: &[Head]) -> Self {
        let heads = heads.iter().map(|head| ((head.writer, head.lane), head.seq)).collect();
        Genesis { at, heads, oldest: None, newest_early: None }
    }

    fn covers(&mut self, event: &ChainedEvent) {
        if self.heads.get(&(event.writer, event.lane)).is_none_or(|seq| event.seq > *seq) {
            return;
        }
        self.oldest = Some(self.oldest.map_or(event.at, |oldest| oldest.min(event.at)));
        if event.at < self.at - YOUNG {
            self.newest_early = Some(self.newest_early.map_or(event.at, |newest| newest.max(event.at)));
        }
    }

    /// A founding that was killed before its checkpoint is one moment, whenever the next start was.
    fn is_young(&self) -> bool {
        matches!((self.oldest, self.newest_early), (Some(oldest), Some(early)) if early - YOUNG > oldest)
    }
}

/// `text` is the key's fingerprint, with or without colons, or the whole verifier key.
fn is_key(key: &VerifierKey, text: &str) -> bool {
    let text = text.trim();
    let hex: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    key.to_string() == text || key.fingerprint() == hex.to_ascii_lowercase()
}

/// The third line of a note, as hex.
fn hash_of_note(text: &str) -> String {
    let line = text.lines().nth(2).and_then(|line| BASE64.decode(line).ok());
    to_hex(&line.unwrap_or_default())
}

fn broken_link(previous: Option<&ChainedEvent>, event: &ChainedEvent) -> Option<&'static str> {
    let before = previous.filter(|p| (p.writer, p.lane) == (event.writer, event.lane));
    let (seq, hash) = before.map_or((1, [0; 32]), |p| (p.seq + 1, p.hash));
    if event.seq != seq {
        Some("an event is missing before it")
    } else if event.previous != hash {
        Some("it does not follow from the event before it")
    } else if event.hash != event.compute_hash() {
        Some("it was changed after it was written")
    } else {
        None
    }
}
