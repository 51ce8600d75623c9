//! Revoking an issuer, what then is said of the certificates below it, `ca show`, and roots of others.

use std::path::Path;

use openssl::x509::X509;
use serde_json::Value;

use super::{code, run, told};
use crate::hierarchy::corporate::{Ca, List, Shape};
use chancery::clock::{Clock, SystemClock};
use chancery::pki::ca_certificate::CaCertificate;

fn printed(at: &Path, arguments: &[&str]) -> (i32, String) {
    let output = run(at, arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &told(&output);
    assert!(!text.contains("panicked"), "{text}");
    (code(&output), text)
}

fn ok(at: &Path, arguments: &[&str]) -> String {
    let (ended, text) = printed(at, arguments);
    assert_eq!(ended, 0, "{arguments:?}: {text}");
    text
}

fn object(at: &Path, arguments: &[&str]) -> Value {
    let output = run(at, &[arguments, &["-o", "json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {}", told(&output)))
}

/// A CA with one certificate, `web.lab.example.crt`, and that of its issuer in `tls-1.pem`.
fn founded(at: &Path) {
    ok(at, &["init"]);
    ok(at, &["issue", "web.lab.example"]);
    std::fs::write(at.join("tls-1.pem"), run(at, &["ca", "show", "tls-1", "-o", "pem"]).stdout).unwrap();
}

fn serial(at: &Path, file: &str) -> String {
    let shown = object(at, &["inspect", file]);
    let first = shown.get(0).unwrap_or(&shown);
    first["serial"].as_str().unwrap().to_owned()
}

#[test]
fn an_issuer_is_revoked_only_at_a_yes_whoever_names_it() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    founded(at);
    let by_serial = serial(at, "tls-1.pem");
    for selector in ["tls-1", "tls-1.pem", by_serial.as_str()] {
        let (ended, text) = printed(at, &["revoke", selector, "--reason", "cessationOfOperation"]);
        assert_eq!(ended, 2, "{selector}: {text}");
        for line in [
            "profiles    tls-server",
            "directories default",
            "valid       1 certificate\n",
            "server      its own certificate stands under it, and no other",
            "instead     no issuer of the domain signs",
            "nothing was revoked",
            "--yes",
        ] {
            assert!(text.contains(line), "{selector}: {line} in\n{text}");
        }
        let text = ok(at, &["revoke", selector, "--dry-run"]);
        assert!(text.contains("valid       1 certificate\n") && text.contains("revokes_issuer\ttls-1"), "{text}");
    }
    let preview = object(at, &["revoke", "tls-1", "--dry-run"]);
    assert_eq!(
        (&preview["revokes_issuer"], &preview["dependents"]["valid_certificates"]),
        (&"tls-1".into(), &1.into())
    );
    assert_eq!(object(at, &["ca", "show", "tls-1"])["state"], "active");
    ok(at, &["issue", "still.lab.example"]);
    let text = ok(at, &["revoke", "tls-1", "--yes", "--reason", "cessationOfOperation"]);
    assert!(text.contains("default   none: no issuer of trust domain tls signs now"), "{text}");
    assert_eq!(object(at, &["ca", "show", "tls-1"])["state"], "revoked");
    ok(at, &["fsck"]);
}

#[test]
fn the_slug_of_an_issuer_means_each_of_its_certificates() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    founded(at);
    ok(at, &["ca", "create", "tls", "--under", "tls-root"]);
    ok(at, &["ca", "renew", "tls-1"]);
    // one of two certificates of the key: the issuer goes on
    let text = ok(at, &["revoke", "tls-1.pem", "--yes", "--reason", "superseded"]);
    assert!(text.contains("goes on   tls-1") && text.contains("default   tls-1"), "{text}");
    ok(at, &["ca", "renew", "tls-1"]);
    let text = ok(at, &["revoke", "tls-1", "--yes", "--reason", "superseded"]);
    assert_eq!(text.matches("revoked  ").count(), 2, "{text}");
    assert!(
        text.contains("instead     new requests go to tls-2") && text.contains("default   tls-2 signs"),
        "{text}"
    );
    let list = ok(at, &["ca", "list"]);
    let line = |slug: &str| list.lines().find(|l| l.split_whitespace().next() == Some(slug)).unwrap().to_owned();
    assert!(line("tls-1").contains("revoked") && line("tls-2").contains("true"), "{list}");
    ok(at, &["issue", "next.lab.example"]);
}

