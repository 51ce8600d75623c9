//! Migrations of a database that is in use: what an older binary stored is there after them.

use chancery::model::acme::ChallengeStatus;
use chancery::model::id::{AuthorizationId, ChallengeId, OrderId};
use chancery::store::engine::{Db, q};
use chancery::store::{authorizations, challenges, migrate, orders};

use crate::support::postgres::{create_database, drop_database};
use crate::support::stores::plain;

/// An order with two authorizations and a challenge each, as schema 5 has them.
async fn stored_at_five(db: &Db) -> (OrderId, [AuthorizationId; 2]) {
    let bytes = |n: u8| vec![n; 16];
    let run = |text: &'static str| q(plain(text));
    run("INSERT INTO acme_directories (id, slug, config, created_at) VALUES ($1, 'default', '{}', 1)")
        .bind(bytes(1))
        .execute(db)
        .await
        .unwrap();
    run("INSERT INTO acme_accounts (id, directory, status, jwk, thumbprint, public_key, contact, url, terms_agreed, created_at, created_from) \
         VALUES ($1, 'default', 'valid', '{}', $1, $1, '[]', 'https://ca.test/a', $2, 1, '')")
        .bind(bytes(2)).bind(true).execute(db).await.unwrap();
    run("INSERT INTO acme_orders (id, account_id, directory, status, identifiers, profile, expires_at, created_at) \
         VALUES ($1, $2, 'default', 'pending', '[{\"type\":\"dns\",\"value\":\"a.test\"}]', 'tls-server', 9, 1)")
    .bind(bytes(3))
    .bind(bytes(2))
    .execute(db)
    .await
    .unwrap();
    for (n, name) in [(0u8, "a.test"), (1, "b.test")] {
        run("INSERT INTO acme_authorizations (id, account_id, order_id, position, status, kind, value, wildcard, expires_at, created_at) \
             VALUES ($1, $2, $3, $4, 'pending', 'dns', $5, $6, 9, 1)")
            .bind(bytes(10 + n)).bind(bytes(2)).bind(bytes(3)).bind(i64::from(n)).bind(name).bind(n == 1)
            .execute(db).await.unwrap();
        run("INSERT INTO acme_challenges (id, authorization_id, kind, token, status, timeline) VALUES ($1, $2, 'http-01', 'T', 'invalid', '[]')")
            .bind(bytes(20 + n)).bind(bytes(10 + n)).execute(db).await.unwrap();
    }
    (OrderId::from_bytes([3; 16]), [AuthorizationId::from_bytes([10; 16]), AuthorizationId::from_bytes([11; 16])])
}

async fn orders_keep_their_authorizations(db: Db) {
    migrate::up_to(&db, 5).await.unwrap();
    let (order, ids) = stored_at_five(&db).await;
    migrate::run(&db).await.unwrap();
    assert_eq!(orders::view(&db, order).await.unwrap().unwrap().1, ids);
    let found = authorizations::of_order(&db, order).await.unwrap();
    assert_eq!(
        found.iter().map(|a| (a.order_id, a.wildcard, a.subdomains)).collect::<Vec<_>>(),
        [(Some(order), false, false), (Some(order), true, false)]
    );
    let challenge = challenges::find(&db, ChallengeId::from_bytes([21; 16])).await.unwrap().unwrap();
    assert_eq!((challenge.authorization_id, challenge.status), (ids[1], ChallengeStatus::Invalid));
    assert_eq!(orders::find(&db, order).await.unwrap().unwrap().replaces, None);
    // a challenge of no authorization is refused as before
    let orphan = q(plain(
        "INSERT INTO acme_challenges (id, authorization_id, kind, token, status) VALUES ($1, $1, 'http-01', 'T', 'pending')",
    ));
    assert!(orphan.bind(vec![99u8; 16]).execute(&db).await.is_err());
    db.close().await;
}

#[tokio::test]
async fn orders_of_schema_5_keep_their_authorizations_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    orders_keep_their_authorizations(Db::open_sqlite(&folder.path().join("chancery.db")).await.unwrap()).await;
}

#[tokio::test]
async fn orders_of_schema_5_keep_their_authorizations_on_postgres() {
    let url = create_database().await;
    orders_keep_their_authorizations(Db::open_postgres(&url, 4, "chancery").await.unwrap()).await;
    drop_database(&url).await;
}
