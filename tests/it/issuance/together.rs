//! Issuances beside each other: they share commits, one bad row fails alone, and what ends one of them meanwhile
//! (a disconnect, a blocked key, a revocation) ends only that one.

use std::sync::atomic::Ordering;

use chancery::authority::guard::{Granted, Guard, Resting};
use chancery::authority::issue::Issuance;
use chancery::clock::days;
use chancery::error::ErrorKind;
use chancery::model::acme::OrderStatus;
use chancery::model::certificate::CertificateStatus;
use chancery::model::grant::{Grant, Scope};
use chancery::model::id::{OrderId, TokenId};
use chancery::model::names::NameRule;
use chancery::model::reason::RevocationReason;
use chancery::pki::key_policy::KeyPolicy;
use chancery::pki::request::CertificateRequest;
use chancery::store::engine::q;
use chancery::store::faults::CommitFault;
use chancery::store::{certificates, grants, idempotency, revocations};
use tokio::task::JoinSet;

use super::rig::{Rig, SignerState, actor, guard, issuance};
use crate::support::rows::open_grant;
use crate::support::stores::{START, plain};

async fn block(rig: &Rig, key: &[u8; 32]) {
    let mut tx = rig.store.begin(&actor()).await.unwrap();
    revocations::block_key(&mut tx, key, "keyCompromise", START, "test", 1).await.unwrap();
    tx.commit().await.unwrap();
}

