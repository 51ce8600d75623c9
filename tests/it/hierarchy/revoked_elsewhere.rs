//! An issuer that a CA elsewhere revoked: it is shown as revoked, its trust domain's list holds what it signed, and it
//! comes back only when that CA takes the revocation back.

use std::collections::BTreeSet;
use std::sync::Arc;

use chancery::authority::Authority;
use chancery::authority::checks::Severity;
use chancery::authority::hierarchy::import::Import;
use chancery::clock::{days, hours};
use chancery::model::issuer::{IssuerMove, IssuerState};
use chancery::model::serial::SerialNumber;
use chancery::pki::ca_certificate::CaCertificate;
use chancery::pki::crl_facts::{CrlFacts, lint_crl};

use super::corporate::{Ca, List, Shape};
use super::{actor, issue, rule};
use crate::on_both_engines;
use crate::support::stores::{At, founded};

async fn import(authority: &Authority, domain: &str, chain: &[&Ca]) -> String {
    let certificates = chain.iter().map(|ca| ca.der()).collect();
    let key = chain[0].pkcs8();
    let import = Import { domain: domain.into(), name: None, certificates, key, status_url: None, crl: None };
    authority.import_issuer(&actor(), import).await.unwrap()
}

fn serial(ca: &Ca) -> Vec<u8> {
    CaCertificate::read(&ca.der()).unwrap().serial().unwrap().octets().to_vec()
}

/// The root's next CRL, which lists these and lasts for a day.
fn listing(at: &At, root: &Ca, number: u8, revoked: &[&Ca]) -> Vec<u8> {
    let serials = revoked.iter().map(|ca| serial(ca)).collect();
    root.list(&List { serials, ..List::at(at.store.now(), number) })
}

fn state(authority: &Authority, slug: &str) -> IssuerState {
    authority.snapshot().issuer(slug).unwrap().issuer.state
}

/// The serials on a domain's list in hex, those of OCSP delegates apart.
async fn listed(authority: &Authority, domain: &str) -> BTreeSet<String> {
    authority.publish_domains_due().await.unwrap();
    let list = authority.domain_crl(domain).await.unwrap();
    assert_eq!(lint_crl(&list.der), [], "{domain}");
    let facts = CrlFacts::parse(&list.der).unwrap();
    let snapshot = authority.snapshot();
    let signer = snapshot.issuers.values().find(|i| i.subject() == facts.issuer).unwrap();
    facts.verify(&signer.sealed_key.public_key).unwrap();
    let mut serials = BTreeSet::new();
    for entry in facts.entries() {
        let serial = SerialNumber::from_octets(entry.serial).unwrap();
        if authority.certificates_by_serial(&serial).await.unwrap().iter().all(|found| found.profile != "ocsp") {
            serials.insert(serial.to_string());
        }
    }
    serials
}

async fn leaf(authority: &Arc<Authority>, issuer: &str) -> String {
    let issued = issue(authority, "corp-client", Some("till"), &[]).await.unwrap();
    assert_eq!(issued.certificate.issuer, issuer);
    issued.certificate.serial.to_string()
}

async fn check(authority: &Authority, name: &str) -> (Severity, String) {
    let found = authority.checks().await.into_iter().find(|check| check.name == name).unwrap();
    (found.severity, found.detail)
}

