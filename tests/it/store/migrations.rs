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
    // what a server of schema 5 places from now on is linked by the end of its transaction
    if db.is_postgres() {
        q(plain("INSERT INTO acme_orders (id, account_id, directory, status, identifiers, profile, expires_at, created_at) \
                 SELECT $1, account_id, directory, status, identifiers, profile, expires_at, 2 FROM acme_orders"))
            .bind(vec![4u8; 16]).execute(&db).await.unwrap();
        q(plain("INSERT INTO acme_authorizations (id, account_id, order_id, position, status, kind, value, wildcard, expires_at, created_at) \
                 VALUES ($1, $2, $3, 0, 'pending', 'dns', 'c.test', $4, 9, 1)"))
            .bind(vec![12u8; 16]).bind(vec![2u8; 16]).bind(vec![4u8; 16]).bind(false).execute(&db).await.unwrap();
        let linked = orders::view(&db, OrderId::from_bytes([4; 16])).await.unwrap().unwrap().1;
        assert_eq!(linked, [AuthorizationId::from_bytes([12; 16])]);
    }
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

/// What a schema consists of, in words that two databases can be compared by.
async fn described(db: &Db) -> Vec<String> {
    let text = "SELECT 'column ' || table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' || COALESCE(column_default, '') AS d \
                FROM information_schema.columns WHERE table_schema = 'public' \
                UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public' \
                UNION ALL SELECT 'invalid ' || indexrelid::regclass FROM pg_index WHERE NOT indisvalid \
                UNION ALL SELECT 'constraint ' || conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace \
                UNION ALL SELECT 'trigger ' || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal \
                UNION ALL SELECT 'storage ' || attrelid::regclass || '.' || attname || ' ' || attstorage::text FROM pg_attribute a \
                JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND attnum > 0 \
                UNION ALL SELECT 'step ' || version || ' ' || description || ' ' || encode(checksum, 'hex') FROM _sqlx_migrations";
    let rows = q(plain(text)).fetch_all(db).await.unwrap();
    let mut found: Vec<String> = rows.iter().map(|row| row.get("d").unwrap()).collect();
    found.sort();
    found
}

async fn opened(url: &str) -> Db {
    Db::open_postgres(url, 4, "chancery").await.unwrap()
}

/// Many orders of one authorization each, as schema 5 has them.
async fn many_at_five(db: &Db, count: i64) {
    migrate::up_to(db, 5).await.unwrap();
    stored_at_five(db).await;
    for text in [
        "INSERT INTO acme_orders (id, account_id, directory, status, identifiers, profile, expires_at, created_at) \
         SELECT decode(lpad(to_hex(n), 32, '0'), 'hex'), account_id, 'default', 'valid', '[]', 'tls-server', 9, 1 \
         FROM acme_orders, generate_series(1, $1) AS n WHERE created_at = 1",
        "INSERT INTO acme_authorizations (id, account_id, order_id, position, status, kind, value, wildcard, expires_at, created_at) \
         SELECT decode(lpad(to_hex(n), 32, '0'), 'hex'), account_id, decode(lpad(to_hex(n), 32, '0'), 'hex'), 0, 'valid', 'dns', 'n' || n || '.test', FALSE, 9, 1 \
         FROM acme_orders, generate_series(1, $1) AS n WHERE acme_orders.id = decode(repeat('03', 16), 'hex')",
    ] {
        q(plain(text)).bind(count).execute(db).await.unwrap();
    }
}

async fn counted(db: &Db, text: &'static str) -> i64 {
    q(plain(text)).fetch_one(db).await.unwrap().get("n").unwrap()
}

const UNLINKED: &str = "SELECT COUNT(*) AS n FROM acme_authorizations a WHERE a.order_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM \
    acme_order_authorizations l WHERE l.order_id = a.order_id AND l.position = a.position AND l.authorization_id = a.id)";

