//! One router a listener, made of the rooms' routers. A path of the plain listener is also on HTTPS; HTTPS alone
//! has ACME, REST and the dashboard.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;

use super::ops::{self, Readiness, Reasons};
use crate::acme::{self, Acme};
use crate::api;
use crate::app::App;
use crate::clock::monotonic;
use crate::dashboard;
use crate::http::hsts::{self, Hsts};
use crate::http::layers::{Manners, class, known_method, manners, not_found, route};
use crate::http::problem::Dialect;
use crate::status;

/// HTTPS: everything.
pub fn https(app: &Arc<App>, readiness: &Readiness, hsts: Option<Hsts>) -> Router {
    let health = ops::health(readiness.clone(), Reasons::Withheld);
    let router = protocols(app).merge(health);
    let router = router.merge(dashboard::router(app, manners_of(app))).fallback(not_found);
    let router = counted(manners(router, manners_of(app), Dialect::Rest), "https");
    match hsts {
        Some(hsts) => router.layer(from_fn_with_state(hsts, hsts::add)),
        None => router,
    }
}

/// What programs speak: REST, ACME and status.
pub fn protocols(app: &Arc<App>) -> Router {
    let acme = acme::router(Acme { registration: app.registration.clone(), external_url: app.urls.external.clone() });
    let acme = manners(acme, manners_of(app), Dialect::Acme);
    api::router(app.clone()).merge(acme).merge(status(app))
}

/// Plain HTTP: status, which must be readable without TLS, and nothing else.
pub fn plain(app: &Arc<App>, readiness: &Readiness) -> Router {
    let router = status(app).merge(ops::health(readiness.clone(), Reasons::Withheld)).fallback(not_found);
    counted(manners(router, manners_of(app), Dialect::Plain), "http")
}

fn status(app: &Arc<App>) -> Router {
    manners(status::routes(app.authority.clone()), manners_of(app), Dialect::Plain)
}

pub fn manners_of(app: &App) -> Manners {
    Manners { external_url: app.urls.external.clone(), clock: app.clock.clone(), entropy: app.entropy.clone() }
}

/// Counts and times every request by route and status class.
fn counted(router: Router, listener: &'static str) -> Router {
    router.layer(from_fn(move |request: Request, next: Next| count(listener, request, next)))
}

async fn count(listener: &'static str, request: Request, next: Next) -> Response {
    let start = monotonic();
    let (route, method) = (route(&request).to_string(), known_method(request.method()));
    let response = next.run(request).await;
    metrics::counter!("chancery_http_requests_total", "listener" => listener, "route" => route.clone(),
        "method" => method, "status" => class(response.status()))
    .increment(1);
    metrics::histogram!("chancery_http_request_duration_seconds", "listener" => listener, "route" => route,
        "method" => method)
    .record(start.elapsed());
    response
}
