//! What wraps every route: a request id, security headers, a time limit, a net for panics, and the rendering of
//! failures in the router's dialect. Headers that are always the same, and the net, are layers of tower-http. Layers nest: the inner one renders, the outer one leaves it as it is.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use super::client_address::ClientAddress;
use super::drain;
use super::host;
use super::problem::{self, Context, Dialect, Failure};
use crate::clock::{Clock, monotonic};
use crate::entropy::Entropy;
use crate::error::{Error, ErrorKind};
use crate::model::id::RequestId;
use crate::store::patience;
use crate::telemetry::REQUESTS;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longer than any issuance may take; what runs on in a task of its own is not cut.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// What the layers need of the server.
#[derive(Clone)]
pub struct Manners {
    /// Without a slash at its end.
    pub external_url: Arc<str>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for Manners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Manners({})", self.external_url)
    }
}

/// The id of the request, `req_…`: an extension of every request inside the layers.
#[derive(Debug, Clone)]
pub struct Tracked(pub Arc<str>);

/// Wraps all routes of `router`.
pub fn manners<S: Clone + Send + Sync + 'static>(router: Router<S>, manners: Manners, dialect: Dialect) -> Router<S> {
    let default = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    let security = (
        default(header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        default(header::REFERRER_POLICY, "no-referrer"),
        default(header::X_FRAME_OPTIONS, "DENY"),
        default(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    );
    let net = CatchPanicLayer::custom(panicked);
    router.layer(net).layer(from_fn_with_state((manners, dialect), around)).layer(security)
}

/// `2xx`, `4xx`, …: the word for a status in metrics.
pub fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

/// The template of the route that a request matched, such as `/api/v1/certificates/{id}`: its path may hold what a
/// log or a metric must not.
pub fn route<B>(request: &axum::http::Request<B>) -> Arc<str> {
    let matched = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    matched.filter(|path| !path.contains("__private")).unwrap_or("unmatched").into()
}

/// The fallback of the whole server.
pub async fn not_found() -> Error {
    Error::not_found("path here; the REST API begins at /api/v1, the ACME directory is /acme/default/directory")
}

async fn around(State((manners, dialect)): State<(Manners, Dialect)>, mut request: Request, next: Next) -> Response {
    let dialect = if dialect == Dialect::Rest && is_for_people(&request) { Dialect::Page } else { dialect };
    let outer = request.extensions().get::<Tracked>().cloned();
    let Tracked(id) = outer.clone().unwrap_or_else(|| fresh(&manners));
    request.extensions_mut().insert(Tracked(id.clone()));
    let line = outer.is_none().then(|| Line::begin(&mut request));
    let context = Context { external_url: &manners.external_url, request_id: &id };
    // what came through a listener has a client; a request of the command line in its own process has no Host
    let refused = match ClientAddress::of(request.extensions()) {
        Some(_) if outer.is_none() => host::check(&request).err(),
        _ => None,
    };
    let (request, rest) = drain::keep(request, outer.is_none());
    let answered = async {
        match refused {
            Some(error) => bare(&error, dialect, &context),
            None => next.run(request).await,
        }
    };
    let answered = async {
        match outer {
            None => patience::within(patience::REQUEST, answered).await,
            Some(_) => answered.await,
        }
    };
    let response = match tokio::time::timeout(TIME_LIMIT, answered).await {
        Ok(response) => response,
        Err(_) => bare(&Error::new(ErrorKind::TimedOut, "the request ran into its time limit"), dialect, &context),
    };
    if let Some(rest) = rest {
        rest.drain().await;
    }
    let mut response = told(response, dialect, &context);
    if let Some(line) = line {
        finish(response.headers_mut(), &id);
        line.end(&id, &response);
    }
    response
}

/// A browser that asks for a page of ours is answered by one, also when there is none.
fn is_for_people(request: &Request) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    !request.uri().path().starts_with("/api/") && accept.contains("text/html")
}

/// Who asks, once somebody knows: for the line in the log.
#[derive(Debug, Clone, Default)]
pub struct Who(Arc<OnceLock<String>>);

impl Who {
    pub fn is(parts: &Extensions, actor: impl fmt::Display) {
        if let Some(Who(slot)) = parts.get::<Who>() {
            // the first to know is right: nobody changes within one request
            let _ = slot.set(actor.to_string());
        }
    }
}

/// The one line of a request in the log: its route as a template, never its path, query, headers or body, which may
/// hold names and secrets.
struct Line {
    start: std::time::Instant,
    method: Method,
    route: Arc<str>,
    remote: Option<ClientAddress>,
    who: Who,
}

impl Line {
    fn begin(request: &mut Request) -> Line {
        let who = Who::default();
        request.extensions_mut().insert(who.clone());
        let remote = ClientAddress::of(request.extensions());
        Line { start: monotonic(), method: request.method().clone(), route: route(request), remote, who }
    }

    fn end(self, id: &str, response: &Response) {
        let told = response.extensions().get::<problem::Told>().map(|told| told.0);
        let status = response.status().as_u16();
        let micros = self.start.elapsed().as_micros();
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: REQUESTS,
                    request_id = id,
                    method = known_method(&self.method),
                    route = &*self.route,
                    status,
                    ms = (micros / 100) as f64 / 10.0,
                    remote = self.remote.map(|client| tracing::field::display(client.ip())),
                    actor = self.who.0.get().map(String::as_str),
                    code = told.map(ErrorKind::code),
                    "request"
                )
            };
        }
        // probes come every few seconds, for ever
        let probe = matches!(&*self.route, "/livez" | "/readyz" | "/readyz/status");
        match told {
            _ if probe => line!(debug),
            Some(kind) if problem::is_ours(kind) => line!(warn),
            _ => line!(info),
        }
    }
}

