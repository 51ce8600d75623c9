//! The table of faults: each step of issuance broken both ways (failed; failed yet saved), then a restart and a
//! recovery, and what must hold. Nothing is given out that is not valid in the database; what may have been signed
//! and was not given out is revoked, on the CRL, and holds neither its order nor its Idempotency-Key.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chancery::authority::Authority;
use chancery::authority::issue::Issued;
use chancery::authority::recovery::STALE_AFTER;
use chancery::error::{ErrorKind, Result};
use chancery::model::acme::OrderStatus;
use chancery::model::certificate::{Certificate, CertificateStatus};
use chancery::model::id::OrderId;
use chancery::model::validity::RequestedValidity;
use chancery::pki::crl_facts::CrlFacts;
use chancery::store::faults::CommitFault::{self, Fails, LosesReply};
use chancery::store::{Store, certificates, hierarchy, idempotency, orders, revocations};

use super::rig::{Rig, SignerState, actor, guard, issuance};
use crate::support::rows;
use crate::support::stores::At;

const INTENT: &str = "certificate.intended";
const OUTCOME: &str = "certificate.issued";
const ABANDON: &str = "certificate.abandoned";

struct Fault {
    what: &'static str,
    commits: &'static [(&'static str, CommitFault)],
    signer: SignerState,
    entropy: bool,
    ttl: Option<u64>,
    told: Option<ErrorKind>,
    then: Then,
}

/// What stands in the database after restart and recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The certificate is valid, its order too, and the Idempotency-Key answers.
    Valid,
    /// Nothing happened: the order is still ready.
    Nothing,
    /// The intent was given up at once, revoked and listed.
    GivenUp,
    /// The same, and it was recovery that did it.
    Recovered,
}

const NONE: Fault = Fault {
    what: "nothing fails",
    commits: &[],
    signer: SignerState::Works,
    entropy: false,
    ttl: None,
    told: None,
    then: Then::Valid,
};
const UNAVAILABLE: Option<ErrorKind> = Some(ErrorKind::Unavailable);

const TABLE: &[Fault] = &[
    NONE,
    Fault { what: "no serial is drawn", entropy: true, told: UNAVAILABLE, then: Then::Nothing, ..NONE },
    Fault {
        what: "policy refuses the bytes",
        ttl: Some(9_999),
        told: Some(ErrorKind::Refused),
        then: Then::Nothing,
        ..NONE
    },
    Fault {
        what: "the intent is not saved",
        commits: &[(INTENT, Fails)],
        told: UNAVAILABLE,
        then: Then::Nothing,
        ..NONE
    },
    Fault { what: "the intent is saved, its reply lost", commits: &[(INTENT, LosesReply)], ..NONE },
    Fault {
        what: "the signer is away",
        signer: SignerState::Unavailable,
        told: UNAVAILABLE,
        then: Then::GivenUp,
        ..NONE
    },
    Fault {
        what: "the signer signs something else",
        signer: SignerState::SignsWrongly,
        told: Some(ErrorKind::Internal),
        then: Then::GivenUp,
        ..NONE
    },
    Fault {
        what: "the signer is away and giving up fails",
        signer: SignerState::Unavailable,
        commits: &[(ABANDON, Fails)],
        told: UNAVAILABLE,
        then: Then::Recovered,
        ..NONE
    },
    Fault {
        what: "the signer is away, the reply to giving up lost",
        signer: SignerState::Unavailable,
        commits: &[(ABANDON, LosesReply)],
        told: UNAVAILABLE,
        then: Then::GivenUp,
        ..NONE
    },
    Fault {
        what: "the certificate is not saved",
        commits: &[(OUTCOME, Fails)],
        told: UNAVAILABLE,
        then: Then::GivenUp,
        ..NONE
    },
    Fault { what: "the certificate is saved, its reply lost", commits: &[(OUTCOME, LosesReply)], ..NONE },
    Fault {
        what: "the certificate is not saved and giving up fails",
        commits: &[(OUTCOME, Fails), (ABANDON, Fails)],
        told: UNAVAILABLE,
        then: Then::Recovered,
        ..NONE
    },
    Fault { what: "both replies are lost", commits: &[(INTENT, LosesReply), (OUTCOME, LosesReply)], ..NONE },
];

crate::on_both_engines! {
    async fn each_step_broken_both_ways_then_restarted(at) {
        let rig = Rig::on(at).await;
        for fault in TABLE {
            let order = rig.order().await;
            let answer = provoke(&rig, fault, order).await;
            assert_eq!(answer.as_ref().err().map(|e| e.kind), fault.told, "{}: {answer:?}", fault.what);
            holds(at, &rig, fault, order, answer).await;
        }
    }

    async fn recovery_leaves_another_replicas_running_intents_alone(at) {
        let rig = Rig::on(at).await;
        rig.signer(SignerState::Waits);
        let order = rig.order().await;
        let (authority, running) = (rig.authority.clone(), issuance(guard(order)));
        let task = tokio::spawn(async move { authority.issue(&actor(), running).await });
        rig.trouble.arrived.acquire().await.unwrap().forget();
        at.clock.advance(STALE_AFTER - Duration::from_secs(1));
        let other = restarted(at, &rig).await;
        assert_eq!(other.recover().await.unwrap(), 0);
        assert_eq!(rig.order_status(order).await, OrderStatus::Processing);
        rig.trouble.gate.add_permits(1);
        let issued = task.await.unwrap().unwrap();
        assert_eq!(find(&rig.store, &issued).await.status, CertificateStatus::Valid);
        other.store().db.close().await;
    }

    async fn a_signature_that_comes_after_recovery_is_given_to_nobody(at) {
        let rig = Rig::on(at).await;
        rig.signer(SignerState::Waits);
        let order = rig.order().await;
        let (authority, running) = (rig.authority.clone(), issuance(guard(order)));
        let task = tokio::spawn(async move { authority.issue(&actor(), running).await });
        rig.trouble.arrived.acquire().await.unwrap().forget();
        at.clock.advance(STALE_AFTER + Duration::from_secs(1));
        let other = restarted(at, &rig).await;
        assert_eq!(other.recover().await.unwrap(), 1);
        rig.trouble.gate.add_permits(1);
        assert_eq!(task.await.unwrap().unwrap_err().kind, ErrorKind::Conflict);
        let left = certificates::find_by_order(&rig.store, order).await.unwrap().unwrap();
        assert!(matches!(left.status, CertificateStatus::Revoked { .. }));
        assert_eq!(left.fingerprint, None);
        assert_eq!(rig.order_status(order).await, OrderStatus::Invalid);
        other.store().db.close().await;
    }
}

