//! The caller of a request as an extractor: before the body is read (it takes only the head).

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;

use super::layers::{Tracked, Who};
use crate::access::{Access, Caller, unauthenticated};
use crate::error::{Error, Result};

/// A router state by which callers can be told.
pub trait HasAccess {
    fn access(&self) -> &Access;
}

impl<S: HasAccess + Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        // set by the command line in its own process; nothing that comes from the network can set an extension
        if let Some(caller) = parts.extensions.get::<Caller>() {
            return Ok(caller.clone());
        }
        let mut given = parts.headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (given.next(), given.next()) else { return Err(unauthenticated()) };
        let (scheme, secret) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or_else(unauthenticated)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(unauthenticated());
        }
        let request_id = parts.extensions.get::<Tracked>().map(|id| id.0.to_string()).unwrap_or_default();
        let caller = state.access().caller(secret.trim(), &request_id).await?;
        Who::is(&parts.extensions, caller.actor());
        Ok(caller)
    }
}
