//! How long CRLs and OCSP answers are valid is set for each issuer; publishing follows. OpenSSL reads the times.

use chancery::authority::checks::Severity;
use chancery::authority::crl::CRL_LIFE;
use chancery::authority::guard::Guard;
use chancery::authority::ocsp::OCSP_LIFE;
use chancery::clock::{days, hours, minutes};
use chancery::model::reason::RevocationReason;
use chancery::model::serial::SerialNumber;
use chancery::model::status_lifetimes::{LifetimesChange, parse_crl, parse_ocsp};
use chancery::pki::ocsp_facts::OcspFacts;
use chancery::pki::ocsp_request::{CertIdHash, encode_request};
use std::time::Duration;

use super::rig::{Rig, actor, issuance};
use crate::hierarchy::{rule, wanted};
use crate::on_both_engines;
use crate::support::stores::At;

fn crl(life: Duration) -> LifetimesChange {
    LifetimesChange { crl: Some(Some(life)), ocsp: None }
}

fn ocsp(life: Duration) -> LifetimesChange {
    LifetimesChange { crl: None, ocsp: Some(Some(life)) }
}

/// How long the CRL in force lasts from now, and its number.
async fn in_force(at: &At, rig: &Rig, slug: &str) -> (Duration, String) {
    rig.authority.publish_due().await.unwrap();
    let crl = rig.authority.current_crl(slug).await.unwrap();
    let read = openssl::x509::X509Crl::from_der(&crl.der).unwrap();
    let span = read.last_update().diff(read.next_update().unwrap()).unwrap();
    let signed_for = i64::from(span.days) * 86_400 + i64::from(span.secs);
    assert_eq!(signed_for, crl.next_update.truncated().since(crl.this_update.truncated()).as_secs() as i64);
    (crl.next_update.since(at.store.now()), crl.number.to_string())
}

/// How long an OCSP answer about a certificate lasts from now.
async fn answered(at: &At, rig: &Rig, serial: &SerialNumber) -> Duration {
    rig.authority.poll_revocations().await.unwrap();
    let snapshot = rig.authority.snapshot();
    let ask = encode_request(&snapshot.issuer("tls-1").unwrap().hashes, CertIdHash::Sha1, serial, None);
    match OcspFacts::parse(&rig.authority.ocsp("tls-1", &ask).await.unwrap().der).unwrap() {
        OcspFacts::Answered(told) => told.singles[0].next_update.unwrap().since(at.store.now().truncated()),
        OcspFacts::Failed(failure) => panic!("{failure:?}"),
    }
}

