//! Jobs and leases on both engines: one claimer at a time, and the fence keeps a late one from writing.

use chancery::clock::{Timestamp, minutes};
use chancery::error::{ErrorKind, Result};
use chancery::model::actor::Actor;
use chancery::store::jobs::{self, ClaimedJob};
use chancery::store::{Store, Tx};
use futures_util::future::join_all;

crate::on_both_engines! {
    async fn a_job_is_there_when_its_cause_is_committed(at) {
        let mut dropped = begin(&at.store).await;
        jobs::enqueue(&mut dropped, "test", "{}", at.store.now()).await.unwrap();
        drop(dropped);
        assert_eq!(claim(&at.store, 10).await, []);
        enqueue(&at.store, at.store.now()).await;
        assert_eq!(jobs::states(&at.store, at.store.now()).await.unwrap(), [("test".to_owned(), "waiting".to_owned(), 1)]);
        let claimed = claim(&at.store, 10).await;
        assert_eq!((claimed.len(), claimed[0].attempts, claimed[0].fence), (1, 1, 1));
        jobs::finish(&at.store, &claimed[0]).await.unwrap();
        assert_eq!(jobs::states(&at.store, at.store.now()).await.unwrap(), []);
    }

    async fn a_job_waits_for_its_time(at) {
        enqueue(&at.store, at.store.now() + minutes(5)).await;
        assert_eq!(claim(&at.store, 10).await, []);
        at.clock.advance(minutes(5));
        assert_eq!(claim(&at.store, 10).await.len(), 1);
    }

    async fn claimers_at_once_share_the_jobs_without_one_twice(at) {
        for _ in 0..24 {
            enqueue(&at.store, at.store.now()).await;
        }
        let others = [at.restarted().await, at.restarted().await, at.restarted().await, at.restarted().await];
        let mut claimed: Vec<_> = join_all(others.iter().map(|store| claim(store, 10))).await.concat();
        claimed.extend(claim(&at.store, 24).await);
        let mut ids: Vec<_> = claimed.iter().map(|job| job.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!((ids.len(), claimed.len()), (24, 24));
        assert!(claimed.iter().all(|job| (job.attempts, job.fence) == (1, 1)));
    }

    async fn a_late_claimer_is_fenced_off(at) {
        enqueue(&at.store, at.store.now()).await;
        let late = claim(&at.store, 1).await.remove(0);
        assert_eq!(claim(&at.store, 1).await, [], "it is leased");
        at.clock.advance(minutes(2));
        let other = at.restarted().await;
        let again = claim(&other, 1).await.remove(0);
        assert_eq!((again.id, again.attempts, again.fence), (late.id, 2, 2));
        let too_late = |result: Result<()>| assert_eq!(result.unwrap_err().kind, ErrorKind::Conflict);
        too_late(jobs::finish(&at.store, &late).await);
        too_late(jobs::postpone(&at.store, &late, at.store.now(), "late").await);
        // an effect in the same transaction goes with it
        let mut tx = begin(&at.store).await;
        jobs::enqueue(&mut tx, "effect", "{}", at.store.now()).await.unwrap();
        too_late(jobs::finish(&mut tx, &late).await);
        drop(tx);
        jobs::finish(&other, &again).await.unwrap();
        assert_eq!(jobs::states(&at.store, at.store.now()).await.unwrap(), []);
    }

    async fn a_postponed_job_is_free_again_at_its_time(at) {
        enqueue(&at.store, at.store.now()).await;
        let first = claim(&at.store, 1).await.remove(0);
        jobs::postpone(&at.store, &first, at.store.now() + minutes(1), "no resolver").await.unwrap();
        assert_eq!(claim(&at.store, 1).await, []);
        at.clock.advance(minutes(1));
        let second = claim(&at.store, 1).await.remove(0);
        assert_eq!((second.attempts, second.fence), (2, 2));
        assert_eq!(jobs::finish(&at.store, &first).await.unwrap_err().kind, ErrorKind::Conflict);
    }

    async fn a_job_that_its_process_runs_at_once_is_found_after_a_crash(at) {
        let mut tx = begin(&at.store).await;
        let until = at.store.now() + minutes(2);
        let mine = jobs::enqueue_leased(&mut tx, "test", vec!["{}".into()], until).await.unwrap().remove(0);
        tx.commit().await.unwrap();
        assert_eq!(claim(&at.store, 1).await, []);
        at.clock.advance(minutes(2));
        let after = claim(&at.restarted().await, 1).await.remove(0);
        assert_eq!((after.id, after.fence), (mine.id, mine.fence + 1));
        assert_eq!(jobs::finish(&at.store, &mine).await.unwrap_err().kind, ErrorKind::Conflict);
    }

    async fn a_lease_has_one_holder_and_its_fence_rises_with_each(at) {
        let others = [at.restarted().await, at.restarted().await, at.restarted().await, at.restarted().await];
        let until = at.store.now() + minutes(1);
        let held = join_all(others.iter().map(|store| lease(store, until))).await;
        assert_eq!(held.iter().flatten().collect::<Vec<_>>(), [&1]);
        let holder = held.iter().position(Option::is_some).unwrap();
        let renewed = join_all((0..3).map(|n| lease(&others[holder], until + minutes(n)))).await;
        assert_eq!(renewed, [Some(1), Some(1), Some(1)], "its holder renews it without a new fence");
        at.clock.advance(minutes(4));
        let until = at.store.now() + minutes(1);
        let waiting: Vec<_> = (0..4).filter(|n| *n != holder).map(|n| lease(&others[n], until)).collect();
        let held = join_all(waiting).await;
        assert_eq!(held.iter().flatten().collect::<Vec<_>>(), [&2]);
        assert_eq!(lease(&others[holder], until).await, None, "who let it end has lost it");
    }
}

async fn begin(store: &Store) -> Tx {
    store.begin(&Actor::job("test")).await.unwrap()
}

async fn enqueue(store: &Store, run_at: Timestamp) {
    let mut tx = begin(store).await;
    jobs::enqueue(&mut tx, "test", "{}", run_at).await.unwrap();
    tx.commit().await.unwrap();
}

/// Leased for a minute.
async fn claim(store: &Store, limit: i64) -> Vec<ClaimedJob> {
    let mut tx = begin(store).await;
    let until = tx.now() + minutes(1);
    let claimed = jobs::claim(&mut tx, until, limit).await.unwrap();
    tx.commit().await.unwrap();
    claimed
}

async fn lease(store: &Store, until: Timestamp) -> Option<i64> {
    let mut tx = begin(store).await;
    let held = jobs::lease(&mut tx, "crl", store.replica(), until).await.unwrap();
    tx.commit().await.unwrap();
    held
}
