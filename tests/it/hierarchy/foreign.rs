//! `ca import`, `ca csr` and `ca install`: CAs of others, in every form that they come in, and what is refused.

use std::sync::Arc;

use chancery::authority::Authority;
use chancery::authority::checks::Severity;
use chancery::authority::hierarchy::import::Import;
use chancery::authority::hierarchy::plan::Wanted;
use chancery::error::{ErrorKind, Result};
use chancery::model::issuer::{IssuerMove, IssuerRole, IssuerState};
use chancery::pki::name::SubjectFields;
use chancery::pki::{der, pkcs12, private_key};
use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::stack::Stack;
use openssl::symm::Cipher;
use openssl::x509::X509Req;
use zeroize::Zeroizing;

use super::corporate::{Ca, Shape, ec_key, old_names, with_name};
use super::{actor, issue, openssl as judged, roots, rule, wanted};
use crate::on_both_engines;
use crate::support::stores::founded;

const SERVER: &str = "1.3.6.1.5.5.7.3.1";
const CLIENT: &str = "1.3.6.1.5.5.7.3.2";
const CODE: &str = "1.3.6.1.5.5.7.3.3";
const OCSP: &str = "1.3.6.1.5.5.7.3.9";

fn import(domain: &str, certificates: Vec<Vec<u8>>, key: Zeroizing<Vec<u8>>) -> Import {
    Import { domain: domain.into(), name: None, certificates, key, status_url: None, crl: None }
}

async fn take(authority: &Authority, domain: &str, ca: &Ca, above: &[&Ca]) -> Result<String> {
    let certificates = std::iter::once(ca).chain(above.iter().copied()).map(Ca::der).collect();
    authority.import_issuer(&actor(), import(domain, certificates, ca.pkcs8())).await
}

/// A leaf of the domain's `{domain}-client` profile is accepted under exactly these roots.
async fn works(authority: &Arc<Authority>, domain: &str, what: &str) {
    let issued = issue(authority, &format!("{domain}-client"), Some("till"), &[]).await;
    let issued = issued.unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(judged(&issued.der, &issued.chain, &roots(authority, domain)), "ok", "{what}");
}

