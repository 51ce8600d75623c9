//! What time ends: orders, authorizations, spent nonces and Idempotency-Keys go when their day is over, not before.

use chancery::clock::{hours, minutes};
use chancery::model::acme::AuthorizationStatus;
use chancery::model::actor::Actor;
use chancery::model::id::OrderId;
use chancery::registration::ORDER_LIFETIME;
use chancery::store::engine::q;
use chancery::store::{Store, idempotency, orders};

use crate::support::server::TestServer;
use crate::support::stores::plain;
use crate::support::{acme_rows, wait};

/// An order that is ready, with its one valid authorization.
async fn order(store: &Store) -> OrderId {
    let account = acme_rows::stored_account(store).await;
    let (order, authorizations, _) = acme_rows::stored_order(store, &account, &["a.lab.example"]).await;
    let mut tx = store.begin(&Actor::system("test")).await.unwrap();
    let one = || authorizations.iter().map(|a| a.id);
    let verdicts: Vec<_> = one().map(|id| (id, AuthorizationStatus::Valid)).collect();
    assert_eq!(acme_rows::settled(&mut tx, &verdicts).await, 1);
    assert_eq!(orders::to_ready(&mut tx, one()).await.unwrap(), 1);
    tx.commit().await.unwrap();
    order.id
}

/// (status of the order, status of its authorization)
async fn states(store: &Store, id: OrderId) -> (String, String) {
    let of = async |text: &'static str| -> String {
        q(plain(text)).bind(id.to_vec()).fetch_one(store).await.unwrap().get("status").unwrap()
    };
    (
        of("SELECT status FROM acme_orders WHERE id = $1").await,
        of("SELECT status FROM acme_authorizations WHERE order_id = $1").await,
    )
}

async fn count(server: &TestServer, text: &'static str) -> i64 {
    q(plain(text)).fetch_one(&server.app().store).await.unwrap().get("n").unwrap()
}

crate::on_both_servers! {
    async fn orders_nonces_and_idempotency_keys_go_when_their_time_is_over(server) {
        let app = server.app().clone();
        let (store, begin) = (&app.store, app.clock.now());
        let first = order(store).await;
        server.clock.advance(hours(1));
        let second = order(store).await;
        for (key, life) in [("short", hours(24)), ("long", ORDER_LIFETIME)] {
            idempotency::record(store, ("token:x", key), &[0; 32], (200, "{}"), begin, begin + life).await.unwrap();
        }
        let nonce = app.registration.nonces.mint().unwrap();
        app.registration.nonces.redeem(&nonce).await.unwrap();
        app.housekeep().await.unwrap();
        assert_eq!(states(store, first).await, ("ready".into(), "valid".into()), "nothing is over yet");
        assert_eq!(count(server, "SELECT COUNT(*) AS n FROM idempotency_keys").await, 2);

        server.clock.set(begin + ORDER_LIFETIME - minutes(1));
        app.housekeep().await.unwrap();
        assert_eq!(states(store, first).await, ("ready".into(), "valid".into()), "a minute is left");
        assert_eq!(count(server, "SELECT COUNT(*) AS n FROM idempotency_keys").await, 1);
        if app.store.db.is_postgres() {
            assert_eq!(count(server, "SELECT COUNT(*) AS n FROM nonces_spent").await, 0);
        }
        let spent = app.registration.nonces.redeem(&nonce).await.unwrap_err();
        assert_eq!(spent.kind, chancery::error::ErrorKind::BadNonce, "forgotten is not good again");

        server.clock.set(begin + ORDER_LIFETIME + minutes(1));
        app.housekeep().await.unwrap();
        assert_eq!(states(store, first).await, ("invalid".into(), "expired".into()));
        assert_eq!(states(store, second).await, ("ready".into(), "valid".into()));
        assert_eq!(count(server, "SELECT COUNT(*) AS n FROM idempotency_keys").await, 0);
        // twice is harmless
        app.housekeep().await.unwrap();
    }

    async fn the_running_server_does_it_by_itself(server) {
        let app = server.app().clone();
        let id = order(&app.store).await;
        server.clock.advance(ORDER_LIFETIME + minutes(1));
        let over = async || (states(&app.store, id).await.0 == "invalid").then_some(());
        wait::until("housekeeping comes by", over).await;
        server.drain_jobs().await;
    }
}
