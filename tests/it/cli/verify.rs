//! `verify` of what CAs elsewhere made: the CRL of --crl, required policies, the purpose of a TLS server, and what the CRLs
//! of CAs above our issuers say. OpenSSL judges beside it.

use std::path::Path;

use chancery::clock::{Clock, SystemClock, days};
use chancery::pki::ca_certificate::CaCertificate;
use chancery::pki::certificate_facts::CertificateFacts;
use chancery::pki::{der, oids, pem};
use openssl::pkey::PKey;

use super::{code, run, told};
use crate::hierarchy::corporate::{Ca, List, Shape, ec_key, name};

/// Valid at any time of the machine's clock.
fn shape() -> Shape {
    Shape { from: -2_000, days: 9_000, ..Shape::default() }
}

fn printed(at: &Path, arguments: &[&str]) -> (i32, String) {
    let output = run(at, arguments);
    assert!(!told(&output).contains("panicked"), "{}", told(&output));
    (code(&output), String::from_utf8(output.stdout.clone()).unwrap() + &told(&output))
}

fn ok(at: &Path, arguments: &[&str]) -> String {
    let (ended, text) = printed(at, arguments);
    assert_eq!(ended, 0, "{arguments:?}: {text}");
    text
}

fn usages(ids: &[&str]) -> Option<(&'static str, bool, Vec<u8>)> {
    let ids: Vec<_> = ids.iter().map(|id| der::oid(&id.parse().unwrap())).collect();
    let value = der::sequence(&ids.iter().map(Vec::as_slice).collect::<Vec<_>>());
    (!ids.is_empty()).then_some(("2.5.29.37", false, value))
}

fn san(host: &str) -> (&'static str, bool, Vec<u8>) {
    ("2.5.29.17", false, der::sequence(&[&der::tlv(0x82, host.as_bytes())]))
}

fn policies(ids: &[&str]) -> Option<(&'static str, bool, Vec<u8>)> {
    let ids: Vec<_> = ids.iter().map(|id| der::sequence(&[&der::oid(&id.parse().unwrap())])).collect();
    let value = der::sequence(&ids.iter().map(Vec::as_slice).collect::<Vec<_>>());
    (!ids.is_empty()).then_some(("2.5.29.32", false, value))
}

/// A leaf in DER without a key usage.
fn leaf(above: &Ca, more: Vec<(&'static str, bool, Vec<u8>)>) -> Vec<u8> {
    let key = ec_key();
    let public = PKey::public_key_from_der(&key.public_key_to_der().unwrap()).unwrap();
    let shape = Shape { ca: false, key_usage: false, more, ..shape() };
    above.sign(&name("leaf"), &public, &shape).to_der().unwrap()
}

fn write(at: &Path, file: &str, ders: &[&[u8]]) {
    let text: String = ders.iter().map(|der| pem::encode(pem::CERTIFICATE, der)).collect();
    std::fs::write(at.join(file), text).unwrap();
}

fn openssl(at: &Path, more: &[&str]) -> bool {
    let mut command = std::process::Command::new("openssl");
    command.args(["verify", "-CAfile", "root.pem", "-untrusted", "between.pem"]).args(more).arg("leaf.pem");
    command.current_dir(at).output().unwrap().status.success()
}

#[test]
fn a_crl_that_is_named_and_cannot_be_used_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let (root, twin) = (Ca::root("Corp Root", &shape()), Ca::root("Corp Root", &shape()));
    let other = Ca::root("Other Root", &shape());
    let leaf = leaf(&root, vec![san("a.lab.example")]);
    write(at, "root.pem", &[&root.der()]);
    // the twin's certificate comes along: it has the name, and did not sign
    write(at, "leaf.pem", &[&leaf, &twin.der()]);
    let (now, serial) = (SystemClock.now().truncated(), CertificateFacts::parse(&leaf).unwrap().serial);
    let list = List::at(now, 1);
    let delta = der::extension(&oids::DELTA_CRL_INDICATOR, true, &der::unsigned(&[1]));
    let only_cas =
        der::extension(&oids::ISSUING_DISTRIBUTION_POINT, true, &der::sequence(&[&der::tlv(0x82, &[0xff])]));
    let unknown = der::extension(&"1.2.3.4.5".parse().unwrap(), true, &[5, 0]);
    let mut torn = root.list(&list);
    torn.pop();
    let rows = [
        ("not signed by the key", twin.list(&list)),
        ("has no CRL of CN=Corp Root", other.list(&list)),
        (
            "expired at",
            root.list(&List { next_update: Some(now - days(1)), this_update: now - days(2), ..list.clone() }),
        ),
        ("is a delta CRL", root.list(&List { more: vec![delta], ..list.clone() })),
        ("does not cover", root.list(&List { more: vec![only_cas], ..list.clone() })),
        ("critical extension", root.list(&List { more: vec![unknown], ..list.clone() })),
        ("no CRL that can be read", pem::encode("X509 CRL", &torn).into_bytes()),
    ];
    let verify = |crl: &[u8]| {
        std::fs::write(at.join("a.crl"), crl).unwrap();
        printed(at, &["verify", "leaf.pem", "--root", "root.pem", "--crl", "a.crl"])
    };
    for (why, crl) in rows {
        let (ended, text) = verify(&crl);
        assert!(ended == 2 && text.contains(why), "{why}: {ended} {text}");
    }
    let (ended, text) = verify(&root.list(&list));
    assert!(ended == 0 && text.contains("not revoked (CRL of"), "{ended} {text}");
    let revoked = root.list(&List { serials: vec![serial], ..list.clone() });
    assert_eq!(verify(&revoked).0, 22);
    // beside one that cannot be used the other counts
    let both = pem::encode("X509 CRL", &twin.list(&list)) + &pem::encode("X509 CRL", &revoked);
    assert_eq!(verify(both.as_bytes()).0, 22);
    assert_eq!(printed(at, &["verify", "leaf.pem", "--root", "root.pem", "--crl", "none.crl"]).0, 2);
}

