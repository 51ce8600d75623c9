//! The account behind an order against its finalization at the same moment: the certificate is made while the
//! account is valid, or nobody gets it.

use std::time::Duration;

use chancery::authority::guard::Guard;
use chancery::authority::recovery::ISSUANCE_DEADLINE;
use chancery::error::ErrorKind;
use chancery::model::acme::OrderStatus;
use chancery::model::certificate::CertificateStatus;
use chancery::store::faults::CommitFault;
use chancery::store::{Tx, accounts, certificates, orders};

use super::rig::{ACCOUNT, Rig, SignerState, actor, guard, issuance};
use crate::support::stores::At;

crate::on_both_engines! {
    async fn a_finalize_waits_for_a_deactivation_that_has_begun(at) {
        let rig = Rig::on(at).await;
        let order = rig.order().await;
        let mut tx = deactivating(at).await;
        let (authority, asked) = (rig.authority.clone(), issuance(guard(order)));
        let issuing = tokio::spawn(async move { authority.issue(&actor(), asked).await });
        until_it_waits(at).await;
        assert!(!issuing.is_finished(), "it does not pass a deactivation under way");
        orders::fail_of_account(&mut tx, ACCOUNT).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(issuing.await.unwrap().unwrap_err().kind, ErrorKind::AccountInactive);
        assert!(certificates::find_by_order(&rig.store, order).await.unwrap().is_none(), "nothing was intended");
        assert_eq!(rig.order_status(order).await, OrderStatus::Invalid);
    }

    async fn an_outcome_waits_for_a_deactivation_that_has_begun(at) {
        let rig = Rig::on(at).await;
        let order = rig.order().await;
        rig.signer(SignerState::Waits);
        let (authority, asked) = (rig.authority.clone(), issuance(guard(order)));
        let issuing = tokio::spawn(async move { authority.issue(&actor(), asked).await });
        rig.trouble.arrived.acquire().await.unwrap().forget();
        let tx = deactivating(at).await;
        rig.trouble.gate.add_permits(1);
        until_it_waits(at).await;
        assert!(!issuing.is_finished(), "it does not pass a deactivation under way");
        tx.commit().await.unwrap();
        assert_eq!(issuing.await.unwrap().unwrap_err().kind, ErrorKind::AccountInactive);
        let left = certificates::find_by_order(&rig.store, order).await.unwrap().unwrap();
        assert_eq!(left.fingerprint, None);
    }

    async fn an_account_that_ends_while_its_certificate_is_signed_does_not_get_it(at) {
        let rig = Rig::on(at).await;
        let order = rig.order().await;
        rig.signer(SignerState::Waits);
        let (authority, asked) = (rig.authority.clone(), issuance(guard(order)));
        let issuing = tokio::spawn(async move { authority.issue(&actor(), asked).await });
        rig.trouble.arrived.acquire().await.unwrap().forget();
        deactivating(at).await.commit().await.unwrap();
        rig.trouble.gate.add_permits(1);
        assert_eq!(issuing.await.unwrap().unwrap_err().kind, ErrorKind::AccountInactive);
        let left = certificates::find_by_order(&rig.store, order).await.unwrap().unwrap();
        assert!(matches!(left.status, CertificateStatus::Revoked { .. }));
        assert_eq!(left.fingerprint, None);
        assert_eq!(rig.order_status(order).await, OrderStatus::Invalid);
    }

    async fn an_order_is_finalized_with_the_present_key_of_its_account(at) {
        let rig = Rig::on(at).await;
        let order = rig.order().await;
        let of_key = |key: u8| Guard { key: Some([key; 32]), ..guard(order) };
        let error = rig.issue(issuance(of_key(9))).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Malformed, "{error}");
        assert!(certificates::find_by_order(&rig.store, order).await.unwrap().is_none(), "nothing was intended");
        assert_eq!(rig.order_status(order).await, OrderStatus::Ready);
        rig.issue(issuance(of_key(8))).await.unwrap();
    }

    async fn an_order_that_is_not_ready_gets_no_certificate(at) {
        let rig = Rig::on(at).await;
        for end in [
            "UPDATE acme_orders SET status = 'pending' WHERE status = 'ready'",
            "UPDATE acme_orders SET status = 'invalid' WHERE status = 'ready'",
            "UPDATE acme_orders SET status = 'processing' WHERE status = 'ready'",
            "UPDATE acme_orders SET expires_at = 1 WHERE status = 'ready'",
        ] {
            for with_key in [true, false] {
                let order = rig.order().await;
                at.sql(end).await;
                let guard = if with_key { guard(order) } else { Guard { order: Some(order), ..Guard::default() } };
                let error = rig.issue(issuance(guard)).await.unwrap_err();
                assert_eq!(error.kind, ErrorKind::OrderNotReady, "{end}: {error}");
                assert!(certificates::find_by_order(&rig.store, order).await.unwrap().is_none(), "{end}");
            }
        }
    }

    async fn nothing_is_signed_half_a_minute_after_its_intent(at) {
        let rig = Rig::on(at).await;
        let order = rig.order().await;
        rig.store.commits().plan("certificate.intended", CommitFault::Waits);
        let (authority, asked) = (rig.authority.clone(), issuance(guard(order)));
        let issuing = tokio::spawn(async move { authority.issue(&actor(), asked).await });
        rig.store.commits().arrived().await;
        at.clock.advance(ISSUANCE_DEADLINE + Duration::from_secs(1));
        rig.store.commits().open_gate();
        assert_eq!(issuing.await.unwrap().unwrap_err().kind, ErrorKind::TimedOut);
        let left = certificates::find_by_order(&rig.store, order).await.unwrap().unwrap();
        assert!(matches!(left.status, CertificateStatus::Revoked { .. }), "{left:?}");
        assert_eq!(left.fingerprint, None);
    }

    async fn sixteen_finalizes_against_a_deactivation_never_hang_and_never_pass_it(at) {
        let rig = Rig::on(at).await;
        let mut placed = Vec::new();
        for _ in 0..16 {
            placed.push(rig.order().await);
        }
        let mut finalizes = tokio::task::JoinSet::new();
        for order in placed.clone() {
            let (authority, asked) = (rig.authority.clone(), issuance(guard(order)));
            finalizes.spawn(async move { authority.issue(&actor(), asked).await.map(|_| ()).map_err(|e| e.kind) });
        }
        let mut tx = deactivating(at).await;
        orders::fail_of_account(&mut tx, ACCOUNT).await.unwrap();
        tx.commit().await.unwrap();
        let answers = finalizes.join_all().await;
        let expected = |a: &Result<(), ErrorKind>| matches!(a, Ok(()) | Err(ErrorKind::AccountInactive | ErrorKind::OrderNotReady));
        assert!(answers.iter().all(expected), "{answers:?}");
        let good = answers.iter().filter(|a| a.is_ok()).count();
        let mut valid = 0;
        for order in placed {
            match rig.order_status(order).await {
                OrderStatus::Valid => valid += 1,
                status => assert_eq!(status, OrderStatus::Invalid, "none is left open"),
            }
        }
        assert_eq!(valid, good);
    }
}

/// A transaction that has ended the account and is not committed.
async fn deactivating(at: &At) -> Tx {
    let mut tx = at.store.begin(&actor()).await.unwrap();
    assert!(accounts::revoke(&mut tx, ACCOUNT).await.unwrap());
    tx
}

/// Until a transaction waits for a lock. SQLite has one writer: there nothing else can begin.
async fn until_it_waits(at: &At) {
    let waiting =
        "SELECT COUNT(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let waits = async {
        while at.is_postgres() && at.count(waiting).await == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waits).await.expect("the finalize waits");
}
