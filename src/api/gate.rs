//! The check before every REST operation: who calls, and whether `access::operation` lets that caller in. It runs
//! before the handler and before the body is read, so a handler cannot forget it and a refused caller sends nothing.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::http::Method;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::OpenApi;

use super::{Api, refused};
use crate::access::Caller;
use crate::access::operation::Operation;
use crate::error::{Error, ErrorKind, Result};
use crate::model::identifier::shown;

/// What the routes say: method and template to the row in `access::operation`, `None` where that is missing.
type Rows = HashMap<(Method, String), Option<&'static Operation>>;

#[derive(Clone)]
pub(super) struct Gate {
    api: Api,
    rows: Arc<Rows>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gate({} operations)", self.rows.len())
    }
}

impl Gate {
    pub fn of(document: &OpenApi, api: Api) -> Gate {
        let rows = operations(document).into_iter().map(|(method, path, id)| ((method, path), Operation::find(&id)));
        Gate { api, rows: Arc::new(rows.collect()) }
    }

    /// Leaves the caller in the request for the handler.
    async fn check(&self, parts: &mut Parts) -> Result<()> {
        let Some(operation) = self.operation(parts)? else { return Ok(()) };
        let caller = Caller::from_request_parts(parts, &self.api).await?;
        let outcome = caller.may_call(operation);
        if outcome.is_err()
            && let Some((event, object)) = operation.audit
        {
            let object = object_of(parts, object).await;
            refused(&self.api, &caller, event, &object, outcome).await?;
        } else {
            outcome?;
        }
        parts.extensions.insert(caller);
        Ok(())
    }

    /// `None` for a method that the path does not have, which is answered 405.
    fn operation(&self, parts: &Parts) -> Result<Option<&'static Operation>> {
        let Some(path) = parts.extensions.get::<MatchedPath>() else { return Ok(None) };
        let method = if parts.method == Method::HEAD { Method::GET } else { parts.method.clone() };
        match self.rows.get(&(method, path.as_str().to_owned())) {
            None => Ok(None),
            Some(Some(operation)) => Ok(Some(operation)),
            Some(None) => Err(Error::new(
                ErrorKind::Forbidden,
                "nobody may call this operation: it has no row in access::operation",
            )),
        }
    }
}

pub(super) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match gate.check(&mut parts).await {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => error.into_response(),
    }
}

/// (method, template, operation id) of every route.
pub(super) fn operations(document: &OpenApi) -> Vec<(Method, String, String)> {
    let mut all = Vec::new();
    for (path, item) in &document.paths.paths {
        let methods = [
            (Method::GET, &item.get),
            (Method::POST, &item.post),
            (Method::PUT, &item.put),
            (Method::PATCH, &item.patch),
            (Method::DELETE, &item.delete),
        ];
        for (method, operation) in methods {
            let id = operation.as_ref().map(|o| o.operation_id.clone().unwrap_or_default());
            all.extend(id.map(|id| (method, path.clone(), id)));
        }
    }
    all
}

/// `token:tok_…` of the first part of the path; empty for what is about to be made.
async fn object_of(parts: &mut Parts, kind: &str) -> String {
    if kind.is_empty() {
        return String::new();
    }
    let Ok(params) = RawPathParams::from_request_parts(parts, &()).await else { return String::new() };
    params.iter().next().map_or_else(String::new, |(_, value)| format!("{kind}:{}", shown(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::operation::OPERATIONS;

    #[test]
    fn every_route_has_a_row_in_access_operation_and_every_row_a_route() {
        let document = crate::api::document();
        let mut routes: Vec<_> = operations(&document).into_iter().map(|(_, _, id)| id).collect();
        let mut rows: Vec<_> = OPERATIONS.iter().map(|operation| operation.id.to_owned()).collect();
        routes.sort();
        rows.sort();
        assert_eq!(routes, rows, "add the operation to access/operation.rs and say what a bounded token gets");
    }
}
