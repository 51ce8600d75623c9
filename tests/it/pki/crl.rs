//! CRLs (RFC 5280 §5), judged by OpenSSL.

use chancery::clock::{Timestamp, days, hours};
use chancery::model::crl::CrlNumber;
use chancery::model::key::{KeyAlgorithm, SignatureAlgorithm};
use chancery::model::reason::RevocationReason;
use chancery::model::serial::SerialNumber;
use chancery::pki::crl::{CrlEntries, CrlError, CrlInput, CrlScope, prepare_crl, seal_crl};
use chancery::pki::crl_facts::{CrlFacts, lint_crl};
use openssl::x509::{CrlStatus, X509Crl};
use proptest::prelude::*;

use super::fixture::{ALGORITHMS, Bench, NOW, Party, serial};

const NUMBER: CrlNumber = CrlNumber::new(3, 7);

fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

fn entries(serials: impl IntoIterator<Item = u32>) -> CrlEntries {
    let mut entries = CrlEntries::new();
    for n in serials {
        let reason = RevocationReason::ALL[n as usize % RevocationReason::ALL.len()];
        entries.push(serial(n), now(), (n % 3 != 0).then_some(reason)).unwrap();
    }
    entries
}

async fn crl(ca: &Party, scope: CrlScope<'_>, entries: CrlEntries) -> Vec<u8> {
    let (name, key_id) = (ca.name(), ca.key_id());
    let input = input(ca, &name, &key_id, scope);
    seal_crl(prepare_crl(&input, entries).unwrap(), ca.signer.as_ref(), ca.signer.public_key()).await.unwrap()
}

fn input<'a>(ca: &Party, name: &'a [u8], key_id: &'a [u8], scope: CrlScope<'a>) -> CrlInput<'a> {
    CrlInput {
        issuer_name: name,
        authority_key_id: key_id,
        algorithm: SignatureAlgorithm::for_key(ca.signer.algorithm()),
        this_update: now(),
        next_update: now() + days(1),
        number: NUMBER,
        scope,
        expired_certs_on_crl: None,
    }
}

fn verified_by_openssl(ca: &Party, crl: &[u8]) -> bool {
    let bench = Bench::new();
    bench.put_pem("ca.pem", ca);
    bench.put("a.crl", crl);
    let (ok, text) =
        bench.openssl(&["crl", "-inform", "DER", "-in", "a.crl", "-noout", "-verify", "-CAfile", "ca.pem"]);
    ok && text.contains("verify OK")
}

#[tokio::test]
async fn openssl_verifies_crls_of_every_kind_of_key() {
    for algorithm in ALGORITHMS {
        let ca = Party::root(algorithm);
        let der = crl(&ca, CrlScope::Complete, entries([1, 2, 3])).await;
        assert!(verified_by_openssl(&ca, &der), "{algorithm}");
        CrlFacts::parse(&der).unwrap().verify(ca.signer.public_key()).unwrap();
        let other = Party::root(algorithm);
        assert!(CrlFacts::parse(&der).unwrap().verify(other.signer.public_key()).is_err());
    }
}

#[tokio::test]
async fn none_one_and_ten_thousand_entries_read_back() {
    let ca = Party::root(KeyAlgorithm::P256);
    for count in [0u32, 1, 10_000] {
        let der = crl(&ca, CrlScope::Complete, entries((1..=count).map(|n| 0x100_0000 + n))).await;
        assert!(verified_by_openssl(&ca, &der));
        let theirs = X509Crl::from_der(&der).unwrap();
        assert_eq!(theirs.get_revoked().map_or(0, |r| r.len()), count as usize);
        let facts = CrlFacts::parse(&der).unwrap();
        assert_eq!((facts.count, facts.version), (u64::from(count), 2));
        assert_eq!(facts.entries().count(), count as usize);
        assert_eq!(facts.issuer, ca.name());
        assert_eq!(facts.authority_key_id, Some(&ca.key_id()[..]));
        assert_eq!(facts.crl_number(), Some(NUMBER));
        assert_eq!((facts.this_update, facts.next_update), (now(), Some(now() + days(1))));
        assert_eq!(lint_crl(&der), []);
    }
}

