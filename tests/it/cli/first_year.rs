//! What somebody new to it meets: lines that were printed are run as they stand, and refusals name the way out.

use std::path::Path;

use chancery::clock::{Clock, SystemClock, minutes};
use chancery::store::engine::{Db, q};
use serde_json::Value;

use crate::support::process::{code, run, succeeds, told};
use crate::support::stores::plain;

fn refused(at: &Path, arguments: &[&str]) -> String {
    let output = run(at, arguments);
    assert_ne!(code(&output), 0, "{arguments:?}");
    told(&output)
}

/// The arguments of the command on the line that begins with `label`.
fn command<'t>(text: &'t str, label: &str) -> Vec<&'t str> {
    let line = text.lines().find(|line| line.starts_with(label)).unwrap_or_else(|| panic!("{label} in {text}"));
    line[label.len()..].split_whitespace().skip(1).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_on_the_host_record_the_time_too() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".local/share/chancery/chancery.db");
    succeeds(home.path(), &["init"]);
    let db = Db::open_sqlite(&file).await.unwrap();
    let row = q(plain("SELECT recorded_at FROM clock_mark WHERE id = 1")).fetch_all(&db).await.unwrap();
    let recorded: i64 = row[0].get("recorded_at").unwrap();
    assert!(SystemClock.now().micros() - recorded < 60_000_000 * 10, "{recorded}");
    // as after an hour without a server
    let before = SystemClock.now() - minutes(60);
    q(plain("UPDATE clock_mark SET recorded_at = $1 WHERE id = 1")).bind(before).execute(&db).await.unwrap();
    succeeds(home.path(), &["issue", "a.lab.example"]);
    let row = q(plain("SELECT recorded_at FROM clock_mark WHERE id = 1")).fetch_all(&db).await.unwrap();
    assert!(row[0].get::<i64>("recorded_at").unwrap() > before.micros());
    db.close().await;
}

#[test]
fn a_request_is_made_only_when_its_file_can_be_written() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    succeeds(at, &["init"]);
    std::fs::write(at.join("corp.csr"), "mine").unwrap();
    assert!(refused(at, &["ca", "csr", "corp", "--out", "corp.csr"]).contains("exists already"));
    assert!(
        succeeds(at, &["ca", "csr", "corp", "--out", "other.csr"]).contains("issuer    corp-1"),
        "none was made before"
    );
    let told = refused(at, &["ca", "csr", "corp-1", "--out", "third.csr"]);
    assert!(told.contains("corp-1 is an issuer") && told.contains("chancery ca csr --issuer corp-1"), "{told}");
    let told = refused(at, &["ca", "csr", "tls-1", "--out", "third.csr"]);
    assert!(told.contains("tls-1 is an issuer"), "{told}");
}

#[test]
fn the_way_back_of_an_offline_root_works_as_it_is_printed() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    succeeds(at, &["init"]);
    std::fs::write(at.join("pw"), "a long password\n").unwrap();
    for with in [&["--password-file", "pw"][..], &[]] {
        let text = succeeds(at, &[&["ca", "root", "offline", "tls-root", "--out", "root.pem"], with].concat());
        assert!(text.contains("root.key") && text.contains("needed to bring it back"), "{text}");
        let online = command(&text, "undo ");
        assert!(succeeds(at, &online).contains("online    tls-root"));
        std::fs::remove_file(at.join("root.pem")).unwrap();
    }
}

#[test]
fn what_is_missing_is_called_missing() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    succeeds(at, &["init"]);
    succeeds(at, &["ca", "create", "etcd"]);
    succeeds(at, &["ca", "create", "front-proxy"]);
    let told = refused(at, &["issue", "--profile", "etcd-server", "e1.lab.example"]);
    assert!(told.contains("needs a common name, and none was asked for") && told.contains("--common-name"), "{told}");
    let told = refused(at, &["issue", "--profile", "front-proxy-client", "e1.lab.example"]);
    assert!(told.contains("takes no names") && told.contains("leave the names out"), "{told}");
    let told = refused(at, &["ca", "renew", "tls-root"]);
    assert!(told.contains("chancery ca create tls --new-root"), "{told}");
    let told = refused(at, &["reconcile", "--confirm", "nosuch"]);
    assert!(told.contains("nothing that is suspended is called \"nosuch\""), "{told}");
}

#[test]
fn a_check_of_the_settings_finds_what_a_start_would_stumble_over() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let file = at.join("chancery.toml");
    let settings = "listen = \"127.0.0.1:8443\"\nlisten_http = \"127.0.0.1:8443\"\nunlock_key = \"/nope/unlock.key\"\n\
         [tls]\ncertificate = \"/nope/tls.crt\"\nkey = \"/nope/tls.key\"\n";
    std::fs::write(&file, settings).unwrap();
    let told = refused(at, &["config", "check", "--config", "chancery.toml"]);
    for found in
        ["/nope/tls.crt", "/nope/tls.key", "/nope/unlock.key", "listen_http and listen are both 127.0.0.1:8443"]
    {
        assert!(told.contains(found), "{found}: {told}");
    }
    std::fs::write(&file, "listen = \"127.0.0.1:8443\"\n").unwrap();
    succeeds(at, &["config", "check", "--config", "chancery.toml"]);
}

#[test]
fn certificates_below_a_removed_root_are_not_called_valid_alone() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    succeeds(at, &["init"]);
    succeeds(at, &["issue", "web.lab.example"]);
    succeeds(at, &["ca", "create", "tls", "--new-root"]);
    succeeds(at, &["ca", "create", "tls", "--under", "tls-root-2"]);
    succeeds(at, &["ca", "activate", "tls-root-2"]);
    succeeds(at, &["ca", "activate", "tls-2", "--default"]);
    for gone in [
        ["ca", "retire", "tls-1", "--yes"],
        ["ca", "retire", "tls-root", "--yes"],
        ["ca", "remove", "tls-root", "--yes"],
    ] {
        succeeds(at, &gone);
    }
    let found = run(at, &["find", "web.lab.example"]);
    let table = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(table.contains("below tls-root, which is removed"), "{table}");
    let found = run(at, &["find", "web.lab.example", "-o", "json"]);
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    let first = found["items"].get(0).or_else(|| found.get(0)).unwrap();
    assert_eq!(
        (first["status"].as_str(), first["issuer_removed"].as_str()),
        (Some("valid"), Some("tls-root")),
        "{first}"
    );
    // the way on is under the root that is left
    succeeds(at, &["ca", "retire", "tls-2", "--yes"]);
    succeeds(at, &["ca", "remove", "tls-2", "--yes"]);
    let doctor = run(at, &["doctor"]);
    let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
    let issuers = told.lines().find(|line| line.starts_with("issuers")).unwrap();
    assert!(issuers.contains("chancery ca retire tls-2`") && !issuers.contains("ca retire tls-root`"), "{told}");
}
