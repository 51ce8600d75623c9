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

/// What a collector of logs reads line by line: the receipt, a later start, a warning and a start that fails are in it.
#[test]
fn where_json_is_asked_for_every_line_on_stderr_is_json() {
    let home = tempfile::tempdir().unwrap();
    let environment = [("CHANCERY_LOG_FORMAT", "json"), ("CHANCERY_LOG", "info")];
    let lines = |text: &str| -> Vec<Value> {
        let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let lines: Vec<Value> = text.lines().map(read).collect();
        for line in &lines {
            for member in ["timestamp", "level", "message"] {
                assert!(line[member].is_string(), "{member} in {line}");
            }
        }
        lines
    };
    let mut said = Vec::new();
    for url in ["https://ca.lab.example", "https://other.lab.example"] {
        let mut process = Process::start(home.path(), &["--external-url", url], &environment);
        process.signal(libc::SIGTERM);
        assert_eq!(process.ended(), Some(0));
        said.push(lines(&process.stderr()));
    }
    let count = |lines: &[Value], part: &str| {
        lines.iter().filter(|line| line["message"].as_str().unwrap().contains(part)).count()
    };
    assert_eq!((count(&said[0], "new installation"), count(&said[0], "Root fingerprint")), (1, 1), "{:?}", said[0]);
    assert_eq!(
        (count(&said[1], "valid certificates"), count(&said[1], "external_url is https://other")),
        (1, 1),
        "{:?}",
        said[1]
    );
    let fails = |arguments: &[&str]| {
        let mut command = crate::support::process::chancery(home.path());
        command.envs(environment).arg("serve").args(arguments).output().unwrap()
    };
    let output = fails(&["--database-url", "mysql://x"]);
    let failed = lines(&told(&output));
    assert!(code(&output) == 2 && failed.len() == 1 && failed[0]["level"] == "ERROR", "{failed:?}");
    // a command beside it talks to people
    let mut beside = crate::support::process::chancery(home.path());
    let beside = beside.envs(environment).args(["find", "nobody"]).output().unwrap();
    assert!(told(&beside).lines().all(|line| !line.starts_with('{')), "{}", told(&beside));
    let mut wrong = crate::support::process::chancery(home.path());
    let wrong = wrong.env("CHANCERY_LOG_FORMAT", "xml").arg("serve").output().unwrap();
    assert!(code(&wrong) == 2 && told(&wrong).contains("neither json nor text"), "{}", told(&wrong));
}

#[test]
fn a_filter_that_is_none_is_a_wrong_setting() {
    let home = tempfile::tempdir().unwrap();
    let output =
        crate::support::process::chancery(home.path()).arg("serve").env("CHANCERY_LOG", "loud").output().unwrap();
    assert_eq!(code(&output), 2, "{}", told(&output));
    assert!(told(&output).contains("CHANCERY_LOG \"loud\""), "{}", told(&output));
}
