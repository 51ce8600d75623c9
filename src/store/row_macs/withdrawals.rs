//! Revocations and blocked keys as the audit names them. Their rows bear no MAC: they are read by the million, and it is
//! taking one away or making it milder that gives power. So the event of each transaction that writes or removes one has
//! its values, a version and a MAC over them: what somebody adds to the audit without the key says nothing, and an older
//! event that is repeated has a lower version.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{ROWS, RowKey, RowMacs, State, WrittenRow, in_audit, locked, lost, values};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::id::{CertificateId, IssuerId};
use crate::model::reason::RevocationReason;
use crate::model::serial::{SerialNumber, parse_hex, to_hex};
use crate::store::Tx;
use crate::store::revocations::Revocation;

/// Follows `secrets::ROW_MACS_REQUIRED`: from then on nothing is taken back by an event without a MAC.
pub const WITHDRAWALS: &str = "withdrawals";
/// What the objects of revocations and of blocked keys begin with.
pub const REVOCATION: &str = "revocation:";
pub const BLOCKED_KEY: &str = "blocked_key:";
/// Octets of a MAC that are compared.
const MAC: usize = 12;
/// Objects that one event names besides its own.
const AT_ONCE: usize = 500;

/// A revocation or a blocked key as an event names it.
#[derive(Debug, Clone, PartialEq)]
pub struct Withdrawal {
    pub object: String,
    /// The highest one of an object counts.
    pub version: i64,
    pub mac: [u8; MAC],
    /// The values of its row. Nothing but the certificate where it was taken back.
    said: Vec<Value>,
}

/// One that a transaction wrote.
#[derive(Debug)]
pub(in crate::store) struct ToldWithdrawal {
    /// The object of the event that names it, if the transaction has one.
    home: String,
    object: String,
    entry: Value,
}

/// The name of a revocation in the audit, whether its certificate is known or not.
pub fn revocation_object(issuer: &str, serial: &[u8]) -> String {
    format!("{REVOCATION}{issuer}:{}", to_hex(serial))
}

/// The values of a revocation: certificate, time, reason, end, and invalidity date.
pub fn said_of(certificate: &str, at: i64, reason: &str, not_after: i64, invalidity_date: Option<i64>) -> Vec<Value> {
    vec![json!(certificate), json!(at), json!(reason), json!(not_after), json!(invalidity_date)]
}

impl Withdrawal {
    /// Is it revoked or blocked by this event?
    pub fn is_withdrawn(&self) -> bool {
        self.said.len() > usize::from(self.object.starts_with(REVOCATION))
    }

    /// A revocation for another reason than certificateHold.
    pub fn is_final(&self) -> bool {
        self.revocation().is_some_and(|revocation| revocation.reason.is_final())
    }

    /// Of two about one revocation the heavier counts: the newer, except that nothing takes back a final one. A hold alone is ever
    /// lifted.
    pub fn weight(&self) -> (bool, i64) {
        (self.is_final(), self.version)
    }

    /// The certificate, where the database had it.
    pub fn certificate(&self) -> Option<CertificateId> {
        let id: CertificateId = self.said.first()?.as_str()?.parse().ok()?;
        // the issuer stands in the place of a certificate that only a CRL tells of
        self.issuer().filter(|issuer| issuer.bytes() != id.bytes()).map(|_| id)
    }

    pub fn issuer(&self) -> Option<IssuerId> {
        self.object.strip_prefix(REVOCATION)?.split(':').next()?.parse().ok()
    }

    /// The revocation; none where it was taken back.
    pub fn revocation(&self) -> Option<Revocation> {
        let serial = self.object.strip_prefix(REVOCATION)?.split_once(':')?.1;
        let [certificate, at, reason, not_after, invalidity_date] = &self.said[..] else { return None };
        let time = |value: &Value| value.as_i64().map(Timestamp::from_micros);
        Some(Revocation {
            serial: SerialNumber::from_octets(&parse_hex(serial)?).ok()?,
            certificate_id: certificate.as_str()?.parse().ok()?,
            revoked_at: time(at)?,
            reason: RevocationReason::from_name(reason.as_str()?).ok()?,
            not_after: time(not_after)?,
            invalidity_date: time(invalidity_date),
        })
    }
}

impl RowKey {
    fn mac_of_withdrawal(&self, object: &str, version: i64, said: &[Value]) -> [u8; MAC] {
        let mut context = aws_lc_rs::hmac::Context::with_key(&self.key);
        values::feed(&mut context, b"chancery-withdrawal");
        values::feed(&mut context, &self.installation);
        values::feed(&mut context, object.as_bytes());
        context.update(&version.to_be_bytes());
        values::feed(&mut context, Value::from(said.to_vec()).to_string().as_bytes());
        let mut mac = [0; MAC];
        mac.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        mac
    }
}

impl RowMacs {
    fn own_key(&self) -> Option<Arc<RowKey>> {
        match self.state() {
            State::Ready(key) => Some(key),
            State::Unset | State::Locked | State::Lost(_) => None,
        }
    }

