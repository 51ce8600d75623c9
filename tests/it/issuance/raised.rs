//! Revocations that change: a reason raised to a compromise, with the date since when the key is one, and holds that are
//! set, lifted and made final.

use std::process::Command;
use std::time::Duration;

use chancery::authority::issue::Issuance;
use chancery::clock::{Timestamp, hours, minutes};
use chancery::error::ErrorKind;
use chancery::model::actor::Actor;
use chancery::model::certificate::{Certificate, CertificateStatus};
use chancery::model::id::CertificateId;
use chancery::model::reason::RevocationReason::{
    CaCompromise, CertificateHold, CessationOfOperation, KeyCompromise, Superseded, Unspecified,
};
use chancery::model::revocation::NewRevocation;
use chancery::pki::name::SubjectFields;
use chancery::pki::request::CertificateRequest;
use chancery::store::{certificates, hierarchy, jobs};

use super::ocsp::{Said, asked};
use super::rig::{Rig, actor, issuance};
use crate::on_both_engines;
use crate::support::stores::At;

async fn issued(rig: &Rig) -> Certificate {
    rig.issue(issuance(Default::default())).await.unwrap().certificate
}

async fn status(rig: &Rig, id: CertificateId) -> CertificateStatus {
    certificates::find(&rig.store, id).await.unwrap().unwrap().status
}

/// What OpenSSL reads of a serial in a CRL: the lines of its entry.
fn entry(crl: &[u8], serial: &str) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.crl");
    std::fs::write(&file, crl).unwrap();
    let out = Command::new("openssl").args(["crl", "-inform", "DER", "-noout", "-text", "-in"]).arg(&file).output();
    let text = String::from_utf8(out.unwrap().stdout).unwrap();
    assert!(text.contains("Certificate Revocation List"), "{text}");
    let wanted = serial.trim_start_matches('0').to_ascii_uppercase();
    let mut entries = text.split("Serial Number: ").skip(1);
    entries.find(|entry| entry.lines().next().unwrap().trim_start_matches('0') == wanted).map(str::to_owned)
}

/// The issuer's CRL and the list of the domain, after a publication.
async fn published(at: &At, rig: &Rig) -> [Vec<u8>; 2] {
    at.clock.advance(Duration::from_secs(1));
    rig.authority.publish_due().await.unwrap();
    rig.authority.publish_domains_due().await.unwrap();
    rig.authority.poll_revocations().await.unwrap();
    let own = rig.authority.current_crl("tls-1").await.unwrap().der.to_vec();
    [own, rig.authority.domain_crl("tls").await.unwrap().der.to_vec()]
}

async fn drain(rig: &Rig) -> usize {
    let mut tx = rig.store.begin(&Actor::job("test")).await.unwrap();
    let until = tx.now() + Duration::from_secs(60);
    let claimed = jobs::claim(&mut tx, until, 100).await.unwrap();
    tx.commit().await.unwrap();
    for job in &claimed {
        rig.authority.revoke_compromised(job).await.unwrap();
    }
    claimed.len()
}

async fn sane(rig: &Rig) {
    assert_eq!(rig.authority.fsck().await.unwrap().findings, Vec::<String>::new());
}

fn since(at: Timestamp) -> NewRevocation {
    NewRevocation::new(KeyCompromise, Some(at))
}

