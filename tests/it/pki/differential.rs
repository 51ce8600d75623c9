//! Name constraints as five verifiers read them: 36 constrained CAs, each with the leaves that our policy would issue and
//! those that it would refuse. No name passes our policy that all verifiers refuse, and none is refused that a verifier
//! takes without a reason in `EXPLAINED`. OpenSSL and webpki judge here; with CHANCERY_JUDGES set (tests/clients/constraints.sh)
//! Go, Java and GnuTLS do too.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use chancery::clock::{Clock, SystemClock, Timestamp, days};
use chancery::model::identifier::Identifier;
use chancery::model::key::{KeyAlgorithm, SignatureAlgorithm};
use chancery::model::serial::SerialNumber;
use chancery::model::validity::Validity;
use chancery::pki::algorithm::algorithm_identifier;
use chancery::pki::name::{DistinguishedName, SubjectFields};
use chancery::pki::path::IssuingPath;
use chancery::pki::profile::ExtendedKeyUsage;
use chancery::pki::signer::Signer;
use chancery::pki::tbs::{Template, key_identifier};
use chancery::pki::verification::Trust;
use chancery::pki::{der, oids, pem};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyParam;
use openssl::x509::{X509, X509StoreContext};
use rustls::pki_types::{CertificateDer, UnixTime};

use super::ca::serial;
use super::support::{sign, signer};

/// (permitted, excluded), each as `form:text`.
const CAS: [(&str, &str); 36] = [
    ("dns:lab.example", ""),
    ("dns:.lab.example", ""),
    ("dns:LAB.Example", ""),
    ("dns:", ""),
    ("dns:lab.example dns:evil.example", ""),
    ("dns:example", "dns:secret.lab.example"),
    ("", "dns:lab.example"),
    ("", "dns:.lab.example"),
    ("", "dns:secret.lab.example"),
    ("", "dns:"),
    ("dns:lab.example", "dns:lab.example"),
    ("ip:10.0.0.0/255.0.0.0", ""),
    ("ip:10.1.2.0/255.255.255.0", ""),
    ("ip:fd00::/ff00::", ""),
    ("ip:10.0.0.0/255.0.0.0 ip:fd00::/ff00::", ""),
    ("", "ip:192.0.2.0/255.255.255.0"),
    ("", "ip:0.0.0.0/0.0.0.0"),
    ("", "ip:0.0.0.0/0.0.0.0 ip:::/::"),
    ("mail:lab.example", ""),
    ("mail:.lab.example", ""),
    ("mail:Ann@lab.example", ""),
    ("", "mail:lab.example"),
    ("", "mail:.lab.example"),
    ("", "mail:Ann@lab.example"),
    ("uri:lab.example", ""),
    ("uri:.lab.example", ""),
    ("", "uri:lab.example"),
    ("", "uri:.lab.example"),
    ("dir:Corp", ""),
    ("", "dir:Corp"),
    ("printable:CORP", ""),
    ("id:", ""),
    ("", "id:"),
    ("dns:lab.example", "ip:0.0.0.0/0.0.0.0 ip:::/:: mail:.invalid uri:.invalid"),
    ("dns:lab.example ip:10.0.0.0/255.0.0.0 mail:lab.example uri:lab.example", ""),
    ("dns:lab.example dir:Corp", "dns:secret.lab.example"),
];

/// A name, or `subject:O` for a subject beside a.lab.example.
const NAMES: [&str; 38] = [
    "lab.example",
    "a.lab.example",
    "x.y.lab.example",
    "*.lab.example",
    "*.a.lab.example",
    "*.example",
    "example",
    "evil.example",
    "evillab.example",
    "lab.example.evil.test",
    "secret.lab.example",
    "a.secret.lab.example",
    "*.secret.lab.example",
    "intranet",
    "xn--bcher-kva.lab.example",
    "10.1.2.3",
    "10.255.255.255",
    "11.0.0.1",
    "192.0.2.1",
    "fd00::1",
    "2001:db8::1",
    "Ann@lab.example",
    "ann@lab.example",
    "bob@lab.example",
    "a@x.lab.example",
    "a@evil.example",
    "https://lab.example/x",
    "https://LAB.example/x",
    "https://a.lab.example:8443/x",
    "spiffe://lab.example/x",
    "https://user@evil.example/",
    "https://evil.test/.lab.example",
    "https://10.1.2.3/",
    "https://[fd00::1]/x",
    "urn:uuid:1",
    "subject:Corp",
    "subject:Other",
    "subject:corp",
];

