//! A Postgres that acknowledges what a crash may take back: what it is told to promise less is raised where a session can
//! do so, and refused or reported where it cannot.

use std::sync::Arc;

use chancery::authority::checks::Severity;
use chancery::clock::SystemClock;
use chancery::entropy::SystemEntropy;
use chancery::error::ErrorKind;
use chancery::server::config::Config;
use chancery::server::running;
use chancery::server::settings::Environment;
use chancery::store::engine::{Db, q};

use crate::support::postgres::OwnCluster;
use crate::support::server::TestServer;
use crate::support::stores::plain;

async fn synchronous_commit(db: &Db) -> String {
    let row = q(plain("SELECT current_setting('synchronous_commit') AS n")).fetch_one(db).await.unwrap();
    row.get("n").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_may_lose_commits_is_raised_refused_or_reported() {
    let cluster = OwnCluster::start(&["fsync=off", "full_page_writes=off", "synchronous_commit=off"]).await;

    // sessions wait for the disk, also where the server, the database or the role says otherwise; nonces need not
    for (set, expected) in [
        ("ALTER ROLE postgres RESET synchronous_commit", "on"),
        ("ALTER ROLE postgres SET synchronous_commit = local", "on"),
        ("ALTER ROLE postgres SET synchronous_commit = remote_write", "on"),
        ("ALTER ROLE postgres SET synchronous_commit = remote_apply", "remote_apply"),
        ("ALTER ROLE postgres RESET synchronous_commit", "on"),
    ] {
        cluster.run(set).await;
        let db = Db::open_postgres(&cluster.url(), 2, "chancery").await.unwrap();
        assert_eq!(synchronous_commit(&db).await, expected, "{set}");
        assert_eq!(synchronous_commit(&db.keyed()).await, expected, "{set}");
        assert_eq!(synchronous_commit(&db.volatile()).await, "off", "{set}");
        db.close().await;
    }

    // a start is refused in one sentence, before anything is founded
    let home = tempfile::tempdir().unwrap();
    let (data, url) = (home.path().display().to_string(), cluster.url());
    let any = "127.0.0.1:0";
    let listen = [("CHANCERY_LISTEN", any), ("CHANCERY_LISTEN_HTTP", any), ("CHANCERY_LISTEN_OPS", any)];
    let settings = [&[("CHANCERY_DATA", data.as_str()), ("CHANCERY_DATABASE_URL", &url)][..], &listen].concat();
    let config = Config::load(&Default::default(), &Environment::of(&settings)).unwrap();
    let start = running::start(&config, Arc::new(SystemClock), Arc::new(SystemEntropy::new()));
    let refused = start.await.map(drop).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Config);
    assert!(refused.detail.starts_with("the Postgres server runs with fsync=off: "), "{}", refused.detail);
    assert!(refused.detail.contains("CHANCERY_ALLOW_UNSAFE_DATABASE"), "{}", refused.detail);
    assert!(!home.path().join("unlock.key").exists());

    // unless a setting says that the CA may be lost; doctor names each
    let mut server = TestServer::start(Some(cluster.url()), &[("CHANCERY_ALLOW_UNSAFE_DATABASE", "true")]).await;
    server.keep_database();
    let checks = server.app().authority.checks().await;
    let durability = checks.iter().find(|check| check.name == "durability").unwrap();
    assert_eq!(durability.severity, Severity::Warning);
    for word in ["fsync=off", "full_page_writes=off"] {
        assert!(durability.detail.contains(word), "{}", durability.detail);
    }
    server.end().await;
}
