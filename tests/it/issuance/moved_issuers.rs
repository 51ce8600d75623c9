//! An issuer that another process retires or revokes signs nothing after that commit, also before this process has polled
//! the change; and whoever retires it waits for the intents that are being committed.

use std::sync::Arc;
use std::time::Duration;

use chancery::authority::Authority;
use chancery::authority::guard::Guard;
use chancery::authority::issue::Issuance;
use chancery::model::issuer::IssuerMove;
use chancery::store::engine::q;

use super::rig::{Rig, actor, guard, issuance};
use crate::hierarchy::wanted;
use crate::support::stores::{At, plain};
use crate::support::wait;

/// Another process on the same database. Neither polls.
async fn another(at: &At, rig: &Rig) -> Arc<Authority> {
    Authority::open(at.restarted().await, rig.keys.clone(), vec![]).await.unwrap()
}

fn any() -> Issuance {
    issuance(Guard::default())
}

crate::on_both_engines! {
    async fn an_issuer_that_another_process_takes_away_signs_nothing_from_then_on(at) {
        let rig = Rig::on(at).await;
        let other = another(at, &rig).await;
        assert_eq!(rig.issue(any()).await.unwrap().certificate.issuer, "tls-1");

        other.create_issuer(&actor(), &wanted("tls"), Some("tls-root")).await.unwrap();
        other.move_issuer(&actor(), "tls-1", IssuerMove::Retire).await.unwrap();
        let named = Issuance { issuer: Some("tls-1".into()), ..any() };
        assert_eq!(rig.issue(named).await.unwrap_err().rule.unwrap().name, "issuer.active");

        // who names none gets the successor, by the first request already
        other.create_issuer(&actor(), &wanted("tls"), Some("tls-root")).await.unwrap();
        other.move_issuer(&actor(), "tls-2", IssuerMove::Revoke).await.unwrap();
        assert_eq!(rig.issue(any()).await.unwrap().certificate.issuer, "tls-3");

        let order = rig.order().await;
        other.move_issuer(&actor(), "tls-3", IssuerMove::Retire).await.unwrap();
        assert_eq!(rig.issue(issuance(guard(order))).await.unwrap_err().rule.unwrap().name, "profile.domain");
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM certificates WHERE status = 'intended'").await, 0);
        // the order was not touched
        other.move_issuer(&actor(), "tls-3", IssuerMove::Activate).await.unwrap();
        assert!(rig.authority.refresh().await.unwrap());
        assert_eq!(rig.issue(issuance(guard(order))).await.unwrap().certificate.issuer, "tls-3");
        other.store().db.close().await;
        rig.store.db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_retires_an_issuer_waits_for_the_intents_under_way() {
    let at = At::postgres().await;
    let rig = Arc::new(Rig::on(&at).await);
    let other = another(&at, &rig).await;
    let order = rig.order().await;
    // the intent has seen the issuer active and waits for its order
    let blocker = at.connect().await;
    let mut held = blocker.begin().await.unwrap();
    let lock = q(plain("UPDATE acme_orders SET status = status WHERE id = $1")).bind(order.to_vec());
    lock.execute(&mut held).await.unwrap();
    let issuing = {
        let rig = Arc::clone(&rig);
        tokio::spawn(async move { rig.issue(issuance(guard(order))).await })
    };
    let waiting =
        "SELECT COUNT(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let waiters = async |n: i64| (at.count(waiting).await >= n).then_some(());
    wait::until("the intent waits", async || waiters(1).await).await;
    let retiring = {
        let other = Arc::clone(&other);
        tokio::spawn(async move { other.move_issuer(&actor(), "tls-1", IssuerMove::Retire).await })
    };
    wait::until("the retirement waits", async || waiters(2).await).await;
    wait::pause(Duration::from_millis(200)).await;
    assert!(!retiring.is_finished() && !issuing.is_finished());
    drop(held);
    assert_eq!(issuing.await.unwrap().unwrap().certificate.issuer, "tls-1");
    retiring.await.unwrap().unwrap();
    assert_eq!(rig.issue(any()).await.unwrap_err().rule.unwrap().name, "profile.domain");
    for db in [&blocker, &rig.store.db, &other.store().db] {
        db.close().await;
    }
    at.end().await;
}
