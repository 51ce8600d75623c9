//! An installation whose earlier version served tls-1 under a cross-certificate with another key identifier: after the
//! upgrade what is published names the issuer's own one at once, and what was issued before is named and called back.
//! OpenSSL judges.

use std::process::Command;

use chancery::authority::checks::Severity;
use chancery::clock::Clock;
use chancery::pki::crl_facts::CrlFacts;
use chancery::pki::{certificate_facts::CertificateFacts, pem};
use openssl::ocsp::{OcspFlag, OcspResponse};
use openssl::stack::Stack;
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyParam;

use super::upgrade::{SCHEMA_11, Upgraded, stored};
use crate::support::process::{code, run, told};
use crate::support::wait;

/// The identifier in the cross-certificate of the stored installation.
fn foreign_id(engine: &str) -> String {
    let text = std::fs::read_to_string(stored(SCHEMA_11, engine).join("cross.pem")).unwrap();
    let facts = CertificateFacts::parse(&pem::certificates(&text).unwrap()[0]).unwrap();
    chancery::model::serial::to_hex(&facts.subject_key_id.unwrap())
}

/// `openssl verify -crl_check` of a leaf, with the chain and the CRL that are served now.
async fn crl_checked(upgraded: &Upgraded, leaf: &str) -> String {
    let server = &upgraded.server;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("root.pem", &server.root_pem().await);
    write("chain.pem", &server.http("/issuers/tls-1/chain.pem").await.body);
    let crl = server.http("/crl/tls-1.crl").await;
    write("crl.pem", pem::encode("X509 CRL", &crl.body).as_bytes());
    write("leaf.pem", leaf.as_bytes());
    let at = (server.clock.now().secs() + 1).to_string();
    let out = Command::new("openssl")
        .args(["verify", "-x509_strict", "-crl_check", "-attime", &at, "-CAfile", "root.pem"])
        .args(["-untrusted", "chain.pem", "-CRLfile", "crl.pem", "leaf.pem"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    if out.status.success() { "ok".to_owned() } else { String::from_utf8_lossy(&out.stderr).into_owned() }
}

async fn published_at_once(upgraded: &Upgraded) {
    let authority = &upgraded.server.app().authority;
    let own = authority.snapshot().issuer("tls-1").unwrap().key.clone().unwrap();
    wait::until("the CRL names the issuer's own key identifier", async || {
        let crl = upgraded.server.http("/crl/tls-1.crl").await;
        let facts = CrlFacts::parse(&crl.body).ok()?;
        (facts.authority_key_id == Some(own.key_id())).then_some(())
    })
    .await;
    let fresh = upgraded.issue("admin", "tls-server", "fresh.lab.example").await.json();
    let leaf = fresh["certificate"].as_str().unwrap();
    assert_eq!(crl_checked(upgraded, leaf).await, "ok");
    let list = wait::until("the list of the domain names it too", async || {
        let list = upgraded.server.http("/crl/domain/tls.crl").await;
        (list.status == 200).then_some(list)
    })
    .await;
    assert_eq!(CrlFacts::parse(&list.body).unwrap().authority_key_id, Some(own.key_id()));
    ocsp_verifies(upgraded, leaf).await;
}

/// The delegate of before the upgrade stands below the identifier of the cross-certificate.
async fn ocsp_verifies(upgraded: &Upgraded, leaf: &str) {
    let authority = &upgraded.server.app().authority;
    wait::until("an OCSP answer verifies", async || {
        authority.poll_revocations().await.ok()?;
        let snapshot = authority.snapshot();
        let issuer = snapshot.issuer("tls-1").ok()?;
        let leaf = X509::from_pem(leaf.as_bytes()).ok()?;
        let serial = leaf.serial_number().to_bn().ok()?.to_vec();
        let serial = chancery::model::serial::SerialNumber::from_octets(&serial).ok()?;
        use chancery::pki::ocsp_request::{CertIdHash, encode_request};
        let request = encode_request(&issuer.hashes, CertIdHash::Sha1, &serial, None);
        let answer = authority.ocsp("tls-1", &request).await.ok()?;
        let mut store = X509StoreBuilder::new().ok()?;
        store.add_cert(X509::from_pem(&upgraded.server.root_pem().await).ok()?).ok()?;
        let mut param = X509VerifyParam::new().ok()?;
        param.set_time(upgraded.server.clock.now().secs() + 1);
        store.set_param(&param).ok()?;
        let mut above = Stack::new().ok()?;
        issuer.chain.iter().for_each(|der| above.push(X509::from_der(der).unwrap()).unwrap());
        let response = OcspResponse::from_der(&answer.der).ok()?;
        response.basic().ok()?.verify(&above, &store.build(), OcspFlag::empty()).ok()
    })
    .await;
}

async fn what_was_issued_before_is_named_and_called_back(upgraded: &Upgraded, engine: &str) {
    let (foreign, web) = (foreign_id(engine), upgraded.certificate("web").await);
    let leaf = std::fs::read_to_string(stored(SCHEMA_11, engine).join("web.crt")).unwrap();
    let facts = CertificateFacts::parse(&pem::certificates(&leaf).unwrap()[0]).unwrap();
    assert_eq!(facts.authority_key_id.map(|id| chancery::model::serial::to_hex(&id)).as_ref(), Some(&foreign));
    assert_eq!(web["status"], "valid");
    assert_ne!(crl_checked(upgraded, &leaf).await, "ok", "what doctor reports");
    let check = async || {
        let checks = upgraded.server.app().authority.checks().await;
        checks.into_iter().find(|check| check.name == "key identifiers").expect("a check of key identifiers")
    };
    let found = check().await;
    assert_eq!(found.severity, Severity::Warning);
    let command = format!("`chancery find --status valid --issuer tls-1 --authority-key-id {foreign}`");
    assert!(found.detail.contains(&command), "{}", found.detail);
    // the command finds them and nothing else
    let path = format!("certificates?status=valid&issuer=tls-1&authority_key_id={foreign}");
    let listed = upgraded.ask("admin", "GET", &path, None).await.json();
    let serials: Vec<_> = listed["items"].as_array().unwrap().iter().map(|c| c["serial"].clone()).collect();
    assert!(serials.contains(&web["serial"]), "{listed}");
    assert!(
        listed["items"].as_array().unwrap().iter().all(|c| c["names"] != serde_json::json!(["fresh.lab.example"]))
    );
    // renewal information calls it back at once, and a fresh one not
    let id = web["id"].as_str().unwrap();
    let renewal = upgraded.ask("admin", "GET", &format!("certificates/{id}/renewals"), None).await.json();
    assert_eq!(renewal["source"], "key_identifier", "{renewal}");
    let end = chancery::clock::Timestamp::parse_rfc3339(renewal["end"].as_str().unwrap()).unwrap();
    assert!(end <= upgraded.server.clock.now(), "{renewal}");
    let asked = upgraded
        .server
        .https("GET", &format!("/acme/default/renewal-info/{}", renewal["renewal_id"].as_str().unwrap()), &[], b"")
        .await;
    assert_eq!(asked.json()["suggestedWindow"]["end"], renewal["end"]);
    let fresh = upgraded.issue("admin", "tls-server", "fresher.lab.example").await.json();
    let path = format!("certificates/{}/renewals", fresh["id"].as_str().unwrap());
    assert_eq!(upgraded.ask("admin", "GET", &path, None).await.json()["source"], "life");
}

async fn served_under_another_key_identifier(engine: &str) {
    let upgraded = Upgraded::start_soon_after(SCHEMA_11, engine).await;
    published_at_once(&upgraded).await;
    what_was_issued_before_is_named_and_called_back(&upgraded, engine).await;
    upgraded.server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_served_under_another_key_identifier_on_sqlite() {
    served_under_another_key_identifier("sqlite").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_served_under_another_key_identifier_on_postgres() {
    served_under_another_key_identifier("postgres").await;
}

/// The command line on a copy of the installation in an empty HOME.
#[test]
fn verify_says_which_certificates_must_be_issued_anew() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join(".local/share/chancery");
    std::fs::create_dir_all(&data).unwrap();
    for entry in std::fs::read_dir(stored(SCHEMA_11, "sqlite")).unwrap() {
        let file = entry.unwrap();
        let copy = data.join(file.file_name());
        std::fs::copy(file.path(), &copy).unwrap();
        std::fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    assert_eq!(code(&run(home.path(), &["migrate", "--run"])), 0);
    let web = data.join("web.crt").display().to_string();
    let output = run(home.path(), &["verify", &web, "--at", "2026-12-01T00:00:00Z"]);
    let sentence = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(code(&output), 24, "{sentence}{}", told(&output));
    assert!(sentence.contains(&foreign_id("sqlite")) && sentence.contains("issue it anew"), "{sentence}");
    let found = run(home.path(), &["find", "--issuer", "tls-1", "--authority-key-id", &foreign_id("sqlite")]);
    assert!(String::from_utf8_lossy(&found.stdout).contains("web.lab.example"), "{}", told(&found));
}
