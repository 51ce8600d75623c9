//! `inspect`, `verify`, `renew`, `audit`, `completion`, `man`: what they say and how they end.

use std::path::Path;

use base64::Engine;
use chancery::model::serial::SerialNumber;
use chancery::pki::ocsp_request::{CertIdHash, IssuerHashes, encode_request};
use chancery::store::engine::{Db, q};
use openssl::x509::X509;
use serde_json::{Value, json};

use super::server::Server;
use super::{code, run, succeeds, told};
use crate::support::stores::plain;

fn printed(at: &Path, arguments: &[&str]) -> (i32, String) {
    let output = run(at, arguments);
    assert!(!told(&output).contains("panicked"), "{}", told(&output));
    (code(&output), String::from_utf8(output.stdout).unwrap())
}

fn object(at: &Path, arguments: &[&str]) -> Value {
    let output = run(at, &[arguments, &["-o", "json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {}", told(&output)))
}

#[test]
fn every_kind_of_object_is_inspected() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let server = Server::start(at);
    assert_eq!(code(&run(at, &["issue", "web.lab.example"])), 0);
    let leaf = object(at, &["inspect", "web.lab.example.crt"]);
    assert_eq!(leaf.as_array().map(Vec::len), Some(2), "leaf and intermediate");
    assert_eq!((&leaf[0]["names"], &leaf[0]["ca"]), (&json!(["web.lab.example"]), &json!(false)));
    assert!(leaf[0]["extensions"].as_array().unwrap().contains(&json!("extKeyUsage: serverAuth")), "{leaf}");
    let file = std::fs::read(at.join("web.lab.example.crt")).unwrap();
    let chain = X509::stack_from_pem(&file).unwrap();
    let sha256 = chain[0].digest(openssl::hash::MessageDigest::sha256()).unwrap();
    assert_eq!(leaf[0]["fingerprint"], chancery::model::serial::to_hex(&sha256));
    let serial = leaf[0]["serial"].as_str().unwrap();
    assert_eq!(object(at, &["inspect", serial])["serial"], serial);

    let shown = object(at, &["inspect", &server.https]);
    assert!(shown[0]["names"].as_array().unwrap().contains(&json!("localhost")), "{shown}");

    std::fs::write(at.join("a.csr"), crate::api::csr(&["a.lab.example"])).unwrap();
    let csr = object(at, &["inspect", "a.csr"]);
    assert_eq!((&csr["kind"], &csr["names"]), (&json!("certificate request"), &json!(["a.lab.example"])));

    std::fs::write(at.join("tls-1.crl"), server.get("/crl/tls-1.crl")).unwrap();
    let crl = object(at, &["inspect", "tls-1.crl"]);
    assert_eq!((&crl["kind"], &crl["scope"]), (&json!("certificate revocation list"), &json!("complete")));

    let hashes = IssuerHashes::of(
        &chain[1].subject_name().to_der().unwrap(),
        &chain[1].public_key().unwrap().public_key_to_der().unwrap(),
    );
    let serial: SerialNumber = serial.parse().unwrap();
    let question = encode_request(&hashes.unwrap(), CertIdHash::Sha256, &serial, None);
    let answer = server.post("/ocsp/tls-1", "application/ocsp-request", &question);
    std::fs::write(at.join("answer.ocsp"), answer).unwrap();
    let ocsp = object(at, &["inspect", "answer.ocsp"]);
    assert_eq!(
        (&ocsp["answers"][0]["status"], &ocsp["answers"][0]["serial"]),
        (&json!("good"), &json!(serial.to_string()))
    );

    for (name, content) in
        [("empty", Vec::new()), ("half", file[..100].to_vec()), ("der", vec![0x30, 0x82, 1]), ("nul", vec![0])]
    {
        std::fs::write(at.join(name), content).unwrap();
        assert_eq!(code(&run(at, &["inspect", name])), 2, "{name}");
    }
    let key = object(at, &["inspect", "web.lab.example.key"]);
    assert_eq!((&key["kind"], &key["spki_sha256"]), (&json!("private key"), &leaf[0]["spki_sha256"]));
    assert_eq!(code(&run(at, &["inspect", "127.0.0.1:1"])), 6);
}

