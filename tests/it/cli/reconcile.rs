//! The real binary after a SQLite file was restored: a server that was killed, an older file in its place, and what the
//! commands on the host say and do. The CRL numbers that follow are read by programs that are not ours.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::process::{Process, code, succeeds, told};
use crate::support::{wait, wire};

fn json(output: &std::process::Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(output)))
}

fn issue(server: &Process, name: &str) -> String {
    let made = server.run(&["issue", name, "-o", "json"]);
    assert_eq!(code(&made), 0, "{}", told(&made));
    json(&made)["serial"].as_str().unwrap().to_owned()
}

async fn published(server: &Process) -> Vec<u8> {
    wire::get(server.address("http"), "/crl/tls-1.crl").await.body
}

/// The CRL number as OpenSSL and GnuTLS read it, in hex without zeros before it.
fn number(crl: &Path) -> String {
    let openssl =
        Command::new("openssl").args(["crl", "-inform", "DER", "-noout", "-crlnumber", "-in"]).arg(crl).output();
    let openssl = String::from_utf8(openssl.unwrap().stdout).unwrap();
    let openssl = openssl.trim().trim_start_matches("crlNumber=").trim_start_matches("0x").to_lowercase();
    let gnutls = Command::new("certtool").args(["--crl-info", "--inder", "--infile"]).arg(crl).output().unwrap();
    let gnutls = String::from_utf8(gnutls.stdout).unwrap();
    let line = gnutls.lines().find_map(|line| line.trim().strip_prefix("CRL Number (not critical): "));
    let gnutls = line.unwrap_or_else(|| panic!("GnuTLS reads no number: {gnutls}"));
    let bare = |text: &str| text.trim_start_matches('0').to_owned();
    assert_eq!(bare(gnutls), bare(&openssl));
    bare(&openssl)
}

