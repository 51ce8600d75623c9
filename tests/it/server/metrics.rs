//! Every family and every series is there at zero before anything moves it (reference/operators.md §5.1): a rate
//! over a series that appears with its first event misses that event.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chancery::clock::{Clock, SystemClock};
use chancery::entropy::SystemEntropy;
use chancery::store::Store;
use chancery::store::engine::Db;
use serde_json::json;

use crate::support::process::Process;
use crate::support::{acme_rows, wait, wire};

/// family → series (labels as they are written) → value.
type Scrape = BTreeMap<String, BTreeMap<String, f64>>;

async fn scrape(process: &Process) -> Scrape {
    let text = wire::get(process.address("ops"), "/metrics").await.text();
    let mut families = Scrape::new();
    for line in text.lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        families.entry(name.to_owned()).or_default().insert(labels.to_owned(), value.parse().unwrap());
    }
    families
}

fn label_names(labels: &str) -> BTreeSet<String> {
    labels.split("\",").filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.to_owned()).collect()
}

/// Requests of every surface, good and bad.
async fn use_it(process: &Process) {
    let bearer = process.operator();
    let root = wire::get(process.address("http"), "/root.pem").await.body;
    let https = async |method: &str, path: &str, body: &str| {
        let stream = wire::tls(process.address("https"), &root, SystemClock.now()).await.unwrap();
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        wire::ask(stream, method, path, &headers, body.as_bytes()).await.unwrap()
    };
    let ask = json!({"names": ["a.lab.example"], "profile": "tls-server"}).to_string();
    let made = https("POST", "/api/v1/certificates", &ask).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let revoked =
        https("POST", &format!("/api/v1/certificates/{id}/revocation"), "{\"reason\":\"keyCompromise\"}").await;
    assert_eq!(revoked.status, 201, "{}", revoked.text());
    for bad in [json!({"names": ["localhost.evil..", "x"]}), json!({"names": ["a.b"], "profile": "no-such"})] {
        assert!(https("POST", "/api/v1/certificates", &bad.to_string()).await.status >= 400);
    }
    let far = json!({"names": ["a.lab.example"], "profile": "tls-server", "ttl": "4000d"}).to_string();
    assert!(https("POST", "/api/v1/certificates", &far).await.status >= 400);
    for path in
        ["/api/v1/issuers", "/api/docs", "/acme/default/directory", "/acme/none/directory", "/errors", "/no/such"]
    {
        https("GET", path, "").await;
    }
    https("POST", "/acme/default/new-account", "{}").await;
    for path in ["/crl/tls-1.crl", "/bundles/tls.pem", "/ocsp/tls-1/AAAA", "/livez", "/readyz", "/version", "/x"] {
        wire::get(process.address("http"), path).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_moves_stood_at_zero_before() {
    let home = tempfile::tempdir().unwrap();
    let process = Process::start(home.path(), &[], &[]);
    let before = scrape(&process).await;
    use_it(&process).await;
    let after = scrape(&process).await;

    let names = |s: &Scrape| s.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&before), names(&after), "a family appeared or went");
    for (family, series) in &after {
        let known: BTreeSet<_> = before[family].keys().map(|l| label_names(l)).collect();
        assert_eq!(known.len(), 1, "{family} has series with different labels: {known:?}");
        for (labels, value) in series {
            let was = before[family].get(labels);
            assert!(was.is_some(), "{family}{{{labels} appeared at {value}");
        }
    }
    let moved = |family: &str, part: &str| {
        let sum = |s: &Scrape| s[family].iter().filter(|(l, _)| l.contains(part)).map(|(_, v)| v).sum::<f64>();
        sum(&after) - sum(&before)
    };
    assert_eq!(moved("chancery_certificates_issued_total", "protocol=\"rest\""), 1.0);
    assert_eq!(moved("chancery_certificates_revoked_total", "reason=\"keyCompromise\""), 1.0);
    assert!(moved("chancery_issuance_rejected_total", "protocol=\"rest\"") >= 1.0);
    assert!(moved("chancery_ocsp_requests_total", "issuer=\"tls-1\"") >= 1.0);
    assert!(moved("chancery_acme_requests_total", "directory=\"default\"") >= 2.0);
    assert!(moved("chancery_http_requests_total", "route=\"/api/v1/certificates\",method=\"POST\"") >= 4.0);
    assert!(moved("chancery_http_requests_total", "route=\"unmatched\"") >= 1.0);
    assert!(moved("chancery_signing_duration_seconds_count", "tls-1") >= 1.0);
    assert!(moved("chancery_db_commits_total", "") >= 2.0);
    assert!(after["chancery_issuer_not_after_timestamp_seconds"].values().all(|end| *end > 1e9));
    // nothing that names a client
    assert!(!format!("{after:?}").contains("lab.example"));
}

/// What was done before a start is in its gauges: they are read from the database, by each replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gauges_tell_what_the_database_holds_also_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let first = Process::start(home.path(), &[], &[]);
    use_it(&first).await;
    let listed = wait::until("the revocation is on the CRL", async || {
        let families = scrape(&first).await;
        (families["chancery_crl_entries"]["issuer=\"tls-1\",shard=\"complete\"}"] == 1.0).then_some(families)
    });
    let size = listed.await["chancery_crl_size_bytes"]["issuer=\"tls-1\",shard=\"complete\"}"];
    assert!(size > 100.0);
    drop(first);
    let path = home.path().join(".local/share/chancery/chancery.db");
    let db = Db::open_sqlite(&path).await.unwrap();
    let store = Store::new(db, Arc::new(SystemClock), Arc::new(SystemEntropy::new())).unwrap();
    let account = acme_rows::stored_account(&store).await;
    acme_rows::stored_order(&store, &account, &["a.lab.example"]).await;
    store.db.close().await;

    let again = scrape(&Process::start(home.path(), &[], &[])).await;
    assert_eq!(again["chancery_crl_entries"]["issuer=\"tls-1\",shard=\"complete\"}"], 1.0);
    assert_eq!(again["chancery_crl_size_bytes"]["issuer=\"tls-1\",shard=\"complete\"}"], size);
    assert!(again["chancery_crl_next_update_timestamp_seconds"].values().all(|at| *at > 1e9));
    assert_eq!(again["chancery_acme_orders"]["directory=\"default\",state=\"pending\"}"], 1.0);
    assert_eq!(again["chancery_acme_orders"]["directory=\"default\",state=\"valid\"}"], 0.0);
    let certificates = |state: &str| {
        again["chancery_certificates"].iter().filter(|(l, _)| l.contains(state)).map(|(_, n)| n).sum::<f64>()
    };
    assert_eq!(certificates("state=\"revoked\""), 1.0);
    assert!(certificates("state=\"valid\"") >= 1.0 && certificates("state=\"intended\"") == 0.0);
}