#[test]
fn verify_answers_in_one_sentence_and_one_code() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    assert_eq!(code(&run(at, &["init"])), 0);
    assert_eq!(code(&run(at, &["issue", "web.lab.example"])), 0);
    let verify = |more: &[&str]| printed(at, &[&["verify", "web.lab.example.crt"], more].concat());
    let (ended, sentence) = verify(&["--host", "web.lab.example"]);
    assert!(
        ended == 0 && sentence.starts_with("good: web.lab.example by ") && sentence.lines().count() == 1,
        "{sentence}"
    );
    let rows: [(&[&str], i32, &str); 3] = [
        (&["--at", "2099-01-01T00:00:00Z"], 20, "expired: "),
        (&["--at", "2001-01-01T00:00:00Z"], 21, "not yet valid: "),
        (&["--host", "db.lab.example"], 23, "another name: web.lab.example is not for db.lab.example"),
    ];
    for (more, expected, words) in rows {
        let (ended, sentence) = verify(more);
        assert!(ended == expected && sentence.starts_with(words), "{more:?}: {ended} {sentence}");
    }
    let other = home.path().join("other");
    std::fs::create_dir(&other).unwrap();
    assert_eq!(code(&run(&other, &["init"])), 0);
    assert_eq!(code(&run(&other, &["ca", "show", "tls-root", "-o", "pem"])), 0);
    std::fs::write(at.join("foreign.pem"), run(&other, &["ca", "show", "tls-root", "-o", "pem"]).stdout).unwrap();
    assert_eq!(verify(&["--root", "foreign.pem"]).0, 24);
    assert_eq!(printed(&other, &["verify", "../web.lab.example.crt"]).0, 24);
    let serial = object(at, &["verify", "web.lab.example.crt"])["certificate"]["serial"].as_str().unwrap().to_owned();
    assert_eq!(code(&run(at, &["revoke", &serial, "--dry-run"])), 0);
    assert_eq!(verify(&[]).0, 0);
    assert_eq!(code(&run(at, &["revoke", "web.lab.example.crt", "--reason", "superseded"])), 0);
    let (ended, sentence) = verify(&["--host", "db.lab.example"]);
    assert!(ended == 22 && sentence.contains("(superseded)"), "{sentence}");
    assert_eq!(printed(at, &["verify", "nothing.crt"]).0, 2);
}

#[test]
fn a_crl_decides_where_no_ca_is_at_hand() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let server = Server::start(at);
    for name in ["good.lab.example", "bad.lab.example"] {
        assert_eq!(code(&run(at, &["issue", name])), 0);
    }
    assert_eq!(code(&run(at, &["revoke", "bad.lab.example.crt"])), 0);
    let away = tempfile::tempdir().unwrap();
    for name in ["good.lab.example.crt", "bad.lab.example.crt"] {
        std::fs::copy(at.join(name), away.path().join(name)).unwrap();
    }
    std::fs::write(away.path().join("root.pem"), server.get("/root.pem")).unwrap();
    // published within five seconds
    let until = chancery::clock::monotonic() + std::time::Duration::from_secs(30);
    let verdict = |name: &str| {
        std::fs::write(away.path().join("tls-1.crl"), server.get("/crl/tls-1.crl")).unwrap();
        printed(away.path(), &["verify", name, "--root", "root.pem", "--crl", "tls-1.crl"])
    };
    while verdict("bad.lab.example.crt").0 != 22 {
        assert!(chancery::clock::monotonic() < until, "{:?}", verdict("bad.lab.example.crt"));
        std::thread::yield_now();
    }
    let (ended, sentence) = verdict("good.lab.example.crt");
    assert!(ended == 0 && sentence.contains("not revoked (CRL of "), "{sentence}");
}

