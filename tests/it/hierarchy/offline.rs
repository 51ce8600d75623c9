//! `ca root offline|online`, and the CRL that an offline root signs elsewhere: by OpenSSL.

use std::path::Path;
use std::process::Command;

use chancery::authority::Authority;
use chancery::authority::hierarchy::import::Import;
use chancery::error::ErrorKind;
use chancery::model::reason::RevocationReason;
use chancery::pki::pem;

use super::corporate::{Ca, Shape};
use super::{actor, issue, openssl as judged, roots, rule, wanted};
use crate::on_both_engines;
use crate::support::stores::founded;

on_both_engines! {
    async fn a_root_goes_offline_under_either_seal_and_comes_back(at) {
        let (authority, keys) = founded(&at.store).await;
        authority.create_domain(&actor(), &wanted("lab")).await.unwrap();
        for password in [None, Some(&b"a long password"[..])] {
            let file = authority.export_root("lab-root", password).unwrap();
            let halfway = &file[..file.len() / 2];
            assert!(authority.take_root_offline(&actor(), "lab-root", halfway, password).await.is_err());
            let strange = authority.export_root("tls-root", password).unwrap();
            assert_eq!(authority.take_root_offline(&actor(), "lab-root", &strange, password).await.unwrap_err().kind, ErrorKind::Inconsistent);
            if password.is_some() {
                let wrong = authority.take_root_offline(&actor(), "lab-root", &file, Some(b"another")).await;
                assert_eq!(rule(wrong), "key.password");
            }
            assert!(authority.snapshot().issuer("lab-root").unwrap().key.is_some(), "still there");
            authority.take_root_offline(&actor(), "lab-root", &file, password).await.unwrap();
            assert_eq!(at.count("SELECT COUNT(*) AS n FROM keys WHERE purpose = 'root' AND length(sealed) = 0").await, 1);
            assert_eq!(rule(authority.create_issuer(&actor(), &wanted("lab"), Some("lab-root")).await), "issuer.root_key");
            assert!(authority.export_root("lab-root", password).is_err());
            let issued = issue(&authority, "lab-client", Some("till"), &[]).await.unwrap();
            assert_eq!(judged(&issued.der, &issued.chain, &roots(&authority, "lab")), "ok");
            assert!(authority.current_crl("lab-root").await.is_ok());
            // as a server sees it that starts now
            let started = Authority::open(at.restarted().await, keys.clone(), vec![]).await.unwrap();
            assert!(started.snapshot().issuer("lab-root").unwrap().key.is_none());
            assert_eq!(authority.bring_root_online(&actor(), &file, password).await.unwrap(), "lab-root");
            assert_eq!(rule(authority.bring_root_online(&actor(), &file, password).await), "root.offline");
            authority.create_issuer(&actor(), &wanted("lab"), Some("lab-root")).await.unwrap();
        }
        assert_eq!(rule(authority.export_root("lab-1", None)), "root.role");
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn a_long_crl_of_an_offline_root_is_signed_elsewhere_and_imported(at) {
        let (authority, _) = founded(&at.store).await;
        authority.create_domain(&actor(), &wanted("lab")).await.unwrap();
        let snapshot = authority.snapshot();
        let own = snapshot.issuer("lab-1").unwrap().certificate().unwrap();
        let (issuing, id) = (own.der.clone(), own.certificate_id.unwrap());
        let file = authority.export_root("lab-root", Some(b"pass")).unwrap();
        authority.take_root_offline(&actor(), "lab-root", &file, Some(b"pass")).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let at_hand = folder.path();
        std::fs::write(at_hand.join("root.pem"), &file).unwrap();
        let serial = X509::from_der(&issuing).unwrap().serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string();

        let good = crl(at_hand, "0100", 3_000, &[&serial]);
        let number = rule(authority.import_crl(&actor(), &crl(at_hand, "01", 3_000, &[])).await);
        assert_eq!(number, "crl.number", "lower than what is published");
        let mut forged = good.clone();
        let last = forged.len() - 1;
        forged[last] ^= 1;
        assert_eq!(rule(authority.import_crl(&actor(), &forged).await), "crl.signature");
        let (slug, until) = authority.import_crl(&actor(), &good).await.unwrap();
        assert_eq!(slug, "lab-root");
        assert!(until > at.store.now() + chancery::clock::days(2_500));
        let now = authority.certificate(id).await.unwrap().unwrap();
        assert!(matches!(now.status, chancery::model::certificate::CertificateStatus::Revoked { .. }));
        assert_eq!(authority.current_crl("lab-root").await.unwrap().der, good);
        assert_eq!(rule(authority.import_crl(&actor(), &good).await), "crl.number");
        assert_eq!(rule(authority.import_crl(&actor(), &crl(at_hand, "0101", 3_000, &[])).await), "crl.complete");
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn what_an_imported_ca_revoked_before_stays_revoked(at) {
        let (authority, _) = founded(&at.store).await;
        let ca = Ca::root("Corp Root", &Shape::default());
        let folder = tempfile::tempdir().unwrap();
        let key = String::from_utf8(ca.key.private_key_to_pem_pkcs8_passphrase(openssl::symm::Cipher::aes_256_cbc(), b"pass").unwrap()).unwrap();
        std::fs::write(folder.path().join("root.pem"), format!("{key}{}", pem::encode(pem::CERTIFICATE, &ca.der()))).unwrap();
        let old = "7B0C0FFEE0DDBA11";
        let list = crl(folder.path(), "0200", 30, &[old]);
        let import = Import {
            domain: "corp".into(),
            name: None,
            certificates: vec![ca.der()],
            key: ca.pkcs8(),
            status_url: None,
            crl: Some(list),
        };
        assert_eq!(authority.import_issuer(&actor(), import).await.unwrap(), "corp-root");
        let ours = authority.current_crl("corp-root").await.unwrap();
        let parsed = openssl::x509::X509Crl::from_der(&ours.der).unwrap();
        assert!(parsed.verify(&ca.certificate.public_key().unwrap()).unwrap());
        let serials: Vec<String> = parsed.get_revoked().unwrap().iter().map(|r| r.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string()).collect();
        assert_eq!(serials, [old]);
        assert!(ours.number > chancery::model::crl::CrlNumber::from(0x0200), "the numbers go on");
        authority.create_issuer(&actor(), &wanted("corp"), Some("corp-root")).await.unwrap();
        let snapshot = authority.snapshot();
        let issued = snapshot.issuer("corp-1").unwrap().certificate().unwrap().certificate_id.unwrap();
        authority.revoke(&actor(), issued, RevocationReason::Superseded).await.unwrap();
        authority.sign_crls(&actor(), "corp-root").await.unwrap();
        let both = authority.current_crl("corp-root").await.unwrap();
        assert_eq!(both.entries, 2);
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }
}

use openssl::x509::X509;

/// A CRL by `openssl ca`, with the key and certificate in root.pem, of this number (hex) and with these serials (hex).
pub fn crl(folder: &Path, number: &str, days: u32, serials: &[&str]) -> Vec<u8> {
    // OpenSSL has no clock of ours: thisUpdate is set through the library's options
    let revoked: String =
        serials.iter().map(|serial| format!("R\t360101000000Z\t261031000000Z\t{serial}\tunknown\t/CN=x\n")).collect();
    std::fs::write(folder.join("index.txt"), revoked).unwrap();
    std::fs::write(folder.join("crlnumber"), number).unwrap();
    let config = format!(
        "[ca]\ndefault_ca = own\n[own]\ndatabase = {0}/index.txt\ncrlnumber = {0}/crlnumber\ncertificate = {0}/root.pem\n\
         private_key = {0}/root.pem\ndefault_md = sha384\ncrl_extensions = ext\n[ext]\nauthorityKeyIdentifier = keyid\n",
        folder.display()
    );
    std::fs::write(folder.join("ca.cnf"), config).unwrap();
    let last = "20261031120000Z";
    let next = format!("20{:02}1031120000Z", 26 + days.div_ceil(365));
    let made = Command::new("openssl")
        .args(["ca", "-gencrl", "-passin", "pass:pass", "-crl_lastupdate", last, "-crl_nextupdate", &next, "-config"])
        .arg(folder.join("ca.cnf"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    pem::decode_all(&String::from_utf8(made.stdout).unwrap()).unwrap().remove(0).der
}
