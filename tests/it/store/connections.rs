//! Connections that are given out again: after a rollback, after somebody gave up, after the server ended them.

use std::time::Duration;

use chancery::error::ErrorKind;
use chancery::model::actor::Actor;
use chancery::store::engine::{Db, q};
use futures_util::future::join_all;

use crate::on_both_engines;
use crate::support::postgres::create_database;
use crate::support::stores::plain;

async fn one(db: &Db) -> i64 {
    q(plain("SELECT CAST(1 AS BIGINT) AS n")).fetch_one(db).await.unwrap().get("n").unwrap()
}

on_both_engines! {
    async fn many_share_a_few_and_each_gets_its_own_answer(at) {
        let db = &at.store.db;
        let ask = |n: i64| async move {
            let row = q(plain("SELECT CAST($1 AS BIGINT) AS n")).bind(n).fetch_one(db).await.unwrap();
            row.get::<i64>("n").unwrap()
        };
        assert_eq!(join_all((0..200).map(ask)).await, (0..200).collect::<Vec<_>>());
        let (open, idle) = db.connections();
        assert!(open <= 18 && idle <= open as usize, "{open} open, {idle} idle");
    }

    async fn what_was_not_committed_is_gone_and_the_connection_goes_on(at) {
        for round in 0..20 {
            let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
            let insert = plain("INSERT INTO rate_limits (name, next_at, keep_until) VALUES ($1, 0, 0)");
            q(insert).bind(format!("row {round}")).execute(tx.raw()).await.unwrap();
            match round % 2 {
                0 => drop(tx),
                _ => tx.commit().await.unwrap(),
            }
        }
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM rate_limits WHERE name LIKE 'row %'").await, 10);
    }

    async fn a_pool_closes_while_it_is_used(at) {
        for _ in 0..20 {
            let db = at.connect().await;
            let busy = (0..16).map(|_| {
                let db = db.clone();
                tokio::spawn(async move {
                    // until it is closed
                    while q(plain("SELECT CAST(1 AS BIGINT) AS n")).fetch_one(&db).await.is_ok() {}
                })
            });
            let busy: Vec<_> = busy.collect();
            one(&db).await;
            tokio::time::timeout(Duration::from_secs(60), db.close()).await.expect("it closes");
            for task in busy {
                tokio::time::timeout(Duration::from_secs(60), task).await.expect("it is told").unwrap();
            }
        }
    }

    async fn who_gives_up_leaves_nothing_behind(at) {
        for patience in 0..40 {
            let slow = async {
                let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
                for n in 0..50 {
                    let insert = plain("INSERT INTO rate_limits (name, next_at, keep_until) VALUES ($1, 0, 0)");
                    q(insert).bind(format!("{patience}/{n}")).execute(tx.raw()).await.unwrap();
                }
                std::future::pending::<()>().await;
            };
            let _ = tokio::time::timeout(Duration::from_micros(patience * 250), slow).await;
            let _ = tokio::time::timeout(Duration::from_micros(patience * 10), one(&at.store.db)).await;
            assert_eq!(one(&at.store.db).await, 1);
        }
        assert_eq!(at.count("SELECT COUNT(*) AS n FROM rate_limits").await, 0);
    }
}

/// A moment after its last use a connection is not asked whether it lives: a transaction begins all the same.
#[tokio::test]
async fn a_server_that_ended_its_connections_is_no_trouble_of_a_transaction() {
    let url = create_database().await;
    let (db, other) = (
        Db::open_postgres(&url, 4, "chancery").await.unwrap(),
        Db::open_postgres(&url, 1, "chancery").await.unwrap(),
    );
    let end = plain(
        "SELECT COUNT(pg_terminate_backend(pid)) AS n FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    for _ in 0..5 {
        // all four rest
        join_all((0..4).map(|_| async { db.begin().await.unwrap().commit().await.unwrap() })).await;
        assert!(q(end).fetch_one(&other).await.unwrap().get::<i64>("n").unwrap() >= 1);
        let mut tx = db.begin().await.unwrap();
        q(plain("SELECT CAST(1 AS BIGINT) AS n")).fetch_one(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(one(&db).await, 1);
    }
}

/// `PRAGMA max_page_count` gives what a full disk gives, on one connection. SQLite then rolls back by itself, so that
/// ROLLBACK fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sqlite_connection_whose_disk_was_full_is_never_given_out_again() {
    let at = crate::support::stores::At::sqlite().await;
    let insert = plain("INSERT INTO rate_limits (name, next_at, keep_until) VALUES ($1, 0, 0)");
    let big = "x".repeat(1 << 16);
    for round in 0..3 {
        at.sql("PRAGMA max_page_count = 1").await;
        let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
        let error = q(insert).bind(format!("{round}{big}")).execute(tx.raw()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{}", error.chain());
        assert!(error.detail.starts_with("the database's disk is full"), "{}", error.detail);
        // who goes on all the same writes nothing outside of the transaction
        assert!(q(insert).bind(format!("stray {round}")).execute(tx.raw()).await.is_err());
        match round {
            0 => drop(tx),
            _ => assert!(tx.commit().await.is_err()),
        }
        // another connection, with the pragmas of every one
        let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
        q(insert).bind(format!("{round}")).execute(tx.raw()).await.unwrap();
        let pragma = q(plain("SELECT * FROM pragma_synchronous, pragma_foreign_keys, pragma_secure_delete"));
        let row = pragma.fetch_one(tx.raw()).await.unwrap();
        let pragmas = ["synchronous", "foreign_keys", "secure_delete"].map(|name| row.get::<i64>(name).unwrap());
        assert_eq!(pragmas, [2, 1, 1]);
        tx.commit().await.unwrap();
    }
    assert_eq!(at.count("SELECT COUNT(*) AS n FROM rate_limits").await, 3);
    at.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_whose_rollback_fails_is_closed() {
    let at = crate::support::stores::At::sqlite().await;
    let insert = plain("INSERT INTO rate_limits (name, next_at, keep_until) VALUES ($1, 0, 0)");
    for round in 0..3 {
        let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
        // as an error does that nobody knows of: the transaction has ended behind the pool's back
        q(plain("ROLLBACK")).execute(tx.raw()).await.unwrap();
        drop(tx);
        let mut tx = at.store.begin(&Actor::system("test")).await.unwrap();
        q(insert).bind(format!("{round}")).execute(tx.raw()).await.unwrap();
        tx.commit().await.unwrap();
    }
    at.end().await;
}