#[test]
fn a_certificate_is_renewed_in_its_place() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    assert_eq!(code(&run(at, &["init"])), 0);
    assert_eq!(code(&run(at, &["issue", "web.lab.example", "10.0.0.7"])), 0);
    let files = || ["crt", "key"].map(|end| std::fs::read(at.join(format!("web.lab.example.{end}"))).unwrap());
    let [chain, key] = files();
    let early = run(at, &["renew", "web.lab.example.crt"]);
    assert!(code(&early) == 0 && told(&early).starts_with("not due"), "{}", told(&early));
    assert_eq!(files(), [chain.clone(), key.clone()]);
    let renewed = run(at, &["renew", "web.lab.example.crt", "--force"]);
    assert_eq!(code(&renewed), 0, "{}", told(&renewed));
    let [newer, new_key] = files();
    assert!(newer != chain && new_key != key);
    let leaf = X509::from_pem(&newer).unwrap();
    let pair = openssl::pkey::PKey::private_key_from_pem(&new_key).unwrap();
    assert!(leaf.public_key().unwrap().public_eq(&pair));
    assert_eq!(object(at, &["inspect", "web.lab.example.crt"])[0]["names"], json!(["web.lab.example", "10.0.0.7"]));
    assert_eq!(code(&run(at, &["renew", "web.lab.example.crt", "--force", "--reuse-key"])), 0);
    assert_eq!(files()[1], new_key);
    // the key of another certificate is not replaced
    assert_eq!(code(&run(at, &["issue", "mail.lab.example"])), 0);
    let mail = at.join("mail.lab.example.key");
    let before = std::fs::read(&mail).unwrap();
    for more in [&["--force"][..], &["--force", "--reuse-key"]] {
        let wrong =
            run(at, &[&["renew", "web.lab.example.crt", "--key-file", "mail.lab.example.key"], more].concat());
        assert!(
            code(&wrong) != 0 && told(&wrong).contains("is not the key of web.lab.example.crt"),
            "{}",
            told(&wrong)
        );
    }
    assert!(std::fs::read(&mail).unwrap() == before && files()[1] == new_key);
    let none = std::fs::read_dir(at)
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().into_string().ok())
        .filter(|n| n.starts_with(".web"))
        .count();
    assert_eq!(none, 0, "no half-written file is left");
    std::fs::remove_file(at.join("web.lab.example.key")).unwrap();
    assert_eq!(code(&run(at, &["renew", "web.lab.example.crt", "--force"])), 2);
}

/// A certificate with much of its life before it, which clients refuse all the same.
#[test]
fn what_was_revoked_or_stands_below_a_ca_that_is_gone_is_renewed_at_once() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let ok = |arguments: &[&str]| succeeds(at, arguments);
    let renewed = |why: &str| {
        let before = std::fs::read(at.join("web.lab.example.crt")).unwrap();
        let text = ok(&["renew", "web.lab.example.crt"]);
        assert!(text.starts_with("due now  ") && text.contains(why) && text.contains("renewed  web"), "{text}");
        assert_ne!(std::fs::read(at.join("web.lab.example.crt")).unwrap(), before);
        assert!(ok(&["renew", "web.lab.example.crt"]).starts_with("not due"));
        assert_eq!(printed(at, &["verify", "web.lab.example.crt"]).0, 0);
    };
    ok(&["init"]);
    ok(&["issue", "web.lab.example"]);
    ok(&["revoke", "web.lab.example.crt", "--reason", "superseded"]);
    renewed("it was revoked");
    ok(&["ca", "create", "tls", "--under", "tls-root"]);
    ok(&["revoke", "tls-1", "--yes", "--reason", "superseded"]);
    renewed("a CA above it was revoked");
    ok(&["ca", "create", "tls", "--new-root"]);
    ok(&["ca", "create", "tls", "--under", "tls-root-2"]);
    ok(&["ca", "activate", "tls-root-2"]);
    ok(&["ca", "activate", "tls-3"]);
    ok(&["ca", "retire", "tls-2"]);
    ok(&["ca", "retire", "tls-root"]);
    ok(&["ca", "remove", "tls-root", "--yes"]);
    renewed("a CA above it was removed");
}

