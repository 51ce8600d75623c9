//! The numbers, each beside a floor measured in the same run: `cargo run --release --example bench [quick]`; with
//! `crl=N` a CRL of N entries, which is judged.
//! Postgres by CHANCERY_TEST_POSTGRES_URL; without it that half is said to be skipped. Loopback only, bounded counts.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the machine's clock")]

mod acme;
mod floors;
mod large_crl;
mod load;
mod open_orders;
mod pebble;
mod server;

use load::{Connection, Run, request, run};
use server::Server;

#[tokio::main]
async fn main() {
    let quick = std::env::args().any(|a| a == "quick");
    // `only-acme`, `only-rest`, `only-ocsp`: one kind, for a profiler
    let only = std::env::args().find_map(|a| a.strip_prefix("only-").map(str::to_owned));
    let only = only.as_deref();
    if let Some(entries) = std::env::args().find_map(|a| a.strip_prefix("crl=")?.parse().ok()) {
        return large_crls(entries).await;
    }
    let scale = if quick { 1 } else { 5 };
    acme::resolver();
    acme::challenge_listener().await;
    let crypto = floors::crypto_micros();
    println!("floor: sign once and verify twice (P-256)         {crypto:>8.1} µs of one core");
    println!(
        "floor: an ACME order's signatures, {:.0} verified       {:>8.1} µs of one core",
        acme::REQUESTS + 2.0,
        floors::order_micros(acme::REQUESTS)
    );
    let peer = if only.is_none_or(|only| only == "acme") { pebble(40 * scale).await } else { None };
    measure(&Server::start("sqlite", None), scale, crypto, only, peer).await;
    match std::env::var("CHANCERY_TEST_POSTGRES_URL") {
        Ok(url) => {
            measure(&Server::start("postgres", Some(fresh_database(&url).await)), scale, crypto, only, peer).await
        }
        Err(_) => println!("postgres: skipped, CHANCERY_TEST_POSTGRES_URL is not set"),
    }
}

/// A CRL of so many entries on both engines.
async fn large_crls(entries: i64) {
    acme::resolver();
    large_crl::measure(&Server::start("sqlite", None), entries).await;
    match std::env::var("CHANCERY_TEST_POSTGRES_URL") {
        Ok(url) => {
            let server = Server::start("postgres", Some(fresh_database(&url).await));
            large_crl::measure(&server, entries).await;
        }
        Err(_) => println!("skip postgres: a CRL of {entries} entries: CHANCERY_TEST_POSTGRES_URL is not set"),
    }
}

async fn measure(server: &Server, scale: usize, crypto: f64, only: Option<&str>, peer: Option<f64>) {
    let wanted = |kind: &str| only.is_none_or(|only| only == kind);
    println!("\n{}", server.engine);
    let body = static_body(server, 2_000 * scale).await;
    for workers in [1, 16, 64].into_iter().filter(|_| wanted("rest")) {
        let total = [150, 800, 1_600][[1, 16, 64].iter().position(|w| *w == workers).unwrap_or(0)] * scale;
        let (run, cost) = counted(server, rest(server, workers, total)).await;
        println!(
            "  certificates by REST  {workers:>2} in flight {}  {cost}  {:.1} × crypto",
            run.line(),
            cost.cpu_micros / crypto
        );
    }
    for group in [1, 64].into_iter().filter(|_| wanted("rest")) {
        let rate = floors::rows_per_second(server, group, 400 * scale).await;
        println!("  floor: the same rows, {group:>2} a transaction      {rate:>8.0}/s");
    }
    if wanted("acme") {
        orders(server, scale, crypto, peer).await;
    }
    if !wanted("ocsp") {
        return;
    }
    let (run, cost) = counted(server, ocsp(server, 16, 5_000 * scale)).await;
    println!(
        "  OCSP GET, cached      16 in flight {}  {cost}  {:.0} % of the static body's rate",
        run.line(),
        run.per_second * 100.0 / body.per_second
    );
}

