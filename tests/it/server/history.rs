//! A database from yesterday: it is noticed, nothing is signed, nobody is told "good" who may be revoked, and after
//! `chancery reconcile` work goes on without a CRL number that was given before.

use std::path::PathBuf;

use chancery::access::grants::NewGrant;
use chancery::access::tokens::NewToken;
use chancery::authority::ROLLED_BACK;
use chancery::authority::audit_check::KnownOutside;
use chancery::authority::checks::{Check, Severity};
use chancery::authority::issue::Issued;
use chancery::authority::reconcile::{ReconcileRequest, ReconciledCrl, Reconciliation};
use chancery::clock::days;
use chancery::error::{ErrorKind, Result};
use chancery::model::actor::{Actor, Role};
use chancery::model::anchor::Anchor;
use chancery::model::crl::CrlNumber;
use chancery::model::reason::RevocationReason;
use chancery::pki::crl_facts::CrlFacts;
use chancery::pki::ocsp_facts::OcspFailure;
use chancery::registration::external_accounts::{Bounds, GivenKey, NewEabKey};
use chancery::store::engine::{Row, q};
use chancery::store::suspensions::Suspended;
use serde_json::Value;

use crate::issuance::ocsp::{Said, asked};
use crate::issuance::rig::issuance;
use crate::on_both_servers;
use crate::support::server::{Backup, TestServer};
use crate::support::stores::plain;

const CRL: &str = "/crl/tls-1.crl";
const LIST: &str = "/crl/domain/tls.crl";

fn operator() -> Actor {
    Actor::host(0, "test")
}

async fn issue(server: &TestServer) -> Result<Issued> {
    server.app().authority.issue(&operator(), issuance(Default::default())).await
}

async fn revoke(server: &TestServer, issued: &Issued) {
    let (authority, id) = (&server.app().authority, issued.certificate.id);
    authority.revoke(&operator(), id, RevocationReason::KeyCompromise).await.unwrap();
    publish(server).await;
}

async fn publish(server: &TestServer) {
    server.drain_jobs().await;
    server.app().authority.publish_due().await.unwrap();
    server.app().authority.publish_domains_due().await.unwrap();
}

/// A token of an administrator: its secret.
async fn token(server: &TestServer, name: &str) -> String {
    let new = NewToken { name: name.into(), role: Some(Role::Admin), ..NewToken::default() };
    let (_, secret) = server.app().access.create_token(&operator(), &new).await.unwrap();
    secret.expose().to_owned()
}

async fn works(server: &TestServer, token: &str) -> bool {
    let bearer = format!("Bearer {token}");
    let reply = server.https("GET", "/api/v1/issuers", &[("Authorization", &bearer)], b"").await;
    assert!(matches!(reply.status, 200 | 401), "{}", reply.status);
    reply.status == 200
}

async fn crl(server: &TestServer, path: &str) -> Vec<u8> {
    let reply = server.http(path).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    reply.body
}

fn number(der: &[u8]) -> CrlNumber {
    CrlFacts::parse(der).unwrap().crl_number().unwrap()
}

fn lists(der: &[u8], issued: &Issued) -> bool {
    let serial = issued.certificate.serial.octets();
    CrlFacts::parse(der).unwrap().entries().any(|entry| entry.serial == serial)
}

async fn ocsp(server: &TestServer, issued: &Issued) -> Said {
    let authority = &server.app().authority;
    authority.poll_revocations().await.unwrap();
    asked(authority, "tls-1", &issued.certificate.serial).await
}

async fn check(server: &TestServer) -> Check {
    let checks = server.app().authority.checks().await;
    checks.into_iter().find(|check| check.name == "history").unwrap()
}

fn anchor_path(server: &TestServer) -> PathBuf {
    server.data().join("anchor.json")
}

fn anchor(server: &TestServer) -> Anchor {
    serde_json::from_slice(&std::fs::read(anchor_path(server)).unwrap()).unwrap()
}

async fn rows(server: &TestServer, text: &'static str) -> i64 {
    q(plain(text)).fetch_one(&server.app().store).await.unwrap().get("n").unwrap()
}

