//! Rows that no issuance made: for tests of the store alone.

use std::sync::atomic::{AtomicU64, Ordering};

use chancery::clock::days;
use chancery::model::certificate::{Certificate, CertificateStatus};
use chancery::model::grant::{Grant, Scope};
use chancery::model::id::{CertificateId, GrantId, IssuerId};
use chancery::model::identifier::Identifier;
use chancery::model::names::NameRule;
use chancery::model::serial::SerialNumber;
use chancery::model::validity::Validity;
use chancery::store::Store;
use chancery::store::certificates::Intent;

use super::stores::START;

static NUMBER: AtomicU64 = AtomicU64::new(1);

pub const ISSUER: IssuerId = IssuerId::from_bytes([9; 16]);

pub fn certificate(store: &Store) -> Intent {
    named(store, &[&format!("host-{}.test", NUMBER.fetch_add(1, Ordering::Relaxed))])
}

/// A grant that allows everything and never ends; `n` makes its id.
pub fn open_grant(n: u8) -> Grant {
    let all = || vec!["*".to_owned()];
    Grant {
        id: GrantId::from_bytes([n; 16]),
        name: "test".into(),
        scope: Scope { names: vec![NameRule::Any], subjects: all(), profiles: all(), issuers: all() },
        expires_at: None,
        max_count: None,
        used_count: 0,
        created_by: "system/test".into(),
        created_at: START,
        revoked_at: None,
        suspended_at: None,
    }
}

/// An intent for these DNS names; its bytes are no DER.
pub fn named(store: &Store, names: &[&str]) -> Intent {
    let entropy = store.entropy.as_ref();
    let certificate = Certificate {
        id: CertificateId::new(store.now(), entropy).unwrap(),
        serial: SerialNumber::draw(entropy).unwrap(),
        issuer_id: ISSUER,
        issuer: "tls-1".into(),
        profile: "tls-server".into(),
        profile_revision: 1,
        status: CertificateStatus::Intended,
        subject: format!("CN={}", names[0]),
        names: names.iter().map(|n| Identifier::dns(n).unwrap()).collect(),
        validity: Validity::new(store.now(), store.now() + days(90)).unwrap(),
        spki_sha256: [3; 32],
        fingerprint: None,
        key_algorithm: "P-256".into(),
        via: "rest".into(),
        requester: "system/test".into(),
        account_id: None,
        order_id: None,
        replica_id: store.replica(),
        intended_at: store.now(),
        issued_at: None,
    };
    Intent { certificate, tbs: vec![0x30, 0], request: None }
}