on_both_engines! {
    async fn it_is_shown_as_revoked_and_its_domains_list_holds_what_it_signed(at) {
        let (authority, _) = founded(&at.store).await;
        let root = Ca::root("Corp Root", &Shape::default());
        let issuing = root.below("Corp Issuing", &Shape::default());
        import(&authority, "corp", &[&issuing, &root]).await;
        let signed = leaf(&authority, "corp-1").await;
        assert_eq!(listed(&authority, "corp").await, BTreeSet::new());
        authority.import_crl(&actor(), &listing(at, &root, 1, &[&issuing])).await.unwrap();
        assert_eq!(state(&authority, "corp-1"), IssuerState::Revoked);
        assert_eq!(listed(&authority, "corp").await, BTreeSet::from([signed]));
        // it publishes on, as an issuer does that was revoked here
        at.clock.advance(hours(7));
        authority.publish_due().await.unwrap();
        assert!(authority.current_crl("corp-1").await.unwrap().signed_at == at.store.now());
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
        // no move brings it back, and each refusal says why
        for step in [IssuerMove::Activate, IssuerMove::MakeDefault] {
            let refused = authority.move_issuer(&actor(), "corp-1", step).await.unwrap_err();
            assert!(refused.detail.contains("Corp Root revoked"), "{}", refused.detail);
            assert!(refused.detail.contains("chancery ca csr corp"), "{}", refused.detail);
        }
        assert_eq!(rule(authority.request_again(&actor(), "corp-1").await), "issuer.revoked");
        let (severity, detail) = check(&authority, "issuers").await;
        assert_eq!(severity, Severity::Critical);
        assert!(detail.contains("corp-1 is revoked") && detail.contains("chancery ca csr corp"), "{detail}");
        let (severity, detail) = check(&authority, "domain lists").await;
        assert!(severity == Severity::Critical && detail.contains("Corp Root revoked"), "{detail}");
    }

    async fn a_revocation_that_is_taken_back_brings_it_back(at) {
        let (authority, _) = founded(&at.store).await;
        let root = Ca::root("Corp Root", &Shape::default());
        let issuing = root.below("Corp Issuing", &Shape::default());
        import(&authority, "corp", &[&issuing, &root]).await;
        let signed = leaf(&authority, "corp-1").await;
        authority.import_crl(&actor(), &listing(at, &root, 1, &[&issuing])).await.unwrap();
        assert_eq!(listed(&authority, "corp").await, BTreeSet::from([signed]));
        at.clock.advance(hours(1));
        authority.import_crl(&actor(), &listing(at, &root, 2, &[])).await.unwrap();
        assert_eq!(state(&authority, "corp-1"), IssuerState::Active);
        leaf(&authority, "corp-1").await;
        assert_eq!(listed(&authority, "corp").await, BTreeSet::new());
    }

    async fn several_of_one_domain_are_all_on_its_list(at) {
        let (authority, _) = founded(&at.store).await;
        let root = Ca::root("Corp Root", &Shape::default());
        let (first, second) = (root.below("First", &Shape::default()), root.below("Second", &Shape::default()));
        import(&authority, "corp", &[&first, &root]).await;
        let one = leaf(&authority, "corp-1").await;
        import(&authority, "corp", &[&second, &root]).await;
        authority.import_crl(&actor(), &listing(at, &root, 1, &[&first])).await.unwrap();
        assert_eq!((state(&authority, "corp-1"), state(&authority, "corp-2")), (IssuerState::Revoked, IssuerState::Active));
        let two = leaf(&authority, "corp-2").await;
        assert_eq!(listed(&authority, "corp").await, BTreeSet::from([one.clone()]));
        at.clock.advance(hours(1));
        authority.import_crl(&actor(), &listing(at, &root, 2, &[&first, &second])).await.unwrap();
        assert_eq!(state(&authority, "corp-2"), IssuerState::Revoked);
        assert_eq!(listed(&authority, "corp").await, BTreeSet::from([one, two]));
    }

    async fn a_list_of_that_ca_counts_when_it_has_expired_and_never_with_a_wrong_signature(at) {
        let (authority, _) = founded(&at.store).await;
        let root = Ca::root("Corp Root", &Shape::default());
        let issuing = root.below("Corp Issuing", &Shape::default());
        import(&authority, "corp", &[&issuing, &root]).await;
        let signed = leaf(&authority, "corp-1").await;
        let twin = Ca::root("Corp Root", &Shape::default());
        assert_eq!(rule(authority.import_crl(&actor(), &listing(at, &twin, 9, &[&issuing])).await), "crl.issuer");
        assert_eq!(state(&authority, "corp-1"), IssuerState::Active);
        // a CA of the same name with another key says nothing about it, also where its CRL is taken
        let other = twin.below("Other Issuing", &Shape::default());
        import(&authority, "other", &[&other, &twin]).await;
        authority.import_crl(&actor(), &listing(at, &twin, 9, &[&issuing])).await.unwrap();
        assert_eq!(state(&authority, "corp-1"), IssuerState::Active);
        authority.import_crl(&actor(), &listing(at, &root, 1, &[&issuing])).await.unwrap();
        assert_eq!(state(&authority, "corp-1"), IssuerState::Revoked);
        at.clock.advance(days(3));
        authority.reload().await.unwrap();
        assert_eq!(state(&authority, "corp-1"), IssuerState::Revoked, "an old list takes nothing back");
        assert_eq!(listed(&authority, "corp").await, BTreeSet::from([signed]));
        let (_, detail) = check(&authority, "domain lists").await;
        assert!(detail.contains("the CRL of Corp Root above trust domain corp has expired"), "{detail}");
    }

    async fn a_ca_in_between_that_was_revoked_takes_its_issuers_with_it(at) {
        let (authority, _) = founded(&at.store).await;
        let root = Ca::root("Corp Root", &Shape::default());
        let between = root.below("Corp Between", &Shape::default());
        let issuing = between.below("Corp Issuing", &Shape::default());
        import(&authority, "corp", &[&issuing, &between, &root]).await;
        let signed = leaf(&authority, "corp-1").await;
        authority.import_crl(&actor(), &listing(at, &root, 1, &[&between])).await.unwrap();
        assert_eq!(state(&authority, "corp-1"), IssuerState::Revoked);
        assert_eq!(listed(&authority, "corp").await, BTreeSet::from([signed]));
    }
}