#[test]
fn a_root_is_not_revoked_and_the_refusal_shows_the_way() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    founded(at);
    std::fs::write(at.join("root.pem"), run(at, &["ca", "show", "tls-root", "-o", "pem"]).stdout).unwrap();
    let by_serial = serial(at, "root.pem");
    for selector in ["tls-root", "root.pem", by_serial.as_str()] {
        for more in [&["--yes"][..], &["--dry-run"], &[]] {
            let (ended, text) = printed(at, &[&["revoke", selector, "--reason", "keyCompromise"], more].concat());
            assert_eq!(ended, 7, "{selector} {more:?}: {text}");
            for command in ["ca create tls --new-root", "chancery ca activate", "chancery ca remove tls-root"] {
                assert!(text.contains(command), "{command} in {text}");
            }
        }
    }
    ok(at, &["verify", "web.lab.example.crt"]);
}

#[test]
fn certificates_below_a_revoked_issuer_are_called_revoked() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    founded(at);
    let leaf = serial(at, "web.lab.example.crt");
    ok(at, &["ca", "create", "tls", "--under", "tls-root"]);
    assert!(ok(at, &["find"]).contains("valid"));
    ok(at, &["revoke", "tls-1", "--yes", "--reason", "keyCompromise"]);
    for thing in ["web.lab.example.crt", leaf.as_str()] {
        let (ended, sentence) = printed(at, &["verify", thing]);
        assert!(
            ended == 22 && sentence.starts_with("revoked: web.lab.example") && sentence.contains("tls-1"),
            "{sentence}"
        );
    }
    // the status is the certificate's own, and a note names the CA above it
    for filter in [&["find", "web.lab.example"][..], &["find", "--status", "valid"], &["find", "--issuer", "tls-1"]] {
        let found = ok(at, filter);
        assert!(found.contains("valid (issuer tls-1 is revoked)"), "{filter:?}: {found}");
    }
    assert!(!ok(at, &["find", "--issuer", "tls-2"]).contains("web.lab.example"));
    let shown = ok(at, &["inspect", &leaf]);
    assert!(shown.contains("issuer_revocation\ttls-1 was revoked at"), "{shown}");
    let json = object(at, &["inspect", &leaf]);
    assert_eq!((&json["status"], &json["issuer_revocation"]["issuer"]), (&"valid".into(), &"tls-1".into()));
    // a CA certificate is verified as one
    let issuer = serial(at, "tls-1.pem");
    for thing in ["tls-1.pem", issuer.as_str()] {
        let (ended, sentence) = printed(at, &["verify", thing]);
        assert!(ended == 22 && sentence.starts_with("revoked: CN=Chancery Issuing 1 was revoked at"), "{sentence}");
    }
    // what another issuer signs is good
    ok(at, &["issue", "next.lab.example"]);
    ok(at, &["verify", "next.lab.example.crt"]);
}

#[test]
fn verify_names_a_revoked_ca_certificate_of_a_chain() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    founded(at);
    ok(at, &["ca", "renew", "tls-1"]);
    ok(at, &["revoke", "tls-1.pem", "--yes", "--reason", "superseded"]);
    // the issuer has another certificate, so the leaf alone is good; the chain of the file is not
    let old = serial(at, "tls-1.pem");
    let (ended, sentence) = printed(at, &["verify", "web.lab.example.crt"]);
    assert!(ended == 22 && sentence.contains("Chancery Issuing 1") && sentence.contains(&old), "{sentence}");
    assert!(sentence.contains("(superseded)"), "{sentence}");
    let chain = X509::stack_from_pem(&std::fs::read(at.join("web.lab.example.crt")).unwrap()).unwrap();
    std::fs::write(at.join("leaf.pem"), chain[0].to_pem().unwrap()).unwrap();
    ok(at, &["verify", "leaf.pem"]);
    assert!(!ok(at, &["find", "web.lab.example"]).contains("revoked"));
}

