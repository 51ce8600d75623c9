//! Lint finds each fault in a certificate that was spoiled in one place.

use chancery::clock::days;
use chancery::model::key::KeyAlgorithm::{self, Ed25519, P256, P384};
use chancery::model::key::SignatureAlgorithm;
use chancery::model::validity::Validity;
use chancery::pki::lint::{Above, Finding, Kind, lint};
use chancery::pki::path::IssuingPath;
use chancery::pki::tbs::{TbsView, split_certificate};
use chancery::pki::{der, oids};
use der::oid as oid_der;

use super::ca::{Ca, NOW, seal, serial};
use super::support::signer;
use chancery::pki::signer::Signer;

type Id = ::der::oid::ObjectIdentifier;

/// A TBSCertificate taken apart.
#[derive(Clone)]
struct Parts {
    fields: Vec<Vec<u8>>,
    extensions: Vec<(Id, bool, Vec<u8>)>,
}

const SERIAL: usize = 1;
const SIGNATURE: usize = 2;
const ISSUER: usize = 3;
const VALIDITY: usize = 4;
const SUBJECT: usize = 5;

impl Parts {
    fn of(tbs: &[u8]) -> Self {
        let mut cursor = der::only_sequence(tbs).unwrap();
        let fields = (0..7).map(|_| cursor.any().unwrap().raw.to_vec()).collect();
        let view = TbsView::parse(tbs).unwrap();
        let extensions = view.extensions.iter().map(|(id, c, v)| (*id, *c, v.to_vec())).collect();
        Parts { fields, extensions }
    }

    fn build(&self) -> Vec<u8> {
        let extensions: Vec<_> = self.extensions.iter().map(|(id, c, v)| der::extension(id, *c, v)).collect();
        let extensions = der::sequence(&extensions.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let wrapped = der::constructed(der::context_constructed(3), &[&extensions]);
        let mut parts: Vec<&[u8]> = self.fields.iter().map(Vec::as_slice).collect();
        parts.push(&wrapped);
        der::sequence(&parts)
    }

    fn set(&mut self, id: Id, critical: bool, value: Vec<u8>) {
        self.remove(id);
        self.extensions.push((id, critical, value));
    }

    fn remove(&mut self, id: Id) {
        self.extensions.retain(|(known, ..)| *known != id);
    }

    fn make_critical(&mut self, id: Id, critical: bool) {
        self.extensions.iter_mut().filter(|(known, ..)| *known == id).for_each(|e| e.1 = critical);
    }
}

struct Bench {
    ca: Ca,
    leaf: Parts,
    responder: Parts,
    issuing: Parts,
    root: Parts,
}

fn parts(certificate: &[u8]) -> Parts {
    Parts::of(split_certificate(certificate).unwrap().0)
}

impl Bench {
    fn new() -> Self {
        let ca = Ca::new(P384, P256);
        let leaf = parts(ca.issue("tls-server", &["a.example.org", "192.0.2.1"]).unwrap().der());
        let key = signer(P256);
        let prepared = ca.key.prepare_responder(key.public_key(), serial(), NOW, days(30)).unwrap();
        let responder = parts(seal(&ca.key, prepared).der());
        let (issuing, root) = (parts(&ca.issuing), parts(&ca.root));
        Bench { ca, leaf, responder, issuing, root }
    }

    fn judge(&self, kind: Kind, parts: &Parts) -> Vec<Finding> {
        let below_issuing = matches!(kind, Kind::Leaf | Kind::Responder);
        let key = if below_issuing { &self.ca.key } else { &self.ca.root_key };
        let path = if kind == Kind::Root { IssuingPath::none() } else { key.path() };
        let above = Above {
            subject: key.subject(),
            key_id: key.key_id(),
            validity: key.validity(),
            path,
            below_key_id: None,
        };
        let algorithm: KeyAlgorithm = key.signer().algorithm();
        lint(&parts.build(), kind, SignatureAlgorithm::for_key(algorithm), &above)
    }
}

fn rules(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|f| f.rule).collect()
}

#[test]
fn what_is_issued_is_clean() {
    let bench = Bench::new();
    for (kind, parts) in [
        (Kind::Leaf, &bench.leaf),
        (Kind::Responder, &bench.responder),
        (Kind::Issuing, &bench.issuing),
        (Kind::Root, &bench.root),
    ] {
        assert_eq!(bench.judge(kind, parts), [], "{kind:?}");
    }
}