/// Time, reason and end of a revocation as they stand in its row.
async fn rows_of(server: &TestServer, issued: &Issued) -> Vec<(i64, String, i64)> {
    let text = "SELECT revoked_at, reason, not_after FROM revocations WHERE serial = $1";
    let query = q(plain(text)).bind(issued.certificate.serial.octets().to_vec());
    let rows = query.fetch_all(&server.app().store).await.unwrap();
    let read =
        |row: &Row| (row.get("revoked_at").unwrap(), row.get("reason").unwrap(), row.get("not_after").unwrap());
    rows.iter().map(read).collect()
}

/// What `chancery reconcile` does on this host, and what the server then finds.
async fn reconcile(server: &TestServer, request: ReconcileRequest) -> Result<Reconciliation> {
    let host = server.host().await;
    let done = host.authority.reconcile(&operator(), &request).await;
    for _ in 0..2 {
        server.app().remember().await.unwrap();
    }
    server.app().refresh().await.unwrap();
    done
}

/// Nothing signs, nobody is told "good", and each place says it in the same sentence.
async fn is_noticed(server: &TestServer) {
    let refused = issue(server).await.unwrap_err();
    assert_eq!((refused.kind, refused.detail.as_ref()), (ErrorKind::Unavailable, ROLLED_BACK));
    assert!(refused.retry_after.is_some());
    let health = server.ops("/readyz").await;
    assert_eq!(health.status, 503);
    assert!(health.text().contains(&format!("[-]history failed: {ROLLED_BACK}")), "{}", health.text());
    let check = check(server).await;
    assert_eq!(check.severity, Severity::Critical);
    assert!(check.detail.starts_with(ROLLED_BACK) && check.detail.contains("is remembered"), "{}", check.detail);
    let authority = &server.app().authority;
    assert!(
        authority
            .verify_audit(KnownOutside::default())
            .await
            .unwrap()
            .findings
            .iter()
            .any(|finding| finding == ROLLED_BACK)
    );
    // the servers of other tests set the same gauge once a second
    crate::support::wait::until("the metric says so", async || {
        server.app().remember().await.unwrap();
        server.ops("/metrics").await.text().contains("chancery_database_rolled_back 1").then_some(())
    })
    .await;
    assert_eq!(authority.publish_due().await.unwrap(), 0);
    assert!(!authority.checkpoint_due().await.unwrap());
}

async fn is_whole(server: &TestServer) {
    let check = check(server).await;
    assert_eq!(check.severity, Severity::Ok, "{}", check.detail);
    assert!(server.app().store.rollback().is_none());
    issue(server).await.unwrap();
}

async fn is_whole_after_reconcile(server: &TestServer) {
    assert!(server.app().store.rollback().is_none());
    issue(server).await.unwrap();
}

/// What happened after a backup was taken.
struct Lost {
    backup: Backup,
    /// Issued before the backup and revoked after it.
    stolen: Issued,
    /// Issued before the backup, and good.
    good: Issued,
    /// Issued after the backup.
    unknown: Issued,
    /// Revoked after the backup.
    token: String,
    /// Good all the time.
    other_token: String,
    crl: Vec<u8>,
    list: Vec<u8>,
}

async fn lose(server: &mut TestServer) -> Lost {
    let (stolen, good) = (issue(server).await.unwrap(), issue(server).await.unwrap());
    let (secret, other_token) = (token(server, "stolen").await, token(server, "ci").await);
    publish(server).await;
    let backup = server.backup().await;
    let unknown = issue(server).await.unwrap();
    revoke(server, &stolen).await;
    let tokens = server.app().access.tokens(None, 10).await.unwrap();
    let id = tokens.iter().find(|token| token.name == "stolen").unwrap().id;
    server.app().access.revoke_token(&operator(), id).await.unwrap();
    assert!(!works(server, &secret).await && works(server, &other_token).await);
    assert_eq!(ocsp(server, &good).await, Said::Good);
    let (crl, list) = (crl(server, CRL).await, crl(server, LIST).await);
    assert!(lists(&crl, &stolen) && lists(&list, &stolen));
    Lost { backup, stolen, good, unknown, token: secret, other_token, crl, list }
}

