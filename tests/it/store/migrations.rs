//! Migrations of a database that is in use: what an older binary stored is there after them.

use chancery::model::acme::ChallengeStatus;
use chancery::model::id::{AuthorizationId, ChallengeId, OrderId};
use chancery::store::engine::{Db, q};
use chancery::store::{authorizations, challenges, hierarchy, migrate, orders};

use crate::support::postgres::{create_database, drop_database};
use crate::support::stores::plain;
use crate::support::wait;

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

/// Two roots and three issuers, as schema 11 has them: `etcd-1` retired, `tls-10` the one that signs.
async fn stored_at_eleven(db: &Db) {
    let bytes = |n: u8| vec![n; 16];
    let run = |text: &'static str| q(plain(text));
    run("INSERT INTO keys (id, purpose, algorithm, public_key, sealed, created_at) VALUES ($1, 'issuer', 'P-256', $1, $1, 1)")
        .bind(bytes(1)).execute(db).await.unwrap();
    for (n, domain) in [(2u8, "tls"), (3, "etcd")] {
        run("INSERT INTO domains (id, slug, name, created_at) VALUES ($1, $2, $2, 1)")
            .bind(bytes(n))
            .bind(domain)
            .execute(db)
            .await
            .unwrap();
    }
    for (n, slug, domain, role, status, end) in [
        (10u8, "tls-root", "tls", "root", "active", 9_000i64),
        (11, "tls-9", "tls", "issuing", "active", 500),
        (12, "tls-10", "tls", "issuing", "active", 700),
        (13, "tls-3", "tls", "issuing", "retired", 900),
        (14, "etcd-root", "etcd", "root", "retired", 9_000),
        (15, "etcd-1", "etcd", "issuing", "retired", 900),
    ] {
        run("INSERT INTO issuers (id, slug, domain, name, role, key_id, parent_id, status, status_url, crl_counter, crl_dirty, created_at) \
             VALUES ($1, $2, $3, $2, $4, $5, $1, $6, 'http://ca.test', 0, $7, 1)")
            .bind(bytes(n)).bind(slug).bind(domain).bind(role).bind(bytes(1)).bind(status).bind(false)
            .execute(db).await.unwrap();
        for (of, end) in [(n, end), (n + 100, end - 400)] {
            run("INSERT INTO issuer_certificates (id, issuer_id, certificate_id, der, not_before, not_after, created_at) VALUES ($1, $2, $1, $1, 1, $3, 1)")
                .bind(bytes(of)).bind(bytes(n)).bind(end).execute(db).await.unwrap();
        }
    }
}

async fn issuers_get_states(db: Db) {
    migrate::up_to(&db, 11).await.unwrap();
    stored_at_eleven(&db).await;
    migrate::run(&db).await.unwrap();
    let found = hierarchy::issuers(&db).await.unwrap();
    let found: Vec<_> = found.iter().map(|i| (i.slug.as_str(), i.state.name(), i.is_default)).collect();
    assert_eq!(
        found,
        [
            ("etcd-1", "retiring", false),
            ("etcd-root", "retiring", false),
            ("tls-10", "active", true),
            ("tls-3", "retiring", false),
            ("tls-9", "active", false),
            ("tls-root", "active", false),
        ]
    );
    // an older binary that runs on makes one more
    q(plain("INSERT INTO issuers (id, slug, domain, name, role, key_id, parent_id, status, status_url, crl_counter, crl_dirty, created_at) \
             SELECT $1, 'tls-11', domain, name, role, key_id, parent_id, status, status_url, 0, crl_dirty, 2 FROM issuers WHERE slug = 'tls-9'"))
        .bind(vec![16u8; 16]).execute(&db).await.unwrap();
    let made = hierarchy::issuers(&db).await.unwrap().into_iter().find(|i| i.slug == "tls-11").unwrap();
    assert_eq!((made.state.name(), made.is_default), ("active", false));
    db.close().await;
}

#[tokio::test]
async fn issuers_of_schema_11_get_states_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    issuers_get_states(Db::open_sqlite(&folder.path().join("chancery.db")).await.unwrap()).await;
}

#[tokio::test]
async fn issuers_of_schema_11_get_states_on_postgres() {
    let url = create_database().await;
    issuers_get_states(Db::open_postgres(&url, 4, "chancery").await.unwrap()).await;
    drop_database(&url).await;
}

/// A long read holds its table; a migration that waits for it must not keep an older server's writes waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_waits_for_a_reader_lets_writers_pass() {
    let url = create_database().await;
    let open = || async { Db::open_postgres(&url, 4, "chancery").await.unwrap() };
    let (reader, writer, migrating) = (open().await, open().await, open().await);
    migrate::up_to(&migrating, 11).await.unwrap();
    stored_at_eleven(&migrating).await;
    let mut tx = reader.begin().await.unwrap();
    q(plain("SELECT slug FROM issuers")).fetch_all(&mut tx).await.unwrap();
    let waits =
        "SELECT COUNT(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let meanwhile = async {
        for _ in 0..3 {
            wait::until("the migration waits for the table", async || {
                let row = q(plain(waits)).fetch_one(&writer).await.unwrap();
                (row.get::<i64>("n").unwrap() > 0).then_some(())
            })
            .await;
            // a server's connections wait four seconds for a lock at most
            let changed = q(plain("UPDATE issuers SET crl_counter = crl_counter + 1")).execute(&writer).await;
            assert_eq!(changed.unwrap(), 6, "passes between two tries");
        }
        assert_eq!(migrate::schema(&writer).await.unwrap().applied, 11, "the reader has not ended");
        tx.commit().await.unwrap();
    };
    let (migrated, ()) = tokio::join!(migrate::run(&migrating), meanwhile);
    migrated.unwrap();
    let after = migrate::schema(&migrating).await.unwrap();
    assert_eq!((after.applied, after.pending), (migrate::LATEST, vec![]));
    for db in [reader, writer, migrating] {
        db.close().await;
    }
    drop_database(&url).await;
}

/// Replicas that start together: each sees steps of the other that it has not come to.
#[tokio::test]
async fn four_that_migrate_at_once_all_succeed() {
    let url = create_database().await;
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(Db::open_postgres(&url, 2, "chancery").await.unwrap());
    }
    let done = futures_util::future::join_all(open.iter().map(migrate::run)).await;
    for outcome in done {
        outcome.unwrap();
    }
    for db in open {
        assert_eq!(migrate::schema(&db).await.unwrap().pending, vec![]);
        db.close().await;
    }
    drop_database(&url).await;
}
