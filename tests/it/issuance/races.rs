//! Two transactions over the same rows on Postgres, in both orders: whatever the first has committed holds for the
//! second. Each test names the row lock that it needs (`FOR UPDATE`, `FOR SHARE`).

use std::sync::Arc;
use std::time::Duration;

use chancery::access::Access;
use chancery::authority::Authority;
use chancery::authority::guard::{Granted, Guard};

use chancery::authority::hierarchy::plan::Wanted;
use chancery::authority::issue::Issuance;
use chancery::clock::hours;
use chancery::error::ErrorKind;
use chancery::model::audit::AuditEvent;
use chancery::model::certificate::CertificateStatus;
use chancery::model::grant::Grant;
use chancery::model::id::{CertificateId, ReplicaId};
use chancery::model::issuer::IssuerMove;
use chancery::model::reason::RevocationReason;
use chancery::pki::crl_facts::CrlFacts;
use chancery::store::engine::q;
use chancery::store::history::{self, Mark};
use chancery::store::{Store, certificates, domain_crls, grants, guards, jobs};
use serde_json::json;

use super::rig::{Rig, actor, issuance};
use crate::support::race::meet;
use crate::support::rows::open_grant;
use crate::support::stores::{At, plain};
use crate::support::wait;

/// A database with two processes on it.
struct Two {
    at: At,
    rig: Rig,
    other: Arc<Authority>,
}

impl Two {
    async fn processes() -> Two {
        let at = At::postgres().await;
        let rig = Rig::on(&at).await;
        let other = Authority::open(at.restarted().await, rig.keys.clone(), vec![]).await.unwrap();
        Two { at, rig, other }
    }

    async fn end(self) {
        self.other.store().db.close().await;
        self.rig.store.db.close().await;
        self.at.end().await;
    }
}

/// `store::certificates::LOCK`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_revocations_of_a_certificate_the_first_holds() {
    let two = Two::processes().await;
    for (first, second) in [
        (RevocationReason::Superseded, RevocationReason::AffiliationChanged),
        (RevocationReason::KeyCompromise, RevocationReason::Superseded),
        (RevocationReason::Superseded, RevocationReason::Superseded),
    ] {
        let id = two.rig.issue(issuance(Guard::default())).await.unwrap().certificate.id;
        let (me, you) = (actor(), actor());
        let one = two.rig.authority.revoke(&me, id, first);
        let met = meet(&two.rig.store, "certificate.revoked", one, two.other.revoke(&you, id, second)).await;
        met.first.unwrap();
        assert!(met.waited);
        assert_eq!(met.second.unwrap_err().kind, ErrorKind::AlreadyRevoked, "{first:?}, then {second:?}");
        let row = certificates::find(&two.at.store, id).await.unwrap().unwrap();
        assert!(matches!(row.status, CertificateStatus::Revoked { reason, .. } if reason == first), "{row:?}");
    }
    assert_eq!(two.at.count("SELECT COUNT(*) AS n FROM revocations").await, 3);
    let events = "SELECT COUNT(*) AS n FROM audit_events WHERE action = 'certificate.revoked'";
    assert_eq!(two.at.count(events).await, 3);
    two.end().await;
}

/// `store::hierarchy::LOCK_ISSUER`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_publishers_one_publishes() {
    let two = Two::processes().await;
    for _ in 0..2 {
        let id = two.rig.issue(issuance(Guard::default())).await.unwrap().certificate.id;
        two.rig.authority.revoke(&actor(), id, RevocationReason::Superseded).await.unwrap();
        let before = two.other.current_crl("tls-1").await.unwrap().number;
        let one = two.rig.authority.publish_due();
        let met = meet(&two.rig.store, "crl.published", one, two.other.publish_due()).await;
        assert_eq!((met.first.unwrap(), met.second.unwrap(), met.waited), (1, 0, true));
        let crl = two.other.current_crl("tls-1").await.unwrap();
        let ready = before.next().unwrap();
        assert_eq!(Some(crl.number), ready.next(), "above the one that stood ready, once");
        let serial = certificates::find(&two.at.store, id).await.unwrap().unwrap().serial;
        assert!(CrlFacts::parse(&crl.der).unwrap().entries().any(|e| e.serial == serial.octets()));
        two.at.clock.advance(hours(1));
    }
    let doubled = "SELECT COUNT(*) - COUNT(DISTINCT number) AS n FROM (SELECT issuer_id, number FROM crls \
                   UNION ALL SELECT issuer_id, number FROM crls_ahead) AS a WHERE issuer_id = (SELECT id FROM issuers WHERE slug = 'tls-1')";
    assert_eq!(two.at.count(doubled).await, 0);
    two.end().await;
}

