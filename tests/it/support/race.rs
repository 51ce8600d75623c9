//! Two transactions on Postgres that meet: the first keeps its locks just before it commits, the second runs until it
//! waits for one of them or has ended. SQLite has one writer, so nothing of this kind can happen there.

use std::future::Future;
use std::time::Duration;

use chancery::store::Store;
use chancery::store::engine::q;
use chancery::store::faults::CommitFault;

use super::stores::plain;
use super::wait;

/// What came of both.
#[derive(Debug)]
pub struct Met<A, B> {
    pub first: A,
    pub second: B,
    /// The second could not end before the first had committed.
    pub waited: bool,
}

/// `first` commits through `store` with an audit event of `action`; `second` must use another store.
pub async fn meet<A, B>(
    store: &Store,
    action: &'static str,
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> Met<A, B> {
    store.commits().plan(action, CommitFault::Waits);
    let second = async {
        store.commits().arrived().await;
        let mut second = std::pin::pin!(second);
        let early = tokio::select! {
            done = &mut second => Some(done),
            () = somebody_waits(store) => None,
        };
        store.commits().open_gate();
        match early {
            Some(done) => (done, false),
            None => (second.await, true),
        }
    };
    let both = async { tokio::join!(first, second) };
    let both = tokio::time::timeout(Duration::from_secs(60), both).await;
    let (first, (second, waited)) = both.unwrap_or_else(|_| panic!("no commit with {action} came"));
    Met { first, second, waited }
}

async fn somebody_waits(store: &Store) {
    let text =
        "SELECT COUNT(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    wait::until("nobody waits for a lock", async || {
        let row = q(plain(text)).fetch_one(&store.db).await.unwrap();
        (row.get::<i64>("n").unwrap() > 0).then_some(())
    })
    .await;
}
