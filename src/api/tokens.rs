//! API tokens: an administrator without bounds creates and revokes them; the secret is told once.

use axum::Json as Reply;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::{Api, grants, idempotent, refused, shape};
use crate::access::tokens::NewToken;
use crate::access::{Caller, Permission};
use crate::api::document::{Problems, WriteProblems};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::http::extract::{Json, Query};
use crate::http::page;
use crate::model::actor::Role;
use crate::model::id::TokenId;
use crate::model::identifier::shown;
use crate::model::times;
use crate::model::token as model;
use crate::wire::page::{Page, PageQuery};
use crate::wire::tokens::{Token, TokenRequest};

/// List tokens
#[utoipa::path(get, path = "/api/v1/tokens", operation_id = "listTokens", tag = "tokens", params(PageQuery),
    responses((status = 200, description = "A page, newest first, without secrets", body = Page<Token>), Problems))]
pub async fn list(
    caller: Caller,
    State(api): State<Api>,
    uri: Uri,
    Query(query): Query<PageQuery>,
) -> Result<Response> {
    caller.may(Permission::ReadTokens)?;
    let limit = page::limit(query.limit)?;
    let mut rows = api.access.tokens(page::cursor(query.cursor.as_deref())?, limit + 1).await?;
    let next_cursor = page::cut(&mut rows, limit, |token| token.id);
    let now = api.authority.store().now();
    let items = rows.iter().map(|token| shape::token(token, now)).collect();
    Ok(page::respond(&uri, Page { items, next_cursor }))
}

/// Create a token
#[utoipa::path(post, path = "/api/v1/tokens", operation_id = "createToken", tag = "tokens",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes repeating safe for 24 hours; told again without the secret")),
    request_body = TokenRequest,
    responses((status = 201, description = "The token with its secret, this once", body = Token), WriteProblems))]
pub async fn create(
    caller: Caller,
    State(api): State<Api>,
    uri: Uri,
    headers: HeaderMap,
    Json { value: asked, raw }: Json<TokenRequest>,
) -> Result<Response> {
    refused(&api, &caller, "token.refused", "", caller.may_manage_tokens()).await?;
    let key = idempotent::key(&headers, &uri, &raw)?;
    if let Some(response) = idempotent::earlier(&api, &caller, key.as_ref()).await? {
        return Ok(response);
    }
    let now = api.authority.store().now();
    let new = new_token(asked, now)?;
    let (token, secret) = match &key {
        None => api.access.create_token(caller.actor(), &new).await?,
        Some(key) => {
            let answer = |token: &model::Token| {
                Ok((StatusCode::CREATED.as_u16(), idempotent::text(&shape::token(token, now))?))
            };
            api.access.create_token_once(caller.actor(), &new, key, answer).await?
        }
    };
    let mut shape = shape::token(&token, now);
    shape.secret = Some(secret.expose().to_owned());
    let location = [(header::LOCATION, format!("/api/v1/tokens/{}", token.id))];
    let mut response = (StatusCode::CREATED, location, Reply(shape)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Get a token
#[utoipa::path(get, path = "/api/v1/tokens/{id}", operation_id = "getToken", tag = "tokens",
    params(("id" = String, Path, description = "tok_…")),
    responses((status = 200, description = "The token without its secret", body = Token), Problems))]
pub async fn get(caller: Caller, State(api): State<Api>, Path(id): Path<String>) -> Result<Reply<Token>> {
    let id = parse(&id)?;
    // everybody may see what the own token is
    if caller.token() != Some(id) {
        caller.may(Permission::ReadTokens)?;
    }
    let token = api.access.token(id).await?;
    Ok(Reply(shape::token(&token, api.authority.store().now())))
}

/// Revoke a token
#[utoipa::path(post, path = "/api/v1/tokens/{id}/revocation", operation_id = "revokeToken", tag = "tokens",
    params(("id" = String, Path, description = "tok_…")),
    responses((status = 201, description = "The token, revoked; every replica refuses it within 5 seconds", body = Token), WriteProblems))]
pub async fn revoke(caller: Caller, State(api): State<Api>, Path(id): Path<String>) -> Result<Response> {
    let id = parse(&id)?;
    refused(&api, &caller, "token.refused", &format!("token:{id}"), caller.may_manage_tokens()).await?;
    let token = api.access.revoke_token(caller.actor(), id).await?;
    Ok((StatusCode::CREATED, Reply(shape::token(&token, api.authority.store().now()))).into_response())
}

fn parse(id: &str) -> Result<TokenId> {
    id.parse().map_err(|_| Error::not_found(format!("token {}", shown(id))))
}

fn new_token(asked: TokenRequest, now: Timestamp) -> Result<NewToken> {
    let role = asked.role.as_deref().map(|name| {
        Role::from_name(name).ok_or_else(|| {
            let all = Role::ALL.map(Role::name).join(", ");
            let value = format!("\"{}\"", shown(name));
            Error::refused(ErrorKind::Unprocessable, "token.role", &value, &all, "name one of these")
                .explained(format!("role {value} does not exist; there are {all}"))
        })
    });
    Ok(NewToken {
        name: asked.name,
        role: role.transpose()?,
        expires_in: asked.expires.as_deref().map(|text| times::length(text, now)).transpose()?,
        allow_names: asked.allow_names,
        subjects: asked.subjects,
        profiles: asked.profiles,
        issuers: asked.issuers,
        max_count: asked.max_count,
        grant: asked.grant.as_deref().map(grants::parse).transpose()?,
    })
}
