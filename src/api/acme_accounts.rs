//! ACME accounts: list with filters, one, and how an operator ends one.

use axum::Json as Reply;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Api, acme_shape, refused};
use crate::access::Caller;
use crate::api::document::{Problems, WriteProblems};
use crate::error::{Error, ErrorKind, Result};
use crate::http::extract::{Json, Query};
use crate::http::page;
use crate::model::acme::AccountStatus;
use crate::model::attempt::AccountFilter;
use crate::model::id::AccountId;
use crate::model::identifier::shown;
use crate::model::serial::parse_hex;
use crate::wire::acme_lists::{AcmeAccount, AcmeAccountQuery, AcmeAccountRevocation};
use crate::wire::page::Page;

/// List ACME accounts
#[utoipa::path(get, path = "/api/v1/acme/accounts", operation_id = "listAcmeAccounts", tag = "acme", params(AcmeAccountQuery),
    responses((status = 200, description = "A page, newest first", body = Page<AcmeAccount>), Problems))]
pub async fn list(
    caller: Caller,
    State(api): State<Api>,
    uri: Uri,
    Query(query): Query<AcmeAccountQuery>,
) -> Result<Response> {
    caller.may_read_all_acme()?;
    let limit = page::limit(query.limit)?;
    let before = page::cursor(query.cursor.as_deref())?;
    let mut rows = api.registration.find_accounts(&filter(query)?, before, limit + 1).await?;
    let next_cursor = page::cut(&mut rows, limit, |account| account.id);
    let items = rows.iter().map(acme_shape::account).collect();
    Ok(page::respond(&uri, Page { items, next_cursor }))
}

/// Get an ACME account
#[utoipa::path(get, path = "/api/v1/acme/accounts/{id}", operation_id = "getAcmeAccount", tag = "acme",
    params(("id" = String, Path, description = "acc_…")),
    responses((status = 200, description = "The account", body = AcmeAccount), Problems))]
pub async fn get(caller: Caller, State(api): State<Api>, Path(id): Path<String>) -> Result<Reply<AcmeAccount>> {
    caller.may_read_all_acme()?;
    let id = parse(&id)?;
    let found = api.registration.any_account(id).await?;
    found.map(|account| Reply(acme_shape::account(&account))).ok_or_else(|| none(&id.to_string()))
}

/// End an ACME account
///
/// For ever: its open orders and authorizations end with it, its certificates stay as they are.
#[utoipa::path(post, path = "/api/v1/acme/accounts/{id}/revocation", operation_id = "revokeAcmeAccount", tag = "acme",
    params(("id" = String, Path, description = "acc_…")),
    request_body = AcmeAccountRevocation,
    responses((status = 201, description = "The account, revoked", body = AcmeAccount), WriteProblems))]
pub async fn revoke(
    caller: Caller,
    State(api): State<Api>,
    Path(id): Path<String>,
    Json { value: asked, .. }: Json<AcmeAccountRevocation>,
) -> Result<Response> {
    let id = parse(&id)?;
    refused(&api, &caller, "account.revocation_refused", &format!("account:{id}"), caller.may_manage_acme()).await?;
    let ended = api.registration.revoke_account(caller.actor(), id, &asked.reason).await?;
    Ok((StatusCode::CREATED, Reply(acme_shape::account(&ended))).into_response())
}

fn filter(query: AcmeAccountQuery) -> Result<AccountFilter> {
    let grant = query.grant.as_deref().map(|id| {
        id.parse().map_err(|_| wrong("accounts.grant", id, "the id of a grant, grt_ and 26 letters or digits"))
    });
    Ok(AccountFilter {
        directory: query.directory,
        status: query.status.as_deref().map(status).transpose()?,
        grant: grant.transpose()?,
        thumbprint: query.thumbprint.as_deref().map(thumbprint).transpose()?,
        contact: query.q.map(|q| q.trim().to_owned()).filter(|q| !q.is_empty()),
    })
}

fn status(text: &str) -> Result<AccountStatus> {
    AccountStatus::from_name(text).map_err(|_| wrong("accounts.status", text, "valid, deactivated, revoked"))
}

/// As clients print it, or in hexadecimal.
fn thumbprint(text: &str) -> Result<[u8; 32]> {
    let hex = parse_hex(text).and_then(|bytes| bytes.try_into().ok());
    let base64 = || URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    let allowed = "32 bytes in base64url (43 characters) or hexadecimal";
    hex.or_else(base64).ok_or_else(|| wrong("accounts.thumbprint", text, allowed))
}

pub(super) fn wrong(rule: &str, value: &str, allowed: &str) -> Error {
    Error::refused(
        ErrorKind::Unprocessable,
        rule,
        format!("\"{}\"", shown(value)),
        allowed,
        "correct it or leave it out",
    )
    .explained(format!(
        "\"{}\" is not a {} to filter by; use {allowed}",
        shown(value),
        rule.rsplit('.').next().unwrap_or(rule)
    ))
}

pub(super) fn parse(id: &str) -> Result<AccountId> {
    id.parse().map_err(|_| none(&shown(id)))
}

fn none(id: &str) -> Error {
    Error::not_found(format!("ACME account {id}"))
}
