//! A CRL of up to a million entries: how soon a revocation is on it while certificates are issued, and what it costs in
//! memory and on disk. Each line says which bar it has to keep; one that does not is a failure.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chancery::clock::SystemClock;
use chancery::entropy::SystemEntropy;
use chancery::model::actor::Actor;
use chancery::model::serial::SerialNumber;
use chancery::pki::crl_facts::CrlFacts;
use chancery::store::engine::{Db, Sql, q};
use chancery::store::versions::{Topic, bump};
use chancery::store::{Store, hierarchy};

use super::load::{Connection, request};
use super::server::Server;

/// From so many entries on the memory of a publication is judged: the promise is about a million.
const JUDGED: i64 = 1_000_000;
/// From a revocation's answer to the CRL that lists it.
const SOON: Duration = Duration::from_secs(5);
/// Of the rate without publications: on two processors one of them signs.
const SHARE: f64 = 0.25;
const MB: f64 = 1e6;
/// Memory beside two copies of the DER.
const AROUND: f64 = 32.0 * MB;
const WORKERS: usize = 8;
const REVOCATIONS: usize = 6;
/// Rows of one statement of the set-up: the server's own writes go in between.
const CHUNK: i64 = 50_000;

/// Says of each bar whether it holds.
pub async fn measure(server: &Server, entries: i64) {
    println!("\n{}: a CRL of {entries} entries", server.engine);
    let store = open(server).await;
    let quiet = rate_for(server, Duration::from_secs(3)).await;
    // what issuing takes by itself is not the CRL's
    let before = server.resident_bytes();
    let set_up = Instant::now();
    revoke_many(&store, entries).await;
    let set_up = set_up.elapsed();
    server.forget_peak();
    let first = published(server, &store, entries).await;
    let size = first.der.len() as f64;
    println!(
        "  rows written in {:.0} s, first publication {:.1} s, DER {:.1} MB",
        set_up.as_secs_f64(),
        first.took.as_secs_f64(),
        size / MB
    );
    let first_peak = server.peak_bytes() - before;
    drop(first);
    // the one for later is signed apart, and domains have a list of their own
    tokio::time::sleep(Duration::from_secs(if entries > 100_000 { 8 } else { 2 })).await;
    let disk = disk(server, &store).await;
    let busy = busy(server, &store).await;
    let grown = self::disk(server, &store).await - disk;
    let peak = server.peak_bytes() - before;
    let rows = kept(&store).await;
    store.db.close().await;
    let bar = |what: &str, holds: bool, seen: String| {
        println!("{} {}: {what}: {seen}", if holds { "ok" } else { "not ok" }, server.engine);
    };
    let worst = busy.delays.iter().max().copied().unwrap_or_default();
    bar(
        "a revocation is on the CRL within 5 s",
        worst <= SOON,
        format!("{:.2} s at most of {:?}", worst.as_secs_f64(), busy.delays),
    );
    let share = busy.per_second / quiet;
    bar(
        "issuing goes on while it is published",
        share >= SHARE,
        format!("{:.0}/s, {:.0} % of {quiet:.0}/s without", busy.per_second, share * 100.0),
    );
    let allowed = 2.0 * size + AROUND;
    let memory = format!(
        "{:.0} MB above {:.0} MB, at most {:.0} MB ({:.0} MB at the first publication)",
        peak / MB,
        before / MB,
        allowed / MB,
        first_peak / MB
    );
    // below that the caches of the issuing that goes on are as large as the list
    if entries >= JUDGED {
        bar("memory is two copies of the DER and 32 MB", peak <= allowed, memory);
    } else {
        println!("  memory: {memory}; judged from {JUDGED} entries on");
    }
    bar(
        "the last three CRLs are kept",
        rows <= 3,
        format!("{rows}; on disk {:.0} MB more after {} publications", grown / MB, busy.publications),
    );
    let smallest = Duration::from_micros(2 * entries.unsigned_abs());
    bar(
        "publications keep a distance",
        busy.closest >= smallest,
        format!("{:.2} s, at least {:.2} s", busy.closest.as_secs_f64(), smallest.as_secs_f64()),
    );
}

async fn open(server: &Server) -> Store {
    let db = match server.database() {
        Some(url) => Db::open_postgres(url, 2, "chancery").await,
        None => Db::open_sqlite(&server.data().join("chancery.db")).await,
    };
    let db = db.expect("the server's own database");
    Store::new(db, Arc::new(SystemClock), Arc::new(SystemEntropy::new())).expect("a store")
}

