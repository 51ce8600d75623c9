//! The pages of the dashboard: server-made HTML that works without a script. A page asks what REST asks (authority,
//! registration, access) as the person who is signed in, so its refusals are the same.

mod acme;
mod audit;
mod authorities;
mod blocked_keys;
mod certificate;
mod certificates;
mod challenge_tests;
mod connect;
mod directories;
mod eab_keys;
mod format;
mod frame;
mod issue;
mod me;
mod overview;
mod revoke;
mod setup;
mod sign_in;
mod sign_in_link;
mod terms;
mod tokens;
mod users;
mod visit;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::access::{Access, Caller};
use crate::app::App;
use crate::authority::Authority;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::http::layers::{Manners, manners};
use crate::http::{assets, problem};
use crate::model::audit::AuditEvent;
use crate::registration::Registration;

/// What the pages reach.
#[derive(Clone)]
pub struct Dash {
    pub authority: Arc<Authority>,
    pub access: Arc<Access>,
    pub registration: Arc<Registration>,
    /// Without a slash at its end.
    pub external_url: Arc<str>,
}

impl fmt::Debug for Dash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dash")
    }
}

impl Dash {
    fn now(&self) -> Timestamp {
        self.authority.store().now()
    }
}

/// The room of a running server.
pub fn router(app: &App, with: Manners) -> Router {
    let dash = Dash {
        authority: Arc::clone(&app.authority),
        access: Arc::clone(&app.access),
        registration: Arc::clone(&app.registration),
        external_url: Arc::clone(&app.urls.external),
    };
    room(dash, with)
}

/// All pages with their manners.
pub fn room(dash: Dash, with: Manners) -> Router {
    let router = Router::new()
        .route("/", get(overview::show))
        .route("/setup", get(setup::show).post(setup::create))
        .route("/sign-in", get(sign_in::show).post(sign_in::create))
        .route("/sign-in-link", get(sign_in_link::show).post(sign_in_link::create))
        .route("/sign-out", post(sign_in::end))
        .route("/certificates", get(certificates::list).post(issue::create))
        .route("/certificates/new", get(issue::show))
        .route("/certificates/{id}", get(certificate::show))
        .route("/certificates/{id}/revoke", get(revoke::show).post(revoke::create))
        .route("/blocked-keys", get(blocked_keys::list))
        .route("/certificates/{id}/lift", post(revoke::lift))
        .route("/authorities", get(authorities::list))
        .route("/authorities/{issuer}", get(authorities::show))
        .route("/accounts", get(acme::accounts))
        .route("/accounts/{id}", get(acme::account))
        .route("/accounts/{id}/grant", post(acme::grant))
        .route("/accounts/{id}/resume", post(acme::resume))
        .route("/orders", get(acme::orders))
        .route("/orders/{id}", get(acme::order))
        .route("/orders/{id}/test", post(challenge_tests::of_order))
        .route("/directories", get(directories::list).post(directories::create))
        .route("/directories/{slug}", get(directories::show).post(directories::change))
        .route("/directories/{slug}/test", post(challenge_tests::of_directory))
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route("/tokens/{id}/revoke", post(tokens::revoke))
        .route("/eab-keys", get(eab_keys::list).post(eab_keys::create))
        .route("/eab-keys/{id}/revoke", post(eab_keys::revoke))
        .route("/users", get(users::list).post(users::create))
        .route("/users/{id}", get(users::show).post(users::change))
        .route("/me", get(me::show).post(me::change_password))
        .route("/me/sessions/end", post(me::sign_out_everywhere))
        .route("/me/sessions/{id}/end", post(me::end_session))
        .route("/audit", get(audit::list))
        .route("/connect", get(connect::show))
        .route("/terms/{account}/{seal}", get(terms::show).post(terms::agree))
        .merge(assets::routes())
        .with_state(dash);
    manners(router, with, problem::Dialect::Page)
}

/// Audits the refusal of a change by role or scope; what the rooms below refuse they audit themselves.
async fn refused<T>(
    dash: &Dash,
    caller: &Caller,
    action: &'static str,
    object: &str,
    outcome: Result<T>,
) -> Result<T> {
    let Err(error) = outcome else { return outcome };
    if !is_refusal(&error) {
        return Err(error);
    }
    let detail = serde_json::json!({"why": error.detail, "rule": error.rule.as_ref().map(|rule| rule.name.clone())});
    dash.access.refuse(caller, AuditEvent::refused(action, object, detail)).await?;
    Err(error)
}

fn is_refusal(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Forbidden | ErrorKind::Refused | ErrorKind::RejectedIdentifier)
}
