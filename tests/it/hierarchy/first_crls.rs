//! A new issuer has its first CRL from the transaction that makes it: nobody, `doctor` included, meets one without.

use chancery::authority::Authority;
use chancery::authority::checks::Severity;
use chancery::authority::hierarchy::import::Import;
use chancery::model::crl::CrlNumber;
use chancery::pki::crl_facts::CrlFacts;
use chancery::pki::pem;
use openssl::x509::{X509, X509Crl, X509Req};

use super::corporate::{Ca, Shape};
use super::{actor, wanted};
use crate::on_both_engines;
use crate::support::stores::founded;

/// The CRL in force is there, signed by the issuer, and no check complains.
async fn has_its_crl(authority: &Authority, slug: &str) -> CrlNumber {
    let crl = authority.current_crl(slug).await.unwrap_or_else(|e| panic!("{slug}: {e}"));
    let issuer = X509::from_der(&authority.snapshot().issuer(slug).unwrap().certificate().unwrap().der).unwrap();
    let read = X509Crl::from_der(&crl.der).unwrap();
    assert!(read.verify(&issuer.public_key().unwrap()).unwrap(), "{slug}");
    // the CRL of a CA elsewhere is fetched by a server
    for check in
        authority.checks().await.into_iter().filter(|check| !["domain lists", "durability"].contains(&check.name))
    {
        assert_eq!(check.severity, Severity::Ok, "{slug}: {} {}", check.name, check.detail);
    }
    crl.number
}

on_both_engines! {
    async fn a_new_issuer_has_a_crl_at_once(at) {
        let (authority, _) = founded(&at.store).await;
        has_its_crl(&authority, "tls-1").await;
        authority.create_domain(&actor(), &wanted("etcd")).await.unwrap();
        let first = has_its_crl(&authority, "etcd-1").await;
        has_its_crl(&authority, "etcd-root").await;
        authority.create_issuer(&actor(), &wanted("etcd"), None).await.unwrap();
        has_its_crl(&authority, "etcd-2").await;
        // nothing is left to do, and the next one goes on from its number
        assert_eq!(authority.publish_due().await.unwrap(), 0);
        at.clock.advance(chancery::clock::hours(7));
        assert!(authority.publish_due().await.unwrap() >= 2);
        assert!(has_its_crl(&authority, "etcd-1").await > first);
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn the_next_crl_stands_ready_before_a_server_ever_ran(at) {
        let (authority, _) = founded(&at.store).await;
        authority.create_domain(&actor(), &wanted("etcd")).await.unwrap();
        at.clock.advance(chancery::clock::hours(30));
        let crl = authority.current_crl("etcd-1").await.unwrap();
        assert!(CrlFacts::parse(&crl.der).unwrap().next_update.unwrap() > at.store.now() + chancery::clock::days(6));
    }

    async fn an_imported_issuer_goes_on_from_its_last_crl_at_once(at) {
        let (authority, _) = founded(&at.store).await;
        let root = Ca::root("Corp Root", &Shape::default());
        let issuing = root.below("Corp Issuing", &Shape { path_len: Some(0), ..Shape::default() });
        let take = |crl: Option<Vec<u8>>, name: &str, ca: &Ca| {
            let certificates = vec![ca.der(), root.der()];
            Import { domain: "corp".into(), name: Some(name.into()), certificates, key: ca.pkcs8(), status_url: None, crl }
        };
        authority.import_issuer(&actor(), take(None, "corp-1", &issuing)).await.unwrap();
        let earlier = has_its_crl(&authority, "corp-1").await;
        // the CRL of an issuer's time elsewhere: its number is left behind by the first one here
        let other = root.below("Corp Other", &Shape { path_len: Some(0), ..Shape::default() });
        let folder = tempfile::tempdir().unwrap();
        let key = String::from_utf8(other.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        std::fs::write(folder.path().join("root.pem"), format!("{key}{}", pem::encode(pem::CERTIFICATE, &other.der()))).unwrap();
        let list = super::offline::crl(folder.path(), "0200", 30, &["7B0C0FFEE0DDBA11"]);
        authority.import_issuer(&actor(), take(Some(list), "corp-2", &other)).await.unwrap();
        assert_eq!(has_its_crl(&authority, "corp-2").await, CrlNumber::from(0x0201));
        assert_eq!(authority.current_crl("corp-2").await.unwrap().entries, 1);
        assert!(earlier < CrlNumber::from(0x0201));
    }

    async fn an_installed_issuer_has_a_crl_at_once(at) {
        let (authority, _) = founded(&at.store).await;
        let corporate = Ca::root("Corp Root", &Shape::default());
        let request = authority.request_issuer(&actor(), &wanted("lab"), None).await.unwrap();
        let csr = X509Req::from_der(&request.csr).unwrap();
        let shape = Shape { path_len: Some(0), ..Shape::default() };
        let signed = corporate.sign(csr.subject_name(), &csr.public_key().unwrap(), &shape).to_der().unwrap();
        authority.install_issuer(&actor(), &[signed, corporate.der()]).await.unwrap();
        has_its_crl(&authority, "lab-1").await;
    }
}
