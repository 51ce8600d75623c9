//! Roots, bundles, issuer certificates and chains.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;

use super::{DER, PEM, cached};
use crate::authority::Authority;
use crate::error::{Error, ErrorKind, Result};
use crate::model::identifier::shown;
use crate::model::issuer::IssuerRole;
use crate::model::serial::to_hex;
use crate::pki::pem;

const HOUR: u64 = 3_600;

pub async fn root_pem(State(authority): State<Arc<Authority>>, headers: HeaderMap) -> Result<Response> {
    let root = own_root(&authority)?;
    Ok(cached(&headers, PEM, pem::encode("CERTIFICATE", &root).into_bytes(), &tag(&root), HOUR))
}

pub async fn root_der(State(authority): State<Arc<Authority>>, headers: HeaderMap) -> Result<Response> {
    let root = own_root(&authority)?;
    let tag = tag(&root);
    Ok(cached(&headers, DER, root, &tag, HOUR))
}

fn own_root(authority: &Authority) -> Result<Vec<u8>> {
    authority.own_root().ok_or_else(|| Error::not_found("root yet"))
}

/// The roots of one trust domain.
pub async fn bundle(
    State(authority): State<Arc<Authority>>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    if let Some(domain) = file.strip_suffix(".crl.pem") {
        return super::domain_crl::bundle(&authority, domain, &headers).await;
    }
    let unknown = || {
        let names = "bundles are named DOMAIN.pem and DOMAIN.crl.pem";
        Error::not_found(format!("bundle \"{}\"; {names}", shown(&file)))
    };
    let domain = file.strip_suffix(".pem").ok_or_else(unknown)?;
    let snapshot = authority.snapshot();
    let roots = snapshot.roots(domain);
    if roots.is_empty() {
        let refused = snapshot.issuers.values().filter(|i| i.issuer.domain == domain).find_map(|i| i.refused.clone());
        return Err(refused.map_or_else(unknown, |why| Error::new(ErrorKind::Unavailable, why)));
    }
    let text: String = roots.iter().map(|der| pem::encode("CERTIFICATE", der)).collect();
    let tag = tag(text.as_bytes());
    Ok(cached(&headers, PEM, text.into_bytes(), &tag, HOUR))
}

/// `{issuer}.pem` or `{issuer}.der`: the issuer's own certificate.
pub async fn certificate(
    State(authority): State<Arc<Authority>>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let unknown = || Error::not_found(format!("issuer file \"{}\"; write ISSUER.pem or ISSUER.der", shown(&file)));
    let (slug, extension) = file.rsplit_once('.').ok_or_else(unknown)?;
    let snapshot = authority.snapshot();
    let der = snapshot.issuer(slug)?.certificate()?.der.clone();
    let tag = tag(&der);
    match extension {
        "pem" => Ok(cached(&headers, PEM, pem::encode("CERTIFICATE", &der).into_bytes(), &tag, HOUR)),
        "der" => Ok(cached(&headers, DER, der, &tag, HOUR)),
        _ => Err(unknown()),
    }
}

/// The intermediates above a leaf of this issuer, without the root.
pub async fn chain(
    State(authority): State<Arc<Authority>>,
    Path(slug): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let snapshot = authority.snapshot();
    let issuer = snapshot.issuer(&slug)?;
    if issuer.issuer.role == IssuerRole::Root {
        return Err(Error::not_found(format!("chain of {slug}: a root has no intermediates")));
    }
    let text: String = snapshot.chain(issuer.issuer.id).iter().map(|der| pem::encode("CERTIFICATE", der)).collect();
    let tag = tag(text.as_bytes());
    Ok(cached(&headers, PEM, text.into_bytes(), &tag, HOUR))
}

pub(super) fn tag(body: &[u8]) -> String {
    to_hex(digest(&SHA256, body).as_ref().get(..16).unwrap_or_default())
}
