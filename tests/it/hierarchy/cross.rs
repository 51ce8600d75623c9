//! Cross-certificates: another CA certifies an issuer of ours for longer. Its own chain stays the usual one.

use std::sync::Arc;

use chancery::authority::Authority;
use chancery::authority::checks::Severity;
use chancery::authority::hierarchy::import::Import;
use chancery::clock::{Timestamp, days};
use chancery::model::issuer::AnchorStanding;
use chancery::pki::constraint_list::ConstraintList;
use chancery::pki::tbs::key_identifier;
use openssl::x509::X509Req;

use super::corporate::{Ca, Shape};
use super::{actor, issue, openssl_at as judged, roots, rule};
use crate::on_both_engines;
use crate::support::stores::founded;

/// The certificate for a CSR of `tls-1`, valid for longer than any of ours, with this key identifier.
fn cross(by: &Ca, csr: &[u8], key_id: Option<Vec<u8>>, length: i64) -> Vec<u8> {
    let csr = X509Req::from_der(csr).unwrap();
    let shape = Shape { key_id, days: length, ..Shape::default() };
    by.sign(csr.subject_name(), &csr.public_key().unwrap(), &shape).to_der().unwrap()
}

fn own_key_id(authority: &Authority) -> Vec<u8> {
    key_identifier(&authority.snapshot().issuer("tls-1").unwrap().sealed_key.public_key).unwrap()
}

async fn works(authority: &Arc<Authority>, bundle: &[Vec<u8>], now: Timestamp) -> Vec<Vec<u8>> {
    let issued = issue(authority, "tls-server", None, &["a.example.org"]).await.unwrap();
    assert_eq!(judged(&issued.der, &issued.chain, bundle, now), "ok");
    issued.chain
}

