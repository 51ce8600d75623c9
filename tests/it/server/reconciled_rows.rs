//! Who takes away the marks or the key of the rows' MACs and changes rows gains nothing by `chancery reconcile`: rows are
//! compared with the key that made the MACs of every backup, and without a key an operator has to accept them by name.

use std::path::Path;

use chancery::access::password::Password;
use chancery::access::tokens::NewToken;
use chancery::access::users::NewUser;
use chancery::authority::reconcile::{ReconcileRequest, Reconciliation};
use chancery::authority::reconciled_rows::RowsAfter;
use chancery::error::{ErrorKind, Result};
use chancery::model::actor::{Actor, Role};
use chancery::model::user::UserName;
use chancery::store::engine::q;

use crate::on_both_servers;
use crate::server::upgrade::{SCHEMA_11, a_month_later, stored};
use crate::support::postgres;
use crate::support::server::{Backup, TestServer};
use crate::support::stores::plain;

const NO_MARKS: &str = "DELETE FROM shared_secrets WHERE name LIKE 'row-macs-required:%'";
const NO_KEY: &str = "DELETE FROM shared_secrets WHERE name IN ('row-macs', 'public-row-macs')";
const ADMIN: &str = "UPDATE tokens SET role = 'admin' WHERE name = 'edited'";

fn operator() -> Actor {
    Actor::host(0, "test")
}

/// A token: the name by which the audit calls it, and its secret.
async fn token(server: &TestServer, name: &str) -> (String, String) {
    let new = NewToken { name: name.into(), role: Some(Role::Viewer), ..NewToken::default() };
    let (token, secret) = server.app().access.create_token(&operator(), &new).await.unwrap();
    (format!("token:{}", token.id), secret.expose().to_owned())
}

async fn role(server: &TestServer, secret: &str) -> Result<Role> {
    server.app().access.forget();
    server.app().access.caller(secret, "test").await.map(|caller| caller.role())
}

async fn sql(server: &TestServer, text: &'static str) {
    q(plain(text)).execute(&server.app().store.db).await.unwrap();
}

async fn reconcile(server: &TestServer, request: ReconcileRequest) -> Result<Reconciliation> {
    let host = server.host().await;
    let done = host.authority.reconcile(&operator(), &request).await;
    for _ in 0..2 {
        server.app().remember().await.unwrap();
    }
    server.app().authority.keep_row_macs().await.unwrap();
    server.app().refresh().await.unwrap();
    done
}

fn confirm(name: &str) -> ReconcileRequest {
    ReconcileRequest { confirm: vec![name.into()], ..Default::default() }
}

fn accept() -> ReconcileRequest {
    ReconcileRequest { accept_rows: true, ..Default::default() }
}

