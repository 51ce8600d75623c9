//! A certificate's revocation: POST makes it (once), GET reads it.

use axum::Json as Reply;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::idempotent::Claim;
use super::{Api, certificates, idempotent, issuer_states, refused, shape};
use crate::access::Caller;
use crate::api::document::{Problems, WriteProblems};
use crate::error::{Error, Result};
use crate::http::extract::{Json, Query};
use crate::model::certificate as model;
use crate::model::reason::RevocationReason;
use crate::wire::certificates::{Certificate, Revocation, RevocationPreview, RevokeQuery, RevokeRequest};
use crate::wire::hierarchy::IssuerDependents;

/// Revoke a certificate
#[utoipa::path(post, path = "/api/v1/certificates/{id}/revocation", operation_id = "revokeCertificate", tag = "certificates",
    description = "It is on the CRL within 5 seconds. A second time answers 409 with code already_revoked. The certificate of an issuer \
needs `confirm`, and is in force once `action_required` is gone; that of a root cannot be revoked.",
    params(("id" = String, Path, description = "crt_…"), RevokeQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "Makes repeating safe for 24 hours")),
    request_body = RevokeRequest,
    responses(
        (status = 201, description = "Revoked", body = Certificate),
        (status = 200, description = "What would be revoked (dry_run)", body = RevocationPreview),
        WriteProblems))]
pub async fn create(
    caller: Caller,
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(query): Query<RevokeQuery>,
    uri: Uri,
    headers: HeaderMap,
    Json { value: asked, raw }: Json<RevokeRequest>,
) -> Result<Response> {
    let record = certificates::find(&api, &caller, &id).await?;
    let object = record.object();
    refused(&api, &caller, "certificate.revocation_refused", &object, caller.may_revoke(&record)).await?;
    let reason = asked.reason.as_deref().map_or(Ok(RevocationReason::Unspecified), RevocationReason::from_name)?;
    api.authority.refuse_root(&record)?;
    let issuer = issuer_states::of_certificate(&api, &record).await?;
    if query.dry_run {
        api.authority.revocable(&record, api.authority.store().now())?;
        return preview(&record, reason, issuer);
    }
    if let Some((slug, dependents)) = issuer.filter(|_| !asked.confirm) {
        return Err(issuer_states::unconfirmed(&slug, &dependents));
    }
    let key = idempotent::key(&headers, &uri, &raw)?;
    let claim = match idempotent::claim(&api, &caller, key).await? {
        Claim::Done(_) => {
            let record = certificates::find(&api, &caller, &id).await?;
            return told(&api, &record).await.map(idempotent::replayed);
        }
        Claim::Go(claim) => claim,
    };
    let revoked = api.authority.revoke_once(caller.actor(), record.id, reason, claim.as_ref()).await?;
    if caller.is_host() {
        // a command on the host is a process of its own: no server may be running that would publish, or only a locked one
        let published = api.authority.publish_due().await;
        published.inspect_err(|error| tracing::warn!(error = %error.chain(), "the CRL is left to a server")).ok();
    }
    told(&api, &revoked).await
}

async fn told(api: &Api, record: &model::Certificate) -> Result<Response> {
    Ok((StatusCode::CREATED, Reply(shape::whole(&api.authority, record).await?)).into_response())
}

fn preview(
    record: &model::Certificate,
    reason: RevocationReason,
    issuer: Option<(String, IssuerDependents)>,
) -> Result<Response> {
    let (revokes_issuer, dependents) = issuer.unzip();
    let shape = RevocationPreview {
        dry_run: true,
        id: record.id.to_string(),
        serial: record.serial.to_string(),
        names: record.names.iter().map(|name| name.value()).collect(),
        subject: record.subject.clone(),
        reason,
        revokes_issuer,
        dependents,
    };
    Ok(Reply(shape).into_response())
}

/// Get a certificate's revocation
#[utoipa::path(get, path = "/api/v1/certificates/{id}/revocation", operation_id = "getRevocation", tag = "certificates",
    params(("id" = String, Path, description = "crt_…")),
    responses((status = 200, description = "When and why", body = Revocation), Problems))]
pub async fn get(caller: Caller, State(api): State<Api>, Path(id): Path<String>) -> Result<Reply<Revocation>> {
    let record = certificates::find(&api, &caller, &id).await?;
    shape::revocation(&record).map(Reply).ok_or_else(|| Error::not_found(format!("revocation of {}", record.id)))
}
