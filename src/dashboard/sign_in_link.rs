//! The page of the one-time link that makes a browser known to a user: the secret is put into the field by the script,
//! or pasted. The user then signs in with the password, whatever others try meanwhile. Opening the page uses nothing up.

use askama::Template;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::Dash;
use super::visit::{Open, Visit, device_cookie};
use crate::error::Result;
use crate::http::html::{Words, page, refused_page, see_other};

#[derive(Template)]
#[template(path = "sign_in_link.html")]
struct SignInLink {
    refusal: Option<Words>,
}

pub async fn show(_: Visit) -> Result<Response> {
    page(&SignInLink { refusal: None })
}

pub async fn create(State(dash): State<Dash>, Open { visit, form }: Open) -> Result<Response> {
    match dash.access.use_sign_in_link(form.text("link"), &visit.place).await {
        Ok((user, device)) => {
            let next = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("known", user.name.as_str())
                .finish();
            let cookie = [(header::SET_COOKIE, device_cookie(user.id, &device))];
            Ok((cookie, see_other(&format!("/sign-in?{next}"))).into_response())
        }
        Err(error) => {
            let refusal = Some(Words::of(&error, &visit.place.request_id));
            refused_page(&error, &SignInLink { refusal })
        }
    }
}
