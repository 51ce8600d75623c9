//! Grants: an administrator without bounds creates and revokes them.

use axum::Json as Reply;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::{Api, idempotent, refused, shape};
use crate::access::grants::NewGrant;
use crate::access::{Caller, Permission};
use crate::api::document::{Problems, WriteProblems};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::http::extract::{Json, Query};
use crate::http::page;
use crate::model::id::GrantId;
use crate::model::identifier::shown;
use crate::model::times;
use crate::wire::grants::{Grant, GrantRequest, GrantRevocation};
use crate::wire::page::{Page, PageQuery};

/// List grants
#[utoipa::path(get, path = "/api/v1/grants", operation_id = "listGrants", tag = "grants", params(PageQuery),
    responses((status = 200, description = "A page, newest first", body = Page<Grant>), Problems))]
pub async fn list(
    caller: Caller,
    State(api): State<Api>,
    uri: Uri,
    Query(query): Query<PageQuery>,
) -> Result<Response> {
    caller.may(Permission::ReadGrants)?;
    let limit = page::limit(query.limit)?;
    let mut rows = api.access.grants(page::cursor(query.cursor.as_deref())?, limit + 1).await?;
    let next_cursor = page::cut(&mut rows, limit, |grant| grant.id);
    let now = api.authority.store().now();
    let items = rows.iter().map(|grant| shape::grant(grant, now)).collect();
    Ok(page::respond(&uri, Page { items, next_cursor }))
}

/// Create a grant
#[utoipa::path(post, path = "/api/v1/grants", operation_id = "createGrant", tag = "grants",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes repeating safe for 24 hours")),
    request_body = GrantRequest,
    responses((status = 201, description = "The grant", body = Grant), WriteProblems))]
pub async fn create(
    caller: Caller,
    State(api): State<Api>,
    uri: Uri,
    headers: HeaderMap,
    Json { value: asked, raw }: Json<GrantRequest>,
) -> Result<Response> {
    refused(&api, &caller, "grant.refused", "", caller.may_manage_grants()).await?;
    let key = idempotent::key(&headers, &uri, &raw)?;
    if let Some(response) = idempotent::earlier(&api, &caller, key.as_ref()).await? {
        return Ok(response);
    }
    let now = api.authority.store().now();
    let new = new_grant(asked, now)?;
    let told = |grant: &crate::model::grant::Grant| idempotent::text(&shape::grant(grant, now));
    let grant = api.access.create_grant(caller.actor(), &new, key.as_ref(), told).await?;
    let location = [(header::LOCATION, format!("/api/v1/grants/{}", grant.id))];
    Ok((StatusCode::CREATED, location, Reply(shape::grant(&grant, now))).into_response())
}

/// Get a grant
#[utoipa::path(get, path = "/api/v1/grants/{id}", operation_id = "getGrant", tag = "grants",
    params(("id" = String, Path, description = "grt_…")),
    responses((status = 200, description = "The grant", body = Grant), Problems))]
pub async fn get(caller: Caller, State(api): State<Api>, Path(id): Path<String>) -> Result<Reply<Grant>> {
    let id = parse(&id)?;
    // everybody may see what bounds them
    if caller.grant() != Some(id) {
        caller.may(Permission::ReadGrants)?;
    }
    let grant = api.access.grant(id).await?;
    Ok(Reply(shape::grant(&grant, api.authority.store().now())))
}

/// Revoke a grant with what hangs on it
#[utoipa::path(post, path = "/api/v1/grants/{id}/revocation", operation_id = "revokeGrant", tag = "grants",
    params(("id" = String, Path, description = "grt_…")),
    responses((status = 201, description = "The grant and how much ended with it: tokens, EAB keys, ACME accounts and open orders",
        body = GrantRevocation), WriteProblems))]
pub async fn revoke(caller: Caller, State(api): State<Api>, Path(id): Path<String>) -> Result<Response> {
    let id = parse(&id)?;
    refused(&api, &caller, "grant.refused", &format!("grant:{id}"), caller.may_manage_grants()).await?;
    let (grant, ended) = api.access.revoke_grant(caller.actor(), id).await?;
    let shape = GrantRevocation {
        grant: shape::grant(&grant, api.authority.store().now()),
        tokens: ended.tokens,
        eab_keys: ended.eab_keys,
        accounts: ended.accounts,
        orders: ended.orders,
    };
    Ok((StatusCode::CREATED, Reply(shape)).into_response())
}

/// An id of a path, or of a body that names a grant.
pub fn parse(id: &str) -> Result<GrantId> {
    id.parse().map_err(|_| Error::not_found(format!("grant {}", shown(id))))
}

pub fn new_grant(asked: GrantRequest, now: Timestamp) -> Result<NewGrant> {
    Ok(NewGrant {
        name: asked.name,
        allow_names: asked.allow_names,
        subjects: asked.subjects,
        profiles: asked.profiles,
        issuers: asked.issuers,
        expires_in: asked.expires.as_deref().map(|text| times::length(text, now)).transpose()?,
        max_count: asked.max_count,
    })
}
