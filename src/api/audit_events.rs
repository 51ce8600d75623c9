//! Audit events, newest first.

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;

use super::{Api, shape};
use crate::access::{Caller, Permission};
use crate::api::document::Problems;
use crate::error::Result;
use crate::http::extract::Query;
use crate::http::page;
use crate::wire::audit::AuditEvent;
use crate::wire::page::{Page, PageQuery};

/// List audit events
#[utoipa::path(get, path = "/api/v1/audit-events", operation_id = "listAuditEvents", tag = "audit-events", params(PageQuery),
    responses((status = 200, description = "A page, newest first. An event whose row was changed or cannot be read has a `fault`", body = Page<AuditEvent>), Problems))]
pub async fn list(
    caller: Caller,
    State(api): State<Api>,
    uri: Uri,
    Query(query): Query<PageQuery>,
) -> Result<Response> {
    caller.may(Permission::ReadAudit)?;
    let limit = page::limit(query.limit)?;
    let mut rows = api.authority.audit_events(page::cursor(query.cursor.as_deref())?, limit + 1).await?;
    let next_cursor = page::cut(&mut rows, limit, |listed| listed.event.id);
    Ok(page::respond(&uri, Page { items: rows.iter().map(shape::event).collect(), next_cursor }))
}
