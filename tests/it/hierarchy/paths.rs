//! Every CA above a certificate is asked: at import, creation and issuance (RFC 5280 §6.1).

use std::sync::Arc;

use chancery::authority::Authority;
use chancery::authority::hierarchy::import::Import;
use chancery::clock::days;
use chancery::error::Result;
use chancery::pki::constraint_list::ConstraintList;
use chancery::pki::name::{DistinguishedName, SubjectFields};
use chancery::pki::{der, oids};
use openssl::pkey::PKey;

use super::corporate::{Ca, Shape, name};
use super::{actor, issue, openssl as judged, roots, rule, wanted};
use crate::on_both_engines;
use crate::support::stores::founded;

const NAME_CONSTRAINTS: &str = "2.5.29.30";
const POLICIES: &str = "2.5.29.32";
const POLICY_CONSTRAINTS: &str = "2.5.29.36";
const SERVER: &str = "1.3.6.1.5.5.7.3.1";
const CLIENT: &str = "1.3.6.1.5.5.7.3.2";
const OCSP: &str = "1.3.6.1.5.5.7.3.9";

async fn take(authority: &Authority, domain: &str, ca: &Ca, above: &[&Ca]) -> Result<String> {
    let certificates = std::iter::once(ca).chain(above.iter().copied()).map(Ca::der).collect();
    let import =
        Import { domain: domain.into(), name: None, certificates, key: ca.pkcs8(), status_url: None, crl: None };
    authority.import_issuer(&actor(), import).await
}

fn permits(names: &[&str]) -> Shape {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let value = ConstraintList::parse(&names, &[]).unwrap().unwrap().der();
    Shape { more: vec![(NAME_CONSTRAINTS, true, value)], ..Shape::default() }
}

fn permits_directory(organization: &str) -> Vec<u8> {
    let fields = SubjectFields { organization: vec![organization.into()], ..SubjectFields::default() };
    let name = DistinguishedName::build(&fields).unwrap();
    let tree = der::sequence(&[&der::constructed(0xa4, &[name.as_der()])]);
    der::sequence(&[&der::constructed(0xa0, &[&tree])])
}

async fn server(authority: &Arc<Authority>, domain: &str, host: &str) -> Result<()> {
    let issued = issue(authority, &format!("{domain}-server"), None, &[host]).await?;
    assert_eq!(judged(&issued.der, &issued.chain, &roots(authority, domain)), "ok", "{host}");
    Ok(())
}

