//! What OCSP answers (RFC 6960 §2.2): good for a certificate of this issuer alone, and for no longer than this
//! replica knows of revocations.

use std::sync::Arc;
use std::time::Duration;

use chancery::authority::Authority;
use chancery::authority::guard::Guard;
use chancery::authority::ocsp::OCSP_LIFE;
use chancery::authority::recovery::STALE_AFTER;
use chancery::clock::{Timestamp, days, hours, minutes};
use chancery::model::id::CertificateId;
use chancery::model::reason::RevocationReason;
use chancery::model::serial::SerialNumber;
use chancery::pki::ocsp_facts::{OcspFacts, OcspFailure, OcspStatus};
use chancery::pki::ocsp_request::{CertIdHash, IssuerHashes, encode_request};
use chancery::store::certificates;
use chancery::store::engine::q;
use chancery::store::revocations::{self, Revocation};
use chancery::store::versions;

use super::rig::{Rig, SignerState, actor, issuance};
use crate::on_both_engines;
use crate::support::stores::{At, plain};

/// What one answer says, read by the facts reader, which pki::ocsp checks against OpenSSL.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    Good,
    /// When, and the code of the reason (RFC 5280 §5.3.1).
    Revoked(Timestamp, Option<u32>),
    Unknown,
    Failed(OcspFailure),
}

fn request(authority: &Authority, slug: &str, serial: &SerialNumber, nonce: Option<&[u8]>) -> Vec<u8> {
    let issuer = authority.snapshot().issuer(slug).unwrap().certificate().unwrap().der.clone();
    let issuer = openssl::x509::X509::from_der(&issuer).unwrap();
    let key = issuer.public_key().unwrap().public_key_to_der().unwrap();
    let hashes = IssuerHashes::of(&issuer.subject_name().to_der().unwrap(), &key).unwrap();
    encode_request(&hashes, CertIdHash::Sha1, serial, nonce)
}

pub async fn asked(authority: &Authority, slug: &str, serial: &SerialNumber) -> Said {
    said(&authority.ocsp(slug, &request(authority, slug, serial, None)).await.unwrap().der)
}

fn said(der: &[u8]) -> Said {
    match OcspFacts::parse(der).unwrap() {
        OcspFacts::Failed(failure) => Said::Failed(failure),
        OcspFacts::Answered(answer) => match answer.singles[0].status {
            OcspStatus::Good => Said::Good,
            OcspStatus::Revoked { at, reason } => Said::Revoked(at, reason),
            OcspStatus::Unknown => Said::Unknown,
        },
    }
}

async fn issued(rig: &Rig) -> (CertificateId, SerialNumber) {
    let done = rig.issue(issuance(Guard::default())).await.unwrap();
    (done.certificate.id, done.certificate.serial.clone())
}

/// Another process on the same database, which has read the version of revocations once.
async fn replica(at: &At, rig: &Rig) -> Arc<Authority> {
    let other = Authority::open(at.restarted().await, rig.keys.clone(), vec![]).await.unwrap();
    other.poll_revocations().await.unwrap();
    other
}

