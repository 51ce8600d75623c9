//! Revoking CA certificates: on the root's CRL in the same command or critical until it is, out of every chain that is
//! served, and the usage OCSPSigning that no issuing CA has. OpenSSL judges.

use std::sync::Arc;

use chancery::authority::Authority;
use chancery::authority::checks::Severity;
use chancery::authority::hierarchy::import::Import;
use chancery::model::certificate::CertificateStatus;
use chancery::model::id::CertificateId;
use chancery::model::issuer::{IssuerState, OcspSigner};
use chancery::model::key::SignatureAlgorithm;
use chancery::model::reason::RevocationReason;
use chancery::pki::algorithm::algorithm_identifier;
use chancery::pki::ca_certificate::CaCertificate;
use chancery::pki::name::DistinguishedName;
use chancery::pki::ocsp_request::{CertIdHash, encode_request};
use chancery::pki::profile::ExtendedKeyUsage;
use chancery::pki::tbs::{CRL_SIGN, DIGITAL_SIGNATURE, KEY_CERT_SIGN, Pointers, Template};
use chancery::pki::{der, oids};
use chancery::store::engine::q;
use openssl::ocsp::{OcspFlag, OcspResponse, OcspResponseStatus};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509Crl};

use super::corporate::{Ca, Shape};
use super::{actor, issue, openssl as judged, roots, rule, wanted};
use crate::on_both_engines;
use crate::support::stores::{At, founded, plain};

/// The id of the newest certificate of an issuer.
fn newest(authority: &Authority, slug: &str) -> CertificateId {
    authority.snapshot().issuer(slug).unwrap().certificate().unwrap().certificate_id.unwrap()
}

async fn check(authority: &Authority, name: &str) -> (Severity, String) {
    let found = authority.checks().await.into_iter().find(|check| check.name == name).unwrap();
    (found.severity, found.detail)
}