/// Full orders beside the floor of their signatures and commits and beside Pebble; nonces, accounts, open orders.
async fn orders(server: &Server, scale: usize, crypto: f64, peer: Option<f64>) {
    let at = server.acme();
    let commits = floors::commits_per_second(server, 200 * scale).await;
    let signatures = floors::order_micros(acme::REQUESTS);
    let floor = 1e6 / (signatures + 5e6 / commits);
    println!("  floor: 5 commits of one row and the signatures, one after the other  {floor:>8.0} orders/s");
    for workers in [1, 16, 64] {
        let (run, cost) = counted(server, acme::orders(&at, workers, 40 * workers.min(16) * scale)).await;
        let beside = match (workers, peer) {
            (1, Some(peer)) => format!(
                "  {:.0} % of the floor, {:.2} × pebble",
                run.per_second * 100.0 / floor,
                run.per_second / peer
            ),
            (1, None) => format!("  {:.0} % of the floor", run.per_second * 100.0 / floor),
            _ => String::new(),
        };
        println!(
            "  ACME orders, http-01  {workers:>2} in flight {}  {cost}  {:.1} × crypto{beside}",
            run.line(),
            cost.cpu_micros / crypto
        );
    }
    let (run, cost) = counted(server, acme::nonces(&at, 16, 1_000 * scale)).await;
    println!("  ACME nonces           16 in flight {}  {cost}", run.line());
    let (run, cost) = counted(server, acme::accounts(&at, 16, 100 * scale)).await;
    println!("  ACME accounts         16 in flight {}  {cost}", run.line());
    let (total, few) = (20_000 * scale, 40 * scale);
    let (before, memory) = (acme::open_orders(&at, few).await, server.resident_bytes());
    open_orders::store(server, total).await;
    let (after, cost) = counted(server, acme::open_orders(&at, few)).await;
    println!(
        "  new orders, before {total} open ones  {}\n  new orders, after them              {}  {cost}",
        before.line(),
        after.line()
    );
    let grown = (server.resident_bytes() - memory) * 1e5 / total as f64 / 1e6;
    println!("  memory of 10^5 open orders          {grown:>8.1} MB");
}

/// Orders a second of one worker against Pebble; `None` when it is not there.
async fn pebble(total: usize) -> Option<f64> {
    let Some(pebble) = pebble::Pebble::start() else {
        println!("pebble: skipped, it is not installed (apt-get install pebble)");
        return None;
    };
    let at = pebble.acme();
    acme::orders(&at, 1, total / 4).await;
    let before = pebble.cpu_seconds();
    let run = acme::orders(&at, 1, total).await;
    let cpu = (pebble.cpu_seconds() - before) * 1e6 / run.operations as f64;
    println!("peer: pebble, in memory  1 in flight {}  {cpu:>5.0} µs CPU", run.line());
    Some(run.per_second)
}

/// What one operation cost: CPU of the server and of Postgres' processes that serve it, commits, statements.
struct Cost {
    cpu_micros: f64,
    database_micros: f64,
    commits: f64,
    statements: f64,
    row_macs: f64,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:>5.0} + {:>4.0} µs CPU  {:.2} commits  {:>5.2} statements  {:>5.2} row MACs",
            self.cpu_micros, self.database_micros, self.commits, self.statements, self.row_macs
        )
    }
}

async fn counted(server: &Server, work: impl Future<Output = Run>) -> (Run, Cost) {
    let read = || {
        let counter = |name| server.counter(name);
        [
            server.cpu_seconds() * 1e6,
            server.database_cpu_seconds() * 1e6,
            counter("chancery_db_commits_total"),
            counter("chancery_db_statements_total"),
            counter("chancery_row_macs_total"),
        ]
    };
    let before = read();
    let run = work.await;
    let after = read();
    let [cpu_micros, database_micros, commits, statements, row_macs] =
        std::array::from_fn(|i| (after[i] - before[i]) / run.operations as f64);
    (run, Cost { cpu_micros, database_micros, commits, statements, row_macs })
}

