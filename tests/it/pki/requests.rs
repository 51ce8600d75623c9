//! Certification requests: what OpenSSL makes is read, and every crooked one is refused by its rule.

use std::collections::BTreeSet;

use chancery::model::identifier::Identifier;
use chancery::model::key::KeyAlgorithm;
use chancery::pki::algorithm::VerifyError;
use chancery::pki::key_policy::{KeyPolicy, KeyRefusal};
use chancery::pki::name::SubjectFields;
use chancery::pki::request::{CertificateRequest, CsrRefusal};
use chancery::pki::signer::Signer;
use chancery::pki::{der, oids, pem};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::stack::Stack;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509NameBuilder, X509ReqBuilder};
use proptest::prelude::*;

use super::support::{Csr, attribute, sign, signer};

fn read(csr: &[u8]) -> Result<CertificateRequest, CsrRefusal> {
    CertificateRequest::from_der(csr, &KeyPolicy::default())
}

fn names(list: &[&str]) -> BTreeSet<Identifier> {
    list.iter().map(|n| Identifier::guess(n).unwrap()).collect()
}

/// A CSR by OpenSSL with CN, O and four kinds of names.
fn openssl_csr(key: &PKey<Private>, hash: MessageDigest) -> Vec<u8> {
    let mut builder = X509ReqBuilder::new().unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("O", "Ignored").unwrap();
    subject.append_entry_by_text("CN", "WWW.example.org").unwrap();
    builder.set_subject_name(&subject.build()).unwrap();
    builder.set_pubkey(key).unwrap();
    let san = SubjectAlternativeName::new()
        .dns("www.example.org")
        .dns("*.Example.org")
        .ip("192.0.2.1")
        .email("a@example.org")
        .uri("spiffe://td/x")
        .build(&builder.x509v3_context(None))
        .unwrap();
    let mut extensions = Stack::new().unwrap();
    extensions.push(san).unwrap();
    builder.add_extensions(&extensions).unwrap();
    builder.sign(key, hash).unwrap();
    builder.build().to_der().unwrap()
}

#[test]
fn a_request_of_openssl_gives_its_key_and_names() {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let csr = openssl_csr(&key, MessageDigest::sha256());
    let text = pem::encode("CERTIFICATE REQUEST", &csr);
    let request = CertificateRequest::from_pem_or_der(text.as_bytes(), &KeyPolicy::default()).unwrap();
    assert_eq!(
        request.names(),
        names(&["www.example.org", "*.example.org", "192.0.2.1", "a@example.org", "spiffe://td/x"])
    );
    assert_eq!(request.public_key().spki(), key.public_key_to_der().unwrap());
    assert_eq!(request.common_name(), Some("WWW.example.org"));
    assert!(!request.common_name_outside_san());
    assert_eq!(request.subject().to_string(), "CN=WWW.example.org,O=Ignored");
    assert_eq!(request.der(), Some(csr.as_slice()));
}

#[test]
fn weak_hashes_are_refused_and_strong_ones_are_not() {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    for (hash, weak) in [(MessageDigest::sha1(), "SHA-1"), (MessageDigest::md5(), "MD5")] {
        assert_eq!(read(&openssl_csr(&key, hash)), Err(CsrRefusal::Signature(VerifyError::Weak(weak))));
    }
    for hash in [MessageDigest::sha384(), MessageDigest::sha512()] {
        assert!(read(&openssl_csr(&key, hash)).is_ok());
    }
    assert!(read(&openssl_csr(&PKey::generate_ed25519().unwrap(), MessageDigest::null())).is_ok());
}

/// rcgen takes the kind of key from the signature's algorithm; we take the bytes of the key.
#[test]
fn a_p384_key_that_signs_with_sha256_keeps_its_spki() {
    let group = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::SECP384R1).unwrap();
    let key = PKey::from_ec_key(openssl::ec::EcKey::generate(&group).unwrap()).unwrap();
    let request = read(&openssl_csr(&key, MessageDigest::sha256())).unwrap();
    assert_eq!(request.public_key().algorithm(), KeyAlgorithm::P384);
    assert_eq!(request.public_key().spki(), key.public_key_to_der().unwrap());
}

#[test]
fn pss_with_the_hash_as_salt_length_is_accepted_and_other_salts_are_refused() {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let signer = PssSigner(key);
    for (salt, accepted) in [(32, true), (20, false), (222, false)] {
        let csr = Csr { algorithm: pss_identifier(salt), ..Csr::new(&signer) }.build();
        let outcome = read(&csr);
        if accepted {
            assert!(outcome.is_ok(), "{outcome:?}");
        } else {
            assert_eq!(outcome, Err(CsrRefusal::Signature(VerifyError::PssParameters)));
        }
    }
}

