//! An operator grants an ACME account that is there: names without a proof, as an external account key would have.

use axum::Json as Reply;
use axum::extract::{Path, State};

use super::{Api, grants, refused};
use crate::access::Caller;
use crate::api::document::WriteProblems;
use crate::error::{Error, Result};
use crate::http::extract::Json;
use crate::model::id::AccountId;
use crate::model::identifier::shown;
use crate::wire::acme::{AccountGrant, AccountGrantRequest};

/// Put an ACME account under a grant
#[utoipa::path(put, path = "/api/v1/acme/accounts/{id}/grant", operation_id = "putAccountGrant", tag = "acme",
    params(("id" = String, Path, description = "acc_…")),
    request_body = AccountGrantRequest,
    responses((status = 200, description = "The account and the grant that it acts under from now on", body = AccountGrant),
        WriteProblems))]
pub async fn put(
    caller: Caller,
    State(api): State<Api>,
    Path(id): Path<String>,
    Json { value: asked, .. }: Json<AccountGrantRequest>,
) -> Result<Reply<AccountGrant>> {
    let id: AccountId = id.parse().map_err(|_| Error::not_found(format!("ACME account {}", shown(&id))))?;
    refused(&api, &caller, "account.refused", &format!("account:{id}"), caller.may_manage_grants()).await?;
    let grant = grants::parse(&asked.grant)?;
    let account = api.registration.grant_account(caller.actor(), id, grant).await?;
    Ok(Reply(AccountGrant {
        account: account.id.to_string(),
        directory: account.directory,
        grant: grant.to_string(),
        eab_key: account.binding.map(|binding| binding.key.to_string()),
    }))
}
