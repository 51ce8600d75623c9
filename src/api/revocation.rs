//! A certificate's revocation: POST makes or raises it, GET reads it, DELETE lifts a hold.

use axum::Json as Reply;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::idempotent::Claim;
use super::{Api, certificates, idempotent, issuer_states, refused, shape};
use crate::access::{Caller, Permission};
use crate::api::document::{Problems, WriteProblems};
use crate::error::{Error, Result};
use crate::http::extract::{Json, Query};
use crate::model::certificate as model;
use crate::model::reason::RevocationReason;
use crate::model::revocation::NewRevocation;
use crate::wire::certificates::{Certificate, Revocation, RevocationPreview, RevokeQuery, RevokeRequest};
use crate::wire::hierarchy::IssuerDependents;

/// Revoke a certificate
#[utoipa::path(post, path = "/api/v1/certificates/{id}/revocation", operation_id = "revokeCertificate", tag = "certificates",
    description = "It is on the CRL within 5 seconds. A second time answers 409 with code already_revoked, unless it raises the reason: to \
keyCompromise or cACompromise, from certificateHold to any other reason, or by a first or an earlier `invalidity_date` of a compromise. The \
date of the first revocation stays. certificateHold can be lifted again (DELETE); every other reason is final. The certificate of an issuer \
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
    let wanted = NewRevocation::new(reason, asked.invalidity_date);
    api.authority.refuse_root(&record)?;
    let issuer = issuer_states::of_certificate(&api, &record).await?;
    if query.dry_run {
        api.authority.judge_revocation(&record, &wanted).await?;
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
    let revoked = api.authority.revoke_once(caller.actor(), record.id, wanted, claim.as_ref()).await?;
    publish_for_host(&api, &caller).await;
    told(&api, &revoked).await
}

/// A command on the host is a process of its own: no server may be running that would publish, or only a locked one.
async fn publish_for_host(api: &Api, caller: &Caller) {
    if caller.is_host() {
        let published = api.authority.publish_due().await;
        published.inspect_err(|error| tracing::warn!(error = %error.chain(), "the CRL is left to a server")).ok();
    }
}

/// Lift a certificate's hold
#[utoipa::path(delete, path = "/api/v1/certificates/{id}/revocation", operation_id = "liftHold", tag = "certificates",
    description = "The certificate is good again: OCSP says so at once, and within 5 seconds no CRL lists it. Only certificateHold can be \
lifted; whoever may revoke certificates of others may lift.",
    params(("id" = String, Path, description = "crt_…")),
    responses((status = 200, description = "Good again", body = Certificate), WriteProblems))]
pub async fn lift(caller: Caller, State(api): State<Api>, Path(id): Path<String>) -> Result<Reply<Certificate>> {
    let record = certificates::find(&api, &caller, &id).await?;
    let object = record.object();
    refused(&api, &caller, "certificate.lift_refused", &object, caller.may(Permission::LiftHolds)).await?;
    let lifted = api.authority.lift_hold(caller.actor(), record.id).await?;
    publish_for_host(&api, &caller).await;
    let mut shape = shape::whole(&api.authority, &lifted).await?;
    shape.action_required = api.authority.lifted_to_publish(&lifted).await?;
    Ok(Reply(shape))
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
        raised_from: shape::revocation(record).map(|before| before.reason),
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
