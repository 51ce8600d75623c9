//! OCSP requests and answers (RFC 6960), judged by OpenSSL.

use chancery::clock::{Timestamp, hours};
use chancery::model::key::KeyAlgorithm;
use chancery::model::reason::RevocationReason;
use chancery::pki::ocsp_facts::{OcspAnswer, OcspFacts, OcspFailure, OcspStatus, ResponderId};
use chancery::pki::ocsp_request::{CertIdHash, IssuerHashes, Nonce, OcspRequest, encode_request};
use chancery::pki::ocsp_response::{
    CertStatus, INTERNAL_ERROR, MALFORMED_REQUEST, OcspResponder, SingleAnswer, TRY_LATER, UNAUTHORIZED,
};
use proptest::prelude::*;

use super::fixture::{ALGORITHMS, Bench, NOW, Party, serial};

fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

fn hashes(ca: &Party) -> IssuerHashes {
    IssuerHashes::of(&ca.name(), ca.signer.public_key()).unwrap()
}

fn delegate(responder: &Party) -> OcspResponder {
    OcspResponder::delegated(responder.signer.clone(), &responder.der()).unwrap()
}

/// Answers every certificate of the request alike.
async fn answer(responder: &OcspResponder, request: &[u8], status: CertStatus) -> Vec<u8> {
    let request = OcspRequest::parse(request).unwrap();
    let single = |id: &'_ chancery::pki::ocsp_request::CertId<'_>| (id.raw.to_vec(), status);
    let answers: Vec<_> = request.certificates.iter().map(single).collect();
    let singles: Vec<_> = answers
        .iter()
        .map(|(id, status)| SingleAnswer {
            cert_id: id,
            status: *status,
            this_update: now(),
            next_update: now() + hours(12),
            archive_cutoff: None,
        })
        .collect();
    responder.answer(&singles, now(), request.nonce).await.unwrap()
}

fn answered(bytes: &[u8]) -> OcspAnswer<'_> {
    match OcspFacts::parse(bytes).unwrap() {
        OcspFacts::Answered(answer) => *answer,
        OcspFacts::Failed(failure) => panic!("{}", failure.name()),
    }
}

/// OpenSSL judges our answer to its own request. `-attime` moves its clock for certificates only, so the answer's
/// own age gets a wide `-validity_period`.
fn judged_by_openssl(bench: &Bench) -> (bool, String) {
    let at = NOW.to_string();
    bench.openssl(&[
        "ocsp",
        "-reqin",
        "request.der",
        "-respin",
        "response.der",
        "-issuer",
        "ca.pem",
        "-cert",
        "leaf.pem",
        "-CAfile",
        "ca.pem",
        "-no_nonce",
        "-attime",
        &at,
        "-validity_period",
        "4000000000",
    ])
}

fn openssl_request(bench: &Bench, ca: &Party, leaf: &Party, extra: &[&str]) -> Vec<u8> {
    bench.put_pem("ca.pem", ca);
    bench.put_pem("leaf.pem", leaf);
    let mut args = vec!["ocsp"];
    args.extend_from_slice(extra);
    args.extend_from_slice(&["-issuer", "ca.pem", "-cert", "leaf.pem", "-reqout", "request.der"]);
    let (ok, text) = bench.openssl(&args);
    assert!(ok, "{text}");
    std::fs::read(bench.path("request.der")).unwrap()
}

#[tokio::test]
async fn openssl_verifies_answers_of_every_kind_of_key_and_status() {
    for algorithm in ALGORITHMS {
        let ca = Party::root(KeyAlgorithm::P256);
        let (responder, leaf) = (ca.responder(algorithm), ca.leaf(77));
        let revoked = CertStatus::Revoked { at: now() - hours(1), reason: RevocationReason::KeyCompromise };
        for (status, words) in [
            (CertStatus::Good, &["leaf.pem: good"][..]),
            (revoked, &["leaf.pem: revoked", "Reason: keyCompromise", "May 31 23:00:00 2026"]),
            (CertStatus::Unknown, &["leaf.pem: unknown"]),
        ] {
            let bench = Bench::new();
            let request = openssl_request(&bench, &ca, &leaf, &["-no_nonce"]);
            bench.put("response.der", &answer(&delegate(&responder), &request, status).await);
            let (_, text) = judged_by_openssl(&bench);
            assert!(text.contains("Response verify OK"), "{algorithm} {status:?}: {text}");
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        }
    }
}

