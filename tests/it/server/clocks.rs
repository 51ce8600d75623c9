//! Machines whose clocks are wrong: they sign nothing, publish nothing, and disturb nobody.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chancery::app::App;
use chancery::clock::{Clock, SystemClock, Timestamp, days};
use chancery::entropy::SystemEntropy;
use chancery::error::ErrorKind;
use chancery::jobs;
use chancery::model::actor::Actor;
use chancery::model::id::ReplicaId;
use chancery::model::issuer::{IssuerMove, OcspSigner};
use chancery::model::reason::RevocationReason;
use chancery::store::Store;
use chancery::store::crls::{self, CrlHead};
use chancery::store::engine::Db;

use crate::hierarchy::wanted;
use crate::issuance::rig::issuance;
use crate::support::postgres;
use crate::support::server::TestServer;
use crate::support::wait;

const DAY: i64 = 86_400;

fn operator() -> Actor {
    Actor::host(0, "test")
}

async fn issue(server: &TestServer) -> chancery::error::Result<chancery::authority::issue::Issued> {
    server.app().authority.issue(&operator(), issuance(Default::default())).await
}

async fn ready(server: &TestServer) {
    wait::until("/readyz answers 200", async || (server.ops("/readyz").await.status == 200).then_some(())).await;
}

async fn crls_of(app: &App) -> Vec<CrlHead> {
    let mut all = Vec::new();
    for loaded in app.authority.snapshot().issuers.values() {
        all.extend(crls::newest(&app.store, loaded.issuer.id).await.unwrap());
    }
    all
}

