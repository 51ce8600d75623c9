//! Health and metrics: /livez (the process alone), /readyz for issuing and /readyz/status for CRLs and OCSP (both in the
//! style of the kube-apiserver, with `?verbose`), /version, /metrics.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::{BoxFuture, join_all};
use metrics_exporter_prometheus::PrometheusHandle;

use super::startup::Startup;
use crate::error::ErrorKind;
use crate::http::host;
use crate::http::problem::Told;

/// One line of /readyz.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// `database`, `issuer/tls-1`, …
    pub name: String,
    pub failure: Option<String>,
    /// What an operator must look at although this replica is ready. It stands in every body.
    pub warning: Option<String>,
}

impl Answer {
    pub fn new(name: impl Into<String>, failure: Option<String>) -> Self {
        Answer { name: name.into(), failure, warning: None }
    }

    pub fn warning(name: impl Into<String>, why: String) -> Self {
        Answer { name: name.into(), failure: None, warning: Some(why) }
    }
}

/// A question with one or more answers.
#[derive(Clone)]
pub struct Check {
    pub name: &'static str,
    pub ask: Arc<dyn Fn() -> BoxFuture<'static, Vec<Answer>> + Send + Sync>,
}

/// A check that takes longer counts as failed: probes have short patience themselves.
const PATIENCE: Duration = Duration::from_secs(3);

/// What /readyz and /readyz/status ask, and whether a stop has begun.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Inner>);

#[derive(Default)]
struct Inner {
    draining: AtomicBool,
    startup: Startup,
    /// None until the server serves.
    checks: OnceLock<Checks>,
}

struct Checks {
    issuing: Vec<Check>,
    status: Vec<Check>,
}

/// Which of the two is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Issuing,
    Status,
}

impl std::fmt::Debug for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let checks = self.0.checks.get().into_iter().flat_map(|c| c.issuing.iter().chain(&c.status));
        f.debug_list().entries(checks.map(|check| check.name)).finish()
    }
}

impl Readiness {
    /// Of a server that does not serve yet: not ready, and alive.
    pub fn starting(startup: Startup) -> Self {
        Readiness(Arc::new(Inner { startup, ..Inner::default() }))
    }

    /// From now on these checks answer.
    pub fn begin(&self, issuing: Vec<Check>, status: Vec<Check>) {
        // a second call would change nothing: a server begins once
        let _ = self.0.checks.set(Checks { issuing, status });
    }

    pub fn start_draining(&self) {
        self.0.draining.store(true, Ordering::SeqCst);
    }

    /// Each answer, that about a stop first.
    pub async fn ask(&self, purpose: Purpose) -> Vec<Answer> {
        let draining = self.0.draining.load(Ordering::SeqCst);
        let not_serving = match (draining, self.0.checks.get()) {
            (true, _) => Some("the server is stopping".to_owned()),
            (false, None) => Some(format!(
                "the server is starting{}",
                self.0.startup.doing().map(|d| format!(": {d}")).unwrap_or_default()
            )),
            (false, Some(_)) => None,
        };
        let mut answers = vec![Answer::new("serving", not_serving)];
        let family = match purpose {
            Purpose::Issuing => "chancery_ready",
            Purpose::Status => "chancery_status_ready",
        };
        if let Some(checks) = self.0.checks.get() {
            let asked = match purpose {
                Purpose::Issuing => &checks.issuing,
                Purpose::Status => &checks.status,
            };
            answers.extend(join_all(asked.iter().map(ask_one)).await.into_iter().flatten());
        }
        let ready = answers.iter().all(|answer| answer.failure.is_none());
        metrics::gauge!(family).set(if ready { 1.0 } else { 0.0 });
        answers
    }
}

async fn ask_one(check: &Check) -> Vec<Answer> {
    let late = || vec![Answer::new(check.name, Some("no answer within 3 seconds".to_owned()))];
    tokio::time::timeout(PATIENCE, (check.ask)()).await.unwrap_or_else(|_| late())
}

/// Who may read why a check failed: the words may name hosts and files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reasons {
    Shown,
    Withheld,
}

/// /livez, /readyz, /readyz/status and /version: on every listener.
pub fn health(readiness: Readiness, reasons: Reasons) -> Router {
    Router::new()
        .route("/livez", get(|| async { text(StatusCode::OK, "ok\n".to_owned()) }))
        .route("/readyz", get(|State(asked), RawQuery(query)| readyz(asked, query, Purpose::Issuing)))
        .route("/readyz/status", get(|State(asked), RawQuery(query)| readyz(asked, query, Purpose::Status)))
        .route("/version", get(version))
        .with_state((readiness, reasons))
}

/// /metrics as well: on the ops listener alone.
pub fn router(readiness: Readiness, metrics: PrometheusHandle) -> Router {
    let families = get(move || async move {
        let kind = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
        ([kind], metrics.render())
    });
    health(readiness, Reasons::Shown).route("/metrics", families).layer(from_fn(host::require))
}

/// In the style of the kube-apiserver: `?verbose` for all lines, `?exclude=NAME` for what is not to count (`issuer`
/// leaves out every `issuer/…`).
async fn readyz(asked: (Readiness, Reasons), query: Option<String>, purpose: Purpose) -> Response {
    let (readiness, reasons) = asked;
    let query = query.unwrap_or_default();
    let verbose = query.split('&').any(|p| p == "verbose" || p.starts_with("verbose="));
    let excluded: Vec<&str> = query.split('&').filter_map(|p| p.strip_prefix("exclude=")).collect();
    let is_excluded = |name: &str| excluded.iter().any(|e| *e == name || name.split('/').next() == Some(e));
    let answers = readiness.ask(purpose).await;
    let ready = answers.iter().all(|answer| answer.failure.is_none() || is_excluded(&answer.name));
    let mut body = String::new();
    for Answer { name, failure, warning } in answers.iter().filter(|a| verbose || !ready || a.warning.is_some()) {
        let told =
            |why: &'_ str| if reasons == Reasons::Shown { why.to_owned() } else { "reason withheld".to_owned() };
        body.push_str(&match (failure, warning) {
            _ if is_excluded(name) => format!("[+]{name} excluded: ok\n"),
            (Some(why), _) => format!("[-]{name} failed: {}\n", told(why)),
            (None, Some(why)) => format!("[!]{name} warning: {}\n", told(why)),
            (None, None) => format!("[+]{name} ok\n"),
        });
    }
    body.push_str(match (ready, verbose) {
        (true, false) => "ok\n",
        (true, true) => "readyz check passed\n",
        (false, _) => "readyz check failed\n",
    });
    let mut response = text(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body);
    if !ready {
        // the layers of the public listeners would take it for a bare refusal and write another body
        response.extensions_mut().insert(Told(ErrorKind::Unavailable));
    }
    response
}

async fn version() -> Response {
    let body = serde_json::json!({"name": "chancery", "version": env!("CARGO_PKG_VERSION")});
    axum::Json(body).into_response()
}

fn text(status: StatusCode, body: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}