#[test]
fn verify_looks_into_the_crls_of_a_whole_chain() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let server = super::server::Server::start(at);
    ok(at, &["issue", "web.lab.example"]);
    let lists = server.get("/bundles/tls.crl.pem");
    ok(at, &["revoke", "tls-1", "--yes", "--reason", "cessationOfOperation"]);
    let away = tempfile::tempdir().unwrap();
    std::fs::copy(at.join("web.lab.example.crt"), away.path().join("web.crt")).unwrap();
    std::fs::write(away.path().join("root.pem"), server.get("/root.pem")).unwrap();
    std::fs::write(away.path().join("before.pem"), lists).unwrap();
    let verdict = |crls: &str| printed(away.path(), &["verify", "web.crt", "--root", "root.pem", "--crl", crls]);
    assert_eq!(verdict("before.pem").0, 0, "{}", verdict("before.pem").1);
    let until = chancery::clock::monotonic() + std::time::Duration::from_secs(30);
    loop {
        std::fs::write(away.path().join("after.pem"), server.get("/bundles/tls.crl.pem")).unwrap();
        let (ended, sentence) = verdict("after.pem");
        if ended == 22 && sentence.contains("Chancery Issuing 1") {
            break;
        }
        assert!(chancery::clock::monotonic() < until, "{sentence}");
        std::thread::yield_now();
    }
}

#[test]
fn ca_show_says_once_what_an_issuer_does_and_what_depends_on_it() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    founded(at);
    let shown = ok(at, &["ca", "show", "tls-1"]);
    for line in [
        "state\tactive",
        "signs\tcertificates, also where no issuer is named",
        "depends: profiles\ttls-server",
        "depends: valid\t1 certificate\n",
        "needs --yes\tretiring, removed, revoked",
    ] {
        assert!(shown.contains(line), "{line} in\n{shown}");
    }
    ok(at, &["ca", "retire", "tls-1", "--yes"]);
    let shown = ok(at, &["ca", "show", "tls-1"]);
    assert!(shown.contains("signs\tnothing: it is retiring") && !shown.contains("can_sign\t"), "{shown}");
    assert!(!shown.contains("status\t") && !shown.contains(['{', '[']), "{shown}");
    let root = ok(at, &["ca", "show", "tls-root"]);
    assert!(root.contains("signs\tCA certificates") && root.contains("needs --yes\tremoved, revoked"), "{root}");
    assert_eq!(object(at, &["ca", "show", "tls-1"])["dependents"]["valid_certificates"], 1);
    ok(at, &["ca", "activate", "tls-1"]);
    let shown = ok(at, &["ca", "retire", "tls-root"]);
    assert!(
        shown.contains("signing     issuers under it (tls-1) continue to sign") && !shown.contains("no issuer"),
        "{shown}"
    );
    let (ended, text) = printed(at, &["ca", "crl", "sign", "tls-1"]);
    assert!(ended == 3 && text.contains("the running server signs"), "{ended} {text}");
}

#[test]
fn undoing_a_retirement_makes_no_other_default() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    founded(at);
    assert!(ok(at, &["ca", "create", "tls", "--under", "tls-root"]).contains("chancery ca activate tls-2 --default"));
    assert!(ok(at, &["ca", "retire", "tls-2"]).contains("undo      chancery ca activate tls-2"));
    assert!(ok(at, &["ca", "activate", "tls-2"]).contains("default   tls-1 signs"));
    assert_eq!(printed(at, &["ca", "activate", "tls-2"]).0, 7);
    assert!(ok(at, &["ca", "activate", "tls-2", "--default"]).contains("default   it signs for trust domain tls"));
    ok(at, &["ca", "create", "tls", "--new-root"]);
    assert!(ok(at, &["ca", "remove", "tls-root-2"]).contains("chancery ca retire tls-root-2"));
    assert!(ok(at, &["ca", "retire", "tls-root-2"]).contains("prepared  tls-root-2"));
}

