//! One router a listener, made of the rooms' routers. A path of the plain listener is also on HTTPS; HTTPS alone
//! has ACME and REST.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;

use super::ops::{self, Readiness};
use crate::app::App;
use crate::clock::monotonic;
use crate::http::error_page;
use crate::http::layers::{Manners, manners, not_found};
use crate::http::problem::Dialect;

/// HTTPS: everything.
pub fn https(app: &Arc<App>, readiness: &Readiness) -> Router {
    let router = everything(app).merge(ops::health(readiness.clone())).fallback(not_found);
    counted(manners(router, manners_of(app), Dialect::Rest), "https")
}

/// What the command line reaches within its own process: HTTPS without a listener.
pub fn everything(app: &Arc<App>) -> Router {
    Router::new().merge(error_page::routes()).merge(status(app))
}

/// Plain HTTP: status, which must be readable without TLS, and nothing else.
pub fn plain(app: &Arc<App>, readiness: &Readiness) -> Router {
    let router = status(app).merge(ops::health(readiness.clone())).fallback(not_found);
    counted(manners(router, manners_of(app), Dialect::Plain), "http")
}

fn status(_app: &Arc<App>) -> Router {
    Router::new()
}

pub fn manners_of(app: &App) -> Manners {
    Manners { external_url: app.urls.external.clone(), clock: app.clock.clone(), entropy: app.entropy.clone() }
}

/// Counts and times every request by status class.
fn counted(router: Router, listener: &'static str) -> Router {
    router.layer(from_fn(move |request: Request, next: Next| count(listener, request, next)))
}

async fn count(listener: &'static str, request: Request, next: Next) -> Response {
    let start = monotonic();
    let response = next.run(request).await;
    let class = match response.status().as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    };
    metrics::counter!("chancery_http_requests_total", "listener" => listener, "status" => class).increment(1);
    metrics::histogram!("chancery_http_request_duration_seconds", "listener" => listener).record(start.elapsed());
    response
}