on_both_engines! {
    async fn constraints_of_a_root_hold_below_an_issuer_that_sets_none(at) {
        let (authority, _) = founded(&at.store).await;
        take(&authority, "lab", &Ca::root("Corporate Root", &permits(&["lab.example"])), &[]).await.unwrap();
        authority.create_issuer(&actor(), &wanted("lab"), Some("lab-root")).await.unwrap();
        server(&authority, "lab", "a.lab.example").await.unwrap();
        let refused = server(&authority, "lab", "evil.example").await.unwrap_err();
        assert_eq!(refused.detail, "evil.example is not allowed: root Corporate Root permits lab.example only; \
            ask for another name, or use an issuer whose CAs permit it");
        assert_eq!(refused.rule.unwrap().name, "issuer.name_constraints");
    }

    async fn an_imported_issuer_obeys_each_ca_above_it(at) {
        let (authority, _) = founded(&at.store).await;
        let root = Ca::root("Corp Root", &permits(&["example"]));
        let middle = root.below("Corp Middle", &permits(&["lab.example"]));
        let issuing = middle.below("Corp Issuing", &Shape::default());
        take(&authority, "lab", &issuing, &[&middle, &root]).await.unwrap();
        server(&authority, "lab", "a.lab.example").await.unwrap();
        for host in ["a.example", "lab.test"] {
            let refused = server(&authority, "lab", host).await.unwrap_err();
            assert!(refused.detail.contains("Corp Middle permits lab.example only"), "{}", refused.detail);
        }
    }

    async fn the_usages_and_the_end_of_a_root_hold_below_it(at) {
        let (authority, _) = founded(&at.store).await;
        let root = Ca::root("Brief", &Shape { usages: vec![SERVER, OCSP], days: 60, ..Shape::default() });
        let issuing = root.below("Long", &Shape::default());
        take(&authority, "lab", &issuing, &[&root]).await.unwrap();
        assert_eq!(rule(issue(&authority, "lab-client", Some("a"), &[]).await), "issuer.extended_key_usage");
        let issued = issue(&authority, "lab-server", None, &["a.lab.example"]).await.unwrap();
        assert!(issued.certificate.validity.not_after() <= at.store.now() + days(60), "not past the root's end");
        let any = Ca::root("Any", &Shape { usages: vec!["2.5.29.37.0"], ..Shape::default() });
        take(&authority, "any", &any.below("Any Issuing", &Shape::default()), &[&any]).await.unwrap();
        server(&authority, "any", "a.lab.example").await.unwrap();
    }

    async fn an_unknown_critical_extension_anywhere_refuses_the_import(at) {
        let (authority, _) = founded(&at.store).await;
        let odd = |critical| Shape { more: vec![("1.3.6.1.4.1.32473.9", critical, vec![5, 0])], ..Shape::default() };
        let root = Ca::root("Odd Root", &odd(true));
        assert_eq!(rule(take(&authority, "odd", &root, &[]).await), "issuer.extensions");
        assert_eq!(rule(take(&authority, "odd", &root.below("Below", &Shape::default()), &[&root]).await), "issuer.extensions");
        take(&authority, "odd", &Ca::root("Even Root", &odd(false)), &[]).await.unwrap();
    }

    async fn a_corporate_subordinate_with_a_permitted_directory_name_works(at) {
        let (authority, _) = founded(&at.store).await;
        let root = Ca::root("Corp Root", &Shape::default());
        let shape = Shape { more: vec![(NAME_CONSTRAINTS, true, permits_directory("Example Corp"))], ..Shape::default() };
        let issuing = root.below("Corp Issuing", &shape);
        take(&authority, "lab", &issuing, &[&root]).await.unwrap();
        assert!(authority.snapshot().issuer("lab-1").unwrap().responder.is_some());
        server(&authority, "lab", "a.lab.example").await.unwrap();
        let refused = issue(&authority, "lab-client", Some("till"), &[]).await.unwrap_err();
        assert!(refused.detail.contains("CA Corp Issuing permits O=Example Corp only"), "{}", refused.detail);
        // a root of that kind carries issuers of ours
        take(&authority, "corp", &Ca::root("Narrow Root", &shape), &[]).await.unwrap();
        authority.create_issuer(&actor(), &wanted("corp"), Some("corp-root")).await.unwrap();
        server(&authority, "corp", "a.lab.example").await.unwrap();
    }

    async fn an_expired_or_narrow_twin_does_not_hide_the_good_root(at) {
        let (authority, _) = founded(&at.store).await;
        let good = Ca::root("Twin", &Shape { days: 900, ..Shape::default() });
        let twin = |shape: &Shape| {
            let public = PKey::public_key_from_der(&good.key.public_key_to_der().unwrap()).unwrap();
            let certificate = Ca { certificate: good.certificate.clone(), key: good.key.clone() };
            let signed = certificate.sign(&name("Twin"), &public, shape);
            Ca { certificate: signed, key: good.key.clone() }
        };
        let expired = twin(&Shape { from: -100, days: 50, ..Shape::default() });
        let short = twin(&Shape { path_len: Some(0), days: 3_000, ..Shape::default() });
        let middle = good.below("Middle", &Shape { days: 2_000, ..Shape::default() });
        let issuing = middle.below("Issuing", &Shape::default());
        for (domain, above) in [("one", [&expired, &short, &good]), ("two", [&good, &short, &expired])] {
            let issuing = middle.below("Issuing", &Shape::default());
            take(&authority, domain, &issuing, &[&[&middle], &above[..]].concat()).await.unwrap();
            server(&authority, domain, "a.lab.example").await.unwrap();
        }
        assert_eq!(rule(take(&authority, "three", &issuing, &[&middle, &expired]).await), "issuer.validity");
        assert_eq!(rule(take(&authority, "three", &issuing, &[&middle, &short]).await), "issuer.path_len");
    }

    async fn a_path_that_requires_a_policy_takes_only_profiles_that_assert_one(at) {
        let (authority, _) = founded(&at.store).await;
        let policy = der::oid(&"1.3.6.1.4.1.32473.1".parse().unwrap());
        let policies = der::sequence(&[&der::sequence(&[&policy])]);
        let require = der::sequence(&[&der::tlv(0x80, &[0])]);
        let root = Ca::root("Corp Root", &Shape::default());
        let more = vec![(POLICIES, false, policies), (POLICY_CONSTRAINTS, true, require)];
        let issuing = root.below("Corp Issuing", &Shape { more, usages: vec![SERVER, CLIENT, OCSP], ..Shape::default() });
        take(&authority, "lab", &issuing, &[&root]).await.unwrap();
        let refused = server(&authority, "lab", "a.lab.example").await.unwrap_err().rule.unwrap();
        assert_eq!((refused.name.as_str(), refused.allowed.as_str()), ("issuer.policies", "1.3.6.1.4.1.32473.1"));
        let mut config = authority.snapshot().profile("lab-server").unwrap().config.clone();
        config.policies = vec!["1.3.6.1.4.1.32473.1".into()];
        authority.change_profile(&actor(), "lab-server", None, &config).await.unwrap();
        let issued = issue(&authority, "lab-server", None, &["a.lab.example"]).await.unwrap();
        let leaf = chancery::pki::tbs::split_certificate(&issued.der).unwrap().0;
        let view = chancery::pki::tbs::TbsView::parse(leaf).unwrap();
        assert!(view.extension(&oids::CERTIFICATE_POLICIES).is_some());
        server(&authority, "lab", "a.lab.example").await.unwrap();
    }
}
