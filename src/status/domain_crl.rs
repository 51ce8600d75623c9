//! The list of a whole trust domain for programs that read one CRL, and the CRLs of a domain as one PEM file.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;

use super::{cached_crl, cached_crls, http_date};
use crate::authority::Authority;
use crate::error::{Error, Result};
use crate::model::identifier::shown;

/// As for the CRL of one issuer.
const MAX_AGE: u64 = 5;

/// `/crl/domain/{domain}.crl`: the indirect CRL in DER.
pub async fn list(
    State(authority): State<Arc<Authority>>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let domain = file
        .strip_suffix(".crl")
        .ok_or_else(|| Error::not_found(format!("list \"{}\"; write DOMAIN.crl", shown(&file))))?;
    let crl = authority.domain_crl(domain).await?;
    let mut response = cached_crl(&headers, crl.der.clone(), &crl.tag, MAX_AGE);
    if let Some(date) = http_date(crl.this_update) {
        response.headers_mut().insert(header::LAST_MODIFIED, date);
    }
    Ok(response)
}

/// `/bundles/{domain}.crl.pem`: the CRLs of the domain's issuers and of the CAs above them, up to the roots.
pub(super) async fn bundle(authority: &Authority, domain: &str, headers: &HeaderMap) -> Result<Response> {
    if !authority.snapshot().domains.iter().any(|d| d.slug == domain) {
        return Err(Error::not_found(format!("trust domain \"{}\"", shown(domain))));
    }
    Ok(cached_crls(headers, authority.crl_bundle(domain).await?, MAX_AGE))
}