on_both_engines! {
    async fn names_of_old_cas_chain_byte_for_byte(at) {
        let (authority, _) = founded(&at.store).await;
        for (n, (what, name)) in old_names().into_iter().enumerate() {
            // as a root, with an issuer of ours below it
            let (domain, other) = (format!("old{n}"), format!("older{n}"));
            let (der, signer, key) = with_name(&name, None);
            let root = authority.import_issuer(&actor(), import(&domain, vec![der.clone()], Zeroizing::new(key))).await.unwrap();
            assert_eq!(root, format!("{domain}-root"), "{what}");
            authority.create_issuer(&actor(), &wanted(&domain), Some(&root)).await.unwrap();
            works(&authority, &domain, what).await;
            // as an issuer below a root that stays elsewhere
            let below = chancery::pki::name::DistinguishedName::build(&SubjectFields::common_name("Below")).unwrap();
            let (issuing, _, key) = with_name(below.as_der(), Some((&name, &signer)));
            let taken = import(&other, vec![der, issuing], Zeroizing::new(key));
            assert_eq!(authority.import_issuer(&actor(), taken).await.unwrap(), format!("{other}-1"), "{what}");
            works(&authority, &other, what).await;
        }
        authority.publish_due().await.unwrap();
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn an_imported_issuer_signs_and_publishes_as_one_of_ours(at) {
        let (authority, _) = founded(&at.store).await;
        let root = Ca::root("Corp Root", &Shape::default());
        let usages = Shape { usages: vec![SERVER, CLIENT, OCSP], path_len: Some(0), ..Shape::default() };
        let issuing = root.below("Corp Issuing", &usages);
        assert_eq!(take(&authority, "corp", &issuing, &[&root]).await.unwrap(), "corp-1");
        works(&authority, "corp", "with usages").await;
        let snapshot = authority.snapshot();
        let loaded = snapshot.issuer("corp-1").unwrap();
        assert_eq!((loaded.issuer.name.as_str(), loaded.issuer.role), ("Corp Issuing", IssuerRole::Issuing));
        assert!(loaded.responder.is_some());
        // so does one without OCSPSigning, which its delegate does not need
        let plain = root.below("Corp Plain", &Shape { usages: vec![SERVER, CLIENT], ..usages });
        assert_eq!(take(&authority, "plain", &plain, &[&root]).await.unwrap(), "plain-1");
        works(&authority, "plain", "without OCSPSigning").await;
        assert!(authority.snapshot().issuer("plain-1").unwrap().responder.is_some());
        assert_eq!(authority.renew_responders().await.unwrap(), 0);
        authority.publish_due().await.unwrap();
        assert!(authority.current_crl("plain-1").await.is_ok());
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    // The roots of kubeadm, k3s and mkcert.
    async fn a_root_that_may_sign_no_crl_signs_none_and_nothing_asks_for_one(at) {
        let (authority, _) = founded(&at.store).await;
        let root = Ca::root("kubernetes", &Shape { signs_crls: false, ..Shape::default() });
        assert_eq!(take(&authority, "kube", &root, &[]).await.unwrap(), "kube-root");
        authority.create_issuer(&actor(), &wanted("kube"), Some("kube-root")).await.unwrap();
        works(&authority, "kube", "below a root without cRLSign").await;
        authority.publish_due().await.unwrap();
        assert!(authority.current_crl("kube-1").await.is_ok());
        assert_eq!(authority.current_crl("kube-root").await.unwrap_err().kind, ErrorKind::NotFound);
        assert_eq!(authority.crl_bundle("kube").await.unwrap().len(), 1);
        // the issuer names no CRL of its root, and an OCSP responder; what it signs names its own CRL
        let read = |der: &[u8]| openssl::x509::X509::from_der(der).unwrap();
        let own = read(&authority.snapshot().issuer("kube-1").unwrap().certificate().unwrap().der);
        assert!(own.crl_distribution_points().is_none() && own.ocsp_responders().unwrap().len() == 1);
        let leaf = issue(&authority, "kube-client", Some("till"), &[]).await.unwrap();
        assert!(read(&leaf.der).crl_distribution_points().is_some());
        assert_eq!(rule(authority.sign_crls(&actor(), "kube-root").await), "crl.key_usage");
        let checks = authority.checks().await;
        let crls = checks.iter().find(|check| check.name == "crls").unwrap();
        assert!(crls.detail.contains("kube-root signs none") && !crls.detail.contains("no CRL in force"), "{}", crls.detail);
        assert!(crls.severity == Severity::Ok && crls.detail.contains("lacks cRLSign"), "{}", crls.detail);
        // what it signed is revoked for OCSP; and the operator learns that no CRL says so
        let own = authority.snapshot().issuer("kube-1").unwrap().certificate().unwrap().certificate_id.unwrap();
        let revoked = authority.revoke(&actor(), own, chancery::model::reason::RevocationReason::Superseded).await.unwrap();
        let action = authority.revocation_to_publish(&revoked).await.unwrap().unwrap();
        assert!(action.contains("signs no CRL"), "{action}");
        assert_eq!(authority.pending_revocations().await.unwrap(), []);
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    // What an earlier version made, and a root that stays elsewhere.
    async fn a_crl_that_cannot_exist_is_named_by_doctor_alone_where_a_certificate_points_to_it(at) {
        let (authority, _) = founded(&at.store).await;
        let root = Ca::root("kubernetes", &Shape { signs_crls: false, ..Shape::default() });
        take(&authority, "kube", &root, &[]).await.unwrap();
        let url = authority.snapshot().issuer("kube-root").unwrap().issuer.crl_url();
        let name = der::constructed(der::context_constructed(0), &[&der::tlv(der::context(6), url.as_bytes())]);
        let point = der::sequence(&[&der::sequence(&[&der::constructed(der::context_constructed(0), &[&name])])]);
        let pointing =
            Shape { usages: vec![SERVER, CLIENT], path_len: Some(0), more: vec![("2.5.29.31", false, point)], days: 300, ..Shape::default() };
        take(&authority, "kube", &root.below("Old Issuing", &pointing), &[]).await.unwrap();
        let found = |name: &'static str| {
            let authority = authority.clone();
            async move { authority.checks().await.into_iter().find(|check| check.name == name).unwrap() }
        };
        let crls = found("crls").await;
        assert_eq!(crls.severity, Severity::Warning);
        assert!(crls.detail.contains("the certificate of kube-1 names a CRL of kube-root") && crls.detail.contains("`chancery ca renew kube-1`"), "{}", crls.detail);
        let lists = found("domain lists").await;
        assert_eq!(lists.severity, Severity::Ok, "{}", lists.detail);
        // nobody asks for the CRL of a root elsewhere that signs none
        let other = Ca::root("k3s", &Shape { signs_crls: false, ..Shape::default() });
        take(&authority, "edge", &other.below("k3s issuing", &Shape::default()), &[&other]).await.unwrap();
        let lists = found("domain lists").await;
        assert_eq!(lists.severity, Severity::Ok, "{}", lists.detail);
        // and the remedy helps
        authority.renew_issuer(&actor(), "kube-1", None).await.unwrap();
        let crls = found("crls").await;
        assert_eq!(crls.severity, Severity::Ok, "{}", crls.detail);
    }

    async fn each_refusal_of_an_arriving_certificate_names_a_command_that_there_is(at) {
        let (authority, _) = founded(&at.store).await;
        authority.create_domain(&actor(), &wanted("lab")).await.unwrap();
        let corporate = Ca::root("Corp Root", &Shape::default());
        let imported = take(&authority, "lab", &corporate.below("Issuing", &Shape::default()), &[&corporate]).await;
        let told = imported.unwrap_err().rule.unwrap();
        assert!(told.name == "issuer.root" && told.fix.contains("`chancery ca import FILE --domain OTHER`"), "{told:?}");
        let request = authority.request_issuer(&actor(), &wanted("lab"), None).await.unwrap();
        let csr = X509Req::from_der(&request.csr).unwrap();
        let signed = |usages| {
            let shape = Shape { usages, ..Shape::default() };
            corporate.sign(csr.subject_name(), &csr.public_key().unwrap(), &shape).to_der().unwrap()
        };
        for (usages, rule) in [(vec![], "issuer.root"), (vec![CODE], "issuer.extended_key_usage")] {
            let installed = authority.install_issuer(&actor(), &[signed(usages), corporate.der()]).await;
            let told = installed.unwrap_err().rule.unwrap();
            assert!(told.name == rule && told.fix.contains("`chancery ca csr ") && !told.fix.contains("--domain"), "{told:?}");
        }
    }

    async fn what_is_no_sound_ca_with_its_key_is_refused_by_rule(at) {
        let (authority, _) = founded(&at.store).await;
        let (root, other) = (Ca::root("Corp Root", &Shape::default()), Ca::root("Other", &Shape::default()));
        let rows = at.count("SELECT COUNT(*) AS n FROM keys").await;
        let with = |shape: Shape| Ca::root("Odd", &shape);
        let stolen = Ca { certificate: root.certificate.clone(), key: other.key.clone() };
        let narrow = Ca::root("Narrow", &Shape { path_len: Some(0), ..Shape::default() });
        let servers = Ca::root("Servers", &Shape { usages: vec![SERVER, OCSP], ..Shape::default() });
        let weak = Ca::with_key("Weak", PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap(), &Shape::default());
        for (ca, above, wanted) in [
            (&stolen, None, "issuer.key"),
            (&with(Shape { ca: false, ..Shape::default() }), None, "issuer.ca"),
            (&root.below("Odd", &Shape { signs_crls: false, ..Shape::default() }), Some(&root), "issuer.key_usage"),
            (&with(Shape { from: -100, days: 99, ..Shape::default() }), None, "issuer.validity"),
            (&with(Shape { from: 2, ..Shape::default() }), None, "issuer.validity"),
            (&with(Shape { usages: vec![CODE], ..Shape::default() }), None, "issuer.extended_key_usage"),
            (&root.below("Lost", &Shape::default()), None, "issuer.chain"),
            (&root.below("Lost", &Shape::default()), Some(&other), "issuer.chain"),
            (&narrow.below("Too Deep", &Shape::default()), Some(&narrow), "issuer.path_len"),
            (&servers.below("Too Much", &Shape { usages: vec![SERVER, CLIENT], ..Shape::default() }), Some(&servers), "issuer.extended_key_usage"),
            (&weak, None, "key.rsa_bits"),
        ] {
            let above: Vec<_> = above.into_iter().collect();
            assert_eq!(rule(take(&authority, "corp", ca, &above).await), wanted);
        }
        let mismatch = take(&authority, "corp", &stolen, &[]).await.unwrap_err().rule.unwrap();
        let told = (mismatch.value.as_str(), mismatch.allowed.as_str(), mismatch.fix.as_str());
        let value = "a private key that belongs to none of: Corp Root";
        assert_eq!(told, (value, "the key of the CA certificate", "give the key and the certificate of one CA"));
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM keys").await, rows);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM domains").await, 1);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM audit_events WHERE action = 'issuer.refused'").await, 12);
        take(&authority, "corp", &root, &[]).await.unwrap();
        let twice = take(&authority, "corp2", &root, &[]).await.unwrap_err();
        assert_eq!((twice.kind, twice.rule.unwrap().name.as_str()), (ErrorKind::Conflict, "issuer.new"));
        let named = Import { name: Some("tls-1".into()), ..import("corp", vec![other.der()], other.pkcs8()) };
        assert_eq!(rule(authority.import_issuer(&actor(), named).await), "issuer.slug");
    }

    async fn a_corporate_root_signs_our_request_and_later_renews_it(at) {
        let (authority, _) = founded(&at.store).await;
        let corporate = Ca::root("Corp Root", &Shape::default());
        let subject = SubjectFields { organization: vec!["Example Corp".into()], ..SubjectFields::common_name("Lab CA") };
        let request = authority.request_issuer(&actor(), &wanted("lab"), Some(subject)).await.unwrap();
        assert_eq!(request.slug, "lab-1");
        let csr = X509Req::from_der(&request.csr).unwrap();
        assert!(csr.verify(&csr.public_key().unwrap()).unwrap());
        assert_eq!(csr.extensions().unwrap().len(), 4);
        let shape = Shape { path_len: Some(0), usages: vec![SERVER, CLIENT, OCSP], days: 365, ..Shape::default() };
        let sign = |shape: &Shape| corporate.sign(csr.subject_name(), &csr.public_key().unwrap(), shape).to_der().unwrap();
        let first = sign(&shape);
        assert_eq!(rule(authority.install_issuer(&actor(), std::slice::from_ref(&first)).await), "issuer.chain");
        let foreign = corporate.below("Foreign", &shape).der();
        assert_eq!(rule(authority.install_issuer(&actor(), &[foreign, corporate.der()]).await), "issuer.key");
        assert_eq!(authority.install_issuer(&actor(), &[first.clone(), corporate.der()]).await.unwrap(), "lab-1");
        works(&authority, "lab", "installed").await;
        assert_eq!(roots(&authority, "lab"), [corporate.der()], "the bundle is the corporate root");
        let again = rule(authority.install_issuer(&actor(), &[first, corporate.der()]).await);
        assert_eq!(again, "issuer.certificate");

        let before = authority.snapshot().issuer("lab-1").unwrap().issuer.clone();
        let csr = X509Req::from_der(&authority.request_again(&actor(), "lab-1").await.unwrap()).unwrap();
        let renewed = corporate.sign(csr.subject_name(), &csr.public_key().unwrap(), &Shape { days: 700, ..shape.clone() });
        // the root is known by now
        assert_eq!(authority.install_issuer(&actor(), &[renewed.to_der().unwrap()]).await.unwrap(), "lab-1");
        let snapshot = authority.snapshot();
        let loaded = snapshot.issuer("lab-1").unwrap();
        assert_eq!(loaded.certificates.len(), 2);
        assert_eq!((loaded.issuer.id, loaded.issuer.crl_url()), (before.id, before.crl_url()));
        let issued = issue(&authority, "lab-client", Some("till"), &[]).await.unwrap();
        assert_eq!(issued.chain, [renewed.to_der().unwrap()], "the newest certificate goes along");
        works(&authority, "lab", "renewed").await;
        // another name for the key is another issuer's
        let other = corporate.sign(&super::corporate::name("Other"), &csr.public_key().unwrap(), &shape).to_der().unwrap();
        assert_eq!(rule(authority.install_issuer(&actor(), &[other]).await), "issuer.key");
        assert_eq!(rule(authority.request_issuer(&actor(), &Wanted { years: Some(3), ..wanted("lab") }, None).await), "issuer.request");
        assert_eq!(authority.request_issuer(&actor(), &wanted("lab"), None).await.unwrap().slug, "lab-2", "a slug is never given twice");
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn a_retired_issuer_publishes_until_its_last_certificate_ends(at) {
        let (authority, _) = founded(&at.store).await;
        authority.create_domain(&actor(), &wanted("lab")).await.unwrap();
        works(&authority, "lab", "active").await;
        authority.move_issuer(&actor(), "lab-1", IssuerMove::Retire).await.unwrap();
        assert_eq!(authority.snapshot().issuer("lab-1").unwrap().issuer.state, IssuerState::Retiring);
        assert_eq!(rule(authority.move_issuer(&actor(), "lab-1", IssuerMove::Retire).await), "issuer.state");
        assert_eq!(rule(issue(&authority, "lab-client", Some("till"), &[]).await), "profile.domain");
        let published = async || {
            at.clock.advance(chancery::clock::days(1));
            authority.publish_due().await.unwrap();
            let now = at.store.now();
            authority.current_crl("lab-1").await.is_ok_and(|crl| crl.next_update > now)
        };
        assert!(published().await && published().await);
        // tls-client lasts 30 days
        at.clock.advance(chancery::clock::days(40));
        assert!(published().await, "the last one");
        let last = authority.current_crl("lab-1").await.unwrap();
        let issuer = authority.snapshot().issuer("lab-1").unwrap().certificate().unwrap().not_after;
        assert_eq!(last.next_update, issuer, "until the issuer itself expires");
        assert!(published().await);
        assert_eq!(authority.current_crl("lab-1").await.unwrap().number, last.number, "and none after it");
    }
}

#[test]
fn keys_come_in_every_form_that_openssl_writes() {
    let ec = ec_key();
    let rsa = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    for key in [&ec, &rsa] {
        let expected = key.private_key_to_pkcs8().unwrap();
        let pem = String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        let encrypted = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"pass").unwrap();
        let encrypted128 = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_128_cbc(), b"pass").unwrap();
        for (form, password) in [
            (pem.clone().into_bytes(), None),
            (format!("some text\n{pem}").into_bytes(), None),
            (expected.clone(), None),
            (encrypted, Some(&b"pass"[..])),
            (encrypted128, Some(b"pass")),
        ] {
            assert_eq!(same(&private_key::read(&form, password).unwrap()), same(&expected));
        }
    }
    let old = ec.ec_key().unwrap().private_key_to_pem().unwrap();
    assert_eq!(same(&private_key::read(&old, None).unwrap()), same(&ec.private_key_to_pkcs8().unwrap()));
    let old = rsa.rsa().unwrap().private_key_to_pem().unwrap();
    assert_eq!(same(&private_key::read(&old, None).unwrap()), same(&rsa.private_key_to_pkcs8().unwrap()));
    let old = ec.ec_key().unwrap().private_key_to_der().unwrap();
    assert_eq!(same(&private_key::read(&old, None).unwrap()), same(&ec.private_key_to_pkcs8().unwrap()));
    let headers = rsa.rsa().unwrap().private_key_to_pem_passphrase(Cipher::aes_256_cbc(), b"pass").unwrap();
    assert_eq!(
        same(&private_key::read(&headers, Some(b"pass")).unwrap()),
        same(&rsa.private_key_to_pkcs8().unwrap())
    );
    for (cipher, wanted) in [
        (Cipher::aes_128_cbc(), None),
        (Cipher::aes_192_cbc(), None),
        (Cipher::des_ede3_cbc(), None),
        (Cipher::camellia_256_cbc(), Some("key.encryption")),
    ] {
        let headers = ec.ec_key().unwrap().private_key_to_pem_passphrase(cipher, b"pass").unwrap();
        let opened = private_key::read(&headers, Some(b"pass"));
        assert_eq!(opened.as_ref().err().map(|e| e.rule.as_ref().unwrap().name.as_str()), wanted);
        if let Ok(opened) = opened {
            assert_eq!(same(&opened), same(&ec.private_key_to_pkcs8().unwrap()));
        }
    }
    for password in [None, Some(&b"wrong"[..]), Some(&b""[..])] {
        assert_eq!(private_key::read(&headers, password).unwrap_err().rule.unwrap().name, "key.password");
    }
    for line in 0..String::from_utf8_lossy(&headers).lines().count() {
        let cut: Vec<&str> = std::str::from_utf8(&headers).unwrap().lines().take(line).collect();
        assert!(private_key::read(cut.join("\n").as_bytes(), Some(b"pass")).is_err(), "{line}");
    }
    let encrypted = ec.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"pass").unwrap();
    for password in [None, Some(&b"wrong"[..])] {
        assert_eq!(private_key::read(&encrypted, password).unwrap_err().rule.unwrap().name, "key.password");
    }
}

