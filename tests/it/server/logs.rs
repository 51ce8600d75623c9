//! What stderr says: the receipt alone by default; with `CHANCERY_LOG=info` one line a request, without secrets.

use chancery::clock::{Clock, SystemClock};
use serde_json::Value;

use crate::support::process::{Process, code, told};
use crate::support::wire;

async fn ask(process: &Process, bearer: &str) -> String {
    let root = wire::get(process.address("http"), "/root.pem").await.body;
    let stream = wire::tls(process.address("https"), &root, SystemClock.now()).await.unwrap();
    let path = "/api/v1/certificates?q=private.lab.example";
    let reply = wire::ask(stream, "GET", path, &[("Authorization", bearer)], b"").await.unwrap();
    assert_eq!(reply.status, 200);
    let stream = wire::tls(process.address("https"), &root, SystemClock.now()).await.unwrap();
    wire::ask(stream, "GET", "/no/such/secret-path", &[("Authorization", "Bearer chy_wrong")], b"").await.unwrap();
    reply.header("x-request-id").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_default_there_is_the_receipt_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let mut process = Process::start(home.path(), &[], &[]);
    let receipt = process.stderr();
    assert!(receipt.lines().count() <= 40 && receipt.contains("listening on"), "{receipt}");
    ask(&process, &process.operator()).await;
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(), Some(0));
    assert_eq!(process.stderr(), receipt, "a quiet server says no more than its receipt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_has_one_line_without_secrets() {
    let home = tempfile::tempdir().unwrap();
    let process = Process::start(home.path(), &[], &[("CHANCERY_LOG", "info")]);
    let bearer = process.operator();
    let id = ask(&process, &bearer).await;
    let stderr = process.stderr();
    let lines: Vec<Value> = stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let mine: Vec<_> = lines.iter().filter(|line| line["request_id"] == id.as_str()).collect();
    assert_eq!(mine.len(), 1, "{stderr}");
    let line = mine[0];
    assert_eq!(
        (&line["method"], &line["route"], &line["status"]),
        (&"GET".into(), &"/api/v1/certificates".into(), &200.into())
    );
    assert!(line["actor"].as_str().unwrap().starts_with("token:tok_"), "{line}");
    assert!(line["ms"].as_f64().unwrap() < 60_000.0 && line["remote"] == "127.0.0.1" && line["level"] == "INFO");
    let refused = lines.iter().find(|line| line["route"] == "unmatched").unwrap();
    assert_eq!((&refused["status"], &refused["code"]), (&404.into(), &"not_found".into()));
    let token = bearer.trim_start_matches("Bearer ");
    for secret in [token, "chy_", "private.lab.example", "secret-path"] {
        assert!(!stderr.contains(secret), "{secret} in {stderr}");
    }
}

#[test]
fn a_filter_that_is_none_is_a_wrong_setting() {
    let home = tempfile::tempdir().unwrap();
    let output =
        crate::support::process::chancery(home.path()).arg("serve").env("CHANCERY_LOG", "loud").output().unwrap();
    assert_eq!(code(&output), 2, "{}", told(&output));
    assert!(told(&output).contains("CHANCERY_LOG \"loud\""), "{}", told(&output));
}
