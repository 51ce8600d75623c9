//! Revocations and blocked keys. Their rows are only added, and the audit tells of each: whoever takes one out of the
//! database is found by comparison, by fsck over all of the audit and by the look at every row.

use std::collections::{BTreeMap, HashMap};

use super::Authority;
use crate::error::Result;
use crate::model::audit::{ChainedEvent, Outcome};
use crate::model::blocked_key::KeyFingerprint;
use crate::model::id::{CertificateId, EventId};
use crate::store::row_macs::ChangedRow;
use crate::store::{blocked_keys, revocations};

/// Rows of one statement.
const AT_ONCE: usize = 500;

/// By the newest event about each: is it revoked, or blocked?
#[derive(Debug, Default)]
pub(super) struct Withdrawn {
    certificates: HashMap<CertificateId, (EventId, bool)>,
    keys: HashMap<KeyFingerprint, (EventId, bool)>,
}

impl Withdrawn {
    pub(super) fn take(&mut self, event: &ChainedEvent) {
        let is_withdrawn = match event.action.as_str() {
            "certificate.revoked" | "certificate.abandoned" | "key.blocked" => true,
            "certificate.hold_lifted" | "key.unblocked" => false,
            _ => return,
        };
        if event.outcome != Outcome::Done.name() {
            return;
        }
        match event.object.split_once(':') {
            Some(("certificate", id)) => note(&mut self.certificates, id.parse().ok(), event.id, is_withdrawn),
            Some(("key", digits)) => note(&mut self.keys, digits.parse().ok(), event.id, is_withdrawn),
            _ => {}
        }
    }
}

fn note<K: Eq + std::hash::Hash>(
    told: &mut HashMap<K, (EventId, bool)>,
    key: Option<K>,
    event: EventId,
    is_withdrawn: bool,
) {
    let Some(key) = key else { return };
    let newest = told.entry(key).or_insert((event, is_withdrawn));
    if newest.0 <= event {
        *newest = (event, is_withdrawn);
    }
}

fn withdrawn<K: Copy>(told: &HashMap<K, (EventId, bool)>) -> Vec<K> {
    told.iter().filter(|(_, (_, is_withdrawn))| *is_withdrawn).map(|(key, _)| *key).collect()
}

impl Authority {
    /// What the audit says is revoked or blocked and the database does not, by object.
    pub(super) async fn missing_withdrawals(&self, told: &Withdrawn) -> Result<BTreeMap<String, ChangedRow>> {
        let mut found = BTreeMap::new();
        let mut add = |object: String, what: &str| {
            found.insert(object, ChangedRow { what: what.to_owned(), has_good_mac: false });
        };
        for some in withdrawn(&told.certificates).chunks(AT_ONCE) {
            for id in revocations::missing_of(&self.store, some).await? {
                add(
                    format!("certificate:{id}"),
                    "is revoked by the audit, and its row or its revocation says otherwise",
                );
            }
        }
        for some in withdrawn(&told.keys).chunks(AT_ONCE) {
            for key in blocked_keys::missing_of(&self.store, some).await? {
                add(format!("key:{key}"), "is blocked by the audit, and is no longer among the blocked keys");
            }
        }
        Ok(found)
    }
}