#[tokio::test]
async fn openssl_reads_the_same_reasons_and_times() {
    let ca = Party::root(KeyAlgorithm::P256);
    let mut entries = CrlEntries::new();
    for (n, reason) in (1..).zip(RevocationReason::ALL) {
        entries.push(serial(n), now() - hours(u64::from(n)), Some(reason)).unwrap();
    }
    let der = crl(&ca, CrlScope::Complete, entries).await;
    let bench = Bench::new();
    bench.put("a.crl", &der);
    let (_, text) = bench.openssl(&["crl", "-inform", "DER", "-in", "a.crl", "-noout", "-text"]);
    let reasons: Vec<&str> = text.lines().skip_while(|l| !l.contains("Revoked Certificates")).collect();
    let shown = reasons.join("\n");
    for (name, times) in [
        ("Unspecified", 0),
        ("Key Compromise", 1),
        ("CA Compromise", 1),
        ("Affiliation Changed", 1),
        ("Superseded", 1),
        ("Cessation Of Operation", 1),
        ("Certificate Hold", 1),
        ("Privilege Withdrawn", 1),
        ("AA Compromise", 1),
    ] {
        assert_eq!(shown.matches(name).count(), times, "{name}: {shown}");
    }
    assert!(text.contains("May 31 23:00:00 2026 GMT"), "{text}");
    // epoch 3, counter 7
    assert!(text.contains("30000000000000007") || text.contains("55340232221128654855"), "{text}");
}

#[tokio::test]
async fn a_revoked_leaf_is_refused_by_openssl_verify_and_another_is_not() {
    let ca = Party::root(KeyAlgorithm::P256);
    let (bad, good) = (ca.leaf(17), ca.leaf(18));
    let der = crl(&ca, CrlScope::Complete, entries([17])).await;
    let bench = Bench::new();
    bench.put_pem("ca.pem", &ca);
    bench.put_pem("bad.pem", &bad);
    bench.put_pem("good.pem", &good);
    bench.put("a.pem", &X509Crl::from_der(&der).unwrap().to_pem().unwrap());
    let at = NOW.to_string();
    let verify = |leaf: &str| {
        bench.openssl(&[
            "verify",
            "-x509_strict",
            "-crl_check",
            "-attime",
            &at,
            "-CAfile",
            "ca.pem",
            "-CRLfile",
            "a.pem",
            leaf,
        ])
    };
    let (accepted, text) = verify("good.pem");
    assert!(accepted, "{text}");
    let (accepted, text) = verify("bad.pem");
    assert!(!accepted && text.contains("certificate revoked"), "{text}");
    let theirs = X509Crl::from_der(&der).unwrap();
    assert!(matches!(theirs.get_by_cert(&bad.certificate), CrlStatus::Revoked(_)));
}

#[tokio::test]
async fn a_shard_says_critically_which_uri_it_is_of() {
    let ca = Party::root(KeyAlgorithm::P256);
    let der = crl(&ca, CrlScope::Shard("http://ca.example/crl/tls-1/4.crl"), entries([5])).await;
    let bench = Bench::new();
    bench.put("a.crl", &der);
    let (_, text) = bench.openssl(&["crl", "-inform", "DER", "-in", "a.crl", "-noout", "-text"]);
    assert!(text.contains("Issuing Distribution Point: critical"), "{text}");
    assert!(text.contains("URI:http://ca.example/crl/tls-1/4.crl"), "{text}");
    assert!(!text.contains("Only"), "{text}");
    assert!(CrlFacts::parse(&der).unwrap().distribution_point.is_some());
}

