//! Older rows that are put back by SQL with their good MACs, and with them what remembers that they ended: they are refused
//! where they are written on, where the hierarchy is read and after the look at every row, and stay findings.

use std::sync::Arc;

use chancery::access::tokens::NewToken;
use chancery::app::App;
use chancery::authority::checks::Severity;
use chancery::authority::reconcile::ReconcileRequest;
use chancery::error::ErrorKind;
use chancery::model::actor::{Actor, Role};
use chancery::model::id::{GrantId, UserId};
use chancery::model::issuer::IssuerMove;
use chancery::model::user::{User, UserName};
use chancery::store::engine::q;
use chancery::store::{guards, users};

use crate::on_both_servers;
use crate::support::server::TestServer;
use crate::support::stores::plain;

fn operator() -> Actor {
    Actor::host(0, "test")
}

async fn sql(server: &TestServer, texts: &[&'static str]) {
    for text in texts {
        q(plain(text)).execute(&server.app().store.db).await.unwrap();
    }
}

/// A user of its own, as an operator.
async fn user(app: &App) -> (UserId, String) {
    let now = app.clock.now();
    let user = User {
        id: UserId::new(now, app.entropy.as_ref()).unwrap(),
        name: UserName::parse("somebody").unwrap(),
        role: Role::Operator,
        created_by: "test".into(),
        created_at: now,
        password_changed_at: now,
        last_sign_in_at: None,
        disabled_at: None,
        suspended_at: None,
        failed_sign_ins: 0,
    };
    let mut tx = app.store.begin(&operator()).await.unwrap();
    users::insert(&mut tx, &user, "no hash").await.unwrap();
    tx.commit().await.unwrap();
    (user.id, user.object())
}

/// A grant that can be used nine times, and its token.
async fn grant(app: &App) -> (GrantId, String) {
    let new = NewToken {
        name: "counted".into(),
        role: Some(Role::Requester),
        allow_names: Some(vec!["counted.test".into()]),
        max_count: Some(9),
        ..NewToken::default()
    };
    let (token, secret) = app.access.create_token(&operator(), &new).await.unwrap();
    (token.grant_id.unwrap(), secret.expose().to_owned())
}

async fn use_grant(app: &App, grant: GrantId) -> chancery::error::Result<bool> {
    let mut tx = app.store.begin(&operator()).await?;
    let used = guards::use_grant(&mut tx, grant, app.clock.now()).await?;
    tx.commit().await?;
    Ok(used)
}

async fn set_role(app: &App, id: UserId, role: Role) -> chancery::error::Result<bool> {
    let mut tx = app.store.begin(&operator()).await?;
    let set = users::set_role(&mut tx, id, role).await?;
    tx.commit().await?;
    Ok(set)
}

/// What the look at every row of a process that began just now says of the object.
async fn looked(server: &TestServer, object: &str) -> Option<String> {
    let app: Arc<App> = server.host().await;
    app.authority.compare_rows().await.unwrap();
    app.store.row_macs().changed().remove(object).map(|row| row.what)
}

const KEEP_USERS: &str = "CREATE TABLE kept_users AS SELECT * FROM users";
const PUT_USERS_BACK: [&str; 2] = [
    "UPDATE users SET disabled_at = (SELECT k.disabled_at FROM kept_users k WHERE k.id = users.id), \
     role = (SELECT k.role FROM kept_users k WHERE k.id = users.id), row_version = (SELECT k.row_version FROM kept_users k WHERE k.id = users.id), \
     row_mac = (SELECT k.row_mac FROM kept_users k WHERE k.id = users.id)",
    "DELETE FROM row_floors",
];
const KEEP_GRANTS: &str = "CREATE TABLE kept_grants AS SELECT * FROM grants";
const PUT_COUNT_BACK: &str = "UPDATE grants SET used_count = (SELECT k.used_count FROM kept_grants k WHERE k.id = grants.id), \
    count_version = (SELECT k.count_version FROM kept_grants k WHERE k.id = grants.id), \
    count_mac = (SELECT k.count_mac FROM kept_grants k WHERE k.id = grants.id)";

on_both_servers! {
    async fn a_row_that_was_put_back_is_not_written_on(server) {
        let app = server.app().clone();
        let (id, object) = user(&app).await;
        let (grant, _) = grant(&app).await;
        assert!(use_grant(&app, grant).await.unwrap());
        sql(server, &[KEEP_USERS, KEEP_GRANTS]).await;
        app.access.disable_user(&operator(), id).await.unwrap();
        for _ in 0..2 {
            assert!(use_grant(&app, grant).await.unwrap());
        }
        sql(server, &PUT_USERS_BACK).await;
        sql(server, &[PUT_COUNT_BACK]).await;
        let refused = app.access.enable_user(&operator(), id).await.unwrap_err();
        assert!(refused.kind == ErrorKind::Forbidden && refused.detail.contains(&object), "{}", refused.detail);
        let refused = use_grant(&app, grant).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Forbidden);
        assert!(refused.detail.contains(&format!("grant_count:{grant}")), "{}", refused.detail);
        // what takes power away works, and leaves a row that counts no more
        app.access.disable_user(&operator(), id).await.unwrap();
        let name = UserName::parse("somebody").unwrap();
        assert_eq!(users::find_by_name(&app.store, &name).await.unwrap_err().kind, ErrorKind::Forbidden);
        assert!(looked(server, &object).await.is_some());
    }

    async fn a_row_that_was_put_back_and_written_on_stays_a_finding(server) {
        let app = server.app().clone();
        let (id, object) = user(&app).await;
        let (grant, bearer) = grant(&app).await;
        let count = format!("grant_count:{grant}");
        assert!(use_grant(&app, grant).await.unwrap());
        sql(server, &[KEEP_USERS, KEEP_GRANTS]).await;
        app.access.disable_user(&operator(), id).await.unwrap();
        assert!(use_grant(&app, grant).await.unwrap());
        sql(server, &PUT_USERS_BACK).await;
        sql(server, &[PUT_COUNT_BACK]).await;
        // a process that has not read the audit yet writes them on, above what the audit tells of
        let other = server.host().await;
        for role in [Role::Viewer, Role::Operator] {
            assert!(set_role(&other, id, role).await.unwrap());
        }
        for _ in 0..3 {
            assert!(use_grant(&other, grant).await.unwrap());
        }
        for object in [&object, &count] {
            let what = looked(server, object).await.unwrap_or_default();
            assert!(what.contains("tells of its version") && what.contains("twice"), "{object} {what}");
        }
        let findings = app.authority.fsck().await.unwrap().findings;
        assert_eq!(findings.len(), 2, "{findings:?}");
        app.authority.look_at_rows().await.unwrap();
        let checks = app.authority.checks().await;
        let named = |object: &str| checks.iter().any(|check| check.severity == Severity::Critical && check.detail.contains(object));
        assert!(named(&object) && named(&count));
        let ready = server.ops("/readyz").await.text();
        assert!(ready.contains("; and 1 more, which `chancery doctor` names"), "{ready}");
        assert_eq!(use_grant(&app, grant).await.unwrap_err().kind, ErrorKind::Forbidden);
        app.access.forget();
        assert!(app.access.caller(&bearer, "test").await.is_ok(), "the grant itself is as it was");

        // what the audit says ended is accepted no more; another row by one word, which holds
        let refused = app.authority.accept_row(&operator(), &object).await.unwrap_err();
        assert!(refused.kind == ErrorKind::Conflict && refused.detail.contains("was revoked, disabled"), "{}", refused.detail);
        app.authority.accept_row(&operator(), &count).await.unwrap();
        assert_eq!(looked(server, &count).await, None);
        assert!(use_grant(&app, grant).await.unwrap());
        sql(server, &[PUT_COUNT_BACK]).await;
        assert!(looked(server, &count).await.is_some(), "once more");
    }

    async fn an_older_row_is_accepted_by_one_word(server) {
        let app = server.app().clone();
        let (grant, _) = grant(&app).await;
        sql(server, &[KEEP_GRANTS]).await;
        for _ in 0..4 {
            assert!(use_grant(&app, grant).await.unwrap());
        }
        sql(server, &[PUT_COUNT_BACK]).await;
        let count = format!("grant_count:{grant}");
        app.authority.accept_row(&operator(), &count).await.unwrap();
        assert_eq!(looked(server, &count).await, None);
        let nothing = app.authority.accept_row(&operator(), &count).await.unwrap_err();
        assert!(nothing.detail.contains("there is nothing to accept"), "{}", nothing.detail);
        assert!(use_grant(&app, grant).await.unwrap());
        assert_eq!(app.authority.fsck().await.unwrap().findings, Vec::<String>::new());
    }

    async fn no_time_in_the_database_keeps_the_audit_from_being_read(server) {
        let app = server.app().clone();
        let (id, object) = user(&app).await;
        sql(server, &[KEEP_USERS]).await;
        app.access.disable_user(&operator(), id).await.unwrap();
        sql(server, &PUT_USERS_BACK).await;
        sql(server, &["UPDATE shared_secrets SET created_at = created_at + 315360000000000"]).await;
        let what = looked(server, &object).await.unwrap_or_default();
        assert!(what.contains("the audit tells of 2"), "{what}");
        // nor one event that makes no sense
        sql(server, &["UPDATE audit_events SET hash = writer WHERE action = 'rows.written'"]).await;
        assert!(looked(server, &object).await.is_some());
    }

    async fn an_issuer_and_a_root_that_were_put_back_have_no_power_from_the_start(server) {
        let app = server.app().clone();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut root = rcgen::CertificateParams::new(Vec::new()).unwrap();
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        root.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        let root = root.self_signed(&key).unwrap().der().to_vec();
        app.authority.add_anchor(&operator(), "tls", &root).await.unwrap();
        sql(server, &["CREATE TABLE kept_issuers AS SELECT * FROM issuers", "CREATE TABLE kept_anchors AS SELECT * FROM anchors"]).await;
        let print = chancery::access::secret::sha256(&root);
        app.authority.remove_anchor(&operator(), "tls", &print).await.unwrap();
        app.authority.move_issuer(&operator(), "tls-1", IssuerMove::Revoke).await.unwrap();
        let has_power = |app: &App| {
            let snapshot = app.authority.snapshot();
            let issuer = snapshot.issuer("tls-1").unwrap();
            let signs = snapshot.may_sign(issuer, app.clock.now()).is_ok() && issuer.key.is_some() && issuer.refused.is_none();
            (signs, snapshot.roots("tls").contains(&root.as_slice()))
        };
        assert_eq!(has_power(&app), (false, false));
        sql(server, &[
            "UPDATE issuers SET status = (SELECT k.status FROM kept_issuers k WHERE k.id = issuers.id), \
             state = (SELECT k.state FROM kept_issuers k WHERE k.id = issuers.id), former = (SELECT k.former FROM kept_issuers k WHERE k.id = issuers.id), \
             is_default = (SELECT k.is_default FROM kept_issuers k WHERE k.id = issuers.id), \
             row_version = (SELECT k.row_version FROM kept_issuers k WHERE k.id = issuers.id), row_mac = (SELECT k.row_mac FROM kept_issuers k WHERE k.id = issuers.id)",
            "DELETE FROM anchors",
            "INSERT INTO anchors SELECT * FROM kept_anchors",
            "DELETE FROM row_floors",
            "DELETE FROM revocations",
        ]).await;
        // of a process that begins, nobody has looked at the rows yet
        let other = server.host().await;
        assert_eq!(has_power(&other), (false, false));
        app.authority.reload().await.unwrap();
        assert_eq!(has_power(&app), (false, false));
        let refused = app.authority.snapshot().issuer("tls-1").unwrap().refused.clone().unwrap();
        assert!(refused.contains("as it was before the audit event issuer.revoked"), "{refused}");
        let objects = app.store.row_macs().changed();
        let of = |kind: &str| objects.keys().find(|object| object.starts_with(kind)).unwrap().clone();
        for object in [of("issuer:"), of("anchor:tls:")] {
            let accepted = app.authority.accept_row(&operator(), &object).await.unwrap_err();
            assert!(accepted.detail.contains("was revoked, disabled, removed or ended"), "{}", accepted.detail);
        }
    }

    async fn a_session_that_ended_is_found_without_what_remembers_its_end(server) {
        use chancery::access::session::Cookie;
        use chancery::clock::hours;
        use chancery::model::id::SessionId;
        use chancery::model::user::Session;
        use chancery::store::sessions;
        let app = server.app().clone();
        let (user_id, _) = user(&app).await;
        let now = app.clock.now();
        let mut made = Vec::new();
        for n in 1..=3 {
            let cookie = format!("{n:064x}");
            let session = Session {
                id: SessionId::new(now, app.entropy.as_ref()).unwrap(),
                user_id,
                created_at: now,
                last_seen_at: now,
                expires_at: now + hours(12),
                address: String::new(),
                user_agent: String::new(),
            };
            let mut tx = app.store.begin(&operator()).await.unwrap();
            sessions::insert(&mut tx, &session, &chancery::access::secret::sha256(cookie.as_bytes())).await.unwrap();
            tx.commit().await.unwrap();
            made.push((session.id, cookie));
        }
        let signed = |n: usize| Cookie::parse(&made[n].1).unwrap();
        sql(server, &["CREATE TABLE kept_sessions AS SELECT * FROM sessions"]).await;
        let first = app.access.signed_in(&signed(0), "test").await.unwrap().unwrap();
        app.access.sign_out(&first).await.unwrap();
        let second = app.access.signed_in(&signed(1), "test").await.unwrap().unwrap();
        app.access.sign_out_everywhere(&second).await.unwrap();
        sql(server, &["DELETE FROM sessions", "INSERT INTO sessions SELECT * FROM kept_sessions", "DELETE FROM row_floors"]).await;
        app.authority.look_at_rows().await.unwrap();
        for (n, (id, _)) in made.iter().enumerate() {
            let object = format!("session:{id}");
            app.access.forget();
            let used = app.access.signed_in(&signed(n), "test").await.unwrap_err();
            assert!(used.detail.contains("after it had ended"), "{n}: {}", used.detail);
            let accepted = app.authority.accept_row(&operator(), &object).await.unwrap_err();
            assert!(accepted.kind == ErrorKind::Conflict && accepted.detail.contains("or ended"), "{}", accepted.detail);
        }
        assert_eq!(app.authority.fsck().await.unwrap().findings.len(), 3);
    }
}

/// After a failover that loses commits versions are given anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_known_of_versions_ends_with_the_history_of_a_database() {
    let server = TestServer::postgres().await;
    let app = server.app().clone();
    let (id, object) = user(&app).await;
    let copy = server.copy().await;
    for role in [Role::Viewer, Role::Operator] {
        app.access.set_role(&operator(), id, role).await.unwrap();
    }
    app.authority.look_at_rows().await.unwrap();
    server.put_back(&copy).await;
    while app.store.rollback().is_none() {
        let _ = app.authority.remember().await;
    }
    let request = ReconcileRequest { confirm: vec!["somebody".into()], ..ReconcileRequest::default() };
    server.host().await.authority.reconcile(&operator(), &request).await.unwrap();
    while app.store.rollback().is_some() {
        let _ = app.authority.remember().await;
    }
    app.authority.look_at_rows().await.unwrap();
    assert_eq!(app.store.row_macs().changed().get(&object), None);
    app.access.set_role(&operator(), id, Role::Viewer).await.unwrap();
    server.end().await;
}
