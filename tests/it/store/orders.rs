//! Orders, authorizations and challenges on both engines: every move from one state only, whoever else moves.

use chancery::clock::{days, minutes};
use chancery::model::acme::{AccountStatus, AuthorizationStatus, ChallengeStatus, OrderStatus};
use chancery::model::actor::Actor;
use chancery::model::id::{AuthorizationId, CertificateId, ChallengeId, OrderId};
use chancery::store::challenges::Verdict;
use chancery::store::{Store, authorizations, challenges, guards, orders};
use futures_util::future::join_all;
use serde_json::json;

use crate::support::acme_rows::{deactivated, settled, stored_account, stored_order};

crate::on_both_engines! {
    async fn an_order_comes_back_as_it_was(at) {
        let account = stored_account(&at.store).await;
        let (order, parts, proofs) = stored_order(&at.store, &account, &["b.test", "192.0.2.7", "a.test"]).await;
        assert_eq!(orders::find(&at.store, order.id).await.unwrap().as_ref(), Some(&order));
        let ids: Vec<_> = parts.iter().map(|a| a.id).collect();
        assert_eq!(orders::view(&at.store, order.id).await.unwrap(), Some((order.clone(), ids)));
        let with = challenges::find_with(&at.store, proofs[2].id).await.unwrap();
        assert_eq!(with, Some((parts[2].clone(), proofs[2].clone())));
        let with = challenges::authorization_with(&at.store, parts[1].id).await.unwrap();
        assert_eq!(with, Some((parts[1].clone(), proofs[1..2].to_vec())));
        assert_eq!(authorizations::lock(&at.store, parts[1].id).await.unwrap().as_ref(), Some(&parts[1]));
        assert_eq!(authorizations::of_order(&at.store, order.id).await.unwrap(), parts, "in the order asked");
        assert_eq!(authorizations::find(&at.store, parts[1].id).await.unwrap().as_ref(), Some(&parts[1]));
        assert_eq!(challenges::find(&at.store, proofs[2].id).await.unwrap().as_ref(), Some(&proofs[2]));
        assert_eq!(challenges::of_authorization(&at.store, parts[0].id).await.unwrap(), proofs[..1]);
    }

    async fn an_order_is_ready_when_its_last_authorization_is_and_only_once(at) {
        let account = stored_account(&at.store).await;
        let names: Vec<String> = (0..6).map(|n| format!("host-{n}.test")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (order, parts, _) = stored_order(&at.store, &account, &names).await;
        let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
        assert_eq!(orders::to_ready(&mut tx, parts.iter().map(|a| a.id)).await.unwrap(), 0, "nothing is proved yet");
        drop(tx);
        // each in a transaction of its own that holds the order, all at once
        let settled = join_all(parts.iter().map(|a| settle(&at.store, a.id))).await;
        assert_eq!(settled.into_iter().filter(|ready| *ready).count(), 1);
        assert_eq!(status(&at.store, order.id).await, OrderStatus::Ready);
    }

    async fn one_finalization_takes_a_ready_order(at) {
        let account = stored_account(&at.store).await;
        let (order, parts, _) = stored_order(&at.store, &account, &["a.test"]).await;
        let now = at.store.now();
        let take = async |n: u8, now| {
            let made = (order.id, CertificateId::from_bytes([n; 16]));
            let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
            let moved = guards::orders_to_processing(&mut tx, &[made], now).await.unwrap();
            tx.commit().await.unwrap();
            moved.contains(&made)
        };
        assert!(!take(1, now).await, "a pending order is not taken");
        settle(&at.store, parts[0].id).await;
        assert!(!take(1, now + days(8)).await);
        let taken: Vec<bool> = join_all((1..9).map(|n| take(n, now))).await;
        assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
        let winner = u8::try_from(taken.iter().position(|taken| *taken).unwrap()).unwrap() + 1;
        let row = orders::find(&at.store, order.id).await.unwrap().unwrap();
        assert_eq!((row.status, row.certificate_id), (OrderStatus::Processing, Some(CertificateId::from_bytes([winner; 16]))));
        // from processing it ends once, this way or that
        let problem = json!({"type": "about:blank"});
        assert_eq!(orders::fail(&at.store, parts[0].id, &problem).await.unwrap(), 0, "an order in processing fails by its issuance only");
        let text = problem.to_string();
        let valid = async {
            let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
            let moved = guards::orders_to_valid(&mut tx, std::iter::once(order.id)).await.unwrap();
            tx.commit().await.unwrap();
            !moved.is_empty()
        };
        let (valid, invalid) = tokio::join!(valid, guards::order_to_invalid(&at.store, order.id, &text));
        assert_ne!(valid, invalid.unwrap());
    }

    async fn an_account_that_is_no_longer_valid_orders_nothing(at) {
        let account = stored_account(&at.store).await;
        let (order, parts, _) = stored_order(&at.store, &account, &["a.test", "b.test"]).await;
        let alive = async |id| {
            let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
            let found = guards::ordering_accounts(&mut tx, std::iter::once(id)).await.unwrap();
            found.get(&id).map(|account| account.status == AccountStatus::Valid)
        };
        assert_eq!(alive(order.id).await, Some(true));
        assert_eq!(alive(OrderId::from_bytes([1; 16])).await, None, "no order, no account to blame");
        settle(&at.store, parts[0].id).await;
        assert!(deactivated(&at.store, &account).await);
        assert_eq!(orders::fail_of_account(&at.store, account.id).await.unwrap(), 1);
        assert_eq!(authorizations::deactivate_of_account(&at.store, account.id).await.unwrap(), 2);
        assert_eq!(alive(order.id).await, Some(false));
        assert_eq!(status(&at.store, order.id).await, OrderStatus::Invalid);
    }

    async fn an_authorization_moves_from_pending_once(at) {
        let account = stored_account(&at.store).await;
        let other = stored_account(&at.store).await;
        let (_, parts, _) = stored_order(&at.store, &account, &["a.test", "b.test"]).await;
        let (a, b) = (&parts[0], &parts[1]);
        let to = |status| judge(&at.store, a.id, status);
        let (valid, invalid) = tokio::join!(to(AuthorizationStatus::Valid), to(AuthorizationStatus::Invalid));
        assert_ne!(valid, invalid);
        assert!(!to(AuthorizationStatus::Valid).await);
        assert!(judge(&at.store, b.id, AuthorizationStatus::Valid).await);
        let holds = async |account, when| authorizations::holds(&at.store, account, &b.identifier, when).await.unwrap();
        let now = at.store.now();
        assert!(holds(account.id, now).await);
        assert!(!holds(other.id, now).await, "it is nobody else's");
        assert!(!holds(account.id, b.expires_at).await, "and not for ever");
        let end = async || {
            let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
            let ended = authorizations::deactivate(&mut tx, b.id).await.unwrap();
            tx.commit().await.unwrap();
            ended
        };
        let ends = join_all((0..4).map(|_| end())).await;
        assert_eq!(ends.into_iter().filter(|ended| *ended).count(), 1);
        assert!(!holds(account.id, now).await);
    }

    async fn time_ends_orders_and_authorizations(at) {
        let account = stored_account(&at.store).await;
        let (pending, ..) = stored_order(&at.store, &account, &["a.test"]).await;
        at.clock.advance(minutes(1));
        let (ready, parts, _) = stored_order(&at.store, &account, &["b.test"]).await;
        settle(&at.store, parts[0].id).await;
        let now = at.store.now();
        let open = async || {
            let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
            orders::open_of(&mut tx, std::iter::once(account.id)).await.unwrap()[&account.id]
        };
        assert_eq!(open().await, 2);
        assert_eq!(orders::page(&at.store, account.id, None, now, 10).await.unwrap(), [pending.id, ready.id]);
        assert_eq!(orders::page(&at.store, account.id, Some(pending.id), now, 10).await.unwrap(), [ready.id]);
        let end = ready.expires_at;
        at.clock.advance(end.since(now));
        assert_eq!(open().await, 0);
        assert_eq!(orders::page(&at.store, account.id, None, end, 10).await.unwrap(), []);
        assert_eq!((orders::expire(&at.store, end).await.unwrap(), authorizations::expire(&at.store, end).await.unwrap()), (2, 1));
        assert_eq!((orders::expire(&at.store, end).await.unwrap(), authorizations::expire(&at.store, end).await.unwrap()), (0, 0));
        let left = authorizations::find(&at.store, parts[0].id).await.unwrap().unwrap();
        assert_eq!(left.status, AuthorizationStatus::Expired);
    }

    async fn a_challenge_is_begun_once_and_settled_once(at) {
        let account = stored_account(&at.store).await;
        let (_, parts, proofs) = stored_order(&at.store, &account, &["a.test", "b.test"]).await;
        let id = proofs[0].id;
        let settle = async |error| {
            let verdict = Verdict { challenge: id, error, timeline: "[]".into() };
            let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
            let moved = challenges::settle(&mut tx, [verdict].iter()).await.unwrap();
            tx.commit().await.unwrap();
            !moved.is_empty()
        };
        assert!(!settle(None).await, "nobody asked for it");
        let begun = join_all((0..6).map(|_| begin(&at.store, id))).await;
        assert_eq!(begun.into_iter().filter(|begun| *begun).count(), 1);
        let problem = json!({"type": "urn:ietf:params:acme:error:dns", "detail": "no \u{1f512} such name"});
        assert!(settle(Some(problem.clone())).await);
        assert!(!settle(None).await);
        let left = challenges::find(&at.store, id).await.unwrap().unwrap();
        assert_eq!((left.status, left.error), (ChallengeStatus::Invalid, Some(problem)));

        // one whose authorization is not pending any more is not begun
        assert!(judge(&at.store, parts[1].id, AuthorizationStatus::Invalid).await);
        assert!(!begin(&at.store, proofs[1].id).await);
        // nor one whose authorization ran out
        let (_, _, late) = stored_order(&at.store, &account, &["c.test"]).await;
        at.clock.advance(days(8));
        assert!(!begin(&at.store, late[0].id).await);
    }

    async fn verdicts_of_a_group_go_to_the_rows_that_they_name(at) {
        let account = stored_account(&at.store).await;
        let names: Vec<String> = (0..22).map(|n| format!("n{n}.test")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (_, parts, proofs) = stored_order(&at.store, &account, &names).await;
        let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
        let ids: Vec<_> = proofs[..21].iter().map(|c| c.id).collect();
        assert_eq!(challenges::to_processing(&mut tx, &ids).await.unwrap().len(), 21);
        let verdicts: Vec<_> = (0i64..).zip(&proofs).map(|(n, c)| Verdict {
            challenge: c.id,
            error: (n % 2 == 1).then(|| json!({"n": n})),
            timeline: format!("[{n}]"),
        }).collect();
        let moved = challenges::settle(&mut tx, verdicts.iter()).await.unwrap();
        assert_eq!(moved, ids.iter().copied().collect(), "the last one was not begun");
        let to = |n: usize| if n % 2 == 1 { AuthorizationStatus::Invalid } else { AuthorizationStatus::Valid };
        let all: Vec<_> = parts.iter().enumerate().map(|(n, a)| (a.id, to(n))).collect();
        assert_eq!(settled(&mut tx, &all).await, 22);
        tx.commit().await.unwrap();
        for (n, challenge) in proofs[..21].iter().enumerate() {
            let left = challenges::find(&at.store, challenge.id).await.unwrap().unwrap();
            assert_eq!(left.error, (n % 2 == 1).then(|| json!({"n": n})), "{n}");
            assert_eq!(left.validated_at.is_some(), n % 2 == 0);
            let part = authorizations::find(&at.store, parts[n].id).await.unwrap().unwrap();
            assert_eq!(part.status, to(n));
        }
    }
}

async fn begin(store: &Store, id: ChallengeId) -> bool {
    let mut tx = store.begin(&Actor::system("test")).await.unwrap();
    let moved = challenges::to_processing(&mut tx, &[id]).await.unwrap();
    tx.commit().await.unwrap();
    !moved.is_empty()
}

async fn judge(store: &Store, id: AuthorizationId, status: AuthorizationStatus) -> bool {
    let mut tx = store.begin(&Actor::system("test")).await.unwrap();
    let moved = settled(&mut tx, &[(id, status)]).await;
    tx.commit().await.unwrap();
    moved == 1
}

/// As the validation job does it; says whether the order became ready.
async fn settle(store: &Store, id: AuthorizationId) -> bool {
    let mut tx = store.begin(&Actor::system("test")).await.unwrap();
    authorizations::lock(&mut tx, id).await.unwrap();
    let one = || std::iter::once(id);
    orders::lock_of(&mut tx, one()).await.unwrap();
    assert_eq!(settled(&mut tx, &[(id, AuthorizationStatus::Valid)]).await, 1);
    let ready = orders::to_ready(&mut tx, one()).await.unwrap();
    tx.commit().await.unwrap();
    ready > 0
}

async fn status(store: &Store, order: OrderId) -> OrderStatus {
    orders::find(store, order).await.unwrap().unwrap().status
}
