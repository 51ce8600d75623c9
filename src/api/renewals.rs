//! Renewal windows: of one certificate, and the rules that move them for many.

use axum::Json as Reply;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::{Api, refused};
use crate::access::{Caller, Permission};
use crate::api::document::{Problems, WriteProblems};
use crate::authority::renewal::MoveRenewals;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::http::extract::{Json, Query};
use crate::http::page;
use crate::model::certificate::Certificate;
use crate::model::id::{AccountId, CertificateId, RenewalWindowId};
use crate::model::identifier::shown;
use crate::model::renewal::{RenewalFilter, RenewalRule, RenewalSource};
use crate::model::times;
use crate::wire::page::{Page, PageQuery};
use crate::wire::renewals::{RenewalWindow, RenewalWindowRequest, Renewals};

/// Tell when a certificate should be renewed
#[utoipa::path(get, path = "/api/v1/certificates/{id}/renewals", operation_id = "getRenewals", tag = "certificates",
    description = "The window that ACME clients are told (RFC 9773), for whoever renews by other means.",
    params(("id" = String, Path, description = "crt_…, or a serial number or SHA-256 in hex")),
    responses((status = 200, description = "The window", body = Renewals), Problems))]
pub async fn of_certificate(
    caller: Caller,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Reply<Renewals>> {
    let missing = || Error::not_found(format!("certificate {}", shown(&id)));
    let record = api.authority.certificate_named_by(&id).await?.ok_or_else(missing)?;
    // whoever may not see it is told what a mistyped id is told
    caller.may(Permission::ReadCertificates)?;
    caller.may_see(&record).map_err(|_| missing())?;
    let renewal_id = api.authority.renewal_id(&record).await?;
    let renewal = api.authority.renewal(&record, renewal_id.as_ref());
    let successor = api.authority.successor(record.id, renewal_id.as_ref()).await?;
    let successor = successor.filter(|next| caller.may_see(next).is_ok());
    let (source, rule) = match renewal.source {
        RenewalSource::Life => ("life", None),
        RenewalSource::Rule(rule) => ("rule", Some(rule)),
        RenewalSource::Revocation => ("revocation", None),
        RenewalSource::KeyIdentifier => ("key_identifier", None),
        RenewalSource::Removal => ("removal", None),
    };
    Ok(Reply(Renewals {
        certificate: record.id.to_string(),
        serial: record.serial.to_string(),
        renewal_id: renewal_id.map(|id| id.to_string()),
        start: renewal.window.start,
        end: renewal.window.end,
        source: source.to_owned(),
        renewal_window: rule.as_ref().map(|rule| rule.id.to_string()),
        reason: rule.as_ref().map(|rule| rule.reason.clone()),
        explanation_url: rule.and_then(|rule| rule.explanation_url),
        retry_after: renewal.retry_after.as_secs(),
        replaced_by: successor.map(|next: Certificate| next.id.to_string()),
    }))
}

/// List rules over renewal windows
#[utoipa::path(get, path = "/api/v1/renewal-windows", operation_id = "listRenewalWindows", tag = "renewal-windows",
    params(PageQuery),
    responses((status = 200, description = "A page, newest first, with those that are over", body = Page<RenewalWindow>), Problems))]
pub async fn list(
    caller: Caller,
    State(api): State<Api>,
    uri: Uri,
    Query(query): Query<PageQuery>,
) -> Result<Response> {
    caller.may(Permission::ReadAcme)?;
    let limit = page::limit(query.limit)?;
    let mut rows = api.authority.renewal_rules(page::cursor(query.cursor.as_deref())?, limit + 1).await?;
    let next_cursor = page::cut(&mut rows, limit, |rule| rule.id);
    let now = api.authority.store().now();
    let items = rows.iter().map(|rule| shape(rule, now)).collect();
    Ok(page::respond(&uri, Page { items, next_cursor }))
}

/// Move renewal windows
#[utoipa::path(post, path = "/api/v1/renewal-windows", operation_id = "createRenewalWindow", tag = "renewal-windows",
    description = "One rule for many certificates; of several that fit one certificate the newest counts. Clients learn \
                   of it when they ask next, within six hours as they are told.",
    request_body = RenewalWindowRequest,
    responses((status = 201, description = "The rule", body = RenewalWindow), WriteProblems))]
