//! What the same work costs alone, in the same run: signing and verifying, the same rows with the same grouping.

use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use chancery::clock::{Clock, SystemClock, Timestamp, days};
use chancery::entropy::SystemEntropy;
use chancery::model::actor::Actor;
use chancery::model::audit::AuditEvent;
use chancery::model::certificate::{Certificate, CertificateStatus};
use chancery::model::id::{CertificateId, IssuerId};
use chancery::model::identifier::Identifier;
use chancery::model::serial::SerialNumber;
use chancery::model::validity::Validity;
use chancery::store::certificates::{self, Intent, Outcome};
use chancery::store::{Store, engine::Db, migrate};

/// Microseconds of one core for one signature and two verifications (the CSR's and our own).
pub fn crypto_micros() -> f64 {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).expect("a key");
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).expect("a key");
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.public_key().as_ref().to_vec());
    let message = [7u8; 900];
    let rounds = 2_000;
    let started = Instant::now();
    for _ in 0..rounds {
        let signature = key.sign(&SystemRandom::new(), &message).expect("a signature");
        public.verify(&message, signature.as_ref()).expect("it verifies");
        public.verify(&message, signature.as_ref()).expect("it verifies");
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)
}

/// Microseconds of one core for what one ACME order must verify and sign: its JWS, its CSR, our own signature.
pub fn order_micros(requests: f64) -> f64 {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).expect("a key");
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).expect("a key");
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.public_key().as_ref().to_vec());
    let (message, rounds) = ([7u8; 900], 2_000);
    let mut signature = key.sign(&SystemRandom::new(), &message).expect("a signature");
    let mut timed = |sign: bool| {
        let started = Instant::now();
        for _ in 0..rounds {
            if sign {
                signature = key.sign(&SystemRandom::new(), &message).expect("a signature");
            } else {
                public.verify(&message, signature.as_ref()).expect("it verifies");
            }
        }
        started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)
    };
    timed(true) + (requests + 2.0) * timed(false)
}

/// A store of its own on the server's engine.
async fn store_beside(server: &super::server::Server) -> Store {
    let db = match server.database() {
        Some(url) => Db::open_postgres(url, 4, "chancery").await.expect("the same Postgres"),
        None => {
            let db = Db::open_sqlite(&server.data().join("floor.db")).await.expect("a database beside the server's");
            migrate::run(&db).await.expect("migrated");
            db
        }
    };
    Store::new(db, Arc::new(SystemClock), Arc::new(SystemEntropy::new())).expect("a store")
}

/// Durable commits a second of one row each, one after the other: five of them are an order's floor.
pub async fn commits_per_second(server: &super::server::Server, total: usize) -> f64 {
    let store = store_beside(server).await;
    let started = Instant::now();
    for n in 0..total {
        let event = AuditEvent::done("floor", format!("floor:{n}"), serde_json::json!({}));
        store.record(&Actor::system("floor"), event).await.expect("commit");
    }
    let rate = total as f64 / started.elapsed().as_secs_f64();
    store.db.close().await;
    rate
}

/// Rows a second when intents and outcomes of `group` certificates share a transaction and nothing else happens.
pub async fn rows_per_second(server: &super::server::Server, group: usize, total: usize) -> f64 {
    let store = store_beside(server).await;
    let actor = Actor::system("floor");
    let issuer = IssuerId::from_bytes([7; 16]);
    let started = Instant::now();
    for _ in 0..total / group {
        let intents: Vec<Intent> = (0..group).map(|_| intent(&store, issuer)).collect();
        let mut tx = store.begin(&actor).await.expect("begin");
        certificates::intend(tx.raw(), &intents).await.expect("intents");
        intents
            .iter()
            .for_each(|i| tx.audit(AuditEvent::done("floor", i.certificate.object(), serde_json::json!({}))));
        tx.commit().await.expect("commit");
        let outcomes: Vec<Outcome> = intents.iter().map(outcome).collect();
        let mut tx = store.begin(&actor).await.expect("begin");
        certificates::complete(tx.raw(), &outcomes).await.expect("outcomes");
        intents
            .iter()
            .for_each(|i| tx.audit(AuditEvent::done("floor", i.certificate.object(), serde_json::json!({}))));
        tx.commit().await.expect("commit");
    }
    let rate = (total / group * group) as f64 / started.elapsed().as_secs_f64();
    store.db.close().await;
    rate
}

fn intent(store: &Store, issuer_id: IssuerId) -> Intent {
    let now: Timestamp = SystemClock.now();
    let id = CertificateId::new(now, store.entropy.as_ref()).expect("an id");
    let certificate = Certificate {
        id,
        serial: SerialNumber::draw(store.entropy.as_ref()).expect("a serial"),
        issuer_id,
        issuer: "floor".into(),
        profile: "floor".into(),
        profile_revision: 1,
        status: CertificateStatus::Intended,
        subject: "CN=floor.bench.test".into(),
        names: vec![Identifier::dns("floor.bench.test").expect("a name")],
        validity: Validity::new(now, now + days(90)).expect("a validity"),
        spki_sha256: [3; 32],
        fingerprint: None,
        key_algorithm: "P-256".into(),
        via: "rest".into(),
        requester: "system/floor".into(),
        account_id: None,
        order_id: None,
        replica_id: store.replica(),
        intended_at: now,
        issued_at: None,
    };
    Intent { certificate, tbs: vec![5; 700], request: Some(vec![6; 400]) }
}

fn outcome(intent: &Intent) -> Outcome {
    let mut fingerprint = [0; 32];
    fingerprint[..16].copy_from_slice(&intent.certificate.id.bytes());
    Outcome { id: intent.certificate.id, der: vec![8; 850], fingerprint, issued_at: SystemClock.now() }
}
