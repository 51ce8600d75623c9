//! Directory and newNonce (RFC 8555 §7.1.1, §7.2). POST-as-GET works on both too (§6.3).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::Acme;
use super::envelope::Envelope;
use super::urls::Urls;
use crate::error::Result;
use crate::registration::Directory;

pub async fn show(State(acme): State<Acme>, Path(slug): Path<String>) -> Result<Json<Value>> {
    let directory = acme.registration.shared_directory(&slug)?;
    Ok(Json(body(&acme, &Urls::new(&acme, &slug), &directory)))
}

pub async fn post(request: Envelope) -> Result<Json<Value>> {
    request.by_account().await?.1.expect_empty()?;
    Ok(Json(body(&request.acme, &request.urls, &request.directory)))
}

pub async fn nonce_head(State(acme): State<Acme>, Path(slug): Path<String>) -> Result<StatusCode> {
    acme.registration.shared_directory(&slug).map(|_| StatusCode::OK)
}

pub async fn nonce_get(State(acme): State<Acme>, Path(slug): Path<String>) -> Result<StatusCode> {
    acme.registration.shared_directory(&slug).map(|_| StatusCode::NO_CONTENT)
}

pub async fn nonce_post(request: Envelope) -> Result<StatusCode> {
    request.by_account().await?.1.expect_empty()?;
    Ok(StatusCode::NO_CONTENT)
}

/// Absent members are left out, never null.
fn body(acme: &Acme, urls: &Urls, directory: &Directory) -> Value {
    let mut body = json!({
        "newNonce": urls.of("new-nonce"),
        "newAccount": urls.of("new-account"),
        "newOrder": urls.of("new-order"),
        "revokeCert": urls.of("revoke"),
        "keyChange": urls.of("key-change"),
        "renewalInfo": urls.of("renewal-info"),
    });
    if let (true, Some(members)) = (directory.config.pre_authorization, body.as_object_mut()) {
        members.insert("newAuthz".into(), urls.of("new-authz").into());
    }
    let mut meta = Map::new();
    if let Some(terms) = &directory.config.terms_of_service {
        meta.insert("termsOfService".into(), terms.clone().into());
    }
    if let Some(website) = &directory.config.website {
        meta.insert("website".into(), website.clone().into());
    }
    if directory.config.external_account_required {
        meta.insert("externalAccountRequired".into(), true.into());
    }
    if !directory.config.caa_identities.is_empty() {
        meta.insert("caaIdentities".into(), directory.identities().into());
    }
    let profiles: Map<String, Value> =
        acme.registration.described(directory).into_iter().map(|(name, text)| (name, text.into())).collect();
    if !profiles.is_empty() {
        meta.insert("profiles".into(), profiles.into());
    }
    if directory.config.subdomains {
        meta.insert("subdomainAuthAllowed".into(), true.into());
    }
    if let (false, Some(members)) = (meta.is_empty(), body.as_object_mut()) {
        members.insert("meta".into(), Value::Object(meta));
    }
    body
}
