//! What time ends: orders, authorizations, spent nonces and Idempotency-Keys go when their day is over, not before.

use chancery::clock::{Timestamp, days, hours, minutes};
use chancery::model::acme::{
    Account, AccountKey, AccountStatus, Authorization, AuthorizationStatus, Order, OrderStatus,
};
use chancery::model::id::{AccountId, AuthorizationId, OrderId};
use chancery::model::identifier::Identifier;
use chancery::registration::ORDER_LIFETIME;
use chancery::store::engine::q;
use chancery::store::{Store, accounts, authorizations, idempotency, orders};

use crate::support::server::TestServer;
use crate::support::stores::plain;
use crate::support::wait;

/// An order that is ready, with its one valid authorization.
async fn order(store: &Store, expires_at: Timestamp) -> OrderId {
    let (now, entropy) = (store.now(), store.entropy.as_ref());
    let account = Account {
        id: AccountId::new(now, entropy).unwrap(),
        directory: "default".into(),
        status: AccountStatus::Valid,
        key: AccountKey {
            jwk: "{}".into(),
            thumbprint: chancery::entropy::random(entropy).unwrap(),
            public_key: vec![1],
        },
        contact: Vec::new(),
        url: "https://ca.test/acme/default/account/x".into(),
        terms_agreed: true,
        binding: None,
        created_at: now,
        created_from: String::new(),
    };
    accounts::insert(store, &account).await.unwrap();
    let order = Order {
        id: OrderId::new(now, entropy).unwrap(),
        account_id: account.id,
        directory: "default".into(),
        status: OrderStatus::Ready,
        profile: "tls-server".into(),
        not_before: None,
        not_after: None,
        error: None,
        certificate_id: None,
        expires_at,
        created_at: now,
        identifiers: vec![Identifier::dns("a.lab.example").unwrap()],
    };
    orders::insert(store, &order).await.unwrap();
    let authorization = Authorization {
        id: AuthorizationId::new(now, entropy).unwrap(),
        account_id: account.id,
        order_id: order.id,
        position: 0,
        status: AuthorizationStatus::Valid,
        identifier: order.identifiers[0].clone(),
        wildcard: false,
        expires_at,
        created_at: now,
    };
    authorizations::insert(store, &authorization).await.unwrap();
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
        let (store, now) = (&app.store, app.clock.now());
        let (short, long) = (order(store, now + hours(1)).await, order(store, now + ORDER_LIFETIME).await);
        for (key, life) in [("short", hours(1)), ("day", hours(24))] {
            idempotency::record(store, ("token:x", key), &[0; 32], (200, "{}"), now, now + life).await.unwrap();
        }
        let nonce = app.registration.nonces.mint().unwrap();
        app.registration.nonces.redeem(&nonce).await.unwrap();

        app.housekeep().await.unwrap();
        assert_eq!(states(store, short).await, ("ready".into(), "valid".into()), "nothing is over yet");
        assert_eq!(count(server, "SELECT COUNT(*) AS n FROM idempotency_keys").await, 2);

        server.clock.advance(minutes(61));
        app.housekeep().await.unwrap();
        assert_eq!(states(store, short).await, ("invalid".into(), "expired".into()));
        assert_eq!(states(store, long).await, ("ready".into(), "valid".into()));
        assert_eq!(count(server, "SELECT COUNT(*) AS n FROM idempotency_keys").await, 1);
        let spent = app.registration.nonces.redeem(&nonce).await.unwrap_err();
        assert_eq!(spent.kind, chancery::error::ErrorKind::BadNonce, "forgotten is not good again");

        server.clock.advance(days(8));
        app.housekeep().await.unwrap();
        assert_eq!(states(store, long).await, ("invalid".into(), "expired".into()));
        assert_eq!(count(server, "SELECT COUNT(*) AS n FROM idempotency_keys").await, 0);
        if app.store.db.is_postgres() {
            assert_eq!(count(server, "SELECT COUNT(*) AS n FROM nonces_spent").await, 0);
        }
        // twice is harmless
        app.housekeep().await.unwrap();
    }

    async fn the_running_server_does_it_by_itself(server) {
        let app = server.app().clone();
        let id = order(&app.store, app.clock.now() + hours(1)).await;
        server.clock.advance(hours(2));
        let over = async || (states(&app.store, id).await.0 == "invalid").then_some(());
        wait::until("housekeeping comes by", over).await;
        server.drain_jobs().await;
    }
}