#[test]
fn roots_of_others_enter_and_leave_a_bundle_and_doctor_lists_them() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    founded(at);
    let other = at.join("other");
    std::fs::create_dir(&other).unwrap();
    ok(&other, &["init"]);
    std::fs::write(at.join("their.pem"), run(&other, &["ca", "show", "tls-root", "-o", "pem"]).stdout).unwrap();
    std::fs::write(at.join("their-issuer.pem"), run(&other, &["ca", "show", "tls-1", "-o", "pem"]).stdout).unwrap();
    let bundles = || {
        let checks = object(at, &["doctor"]);
        let all = checks["checks"].as_array().unwrap().clone();
        all.into_iter().find(|check| check["name"] == "bundles").unwrap()
    };
    assert_eq!(bundles()["detail"], "bundles hold only this CA's roots");
    assert!(ok(at, &["ca", "anchor", "list"]).starts_with("no trust domain knows a CA certificate of others"));
    let both = std::fs::read_to_string(at.join("their.pem")).unwrap()
        + &std::fs::read_to_string(at.join("their-issuer.pem")).unwrap();
    std::fs::write(at.join("their-chain.pem"), both).unwrap();
    let (ended, text) = printed(at, &["ca", "anchor", "add", "tls", "their-chain.pem"]);
    assert!(ended == 2 && text.contains("holds 2 certificates; give the root alone"), "{ended} {text}");
    assert_eq!(printed(at, &["ca", "anchor", "add", "tls", "their-issuer.pem"]).0, 3, "no root");
    assert_eq!(printed(at, &["ca", "anchor", "add", "nowhere", "their.pem"]).0, 4);
    let text = ok(at, &["ca", "anchor", "add", "tls", "their.pem"]);
    assert!(text.contains("trust whatever") && text.contains("undo      chancery ca anchor remove tls "), "{text}");
    assert_eq!(printed(at, &["ca", "anchor", "add", "tls", "their.pem"]).0, 3, "it is there");
    let list = ok(at, &["ca", "anchor", "list"]);
    let (heading, row) = list.trim().split_once('\n').unwrap();
    assert!(heading.starts_with("DOMAIN\tSUBJECT\tORIGIN"), "{list}");
    assert_eq!(object(at, &["ca", "anchor", "list"])["items"][0]["trusted"], true);
    let row: Vec<&str> = row.split('\t').collect();
    assert_eq!((row.len(), row[0], row[2], row[3]), (6, "tls", "added", "in the bundle"), "{list}");
    let told = bundles()["detail"].as_str().unwrap().to_owned();
    assert!(told.contains("tls trusts Chancery Root") && told.contains("of others"), "{told}");
    let bundle = object(at, &["ca", "list"]);
    assert!(bundle["items"].is_array());
    // by its fingerprint, in any spelling, or by its file
    let print: String =
        row[5].as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap().to_uppercase() + ":").collect();
    let (ended, text) = printed(at, &["ca", "anchor", "remove", "tls", print.trim_end_matches(':')]);
    assert!(ended == 2 && text.contains("nothing was changed") && text.contains("--yes"), "{text}");
    assert!(text.contains("elsewhere"), "{text}");
    assert_eq!(ok(at, &["ca", "anchor", "list"]), list);
    let text = ok(at, &["ca", "anchor", "remove", "tls", print.trim_end_matches(':'), "--yes"]);
    assert!(text.contains("removed   "), "{text}");
    assert_eq!(bundles()["detail"], "bundles hold only this CA's roots");
    assert_eq!(printed(at, &["ca", "anchor", "remove", "tls", "their.pem", "--yes"]).0, 4, "it left");
    assert_eq!(printed(at, &["ca", "anchor", "remove", "tls", "nothing.pem", "--yes"]).0, 2);
    ok(at, &["ca", "anchor", "add", "tls", "their.pem"]);
    ok(at, &["ca", "anchor", "remove", "tls", "their.pem", "--yes"]);
}

/// A corporate root with a permitted directoryName, and a domain whose issuer stands below it.
fn constrained(at: &Path) -> Ca {
    use chancery::pki::{der, oids, pem};
    ok(at, &["init"]);
    let organization = der::sequence(&[&der::oid(&oids::ORGANIZATION), &der::tlv(der::UTF8_STRING, b"Example Corp")]);
    let name = der::sequence(&[&der::tlv(der::SET, &organization)]);
    let tree = der::sequence(&[&der::constructed(0xa4, &[&name])]);
    let constraints = der::sequence(&[&der::constructed(0xa0, &[&tree])]);
    let shape = Shape { from: -2_000, days: 9_000, ..Shape::default() };
    let root = Ca::root("Corp Root", &Shape { more: vec![("2.5.29.30", true, constraints)], ..shape.clone() });
    let issuing = root.below("Corp Issuing", &shape);
    let key = String::from_utf8(issuing.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    let pems = [&issuing, &root].map(|ca| pem::encode(pem::CERTIFICATE, &ca.der())).concat();
    std::fs::write(at.join("corp.pem"), key + &pems).unwrap();
    ok(at, &["ca", "import", "corp.pem", "--domain", "corp"]);
    root
}

#[test]
fn verify_takes_what_openssl_takes_below_a_permitted_directory_name() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    constrained(at);
    ok(at, &["issue", "web.corp.example", "--profile", "corp-server"]);
    std::fs::write(at.join("corp-root.pem"), bundle(at, "corp")).unwrap();
    let judged = std::process::Command::new("openssl")
        .args(["verify", "-CAfile", "corp-root.pem", "-untrusted", "web.corp.example.crt", "web.corp.example.crt"])
        .current_dir(at)
        .output()
        .unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
    let sentence = ok(at, &["verify", "web.corp.example.crt"]);
    assert!(sentence.starts_with("good: web.corp.example"), "{sentence}");
    ok(at, &["revoke", "web.corp.example.crt", "--reason", "superseded"]);
    let (ended, sentence) = printed(at, &["verify", "web.corp.example.crt"]);
    assert!(ended == 22 && sentence.contains("(superseded)"), "{ended} {sentence}");
}