#[test]
fn a_certificate_for_a_tls_server_needs_the_usage_and_so_do_its_cas() {
    const SERVER: &str = "1.3.6.1.5.5.7.3.1";
    const CLIENT: &str = "1.3.6.1.5.5.7.3.2";
    const ANY: &str = "2.5.29.37.0";
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let root = Ca::root("Corp Root", &shape());
    write(at, "root.pem", &[&root.der()]);
    let lists: [&[&str]; 5] = [&[], &[SERVER], &[CLIENT], &[ANY], &[CLIENT, SERVER]];
    for above in lists {
        let between = root.below("Between", &Shape { more: usages(above).into_iter().collect(), ..shape() });
        write(at, "between.pem", &[&between.der()]);
        for own in lists {
            let leaf = leaf(&between, usages(own).into_iter().chain([san("a.lab.example")]).collect());
            write(at, "leaf.pem", &[&leaf]);
            write(at, "chain.pem", &[&leaf, &between.der()]);
            let judged = openssl(at, &["-purpose", "sslserver"]);
            let arguments = ["verify", "chain.pem", "--root", "root.pem", "--host", "a.lab.example"];
            let (ended, text) = printed(at, &arguments);
            assert_eq!(ended, if judged { 0 } else { 24 }, "{above:?} {own:?}: {text}");
            assert!(judged || text.contains("serverAuth") || text.contains("extended key usages"), "{text}");
        }
    }
    // without a host the purpose is not known
    let between = root.below("Between", &shape());
    let leaf = leaf(&between, usages(&[CLIENT]).into_iter().chain([san("a.lab.example")]).collect());
    write(at, "chain.pem", &[&leaf, &between.der()]);
    ok(at, &["verify", "chain.pem", "--root", "root.pem"]);
    let (_, text) = printed(at, &["verify", "chain.pem", "--root", "root.pem", "--host", "a.lab.example"]);
    assert!(text.contains("extended key usage is clientAuth, and a TLS server needs serverAuth"), "{text}");
}

#[test]
fn a_certificate_without_a_required_policy_is_refused() {
    const ONE: &str = "1.3.6.1.4.1.55555.1";
    const TWO: &str = "1.3.6.1.4.1.55555.2";
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let root = Ca::root("Corp Root", &shape());
    write(at, "root.pem", &[&root.der()]);
    let explicit = ("2.5.29.36", true, der::sequence(&[&der::tlv(0x80, &[0])]));
    for required in [true, false] {
        let more = policies(&[ONE]).into_iter().chain(required.then(|| explicit.clone()));
        let between = root.below("Between", &Shape { more: more.collect(), ..shape() });
        write(at, "between.pem", &[&between.der()]);
        let lists: [&[&str]; 4] = [&[], &[ONE], &[TWO], &[TWO, ONE]];
        for own in lists {
            let leaf = leaf(&between, policies(own).into_iter().chain([san("a.lab.example")]).collect());
            write(at, "leaf.pem", &[&leaf]);
            write(at, "chain.pem", &[&leaf, &between.der()]);
            let judged = openssl(at, &["-policy_check", "-policy", "2.5.29.32.0"]);
            let (ended, text) = printed(at, &["verify", "chain.pem", "--root", "root.pem"]);
            assert_eq!(judged, !required || own.contains(&ONE), "{own:?}");
            assert_eq!(ended, if judged { 0 } else { 24 }, "{own:?}: {text}");
            assert!(
                judged || text.contains("it must have one of the certificate policies 1.3.6.1.4.1.55555.1"),
                "{text}"
            );
        }
    }
}

