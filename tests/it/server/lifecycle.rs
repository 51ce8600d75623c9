//! Starting and stopping the real binary: what it locks, what it writes, and that a stop under load loses nothing.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chancery::clock::{Clock, SystemClock};
use serde_json::json;
use tokio::net::TcpStream;

use crate::support::process::{Process, code, run, told};
use crate::support::server::TestServer;
use crate::support::{postgres, wire};

/// Issues until the server takes no more. The ids that were answered.
async fn issue_until_stopped(
    process_https: std::net::SocketAddr,
    root: Vec<u8>,
    bearer: String,
    worker: usize,
    done: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut issued = Vec::new();
    for n in 0.. {
        let Ok(stream) = wire::tls(process_https, &root, SystemClock.now()).await else { break };
        let body = json!({"names": [format!("h{worker}-{n}.lab.example")], "profile": "tls-server"}).to_string();
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        // a whole answer, or a close before any of it
        let Some(reply) = wire::ask(stream, "POST", "/api/v1/certificates", &headers, body.as_bytes()).await else {
            break;
        };
        assert_eq!(reply.status, 201, "{}", reply.text());
        issued.push(reply.json()["id"].as_str().unwrap().to_owned());
        done.fetch_add(1, Ordering::SeqCst);
    }
    issued
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_loses_no_answer_and_exits_with_0() {
    stop_under_load(&[]).await;
    let url = postgres::create_database().await;
    stop_under_load(&[("CHANCERY_DATABASE_URL", &url)]).await;
    postgres::drop_database(&url).await;
}

async fn stop_under_load(database: &[(&str, &str)]) {
    let home = tempfile::tempdir().unwrap();
    let mut process = Process::start(home.path(), &[], database);
    let (https, root) = (process.address("https"), wire::get(process.address("http"), "/root.pem").await.body);
    let bearer = process.operator();
    // somebody who is connected and asks nothing does not hold it up
    let mut idle = wire::tls(https, &root, SystemClock.now()).await.unwrap();
    wire::keep_alive(&mut idle, "/version").await;
    let done = Arc::new(AtomicUsize::new(0));
    let load: Vec<_> = (0..8)
        .map(|worker| {
            tokio::spawn(issue_until_stopped(https, root.clone(), bearer.clone(), worker, Arc::clone(&done)))
        })
        .collect();
    while done.load(Ordering::SeqCst) < 30 {
        tokio::task::yield_now().await;
    }
    process.signal(libc::SIGTERM);
    let mut issued = Vec::new();
    for client in load {
        issued.extend(client.await.unwrap());
    }
    assert_eq!(process.ended(), Some(0), "{}", process.stderr());
    assert!(!process.stderr().contains("in flight"), "{}", process.stderr());
    assert!(TcpStream::connect(https).await.is_err(), "it listens no more");

    let checked = process.run(&["fsck"]);
    assert_eq!(code(&checked), 0, "{}", told(&checked));
    assert!(told(&checked).contains("(0 signatures begun and not finished)"), "{}", told(&checked));
    let again = Process::start(home.path(), &[], database);
    for id in &issued {
        let stream = wire::tls(again.address("https"), &root, SystemClock.now()).await.unwrap();
        let headers = [("Authorization", bearer.as_str())];
        let reply = wire::ask(stream, "GET", &format!("/api/v1/certificates/{id}"), &headers, b"").await.unwrap();
        assert_eq!((reply.status, reply.json()["status"].as_str()), (200, Some("valid")), "{id} of {}", issued.len());
    }
}

#[test]
fn one_process_serves_a_sqlite_database() {
    let home = tempfile::tempdir().unwrap();
    let first = Process::start(home.path(), &[], &[]);
    let second = run(
        home.path(),
        &["serve", "--listen", "127.0.0.1:0", "--listen-http", "127.0.0.1:0", "--listen-ops", "127.0.0.1:0"],
    );
    assert_eq!(code(&second), 7, "{}", told(&second));
    assert!(told(&second).contains("another chancery serves") && told(&second).lines().count() <= 2);
    let beside = run(home.path(), &["find"]);
    assert_eq!(code(&beside), 0, "commands work beside it: {}", told(&beside));
    let worker = Process::start(home.path(), &[], &[("CHANCERY_ONLY", "worker")]);
    assert!(worker.ready["https"].is_null() && worker.ready["ops"].is_string(), "{}", worker.ready);
    first.signal(libc::SIGKILL);
    drop(first);
    Process::start(home.path(), &[], &[]);
}

#[test]
fn the_database_is_for_its_owner_alone() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join(".local/share/chancery");
    let mode = |name: &str| std::fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777;
    let process = Process::start(home.path(), &[], &[]);
    let files = ["chancery.db", "chancery.db-wal", "chancery.db-shm", "unlock.key", "root.key", "server.key"];
    for name in files {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    drop(process);
    std::fs::set_permissions(data.join("chancery.db"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let _again = Process::start(home.path(), &[], &[]);
    for name in files {
        assert_eq!(mode(name), 0o600, "{name} of an older version");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_that_start_at_once_on_an_empty_postgres_make_one_ca() {
    let url = postgres::create_database().await;
    let keys = tempfile::tempdir().unwrap();
    assert_eq!(code(&run(keys.path(), &["init"])), 0);
    // a copy of it: beside the first stands of which installation it is
    let unlock = keys.path().join("unlock.key").display().to_string();
    std::fs::copy(keys.path().join(".local/share/chancery/unlock.key"), &unlock).unwrap();
    let settings = [("CHANCERY_UNLOCK_KEY", unlock.as_str())];
    let start = || TestServer::start(Some(url.clone()), &settings);
    let (one, mut two) = tokio::join!(start(), start());
    assert_eq!(one.running().first_run, !two.running().first_run, "one founds, the other joins");
    assert_eq!(one.root_pem().await, two.root_pem().await);
    assert_ne!(one.shown().await, two.shown().await, "each replica has a certificate of its own");
    // what one issued the other one knows
    let listed = two.app().authority.certificates(&Default::default(), None, 50).await.unwrap();
    assert_eq!(listed.iter().filter(|c| c.requester == "system/own-tls").count(), 2);
    two.keep_database();
    two.end().await;
    one.end().await;
}