#[derive(Debug)]
struct PssSigner(PKey<Private>);

impl Signer for PssSigner {
    fn algorithm(&self) -> KeyAlgorithm {
        KeyAlgorithm::Rsa(2048)
    }
    fn public_key(&self) -> &[u8] {
        // a test may leak
        Box::leak(self.0.public_key_to_der().unwrap().into_boxed_slice())
    }
    fn sign<'a>(
        &'a self,
        message: &'a [u8],
    ) -> futures_util::future::BoxFuture<'a, Result<Vec<u8>, chancery::pki::signer::SignError>> {
        let mut signer = openssl::sign::Signer::new(MessageDigest::sha256(), &self.0).unwrap();
        signer.set_rsa_padding(openssl::rsa::Padding::PKCS1_PSS).unwrap();
        signer.set_rsa_pss_saltlen(openssl::sign::RsaPssSaltlen::DIGEST_LENGTH).unwrap();
        let signature = signer.sign_oneshot_to_vec(message).unwrap();
        Box::pin(async move { Ok(signature) })
    }
}

fn pss_identifier(salt: u8) -> Vec<u8> {
    let hash = der::sequence(&[&der::oid(&oids::SHA256), &der::null()]);
    let mask = der::sequence(&[&der::oid(&oids::MGF1), &hash]);
    let field = |n, value: &[u8]| der::tlv(der::context_constructed(n), value);
    let params = der::sequence(&[&field(0, &hash), &field(1, &mask), &field(2, &der::unsigned(&[salt]))]);
    der::sequence(&[&der::oid(&oids::RSA_PSS), &params])
}

#[test]
fn a_common_name_counts_as_a_name_when_it_is_one() {
    let key = signer(KeyAlgorithm::P256);
    let read = |cn: &str| read(&Csr::new(&key).common_name(cn).build()).unwrap();
    assert_eq!(read("Www.example.org").names(), names(&["www.example.org"]));
    assert!(read("www.example.org").common_name_outside_san());
    assert_eq!(read("192.0.2.1").names(), names(&["192.0.2.1"]));
    assert_eq!(read("Alice Example").names(), names(&[]));
    assert_eq!(read("Alice Example").common_name(), Some("Alice Example"));
    assert_eq!(read("system:node:a").names(), names(&[]));
}

#[test]
fn names_of_other_kinds_are_refused_not_ignored() {
    let key = signer(KeyAlgorithm::P256);
    let upn = [der::oid(&oids::OTHER_NAME_UPN), der::tlv(0xa0, &der::tlv(der::UTF8_STRING, b"a@b"))].concat();
    let srv = [der::oid(&oids::ON_DNS_SRV), der::tlv(0xa0, &der::tlv(der::IA5_STRING, b"_x.example.org"))].concat();
    let directory = der::sequence(&[]);
    for (tag, content) in [
        (0xa0, upn.as_slice()),
        (0xa0, &srv),
        (0xa3, &directory),
        (0xa4, &directory),
        (0xa5, &directory),
        (0x88, &[0x2a, 3]),
        (0x82, b"a\0.example.org"),
        (0x82, b"example.org\0.evil.test"),
        (0x82, "münchen.example".as_bytes()),
        (0x82, b"example.org."),
        (0x82, b"a_b.example.org"),
        (0x82, b"*"),
        (0x82, b"a.*.example.org"),
        (0x82, b"f*.example.org"),
        (0x82, b"192.0.2.1"),
        (0x82, b""),
        (0x82, b" example.org"),
        (0x81, b"a\0@example.org"),
        (0x81, b"example.org"),
        (0x86, b"/relative"),
        (0x86, b"spiffe://TD/x"),
        (0x87, &[192, 0, 2]),
        (0x87, &[192, 0, 2, 1, 255, 255, 255, 0]),
        (0x87, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]),
    ] {
        let csr = Csr::new(&key).san(&[(0x82, b"good.example.org"), (tag, content)]).build();
        assert!(matches!(read(&csr), Err(CsrRefusal::San(_))), "{tag:x} {content:?}: {:?}", read(&csr));
    }
}