fn usage(ids: &[Id]) -> Vec<u8> {
    let ids: Vec<_> = ids.iter().map(oid_der).collect();
    der::sequence(&ids.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn san(names: &[&[u8]]) -> Vec<u8> {
    let names: Vec<_> = names.iter().map(|name| der::tlv(0x82, name)).collect();
    der::sequence(&names.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn crl_pointer(url: &str) -> Vec<u8> {
    let full = der::constructed(0xa0, &[&der::tlv(0x86, url.as_bytes())]);
    der::sequence(&[&der::sequence(&[&der::constructed(0xa0, &[&full])])])
}

fn common_name(tag: u8, text: &[u8]) -> Vec<u8> {
    let pair = der::sequence(&[&oid_der(&oids::COMMON_NAME), &der::tlv(tag, text)]);
    der::sequence(&[&der::tlv(der::SET, &pair)])
}

#[test]
fn every_fault_of_a_leaf_is_found() {
    let bench = Bench::new();
    type Spoil = fn(&mut Parts);
    let cases: [(Spoil, &str); 38] = [
        (|p| p.fields[SERIAL] = der::tlv(2, &[1]), "serial.random"),
        (|p| p.fields[SERIAL] = der::tlv(2, &[0x80; 20]), "serial.form"),
        (|p| p.fields[SERIAL] = der::tlv(2, &[0x41; 21]), "serial.form"),
        (|p| p.fields[SIGNATURE] = der::sequence(&[&oid_der(&oids::ECDSA_SHA1)]), "signature"),
        (|p| p.fields[SIGNATURE] = der::sequence(&[&oid_der(&oids::ECDSA_SHA256), &der::null()]), "signature"),
        (|p| p.fields[ISSUER] = common_name(der::PRINTABLE_STRING, b"Test Issuing"), "issuer.bytes"),
        (|p| p.fields[ISSUER] = der::sequence(&[]), "issuer.empty"),
        (|p| p.fields[SUBJECT] = p.fields[ISSUER].clone(), "subject.self_issued"),
        (|p| p.fields[SUBJECT] = common_name(der::TELETEX_STRING, b"a.example.org"), "subject.strings"),
        (|p| p.fields[SUBJECT] = common_name(der::UTF8_STRING, &[b'a'; 65]), "subject.strings"),
        (|p| p.fields[SUBJECT] = common_name(der::UTF8_STRING, b"b.example.org"), "san.common_name"),
        (|p| p.fields[SUBJECT] = common_name(der::UTF8_STRING, b"10.0.0.1"), "san.common_name"),
        (|p| p.fields[SUBJECT] = der::sequence(&[]), "san.critical"),
        (
            |p| p.fields[VALIDITY] = der::sequence(&[&der::generalized_time(NOW), &der::time(NOW + days(1))]),
            "validity.form",
        ),
        (|p| p.fields[VALIDITY] = der::sequence(&[&der::time(NOW), &der::time(NOW + days(3000))]), "validity.nested"),
        (|p| p.fields[VALIDITY] = der::sequence(&[&der::time(NOW), &der::time(NOW - days(1))]), "tbs.der"),
        (|p| p.remove(oids::KEY_USAGE), "key_usage.present"),
        (|p| p.make_critical(oids::KEY_USAGE, false), "extensions.critical"),
        (|p| p.set(oids::KEY_USAGE, true, der::named_bit_string(0x8600)), "key_usage.bits"),
        (|p| p.set(oids::KEY_USAGE, true, der::named_bit_string(0xa000)), "key_usage.encipherment"),
        (|p| p.set(oids::KEY_USAGE, true, vec![3, 2, 0, 0x80]), "tbs.der"),
        (|p| p.remove(oids::EXTENDED_KEY_USAGE), "extended_key_usage.present"),
        (
            |p| p.set(oids::EXTENDED_KEY_USAGE, false, usage(&[oids::ANY_EXTENDED_KEY_USAGE])),
            "extended_key_usage.any",
        ),
        (
            |p| p.set(oids::EXTENDED_KEY_USAGE, false, usage(&[oids::EKU_SERVER_AUTH, oids::EKU_SERVER_AUTH])),
            "extended_key_usage.once",
        ),
        (
            |p| p.set(oids::EXTENDED_KEY_USAGE, false, usage(&[oids::EKU_OCSP_SIGNING])),
            "extended_key_usage.responder",
        ),
        (
            |p| p.set(oids::EXTENDED_KEY_USAGE, false, usage(&[oids::EKU_TIME_STAMPING])),
            "extended_key_usage.time_stamping",
        ),
        (|p| p.set(oids::BASIC_CONSTRAINTS, true, der::sequence(&[&der::boolean_true()])), "basic_constraints.ca"),
        (|p| p.set(oids::BASIC_CONSTRAINTS, true, vec![0x30, 3, 1, 1, 0]), "tbs.der"),
        (|p| p.remove(oids::SUBJECT_KEY_ID), "subject_key_id"),
        (|p| p.set(oids::SUBJECT_KEY_ID, false, der::octet_string(b"other")), "subject_key_id"),
        (|p| p.set(oids::AUTHORITY_KEY_ID, false, der::sequence(&[&der::tlv(0x80, b"x")])), "authority_key_id"),
        (|p| p.remove(oids::AUTHORITY_KEY_ID), "authority_key_id"),
        (|p| p.remove(oids::SUBJECT_ALT_NAME), "san.present"),
        (|p| p.set(oids::SUBJECT_ALT_NAME, false, san(&[b"a.example.org", b"A.example.org"])), "san.canonical"),
        (|p| p.set(oids::SUBJECT_ALT_NAME, false, san(&[b"a.example.org", b"a.example.org"])), "san.once"),
        (
            |p| p.set(oids::CRL_DISTRIBUTION_POINTS, false, crl_pointer("https://ca.example.test/crl")),
            "pointers.http",
        ),
        (|p| p.set(oids::NO_REV_AVAIL, false, der::null()), "pointers.revocation"),
        (|p| p.set(Id::new_unwrap("1.2.3.4"), false, der::null()), "extensions.known"),
    ];
    for (i, (spoil, rule)) in cases.into_iter().enumerate() {
        let mut parts = bench.leaf.clone();
        spoil(&mut parts);
        let found = bench.judge(Kind::Leaf, &parts);
        assert!(rules(&found).contains(&rule), "case {i} wants {rule}: {found:?}");
    }
}

#[test]
fn every_fault_of_a_ca_and_a_responder_is_found() {
    let bench = Bench::new();
    type Spoil = fn(&mut Parts);
    let cases: [(Kind, Spoil, &str); 17] = [
        (Kind::Issuing, |p| p.remove(oids::BASIC_CONSTRAINTS), "basic_constraints.ca"),
        (
            Kind::Issuing,
            |p| p.set(oids::BASIC_CONSTRAINTS, true, vec![0x30, 3, 1, 1, 0xff]),
            "basic_constraints.path_len",
        ),
        (Kind::Issuing, |p| p.make_critical(oids::BASIC_CONSTRAINTS, false), "extensions.critical"),
        (Kind::Issuing, |p| p.set(oids::KEY_USAGE, true, der::named_bit_string(0x0400)), "key_usage.bits"),
        (Kind::Issuing, |p| p.remove(oids::EXTENDED_KEY_USAGE), "extended_key_usage.present"),
        (
            Kind::Issuing,
            |p| p.set(oids::EXTENDED_KEY_USAGE, false, usage(&[oids::EKU_SERVER_AUTH, oids::EKU_OCSP_SIGNING])),
            "extended_key_usage.delegation",
        ),
        (Kind::Issuing, |p| p.remove(oids::CRL_DISTRIBUTION_POINTS), "pointers.revocation"),
        (Kind::Issuing, |p| p.fields[SUBJECT] = der::sequence(&[]), "subject.empty"),
        (Kind::Issuing, |p| p.set(oids::NO_REV_AVAIL, false, der::null()), "extensions.known"),
        (Kind::Root, |p| p.set(oids::AUTHORITY_KEY_ID, false, der::sequence(&[])), "authority_key_id"),
        (
            Kind::Root,
            |p| p.set(oids::EXTENDED_KEY_USAGE, false, usage(&[oids::EKU_SERVER_AUTH])),
            "extended_key_usage.root",
        ),
        (Kind::Root, |p| p.fields[SUBJECT] = common_name(der::UTF8_STRING, b"Other"), "subject.self_issued"),
        (Kind::Responder, |p| p.remove(oids::OCSP_NOCHECK), "ocsp_nocheck"),
        (Kind::Responder, |p| p.set(oids::OCSP_NOCHECK, false, vec![4, 0]), "extensions.null"),
        (
            Kind::Responder,
            |p| p.set(oids::EXTENDED_KEY_USAGE, false, usage(&[oids::EKU_OCSP_SIGNING, oids::EKU_SERVER_AUTH])),
            "extended_key_usage.responder",
        ),
        (
            Kind::Responder,
            |p| p.set(oids::CRL_DISTRIBUTION_POINTS, false, crl_pointer("http://ca.example.test/crl")),
            "extensions.known",
        ),
        (Kind::Responder, |p| p.set(oids::KEY_USAGE, true, der::named_bit_string(0x0200)), "key_usage.bits"),
    ];
    for (i, (kind, spoil, rule)) in cases.into_iter().enumerate() {
        let mut parts = match kind {
            Kind::Leaf => bench.leaf.clone(),
            Kind::Responder => bench.responder.clone(),
            Kind::Issuing => bench.issuing.clone(),
            Kind::Root => bench.root.clone(),
        };
        spoil(&mut parts);
        let found = bench.judge(kind, &parts);
        assert!(rules(&found).contains(&rule), "case {i} wants {rule}: {found:?}");
    }
}

#[test]
fn no_octet_of_a_certificate_can_be_cut_or_spoiled_into_a_panic() {
    let bench = Bench::new();
    let tbs = bench.leaf.build();
    let above = Above {
        subject: bench.ca.key.subject(),
        key_id: bench.ca.key.key_id(),
        validity: Validity::new(NOW - days(1), NOW + days(1000)).unwrap(),
        path: IssuingPath::none(),
        below_key_id: None,
    };
    let algorithm = SignatureAlgorithm::for_key(Ed25519);
    for at in 0..tbs.len() {
        assert!(!lint(&tbs[..at], Kind::Leaf, algorithm, &above).is_empty());
        let mut spoiled = tbs.clone();
        spoiled[at] ^= 0xff;
        assert!(!lint(&spoiled, Kind::Leaf, algorithm, &above).is_empty(), "the signature algorithm is another's");
    }
}
