//! A compromised key: blocked with the revocation that tells of it, its other certificates revoked by a job, and no
//! issuance under way passes it.

use std::collections::BTreeSet;
use std::time::Duration;

use chancery::authority::issue::Issuance;
use chancery::clock::days;
use chancery::error::{Error, ErrorKind};
use chancery::model::actor::Actor;
use chancery::model::certificate::{CertificateStatus, RevokeKey};
use chancery::model::id::CertificateId;
use chancery::model::issuer::IssuerState;
use chancery::model::reason::RevocationReason;
use chancery::store::jobs::{self, ClaimedJob};
use chancery::store::{certificates, hierarchy};

use super::rig::{Rig, SignerState, actor, issuance};
use crate::support::stores::At;

/// The same key and name again: a renewal.
fn again(asked: &Issuance) -> Issuance {
    Issuance { request: asked.request.clone(), profile: asked.profile.clone(), ..issuance(Default::default()) }
}

/// Runs every job that is due. Returns how many there were.
async fn drain(rig: &Rig) -> usize {
    let mut tx = rig.store.begin(&Actor::job("test")).await.unwrap();
    let until = tx.now() + Duration::from_secs(60);
    let claimed = jobs::claim(&mut tx, until, 100).await.unwrap();
    tx.commit().await.unwrap();
    for job in &claimed {
        assert_eq!(job.kind, RevokeKey::KIND);
        rig.authority.revoke_compromised(job).await.unwrap();
    }
    claimed.len()
}

async fn of_key(rig: &Rig, asked: &Issuance) -> Vec<CertificateStatus> {
    let key = asked.request.public_key().sha256();
    let all = certificates::of_key(&rig.store, &key, CertificateId::from_bytes([0; 16]), 1_000).await.unwrap();
    all.into_iter().map(|c| c.status).collect()
}

fn is_revoked(status: &CertificateStatus) -> bool {
    matches!(
        status,
        CertificateStatus::Revoked { reason: RevocationReason::KeyCompromise | RevocationReason::Unspecified, .. }
    )
}

