//! CRL, OCSP, certificates of the CA and bundles, on both listeners and without authentication: clients that check
//! a certificate must not need one. Works while the server is locked.

mod crl;
mod domain_crl;
mod issuers;
mod ocsp;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;

use crate::authority::Authority;
use crate::clock::Timestamp;
use crate::pki::pem;

/// The paths of design/surface.md; a path works as long as any certificate names it.
pub fn routes(authority: Arc<Authority>) -> Router {
    Router::new()
        .route("/root.pem", get(issuers::root_pem))
        .route("/root.der", get(issuers::root_der))
        .route("/bundles/{file}", get(issuers::bundle))
        .route("/issuers/{file}", get(issuers::certificate))
        .route("/issuers/{issuer}/chain.pem", get(issuers::chain))
        .route("/crl/{file}", get(crl::complete))
        .route("/crl/domain/{file}", get(domain_crl::list))
        .route("/ocsp/{issuer}", get(ocsp::empty).post(ocsp::post))
        .route("/ocsp/{issuer}/{*request}", get(ocsp::get))
        .with_state(authority)
}

const PEM: &str = "application/x-pem-file";
const DER: &str = "application/pkix-cert";

/// A body that seldom changes: cached for `max_age` seconds, told apart by `tag`.
fn cached(headers: &HeaderMap, media: &'static str, body: impl Into<Body>, tag: &str, max_age: u64) -> Response {
    if is_known(headers, tag) {
        return not_modified(tag, max_age);
    }
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    name(&mut response, tag, max_age);
    response
}

/// CRLs (each DER with its tag) as one PEM text, which is made while it is sent.
fn cached_crls(headers: &HeaderMap, crls: Vec<(Bytes, String)>, max_age: u64) -> Response {
    const LABEL: &str = "X509 CRL";
    let tag = crls_tag(crls.iter().map(|(_, tag)| tag.as_str()));
    let octets = crls.iter().map(|(der, _)| pem::encoded_length(LABEL, der.len())).sum();
    let pieces = crls.into_iter().flat_map(|(der, _)| pem::pieces(LABEL, der)).map(Bytes::from);
    in_pieces(headers, PEM, octets, pieces, &tag, max_age)
}

/// What a PEM text of CRLs with these tags is called.
fn crls_tag<'a>(tags: impl IntoIterator<Item = &'a str>) -> String {
    issuers::tag(tags.into_iter().collect::<Vec<_>>().join(" ").as_bytes())
}

/// A CRL in DER. A large one goes in pieces: a body that is given as a whole is copied as a whole before it is sent.
fn cached_crl(headers: &HeaderMap, der: Bytes, tag: &str, max_age: u64) -> Response {
    const PIECE: usize = 64 << 10;
    let (octets, mut rest) = (der.len(), der);
    let pieces = std::iter::from_fn(move || {
        let piece = rest.split_to(rest.len().min(PIECE));
        (!piece.is_empty()).then_some(piece)
    });
    in_pieces(headers, "application/pkix-crl", octets, pieces, tag, max_age)
}

fn in_pieces(
    headers: &HeaderMap,
    media: &'static str,
    octets: usize,
    pieces: impl Iterator<Item = Bytes> + Send + 'static,
    tag: &str,
    max_age: u64,
) -> Response {
    let body = Body::from_stream(stream::iter(pieces.map(Ok::<_, Infallible>)));
    let mut response = cached(headers, media, body, tag, max_age);
    if response.status() == StatusCode::OK {
        response.headers_mut().insert(header::CONTENT_LENGTH, octets.into());
    }
    response
}

fn not_modified(tag: &str, max_age: u64) -> Response {
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    name(&mut response, tag, max_age);
    response
}

/// The client has what is called so (RFC 9110 §13.1.2).
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let etag = format!("\"{tag}\"");
    let mut lists = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    lists.any(|list| list.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == etag))
}

/// If-Modified-Since counts only where If-None-Match does not stand (RFC 9110 §13.1.3), and not from the future.
fn unmodified_since(headers: &HeaderMap, modified: Timestamp, now: Timestamp) -> bool {
    if headers.contains_key(header::IF_NONE_MATCH) {
        return false;
    }
    let since = headers.get(header::IF_MODIFIED_SINCE).and_then(|v| httpdate::parse_http_date(v.to_str().ok()?).ok());
    let since = since.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let since = since.and_then(|at| i64::try_from(at.as_secs()).ok());
    since.is_some_and(|since| modified.secs() <= since && since <= now.secs())
}

fn name(response: &mut Response, tag: &str, max_age: u64) {
    let etag = HeaderValue::from_str(&format!("\"{tag}\""));
    if let (Ok(etag), Ok(control)) = (etag, HeaderValue::from_str(&format!("public, max-age={max_age}"))) {
        response.headers_mut().insert(header::ETAG, etag);
        response.headers_mut().insert(header::CACHE_CONTROL, control);
    }
}

/// The HTTP date of a time (RFC 9110 §5.6.7).
fn http_date(at: Timestamp) -> Option<HeaderValue> {
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    HeaderValue::from_str(&at.to_utc().format(format).ok()?).ok()
}