/// A client cannot grow logs or metrics by methods that it makes up.
pub fn known_method(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|name| *name == method.as_str()).unwrap_or("other")
}

fn fresh(manners: &Manners) -> Tracked {
    let made = RequestId::new(manners.clock.now(), manners.entropy.as_ref());
    // without randomness a request still gets its answer; nothing is signed then anyway
    Tracked(made.map_or_else(|_| "req_unknown".into(), |id| id.to_string().into()))
}

fn bare(error: &Error, dialect: Dialect, context: &Context<'_>) -> Response {
    problem::render(error, dialect, context, HeaderMap::new())
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text =
        panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    Error::new(ErrorKind::Internal, format!("a handler panicked: {}", text.unwrap_or_default())).into_response()
}

/// Renders a failure; also the bare refusals of axum itself (404, 405, a path that is not UTF-8).
fn told(mut response: Response, dialect: Dialect, context: &Context<'_>) -> Response {
    let error = match response.extensions_mut().remove::<Failure>() {
        Some(Failure(error)) => error,
        None if is_bare(&response) => Arc::new(of_status(response.status())),
        None => return response,
    };
    if error.kind == ErrorKind::RateLimited {
        let limit = error.rule.as_ref().map_or_else(|| "other".to_owned(), |rule| rule.name.clone());
        metrics::counter!("chancery_rate_limited_total", "limit" => limit).increment(1);
    }
    let headers = std::mem::take(response.headers_mut());
    problem::render(&error, dialect, context, headers)
}

fn is_bare(response: &Response) -> bool {
    let failed = response.status().is_client_error() || response.status().is_server_error();
    let media = response.headers().get(header::CONTENT_TYPE);
    // `render` marks its own bodies, so that an outer layer does not tell a text one again
    let told = response.extensions().get::<problem::Told>().is_some();
    failed && !told && media.is_none_or(|media| media.as_bytes() == b"text/plain; charset=utf-8")
}

fn of_status(status: StatusCode) -> Error {
    match status {
        StatusCode::NOT_FOUND => Error::not_found("path here"),
        StatusCode::METHOD_NOT_ALLOWED => {
            Error::new(ErrorKind::MethodNotAllowed, "this path has other methods: see the Allow header")
        }
        StatusCode::PAYLOAD_TOO_LARGE => Error::new(ErrorKind::TooLarge, "the body is over the limit"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            Error::new(ErrorKind::UnsupportedMediaType, "this media type is not taken")
        }
        status if status.is_client_error() => Error::malformed("the path, the query or a header cannot be parsed"),
        status => Error::new(ErrorKind::Internal, format!("a bare {status} came out of a handler")),
    }
}

fn finish(headers: &mut HeaderMap, id: &str) {
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, value);
    }
    // answers to somebody with a credential: a cache that nobody asked for must not keep them
    let json = headers.get(header::CONTENT_TYPE).is_some_and(|media| media.as_bytes() == b"application/json");
    if json {
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::entropy::SeededEntropy;
    use axum::body::{Body, to_bytes};
    use axum::routing::get;
    use serde_json::Value;
    use tower::ServiceExt;

    fn app() -> Router {
        let made = Manners {
            external_url: "https://ca.test".into(),
            clock: Arc::new(ManualClock::at(Timestamp::from_secs(1_700_000_000))),
            entropy: Arc::new(SeededEntropy::new(1)),
        };
        async fn refuse() -> Error {
            Error::malformed("no")
        }
        async fn fall() -> Error {
            panic!("secret thing")
        }
        let acme = manners(Router::new().route("/acme", get(refuse)), made.clone(), Dialect::Acme);
        let plain = manners(Router::new().route("/crl", get(refuse)), made.clone(), Dialect::Plain);
        let rest = Router::new().route("/rest", get(refuse)).route("/panic", get(fall)).merge(acme).merge(plain);
        manners(rest.fallback(not_found), made, Dialect::Rest)
    }

    async fn call(method: &str, path: &str) -> (StatusCode, HeaderMap, String) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let (parts, body) = app().oneshot(request).await.unwrap().into_parts();
        (parts.status, parts.headers, String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn each_dialect_tells_the_same_failure_once() {
        let (status, headers, body) = call("GET", "/rest").await;
        assert_eq!(
            (status.as_u16(), headers[header::CONTENT_TYPE].to_str().unwrap()),
            (400, "application/problem+json")
        );
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["instance"], headers[REQUEST_ID].to_str().unwrap());
        assert_eq!(body["type"], "https://ca.test/errors/malformed");
        assert!(call("GET", "/acme").await.2.contains("urn:ietf:params:acme:error:malformed"));
        assert_eq!(call("GET", "/crl").await.2, "malformed: no\n");
    }

    #[tokio::test]
    async fn unknown_paths_and_methods_are_problems() {
        assert!(call("GET", "/nothing").await.2.contains("\"code\":\"not_found\""));
        let (status, headers, body) = call("DELETE", "/rest").await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(headers[header::ALLOW], "GET,HEAD");
        assert!(body.contains("\"code\":\"method_not_allowed\""), "{body}");
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_without_its_text() {
        let (status, _, body) = call("GET", "/panic").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!body.contains("secret") && body.contains("\"code\":\"internal\""));
    }

    #[tokio::test]
    async fn every_answer_has_the_security_headers_once() {
        for path in ["/rest", "/panic", "/acme", "/crl", "/nothing"] {
            let (_, headers, _) = call("GET", path).await;
            for name in ["x-content-type-options", "referrer-policy", "x-frame-options", "content-security-policy"] {
                assert_eq!(headers.get_all(name).iter().count(), 1, "{path} {name}");
            }
        }
    }
}
