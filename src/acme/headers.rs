//! What every ACME response carries, also an error: a fresh nonce after a POST, the link to the directory,
//! no-store, and CORS for clients in browsers (RFC 8555 §6.1, §6.5, §7.1).

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Acme;
use super::urls::Urls;
use crate::error::{Error, ErrorKind};
use crate::http::problem::Failure;
use crate::http::refusals::noting;

pub const REPLAY_NONCE: HeaderName = HeaderName::from_static("replay-nonce");

pub async fn add(State(acme): State<Acme>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // other clients trip over headers that they did not ask for, and caches would need Vary
    let from_a_page = request.headers().contains_key(header::ORIGIN);
    let mut response = match method == Method::OPTIONS {
        true => preflight(from_a_page),
        false => run(&acme, request, next).await,
    };
    let (directory, endpoint) = parts(&path);
    // only known words become label values: a client cannot grow the metrics
    let known = acme.registration.shared_directory(directory).map_or("unknown", |_| directory);
    count(known, endpoint, &response);
    let wants_nonce = method == Method::POST || endpoint == "new-nonce";
    if wants_nonce && let Err(error) = add_nonce(&acme, response.headers_mut()) {
        // without randomness there is no nonce, and nothing is signed either
        response = error.into_response();
    }
    let further = links_of_failure(&acme, directory, &response);
    let headers = response.headers_mut();
    if endpoint != "directory" && acme.registration.shared_directory(directory).is_ok() {
        link(headers, &Urls::new(&acme, directory).of("directory"), "index");
    }
    if let Some((url, relation)) = further {
        link(headers, &url, relation);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if from_a_page {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("Link, Replay-Nonce, Location, Retry-After"),
        );
    }
    response
}

async fn run(acme: &Acme, request: Request, next: Next) -> Response {
    match acme.registration.shared_directory(parts(request.uri().path()).0) {
        Ok(directory) => {
            let surface = format!("acme:{}", directory.slug);
            noting(&acme.registration.refusals, &surface, request, next).await
        }
        Err(_) => next.run(request).await,
    }
}

/// The terms to agree to (RFC 8555 §7.3.3), the page about a limit (§6.6).
fn links_of_failure(acme: &Acme, directory: &str, response: &Response) -> Option<(String, &'static str)> {
    let kind = response.extensions().get::<Failure>()?.0.kind;
    match kind {
        ErrorKind::UserActionRequired => {
            let terms = acme.registration.directory(directory).ok()?.config.terms_of_service?;
            Some((terms, "terms-of-service"))
        }
        ErrorKind::RateLimited => Some((format!("{}/errors/{}", acme.external_url, kind.code()), "help")),
        _ => None,
    }
}

/// Adds `Link: <url>;rel="…"`.
pub fn link(headers: &mut HeaderMap, url: &str, relation: &str) {
    if let Ok(value) = HeaderValue::from_str(&format!("<{url}>;rel=\"{relation}\"")) {
        headers.append(header::LINK, value);
    }
}

pub fn location(headers: &mut HeaderMap, url: &str) {
    if let Ok(value) = HeaderValue::from_str(url) {
        headers.insert(header::LOCATION, value);
    }
}

fn add_nonce(acme: &Acme, headers: &mut HeaderMap) -> Result<(), Error> {
    let nonce = acme.registration.nonces.mint()?;
    let value = HeaderValue::from_str(&nonce).map_err(|e| Error::internal("a nonce is no header value", e))?;
    headers.insert(REPLAY_NONCE, value);
    Ok(())
}

fn preflight(from_a_page: bool) -> Response {
    if !from_a_page {
        return StatusCode::NO_CONTENT.into_response();
    }
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// `/acme/default/order/ord_…` → (`default`, `order`).
fn parts(path: &str) -> (&str, &str) {
    let mut segments = path.trim_start_matches("/acme/").split('/');
    (segments.next().unwrap_or_default(), segments.next().unwrap_or_default())
}

/// The first segment after the directory.
pub const ENDPOINTS: [&str; 13] = [
    "directory",
    "new-nonce",
    "new-account",
    "account",
    "key-change",
    "new-authz",
    "new-order",
    "order",
    "authorization",
    "challenge",
    "certificate",
    "revoke",
    "renewal-info",
];

fn count(directory: &str, endpoint: &str, response: &Response) {
    let Some(endpoint) = ENDPOINTS.into_iter().find(|e| *e == endpoint) else { return };
    let kind = response.extensions().get::<Failure>().map(|f| f.0.kind);
    let error = kind.map(|kind| crate::http::problem::row(kind).acme);
    let status = kind.map_or_else(|| response.status(), |kind| crate::http::problem::row(kind).acme_status);
    metrics::counter!("chancery_acme_requests_total", "directory" => directory.to_owned(), "endpoint" => endpoint,
        "status" => crate::http::layers::class(status), "error" => error.unwrap_or("none"))
    .increment(1);
}