pub async fn create(
    caller: Caller,
    State(api): State<Api>,
    Json { value: asked, .. }: Json<RenewalWindowRequest>,
) -> Result<Response> {
    refused(&api, &caller, "renewals.refused", "", caller.may_move_renewals()).await?;
    let now = api.authority.store().now();
    let rule = api.authority.move_renewals(caller.actor(), read(asked, now)?).await?;
    let location = [(header::LOCATION, format!("/api/v1/renewal-windows/{}", rule.id))];
    Ok((StatusCode::CREATED, location, Reply(shape(&rule, now))).into_response())
}

/// Get a rule over renewal windows
#[utoipa::path(get, path = "/api/v1/renewal-windows/{id}", operation_id = "getRenewalWindow", tag = "renewal-windows",
    params(("id" = String, Path, description = "rnw_…")),
    responses((status = 200, description = "The rule", body = RenewalWindow), Problems))]
pub async fn get(caller: Caller, State(api): State<Api>, Path(id): Path<String>) -> Result<Reply<RenewalWindow>> {
    caller.may(Permission::ReadAcme)?;
    let rule = api.authority.renewal_rule(parse(&id)?).await?;
    Ok(Reply(shape(&rule, api.authority.store().now())))
}

/// Cancel a rule over renewal windows
#[utoipa::path(delete, path = "/api/v1/renewal-windows/{id}", operation_id = "deleteRenewalWindow", tag = "renewal-windows",
    params(("id" = String, Path, description = "rnw_…")),
    responses((status = 200, description = "The rule that was cancelled", body = RenewalWindow), Problems))]
pub async fn cancel(caller: Caller, State(api): State<Api>, Path(id): Path<String>) -> Result<Reply<RenewalWindow>> {
    let id = parse(&id)?;
    refused(&api, &caller, "renewals.refused", &format!("renewal_window:{id}"), caller.may_move_renewals()).await?;
    let rule = api.authority.renewal_rule(id).await?;
    api.authority.cancel_renewals(caller.actor(), id).await?;
    Ok(Reply(RenewalWindow { status: "cancelled".into(), ..shape(&rule, api.authority.store().now()) }))
}

fn parse(id: &str) -> Result<RenewalWindowId> {
    id.parse().map_err(|_| Error::not_found(format!("renewal window {}", shown(id))))
}

fn read(asked: RenewalWindowRequest, now: Timestamp) -> Result<MoveRenewals> {
    let certificates = asked.certificates.unwrap_or_default();
    let start = match asked.start.as_deref() {
        None => None,
        Some("now") => Some(now),
        Some(text) => Some(times::moment_ahead(text, now)?),
    };
    Ok(MoveRenewals {
        filter: RenewalFilter {
            certificates: certificates.iter().map(|id| id.parse::<CertificateId>()).collect::<Result<_>>()?,
            issuer: asked.issuer,
            profile: asked.profile,
            account: asked.account.as_deref().map(str::parse::<AccountId>).transpose()?,
            requester: asked.requester,
            name: asked.name,
            expires_before: asked.expires_before,
        },
        issued_before: asked.issued_before,
        start,
        end: asked.end,
        reason: asked.reason,
        explanation_url: asked.explanation_url,
        expires_in: asked.expires.as_deref().map(|text| times::length(text, now)).transpose()?,
    })
}

fn shape(rule: &RenewalRule, now: Timestamp) -> RenewalWindow {
    let filter = rule.filter.clone();
    RenewalWindow {
        id: rule.id.to_string(),
        status: if rule.is_active(now) { "active" } else { "expired" }.to_owned(),
        certificates: filter.certificates.iter().map(ToString::to_string).collect(),
        issuer: filter.issuer,
        profile: filter.profile,
        account: filter.account.map(|id| id.to_string()),
        requester: filter.requester,
        name: filter.name,
        expires_before: filter.expires_before,
        issued_before: rule.issued_before,
        start: rule.window.start,
        end: rule.window.end,
        reason: rule.reason.clone(),
        explanation_url: rule.explanation_url.clone(),
        created_by: rule.created_by.clone(),
        created_at: rule.created_at,
        expires_at: rule.expires_at,
    }
}