fn bundle(at: &Path, domain: &str) -> String {
    let certificates = object(at, &["ca", "list"]);
    let of = |item: &&Value| item["domain"] == domain && item["role"] == "issuing";
    let issuer = certificates["items"].as_array().unwrap().iter().find(of).unwrap()["slug"].as_str().unwrap();
    assert_eq!(issuer, "corp-1");
    let all = X509::stack_from_pem(&std::fs::read(at.join("corp.pem")).unwrap()).unwrap();
    String::from_utf8(all.last().unwrap().to_pem().unwrap()).unwrap()
}

#[test]
fn verify_takes_a_ca_certificate_as_one() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    founded(at);
    std::fs::write(at.join("root.pem"), run(at, &["ca", "show", "tls-root", "-o", "pem"]).stdout).unwrap();
    let by_serial = serial(at, "tls-1.pem");
    for thing in ["tls-1.pem", "root.pem", by_serial.as_str()] {
        let sentence = ok(at, &["verify", thing]);
        assert!(sentence.starts_with("good: CN=Chancery "), "{thing}: {sentence}");
    }
}

#[test]
fn a_revocation_by_a_ca_elsewhere_is_shown_and_ends_all_but_publishing() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let root = constrained(at);
    ok(at, &["issue", "web.corp.example", "--profile", "corp-server"]);
    let issuing = X509::stack_from_pem(&std::fs::read(at.join("corp.pem")).unwrap()).unwrap().remove(0);
    let issuing = CaCertificate::read(&issuing.to_der().unwrap()).unwrap();
    let serials = vec![issuing.serial().unwrap().octets().to_vec()];
    let now = SystemClock.now().truncated();
    std::fs::write(at.join("corp.crl"), root.list(&List { serials, ..List::at(now, 1) })).unwrap();
    ok(at, &["ca", "crl", "import", "corp.crl"]);
    let line = |text: &str| text.lines().find(|l| l.starts_with("corp-1")).unwrap_or_default().to_owned();
    assert!(line(&ok(at, &["ca", "list"])).contains("revoked"));
    let shown = object(at, &["ca", "show", "corp-1"]);
    assert_eq!((&shown["state"], &shown["status"]), (&"revoked".into(), &"retired".into()), "{shown}");
    assert_eq!(shown["signs_not"], "is revoked");
    let (ended, text) = printed(at, &["ca", "activate", "corp-1"]);
    assert!(ended == 7 && text.contains("Corp Root revoked its certificate at"), "{ended} {text}");
    assert_eq!(printed(at, &["issue", "next.corp.example", "--profile", "corp-server"]).0, 3);
    assert!(ok(at, &["find", "--issuer", "corp-1"]).contains("valid (issuer corp-1 is revoked)"));
    assert_eq!(printed(at, &["verify", "web.corp.example.crt"]).0, 22);
    let (ended, text) = printed(at, &["ca", "csr", "--issuer", "corp-1"]);
    assert!(ended == 3 && text.contains("chancery ca csr corp`"), "{ended} {text}");
    // given up, it stays revoked
    let text = ok(at, &["ca", "retire", "corp-1", "--yes"]);
    assert!(text.contains("given up  corp-1"), "{text}");
    assert_eq!(object(at, &["ca", "show", "corp-1"])["state"], "revoked");
}
