//! Certificates that an imported CA issued before: found, answered by OCSP and revoked as if they had been issued here.

use std::sync::Arc;

use chancery::authority::Authority;
use chancery::authority::checks::Severity;
use chancery::authority::hierarchy::import::Import;
use chancery::authority::imports::{BATCH, Presented, Taken};
use chancery::clock::{Timestamp, days, hours};
use chancery::model::certificate::{Certificate, CertificateStatus};
use chancery::model::issuer::IssuerMove::{Remove, Retire};
use chancery::model::reason::RevocationReason::{self, CertificateHold, KeyCompromise, Superseded, Unspecified};
use chancery::model::revocation::NewRevocation;
use chancery::model::serial::SerialNumber;
use chancery::store::certificates;
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder};
use serde_json::json;

use super::actor;
use super::corporate::{Ca, List, Shape, ec_key, name};
use crate::api::room::Room;
use crate::issuance::ocsp::{Said, asked};
use crate::on_both_engines;
use crate::support::stores::{At, START, founded};

/// A certificate of `ca` with this serial for `host` and its key.
fn leaf(ca: &Ca, serial: u32, host: &str, key: &PKey<Private>, sans: bool) -> X509 {
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&Asn1Integer::from_bn(&BigNum::from_u32(serial).unwrap()).unwrap()).unwrap();
    builder.set_subject_name(&name(host)).unwrap();
    builder.set_issuer_name(ca.certificate.subject_name()).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(START.secs() - 86_400).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(START.secs() + 90 * 86_400).unwrap()).unwrap();
    builder.append_extension(BasicConstraints::new().build().unwrap()).unwrap();
    if sans {
        let names = SubjectAlternativeName::new()
            .dns(host)
            .rid("1.2.3.4")
            .build(&builder.x509v3_context(None, None))
            .unwrap();
        builder.append_extension(names).unwrap();
    }
    builder.sign(&ca.key, MessageDigest::sha256()).unwrap();
    builder.build()
}

fn plain(certificate: &X509) -> Presented {
    Presented { der: certificate.to_der().unwrap(), revoked: None }
}

fn revoked(certificate: &X509, at: Timestamp, new: impl Into<NewRevocation>) -> Presented {
    Presented { revoked: Some((at, new.into())), ..plain(certificate) }
}

async fn take(authority: &Authority, all: &[Presented]) -> Vec<Taken> {
    authority.import_certificates(&actor(), all, false).await.unwrap()
}

async fn import(authority: &Authority, domain: &str, ca: &Ca, crl: Option<Vec<u8>>) {
    let import = Import {
        domain: domain.into(),
        name: None,
        certificates: vec![ca.der()],
        key: ca.pkcs8(),
        status_url: None,
        crl,
    };
    authority.import_issuer(&actor(), import).await.unwrap();
}

async fn found(authority: &Authority, certificate: &X509) -> Certificate {
    let der = certificate.to_der().unwrap();
    let hash = openssl::hash::hash(MessageDigest::sha256(), &der).unwrap();
    authority.certificate_by_fingerprint(&hash).await.unwrap().unwrap()
}

async fn says(authority: &Authority, slug: &str, serial: u32) -> Said {
    authority.poll_revocations().await.unwrap();
    asked(authority, slug, &number(serial)).await
}

fn number(serial: u32) -> SerialNumber {
    let octets = serial.to_be_bytes();
    let start = octets.iter().position(|octet| *octet != 0).unwrap();
    SerialNumber::from_octets(&octets[start..]).unwrap()
}

async fn sane(authority: &Authority) {
    authority.publish_due().await.unwrap();
    assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
}

fn imported(is_revoked: bool) -> Taken {
    Taken::Imported { is_revoked }
}