struct World {
    root: Vec<u8>,
    cas: Vec<(Vec<u8>, IssuingPath)>,
    /// CA and name to leaf and whether we would issue it.
    leaves: BTreeMap<(usize, usize), (Vec<u8>, bool)>,
    now: Timestamp,
}

fn trees(texts: &str) -> Vec<Vec<u8>> {
    texts.split_whitespace().map(|text| tree(text.split_once(':').unwrap())).collect()
}

fn tree((form, text): (&str, &str)) -> Vec<u8> {
    let organization = |tag| {
        let attribute = der::sequence(&[&der::oid(&oids::ORGANIZATION), &der::tlv(tag, text.as_bytes())]);
        der::constructed(0xa4, &[&der::sequence(&[&der::tlv(der::SET, &attribute)])])
    };
    der::sequence(&[&match form {
        "dns" => der::tlv(0x82, text.as_bytes()),
        "mail" => der::tlv(0x81, text.as_bytes()),
        "uri" => der::tlv(0x86, text.as_bytes()),
        "ip" => {
            let (base, mask) = text.split_once('/').unwrap();
            let octets = |text: &str| match text.parse().unwrap() {
                std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
                std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            der::tlv(0x87, &[octets(base), octets(mask)].concat())
        }
        "dir" => organization(der::UTF8_STRING),
        "printable" => organization(der::PRINTABLE_STRING),
        "id" => der::tlv(0x88, &[0x2a, 3]),
        other => panic!("{other}"),
    }])
}

fn constraints((permitted, excluded): (&str, &str)) -> Vec<u8> {
    let side = |tag, list: &[Vec<u8>]| match list {
        [] => Vec::new(),
        list => der::constructed(tag, &list.iter().map(Vec::as_slice).collect::<Vec<_>>()),
    };
    der::sequence(&[&side(0xa0, &trees(permitted)), &side(0xa1, &trees(excluded))])
}

fn named(fields: &SubjectFields) -> DistinguishedName {
    DistinguishedName::build(fields).unwrap()
}

impl World {
    fn new() -> World {
        let now = SystemClock.now().truncated();
        let (root_key, ca_key, leaf_key) = (key(), key(), key());
        let root_name = named(&SubjectFields::common_name("Differential Root"));
        let certify = |template: Template<'_>, by: &dyn Signer| {
            let tbs = template.build().unwrap();
            let signature = sign(by, &tbs);
            let algorithm = algorithm_identifier(SignatureAlgorithm::EcdsaP256Sha256);
            der::sequence(&[&tbs, &algorithm, &der::bit_string(&signature)])
        };
        let serial = serial();
        fn template<'a>(
            serial: &'a SerialNumber,
            now: Timestamp,
            issuer: &'a [u8],
            subject: DistinguishedName,
            spki: &'a [u8],
        ) -> Template<'a> {
            Template {
                serial,
                signature: SignatureAlgorithm::EcdsaP256Sha256,
                issuer,
                validity: Validity::new(now - days(1), now + days(30)).unwrap(),
                subject,
                spki,
                names: &[],
                key_usage: 0x0600,
                usages: &[],
                critical_usages: false,
                policies: &[],
                ca: Some(None),
                name_constraints: None,
                subject_key_id: None,
                authority_key_id: None,
                pointers: None,
                ocsp_no_check: false,
                no_rev_avail: false,
            }
        }
        let root = template(&serial, now, root_name.as_der(), root_name.clone(), root_key.public_key());
        let root = certify(root, root_key.as_ref());
        let (root_id, ca_id) = (key_id(root_key.as_ref()), key_id(ca_key.as_ref()));
        let mut world = World { root, cas: Vec::new(), leaves: BTreeMap::new(), now };
        for (n, constrained) in CAS.into_iter().enumerate() {
            let value = constraints(constrained);
            let subject = named(&SubjectFields::common_name(format!("Differential CA {n}")));
            let ca = Template {
                name_constraints: Some(&value),
                authority_key_id: Some(&root_id),
                ..template(&serial, now, root_name.as_der(), subject.clone(), ca_key.public_key())
            };
            let ca = certify(ca, root_key.as_ref());
            let path = IssuingPath::read(&[&ca, &world.root]).unwrap();
            for (m, text) in NAMES.into_iter().enumerate() {
                let fields = match text.strip_prefix("subject:") {
                    Some(o) => SubjectFields { organization: vec![o.into()], ..SubjectFields::common_name("x") },
                    None => SubjectFields::default(),
                };
                let name = text.strip_prefix("subject:").map_or(text, |_| "a.lab.example");
                let names = [Identifier::guess(name).unwrap()];
                let issues = path.check_names(&names).is_ok() && path.check_subject(&named(&fields)).is_ok();
                let leaf = Template {
                    names: &names,
                    key_usage: 0x8000,
                    usages: &[ExtendedKeyUsage::ServerAuth],
                    ca: None,
                    authority_key_id: Some(&ca_id),
                    ..template(&serial, now, subject.as_der(), named(&fields), leaf_key.public_key())
                };
                world.leaves.insert((n, m), (certify(leaf, ca_key.as_ref()), issues));
            }
            world.cas.push((ca, path));
        }
        world
    }

    fn write(&self, dir: &Path) {
        let text = |der: &[u8]| pem::encode("CERTIFICATE", der);
        for (n, (ca, _)) in self.cas.iter().enumerate() {
            let own = dir.join(n.to_string());
            std::fs::create_dir(&own).unwrap();
            std::fs::write(own.join("root.pem"), text(&self.root)).unwrap();
            std::fs::write(own.join("ca.pem"), text(ca)).unwrap();
        }
        for ((n, m), (leaf, _)) in &self.leaves {
            let own = dir.join(n.to_string());
            std::fs::write(own.join(format!("{m}.leaf.pem")), text(leaf)).unwrap();
            std::fs::write(own.join(format!("{m}.chain.pem")), text(leaf) + &text(&self.cas[*n].0)).unwrap();
        }
    }
}