on_both_engines! {
    async fn a_certificate_is_good_until_it_is_revoked_and_then_revoked_at_once(at) {
        let rig = Rig::on(at).await;
        rig.authority.poll_revocations().await.unwrap();
        for reason in [
            RevocationReason::KeyCompromise,
            RevocationReason::Superseded,
            RevocationReason::CessationOfOperation,
            RevocationReason::Unspecified,
        ] {
            let (id, serial) = issued(&rig).await;
            assert_eq!(asked(&rig.authority, "tls-1", &serial).await, Said::Good);
            assert_eq!(asked(&rig.authority, "tls-1", &serial).await, Said::Good, "from the cache");
            at.clock.advance(Duration::from_secs(1));
            rig.authority.poll_revocations().await.unwrap();
            rig.authority.revoke(&actor(), id, reason).await.unwrap();
            let told = (reason != RevocationReason::Unspecified).then_some(reason.code().into());
            let revoked = Said::Revoked(at.store.now().truncated(), told);
            assert_eq!(asked(&rig.authority, "tls-1", &serial).await, revoked, "before any poll");
        }
    }

    async fn a_serial_that_was_never_issued_is_unknown(at) {
        let rig = Rig::on(at).await;
        rig.authority.poll_revocations().await.unwrap();
        let never = SerialNumber::from_octets(&[0x31; 20]).unwrap();
        assert_eq!(asked(&rig.authority, "tls-1", &never).await, Said::Unknown);
        // a serial that is reserved and has no certificate is not issued either
        let reserved = q(plain("INSERT INTO serials (serial, certificate_id) VALUES ($1, $2)"))
            .bind(never.octets().to_vec())
            .bind(vec![7_u8; 16]);
        reserved.execute(&at.store.db).await.unwrap();
        assert_eq!(asked(&rig.authority, "tls-1", &never).await, Said::Unknown);
    }

    async fn another_issuers_serial_is_unknown_here(at) {
        let rig = Rig::on(at).await;
        rig.authority.poll_revocations().await.unwrap();
        let (id, serial) = issued(&rig).await;
        let others: Vec<_> = rig.authority.snapshot().issuers.keys().filter(|s| *s != "tls-1").cloned().collect();
        assert!(!others.is_empty());
        for other in &others {
            assert_eq!(asked(&rig.authority, other, &serial).await, Said::Unknown, "{other}, while it is good");
        }
        rig.authority.revoke(&actor(), id, RevocationReason::KeyCompromise).await.unwrap();
        assert_eq!(asked(&rig.authority, "tls-root", &serial).await, Said::Unknown, "revoked, by another issuer");
        let own = rig.authority.snapshot().issuer("tls-1").unwrap().certificate().unwrap().der.clone();
        let own = openssl::x509::X509::from_der(&own).unwrap().serial_number().to_bn().unwrap().to_vec();
        let own = SerialNumber::from_octets(&own).unwrap();
        assert_eq!(asked(&rig.authority, "tls-root", &own).await, Said::Good, "what the root did issue");
        assert_eq!(asked(&rig.authority, "tls-1", &own).await, Said::Unknown, "an issuer did not issue itself");
        // hashes of one issuer at the door of another: not an answer of this responder (RFC 5019 §2.2.3)
        let foreign = request(&rig.authority, "tls-root", &own, None);
        let answer = rig.authority.ocsp("tls-1", &foreign).await.unwrap();
        assert_eq!(said(&answer.der), Said::Failed(OcspFailure::Unauthorized));
    }

    async fn an_intent_is_never_good(at) {
        let rig = Rig::on(at).await;
        rig.authority.poll_revocations().await.unwrap();
        rig.signer(SignerState::Waits);
        let order = rig.order().await;
        let (authority, running) = (rig.authority.clone(), issuance(super::rig::guard(order)));
        let task = tokio::spawn(async move { authority.issue(&actor(), running).await });
        rig.trouble.arrived.acquire().await.unwrap().forget();
        let serial = certificates::find_by_order(&rig.store, order).await.unwrap().unwrap().serial;
        let other = replica(at, &rig).await;
        assert_eq!(asked(&other, "tls-1", &serial).await, Said::Unknown, "signed perhaps, not committed");
        at.clock.advance(STALE_AFTER + Duration::from_secs(1));
        other.poll_revocations().await.unwrap();
        assert_eq!(other.recover().await.unwrap(), 1);
        let given_up = asked(&other, "tls-1", &serial).await;
        assert!(matches!(given_up, Said::Revoked(..)), "{given_up:?}");
        rig.trouble.gate.add_permits(1);
        task.await.unwrap().unwrap_err();
        other.poll_revocations().await.unwrap();
        assert!(matches!(asked(&other, "tls-1", &serial).await, Said::Revoked(..)), "and it stays so");
        other.store().db.close().await;
    }

    async fn every_revocation_moves_the_version_that_replicas_watch(at) {
        let rig = Rig::on(at).await;
        let other = replica(at, &rig).await;
        for _ in 0..3 {
            let (id, serial) = issued(&rig).await;
            assert_eq!(asked(&other, "tls-1", &serial).await, Said::Good, "which is cached there");
            let before = versions::read(&at.store).await.unwrap().revocations;
            rig.authority.revoke(&actor(), id, RevocationReason::Superseded).await.unwrap();
            assert!(versions::read(&at.store).await.unwrap().revocations > before);
            other.poll_revocations().await.unwrap();
            let after = asked(&other, "tls-1", &serial).await;
            assert!(matches!(after, Said::Revoked(..)), "{after:?}");
        }
        other.store().db.close().await;
    }

    async fn a_replica_that_cannot_read_the_version_gives_no_answer_after_10_seconds(at) {
        let rig = Rig::on(at).await;
        let (_, serial) = issued(&rig).await;
        let later = Said::Failed(OcspFailure::TryLater);
        assert_eq!(asked(&rig.authority, "tls-1", &serial).await, later, "it has never read it");
        rig.authority.poll_revocations().await.unwrap();
        at.clock.advance(Duration::from_secs(10));
        assert_eq!(asked(&rig.authority, "tls-1", &serial).await, Said::Good);
        at.clock.advance(Duration::from_secs(1));
        assert_eq!(asked(&rig.authority, "tls-1", &serial).await, later, "a cached answer is no better");
        rig.authority.poll_revocations().await.unwrap();
        assert_eq!(asked(&rig.authority, "tls-1", &serial).await, Said::Good);
    }

    async fn an_answer_that_was_read_before_a_revocation_is_not_kept_after_it(at) {
        let rig = Rig::on(at).await;
        let other = replica(at, &rig).await;
        let (id, serial) = issued(&rig).await;
        let ask = request(&other, "tls-1", &serial, None);
        // many answers on their way while the certificate is revoked and the version is read
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (other, ask) = (other.clone(), ask.clone());
            tasks.spawn(async move {
                for _ in 0..20 {
                    other.ocsp("tls-1", &ask).await.unwrap();
                    tokio::task::yield_now().await;
                }
            });
        }
        rig.authority.revoke(&actor(), id, RevocationReason::KeyCompromise).await.unwrap();
        other.poll_revocations().await.unwrap();
        assert!(matches!(said(&other.ocsp("tls-1", &ask).await.unwrap().der), Said::Revoked(..)));
        tasks.join_all().await;
        assert!(matches!(said(&other.ocsp("tls-1", &ask).await.unwrap().der), Said::Revoked(..)));
        other.store().db.close().await;
    }

    async fn an_answer_that_was_being_signed_when_the_version_moved_is_not_kept(at) {
        let rig = Rig::on(at).await;
        let other = replica(at, &rig).await;
        rig.authority.poll_revocations().await.unwrap();
        let (id, serial) = issued(&rig).await;
        rig.signer(SignerState::Waits);
        let (authority, ask) = (rig.authority.clone(), request(&rig.authority, "tls-1", &serial, None));
        let asking = tokio::spawn(async move { authority.ocsp("tls-1", &ask).await });
        rig.trouble.arrived.acquire().await.unwrap().forget();
        other.revoke(&actor(), id, RevocationReason::KeyCompromise).await.unwrap();
        rig.authority.poll_revocations().await.unwrap();
        rig.signer(SignerState::Works);
        rig.trouble.gate.add_permits(1);
        assert_eq!(said(&asking.await.unwrap().unwrap().der), Said::Good, "it was read before");
        let after = asked(&rig.authority, "tls-1", &serial).await;
        assert!(matches!(after, Said::Revoked(..)), "{after:?}");
        other.store().db.close().await;
    }

    async fn an_answer_ends_with_the_delegate_that_signed_it(at) {
        let rig = Rig::on(at).await;
        let (_, serial) = issued(&rig).await;
        let end = rig.authority.snapshot().issuer("tls-1").unwrap().responder.as_ref().unwrap().not_after;
        at.clock.set(end - hours(1));
        rig.authority.poll_revocations().await.unwrap();
        let ask = request(&rig.authority, "tls-1", &serial, None);
        let answer = rig.authority.ocsp("tls-1", &ask).await.unwrap();
        let OcspFacts::Answered(read) = OcspFacts::parse(&answer.der).unwrap() else { panic!("no answer") };
        assert_eq!(read.singles[0].next_update, Some(end.truncated()));
        // one that nobody renewed signs nothing past its end, whatever is asked
        at.clock.set(end);
        rig.authority.poll_revocations().await.unwrap();
        let never = SerialNumber::from_octets(&[0x41; 20]).unwrap();
        assert_eq!(asked(&rig.authority, "tls-1", &never).await, Said::Failed(OcspFailure::TryLater));
    }

    async fn a_revocation_without_a_certificate_is_answered(at) {
        let rig = Rig::on(at).await;
        rig.authority.poll_revocations().await.unwrap();
        let issuer_id = rig.authority.snapshot().issuer("tls-1").unwrap().issuer.id;
        let (serial, now) = (SerialNumber::from_octets(&[0x52; 16]).unwrap(), at.store.now());
        let imported = Revocation {
            serial: serial.clone(),
            certificate_id: CertificateId::from_bytes([0x52; 16]),
            revoked_at: now,
            reason: RevocationReason::AffiliationChanged,
            not_after: now + days(30),
            invalidity_date: None,
        };
        let mut tx = at.store.begin(&actor()).await.unwrap();
        revocations::insert(&mut tx, issuer_id, &imported, 1).await.unwrap();
        tx.commit().await.unwrap();
        let told = Said::Revoked(now.truncated(), Some(3));
        assert_eq!(asked(&rig.authority, "tls-1", &serial).await, told);
        assert_eq!(asked(&rig.authority, "tls-root", &serial).await, Said::Unknown);
    }

    async fn an_answers_times_are_those_of_the_reading(at) {
        let rig = Rig::on(at).await;
        at.clock.advance(hours(2));
        rig.authority.poll_revocations().await.unwrap();
        let (_, serial) = issued(&rig).await;
        let ask = request(&rig.authority, "tls-1", &serial, None);
        let times = |der: &[u8]| match OcspFacts::parse(der).unwrap() {
            OcspFacts::Answered(a) => (a.produced_at, a.singles[0].this_update, a.singles[0].next_update.unwrap()),
            OcspFacts::Failed(failure) => panic!("{failure:?}"),
        };
        let first = times(&rig.authority.ocsp("tls-1", &ask).await.unwrap().der);
        let now = at.store.now().truncated();
        assert_eq!(first, (now, now - minutes(5), now + OCSP_LIFE));
        at.clock.advance(minutes(30));
        rig.authority.poll_revocations().await.unwrap();
        assert_eq!(times(&rig.authority.ocsp("tls-1", &ask).await.unwrap().der), first, "from the cache");
        at.clock.advance(minutes(31));
        rig.authority.poll_revocations().await.unwrap();
        let second = times(&rig.authority.ocsp("tls-1", &ask).await.unwrap().der);
        assert_eq!(second.0, at.store.now().truncated(), "older than an hour: signed anew");
    }

    async fn a_nonce_is_repeated_and_its_answer_never_kept(at) {
        let rig = Rig::on(at).await;
        rig.authority.poll_revocations().await.unwrap();
        let (_, serial) = issued(&rig).await;
        for nonce in [&[1_u8; 16][..], &[2; 32]] {
            let ask = request(&rig.authority, "tls-1", &serial, Some(nonce));
            let answer = rig.authority.ocsp("tls-1", &ask).await.unwrap();
            assert!(answer.fresh.is_none());
            let OcspFacts::Answered(read) = OcspFacts::parse(&answer.der).unwrap() else { panic!("no answer") };
            assert_eq!(read.nonce.map(|n| n.raw()[2..].to_vec()), Some(nonce.to_vec()));
        }
    }
}