on_both_engines! {
    async fn short_serials_are_found_as_people_write_them(at) {
        let room = Room::over(at).await;
        let (one, two) = (Ca::root("Corp Root", &Shape::default()), Ca::root("Lab Root", &Shape::default()));
        import(&room.authority, "corp", &one, None).await;
        import(&room.authority, "lab", &two, None).await;
        let certificates = [
            leaf(&one, 4, "four.corp.example", &ec_key(), true),
            leaf(&one, 0x40, "04.corp.example", &ec_key(), true),
            leaf(&one, 0x8001, "high.corp.example", &ec_key(), true),
            leaf(&two, 4, "four.lab.example", &ec_key(), true),
        ];
        let all: Vec<_> = certificates.iter().map(plain).collect();
        assert_eq!(take(&room.authority, &all).await, vec![imported(false); 4]);
        let names = async |query: &str| {
            let page = room.get(&room.admin, &format!("/api/v1/certificates?{query}")).await.json();
            let items = page["items"].as_array().unwrap_or_else(|| panic!("{query}: {page}")).clone();
            items.iter().map(|item| item["names"][0].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let sorted = |mut names: Vec<String>| { names.sort(); names };
        for q in ["0x04", "4", "00:04", "serial=04", "0X4"] {
            assert_eq!(sorted(names(&format!("q={q}")).await), ["four.corp.example", "four.lab.example"], "{q}");
        }
        // a name may begin so as well, and comes after them
        let found = names("q=04").await;
        assert_eq!((found.len(), found[2].as_str()), (3, "04.corp.example"));
        assert_eq!(names("q=04&issuer=lab-root").await, ["four.lab.example"]);
        assert_eq!(names("q=04&status=revoked").await, Vec::<String>::new());
        assert_eq!(names("q=40").await, ["04.corp.example"]);
        assert_eq!(names("q=8001").await, ["high.corp.example"]);
        assert_eq!(names("q=04*").await, ["04.corp.example"]);
        assert_eq!(names("q=five").await, Vec::<String>::new());
        // pages have each of them once
        let page = room.get(&room.admin, "/api/v1/certificates?q=04&limit=2").await.json();
        let next = page["next_cursor"].as_str().map(str::to_owned);
        let mut seen = page["items"].as_array().unwrap().len();
        if let Some(next) = next {
            seen += names(&format!("q=04&limit=2&cursor={next}")).await.len();
        }
        assert_eq!(seen, 3);
    }

    async fn certificates_of_before_are_found_answered_and_revoked(at) {
        let (authority, _) = founded(&at.store).await;
        let ca = Ca::root("Corp Root", &Shape::default());
        import(&authority, "corp", &ca, None).await;
        let key = ec_key();
        let (one, two, three) = (leaf(&ca, 1, "one.corp.example", &ec_key(), true), leaf(&ca, 2, "two.corp.example", &ec_key(), false), leaf(&ca, 3, "three.corp.example", &key, true));
        let stolen = NewRevocation::new(KeyCompromise, Some(START - hours(9)));
        let all = [plain(&one), revoked(&two, START - hours(5), Superseded), revoked(&three, START - hours(4), stolen)];
        let before = at.count("SELECT COUNT(*) AS n FROM certificates").await;
        let dry = authority.import_certificates(&actor(), &all, true).await.unwrap();
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM certificates").await, before);
        assert_eq!((dry.clone(), take(&authority, &all).await), (dry, vec![imported(false), imported(true), imported(true)]));
        // twice, and with what is new beside it
        assert_eq!(take(&authority, &all).await, vec![Taken::Known; 3]);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM certificates").await, before + 3);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM blocked_keys").await, 1);
        assert_eq!(says(&authority, "corp-root", 1).await, Said::Good);
        assert_eq!(says(&authority, "corp-root", 2).await, Said::Revoked(START - hours(5), Some(4)));
        assert_eq!(says(&authority, "corp-root", 9).await, Said::Unknown);
        // by its name, and one without a SAN by its common name
        for (certificate, host) in [(&one, "one.corp.example"), (&two, "two.corp.example")] {
            let record = found(&authority, certificate).await;
            let names: Vec<_> = record.names.iter().map(|name| name.value()).collect();
            assert_eq!((names, record.profile.as_str(), record.issuer.as_str()), (vec![host.to_owned()], "imported", "corp-root"));
        }
        let record = found(&authority, &one).await;
        authority.revoke(&actor(), record.id, Superseded).await.unwrap();
        assert!(matches!(says(&authority, "corp-root", 1).await, Said::Revoked(_, Some(4))));
        // revoked under a root whose key is at hand: its CRL lists all three
        let crl = authority.current_crl("corp-root").await.unwrap();
        let listed = openssl::x509::X509Crl::from_der(&crl.der).unwrap();
        assert_eq!(listed.get_revoked().unwrap().len(), 3);
        assert!(listed.verify(&ca.key).unwrap());
        sane(&authority).await;
    }

    async fn what_no_issuer_here_signed_is_refused_and_keeps_nothing_back(at) {
        let (authority, _) = founded(&at.store).await;
        let (ca, other) = (Ca::root("Corp Root", &Shape::default()), Ca::root("Other Root", &Shape::default()));
        let twin = Ca::root("Corp Root", &Shape::default());
        import(&authority, "corp", &ca, None).await;
        let good = leaf(&ca, 1, "good.corp.example", &ec_key(), true);
        let mut broken = plain(&good);
        *broken.der.last_mut().unwrap() ^= 1;
        let cut = Presented { der: good.to_der().unwrap()[..100].to_vec(), revoked: None };
        let all = [
            plain(&leaf(&other, 1, "a.corp.example", &ec_key(), true)),
            plain(&leaf(&twin, 1, "b.corp.example", &ec_key(), true)),
            broken,
            cut,
            Presented { der: Vec::new(), revoked: None },
            plain(&ca.certificate),
            revoked(&leaf(&ca, 5, "late.corp.example", &ec_key(), true), START + days(1), Superseded),
            plain(&good),
            plain(&good),
            plain(&leaf(&ca, 1, "second.corp.example", &ec_key(), true)),
        ];
        let rules: Vec<String> = take(&authority, &all).await.into_iter().map(|taken| match taken {
            Taken::Refused { rule, why } => {
                assert!(!why.is_empty());
                rule
            }
            other => format!("{other:?}"),
        }).collect();
        assert_eq!(rules, ["import.issuer", "import.signature", "import.signature", "import.certificate", "import.certificate",
            "import.issuer_certificate", "import.revocation", "Imported { is_revoked: false }", "Known", "import.serial"]);
        let many = vec![plain(&good); BATCH + 1];
        assert!(authority.import_certificates(&actor(), &many, false).await.is_err());
        assert_eq!(take(&authority, &[]).await, []);
        sane(&authority).await;
    }

    async fn two_cas_may_have_used_one_serial(at) {
        let (authority, _) = founded(&at.store).await;
        let (first, second) = (Ca::root("First Root", &Shape::default()), Ca::root("Second Root", &Shape::default()));
        import(&authority, "first", &first, None).await;
        import(&authority, "second", &second, None).await;
        let (one, two) = (leaf(&first, 7, "one.corp.example", &ec_key(), true), leaf(&second, 7, "two.corp.example", &ec_key(), true));
        assert_eq!(take(&authority, &[plain(&one), plain(&two)]).await, vec![imported(false); 2]);
        assert_eq!(authority.certificates_by_serial(&number(7)).await.unwrap().len(), 2);
        let record = found(&authority, &two).await;
        authority.revoke(&actor(), record.id, Unspecified).await.unwrap();
        assert_eq!(says(&authority, "first-root", 7).await, Said::Good);
        assert!(matches!(says(&authority, "second-root", 7).await, Said::Revoked(..)));
        sane(&authority).await;
    }

    async fn a_revocation_of_the_last_crl_finds_its_certificate(at) {
        let (authority, _) = founded(&at.store).await;
        let ca = Ca::root("Corp Root", &Shape::default());
        let list = List { number: None, serials: vec![vec![1], vec![2]], reason: Some(6), ..List::at(START - hours(1), 1) };
        import(&authority, "corp", &ca, Some(ca.list(&list))).await;
        let (one, two) = (leaf(&ca, 1, "one.corp.example", &ec_key(), true), leaf(&ca, 2, "two.corp.example", &ec_key(), true));
        // index and CRL say the same of one, and the index more of the other
        let all = [plain(&one), revoked(&two, START - hours(2), KeyCompromise)];
        assert_eq!(take(&authority, &all).await, vec![imported(true); 2]);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM revocations").await, 2);
        let (first, second) = (found(&authority, &one).await, found(&authority, &two).await);
        let listed_at = START - hours(1) - days(1);
        assert!(matches!(first.status, CertificateStatus::Revoked { at, reason: CertificateHold, .. } if at == listed_at));
        assert!(matches!(second.status, CertificateStatus::Revoked { at, reason: KeyCompromise, .. } if at == listed_at));
        sane(&authority).await;
        authority.lift_hold(&actor(), first.id).await.unwrap();
        assert_eq!(says(&authority, "corp-root", 1).await, Said::Good);
        sane(&authority).await;
    }

    async fn a_later_import_brings_what_was_revoked_meanwhile(at) {
        let (authority, _) = founded(&at.store).await;
        let ca = Ca::root("Corp Root", &Shape::default());
        import(&authority, "corp", &ca, None).await;
        let one = leaf(&ca, 1, "one.corp.example", &ec_key(), true);
        take(&authority, &[plain(&one)]).await;
        let again = [revoked(&one, START - hours(1), Superseded)];
        assert_eq!(take(&authority, &again).await, [Taken::Revoked]);
        assert_eq!(take(&authority, &again).await, [Taken::Known]);
        assert_eq!(take(&authority, &[revoked(&one, START - hours(1), KeyCompromise)]).await, [Taken::Revoked]);
        let status = found(&authority, &one).await.status;
        assert!(matches!(status, CertificateStatus::Revoked { at, reason: KeyCompromise, .. } if at == START - hours(1)));
        // a certificate of a key that is blocked comes in revoked
        let key = ec_key();
        let (bad, other) = (leaf(&ca, 2, "bad.corp.example", &key, true), leaf(&ca, 3, "other.corp.example", &key, true));
        take(&authority, &[revoked(&bad, START - hours(1), KeyCompromise)]).await;
        assert_eq!(take(&authority, &[plain(&other)]).await, [imported(true)]);
        sane(&authority).await;
    }

    async fn of_two_imports_at_once_each_certificate_is_there_once(at) {
        let (authority, _) = founded(&at.store).await;
        let ca = Ca::root("Corp Root", &Shape::default());
        import(&authority, "corp", &ca, None).await;
        let all: Vec<Presented> = (1..40).map(|n| plain(&leaf(&ca, n, "many.corp.example", &ec_key(), true))).collect();
        let all = Arc::new(all);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (authority, all) = (authority.clone(), all.clone());
            tasks.spawn(async move { authority.import_certificates(&actor(), &all, false).await.unwrap() });
        }
        let taken = tasks.join_all().await.concat();
        assert_eq!(taken.iter().filter(|one| **one == imported(false)).count(), 39);
        assert_eq!(taken.iter().filter(|one| **one == Taken::Known).count(), 3 * 39);
        sane(&authority).await;
    }
}

