//! /livez, /readyz and what they tell to whom.

use std::time::Duration;

use chancery::authority::crl::CRL_EVERY;
use chancery::authority::hierarchy::plan::Wanted;
use chancery::clock::{Clock, days, minutes};
use chancery::model::actor::Actor;
use chancery::model::crl::CrlNumber;
use chancery::model::issuer::IssuerMove;
use chancery::store::crls;
use chancery::store::engine::{Row, q};

use crate::support::server::TestServer;
use crate::support::stores::plain;
use crate::support::wait;
use crate::support::wire::Reply;

/// Asks until the first CRLs and delegates are there.
async fn ready(server: &TestServer) -> Reply {
    wait::until("/readyz answers 200", async || {
        let reply = server.ops("/readyz?verbose").await;
        (reply.status == 200).then_some(reply)
    })
    .await
}

/// The same of CRLs and OCSP answers.
async fn status_ready(server: &TestServer) -> Reply {
    wait::until("/readyz/status answers 200", async || {
        let reply = server.ops("/readyz/status?verbose").await;
        (reply.status == 200).then_some(reply)
    })
    .await
}

crate::on_both_servers! {
    async fn each_key_list_and_clock_has_its_line(server) {
        let text = ready(server).await.text();
        for line in ["serving", "database", "write", "unlocked", "issuer/tls-1", "clock"] {
            assert!(text.contains(&format!("[+]{line} ok\n")), "{line} in\n{text}");
        }
        assert!(text.ends_with("readyz check passed\n") && !text.contains("crl/"), "{text}");
        let text = status_ready(server).await.text();
        for line in ["serving", "crl/tls-1", "crl/tls-root", "ocsp/tls-1"] {
            assert!(text.contains(&format!("[+]{line} ok\n")), "{line} in\n{text}");
        }
        assert_eq!(server.ops("/readyz").await.text(), "ok\n");
        assert_eq!(server.http("/livez").await.text(), "ok\n");
    }

    async fn a_clock_that_is_wrong_is_told_and_can_be_excluded(server) {
        ready(server).await;
        server.clock.jump(-600);
        let reply = server.ops("/readyz").await;
        assert_eq!(reply.status, 503);
        let other = if server.app().store.db.is_postgres() { "the database's clock" } else { "the time that this CA" };
        let failure = format!("[-]clock failed: this server's clock is 10 minutes behind {other}");
        assert!(reply.text().contains(&failure), "{}", reply.text());
        assert_eq!(server.ops("/readyz?exclude=clock").await.status, 200);
        assert_eq!(server.ops("/readyz?exclude=database").await.status, 503);
        // whoever asks from outside learns that, and not why
        let public = server.http("/readyz?verbose").await;
        assert_eq!(public.status, 503);
        assert!(public.text().contains("[-]clock failed: reason withheld"), "{}", public.text());
        let secure = server.https("GET", "/readyz", &[], b"").await;
        assert_eq!((secure.status, secure.text()), (503, public.text()), "the layers leave it as it is");
    }

    async fn a_locked_server_says_so_and_goes_on_with_status(server) {
        ready(server).await;
        server.restart_with(&[("CHANCERY_LOCKED", "true")]).await;
        let text = server.ops("/readyz?verbose").await.text();
        assert!(text.contains("[-]unlocked failed: the server is locked"), "{text}");
        assert!(text.contains("[-]issuer/tls-1 failed: its key is not loaded: the server is locked"), "{text}");
        for line in ["database", "clock"] {
            assert!(text.contains(&format!("[+]{line} ok\n")), "{line} in\n{text}");
        }
        let text = status_ready(server).await.text();
        assert!(text.contains("[+]crl/tls-1 ok\n[+]crl/tls-root ok\n[+]ocsp/tls-1 ok\n"), "{text}");
        assert_eq!(server.ops("/readyz?exclude=unlocked&exclude=issuer").await.status, 200);
        assert_eq!(server.http("/readyz/status").await.status, 200);
        assert_eq!(server.http("/crl/tls-1.crl").await.status, 200);
    }

    async fn status_needs_the_crl_of_each_ca_whose_certificates_may_still_be_verified(server) {
        status_ready(server).await;
        let authority = &server.app().authority;
        issue(server, "a.lab.example").await;
        let host = server.host().await;
        let wanted = Wanted { domain: "tls".into(), ..Wanted::default() };
        host.authority.create_issuer(&operator(), &wanted, Some("tls-root")).await.unwrap();
        for step in [IssuerMove::Retire, IssuerMove::Remove] {
            authority.move_issuer(&operator(), "tls-1", step).await.unwrap();
            let text = status_ready(server).await.text();
            assert!(text.contains("[+]crl/tls-1 ok\n") && text.contains("[+]ocsp/tls-1 ok\n"), "{step:?}\n{text}");
        }
        // nobody signs another one while the server is locked
        server.restart_with(&[("CHANCERY_LOCKED", "true")]).await;
        status_ready(server).await;
        without_crls(server, "DELETE FROM crls WHERE issuer_id IN (SELECT id FROM issuers WHERE slug = 'tls-1')").await;
        without_crls(server, "DELETE FROM crls_ahead WHERE issuer_id IN (SELECT id FROM issuers WHERE slug = 'tls-1')").await;
        // what was served last goes on from memory, and from beside the anchor after a restart
        assert_eq!(server.http("/crl/tls-1.crl").await.status, 200);
        server.restart().await;
        assert_eq!(server.http("/crl/tls-1.crl").await.status, 200);
        server.stop().await;
        std::fs::remove_dir_all(server.data().join("anchor.crls")).unwrap();
        server.start_again().await;
        let reply = wait::until("/readyz/status answers 503", async || {
            let reply = server.ops("/readyz/status").await;
            (reply.status == 503).then_some(reply)
        })
        .await;
        assert!(reply.text().contains("[-]crl/tls-1 failed: issuer tls-1 has no CRL"), "{}", reply.text());
        assert!(reply.text().contains("`chancery serve`"), "{}", reply.text());
        // its last certificate has expired
        server.clock.advance(days(100));
        let text = server.ops("/readyz/status?verbose").await.text();
        assert!(!text.contains("/tls-1 ") && text.contains("/tls-2 "), "{text}");
    }

    async fn status_needs_the_crl_of_a_root(server) {
        status_ready(server).await;
        without_crls(server, "DELETE FROM crls_ahead WHERE issuer_id IN (SELECT id FROM issuers WHERE slug = 'tls-root')").await;
        let end = server.app().authority.current_crl("tls-root").await.unwrap().next_update;
        server.clock.advance((end + minutes(1)).since(server.clock.now()));
        let text = wait::until("the root's CRL alone is missing", async || {
            let reply = server.ops("/readyz/status?verbose").await;
            (reply.status == 503 && reply.text().contains("[+]crl/tls-1 ok")).then(|| reply.text())
        })
        .await;
        assert!(text.contains("[-]crl/tls-root failed: the newest one expired at"), "{text}");
        without_crls(server, "DELETE FROM crls WHERE issuer_id IN (SELECT id FROM issuers WHERE slug = 'tls-root')").await;
        // a probe beside another look-up is answered from memory
        let text = wait::until("the root's CRL is gone", async || {
            let text = server.ops("/readyz/status").await.text();
            text.contains("[-]crl/tls-root failed: issuer tls-root has no CRL").then_some(text)
        })
        .await;
        assert!(text.contains("run `chancery ca crl sign tls-root`"), "{text}");
        // another delegate is due by now too, which comes by itself
        assert_eq!(server.ops("/readyz/status?exclude=crl&exclude=ocsp").await.status, 200);
        server.host().await.authority.sign_crls(&operator(), "tls-root").await.unwrap();
        status_ready(server).await;
    }

    async fn a_web_process_runs_no_jobs_and_a_worker_serves_nothing_but_health(server) {
        let mut fresh = TestServer::start(server.database().await, &[("CHANCERY_ONLY", "web")]).await;
        ready(&fresh).await;
        let first = newest_crl(&fresh).await;
        // the next CRL is due, and nobody is there who makes one
        fresh.clock.advance(CRL_EVERY + minutes(1));
        for _ in 0..30 {
            assert_eq!(newest_crl(&fresh).await, first);
            wait::pause(Duration::from_millis(50)).await;
        }
        if !fresh.app().store.db.is_postgres() {
            // on SQLite the worker takes the place of the web process, on the same disk
            fresh.restart_with(&[("CHANCERY_ONLY", "worker")]).await;
            publishes(&fresh, first).await;
            assert!(!fresh.running().addresses.web);
            fresh.end().await;
            return;
        }
        let worker = fresh.replica_with(&[("CHANCERY_ONLY", "worker")]).await;
        publishes(&worker, first).await;
        assert!(!worker.running().addresses.web);
        worker.end().await;
        fresh.end().await;
    }
}

