//! A disk that is full under the database: requests are told so, status goes on, and when there is space again the same
//! process goes on writing. A small file system of the server's own is filled by this test.

use std::io::Write;
use std::path::Path;

use chancery::clock::{Clock, SystemClock};
use chancery::store::engine::{Db, q};
use serde_json::{Value, json};

use crate::support::process::{Process, code, run, told};
use crate::support::stores::plain;
use crate::support::wait;
use crate::support::wire::{self, Reply};

const FULL: &str = "the database's disk is full";

struct Client<'p> {
    process: &'p Process,
    root: Vec<u8>,
    bearer: String,
}

impl Client<'_> {
    async fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        let stream = wire::tls(self.process.address("https"), &self.root, SystemClock.now()).await.unwrap();
        let headers = [("Authorization", self.bearer.as_str()), ("Content-Type", "application/json")];
        wire::ask(stream, method, path, &headers, body.as_bytes()).await.expect("an answer")
    }

    async fn issue(&self, n: usize) -> Reply {
        let body = json!({"names": [format!("h{n}.lab.example")], "profile": "tls-server"}).to_string();
        self.ask("POST", "/api/v1/certificates", &body).await
    }

    async fn revoke(&self, id: &str) -> Reply {
        self.ask("POST", &format!("/api/v1/certificates/{id}/revocation"), "{\"reason\":\"superseded\"}").await
    }
}

/// Takes all the space that is left.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_on_sqlite_survives_a_full_disk_without_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let disk = home.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let url = format!("sqlite://{}/chancery.db", disk.display());
    let process = Process::start_on_disk(home.path(), &disk, 24 << 10, &[("CHANCERY_DATABASE_URL", &url)]);
    let made = process.run_inside(&["token", "create", "--role", "operator", "--name", "ci"]);
    assert_eq!(code(&made), 0, "{}", told(&made));
    let client = Client {
        root: wire::get(process.address("http"), "/root.pem").await.body,
        bearer: format!("Bearer {}", String::from_utf8(made.stdout).unwrap().trim()),
        process: &process,
    };

    let filler = process.inside(&disk.join("filler"));
    let (mut issued, mut revoked) = (Vec::new(), Vec::new());
    for round in 0..2 {
        let id = |reply: &Reply| reply.json()["id"].as_str().unwrap().to_owned();
        let first = client.issue(issued.len()).await;
        assert_eq!(first.status, 201, "{}", first.text());
        issued.push(id(&first));
        fill(&filler);
        // the log beside the database may still have room that was used before
        let refused = loop {
            let reply = client.issue(issued.len()).await;
            match reply.status {
                201 => issued.push(id(&reply)),
                _ => break reply,
            }
            assert!(issued.len() < 5_000, "the disk is never full");
        };
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert!(refused.json()["detail"].as_str().unwrap().starts_with(FULL), "{}", refused.text());
        for _ in 0..3 {
            let reply = client.revoke(&issued[round]).await;
            assert_eq!(reply.status, 503, "{}", reply.text());
            assert!(reply.json()["detail"].as_str().unwrap().starts_with(FULL), "{}", reply.text());
        }
        let on_host = process.run_inside(&["issue", "host.lab.example", "--out", home.path().to_str().unwrap()]);
        assert_eq!(code(&on_host), 6, "{}", told(&on_host));
        assert!(told(&on_host).contains(FULL), "{}", told(&on_host));

        // status goes on
        let http = process.address("http");
        assert_eq!(wire::get(http, "/crl/tls-1.crl").await.status, 200);
        assert_eq!(wire::get(http, "/readyz/status").await.status, 200);
        assert_eq!(wire::get(http, "/livez").await.status, 200);
        let health = wire::get(process.address("ops"), "/readyz").await;
        assert_eq!(health.status, 503);
        assert!(health.text().contains(&format!("[-]write failed: {FULL}")), "{}", health.text());

        std::fs::remove_file(&filler).unwrap();
        let again = client.issue(issued.len()).await;
        assert_eq!(again.status, 201, "the first request after that: {}", again.text());
        issued.push(id(&again));
        let ready = async || (wire::get(process.address("ops"), "/readyz").await.status == 200).then_some(());
        wait::until("it is ready again", ready).await;
        let reply = client.revoke(&issued[round]).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        revoked.push(issued[round].clone());
    }

    for id in &issued {
        let reply = client.ask("GET", &format!("/api/v1/certificates/{id}"), "").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let status = if revoked.contains(id) { "revoked" } else { "valid" };
        assert_eq!(reply.json()["status"], status, "{}", reply.text());
    }
    let checked = process.run_inside(&["fsck"]);
    assert_eq!(code(&checked), 0, "{}", told(&checked));
}

/// What `doctor` says of the database.
fn database(process: &Process) -> (String, String) {
    let found: Value = serde_json::from_slice(&process.run_inside(&["doctor", "-o", "json"]).stdout).unwrap();
    let check = found["checks"].as_array().unwrap().iter().find(|check| check["name"] == "database").unwrap();
    let text = |member: &str| check[member].as_str().unwrap().to_owned();
    (text("status"), text("detail"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_without_room_to_write_the_file_anew_says_so_and_is_done_once_there_is_room() {
    let home = tempfile::tempdir().unwrap();
    let [disk, files, large] = ["disk", "files", "large"].map(|name| home.path().join(name));
    for folder in [&disk, &files, &large] {
        std::fs::create_dir(folder).unwrap();
    }
    let made = run(home.path(), &["init"]);
    assert_eq!(code(&made), 0, "{}", told(&made));
    // as a version left the file that did not overwrite what it deleted
    let file = home.path().join(".local/share/chancery/chancery.db");
    let db = Db::open_sqlite(&file).await.unwrap();
    q(plain("PRAGMA user_version = 0")).execute(&db).await.unwrap();
    db.close().await;
    std::fs::copy(&file, files.join("chancery.db")).unwrap();

    let url = format!("sqlite://{}/chancery.db", disk.display());
    let settings = [("CHANCERY_DATABASE_URL", url.as_str())];
    let process = Process::start_on_disk_with(home.path(), &disk, 24 << 10, &files, &settings);
    let refused = async || process.stderr().contains("MiB are needed; make room there").then_some(());
    wait::until("it says that there is no room", refused).await;
    assert!(process.stderr().contains("the database file could not be written anew"), "{}", process.stderr());
    // the file is as it was, and the server works
    let (status, detail) = database(&process);
    assert!(status == "warning" && detail.contains("make twice its size free on the disk"), "{detail}");
    let made = process.run_inside(&["token", "create", "--role", "viewer", "--name", "meanwhile"]);
    assert_eq!(code(&made), 0, "{}", told(&made));

    let grown = process.inside_of("mount").args(["-o", "remount,size=400m"]).arg(&disk).output().unwrap();
    assert!(grown.status.success(), "{}", told(&grown));
    let worker = process.start_inside(&large, &["--only", "worker"], &[("CHANCERY_LOG", "info")]);
    wait::until("the file is written anew", async || (database(&process).0 == "ok").then_some(())).await;
    let noted = async || worker.stderr().contains("the database file was written anew").then_some(());
    wait::until("the worker says so", noted).await;
    drop(worker);
    let checked = process.run_inside(&["fsck"]);
    assert_eq!(code(&checked), 0, "{}", told(&checked));
}
