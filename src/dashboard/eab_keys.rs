//! External account keys: list, create with the HMAC key shown once and the lines that use it, revoke.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::format::{Requester, clean, day, relative};
use super::frame::Frame;
use super::visit::{Form, Posted, Signed, Stop};
use super::{Dash, refused};
use crate::access::Permission;
use crate::access::grants::NewGrant;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::http::extract::Query;
use crate::http::html::{Words, page, refused_page, see_other};
use crate::http::page::{cursor, cut};
use crate::model::eab::EabKey;
use crate::model::id::EabKeyId;
use crate::model::identifier::shown;
use crate::model::times;
use crate::registration::external_accounts::{Bounds, MacKey, NewEabKey};

const ROWS: u16 = 50;

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct At {
    cursor: Option<String>,
}

#[derive(Template)]
#[template(path = "eab_keys.html")]
struct List<'a> {
    frame: Frame,
    rows: Vec<Row>,
    next: Option<String>,
    later: bool,
    may_manage: bool,
    form: &'a Form,
    directories: Vec<String>,
    refusal: Option<Words>,
}

struct Row {
    id: String,
    name: String,
    directory: String,
    status: &'static str,
    class: &'static str,
    /// What its accounts may ask for.
    names: String,
    accounts: String,
    created_by: Requester,
    ends: String,
    left: String,
}

impl Row {
    async fn of(dash: &Dash, key: &EabKey, now: Timestamp) -> Result<Self> {
        let grant = dash.access.grant(key.grant_id).await?;
        let names: Vec<String> = grant.scope.names.iter().map(|n| clean(&n.to_string())).collect();
        let status = key.status(now);
        Ok(Row {
            id: key.id.to_string(),
            name: clean(&key.name),
            directory: key.directory.clone(),
            status: if status == "used_up" { "used up" } else { status },
            class: match status {
                "active" => "active",
                "revoked" => "revoked",
                _ => "ended",
            },
            names: if names.is_empty() { "no names".into() } else { names.join(", ") },
            accounts: match key.max_accounts {
                Some(max) => format!("{} of {max}", key.used_accounts),
                None => key.used_accounts.to_string(),
            },
            created_by: Requester::of(&key.created_by),
            ends: day(key.expires_at),
            left: relative(key.expires_at, now),
        })
    }
}

pub async fn list(signed: Signed, State(dash): State<Dash>, Query(at): Query<At>) -> Result<Response, Stop> {
    signed.may(Permission::ReadGrants)?;
    Ok(page(&whole(&dash, &signed, at.cursor.as_deref(), &Form::default(), None).await?)?)
}

async fn whole<'a>(
    dash: &Dash,
    signed: &Signed,
    at: Option<&str>,
    form: &'a Form,
    refusal: Option<Words>,
) -> Result<List<'a>> {
    let before = cursor::<EabKeyId>(at)?;
    let mut keys = dash.registration.eab_keys(before, ROWS + 1).await?;
    let next = cut(&mut keys, ROWS, |k| k.id).map(|c| format!("/eab-keys?cursor={c}"));
    let mut rows = Vec::with_capacity(keys.len());
    for key in &keys {
        rows.push(Row::of(dash, key, dash.now()).await?);
    }
    Ok(List {
        frame: Frame::of(signed, "eab"),
        rows,
        next,
        later: before.is_some(),
        may_manage: signed.caller().may_manage_grants().is_ok(),
        form,
        directories: dash.registration.directories(),
        refusal,
    })
}

#[derive(Template)]
#[template(path = "eab_key_made.html")]
struct Made<'a> {
    frame: Frame,
    name: String,
    kid: String,
    hmac: &'a str,
    directory_url: String,
    ends: String,
}

/// The answer to the form itself: a redirect would have to carry the key.
pub async fn create(State(dash): State<Dash>, Posted { signed, form }: Posted) -> Result<Response, Stop> {
    refused(&dash, signed.caller(), "eab_key.refused", "", signed.caller().may_manage_grants()).await?;
    match make(&dash, &signed, &form).await {
        Ok((key, hmac)) => Ok(page(&Made {
            frame: Frame::of(&signed, "eab"),
            name: clean(&key.name),
            kid: key.kid(),
            hmac: &hmac,
            directory_url: format!("{}/acme/{}/directory", dash.external_url, key.directory),
            ends: day(key.expires_at),
        })?),
        Err(error) => {
            let words = Words::of(&error, &signed.place.request_id);
            Ok(refused_page(&error, &whole(&dash, &signed, None, &form, Some(words)).await?)?)
        }
    }
}

async fn make(dash: &Dash, signed: &Signed, form: &Form) -> Result<(EabKey, MacKey)> {
    let number = |name: &str| {
        let wrong = |text: &str| {
            let value = format!("\"{}\"", shown(text));
            Error::refused(
                ErrorKind::Unprocessable,
                format!("eab.{name}"),
                &value,
                "a whole number",
                "correct it or leave it empty",
            )
            .explained(format!("{value} is not a whole number"))
        };
        form.given(name).map(|text| text.parse::<i64>().map_err(|_| wrong(text))).transpose()
    };
    let names: Vec<String> = form.text("allow_names").split([',', '\n']).map(|t| t.trim().to_owned()).collect();
    let names: Vec<String> = names.into_iter().filter(|t| !t.is_empty()).collect();
    if names.is_empty() {
        return Err(Error::refused(
            ErrorKind::Unprocessable,
            "eab.names",
            "no name",
            "at least one: accounts without any could ask for nothing",
            "write the domains that the client may ask for",
        )
        .explained("the key has no names, so accounts registered with it could ask for nothing"));
    }
    let bounds = Bounds::Own(NewGrant {
        name: form.text("name").to_owned(),
        allow_names: Some(names),
        subjects: None,
        profiles: None,
        issuers: None,
        expires_in: None,
        max_count: number("max_count")?,
    });
    let now = dash.authority.store().now();
    let new = NewEabKey {
        name: form.text("name").to_owned(),
        directory: form.given("directory").unwrap_or("default").to_owned(),
        bounds,
        expires_in: form.given("expires").map(|text| times::length(text, now)).transpose()?,
        max_accounts: number("max_accounts")?,
    };
    let told = |_: &EabKey| Ok(String::new());
    dash.registration.create_eab_key(signed.caller().actor(), &new, None, told).await
}

pub async fn revoke(
    State(dash): State<Dash>,
    Path(id): Path<String>,
    Posted { signed, form }: Posted,
) -> Result<Response, Stop> {
    let id: EabKeyId = id.parse().map_err(|_| Error::not_found(format!("EAB key {}", shown(&id))))?;
    let object = format!("eab_key:{id}");
    refused(&dash, signed.caller(), "eab_key.refused", &object, signed.caller().may_manage_grants()).await?;
    let with_accounts = !form.text("accounts").is_empty();
    dash.registration.revoke_eab_key(signed.caller().actor(), id, with_accounts).await?;
    Ok(see_other("/eab-keys"))
}
