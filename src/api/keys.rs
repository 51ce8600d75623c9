//! Blocked keys: refused in requests and as account keys, with or without a certificate.

use axum::Json as Reply;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::{Api, refused};
use crate::access::{Caller, Permission};
use crate::api::document::{Problems, WriteProblems};
use crate::authority::blocked_keys::KeyToBlock;
use crate::error::{Error, Result};
use crate::http::extract::{Json, Query};
use crate::http::page;
use crate::model::blocked_key as model;
use crate::model::blocked_key::KeyFingerprint;
use crate::model::identifier::shown;
use crate::model::reason::RevocationReason;
use crate::pki::public_key;
use crate::wire::keys::{BlockKeyRequest, BlockedKey};
use crate::wire::page::{Page, PageQuery};

/// List blocked keys
#[utoipa::path(get, path = "/api/v1/keys/blocked", operation_id = "listBlockedKeys", tag = "certificates", params(PageQuery),
    responses((status = 200, description = "A page, by fingerprint", body = Page<BlockedKey>), Problems))]
pub async fn list(
    caller: Caller,
    State(api): State<Api>,
    uri: Uri,
    Query(query): Query<PageQuery>,
) -> Result<Response> {
    caller.may(Permission::ReadAudit)?;
    let limit = page::limit(query.limit)?;
    let mut rows = api.authority.blocked_keys(page::cursor(query.cursor.as_deref())?, limit + 1).await?;
    let next_cursor = page::cut(&mut rows, limit, |blocked| blocked.key);
    Ok(page::respond(&uri, Page { items: rows.into_iter().map(shape).collect::<Vec<_>>(), next_cursor }))
}

/// Block a key
#[utoipa::path(post, path = "/api/v1/keys/blocked", operation_id = "blockKey", tag = "certificates",
    description = "The key is refused in requests and as an ACME account key from then on, its ACME accounts end, and its certificates are \
revoked for keyCompromise within seconds. A second time answers 409.",
    request_body = BlockKeyRequest,
    responses((status = 201, description = "Blocked", body = BlockedKey), WriteProblems))]
pub async fn create(
    caller: Caller,
    State(api): State<Api>,
    Json { value: asked, .. }: Json<BlockKeyRequest>,
) -> Result<Response> {
    refused(&api, &caller, "key.block_refused", "", caller.may(Permission::BlockKeys)).await?;
    let key = key(&asked)?;
    let fingerprint = key.fingerprint;
    let reason = asked.reason.as_deref().map_or(Ok(RevocationReason::KeyCompromise), RevocationReason::from_name)?;
    let comment = asked.comment.as_deref().unwrap_or_default().trim();
    let blocked = api.authority.block_key(caller.actor(), key, reason, comment).await?;
    let location = [(header::LOCATION, format!("/api/v1/keys/blocked/{fingerprint}"))];
    Ok((StatusCode::CREATED, location, Reply(shape(blocked))).into_response())
}

/// Unblock a key
#[utoipa::path(delete, path = "/api/v1/keys/blocked/{fingerprint}", operation_id = "unblockKey", tag = "certificates",
    description = "Only a key that no certificate here has: those were revoked with it.",
    params(("fingerprint" = String, Path, description = "SHA-256 of the SubjectPublicKeyInfo in hex")),
    responses((status = 200, description = "It was blocked so", body = BlockedKey), WriteProblems))]
pub async fn delete(
    caller: Caller,
    State(api): State<Api>,
    Path(fingerprint): Path<String>,
) -> Result<Reply<BlockedKey>> {
    let none = || Error::not_found(format!("blocked key {}", shown(&fingerprint)));
    let allowed = caller.may(Permission::BlockKeys);
    refused(&api, &caller, "key.unblock_refused", &format!("key:{}", shown(&fingerprint)), allowed).await?;
    let key: KeyFingerprint = fingerprint.parse().map_err(|()| none())?;
    Ok(Reply(shape(api.authority.unblock_key(caller.actor(), key).await?)))
}

fn key(asked: &BlockKeyRequest) -> Result<KeyToBlock> {
    match (&asked.fingerprint, &asked.public_key) {
        (Some(text), None) => text.parse::<KeyFingerprint>().map(KeyToBlock::from).map_err(|()| {
            Error::malformed("fingerprint is not a SHA-256 in hex; give the 64 digits of the SubjectPublicKeyInfo's")
        }),
        (None, Some(text)) => Ok(KeyToBlock::of_spki(public_key::read(text.as_bytes())?)),
        (None, None) | (Some(_), Some(_)) => Err(Error::malformed("give either fingerprint or public_key")),
    }
}

fn shape(blocked: model::BlockedKey) -> BlockedKey {
    BlockedKey {
        fingerprint: blocked.key.to_string(),
        reason: blocked.reason,
        comment: blocked.comment,
        blocked_at: blocked.blocked_at,
        blocked_by: blocked.blocked_by,
        certificates: blocked.certificates,
    }
}
