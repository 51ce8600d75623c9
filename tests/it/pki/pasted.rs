//! CSRs and certificate files as devices, tools and people give them, each with what others do: Boulder, Pebble and step-ca
//! read a CSR with Go's crypto/x509, which ACME gives them in DER. `ours` says what this CA takes from it, and `why` where
//! that differs.

use chancery::model::identifier::Identifier;
use chancery::model::key::KeyAlgorithm;
use chancery::pki::input::{self, Input};
use chancery::pki::key_policy::KeyPolicy;
use chancery::pki::request::{CertificateRequest, CsrRefusal};
use chancery::pki::{der, oids, pem};
use openssl::pkcs7::{Pkcs7, Pkcs7Flags};
use openssl::stack::Stack;
use openssl::x509::X509;

use super::ca::Ca;
use super::support::{Csr, signer};

struct Case {
    file: &'static str,
    /// What Go's reader makes of it.
    go: &'static str,
    /// Boulder, Pebble and step-ca, where they judge beyond that.
    others: &'static str,
    /// The names that are read, or the rule that refuses.
    ours: Result<&'static [&'static str], &'static str>,
    why: &'static str,
}

const CASES: &[Case] = &[
    Case {
        file: "ad-two-cn",
        go: "the last CN is the common name",
        others: "as Go reads it",
        ours: Ok(&["web02.corp.example"]),
        why: "",
    },
    Case {
        file: "elastic-cn-othername",
        go: "an otherName is passed over",
        others: "issued without it",
        ours: Err("csr.san"),
        why: "a name that is asked for is given or refused, never dropped in silence",
    },
    Case {
        file: "epson-v2",
        go: "the version is not judged",
        others: "issued",
        ours: Ok(&["printer7", "printer7.lab.example"]),
        why: "",
    },
    Case {
        file: "extreq-twice",
        go: "both attributes are read; one extension in both is refused",
        others: "as Go reads it",
        ours: Ok(&["two.lab.example"]),
        why: "an extension that is asked for twice with the same value is no contradiction",
    },
    Case {
        file: "ms-oldext",
        go: "the attribute is unknown and passed over, so that only the CN is left",
        others: "refused by ACME, since the names differ from the order's",
        ours: Ok(&["remote.corp.example", "ts01.corp.example"]),
        why: "Windows and its certreq put the names there",
    },
    Case {
        file: "idrac",
        go: "no attribute, no name beside the CN",
        others: "the CN is a name",
        ours: Ok(&["idrac-7xkq2"]),
        why: "",
    },
    Case { file: "ilo", go: "read", others: "issued", ours: Ok(&["ilo-web1", "ilo-web1.lab.example"]), why: "" },
    Case {
        file: "vcenter",
        go: "read",
        others: "Boulder refuses mail addresses",
        ours: Ok(&["ops@lab.example", "vc.lab.example", "www.lab.example"]),
        why: "the profile says which kinds of names a certificate may have",
    },
    Case { file: "kubelet", go: "read", others: "-", ours: Ok(&["worker-1", "10.0.0.21"]), why: "" },
    Case {
        file: "opnsense-eku",
        go: "read; the usage is left to the CA",
        others: "issued with their own usages",
        ours: Ok(&["example.lab.example"]),
        why: "",
    },
    Case {
        file: "san-space",
        go: "read as one name with a comma and a blank in it",
        others: "Boulder refuses it: no name",
        ours: Err("csr.san"),
        why: "",
    },
    Case {
        file: "trailing-dot",
        go: "read with its dot",
        others: "Boulder refuses a name that ends in a dot",
        ours: Err("csr.san"),
        why: "",
    },
    Case { file: "underscore", go: "read", others: "Boulder refuses underscores", ours: Err("csr.san"), why: "" },
    Case {
        file: "iis-bom",
        go: "not reached: no DER",
        others: "-",
        ours: Ok(&["web01.corp.example"]),
        why: "people paste what Windows saved",
    },
    Case {
        file: "iis-utf16",
        go: "not reached: no DER",
        others: "-",
        ours: Ok(&["web01.corp.example"]),
        why: "people paste what Windows saved",
    },
    Case {
        file: "iis-oneline",
        go: "not reached: no DER",
        others: "-",
        ours: Ok(&["web01.corp.example"]),
        why: "web forms fold lines",
    },
    Case {
        file: "iis-bare-base64",
        go: "not reached: no DER",
        others: "-",
        ours: Ok(&["web01.corp.example"]),
        why: "web forms take the frame away",
    },
];