#[test]
fn counts_and_sizes_are_bounded() {
    let key = signer(KeyAlgorithm::P256);
    let list: Vec<String> = (0..101).map(|i| format!("n{i}.example.org")).collect();
    let entries: Vec<(u8, &[u8])> = list.iter().map(|n| (0x82, n.as_bytes())).collect();
    assert_eq!(read(&Csr::new(&key).san(&entries).build()), Err(CsrRefusal::TooManyNames(101)));
    assert_eq!(read(&Csr::new(&key).san(&entries[..100]).build()).unwrap().names().len(), 100);
    assert_eq!(read(&Csr::new(&key).san(&[]).build()), Err(CsrRefusal::EmptySan));
    let mut large = Csr::new(&key);
    large.attributes.push(attribute(&oids::CHALLENGE_PASSWORD, &der::tlv(der::UTF8_STRING, &[b'x'; 33_000])));
    assert!(matches!(read(&large.build()), Err(CsrRefusal::TooLarge(_))));
}

#[test]
fn duplicates_are_refused() {
    let key = signer(KeyAlgorithm::P256);
    let san = |name: &[u8]| {
        let value = der::sequence(&[&der::tlv(0x82, name)]);
        der::extension(&oids::SUBJECT_ALT_NAME, false, &value)
    };
    let twice = Csr::new(&key).extensions(&[san(b"a.example.org"), san(b"b.example.org")]).build();
    assert_eq!(read(&twice), Err(CsrRefusal::DuplicateExtension(oids::SUBJECT_ALT_NAME)));
    let attributes = Csr::new(&key).extensions(&[san(b"a.example.org")]).extensions(&[san(b"b.example.org")]).build();
    assert_eq!(read(&attributes), Err(CsrRefusal::Contradiction(oids::SUBJECT_ALT_NAME)));
    let same = Csr::new(&key).extensions(&[san(b"a.example.org")]).extensions(&[san(b"a.example.org")]).build();
    assert_eq!(read(&same).unwrap().names(), names(&["a.example.org"]));
    let mut other = Csr::new(&key);
    let password = attribute(&oids::CHALLENGE_PASSWORD, &der::tlv(der::UTF8_STRING, b"x"));
    other.attributes.extend([password.clone(), password]);
    assert_eq!(read(&other.build()), Err(CsrRefusal::DuplicateAttribute(oids::CHALLENGE_PASSWORD)));
    let fields = SubjectFields { domain_components: vec!["a".into()], ..SubjectFields::common_name("x") };
    let one = chancery::pki::name::DistinguishedName::build(&fields).unwrap();
    let rdns = der::Cursor::new(one.as_der()).sequence().unwrap().any().unwrap().raw.to_vec();
    assert!(
        read(&Csr { subject: der::sequence(&[&rdns, &rdns]), ..Csr::new(&key) }.build()).is_ok(),
        "two DCs are fine"
    );
    let cn = chancery::pki::name::DistinguishedName::build(&SubjectFields::common_name("x")).unwrap();
    let rdn = der::Cursor::new(cn.as_der()).sequence().unwrap().any().unwrap().raw.to_vec();
    let two = Csr { subject: der::sequence(&[&rdn, &rdn]), ..Csr::new(&key) }.build();
    assert_eq!(read(&two).unwrap().common_name(), Some("x"));
}

#[test]
fn nul_in_the_common_name_is_refused() {
    let key = signer(KeyAlgorithm::P256);
    let value = der::tlv(der::UTF8_STRING, b"www.example.org\0.evil.test");
    let pair = der::sequence(&[&der::oid(&oids::COMMON_NAME), &value]);
    let subject = der::sequence(&[&der::tlv(der::SET, &pair)]);
    let csr = Csr { subject, ..Csr::new(&key) }.build();
    assert!(matches!(read(&csr), Err(CsrRefusal::CommonName(_))));
}

#[test]
fn the_signature_must_be_by_the_key_itself() {
    let (key, other) = (signer(KeyAlgorithm::P256), signer(KeyAlgorithm::P256));
    let stolen = Csr { spki: other.public_key().to_vec(), ..Csr::new(&key) }.build();
    assert_eq!(read(&stolen), Err(CsrRefusal::Signature(VerifyError::Bad)));
    let mislabelled = Csr { algorithm: der::sequence(&[&der::oid(&oids::ED25519)]), ..Csr::new(&key) }.build();
    assert_eq!(read(&mislabelled), Err(CsrRefusal::Signature(VerifyError::Mismatch)));
    let none = der::sequence(&[&der::oid(&oids::COMMON_NAME)]);
    let unknown = Csr { algorithm: none, ..Csr::new(&key) }.build();
    assert!(matches!(read(&unknown), Err(CsrRefusal::Signature(VerifyError::Unsupported(_)))));
}

