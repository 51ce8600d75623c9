//! Audit events: newest first, or the history of one object.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::Dash;
use super::format::{Requester, clean, minute, tail};
use super::frame::Frame;
use super::visit::{Signed, Stop};
use crate::access::Permission;
use crate::error::Result;
use crate::http::extract::Query;
use crate::http::html::page;
use crate::http::page::{cursor, cut};
use crate::model::audit::ListedEvent;
use crate::model::id::EventId;
use crate::model::serial::to_hex;

const ROWS: u16 = 50;

/// One event as pages show it.
#[derive(Debug)]
pub struct Event {
    pub at: String,
    pub at_iso: String,
    pub actor: Requester,
    pub action: String,
    pub outcome: String,
    pub object: String,
    /// `certificate …4D8MGKPT`
    pub label: String,
    /// Where the object has a page, or else its history.
    pub page: String,
    /// The facts that people look for, in words.
    pub gist: String,
    pub detail: String,
    pub request_id: String,
    pub hash: String,
    /// What is wrong with its row in the database.
    pub fault: Option<String>,
}

impl Event {
    pub fn of(listed: &ListedEvent) -> Self {
        let e = &listed.event;
        let detail: serde_json::Value = serde_json::from_str(&e.detail).unwrap_or_default();
        Event {
            at: minute(e.at),
            at_iso: e.at.to_string(),
            actor: Requester::of(&e.actor),
            action: e.action.clone(),
            outcome: e.outcome.clone(),
            page: page_of(&e.object),
            label: label(&e.object),
            object: clean(&e.object),
            gist: gist(&detail),
            detail: clean(&detail.to_string()),
            request_id: clean(&e.request_id),
            hash: to_hex(&e.hash).get(..12).unwrap_or_default().to_owned(),
            fault: listed.fault.as_deref().map(clean),
        }
    }
}

fn label(object: &str) -> String {
    object.split_once(':').map_or_else(|| clean(object), |(kind, id)| format!("{} {}", clean(kind), tail(&clean(id))))
}

fn page_of(object: &str) -> String {
    let Some((kind, id)) = object.split_once(':') else { return String::new() };
    match kind {
        "certificate" => format!("/certificates/{id}"),
        "account" => format!("/accounts/{id}"),
        "order" => format!("/orders/{id}"),
        "user" => format!("/users/{id}"),
        _ => {
            let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("object", object).finish();
            format!("/audit?{query}")
        }
    }
}

/// Names, reason, why: whatever of these an event has.
fn gist(detail: &serde_json::Value) -> String {
    let names = detail["names"].as_array().into_iter().flatten();
    let mut parts: Vec<String> =
        names.filter_map(|n| n.as_str().or_else(|| n["value"].as_str())).take(3).map(clean).collect();
    for member in ["name", "reason", "why", "role"] {
        parts.extend(detail[member].as_str().map(clean));
    }
    parts.join(" · ")
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    object: String,
    cursor: Option<String>,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct List {
    frame: Frame,
    object: String,
    events: Vec<Event>,
    next: Option<String>,
    later: bool,
}

pub async fn list(signed: Signed, State(dash): State<Dash>, Query(asked): Query<Asked>) -> Result<Response, Stop> {
    signed.may(Permission::ReadAudit)?;
    let before = cursor::<EventId>(asked.cursor.as_deref())?;
    let object = asked.object.trim();
    let (mut rows, next) = if object.is_empty() {
        let mut rows = dash.authority.audit_events(before, ROWS + 1).await?;
        let next = cut(&mut rows, ROWS, |listed| listed.event.id).map(|c| format!("/audit?cursor={c}"));
        (rows, next)
    } else {
        (dash.authority.events_of(object).await?, None)
    };
    if !object.is_empty() {
        rows.reverse();
    }
    let list = List {
        frame: Frame::of(&signed, "audit"),
        object: clean(object),
        events: rows.iter().map(Event::of).collect(),
        next,
        later: before.is_some(),
    };
    Ok(page(&list)?)
}