/// `store::hierarchy::LOCK_ISSUER`: the revocation marks the issuer's row, the publisher takes the mark.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_beside_a_publication_is_published() {
    let two = Two::processes().await;
    let first = two.rig.issue(issuance(Guard::default())).await.unwrap().certificate.id;
    let second = two.rig.issue(issuance(Guard::default())).await.unwrap().certificate.id;
    let you = actor();
    two.rig.authority.revoke(&actor(), first, RevocationReason::Superseded).await.unwrap();
    let revoke = two.other.revoke(&you, second, RevocationReason::Superseded);
    let met = meet(&two.rig.store, "crl.published", two.rig.authority.publish_due(), revoke).await;
    met.first.unwrap();
    met.second.unwrap();
    assert_eq!(two.other.publish_due().await.unwrap(), 1, "the issuer is marked again");
    assert_eq!(two.other.current_crl("tls-1").await.unwrap().entries, 2);
    two.end().await;
}

fn counted(n: u8, most: Option<i64>) -> Grant {
    Grant { max_count: most, ..open_grant(n) }
}

fn under(grant: &Grant) -> Issuance {
    issuance(Guard { grant: Some(Granted::all(grant.id, &grant.scope)), ..Guard::default() })
}

/// `store::grants::LOCK`, or the row that a counted use updates.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuance_and_the_revocation_of_its_grant_wait_for_each_other() {
    let two = Two::processes().await;
    let access = Access::new(two.rig.store.clone());
    let elsewhere = Access::new(two.other.store().clone());
    for (n, most) in [(1, None), (2, Some(5))] {
        let (revoked, used) = (counted(n, most), counted(n + 10, most));
        grants::insert(&two.at.store, &revoked).await.unwrap();
        grants::insert(&two.at.store, &used).await.unwrap();
        let (me, you) = (actor(), actor());
        let issue = two.other.issue(&you, under(&revoked));
        let met = meet(&two.rig.store, "grant.revoked", access.revoke_grant(&me, revoked.id), issue).await;
        met.first.unwrap();
        assert!(met.second.is_err() && met.waited, "{most:?}: nothing is issued under a revoked grant");
        let revoke = elsewhere.revoke_grant(&you, used.id);
        let issue = two.rig.authority.issue(&me, under(&used));
        let met = meet(&two.rig.store, "certificate.intended", issue, revoke).await;
        met.second.unwrap();
        assert!(met.first.is_ok() && met.waited, "{most:?}: the revocation came after it");
    }
    let valid = "SELECT COUNT(*) AS n FROM certificates WHERE status = 'valid' AND via = 'cli'";
    assert_eq!(two.at.count(valid).await, 2);
    two.end().await;
}

/// `UPDATE grants … used_count < max_count`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_use_of_a_counted_grant_is_taken_once() {
    let two = Two::processes().await;
    let grant = counted(3, Some(1));
    grants::insert(&two.at.store, &grant).await.unwrap();
    let (me, you) = (actor(), actor());
    let one = two.rig.authority.issue(&me, under(&grant));
    let met = meet(&two.rig.store, "certificate.intended", one, two.other.issue(&you, under(&grant))).await;
    assert!(met.first.is_ok() && met.second.is_err() && met.waited);
    two.end().await;
}

/// `store::jobs::DUE`: rows that somebody else takes are passed over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_takers_of_jobs_share_them() {
    let two = Two::processes().await;
    let mut tx = two.at.store.begin(&actor()).await.unwrap();
    let now = tx.now();
    for n in 0..4 {
        jobs::enqueue(&mut tx, "test", &n.to_string(), now).await.unwrap();
    }
    tx.commit().await.unwrap();
    let until = now + Duration::from_secs(60);
    let (mut one, mut other) =
        (two.rig.store.begin(&actor()).await.unwrap(), two.other.store().begin(&actor()).await.unwrap());
    let mine = jobs::claim(&mut one, until, 3).await.unwrap();
    let yours = jobs::claim(&mut other, until, 3).await.unwrap();
    one.commit().await.unwrap();
    other.commit().await.unwrap();
    assert_eq!((mine.len(), yours.len()), (3, 1));
    assert!(mine.iter().all(|job| job.id != yours[0].id));
    assert!(mine.iter().chain(&yours).all(|job| job.fence == 1));
    two.end().await;
}

/// The lock of the installation: of two issuers that are retired at once without a confirmation the second stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_keeps_its_last_issuer_when_two_are_retired_at_once() {
    let two = Two::processes().await;
    let wanted = Wanted { domain: "tls".into(), ..Wanted::default() };
    two.rig.authority.create_issuer(&actor(), &wanted, Some("tls-root")).await.unwrap();
    two.other.reload().await.unwrap();
    let (me, you) = (actor(), actor());
    let one = two.rig.authority.move_issuer_unconfirmed(&me, "tls-1", IssuerMove::Retire);
    let other = two.other.move_issuer_unconfirmed(&you, "tls-2", IssuerMove::Retire);
    let met = meet(&two.rig.store, "issuer.retired", one, other).await;
    met.first.unwrap();
    assert!(met.waited);
    assert_eq!(met.second.unwrap_err().rule.unwrap().name, "issuer.dependents");
    two.other.move_issuer(&you, "tls-2", IssuerMove::Retire).await.unwrap();
    two.end().await;
}

