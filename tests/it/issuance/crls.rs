//! CRLs: their times, numbers and seals, and what races and broken clocks do to them.

use std::sync::Arc;

use chancery::authority::Authority;
use chancery::authority::checks::Severity;
use chancery::authority::crl::{BACKDATE, CRL_EVERY, Crl};
use chancery::authority::guard::Guard;
use chancery::clock::{Timestamp, days, hours, minutes};
use chancery::keys::store::Keys;
use chancery::model::crl::CrlNumber;
use chancery::model::id::CertificateId;
use chancery::model::reason::RevocationReason;
use chancery::model::serial::SerialNumber;
use chancery::pki::crl_facts::CrlFacts;
use chancery::pki::signer::KeyPurpose;
use chancery::pki::signer::KeyStore;
use chancery::store::engine::q;
use chancery::store::hierarchy;
use chancery::store::revocations::{self, Revocation};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509Crl, X509StoreContext};

use super::rig::{Rig, SignerState, actor, issuance};
use crate::on_both_engines;
use crate::support::stores::{At, plain};

async fn issued(rig: &Rig) -> (CertificateId, SerialNumber, Vec<u8>) {
    let done = rig.issue(issuance(Guard::default())).await.unwrap();
    (done.certificate.id, done.certificate.serial.clone(), done.der.clone())
}

async fn revoke(rig: &Rig, id: CertificateId) {
    rig.authority.revoke(&actor(), id, RevocationReason::Superseded).await.unwrap();
}

async fn tls(authority: &Authority) -> Arc<Crl> {
    authority.current_crl("tls-1").await.unwrap()
}

fn lists(crl: &Crl, serial: &SerialNumber) -> bool {
    CrlFacts::parse(&crl.der).unwrap().entries().any(|entry| entry.serial == serial.octets())
}

/// What `openssl verify -crl_check` says with its clock at `at`.
fn verified_at(rig: &Rig, leaf: &[u8], crl: &Crl, at: Timestamp) -> String {
    let snapshot = rig.authority.snapshot();
    let of = |slug: &str| X509::from_der(&snapshot.issuer(slug).unwrap().certificate().unwrap().der).unwrap();
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(of("tls-root")).unwrap();
    let mut param = X509VerifyParam::new().unwrap();
    param.set_flags(X509VerifyFlags::CRL_CHECK).unwrap();
    param.set_time(at.secs());
    store.set_param(&param).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("crl.pem");
    std::fs::write(&file, X509Crl::from_der(&crl.der).unwrap().to_pem().unwrap()).unwrap();
    let lookup = store.add_lookup(openssl::x509::store::X509Lookup::file()).unwrap();
    lookup.load_crl_file(&file, openssl::ssl::SslFiletype::PEM).unwrap();
    let mut chain = Stack::new().unwrap();
    chain.push(of("tls-1")).unwrap();
    let (store, leaf) = (store.build(), X509::from_der(leaf).unwrap());
    let mut context = X509StoreContext::new().unwrap();
    let say = |c: &mut openssl::x509::X509StoreContextRef| {
        c.verify_cert().map(|ok| if ok { "ok".to_owned() } else { c.error().error_string().to_owned() })
    };
    context.init(&store, &leaf, &chain, say).unwrap()
}

/// The authority of a locked server that has only the status key.
async fn locked(at: &At, rig: &Rig) -> Arc<Authority> {
    let row = hierarchy::installation(&rig.store).await.unwrap().unwrap();
    let status = rig.keys.open_status_key(&row.status_key).unwrap();
    let keys = Keys::locked(rig.store.entropy.clone()).with_status(&status).unwrap();
    assert!(!keys.can_open(KeyPurpose::Issuer));
    Authority::open(at.restarted().await, Arc::new(keys), vec![]).await.unwrap()
}

async fn sane(authority: &Authority) {
    assert_eq!(authority.fsck().await.unwrap().findings, Vec::<String>::new());
}

