//! newAccount and the account resource (RFC 8555 §7.3).

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::envelope::Envelope;
use super::external_account;
use super::headers::location;
use super::json::{flag, string};
use super::urls::Urls;
use crate::error::{Error, ErrorKind, Result};
use crate::model::acme::Account;
use crate::model::id::AccountId;
use crate::pki::key_policy::KeyPolicy;
use crate::registration::accounts::NewAccount;
use crate::registration::active;

const WHAT: &str = "the payload";

pub async fn create(request: Envelope) -> Result<Response> {
    let (key, payload) = request.by_key(&KeyPolicy::with_any_rsa_length()).await?;
    let members = payload.object()?;
    let registration = &request.acme.registration;
    // an account that exists is found before terms or anything else is asked for
    if let Some(account) = registration.account_by_key(&request.directory.slug, &key).await? {
        return Ok(shown(&request.urls, &active(account)?, StatusCode::OK));
    }
    if flag(&members, "onlyReturnExisting", WHAT)? {
        return Err(Error::new(ErrorKind::AccountDoesNotExist, "this key has no account here"));
    }
    let binding = external_account::requested(&members, request.url(), &key)?;
    let ask = NewAccount {
        binding,
        contact: contacts(&members)?.unwrap_or_default(),
        terms_agreed: flag(&members, "termsOfServiceAgreed", WHAT)?,
    };
    let urls = request.urls.clone();
    let (account, fresh) =
        registration.new_account(&request.origin, &request.directory, key, ask, |id| urls.account(id)).await?;
    let status = if fresh { StatusCode::CREATED } else { StatusCode::OK };
    Ok(shown(&request.urls, &active(account)?, status))
}

pub async fn show_or_update(request: Envelope) -> Result<Response> {
    let (account, payload) = request.by_account().await?;
    own(&request, &account)?;
    if payload.is_empty() {
        return Ok(shown(&request.urls, &account, StatusCode::OK));
    }
    let members = payload.object()?;
    let registration = &request.acme.registration;
    let account = match string(&members, "status", WHAT)? {
        Some("deactivated") => registration.deactivate_account(&request.origin, &account).await?,
        None | Some("valid") => match contacts(&members)? {
            Some(contact) => registration.set_contact(&request.origin, &account, contact).await?,
            None => account,
        },
        // RFC 8555 §7.3.2 would ignore it; who asks for it believes that the account ended, so we say no as others do
        Some(_) => return Err(Error::malformed("\"status\" of an account can only be set to \"deactivated\"")),
    };
    Ok(shown(&request.urls, &account, StatusCode::OK))
}

/// The account in the path must be the one that signed. Another one is refused alike, whether it exists or not.
pub fn own(request: &Envelope, account: &Account) -> Result<()> {
    match request.id::<AccountId>("account") {
        Ok(id) if id == account.id => Ok(()),
        _ => Err(Error::new(ErrorKind::Forbidden, "this is not the URL of the account that signed the request")),
    }
}

fn contacts(members: &Map<String, Value>) -> Result<Option<Vec<String>>> {
    let wrong = || Error::malformed("\"contact\" must be a list of URLs");
    let Some(value) = members.get("contact") else { return Ok(None) };
    let list = value.as_array().ok_or_else(wrong)?;
    list.iter().map(|v| v.as_str().map(str::to_owned).ok_or_else(wrong)).collect::<Result<_>>().map(Some)
}

fn shown(urls: &Urls, account: &Account, status: StatusCode) -> Response {
    let mut body = json!({
        "status": account.status.name(),
        "contact": account.contact,
        "orders": urls.of(&format!("account/{}/orders", account.id)),
    });
    if let (true, Some(members)) = (account.terms_agreed, body.as_object_mut()) {
        members.insert("termsOfServiceAgreed".into(), true.into());
    }
    if let (Some(binding), Some(members)) = (&account.binding, body.as_object_mut()) {
        members.insert("externalAccountBinding".into(), binding.shown.clone());
    }
    let mut headers = HeaderMap::new();
    location(&mut headers, &account.url);
    (status, headers, Json(body)).into_response()
}
