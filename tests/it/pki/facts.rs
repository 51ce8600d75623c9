//! Facts of certificates, ours and OpenSSL's, against what OpenSSL prints.

use chancery::model::key::KeyAlgorithm::{P256, P384};
use chancery::model::serial::to_hex;
use chancery::pki::certificate_facts::CertificateFacts;
use chancery::pki::pem;
use openssl::x509::X509;

use super::ca::Ca;
use super::fixture::Party;

#[test]
fn a_leaf_is_told_in_words() {
    let ca = Ca::new(P384, P256);
    let issued = ca.issue("tls-server", &["www.example.org", "2001:db8::1"]).unwrap();
    let facts = CertificateFacts::parse(issued.der()).unwrap();
    assert_eq!(facts.subject.to_string(), "CN=www.example.org");
    assert_eq!(facts.issuer.to_string(), "CN=Test Issuing");
    assert_eq!(facts.names, ["www.example.org", "2001:db8::1"]);
    assert_eq!((facts.key_algorithm.as_str(), facts.signature_algorithm.as_str()), ("P-256", "ECDSA-SHA256"));
    assert_eq!(facts.key_usage, ["digitalSignature"]);
    assert_eq!(facts.extended_key_usage, ["serverAuth"]);
    assert_eq!((facts.is_ca, facts.path_len), (false, None));
    assert_eq!(facts.authority_key_id.as_deref(), Some(ca.key.key_id()));
    assert_eq!((facts.fingerprint, facts.spki_sha256), (issued.fingerprint(), issued.facts().spki_sha256));
    let ski = to_hex(&facts.subject_key_id.unwrap());
    let words: Vec<String> = facts.extensions.iter().map(ToString::to_string).collect();
    assert_eq!(
        words,
        [
            "basicConstraints, critical: not a CA".to_owned(),
            "keyUsage, critical: digitalSignature".into(),
            "extKeyUsage: serverAuth".into(),
            format!("subjectKeyIdentifier: {ski}"),
            format!("authorityKeyIdentifier: {}", to_hex(ca.key.key_id())),
            "subjectAltName: www.example.org, 2001:db8::1".into(),
            "cRLDistributionPoints: http://ca.example.test:8080/crl/tls-1.crl".into(),
            "authorityInfoAccess: http://ca.example.test:8080/ocsp/tls-1, http://ca.example.test:8080/issuers/tls-1.der"
                .into(),
        ]
    );
}

#[test]
fn cas_of_ours_and_of_others_are_read() {
    let ca = Ca::new(P384, P256);
    let issuing = CertificateFacts::parse(&ca.issuing).unwrap();
    assert_eq!((issuing.is_ca, issuing.path_len), (true, Some(0)));
    assert_eq!(issuing.key_usage, ["digitalSignature", "keyCertSign", "cRLSign"]);
    let foreign = Party::root(P384);
    let der = foreign.certificate.to_der().unwrap();
    let facts = CertificateFacts::parse(&der).unwrap();
    assert!(facts.is_ca && facts.subject == facts.issuer);
    assert_eq!(facts.subject.to_string(), "CN=Test CA,O=Chancery tests");
    for cut in 0..der.len() {
        assert!(CertificateFacts::parse(&der[..cut]).is_err());
    }
}

/// OpenSSL reads what we bundle, in the same order.
#[test]
fn bundles_are_read_by_openssl() {
    let ca = Ca::new(P384, P256);
    let p7b = pem::p7b(&[&ca.issuing, &ca.root]);
    let signed = openssl::pkcs7::Pkcs7::from_der(&p7b).unwrap();
    let inside: Vec<Vec<u8>> =
        signed.signed().unwrap().certificates().unwrap().iter().map(|c| c.to_der().unwrap()).collect();
    assert_eq!(inside, [ca.issuing.clone(), ca.root.clone()]);
    let text = pem::encode(pem::CERTIFICATE, &ca.issuing) + &pem::encode(pem::CERTIFICATE, &ca.root);
    assert_eq!(X509::stack_from_pem(text.as_bytes()).unwrap().len(), 2);
    assert_eq!(pem::certificates(&text).unwrap(), [ca.issuing, ca.root]);
}
