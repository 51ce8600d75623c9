//! ACME orders: list with filters, one with everything that hangs on it, and why it is as it is.

use axum::Json as Reply;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;

use super::acme_accounts::{parse as account, wrong};
use super::{Api, acme_shape};
use crate::access::{Caller, Permission};
use crate::api::document::Problems;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::http::extract::Query;
use crate::http::page;
use crate::model::acme::{Order, OrderStatus};
use crate::model::attempt::{AttemptFilter, NameSearch, OrderFilter};
use crate::model::id::OrderId;
use crate::model::identifier::shown;
use crate::model::times;
use crate::wire::acme_lists::{AcmeAttempt, AcmeAttemptQuery, AcmeOrder, AcmeOrderQuery, AcmeTimeline};
use crate::wire::page::Page;

/// List ACME orders
#[utoipa::path(get, path = "/api/v1/acme/orders", operation_id = "listAcmeOrders", tag = "acme", params(AcmeOrderQuery),
    responses((status = 200, description = "A page, newest first", body = Page<AcmeOrder>), Problems))]
pub async fn list(
    caller: Caller,
    State(api): State<Api>,
    uri: Uri,
    Query(query): Query<AcmeOrderQuery>,
) -> Result<Response> {
    caller.may(Permission::ReadAcme)?;
    let limit = page::limit(query.limit)?;
    let before = page::cursor(query.cursor.as_deref())?;
    let mut rows = api.registration.find_orders(&filter(query, api.registration.now())?, before, limit + 1).await?;
    let next_cursor = page::cut(&mut rows, limit, |order| order.id);
    rows.retain(|order| caller.may_see_order(order).is_ok());
    let now = api.registration.now();
    let items = rows.iter().map(|order| acme_shape::order(order, now)).collect();
    Ok(page::respond(&uri, Page { items, next_cursor }))
}

/// Get an ACME order
#[utoipa::path(get, path = "/api/v1/acme/orders/{id}", operation_id = "getAcmeOrder", tag = "acme",
    params(("id" = String, Path, description = "ord_…")),
    responses((status = 200, description = "The order with its authorizations and challenges and its certificate", body = AcmeOrder), Problems))]
pub async fn get(caller: Caller, State(api): State<Api>, Path(id): Path<String>) -> Result<Reply<AcmeOrder>> {
    let order = find(&api, &caller, &id).await?;
    let now = api.registration.now();
    let proofs = api.registration.proofs(order.id).await?;
    let certificate = match order.certificate_id {
        Some(id) => api.authority.certificate(id).await?,
        None => None,
    };
    let mut shape = acme_shape::order(&order, now);
    let proofs = proofs.iter().map(|(authorization, tries)| acme_shape::authorization(authorization, tries, now));
    shape.authorizations = Some(proofs.collect::<Result<_>>()?);
    shape.certificate = certificate.map(|certificate| acme_shape::certificate(&certificate, now));
    Ok(Reply(shape))
}

/// Tell why an ACME order is as it is
///
/// Everything that the CA saw of it, in the order of time, with one sentence that sums it up.
#[utoipa::path(get, path = "/api/v1/acme/orders/{id}/timeline", operation_id = "getAcmeOrderTimeline", tag = "acme",
    params(("id" = String, Path, description = "ord_…")),
    responses((status = 200, description = "The timeline", body = AcmeTimeline), Problems))]
pub async fn timeline(caller: Caller, State(api): State<Api>, Path(id): Path<String>) -> Result<Reply<AcmeTimeline>> {
    let order = find(&api, &caller, &id).await?;
    let told = api.registration.timeline(order.id).await?;
    told.map(|told| Reply(acme_shape::timeline(&told))).ok_or_else(|| none(&id))
}

/// List refused ACME requests
#[utoipa::path(get, path = "/api/v1/acme/attempts", operation_id = "listAcmeAttempts", tag = "acme", params(AcmeAttemptQuery),
    responses((status = 200, description = "A page, newest first: orders that never came about among them. Kept for 90 days, the newest 50,000", body = Page<AcmeAttempt>), Problems))]
pub async fn attempts(
    caller: Caller,
    State(api): State<Api>,
    uri: Uri,
    Query(query): Query<AcmeAttemptQuery>,
) -> Result<Response> {
    caller.may_read_all_acme()?;
    let limit = page::limit(query.limit)?;
    let before = page::cursor(query.cursor.as_deref())?;
    let now = api.registration.now();
    let filter = AttemptFilter {
        account: query.account.as_deref().map(account).transpose()?,
        directory: query.directory,
        name: query.name.as_deref().map(name).transpose()?,
        since: query.since.as_deref().map(|text| times::moment_ago(text, now)).transpose()?,
    };
    let mut rows = api.registration.find_attempts(&filter, before, limit + 1).await?;
    let next_cursor = page::cut(&mut rows, limit, |attempt| attempt.id);
    let items = rows.iter().map(acme_shape::attempt).collect();
    Ok(page::respond(&uri, Page { items, next_cursor }))
}

fn filter(query: AcmeOrderQuery, now: Timestamp) -> Result<OrderFilter> {
    let status = query.status.as_deref().map(|text| {
        OrderStatus::from_name(text)
            .map_err(|_| wrong("orders.status", text, "pending, ready, processing, valid, invalid"))
    });
    Ok(OrderFilter {
        account: query.account.as_deref().map(account).transpose()?,
        directory: query.directory,
        status: status.transpose()?,
        name: query.name.as_deref().map(name).transpose()?,
        since: query.since.as_deref().map(|text| times::moment_ago(text, now)).transpose()?,
    })
}

fn name(text: &str) -> Result<NameSearch> {
    match text.trim() {
        "" => Err(wrong("name", text, "a name such as web.lab.example, or the beginning of names such as web*")),
        text if text.len() > 300 => Err(Error::malformed("a name to search for has at most 300 bytes")),
        text => Ok(NameSearch::parse(text)),
    }
}

/// The record, if the caller may see it.
pub(super) async fn find(api: &Api, caller: &Caller, id: &str) -> Result<Order> {
    caller.may(Permission::ReadAcme)?;
    let parsed: OrderId = id.parse().map_err(|_| none(id))?;
    let order = api.registration.any_order(parsed).await?.ok_or_else(|| none(id))?;
    caller.may_see_order(&order)?;
    Ok(order)
}

fn none(id: &str) -> Error {
    Error::not_found(format!("ACME order {}", shown(id)))
}
