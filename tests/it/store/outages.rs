//! A database that is away, starts, shuts down, takes no writes, or whose rows somebody else holds: the client is told
//! to try again, within ten seconds, and never that the fault is ours.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chancery::authority::guard::Guard;
use chancery::authority::recovery::STALE_AFTER;
use chancery::clock::monotonic;
use chancery::error::{Error, ErrorKind};
use chancery::model::actor::Actor;
use chancery::model::certificate::CertificateStatus;
use chancery::store::engine::{Db, q};
use chancery::store::versions::{self, Topic};
use chancery::store::{certificates, patience};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::issuance::rig::{Rig, guard, issuance};
use crate::support::postgres::create_database;
use crate::support::server::TestServer;
use crate::support::stores::plain;
use crate::support::{wait, wire};

/// What stands between Chancery and Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    Passes,
    /// Accepts and closes, as a proxy does whose backends are gone.
    Closes,
    AnswersHttp,
    /// Refuses the start of a session by this SQLSTATE.
    Refuses(&'static str),
    Silent,
    /// What is open stays open, and nothing goes through any more.
    Swallows,
    /// A connection falls silent behind its first COMMIT, which arrives.
    SwallowsReplyToCommit,
}

/// A proxy that changes its ways, and cuts what it had when it does.
struct Proxy {
    address: SocketAddr,
    ways: watch::Sender<Between>,
}

impl Proxy {
    async fn before(upstream: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ways, watched) = watch::channel(Between::Passes);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (mut watched, upstream) = (watched.clone(), upstream.clone());
                watched.mark_unchanged();
                tokio::spawn(async move {
                    let way = *watched.borrow();
                    if matches!(way, Between::Passes | Between::SwallowsReplyToCommit) {
                        return pass(client, &upstream, watched).await;
                    }
                    tokio::select! {
                        () = answer(client, way) => {}
                        _ = watched.changed() => {}
                    }
                });
            }
        });
        Proxy { address, ways }
    }

    fn turn(&self, way: Between) {
        self.ways.send_replace(way);
    }
}

async fn pass(mut client: TcpStream, upstream: &str, mut ways: watch::Receiver<Between>) {
    let mut server = TcpStream::connect(upstream).await.unwrap();
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let way = *ways.borrow_and_update();
        if !matches!(way, Between::Passes | Between::SwallowsReplyToCommit) {
            break;
        }
        tokio::select! {
            asked = client.read(&mut up) => {
                let Some(asked) = asked.ok().filter(|n| *n > 0).map(|n| &up[..n]) else { return };
                if server.write_all(asked).await.is_err() {
                    return;
                }
                if way != Between::Passes && asked.windows(6).any(|word| word == b"COMMIT") {
                    break;
                }
            }
            told = server.read(&mut down) => {
                let Some(told) = told.ok().filter(|n| *n > 0).map(|n| &down[..n]) else { return };
                if client.write_all(told).await.is_err() {
                    return;
                }
            }
            changed = ways.changed() => if changed.is_err() { return },
        }
    }
    // silent until the ways change
    while matches!(*ways.borrow(), Between::Swallows | Between::SwallowsReplyToCommit) {
        if ways.changed().await.is_err() {
            return;
        }
    }
}

async fn answer(mut client: TcpStream, way: Between) {
    let mut asked = [0; 512];
    match way {
        Between::Passes | Between::Closes => {}
        Between::AnswersHttp => {
            let _ = client.read(&mut asked).await;
            let _ = client.write_all(b"HTTP/1.0 502 Bad Gateway\r\n\r\n").await;
        }
        Between::Refuses(code) => {
            let _ = client.read(&mut asked).await;
            let fields = format!("SFATAL\0VFATAL\0C{code}\0Mno\0\0");
            let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
            let _ = client.write_all(&[b"E", length.as_slice(), fields.as_bytes()].concat()).await;
        }
        Between::Silent | Between::Swallows | Between::SwallowsReplyToCommit => std::future::pending().await,
    }
}

/// Host and port, and the URL through the proxy.
async fn proxied(url: &str) -> (Proxy, String) {
    let (user, rest) = url.split_once('@').unwrap();
    let (host, name) = rest.split_once('/').unwrap();
    let proxy = Proxy::before(host.to_owned()).await;
    let through = format!("{user}@{}/{name}?sslmode=disable", proxy.address);
    (proxy, through)
}

