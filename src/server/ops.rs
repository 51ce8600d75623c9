//! Health and metrics: /livez (the process alone), /readyz (kube style, `?verbose`), /version, /metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::{BoxFuture, join_all};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::error::Result;

/// A named question with a yes or a reason.
pub type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// A check that takes longer counts as failed: probes have short patience themselves.
const PATIENCE: Duration = Duration::from_secs(3);

/// What /readyz asks, and whether a stop has begun.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Inner>);

#[derive(Default)]
struct Inner {
    draining: AtomicBool,
    checks: Vec<(&'static str, Check)>,
}

impl std::fmt::Debug for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.checks.iter().map(|(name, _)| name)).finish()
    }
}

impl Readiness {
    pub fn new(checks: Vec<(&'static str, Check)>) -> Self {
        Readiness(Arc::new(Inner { draining: AtomicBool::new(false), checks }))
    }

    pub fn start_draining(&self) {
        self.0.draining.store(true, Ordering::SeqCst);
    }

    /// Each check with its failure, the draining one first.
    pub async fn ask(&self) -> Vec<(&'static str, Option<String>)> {
        let draining = self.0.draining.load(Ordering::SeqCst);
        let mut answers = vec![("serving", draining.then(|| "the server is stopping".to_owned()))];
        answers.extend(join_all(self.0.checks.iter().map(|(name, check)| ask_one(name, check))).await);
        let ready = answers.iter().all(|(_, failure)| failure.is_none());
        metrics::gauge!("chancery_ready").set(if ready { 1.0 } else { 0.0 });
        answers
    }
}

async fn ask_one(name: &'static str, check: &Check) -> (&'static str, Option<String>) {
    let failure = match tokio::time::timeout(PATIENCE, check()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.detail),
        Err(_) => Some("no answer within 3 seconds".to_owned()),
    };
    (name, failure)
}

/// /livez, /readyz and /version: on every listener.
pub fn health(readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(|| async { text(StatusCode::OK, "ok\n".to_owned()) }))
        .route("/readyz", get(readyz))
        .route("/version", get(version))
        .with_state(readiness)
}

/// /metrics as well: on the ops listener alone.
pub fn router(readiness: Readiness, metrics: PrometheusHandle) -> Router {
    let families = get(move || async move {
        let kind = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
        ([kind], metrics.render())
    });
    health(readiness).route("/metrics", families)
}

async fn readyz(State(readiness): State<Readiness>, RawQuery(query): RawQuery) -> Response {
    let answers = readiness.ask().await;
    let ready = answers.iter().all(|(_, failure)| failure.is_none());
    let verbose = query.is_some_and(|q| q.split('&').any(|p| p == "verbose" || p.starts_with("verbose=")));
    let mut body = String::new();
    if verbose || !ready {
        for (name, failure) in &answers {
            match failure {
                None => body.push_str(&format!("[+]{name} ok\n")),
                Some(why) => body.push_str(&format!("[-]{name} failed: {why}\n")),
            }
        }
    }
    body.push_str(match (ready, verbose) {
        (true, false) => "ok\n",
        (true, true) => "readyz check passed\n",
        (false, _) => "readyz check failed\n",
    });
    text(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body)
}

async fn version() -> Response {
    let body = serde_json::json!({"name": "chancery", "version": env!("CARGO_PKG_VERSION")});
    axum::Json(body).into_response()
}

fn text(status: StatusCode, body: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}