#[test]
fn a_subject_is_asked_for_and_a_dry_run_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    assert_eq!(code(&run(at, &["init"])), 0);
    let made = run(at, &["ca", "create", "code-signing"]);
    assert_eq!(code(&made), 0, "{}", told(&made));
    let subject = ["--subject", "O=Lab Ltd", "--subject", "C=AT", "--subject", "ST=Wien"];
    let dry = run(
        at,
        &[&["issue", "--profile", "code-signing", "--common-name", "Build", "--dry-run"], &subject[..]].concat(),
    );
    assert_eq!(code(&dry), 0, "{}", told(&dry));
    assert!(!at.join("Build.key").exists());
    let issued = run(at, &[&["issue", "--profile", "code-signing", "--common-name", "Build"], &subject[..]].concat());
    assert_eq!(code(&issued), 0, "{}", told(&issued));
    assert_eq!(object(at, &["inspect", "Build.crt"])[0]["subject"], "CN=Build,O=Lab Ltd,ST=Wien,C=AT");
    assert_eq!(printed(at, &["verify", "Build.crt"]).0, 0);
    let renewed = run(at, &["renew", "Build.crt", "--force"]);
    assert_eq!(code(&renewed), 0, "{}", told(&renewed));
    let missing = run(at, &["issue", "--profile", "code-signing", "--common-name", "Other", "--subject", "C=AT"]);
    assert_eq!(code(&missing), 3, "{}", told(&missing));
    assert!(!at.join("Other.key").exists());
    assert_eq!(code(&run(at, &["issue", "a.lab.example", "--subject", "X=1"])), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_is_listed_and_its_chains_verified() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    assert_eq!(code(&run(at, &["init"])), 0);
    assert_eq!(code(&run(at, &["issue", "web.lab.example"])), 0);
    let listed = object(at, &["audit", "list", "--limit", "1"]);
    assert_eq!(listed["items"][0]["action"], "certificate.issued");
    assert_eq!(printed(at, &["audit", "verify"]).0, 0);
    let db = Db::open_sqlite(&at.join(".local/share/chancery/chancery.db")).await.unwrap();
    q(plain("UPDATE audit_events SET actor = 'somebody' WHERE action = 'certificate.issued'"))
        .execute(&db)
        .await
        .unwrap();
    db.close().await;
    let broken = run(at, &["audit", "verify"]);
    assert_eq!(code(&broken), 11);
    assert!(told(&broken).contains("was changed after it was written"), "{}", told(&broken));
}

#[test]
fn completions_and_manual_pages_name_every_command() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    for shell in ["bash", "zsh", "fish"] {
        let (ended, script) = printed(at, &["completion", shell]);
        assert!(ended == 0 && script.contains("verify") && script.contains("renew"), "{shell}");
    }
    // longer than one argument may be
    let script = at.join("completion.bash");
    std::fs::write(&script, printed(at, &["completion", "bash"]).1).unwrap();
    let syntax = std::process::Command::new("bash").arg("-n").arg(script).status();
    assert!(syntax.unwrap().success());
    assert_eq!(code(&run(at, &["man", "pages"])), 0);
    let page = std::fs::read_to_string(at.join("pages/chancery-verify.1")).unwrap();
    assert!(page.contains(".TH") && page.contains("24"), "{page}");
    assert_eq!(code(&run(at, &["completion", "tcl"])), 2);
}