fn key() -> Arc<dyn Signer> {
    Arc::new(signer(KeyAlgorithm::P256))
}

fn key_id(signer: &dyn Signer) -> Vec<u8> {
    key_identifier(signer.public_key()).unwrap()
}

fn openssl(world: &World, ca: &[u8], leaf: &[u8]) -> Result<(), String> {
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(X509::from_der(&world.root).unwrap()).unwrap();
    let mut param = X509VerifyParam::new().unwrap();
    param.set_time(world.now.secs());
    store.set_param(&param).unwrap();
    let mut chain = Stack::new().unwrap();
    chain.push(X509::from_der(ca).unwrap()).unwrap();
    let leaf = X509::from_der(leaf).unwrap();
    let judged = |c: &mut openssl::x509::X509StoreContextRef| {
        c.verify_cert().map(|ok| if ok { Ok(()) } else { Err(c.error().error_string().to_owned()) })
    };
    X509StoreContext::new().unwrap().init(&store.build(), &leaf, &chain, judged).unwrap()
}

fn webpki(world: &World, ca: &[u8], leaf: &[u8]) -> Result<(), String> {
    let (leaf, above, root) =
        (CertificateDer::from(leaf), [CertificateDer::from(ca)], CertificateDer::from(world.root.as_slice()));
    let anchors = [webpki::anchor_from_trusted_cert(&root).unwrap()];
    let leaf = webpki::EndEntityCert::try_from(&leaf).map_err(|e| e.to_string())?;
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(world.now.secs().unsigned_abs()));
    let usage = webpki::KeyUsage::server_auth();
    let judged = leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &above, time, usage, None, None);
    judged.map(drop).map_err(|e| e.to_string())
}