/// What `openssl verify -crl_check_all` says of a leaf with these chains and the CRLs in force.
async fn crl_checked(authority: &Authority, at: &At, leaf: &[u8], chain: &[Vec<u8>], slugs: &[&str]) -> String {
    let mut crls = Vec::new();
    for slug in slugs {
        crls.push(X509Crl::from_der(&authority.current_crl(slug).await.unwrap().der).unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let pems =
        |ders: &[Vec<u8>]| ders.iter().map(|d| chancery::pki::pem::encode("CERTIFICATE", d)).collect::<String>();
    std::fs::write(path("root.pem"), pems(&roots(authority, "tls"))).unwrap();
    std::fs::write(path("chain.pem"), pems(chain)).unwrap();
    std::fs::write(path("leaf.pem"), pems(&[leaf.to_vec()])).unwrap();
    std::fs::write(path("crls.pem"), crls.iter().flat_map(|crl| crl.to_pem().unwrap()).collect::<Vec<u8>>()).unwrap();
    let time = (at.store.now().secs() + 60).to_string();
    let out = std::process::Command::new("openssl")
        .args(["verify", "-x509_strict", "-crl_check_all", "-attime", &time])
        .arg("-CAfile")
        .arg(path("root.pem"))
        .arg("-untrusted")
        .arg(path("chain.pem"))
        .arg("-CRLfile")
        .arg(path("crls.pem"))
        .arg(path("leaf.pem"))
        .output()
        .unwrap();
    if out.status.success() { "ok".into() } else { String::from_utf8_lossy(&out.stderr).into_owned() }
}

/// An OCSP answer of this issuer about a certificate, verified by OpenSSL with the issuer's certificate and the roots.
async fn ocsp_verifies(authority: &Authority, slug: &str, leaf: &[u8], roots: &[Vec<u8>]) -> bool {
    authority.poll_revocations().await.unwrap();
    let snapshot = authority.snapshot();
    let issuer = snapshot.issuer(slug).unwrap();
    let serial = chancery::model::serial::SerialNumber::from_octets(
        &X509::from_der(leaf).unwrap().serial_number().to_bn().unwrap().to_vec(),
    );
    let request = encode_request(&issuer.hashes, CertIdHash::Sha1, &serial.unwrap(), None);
    let answer = authority.ocsp(slug, &request).await.unwrap();
    let response = OcspResponse::from_der(&answer.der).unwrap();
    if response.status() != OcspResponseStatus::SUCCESSFUL {
        return false;
    }
    let mut store = X509StoreBuilder::new().unwrap();
    roots.iter().for_each(|root| store.add_cert(X509::from_der(root).unwrap()).unwrap());
    let mut param = X509VerifyParam::new().unwrap();
    param.set_time(crate::support::stores::START.secs() + 60);
    param.set_flags(X509VerifyFlags::X509_STRICT).unwrap();
    store.set_param(&param).unwrap();
    let mut above = Stack::new().unwrap();
    issuer.chain.iter().for_each(|der| above.push(X509::from_der(der).unwrap()).unwrap());
    response.basic().unwrap().verify(&above, &store.build(), OcspFlag::empty()).is_ok()
}

/// Rewrites the certificate of `slug` to what the versions before this one made: OCSPSigning among its usages.
async fn with_ocsp_signing(at: &At, authority: &Authority, slug: &str, root: &str) -> Vec<u8> {
    let snapshot = authority.snapshot();
    let (own, above) = (snapshot.issuer(slug).unwrap(), snapshot.issuer(root).unwrap());
    let old = own.certificate().unwrap();
    let ca = CaCertificate::read(&old.der).unwrap();
    let key = above.key.as_ref().unwrap();
    let algorithm = SignatureAlgorithm::for_key(key.signer().algorithm());
    let pointers = Pointers {
        crl: Some(above.issuer.crl_url()),
        ocsp: Some(above.issuer.ocsp_url()),
        issuer: above.issuer.certificate_url(),
    };
    let template = Template {
        serial: &ca.serial().unwrap(),
        signature: algorithm,
        issuer: &ca.issuer,
        validity: ca.validity,
        subject: DistinguishedName::from_der(&ca.subject).unwrap(),
        spki: &ca.spki,
        names: &[],
        key_usage: KEY_CERT_SIGN | CRL_SIGN | DIGITAL_SIGNATURE,
        usages: &[ExtendedKeyUsage::ServerAuth, ExtendedKeyUsage::OcspSigning],
        critical_usages: false,
        ca: Some(Some(0)),
        name_constraints: None,
        policies: &[],
        subject_key_id: None,
        authority_key_id: Some(key.key_id()),
        pointers: Some(pointers),
        ocsp_no_check: false,
        no_rev_avail: false,
    };
    let tbs = template.build().unwrap();
    let signature = key.signer().sign(&tbs).await.unwrap();
    let cert = der::sequence(&[&tbs, &algorithm_identifier(algorithm), &der::bit_string(&signature)]);
    let fingerprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &cert);
    let id = old.certificate_id.unwrap().to_vec();
    let run = |text: &'static str| q(plain(text)).bind(id.clone());
    run("UPDATE issuer_certificates SET der = $2 WHERE certificate_id = $1")
        .bind(cert.clone())
        .execute(&at.store.db)
        .await
        .unwrap();
    run("UPDATE certificate_bodies SET der = $2, tbs = $3 WHERE certificate_id = $1")
        .bind(cert.clone())
        .bind(tbs)
        .execute(&at.store.db)
        .await
        .unwrap();
    run("UPDATE certificates SET fingerprint = $2 WHERE id = $1")
        .bind(fingerprint.as_ref().to_vec())
        .execute(&at.store.db)
        .await
        .unwrap();
    authority.reload().await.unwrap();
    cert
}

async fn status(authority: &Arc<Authority>, id: CertificateId) -> CertificateStatus {
    authority.certificate(id).await.unwrap().unwrap().status
}

on_both_engines! {
    async fn a_revoked_issuer_is_on_its_roots_crl_in_the_same_command(at) {
        let (authority, _) = founded(&at.store).await;
        let issued = issue(&authority, "tls-server", None, &["a.example.org"]).await.unwrap();
        assert_eq!(crl_checked(&authority, at, &issued.der, &issued.chain, &["tls-1", "tls-root"]).await, "ok");
        let id = newest(&authority, "tls-1");
        let revoked = authority.revoke(&actor(), id, RevocationReason::CessationOfOperation).await.unwrap();
        assert_eq!(authority.revocation_to_publish(&revoked).await.unwrap(), None);
        assert_eq!(authority.current_crl("tls-root").await.unwrap().entries, 1);
        assert_eq!(check(&authority, "revocations").await.0, Severity::Ok);
        let said = crl_checked(&authority, at, &issued.der, &issued.chain, &["tls-1", "tls-root"]).await;
        assert!(said.contains("certificate revoked"), "{said}");
        assert!(authority.snapshot().issuer("tls-1").unwrap().revoked_at.is_some());
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn without_the_roots_key_a_revoked_issuer_is_critical_until_its_crl_is_signed(at) {
        let (authority, _) = founded(&at.store).await;
        let file = authority.export_root("tls-root", Some(b"a long password")).unwrap();
        authority.take_root_offline(&actor(), "tls-root", &file, Some(b"a long password")).await.unwrap();
        let id = newest(&authority, "tls-1");
        let revoked = authority.revoke(&actor(), id, RevocationReason::CessationOfOperation).await.unwrap();
        let action = authority.revocation_to_publish(&revoked).await.unwrap().unwrap();
        assert!(action.contains("chancery ca crl sign tls-root") && action.contains("ca root online"), "{action}");
        let (severity, detail) = check(&authority, "revocations").await;
        assert_eq!(severity, Severity::Critical);
        assert!(detail.contains("1 revoked under tls-root is not on its CRL"), "{detail}");
        assert_eq!(authority.pending_revocations().await.unwrap()[0].count, 1);
        authority.bring_root_online(&actor(), &file, Some(b"a long password")).await.unwrap();
        assert_eq!(check(&authority, "revocations").await.0, Severity::Critical, "not before it is signed");
        authority.sign_crls(&actor(), "tls-root").await.unwrap();
        assert_eq!(check(&authority, "revocations").await.0, Severity::Ok);
        let revoked = authority.certificate(id).await.unwrap().unwrap();
        assert_eq!(authority.revocation_to_publish(&revoked).await.unwrap(), None);
    }

    async fn a_compromised_issuer_key_takes_all_its_certificates_to_the_roots_crl(at) {
        let (authority, _) = founded(&at.store).await;
        let first = newest(&authority, "tls-1");
        authority.renew_issuer(&actor(), "tls-1", Some(4)).await.unwrap();
        let second = newest(&authority, "tls-1");
        assert_ne!(first, second);
        authority.revoke(&actor(), first, RevocationReason::KeyCompromise).await.unwrap();
        assert!(matches!(status(&authority, second).await, CertificateStatus::Revoked { .. }));
        assert_eq!(authority.current_crl("tls-root").await.unwrap().entries, 2);
        assert!(issue(&authority, "tls-server", None, &["a.example.org"]).await.is_err());
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn a_revoked_delegate_of_a_root_answers_no_more(at) {
        let (authority, _) = founded(&at.store).await;
        let row = at.rows("SELECT r.certificate_id AS id FROM responders r JOIN issuers i ON i.id = r.issuer_id WHERE i.slug = 'tls-root'").await;
        let id: CertificateId = row[0].id("id").unwrap();
        authority.revoke(&actor(), id, RevocationReason::KeyCompromise).await.unwrap();
        assert_eq!(authority.current_crl("tls-root").await.unwrap().entries, 1);
        // the key of the root was at hand: a new delegate stands in its place
        let snapshot = authority.snapshot();
        assert!(snapshot.issuer("tls-root").unwrap().responder.is_some());
        let alive = chancery::store::hierarchy::responders(&at.store, at.store.now()).await.unwrap();
        assert!(alive.iter().all(|r| r.certificate_id != id));
        let own = snapshot.issuer("tls-1").unwrap().certificate().unwrap().der.clone();
        assert!(ocsp_verifies(&authority, "tls-root", &own, &roots(&authority, "tls")).await);
    }

    async fn new_issuers_have_no_ocsp_signing_and_their_delegates_verify(at) {
        let (authority, _) = founded(&at.store).await;
        authority.create_domain(&actor(), &wanted("lab")).await.unwrap();
        for (slug, domain, profile, names) in [("tls-1", "tls", "tls-server", &["a.example.org"][..]), ("lab-1", "lab", "lab-client", &[])] {
            let ca = CaCertificate::read(&authority.snapshot().issuer(slug).unwrap().certificate().unwrap().der).unwrap();
            assert!(!ca.usages.is_empty() && !ca.usages.contains(&oids::EKU_OCSP_SIGNING), "{slug}");
            let cn = names.is_empty().then_some("till");
            let issued = issue(&authority, profile, cn, names).await.unwrap();
            assert!(ocsp_verifies(&authority, slug, &issued.der, &roots(&authority, domain)).await, "{slug}");
        }
        let asked = chancery::authority::hierarchy::plan::Wanted { usages: vec!["serverAuth".into(), "OCSPSigning".into()], ..wanted("lab") };
        assert_eq!(rule(authority.create_issuer(&actor(), &asked, None).await), "issuer.extended_key_usage");
    }

    async fn a_corporate_subordinate_with_server_auth_alone_has_an_ocsp_delegate(at) {
        let (authority, _) = founded(&at.store).await;
        let root = Ca::root("Corp Root", &Shape::default());
        let issuing = root.below("Corp Issuing", &Shape { usages: vec!["1.3.6.1.5.5.7.3.1"], path_len: Some(0), ..Shape::default() });
        let import = Import { domain: "corp".into(), name: None, certificates: vec![issuing.der(), root.der()], key: issuing.pkcs8(), status_url: None, crl: None };
        authority.import_issuer(&actor(), import).await.unwrap();
        let issued = issue(&authority, "corp-server", None, &["a.example.org"]).await.unwrap();
        assert!(ocsp_verifies(&authority, "corp-1", &issued.der, &[root.der()]).await);
        for check in authority.checks().await.into_iter().filter(|check| !["domain lists", "durability"].contains(&check.name)) {
            assert_eq!(check.severity, Severity::Ok, "{}: {}", check.name, check.detail);
        }
    }

    async fn a_revoked_issuer_gets_no_further_certificate(at) {
        let (authority, _) = founded(&at.store).await;
        let own = authority.snapshot().issuer("tls-1").unwrap().certificate().unwrap().certificate_id.unwrap();
        authority.renew_issuer(&actor(), "tls-1", None).await.unwrap();
        let newer = authority.snapshot().issuer("tls-1").unwrap().certificates.clone();
        let newer = newer.iter().filter_map(|c| c.certificate_id).find(|id| *id != own).unwrap();
        // of two at once one finds that it is the last
        let reason = RevocationReason::Superseded;
        let by = actor();
        let (one, two) = tokio::join!(authority.revoke(&by, own, reason), authority.revoke(&by, newer, reason));
        assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
        authority.reload().await.unwrap();
        assert_eq!(authority.snapshot().issuer("tls-1").unwrap().issuer.state, IssuerState::Revoked);
        assert_eq!(rule(authority.renew_issuer(&actor(), "tls-1", None).await), "issuer.revoked");
        let refused = authority.request_again(&actor(), "tls-1").await.unwrap_err();
        assert!(refused.detail.contains("chancery ca create tls --under"), "{}", refused.detail);
        assert!(issue(&authority, "tls-server", None, &["a.test"]).await.is_err());
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn renewing_an_issuer_with_ocsp_signing_revokes_the_old_certificate(at) {
        let (authority, _) = founded(&at.store).await;
        let old = with_ocsp_signing(at, &authority, "tls-1", "tls-root").await;
        let before = issue(&authority, "tls-server", None, &["a.example.org"]).await.unwrap();
        assert_eq!(before.chain, std::slice::from_ref(&old));
        let (severity, detail) = check(&authority, "delegations").await;
        assert_eq!(severity, Severity::Warning);
        assert!(detail.contains("chancery ca renew tls-1"), "{detail}");
        let id = newest(&authority, "tls-1");
        let revoked = authority.renew_issuer(&actor(), "tls-1", None).await.unwrap();
        assert_eq!(revoked, [CaCertificate::read(&old).unwrap().serial().unwrap()]);
        assert!(matches!(status(&authority, id).await, CertificateStatus::Revoked { reason: RevocationReason::Superseded, .. }));
        assert_eq!(check(&authority, "delegations").await.0, Severity::Ok);
        assert_eq!(check(&authority, "revocations").await.0, Severity::Ok);
        // what was signed before stays valid under the chain that is served now, and not under the old one
        let record = authority.certificate(before.certificate.id).await.unwrap().unwrap();
        let served = authority.chain_of(&record);
        assert!(!served.contains(&old));
        assert!(authority.chains_of(&record, &before.der).unwrap().iter().all(|chain| !chain.ders.contains(&old)));
        let lists = ["tls-1", "tls-root"];
        assert_eq!(crl_checked(&authority, at, &before.der, &served, &lists).await, "ok");
        let said = crl_checked(&authority, at, &before.der, std::slice::from_ref(&old), &lists).await;
        assert!(said.contains("certificate revoked"), "{said}");
        let after = issue(&authority, "tls-server", None, &["b.example.org"]).await.unwrap();
        assert_eq!(crl_checked(&authority, at, &after.der, &after.chain, &lists).await, "ok");
        assert!(ocsp_verifies(&authority, "tls-1", &before.der, &roots(&authority, "tls")).await);
        // a second renewal revokes nothing
        assert!(authority.renew_issuer(&actor(), "tls-1", None).await.unwrap().is_empty());
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn an_operator_may_let_the_issuers_own_key_sign_ocsp(at) {
        let (authority, _) = founded(&at.store).await;
        let issued = issue(&authority, "tls-server", None, &["a.example.org"]).await.unwrap();
        authority.set_ocsp_signer(&actor(), "tls-1", OcspSigner::Issuer).await.unwrap();
        authority.set_ocsp_signer(&actor(), "tls-1", OcspSigner::Issuer).await.unwrap();
        assert!(authority.snapshot().issuer("tls-1").unwrap().responder.as_ref().unwrap().is_issuer);
        assert!(ocsp_verifies(&authority, "tls-1", &issued.der, &roots(&authority, "tls")).await);
        assert_eq!(rule(authority.set_ocsp_signer(&actor(), "tls-root", OcspSigner::Issuer).await), "issuer.ocsp_signer");
        for check in authority.checks().await.into_iter().filter(|check| check.name != "durability") {
            assert_eq!(check.severity, Severity::Ok, "{}: {}", check.name, check.detail);
        }
        authority.set_ocsp_signer(&actor(), "tls-1", OcspSigner::Delegate).await.unwrap();
        assert!(!authority.snapshot().issuer("tls-1").unwrap().responder.as_ref().unwrap().is_issuer);
        assert!(ocsp_verifies(&authority, "tls-1", &issued.der, &roots(&authority, "tls")).await);
        assert_eq!(judged(&issued.der, &issued.chain, &roots(&authority, "tls")), "ok");
    }
}
