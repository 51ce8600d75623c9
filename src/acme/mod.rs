//! RFC 8555 on the wire: shapes, headers, signatures. What may happen is decided by `registration`.
//!
//!     GET|POST /acme/{directory}/directory        HEAD|GET|POST …/new-nonce
//!     POST …/new-account  …/account/{id}  …/account/{id}/orders  …/key-change
//!     POST …/new-authz  …/new-order  …/order/{id}  …/order/{id}/finalize
//!     POST …/authorization/{id}  …/challenge/{id}  …/certificate/{id}[/{chain}]  …/revoke
//!     GET …/renewal-info/{certificate}

mod accounts;
mod authorizations;
pub mod base64url;
mod certificates;
mod directory;
mod envelope;
mod external_account;
mod headers;
pub mod json;
pub mod jwk;
pub mod jws;
mod key_change;
mod orders;
mod renewal_info;
mod urls;

use std::sync::Arc;

use axum::Router;
use axum::extract::OriginalUri;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use serde_json::Value;

use crate::error::{Error, ErrorKind};
use crate::http::problem;
use crate::registration::Registration;

pub use headers::ENDPOINTS;

/// What every handler can reach.
#[derive(Debug, Clone)]
pub struct Acme {
    pub registration: Arc<Registration>,
    /// Scheme, host and port without a slash at the end: the base of every URL that we give out or accept.
    pub external_url: Arc<str>,
}

/// All routes with their headers. The caller wraps them in `http::layers::manners` with `Dialect::Acme`.
pub fn router(acme: Acme) -> Router {
    let below = Router::new()
        .route("/directory", get(directory::show).post(directory::post))
        .route("/new-nonce", get(directory::nonce_get).head(directory::nonce_head).post(directory::nonce_post))
        .route("/new-account", post(accounts::create))
        .route("/account/{id}", post(accounts::show_or_update))
        .route("/account/{id}/orders", post(orders::list))
        .route("/key-change", post(key_change::change))
        .route("/new-authz", post(authorizations::create))
        .route("/new-order", post(orders::create))
        .route("/order/{id}", post(orders::show))
        .route("/order/{id}/finalize", post(orders::finalize))
        .route("/authorization/{id}", post(authorizations::show_or_deactivate))
        .route("/challenge/{id}", post(authorizations::respond))
        .route("/certificate/{id}", post(certificates::download))
        .route("/certificate/{id}/{chain}", post(certificates::download))
        .route("/revoke", post(certificates::revoke))
        .route("/renewal-info/{id}", get(renewal_info::show))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method);
    Router::new()
        .nest("/acme/{directory}", below)
        .layer(from_fn_with_state(acme.clone(), headers::add))
        .with_state(acme)
}

/// The problem document that is stored in an order or a challenge; handed to `Registration::open`.
pub fn describe(error: &Error) -> Value {
    problem::acme_body(error, &problem::Context { external_url: "", request_id: "" })
}

async fn unknown() -> Error {
    Error::not_found("ACME resource: begin at /acme/default/directory")
}

async fn wrong_method(OriginalUri(uri): OriginalUri) -> Error {
    let path: String = uri.path().chars().take(120).collect();
    Error::new(
        ErrorKind::MethodNotAllowed,
        format!("{path} takes the methods in Allow: ACME reads by POST-as-GET (RFC 8555 §6.3)"),
    )
}
