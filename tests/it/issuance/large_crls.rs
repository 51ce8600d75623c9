//! Large CRLs go on from the last one: whatever was missed by its time is found by the count of the rows.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use chancery::authority::crl::CRL_EVERY;
use chancery::authority::guard::Guard;
use chancery::clock::{Timestamp, days, hours, minutes};
use chancery::model::id::{CertificateId, IssuerId};
use chancery::model::reason::RevocationReason;
use chancery::model::revocation::NewRevocation;
use chancery::model::serial::SerialNumber;
use chancery::pki::crl_facts::CrlFacts;
use chancery::pki::pem;
use chancery::store::hierarchy;
use chancery::store::revocations::{self, Revocation};
use chancery::store::versions::{Topic, bump};
use futures_util::future::join_all;

use tower::ServiceExt;

use super::rig::{Rig, actor, issuance};
use crate::on_both_engines;
use crate::support::stores::At;

const MANY: u32 = 12_001;

fn serial(first: u8, n: u32) -> SerialNumber {
    SerialNumber::from_octets(&[&[first][..], &n.to_be_bytes()].concat()).unwrap()
}

fn issuer(rig: &Rig) -> IssuerId {
    rig.authority.snapshot().issuer("tls-1").unwrap().issuer.id
}

/// Rows of revocations, made at `at`, of certificates that end at `end`.
async fn rows(rig: &Rig, serials: impl Iterator<Item = SerialNumber>, at: Timestamp, end: Timestamp) {
    let issuer = issuer(rig);
    let mut tx = rig.store.begin(&actor()).await.unwrap();
    for (n, serial) in serials.enumerate() {
        let row = Revocation {
            serial,
            certificate_id: CertificateId::from_bytes(issuer.bytes()),
            revoked_at: at,
            reason: RevocationReason::ALL[n % 9],
            not_after: end,
            invalidity_date: None,
        };
        revocations::insert(&mut tx, issuer, &row, 1).await.unwrap();
    }
    hierarchy::mark_crl_dirty(&mut tx, issuer).await.unwrap();
    bump(&mut tx, Topic::Revocations).await.unwrap();
    tx.commit().await.unwrap();
}

/// A rig whose issuer has published a large list, of rows that are a day old.
async fn large(at: &At) -> Rig {
    let rig = Rig::on(at).await;
    let now = at.store.now();
    rows(&rig, (1..=MANY).map(|n| serial(0x40, n)), now - days(1), now + days(900)).await;
    rig.authority.publish_due().await.unwrap();
    assert_eq!(listed(&rig).await.len(), MANY as usize);
    rig
}

/// Serial, time and reason of each entry, as they stand on the CRL that is served.
async fn listed(rig: &Rig) -> Vec<(Vec<u8>, i64, Option<u8>)> {
    let crl = rig.authority.current_crl("tls-1").await.unwrap();
    let facts = CrlFacts::parse(&crl.der).unwrap();
    assert_eq!(i64::try_from(facts.count).unwrap(), crl.entries);
    facts.entries().map(|entry| (entry.serial.to_vec(), entry.revoked_at.secs(), entry.reason)).collect()
}

async fn published(at: &At, rig: &Rig) -> Vec<(Vec<u8>, i64, Option<u8>)> {
    at.clock.advance(Duration::from_millis(25));
    assert_eq!(rig.authority.publish_due().await.unwrap(), 1);
    let grown = listed(rig).await;
    // another process reads everything
    let issuer = issuer(rig);
    let whole = revocations::listed(&rig.store, issuer, None, Timestamp::from_micros(0), i64::MAX).await.unwrap();
    let code = |reason: RevocationReason| Some(reason.code()).filter(|code| *code != 0);
    let whole: Vec<_> =
        whole.into_iter().map(|l| (l.serial.octets().to_vec(), l.revoked_at.secs(), code(l.reason))).collect();
    assert!(grown == whole, "{} entries of {}", grown.len(), whole.len());
    grown
}

async fn sane(rig: &Rig) {
    assert_eq!(rig.authority.fsck().await.unwrap().findings, Vec::<String>::new());
}