on_both_engines! {
    async fn a_crl_lasts_as_long_as_was_set_and_is_made_anew_after_a_quarter_of_it(at) {
        let rig = Rig::on(at).await;
        assert_eq!(in_force(at, &rig, "tls-1").await.0, CRL_LIFE);
        rig.authority.set_lifetimes(&actor(), "tls-1", crl(days(8))).await.unwrap();
        let (life, number) = in_force(at, &rig, "tls-1").await;
        assert_eq!(life, days(8), "at once");
        at.clock.advance(days(2) - minutes(1));
        assert_eq!(in_force(at, &rig, "tls-1").await.1, number, "not yet due");
        let check = rig.authority.checks().await.into_iter().find(|check| check.name == "crls").unwrap();
        assert_eq!(check.severity, Severity::Ok, "{}", check.detail);
        at.clock.advance(minutes(1));
        let (life, next) = in_force(at, &rig, "tls-1").await;
        assert!(life == days(8) && next != number, "a quarter is over");
        // nobody publishes: the one that stands ready takes over before the one in force expires
        at.clock.advance(days(7));
        let ready = rig.authority.current_crl("tls-1").await.unwrap();
        assert!(ready.next_update.since(at.store.now()) > days(6), "{ready:?}");
        // a revocation is on a list at once, however long lists last
        let issued = rig.issue(issuance(Guard::default())).await.unwrap().certificate;
        rig.authority.revoke(&actor(), issued.id, RevocationReason::Superseded).await.unwrap();
        let before = in_force(at, &rig, "tls-1").await.1;
        assert!(rig.authority.current_crl("tls-1").await.unwrap().entries >= 1, "{before}");
        rig.authority.set_lifetimes(&actor(), "tls-1", LifetimesChange { crl: Some(None), ocsp: None }).await.unwrap();
        assert_eq!(in_force(at, &rig, "tls-1").await.0, CRL_LIFE, "the default again");
        // a command beside this process sets it, and this process has not heard of it
        let beside = chancery::authority::Authority::open(at.restarted().await, rig.keys.clone(), vec![]).await.unwrap();
        for life in [days(30), days(2), hours(5)] {
            beside.set_lifetimes(&actor(), "tls-1", crl(life)).await.unwrap();
            assert_eq!(in_force(at, &rig, "tls-1").await.0, life, "at once");
        }
        rig.authority.reload().await.unwrap();
        // the shortest
        rig.authority.set_lifetimes(&actor(), "tls-1", crl(hours(1))).await.unwrap();
        let (life, number) = in_force(at, &rig, "tls-1").await;
        assert_eq!(life, hours(1));
        at.clock.advance(minutes(15));
        assert_ne!(in_force(at, &rig, "tls-1").await.1, number);
        rig.authority.publish_domains_due().await.unwrap();
        assert_eq!(rig.authority.domain_crl("tls").await.unwrap().next_update.since(at.store.now()), hours(1));
    }

    async fn an_ocsp_answer_lasts_as_long_as_was_set(at) {
        let rig = Rig::on(at).await;
        let serial = rig.issue(issuance(Guard::default())).await.unwrap().certificate.serial.clone();
        assert_eq!(answered(at, &rig, &serial).await, OCSP_LIFE);
        rig.authority.set_lifetimes(&actor(), "tls-1", ocsp(days(3))).await.unwrap();
        assert_eq!(answered(at, &rig, &serial).await, days(3), "the answer of before is forgotten");
        rig.authority.set_lifetimes(&actor(), "tls-1", ocsp(minutes(20))).await.unwrap();
        assert_eq!(answered(at, &rig, &serial).await, minutes(20));
        at.clock.advance(minutes(4));
        assert_eq!(answered(at, &rig, &serial).await, minutes(16), "from the cache");
        at.clock.advance(minutes(1));
        assert_eq!(answered(at, &rig, &serial).await, minutes(20), "a quarter is over");
        // a root's delegate answers for its issuers
        rig.authority.set_lifetimes(&actor(), "tls-root", ocsp(days(7))).await.unwrap();
        assert_eq!(rig.authority.snapshot().issuer("tls-root").unwrap().lifetimes.ocsp, days(7));
    }

    async fn what_cannot_be_is_refused_in_words_and_what_changes_is_audited_once(at) {
        let rig = Rig::on(at).await;
        let refused = |outcome: chancery::error::Result<Duration>| outcome.unwrap_err().detail;
        for text in ["59m", "366d", "0", "1h1ms"] {
            assert!(refused(parse_crl(text)).contains("is not 1h to 365d in whole seconds"), "{text}");
        }
        for text in ["14m", "31d"] {
            assert!(refused(parse_ocsp(text)).contains("is not 15m to 30d in whole seconds"), "{text}");
        }
        assert!(refused(parse_crl("soon")).contains("is not a duration"));
        let long = rig.authority.current_crl("tls-root").await.unwrap().next_update;
        assert_eq!(rule(rig.authority.set_lifetimes(&actor(), "tls-root", crl(days(2))).await), "issuer.crl_lifetime");
        assert!(rig.authority.set_lifetimes(&actor(), "nobody", crl(days(2))).await.is_err());
        for _ in 0..2 {
            rig.authority.set_lifetimes(&actor(), "tls-1", crl(days(2))).await.unwrap();
        }
        rig.authority.publish_due().await.unwrap();
        assert_eq!(rig.authority.current_crl("tls-root").await.unwrap().next_update, long, "a root keeps its series");
        let id = rig.authority.snapshot().issuer("tls-1").unwrap().issuer.id;
        let events = rig.authority.events_of(&format!("issuer:{id}")).await.unwrap();
        let set: Vec<_> = events.iter().filter(|event| event.action == "issuer.lifetimes_set").collect();
        assert_eq!(set.len(), 1, "{set:?}");
        assert!(set[0].detail.to_string().contains("2d"), "{set:?}");

        let asked = chancery::authority::hierarchy::plan::Wanted { lifetimes: crl(days(4)), ..wanted("lab") };
        rig.authority.create_domain(&actor(), &asked).await.unwrap();
        assert_eq!(in_force(at, &rig, "lab-1").await.0, days(4), "its first CRL");
        assert_eq!(rule(rig.authority.create_root(&actor(), &asked).await), "issuer.root");
    }
}
