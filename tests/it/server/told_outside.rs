//! What lies outside of the database: the audit's key in the anchor, and what a running server cannot write there, as commands on
//! the host tell it.

use chancery::authority::audit_check::KnownOutside;
use chancery::authority::checks::{Check, Severity};
use chancery::authority::reconcile::ReconcileRequest;
use chancery::clock::hours;
use chancery::model::actor::Actor;
use chancery::model::anchor::Anchor;
use chancery::model::audit::AuditEvent;
use chancery::store::engine::q;

use crate::on_both_servers;
use crate::support::server::TestServer;
use crate::support::stores::plain;

async fn check(app: &chancery::app::App, name: &str) -> Check {
    app.authority.checks().await.into_iter().find(|check| check.name == name).unwrap()
}

async fn happen(server: &TestServer) {
    let event = AuditEvent::done("test.made", "", serde_json::json!({}));
    server.app().store.record(&Actor::system("test"), event).await.unwrap();
}

async fn sql(server: &TestServer, text: &'static str) -> u64 {
    q(plain(text)).execute(&server.app().store).await.unwrap()
}

async fn rows(server: &TestServer, text: &'static str) -> i64 {
    q(plain(text)).fetch_one(&server.app().store).await.unwrap().get("n").unwrap()
}

fn remembered(server: &TestServer) -> Option<String> {
    let text = std::fs::read(server.data().join("anchor.json")).unwrap();
    serde_json::from_slice::<Anchor>(&text).unwrap().figures.audit_key
}

async fn fingerprint(server: &TestServer) -> Option<String> {
    server.app().authority.audit_key().await.unwrap().map(|key| key.fingerprint())
}

const CLEAR: [&str; 2] = ["UPDATE installation SET audit_seal = NULL", "DELETE FROM audit_checkpoints"];

on_both_servers! {
    async fn a_cleared_seal_is_noticed_by_the_next_start_without_a_key(server) {
        server.app().remember().await.unwrap();
        let key = fingerprint(server).await.unwrap();
        assert_eq!(remembered(server).as_ref(), Some(&key));
        for text in CLEAR {
            sql(server, text).await;
        }
        // also before the next look: no other key is made
        let host = server.host().await;
        server.clock.advance(hours(2));
        let words = format!("the audit's key {key} is remembered, and its seal in the row of the installation is gone or changed");
        server.restart().await;
        let found = check(server.app(), "history").await;
        assert!(found.severity == Severity::Critical && found.detail.contains(&words), "{}", found.detail);
        let verdict = server.app().authority.verify_audit(KnownOutside::default()).await.unwrap();
        assert!(verdict.findings.contains(&words), "{verdict:?}");
        assert!(!server.app().authority.checkpoint_due().await.unwrap());
        assert!(host.authority.checkpoint_due().await.is_err() || fingerprint(server).await.is_none());
        assert_eq!(rows(server, "SELECT COUNT(*) AS n FROM audit_checkpoints").await, 0);

        // an operator who knows why goes on with another key, which is remembered then
        let host = server.host().await;
        let done = host.authority.reconcile(&Actor::host(0, "test"), &ReconcileRequest::default()).await.unwrap();
        assert!(done.findings.contains(&words), "{done:?}");
        for _ in 0..2 {
            server.app().remember().await.unwrap();
        }
        // the next checkpoint, also by the server's periodic work, is made with another key
        assert_ne!(remembered(server).as_ref(), Some(&key));
        server.clock.advance(hours(2));
        happen(server).await;
        server.app().authority.checkpoint_due().await.unwrap();
        server.app().remember().await.unwrap();
        let next = fingerprint(server).await;
        assert!(next.is_some() && next.as_ref() != Some(&key));
        assert_eq!(remembered(server), next);
        assert!(server.app().store.rollback().is_none());
    }

    async fn another_seal_is_noticed_while_the_server_runs(server) {
        server.app().remember().await.unwrap();
        let key = fingerprint(server).await.unwrap();
        let kept = "CREATE TABLE kept_seal AS SELECT audit_seal FROM installation";
        sql(server, kept).await;
        for text in ["UPDATE installation SET audit_seal = key_check", "UPDATE installation SET audit_seal = NULL"] {
            sql(server, text).await;
            server.app().remember().await.unwrap();
            let found = server.app().store.rollback().expect("it is noticed");
            assert!(found.findings.iter().any(|finding| finding.contains(&key)), "{found:?}");
            sql(server, "UPDATE installation SET audit_seal = (SELECT audit_seal FROM kept_seal)").await;
        }
        sql(server, "DROP TABLE kept_seal").await;
    }

    async fn what_a_server_cannot_write_outside_is_told_on_the_host(server) {
        let nowhere = server.data().join("nowhere/anchor.json").display().to_string();
        // of two starts in one instant nobody knows which was the last
        server.clock.advance(hours(1));
        server.restart_with(&[("CHANCERY_ANCHOR", &nowhere)]).await;
        let url = server.app().urls.external.to_string();
        server.app().authority.target_failures.set("file:/backup/notes", Some("No space left on device".into()));
        server.app().authority.tell_trouble().await.unwrap();
        let host = server.host().await;
        let (audit, history) = (check(&host, "audit").await, check(&host, "history").await);
        let words = format!("audit checkpoints do not reach file:/backup/notes from the server {url}: No space left on device");
        assert!(audit.severity == Severity::Warning && audit.detail.contains(&words), "{}", audit.detail);
        let words = format!("the server {url} cannot write its anchor {nowhere}");
        assert!(history.severity == Severity::Critical && history.detail.contains(&words), "{}", history.detail);
        let own = check(server.app(), "audit").await;
        assert_eq!(own.detail.matches("do not reach").count(), 1, "once: {}", own.detail);

        // when all is well again, and when the server ends, nothing is left
        std::fs::create_dir(server.data().join("nowhere")).unwrap();
        server.app().remember().await.unwrap();
        server.app().authority.target_failures.set("file:/backup/notes", None);
        server.app().authority.tell_trouble().await.unwrap();
        let host = server.host().await;
        assert_eq!(check(&host, "audit").await.severity, Severity::Ok);
        assert!(!check(&host, "history").await.detail.contains("cannot write its anchor"));
        server.app().authority.target_failures.set("file:/backup/notes", Some("No space left on device".into()));
        server.app().authority.tell_trouble().await.unwrap();
        assert_eq!(rows(server, "SELECT COUNT(*) AS n FROM servers WHERE trouble <> ''").await, 1);
        server.restart().await;
        assert_eq!(rows(server, "SELECT COUNT(*) AS n FROM servers WHERE trouble <> ''").await, 0);

        // a row that makes no sense hides no check
        sql(server, "UPDATE servers SET trouble = 'x'").await;
        assert_eq!(check(server.app(), "audit").await.severity, Severity::Ok, "its own row is not read");
    }
}