#[test]
fn weak_keys_are_refused_before_anything_else() {
    let key = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
    assert_eq!(read(&openssl_csr(&key, MessageDigest::sha256())), Err(CsrRefusal::Key(KeyRefusal::RsaBits(1024))));
}

#[test]
fn structure_is_strict() {
    let key = signer(KeyAlgorithm::P256);
    let good = Csr::new(&key).san(&[(0x82, b"a.example.org")]).build();
    assert!(read(&good).is_ok());
    assert!(matches!(read(&[good.as_slice(), &[0]].concat()), Err(CsrRefusal::Der(_))));
    for cut in 0..good.len() {
        assert!(read(&good[..cut]).is_err(), "cut at {cut}");
    }
    for version in [0, 1, 2] {
        let csr = Csr { version: der::unsigned(&[version]), ..Csr::new(&key) }.build();
        assert_eq!(read(&csr).map(|csr| csr.version()), Ok(version));
    }
    for version in [&[3][..], &[127], &[1, 0]] {
        let csr = Csr { version: der::unsigned(version), ..Csr::new(&key) }.build();
        assert_eq!(read(&csr), Err(CsrRefusal::Version));
    }
    let indefinite = [&[0x30, 0x80], &good[4..], &[0, 0]].concat();
    assert!(read(&indefinite).is_err());
}

#[test]
fn pem_holds_exactly_one_request() {
    let key = signer(KeyAlgorithm::P256);
    let one = pem::encode("NEW CERTIFICATE REQUEST", &Csr::new(&key).build());
    let read = |text: &str| CertificateRequest::from_pem_or_der(text.as_bytes(), &KeyPolicy::default());
    assert!(read(&format!("Certificate Request:\n  Data: …\n{one}")).is_ok());
    assert!(matches!(read(&one.repeat(2)), Err(CsrRefusal::Pem(_))));
    assert!(matches!(read(&pem::encode("CERTIFICATE", b"x")), Err(CsrRefusal::Pem(_))));
    assert!(matches!(read("no request"), Err(CsrRefusal::Pem(_))));
}

/// Flipping any bit never panics and never changes the key that comes out.
#[test]
fn no_flipped_bit_yields_another_key() {
    let key = signer(KeyAlgorithm::P256);
    let good =
        Csr::new(&key).common_name("a.example.org").san(&[(0x82, b"a.example.org"), (0x87, &[10, 0, 0, 1])]).build();
    let expected = read(&good).unwrap();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            if let Ok(request) = read(&bad) {
                panic!("octet {at} bit {bit} passed: {:?} for {:?}", request.names(), expected.names());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(read(&bytes).is_err());
        prop_assert!(CertificateRequest::from_pem_or_der(&bytes, &KeyPolicy::default()).is_err());
    }

    /// Signed garbage: the structure below the signature is reached, and only good names come out.
    #[test]
    fn signed_garbage_never_panics(san in prop::collection::vec(any::<u8>(), 0..80), subject in prop::collection::vec(any::<u8>(), 0..40)) {
        let key = shared_signer();
        let extension = der::extension(&oids::SUBJECT_ALT_NAME, false, &der::tlv(der::SEQUENCE, &san));
        let mut csr = Csr::new(key).extensions(&[extension]);
        csr.subject = der::tlv(der::SEQUENCE, &subject);
        let _ = read(&csr.build());
    }

    #[test]
    fn every_good_name_survives(label in "[a-z0-9]{1,20}", octets in any::<[u8; 4]>()) {
        let key = shared_signer();
        let dns = format!("{label}.example.org");
        let csr = Csr::new(key).san(&[(0x82, dns.as_bytes()), (0x87, &octets)]).build();
        let ip = std::net::IpAddr::from(octets);
        let expected = BTreeSet::from([Identifier::dns(&dns).unwrap(), Identifier::Ip(ip)]);
        prop_assert_eq!(read(&csr).unwrap().names(), expected);
    }
}

fn shared_signer() -> &'static dyn Signer {
    static KEY: std::sync::OnceLock<chancery::keys::software::SoftwareSigner> = std::sync::OnceLock::new();
    KEY.get_or_init(|| signer(KeyAlgorithm::P256))
}

#[test]
fn signing_helper_makes_good_signatures() {
    let key = signer(KeyAlgorithm::Ed25519);
    let signature = sign(&key, b"x");
    assert!(chancery::pki::algorithm::verify(key.public_key(), b"x", &signature).is_ok());
    assert!(chancery::pki::algorithm::verify(key.public_key(), b"y", &signature).is_err());
}