#[track_caller]
fn passes_by_itself(error: &Error, what: &str) {
    assert_eq!(error.kind, ErrorKind::Unavailable, "{what}: {}", error.chain());
    assert!(error.retry_after.is_some(), "{what}");
    assert!(!error.detail.contains("::"), "{what}: {}", error.detail);
}

/// Ten seconds, and time for a busy machine: nothing here ends by itself before that.
const BOUNDED: Duration = Duration::from_secs(20);

const AWAY: [Between; 8] = [
    Between::Closes,
    Between::AnswersHttp,
    // starting or in recovery, shutting down, ended by an administrator, out of connections, out of memory
    Between::Refuses("57P03"),
    Between::Refuses("57P01"),
    Between::Refuses("53300"),
    Between::Refuses("53200"),
    // a pooler that has lost its server, a password that is being changed
    Between::Refuses("08006"),
    Between::Refuses("28P01"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_takes_the_place_of_postgres_is_no_fault_of_ours() {
    let url = create_database().await;
    let (proxy, through) = proxied(&url).await;
    let db = Db::open_postgres(&through, 4, "chancery").await.unwrap();
    let one = || q(plain("SELECT CAST(1 AS BIGINT) AS n"));
    for way in AWAY {
        proxy.turn(way);
        let what = format!("{way:?}");
        // also the first one, on a connection that was open before; a statement may still pass while the proxy turns
        passes_by_itself(&wait::until(&what, async || one().fetch_all(&db).await.err()).await, &what);
        passes_by_itself(&wait::until(&what, async || one().fetch_all(&db).await.err()).await, &what);
        passes_by_itself(&wait::until(&what, async || one().execute(&db).await.err()).await, &what);
        passes_by_itself(&wait::until(&what, async || one().fetch_all(&db.volatile()).await.err()).await, &what);
        passes_by_itself(&wait::until(&what, async || db.begin().await.err()).await, &what);
        passes_by_itself(&wait::until(&what, async || db.begin_group().await.err()).await, &what);
        proxy.turn(Between::Passes);
        wait::until("the database is back", async || one().fetch_all(&db).await.ok()).await;
    }
    proxy.turn(Between::Silent);
    let started = monotonic();
    passes_by_itself(&db.begin().await.unwrap_err(), "silence");
    assert!(started.elapsed() < BOUNDED, "{:?}", started.elapsed());
    db.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_postgres_is_named() {
    let url = create_database().await;
    let (proxy, through) = proxied(&url).await;
    let db = Db::open_postgres(&through, 4, "chancery").await.unwrap();
    proxy.turn(Between::Refuses("53100"));
    let one = async || q(plain("SELECT CAST(1 AS BIGINT) AS n")).fetch_all(&db).await.err();
    let error = wait::until("the disk is full", async || one().await.filter(|e| e.detail.contains("disk"))).await;
    passes_by_itself(&error, "a full disk");
    assert!(error.detail.starts_with("the database's disk is full"), "{}", error.detail);
    db.close().await;
}

/// A network that swallows packets closes no connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_falls_silent_inside_a_statement_is_waited_for_no_longer_than_a_client_waits() {
    let url = create_database().await;
    let (proxy, through) = proxied(&url).await;
    let db = Db::open_postgres(&through, 4, "chancery").await.unwrap();
    let one = || q(plain("SELECT CAST(1 AS BIGINT) AS n"));
    for step in ["a statement", "a statement of a transaction", "a commit", "a group"] {
        let (mut tx, mut group) = (db.begin().await.unwrap(), db.begin_group().await.unwrap());
        one().fetch_all(&db).await.unwrap();
        proxy.turn(Between::Swallows);
        let started = monotonic();
        let ask = async {
            match step {
                "a statement" => one().fetch_all(&db).await.map(drop),
                "a statement of a transaction" => one().fetch_all(&mut tx).await.map(drop),
                "a commit" => tx.commit().await,
                _ => one().fetch_all(&mut group).await.map(drop),
            }
        };
        let error = patience::within(Duration::from_secs(1), ask).await.unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(15), "{step}: {:?}", started.elapsed());
        passes_by_itself(&error, step);
        assert!(error.detail.starts_with("the database did not answer in time"), "{step}: {}", error.detail);
        proxy.turn(Between::Passes);
        wait::until("the database is back", async || one().fetch_all(&db).await.ok()).await;
    }
    db.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_answers_within_ten_seconds_while_its_database_is_silent() {
    let url = create_database().await;
    let (proxy, through) = proxied(&url).await;
    let mut server = TestServer::start(Some(through), &[]).await;
    server.keep_database();
    let root = server.root_pem().await;
    let (address, now) = (server.running().addresses.https, server.app().clock.now());
    let issue = async || server.app().authority.issue(&Actor::host(0, "test"), issuance(Guard::default())).await;
    issue().await.unwrap();
    proxy.turn(Between::Swallows);
    let started = monotonic();
    let ask = async |path: &str| {
        let stream = wire::tls(address, &root, now).await.unwrap();
        let headers = [("Authorization", "Bearer chancery_0000000000000000000000000000000000000000000")];
        wire::ask(stream, "GET", path, &headers, b"").await.expect("an answer")
    };
    let asked = tokio::join!(ask("/acme/default/order/none"), ask("/api/v1/certificates"), ask("/"));
    for reply in [asked.0, asked.1, asked.2] {
        assert!(reply.status != 500 && reply.status != 504, "{}", reply.text());
    }
    let issued = patience::within(patience::REQUEST, async { tokio::join!(issue(), issue(), issue()) }).await;
    for outcome in [issued.0, issued.1, issued.2] {
        passes_by_itself(&outcome.unwrap_err(), "an issuance");
    }
    assert!(started.elapsed() < 2 * BOUNDED, "{:?}", started.elapsed());
    proxy.turn(Between::Passes);
    // nothing was signed for a commit of which nobody knows the outcome
    let before = wait::until("it issues again", async || issue().await.ok()).await;
    wait::until("it is ready again", async || (server.ops("/readyz").await.status == 200).then_some(())).await;
    assert!(certificates::find(&server.app().store, before.certificate.id).await.unwrap().is_some());
    server.end().await;
}

/// Whether a commit without an answer was saved is unknown: nothing is signed twice, and nothing is given out that is not
/// valid in the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_never_answered_gives_out_nothing_and_signs_nothing_twice() {
    let url = create_database().await;
    let (proxy, through) = proxied(&url).await;
    let mut server = TestServer::start(Some(through), &[]).await;
    server.keep_database();
    let (authority, store) = (server.app().authority.clone(), server.app().store.clone());
    let issue = async || authority.issue(&Actor::host(0, "test"), issuance(Guard::default())).await;
    issue().await.unwrap();
    proxy.turn(Between::SwallowsReplyToCommit);
    let started = monotonic();
    let all = patience::within(patience::REQUEST, async { tokio::join!(issue(), issue(), issue()) }).await;
    assert!(started.elapsed() < BOUNDED, "{:?}", started.elapsed());
    proxy.turn(Between::Passes);
    wait::until("it issues again", async || issue().await.ok()).await;
    server.clock.advance(STALE_AFTER + Duration::from_secs(1));
    let settled = "SELECT COUNT(*) AS n FROM certificates WHERE status = 'intended'";
    wait::until("no intent is left open", async || {
        // what another turn of recovery has in hand is left to it
        let _ = authority.recover().await;
        let rows = q(plain(settled)).fetch_all(&store).await.ok()?;
        (rows[0].get::<i64>("n").unwrap() == 0).then_some(())
    })
    .await;
    for outcome in [all.0, all.1, all.2] {
        match outcome {
            Ok(issued) => {
                let found = certificates::find(&store, issued.certificate.id).await.unwrap().unwrap();
                assert_eq!(found.status, CertificateStatus::Valid);
            }
            Err(error) => passes_by_itself(&error, "an issuance"),
        }
    }
    let report = authority.fsck().await.unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_goes_on_when_the_proxy_before_its_database_does() {
    let url = create_database().await;
    let (proxy, through) = proxied(&url).await;
    let mut server = TestServer::start(Some(through), &[]).await;
    server.keep_database();
    let issue = async || server.app().authority.issue(&Actor::host(0, "test"), issuance(Guard::default())).await;
    issue().await.unwrap();
    proxy.turn(Between::Closes);
    for _ in 0..4 {
        passes_by_itself(&issue().await.unwrap_err(), "an issuance");
    }
    assert_eq!(server.ops("/readyz").await.status, 503);
    proxy.turn(Between::Passes);
    wait::until("it issues again", async || issue().await.ok()).await;
    wait::until("it is ready again", async || (server.ops("/readyz").await.status == 200).then_some(())).await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_became_a_standby_takes_no_writes_for_now() {
    let at = crate::support::stores::At::postgres().await;
    let name: String = at.rows("SELECT CAST(current_database() AS TEXT) AS n").await[0].get("n").unwrap();
    let only: &'static str =
        Box::leak(format!("ALTER DATABASE {name} SET default_transaction_read_only = on").into_boxed_str());
    at.sql(only).await;
    let db = at.connect().await;
    let error = versions::bump(&db, Topic::Access).await.unwrap_err();
    passes_by_itself(&error, "a write");
    assert!(error.detail.contains("takes no writes now"), "{}", error.detail);
    versions::read(&db).await.unwrap();
    db.close().await;
    at.end().await;
}

crate::on_both_engines! {
    async fn one_after_the_other_the_waits_of_a_request_are_bounded_together(at) {
        let other = at.connect().await;
        let mut held = other.begin().await.unwrap();
        versions::bump(&mut held, Topic::Access).await.unwrap();
        let started = monotonic();
        let change = async || {
            let mut tx = at.store.begin(&Actor::system("test")).await?;
            versions::bump(&mut tx, Topic::Access).await?;
            tx.commit().await
        };
        let request = async {
            for _ in 0..5 {
                passes_by_itself(&change().await.unwrap_err(), "a change");
            }
        };
        patience::within(patience::REQUEST, request).await;
        // each by itself would wait: twenty seconds
        assert!(started.elapsed() < Duration::from_secs(18), "{:?}", started.elapsed());
        drop(held);
        wait::until("the row is free", async || versions::bump(&at.store, Topic::Access).await.ok()).await;
        other.close().await;
    }

    async fn nobody_waits_longer_than_ten_seconds_for_a_row_that_somebody_else_holds(at) {
        let other = at.connect().await;
        let mut held = other.begin().await.unwrap();
        versions::bump(&mut held, Topic::Access).await.unwrap();
        let started = monotonic();
        let change = async {
            let mut tx = at.store.begin(&Actor::system("test")).await?;
            versions::bump(&mut tx, Topic::Access).await?;
            tx.commit().await
        };
        let error = change.await.unwrap_err();
        passes_by_itself(&error, "a change");
        assert!(error.detail.starts_with("other requests hold what this one needs"), "{}", error.detail);
        assert!(started.elapsed() < BOUNDED, "{:?}", started.elapsed());
        drop(held);
        versions::bump(&at.store, Topic::Access).await.unwrap();
        other.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuance_whose_order_is_locked_fails_alone_within_ten_seconds() {
    let at = crate::support::stores::At::postgres().await;
    let rig = Arc::new(Rig::on(&at).await);
    let (locked, free) = (rig.order().await, rig.order().await);
    let other = at.connect().await;
    let mut held = other.begin().await.unwrap();
    let lock = q(plain("UPDATE acme_orders SET status = status WHERE id = $1")).bind(locked.to_vec());
    lock.execute(&mut held).await.unwrap();
    let started = monotonic();
    let (waits, goes) = tokio::join!(
        rig.issue(issuance(Guard { idempotency: None, ..guard(locked) })),
        rig.issue(issuance(Guard { idempotency: None, ..guard(free) })),
    );
    passes_by_itself(&waits.unwrap_err(), "the locked one");
    // it may have shared the other's group, and was then written on its own
    goes.unwrap();
    assert!(started.elapsed() < BOUNDED, "{:?}", started.elapsed());
    drop(held);
    rig.issue(issuance(Guard { idempotency: None, ..guard(locked) })).await.unwrap();
    other.close().await;
    rig.store.db.close().await;
    at.end().await;
}