/// What `chancery verify` says of the same chain.
fn verify(world: &World, ca: &[u8], leaf: &[u8]) -> Result<(), String> {
    Trust::read(std::slice::from_ref(&world.root), &[ca.to_vec()]).verify(leaf, world.now).map(drop)
}

type Verdicts = BTreeMap<(usize, usize), bool>;

/// What a program prints: `CA NAME ok` or `CA NAME no WHY`.
fn by_program(command: &mut Command) -> Verdicts {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| {
        let mut words = line.split(' ');
        let mut number = || words.next().unwrap().parse().unwrap();
        let place = (number(), number());
        (place, words.next() == Some("ok"))
    };
    text.lines().map(line).collect()
}

fn by_gnutls(world: &World, dir: &Path) -> Verdicts {
    let judge = |(n, m): &(usize, usize)| {
        let own = dir.join(n.to_string());
        let mut certtool = Command::new("certtool");
        certtool.args(["--verify", "--load-ca-certificate"]).arg(own.join("root.pem"));
        certtool.arg("--infile").arg(own.join(format!("{m}.chain.pem")));
        ((*n, *m), certtool.output().unwrap().status.success())
    };
    world.leaves.keys().map(judge).collect()
}

/// Why verifiers take a name that we refuse.
struct Explanation {
    judges: &'static [&'static str],
    /// Parts of what the CA permits and excludes.
    permitted: &'static str,
    excluded: &'static str,
    name: fn(&str) -> bool,
    #[expect(dead_code, reason = "it is for whoever reads the table")]
    why: &'static str,
}

const ALL: &[&str] = &["openssl", "webpki", "go", "java", "gnutls"];

const EXPLAINED: &[Explanation] = &[
    Explanation {
        judges: &["openssl", "java", "gnutls", "go"],
        permitted: "",
        excluded: "dns:",
        name: |name| name.starts_with("*."),
        why: "a wildcard stands for an excluded child too (RUSTSEC-2026-0099, CVE-2025-61727)",
    },
    Explanation {
        judges: ALL,
        permitted: "",
        excluded: "dns:.",
        name: |name| name == "lab.example",
        why: "RFC 5280 does not define a leading dot in a dNSName; excluded, it is read broadly",
    },
    Explanation {
        judges: &["openssl", "java", "gnutls", "go"],
        permitted: "",
        excluded: "mail:.",
        name: |name| name.ends_with("@lab.example"),
        why: "excluded, a leading dot is read broadly: some read it as the domain with all below",
    },
    Explanation {
        judges: &["openssl", "java", "go"],
        permitted: "",
        excluded: "uri:.",
        name: |name| name.to_ascii_lowercase().contains("://lab.example"),
        why: "excluded, a leading dot is read broadly: some read it as the domain with all below",
    },
    Explanation {
        judges: &["openssl", "java"],
        permitted: "",
        excluded: "uri:",
        name: |name| name.starts_with("https://10.") || name.starts_with("https://["),
        why: "RFC 5280 §4.2.1.10 rejects a URI whose host is an address under any URI constraint",
    },
    Explanation {
        judges: &["gnutls"],
        permitted: "ip:",
        excluded: "",
        name: |name| name.parse::<std::net::IpAddr>().is_ok(),
        why: "GnuTLS judges the address families apart; RFC 5280 has one form of both",
    },
    Explanation {
        judges: &["gnutls"],
        permitted: "uri:",
        excluded: "",
        name: |name| name.contains(':'),
        why: "GnuTLS does not apply permitted URIs",
    },
    Explanation {
        judges: &["gnutls"],
        permitted: "dir:",
        excluded: "",
        name: |name| name.starts_with("subject:"),
        why: "GnuTLS does not apply permitted directory names",
    },
    Explanation {
        judges: &["gnutls"],
        permitted: "printable:",
        excluded: "",
        name: |name| name.starts_with("subject:"),
        why: "GnuTLS does not apply permitted directory names",
    },
    Explanation {
        judges: &["go"],
        permitted: "mail:lab.example",
        excluded: "",
        name: |name| name == "a@x.lab.example",
        why: "Go reads a host as the domain with all below",
    },
    Explanation {
        judges: &["go"],
        permitted: "uri:lab.example",
        excluded: "",
        name: |name| name.starts_with("https://a.lab.example"),
        why: "Go reads a host as the domain with all below",
    },
    Explanation {
        judges: &["java"],
        permitted: "mail:Ann@",
        excluded: "",
        name: |name| name == "ann@lab.example",
        why: "Java compares local parts without case; RFC 5280 §7.5 compares them exactly",
    },
];

