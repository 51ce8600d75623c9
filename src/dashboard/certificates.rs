//! The list of certificates: names first, then dates, issuer, profile and who asked. Everything that narrows it
//! stands in the URL; a serial or a fingerprint in the search leads to its certificate.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::Dash;
use super::format::{Requester, clean, day, relative, tail};
use super::frame::Frame;
use super::visit::{Signed, Stop};
use crate::access::Permission;
use crate::clock::{Timestamp, days};
use crate::error::Result;
use crate::http::extract::Query;
use crate::http::html::{page, see_other};
use crate::http::page::{cursor, cut};
use crate::model::certificate::{Certificate, CertificateFilter, CertificateStatus, ShownStatus};
use crate::model::id::CertificateId;
use crate::model::serial::searched;

const ROWS: u16 = 50;
/// Under this a certificate is shown as ending soon.
pub const SOON: u64 = 14;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    pub q: String,
    pub status: String,
    pub profile: String,
    pub issuer: String,
    pub requester: String,
    /// Ends within so many days.
    pub within: String,
    cursor: String,
}

#[derive(Template)]
#[template(path = "certificates.html")]
struct List {
    frame: Frame,
    asked: Asked,
    rows: Vec<Row>,
    profiles: Vec<String>,
    issuers: Vec<String>,
    next: Option<String>,
    /// Not the first page.
    later: bool,
    narrowed: bool,
    rest: String,
}

/// One certificate as lists show it.
#[derive(Debug)]
pub struct Row {
    pub id: String,
    pub name: String,
    pub more: usize,
    /// All names, for who points at the first.
    pub names: String,
    pub status: &'static str,
    /// Why and when it was revoked, and since when its key is compromised.
    pub reason: Option<String>,
    /// `soon` beside the words of `status`.
    pub class: &'static str,
    pub day: String,
    pub left: String,
    pub issuer: String,
    pub profile: String,
    pub requester: Requester,
    pub serial_tail: String,
}

impl Row {
    pub fn of(dash: &Dash, c: &Certificate) -> Self {
        let now = dash.now();
        let (status, class) = match dash.authority.revoked_above(c) {
            Some(_) if c.shown_status(now) == ShownStatus::Valid => ("issuer revoked", "revoked"),
            None if c.shown_status(now) == ShownStatus::Valid && dash.authority.removed_above(c).is_some() => {
                ("issuer removed", "revoked")
            }
            Some(_) | None => (c.shown_status(now).name(), class(c, now)),
        };
        let names: Vec<String> = c.names.iter().map(|n| clean(&n.value())).collect();
        let serial = c.serial.to_string();
        Row {
            id: c.id.to_string(),
            name: title(c),
            more: names.len().saturating_sub(1),
            names: names.join(", "),
            status,
            reason: revocation(c),
            class,
            day: day(c.validity.not_after()),
            left: relative(c.validity.not_after(), now),
            issuer: c.issuer.clone(),
            profile: c.profile.clone(),
            requester: Requester::of(&c.requester),
            serial_tail: tail(&serial),
        }
    }
}

fn revocation(c: &Certificate) -> Option<String> {
    let CertificateStatus::Revoked { at, reason, invalidity_date } = c.status else { return None };
    let since = invalidity_date.map(|date| format!(", key compromised since {}", day(date)));
    Some(format!("{} on {}{}", reason.name(), day(at), since.unwrap_or_default()))
}

/// The first name; without one the subject, else the serial.
pub fn title(c: &Certificate) -> String {
    match c.names.first() {
        Some(name) => clean(&name.value()),
        None if !c.subject.is_empty() => clean(&c.subject),
        None => format!("serial {}", tail(&c.serial.to_string())),
    }
}

/// The status, and `soon` for a valid one that ends within two weeks and is past two thirds of its life.
pub fn class(c: &Certificate, now: Timestamp) -> &'static str {
    let (from, to) = (c.validity.not_before(), c.validity.not_after());
    match c.shown_status(now) {
        ShownStatus::Valid if to < now + days(SOON) && to.since(now) < to.since(from) / 3 => "soon",
        status => status.name(),
    }
}