#[tokio::test]
async fn times_from_2050_on_are_generalized() {
    let ca = Party::root(KeyAlgorithm::P256);
    let (name, key_id) = (ca.name(), ca.key_id());
    let mut input = input(&ca, &name, &key_id, CrlScope::Complete);
    input.this_update = Timestamp::parse_rfc3339("2049-12-31T23:59:59Z").unwrap();
    input.next_update = Timestamp::parse_rfc3339("2050-01-01T00:00:00Z").unwrap();
    input.expired_certs_on_crl = Some(now());
    let prepared = prepare_crl(&input, entries([1])).unwrap();
    let der = seal_crl(prepared, ca.signer.as_ref(), ca.signer.public_key()).await.unwrap();
    let facts = CrlFacts::parse(&der).unwrap();
    assert_eq!((facts.this_update, facts.next_update), (input.this_update, Some(input.next_update)));
    let window = der.windows(17).any(|w| w == b"\x18\x0f20500101000000Z");
    assert!(window && der.windows(15).any(|w| w == b"\x17\x0d491231235959Z"));
    assert!(verified_by_openssl(&ca, &der));
}

#[tokio::test]
async fn a_signature_by_another_key_never_leaves() {
    let (ca, other) = (Party::root(KeyAlgorithm::P256), Party::root(KeyAlgorithm::P256));
    let (name, key_id) = (ca.name(), ca.key_id());
    let input = input(&ca, &name, &key_id, CrlScope::Complete);
    let prepared = prepare_crl(&input, entries([1])).unwrap();
    let outcome = seal_crl(prepared, other.signer.as_ref(), ca.signer.public_key()).await;
    assert!(matches!(outcome, Err(CrlError::Signature(_))));
    let wrong_kind = Party::root(KeyAlgorithm::P384);
    let prepared = prepare_crl(&input, entries([1])).unwrap();
    let outcome = seal_crl(prepared, wrong_kind.signer.as_ref(), ca.signer.public_key()).await;
    assert!(matches!(outcome, Err(CrlError::Algorithm)));
}

#[test]
fn a_serial_twice_or_out_of_order_is_refused() {
    let mut entries = entries([5]);
    for n in [5, 4] {
        assert!(matches!(entries.push(serial(n), now(), None), Err(CrlError::Order(_))));
    }
    assert_eq!(entries.count(), 1);
    let ca = Party::root(KeyAlgorithm::P256);
    let (name, key_id) = (ca.name(), ca.key_id());
    let mut input = input(&ca, &name, &key_id, CrlScope::Complete);
    input.next_update = input.this_update;
    assert!(matches!(prepare_crl(&input, entries), Err(CrlError::Window)));
}

#[tokio::test]
async fn each_flipped_byte_is_noticed_and_no_truncation_panics() {
    let ca = Party::root(KeyAlgorithm::P256);
    let good = crl(&ca, CrlScope::Shard("http://a/"), entries([1, 2])).await;
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            let verified = CrlFacts::parse(&bad).is_ok_and(|facts| facts.verify(ca.signer.public_key()).is_ok());
            assert!(!verified, "byte {at} bit {bit}");
            lint_crl(&bad);
        }
        assert!(CrlFacts::parse(&good[..at]).is_err());
        assert!(!lint_crl(&good[..at]).is_empty());
    }
}

