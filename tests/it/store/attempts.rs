//! Refused ACME requests on both engines.

use chancery::clock::days;
use chancery::model::actor::Actor;
use chancery::model::attempt::{Attempt, AttemptFilter, Downloads, NameSearch};
use chancery::model::id::{AccountId, AttemptId, OrderId};
use chancery::store::{Store, attempts};

fn attempt(store: &Store, names: &[&str]) -> Attempt {
    let (now, entropy) = (store.now(), store.entropy.as_ref());
    Attempt {
        id: AttemptId::new(now, entropy).unwrap(),
        at: now,
        last_at: now,
        times: 1,
        action: "order.refused".into(),
        directory: "default".into(),
        account_id: Some(AccountId::new(now, entropy).unwrap()),
        order_id: Some(OrderId::new(now, entropy).unwrap()),
        address: "192.0.2.9".into(),
        names: names.iter().map(|n| (*n).to_owned()).collect(),
        code: "rejected_identifier".into(),
        detail: "names.deny refuses it".into(),
        rule: Some("names.deny".into()),
        request_id: "req_1".into(),
    }
}

async fn stored(store: &Store, names: &[&str]) -> Attempt {
    let made = attempt(store, names);
    let mut tx = store.begin(&Actor::system("test")).await.unwrap();
    attempts::insert(&mut tx, &made).await.unwrap();
    tx.commit().await.unwrap();
    made
}

async fn found(store: &Store, filter: &AttemptFilter) -> Vec<AttemptId> {
    attempts::list(store, filter, None, 10).await.unwrap().iter().map(|a| a.id).collect()
}

crate::on_both_engines! {
    async fn an_attempt_comes_back_as_it_was_and_is_counted(at) {
        let made = stored(&at.store, &["a.example", "a.example", "B_.example"]).await;
        assert_eq!(attempts::find(&at.store, made.id).await.unwrap().as_ref(), Some(&made));
        at.clock.advance(days(1));
        assert!(attempts::again(&at.store, made.id, 4, at.store.now()).await.unwrap());
        let again = Attempt { times: 5, last_at: at.store.now(), ..made.clone() };
        assert_eq!(attempts::of_order(&at.store, made.order_id.unwrap(), 9).await.unwrap(), [again]);
        let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
        let bare = Attempt { account_id: None, order_id: None, rule: None, names: vec![], ..attempt(&at.store, &[]) };
        attempts::insert(&mut tx, &bare).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(attempts::find(&at.store, bare.id).await.unwrap(), Some(bare));
    }

    async fn attempts_are_found_by_name_in_the_order_of_bytes(at) {
        let mut ids = Vec::new();
        for name in ["a.example", "a-b.example", "a.example.org", "A.example", "é.example"] {
            at.clock.advance(days(1));
            ids.push(stored(&at.store, &[name, "common.example"]).await.id);
        }
        let by = |text: &str| AttemptFilter { name: Some(NameSearch::parse(text)), ..AttemptFilter::default() };
        assert_eq!(found(&at.store, &by("a.example")).await, [ids[0]]);
        assert_eq!(found(&at.store, &by("a.example*")).await, [ids[2], ids[0]]);
        assert_eq!(found(&at.store, &by("é*")).await, [ids[4]]);
        assert_eq!(found(&at.store, &by("common.example")).await.len(), 5);
        assert_eq!(found(&at.store, &by("none.example")).await, []);
        let since = AttemptFilter { since: Some(at.store.now() - days(1)), ..by("common.example") };
        assert_eq!(found(&at.store, &since).await, [ids[4], ids[3]]);
        let other = AttemptFilter { directory: Some("other".into()), ..AttemptFilter::default() };
        assert_eq!(found(&at.store, &other).await, []);
        let page = attempts::list(&at.store, &AttemptFilter::default(), Some(ids[3]), 2).await.unwrap();
        assert_eq!(page.iter().map(|a| a.id).collect::<Vec<_>>(), [ids[2], ids[1]]);
    }

    async fn the_old_and_the_surplus_are_forgotten_with_their_names(at) {
        let mut ids = Vec::new();
        for _ in 0..5 {
            at.clock.advance(days(1));
            ids.push(stored(&at.store, &["a.example"]).await.id);
        }
        let forget = async |before, keep| {
            let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
            let gone = attempts::forget(&mut tx, before, keep).await.unwrap();
            tx.commit().await.unwrap();
            gone
        };
        let by_name = AttemptFilter { name: Some(NameSearch::parse("a.example")), ..AttemptFilter::default() };
        assert_eq!(forget(at.store.now() - days(90), 5).await, 0);
        assert_eq!(forget(at.store.now() - days(90), 4).await, 1);
        assert_eq!(found(&at.store, &by_name).await, [ids[4], ids[3], ids[2], ids[1]]);
        assert_eq!(forget(at.store.now(), 100).await, 3);
        assert_eq!(found(&at.store, &by_name).await, [ids[4]]);
    }

    async fn downloads_add_up(at) {
        let order_id = OrderId::new(at.store.now(), at.store.entropy.as_ref()).unwrap();
        let first = Downloads { order_id, first_at: at.store.now(), last_at: at.store.now(), times: 2, address: "a".into() };
        let later = at.store.now() + days(1);
        let second = Downloads { first_at: later, last_at: later, times: 3, address: "b".into(), ..first.clone() };
        for some in [&first, &second] {
            let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
            attempts::downloaded(&mut tx, std::slice::from_ref(some)).await.unwrap();
            tx.commit().await.unwrap();
        }
        let all = Downloads { last_at: later, times: 5, ..first };
        assert_eq!(attempts::downloads(&at.store, order_id).await.unwrap(), Some(all));
    }
}
