//! Revocations and blocked keys, compared with the audit by fsck and by the look at every row. Their rows are only added, so
//! one that is gone was taken away, unless an event with a MAC took it back; and a row with other values than the newest
//! event names under a MAC was changed. The look puts back what was changed or taken away.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Value, json};

use super::crl::SKEW;
use super::{Authority, row_macs};
use crate::error::{ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::{AuditEvent, ChainedEvent, Outcome};
use crate::model::blocked_key::KeyFingerprint;
use crate::model::id::{CertificateId, IssuerId};
use crate::model::reason::RevocationReason;
use crate::model::serial::SerialNumber;
use crate::model::text::counted;
use crate::pki::key_policy::sha256;
use crate::store::row_macs::{BLOCKED_KEY, ChangedRow, RowMacs, WITHDRAWALS, Withdrawal, revocation_object};
use crate::store::versions::{self, Topic};
use crate::store::{Tx, audit, blocked_keys, certificates, replicas, revocations};

/// Rows of one statement.
const AT_ONCE: usize = 500;
const PAGE: i64 = 5_000;
/// Events about one object that are read.
const EVENTS: i64 = 1_000;

/// The beginning of the SHA-256 of an object's name: there may be a million.
type ObjectHash = [u8; 16];

fn hash(object: &str) -> ObjectHash {
    let mut short = ObjectHash::default();
    short.iter_mut().zip(sha256(object.as_bytes())).for_each(|(to, from)| *to = from);
    short
}

/// By the newest events about each: is it revoked, or blocked?
#[derive(Debug, Default)]
pub(super) struct Withdrawn {
    certificates: HashMap<CertificateId, Claim>,
    keys: HashMap<KeyFingerprint, Claim>,
    /// Revocations with a MAC.
    revocations: HashMap<ObjectHash, ToldRevocation>,
}

#[derive(Debug, Clone, Copy)]
struct Claim {
    /// The version under a MAC, else the event's time.
    at: i64,
    is_withdrawn: bool,
    /// Revoked for another reason than certificateHold.
    is_final: bool,
}

#[derive(Debug, Clone, Copy)]
struct ToldRevocation {
    version: i64,
    mac: [u8; 12],
    is_withdrawn: bool,
    is_final: bool,
    is_seen: bool,
}

impl ToldRevocation {
    /// As `Withdrawal::weight`.
    fn weight(&self) -> (bool, i64) {
        (self.is_final, self.version)
    }
}

impl Withdrawn {
    pub(super) fn take(&mut self, event: &ChainedEvent, macs: &RowMacs) {
        if event.outcome != Outcome::Done.name() {
            return;
        }
        let mut named = HashSet::new();
        for told in macs.withdrawals_in(&event.detail) {
            self.take_sealed(&told, &mut named);
        }
        // what is said without a MAC takes nothing back, once every such event has one
        let is_withdrawn = match event.action.as_str() {
            "certificate.revoked" | "certificate.abandoned" | "certificate.revocation_raised" | "key.blocked" => true,
            "certificate.hold_lifted" | "key.unblocked" if !macs.requires_withdrawals() => false,
            _ => return,
        };
        if named.contains(&event.object) {
            return;
        }
        let at = event.at.micros();
        match event.object.split_once(':') {
            Some(("certificate", id)) => {
                let is_final = is_withdrawn && reason(&event.detail).is_none_or(RevocationReason::is_final);
                note(&mut self.certificates, id.parse().ok(), Claim { at, is_withdrawn, is_final });
            }
            Some(("key", digits)) => {
                note(&mut self.keys, digits.parse().ok(), Claim { at, is_withdrawn, is_final: false });
            }
            _ => {}
        }
    }

    fn take_sealed(&mut self, told: &Withdrawal, named: &mut HashSet<String>) {
        let (at, is_withdrawn) = (told.version, told.is_withdrawn());
        if let Some(key) = told.object.strip_prefix(BLOCKED_KEY) {
            named.insert(format!("key:{key}"));
            return note(&mut self.keys, key.parse().ok(), Claim { at, is_withdrawn, is_final: false });
        }
        let is_final = told.is_final();
        let newest = ToldRevocation { version: at, mac: told.mac, is_withdrawn, is_final, is_seen: false };
        let known = self.revocations.entry(hash(&told.object)).or_insert(newest);
        if known.weight() <= newest.weight() {
            *known = newest;
        }
        if let Some(id) = told.certificate() {
            named.insert(format!("certificate:{id}"));
            note(&mut self.certificates, Some(id), Claim { at, is_withdrawn, is_final });
        }
    }
}

fn reason(detail: &str) -> Option<RevocationReason> {
    let detail: Value = serde_json::from_str(detail).ok()?;
    RevocationReason::from_name(detail.get("reason")?.as_str()?).ok()
}

fn note<K: Eq + std::hash::Hash>(told: &mut HashMap<K, Claim>, key: Option<K>, claim: Claim) {
    let Some(key) = key else { return };
    let newest = told.entry(key).or_insert(claim);
    match (claim.is_withdrawn, newest.is_withdrawn) {
        // a reason is only ever raised
        (true, true) => {
            newest.is_final |= claim.is_final;
            newest.at = newest.at.max(claim.at);
        }
        // a hold alone is ever lifted: another lift was made while the database said something else
        (false, true) if newest.is_final => {}
        (true, false) if claim.is_final => *newest = claim,
        _ if claim.at >= newest.at => *newest = claim,
        _ => {}
    }
}

fn withdrawn<K: Copy>(told: &HashMap<K, Claim>) -> Vec<K> {
    told.iter().filter(|(_, claim)| claim.is_withdrawn).map(|(key, _)| *key).collect()
}

/// What the audit says of one certificate or key.
#[derive(Debug)]
pub(super) struct ToldOf {
    /// The version of what is written next.
    pub next_version: i64,
    /// It is revoked, and not on hold.
    pub is_final: bool,
    /// The newest event with a MAC.
    pub newest: Option<Withdrawal>,
}

/// Reads the events about `certificate:ID` or `key:FINGERPRINT`.
pub(super) async fn told_of(tx: &mut Tx, object: &str) -> Result<ToldOf> {
    let events = audit::of_object(&mut *tx, object, EVENTS).await?;
    let macs = tx.store().row_macs();
    let (mut withdrawn, mut newest, mut last) = (Withdrawn::default(), None::<Withdrawal>, 0);
    for event in events.iter().map(|listed| &listed.event) {
        withdrawn.take(event, macs);
        last = last.max(event.at.micros());
        for told in macs.withdrawals_in(&event.detail) {
            last = last.max(told.version);
            if newest.as_ref().is_none_or(|newest| newest.weight() <= told.weight()) {
                newest = Some(told);
            }
        }
    }
    let is_final = withdrawn.certificates.values().any(|claim| claim.is_withdrawn && claim.is_final);
    Ok(ToldOf { next_version: tx.now().micros().max(last.saturating_add(1)), is_final, newest })
}

impl Authority {
    /// What the audit says is revoked or blocked and the database does not, or otherwise, by object; and the revocations among
    /// it that were named under a MAC.
    async fn missing_withdrawals(
        &self,
        told: &mut Withdrawn,
    ) -> Result<(BTreeMap<String, ChangedRow>, HashSet<ObjectHash>)> {
        let mut found = BTreeMap::new();
        let mut add = |object: String, what: &str| {
            found.insert(object, ChangedRow { what: what.to_owned(), has_good_mac: false });
        };
        for some in withdrawn(&told.certificates).chunks(AT_ONCE) {
            let revoked = revocations::reasons_of(&self.store, some).await?;
            for id in some {
                let claim = told.certificates.get(id);
                match revoked.get(id) {
                    None => add(
                        format!("certificate:{id}"),
                        "is revoked by the audit, and its row or its revocation says otherwise",
                    ),
                    Some(true) if claim.is_some_and(|claim| claim.is_final) => add(
                        format!("certificate:{id}"),
                        "is revoked for good by the audit, and its row or its revocation says that it is on hold",
                    ),
                    Some(_) => {}
                }
            }
        }
        for some in withdrawn(&told.keys).chunks(AT_ONCE) {
            for key in blocked_keys::missing_of(&self.store, some).await? {
                add(format!("key:{key}"), "is blocked by the audit, and is no longer among the blocked keys");
            }
        }
        let mut suspects = HashSet::new();
        told.revocations.values_mut().for_each(|told| told.is_seen = false);
        let macs = self.store.row_macs();
        let soon = (self.store.now() + SKEW).micros();
        let (mut after, mut is_last) = ((Vec::new(), Vec::new()), false);
        while !is_last {
            let page = revocations::walk(&self.store, &after, PAGE).await?;
            is_last = i64::try_from(page.len()).is_ok_and(|count| count < PAGE);
            for row in page {
                let object = row.object();
                after = (row.issuer_id.clone(), row.serial.clone());
                let Some(told) = told.revocations.get_mut(&hash(&object)) else {
                    if row.revoked_at > soon {
                        add(object, "says that it was made at a time that has not come");
                    }
                    continue;
                };
                told.is_seen = true;
                let mac = macs.mac_of_withdrawal(&object, told.version, &row.said());
                if told.is_withdrawn && mac.is_some_and(|mac| mac != told.mac) {
                    suspects.insert(hash(&object));
                }
            }
        }
        let gone = told.revocations.iter().filter(|(_, told)| told.is_withdrawn && !told.is_seen);
        suspects.extend(gone.map(|(object, _)| *object));
        Ok((found, suspects))
    }

    /// Reads the audit once more for the newest values of these revocations. Those that it tells of no more are found.
    async fn told_values(
        &self,
        of: &HashSet<ObjectHash>,
        found: &mut BTreeMap<String, ChangedRow>,
    ) -> Result<Vec<Withdrawal>> {
        let (mut newest, mut after) = (HashMap::<ObjectHash, Withdrawal>::new(), Vec::new());
        while !of.is_empty() {
            let (events, last) = audit::with_rows(&self.store, &after, PAGE).await?;
            let Some(last) = last else { break };
            after = last;
            let done = events.iter().filter(|event| event.outcome == Outcome::Done.name());
            for told in done.flat_map(|event| self.store.row_macs().withdrawals_in(&event.detail)) {
                let object = hash(&told.object);
                if of.contains(&object) && newest.get(&object).is_none_or(|known| known.weight() <= told.weight()) {
                    newest.insert(object, told);
                }
            }
        }
        let untold = of.len() - newest.len();
        if untold > 0 {
            let what = format!(
                "have lost {}, and the audit, which told of them, does not any more; take in the newest published CRLs with \
                 `chancery reconcile --restored --crl FILE`",
                counted(u64::try_from(untold).unwrap_or(u64::MAX), "row")
            );
            found.insert("revocations".to_owned(), ChangedRow { what, has_good_mac: false });
        }
        Ok(newest.into_values().filter(Withdrawal::is_withdrawn).collect())
    }

    /// Withdrawals that were taken away or changed in the database, by object.
    pub(super) async fn changed_withdrawals(&self, told: &mut Withdrawn) -> Result<BTreeMap<String, ChangedRow>> {
        let (mut found, suspects) = self.missing_withdrawals(told).await?;
        for told in self.told_values(&suspects, &mut found).await? {
            let what = "is revoked, and its revocation was changed or removed in the database by something other than Chancery";
            found.insert(object_of(&told), ChangedRow { what: what.to_owned(), has_good_mac: false });
        }
        Ok(found)
    }

    /// Finds withdrawals as `changed_withdrawals` does, and puts revocations back as the audit names them under a MAC.
    pub(super) async fn restore_withdrawals(&self, told: &mut Withdrawn) -> Result<BTreeMap<String, ChangedRow>> {
        let (mut found, suspects) = self.missing_withdrawals(told).await?;
        for told in self.told_values(&suspects, &mut found).await? {
            if !self.put_back_revocation(&told).await? {
                // it was taken back meanwhile
                found.remove(&object_of(&told));
                continue;
            }
            let what = "was revoked, and its revocation was changed or removed in the database by something other than Chancery; it is \
                        revoked again as before";
            found.insert(object_of(&told), ChangedRow { what: what.to_owned(), has_good_mac: false });
        }
        Ok(found)
    }

    /// Puts the revocation of a certificate back where its row is not as the audit names it under a MAC. Says whether it did.
    pub(super) async fn restore_revocation(
        &self,
        id: CertificateId,
        issuer: IssuerId,
        serial: &SerialNumber,
    ) -> Result<bool> {
        let mut tx = self.store.begin(&Actor::system("row MACs")).await?;
        let newest = told_of(&mut tx, &format!("certificate:{id}")).await?.newest;
        drop(tx);
        let object = revocation_object(&issuer.to_string(), serial.octets());
        let Some(told) = newest.filter(|told| told.is_withdrawn() && told.object == object) else { return Ok(false) };
        let row = match revocations::find(&self.store, issuer, serial).await {
            Err(error) if matches!(error.kind, ErrorKind::Inconsistent | ErrorKind::Malformed) => None,
            found => found?,
        };
        if row.is_some() && row == told.revocation() {
            return Ok(false);
        }
        self.put_back_revocation(&told).await
    }

    async fn put_back_revocation(&self, told: &Withdrawal) -> Result<bool> {
        let Some((issuer, revocation)) = told.issuer().zip(told.revocation()) else { return Ok(false) };
        let mut tx = self.store.begin(&Actor::system("row MACs")).await?;
        if let Some(id) = told.certificate() {
            certificates::lock(&mut tx, id).await?;
            let newest = told_of(&mut tx, &format!("certificate:{id}")).await?.newest;
            if newest.is_some_and(|newest| newest.object == told.object && newest.weight() > told.weight()) {
                return Ok(false);
            }
            certificates::put_back(&mut tx, &revocation).await?;
        }
        revocations::put_back(&mut tx, issuer, &revocation).await?;
        revocations::note_change(&mut tx, issuer).await?;
        versions::bump(&mut tx, Topic::Revocations).await?;
        let detail = json!({"serial": revocation.serial, "reason": revocation.reason.name(), "revoked_at": revocation.revoked_at,
            "not_after": revocation.not_after});
        tx.audit(AuditEvent::done("revocation.restored", object_of(told), detail));
        tx.commit().await?;
        self.forget_answers();
        Ok(true)
    }
}

impl Authority {
    /// Once no process is left that takes anything back without a MAC: names what was taken back before under one, and has
    /// every later event without one say nothing.
    pub(super) async fn keep_withdrawals(&self) -> Result<()> {
        let macs = self.store.row_macs();
        if !macs.is_required() || macs.requires_withdrawals() || self.store.rollback().is_some() || !macs.is_open() {
            return Ok(());
        }
        // another process may have done it
        row_macs::reopen(&self.store, self.keys.as_ref()).await?;
        if macs.requires_withdrawals() || replicas::others(&self.store).await?.takes_back_without_mac {
            return Ok(());
        }
        let (mut told, mut after) = (Withdrawn::default(), Vec::new());
        loop {
            let (events, last) = audit::with_rows(&self.store, &after, PAGE).await?;
            let Some(last) = last else { break };
            after = last;
            events.iter().for_each(|event| told.take(event, macs));
        }
        let mut tx = self.store.begin(&Actor::system("row MACs")).await?;
        for (id, _) in told.certificates.iter().filter(|(_, claim)| !claim.is_withdrawn) {
            let Some(certificate) = certificates::lock(&mut tx, *id).await? else { continue };
            if revocations::find(&mut tx, certificate.issuer_id, &certificate.serial).await?.is_some() {
                continue;
            }
            let version = told_of(&mut tx, &certificate.object()).await?.next_version;
            revocations::tell_taken_back(&mut tx, certificate.issuer_id, &certificate.serial, *id, version);
            tx.audit(AuditEvent::done(
                "rows.sealed",
                certificate.object(),
                json!({"what": "a hold that was lifted"}),
            ));
        }
        for (key, _) in told.keys.iter().filter(|(_, claim)| !claim.is_withdrawn) {
            if blocked_keys::find(&mut tx, *key).await?.is_some() {
                continue;
            }
            let object = format!("key:{key}");
            let version = told_of(&mut tx, &object).await?.next_version;
            blocked_keys::tell_unblocked(&mut tx, *key, version);
            tx.audit(AuditEvent::done("rows.sealed", object, json!({"what": "a key that was unblocked"})));
        }
        self.mark_tables(&mut tx, &[WITHDRAWALS]).await?;
        tx.commit().await?;
        row_macs::reopen(&self.store, self.keys.as_ref()).await
    }
}

/// As people know it: by its certificate, where that is in the database.
fn object_of(told: &Withdrawal) -> String {
    told.certificate().map_or_else(|| told.object.clone(), |id| format!("certificate:{id}"))
}
