//! Sign-in and sign-out. The page says the same whatever was wrong, and goes on to where somebody wanted to be.

use askama::Template;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Dash;
use super::visit::{Open, Posted, Visit, clear_cookie, path_of_ours, set_cookie};
use crate::access::password::Password;
use crate::error::Result;
use crate::http::extract::Query;
use crate::http::html::{Words, page, refused_page, see_other};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn<'a> {
    next: &'a str,
    name: &'a str,
    refusal: Option<Words>,
    /// No administrator yet: the way in is the set-up link.
    needs_setup: bool,
    signed_out: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Where {
    next: String,
    signed_out: Option<String>,
}

pub async fn show(State(dash): State<Dash>, visit: Visit, Query(at): Query<Where>) -> Result<Response> {
    let next = path_of_ours(&at.next);
    if let Some(cookie) = &visit.cookie
        && dash.access.signed_in(cookie, &visit.place.request_id).await?.is_some()
    {
        return Ok(see_other(next));
    }
    let needs_setup = dash.access.needs_setup().await?;
    page(&SignIn { next, name: "", refusal: None, needs_setup, signed_out: at.signed_out.is_some() })
}

pub async fn create(State(dash): State<Dash>, Open { visit, form }: Open) -> Result<Response> {
    let (name, next) = (form.text("name"), path_of_ours(form.text("next")));
    let password = Password::new(form.text("password"));
    match dash.access.sign_in(name, &password, &visit.place, visit.cookie.as_ref()).await {
        Ok((_, cookie)) => Ok(([(header::SET_COOKIE, set_cookie(&cookie))], see_other(next)).into_response()),
        Err(error) => {
            let refusal = Some(Words::of(&error, &visit.place.request_id));
            refused_page(&error, &SignIn { next, name, refusal, needs_setup: false, signed_out: false })
        }
    }
}

pub async fn end(State(dash): State<Dash>, Posted { signed, .. }: Posted) -> Result<Response> {
    dash.access.sign_out(&signed.who).await?;
    Ok(([(header::SET_COOKIE, clear_cookie())], see_other("/sign-in?signed_out=1")).into_response())
}