fn explained(judge: &str, ca: usize, name: &str) -> bool {
    let (permitted, excluded) = CAS[ca];
    // `chancery verify` takes what OpenSSL takes
    let judge = if judge == "verify" { "openssl" } else { judge };
    EXPLAINED.iter().any(|e| {
        e.judges.contains(&judge)
            && permitted.contains(e.permitted)
            && excluded.contains(e.excluded)
            && (e.name)(name)
    })
}

/// A verifier that runs in this process: issuing CA and leaf in DER.
type Judge = fn(&World, &[u8], &[u8]) -> Result<(), String>;

#[test]
fn verifiers_and_our_policy_agree_about_constrained_names() {
    let world = World::new();
    let mut judges: BTreeMap<&str, Verdicts> = BTreeMap::new();
    let inside = |judge: Judge| {
        let judged = world
            .leaves
            .iter()
            .map(|(place, (leaf, _))| (*place, judge(&world, &world.cas[place.0].0, leaf).is_ok()));
        judged.collect::<Verdicts>()
    };
    judges.insert("openssl", inside(openssl));
    judges.insert("verify", inside(verify));
    judges.insert("webpki", inside(webpki));
    if let Ok(programs) = std::env::var("CHANCERY_JUDGES") {
        let dir = tempfile::tempdir().unwrap();
        world.write(dir.path());
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/differential");
        for program in programs.split_whitespace() {
            let at = world.now.secs().to_string();
            let verdicts = match program {
                "go" => {
                    by_program(Command::new("go").arg("run").arg(sources.join("Judge.go")).arg(dir.path()).arg(at))
                }
                "java" => by_program(Command::new("java").arg(sources.join("Judge.java")).arg(dir.path()).arg(at)),
                "gnutls" => by_gnutls(&world, dir.path()),
                other => panic!("no such judge: {other}"),
            };
            judges.insert(
                if program == "go" {
                    "go"
                } else if program == "java" {
                    "java"
                } else {
                    "gnutls"
                },
                verdicts,
            );
        }
    }
    assert!(
        judges.values().all(|verdicts| verdicts.len() == CAS.len() * NAMES.len()),
        "every judge judged every leaf"
    );
    let mut wrong = String::new();
    for (place, verdict) in &judges["openssl"] {
        if judges["verify"][place] != *verdict {
            let (leaf, _) = &world.leaves[place];
            let why = verify(&world, &world.cas[place.0].0, leaf);
            writeln!(wrong, "{:?} {}: OpenSSL {verdict}, chancery verify {why:?}", CAS[place.0], NAMES[place.1])
                .unwrap();
        }
    }
    for (place, (_, issues)) in &world.leaves {
        let takes: Vec<_> = judges.iter().filter(|(_, verdicts)| verdicts[place]).map(|(judge, _)| *judge).collect();
        let name = NAMES[place.1];
        let unexplained: Vec<_> = takes.iter().filter(|judge| !explained(judge, place.0, name)).collect();
        if *issues && takes.is_empty() {
            writeln!(wrong, "{:?} {name}: we issue it, and {:?} refuse it", CAS[place.0], judges.keys()).unwrap();
        } else if !*issues && !unexplained.is_empty() {
            writeln!(wrong, "{:?} {name}: we refuse it, and {unexplained:?} take it", CAS[place.0]).unwrap();
        }
    }
    assert_eq!(wrong, "");
}