#[tokio::test]
async fn the_issuer_itself_and_a_named_responder_verify_too() {
    let ca = Party::root(KeyAlgorithm::P384);
    let (responder, leaf) = (ca.responder(KeyAlgorithm::P256), ca.leaf(5));
    for responder in
        [OcspResponder::issuer(ca.signer.clone()).unwrap(), delegate(&responder).named(&responder.name())]
    {
        let bench = Bench::new();
        let request = openssl_request(&bench, &ca, &leaf, &["-no_nonce"]);
        bench.put("response.der", &answer(&responder, &request, CertStatus::Good).await);
        let (_, text) = judged_by_openssl(&bench);
        assert!(text.contains("Response verify OK") && text.contains("leaf.pem: good"), "{text}");
    }
}

#[tokio::test]
async fn a_stranger_may_not_answer() {
    let (ca, other) = (Party::root(KeyAlgorithm::P256), Party::root(KeyAlgorithm::P256));
    let leaf = ca.leaf(5);
    let bench = Bench::new();
    let request = openssl_request(&bench, &ca, &leaf, &["-no_nonce"]);
    let stranger = delegate(&other.responder(KeyAlgorithm::P256));
    bench.put("response.der", &answer(&stranger, &request, CertStatus::Good).await);
    let (_, text) = judged_by_openssl(&bench);
    assert!(text.contains("Response Verify Failure"), "{text}");
}

#[tokio::test]
async fn requests_of_openssl_match_their_issuer_by_sha1_and_sha256() {
    let (ca, other) = (Party::root(KeyAlgorithm::P256), Party::root(KeyAlgorithm::P256));
    let leaf = ca.leaf(0x1234);
    for (flag, hash) in [("-sha1", CertIdHash::Sha1), ("-sha256", CertIdHash::Sha256)] {
        let bench = Bench::new();
        let bytes = openssl_request(&bench, &ca, &leaf, &["-nonce", flag]);
        let request = OcspRequest::parse(&bytes).unwrap();
        let id = &request.certificates[0];
        assert_eq!((id.hash, id.serial.clone()), (Some(hash), Some(serial(0x1234))));
        assert!(id.is_of(&hashes(&ca)) && !id.is_of(&hashes(&other)));
        assert!(request.nonce.is_some());
        let response = answer(&delegate(&ca.responder(KeyAlgorithm::P256)), &bytes, CertStatus::Good).await;
        assert_eq!(answered(&response).nonce, request.nonce);
        assert_eq!(answered(&response).singles[0].cert_id, *id);
    }
    // a hash that we do not know is read and matches nothing
    let bytes = openssl_request(&Bench::new(), &ca, &leaf, &["-no_nonce", "-sha512"]);
    let id = &OcspRequest::parse(&bytes).unwrap().certificates[0];
    assert!(id.hash.is_none() && !id.is_of(&hashes(&ca)));
}

#[tokio::test]
async fn an_answer_reads_back() {
    let ca = Party::root(KeyAlgorithm::P256);
    let responder = ca.responder(KeyAlgorithm::P256);
    let bytes = encode_request(&hashes(&ca), CertIdHash::Sha256, &serial(9), Some(&[7; 32]));
    let revoked = CertStatus::Revoked { at: now(), reason: RevocationReason::Unspecified };
    let response = answer(&delegate(&responder), &bytes, revoked).await;
    let facts = answered(&response);
    facts.verify(responder.signer.public_key()).unwrap();
    assert!(facts.verify(ca.signer.public_key()).is_err());
    assert_eq!(facts.certificates, [responder.der()]);
    assert!(matches!(facts.responder, ResponderId::ByKey(id) if id.len() == 20));
    let single = &facts.singles[0];
    assert_eq!(single.status, OcspStatus::Revoked { at: now(), reason: None });
    assert_eq!((single.this_update, single.next_update), (now(), Some(now() + hours(12))));
    assert_eq!(facts.produced_at, now());
}

#[test]
fn errors_are_unsigned_constants() {
    for (bytes, failure) in [
        (MALFORMED_REQUEST, OcspFailure::MalformedRequest),
        (INTERNAL_ERROR, OcspFailure::InternalError),
        (TRY_LATER, OcspFailure::TryLater),
        (UNAUTHORIZED, OcspFailure::Unauthorized),
    ] {
        assert_eq!(OcspFacts::parse(&bytes), Ok(OcspFacts::Failed(failure)));
    }
    let bench = Bench::new();
    bench.put("response.der", &UNAUTHORIZED);
    let (_, text) = bench.openssl(&["ocsp", "-respin", "response.der", "-noverify", "-text"]);
    assert!(text.contains("unauthorized"), "{text}");
}