/// `openssl pkcs8 -scrypt`, and what EasyRSA writes with OpenSSL 3.
#[test]
fn keys_that_scrypt_or_pbkdf2_protect_are_read() {
    let (folder, key) = (tempfile::tempdir().unwrap(), ec_key());
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("plain.pem"), key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    for form in [
        &["-scrypt"][..],
        &["-scrypt", "-scrypt_N", "1024", "-scrypt_r", "4", "-scrypt_p", "2"],
        &["-v2", "aes-256-cbc"],
        &["-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA512"],
        &["-v2", "des-ede3-cbc"],
        &["-scrypt", "-v2", "des-ede3-cbc"],
    ] {
        let out = path("sealed.pem");
        let made = std::process::Command::new("openssl")
            .args(["pkcs8", "-topk8", "-passout", "pass:secret", "-in", &path("plain.pem"), "-out", &out])
            .args(form)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let sealed = std::fs::read(&out).unwrap();
        assert_eq!(
            same(&private_key::read(&sealed, Some(b"secret")).unwrap()),
            same(&key.private_key_to_pkcs8().unwrap()),
            "{form:?}"
        );
        assert_eq!(
            private_key::read(&sealed, Some(b"Secret")).unwrap_err().rule.unwrap().name,
            "key.password",
            "{form:?}"
        );
    }
}