on_both_servers! {
    async fn a_restored_database_is_noticed_and_reconciled(server) {
        let lost = lose(server).await;
        server.restore(&lost.backup).await;
        for restarted in [false, true] {
            if restarted {
                server.restart().await;
            }
            is_noticed(server).await;
            // status goes on with what was published last
            assert_eq!(crl(server, CRL).await, lost.crl);
            assert_eq!(crl(server, LIST).await, lost.list);
            assert!(matches!(ocsp(server, &lost.stolen).await, Said::Revoked(_, Some(1))));
            assert_eq!(ocsp(server, &lost.good).await, Said::Failed(OcspFailure::TryLater));
            assert_eq!(ocsp(server, &lost.unknown).await, Said::Failed(OcspFailure::TryLater));
            assert!(!works(server, &lost.token).await && !works(server, &lost.other_token).await);
        }
        assert_eq!(rows(server, "SELECT COUNT(*) AS n FROM sessions").await, 0);

        // shown first, and nothing changes
        let dry = ReconcileRequest { dry_run: true, ..ReconcileRequest::default() };
        let shown = reconcile(server, dry).await.unwrap();
        assert!(shown.epoch.is_some() && !shown.findings.is_empty());
        assert_eq!(shown.missing.certificates, 1, "{:?}", shown.missing);
        for lack in ["the newest 1 change to users, tokens", "the newest 1 change to revocations is missing"] {
            assert!(shown.findings.iter().any(|finding| finding.starts_with(lack)), "{:?}", shown.findings);
        }
        assert_eq!(shown.suspended.iter().filter(|one| one.kind() == "token").count(), 2);
        // what the server took in before is told, and not as nothing
        let is_taken = |crl: &ReconciledCrl| crl.taken_at.is_some() && crl.revocations == 1 && crl.unknown == 0;
        assert!(shown.crls.iter().any(is_taken), "{:?}", shown.crls);
        is_noticed(server).await;

        let done = reconcile(server, ReconcileRequest::default()).await.unwrap();
        assert!(done.crls.iter().any(is_taken), "{:?}", done.crls);
        assert!(done.epoch.unwrap() > server.clock_seconds());
        assert_eq!(done.roots, ["tls-root"]);
        assert!(server.app().store.rollback().is_none());
        issue(server).await.unwrap();
        publish(server).await;
        let (next, next_list) = (crl(server, CRL).await, crl(server, LIST).await);
        assert_eq!(number(&next).epoch(), done.epoch);
        assert!(number(&next) > number(&lost.crl) && number(&next_list) > number(&lost.list));
        assert!(lists(&next, &lost.stolen) && lists(&next_list, &lost.stolen));
        assert!(matches!(ocsp(server, &lost.stolen).await, Said::Revoked(..)));
        assert_eq!(ocsp(server, &lost.good).await, Said::Good);
        assert!(server.app().authority.verify_audit(KnownOutside::default()).await.unwrap().findings.is_empty());

        // what may have been revoked works when it is confirmed by name
        let check = check(server).await;
        assert_eq!(check.severity, Severity::Warning);
        assert!(check.detail.contains("are suspended"), "{}", check.detail);
        assert!(!works(server, &lost.token).await && !works(server, &lost.other_token).await);
        let confirm = |name: &str| ReconcileRequest { confirm: vec![name.into()], ..ReconcileRequest::default() };
        assert_eq!(reconcile(server, confirm("nobody")).await.unwrap_err().kind, ErrorKind::NotFound);
        let confirmed = reconcile(server, confirm("ci")).await.unwrap();
        assert_eq!((confirmed.epoch, confirmed.confirmed.len()), (None, 1));
        // what was read of a token is kept for 4 s
        server.app().access.forget();
        assert!(works(server, &lost.other_token).await && !works(server, &lost.token).await);
        lost.backup.remove().await;
    }

    async fn the_same_backup_restored_twice_gives_no_number_twice(server) {
        let lost = lose(server).await;
        let (mut given, mut epochs) = (vec![number(&lost.crl)], Vec::new());
        for _ in 0..2 {
            server.restore(&lost.backup).await;
            is_noticed(server).await;
            epochs.extend(reconcile(server, ReconcileRequest::default()).await.unwrap().epoch);
            publish(server).await;
            given.push(number(&crl(server, CRL).await));
        }
        assert!(given.is_sorted_by(|a, b| a < b), "{given:?}");
        assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
        // without the anchor too: the time has gone on
        server.stop().await;
        std::fs::remove_file(anchor_path(server)).unwrap();
        std::fs::remove_dir_all(anchor_path(server).with_extension("crls")).unwrap();
        server.put_back(&lost.backup).await;
        server.clock.advance(std::time::Duration::from_secs(60));
        server.start_again().await;
        let restored = ReconcileRequest { restored: true, crls: vec![lost.crl.clone()], ..ReconcileRequest::default() };
        let done = reconcile(server, restored).await.unwrap();
        assert_eq!((done.crls[0].revocations, done.crls[0].unknown), (1, 0));
        publish(server).await;
        let last = crl(server, CRL).await;
        assert!(lists(&last, &lost.stolen));
        assert!(!given.contains(&number(&last)) && done.epoch > epochs.first().copied());
        lost.backup.remove().await;
    }

    async fn a_published_crl_is_taken_in_after_a_reconcile_without_it(server) {
        let lost = lose(server).await;
        server.stop().await;
        // nothing is left but the published CRL
        std::fs::remove_file(anchor_path(server)).unwrap();
        std::fs::remove_dir_all(anchor_path(server).with_extension("crls")).unwrap();
        server.put_back(&lost.backup).await;
        server.start_again().await;
        let restored = ReconcileRequest { restored: true, ..ReconcileRequest::default() };
        let first = reconcile(server, restored).await.unwrap();
        publish(server).await;
        assert!(!lists(&crl(server, CRL).await, &lost.stolen));
        let late = ReconcileRequest { crls: vec![lost.crl.clone()], ..ReconcileRequest::default() };
        let done = reconcile(server, late.clone()).await.unwrap();
        assert_eq!((done.epoch, done.crls[0].revocations), (None, 1), "{:?}", done.crls);
        publish(server).await;
        let next = crl(server, CRL).await;
        assert!(lists(&next, &lost.stolen) && number(&next).epoch() == first.epoch);
        assert!(matches!(ocsp(server, &lost.stolen).await, Said::Revoked(..)));
        let again = reconcile(server, late).await.unwrap();
        assert_eq!(again.crls[0].revocations, 0);
        let mut forged = lost.crl.clone();
        *forged.last_mut().unwrap() ^= 1;
        let (crls, crl_files) = (vec![lost.crl.clone(), forged], vec!["good.crl".into(), "bad.crl".into()]);
        let forged = ReconcileRequest { crls, crl_files, ..ReconcileRequest::default() };
        let refused = reconcile(server, forged).await.unwrap_err();
        assert!(refused.detail.starts_with("bad.crl: the CRL is not signed"), "{}", refused.detail);
        assert_eq!(refused.rule.unwrap().name, "crl.signature");
        assert!(server.app().authority.fsck().await.unwrap().findings.is_empty());
        lost.backup.remove().await;
    }

    async fn a_hold_that_was_lifted_does_not_return_with_an_older_crl(server) {
        let held = issue(server).await.unwrap();
        let (authority, id) = (server.app().authority.clone(), held.certificate.id);
        authority.revoke(&operator(), id, RevocationReason::CertificateHold).await.unwrap();
        publish(server).await;
        let older = crl(server, CRL).await;
        assert!(lists(&older, &held));
        authority.lift_hold(&operator(), id).await.unwrap();
        publish(server).await;
        let restored = ReconcileRequest { restored: true, ..ReconcileRequest::default() };
        reconcile(server, restored).await.unwrap();
        let late = ReconcileRequest { crls: vec![older], ..ReconcileRequest::default() };
        assert_eq!(reconcile(server, late).await.unwrap().crls[0].revocations, 0);
        publish(server).await;
        assert!(!lists(&crl(server, CRL).await, &held));
    }

    async fn kept_crls_are_taken_in_where_no_server_ran(server) {
        let lost = lose(server).await;
        // started and stopped at once by nobody: the command alone finds the older database
        server.stop().await;
        server.put_back(&lost.backup).await;
        let host = server.host_of_stopped().await;
        let done = host.authority.reconcile(&operator(), &ReconcileRequest::default()).await.unwrap();
        assert!(done.crls.iter().any(|crl| crl.kept && crl.revocations == 1), "{:?}", done.crls);
        assert!(done.crls.iter().all(|crl| crl.taken_at.is_none()), "{:?}", done.crls);
        drop(host);
        server.start_again().await;
        publish(server).await;
        assert!(lists(&crl(server, CRL).await, &lost.stolen));
        lost.backup.remove().await;
    }

    async fn a_server_that_was_away_when_the_epoch_rose_gives_its_kept_crls_back(server) {
        let lost = lose(server).await;
        server.stop().await;
        // another host, which remembers nothing, reconciles
        let aside = server.data().join("aside");
        std::fs::create_dir(&aside).unwrap();
        let (json, crls) = (anchor_path(server), anchor_path(server).with_extension("crls"));
        std::fs::rename(&json, aside.join("anchor.json")).unwrap();
        std::fs::rename(&crls, aside.join("anchor.crls")).unwrap();
        server.put_back(&lost.backup).await;
        let host = server.host_of_stopped().await;
        let restored = ReconcileRequest { restored: true, ..ReconcileRequest::default() };
        let done = host.authority.reconcile(&operator(), &restored).await.unwrap();
        assert!(done.epoch.is_some() && done.crls.is_empty(), "{:?}", done.crls);
        drop(host);
        std::fs::rename(aside.join("anchor.json"), &json).unwrap();
        std::fs::rename(aside.join("anchor.crls"), &crls).unwrap();
        let host = server.host_of_stopped().await;
        let checks = host.authority.checks().await;
        let history = checks.iter().find(|check| check.name == "history").unwrap();
        assert!(history.detail.contains("may list revocations that the database lacks"), "{}", history.detail);
        drop(host);
        server.start_again().await;
        publish(server).await;
        assert!(lists(&crl(server, CRL).await, &lost.stolen));
        assert!(matches!(ocsp(server, &lost.stolen).await, Said::Revoked(..)));
        assert!(!check(server).await.detail.contains("may list revocations"));
        assert!(server.app().authority.fsck().await.unwrap().findings.is_empty());
        lost.backup.remove().await;
    }

    async fn a_revocation_that_came_with_a_crl_is_put_back_when_its_row_is_changed_or_deleted(server) {
        let lost = lose(server).await;
        revoke(server, &lost.unknown).await;
        let newest = crl(server, CRL).await;
        server.restore(&lost.backup).await;
        let request = ReconcileRequest { crls: vec![newest], ..ReconcileRequest::default() };
        let done = reconcile(server, request).await.unwrap();
        assert!(done.epoch.is_some());
        server.app().authority.keep_row_macs().await.unwrap();
        publish(server).await;
        // the database has the certificate of the first, and not that of the second
        for issued in [&lost.stolen, &lost.unknown] {
            assert!(lists(&crl(server, CRL).await, issued));
            for text in [
                "DELETE FROM revocations WHERE serial = $1",
                "UPDATE revocations SET reason = 'certificateHold', revoked_at = 4000000000000000 WHERE serial = $1",
                "UPDATE revocations SET not_after = 1 WHERE serial = $1",
            ] {
                let before = rows_of(server, issued).await;
                let serial = issued.certificate.serial.octets().to_vec();
                q(plain(text)).bind(serial).execute(&server.app().store).await.unwrap();
                server.app().authority.look_at_rows().await.unwrap();
                assert_eq!(rows_of(server, issued).await, before, "{text}");
                publish(server).await;
                assert!(lists(&crl(server, CRL).await, issued), "{text}");
            }
        }
        assert!(server.app().authority.fsck().await.unwrap().findings.is_empty());
        lost.backup.remove().await;
    }

    async fn of_two_reconciles_at_once_the_second_says_so(server) {
        let hosts = [server.host().await, server.host().await];
        let request = ReconcileRequest { restored: true, ..ReconcileRequest::default() };
        for _ in 0..3 {
            for host in &hosts {
                host.authority.recall().await.unwrap();
            }
            let by = operator();
            let (one, other) = tokio::join!(hosts[0].authority.reconcile(&by, &request), hosts[1].authority.reconcile(&by, &request));
            assert!(one.is_ok() || other.is_ok());
            for refused in [one.err(), other.err()].into_iter().flatten() {
                assert_eq!(refused.kind, ErrorKind::Conflict, "{}", refused.detail);
                assert!(refused.detail.starts_with("another `chancery reconcile` has just begun epoch"), "{}", refused.detail);
            }
        }
        for _ in 0..2 {
            server.app().remember().await.unwrap();
        }
        server.app().refresh().await.unwrap();
        is_whole_after_reconcile(server).await;
    }

    async fn what_works_already_is_confirmed_without_a_fault(server) {
        token(server, "ci").await;
        let restored = ReconcileRequest { restored: true, ..ReconcileRequest::default() };
        let done = reconcile(server, restored).await.unwrap();
        let id = done.suspended.iter().find(|one| one.name == "ci").unwrap().id();
        for (name, confirmed) in [("ci".to_owned(), 1), ("ci".to_owned(), 0), (id, 0)] {
            let confirm = ReconcileRequest { confirm: vec![name], ..ReconcileRequest::default() };
            let done = reconcile(server, confirm).await.unwrap();
            assert_eq!((done.confirmed.len(), done.working.len()), (confirmed, 1 - confirmed));
        }
    }

    async fn an_external_account_key_is_confirmed_by_the_kid_of_its_clients(server) {
        let bounds = Bounds::Own(NewGrant {
            name: "fleet".into(),
            allow_names: Some(vec!["lab.example".into()]),
            ..NewGrant::default()
        });
        let (name, directory) = ("fleet".to_owned(), "default".to_owned());
        let new = NewEabKey { name, directory, bounds, expires_in: None, max_accounts: None };
        let given = GivenKey { kid: Some("client-7".into()), hmac_key: None };
        let registration = &server.app().registration;
        let (key, _) =
            registration.take_eab_key(&operator(), &new, &given, None, |_| Ok(String::new())).await.unwrap();
        let restored = ReconcileRequest { restored: true, ..ReconcileRequest::default() };
        reconcile(server, restored).await.unwrap();
        let refused = server.app().registration.eab_key(key.id).await.unwrap();
        let refused = refused.check("default", server.app().store.now()).unwrap_err().detail;
        let command = format!("`chancery reconcile --confirm {}`", key.id);
        assert!(refused.contains("key client-7 is suspended") && refused.contains(&command), "{refused}");
        for works in [0, 1] {
            let confirm = ReconcileRequest { confirm: vec!["client-7".into()], ..ReconcileRequest::default() };
            let done = reconcile(server, confirm).await.unwrap();
            let is_key = |all: &[Suspended]| all.iter().filter(|one| one.kind() == "EAB key").count();
            assert_eq!((is_key(&done.confirmed), is_key(&done.working)), (1 - works, works));
        }
    }

    async fn an_older_published_crl_is_not_taken_in(server) {
        let lost = lose(server).await;
        let another = issue(server).await.unwrap();
        revoke(server, &another).await;
        let newest = crl(server, CRL).await;
        server.restore(&lost.backup).await;
        let take = |der: &[u8]| ReconcileRequest { crls: vec![der.to_vec()], ..ReconcileRequest::default() };
        let refused = reconcile(server, take(&lost.crl)).await.unwrap_err();
        assert!(refused.detail.contains("was published after it"), "{}", refused.detail);
        let mut forged = newest.clone();
        *forged.last_mut().unwrap() ^= 1;
        let refused = reconcile(server, take(&forged)).await.unwrap_err();
        assert_eq!(refused.rule.unwrap().name, "crl.signature");
        let refused = reconcile(server, take(&crl(server, LIST).await)).await.unwrap_err();
        let words = "the list of trust domain tls, which lists certificates of several issuers; take the CRL of each issuer";
        assert!(refused.detail.contains(words), "{}", refused.detail);
        is_noticed(server).await;
        reconcile(server, take(&newest)).await.unwrap();
        publish(server).await;
        let next = crl(server, CRL).await;
        // the second certificate has no row: it stays on the list all the same
        assert!(lists(&next, &another) && lists(&next, &lost.stolen));
        assert!(matches!(ocsp(server, &another).await, Said::Revoked(..)));
        lost.backup.remove().await;
    }

    async fn ordinary_life_is_no_rollback(server) {
        server.restart().await;
        let early = std::fs::read(anchor_path(server)).unwrap();
        for _ in 0..2 {
            let issued = issue(server).await.unwrap();
            revoke(server, &issued).await;
            server.app().remember().await.unwrap();
        }
        // killed before the anchor was written: the database is ahead of it
        server.stop().await;
        std::fs::write(anchor_path(server), early).unwrap();
        server.start_again().await;
        is_whole(server).await;
        // clocks that are set, forwards and back
        for seconds in [3_600, -3_600] {
            server.clock.jump(seconds);
            server.app().remember().await.unwrap();
            assert!(server.app().store.rollback().is_none());
        }
        server.restart().await;
        is_whole(server).await;
        // a domain that is made, and commands beside the server
        let host = server.host().await;
        host.authority.create_domain(&operator(), &crate::hierarchy::wanted("dev")).await.unwrap();
        server.app().remember().await.unwrap();
        server.app().refresh().await.unwrap();
        is_whole(server).await;
        server.clock.advance(days(1));
        server.restart().await;
        is_whole(server).await;
    }

    async fn a_crl_number_is_in_the_anchor_before_the_crl_is_served(server) {
        let issued = issue(server).await.unwrap();
        revoke(server, &issued).await;
        let der = crl(server, CRL).await;
        let id = server.app().authority.snapshot().issuer("tls-1").unwrap().issuer.id.to_string();
        let figures = anchor(server).figures;
        assert_eq!(figures.crls[&id].served, Some(number(&der)));
        assert!(figures.crls[&id].highest >= number(&der));
        let list = crl(server, LIST).await;
        assert_eq!(anchor(server).figures.crls["domain:tls"].served, Some(number(&list)));
        let kept = server.data().join("anchor.crls").join(format!("{id}.crl"));
        assert_eq!(std::fs::read(kept).unwrap(), der);
        // the events of both commits follow within a second
        server.app().remember().await.unwrap();
        let events = rows(server, "SELECT COUNT(*) AS n FROM audit_events").await;
        assert!(events > 3 && anchor(server).figures.events.iter().any(|end| end.certificates > Some(0)));
    }

    async fn an_anchor_that_is_missing_or_broken_is_told(server) {
        is_whole(server).await;
        for broken in [None, Some("{\"format\":")] {
            server.stop().await;
            match broken {
                None => std::fs::remove_file(anchor_path(server)).unwrap(),
                Some(text) => std::fs::write(anchor_path(server), text).unwrap(),
            }
            server.start_again().await;
            let found = check(server).await;
            assert_eq!(found.severity, Severity::Warning);
            assert!(found.detail.contains("was missing or unreadable"), "{}", found.detail);
            issue(server).await.unwrap();
            reconcile(server, ReconcileRequest::default()).await.unwrap();
            is_whole(server).await;
        }
        assert!(anchor_path(server).with_extension("unreadable").exists());

        // the file of another installation is no memory of this one
        server.stop().await;
        let text = std::fs::read_to_string(anchor_path(server)).unwrap();
        let mut other: Value = serde_json::from_str(&text).unwrap();
        other["installation"] = "00".into();
        std::fs::write(anchor_path(server), other.to_string()).unwrap();
        let refused = server.refused_start().await;
        assert_eq!(refused.kind, ErrorKind::Config);
        assert!(refused.detail.contains("of another installation"), "{}", refused.detail);
        std::fs::write(anchor_path(server), text).unwrap();
        server.start_again().await;
        is_whole(server).await;
    }

    async fn a_crl_beside_a_lost_anchor_is_memory_too(server) {
        let lost = lose(server).await;
        for broken in [None, Some("{")] {
            server.stop().await;
            match broken {
                None => std::fs::remove_file(anchor_path(server)).unwrap(),
                Some(text) => std::fs::write(anchor_path(server), text).unwrap(),
            }
            server.put_back(&lost.backup).await;
            server.start_again().await;
            is_noticed(server).await;
            assert!(matches!(ocsp(server, &lost.stolen).await, Said::Revoked(..)));
            reconcile(server, ReconcileRequest::default()).await.unwrap();
            publish(server).await;
            assert!(lists(&crl(server, CRL).await, &lost.stolen));
            issue(server).await.unwrap();
        }
        lost.backup.remove().await;
    }

    async fn a_row_of_the_audit_that_makes_no_sense_is_named_and_stops_no_start(server) {
        issue(server).await.unwrap();
        // no end of a chain, which the anchor remembers
        let spoil = "UPDATE audit_events SET writer = $1 WHERE id = (SELECT id FROM audit_events WHERE lane = 0 AND seq = 2 ORDER BY id LIMIT 1)";
        let spoil = q(plain(spoil)).bind(vec![0_u8]);
        assert_eq!(spoil.execute(&server.app().store).await.unwrap(), 1);
        server.restart().await;
        let row = "the row of audit_events with writer 00, lane 0 and seq 2";
        let found = check(server).await;
        assert_eq!(found.severity, Severity::Critical);
        assert!(found.detail.contains(row), "{}", found.detail);
        let authority = &server.app().authority;
        let verdict = authority.verify_audit(KnownOutside::default()).await.unwrap();
        assert!(verdict.findings.iter().any(|finding| finding.contains(row)), "{:?}", verdict.findings);
        assert!(authority.fsck().await.unwrap().findings.iter().any(|finding| finding.contains(row)));
        let left_out = authority.export_audit(|_| Ok(())).await.unwrap();
        assert!(left_out.iter().any(|finding| finding.contains(row)), "{left_out:?}");
        // checkpoints go on, made here or by the server's periodic work
        server.clock.advance(days(1));
        let later = server.app().store.now();
        issue(server).await.unwrap();
        server.app().authority.checkpoint_due().await.unwrap();
        let newest = server.app().authority.newest_checkpoint().await.unwrap().unwrap();
        assert!(newest.at >= later, "{newest:?}");
    }

    async fn an_anchor_that_cannot_be_written_stops_no_revocation(server) {
        let nowhere = server.data().join("nowhere/anchor.json").display().to_string();
        server.restart_with(&[("CHANCERY_ANCHOR", &nowhere)]).await;
        let found = check(server).await;
        assert_eq!(found.severity, Severity::Critical);
        assert!(found.detail.contains("cannot be written"), "{}", found.detail);
        let issued = issue(server).await.unwrap();
        revoke(server, &issued).await;
        assert!(lists(&crl(server, CRL).await, &issued));
        // as soon as it can be written it is
        std::fs::create_dir(server.data().join("nowhere")).unwrap();
        server.app().remember().await.unwrap();
        assert!(PathBuf::from(nowhere).exists());
    }
}