on_both_engines! {
    async fn certificates_under_an_imported_root_itself_depend_on_it(at) {
        let room = Room::over(at).await;
        let (authority, ca) = (&room.authority, Ca::root("Old Root", &Shape::default()));
        import(authority, "old", &ca, None).await;
        let issuers = async || {
            let check = authority.checks().await.into_iter().find(|check| check.name == "issuers").unwrap();
            (check.severity, check.detail)
        };
        let unused = "trust domain old cannot issue (it has no issuer), and nobody uses it: no certificate of it is valid";
        let depends = async || authority.dependents("old-root").await.unwrap();
        let before = (depends().await, issuers().await);
        assert_eq!((before.0.valid_certificates, before.0.must_confirm(Retire, 0)), (0, false));
        assert!(before.1.0 == Severity::Ok && before.1.1.contains(unused), "{}", before.1.1);
        let gone = leaf(&ca, 4, "four.old.example", &ec_key(), true);
        let mut all: Vec<_> = (1..4).map(|n| plain(&leaf(&ca, n, "www.old.example", &ec_key(), true))).collect();
        all.push(revoked(&gone, START - hours(1), Superseded));
        take(authority, &all).await;
        let (severity, detail) = issuers().await;
        assert!(severity == Severity::Warning && detail.contains("trust domain old cannot issue, so its certificates"), "{detail}");
        assert!(detail.contains("it has no issuer; run `chancery ca create old --under old-root"), "{detail}");
        let path = "/api/v1/issuers/old-root";
        let found = room.get(&room.admin, &format!("{path}/dependents")).await.json();
        assert_eq!((&found["valid_certificates"], &found["confirm_for"]), (&json!(3), &json!(["retiring", "removed", "revoked"])));
        let change = async |state: &str, confirm: bool| {
            let head = axum::http::Request::put(format!("{path}/state")).header("authorization", format!("Bearer {}", room.admin));
            let body = json!({"state": state, "confirm": confirm}).to_string();
            room.send(head.header("content-type", "application/json").body(body.into()).unwrap()).await
        };
        for state in ["retiring", "removed"] {
            let refused = change(state, false).await.json();
            assert_eq!(refused["rule"], "issuer.dependents", "{state}: {refused}");
            assert!(refused["detail"].as_str().unwrap().contains("3 valid certificates depend on old-root"), "{refused}");
            assert_eq!(change(state, true).await.status.as_u16(), 200, "{state}");
        }
        // out of the bundle, as an issuer below a removed root is
        let bundles = authority.checks().await.into_iter().find(|check| check.name == "bundles").unwrap();
        assert!(bundles.detail.contains("root old-root is removed") && bundles.detail.contains("(old-root 3)"), "{}", bundles.detail);
        for state in ["retiring", "active"] {
            assert_eq!(change(state, false).await.status.as_u16(), 200, "{state} gives it back");
        }
        authority.create_issuer(&actor(), &super::wanted("old"), Some("old-root")).await.unwrap();
        let depends = depends().await;
        assert_eq!(depends.valid_certificates, 3, "the certificate of the issuer is none of them");
        // those who trust the root have an issuer: retiring it takes nothing away
        assert!(!depends.must_confirm(Retire, 0) && depends.must_confirm(Remove, 0));
        assert_eq!(authority.dependents("old-1").await.unwrap().valid_certificates, 0);
    }

    async fn what_a_restored_database_lacks_is_taken_in(at) {
        let (authority, _) = founded(&at.store).await;
        let issued = super::issue(&authority, "tls-server", None, &["web.lab.example"]).await.unwrap();
        lose(at, &issued.certificate).await;
        assert!(authority.certificate(issued.certificate.id).await.unwrap().is_none());
        let taken = take(&authority, &[Presented { der: issued.der.clone(), revoked: None }]).await;
        assert_eq!(taken, [imported(false)]);
        let again = authority.certificates_by_serial(&issued.certificate.serial).await.unwrap();
        authority.revoke(&actor(), again[0].id, RevocationReason::Superseded).await.unwrap();
        authority.publish_due().await.unwrap();
        let crl = authority.current_crl("tls-1").await.unwrap();
        let listed = openssl::x509::X509Crl::from_der(&crl.der).unwrap();
        assert!(matches!(listed.get_by_cert(&X509::from_der(&issued.der).unwrap()), openssl::x509::CrlStatus::Revoked(_)));
    }
}

/// As if the backup had been made before the certificate was issued.
async fn lose(at: &At, certificate: &Certificate) {
    at.sql("DELETE FROM serials WHERE certificate_id = (SELECT id FROM certificates WHERE profile = 'tls-server')")
        .await;
    at.sql("DELETE FROM certificate_names WHERE certificate_id = (SELECT id FROM certificates WHERE profile = 'tls-server')").await;
    at.sql("DELETE FROM certificate_bodies WHERE certificate_id = (SELECT id FROM certificates WHERE profile = 'tls-server')").await;
    at.sql("DELETE FROM certificates WHERE profile = 'tls-server'").await;
    assert!(certificates::find(&at.store, certificate.id).await.unwrap().is_none());
}
