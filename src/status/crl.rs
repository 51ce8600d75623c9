//! CRLs over plain HTTP (RFC 5280 §4.2.1.13, RFC 2585).

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;

use super::{cached_crl, cached_crls, crls_tag, http_date, not_modified, unmodified_since};
use crate::authority::Authority;
use crate::error::{Error, Result};
use crate::model::identifier::shown;

/// Short, so that a revocation is seen soon behind a cache; nextUpdate is a day away.
const MAX_AGE: u64 = 5;

/// `{issuer}.crl` and `{issuer}.pem`: the complete CRL in DER or PEM.
pub async fn complete(
    State(authority): State<Arc<Authority>>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let unknown = || Error::not_found(format!("CRL \"{}\"; write ISSUER.crl or ISSUER.pem", shown(&file)));
    let (slug, form) = file.rsplit_once('.').filter(|(_, form)| ["crl", "pem"].contains(form)).ok_or_else(unknown)?;
    let crl = authority.current_crl(slug).await?;
    let now = authority.store().now();
    let unmodified = crl.modified.is_some_and(|modified| unmodified_since(&headers, modified, now));
    let mut response = match (unmodified, form) {
        (true, "pem") => not_modified(&crls_tag([crl.tag.as_str()]), MAX_AGE),
        (true, _) => not_modified(&crl.tag, MAX_AGE),
        (false, "pem") => cached_crls(&headers, vec![(crl.der.clone(), crl.tag.clone())], MAX_AGE),
        (false, _) => cached_crl(&headers, crl.der.clone(), &crl.tag, MAX_AGE),
    };
    if let Some(date) = crl.modified.and_then(http_date) {
        response.headers_mut().insert(header::LAST_MODIFIED, date);
    }
    Ok(response)
}