/// 100,000 authorizations in parts of a thousand, beside a server of schema 5 that goes on placing orders; the process that
/// migrates dies twice on the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_postgres_is_migrated_in_parts_beside_an_older_server() {
    let url = create_database().await;
    let (db, older) = (opened(&url).await, opened(&url).await);
    many_at_five(&db, 100_000).await;
    let said = std::sync::Mutex::new(Vec::new());
    let reached = tokio::sync::Notify::new();
    let until = std::sync::Mutex::new("rows of acme_authorizations are copied");
    let progress = |doing: &str| {
        said.lock().unwrap().push(doing.to_owned());
        if doing.contains(*until.lock().unwrap()) {
            reached.notify_one();
        }
    };
    let upgrade = migrate::Upgrade { db: &db, batch: 1_000, progress: &progress };
    // the first death: rows are copied
    tokio::select! {
        done = upgrade.up_to(migrate::LATEST) => panic!("it went on: {done:?}"),
        () = reached.notified() => {}
    }
    assert_eq!(migrate::schema(&older).await.unwrap().applied, 5, "nothing is half-done");
    let place = "INSERT INTO acme_authorizations (id, account_id, order_id, position, status, kind, value, wildcard, expires_at, created_at) \
                 SELECT $1, account_id, order_id, $2, 'pending', 'dns', 'late.test', FALSE, 9, 1 FROM acme_authorizations WHERE id = decode(repeat('0a', 16), 'hex')";
    q(plain(place)).bind(vec![0u8; 16]).bind(7i64).execute(&older).await.unwrap();
    // the second: an index is half-built
    *until.lock().unwrap() = "building the index acme_authorizations_of_value";
    tokio::select! {
        done = upgrade.up_to(migrate::LATEST) => panic!("it went on: {done:?}"),
        () = reached.notified() => {}
    }
    assert_eq!(migrate::schema(&older).await.unwrap().applied, 9);
    q(plain(place)).bind(vec![0xff; 16]).bind(8i64).execute(&older).await.unwrap();
    // the database goes on with the statement of a client that is gone until it notices
    let held = "SELECT COUNT(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND database = \
                (SELECT oid FROM pg_database WHERE datname = current_database())";
    wait::until("the lock of the dead process is free", async || (counted(&older, held).await == 0).then_some(()))
        .await;
    let broken =
        "UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = to_regclass('acme_authorizations_of_value')";
    let half = "CREATE INDEX IF NOT EXISTS acme_authorizations_of_value ON acme_authorizations (value)";
    for text in [half, broken] {
        q(plain(text)).execute(&older).await.unwrap();
    }
    *until.lock().unwrap() = "-";
    upgrade.up_to(migrate::LATEST).await.unwrap();
    assert_eq!(counted(&db, UNLINKED).await, 0);
    assert_eq!(counted(&db, "SELECT COUNT(*) AS n FROM acme_order_authorizations").await, 100_004);
    let other = create_database().await;
    let fresh = opened(&other).await;
    migrate::run(&fresh).await.unwrap();
    assert_eq!(described(&db).await, described(&fresh).await, "the schema of a new database");
    for db in [db, older, fresh] {
        db.close().await;
    }
    drop_database(&url).await;
    drop_database(&other).await;
}

/// One that starts while another migrates waits as long as that takes, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_waits_for_the_lock_of_migrations_and_says_so() {
    let url = create_database().await;
    let (first, second) = (opened(&url).await, opened(&url).await);
    let held = first.begin_migration(&|| panic!("nobody has it")).await.unwrap();
    let waits = tokio::sync::Semaphore::new(0);
    let progress = |doing: &str| {
        if doing.contains("another process migrates the database") {
            waits.add_permits(1);
        }
    };
    let other = async {
        // longer than one statement waits for a lock
        drop(waits.acquire_many(3).await.unwrap());
        assert_eq!(migrate::schema(&first).await.unwrap().applied, 0);
        held.end().await;
    };
    let (migrated, ()) = tokio::join!(migrate::run_telling(&second, &progress), other);
    migrated.unwrap();
    for db in [first, second] {
        db.close().await;
    }
    drop_database(&url).await;
}