async fn provoke(rig: &Rig, fault: &Fault, order: OrderId) -> Result<Issued> {
    for (action, how) in fault.commits {
        rig.store.commits().plan(action, *how);
    }
    rig.signer(fault.signer);
    rig.trouble.entropy.store(fault.entropy, Ordering::SeqCst);
    let mut asked = issuance(guard(order));
    let ttl = fault.ttl.map(chancery::clock::days);
    asked.validity = RequestedValidity { ttl, ..RequestedValidity::default() };
    let answer = rig.issue(asked).await;
    rig.trouble.entropy.store(false, Ordering::SeqCst);
    rig.signer(SignerState::Works);
    answer
}

/// Restarts on the same database, recovers once the time has come, and checks everything.
async fn holds(at: &At, rig: &Rig, fault: &Fault, order: OrderId, answer: Result<Issued>) {
    let what = fault.what;
    at.clock.advance(STALE_AFTER + Duration::from_secs(1));
    let authority = restarted(at, rig).await;
    let store = authority.store().clone();
    // another replica is in the middle of this one
    let running = rows::certificate(&rig.store);
    let mut tx = rig.store.begin(&actor()).await.unwrap();
    certificates::intend(tx.raw(), std::slice::from_ref(&running)).await.unwrap();
    tx.commit().await.unwrap();

    assert_eq!(authority.recover().await.unwrap(), usize::from(fault.then == Then::Recovered), "{what}");
    assert_eq!(authority.recover().await.unwrap(), 0, "{what}: twice is harmless");
    let untouched = certificates::find(&store, running.certificate.id).await.unwrap().unwrap();
    assert_eq!(untouched.status, CertificateStatus::Intended, "{what}");

    let order_row = orders::find(&store, order).await.unwrap().unwrap();
    let key = idempotency::find(&store, "host:0", &order.to_string()).await.unwrap();
    let row = certificates::find_by_order(&store, order).await.unwrap();
    match fault.then {
        Then::Valid => {
            let issued = answer.unwrap();
            let row = row.unwrap();
            assert_eq!((row.id, row.status), (issued.certificate.id, CertificateStatus::Valid), "{what}");
            assert_eq!(certificates::der(&store, row.id).await.unwrap(), Some(issued.der), "{what}");
            assert_eq!((order_row.status, order_row.certificate_id), (OrderStatus::Valid, Some(row.id)), "{what}");
            assert_eq!(key.and_then(|k| k.status), Some(201), "{what}");
        }
        Then::Nothing => {
            assert!(row.is_none() && key.is_none(), "{what}");
            assert_eq!(order_row.status, OrderStatus::Ready, "{what}");
        }
        Then::GivenUp | Then::Recovered => {
            assert_eq!(order_row.status, OrderStatus::Invalid, "{what}");
            assert!(order_row.error.is_some() && key.is_none(), "{what}");
            revoked_and_listed(&authority, row.unwrap(), what).await;
        }
    }
    let doubled = "SELECT COUNT(*) - COUNT(DISTINCT serial) AS n FROM certificates";
    assert_eq!(at.count(doubled).await, 0, "{what}");
    at.sql("DELETE FROM certificates WHERE status = 'intended'").await;
    store.db.close().await;
}

async fn revoked_and_listed(authority: &Authority, row: Certificate, what: &str) {
    let store = authority.store();
    assert!(matches!(row.status, CertificateStatus::Revoked { .. }), "{what}");
    assert_eq!(certificates::der(store, row.id).await.unwrap(), None, "{what}: nobody can fetch it");
    assert!(revocations::find(store, row.issuer_id, &row.serial).await.unwrap().is_some(), "{what}");
    let dirty = hierarchy::issuers(store).await.unwrap().into_iter().find(|i| i.id == row.issuer_id);
    assert!(dirty.unwrap().crl_dirty, "{what}");
    authority.publish_due().await.unwrap();
    let crl = authority.current_crl(&row.issuer).await.unwrap();
    let crl = CrlFacts::parse(&crl.der).unwrap();
    assert!(crl.entries().any(|e| e.serial == row.serial.octets()), "{what}: on the CRL");
}

/// What a new process finds: other connections, no memory, and keys that work.
async fn restarted(at: &At, rig: &Rig) -> std::sync::Arc<Authority> {
    Authority::open(at.restarted().await, rig.keys.clone(), vec![]).await.unwrap()
}

async fn find(store: &Store, issued: &Issued) -> Certificate {
    certificates::find(store, issued.certificate.id).await.unwrap().unwrap()
}
