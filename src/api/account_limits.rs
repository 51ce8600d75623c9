//! The limits of one ACME account, and names that are paused for it.

use axum::Json as Reply;
use axum::extract::{Path, State};

use super::acme_directories::limit;
use super::{Api, refused};
use crate::access::Caller;
use crate::api::document::{Problems, WriteProblems};
use crate::error::Result;
use crate::http::extract::Json;
use crate::model;
use crate::model::id::AccountId;
use crate::wire::acme::{AccountLimits, AccountLimitsRequest, PausedName, ResumeRequest, Resumed};

/// Show the limits of an ACME account
#[utoipa::path(get, path = "/api/v1/acme/accounts/{id}/limits", operation_id = "getAccountLimits", tag = "acme",
    params(("id" = String, Path, description = "The account's id")),
    responses((status = 200, description = "Its own limits, and its paused names", body = AccountLimits), Problems))]
pub async fn get(caller: Caller, State(api): State<Api>, Path(id): Path<String>) -> Result<Reply<AccountLimits>> {
    caller.may_read_all_acme()?;
    shown(&api, account(&id)?).await.map(Reply)
}

/// Replace the limits of an ACME account
#[utoipa::path(put, path = "/api/v1/acme/accounts/{id}/limits", operation_id = "putAccountLimits", tag = "acme",
    params(("id" = String, Path, description = "The account's id")),
    request_body = AccountLimitsRequest,
    responses((status = 200, description = "The limits as they are now", body = AccountLimits), WriteProblems))]
pub async fn put(
    caller: Caller,
    State(api): State<Api>,
    Path(id): Path<String>,
    Json { value: asked, .. }: Json<AccountLimitsRequest>,
) -> Result<Reply<AccountLimits>> {
    allowed(&api, &caller, &id).await?;
    let id = account(&id)?;
    let own = model::limits::AccountLimits {
        new_orders: asked.new_orders.map(|text| limit("new_orders", &text)).transpose()?,
        certificates: asked.certificates.map(|text| limit("certificates", &text)).transpose()?,
        failed_validations: asked.failed_validations.map(|text| limit("failed_validations", &text)).transpose()?,
        open_orders: asked.open_orders.map(|text| limit("open_orders", &text)).transpose()?,
        pause: asked.pause.map(|text| limit("pause", &text)).transpose()?,
    };
    api.registration.set_account_limits(caller.actor(), id, own).await?;
    shown(&api, id).await.map(Reply)
}

/// Resume paused names of an ACME account
#[utoipa::path(post, path = "/api/v1/acme/accounts/{id}/resume", operation_id = "resumeAccount", tag = "acme",
    params(("id" = String, Path, description = "The account's id")),
    request_body = ResumeRequest,
    responses((status = 200, description = "What may be ordered again", body = Resumed), WriteProblems))]
pub async fn resume(
    caller: Caller,
    State(api): State<Api>,
    Path(id): Path<String>,
    Json { value: asked, .. }: Json<ResumeRequest>,
) -> Result<Reply<Resumed>> {
    allowed(&api, &caller, &id).await?;
    let names = api.registration.resume(caller.actor(), account(&id)?, asked.name.as_deref()).await?;
    Ok(Reply(Resumed { names }))
}

async fn allowed(api: &Api, caller: &Caller, id: &str) -> Result<()> {
    let object = format!("account:{}", model::identifier::shown(id));
    refused(api, caller, "account.refused", &object, caller.may_manage_acme()).await
}

fn account(id: &str) -> Result<AccountId> {
    let missing = |_| crate::error::Error::not_found(format!("ACME account \"{}\"", model::identifier::shown(id)));
    id.parse::<AccountId>().map_err(missing)
}

async fn shown(api: &Api, id: AccountId) -> Result<AccountLimits> {
    let (own, paused) = api.registration.account_limits(id).await?;
    let limits = AccountLimitsRequest {
        new_orders: own.new_orders.map(|limit| limit.to_string()),
        certificates: own.certificates.map(|limit| limit.to_string()),
        failed_validations: own.failed_validations.map(|limit| limit.to_string()),
        open_orders: own.open_orders.map(|limit| limit.to_string()),
        pause: own.pause.map(|limit| limit.to_string()),
    };
    let paused = paused.into_iter().map(|p| PausedName {
        name: p.name,
        failures: p.failures,
        since: p.since,
        paused_at: p.paused_at,
    });
    Ok(AccountLimits { limits, paused: paused.collect() })
}