/// The CRL, once its number is another one than `before`.
async fn next(server: &Process, file: &Path, before: &str) -> String {
    wait::until("the next CRL", async || {
        std::fs::write(file, published(server).await).unwrap();
        let number = number(file);
        (number != before).then_some(number)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_file_is_noticed_by_every_command_and_reconciled_from_the_published_crl() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let environment = [("CHANCERY_DATA", data.to_str().unwrap()), ("CHANCERY_STATUS_URL", "http://ca.example")];
    let mut server = Process::start(home.path(), &[], &environment);
    server.run(&["token", "create", "--role", "operator", "--name", "ci"]);
    let (file, stolen) = (home.path().join("published.crl"), issue(&server, "stolen.lab.example"));
    let first = next(&server, &file, "").await;
    // killed at any time: the next start finds a database that is as new as its anchor, or newer
    server.signal(libc::SIGKILL);
    server.ended();
    server = Process::start(home.path(), &[], &environment);
    assert_eq!(code(&server.run(&["audit", "verify"])), 0);
    issue(&server, "again.lab.example");
    server.signal(libc::SIGTERM);
    server.ended();
    let backup = std::fs::read(data.join("chancery.db")).unwrap();

    server = Process::start(home.path(), &[], &environment);
    let lost = issue(&server, "lost.lab.example");
    for serial in [&stolen, &lost] {
        assert_eq!(code(&server.run(&["revoke", serial, "--reason", "keyCompromise"])), 0);
    }
    wait::until("both are on the CRL", async || {
        std::fs::write(&file, published(&server).await).unwrap();
        let shown = server.run(&["inspect", file.to_str().unwrap()]);
        let shown = String::from_utf8_lossy(&shown.stdout).to_lowercase();
        [&stolen, &lost].iter().all(|serial| shown.contains(&serial.to_lowercase())).then_some(())
    })
    .await;
    let last = number(&file);
    assert_ne!(last, first);
    server.signal(libc::SIGTERM);
    server.ended();
    for rest in ["chancery.db-wal", "chancery.db-shm"] {
        let _ = std::fs::remove_file(data.join(rest));
    }
    std::fs::write(data.join("chancery.db"), backup).unwrap();
    // nothing but the file of figures is left of the memory
    std::fs::remove_dir_all(data.join("anchor.crls")).unwrap();

    let sentence = "the database is older than what this CA remembers";
    for command in
        [&["issue", "new.lab.example"][..], &["doctor"], &["fsck"], &["audit", "verify"], &["ca", "create", "dev"]]
    {
        let output = server.run(command);
        let all = told(&output) + &String::from_utf8_lossy(&output.stdout);
        assert!(code(&output) != 0 && all.contains(sentence), "{command:?}: {all}");
    }
    let shown = server.run(&["reconcile", "--dry-run"]);
    let all = told(&shown) + &String::from_utf8_lossy(&shown.stdout);
    assert!(
        all.contains("found     the newest CRL number of tls-1 is ")
            && all.contains("missing   at least ")
            && !all.contains("at least 0")
            && all.contains("reconcile --crl FILE")
            && all.contains("chancery token revoke ID"),
        "{all}"
    );
    let shown = server.run(&["reconcile", "--dry-run", "-o", "json"]);
    assert_eq!(code(&shown), 0, "{}", told(&shown));
    assert!(json(&shown)["findings"].as_array().unwrap().len() > 1);
    assert_eq!(code(&server.run(&["fsck"])), 11, "a dry run changes nothing");

    // a server that runs says so too, and serves no older CRL than it did
    server = Process::start(home.path(), &[], &environment);
    assert_eq!(wire::get(server.address("http"), "/crl/tls-1.crl").await.status, 503);
    let told_once = |line: &&str| line.contains(sentence) && line.contains("\"findings\"");
    assert_eq!(server.stderr().lines().filter(told_once).count(), 1, "{}", server.stderr());
    let done = server.run(&["reconcile", "--crl", file.to_str().unwrap(), "-o", "json"]);
    assert_eq!(code(&done), 0, "{}", told(&done));
    let done = json(&done);
    assert_eq!(done["crls"][0]["revocations"], 2);
    assert_eq!(done["crls"][0]["of_unknown_certificates"], 1);
    assert_eq!(done["roots_to_sign"], serde_json::json!([]), "root.key is on this host");
    assert_eq!(done["suspended"][0]["name"], "ci");

    let next_file = home.path().join("next.crl");
    let epoch = format!("{:x}", done["epoch"].as_i64().unwrap());
    let number = wait::until("a CRL of the new epoch", async || {
        std::fs::write(&next_file, published(&server).await).unwrap();
        let number = std::fs::metadata(&next_file).unwrap().len() > 100;
        let number = if number { number_of(&next_file) } else { None };
        number.filter(|number| number.starts_with(&epoch))
    })
    .await;
    assert!(number.len() > 16);
    let shown = server.run(&["inspect", next_file.to_str().unwrap()]);
    let shown = String::from_utf8_lossy(&shown.stdout).to_lowercase();
    assert!(shown.contains(&stolen.to_lowercase()) && shown.contains(&lost.to_lowercase()), "{shown}");
    issue(&server, "new.lab.example");
    for words in ["works again", "works already"] {
        let confirmed = server.run(&["reconcile", "--confirm", "ci"]);
        let all = told(&confirmed) + &String::from_utf8_lossy(&confirmed.stdout);
        assert!(code(&confirmed) == 0 && all.contains(words), "{all}");
        assert_eq!(all.contains("servers that run take this over within 5 seconds"), words == "works again", "{all}");
    }
    // a restore of which nothing is known
    let shown = server.run(&["reconcile", "--restored", "--dry-run"]);
    let all = told(&shown) + &String::from_utf8_lossy(&shown.stdout);
    assert!(all.contains("missing   no certificate and no audit event is known to be missing"), "{all}");
    assert!(!all.contains("at least 0"), "{all}");
    for command in [&["fsck"][..], &["audit", "verify"]] {
        let output = server.run(command);
        assert_eq!(code(&output), 0, "{command:?}: {}", told(&output));
    }
    server.signal(libc::SIGTERM);
    server.ended();
    server = Process::start(home.path(), &[], &environment);
    issue(&server, "after.lab.example");
}

fn number_of(file: &Path) -> Option<String> {
    let is_crl = Command::new("openssl").args(["crl", "-inform", "DER", "-noout", "-in"]).arg(file).status().unwrap();
    is_crl.success().then(|| number(file))
}

#[test]
fn where_nothing_is_remembered_reconcile_names_the_flag_for_a_restore() {
    let home = tempfile::tempdir().unwrap();
    succeeds(home.path(), &["init"]);
    let said = succeeds(home.path(), &["reconcile", "--dry-run"]);
    assert!(said.contains("nothing is remembered of the database here"), "{said}");
    assert!(said.contains("`chancery reconcile --restored`, before `chancery serve`"), "{said}");
    let mut server = Process::start(home.path(), &[], &[]);
    server.signal(libc::SIGTERM);
    server.ended();
    let said = succeeds(home.path(), &["reconcile", "--dry-run"]);
    assert!(said.contains("nothing to reconcile; if a backup was restored that nobody noticed run"), "{said}");
    assert!(said.contains("`chancery reconcile --restored`"), "{said}");
}