crate::on_both_engines! {
    async fn sixty_four_at_once_share_their_commits(at) {
        let rig = Rig::on(at).await;
        let asked: Vec<_> = (0..64).map(|_| issuance(Guard::default())).collect();
        let before = rig.store.commits().count();
        let mut tasks = JoinSet::new();
        for one in asked {
            let authority = rig.authority.clone();
            tasks.spawn(async move { authority.issue(&actor(), one).await.unwrap() });
        }
        let issued = tasks.join_all().await;
        let commits = rig.store.commits().count() - before;
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM certificates WHERE status = 'valid' AND via = 'cli'").await, 64);
        assert_eq!(issued.len(), 64);
        assert!(commits < 100, "{commits} commits for 64 certificates: one by one it takes 128");
    }

    async fn no_key_of_the_ca_itself_is_certified(at) {
        let rig = Rig::on(at).await;
        let keys = chancery::store::hierarchy::keys(&at.store).await.unwrap();
        assert!(keys.len() >= 4, "roots, issuers and their OCSP responders");
        for key in keys {
            let public = KeyPolicy::default().check(&key.public_key).unwrap();
            let name = chancery::model::identifier::Identifier::dns("a.example.test").unwrap();
            let request = CertificateRequest::for_key(public, vec![name]);
            let refused = rig.issue(Issuance { request, ..issuance(Guard::default()) }).await.unwrap_err();
            assert_eq!((refused.kind, refused.rule.unwrap().name.as_str()), (ErrorKind::BadKey, "key.own"));
        }
    }

    async fn one_bad_row_does_not_fail_its_group(at) {
        let rig = Rig::on(at).await;
        let taken = rig.issue(issuance(Guard::default())).await.unwrap();
        let mut tasks = JoinSet::new();
        let unknown = OrderId::from_bytes([9; 16]);
        rig.trouble.repeat_serial.store(true, Ordering::SeqCst);
        for n in 0..24 {
            let (authority, asked) = (rig.authority.clone(), issuance(if n == 7 { guard(unknown) } else { Guard::default() }));
            tasks.spawn(async move { authority.issue(&actor(), asked).await });
        }
        let answers = tasks.join_all().await;
        let refused = |kind| answers.iter().filter(|a| a.as_ref().is_err_and(|e| e.kind == kind)).count();
        // the first of them drew the serial of the one before, which is never used again
        assert_eq!((refused(ErrorKind::OrderNotReady), refused(ErrorKind::Conflict)), (1, 1));
        assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), 22);
        let still = certificates::find(&rig.store, taken.certificate.id).await.unwrap().unwrap();
        assert_eq!(still.status, CertificateStatus::Valid);
    }

    async fn a_lost_reply_fails_nobody_of_a_group(at) {
        let rig = Rig::on(at).await;
        rig.signer(SignerState::Waits);
        let mut tasks = JoinSet::new();
        for _ in 0..12 {
            let (authority, order) = (rig.authority.clone(), rig.order().await);
            tasks.spawn(async move { authority.issue(&actor(), issuance(guard(order))).await });
        }
        rig.trouble.arrived.acquire_many(12).await.unwrap().forget();
        // all are signed at once, so that their outcomes go in groups
        for _ in 0..2 {
            rig.store.commits().plan("certificate.issued", CommitFault::LosesReply);
        }
        rig.trouble.gate.add_permits(12);
        let answers = tasks.join_all().await;
        for answer in answers {
            let issued = answer.unwrap();
            let row = certificates::find(&rig.store, issued.certificate.id).await.unwrap().unwrap();
            assert_eq!(row.status, CertificateStatus::Valid);
        }
    }

    async fn a_clients_disconnect_leaves_no_intent_behind(at) {
        let rig = Rig::on(at).await;
        rig.signer(SignerState::Waits);
        let order = rig.order().await;
        tokio::select! {
            _ = rig.issue(issuance(guard(order))) => panic!("the signer waits"),
            arrived = rig.trouble.arrived.acquire() => arrived.unwrap().forget(),
        }
        // the client is gone: its future was dropped between the signature's start and its end
        rig.trouble.gate.add_permits(1);
        let left = async || at.count("SELECT COUNT(*) AS n FROM certificates WHERE status = 'intended'").await;
        while left().await > 0 {
            tokio::task::yield_now().await;
        }
        let row = certificates::find_by_order(&rig.store, order).await.unwrap().unwrap();
        assert_eq!(row.status, CertificateStatus::Valid);
        assert_eq!(rig.order_status(order).await, OrderStatus::Valid);
    }

    async fn a_key_blocked_between_intent_and_outcome_is_refused(at) {
        let rig = Rig::on(at).await;
        rig.signer(SignerState::Waits);
        let order = rig.order().await;
        let asked = issuance(guard(order));
        let key = asked.request.public_key().sha256();
        let authority = rig.authority.clone();
        let task = tokio::spawn(async move { authority.issue(&actor(), asked).await });
        rig.trouble.arrived.acquire().await.unwrap().forget();
        block(&rig, &key).await;
        rig.trouble.gate.add_permits(1);
        assert_eq!(task.await.unwrap().unwrap_err().kind, ErrorKind::Conflict);
        let row = certificates::find_by_order(&rig.store, order).await.unwrap().unwrap();
        assert!(matches!(row.status, CertificateStatus::Revoked { .. }));
        assert_eq!(rig.order_status(order).await, OrderStatus::Invalid);
    }

    async fn a_blocked_key_is_refused_before_anything_is_stored(at) {
        let rig = Rig::on(at).await;
        let asked = issuance(Guard::default());
        block(&rig, &asked.request.public_key().sha256()).await;
        let before = at.count("SELECT COUNT(*) AS n FROM serials").await;
        assert_eq!(rig.issue(asked).await.unwrap_err().kind, ErrorKind::BadKey);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM serials").await, before);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM audit_events WHERE action = 'certificate.rejected'").await, 1);
    }

    async fn a_grant_whose_row_was_deleted_is_a_plain_refusal(at) {
        let rig = Rig::on(at).await;
        let grant = open_grant(8);
        grants::insert(&rig.store, &grant).await.unwrap();
        let asked = || {
            let granted = Granted { id: grant.id, names: Resting::All, rules: grant.scope.names.clone() };
            issuance(Guard { grant: Some(granted), ..Guard::default() })
        };
        rig.issue(asked()).await.unwrap();
        at.sql("DELETE FROM grants").await;
        let refusals = [rig.issue(asked()).await.map(drop), rig.authority.would_issue(&actor(), &asked()).await.map(drop)];
        for refused in refusals.map(Result::unwrap_err) {
            assert_eq!(refused.kind, ErrorKind::Forbidden);
            assert!(refused.detail.contains("is gone from the database"), "{}", refused.detail);
        }
    }

    async fn an_intent_revoked_by_hand_ends_its_order(at) {
        let rig = Rig::on(at).await;
        rig.signer(SignerState::Waits);
        let order = rig.order().await;
        let (authority, asked) = (rig.authority.clone(), issuance(guard(order)));
        let task = tokio::spawn(async move { authority.issue(&actor(), asked).await });
        rig.trouble.arrived.acquire().await.unwrap().forget();
        let row = certificates::find_by_order(&rig.store, order).await.unwrap().unwrap();
        rig.authority.revoke(&actor(), row.id, RevocationReason::Superseded).await.unwrap();
        rig.trouble.gate.add_permits(1);
        assert_eq!(task.await.unwrap().unwrap_err().kind, ErrorKind::Conflict);
        assert_eq!(rig.order_status(order).await, OrderStatus::Invalid);
        assert_eq!(idempotency::find(&rig.store, "host:0", &order.to_string()).await.unwrap(), None);
    }

    async fn a_token_is_asked_again_with_the_intent(at) {
        let rig = Rig::on(at).await;
        let token = TokenId::from_bytes([5; 16]);
        let made = "INSERT INTO tokens (id, name, secret_sha256, role, created_by, created_at, expires_at) VALUES ($1, 'a', $1, 'operator', 'test', 1, $2)";
        q(plain(made)).bind(token.to_vec()).bind(START + days(1)).execute(&at.store.db).await.unwrap();
        let with_token = || issuance(Guard { token: Some(token), ..Guard::default() });
        rig.issue(with_token()).await.unwrap();
        for end in ["UPDATE tokens SET revoked_at = 1", "UPDATE tokens SET revoked_at = NULL, expires_at = 1"] {
            at.sql(end).await;
            let error = rig.issue(with_token()).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unauthenticated, "{end}: {error}");
        }
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM certificates WHERE via = 'cli'").await, 1);
    }

    async fn a_grant_is_judged_again_with_the_intent(at) {
        let rig = Rig::on(at).await;
        let open = open_grant(8).scope;
        for (n, scope) in [
            Scope { names: vec![NameRule::parse("lab.example").unwrap()], ..open.clone() },
            Scope { profiles: vec!["etcd-client".into()], ..open.clone() },
            Scope { issuers: vec!["etcd-1".into()], ..open.clone() },
        ]
        .into_iter()
        .enumerate()
        {
            let grant = Grant { scope, ..open_grant(20 + u8::try_from(n).unwrap()) };
            grants::insert(&rig.store, &grant).await.unwrap();
            let guard = Guard { grant: Some(Granted::all(grant.id, &grant.scope)), ..Guard::default() };
            let error = rig.issue(issuance(guard)).await.unwrap_err();
            assert!(error.is_refusal(), "{n}: {error}");
        }
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM certificates WHERE via = 'cli'").await, 0);
    }

    async fn a_grant_that_refuses_takes_nothing(at) {
        let rig = Rig::on(at).await;
        let grant = Grant { max_count: Some(1), ..open_grant(7) };
        grants::insert(&rig.store, &grant).await.unwrap();
        let with_grant = |order| Guard { grant: Some(Granted::all(grant.id, &grant.scope)), idempotency: None, ..guard(order) };
        rig.issue(issuance(with_grant(rig.order().await))).await.unwrap();
        let mut tasks = JoinSet::new();
        let order = rig.order().await;
        for n in 0..8 {
            let asked = issuance(if n == 3 { with_grant(order) } else { Guard::default() });
            let authority = rig.authority.clone();
            tasks.spawn(async move { authority.issue(&actor(), asked).await });
        }
        assert_eq!(tasks.join_all().await.iter().filter(|a| a.is_err()).count(), 1);
        assert_eq!(rig.order_status(order).await, OrderStatus::Ready, "the order may be finalized by another grant");
    }

    async fn revoking_twice_is_already_revoked_and_an_expired_one_is_refused(at) {
        let rig = Rig::on(at).await;
        let one = rig.issue(issuance(Guard::default())).await.unwrap().certificate.id;
        let two = rig.issue(issuance(Guard::default())).await.unwrap().certificate.id;
        rig.authority.revoke(&actor(), one, RevocationReason::KeyCompromise).await.unwrap();
        let again = rig.authority.revoke(&actor(), one, RevocationReason::Superseded).await;
        assert_eq!(again.unwrap_err().kind, ErrorKind::AlreadyRevoked);
        at.clock.advance(days(91));
        let late = rig.authority.revoke(&actor(), two, RevocationReason::Superseded).await.unwrap_err();
        assert_eq!(late.rule.unwrap().name, "revocation.expired");
    }

    async fn two_that_revoke_at_once_make_one_revocation(at) {
        let rig = Rig::on(at).await;
        let id = rig.issue(issuance(Guard::default())).await.unwrap().certificate.id;
        let (me, you) = (actor(), actor());
        let revoke = |who| rig.authority.revoke(who, id, RevocationReason::Superseded);
        let (a, b) = tokio::join!(revoke(&me), revoke(&you));
        let kinds: Vec<_> = [a, b].into_iter().filter_map(|r| r.err()).map(|e| e.kind).collect();
        assert_eq!(kinds, [ErrorKind::AlreadyRevoked]);
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM revocations").await, 1);
    }
}