const CERTIFICATES: Sql = Sql {
    name: "bench",
    sqlite: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) \
             INSERT INTO certificates (id, serial, issuer_id, issuer, profile, profile_revision, status, subject, names, not_before, not_after, \
             spki_sha256, key_algorithm, via, requester, replica_id, intended_at, issued_at, revoked_at, reason) \
             SELECT randomblob(16), unhex('40' || hex(randomblob(19))), issuers.id, 'tls-1', 'bulk', 1, 'revoked', 'CN=bulk', '[]', $2, $3, \
             randomblob(32), 'P-256', 'rest', 'bench', randomblob(16), $2, $2, $2, 'superseded' FROM n, issuers WHERE slug = 'tls-1'",
    postgres: "INSERT INTO certificates (id, serial, issuer_id, issuer, profile, profile_revision, status, subject, names, not_before, not_after, \
               spki_sha256, key_algorithm, via, requester, replica_id, intended_at, issued_at, revoked_at, reason) \
               SELECT decode(md5(random()::text), 'hex'), decode('40' || md5(random()::text) || substr(md5(random()::text), 1, 6), 'hex'), issuers.id, \
               'tls-1', 'bulk', 1, 'revoked', 'CN=bulk', '[]', $2, $3, decode(md5(random()::text) || md5(random()::text), 'hex'), 'P-256', 'rest', 'bench', \
               decode(md5(random()::text), 'hex'), $2, $2, $2, 'superseded' FROM generate_series(1, $1) AS n, issuers WHERE slug = 'tls-1'",
};
const REVOCATION_ROWS: &str = "INSERT INTO revocations (issuer_id, serial, certificate_id, revoked_at, reason, not_after) \
    SELECT issuer_id, serial, id, revoked_at, reason, not_after FROM certificates WHERE profile = 'bulk' ON CONFLICT DO NOTHING";

async fn revoke_many(store: &Store, entries: i64) {
    let now = store.now();
    let mut left = entries;
    while left > 0 {
        let count = left.min(CHUNK);
        let end = now + chancery::clock::days(300);
        q(CERTIFICATES).bind(count).bind(now).bind(end).execute(&store.db).await.expect("certificates");
        left -= count;
    }
    let rows = Sql { name: "bench", sqlite: REVOCATION_ROWS, postgres: REVOCATION_ROWS };
    q(rows).execute(&store.db).await.expect("revocations");
}

struct First {
    der: hyper::body::Bytes,
    took: Duration,
}

/// Says that there is something to publish, and waits until all of it is served.
async fn published(server: &Server, store: &Store, entries: i64) -> First {
    let issuers = hierarchy::issuers(store).await.expect("issuers");
    let issuer = issuers.iter().find(|i| i.slug == "tls-1").expect("tls-1").id;
    let mut tx = store.begin(&Actor::system("bench")).await.expect("begin");
    hierarchy::mark_crl_dirty(&mut tx, issuer).await.expect("dirty");
    bump(&mut tx, Topic::Revocations).await.expect("a version");
    tx.commit().await.expect("commit");
    let (began, mut connection) = (Instant::now(), Connection::plain(&server.http).await);
    loop {
        let (length, _) = head(&mut connection).await;
        if length > usize::try_from(entries).unwrap_or(0) * 30 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "it is never published");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let took = began.elapsed();
    let der = get(&mut connection).await;
    let listed = CrlFacts::parse(&der).expect("a CRL").count;
    assert!(listed >= entries.unsigned_abs(), "{listed} entries");
    First { der, took }
}

/// Size and entity tag of what is served.
async fn head(connection: &mut Connection) -> (usize, String) {
    let (status, headers, _) = connection.send(request("HEAD", "/crl/tls-1.crl", &[], Vec::new())).await;
    assert_eq!(status, 200);
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    (text("content-length").parse().expect("a length"), text("etag"))
}

async fn get(connection: &mut Connection) -> hyper::body::Bytes {
    let (status, _, body) = connection.send(request("GET", "/crl/tls-1.crl", &[], Vec::new())).await;
    assert_eq!(status, 200);
    body
}

struct Busy {
    delays: Vec<Duration>,
    per_second: f64,
    /// Between the beginnings of two publications.
    closest: Duration,
    publications: usize,
}

