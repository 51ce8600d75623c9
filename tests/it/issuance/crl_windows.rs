//! When an entry is on a CRL, and for how long a CRL is good (RFC 5280 §3.3, §5.1.2).

use std::time::Duration;

use chancery::authority::crl::{CRL_EVERY, CRL_LIFE};
use chancery::authority::guard::Guard;
use chancery::clock::{Timestamp, days, hours, minutes};
use chancery::model::reason::RevocationReason;
use chancery::model::serial::SerialNumber;
use chancery::pki::crl_facts::CrlFacts;

use super::rig::{Rig, actor, issuance};
use crate::on_both_engines;
use crate::support::stores::At;

/// A certificate that was revoked the moment it was issued, and when it expires.
async fn revoked(rig: &Rig) -> (SerialNumber, Timestamp) {
    let issued = rig.issue(issuance(Guard::default())).await.unwrap().certificate;
    rig.authority.revoke(&actor(), issued.id, RevocationReason::Superseded).await.unwrap();
    (issued.serial.clone(), issued.validity.not_after())
}

async fn lists(rig: &Rig, serial: &SerialNumber) -> bool {
    rig.authority.publish_due().await.unwrap();
    let crl = rig.authority.current_crl("tls-1").await.unwrap();
    CrlFacts::parse(&crl.der).unwrap().entries().any(|entry| entry.serial == serial.octets())
}

/// Moves the clock as a server that publishes all along sees it.
async fn serve_until(at: &At, rig: &Rig, then: Timestamp) {
    while at.store.now() < then {
        at.clock.set((at.store.now() + CRL_EVERY).min(then));
        rig.authority.publish_due().await.unwrap();
    }
}

on_both_engines! {
    async fn an_entry_stays_past_the_end_of_its_certificate_and_then_goes(at) {
        let rig = Rig::on(at).await;
        let (serial, end) = revoked(&rig).await;
        for (when, listed) in [
            (at.store.now(), true),
            (end - hours(1), true),
            (end, true),
            (end + minutes(1), true),
            (end + hours(24), true),
            (end + days(3), false),
            (end + days(30), false),
        ] {
            serve_until(at, &rig, when).await;
            assert_eq!(lists(&rig, &serial).await, listed, "at {when}, the certificate ends at {end}");
        }
    }

    async fn an_entry_is_on_a_crl_after_its_certificate_has_expired_however_long_the_server_was_away(at) {
        let rig = Rig::on(at).await;
        let (serial, end) = revoked(&rig).await;
        assert!(lists(&rig, &serial).await);
        at.clock.set(end + days(20));
        assert!(lists(&rig, &serial).await, "once more");
        serve_until(at, &rig, end + days(22)).await;
        assert!(!lists(&rig, &serial).await);
    }

    async fn a_crl_is_good_for_a_day_and_the_next_comes_in_a_quarter_of_it(at) {
        let rig = Rig::on(at).await;
        rig.authority.publish_due().await.unwrap();
        let mut last = rig.authority.current_crl("tls-1").await.unwrap();
        for step in 0..6 {
            at.clock.advance(CRL_EVERY - Duration::from_secs(1));
            rig.authority.publish_due().await.unwrap();
            assert_eq!(rig.authority.current_crl("tls-1").await.unwrap().number, last.number, "{step}: not yet");
            at.clock.advance(Duration::from_secs(1));
            rig.authority.publish_due().await.unwrap();
            let next = rig.authority.current_crl("tls-1").await.unwrap();
            assert!(next.number > last.number && next.this_update > last.this_update, "{step}");
            let facts = CrlFacts::parse(&next.der).unwrap();
            assert_eq!(facts.next_update, Some((at.store.now() + CRL_LIFE).truncated()), "{step}");
            assert_eq!(CRL_LIFE, days(1));
            assert!(at.store.now() < last.next_update, "{step}: the one before is still good");
            last = next;
        }
    }

    async fn this_update_does_not_go_back_with_the_clock(at) {
        let rig = Rig::on(at).await;
        at.clock.advance(hours(2));
        let (first, _) = revoked(&rig).await;
        assert!(lists(&rig, &first).await);
        let before = rig.authority.current_crl("tls-1").await.unwrap();
        // less than a clock may be wrong by
        at.clock.set(at.store.now() - Duration::from_secs(20));
        let (second, _) = revoked(&rig).await;
        at.clock.advance(Duration::from_secs(1));
        assert!(lists(&rig, &second).await);
        let after = rig.authority.current_crl("tls-1").await.unwrap();
        assert!(after.number > before.number && after.this_update >= before.this_update, "{after:?}");
    }

    async fn every_reason_and_revocation_time_is_on_the_crl(at) {
        let rig = Rig::on(at).await;
        let mut all = Vec::new();
        for reason in RevocationReason::ALL {
            // what certificateHold and others need is refused elsewhere
            let issued = rig.issue(issuance(Guard::default())).await.unwrap().certificate;
            at.clock.advance(minutes(1));
            if rig.authority.revoke(&actor(), issued.id, reason).await.is_ok() {
                all.push((issued.serial.clone(), reason, at.store.now().truncated()));
            }
        }
        assert!(all.len() >= 5, "{all:?}");
        at.clock.advance(hours(1));
        rig.authority.publish_due().await.unwrap();
        let crl = rig.authority.current_crl("tls-1").await.unwrap();
        let facts = CrlFacts::parse(&crl.der).unwrap();
        assert_eq!(facts.entries().count(), all.len());
        for (serial, reason, when) in all {
            let entry = facts.entries().find(|entry| entry.serial == serial.octets()).unwrap();
            // unspecified is left out (RFC 5280 §5.3.1)
            let told = (reason != RevocationReason::Unspecified).then_some(reason.code());
            assert_eq!((entry.revoked_at, entry.reason), (when, told), "{reason:?}");
        }
    }
}