on_both_servers! {
    async fn changed_rows_whose_marks_were_deleted_are_refused_after_reconcile(server) {
        let ((edited, secret), (_, honest)) = (token(server, "edited").await, token(server, "honest").await);
        for restarted in [false, true] {
            sql(server, NO_MARKS).await;
            sql(server, ADMIN).await;
            if restarted {
                server.restart().await;
            }
            server.app().remember().await.unwrap();
            assert!(server.app().store.rollback().is_some());
            role(server, &secret).await.unwrap_err();
            let done = reconcile(server, ReconcileRequest::default()).await.unwrap();
            assert_eq!(done.rows.after, RowsAfter::MarkedAgain);
            assert!(matches!(&done.rows.refused[..], [(object, _)] if *object == edited), "{:?}", done.rows);
            assert!(server.app().store.rollback().is_none() && server.app().store.row_macs().is_required());
            assert_eq!(role(server, &secret).await.unwrap_err().kind, ErrorKind::Forbidden);
            let refused = reconcile(server, confirm("edited")).await.unwrap_err();
            assert!(refused.detail.contains("its MAC does not fit"), "{}", refused.detail);
            reconcile(server, confirm("honest")).await.unwrap();
            assert_eq!(role(server, &honest).await.unwrap(), Role::Viewer);
            let findings = server.app().authority.fsck().await.unwrap().findings;
            assert!(matches!(&findings[..], [one] if one.starts_with(&edited)), "{findings:?}");
        }
        server.restart().await;
        assert_eq!(role(server, &secret).await.unwrap_err().kind, ErrorKind::Forbidden);
        assert_eq!(role(server, &honest).await.unwrap(), Role::Viewer);
        // by a deliberate word it is taken, and it waits like every other one
        server.app().authority.accept_row(&operator(), &edited).await.unwrap();
        role(server, &secret).await.unwrap_err();
        reconcile(server, confirm("edited")).await.unwrap();
        assert_eq!(role(server, &secret).await.unwrap(), Role::Admin);
    }

    async fn rows_whose_key_was_deleted_are_accepted_by_an_operator_alone(server) {
        let ((_, secret), (_, honest)) = (token(server, "edited").await, token(server, "honest").await);
        for marks_too in [true, false] {
            sql(server, NO_KEY).await;
            sql(server, ADMIN).await;
            if marks_too {
                sql(server, NO_MARKS).await;
                sql(server, "UPDATE tokens SET row_mac = NULL").await;
            }
            server.restart().await;
            let request = ReconcileRequest { restored: true, ..Default::default() };
            let refused = reconcile(server, request).await.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Conflict, "{}", refused.chain());
            let said = &refused.detail;
            assert!(said.contains("the key of the rows' MACs is missing") && said.contains("--accept-rows"), "{said}");
            for secret in [&secret, &honest] {
                role(server, secret).await.unwrap_err();
            }
            let dry = reconcile(server, ReconcileRequest { dry_run: true, ..accept() }).await.unwrap();
            assert_eq!(dry.rows.after, RowsAfter::Accepted);
            role(server, &honest).await.unwrap_err();
            assert_eq!(reconcile(server, accept()).await.unwrap().rows.after, RowsAfter::Accepted);
            assert!(server.app().store.row_macs().is_required());
            // nothing works before its name was said
            for secret in [&secret, &honest] {
                role(server, secret).await.unwrap_err();
            }
            for name in ["honest", "edited"] {
                reconcile(server, confirm(name)).await.unwrap();
            }
            assert_eq!(role(server, &honest).await.unwrap(), Role::Viewer);
            server.restart().await;
            assert_eq!(role(server, &honest).await.unwrap(), Role::Viewer);
            assert!(server.app().authority.fsck().await.unwrap().findings.is_empty());
        }
    }

    async fn accepted_rows_wait_although_nothing_was_lost(server) {
        let ((_, secret), (revoked, ended)) = (token(server, "edited").await, token(server, "ended").await);
        let access = &server.app().access;
        let user = |name: &str| NewUser {
            name: UserName::parse(name).unwrap(),
            role: Role::Admin,
            password: Password::new("purple harbour nine"),
        };
        access.create_user(&operator(), &user("alice")).await.unwrap();
        let mallory = access.create_user(&operator(), &user("mallory")).await.unwrap();
        access.disable_user(&operator(), mallory.id).await.unwrap();
        access.revoke_token(&operator(), revoked.strip_prefix("token:").unwrap().parse().unwrap()).await.unwrap();
        for text in [ADMIN, "UPDATE tokens SET revoked_at = NULL", "UPDATE users SET disabled_at = NULL"] {
            sql(server, text).await;
        }
        assert_eq!(reconcile(server, accept()).await.unwrap().rows.after, RowsAfter::Accepted);
        for secret in [&secret, &ended] {
            role(server, secret).await.unwrap_err();
        }
        assert_eq!(server.app().access.user(mallory.id).await.unwrap().status(), "suspended");
        for name in ["ended", "mallory"] {
            let refused = reconcile(server, confirm(name)).await.unwrap_err();
            assert!(refused.detail.contains("the audit says that"), "{name}: {}", refused.detail);
        }
        reconcile(server, confirm("edited")).await.unwrap();
        assert_eq!(role(server, &secret).await.unwrap(), Role::Admin);
    }

    async fn an_epoch_that_was_raised_by_sql_hides_nothing(server) {
        let (_, secret) = token(server, "edited").await;
        sql(server, "UPDATE installation SET epoch = epoch + 1").await;
        sql(server, NO_MARKS).await;
        sql(server, ADMIN).await;
        for restarted in [false, true] {
            if restarted {
                server.restart().await;
            }
            server.app().remember().await.unwrap();
            let rollback = server.app().store.rollback().expect("it is noticed");
            assert!(rollback.findings[0].contains("by something other than `chancery reconcile`"), "{rollback:?}");
            role(server, &secret).await.unwrap_err();
        }
        reconcile(server, ReconcileRequest::default()).await.unwrap();
        assert!(server.app().store.rollback().is_none());
        assert_eq!(role(server, &secret).await.unwrap_err().kind, ErrorKind::Forbidden);
    }
}

/// A backup that an earlier version made: it has no key and no marks, and its audit tells of no MAC.
async fn a_backup_without_macs(engine: &str) {
    let folder = stored(SCHEMA_11, engine);
    let mut server = TestServer::stored(&folder, engine == "postgres", a_month_later(&folder)).await;
    assert!(server.app().store.row_macs().is_required());
    let backup = old(&folder, engine).await;
    server.stop().await;
    // an anchor that remembers a key of the audit would not believe in an audit without one
    let anchor = server.data().join("anchor.json");
    let mut remembered: serde_json::Value = serde_json::from_slice(&std::fs::read(&anchor).unwrap()).unwrap();
    remembered.as_object_mut().unwrap().remove("audit_key");
    std::fs::write(&anchor, remembered.to_string()).unwrap();
    server.put_back(&backup).await;
    server.start_again().await;
    assert!(server.app().store.rollback().is_some());
    let done = reconcile(&server, ReconcileRequest::default()).await.unwrap();
    assert_eq!(done.rows.after, RowsAfter::BeforeMacs);
    assert!(!done.suspended.is_empty());
    assert!(server.app().store.rollback().is_none());
    server.end().await;
    backup.remove().await;
}

async fn old(folder: &Path, engine: &str) -> Backup {
    match engine {
        "postgres" => Backup::Database(postgres::load(&folder.join("dump.sql")).await),
        _ => Backup::File(std::fs::read(folder.join("chancery.db")).unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_time_before_macs_is_taken_as_it_stands_on_sqlite() {
    a_backup_without_macs("sqlite").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_time_before_macs_is_taken_as_it_stands_on_postgres() {
    a_backup_without_macs("postgres").await;
}