/// Files as Windows tools and web forms leave them, and chains as AD CS exports them.
#[test]
fn files_are_read_as_programs_save_them() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    succeeds(at, &["init"]);
    for name in ["iis-bom", "iis-utf16", "iis-oneline", "iis-bare-base64", "ms-oldext", "epson-v2"] {
        let file = format!("{}/tests/data/csr/{name}.csr", env!("CARGO_MANIFEST_DIR"));
        let signed = run(at, &["sign", &file]);
        assert_eq!(code(&signed), 0, "{name}: {}", told(&signed));
        assert!(told(&signed).contains("leaves out what the CSR asked for: "), "{name}: {}", told(&signed));
        assert_eq!(X509::stack_from_pem(&signed.stdout).unwrap().len(), 2, "{name}");
    }
    succeeds(at, &["issue", "web.lab.example"]);
    let text = std::fs::read_to_string(at.join("web.lab.example.crt")).unwrap();
    let chain: Vec<_> = X509::stack_from_pem(text.as_bytes()).unwrap().iter().map(|c| c.to_der().unwrap()).collect();
    let backwards: Vec<&[u8]> = chain.iter().rev().map(Vec::as_slice).collect();
    std::fs::write(at.join("chain.p7b"), chancery::pki::pem::p7b(&backwards)).unwrap();
    let utf16: Vec<u8> = text.replace('\n', "\r\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(at.join("utf16.crt"), [&[0xff, 0xfe][..], &utf16].concat()).unwrap();
    let whole = object(at, &["inspect", "web.lab.example.crt"]);
    for file in ["chain.p7b", "utf16.crt"] {
        assert_eq!(object(at, &["inspect", file]), whole, "{file}");
        assert_eq!(printed(at, &["verify", file]).0, 0, "{file}");
    }
}

#[test]
fn a_key_beside_a_csr_stays_with_its_owner() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    succeeds(at, &["init"]);
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-new",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=both.lab.example",
            "-keyout",
            "both.pem",
        ])
        .args(["-out", "alone.csr"])
        .current_dir(at)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", told(&made));
    let csr = std::fs::read_to_string(at.join("alone.csr")).unwrap();
    let both = std::fs::read_to_string(at.join("both.pem")).unwrap() + &csr;
    std::fs::write(at.join("both.pem"), &both).unwrap();
    for (file, warns) in [("both.pem", true), ("alone.csr", false)] {
        let signed = run(at, &["sign", file]);
        assert_eq!(code(&signed), 0, "{file}: {}", told(&signed));
        let warned = told(&signed).contains("both.pem holds a private key beside the CSR; it was not sent");
        assert_eq!(warned, warns, "{}", told(&signed));
    }
    // as ACME and JSON have it
    let der = chancery::pki::pem::decode_all(&csr).unwrap().remove(0).der;
    std::fs::write(at.join("url.b64"), base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&der)).unwrap();
    assert_eq!(code(&run(at, &["sign", "url.b64"])), 0);
}

#[test]
fn a_pkcs12_file_is_inspected_with_its_password() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    succeeds(at, &["init"]);
    std::fs::write(at.join("password"), "purple harbour\n").unwrap();
    std::fs::write(at.join("wrong"), "green harbour\n").unwrap();
    succeeds(at, &["issue", "web.lab.example", "--pkcs12", "--password-file", "password"]);
    let shown = object(at, &["inspect", "web.lab.example.p12", "--password-file", "password"]);
    assert_eq!(shown, object(at, &["inspect", "web.lab.example.crt"]));
    for more in [&[][..], &["--password-file", "wrong"]] {
        let refused = run(at, &[&["inspect", "web.lab.example.p12"], more].concat());
        assert!(code(&refused) == 2 && told(&refused).contains("--password-file"), "{}", told(&refused));
    }
    // certificates without any key, as Java keeps what it trusts
    let made = std::process::Command::new("openssl")
        .args(["pkcs12", "-export", "-nokeys", "-in", "web.lab.example.crt", "-passout", "pass:purple harbour"])
        .args(["-out", "trust.p12"])
        .current_dir(at)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", told(&made));
    let trusted = object(at, &["inspect", "trust.p12", "--password-file", "password"]);
    assert_eq!(trusted.as_array().map(Vec::len), Some(2), "{trusted}");
}