    /// Does only an event with a MAC take a revocation or a block back?
    pub fn requires_withdrawals(&self) -> bool {
        self.own_key().is_some_and(|key| key.required.contains(WITHDRAWALS))
    }

    /// Refuses to take anything back where no MAC can be made for it.
    pub fn check_taking_back(&self) -> Result<()> {
        match self.state() {
            State::Unset | State::Ready(_) => Ok(()),
            State::Locked => Err(locked()),
            State::Lost(why) => Err(lost(&why)),
        }
    }

    /// The part of the MAC that is compared; none while the key is not at hand.
    pub fn mac_of_withdrawal(&self, object: &str, version: i64, said: &[Value]) -> Option<[u8; MAC]> {
        Some(self.own_key()?.mac_of_withdrawal(object, version, said))
    }

    /// The revocations and blocked keys that an event names under a MAC of ours.
    pub fn withdrawals_in(&self, detail: &str) -> Vec<Withdrawal> {
        let names = |kind: &str| detail.contains(kind);
        let Some(key) = self.own_key().filter(|_| names(REVOCATION) || names(BLOCKED_KEY)) else { return Vec::new() };
        let Ok(Value::Object(mut detail)) = serde_json::from_str(detail) else { return Vec::new() };
        let Some(Value::Object(rows)) = detail.remove(ROWS) else { return Vec::new() };
        rows.into_iter().filter_map(|(object, entry)| read(&key, object, &entry)).collect()
    }
}

fn read(key: &RowKey, object: String, entry: &Value) -> Option<Withdrawal> {
    if !(object.starts_with(REVOCATION) || object.starts_with(BLOCKED_KEY)) {
        return None;
    }
    let [version, mac, said] = entry.as_array()?.as_slice() else { return None };
    let (version, said) = (version.as_i64()?, said.as_array()?.clone());
    let made = key.mac_of_withdrawal(&object, version, &said);
    let mac = parse_hex(mac.as_str()?)?;
    aws_lc_rs::constant_time::verify_slices_are_equal(&made, &mac).ok()?;
    Some(Withdrawal { object, version, mac: made, said })
}

/// Has the transaction's event about the certificate, or its last one, name a revocation with these values.
pub(in crate::store) fn tell_revocation(
    tx: &mut Tx,
    issuer: IssuerId,
    serial: &SerialNumber,
    version: i64,
    said: Vec<Value>,
) {
    let home = said.first().and_then(Value::as_str).map_or_else(String::new, |id| format!("certificate:{id}"));
    tell(tx, home, revocation_object(&issuer.to_string(), serial.octets()), version, said);
}

/// The same for a key; no values where it is blocked no more.
pub(in crate::store) fn tell_key(tx: &mut Tx, key: &str, version: i64, said: Vec<Value>) {
    tell(tx, format!("key:{key}"), format!("{BLOCKED_KEY}{key}"), version, said);
}

fn tell(tx: &mut Tx, home: String, object: String, version: i64, said: Vec<Value>) {
    // a locked server revokes and blocks too: its events count without a MAC
    let Some(key) = tx.store.row_macs.own_key() else { return };
    let mac = to_hex(&key.mac_of_withdrawal(&object, version, &said));
    tx.withdrawals.push(ToldWithdrawal { home, object, entry: json!([version, mac, said]) });
}

/// Names the rows that a transaction wrote in its events.
pub(in crate::store) fn name_rows(
    events: &mut Vec<(Actor, AuditEvent)>,
    actor: &Actor,
    rows: &BTreeMap<String, WrittenRow>,
    withdrawals: Vec<ToldWithdrawal>,
) {
    if rows.is_empty() && withdrawals.is_empty() {
        return;
    }
    let written = || (actor.clone(), AuditEvent::done("rows.written", "", json!({})));
    if events.is_empty() {
        events.push(written());
    }
    if let (false, Value::Object(rows)) = (rows.is_empty(), in_audit(rows)) {
        add(events.last_mut(), rows);
    }
    // the last event about each object
    let homes: HashMap<String, usize> =
        events.iter().enumerate().map(|(place, (_, event))| (event.object.clone(), place)).collect();
    let mut others = Vec::new();
    for told in withdrawals {
        match homes.get(&told.home) {
            Some(place) => add(events.get_mut(*place), Map::from_iter([(told.object, told.entry)])),
            None => others.push((told.object, told.entry)),
        }
    }
    for (place, some) in others.chunks(AT_ONCE).enumerate() {
        if place > 0 {
            events.push(written());
        }
        add(events.last_mut(), some.iter().cloned().collect());
    }
}

fn add(event: Option<&mut (Actor, AuditEvent)>, rows: Map<String, Value>) {
    let Some(detail) = event.and_then(|(_, event)| event.detail.as_object_mut()) else { return };
    match detail.get_mut(ROWS).and_then(Value::as_object_mut) {
        Some(known) => known.extend(rows),
        None => drop(detail.insert(ROWS.to_owned(), Value::Object(rows))),
    }
}
