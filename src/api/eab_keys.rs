//! External account keys: the HMAC key is told once.

use axum::Json as Reply;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use zeroize::Zeroizing;

use super::{Api, grants, idempotent, refused, shape};
use crate::access::grants::NewGrant;
use crate::access::{Caller, Permission};
use crate::api::document::{Problems, WriteProblems};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::http::extract::{Json, Query};
use crate::http::page;
use crate::model::eab;
use crate::model::id::EabKeyId;
use crate::model::identifier::shown;
use crate::model::times;
use crate::registration::external_accounts::{Bounds, GivenKey, NewEabKey};
use crate::wire::acme::{EabKey, EabKeyRequest, EabKeyRevocation};
use crate::wire::page::{Page, PageQuery};

/// List external account keys
#[utoipa::path(get, path = "/api/v1/acme/eab-keys", operation_id = "listEabKeys", tag = "acme", params(PageQuery),
    responses((status = 200, description = "A page, newest first, without HMAC keys", body = Page<EabKey>), Problems))]
pub async fn list(
    caller: Caller,
    State(api): State<Api>,
    uri: Uri,
    Query(query): Query<PageQuery>,
) -> Result<Response> {
    caller.may(Permission::ReadGrants)?;
    let limit = page::limit(query.limit)?;
    let mut rows = api.registration.eab_keys(page::cursor(query.cursor.as_deref())?, limit + 1).await?;
    let next_cursor = page::cut(&mut rows, limit, |key| key.id);
    let now = api.authority.store().now();
    let items = rows.iter().map(|key| shape::eab_key(key, now)).collect();
    Ok(page::respond(&uri, Page { items, next_cursor }))
}

/// Create an external account key
#[utoipa::path(post, path = "/api/v1/acme/eab-keys", operation_id = "createEabKey", tag = "acme",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes repeating safe for 24 hours; told again without the HMAC key")),
    request_body = EabKeyRequest,
    responses((status = 201, description = "The key with its HMAC key, this once", body = EabKey), WriteProblems))]
pub async fn create(
    caller: Caller,
    State(api): State<Api>,
    uri: Uri,
    headers: HeaderMap,
    Json { value: asked, raw }: Json<EabKeyRequest>,
) -> Result<Response> {
    refused(&api, &caller, "eab_key.refused", "", caller.may_manage_grants()).await?;
    let once = idempotent::key(&headers, &uri, &raw)?;
    if let Some(response) = idempotent::earlier(&api, &caller, once.as_ref()).await? {
        return Ok(response);
    }
    let now = api.authority.store().now();
    let mut asked = asked;
    let given = GivenKey { kid: asked.kid.take(), hmac_key: asked.hmac_key.take().map(Zeroizing::new) };
    let new = new_key(asked, now)?;
    let told = |key: &eab::EabKey| idempotent::text(&shape::eab_key(key, now));
    let (key, secret) = api.registration.take_eab_key(caller.actor(), &new, &given, once.as_ref(), told).await?;
    let mut shape = shape::eab_key(&key, now);
    shape.hmac_key = Some(secret.to_string());
    let location = [(header::LOCATION, format!("/api/v1/acme/eab-keys/{}", key.id))];
    let mut response = (StatusCode::CREATED, location, Reply(shape)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Get an external account key
#[utoipa::path(get, path = "/api/v1/acme/eab-keys/{id}", operation_id = "getEabKey", tag = "acme",
    params(("id" = String, Path, description = "eab_…")),
    responses((status = 200, description = "The key without its HMAC key", body = EabKey), Problems))]
pub async fn get(caller: Caller, State(api): State<Api>, Path(id): Path<String>) -> Result<Reply<EabKey>> {
    caller.may(Permission::ReadGrants)?;
    let key = api.registration.eab_key(parse(&id)?).await?;
    Ok(Reply(shape::eab_key(&key, api.authority.store().now())))
}

/// Revoke an external account key
#[utoipa::path(post, path = "/api/v1/acme/eab-keys/{id}/revocation", operation_id = "revokeEabKey", tag = "acme",
    params(("id" = String, Path, description = "eab_…")),
    request_body = EabKeyRevocation,
    responses((status = 201, description = "The key, revoked", body = EabKey), WriteProblems))]
pub async fn revoke(
    caller: Caller,
    State(api): State<Api>,
    Path(id): Path<String>,
    Json { value: asked, .. }: Json<EabKeyRevocation>,
) -> Result<Response> {
    let id = parse(&id)?;
    refused(&api, &caller, "eab_key.refused", &format!("eab_key:{id}"), caller.may_manage_grants()).await?;
    let key = api.registration.revoke_eab_key(caller.actor(), id, asked.accounts).await?;
    Ok((StatusCode::CREATED, Reply(shape::eab_key(&key, api.authority.store().now()))).into_response())
}

fn parse(id: &str) -> Result<EabKeyId> {
    id.parse().map_err(|_| Error::not_found(format!("EAB key {}", shown(id))))
}

fn new_key(asked: EabKeyRequest, now: Timestamp) -> Result<NewEabKey> {
    let lists = [&asked.allow_names, &asked.subjects, &asked.profiles, &asked.issuers];
    let bounded = lists.iter().any(|list| list.is_some()) || asked.max_count.is_some();
    let bounds = match &asked.grant {
        Some(id) if bounded => {
            return Err(Error::refused(
                ErrorKind::Unprocessable,
                "eab.grant",
                format!("\"{}\" and lists or a count beside it", shown(id)),
                "a grant, or bounds of its own",
                "leave one of them out",
            )
            .explained(format!(
                "the key names grant \"{}\" and lists or a count of its own; it takes one or the other",
                shown(id)
            )));
        }
        Some(id) => Bounds::Grant(grants::parse(id)?),
        None => Bounds::Own(NewGrant {
            name: asked.name.clone(),
            allow_names: asked.allow_names,
            subjects: asked.subjects,
            profiles: asked.profiles,
            issuers: asked.issuers,
            expires_in: None,
            max_count: asked.max_count,
        }),
    };
    Ok(NewEabKey {
        name: asked.name,
        directory: asked.directory.unwrap_or_else(|| "default".into()),
        bounds,
        expires_in: asked.expires.as_deref().map(|text| times::length(text, now)).transpose()?,
        max_accounts: asked.max_accounts,
    })
}