/// Issues all the while, and revokes one certificate after the other, each as soon as the last one is on the CRL.
async fn busy(server: &Server, store: &Store) -> Busy {
    let load = Load::start(server).await;
    let mut api = Connection::tls(&server.https, &server.root).await;
    let mut status = Connection::plain(&server.http).await;
    let (mut delays, mut changes, mut begun) = (Vec::new(), Vec::new(), BTreeSet::new());
    let (_, mut tag) = head(&mut status).await;
    for _ in 0..REVOCATIONS {
        let serial = issue_and_revoke(&mut api, server).await;
        let answered = Instant::now();
        loop {
            let (_, now) = head(&mut status).await;
            if now != tag {
                tag = now;
                changes.push(Instant::now());
                begun.extend(beginnings(store).await);
                if lists(&get(&mut status).await, &serial) {
                    break;
                }
            }
            assert!(answered.elapsed() < Duration::from_secs(60), "a revocation is not published");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        delays.push(changes.last().map_or(Duration::MAX, |at| at.duration_since(answered)));
    }
    let gaps =
        begun.iter().zip(begun.iter().skip(1)).map(|(one, next)| Duration::from_micros((next - one).unsigned_abs()));
    let closest = gaps.min().unwrap_or(Duration::MAX);
    Busy { delays, per_second: load.stop().await, closest, publications: changes.len() }
}

fn lists(der: &[u8], serial: &SerialNumber) -> bool {
    CrlFacts::parse(der).expect("a CRL").entries().any(|entry| entry.serial == serial.octets())
}

async fn issue_and_revoke(api: &mut Connection, server: &Server) -> SerialNumber {
    let bearer = format!("Bearer {}", server.token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let (status, _, body) =
        api.send(request("POST", "/api/v1/certificates", &headers, super::certificate_body(0))).await;
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
    let made: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    let path = format!("/api/v1/certificates/{}/revocation", made["id"].as_str().expect("an id"));
    let (status, _, body) = api.send(request("POST", &path, &headers, br#"{"reason":"superseded"}"#.to_vec())).await;
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
    made["serial"].as_str().expect("a serial").parse().expect("a serial")
}

/// Certificates by REST until it is stopped.
struct Load {
    stopped: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    began: Instant,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    async fn start(server: &Server) -> Load {
        let (stopped, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut tasks = Vec::new();
        for worker in 0..WORKERS {
            let mut connection = Connection::tls(&server.https, &server.root).await;
            let (stopped, done, bearer) = (stopped.clone(), done.clone(), format!("Bearer {}", server.token));
            let body = super::certificate_body(worker);
            tasks.push(tokio::spawn(async move {
                while !stopped.load(Ordering::Relaxed) {
                    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
                    let sent = request("POST", "/api/v1/certificates", &headers, body.clone());
                    let (status, _, answer) = connection.send(sent).await;
                    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        Load { stopped, done, began: Instant::now(), tasks }
    }

    /// Certificates a second.
    async fn stop(self) -> f64 {
        let rate = self.done.load(Ordering::Relaxed) as f64 / self.began.elapsed().as_secs_f64();
        self.stopped.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("every certificate is issued");
        }
        rate
    }
}

async fn rate_for(server: &Server, time: Duration) -> f64 {
    let load = Load::start(server).await;
    tokio::time::sleep(time).await;
    load.stop().await
}

/// Octets of the database: its files, or what Postgres says.
async fn disk(server: &Server, store: &Store) -> f64 {
    if server.database().is_none() {
        let size = |name| std::fs::metadata(server.data().join(name)).map_or(0, |m| m.len());
        return (size("chancery.db") + size("chancery.db-wal")) as f64;
    }
    const SIZE: &str = "SELECT pg_database_size(current_database()) AS size";
    let rows = q(Sql { name: "bench", sqlite: SIZE, postgres: SIZE }).fetch_all(&store.db).await.expect("a size");
    rows[0].get::<i64>("size").expect("a number") as f64
}

/// When the publications of the CRLs that are kept began, in microseconds.
async fn beginnings(store: &Store) -> Vec<i64> {
    const ROWS: &str = "SELECT crls.created_at FROM crls JOIN issuers ON issuers.id = issuer_id WHERE slug = 'tls-1'";
    let rows = q(Sql { name: "bench", sqlite: ROWS, postgres: ROWS }).fetch_all(&store.db).await.expect("the CRLs");
    rows.iter().map(|row| row.get("created_at").expect("a time")).collect()
}

async fn kept(store: &Store) -> i64 {
    const ROWS: &str = "SELECT COUNT(*) AS n FROM crls JOIN issuers ON issuers.id = issuer_id WHERE slug = 'tls-1'";
    let rows = q(Sql { name: "bench", sqlite: ROWS, postgres: ROWS }).fetch_all(&store.db).await.expect("a count");
    rows[0].get("n").expect("a number")
}
