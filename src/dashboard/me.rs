//! One's own account: a new password, and the sessions that are open.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{AppendHeaders, IntoResponse, Response};
use serde::Deserialize;

use super::Dash;
use super::format::{clean, minute, relative};
use super::frame::Frame;
use super::visit::{Posted, Signed, Stop, clear_cookie, device_cookie};
use crate::access::password::Password;
use crate::error::{Error, ErrorKind, Result};
use crate::http::extract::Query;
use crate::http::html::{Words, page, refused_page, see_other};
use crate::model::identifier::shown;

#[derive(Template)]
#[template(path = "me.html")]
struct Me {
    frame: Frame,
    changed: String,
    sessions: Vec<Row>,
    just_changed: bool,
    refusal: Option<Words>,
}

struct Row {
    id: String,
    this: bool,
    address: String,
    program: String,
    since: String,
    seen: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Came {
    changed: Option<String>,
}

pub async fn show(signed: Signed, State(dash): State<Dash>, Query(came): Query<Came>) -> Result<Response, Stop> {
    Ok(page(&whole(&dash, &signed, came.changed.is_some(), None).await?)?)
}

async fn whole(dash: &Dash, signed: &Signed, just_changed: bool, refusal: Option<Words>) -> Result<Me> {
    let now = dash.now();
    let sessions = dash.access.sessions_of(&signed.who.user).await?;
    let rows = sessions.iter().map(|s| Row {
        id: s.id.to_string(),
        this: s.id == signed.who.session.id,
        address: s.address.clone(),
        program: clean(&s.user_agent),
        since: minute(s.created_at),
        seen: relative(s.last_seen_at, now),
    });
    Ok(Me {
        frame: Frame::of(signed, "me"),
        changed: relative(signed.who.user.password_changed_at, now),
        sessions: rows.collect(),
        just_changed,
        refusal,
    })
}

pub async fn change_password(State(dash): State<Dash>, Posted { signed, form }: Posted) -> Result<Response, Stop> {
    let (old, new) = (Password::new(form.text("old")), Password::new(form.text("password")));
    let outcome = match form.text("password") == form.text("repeated") {
        true => dash.access.change_password(&signed.who, &old, &new, &signed.place).await,
        false => Err(Error::new(ErrorKind::Unprocessable, "the two passwords are not the same; type both again")),
    };
    match outcome {
        Ok(device) => {
            let cookies = device.iter().map(|device| (header::SET_COOKIE, device_cookie(signed.who.user.id, device)));
            Ok((AppendHeaders(cookies.collect::<Vec<_>>()), see_other("/me?changed=1")).into_response())
        }
        Err(error) => {
            let words = Words::of(&error, &signed.place.request_id);
            Ok(refused_page(&error, &whole(&dash, &signed, false, Some(words)).await?)?)
        }
    }
}

pub async fn end_session(
    State(dash): State<Dash>,
    Path(id): Path<String>,
    Posted { signed, .. }: Posted,
) -> Result<Response, Stop> {
    let id = id.parse().map_err(|_| Error::not_found(format!("session {}", shown(&id))))?;
    dash.access.end_session(&signed.who, id).await?;
    Ok(see_other("/me"))
}

/// Ends every session, and no browser is known any more.
pub async fn sign_out_everywhere(State(dash): State<Dash>, Posted { signed, .. }: Posted) -> Result<Response, Stop> {
    dash.access.sign_out_everywhere(&signed.who).await?;
    Ok(([(header::SET_COOKIE, clear_cookie())], see_other("/sign-in?signed_out=1")).into_response())
}
