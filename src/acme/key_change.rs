//! Key change (RFC 8555 §7.3.5): an inner JWS by the new key inside an outer one by the account. The new key
//! proves that it agrees, the old one that the account does.

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::envelope::{Envelope, account_key};
use super::headers::location;
use super::json::string;
use super::jwk::Jwk;
use super::jws::{Jws, Signed};
use crate::error::{Error, ErrorKind, Result};
use crate::model::acme::{Account, AccountKey};
use crate::pki::key_policy::KeyPolicy;

pub async fn change(request: Envelope) -> Result<Response> {
    let (account, payload) = request.by_account().await?;
    let inner = Jws::from_members(&payload.object()?)?;
    let key = agreed(&request, &account, &inner)?;
    match request.acme.registration.change_key(&request.origin, &account, key).await? {
        Ok(changed) => {
            let mut headers = HeaderMap::new();
            location(&mut headers, &changed.url);
            Ok((StatusCode::OK, headers).into_response())
        }
        Err(holder) => {
            let error = Error::new(ErrorKind::Conflict, "this key has an account already, see Location");
            let mut response = error.into_response();
            location(response.headers_mut(), &holder.url);
            Ok(response)
        }
    }
}

/// The rules of §7.3.5 for the inner JWS, one by one.
fn agreed(request: &Envelope, account: &Account, inner: &Jws) -> Result<AccountKey> {
    let refuse = |why: &str| Err(Error::malformed(format!("the inner JWS of a key change {why} (RFC 8555 §7.3.5)")));
    let Signed::ByKey(jwk) = &inner.signer else { return refuse("carries the new key as \"jwk\"") };
    if inner.nonce.is_some() {
        return refuse("has no \"nonce\"");
    }
    if inner.url != request.url() {
        return refuse("has the same \"url\" as the outer one");
    }
    let key = account_key(jwk, &KeyPolicy::with_any_rsa_length())?;
    let members = inner.verify(jwk)?.object()?;
    if string(&members, "account", "the inner payload")? != Some(account.url.as_str()) {
        return refuse("names the account's URL as \"account\"");
    }
    let Some(Value::Object(old)) = members.get("oldKey") else { return refuse("has the present key as \"oldKey\"") };
    if Jwk::parse(old, "")?.thumbprint() != account.key.thumbprint {
        return refuse("has the present key as \"oldKey\"");
    }
    if key.thumbprint == account.key.thumbprint {
        return refuse("brings a new key, not the present one");
    }
    Ok(key)
}