/// The sentence with which a wrong clock refuses; it is the same in readyz.
async fn refuses(server: &TestServer, difference: &str) {
    let error = issue(server).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.detail.starts_with(&format!("this server's clock is {difference} ")), "{}", error.detail);
    assert!(error.retry_after.is_some());
    let health = server.ops("/readyz").await;
    assert_eq!(health.status, 503);
    let line = format!("[-]clock failed: this server's clock is {difference} ");
    assert!(health.text().contains(&line), "{}", health.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_clock_is_wrong_signs_nothing_and_disturbs_nobody() {
    let right = TestServer::postgres().await;
    ready(&right).await;
    for (seconds, difference) in [
        (400 * DAY, "400 days ahead of"),
        (120, "2 minutes ahead of"),
        (-120, "2 minutes behind"),
        (-DAY, "24 hours behind"),
    ] {
        let clock = right.clock.of_another_machine();
        clock.jump(seconds);
        let wrong = right.replica_at(clock, &[]).await;
        refuses(&wrong, difference).await;

        // it leaves the work for all to others
        let before = crls_of(right.app()).await;
        let app = wrong.app();
        assert_eq!(app.authority.publish_due().await.unwrap(), 0);
        assert_eq!(app.authority.recover().await.unwrap(), 0);
        assert_eq!(app.authority.renew_responders().await.unwrap(), 0);
        assert!(!app.authority.checkpoint_due().await.unwrap());
        assert_eq!(jobs::turn(app).await.unwrap(), 0);
        app.housekeep().await.unwrap();
        assert_eq!(crls_of(right.app()).await, before);

        // what the others issue and revoke is seen through it too, in their time
        let issued = issue(&right).await.unwrap();
        let revoked = issued.certificate.id;
        right.app().authority.revoke(&operator(), revoked, RevocationReason::KeyCompromise).await.unwrap();
        let serial = &issued.certificate.serial;
        wait::until("the revocation is published", async || {
            let crl = right.app().authority.current_crl("tls-1").await.unwrap();
            let found = crl.der.windows(serial.octets().len()).any(|w| w == serial.octets());
            found.then_some(())
        })
        .await;
        wait::until("both serve it", async || {
            (right.http("/crl/tls-1.crl").await.body == wrong.http("/crl/tls-1.crl").await.body).then_some(())
        })
        .await;
        for _ in 0..96 {
            assert_eq!(right.http("/crl/tls-1.crl").await.status, 200);
        }
        let request = ocsp_request(&right, &issued.der);
        assert_eq!(right.app().authority.ocsp("tls-1", &request).await.unwrap().status, "revoked");
        assert_eq!(app.authority.ocsp("tls-1", &request).await.unwrap().status, "try_later");
        ready(&right).await;
        right.drain_jobs().await;
        wrong.end().await;
    }
    right.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_while_its_replica_runs_is_noticed_at_once_and_may_come_back() {
    let right = TestServer::postgres().await;
    let other = right.replica_at(right.clock.of_another_machine(), &[]).await;
    ready(&other).await;
    issue(&other).await.unwrap();
    for seconds in [400 * DAY, -DAY] {
        other.clock.jump(seconds);
        // nothing was measured since: no database, no peer
        assert!(other.app().store.check_clock().is_err());
        assert_eq!(other.app().store.now(), right.app().store.now(), "everything is dated by the reference time");
        refuses(&other, if seconds > 0 { "400 days ahead of" } else { "24 hours behind" }).await;
        ready(&right).await;
        issue(&right).await.unwrap();
        other.clock.jump(-seconds);
        ready(&other).await;
        issue(&other).await.unwrap();
    }
    other.end().await;
    right.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_clock_of_the_database_stops_nobody() {
    let one = TestServer::postgres().await;
    let two = one.replica_at(one.clock.of_another_machine(), &[]).await;
    for seconds in [DAY, -2 * DAY] {
        one.clock.jump_database(seconds);
        let now = one.clock.now();
        for server in [&one, &two] {
            ready(server).await;
            issue(server).await.unwrap();
            assert_eq!(server.app().store.now(), now);
            let offset = server.app().store.reference().database_offset().unwrap();
            assert_eq!(offset / 1_000_000 / DAY, if seconds > 0 { 1 } else { -1 });
        }
    }
    // both votes are needed: they hold also for a replica that starts meanwhile, whose clock is as wrong
    let three = one.replica_at(one.clock.of_another_machine(), &[]).await;
    ready(&three).await;
    issue(&three).await.unwrap();
    let clock = one.clock.of_another_machine();
    clock.jump(-DAY);
    let four = one.replica_at(clock, &[]).await;
    // a vote is written within a second
    let outvoted = async || four.ops("/readyz").await.text().contains("[-]clock failed").then_some(());
    wait::until("it is outvoted", outvoted).await;
    refuses(&four, "24 hours behind").await;
    for server in [four, three, two, one] {
        server.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_replica_and_its_database_know_which_of_them_jumped() {
    let mut server = TestServer::postgres().await;
    ready(&server).await;
    server.clock.jump_database(DAY);
    ready(&server).await;
    issue(&server).await.unwrap();
    server.clock.jump_database(-DAY);
    ready(&server).await;
    server.clock.jump(DAY);
    refuses(&server, "24 hours ahead of").await;
    // a start has nothing but the database, unless that is behind what was recorded
    server.restart().await;
    refuses(&server, "24 hours ahead of").await;
    server.clock.jump(-DAY);
    ready(&server).await;
    server.clock.jump_database(-DAY);
    server.restart().await;
    ready(&server).await;
    issue(&server).await.unwrap();
    // a database that leapt forward while the server was stopped stops nobody either
    server.clock.jump_database(2 * DAY);
    server.restart().await;
    ready(&server).await;
    issue(&server).await.unwrap();
    assert_eq!(server.app().store.now(), server.clock.now());
    assert_eq!(server.app().store.reference().database_offset().unwrap() / 1_000_000 / DAY, 1);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_behind_the_records_of_its_own_database_file_stops_signing() {
    let mut server = TestServer::sqlite().await;
    ready(&server).await;
    issue(&server).await.unwrap();
    server.clock.jump(-600);
    refuses(&server, "10 minutes behind").await;
    assert_eq!(server.http("/crl/tls-1.crl").await.status, 200);
    server.restart().await;
    refuses(&server, "10 minutes behind").await;
    // a time daemon vouches for the clock
    server.clock.synchronize(true);
    ready(&server).await;
    issue(&server).await.unwrap();
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_leaps_far_ahead_of_its_database_file_stops_signing() {
    let mut server = TestServer::sqlite().await;
    ready(&server).await;
    // a virtual machine that stood still for a day
    server.clock.jump(DAY);
    ready(&server).await;
    issue(&server).await.unwrap();
    // what is due since then is published before the next leap, by the server's job or here
    while server.app().authority.publish_due().await.unwrap() > 0 {}
    server.clock.jump(400 * DAY);
    refuses(&server, "400 days ahead of").await;
    let last = crls_of(server.app()).await;
    assert_eq!(server.app().authority.publish_due().await.unwrap(), 0);
    assert_eq!(crls_of(server.app()).await, last);
    server.clock.jump(-400 * DAY);
    ready(&server).await;
    // a machine that was switched off for a month
    server.clock.jump(30 * DAY);
    server.restart().await;
    ready(&server).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_declares_a_clock_to_be_right() {
    let server = TestServer::sqlite().await;
    ready(&server).await;
    server.clock.jump(-DAY);
    refuses(&server, "24 hours behind").await;
    let now = server.clock.now();
    server.app().store.trust_clock(&operator()).await.unwrap();
    ready(&server).await;
    assert_eq!(server.app().store.now(), now);
    issue(&server).await.unwrap();
    server.end().await;
}

crate::on_both_servers! {
    async fn nothing_that_others_see_is_changed_by_a_wrong_clock(server) {
        // two clocks that are wrong together outvote the database's
        server.stop().await;
        let host = server.host_of_stopped().await;
        host.authority.create_issuer(&operator(), &wanted("tls"), Some("tls-root")).await.unwrap();
        server.clock.jump(-600);
        let (authority, actor, domain) = (&host.authority, operator(), wanted("dev"));
        let before = crls_of(&host).await;
        let states = || authority.snapshot().issuers.values().map(|i| i.issuer.state).collect::<Vec<_>>();
        let known = states();
        let refused = [
            ("retire", authority.move_issuer(&actor, "tls-2", IssuerMove::Retire).await.err()),
            ("activate", authority.move_issuer(&actor, "tls-2", IssuerMove::Activate).await.err()),
            ("remove", authority.move_issuer(&actor, "tls-2", IssuerMove::Remove).await.err()),
            ("create a domain", authority.create_domain(&actor, &domain).await.err()),
            ("create a root", authority.create_root(&actor, &wanted("tls")).await.err()),
            ("create an issuer", authority.create_issuer(&actor, &wanted("tls"), Some("tls-root")).await.err()),
            ("renew", authority.renew_issuer(&actor, "tls-1", None).await.err()),
            ("sign CRLs", authority.sign_crls(&actor, "tls-root").await.err()),
            ("set who signs OCSP", authority.set_ocsp_signer(&actor, "tls-1", OcspSigner::Issuer).await.err()),
            ("issue", authority.issue(&actor, issuance(Default::default())).await.err()),
        ];
        for (what, error) in refused {
            let error = error.unwrap_or_else(|| panic!("{what} is not refused"));
            assert_eq!(error.kind, ErrorKind::Unavailable, "{what}: {}", error.detail);
            assert!(error.detail.starts_with("this server's clock is 10 minutes behind "), "{what}: {}", error.detail);
            assert!(error.detail.contains("chancery clock show"), "{what}: {}", error.detail);
        }
        assert_eq!(authority.publish_domains_due().await.unwrap(), 0);
        authority.reload().await.unwrap();
        assert_eq!(states(), known);
        assert_eq!(crls_of(&host).await, before);
        server.clock.jump(600);
        authority.move_issuer(&actor, "tls-2", IssuerMove::Retire).await.unwrap();
        host.store.db.close().await;
        server.start_again().await;
    }
}

/// The machine's clock with an error of so many seconds: the database's own clock is asked.
#[derive(Debug, Clone, Default)]
struct Shifted(Arc<AtomicI64>);

impl Clock for Shifted {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(SystemClock.now().micros() + self.0.load(Ordering::SeqCst) * 1_000_000)
    }

    fn ticks(&self) -> i64 {
        SystemClock.ticks()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_of_a_real_database_is_measured() {
    let url = postgres::create_database().await;
    let open = async |clock: &Shifted| {
        let entropy = Arc::new(SystemEntropy::new());
        let db = Db::open_postgres(&url, 4, "chancery").await.unwrap();
        chancery::store::migrate::run(&db).await.unwrap();
        Store::of(ReplicaId::new(SystemClock.now(), entropy.as_ref()).unwrap(), db, Arc::new(clock.clone()), entropy)
    };
    let (right, wrong) = (Shifted::default(), Shifted::default());
    let (one, two) = (open(&right).await, open(&wrong).await);
    for store in [&one, &two, &one, &two] {
        store.beat().await.unwrap();
        store.check_clock().unwrap();
        assert!(store.reference().database_offset().unwrap().abs() < 5_000_000);
    }
    wrong.0.store(130, Ordering::SeqCst);
    // a vote lasts for ten seconds
    one.beat().await.unwrap();
    two.beat().await.unwrap();
    let why = two.check_clock().unwrap_err().detail;
    let expected = "this server's clock is 2 minutes ahead of the clocks of the database and of another replica";
    assert!(why.starts_with(expected), "{why}");
    // a transaction that saw another time than expected compares anew
    wrong.0.store(0, Ordering::SeqCst);
    two.check_clock_at(Some(SystemClock.now() + days(1))).await.unwrap();
    one.beat().await.unwrap();
    one.check_clock().unwrap();
    for store in [one, two] {
        store.leave_clocks().await.unwrap();
        store.db.close().await;
    }
    postgres::drop_database(&url).await;
}

/// As OpenSSL asks for this certificate of `tls-1`.
fn ocsp_request(server: &TestServer, der: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let issuer = &server.app().authority.snapshot().issuer("tls-1").unwrap().certificates[0].der.clone();
    std::fs::write(path("leaf"), chancery::pki::pem::encode("CERTIFICATE", der)).unwrap();
    std::fs::write(path("issuer"), chancery::pki::pem::encode("CERTIFICATE", issuer)).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["ocsp", "-no_nonce", "-issuer"]).arg(path("issuer")).arg("-cert").arg(path("leaf"));
    assert!(openssl.arg("-reqout").arg(path("request")).output().unwrap().status.success());
    std::fs::read(path("request")).unwrap()
}