pub async fn list(signed: Signed, State(dash): State<Dash>, Query(asked): Query<Asked>) -> Result<Response, Stop> {
    signed.may(Permission::ReadCertificates)?;
    let now = dash.now();
    let text = asked.q.trim();
    if let Some(found) = dash.authority.certificate_named_by(text).await?
        && signed.caller().may_see(&found).is_ok()
    {
        return Ok(see_other(&format!("/certificates/{}", found.id)));
    }
    let before = cursor::<CertificateId>(given(&asked.cursor))?;
    let filter = filter(&signed, &asked, now);
    let mut rows = dash.authority.certificates(&filter, before, ROWS + 1).await?;
    let next = cut(&mut rows, ROWS, |c| c.id).map(|cursor| link(&asked, &cursor));
    if before.is_none()
        && pairs(&asked).len() == 1
        && let Some(serial) = searched(text)
    {
        let of_serial = dash.authority.certificates_by_serial(&serial).await?;
        rows.retain(|c| of_serial.iter().all(|first| first.id != c.id));
        rows.splice(0..0, of_serial);
    }
    rows.retain(|c| signed.caller().may_see(c).is_ok());
    let snapshot = dash.authority.snapshot();
    let list = List {
        frame: Frame::of(&signed, "certificates"),
        rows: rows.iter().map(|c| Row::of(&dash, c)).collect(),
        profiles: snapshot.profiles.keys().filter(|p| signed.caller().sees_profile(p)).cloned().collect(),
        issuers: snapshot.issuers.keys().filter(|i| signed.caller().sees_issuer(i)).cloned().collect(),
        next,
        later: before.is_some(),
        narrowed: !pairs(&asked).is_empty(),
        rest: rest(&asked),
        asked,
    };
    Ok(page(&list)?)
}

fn filter(signed: &Signed, asked: &Asked, now: Timestamp) -> CertificateFilter {
    let within = given(&asked.within).and_then(|n| n.parse::<u64>().ok()).filter(|n| *n <= 3_650);
    let status = ShownStatus::from_name(&asked.status);
    CertificateFilter {
        // what ends soon is what still works
        status: status.or(within.map(|_| ShownStatus::Valid)),
        profile: given(&asked.profile).map(str::to_owned),
        issuer: given(&asked.issuer).map(str::to_owned),
        requester: signed.caller().only_own().or_else(|| given(&asked.requester).map(str::to_owned)),
        expires_before: within.map(|n| now + days(n)),
        name: given(&asked.q).map(search),
        ..CertificateFilter::default()
    }
}

/// A host out of a pasted URL; without an asterisk it is the beginning of a name.
fn search(text: &str) -> String {
    let host = text.split_once("://").map_or(text, |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(rest));
    let host: String = host.chars().take(300).collect();
    if host.contains('*') { host } else { format!("{host}*") }
}

fn given(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|t| !t.is_empty())
}

fn pairs(asked: &Asked) -> Vec<(&'static str, &str)> {
    let all = [
        ("q", &asked.q),
        ("status", &asked.status),
        ("profile", &asked.profile),
        ("issuer", &asked.issuer),
        ("requester", &asked.requester),
        ("within", &asked.within),
    ];
    all.into_iter().filter_map(|(name, text)| Some((name, given(text)?))).collect()
}

fn link(asked: &Asked, cursor: &str) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs(asked)).append_pair("cursor", cursor);
    format!("/certificates?{}", query.finish())
}

/// The same list over REST.
fn rest(asked: &Asked) -> String {
    let known = pairs(asked).into_iter().filter(|(name, _)| *name != "within");
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(known).finish();
    if query.is_empty() { "/api/v1/certificates".to_owned() } else { format!("/api/v1/certificates?{query}") }
}
