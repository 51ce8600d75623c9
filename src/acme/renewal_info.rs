//! Renewal information (RFC 9773 §4): when a certificate should be renewed. Every client polls it, signed by nobody, so it
//! costs one look-up, and what is no certificate of ours costs none.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Acme;
use crate::error::{Error, Result};
use crate::model::renewal::{RenewalId, RenewalSource};

/// How long a cache in between may go on with it: a moved window is seen soon after.
const CACHED: u64 = 300;

/// Not confidential, so any directory tells of any certificate.
pub async fn show(State(acme): State<Acme>, Path((slug, id)): Path<(String, String)>) -> Result<Response> {
    acme.registration.directory(&slug)?;
    let id: RenewalId = id.parse()?;
    let found = acme.registration.renewal(&id).await?;
    let renewal = found.ok_or_else(|| Error::not_found("certificate of this CA"))?;
    let mut body = json!({"suggestedWindow": {"start": renewal.window.start, "end": renewal.window.end}});
    if let (RenewalSource::Rule(rule), Some(members)) = (&renewal.source, body.as_object_mut()) {
        members.extend(rule.explanation_url.clone().map(|url| ("explanationURL".to_owned(), url.into())));
    }
    let after = renewal.retry_after.as_secs();
    let cache = format!("public, max-age={}", after.min(CACHED));
    Ok(([(header::RETRY_AFTER, after.to_string()), (header::CACHE_CONTROL, cache)], Json(body)).into_response())
}