/// Both forms of an empty password: two zero octets (OpenSSL), and none at all (others).
#[test]
fn pkcs12_with_an_empty_password_opens_without_one() {
    let issuing = Ca::with_key("Corp Issuing", ec_key(), &Shape::default());
    let mut builder = Pkcs12::builder();
    builder.pkey(&issuing.key).cert(&issuing.certificate);
    let file = builder.build2("").unwrap().to_der().unwrap();
    for password in [None, Some(&b""[..])] {
        assert_eq!(same(&pkcs12::read(&file, password).unwrap().key), same(&issuing.pkcs8()));
    }
    let rule = |file: &[u8], password: Option<&[u8]>| pkcs12::read(file, password).err().unwrap().rule.unwrap().name;
    assert_eq!(rule(&file, Some(b"x")), "key.password");
    let null = without_password(&file);
    assert_eq!(same(&pkcs12::read(&null, None).unwrap().key), same(&issuing.pkcs8()));
    assert_eq!(rule(&null, Some(b"x")), "key.password");
}

/// The file with the MAC that a program makes of no password at all: over no octets instead of two zeros.
fn without_password(file: &[u8]) -> Vec<u8> {
    use chancery::pki::der;
    let mut pfx = der::only_sequence(file).unwrap();
    let version = pfx.any().unwrap().raw.to_vec();
    let safe = pfx.any().unwrap();
    let mut mac = pfx.sequence().unwrap();
    let mut info = mac.sequence().unwrap();
    let algorithm = info.any().unwrap().raw.to_vec();
    let salt = mac.any().unwrap();
    let rounds = mac.any().unwrap();
    let iterations = rounds.content.iter().fold(0u32, |sum, octet| sum << 8 | u32::from(*octet));
    let octets = {
        let mut info = der::only_sequence(safe.raw).unwrap();
        info.oid().unwrap();
        info.any().unwrap().inside().any().unwrap().content.to_vec()
    };
    // RFC 7292 App. B.2 with an empty password: diversifier 3 and the salt
    let fill: Vec<u8> = salt.content.iter().copied().cycle().take(64).collect();
    let mut key = openssl::hash::hash(MessageDigest::sha256(), &[vec![3; 64], fill].concat()).unwrap().to_vec();
    for _ in 1..iterations {
        key = openssl::hash::hash(MessageDigest::sha256(), &key).unwrap().to_vec();
    }
    let hmac = PKey::hmac(&key).unwrap();
    let tag =
        openssl::sign::Signer::new(MessageDigest::sha256(), &hmac).unwrap().sign_oneshot_to_vec(&octets).unwrap();
    let info = der::sequence(&[&algorithm, &der::octet_string(&tag)]);
    let mac = der::sequence(&[&info, salt.raw, rounds.raw]);
    der::sequence(&[&version, safe.raw, &mac])
}