/// `store::jobs::LEASE`: a lease that has ended goes to one of many that want it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_takers_of_a_lease_one_has_it() {
    let two = Two::processes().await;
    let stores = [two.rig.store.clone(), two.other.store().clone()];
    for round in 0..30 {
        let (name, now) = (format!("test {round}"), two.at.store.now());
        let mut tx = two.at.store.begin(&actor()).await.unwrap();
        jobs::lease(&mut tx, &name, two.at.store.replica(), now).await.unwrap();
        tx.commit().await.unwrap();
        two.at.clock.advance(Duration::from_secs(1));
        let mut takers = tokio::task::JoinSet::new();
        for n in 0..4 {
            let (store, name) = (stores[n % 2].clone(), name.clone());
            let holder = ReplicaId::new(store.now(), store.entropy.as_ref()).unwrap();
            takers.spawn(async move {
                let mut tx = store.begin(&actor()).await.unwrap();
                let fence = jobs::lease(&mut tx, &name, holder, now + hours(1)).await.unwrap();
                tx.commit().await.unwrap();
                fence
            });
        }
        let taken: Vec<i64> = takers.join_all().await.into_iter().flatten().collect();
        assert_eq!(taken.len(), 1, "round {round}: {taken:?}");
    }
    two.end().await;
}

/// `store::guards::LOCK_ORDERS`: groups take orders by their ids, so that two of them cannot wait for each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_waits_for_an_order_holds_none_behind_it() {
    let two = Two::processes().await;
    let mut orders = [two.rig.order().await, two.rig.order().await];
    orders.sort();
    let lock = plain("SELECT id FROM acme_orders WHERE id = $1 FOR UPDATE");
    let mut holder = two.at.store.db.begin().await.unwrap();
    q(lock).bind(orders[0].to_vec()).fetch_all(&mut holder).await.unwrap();
    let (store, now) = (two.other.store().clone(), two.at.store.now());
    let made = [(orders[1], CertificateId::from_bytes([1; 16])), (orders[0], CertificateId::from_bytes([2; 16]))];
    let group = tokio::spawn(async move {
        let mut tx = store.begin_group(&actor()).await.unwrap();
        let moved = guards::orders_to_processing(&mut tx, &made, now).await.unwrap();
        tx.commit().await.unwrap();
        moved.len()
    });
    let waiting =
        "SELECT COUNT(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    wait::until("the group waits", async || (two.at.count(waiting).await > 0).then_some(())).await;
    q(lock).bind(orders[1].to_vec()).fetch_all(&mut holder).await.unwrap();
    holder.commit().await.unwrap();
    assert_eq!(group.await.unwrap(), 2);
    two.end().await;
}

/// `store::history::HOLD`: of two processes that find a rollback the second adds to what the first found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_that_find_a_rollback_the_second_sees_the_first() {
    let two = Two::processes().await;
    let find = async |store: &Store, found: &str| {
        let mut tx = store.begin(&actor()).await.unwrap();
        let before = history::hold(&mut tx).await.unwrap();
        let findings = [before.findings.clone(), vec![found.to_owned()]].concat();
        let mark = Mark { findings, ..Mark::default() };
        history::mark(&mut tx, &mark).await.unwrap();
        tx.audit(AuditEvent::done("rollback.found", "", json!({})));
        tx.commit().await.unwrap();
        before.findings
    };
    let (first, second) = (find(&two.rig.store, "a"), find(two.other.store(), "b"));
    let met = meet(&two.rig.store, "rollback.found", first, second).await;
    assert_eq!((met.first, met.second, met.waited), (vec![], vec!["a".to_owned()], true));
    two.end().await;
}

/// `store::domain_crls::LOCK_WITHOUT_AHEAD`: the number of a list stays while its next one is put beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domains_list_keeps_its_number_while_its_next_one_is_stored() {
    let two = Two::processes().await;
    two.at
        .sql(
            "INSERT INTO domain_crls (domain, counter, issuer_id, content, this_update, next_update, entries, der, created_at) \
             SELECT 'tls', 5, id, '', 1, 2, 0, id, 1 FROM issuers WHERE slug = 'tls-1'",
        )
        .await;
    let beside = async {
        let mut tx = two.rig.store.begin(&actor()).await.unwrap();
        assert!(domain_crls::lock_without_ahead(&mut tx, "tls", 5).await.unwrap());
        tx.audit(AuditEvent::done("list.beside", "", json!({})));
        tx.commit().await.unwrap();
    };
    let advance = domain_crls::advance(&two.other.store().db, "tls", 5, 6);
    let met = meet(&two.rig.store, "list.beside", beside, advance).await;
    assert!(met.second.unwrap() && met.waited);
    two.end().await;
}