#[tokio::test]
async fn the_lint_names_what_it_finds() {
    let ca = Party::root(KeyAlgorithm::P256);
    let good = crl(&ca, CrlScope::Complete, entries([1])).await;
    let with = |from: &[u8], to: &[u8]| {
        let at = good.windows(from.len()).position(|w| w == from).unwrap();
        let mut bad = good.clone();
        bad[at..at + from.len()].copy_from_slice(to);
        lint_crl(&bad).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    // reason keyCompromise of serial 1 becomes unspecified, then the unused 7
    assert!(with(&[0x0a, 1, 1], &[0x0a, 1, 0]).contains("§5.3.1"));
    assert!(with(&[0x0a, 1, 1], &[0x0a, 1, 7]).contains("§5.3.1"));
    // version 1 in place of 2
    assert!(with(&[2, 1, 1, 0x30], &[2, 1, 0, 0x30]).contains("§5.1.2.1"));
    // the identifier of the CRL number becomes another one
    assert!(with(&[0x55, 0x1d, 20], &[0x55, 0x1d, 99]).contains("§5.2.3"));
    assert!(with(&[0x55, 0x1d, 35], &[0x55, 0x1d, 99]).contains("§5.2.1"));
    // nextUpdate a day before
    assert!(with(b"260602000000Z", b"260601000000Z").contains("§5.1.2.5"));
}

proptest! {
    #[test]
    fn garbage_is_no_crl_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(CrlFacts::parse(&bytes).is_err());
        prop_assert!(!lint_crl(&bytes).is_empty());
    }

    #[test]
    fn any_serials_read_back(octets in proptest::collection::btree_set(proptest::collection::vec(any::<u8>(), 1..=20), 0..40)) {
        let serials: Vec<SerialNumber> = octets.iter().filter_map(|o| SerialNumber::from_octets(o).ok()).collect();
        let mut entries = CrlEntries::with_octets(serials.len() * 53);
        for serial in &serials {
            entries.push(serial.clone(), now(), None).unwrap();
        }
        let ca = CA.with(|ca| ca.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let der = runtime.block_on(crl(&ca, CrlScope::Complete, entries));
        let facts = CrlFacts::parse(&der).unwrap();
        let back: Vec<_> = facts.entries().map(|e| SerialNumber::from_octets(e.serial).unwrap()).collect();
        prop_assert_eq!(back, serials);
    }
}

thread_local! {
    static CA: std::rc::Rc<Party> = std::rc::Rc::new(Party::root(KeyAlgorithm::P256));
}

/// RFC 5280 §5.2.5, §5.3.3: entries of other issuers behind the extension that names them.
#[tokio::test]
async fn an_indirect_crl_names_the_issuer_of_each_group() {
    let ca = Party::root(KeyAlgorithm::P256);
    // another name; what kind of certificate has it is no matter to a CRL
    let other = ca.leaf(7);
    let mut entries = CrlEntries::new();
    for issuer in [&ca, &other] {
        entries.under(&issuer.name());
        for n in [5, 9] {
            // the same serials under both
            entries.push(serial(n), now(), Some(RevocationReason::Superseded)).unwrap();
        }
    }
    assert!(matches!(entries.clone().push(serial(9), now(), None), Err(CrlError::Order(_))));
    let der = crl(&ca, CrlScope::Indirect("http://ca.test/crl/domain/x.crl"), entries).await;
    assert_eq!(lint_crl(&der), []);
    assert!(verified_by_openssl(&ca, &der));
    let facts = CrlFacts::parse(&der).unwrap();
    assert!(facts.is_indirect);
    let names: Vec<_> = facts.entries().map(|entry| entry.certificate_issuer.map(<[u8]>::to_vec)).collect();
    assert_eq!(names, [Some(ca.name()), None, Some(other.name()), None]);
    let bench = Bench::new();
    bench.put("a.crl", &der);
    let (_, text) = bench.openssl(&["crl", "-inform", "DER", "-in", "a.crl", "-noout", "-text"]);
    assert!(text.contains("X509v3 Issuing Distribution Point: critical"), "{text}");
    assert!(text.contains("Indirect CRL") && text.contains("URI:http://ca.test/crl/domain/x.crl"), "{text}");
    assert_eq!(text.matches("X509v3 Certificate Issuer: critical").count(), 2, "{text}");
    // a complete CRL names nobody
    let mut named = CrlEntries::new();
    named.under(&other.name());
    named.push(serial(5), now(), None).unwrap();
    let (name, key_id) = (ca.name(), ca.key_id());
    let plain = prepare_crl(&input(&ca, &name, &key_id, CrlScope::Complete), named).unwrap();
    let refused = seal_crl(plain, ca.signer.as_ref(), ca.signer.public_key()).await;
    assert!(matches!(refused, Err(CrlError::Lint(_))));
}
