//! Audit events in lists: in the order in which they were written, also within one millisecond.

use chancery::clock::minutes;
use chancery::model::actor::Actor;
use chancery::model::audit::AuditEvent;
use chancery::store::engine::q;
use chancery::store::{Store, audit};
use serde_json::json;

use crate::support::stores::plain;

crate::on_both_engines! {
    async fn events_of_one_millisecond_are_listed_in_the_order_written(at) {
        for turn in 0..20 {
            let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
            for part in 0..3 {
                tx.audit(AuditEvent::done("test.made", "thing:1", json!({"n": turn * 3 + part})));
            }
            tx.commit().await.unwrap();
        }
        assert_eq!(listed(&at.store).await, (0..60).collect::<Vec<_>>());
        let of_object = audit::of_object(&at.store, "thing:1", 100).await.unwrap();
        assert_eq!(of_object.iter().map(|e| number(&e.detail)).collect::<Vec<_>>(), (0..60).collect::<Vec<_>>());
    }

    async fn a_clock_that_steps_back_does_not_mix_the_list_up(at) {
        for n in 0..4 {
            at.store.record(&Actor::system("test"), AuditEvent::done("test.made", "", json!({"n": n}))).await.unwrap();
            at.clock.set(at.store.now() - minutes(5));
        }
        assert_eq!(listed(&at.store).await, [0, 1, 2, 3]);
    }

    async fn a_bad_row_is_shown_as_bad_and_hides_no_other(at) {
        for n in 0..12 {
            at.store.record(&Actor::system("test"), AuditEvent::done("test.made", "", json!({"n": n}))).await.unwrap();
        }
        let all = audit::page(&at.store, None, 100).await.unwrap();
        assert!(all.iter().all(|listed| listed.fault.is_none()));
        let garbage: [(&'static str, Vec<u8>); 5] = [
            ("UPDATE audit_events SET id = $2 WHERE id = $1", vec![0]),
            ("UPDATE audit_events SET id = $2 WHERE id = $1", all[4].id.to_vec()[..7].to_vec()),
            ("UPDATE audit_events SET id = $2 WHERE id = $1", [all[5].id.to_vec(), vec![1]].concat()),
            ("UPDATE audit_events SET hash = $2 WHERE id = $1", vec![1; 31]),
            ("UPDATE audit_events SET hash = $2 WHERE id = $1", vec![1; 32]),
        ];
        for ((text, value), row) in garbage.into_iter().zip([0, 4, 5, 8, 9]) {
            let changed = q(plain(text)).bind(all[row].id.to_vec()).bind(value).execute(&at.store).await.unwrap();
            assert_eq!(changed, 1);
        }
        let mut numbers = listed(&at.store).await;
        numbers.sort_unstable();
        assert_eq!(numbers, (0..12).collect::<Vec<_>>());
        let page = audit::page(&at.store, None, 100).await.unwrap();
        let faults: Vec<_> = page.iter().filter_map(|listed| listed.fault.as_deref()).collect();
        assert_eq!(faults.len(), 5, "{faults:?}");
        assert!(faults.iter().all(|fault| fault.contains("of audit_events") && fault.contains("chancery fsck")));
        assert_eq!(faults.iter().filter(|fault| fault.contains("is not 16 bytes")).count(), 3);
    }
}

/// Page by page, newest first as the list has them, turned round.
async fn listed(store: &Store) -> Vec<i64> {
    let (mut numbers, mut before) = (Vec::new(), None);
    loop {
        let page = audit::page(store, before, 7).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        numbers.extend(page.iter().map(|e| number(&e.detail)));
    }
    numbers.reverse();
    numbers
}

fn number(detail: &str) -> i64 {
    serde_json::from_str::<serde_json::Value>(detail).unwrap()["n"].as_i64().unwrap()
}
