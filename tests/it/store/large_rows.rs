//! Rows of many megabytes, which are written in pieces: what a kill, a full disk and an upgrade leave of them.

use std::pin::pin;
use std::task::Poll;

use chancery::authority::Authority;
use chancery::error::ErrorKind;
use chancery::model::actor::Actor;
use chancery::model::crl::CrlNumber;
use chancery::model::id::{CrlId, IssuerId};
use chancery::store::crls::{self, NewCrl};
use chancery::store::engine::{Row, Sql, q};
use chancery::store::{Store, hierarchy};

use crate::support::stores::{At, founded, plain};

const OCTETS: usize = 3_000_001;

/// A CRL that is written in pieces.
pub fn large_crl(store: &Store, issuer: IssuerId, number: u64) -> NewCrl {
    let now = store.now();
    NewCrl {
        id: CrlId::new(now, store.entropy.as_ref()).unwrap(),
        issuer_id: issuer,
        number: CrlNumber::new(9, number),
        this_update: now,
        next_update: now + std::time::Duration::from_secs(60),
        entries: 77,
        created_at: now,
        bytes: (0..OCTETS).map(|n| (n % 251) as u8).collect::<Vec<_>>().into(),
    }
}

/// Drops a future that is not done after so many polls.
async fn after_polls<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let (mut future, mut left) = (pin!(future), polls);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

async fn stored(at: &At) -> i64 {
    at.count("SELECT COUNT(*) AS n FROM crls WHERE entries = 77").await
}

async fn store_one(at: &At, issuer: IssuerId, number: u64) {
    let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
    crls::insert(&mut tx, large_crl(&at.store, issuer, number)).await.unwrap();
    tx.commit().await.unwrap();
}

async fn whole(at: &At, issuer: IssuerId) -> bool {
    let crl = crls::newest(&at.store, issuer).await.unwrap().unwrap();
    crls::bytes(&at.store, &crl).await.unwrap().unwrap() == large_crl(&at.store, issuer, 1).bytes
}

/// Everything that the four tables hold.
async fn all(at: &At) -> Vec<(Vec<u8>, i64, i64, i64)> {
    let mut rows = Vec::new();
    for text in [
        "SELECT der AS octets, this_update, entries, created_at FROM crls ORDER BY id",
        "SELECT sealed AS octets, starts_at AS this_update, entries, created_at FROM crls_ahead ORDER BY id",
        "SELECT der AS octets, counter AS this_update, entries, created_at FROM domain_crls ORDER BY domain",
        "SELECT sealed AS octets, starts_at AS this_update, counter AS entries, created_at FROM domain_crls_ahead ORDER BY domain",
    ] {
        let found = at.rows(text).await;
        assert!(!found.is_empty(), "{text}");
        let number = |row: &Row, column| row.get::<i64>(column).unwrap();
        rows.extend(found.iter().map(|row| {
            let octets: Vec<u8> = row.get("octets").unwrap();
            (octets, number(row, "this_update"), number(row, "entries"), number(row, "created_at"))
        }));
    }
    rows
}

/// The statements of a migration.
fn statements(text: &'static str) -> Vec<String> {
    let code: String =
        text.lines().filter(|line| !line.trim().starts_with("--")).fold(String::new(), |all, line| all + line + "\n");
    code.split(';').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect()
}

crate::on_both_engines! {
    async fn a_writer_that_is_stopped_half_way_leaves_nothing(at) {
        founded(&at.store).await;
        let issuer = hierarchy::issuers(&at.store).await.unwrap()[0].id;
        let mut stopped = 0;
        for polls in [0, 1, 2, 3, 5, 8, 13] {
            let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
            let writing = crls::insert(&mut tx, large_crl(&at.store, issuer, 1));
            stopped += usize::from(after_polls(polls, writing).await.is_none());
            drop(tx);
            assert_eq!(stored(at).await, 0, "{polls} polls");
        }
        assert!(stopped > 0, "all were written at once");
        store_one(at, issuer, 1).await;
        assert!(whole(at, issuer).await);
    }

    async fn migration_28_keeps_every_list(at) {
        let (authority, keys) = founded(&at.store).await;
        authority.publish_domains_due().await.unwrap();
        let issuer = hierarchy::issuers(&at.store).await.unwrap()[0].id;
        store_one(at, issuer, 1).await;
        let before = all(at).await;
        let text = if at.is_postgres() {
            include_str!("../../../migrations/postgres/0028_crl_bytes_last.sql")
        } else {
            include_str!("../../../migrations/sqlite/0028_crl_bytes_last.sql")
        };
        for statement in statements(text) {
            let text: &'static str = statement.leak();
            q(Sql { name: "test", sqlite: text, postgres: text }).execute(&at.store.db).await.unwrap();
        }
        assert!(all(at).await == before);
        assert!(whole(at, issuer).await);
        // a row that a version before wrote is read, and one of now by a version before
        q(plain("INSERT INTO crls (id, issuer_id, number, this_update, next_update, entries, der, created_at) \
                 SELECT $1, issuer_id, $2, this_update, next_update, entries, der, created_at FROM crls WHERE entries = 77"))
            .bind(vec![3u8; 16]).bind(CrlNumber::new(9, 2).stored()).execute(&at.store.db).await.unwrap();
        assert!(whole(at, issuer).await);
        let again = Authority::open(at.restarted().await, keys, vec![]).await.unwrap();
        assert_eq!(again.publish_due().await.unwrap(), 0);
    }
}

/// `PRAGMA max_page_count` gives what a full disk gives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_a_large_row_and_takes_it_once_there_is_space() {
    let at = At::sqlite().await;
    founded(&at.store).await;
    let issuer = hierarchy::issuers(&at.store).await.unwrap()[0].id;
    let pages = at.rows("PRAGMA page_count").await[0].get::<i64>("page_count").unwrap();
    // there is space for a part of it
    let most: &'static str = format!("PRAGMA max_page_count = {}", pages + 300).leak();
    at.sql(most).await;
    let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
    let error = crls::insert(&mut tx, large_crl(&at.store, issuer, 1)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{}", error.detail);
    assert!(error.detail.starts_with("the database's disk is full"), "{}", error.detail);
    drop(tx);
    // the connection is closed, and the limit with it
    store_one(&at, issuer, 1).await;
    assert!(whole(&at, issuer).await);
    at.end().await;
}
