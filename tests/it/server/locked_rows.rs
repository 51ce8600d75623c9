//! A server without its unlock key: what it compares all the same, and that whoever writes rows meanwhile gains nothing in
//! silence.

use chancery::model::actor::Actor;
use chancery::model::reason::RevocationReason;
use chancery::store::engine::{Db, q};

use crate::issuance::rig::issuance;
use crate::on_both_servers;
use crate::support::server::{Backup, TestServer};
use crate::support::stores::plain;

const LOCKED: [(&str, &str); 1] = [("CHANCERY_LOCKED", "true")];
const UNLOCKED: [(&str, &str); 1] = [("CHANCERY_LOCKED", "false")];

async fn sql(server: &TestServer, text: &'static str, der: &[u8]) {
    let query = q(plain(text));
    let query = if text.contains("$1") { query.bind(der) } else { query };
    query.execute(&server.app().store.db).await.unwrap();
}

/// In the database of a server that does not run.
async fn sql_of_stopped(server: &TestServer, text: &'static str) {
    let db = match server.database_url() {
        Some(url) => Db::open_postgres(url, 1, "somebody").await.unwrap(),
        None => Db::open_sqlite(&server.data().join("chancery.db")).await.unwrap(),
    };
    q(plain(text)).execute(&db).await.unwrap();
    db.close().await;
}

fn serves(server: &TestServer, der: &[u8]) -> bool {
    server.app().authority.snapshot().roots("tls").contains(&der)
}

async fn check_of_rows(server: &TestServer) -> String {
    let checks = server.app().authority.checks().await;
    checks.into_iter().find(|check| check.name == "rows").unwrap().detail
}

const A_ROOT: &str = "INSERT INTO anchors (domain, fingerprint, der, not_before, not_after, created_at, standing) \
     VALUES ('tls', $1, $1, 0, 9000000000000000, 0, 'added')";

on_both_servers! {
    async fn no_root_is_served_without_the_key_that_it_is_compared_with(server) {
        let der = rcgen::generate_simple_self_signed(vec!["root.test".to_owned()]).unwrap().cert.der().to_vec();
        sql(server, A_ROOT, &der).await;
        sql(server, "CREATE TABLE kept_secrets AS SELECT * FROM shared_secrets", &[]).await;
        for edit in [
            "DELETE FROM shared_secrets WHERE name = 'public-row-macs'",
            "UPDATE shared_secrets SET sealed = (SELECT k.sealed FROM kept_secrets k WHERE k.name = 'row-macs') WHERE name = 'public-row-macs'",
            "UPDATE shared_secrets SET name = 'row-macs-required:anchorz' WHERE name = 'row-macs-required:anchors'",
        ] {
            sql(server, edit, &[]).await;
            server.restart_with(&LOCKED).await;
            assert!(!serves(server, &der), "{edit}");
            server.app().authority.look_at_rows().await.unwrap();
            let (said, ready) = (check_of_rows(server).await, server.ops("/readyz").await.text());
            let is_lost = said.contains("the key of rows that bundles are made of is missing") && ready.contains("[-]rows");
            assert!(is_lost || said.contains("anchor:tls:"), "{edit}: {said} {ready}");
            sql(server, "DELETE FROM shared_secrets", &[]).await;
            sql(server, "INSERT INTO shared_secrets SELECT * FROM kept_secrets", &[]).await;
        }
        server.restart_with(&LOCKED).await;
        assert!(!serves(server, &der) && !server.app().authority.snapshot().roots("tls").is_empty());
        let ready = server.ops("/readyz").await.text();
        assert!(ready.contains("rows are compared with the audit, but few with their MACs"), "{ready}");
        server.restart_with(&UNLOCKED).await;
        assert!(!serves(server, &der));
    }

    async fn older_rows_and_missing_revocations_are_found_while_locked(server) {
        let app = server.app().clone();
        let actor = Actor::host(0, "test");
        let new = chancery::access::tokens::NewToken { name: "ended".into(), role: Some(chancery::model::actor::Role::Viewer), ..Default::default() };
        let (token, _) = app.access.create_token(&actor, &new).await.unwrap();
        sql(server, "CREATE TABLE kept_tokens AS SELECT * FROM tokens", &[]).await;
        app.access.revoke_token(&actor, token.id).await.unwrap();
        let issued = app.authority.issue(&actor, issuance(Default::default())).await.unwrap();
        let id = issued.certificate.id;
        app.authority.revoke(&actor, id, RevocationReason::Superseded).await.unwrap();
        sql(server, "DELETE FROM revocations", &[]).await;
        sql(server, "UPDATE tokens SET revoked_at = NULL, row_version = 1, row_mac = (SELECT k.row_mac FROM kept_tokens k WHERE k.id = tokens.id)", &[]).await;
        sql(server, "DELETE FROM row_floors", &[]).await;
        server.restart_with(&LOCKED).await;
        server.app().authority.look_at_rows().await.unwrap();
        let changed = server.app().store.row_macs().changed();
        assert!(changed.contains_key(&format!("token:{}", token.id)), "{changed:?}");
        assert!(changed.contains_key(&format!("certificate:{id}")), "{changed:?}");
        let said = check_of_rows(server).await;
        assert!(said.contains("the audit tells of 2") && said.contains("is revoked by the audit"), "{said}");
    }

    async fn an_epoch_that_was_raised_in_a_backup_is_noticed_while_locked(server) {
        let backup: Backup = server.backup().await;
        let path = server.data().join("anchor.json");
        let before = std::fs::read(&path).unwrap();
        server.app().authority.issue(&Actor::host(0, "test"), issuance(Default::default())).await.unwrap();
        server.stop().await;
        let after = std::fs::read(&path).unwrap();
        // what `chancery reconcile` begins is known without the unlock key
        server.put_back(&backup).await;
        let host = server.host_of_stopped().await;
        assert!(host.store.rollback().is_some());
        host.authority.reconcile(&Actor::host(0, "test"), &Default::default()).await.unwrap();
        host.store.db.close().await;
        drop(host);
        std::fs::write(&path, before).unwrap();
        server.restart_with(&LOCKED).await;
        assert_eq!(server.app().store.rollback(), None);
        // what somebody else raised is not
        server.stop().await;
        server.put_back(&backup).await;
        std::fs::write(&path, after).unwrap();
        sql_of_stopped(server, "UPDATE installation SET epoch = epoch + 1").await;
        sql_of_stopped(server, "INSERT INTO shared_secrets (name, sealed, created_at) SELECT 'status-epoch:1', sealed, created_at FROM shared_secrets WHERE name = 'public-row-macs'").await;
        server.restart_with(&LOCKED).await;
        let rollback = server.app().store.rollback().expect("nothing proves the epoch");
        assert!(rollback.findings.iter().any(|finding| finding.contains("epoch")), "{:?}", rollback.findings);
    }
}
