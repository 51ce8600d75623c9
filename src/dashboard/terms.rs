//! The page where a person agrees to terms of service that changed (RFC 8555 §7.3.3 `instance`). It needs no session:
//! only the ACME client that was refused knows its address.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::Dash;
use super::format::clean;
use super::visit::{Open, Visit};
use crate::error::Result;
use crate::http::html::page;
use crate::registration::Origin;
use crate::registration::terms::Consent;

#[derive(Template)]
#[template(path = "terms.html")]
struct Terms {
    account: String,
    directory: String,
    contacts: String,
    terms: String,
    given: bool,
}

pub async fn show(
    State(dash): State<Dash>,
    _visit: Visit,
    Path((account, seal)): Path<(String, String)>,
) -> Result<Response> {
    page(&of(&dash.registration.consent(&account, &seal).await?))
}

pub async fn agree(
    State(dash): State<Dash>,
    Path((account, seal)): Path<(String, String)>,
    Open { visit, .. }: Open,
) -> Result<Response> {
    let origin = Origin { address: visit.place.address, request_id: visit.place.request_id };
    page(&of(&dash.registration.agree(&origin, &account, &seal).await?))
}

fn of(consent: &Consent) -> Terms {
    let contacts = consent.account.contact.iter().map(|c| clean(c.strip_prefix("mailto:").unwrap_or(c)));
    Terms {
        account: consent.account.id.to_string(),
        directory: consent.account.directory.clone(),
        contacts: contacts.collect::<Vec<_>>().join(", "),
        terms: consent.terms.clone(),
        given: consent.is_given(),
    }
}
