//! OCSP over HTTP (RFC 6960 App. A, RFC 5019 §5): POST with the request as body, GET with its base64 in the path.
//! The raw path is read, because base64 may hold `/` and `//`.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::http_date;
use crate::authority::Authority;
use crate::authority::ocsp::OcspAnswer;
use crate::error::{Error, ErrorKind, Result};
use crate::http::extract;
use crate::pki::ocsp_request::MAX_OCTETS;

pub async fn post(
    State(authority): State<Arc<Authority>>,
    Path(issuer): Path<String>,
    request: Request,
) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let media = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    if !media.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/ocsp-request") {
        return Err(Error::refused(
            ErrorKind::UnsupportedMediaType,
            "ocsp.content_type",
            format!("\"{}\"", crate::model::identifier::shown(media)),
            "application/ocsp-request",
            "send the DER of an OCSPRequest with this type",
        )
        .explained(format!(
            "Content-Type is \"{}\"; an OCSP request needs application/ocsp-request",
            crate::model::identifier::shown(media)
        )));
    }
    let request = extract::read_of_stranger(&parts, body, MAX_OCTETS).await?;
    let now = authority.store().now();
    Ok(response(authority.ocsp(&issuer, &request).await?, false, now))
}

pub async fn get(
    State(authority): State<Arc<Authority>>,
    Path((issuer, _)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response> {
    let now = authority.store().now();
    let encoded = uri.path().strip_prefix("/ocsp/").and_then(|p| p.split_once('/')).map_or("", |(_, rest)| rest);
    // what does not decode is answered in OCSP's own words: malformedRequest
    let request = decode(encoded).unwrap_or_default();
    Ok(response(authority.ocsp(&issuer, &request).await?, true, now))
}

/// The bare path: there is no request in it.
pub async fn empty(State(authority): State<Arc<Authority>>, Path(issuer): Path<String>) -> Result<Response> {
    let now = authority.store().now();
    Ok(response(authority.ocsp(&issuer, &[]).await?, true, now))
}

fn decode(encoded: &str) -> Option<Vec<u8>> {
    if encoded.len() > MAX_OCTETS * 3 {
        return None;
    }
    let plain = percent_decode(encoded)?;
    STANDARD.decode(&plain).or_else(|_| STANDARD_NO_PAD.decode(&plain)).ok()
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => {
                let pair = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    Some(plain)
}

/// Signed answers may be cached by GET until a quarter of their life is over, at most a minute: a revocation must
/// be seen soon (RFC 5019 §6).
fn response(answer: OcspAnswer, by_get: bool, now: crate::clock::Timestamp) -> Response {
    const MAX_AGE: u64 = 60;
    let mut response = answer.der.to_vec().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/ocsp-response"));
    match answer.fresh.filter(|_| by_get) {
        Some(fresh) => {
            let left = fresh.next_update.since(now).as_secs() / 4;
            let control = format!("max-age={}, public, no-transform, must-revalidate", left.min(MAX_AGE));
            let dates = [(header::LAST_MODIFIED, fresh.produced_at), (header::EXPIRES, fresh.next_update)];
            for (name, at) in dates {
                if let Some(date) = http_date(at) {
                    headers.insert(name, date);
                }
            }
            if let Ok(control) = HeaderValue::from_str(&control) {
                headers.insert(header::CACHE_CONTROL, control);
            }
        }
        None => {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }
    response
}