crate::on_both_engines! {
    async fn the_other_certificates_of_the_key_are_revoked_and_those_of_others_are_not(at) {
        let rig = Rig::on(at).await;
        let (asked, other) = (issuance(Default::default()), issuance(Default::default()));
        let first = rig.issue(again(&asked)).await.unwrap().certificate.id;
        for _ in 0..3 {
            rig.issue(again(&asked)).await.unwrap();
        }
        let stranger = rig.issue(again(&other)).await.unwrap().certificate.id;
        rig.authority.revoke(&actor(), first, RevocationReason::KeyCompromise).await.unwrap();
        let refused = rig.issue(again(&asked)).await.unwrap_err();
        assert_eq!((refused.kind, refused.rule.unwrap().name.as_str()), (ErrorKind::BadKey, "key.blocked"));
        assert_eq!(drain(&rig).await, 1);
        assert!(of_key(&rig, &asked).await.iter().all(is_revoked));
        let stranger = certificates::find(&rig.store, stranger).await.unwrap().unwrap();
        assert_eq!(stranger.status, CertificateStatus::Valid);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM jobs").await, 0);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM audit_events WHERE action = 'certificate.revoked'").await, 4);
        rig.authority.publish_due().await.unwrap();
        assert_eq!(rig.authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn another_reason_tells_nothing_of_the_key(at) {
        let rig = Rig::on(at).await;
        let asked = issuance(Default::default());
        let first = rig.issue(again(&asked)).await.unwrap().certificate.id;
        rig.issue(again(&asked)).await.unwrap();
        rig.authority.revoke(&actor(), first, RevocationReason::Superseded).await.unwrap();
        assert_eq!(drain(&rig).await, 0);
        rig.issue(again(&asked)).await.unwrap();
    }

    async fn the_job_may_run_twice_and_after_a_crash(at) {
        let rig = Rig::on(at).await;
        let asked = issuance(Default::default());
        let first = rig.issue(again(&asked)).await.unwrap().certificate.id;
        for _ in 0..4 {
            rig.issue(again(&asked)).await.unwrap();
        }
        rig.authority.revoke(&actor(), first, RevocationReason::KeyCompromise).await.unwrap();
        // the one that claimed it first ended half-way: its lease runs out, and another claims it
        let lost = claim(at).await;
        at.clock.advance(Duration::from_secs(61));
        let again = claim(at).await;
        let (one, two) = tokio::join!(rig.authority.revoke_compromised(&again), rig.authority.revoke_compromised(&lost));
        one.unwrap();
        assert_eq!(two.unwrap_err().kind, ErrorKind::Conflict, "the fence lets one end the job");
        assert!(of_key(&rig, &asked).await.iter().all(is_revoked));
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM revocations").await, 5);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM jobs").await, 0);
    }

    async fn what_is_being_signed_when_the_key_falls_is_given_to_nobody(at) {
        let rig = Rig::on(at).await;
        let asked = issuance(Default::default());
        let first = rig.issue(again(&asked)).await.unwrap().certificate.id;
        rig.signer(SignerState::Waits);
        let (authority, renewal) = (rig.authority.clone(), again(&asked));
        let issuing = tokio::spawn(async move { authority.issue(&actor(), renewal).await });
        rig.trouble.arrived.acquire().await.unwrap().forget();
        rig.authority.revoke(&actor(), first, RevocationReason::KeyCompromise).await.unwrap();
        rig.trouble.gate.add_permits(1);
        assert_eq!(issuing.await.unwrap().unwrap_err().kind, ErrorKind::Conflict);
        drain(&rig).await;
        assert!(of_key(&rig, &asked).await.iter().all(is_revoked));
    }

    async fn of_many_issuances_at_once_none_outlives_the_key(at) {
        let rig = Rig::on(at).await;
        let asked = issuance(Default::default());
        let first = rig.issue(again(&asked)).await.unwrap().certificate.id;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..24 {
            let (authority, renewal) = (rig.authority.clone(), again(&asked));
            tasks.spawn(async move {
                if n == 12 {
                    return authority.revoke(&actor(), first, RevocationReason::KeyCompromise).await.map(drop);
                }
                authority.issue(&actor(), renewal).await.map(drop)
            });
        }
        let outcomes: Vec<Result<(), Error>> = tasks.join_all().await;
        let kinds: BTreeSet<String> = outcomes.iter().filter_map(|o| o.as_ref().err()).map(|e| format!("{:?}", e.kind)).collect();
        assert!(kinds.iter().all(|k| k == "BadKey" || k == "Conflict"), "{kinds:?}");
        assert_eq!(drain(&rig).await, 1);
        let left = of_key(&rig, &asked).await;
        assert!(left.iter().all(is_revoked), "{left:?}");
        assert_eq!(rig.issue(again(&asked)).await.unwrap_err().kind, ErrorKind::BadKey);
        rig.authority.publish_due().await.unwrap();
        assert_eq!(rig.authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn an_expired_certificate_of_the_key_stays_as_it_is(at) {
        let rig = Rig::on(at).await;
        let asked = issuance(Default::default());
        rig.issue(again(&asked)).await.unwrap();
        at.clock.advance(days(60));
        let young = rig.issue(again(&asked)).await.unwrap().certificate.id;
        at.clock.advance(days(60));
        rig.authority.revoke(&actor(), young, RevocationReason::KeyCompromise).await.unwrap();
        assert_eq!(drain(&rig).await, 1);
        let statuses = of_key(&rig, &asked).await;
        assert_eq!(statuses[0], CertificateStatus::Valid);
        assert!(is_revoked(&statuses[1]));
    }

    async fn an_issuer_whose_key_falls_signs_nothing_more(at) {
        let rig = Rig::on(at).await;
        let own = hierarchy::issuer_certificates(&rig.store).await.unwrap();
        let issuing = rig.authority.snapshot().issuer("tls-1").unwrap().issuer.id;
        let own = own.iter().find(|c| c.issuer_id == issuing).unwrap();
        rig.authority.revoke(&actor(), own.certificate_id.unwrap(), RevocationReason::CaCompromise).await.unwrap();
        // the process that revoked knows at once
        let snapshot = rig.authority.snapshot();
        assert_eq!(snapshot.issuer("tls-1").unwrap().issuer.state, IssuerState::Revoked);
        assert_eq!(rig.issue(issuance(Default::default())).await.unwrap_err().rule.unwrap().name, "profile.domain");
        assert_eq!(drain(&rig).await, 1);
    }
}

async fn claim(at: &At) -> ClaimedJob {
    let mut tx = at.store.begin(&Actor::job("gone")).await.unwrap();
    let until = tx.now() + Duration::from_secs(60);
    let claimed = jobs::claim(&mut tx, until, 1).await.unwrap().remove(0);
    tx.commit().await.unwrap();
    claimed
}