async fn rest(server: &Server, workers: usize, total: usize) -> Run {
    let mut connections = Vec::new();
    for _ in 0..workers {
        connections.push(Connection::tls(&server.https, &server.root).await);
    }
    let bearer = format!("Bearer {}", server.token);
    // CSRs are the client's work: made before the clock starts
    let bodies: Vec<Vec<u8>> = (0..64).map(certificate_body).collect();
    let bodies = std::sync::Arc::new(bodies);
    run(workers, total, connections, move |mut connection, n| {
        let (bearer, bodies) = (bearer.clone(), std::sync::Arc::clone(&bodies));
        async move {
            let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
            let (status, _, body) =
                connection.send(request("POST", "/api/v1/certificates", &headers, bodies[n % 64].clone())).await;
            assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
            connection
        }
    })
    .await
}

/// A request for a certificate of one of a few names, with a key of its own.
fn certificate_body(n: usize) -> Vec<u8> {
    let csr = chancery::pki::pem::encode("CERTIFICATE REQUEST", &acme::csr(&format!("r{n}.bench.test")));
    serde_json::json!({"csr": csr, "profile": "tls-server"}).to_string().into_bytes()
}

/// A body that costs the server nothing: what HTTP alone allows on the listener that OCSP has.
async fn static_body(server: &Server, total: usize) -> Run {
    let (run, cost) = counted(server, plain(server, 16, total, vec!["/root.der".to_owned()])).await;
    println!("  floor: a static body  16 in flight {}  {cost}", run.line());
    run
}

async fn ocsp(server: &Server, workers: usize, total: usize) -> Run {
    use base64::Engine;
    let issuer = load::get_plain(&server.http, "/issuers/tls-1.der");
    let (tbs, ..) = chancery::pki::tbs::split_certificate(&issuer).expect("a certificate");
    let view = chancery::pki::tbs::TbsView::parse(tbs).expect("a certificate");
    let hashes = chancery::pki::ocsp_request::IssuerHashes::of(view.subject, view.spki).expect("a key");
    let paths = (0..200).map(|n| {
        let serial: chancery::model::serial::SerialNumber = format!("40{n:038x}").parse().expect("a serial");
        let hash = chancery::pki::ocsp_request::CertIdHash::Sha1;
        let request = chancery::pki::ocsp_request::encode_request(&hashes, hash, &serial, None);
        format!("/ocsp/tls-1/{}", base64::engine::general_purpose::STANDARD.encode(request).replace('+', "%2B"))
    });
    plain(server, workers, total, paths.collect()).await
}

async fn plain(server: &Server, workers: usize, total: usize, paths: Vec<String>) -> Run {
    let mut connections = Vec::new();
    for _ in 0..workers {
        connections.push(Connection::plain(&server.http).await);
    }
    let paths = std::sync::Arc::new(paths);
    run(workers, total, connections, move |mut connection, n| {
        let paths = std::sync::Arc::clone(&paths);
        async move {
            let (status, _, body) = connection.send(request("GET", &paths[n % paths.len()], &[], Vec::new())).await;
            assert!(status == 200 && !body.is_empty(), "{status}");
            connection
        }
    })
    .await
}

/// An empty database on the same server, by psql's own means through our engine.
async fn fresh_database(url: &str) -> String {
    let name = format!("bench_{}", std::process::id());
    let made = std::process::Command::new("psql").args([url, "-qc", &format!("CREATE DATABASE {name}")]).status();
    assert!(made.is_ok_and(|s| s.success()), "psql makes a database");
    let (base, query) = url.split_once('?').map_or((url, String::new()), |(b, q)| (b, format!("?{q}")));
    let start = base.find("://").map_or(0, |i| i + 3);
    let end = base[start..].find('/').map_or(base.len(), |i| start + i);
    format!("{}/{name}{query}", &base[..end])
}