fn file(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/csr/{name}.csr", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn read(bytes: &[u8]) -> Result<CertificateRequest, CsrRefusal> {
    CertificateRequest::from_pem_or_der(bytes, &KeyPolicy::with_any_rsa_length())
}

#[test]
fn every_file_has_its_outcome() {
    for Case { file: name, go, others, ours, why } in CASES {
        assert!(!go.is_empty() && !others.is_empty(), "{name}");
        let found = read(&file(name));
        let found = found.map(|csr| csr.names().iter().map(Identifier::value).collect::<Vec<_>>());
        let found = found.as_ref().map(|names| names.iter().map(String::as_str).collect::<Vec<_>>());
        let mut expected = ours.map(<[_]>::to_vec);
        let found = found.map(|mut names| {
            names.sort_unstable();
            names
        });
        if let Ok(names) = &mut expected {
            names.sort_unstable();
        }
        assert_eq!(found.map_err(CsrRefusal::rule), expected, "{name} {why}");
    }
    let listed = std::fs::read_dir(format!("{}/tests/data/csr", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut listed: Vec<_> = listed.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let mut known: Vec<_> = CASES.iter().map(|case| format!("{}.csr", case.file)).collect();
    listed.sort_unstable();
    known.sort_unstable();
    assert_eq!(listed, known, "a file without a case proves nothing");
}

#[test]
fn a_refusal_says_what_is_wrong() {
    for (name, words) in [
        ("elastic-cn-othername", "otherName"),
        ("san-space", "is not a DNS name"),
        ("trailing-dot", "ends in a dot"),
        ("underscore", "letters, digits and hyphens"),
    ] {
        let refusal = read(&file(name)).unwrap_err();
        assert!(refusal.to_string().contains(words), "{name}: {refusal}");
    }
    let key = signer(KeyAlgorithm::P256);
    let feature = der::extension(&oids::TLS_FEATURE, false, &der::sequence(&[&der::unsigned(&[5])]));
    let staple = Csr::new(&key).extensions(&[feature]).build();
    let refusal = read(&staple).unwrap_err();
    assert_eq!(refusal, CsrRefusal::MustStaple);
    assert!(chancery::error::Error::from(refusal).kind == chancery::error::ErrorKind::BadCsr);
}

fn ders(input: Input) -> Vec<Vec<u8>> {
    match input {
        Input::Der(der) => vec![der],
        Input::Blocks(blocks) => blocks.into_iter().map(|block| block.der).collect(),
    }
}

#[test]
fn certificates_are_read_as_programs_save_them() {
    let ca = Ca::new(KeyAlgorithm::P384, KeyAlgorithm::P256);
    let leaf = ca.issue("tls-server", &["a.example.org"]).unwrap().into_der();
    let text = pem::encode(pem::CERTIFICATE, &leaf);
    let lines = |end: &str| text.replace('\n', end);
    let utf16 = |order: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(order).collect::<Vec<u8>>();
    let base64 = text.lines().filter(|line| !line.starts_with('-')).collect::<Vec<_>>();
    for (what, bytes) in [
        ("DER", leaf.clone()),
        ("PEM", text.clone().into_bytes()),
        ("CRLF", lines("\r\n").into_bytes()),
        ("CR", lines("\r").into_bytes()),
        ("one line", lines(" ").into_bytes()),
        ("no line breaks at all", lines("").into_bytes()),
        ("written out", lines("\\n").into_bytes()),
        ("BOM", [&[0xef, 0xbb, 0xbf][..], text.as_bytes()].concat()),
        ("UTF-16 LE with BOM", [&[0xff, 0xfe][..], &utf16(u16::to_le_bytes)].concat()),
        ("UTF-16 BE with BOM", [&[0xfe, 0xff][..], &utf16(u16::to_be_bytes)].concat()),
        ("UTF-16 LE", utf16(u16::to_le_bytes)),
        ("UTF-16 BE", utf16(u16::to_be_bytes)),
        ("base64", base64.join("\n").into_bytes()),
        ("base64 on one line, no padding", base64.concat().trim_end_matches('=').as_bytes().to_vec()),
        ("base64url", base64.concat().replace('+', "-").replace('/', "_").trim_end_matches('=').as_bytes().to_vec()),
        ("text around", format!("Bag Attributes\n  friendlyName: M\u{fc}ller\n{text}\nthe end -----\n").into_bytes()),
        ("Latin-1 around", [&b"M\xfcller\n"[..], text.as_bytes()].concat()),
        ("indented", lines("\n    ").into_bytes()),
    ] {
        assert_eq!(
            input::read(&bytes).map(ders).unwrap_or_else(|e| panic!("{what}: {e}")),
            std::slice::from_ref(&leaf),
            "{what}"
        );
    }
    for wrong in
        [&b""[..], b"hello", b"-----BEGIN ", b"AAAA", b"\xff\xfe", b"\xff\xfe\x00", b"\x80\x81", b"-----BEGIN A-----"]
    {
        assert!(!matches!(input::read(wrong), Ok(Input::Blocks(blocks)) if !blocks.is_empty()), "{wrong:?}");
    }
}

#[test]
fn a_pkcs7_chain_has_the_leaf_first() {
    let ca = Ca::new(KeyAlgorithm::P384, KeyAlgorithm::P256);
    let leaf = ca.issue("tls-server", &["a.example.org"]).unwrap().into_der();
    let above = ca.issuing.clone();
    for order in [[&leaf, &above], [&above, &leaf]] {
        let ours = pem::p7b(&order.map(Vec::as_slice));
        let base64 = pem::encode("X", &ours).lines().filter(|l| !l.starts_with('-')).collect::<String>();
        for bytes in [
            ours.clone(),
            pem::encode("PKCS7", &ours).into_bytes(),
            pem::encode(pem::CERTIFICATE, &ours).into_bytes(),
            base64.into_bytes(),
        ] {
            assert_eq!(ders(input::read(&bytes).unwrap()), [leaf.clone(), above.clone()]);
        }
    }
    // as OpenSSL makes it, with a signer in it
    let key = openssl::pkey::PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap();
    let signed = self_signed(&key);
    let mut others = Stack::new().unwrap();
    others.push(X509::from_der(&leaf).unwrap()).unwrap();
    let made = Pkcs7::sign(&signed, &key, &others, b"x", Pkcs7Flags::DETACHED).unwrap().to_der().unwrap();
    let mut found = ders(input::read(&made).unwrap());
    found.sort_unstable();
    let mut expected = vec![leaf, signed.to_der().unwrap()];
    expected.sort_unstable();
    assert_eq!(found, expected);
}

fn self_signed(key: &openssl::pkey::PKey<openssl::pkey::Private>) -> X509 {
    use openssl::asn1::Asn1Time;
    let mut builder = X509::builder().unwrap();
    let mut name = openssl::x509::X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "signer").unwrap();
    let name = name.build();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.sign(key, openssl::hash::MessageDigest::sha256()).unwrap();
    builder.build()
}

#[test]
fn a_private_key_that_was_sent_with_its_csr_is_refused() {
    let key = pem::encode("PRIVATE KEY", &[0x30, 0]);
    let sent = key + &pem::encode("CERTIFICATE REQUEST", &Csr::new(&signer(KeyAlgorithm::P256)).build());
    let refused = CertificateRequest::from_pem_or_der(sent.as_bytes(), &KeyPolicy::default()).unwrap_err();
    assert_eq!(refused, CsrRefusal::PrivateKey);
    insta::assert_snapshot!(chancery::error::Error::from(refused).detail, @"the CSR is not accepted: it comes with a private key, which nobody but its owner may have; this CA takes the CSR alone; make another key, since this one was sent, and send its CSR");
}
