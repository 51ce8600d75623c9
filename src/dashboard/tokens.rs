//! API tokens: list, create with the secret shown once, revoke.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::format::{Requester, clean, day, relative};
use super::frame::Frame;
use super::visit::{Form, Posted, Signed, Stop};
use super::{Dash, refused};
use crate::access::Permission;
use crate::access::secret::Secret;
use crate::access::tokens::NewToken;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::http::extract::Query;
use crate::http::html::{Words, page, refused_page, see_other};
use crate::http::page::{cursor, cut};
use crate::model::actor::Role;
use crate::model::id::TokenId;
use crate::model::identifier::shown;
use crate::model::times;
use crate::model::token::Token;

const ROWS: u16 = 50;

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct At {
    cursor: Option<String>,
}

#[derive(Template)]
#[template(path = "tokens.html")]
struct List<'a> {
    frame: Frame,
    rows: Vec<Row>,
    next: Option<String>,
    later: bool,
    may_manage: bool,
    form: &'a Form,
    profiles: Vec<(String, bool)>,
    refusal: Option<Words>,
}

struct Row {
    id: String,
    name: String,
    role: &'static str,
    status: &'static str,
    alive: bool,
    /// What bounds it, in words; empty: nothing.
    bounds: Vec<String>,
    created_by: Requester,
    ends: String,
    left: String,
    used: Option<String>,
}

impl Row {
    fn of(t: &Token, now: Timestamp) -> Self {
        let list = |name: &str, texts: Vec<String>| {
            let all = texts.iter().any(|t| t == "*");
            (!all).then(|| format!("{name}: {}", if texts.is_empty() { "none".into() } else { texts.join(", ") }))
        };
        let bounds = t.scope.as_ref().map(|s| {
            let names = s.names.iter().map(|n| clean(&n.to_string())).collect();
            [list("names", names), list("profiles", s.profiles.clone()), list("issuers", s.issuers.clone())]
        });
        Row {
            id: t.id.to_string(),
            name: clean(&t.name),
            role: t.role.name(),
            status: t.status(now),
            alive: t.is_alive(now),
            bounds: bounds.into_iter().flatten().flatten().collect(),
            created_by: Requester::of(&t.created_by),
            ends: day(t.expires_at),
            left: relative(t.expires_at, now),
            used: t.last_used_at.map(|at| relative(at, now)),
        }
    }
}

pub async fn list(signed: Signed, State(dash): State<Dash>, Query(at): Query<At>) -> Result<Response, Stop> {
    signed.may(Permission::ReadTokens)?;
    Ok(page(&whole(&dash, &signed, at.cursor.as_deref(), &Form::default(), None).await?)?)
}

async fn whole<'a>(
    dash: &Dash,
    signed: &Signed,
    at: Option<&str>,
    form: &'a Form,
    refusal: Option<Words>,
) -> Result<List<'a>> {
    let before = cursor::<TokenId>(at)?;
    let mut rows = dash.access.tokens(before, ROWS + 1).await?;
    let next = cut(&mut rows, ROWS, |t| t.id).map(|c| format!("/tokens?cursor={c}"));
    let chosen = form.all("profiles");
    let snapshot = dash.authority.snapshot();
    Ok(List {
        frame: Frame::of(signed, "tokens"),
        rows: rows.iter().map(|t| Row::of(t, dash.now())).collect(),
        next,
        later: before.is_some(),
        may_manage: signed.caller().may_manage_tokens().is_ok(),
        profiles: snapshot.profiles.keys().map(|p| (p.clone(), chosen.contains(p))).collect(),
        form,
        refusal,
    })
}

#[derive(Template)]
#[template(path = "token_made.html")]
struct Made<'a> {
    frame: Frame,
    name: String,
    role: &'static str,
    ends: String,
    secret: &'a str,
    url: &'a str,
}

/// The answer to the form itself: a redirect would have to carry the secret.
pub async fn create(State(dash): State<Dash>, Posted { signed, form }: Posted) -> Result<Response, Stop> {
    refused(&dash, signed.caller(), "token.refused", "", signed.caller().may_manage_tokens()).await?;
    match make(&dash, &signed, &form).await {
        Ok((token, secret)) => Ok(page(&Made {
            frame: Frame::of(&signed, "tokens"),
            name: clean(&token.name),
            role: token.role.name(),
            ends: day(token.expires_at),
            secret: secret.expose(),
            url: &dash.external_url,
        })?),
        Err(error) => {
            let words = Words::of(&error, &signed.place.request_id);
            Ok(refused_page(&error, &whole(&dash, &signed, None, &form, Some(words)).await?)?)
        }
    }
}

async fn make(dash: &Dash, signed: &Signed, form: &Form) -> Result<(Token, Secret)> {
    let role = form.text("role");
    let role = Role::from_name(role).ok_or_else(|| {
        let all = Role::ALL.map(Role::name).join(", ");
        {
            let sentence = format!("role \"{}\" does not exist; there are {all}", shown(role));
            Error::refused(ErrorKind::Unprocessable, "token.role", format!("\"{}\"", shown(role)), all, "choose one")
                .explained(sentence)
        }
    })?;
    // an empty field bounds nothing; a list that allows nothing has to be asked for elsewhere
    let lines = |name| {
        let texts: Vec<String> = form.text(name).split([',', '\n']).map(|t| t.trim().to_owned()).collect();
        Some(texts.into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>()).filter(|list| !list.is_empty())
    };
    let now = dash.authority.store().now();
    let new = NewToken {
        name: form.text("name").to_owned(),
        role: Some(role),
        expires_in: form.given("expires").map(|text| times::length(text, now)).transpose()?,
        allow_names: lines("allow_names"),
        profiles: Some(form.all("profiles")).filter(|list| !list.is_empty()),
        ..NewToken::default()
    };
    dash.access.create_token(signed.caller().actor(), &new).await
}

pub async fn revoke(
    State(dash): State<Dash>,
    Path(id): Path<String>,
    Posted { signed, .. }: Posted,
) -> Result<Response, Stop> {
    let id: TokenId = id.parse().map_err(|_| Error::not_found(format!("token {}", shown(&id))))?;
    let object = format!("token:{id}");
    refused(&dash, signed.caller(), "token.refused", &object, signed.caller().may_manage_tokens()).await?;
    dash.access.revoke_token(signed.caller().actor(), id).await?;
    Ok(see_other("/tokens"))
}
