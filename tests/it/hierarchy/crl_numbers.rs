//! CRL numbers that an imported CA brings (RFC 5280 §5.2.3): ours go on above them, up to the end of 20 octets.

use chancery::authority::hierarchy::import::Import;
use chancery::clock::hours;
use chancery::model::crl::CrlNumber;
use chancery::pki::crl_facts::CrlFacts;
use chancery::pki::{der, oids};

use super::corporate::{Ca, List, Shape};
use super::{actor, rule};
use crate::on_both_engines;
use crate::support::stores::founded;

fn import(ca: &Ca, crl: Vec<u8>) -> Import {
    Import {
        domain: "corp".into(),
        name: None,
        certificates: vec![ca.der()],
        key: ca.pkcs8(),
        status_url: None,
        crl: Some(crl),
    }
}

/// Good numbers, in octets of the INTEGER: at the borders of what was stored before and of what 20 octets hold.
fn good() -> Vec<Vec<u8>> {
    let mut near = vec![0xff; 20];
    (near[0], near[15]) = (0x7f, 0xfe);
    let long = [&[0x01][..], &[0; 16]].concat();
    vec![vec![0], vec![0x7f; 16], [&[0][..], &[0xff; 16]].concat(), long, vec![0x41; 20], near]
}

/// Bad ones, with what the refusal says.
fn bad() -> Vec<(Option<Vec<u8>>, &'static str)> {
    let mut maximum = vec![0xff; 20];
    maximum[0] = 0x7f;
    vec![
        (None, "has no CRL number"),
        (Some(vec![0xff]), "is negative"),
        (Some(vec![0x80; 20]), "is negative"),
        (Some([&[0x01][..], &[0; 20]].concat()), "has 21 octets"),
        (Some([&[0x00][..], &[0xff; 20]].concat()), "has 21 octets"),
        (Some(vec![0x11; 40]), "has 40 octets"),
        (Some(maximum), "at the end of what 20 octets hold"),
    ]
}

on_both_engines! {
    async fn an_imported_ca_goes_on_above_any_number_of_20_octets(at) {
        let (authority, _) = founded(&at.store).await;
        for (n, octets) in good().into_iter().enumerate() {
            let ca = Ca::root(&format!("Corp Root {n}"), &Shape::default());
            let list = ca.list(&List { number: Some(octets.clone()), ..List::at(at.store.now(), 1) });
            let slug = authority.import_issuer(&actor(), import(&ca, list)).await.unwrap();
            let before = CrlNumber::from_octets(&octets).unwrap();
            let ours = authority.current_crl(&slug).await.unwrap();
            assert!(ours.number > before, "{octets:x?}");
            assert_eq!(CrlFacts::parse(&ours.der).unwrap().crl_number(), Some(ours.number));
            // and on above our own
            authority.sign_crls(&actor(), &slug).await.unwrap();
            let next = authority.current_crl(&slug).await.unwrap();
            assert!(next.number > ours.number, "{octets:x?}");
            openssl::x509::X509Crl::from_der(&next.der).unwrap();
        }
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn a_number_that_leaves_nothing_to_go_on_with_is_refused(at) {
        let (authority, _) = founded(&at.store).await;
        let issuers = authority.snapshot().issuers.len();
        for (octets, why) in bad().into_iter().filter(|(octets, _)| octets.is_some()) {
            let ca = Ca::root("Corp Root", &Shape::default());
            let list = ca.list(&List { number: octets.clone(), ..List::at(at.store.now(), 1) });
            let refused = authority.import_issuer(&actor(), import(&ca, list)).await.unwrap_err();
            assert!(refused.detail.contains(why), "{octets:x?}: {}", refused.detail);
            assert_eq!(refused.rule.unwrap().name, "crl.number");
        }
        assert_eq!(authority.snapshot().issuers.len(), issuers, "nothing was imported");
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM domains WHERE slug = 'corp'").await, 0);
    }

    // Old CAs write CRLs of version 1, or of version 2 without a number.
    async fn a_ca_is_imported_with_a_crl_without_a_number(at) {
        let (authority, _) = founded(&at.store).await;
        for (n, serials) in [vec![vec![5]], vec![]].into_iter().enumerate() {
            let ca = Ca::root(&format!("Corp Root {n}"), &Shape::default());
            let list = List { number: None, serials: serials.clone(), next_update: None, ..List::at(at.store.now(), 1) };
            let mut import = import(&ca, ca.list(&list));
            import.domain = format!("corp{n}");
            let slug = authority.import_issuer(&actor(), import).await.unwrap();
            let ours = authority.current_crl(&slug).await.unwrap();
            let facts = CrlFacts::parse(&ours.der).unwrap();
            let listed: Vec<Vec<u8>> = facts.entries().map(|entry| entry.serial.to_vec()).collect();
            assert_eq!((listed, facts.crl_number().is_some()), (serials, true));
        }
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn a_ca_is_not_imported_with_a_part_of_a_crl_or_one_of_the_future(at) {
        let (authority, _) = founded(&at.store).await;
        let delta = der::extension(&oids::DELTA_CRL_INDICATOR, true, &der::unsigned(&[1]));
        let indirect = der::extension(&oids::ISSUING_DISTRIBUTION_POINT, true, &der::sequence(&[&der::tlv(der::context(4), &[0xff])]));
        let now = at.store.now();
        for (list, wanted) in [
            (List { more: vec![delta], ..List::at(now, 1) }, "crl.scope"),
            (List { more: vec![indirect], ..List::at(now, 1) }, "crl.scope"),
            (List::at(now + hours(1), 1), "crl.this_update"),
        ] {
            let ca = Ca::root("Corp Root", &Shape::default());
            assert_eq!(rule(authority.import_issuer(&actor(), import(&ca, ca.list(&list))).await), wanted);
        }
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM domains WHERE slug = 'corp'").await, 0);
    }

    async fn crl_import_takes_a_long_number_and_refuses_bad_ones(at) {
        let (authority, _) = founded(&at.store).await;
        let ca = Ca::root("Corp Root", &Shape::default());
        let first = ca.list(&List::at(at.store.now(), 1));
        let slug = authority.import_issuer(&actor(), import(&ca, first)).await.unwrap();
        let take = async |number: Option<Vec<u8>>| {
            let list = ca.list(&List { number, ..List::at(at.store.now(), 1) });
            authority.import_crl(&actor(), &list).await
        };
        for octets in good().into_iter().skip(1) {
            take(Some(octets.clone())).await.unwrap();
            assert_eq!(authority.current_crl(&slug).await.unwrap().number, CrlNumber::from_octets(&octets).unwrap());
        }
        let highest = authority.current_crl(&slug).await.unwrap().number;
        for (octets, why) in bad() {
            let refused = take(octets.clone()).await.unwrap_err();
            assert!(refused.detail.contains(why), "{octets:x?}: {}", refused.detail);
        }
        let used = take(Some(vec![0x41; 20])).await;
        assert!(used.as_ref().unwrap_err().detail.contains("was used already"), "{used:?}");
        assert_eq!(rule(used), "crl.number");
        assert_eq!(authority.current_crl(&slug).await.unwrap().number, highest);
        assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }
}