fn operator() -> Actor {
    Actor::host(0, "test")
}

async fn issue(server: &TestServer, name: &str) {
    crate::hierarchy::issue(&server.app().authority, "tls-server", None, &[name]).await.unwrap();
}

async fn without_crls(server: &TestServer, text: &'static str) {
    q(plain(text)).execute(&server.app().store.db).await.unwrap();
}

async fn newest_crl(server: &TestServer) -> CrlNumber {
    let app = server.app();
    let issuer = app.authority.snapshot().issuer("tls-1").unwrap().issuer.id;
    crls::newest(&app.store, issuer).await.unwrap().unwrap().number
}

async fn publishes(server: &TestServer, first: CrlNumber) {
    wait::until("another CRL", async || (newest_crl(server).await > first).then_some(())).await;
}

/// As a server that became a standby.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_no_writes_fails_readyz_until_it_takes_them_again() {
    let server = TestServer::postgres().await;
    ready(&server).await;
    let name: String = rows(&server, "SELECT CAST(current_database() AS TEXT) AS n").await[0].get("n").unwrap();
    let set = |value: &str| -> &'static str {
        format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}").leak()
    };
    let end = "SELECT COUNT(pg_terminate_backend(pid)) AS n FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for round in 0..2 {
        rows(&server, set("on")).await;
        rows(&server, end).await;
        let told = wait::until("/readyz answers 503", async || {
            let reply = server.ops("/readyz").await;
            reply.text().contains("[-]write failed").then_some(reply)
        })
        .await;
        assert_eq!(told.status, 503, "{round}");
        let why = "[-]write failed: the database takes no writes now";
        assert!(told.text().contains(why), "{round}: {}", told.text());
        let db = server.app().store.db.clone();
        // sessions may change it for themselves
        let mut tx = db.begin().await.unwrap();
        q(plain("SET TRANSACTION READ WRITE")).execute(&mut tx).await.unwrap();
        q(plain(set("off"))).execute(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        rows(&server, end).await;
        ready(&server).await;
    }
    server.end().await;
}

async fn rows(server: &TestServer, text: &'static str) -> Vec<Row> {
    q(plain(text)).fetch_all(&server.app().store.db).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_gone_fails_readyz_and_not_livez() {
    let mut server = TestServer::sqlite().await;
    ready(&server).await;
    server.app().store.db.close().await;
    assert_eq!(server.ops("/livez").await.status, 200);
    let reply = server.ops("/readyz").await;
    assert_eq!(reply.status, 503);
    assert!(reply.text().contains("[-]database failed: "), "{}", reply.text());
    server.running.take().unwrap().stop().await;
}
