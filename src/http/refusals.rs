//! Tells `access` of requests that were refused before a use case could: for routers, inside `layers::manners`.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::response::Response;

use super::layers::Tracked;
use super::problem::Failure;
use crate::access::refusals::{Refusals, Refused};

/// `surface` is a name of ours, so that no request can grow the counts.
pub async fn noting(refusals: &Refusals, surface: &str, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let address = peer.map_or_else(String::new, |peer| peer.0.ip().to_canonical().to_string());
    let request_id = request.extensions().get::<Tracked>().map_or_else(String::new, |t| t.0.to_string());
    let response = next.run(request).await;
    if let Some(Failure(error)) = response.extensions().get::<Failure>() {
        let refused = Refused { surface, address: &address, request_id: &request_id };
        refusals.note(refused, error).await;
    }
    response
}
