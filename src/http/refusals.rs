//! Tells `access` of requests that were refused before a use case could: for routers, inside `layers::manners`.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;

use super::client_address::ClientAddress;
use super::layers::Tracked;
use super::problem::Failure;
use crate::access::refusals::{Refusals, Refused};

/// `surface` is a name of ours, so that no request can grow the counts.
pub async fn noting(refusals: &Refusals, surface: &str, request: Request, next: Next) -> Response {
    let address = ClientAddress::text(request.extensions());
    let request_id = request.extensions().get::<Tracked>().map_or_else(String::new, |t| t.0.to_string());
    let response = next.run(request).await;
    if let Some(Failure(error)) = response.extensions().get::<Failure>() {
        let refused = Refused { surface, address: &address, request_id: &request_id };
        refusals.note(refused, error).await;
    }
    response
}
