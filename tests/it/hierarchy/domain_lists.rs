//! The list of a whole trust domain and the bundle of its CRLs: what they hold while issuers come and go, judged by
//! OpenSSL.

use std::collections::BTreeMap;
use std::sync::Arc;

use chancery::authority::Authority;
use chancery::authority::checks::Severity;
use chancery::authority::hierarchy::import::Import;
use chancery::clock::{Clock, SystemClock, days, hours, minutes};
use chancery::error::ErrorKind;
use chancery::keys::store::Keys;
use chancery::model::actor::Actor;
use chancery::model::id::CertificateId;
use chancery::model::issuer::IssuerMove;
use chancery::model::reason::RevocationReason;
use chancery::model::serial::SerialNumber;
use chancery::pki::crl_facts::{CrlFacts, lint_crl};
use chancery::pki::pem;
use chancery::store::revocations::{self, Revocation};
use chancery::store::versions::{Topic, bump};

use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509StoreContext};

use super::corporate::{Ca, List, Shape};
use super::offline::crl;
use super::{actor, issue, rule, wanted};
use crate::on_both_engines;
use crate::support::process::{code, run};
use crate::support::stores::founded;

/// Serials on a domain's list in lower-case hex, by the issuer that each entry names.
async fn listed(authority: &Authority, domain: &str) -> BTreeMap<String, Vec<String>> {
    let list = authority.domain_crl(domain).await.unwrap();
    assert_eq!(lint_crl(&list.der), [], "{domain}");
    let facts = CrlFacts::parse(&list.der).unwrap();
    assert!(facts.is_indirect);
    let snapshot = authority.snapshot();
    let slug = |name: &[u8]| snapshot.issuers.values().find(|i| i.subject() == name).unwrap().issuer.slug.clone();
    let mut of = slug(facts.issuer);
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in facts.entries() {
        of = entry.certificate_issuer.map_or(of, slug);
        all.entry(of.clone()).or_default().push(chancery::model::serial::to_hex(entry.serial));
    }
    all
}

/// The slug of the issuer that signed the list of a domain.
async fn signed_by(authority: &Authority, domain: &str) -> String {
    let list = authority.domain_crl(domain).await.unwrap();
    let facts = CrlFacts::parse(&list.der).unwrap();
    let snapshot = authority.snapshot();
    let signer = snapshot.issuers.values().find(|i| i.subject() == facts.issuer).unwrap();
    facts.verify(&signer.sealed_key.public_key).unwrap();
    assert!(signer.is_named_by(facts.authority_key_id.unwrap()));
    signer.issuer.slug.clone()
}

async fn client(authority: &Arc<Authority>, profile: &str) -> (chancery::model::id::CertificateId, String) {
    let issued = issue(authority, profile, Some("till"), &[]).await.unwrap();
    (issued.certificate.id, issued.certificate.serial.to_string())
}

