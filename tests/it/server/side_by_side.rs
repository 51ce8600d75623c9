//! A start that migrates, or waits for one that does; and servers of different versions on one database.

use std::net::SocketAddr;
use std::sync::Arc;

use chancery::authority::checks::Severity;
use chancery::clock::SystemClock;
use chancery::entropy::SystemEntropy;
use chancery::server::config::Config;
use chancery::server::running;
use chancery::server::settings::Environment;
use chancery::server::startup::Startup;
use chancery::store::engine::Db;

use crate::support::postgres::{create_database, drop_database};
use crate::support::stores::plain;
use crate::support::{wait, wire};

/// Loopback addresses that no other test uses, one a process.
fn own_address() -> SocketAddr {
    let pid = std::process::id().to_be_bytes();
    SocketAddr::from(([127, 80 | (pid[1] & 15), pid[2], pid[3].clamp(1, 254)], 9464))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_waits_for_a_migration_is_alive_and_not_ready() {
    let url = create_database().await;
    let db = Db::open_postgres(&url, 2, "chancery").await.unwrap();
    let lock = db.begin_migration(&|| ()).await.unwrap();
    let (home, ops, any) = (tempfile::tempdir().unwrap(), own_address(), "127.0.0.1:0");
    let (data, listen_ops) = (home.path().display().to_string(), ops.to_string());
    let settings = [
        ("CHANCERY_DATA", data.as_str()),
        ("CHANCERY_DATABASE_URL", &url),
        ("CHANCERY_ALLOW_UNSAFE_DATABASE", "true"),
        ("CHANCERY_LISTEN", any),
        ("CHANCERY_LISTEN_HTTP", any),
        ("CHANCERY_LISTEN_OPS", &listen_ops),
    ];
    let config = Config::load(&Default::default(), &Environment::of(&settings)).unwrap();
    let startup = Startup::default();
    let start = running::start_telling(&config, Arc::new(SystemClock), Arc::new(SystemEntropy::new()), &startup);
    let probes = async {
        wait::until("the start says that it waits", async || {
            startup.doing().filter(|doing| doing.contains("another process migrates the database"))
        })
        .await;
        assert_eq!(wire::get(ops, "/livez").await.status, 200);
        let ready = wire::get(ops, "/readyz").await;
        assert_eq!(ready.status, 503);
        let text = ready.text();
        assert!(text.contains("the server is starting: another process migrates the database"), "{text}");
        assert_eq!(wire::get(ops, "/readyz/status").await.status, 503);
        lock.end().await;
    };
    let (running, ()) = tokio::join!(start, probes);
    let running = running.unwrap();
    assert_eq!(startup.doing(), None, "the service manager's limit counts again");
    wait::until("it is ready", async || (wire::get(ops, "/readyz").await.status == 200).then_some(())).await;
    running.stop().await;

    // a start that fails leaves nobody on its port
    let failing = [settings.as_slice(), &[("CHANCERY_LOCKED", "true")]].concat();
    let empty = create_database().await;
    let failing: Vec<_> =
        failing.into_iter().map(|(n, v)| (n, if n == "CHANCERY_DATABASE_URL" { &*empty } else { v })).collect();
    let config = Config::load(&Default::default(), &Environment::of(&failing)).unwrap();
    let start = running::start(&config, Arc::new(SystemClock), Arc::new(SystemEntropy::new()));
    assert!(start.await.is_err(), "keys of another installation");
    wait::until("the port is free", async || std::net::TcpListener::bind(ops).ok()).await;
    db.close().await;
    drop_database(&url).await;
    drop_database(&empty).await;
}

crate::on_both_servers! {
    async fn the_checks_tell_versions_that_run_side_by_side(server) {
        let versions = async || {
            let checks = server.app().authority.checks().await;
            let check = checks.into_iter().find(|check| check.name == "versions").unwrap();
            (check.severity, check.detail)
        };
        let (severity, detail) = versions().await;
        assert_eq!(severity, Severity::Ok, "{detail}");
        assert!(detail.contains(env!("CARGO_PKG_VERSION")), "{detail}");
        // measured later than anything that this server measures while the test runs
        let other = "INSERT INTO replica_clocks (replica_id, offset_micros, measured_at, version) VALUES ($1, 0, $2, $3)";
        let at = i64::MAX / 2;
        for (id, version) in [(1u8, "0.99.0"), (2, "0.99.0"), (3, "")] {
            let insert = chancery::store::engine::q(plain(other)).bind(vec![id; 16]).bind(at).bind(version);
            insert.execute(&server.app().store.db).await.unwrap();
        }
        let (severity, detail) = versions().await;
        assert_eq!(severity, Severity::Warning);
        assert!(detail.contains("run on this database: one before 0.36, 0.99.0 (2 processes); "), "{detail}");
    }
}