fn imported(at: &Path) -> (Ca, Ca) {
    ok(at, &["init"]);
    let root = Ca::root("Corp Root", &shape());
    let issuing = root.below("Corp Issuing", &shape());
    let key = String::from_utf8(issuing.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    let pems = [&issuing, &root].map(|ca| pem::encode(pem::CERTIFICATE, &ca.der())).concat();
    std::fs::write(at.join("corp.pem"), key + &pems).unwrap();
    ok(at, &["ca", "import", "corp.pem", "--domain", "corp"]);
    ok(at, &["issue", "web.corp.example", "--profile", "corp-server"]);
    write(at, "issuing.pem", &[&issuing.der()]);
    (root, issuing)
}

fn list_of(at: &Path, root: &Ca, number: u8, revoked: &[&Ca], reason: Option<u8>) {
    let serial = |ca: &&Ca| CaCertificate::read(&ca.der()).unwrap().serial().unwrap().octets().to_vec();
    let serials = revoked.iter().map(serial).collect();
    let list = List { serials, reason, ..List::at(SystemClock.now().truncated(), number) };
    std::fs::write(at.join("corp.crl"), root.list(&list)).unwrap();
    ok(at, &["ca", "crl", "import", "corp.crl"]);
}

#[test]
fn the_crl_of_a_ca_elsewhere_counts_for_the_certificates_that_it_signed() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let (root, issuing) = imported(at);
    let (_, before) = printed(at, &["verify", "issuing.pem"]);
    assert!(before.contains("revocation not checked"), "{before}");
    list_of(at, &root, 1, &[], None);
    for file in ["issuing.pem", "web.corp.example.crt"] {
        let text = ok(at, &["verify", file]);
        assert!(text.contains("not revoked (") && !text.contains("not checked"), "{text}");
    }
    list_of(at, &root, 2, &[&issuing], None);
    for file in ["issuing.pem", "web.corp.example.crt"] {
        let (ended, text) = printed(at, &["verify", file]);
        assert!(ended == 22 && text.starts_with("revoked: "), "{ended} {text}");
    }
    let (_, text) = printed(at, &["verify", "issuing.pem"]);
    assert!(text.contains("(unspecified)"), "{text}");
}

#[test]
fn an_issuer_on_hold_is_called_so_and_that_ca_is_to_be_asked() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let (root, issuing) = imported(at);
    list_of(at, &root, 1, &[&issuing], Some(6));
    let line = |text: &str| text.lines().find(|l| l.starts_with("corp-1")).unwrap_or_default().to_owned();
    let listed = line(&ok(at, &["ca", "list"]));
    assert!(listed.contains("on hold") && !listed.contains("revoked"), "{listed}");
    let (ended, text) = printed(at, &["doctor"]);
    assert_eq!(ended, 11, "{text}");
    assert!(text.contains("ask Corp Root whether it lifts the hold of corp-1"), "{text}");
    assert!(!text.contains("corp-1 revoked") && !text.contains("ca csr corp"), "{text}");
    let (ended, text) = printed(at, &["ca", "activate", "corp-1"]);
    assert!(ended == 7 && text.contains("on hold") && !text.contains("ca csr"), "{ended} {text}");
    let (ended, text) = printed(at, &["verify", "issuing.pem"]);
    assert!(ended == 22 && text.contains("is on hold since"), "{ended} {text}");
    let (ended, text) = printed(at, &["verify", "web.corp.example.crt"]);
    assert!(ended == 22 && text.contains("corp-1, which was put on hold at"), "{ended} {text}");
    assert!(ok(at, &["find", "--issuer", "corp-1"]).contains("valid (issuer corp-1 is on hold)"));
    list_of(at, &root, 2, &[], None);
    assert!(line(&ok(at, &["ca", "list"])).contains("active"));
}

#[test]
fn a_revocation_that_waits_for_the_root_prints_a_command_that_works() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    ok(at, &["init", "--data", "D"]);
    std::fs::rename(at.join("D/root.key"), at.join("away.key")).unwrap();
    let (ended, text) = printed(at, &["revoke", "tls-1", "--yes", "--data", "D"]);
    let command = "chancery --data D ca crl sign tls-root";
    assert!(
        ended == 10 && text.contains("NOT YET IN FORCE") && text.contains(&format!("`{command}`")),
        "{ended} {text}"
    );
    assert!(text.contains("run `chancery --data D doctor`"), "{text}");
    let (_, text) = printed(at, &["doctor", "--data", "D"]);
    assert!(text.contains(&format!("`{command}`")), "{text}");
    std::fs::rename(at.join("away.key"), at.join("D/root.key")).unwrap();
    ok(at, &command.split(' ').skip(1).collect::<Vec<_>>());
    let (_, text) = printed(at, &["doctor", "--data", "D"]);
    assert!(!text.contains("ca crl sign"), "{text}");
}

#[test]
fn the_list_of_profiles_shows_their_trust_domain() {
    let home = tempfile::tempdir().unwrap();
    ok(home.path(), &["init"]);
    let text = ok(home.path(), &["profile", "list"]);
    let line = text.lines().find(|line| line.starts_with("tls-server")).unwrap();
    assert_eq!(line.split('\t').nth(1), Some("tls"), "{line}");
}