#[test]
fn a_nonce_has_1_to_128_octets() {
    let ca = Party::root(KeyAlgorithm::P256);
    for (length, good) in [(0, false), (1, true), (32, true), (128, true), (129, false), (1000, false)] {
        let request = encode_request(&hashes(&ca), CertIdHash::Sha1, &serial(1), Some(&vec![1; length]));
        assert_eq!(OcspRequest::parse(&request).is_ok(), good, "{length}");
    }
    // the nonce itself without its OCTET STRING
    assert!(Nonce::parse(&[1, 2, 3]).is_err());
    assert!(Nonce::parse(&[4, 1, 3, 0]).is_err());
}

/// A request made of raw parts: what no client of ours would send.
fn raw(list: &[&[u8]], rest: &[u8]) -> Vec<u8> {
    use chancery::pki::der::sequence;
    sequence(&[&sequence(&[&sequence(list), rest])])
}

#[test]
fn what_is_not_a_request_of_the_rfc_is_malformed() {
    use chancery::pki::der;
    let ca = Party::root(KeyAlgorithm::P256);
    let good = encode_request(&hashes(&ca), CertIdHash::Sha1, &serial(1), None);
    let id = OcspRequest::parse(&good).unwrap().certificates[0].raw.to_vec();
    let one = der::sequence(&[&id]);
    assert!(OcspRequest::parse(&raw(&[&one], &[])).is_ok());
    assert!(OcspRequest::parse(&raw(&[], &[])).is_err(), "no certificate");
    let many: Vec<&[u8]> = vec![&one; 20];
    assert_eq!(OcspRequest::parse(&raw(&many, &[])).unwrap().certificates.len(), 20);
    let many: Vec<&[u8]> = vec![&one; 21];
    assert!(OcspRequest::parse(&raw(&many, &[])).is_err(), "21 certificates");
    assert!(OcspRequest::parse(&[good.as_slice(), &[0]].concat()).is_err(), "bytes behind");
    let unknown = "1.2.3".parse().unwrap();
    for (critical, accepted) in [(true, false), (false, true)] {
        let list = der::sequence(&[&der::extension(&unknown, critical, &[5, 0])]);
        let explicit = der::constructed(der::context_constructed(2), &[&list]);
        assert_eq!(OcspRequest::parse(&raw(&[&one], &explicit)).is_ok(), accepted);
    }
    let huge = encode_request(&hashes(&ca), CertIdHash::Sha1, &serial(1), Some(&[0; 5000]));
    assert!(OcspRequest::parse(&huge).is_err());
}

#[test]
fn serials_that_no_certificate_has_are_read_and_are_none() {
    use chancery::pki::der;
    let algorithm = der::sequence(&[&der::oid(&chancery::pki::oids::SHA1)]);
    let hash = der::octet_string(&[0; 20]);
    for serial in [&[0][..], &[0xff], &[1; 21]] {
        let id = der::sequence(&[&algorithm, &hash, &hash, &der::tlv(der::INTEGER, serial)]);
        let bytes = raw(&[&der::sequence(&[&id])], &[]);
        assert_eq!(OcspRequest::parse(&bytes).unwrap().certificates[0].serial, None);
    }
}

#[tokio::test]
async fn each_flipped_bit_and_each_truncation_of_an_answer_is_noticed() {
    let ca = Party::root(KeyAlgorithm::P256);
    // without certificates: those are not under the signature, and judged by their own
    let responder = OcspResponder::issuer(ca.signer.clone()).unwrap();
    let request = encode_request(&hashes(&ca), CertIdHash::Sha1, &serial(1), Some(&[9; 16]));
    let good = answer(&responder, &request, CertStatus::Good).await;
    let verified = |bytes: &[u8]| match OcspFacts::parse(bytes) {
        Ok(OcspFacts::Answered(answer)) => answer.verify(ca.signer.public_key()).is_ok(),
        _ => false,
    };
    assert!(verified(&good));
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert!(!verified(&bad), "byte {at} bit {bit}");
        }
        assert!(OcspFacts::parse(&good[..at]).is_err());
    }
    for at in 0..request.len() {
        assert!(OcspRequest::parse(&request[..at]).is_err());
        for bit in 0..8 {
            let mut bad = request.clone();
            bad[at] ^= 1 << bit;
            let _ = OcspRequest::parse(&bad);
        }
    }
}

proptest! {
    #[test]
    fn garbage_is_neither_request_nor_answer(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(OcspRequest::parse(&bytes).is_err());
        prop_assert!(!matches!(OcspFacts::parse(&bytes), Ok(OcspFacts::Answered(_))));
    }
}
