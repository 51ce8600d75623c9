//! REST under /api/v1: handlers take extractors, call one use case, shape the reply. The document is generated
//! from the same routes (`openapi/chancery.json`, a test compares them).

mod account_limits;
mod acme_account_grant;
mod acme_accounts;
mod acme_directories;
mod acme_orders;
mod acme_shape;
mod audit_events;
mod certificates;
mod challenge_tests;
mod docs;
mod document;
mod eab_keys;
mod gate;
mod grants;
mod hierarchy;
mod idempotent;
mod imports;
mod issue;
mod issuer_states;
mod keys;
mod made_key;
mod nullable;
mod profiles;
mod renewals;
mod revocation;
mod shape;
mod subject;
mod system;
mod tokens;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::{Access, Caller};
use crate::app::App;
use crate::authority::Authority;
use crate::error::{Error, ErrorKind, Result};
use crate::http::caller::HasAccess;
use crate::http::{error_page, layers, problem, refusals};
use crate::model::audit::AuditEvent;
use crate::registration::Registration;

pub use document::{COMMITTED, document};

/// What the handlers reach.
#[derive(Clone)]
pub struct Api {
    pub authority: Arc<Authority>,
    pub access: Arc<Access>,
    pub registration: Arc<Registration>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Api")
    }
}

impl HasAccess for Api {
    fn access(&self) -> &Access {
        &self.access
    }
}

/// The room of a running server.
pub fn router(app: Arc<App>) -> Router {
    let manners = layers::Manners {
        external_url: Arc::clone(&app.urls.external),
        clock: Arc::clone(&app.clock),
        entropy: Arc::clone(&app.entropy),
    };
    let api = Api {
        authority: Arc::clone(&app.authority),
        access: Arc::clone(&app.access),
        registration: Arc::clone(&app.registration),
    };
    room(api, manners)
}

/// The whole room with its manners: /api/v1, its document, its readable form, and /errors.
pub fn room(api: Api, manners: layers::Manners) -> Router {
    let (routes, document) = routes().split_for_parts();
    let gate = gate::Gate::of(&document, api.clone());
    let routes = routes.layer(from_fn_with_state(gate, gate::pass));
    let noted = from_fn_with_state(api.clone(), note_refusals);
    let router = routes.merge(docs::routes()).merge(error_page::routes()).layer(noted).with_state(api);
    layers::manners(router, manners, problem::Dialect::Rest)
}

async fn note_refusals(State(api): State<Api>, request: Request, next: Next) -> Response {
    refusals::noting(&api.access.refusals, "rest", request, next).await
}

/// Every operation once: for the server and for the document.
fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(document::base())
        .routes(routes!(certificates::list, issue::create))
        .routes(routes!(imports::create))
        .routes(routes!(certificates::get))
        .routes(routes!(revocation::create, revocation::get, revocation::lift))
        .routes(routes!(certificates::events))
        .routes(routes!(renewals::of_certificate))
        .routes(routes!(renewals::list, renewals::create))
        .routes(routes!(renewals::get, renewals::cancel))
        .routes(routes!(hierarchy::issuers, hierarchy::create_issuer))
        .routes(routes!(hierarchy::issuer, hierarchy::change_issuer))
        .routes(routes!(issuer_states::dependents))
        .routes(routes!(issuer_states::change))
        .routes(routes!(hierarchy::profiles, profiles::create))
        .routes(routes!(hierarchy::profile, profiles::put, profiles::patch))
        .routes(routes!(profiles::revisions))
        .routes(routes!(hierarchy::domains, hierarchy::create_domain))
        .routes(routes!(hierarchy::domain))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::get))
        .routes(routes!(tokens::revoke))
        .routes(routes!(grants::list, grants::create))
        .routes(routes!(grants::get))
        .routes(routes!(grants::revoke))
        .routes(routes!(eab_keys::list, eab_keys::create))
        .routes(routes!(eab_keys::get))
        .routes(routes!(eab_keys::revoke))
        .routes(routes!(acme_account_grant::put))
        .routes(routes!(acme_directories::list, acme_directories::create))
        .routes(routes!(acme_directories::get, acme_directories::put))
        .routes(routes!(account_limits::get, account_limits::put))
        .routes(routes!(account_limits::resume))
        .routes(routes!(acme_accounts::list))
        .routes(routes!(acme_accounts::get))
        .routes(routes!(acme_accounts::revoke))
        .routes(routes!(acme_orders::list))
        .routes(routes!(acme_orders::get))
        .routes(routes!(acme_orders::timeline))
        .routes(routes!(acme_orders::attempts))
        .routes(routes!(challenge_tests::create))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::delete))
        .routes(routes!(audit_events::list))
        .routes(routes!(system::checks))
}

/// Audits the refusal of a change by role or scope; what the authority refuses it audits itself.
async fn refused<T>(api: &Api, caller: &Caller, action: &'static str, object: &str, outcome: Result<T>) -> Result<T> {
    let Err(error) = outcome else { return outcome };
    if !is_refusal(&error) {
        return Err(error);
    }
    let detail = serde_json::json!({"why": error.detail, "rule": error.rule.as_ref().map(|rule| rule.name.clone())});
    api.access.refuse(caller, AuditEvent::refused(action, object, detail)).await?;
    Err(error.recorded())
}

fn is_refusal(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Forbidden | ErrorKind::Refused | ErrorKind::RejectedIdentifier)
}