on_both_engines! {
    async fn a_domains_list_keeps_what_every_issuer_revoked(at) {
        let (authority, _) = founded(&at.store).await;
        authority.create_domain(&actor(), &wanted("etcd")).await.unwrap();
        assert!(authority.publish_domains_due().await.unwrap() >= 2, "one for each domain");
        assert_eq!(authority.publish_domains_due().await.unwrap(), 0, "nothing is due");
        assert!(listed(&authority, "etcd").await.is_empty());
        let first = authority.domain_crl("etcd").await.unwrap();
        let openssl = openssl::x509::X509Crl::from_der(&first.der).unwrap();
        let (id, serial) = client(&authority, "etcd-client").await;
        authority.revoke(&actor(), id, RevocationReason::KeyCompromise).await.unwrap();
        assert_eq!(authority.publish_domains_due().await.unwrap(), 1);
        assert_eq!(listed(&authority, "etcd").await, BTreeMap::from([("etcd-1".to_owned(), vec![serial.clone()])]));
        assert_eq!(signed_by(&authority, "etcd").await, "etcd-1");
        // a successor signs the list, which keeps what the first one revoked, also once that is removed
        authority.create_issuer(&actor(), &wanted("etcd"), Some("etcd-root")).await.unwrap();
        authority.move_issuer(&actor(), "etcd-2", IssuerMove::MakeDefault).await.unwrap();
        authority.publish_domains_due().await.unwrap();
        assert_eq!(signed_by(&authority, "etcd").await, "etcd-2");
        authority.move_issuer(&actor(), "etcd-1", IssuerMove::Retire).await.unwrap();
        authority.move_issuer(&actor(), "etcd-1", IssuerMove::Remove).await.unwrap();
        authority.publish_domains_due().await.unwrap();
        let (id, second) = client(&authority, "etcd-client").await;
        authority.revoke(&actor(), id, RevocationReason::Superseded).await.unwrap();
        assert_eq!(authority.publish_domains_due().await.unwrap(), 1);
        let both = BTreeMap::from([("etcd-1".to_owned(), vec![serial.clone()]), ("etcd-2".to_owned(), vec![second.clone()])]);
        assert_eq!(listed(&authority, "etcd").await, both);
        // the numbers rise, and the list is published anew when it is old
        let before = authority.domain_crl("etcd").await.unwrap();
        assert!(number(&before.der) > number(&first.der));
        at.clock.advance(hours(7));
        assert!(authority.publish_domains_due().await.unwrap() >= 2);
        assert!(number(&authority.domain_crl("etcd").await.unwrap().der) > number(&before.der));
        // an expired certificate leaves it
        at.clock.advance(days(400));
        authority.publish_domains_due().await.unwrap();
        assert!(listed(&authority, "etcd").await.is_empty());
        drop(openssl);
    }

    async fn everything_of_a_revoked_ca_key_is_on_its_domains_list(at) {
        let (authority, _) = founded(&at.store).await;
        authority.create_domain(&actor(), &wanted("etcd")).await.unwrap();
        let (_, serial) = client(&authority, "etcd-client").await;
        let (id, revoked) = client(&authority, "etcd-client").await;
        authority.revoke(&actor(), id, RevocationReason::Superseded).await.unwrap();
        authority.create_issuer(&actor(), &wanted("etcd"), Some("etcd-root")).await.unwrap();
        authority.publish_domains_due().await.unwrap();
        let own = authority.snapshot().issuer("etcd-1").unwrap().certificate().unwrap().clone();
        authority.revoke(&actor(), own.certificate_id.unwrap(), RevocationReason::KeyCompromise).await.unwrap();
        assert_eq!(authority.publish_domains_due().await.unwrap(), 1);
        let all = listed(&authority, "etcd").await;
        assert!(all["etcd-1"].contains(&serial) && all["etcd-1"].contains(&revoked), "{all:?}");
        assert_eq!(all["etcd-root"].len(), 1);
        assert_eq!(signed_by(&authority, "etcd").await, "etcd-2");
    }

    async fn a_locked_server_serves_a_fresh_list_as_long_as_issuers_crls(at) {
        let (authority, keys) = founded(&at.store).await;
        authority.create_domain(&actor(), &wanted("etcd")).await.unwrap();
        let (id, serial) = client(&authority, "etcd-client").await;
        authority.revoke(&actor(), id, RevocationReason::KeyCompromise).await.unwrap();
        authority.publish_due().await.unwrap();
        authority.publish_domains_due().await.unwrap();
        assert_eq!(authority.publish_domains_due().await.unwrap(), 0);
        let name = authority.snapshot().issuer("etcd-1").unwrap().subject().to_vec();
        for row in at.rows("SELECT sealed FROM domain_crls_ahead").await {
            let sealed: Vec<u8> = row.get("sealed").unwrap();
            assert!(!sealed.windows(name.len()).any(|part| part == name), "readable in the database");
        }
        let installation = chancery::store::hierarchy::installation(&at.store).await.unwrap().unwrap();
        let status = keys.open_status_key(&installation.status_key).unwrap();
        let status_alone = Keys::locked(at.store.entropy.clone()).with_status(&status).unwrap();
        let locked = Authority::open(at.restarted().await, Arc::new(status_alone), vec![]).await.unwrap();
        let blind = Authority::open(at.restarted().await, Arc::new(Keys::locked(at.store.entropy.clone())), vec![]).await.unwrap();
        let first = locked.domain_crl("etcd").await.unwrap();
        for on in [hours(1), hours(20), days(3), days(3)] {
            at.clock.advance(on);
            assert_eq!(locked.publish_domains_due().await.unwrap(), 0, "it has no key");
            let (list, crl) = (locked.domain_crl("etcd").await.unwrap(), locked.current_crl("etcd-1").await.unwrap());
            assert!(list.next_update > at.store.now() && list.this_update <= at.store.now(), "{on:?}");
            assert!(list.next_update >= crl.next_update - minutes(1), "{on:?}");
            assert_eq!(listed(&locked, "etcd").await["etcd-1"], std::slice::from_ref(&serial), "{on:?}");
        }
        assert!(number(&locked.domain_crl("etcd").await.unwrap().der) > number(&first.der));
        assert_eq!(blind.domain_crl("etcd").await.unwrap().der, first.der, "without the status key the older one goes on");
        let lists = locked.checks().await.into_iter().find(|check| check.name == "domain lists").unwrap();
        assert_eq!(lists.severity, Severity::Ok, "{}", lists.detail);
        // a revocation outdates the one that stood ready
        let (id, _) = client(&authority, "etcd-client").await;
        authority.revoke(&actor(), id, RevocationReason::Superseded).await.unwrap();
        authority.publish_domains_due().await.unwrap();
        at.clock.advance(days(2));
        assert_eq!(listed(&locked, "etcd").await["etcd-1"].len(), 2);
        authority.publish_due().await.unwrap();
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn an_older_replica_outdates_the_list_that_stands_ready(at) {
        let (authority, _) = founded(&at.store).await;
        authority.publish_domains_due().await.unwrap();
        let first = authority.domain_crl("tls").await.unwrap();
        // what an older binary does: it knows the row of the list in force alone
        at.sql("UPDATE domain_crls SET counter = counter + 1").await;
        at.clock.advance(hours(22));
        let list = authority.domain_crl("tls").await.unwrap();
        assert_eq!(list.der, first.der, "the one that stood ready may list less");
        at.clock.set(at.store.now() - hours(22));
        authority.publish_domains_due().await.unwrap();
        at.clock.advance(hours(22));
        let list = authority.domain_crl("tls").await.unwrap();
        assert!(list.stood_ready && number(&list.der) > number(&first.der));
    }

    async fn large_lists_keep_a_distance_and_get_the_one_for_later_apart(at) {
        let (authority, _) = founded(&at.store).await;
        authority.publish_domains_due().await.unwrap();
        let issuer = authority.snapshot().issuer("tls-1").unwrap().issuer.id;
        let mut tx = at.store.begin(&actor()).await.unwrap();
        for n in 1..=12_001u32 {
            let serial = SerialNumber::from_octets(&[&[0x10][..], &n.to_be_bytes()].concat()).unwrap();
            let row = Revocation { serial, certificate_id: CertificateId::from_bytes(issuer.bytes()), revoked_at: at.store.now(),
                reason: RevocationReason::Superseded, not_after: at.store.now() + days(900), invalidity_date: None };
            revocations::insert(&mut tx, issuer, &row, 1).await.unwrap();
        }
        bump(&mut tx, Topic::Revocations).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(authority.publish_domains_due().await.unwrap(), 1);
        let large = authority.domain_crl("tls").await.unwrap();
        assert_eq!(CrlFacts::parse(&large.der).unwrap().count, 12_001);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM domain_crls_ahead").await, 0, "the one that stood ready lacks them");
        at.clock.advance(std::time::Duration::from_millis(25));
        assert_eq!(authority.publish_domains_due().await.unwrap(), 0, "the one for later alone");
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM domain_crls_ahead WHERE entries = 12001").await, 1);
        // above the one in force, or it would be a finding
        let found = authority.fsck().await.unwrap().findings;
        assert!(!found.iter().any(|finding| finding.contains("the list of")), "{found:?}");
        let issued = issue(&authority, "tls-server", None, &["a.example"]).await.unwrap();
        at.clock.advance(std::time::Duration::from_millis(25));
        authority.revoke(&actor(), issued.certificate.id, RevocationReason::Superseded).await.unwrap();
        assert_eq!(authority.publish_domains_due().await.unwrap(), 0, "the issuer's CRL goes first");
        authority.publish_due().await.unwrap();
        assert_eq!(authority.publish_domains_due().await.unwrap(), 1);
        let next = authority.domain_crl("tls").await.unwrap();
        assert!(number(&next.der) > number(&large.der), "above the one that stood ready too");
        let issued = issue(&authority, "tls-server", None, &["b.example"]).await.unwrap();
        authority.revoke(&actor(), issued.certificate.id, RevocationReason::Superseded).await.unwrap();
        assert_eq!(authority.publish_domains_due().await.unwrap(), 0, "24 ms have not passed");
        // a CRL that cannot be published does not keep the list waiting for ever
        at.clock.advance(std::time::Duration::from_secs(30));
        assert_eq!(authority.publish_domains_due().await.unwrap(), 1);
        assert_eq!(CrlFacts::parse(&authority.domain_crl("tls").await.unwrap().der).unwrap().count, 12_003);
    }

    async fn fsck_compares_the_lists_of_domains_with_the_rows(at) {
        let (authority, _) = founded(&at.store).await;
        authority.create_domain(&actor(), &wanted("etcd")).await.unwrap();
        let (id, _) = client(&authority, "etcd-client").await;
        authority.revoke(&actor(), id, RevocationReason::KeyCompromise).await.unwrap();
        authority.publish_due().await.unwrap();
        authority.publish_domains_due().await.unwrap();
        let found = async || authority.fsck().await.unwrap().findings.into_iter().filter(|f| f.contains("the list of")).collect::<Vec<_>>();
        assert_eq!(found().await, Vec::<String>::new());
        for (break_it, mend, says) in [
            ("UPDATE domain_crls SET next_update = next_update + 1000000 WHERE domain = 'etcd'", "UPDATE domain_crls SET next_update = next_update - 1000000 WHERE domain = 'etcd'", "its nextUpdate is not that of its row"),
            ("UPDATE domain_crls SET entries = 7 WHERE domain = 'etcd'", "UPDATE domain_crls SET entries = 1 WHERE domain = 'etcd'", "its count of entries"),
            ("UPDATE domain_crls_ahead SET next_update = next_update + 1000000 WHERE domain = 'etcd'", "UPDATE domain_crls_ahead SET next_update = next_update - 1000000 WHERE domain = 'etcd'", "the one that lies ready: its nextUpdate"),
            ("UPDATE domain_crls SET issuer_id = (SELECT id FROM issuers WHERE slug = 'tls-1') WHERE domain = 'etcd'", "UPDATE domain_crls SET issuer_id = (SELECT id FROM issuers WHERE slug = 'etcd-1') WHERE domain = 'etcd'", "its signature is not that of its issuer"),
            ("UPDATE domain_crls SET counter = 0 WHERE domain = 'etcd'", "UPDATE domain_crls SET counter = 2 WHERE domain = 'etcd'", "its number is above 0"),
            // an entry whose row is gone, and a row that no list has
            ("UPDATE revocations SET serial = certificate_id WHERE reason = 'keyCompromise'", "UPDATE revocations SET serial = (SELECT c.serial FROM certificates c WHERE c.id = certificate_id) WHERE reason = 'keyCompromise'", "which was never revoked"),
        ] {
            at.sql(break_it).await;
            let findings = found().await;
            assert!(findings.iter().any(|finding| finding.contains(says)), "{break_it}: {findings:?}");
            at.sql(mend).await;
            assert_eq!(found().await, Vec::<String>::new(), "{mend}");
        }
        // a revocation that was counted and is not listed
        let (id, serial) = client(&authority, "etcd-client").await;
        authority.revoke(&actor(), id, RevocationReason::Superseded).await.unwrap();
        at.sql("UPDATE domain_crls SET content = REPLACE(content, 'etcd-1:1', 'etcd-1:2')").await;
        let findings = found().await;
        assert!(findings.iter().any(|finding| finding.contains(&format!("does not list {serial}"))), "{findings:?}");
    }

    async fn two_replicas_publish_one_list(at) {
        let (authority, keys) = founded(&at.store).await;
        let other = Authority::open(at.restarted().await, keys, vec![]).await.unwrap();
        let (one, two) = tokio::join!(authority.publish_domains_due(), other.publish_domains_due());
        assert_eq!(one.unwrap() + two.unwrap(), 1);
        assert_eq!(authority.domain_crl("tls").await.unwrap().der, other.domain_crl("tls").await.unwrap().der);
        assert_eq!(authority.domain_crl("no-such").await.unwrap_err().kind, ErrorKind::NotFound);
    }

    async fn the_bundle_of_crls_goes_up_to_a_foreign_root(at) {
        let (authority, _) = founded(&at.store).await;
        assert_eq!(authority.crl_bundle("tls").await.unwrap().len(), 2, "issuer and root");
        let root = Ca::root("Corp Root", &Shape::default());
        let issuing = root.below("Corp Issuing", &Shape { path_len: Some(0), ..Shape::default() });
        let import = Import { domain: "corp".into(), name: None, certificates: vec![issuing.der(), root.der()], key: issuing.pkcs8(), status_url: None, crl: None };
        authority.import_issuer(&actor(), import).await.unwrap();
        let domain_lists = async || authority.checks().await.into_iter().find(|c| c.name == "domain lists").unwrap();
        let missing = domain_lists().await;
        assert_eq!(missing.severity, Severity::Warning);
        assert!(missing.detail.contains("the CRL of Corp Root") && missing.detail.contains("ca crl import"), "{}", missing.detail);
        let folder = tempfile::tempdir().unwrap();
        let key = String::from_utf8(root.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        std::fs::write(folder.path().join("root.pem"), format!("{key}{}", pem::encode(pem::CERTIFICATE, &root.der()))).unwrap();
        let other = Ca::root("Other Root", &Shape::default());
        let strange = tempfile::tempdir().unwrap();
        let strange_key = String::from_utf8(other.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        std::fs::write(strange.path().join("root.pem"), format!("{strange_key}{}", pem::encode(pem::CERTIFICATE, &other.der()))).unwrap();
        assert_eq!(rule(authority.import_crl(&actor(), &crl(strange.path(), "01", 300, &[])).await), "crl.issuer");
        let (name, _) = authority.import_crl(&actor(), &crl(folder.path(), "01", 300, &[])).await.unwrap();
        assert_eq!(name, "Corp Root");
        assert_eq!(domain_lists().await.severity, Severity::Ok);
        assert_eq!(authority.crl_bundle("corp").await.unwrap().len(), 2);
        assert_eq!(authority.crl_bundle("tls").await.unwrap().len(), 2, "no CRL of another domain");
        // the corporate CA revokes the issuer: nothing below it is accepted, and doctor says so
        let serial = issuing.certificate.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string();
        authority.import_crl(&actor(), &crl(folder.path(), "02", 400, &[&serial])).await.unwrap();
        let revoked = domain_lists().await;
        assert_eq!(revoked.severity, Severity::Critical);
        assert!(revoked.detail.contains("Corp Root revoked the certificate of corp-1"), "{}", revoked.detail);
        let _ = minutes(1);
    }

    async fn the_bundle_keeps_the_crl_of_an_issuer_that_was_removed(at) {
        let (authority, _) = founded(&at.store).await;
        authority.create_domain(&actor(), &wanted("etcd")).await.unwrap();
        let good = issue(&authority, "etcd-client", Some("good"), &[]).await.unwrap();
        let bad = issue(&authority, "etcd-client", Some("bad"), &[]).await.unwrap();
        let ca = |slug: &str| authority.snapshot().issuer(slug).unwrap().certificate().unwrap().der.clone();
        let (root, issuer) = (ca("etcd-root"), ca("etcd-1"));
        authority.create_issuer(&actor(), &wanted("etcd"), Some("etcd-root")).await.unwrap();
        authority.move_issuer(&actor(), "etcd-2", IssuerMove::MakeDefault).await.unwrap();
        authority.revoke(&actor(), bad.certificate.id, RevocationReason::Superseded).await.unwrap();
        for (step, days_on) in [(IssuerMove::Retire, 1), (IssuerMove::Remove, 80)] {
            authority.move_issuer(&actor(), "etcd-1", step).await.unwrap();
            at.clock.advance(days(days_on));
            authority.publish_due().await.unwrap();
            let crls = authority.crl_bundle("etcd").await.unwrap();
            let text: String = crls.iter().map(|(der, _)| pem::encode("X509 CRL", der)).collect();
            let judged = |leaf: &[u8]| every_crl_checked(leaf, &issuer, &root, &text, at.store.now());
            assert_eq!(judged(&good.der), "ok", "{step:?}");
            assert_eq!(judged(&bad.der), "certificate revoked", "{step:?}");
        }
        // once the issuer itself has expired, nothing needs its CRL
        let end = authority.snapshot().issuer("etcd-1").unwrap().certificate().unwrap().not_after;
        at.clock.set(end + days(3));
        authority.publish_due().await.unwrap();
        let name = authority.snapshot().issuer("etcd-1").unwrap().subject().to_vec();
        let crls = authority.crl_bundle("etcd").await.unwrap();
        assert!(!crls.iter().any(|(der, _)| CrlFacts::parse(der).unwrap().issuer == name));
    }

    async fn short_serials_that_stand_twice_in_a_domain_are_reported(at) {
        let (authority, _) = founded(&at.store).await;
        for (name, number) in [("One Root", "10"), ("Two Root", "20")] {
            let ca = Ca::root(name, &Shape::default());
            let folder = tempfile::tempdir().unwrap();
            let key = String::from_utf8(ca.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
            std::fs::write(folder.path().join("root.pem"), format!("{key}{}", pem::encode(pem::CERTIFICATE, &ca.der()))).unwrap();
            let import = Import { domain: "old".into(), name: None, certificates: vec![ca.der()], key: ca.pkcs8(), status_url: None, crl: Some(crl(folder.path(), number, 30, &["05", "0A1B"])) };
            authority.import_issuer(&actor(), import).await.unwrap();
        }
        let found = authority.colliding_serials(None).await.unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("serial 05"), "{found:?}");
        assert_eq!(authority.colliding_serials(Some("old")).await.unwrap(), found);
        assert_eq!(authority.colliding_serials(Some("tls")).await.unwrap(), Vec::<String>::new());
        let domain = Import { domain: "old".into(), name: Some("domain".into()), certificates: vec![], key: Ca::root("X", &Shape::default()).pkcs8(), status_url: None, crl: None };
        assert_eq!(rule(authority.import_issuer(&Actor::host(0, "test"), domain).await), "issuer.slug");
    }
}

fn number(der: &[u8]) -> chancery::model::serial::SerialNumber {
    chancery::model::serial::SerialNumber::from_octets(CrlFacts::parse(der).unwrap().number.unwrap()).unwrap()
}

/// What OpenSSL's check of every CRL of a chain says, with the CRLs of a bundle.
fn every_crl_checked(leaf: &[u8], issuer: &[u8], root: &[u8], crls: &str, at: chancery::clock::Timestamp) -> String {
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(X509::from_der(root).unwrap()).unwrap();
    let mut param = X509VerifyParam::new().unwrap();
    param.set_flags(X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL).unwrap();
    param.set_time(at.secs());
    store.set_param(&param).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("crls.pem");
    std::fs::write(&file, crls).unwrap();
    let lookup = store.add_lookup(openssl::x509::store::X509Lookup::file()).unwrap();
    lookup.load_crl_file(&file, openssl::ssl::SslFiletype::PEM).unwrap();
    let mut chain = Stack::new().unwrap();
    chain.push(X509::from_der(issuer).unwrap()).unwrap();
    let (store, leaf) = (store.build(), X509::from_der(leaf).unwrap());
    let mut context = X509StoreContext::new().unwrap();
    let judge = |c: &mut openssl::x509::X509StoreContextRef| {
        c.verify_cert().map(|ok| if ok { "ok".to_owned() } else { c.error().error_string().to_owned() })
    };
    context.init(&store, &leaf, &chain, judge).unwrap()
}

#[test]
fn an_import_says_which_serials_stand_twice() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let told = |args: &[&str]| {
        let output = run(at, args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(code(&output), 0, "{args:?}: {text}");
        text
    };
    told(&["init"]);
    let now = SystemClock.now().truncated();
    let shape = Shape { from: -2_000, days: 9_000, ..Shape::default() };
    let cas = ["one", "two"].map(|name| Ca::root(&format!("Corp {name}"), &shape));
    for (name, ca) in ["one", "two"].iter().zip(&cas) {
        let key = String::from_utf8(ca.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        std::fs::write(at.join(format!("{name}.pem")), format!("{key}{}", pem::encode(pem::CERTIFICATE, &ca.der())))
            .unwrap();
        let list = |number, serials: &[u8]| {
            let serials = serials.iter().map(|serial| vec![*serial]).collect();
            ca.list(&List { serials, ..List::at(now, number) })
        };
        std::fs::write(at.join(format!("{name}.crl")), list(1, &[5])).unwrap();
        std::fs::write(at.join(format!("{name}-next.crl")), list(0x7f, &[5, 6])).unwrap();
    }
    let first = told(&["ca", "import", "one.pem", "--domain", "corp", "--crl", "one.crl"]);
    assert!(!first.contains("warning"), "{first}");
    let second = told(&["ca", "import", "two.pem", "--domain", "corp", "--crl", "two.crl"]);
    assert!(second.contains("warning   serial 05 is revoked under corp-root and under corp-root-2"), "{second}");
    let one = told(&["ca", "crl", "import", "one-next.crl"]);
    assert!(one.contains("serial 05") && !one.contains("serial 06"), "{one}");
    let both = told(&["ca", "crl", "import", "two-next.crl"]);
    assert!(both.contains("warning   serial 05") && both.contains("warning   serial 06"), "{both}");
}
