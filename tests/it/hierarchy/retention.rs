//! Revoked certificates whose signatures outlive them stay listed past their end; others do not.

use chancery::clock::{Timestamp, days, hours};
use chancery::error::ErrorKind;
use chancery::model::reason::RevocationReason;
use chancery::pki::crl_facts::CrlFacts;
use chancery::pki::oids;

use super::{actor, issue, rule, wanted};
use crate::on_both_engines;
use crate::support::stores::{START, founded};

/// expiredCertsOnCRL (X.509 §9.5.2.8), if the CRL has it: GeneralizedTime.
fn kept_since(der: &[u8]) -> Option<Vec<u8>> {
    let facts = CrlFacts::parse(der).unwrap();
    facts.extensions.iter().find(|e| e.id == oids::EXPIRED_CERTS_ON_CRL).map(|e| e.value.to_vec())
}

/// The id of archiveCutoff (RFC 6960 §4.4.4) with the time of the hierarchy's beginning.
fn archive_cutoff() -> Vec<u8> {
    let id = [0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x06];
    [&id[..], &[0x04, 0x11, 0x18, 0x0f], b"20261101000000Z"].concat()
}

on_both_engines! {
    async fn a_revoked_code_signing_certificate_stays_listed_past_its_end(at) {
        let (authority, _) = founded(&at.store).await;
        for domain in ["code-signing", "timestamping", "mtls"] {
            authority.create_domain(&actor(), &wanted(domain)).await.unwrap();
        }
        let mut revoked = Vec::new();
        for (profile, issuer) in [("timestamping", "timestamping-1"), ("tls-client", "mtls-1")] {
            let issued = issue(&authority, profile, Some("signer"), &[]).await.unwrap();
            authority.revoke(&actor(), issued.certificate.id, RevocationReason::KeyCompromise).await.unwrap();
            revoked.push((issuer, issued.certificate));
        }
        at.clock.set(START + days(365 * 2));
        authority.renew_responders().await.unwrap();
        authority.reload().await.unwrap();
        authority.publish_due().await.unwrap();
        // that CRL lists all that expired while none was made; the next one does not
        at.clock.advance(days(2));
        authority.publish_due().await.unwrap();
        for (issuer, certificate) in &revoked {
            assert!(certificate.validity.not_after() + hours(30) < at.store.now(), "long expired");
            let crl = authority.current_crl(issuer).await.unwrap();
            let listed = CrlFacts::parse(&crl.der).unwrap().entries().any(|e| e.serial == certificate.serial.octets());
            let retains = *issuer != "mtls-1";
            assert_eq!((listed, kept_since(&crl.der).is_some()), (retains, retains), "{issuer}");
        }
        let root = authority.current_crl("code-signing-root").await.unwrap();
        assert_eq!(kept_since(&root.der).unwrap(), [&[0x18, 0x0f][..], b"20261101000000Z"].concat(), "no earlier than it began");
        let issuer = authority.snapshot().issuer("timestamping-1").unwrap().certificate().unwrap().der.clone();
        let answer = ocsp(&authority, "timestamping-1", &issuer, revoked[0].1.serial.octets()).await;
        let cutoff = archive_cutoff();
        assert!(answer.windows(cutoff.len()).any(|part| part == cutoff), "archiveCutoff");
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn an_issuer_that_ends_signs_a_last_crl(at) {
        let (authority, _) = founded(&at.store).await;
        authority.create_domain(&actor(), &wanted("code-signing")).await.unwrap();
        let end = |slug: &str| authority.snapshot().issuer(slug).unwrap().certificate().unwrap().not_after;
        let (code, tls) = (end("code-signing-1"), end("tls-1"));
        at.clock.set(code.max(tls) + days(3));
        authority.publish_due().await.unwrap();
        let last = authority.current_crl("code-signing-1").await.unwrap();
        assert_eq!(last.next_update.to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(CrlFacts::parse(&last.der).unwrap().next_update, Some(last.next_update));
        let other = authority.current_crl("tls-1").await.unwrap().number;
        at.clock.advance(days(30));
        authority.publish_due().await.unwrap();
        assert_eq!(authority.current_crl("code-signing-1").await.unwrap().number, last.number, "once");
        assert_eq!(authority.current_crl("tls-1").await.unwrap().number, other, "none where signatures do not outlive it");
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn a_timestamping_certificate_is_not_revoked_without_a_reason(at) {
        let (authority, _) = founded(&at.store).await;
        authority.create_domain(&actor(), &wanted("timestamping")).await.unwrap();
        let issued = issue(&authority, "timestamping", Some("tsa"), &[]).await.unwrap();
        let id = issued.certificate.id;
        let refused = authority.revoke(&actor(), id, RevocationReason::Unspecified).await;
        assert_eq!(refused.as_ref().unwrap_err().kind, ErrorKind::BadRevocationReason);
        assert!(refused.as_ref().unwrap_err().to_string().contains("superseded"));
        assert_eq!(rule(refused), "revocation.timestamping");
        authority.revoke(&actor(), id, RevocationReason::CessationOfOperation).await.unwrap();
        let other = issue(&authority, "tls-server", None, &["a.test"]).await.unwrap().certificate.id;
        authority.revoke(&actor(), other, RevocationReason::Unspecified).await.unwrap();
    }
}

/// What the OCSP responder says of one serial.
async fn ocsp(authority: &chancery::authority::Authority, slug: &str, issuer: &[u8], serial: &[u8]) -> Vec<u8> {
    use openssl::hash::MessageDigest;
    use openssl::x509::X509;
    authority.poll_revocations().await.unwrap();
    let issuer = X509::from_der(issuer).unwrap();
    // OpenSSL asks about a certificate; only its serial matters here
    let mut subject = openssl::x509::X509Builder::new().unwrap();
    let number = openssl::bn::BigNum::from_slice(serial).unwrap().to_asn1_integer().unwrap();
    subject.set_serial_number(&number).unwrap();
    subject.set_issuer_name(issuer.subject_name()).unwrap();
    let id = openssl::ocsp::OcspCertId::from_cert(MessageDigest::sha1(), &subject.build(), &issuer).unwrap();
    let mut request = openssl::ocsp::OcspRequest::new().unwrap();
    request.add_id(id).unwrap();
    let answer = authority.ocsp(slug, &request.to_der().unwrap()).await.unwrap();
    assert_eq!(answer.status, "revoked");
    let now = authority.store().now();
    let facts = chancery::pki::ocsp_facts::OcspFacts::parse(&answer.der).unwrap();
    let chancery::pki::ocsp_facts::OcspFacts::Answered(told) = facts else { panic!("no answer") };
    assert_eq!(told.produced_at, now.truncated(), "a true time");
    let back: Timestamp = (now - chancery::authority::crl::BACKDATE).truncated();
    assert_eq!(told.singles[0].this_update, back);
    answer.der.to_vec()
}
