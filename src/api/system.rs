//! The CA's checks of itself: the same engine as `chancery doctor`.

use axum::Json as Reply;
use axum::extract::State;

use super::{Api, shape};
use crate::access::{Caller, Permission};
use crate::api::document::Problems;
use crate::error::Result;
use crate::wire::system::Checks;

/// Check the system
#[utoipa::path(get, path = "/api/v1/system/checks", operation_id = "getSystemChecks", tag = "system",
    description = "Answers 200 whatever the checks found: read status.",
    responses((status = 200, description = "Every check, the worst in status", body = Checks), Problems))]
pub async fn checks(caller: Caller, State(api): State<Api>) -> Result<Reply<Checks>> {
    caller.may(Permission::ReadChecks)?;
    Ok(Reply(shape::checks(&api.authority.checks().await)))
}
