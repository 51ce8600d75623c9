//! Name constraints of ours as OpenSSL applies them, to leaves that our own policy would never let pass.

use chancery::model::identifier::Identifier;
use chancery::model::issuer::IssuerRole;
use chancery::model::key::{KeyAlgorithm, SignatureAlgorithm};
use chancery::pki::algorithm::algorithm_identifier;
use chancery::pki::constraint_list::ConstraintList;
use chancery::pki::der;
use chancery::pki::issuer::{IssuerKey, NewIssuer};
use chancery::pki::name::{DistinguishedName, SubjectFields};
use chancery::pki::path::IssuingPath;
use chancery::pki::profile::ExtendedKeyUsage;
use chancery::pki::signer::Signer;
use chancery::pki::tbs::Template;
use std::sync::Arc;

use super::ca::{Ca, NOW, issuer, life, seal, serial};
use super::support::{sign, signer};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyParam;
use openssl::x509::{X509, X509StoreContext};

#[test]
fn openssl_refuses_every_form_that_is_not_permitted() {
    let ca = Ca::new(KeyAlgorithm::P384, KeyAlgorithm::P256);
    let names = [
        "a.lab.example",
        "a.example",
        "10.1.2.3",
        "192.0.2.1",
        "fd00::1",
        "a@lab.example",
        "a@x.test",
        "spiffe://lab.example/x",
        "https://x.test/",
    ];
    for (permit, exclude, open) in [
        (&["lab.example"][..], &[][..], &["a.lab.example"][..]),
        (&["10.0.0.0/8"], &[], &["10.1.2.3"]),
        (&["fd00::/8", "lab.example"], &[], &["fd00::1", "a.lab.example"]),
        (&["@lab.example"], &[], &["a@lab.example"]),
        (&["spiffe://lab.example"], &[], &["spiffe://lab.example/x"]),
        (
            &[],
            &["a.lab.example", "192.0.2.0/24"],
            &[
                "a.example",
                "10.1.2.3",
                "fd00::1",
                "a@lab.example",
                "a@x.test",
                "spiffe://lab.example/x",
                "https://x.test/",
            ],
        ),
    ] {
        let texts = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let list = ConstraintList::parse(&texts(permit), &texts(exclude)).unwrap().unwrap().der();
        let key: Arc<dyn Signer> = Arc::new(signer(KeyAlgorithm::P256));
        let usages = &[ExtendedKeyUsage::ServerAuth];
        let below = NewIssuer {
            name: "Narrow",
            spki: key.public_key(),
            usages,
            constraints: Some(&list),
            validity: life(900),
        };
        let narrow = seal(&ca.root_key, ca.root_key.prepare_issuing(&below, serial()).unwrap()).into_der();
        let own = IssuerKey::new(
            &issuer("narrow-1", IssuerRole::Issuing),
            IssuingPath::read(&[&narrow]).unwrap(),
            key.clone(),
        )
        .unwrap();
        for name in names {
            let verdict = judge(&ca.root, &narrow, &rogue(&own, &Identifier::guess(name).unwrap()));
            assert_eq!(verdict, open.contains(&name), "{permit:?} without {exclude:?}: {name}");
        }
    }
}

/// A leaf that the issuer's key signs past every check of ours.
fn rogue(issuer: &IssuerKey, name: &Identifier) -> Vec<u8> {
    let leaf = signer(KeyAlgorithm::P256);
    let subject = SubjectFields { organization: vec!["Rogue".into()], ..SubjectFields::default() };
    let template = Template {
        serial: &serial(),
        signature: SignatureAlgorithm::EcdsaP256Sha256,
        issuer: issuer.subject(),
        validity: life(30),
        subject: DistinguishedName::build(&subject).unwrap(),
        spki: leaf.public_key(),
        names: std::slice::from_ref(name),
        key_usage: 0x8000,
        usages: &[ExtendedKeyUsage::ServerAuth],
        critical_usages: false,
        policies: &[],
        ca: None,
        name_constraints: None,
        subject_key_id: None,
        authority_key_id: Some(issuer.key_id()),
        pointers: None,
        ocsp_no_check: false,
        no_rev_avail: false,
    };
    let tbs = template.build().unwrap();
    let signature = sign(issuer.signer().as_ref(), &tbs);
    der::sequence(&[&tbs, &algorithm_identifier(SignatureAlgorithm::EcdsaP256Sha256), &der::bit_string(&signature)])
}

fn judge(root: &[u8], issuing: &[u8], leaf: &[u8]) -> bool {
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(X509::from_der(root).unwrap()).unwrap();
    let mut param = X509VerifyParam::new().unwrap();
    param.set_time(NOW.secs() + 60);
    store.set_param(&param).unwrap();
    let mut chain = Stack::new().unwrap();
    chain.push(X509::from_der(issuing).unwrap()).unwrap();
    let leaf = X509::from_der(leaf).unwrap();
    X509StoreContext::new().unwrap().init(&store.build(), &leaf, &chain, |c| c.verify_cert()).unwrap()
}