/// A copy without the last minute takes over under two servers that run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_to_a_copy_that_lacks_the_last_minute_is_noticed_by_running_replicas() {
    let server = TestServer::postgres().await;
    let other = server.replica_with(&[]).await;
    let (stolen, good) = (issue(&server).await.unwrap(), issue(&other).await.unwrap());
    let secret = token(&server, "ci").await;
    publish(&server).await;
    let standby = server.copy().await;
    // sessions were cut off; both come back
    for one in [&server, &other] {
        crate::support::wait::until("the database is back", async || one.app().remember().await.ok()).await;
    }
    revoke(&server, &stolen).await;
    let unknown = issue(&other).await.unwrap();
    let last = crl(&server, CRL).await;
    assert!(lists(&last, &stolen));
    assert_eq!(crl(&other, CRL).await, last);

    server.put_back(&standby).await;
    // the intent's transaction notices it, before the next look of any process
    let refused = crate::support::wait::until("a refusal", async || {
        let error = issue(&other).await.expect_err("the newest event is missing");
        (error.detail == ROLLED_BACK).then_some(error)
    });
    refused.await;
    for one in [&server, &other] {
        crate::support::wait::until("the database is back", async || one.app().remember().await.ok()).await;
        is_noticed(one).await;
        assert_eq!(crl(one, CRL).await, last);
        assert!(matches!(ocsp(one, &stolen).await, Said::Revoked(..)));
        for issued in [&good, &unknown] {
            assert_eq!(ocsp(one, issued).await, Said::Failed(OcspFailure::TryLater));
        }
        assert!(!works(one, &secret).await);
    }
    // one that joins now has no memory of its own, and goes by the mark
    let third = server.replica_with(&[]).await;
    assert_eq!(issue(&third).await.unwrap_err().detail, ROLLED_BACK);

    let done = reconcile(&server, ReconcileRequest::default()).await.unwrap();
    for one in [&server, &other, &third] {
        one.app().remember().await.unwrap();
        one.app().refresh().await.unwrap();
        issue(one).await.unwrap();
    }
    publish(&other).await;
    let next = crl(&server, CRL).await;
    assert!(number(&next) > number(&last) && lists(&next, &stolen));
    assert_eq!(number(&next).epoch(), done.epoch);
    assert!(server.app().authority.verify_audit(KnownOutside::default()).await.unwrap().findings.is_empty());
    // all stopped and started anew
    let (mut server, mut others) = (server, [other, third]);
    for one in others.iter_mut() {
        one.stop().await;
    }
    server.restart().await;
    for one in others.iter_mut() {
        one.start_again().await;
        assert!(one.app().store.rollback().is_none());
        assert!(!check(one).await.detail.contains("missing"), "{}", check(one).await.detail);
    }
    for one in others {
        one.end().await;
    }
    server.end().await;
    standby.remove().await;
}
