//! What a host says of its roots: where the key is, and the fingerprint that others compare.

use openssl::hash::MessageDigest;
use openssl::x509::X509;
use serde_json::Value;

use super::{code, run, told};
use crate::support::postgres;
use crate::support::process::Process;

fn shown(server: &Process, slug: &str) -> String {
    String::from_utf8(server.run(&["ca", "show", slug]).stdout).unwrap()
}

/// The server itself never has the key, running or not.
fn root_key_in_the_data_directory_is_found(database: Option<&str>) {
    let home = tempfile::tempdir().unwrap();
    let environment: Vec<_> = database.iter().map(|url| ("CHANCERY_DATABASE_URL", *url)).collect();
    let mut server = Process::start(home.path(), &[], &environment);
    assert!(shown(&server, "tls-root").contains("root.key opens it here"), "{}", shown(&server, "tls-root"));
    server.signal(libc::SIGTERM);
    assert_eq!(server.ended(), Some(0));
    assert!(shown(&server, "tls-root").contains("root.key opens it here"), "{}", shown(&server, "tls-root"));
    let key = home.path().join(".local/share/chancery/root.key");
    // what cannot be read keeps nobody from looking
    std::fs::write(&key, "nothing\n").unwrap();
    assert!(shown(&server, "tls-root").contains("no root.key that opens it"), "{}", shown(&server, "tls-root"));
    std::fs::remove_file(&key).unwrap();
    assert!(shown(&server, "tls-root").contains("take --root-key FILE"), "{}", shown(&server, "tls-root"));
}

#[test]
fn the_root_key_in_the_data_directory_is_found_on_sqlite() {
    root_key_in_the_data_directory_is_found(None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_key_in_the_data_directory_is_found_on_postgres() {
    let url = postgres::create_database().await;
    root_key_in_the_data_directory_is_found(Some(&url));
    postgres::drop_database(&url).await;
}

#[test]
fn the_fingerprint_of_a_new_root_is_shown_wherever_the_root_is() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    assert_eq!(code(&run(at, &["init"])), 0);
    let made = told(&run(at, &["ca", "create", "tls", "--new-root"]));
    let pem = run(at, &["ca", "show", "tls-root-2", "-o", "pem"]).stdout;
    let print = X509::from_pem(&pem).unwrap().digest(MessageDigest::sha256()).unwrap();
    let print = chancery::model::serial::to_hex(&print);
    let line = format!("sha256    {print}\n");
    assert!(made.contains(&line), "{made}");
    let show = String::from_utf8(run(at, &["ca", "show", "tls-root-2"]).stdout).unwrap();
    assert!(show.contains(&format!("sha256\t{print}\n")), "{show}");
    let list: Value = serde_json::from_slice(&run(at, &["ca", "list", "-o", "json"]).stdout).unwrap();
    let listed = list["items"].as_array().unwrap().iter().find(|one| one["slug"] == "tls-root-2").unwrap();
    assert_eq!(listed["sha256"], print.as_str());
    let active = told(&run(at, &["ca", "activate", "tls-root-2"]));
    assert!(active.contains(&line), "{active}");
    assert!(!told(&run(at, &["ca", "create", "tls", "--under", "tls-root-2"])).contains("sha256"));
    assert!(told(&run(at, &["ca", "create", "etcd"])).contains("sha256    "), "of a new domain's root");
}

#[test]
fn who_meets_another_root_reads_where_its_fingerprint_is() {
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Process::start(home.path(), &[], &[]);
    let https = server.ready["https"].as_str().unwrap();
    assert_eq!(code(&run(other.path(), &["init"])), 0);
    std::fs::write(other.path().join("root.pem"), run(other.path(), &["ca", "show", "tls-root", "-o", "pem"]).stdout)
        .unwrap();
    std::fs::write(other.path().join("token"), "chy_x").unwrap();
    let wrong = "ab".repeat(32);
    let remote = ["find", "--url", https, "--root", "root.pem", "--token-file", "token"];
    for arguments in [&remote[..], &["bootstrap", https], &["bootstrap", https, "--fingerprint", &wrong]] {
        let text = told(&run(other.path(), arguments));
        assert!(text.contains("chancery ca show ROOT` on the server") && text.contains("tls-root-2"), "{text}");
    }
}

#[test]
fn a_context_without_a_token_says_how_to_work_on_this_host() {
    let home = tempfile::tempdir().unwrap();
    let server = Process::start(home.path(), &[], &[]);
    let (https, print) = (server.ready["https"].as_str().unwrap(), server.ready["root_sha256"].as_str().unwrap());
    let done = server.run(&["bootstrap", https, "--fingerprint", print, "--name", "lab"]);
    assert_eq!(code(&done), 0, "{}", told(&done));
    for arguments in [&["ca", "list"][..], &["ca", "show", "tls-root"], &["issue", "web.lab.example"], &["doctor"]] {
        let output = server.run(arguments);
        assert_ne!(code(&output), 0, "{arguments:?}");
        let text = told(&output);
        for part in
            ["context lab is in use", "`chancery context set lab --token-file FILE`", "`chancery context use local`"]
        {
            assert!(text.contains(part), "{arguments:?}: {part} in {text}");
        }
    }
    assert_eq!(code(&server.run(&["context", "use", "local"])), 0);
    assert_eq!(code(&server.run(&["ca", "list"])), 0);
}
