//! Sign-in and sign-out. The page says the same whatever was wrong, and goes on to where somebody wanted to be.

use askama::Template;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Dash;
use super::visit::{Open, Posted, Visit, clear_cookie, path_of_ours, set_cookies};
use crate::access::password::Password;
use crate::access::sign_in as access;
use crate::error::Result;
use crate::http::extract::Query;
use crate::http::html::{Words, page, refused_page, see_other};
use crate::model::user::UserName;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn<'a> {
    next: &'a str,
    name: &'a str,
    refusal: Option<Words>,
    /// No administrator yet: the way in is the set-up link.
    needs_setup: bool,
    /// Users wait to be confirmed since the database was restored.
    waits: bool,
    signed_out: bool,
    /// This browser has just become known by a link.
    known: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Where {
    next: String,
    signed_out: Option<String>,
    /// The user to whom a link made this browser known.
    known: Option<String>,
}

pub async fn show(State(dash): State<Dash>, visit: Visit, Query(at): Query<Where>) -> Result<Response> {
    let next = path_of_ours(&at.next);
    if let Some(cookie) = &visit.cookie
        && dash.access.signed_in(cookie, &visit.place.request_id).await?.is_some()
    {
        return Ok(see_other(next));
    }
    let needs_setup = dash.access.needs_setup().await?;
    let waits = dash.access.waits_for_confirmation().await?;
    let known = at.known.as_deref().and_then(|name| UserName::parse(name).ok());
    let name = known.as_ref().map_or("", UserName::as_str);
    let signed_out = at.signed_out.is_some();
    page(&SignIn { next, name, refusal: None, needs_setup, waits, signed_out, known: known.is_some() })
}

pub async fn create(State(dash): State<Dash>, Open { visit, form }: Open) -> Result<Response> {
    let (name, next) = (form.text("name"), path_of_ours(form.text("next")));
    let password = Password::new(form.text("password"));
    let ask = access::SignIn { name, password: &password, session: visit.cookie.as_ref(), devices: &visit.devices };
    match dash.access.sign_in(&ask, &visit.place).await {
        Ok(entered) => Ok((set_cookies(&entered), see_other(next)).into_response()),
        Err(error) => {
            let refusal = Some(Words::of(&error, &visit.place.request_id));
            let page =
                SignIn { next, name, refusal, needs_setup: false, waits: false, signed_out: false, known: false };
            refused_page(&error, &page)
        }
    }
}

pub async fn end(State(dash): State<Dash>, Posted { signed, .. }: Posted) -> Result<Response> {
    dash.access.sign_out(&signed.who).await?;
    Ok(([(header::SET_COOKIE, clear_cookie())], see_other("/sign-in?signed_out=1")).into_response())
}