on_both_engines! {
    async fn a_large_list_is_read_anew_once_a_revocation_changed(at) {
        let rig = large(at).await;
        let issuer = issuer(&rig);
        let (low, high) = (serial(0x40, 1), serial(0x40, MANY));
        let date = at.store.now() - days(2);
        let raised = NewRevocation::new(RevocationReason::KeyCompromise, Some(date));
        let mut tx = rig.store.begin(&actor()).await.unwrap();
        revocations::raise(&mut tx, issuer, &low, raised, 2).await.unwrap();
        revocations::note_change(&mut tx, issuer).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(published(at, &rig).await[0].2, Some(1));
        // one goes and one comes, so that the count says nothing
        let mut tx = rig.store.begin(&actor()).await.unwrap();
        revocations::remove(&mut tx, issuer, &high, CertificateId::from_bytes([0; 16]), 2).await.unwrap();
        revocations::note_change(&mut tx, issuer).await.unwrap();
        tx.commit().await.unwrap();
        rows(&rig, [serial(0x40, MANY + 1)].into_iter(), at.store.now() - days(1), at.store.now() + days(30)).await;
        let all = published(at, &rig).await;
        assert!(all.len() == MANY as usize && all.iter().all(|(octets, ..)| octets != high.octets()));
        // and goes on from there, with the date of what was raised
        rows(&rig, [serial(0x40, 0)].into_iter(), at.store.now(), at.store.now() + days(30)).await;
        published(at, &rig).await;
        let crl = rig.authority.current_crl("tls-1").await.unwrap();
        let facts = CrlFacts::parse(&crl.der).unwrap();
        let entry = facts.entries().find(|entry| entry.serial == low.octets()).unwrap();
        assert_eq!((entry.reason, entry.invalidity_date), (Some(1), Some(date.truncated())));
        sane(&rig).await;
    }

    async fn a_large_list_goes_on_from_the_last_one(at) {
        let rig = large(at).await;
        let now = at.store.now();
        // before, between and behind those that are there
        for n in [0u32, 500, 20_000] {
            let new = if n == 500 { SerialNumber::from_octets(&[0x40, 0, 0, 1, 0xf4, 0x01]).unwrap() } else { serial(0x40, n) };
            rows(&rig, [new.clone()].into_iter(), at.store.now(), now + days(30)).await;
            let all = published(at, &rig).await;
            assert!(all.iter().any(|(octets, ..)| octets == new.octets()));
        }
        // what it held is taken over and not read again
        at.sql("UPDATE revocations SET reason = 'keyCompromise' WHERE serial = (SELECT serial FROM revocations ORDER BY serial LIMIT 1)").await;
        rows(&rig, [serial(0x41, 1)].into_iter(), at.store.now(), now + days(30)).await;
        at.clock.advance(Duration::from_millis(25));
        rig.authority.publish_due().await.unwrap();
        let all = listed(&rig).await;
        assert_eq!((all.len(), all[0].2), (MANY as usize + 4, None));
        at.sql("UPDATE revocations SET reason = 'unspecified' WHERE serial = (SELECT serial FROM revocations ORDER BY serial LIMIT 1)").await;
        sane(&rig).await;
    }

    async fn revocations_that_come_late_or_lie_back_are_found_by_their_number(at) {
        let rig = large(at).await;
        let now = at.store.now();
        // its time is before the last reading, as of a slow commit or an import
        rows(&rig, [serial(0x50, 1)].into_iter(), now - hours(5), now + days(30)).await;
        assert_eq!(published(at, &rig).await.len(), MANY as usize + 1);
        // one that is missed and one that is not
        rows(&rig, [serial(0x50, 2)].into_iter(), now - hours(5), now + days(30)).await;
        rows(&rig, [serial(0x50, 3)].into_iter(), at.store.now(), now + days(30)).await;
        assert_eq!(published(at, &rig).await.len(), MANY as usize + 3);
        // of an instant that was read already
        rows(&rig, [serial(0x50, 4)].into_iter(), at.store.now(), now + days(30)).await;
        assert_eq!(published(at, &rig).await.len(), MANY as usize + 4);
    }

    async fn what_expired_is_removed_when_all_is_read_again(at) {
        let rig = large(at).await;
        let now = at.store.now();
        rows(&rig, [serial(0x50, 1)].into_iter(), now, now + minutes(10)).await;
        published(at, &rig).await;
        at.clock.advance(days(2));
        assert_eq!(rig.authority.publish_due().await.unwrap(), 2, "the root's too");
        assert_eq!(listed(&rig).await.len(), MANY as usize + 1, "once more after it has expired");
        at.clock.advance(CRL_EVERY);
        rig.authority.publish_due().await.unwrap();
        assert_eq!(listed(&rig).await.len(), MANY as usize);
    }

    async fn a_list_of_another_replica_is_not_gone_on_from(at) {
        let rig = large(at).await;
        let now = at.store.now();
        let other = chancery::authority::Authority::open(at.restarted().await, rig.keys.clone(), vec![]).await.unwrap();
        rows(&rig, [serial(0x50, 1)].into_iter(), now, now + days(30)).await;
        at.clock.advance(Duration::from_millis(25));
        assert_eq!(other.publish_due().await.unwrap(), 1);
        assert_eq!(listed(&rig).await.len(), MANY as usize + 1);
        rows(&rig, [serial(0x50, 2)].into_iter(), now, now + days(30)).await;
        assert_eq!(published(at, &rig).await.len(), MANY as usize + 2);
        let (done, id) = (rig.issue(issuance(Guard::default())).await.unwrap(), |c: &chancery::model::certificate::Certificate| c.id);
        other.revoke(&actor(), id(&done.certificate), RevocationReason::Superseded).await.unwrap();
        at.clock.advance(Duration::from_millis(25));
        let (one, two) = tokio::join!(rig.authority.publish_due(), other.publish_due());
        assert!(one.unwrap() + two.unwrap() >= 1);
        assert_eq!(listed(&rig).await.len(), MANY as usize + 3);
    }

    async fn the_list_of_a_domain_takes_over_what_the_issuer_published(at) {
        let rig = large(at).await;
        let now = at.store.now();
        assert!(rig.authority.publish_domains_due().await.unwrap() >= 1);
        for n in 1..4u32 {
            rows(&rig, [serial(0x30 + n as u8, n)].into_iter(), at.store.now(), now + days(30)).await;
            let all = published(at, &rig).await;
            at.clock.advance(Duration::from_millis(25));
            rig.authority.publish_domains_due().await.unwrap();
            let list = rig.authority.domain_crl("tls").await.unwrap();
            let facts = CrlFacts::parse(&list.der).unwrap();
            let same: Vec<_> = facts.entries().map(|e| (e.serial.to_vec(), e.revoked_at.secs(), e.reason)).collect();
            assert!(same == all, "{} entries", same.len());
            let named = facts.entries().filter(|entry| entry.certificate_issuer.is_some()).count();
            assert_eq!((named, facts.is_indirect), (1, true), "its first entry names the issuer");
        }
        sane(&rig).await;
    }

    async fn requests_together_read_a_large_list_once(at) {
        let rig = large(at).await;
        rig.authority.publish_domains_due().await.unwrap();
        let other = chancery::authority::Authority::open(at.restarted().await, rig.keys.clone(), vec![]).await.unwrap();
        let crls = join_all((0..8).map(|_| other.current_crl("tls-1"))).await;
        let first = crls[0].as_ref().unwrap();
        assert!(crls.iter().all(|crl| Arc::ptr_eq(crl.as_ref().unwrap(), first)), "all of them get the one that was read");
        let lists = join_all((0..8).map(|_| other.domain_crl("tls"))).await;
        let first = lists[0].as_ref().unwrap();
        assert!(lists.iter().all(|list| Arc::ptr_eq(list.as_ref().unwrap(), first)));
    }

    async fn a_large_list_is_served_in_pieces_and_whole(at) {
        let rig = large(at).await;
        let crl = rig.authority.current_crl("tls-1").await.unwrap();
        assert!(crl.der.len() > 300_000, "more than one piece");
        let text = pem::encode("X509 CRL", &crl.der);
        let (root, both) = (rig.authority.current_crl("tls-root").await.unwrap(), "/bundles/tls.crl.pem");
        let root = pem::encode("X509 CRL", &root.der);
        for (path, whole) in [("/crl/tls-1.crl", crl.der.to_vec()), ("/crl/tls-1.pem", text.clone().into_bytes())] {
            let (status, length, body) = got(&rig, "GET", path).await;
            assert_eq!((status, length), (200, whole.len().to_string()), "{path}");
            assert!(body == whole, "{path}: {} octets", body.len());
            assert_eq!(got(&rig, "HEAD", path).await, (200, whole.len().to_string(), vec![]), "{path}");
        }
        let (status, length, body) = got(&rig, "GET", both).await;
        assert_eq!((status, length), (200, (text.len() + root.len()).to_string()));
        let bundle = String::from_utf8(body).unwrap();
        assert!(bundle.contains(&text) && bundle.contains(&root));
    }
}

/// Status, Content-Length and body of what the status listener answers.
async fn got(rig: &Rig, method: &str, path: &str) -> (u16, String, Vec<u8>) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let reply = chancery::status::routes(rig.authority.clone()).oneshot(request).await.unwrap();
    let length = reply.headers().get("content-length").map(|length| length.to_str().unwrap().to_owned());
    let status = reply.status().as_u16();
    let body = axum::body::to_bytes(reply.into_body(), usize::MAX).await.unwrap();
    (status, length.unwrap_or_default(), body.to_vec())
}