on_both_engines! {
    async fn the_own_chain_stays_the_usual_one_under_a_longer_cross_certificate(at) {
        let (authority, _) = founded(&at.store).await;
        let (before, bundle) = (authority.snapshot().issuer("tls-1").unwrap().chain.clone(), roots(&authority, "tls"));
        let corporate = Ca::root("Corp Root", &Shape { days: 9_000, ..Shape::default() });
        let csr = authority.request_again(&actor(), "tls-1").await.unwrap();
        let longer = cross(&corporate, &csr, Some(own_key_id(&authority)), 8_000);
        authority.install_issuer(&actor(), &[longer.clone(), corporate.der()]).await.unwrap();

        let snapshot = authority.snapshot();
        let issuer = snapshot.issuer("tls-1").unwrap();
        assert_eq!((&issuer.chain, &issuer.certificate().unwrap().der), (&before, &before[0]));
        assert_eq!(roots(&authority, "tls"), bundle, "the foreign root is in no bundle");
        assert!(snapshot.anchors.iter().all(|anchor| anchor.standing == AnchorStanding::Chain));
        assert_eq!(works(&authority, &bundle, at.store.now()).await, before);
        let alternates: Vec<_> = issuer.alternates(at.store.now()).collect();
        assert_eq!(alternates.iter().map(|c| c.ders.clone()).collect::<Vec<_>>(), [vec![longer.clone()]]);
        assert_eq!(alternates[0].root, "Corp Root");

        // renewing copies the own certificate, and the renewed one is the usual one
        at.clock.advance(days(30));
        authority.renew_issuer(&actor(), "tls-1", None).await.unwrap();
        let renewed = works(&authority, &bundle, at.store.now()).await;
        assert_ne!(renewed, before);
        assert_eq!(authority.snapshot().issuer("tls-1").unwrap().key.as_ref().unwrap().key_id(), own_key_id(&authority));
        authority.publish_due().await.unwrap();
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());

        // it is dropped some days before it expires
        let short = cross(&corporate, &csr, Some(own_key_id(&authority)), 60);
        authority.install_issuer(&actor(), &[short, corporate.der()]).await.unwrap();
        let served = || authority.snapshot().issuer("tls-1").unwrap().alternates(at.store.now()).count();
        assert_eq!(served(), 3, "two cross-certificates and the own one that was renewed");
        at.clock.advance(days(23));
        assert_eq!(served(), 2);
    }

    async fn nobody_asks_for_the_crl_of_a_root_that_only_a_cross_certificate_leads_to(at) {
        let (authority, _) = founded(&at.store).await;
        let corporate = Ca::root("Corp Root", &Shape { days: 9_000, ..Shape::default() });
        let csr = authority.request_again(&actor(), "tls-1").await.unwrap();
        let longer = cross(&corporate, &csr, Some(own_key_id(&authority)), 8_000);
        authority.install_issuer(&actor(), &[longer, corporate.der()]).await.unwrap();
        authority.publish_due().await.unwrap();
        let lists = async || authority.checks().await.into_iter().find(|check| check.name == "domain lists").unwrap();
        let check = lists().await;
        assert!(check.severity == Severity::Ok && !check.detail.contains("Corp Root"), "{}", check.detail);
        assert_eq!(authority.narrower_certificates("tls-1"), Vec::<String>::new());
        // while the one above an issuer's own chain is asked for
        let import = Import {
            domain: "lab".into(), name: None, status_url: None, crl: None,
            certificates: Vec::new(), key: zeroize::Zeroizing::new(Vec::new()),
        };
        let issuing = corporate.below("Corp Issuing", &Shape::default());
        let import = Import { certificates: vec![issuing.der(), corporate.der()], key: issuing.pkcs8(), ..import };
        authority.import_issuer(&actor(), import).await.unwrap();
        let check = lists().await;
        assert!(check.severity == Severity::Warning && check.detail.contains("the CRL of Corp Root above trust domain lab is missing"), "{}", check.detail);
        assert!(!check.detail.contains("trust domain tls "), "{}", check.detail);
    }

    async fn a_cross_certificate_that_is_constrained_to_other_names_is_said_to_be(at) {
        let (authority, _) = founded(&at.store).await;
        let corporate = Ca::root("Corp Root", &Shape { days: 9_000, ..Shape::default() });
        let csr = authority.request_again(&actor(), "tls-1").await.unwrap();
        let csr = X509Req::from_der(&csr).unwrap();
        let value = ConstraintList::parse(&["partner.example".into()], &[]).unwrap().unwrap().der();
        let shape = Shape { key_id: Some(own_key_id(&authority)), more: vec![("2.5.29.30", true, value)], ..Shape::default() };
        let narrow = corporate.sign(csr.subject_name(), &csr.public_key().unwrap(), &shape).to_der().unwrap();
        authority.install_issuer(&actor(), &[narrow, corporate.der()]).await.unwrap();
        let told = authority.narrower_certificates("tls-1");
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("the certificate of tls-1 below Corp Root permits partner.example only, while tls-1 may sign every name"), "{told:?}");
    }

    async fn a_cross_certificate_with_another_key_identifier_is_refused(at) {
        let (authority, _) = founded(&at.store).await;
        let corporate = Ca::root("Corp Root", &Shape { days: 9_000, ..Shape::default() });
        let csr = authority.request_again(&actor(), "tls-1").await.unwrap();
        let wanted = own_key_id(&authority);
        let asked = X509Req::from_der(&csr).unwrap().extensions().unwrap();
        let octets: Vec<_> = asked.iter().map(|e| e.to_der().unwrap()).collect();
        assert!(octets.iter().any(|der| der.windows(wanted.len()).any(|w| w == wanted)), "the CSR asks for it");
        let refused = authority.install_issuer(&actor(), &[cross(&corporate, &csr, None, 800), corporate.der()]).await;
        let told = refused.unwrap_err().rule.unwrap();
        assert_eq!(told.name, "issuer.key_identifier");
        assert!(told.allowed.contains(&chancery::model::serial::to_hex(&wanted)), "{told:?}");
        assert_eq!(authority.snapshot().issuer("tls-1").unwrap().certificates.len(), 1);
    }

    async fn an_issuer_under_a_root_that_clients_do_not_trust_is_not_imported(at) {
        let (authority, _) = founded(&at.store).await;
        let corporate = Ca::root("Corp Root", &Shape::default());
        let import = |ca: &Ca, domain: &str| Import {
            domain: domain.into(),
            name: None,
            certificates: vec![ca.der(), corporate.der()],
            key: ca.pkcs8(),
            status_url: None,
            crl: None,
        };
        let issuing = corporate.below("Corp Issuing", &Shape::default());
        assert_eq!(rule(authority.import_issuer(&actor(), import(&issuing, "tls")).await), "issuer.root");
        // a domain without a root of its own keeps the foreign one
        authority.import_issuer(&actor(), import(&issuing, "lab")).await.unwrap();
        authority.import_issuer(&actor(), import(&corporate.below("Other", &Shape::default()), "lab")).await.unwrap();
        assert_eq!(roots(&authority, "lab"), [corporate.der()]);
        // and another root enters by an explicit command alone
        let second = Ca::root("Second Root", &Shape::default());
        authority.add_anchor(&actor(), "lab", &second.der()).await.unwrap();
        assert_eq!(roots(&authority, "lab").len(), 2);
        assert_eq!(rule(authority.add_anchor(&actor(), "lab", &second.der()).await), "anchor.new");
        assert_eq!(rule(authority.add_anchor(&actor(), "lab", &issuing.der()).await), "anchor.root");
        let print = chancery::authority::hierarchy::import::fingerprint(&second.der());
        authority.remove_anchor(&actor(), "lab", &print).await.unwrap();
        assert_eq!(roots(&authority, "lab"), [corporate.der()]);
        assert_eq!(authority.remove_anchor(&actor(), "lab", &print).await.unwrap_err().kind, chancery::error::ErrorKind::NotFound);
        let last = chancery::authority::hierarchy::import::fingerprint(&corporate.der());
        assert_eq!(rule(authority.remove_anchor(&actor(), "lab", &last).await), "anchor.last");
        let events = at.count("SELECT COUNT(*) AS n FROM audit_events WHERE action IN ('anchor.added', 'anchor.removed')").await;
        assert_eq!(events, 2);
    }
}