on_both_engines! {
    async fn a_raised_revocation_keeps_its_date_and_blocks_the_key(at) {
        let rig = Rig::on(at).await;
        let again = issuance(Default::default());
        let renewal = issuance(Default::default());
        let first = rig.issue(Issuance { request: again.request.clone(), ..renewal }).await.unwrap().certificate;
        let other = rig.issue(again).await.unwrap().certificate;
        at.clock.advance(hours(2));
        rig.authority.revoke(&actor(), first.id, Superseded).await.unwrap();
        let revoked_at = at.store.now();
        at.clock.advance(hours(3));
        let stolen = (revoked_at - hours(1)).truncated();
        let raised = rig.authority.revoke(&actor(), first.id, since(stolen)).await.unwrap();
        let wanted = CertificateStatus::Revoked { at: revoked_at, reason: KeyCompromise, invalidity_date: Some(stolen) };
        assert_eq!((raised.status, status(&rig, first.id).await), (wanted, wanted));
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM blocked_keys").await, 1);
        assert_eq!(drain(&rig).await, 1);
        assert!(matches!(status(&rig, other.id).await, CertificateStatus::Revoked { reason: KeyCompromise, .. }));
        let lists = published(at, &rig).await;
        for list in &lists {
            let entry = entry(list, &first.serial.to_string()).unwrap();
            for part in ["Key Compromise", "Invalidity Date"] {
                assert!(entry.contains(part), "{entry}");
            }
            let day = openssl_time(revoked_at);
            assert!(entry.contains(&format!("Revocation Date: {day}")), "{entry} lacks {day}");
            assert!(entry.contains(&openssl_time(stolen)), "{entry}");
        }
        assert_eq!(asked(&rig.authority, "tls-1", &first.serial).await, Said::Revoked(revoked_at.truncated(), Some(1)));
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM audit_events WHERE action = 'certificate.revocation_raised'").await, 1);
        sane(&rig).await;
    }

    async fn what_says_no_more_is_already_revoked(at) {
        let rig = Rig::on(at).await;
        let one = issued(&rig).await;
        rig.authority.revoke(&actor(), one.id, Superseded).await.unwrap();
        for reason in [Superseded, Unspecified, CessationOfOperation] {
            let refused = rig.authority.revoke(&actor(), one.id, reason).await.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::AlreadyRevoked, "{}", reason.name());
        }
        let now = at.store.now();
        let late = rig.authority.revoke(&actor(), one.id, since(now + minutes(1))).await.unwrap_err();
        assert_eq!(late.rule.unwrap().name, "revocation.invalidity_date");
        at.clock.advance(hours(1));
        let late = rig.authority.revoke(&actor(), one.id, since(now + minutes(1))).await.unwrap_err();
        assert!(late.detail.contains("after the revocation"), "{}", late.detail);
        rig.authority.revoke(&actor(), one.id, KeyCompromise).await.unwrap();
        for reason in [KeyCompromise, CaCompromise, Superseded] {
            let refused = rig.authority.revoke(&actor(), one.id, reason).await.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::AlreadyRevoked, "{}", reason.name());
        }
        // a date is more than none, and an earlier one more than a later one
        for (back, taken) in [(2, true), (2, false), (1, false), (3, true)] {
            let done = rig.authority.revoke(&actor(), one.id, since(now - hours(back))).await;
            assert_eq!(done.is_ok(), taken, "{back}");
        }
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM audit_events WHERE action = 'key.blocked'").await, 1);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM audit_events WHERE action = 'certificate.revoked'").await, 1);
    }

    async fn of_raises_at_once_one_is_done(at) {
        let rig = Rig::on(at).await;
        for begun in [true, false] {
            let one = issued(&rig).await;
            if begun {
                rig.authority.revoke(&actor(), one.id, Superseded).await.unwrap();
            }
            let mut tasks = tokio::task::JoinSet::new();
            for n in 0..8 {
                let authority = rig.authority.clone();
                let reason = if begun || n % 2 == 0 { KeyCompromise } else { Superseded };
                tasks.spawn(async move { authority.revoke(&actor(), one.id, reason).await });
            }
            let (done, refused): (Vec<_>, Vec<_>) = tasks.join_all().await.into_iter().partition(Result::is_ok);
            assert!(refused.iter().all(|r| r.as_ref().unwrap_err().kind == ErrorKind::AlreadyRevoked));
            // beside the first revocation: that one and a raise, or the compromise alone
            assert!(done.len() == 1 || !begun && done.len() == 2, "{}", done.len());
            assert!(matches!(status(&rig, one.id).await, CertificateStatus::Revoked { reason: KeyCompromise, .. }));
        }
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM revocations").await, 2);
        published(at, &rig).await;
        sane(&rig).await;
    }

    async fn a_hold_is_lifted_and_every_list_forgets_it(at) {
        let rig = Rig::on(at).await;
        let one = issued(&rig).await;
        let serial = one.serial.to_string();
        rig.authority.revoke(&actor(), one.id, CertificateHold).await.unwrap();
        for list in published(at, &rig).await {
            assert!(entry(&list, &serial).unwrap().contains("Certificate Hold"));
        }
        assert!(matches!(asked(&rig.authority, "tls-1", &one.serial).await, Said::Revoked(_, Some(6))));
        assert_eq!(rig.authority.revoke(&actor(), one.id, CertificateHold).await.unwrap_err().kind, ErrorKind::AlreadyRevoked);
        let lifted = rig.authority.lift_hold(&actor(), one.id).await.unwrap();
        assert_eq!((lifted.status, status(&rig, one.id).await), (CertificateStatus::Valid, CertificateStatus::Valid));
        sane(&rig).await;
        for list in published(at, &rig).await {
            assert_eq!(entry(&list, &serial), None);
        }
        assert_eq!(asked(&rig.authority, "tls-1", &one.serial).await, Said::Good);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM audit_events WHERE action = 'certificate.hold_lifted'").await, 1);
        // twice, and what was never on hold
        for id in [one.id, issued(&rig).await.id] {
            let refused = rig.authority.lift_hold(&actor(), id).await.unwrap_err();
            assert_eq!((refused.kind, refused.rule.unwrap().name.as_str()), (ErrorKind::Conflict, "revocation.lift"));
        }
        // another hold counts as a new revocation, and a list with as many entries as before is made anew
        let two = issued(&rig).await;
        rig.authority.revoke(&actor(), one.id, CertificateHold).await.unwrap();
        published(at, &rig).await;
        rig.authority.lift_hold(&actor(), one.id).await.unwrap();
        rig.authority.revoke(&actor(), two.id, Superseded).await.unwrap();
        for list in published(at, &rig).await {
            assert!(entry(&list, &serial).is_none() && entry(&list, &two.serial.to_string()).is_some());
        }
        sane(&rig).await;
    }

    async fn a_hold_becomes_final_and_is_lifted_no_more(at) {
        let rig = Rig::on(at).await;
        for reason in [Superseded, Unspecified, KeyCompromise] {
            let one = issued(&rig).await;
            rig.authority.revoke(&actor(), one.id, CertificateHold).await.unwrap();
            let held = at.store.now();
            at.clock.advance(hours(1));
            rig.authority.revoke(&actor(), one.id, reason).await.unwrap();
            assert!(matches!(status(&rig, one.id).await, CertificateStatus::Revoked { at, reason: now, .. } if now == reason && at == held));
            let refused = rig.authority.lift_hold(&actor(), one.id).await.unwrap_err();
            assert!(refused.detail.contains("which is final"), "{}", refused.detail);
        }
        published(at, &rig).await;
        sane(&rig).await;
    }

    async fn a_hold_does_not_outlive_its_key(at) {
        let rig = Rig::on(at).await;
        let own = issuance(Default::default());
        let again = Issuance { request: own.request.clone(), ..issuance(Default::default()) };
        let held = rig.issue(own).await.unwrap().certificate;
        let other = rig.issue(again).await.unwrap().certificate;
        rig.authority.revoke(&actor(), held.id, CertificateHold).await.unwrap();
        rig.authority.revoke(&actor(), other.id, KeyCompromise).await.unwrap();
        let refused = rig.authority.lift_hold(&actor(), held.id).await.unwrap_err();
        assert_eq!(refused.rule.unwrap().name, "key.blocked");
        assert_eq!(drain(&rig).await, 1);
        assert!(matches!(status(&rig, held.id).await, CertificateStatus::Revoked { reason: KeyCompromise, .. }));
        published(at, &rig).await;
        sane(&rig).await;
    }

    async fn cas_and_signing_certificates_are_not_put_on_hold(at) {
        let rig = Rig::on(at).await;
        let all = hierarchy::issuer_certificates(&rig.store).await.unwrap();
        let issuing = rig.authority.snapshot().issuer("tls-1").unwrap().issuer.id;
        let own = all.iter().find(|c| c.issuer_id == issuing).unwrap().certificate_id.unwrap();
        let refused = rig.authority.revoke(&actor(), own, CertificateHold).await.unwrap_err();
        assert_eq!(refused.rule.unwrap().name, "revocation.hold");
        for domain in ["code-signing", "timestamping"] {
            let wanted = crate::hierarchy::wanted(domain);
            rig.authority.create_domain(&actor(), &wanted).await.unwrap();
            let asked = issuance(Default::default());
            let subject = match domain {
                "code-signing" => SubjectFields { country: Some("AT".into()), state: Some("Wien".into()), organization: vec!["Lab".into()], ..SubjectFields::default() },
                _ => SubjectFields::default(),
            };
            let request = CertificateRequest::for_key(asked.request.public_key().clone(), Vec::new());
            let issued = rig.issue(Issuance { profile: domain.into(), request, subject, common_name: Some("builder".into()), ..asked });
            let issued = issued.await.unwrap();
            let refused = rig.authority.revoke(&actor(), issued.certificate.id, CertificateHold).await.unwrap_err();
            assert!(refused.detail.contains("would become good again"), "{}", refused.detail);
            assert_eq!(status(&rig, issued.certificate.id).await, CertificateStatus::Valid);
        }
    }
}

/// As OpenSSL prints it.
fn openssl_time(at: Timestamp) -> String {
    openssl::asn1::Asn1Time::from_unix(at.secs()).unwrap().to_string()
}
