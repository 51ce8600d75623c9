//! The keys that are refused in requests and as ACME account keys.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::Dash;
use super::format::{Requester, clean, minute};
use super::frame::Frame;
use super::visit::{Signed, Stop};
use crate::access::Permission;
use crate::http::extract::Query;
use crate::http::html::page;
use crate::http::page::{cursor, cut};
use crate::model::blocked_key::{BlockedKey, KeyFingerprint};

const ROWS: u16 = 50;

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct At {
    cursor: Option<String>,
}

#[derive(Template)]
#[template(path = "blocked_keys.html")]
struct List {
    frame: Frame,
    rows: Vec<Row>,
    next: Option<String>,
    later: bool,
}

struct Row {
    fingerprint: String,
    reason: String,
    comment: String,
    since: String,
    by: Requester,
    certificates: i64,
}

impl Row {
    fn of(blocked: &BlockedKey) -> Self {
        Row {
            fingerprint: blocked.key.to_string(),
            reason: clean(&blocked.reason),
            comment: clean(&blocked.comment),
            since: minute(blocked.blocked_at),
            by: Requester::of(&blocked.blocked_by),
            certificates: blocked.certificates,
        }
    }
}

pub async fn list(signed: Signed, State(dash): State<Dash>, Query(at): Query<At>) -> Result<Response, Stop> {
    signed.may(Permission::ReadAudit)?;
    let after = cursor::<KeyFingerprint>(at.cursor.as_deref())?;
    let mut rows = dash.authority.blocked_keys(after, ROWS + 1).await?;
    let next = cut(&mut rows, ROWS, |blocked| blocked.key).map(|cursor| format!("/blocked-keys?cursor={cursor}"));
    let list = List {
        frame: Frame::of(&signed, "keys"),
        rows: rows.iter().map(Row::of).collect(),
        next,
        later: after.is_some(),
    };
    Ok(page(&list)?)
}