on_both_engines! {
    async fn a_revocation_that_does_not_reach_its_crl_is_critical(at) {
        let rig = Rig::on(at).await;
        let found = async |name: &str| {
            let checks = rig.authority.checks().await;
            checks.into_iter().find(|check| check.name == name).map(|check| (check.severity, check.detail)).unwrap()
        };
        rig.authority.publish_due().await.unwrap();
        rig.authority.publish_domains_due().await.unwrap();
        let (bad, serial, _) = issued(&rig).await;
        at.clock.advance(minutes(10));
        revoke(&rig, bad).await;
        for name in ["revocations", "domain lists"] {
            assert_eq!(found(name).await.0, Severity::Ok, "{name}: it may take its seconds");
        }
        // nobody publishes: a full disk, a locked table, no server that is unlocked
        at.clock.advance(std::time::Duration::from_secs(20));
        let (severity, detail) = found("revocations").await;
        assert_eq!(severity, Severity::Critical);
        assert!(detail.contains("1 revoked under tls-1 is not on its CRL") && detail.contains("log"), "{detail}");
        let (severity, detail) = found("domain lists").await;
        assert!(severity == Severity::Critical && detail.contains("/crl/domain/tls.crl"), "{detail}");
        assert_eq!(rig.authority.pending_revocations().await.unwrap()[0].count, 1);

        rig.authority.publish_due().await.unwrap();
        rig.authority.publish_domains_due().await.unwrap();
        assert!(lists(&*tls(&rig.authority).await, &serial));
        // what was listed a moment ago is no reason to fear when the next one comes
        let (next, _, _) = issued(&rig).await;
        revoke(&rig, next).await;
        at.clock.advance(std::time::Duration::from_secs(14));
        for name in ["revocations", "domain lists"] {
            let (severity, detail) = found(name).await;
            assert_eq!(severity, Severity::Ok, "{name}: {detail}");
        }
    }

    async fn a_verifier_whose_clock_is_behind_takes_a_crl_at_once(at) {
        let rig = Rig::on(at).await;
        at.clock.advance(hours(1));
        let (bad, serial, bad_der) = issued(&rig).await;
        let (_, _, good_der) = issued(&rig).await;
        at.clock.advance(minutes(10));
        revoke(&rig, bad).await;
        rig.authority.publish_due().await.unwrap();
        let (crl, now) = (tls(&rig.authority).await, at.store.now());
        assert!(lists(&crl, &serial));
        for behind in [0, 5, 299] {
            let then = Timestamp::from_secs(now.secs() - behind);
            assert_eq!(verified_at(&rig, &good_der, &crl, then), "ok", "{behind} s behind");
            assert_eq!(verified_at(&rig, &bad_der, &crl, then), "certificate revoked", "{behind} s behind");
        }
        let facts = CrlFacts::parse(&crl.der).unwrap();
        assert_eq!(facts.this_update, (now - BACKDATE).truncated());
        assert_eq!(facts.next_update, Some((now + days(1)).truncated()), "a true time");
        assert_eq!(facts.entries().next().unwrap().revoked_at, now.truncated(), "a true time");
    }

    async fn this_update_lies_in_the_issuers_life_and_never_goes_back(at) {
        let rig = Rig::on(at).await;
        let first = tls(&rig.authority).await;
        let born = rig.authority.snapshot().issuer("tls-1").unwrap().certificate().unwrap().not_before;
        assert_eq!(first.this_update, born);
        let (id, ..) = issued(&rig).await;
        at.clock.advance(minutes(30));
        revoke(&rig, id).await;
        rig.authority.publish_due().await.unwrap();
        let second = tls(&rig.authority).await;
        let (id, ..) = issued(&rig).await;
        at.clock.set(at.store.now() - minutes(2));
        revoke(&rig, id).await;
        rig.authority.publish_due().await.unwrap();
        let third = tls(&rig.authority).await;
        assert!(third.number > second.number && third.this_update >= second.this_update);
        assert_eq!(third.entries, 2);
    }

    async fn crls_ahead_of_their_time_are_sealed_and_a_locked_server_opens_them(at) {
        let rig = Rig::on(at).await;
        let now = at.store.now();
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM crls").await, 2, "the two in force");
        assert!(at.count("SELECT COUNT(*) AS n FROM crls_ahead").await > 50, "a root's for ten years");
        let name = rig.authority.snapshot().issuer("tls-root").unwrap().subject().to_vec();
        for row in at.rows("SELECT sealed FROM crls_ahead").await {
            let sealed: Vec<u8> = row.get("sealed").unwrap();
            assert!(!sealed.windows(name.len()).any(|part| part == name), "readable in the database");
        }
        let locked = locked(at, &rig).await;
        let numbers = [tls(&locked).await.number, locked.current_crl("tls-root").await.unwrap().number];
        at.clock.advance(days(3));
        let later = tls(&locked).await;
        assert!(later.number > numbers[0] && later.next_update > at.store.now());
        assert!(later.this_update <= at.store.now() - BACKDATE, "a verifier that is behind takes it too");
        for _ in 0..20 {
            at.clock.advance(days(170));
            let root = locked.current_crl("tls-root").await.unwrap();
            assert!(root.number > numbers[1] && root.next_update > at.store.now() && root.this_update < at.store.now());
        }
        at.clock.set(now);
        sane(&rig.authority).await;
        at.sql("UPDATE crls_ahead SET next_update = next_update + 1000000 WHERE starts_at = (SELECT MIN(starts_at) FROM crls_ahead)").await;
        assert!(rig.authority.fsck().await.unwrap().findings[0].contains("nextUpdate"), "fsck reads the sealed ones too");
    }

    async fn a_revocation_withdraws_what_lies_ready_without_it(at) {
        let rig = Rig::on(at).await;
        let (id, serial, _) = issued(&rig).await;
        revoke(&rig, id).await;
        rig.authority.publish_due().await.unwrap();
        let locked = locked(at, &rig).await;
        at.clock.advance(days(2));
        assert!(lists(&*tls(&locked).await, &serial));
    }

    async fn crls_that_an_older_server_left_readable_are_sealed(at) {
        let rig = Rig::on(at).await;
        let (now, day) = (at.store.now(), days(1).as_micros() as i64);
        let der = tls(&rig.authority).await.der.to_vec();
        let issuer = rig.authority.snapshot().issuer("tls-1").unwrap().issuer.id;
        // what it signed for later: only the times of the row matter here
        for n in [40u8, 41] {
            let number = CrlNumber::new(0, u64::from(n)).stored();
            q(plain("INSERT INTO crls (id, issuer_id, number, this_update, next_update, entries, der, created_at) VALUES ($1, $2, $3, $4, $5, 0, $6, $7)"))
                .bind(vec![n; 16]).bind(issuer.to_vec()).bind(number).bind(now.micros() + day).bind(now.micros() + 9 * day)
                .bind(der.clone()).bind(now).execute(&at.store.db).await.unwrap();
        }
        rig.authority.publish_due().await.unwrap();
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM crls WHERE this_update > created_at").await, 0);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM crls_ahead WHERE entries = 0 AND length(id) = 16 AND next_update - this_update = 691200000000").await, 2);
        // the number goes on above theirs
        let (id, ..) = issued(&rig).await;
        revoke(&rig, id).await;
        rig.authority.publish_due().await.unwrap();
        assert!(tls(&rig.authority).await.number > CrlNumber::new(0, 41));
    }

    async fn a_crl_from_the_future_is_withdrawn_and_what_it_revoked_stays_revoked(at) {
        let rig = Rig::on(at).await;
        let (id, serial, _) = issued(&rig).await;
        let now = at.store.now();
        revoke(&rig, id).await;
        // a replica whose clock is wrong publishes the revocation
        at.clock.advance(days(40));
        rig.authority.publish_due().await.unwrap();
        let wrong = tls(&rig.authority).await;
        at.clock.set(now);
        let right = Authority::open(at.restarted().await, rig.keys.clone(), vec![]).await.unwrap();
        assert!(tls(&right).await.number < wrong.number, "the one before is in force");
        if !at.store.db.is_postgres() {
            // its own file says that the time is a later one
            right.store().trust_clock(&actor()).await.unwrap();
        }
        right.publish_due().await.unwrap();
        let crl = tls(&right).await;
        assert!(crl.number > wrong.number && lists(&crl, &serial) && crl.this_update <= now);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM audit_events WHERE action = 'crl.withdrawn' AND detail LIKE '%tls-1%'").await, 2, "it and the one for later");
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM crls_ahead a JOIN issuers i ON i.id = a.issuer_id WHERE i.slug = 'tls-1'").await, 1);
        sane(&right).await;
    }

    async fn a_revocation_while_a_crl_is_signed_is_on_the_next_one(at) {
        let rig = Rig::on(at).await;
        let (first, first_serial, _) = issued(&rig).await;
        let (second, second_serial, _) = issued(&rig).await;
        revoke(&rig, first).await;
        rig.signer(SignerState::Waits);
        let authority = rig.authority.clone();
        let publishing = tokio::spawn(async move { authority.publish_due().await });
        rig.trouble.arrived.acquire().await.unwrap().forget();
        // the entries are read; no transaction is open, so this does not wait
        revoke(&rig, second).await;
        rig.signer(SignerState::Works);
        rig.trouble.gate.add_permits(10);
        assert_eq!(publishing.await.unwrap().unwrap(), 1);
        let crl = tls(&rig.authority).await;
        assert!(lists(&crl, &first_serial) && !lists(&crl, &second_serial));
        assert_eq!(rig.authority.publish_due().await.unwrap(), 1, "it is dirty again");
        let crl = tls(&rig.authority).await;
        assert!(lists(&crl, &first_serial) && lists(&crl, &second_serial));
        assert_eq!(rig.authority.publish_due().await.unwrap(), 0);
    }

    async fn a_publication_that_is_killed_is_done_by_the_next(at) {
        let rig = Rig::on(at).await;
        let (id, serial, _) = issued(&rig).await;
        revoke(&rig, id).await;
        rig.signer(SignerState::Waits);
        let authority = rig.authority.clone();
        let publishing = tokio::spawn(async move { authority.publish_due().await });
        rig.trouble.arrived.acquire().await.unwrap().forget();
        publishing.abort();
        assert!(publishing.await.unwrap_err().is_cancelled());
        let next = Authority::open(at.restarted().await, rig.keys.clone(), vec![]).await.unwrap();
        assert_eq!(next.publish_due().await.unwrap(), 1);
        assert!(lists(&*tls(&next).await, &serial));
        sane(&next).await;
    }

    async fn of_two_replicas_that_sign_at_once_the_one_that_lists_less_begins_again(at) {
        let rig = Rig::on(at).await;
        let (first, first_serial, _) = issued(&rig).await;
        let (second, second_serial, _) = issued(&rig).await;
        revoke(&rig, first).await;
        rig.signer(SignerState::Waits);
        let authority = rig.authority.clone();
        let slow = tokio::spawn(async move { authority.publish_due().await });
        rig.trouble.arrived.acquire().await.unwrap().forget();
        revoke(&rig, second).await;
        let other = Authority::open(at.restarted().await, rig.keys.clone(), vec![]).await.unwrap();
        assert_eq!(other.publish_due().await.unwrap(), 1);
        let full = tls(&other).await;
        rig.signer(SignerState::Works);
        rig.trouble.gate.add_permits(10);
        slow.await.unwrap().unwrap();
        let after = tls(&other).await;
        assert!(lists(&full, &first_serial) && lists(&full, &second_serial));
        assert_eq!(after.number, full.number, "what listed less was not stored");
        assert_eq!(rig.authority.publish_due().await.unwrap(), 0);
        sane(&other).await;
    }

    async fn the_last_three_crls_are_kept(at) {
        let rig = Rig::on(at).await;
        for _ in 0..6 {
            at.clock.advance(CRL_EVERY + minutes(1));
            assert_eq!(rig.authority.publish_due().await.unwrap(), 2);
        }
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM crls c JOIN issuers i ON i.id = c.issuer_id WHERE i.slug = 'tls-1'").await, 3);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM crls_ahead a JOIN issuers i ON i.id = a.issuer_id WHERE i.slug = 'tls-1'").await, 1);
    }

    async fn with_the_database_away_the_last_crl_is_served_until_its_next_update(at) {
        let rig = Rig::on(at).await;
        let served = Authority::open(at.restarted().await, rig.keys.clone(), vec![]).await.unwrap();
        let crl = tls(&served).await;
        served.store().db.close().await;
        at.clock.set(crl.next_update - minutes(1));
        assert_eq!(tls(&served).await.number, crl.number);
        at.clock.set(crl.next_update);
        let over = served.current_crl("tls-1").await.unwrap_err();
        assert_eq!(over.kind, chancery::error::ErrorKind::Unavailable);
        assert!(served.current_crl("tls-root").await.is_err(), "it was never served");
    }

    async fn a_list_of_many_pages_is_whole_and_signed_apart_from_the_one_for_later(at) {
        let rig = Rig::on(at).await;
        let issuer = rig.authority.snapshot().issuer("tls-1").unwrap().issuer.id;
        let mut tx = rig.store.begin(&actor()).await.unwrap();
        for n in 1..=12_001u32 {
            let serial = SerialNumber::from_octets(&[&[0x10][..], &n.to_be_bytes()].concat()).unwrap();
            let row = Revocation { serial, certificate_id: CertificateId::from_bytes(issuer.bytes()), revoked_at: at.store.now(),
                reason: RevocationReason::ALL[n as usize % 9], not_after: at.store.now() + days(900), invalidity_date: None };
            revocations::insert(&mut tx, issuer, &row, 1).await.unwrap();
        }
        hierarchy::mark_crl_dirty(&mut tx, issuer).await.unwrap();
        tx.commit().await.unwrap();
        rig.authority.publish_due().await.unwrap();
        let crl = tls(&rig.authority).await;
        assert_eq!((crl.entries, CrlFacts::parse(&crl.der).unwrap().count), (12_001, 12_001));
        assert!(X509Crl::from_der(&crl.der).unwrap().get_revoked().unwrap().len() == 12_001);
        // from here on it is large: the one for later is signed when nothing is due
        at.clock.advance(CRL_EVERY);
        assert_eq!(rig.authority.publish_due().await.unwrap(), 2);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM crls_ahead WHERE entries > 0").await, 0);
        rig.authority.publish_due().await.unwrap();
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM crls_ahead WHERE entries = 12001").await, 1);
        assert_eq!(rig.authority.publish_due().await.unwrap(), 0);
        let (id, ..) = issued(&rig).await;
        revoke(&rig, id).await;
        assert_eq!(rig.authority.publish_due().await.unwrap(), 0, "24 ms have not passed");
        at.clock.advance(std::time::Duration::from_millis(25));
        assert_eq!(rig.authority.publish_due().await.unwrap(), 1);
        assert_eq!(tls(&rig.authority).await.entries, 12_002);
    }

    async fn numbers_go_on_above_any_that_was_imported(at) {
        let rig = Rig::on(at).await;
        let issuer = rig.authority.snapshot().issuer("tls-1").unwrap().issuer.id;
        let long = CrlNumber::from(u128::MAX).next().unwrap();
        let mut tx = rig.store.begin(&actor()).await.unwrap();
        chancery::store::crls::stored(&mut tx, issuer, long, 7).await.unwrap();
        tx.commit().await.unwrap();
        at.clock.advance(CRL_EVERY);
        for n in 0..2 {
            rig.authority.publish_due().await.unwrap();
            let crl = tls(&rig.authority).await;
            assert!(crl.number > long);
            assert_eq!(CrlFacts::parse(&crl.der).unwrap().crl_number(), Some(crl.number), "{n}");
            at.clock.advance(CRL_EVERY);
        }
        at.clock.advance(days(1));
        assert!(tls(&rig.authority).await.number > long, "the one that stood ready");
        sane(&rig.authority).await;
    }
}