#[test]
fn pkcs12_of_openssl_opens_with_its_password_alone() {
    let (root, ca) = (Ca::root("Corp Root", &Shape::default()), ec_key());
    let issuing = Ca::with_key("Corp Issuing", ca, &Shape::default());
    let build = |change: fn(&mut openssl::pkcs12::Pkcs12Builder)| {
        let mut above = Stack::new().unwrap();
        above.push(root.certificate.clone()).unwrap();
        let mut builder = Pkcs12::builder();
        builder.pkey(&issuing.key).cert(&issuing.certificate).ca(above);
        change(&mut builder);
        builder.build2("pässword").unwrap().to_der().unwrap()
    };
    let modern = build(|_| {});
    assert!(
        pkcs12::looks_like(&modern) && !pkcs12::looks_like(&issuing.der()) && !pkcs12::looks_like(&issuing.pkcs8())
    );
    for file in [
        &modern,
        &build(|b| {
            b.mac_md(MessageDigest::sha512());
        }),
        &build(|b| {
            b.mac_md(MessageDigest::sha1());
        }),
    ] {
        let opened = pkcs12::read(file, Some("pässword".as_bytes())).unwrap();
        assert_eq!(same(&opened.key), same(&issuing.pkcs8()));
        let mut found = opened.certificates;
        found.sort();
        let mut expected = [issuing.der(), root.der()];
        expected.sort();
        assert_eq!(found, expected);
    }
    let rule = |file: &[u8], password: Option<&[u8]>| pkcs12::read(file, password).err().unwrap().rule.unwrap().name;
    assert_eq!(rule(&modern, Some(b"password")), "key.password");
    assert_eq!(rule(&modern, None), "key.password");
    let old = build(|b| {
        use openssl::nid::Nid;
        b.key_algorithm(Nid::PBE_WITHSHA1AND3_KEY_TRIPLEDES_CBC)
            .cert_algorithm(Nid::PBE_WITHSHA1AND3_KEY_TRIPLEDES_CBC);
    });
    assert_eq!(rule(&old, Some("pässword".as_bytes())), "key.encryption");
    for cut in (0..modern.len()).step_by(7) {
        assert!(pkcs12::read(&modern[..cut], Some("pässword".as_bytes())).is_err());
    }
}

use openssl::hash::MessageDigest;

/// The public key, which two encodings of one private key share.
fn same(pkcs8: &[u8]) -> Vec<u8> {
    chancery::keys::software::read(pkcs8).unwrap().1.public_key
}
