//! CRL, OCSP, certificates of the CA and bundles, on both listeners and without authentication: clients that check
//! a certificate must not need one. Works while the server is locked.

mod crl;
mod domain_crl;
mod issuers;
mod ocsp;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::authority::Authority;

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
fn cached(headers: &HeaderMap, media: &'static str, body: Vec<u8>, tag: &str, max_age: u64) -> Response {
    let etag = format!("\"{tag}\"");
    let control = HeaderValue::from_str(&format!("public, max-age={max_age}"));
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.split(',').any(|one| one.trim().trim_start_matches("W/") == etag));
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { body.into_response() };
    let own = response.headers_mut();
    if !known {
        own.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    }
    if let (Ok(etag), Ok(control)) = (HeaderValue::from_str(&etag), control) {
        own.insert(header::ETAG, etag);
        own.insert(header::CACHE_CONTROL, control);
    }
    response
}

/// The HTTP date of a time (RFC 9110 §5.6.7).
fn http_date(at: crate::clock::Timestamp) -> Option<HeaderValue> {
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    HeaderValue::from_str(&at.to_utc().format(format).ok()?).ok()
}
