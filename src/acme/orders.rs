//! newOrder, orders, finalize and the list of an account's orders (RFC 8555 §7.1.2.1, §7.4).

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::accounts::own;
use super::envelope::Envelope;
use super::headers::{link, location};
use super::json::string;
use super::{Acme, base64url};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::acme::OrderStatus;
use crate::model::id::OrderId;
use crate::model::times;
use crate::registration::must_be_valid;
use crate::registration::orders::{AskedName, NewOrder, OrderView, PAGE};

const WHAT: &str = "the payload";

pub async fn create(request: Envelope) -> Result<Response> {
    let (account, payload) = request.by_holder().await?;
    let registration = &request.acme.registration;
    let ask = payload.object().and_then(|members| asked(&members));
    if let Err(error) = must_be_valid(account.status) {
        // its client goes on for years, and somebody asks why the name has no certificate
        let names = ask.map(|ask| ask.identifiers).unwrap_or_default();
        return registration.refused_order(&request.origin, &account, &names, error).await;
    }
    let ask = ask?;
    registration.check_terms(&request.origin, &request.directory, &account).await?;
    let view = registration.new_order(&request.origin, &request.directory, &account, ask).await?;
    Ok(shown(&request, &view, StatusCode::CREATED))
}

pub async fn show(request: Envelope) -> Result<Response> {
    let (account, payload) = request.by_account().await?;
    payload.expect_empty()?;
    let view = request.acme.registration.order_view(&account, request.id("order")?).await?;
    Ok(shown(&request, &view, StatusCode::OK))
}

pub async fn finalize(request: Envelope) -> Result<Response> {
    let (account, payload) = request.by_account().await?;
    let members = payload.object()?;
    let id: OrderId = request.id("order")?;
    let csr = string(&members, "csr", WHAT)?.ok_or_else(|| Error::malformed("the payload has no \"csr\""))?;
    let csr = base64url::decode(csr, "\"csr\"")?;
    let registration = &request.acme.registration;
    let view = registration.finalize(&request.origin, &account, id, &csr).await?;
    Ok(shown(&request, &view, StatusCode::OK))
}

pub async fn list(request: Envelope) -> Result<Response> {
    let (account, payload) = request.by_account().await?;
    own(&request, &account)?;
    payload.expect_empty()?;
    let after = request.query.as_deref().and_then(|q| q.strip_prefix("after="));
    let after = after.map(|text| super::urls::id::<OrderId>(text, "page")).transpose()?;
    let ids = request.acme.registration.orders(&account, after).await?;
    let mut headers = HeaderMap::new();
    if let (Some(last), true) = (ids.last(), ids.len() >= usize::try_from(PAGE).unwrap_or(usize::MAX)) {
        link(&mut headers, &request.urls.of(&format!("account/{}/orders?after={last}", account.id)), "next");
    }
    let orders: Vec<_> = ids.into_iter().map(|id| request.urls.order(id)).collect();
    Ok((headers, Json(json!({"orders": orders}))).into_response())
}

fn asked(members: &Map<String, Value>) -> Result<NewOrder> {
    let wrong = || Error::malformed("\"identifiers\" must be a list of {\"type\", \"value\"}");
    let list = members.get("identifiers").and_then(Value::as_array).ok_or_else(wrong)?;
    Ok(NewOrder {
        identifiers: list.iter().map(|value| asked_name(value).ok_or_else(wrong)).collect::<Result<_>>()?,
        profile: said(members, "profile")?.map(str::to_owned),
        not_before: time(members, "notBefore")?,
        not_after: time(members, "notAfter")?,
        replaces: said(members, "replaces")?.map(str::to_owned),
    })
}

/// A text that says something: programs write an empty one for what they leave out, as Boulder and Pebble take it.
fn said<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>> {
    Ok(string(members, name, WHAT)?.filter(|text| !text.is_empty()))
}

/// An identifier object; members of the wrong type make none.
pub(super) fn asked_name(value: &Value) -> Option<AskedName> {
    let part = |name| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let ancestor = match value.get("ancestorDomain") {
        None | Some(Value::Null) => None,
        Some(text) => Some(text.as_str()?.to_owned()),
    };
    Some(AskedName { kind: part("type")?, value: part("value")?, ancestor })
}

/// Programs in Go write a time that nobody gave as the first second of year 1: step sends one with every order, and
/// step-ca takes it for none.
fn time(members: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>> {
    let Some(text) = said(members, name)? else { return Ok(None) };
    match times::moment(text) {
        Ok(at) if at == times::YEAR_ONE => Ok(None),
        Ok(at) => Ok(Some(at)),
        Err(e) => Err(Error::malformed(format!("{name} cannot be read: {}", e.detail))),
    }
}

/// `Location` stands on finalize too: several clients poll there.
fn shown(request: &Envelope, view: &OrderView, status: StatusCode) -> Response {
    let mut headers = HeaderMap::new();
    location(&mut headers, &request.urls.order(view.order.id));
    if view.order.status == OrderStatus::Processing {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    (status, headers, Json(body(&request.acme, request, view))).into_response()
}

fn body(acme: &Acme, request: &Envelope, view: &OrderView) -> Value {
    let (order, urls) = (&view.order, &request.urls);
    let status = order.shown_status(acme.registration.now());
    let mut body = json!({
        "status": status.name(),
        "expires": order.expires_at,
        "identifiers": order.identifiers,
        "authorizations": view.authorizations.iter().map(|id| urls.authorization(*id)).collect::<Vec<_>>(),
        "finalize": urls.of(&format!("order/{}/finalize", order.id)),
    });
    let Some(members) = body.as_object_mut() else { return body };
    members.insert("profile".into(), order.profile.clone().into());
    if let Some(at) = order.not_before {
        members.insert("notBefore".into(), at.to_string().into());
    }
    if let Some(at) = order.not_after {
        members.insert("notAfter".into(), at.to_string().into());
    }
    if let Some(predecessor) = &order.replaces {
        members.insert("replaces".into(), predecessor.clone().into());
    }
    if let Some(error) = &order.error {
        members.insert("error".into(), error.clone());
    }
    if let (OrderStatus::Valid, Some(id)) = (status, order.certificate_id) {
        members.insert("certificate".into(), urls.certificate(id).into());
    }
    body
}
