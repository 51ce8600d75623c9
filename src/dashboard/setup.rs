//! The set-up page: the secret of the one-time link (put into the field by the script, or pasted), a name and a
//! password make the first administrator, who is then signed in.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::Dash;
use super::visit::{Open, Visit, set_cookies};
use crate::access::password::Password;
use crate::access::setup::SetUp;
use crate::error::{Error, ErrorKind, Result};
use crate::http::html::{Words, page, refused_page, see_other};

#[derive(Template)]
#[template(path = "setup.html")]
struct Setup<'a> {
    /// There is an administrator: nothing is to be set up.
    done: bool,
    /// The host that settings name, when the browser asked for another one.
    other_host: Option<&'a str>,
    host: &'a str,
    name: &'a str,
    refusal: Option<Words>,
}

pub async fn show(State(dash): State<Dash>, visit: Visit) -> Result<Response> {
    let done = !dash.access.needs_setup().await?;
    page(&Setup { done, other_host: other_host(&dash, &visit), host: &visit.host, name: "admin", refusal: None })
}

pub async fn create(State(dash): State<Dash>, Open { visit, form }: Open) -> Result<Response> {
    let password = Password::new(form.text("password"));
    let outcome = match form.text("password") == form.text("repeated") {
        true => {
            let ask = SetUp { secret: form.text("link"), name: form.text("name"), password: &password };
            dash.access.set_up(&ask, &visit.place).await
        }
        false => Err(Error::new(ErrorKind::Unprocessable, "the two passwords are not the same; type both again")),
    };
    match outcome {
        Ok(entered) => Ok((set_cookies(&entered), see_other("/")).into_response()),
        Err(error) => {
            let refusal = Some(Words::of(&error, &visit.place.request_id));
            let done = error.kind == ErrorKind::Conflict;
            let other_host = other_host(&dash, &visit);
            refused_page(&error, &Setup { done, other_host, host: &visit.host, name: form.text("name"), refusal })
        }
    }
}

/// A name of the server that differs from its settings breaks links and ACME later: told where it is first seen.
fn other_host<'a>(dash: &'a Dash, visit: &Visit) -> Option<&'a str> {
    let (_, ours) = dash.external_url.split_once("://")?;
    (ours != visit.host).then_some(ours)
}
