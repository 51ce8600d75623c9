//! The first page: how the CA is, what ends soon, what happened. It counts no large table: a count stops at a bound.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::Dash;
use super::audit::Event;
use super::authorities::Publication;
use super::certificates::{Row, SOON};
use super::format::bounded;
use super::frame::Frame;
use super::visit::{Signed, Stop};
use crate::access::Permission;
use crate::authority::checks::Severity;
use crate::clock::days;
use crate::error::Result;
use crate::http::html::{Span, page, spans};
use crate::model::certificate::CertificateFilter;

/// Where counts stop.
const BOUND: u16 = 10_000;
/// A hundred years: every valid one.
const EVER: u64 = 36_500;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    /// None for a role that does not read the system's checks.
    health: Option<Health>,
    numbers: Option<Numbers>,
    publications: Vec<Publication>,
    /// Expiring next, or for a requester the newest of its own.
    rows: Vec<Row>,
    own: bool,
    events: Vec<Event>,
}

struct Health {
    passed: usize,
    critical: bool,
    /// (class, name, what to do)
    problems: Vec<(&'static str, &'static str, Vec<Span>)>,
}

struct Numbers {
    valid: String,
    ending: String,
    issued: String,
    revoked: String,
}

pub async fn show(signed: Signed, State(dash): State<Dash>) -> Result<Response, Stop> {
    signed.may(Permission::ReadCertificates)?;
    let own = signed.caller().only_own();
    let filter = CertificateFilter { requester: own.clone(), ..CertificateFilter::default() };
    let mut rows = match own {
        Some(_) => dash.authority.certificates(&filter, None, 12).await?,
        None => dash.authority.certificates_ending(days(30), 12).await?,
    };
    rows.retain(|c| signed.caller().may_see(c).is_ok());
    let publications = match signed.may(Permission::ReadHierarchy) {
        Ok(()) => Publication::all(&dash, &signed).await,
        Err(_) => Vec::new(),
    };
    let events = match signed.may(Permission::ReadAudit) {
        Ok(()) => dash.authority.audit_events(None, 12).await?.iter().map(Event::of).collect(),
        Err(_) => Vec::new(),
    };
    let numbers = if own.is_none() { Some(numbers(&dash, &publications).await?) } else { None };
    let overview = Overview {
        health: if signed.may(Permission::ReadChecks).is_ok() { Some(health(&dash).await) } else { None },
        frame: Frame::of(&signed, "overview"),
        numbers,
        publications,
        rows: rows.iter().map(|c| Row::of(&dash, c)).collect(),
        own: own.is_some(),
        events,
    };
    Ok(page(&overview)?)
}

async fn health(dash: &Dash) -> Health {
    let checks = dash.authority.checks().await;
    let passed = checks.iter().filter(|c| c.severity == Severity::Ok).count();
    let critical = checks.iter().any(|c| c.severity == Severity::Critical);
    let problems = checks.into_iter().filter_map(|check| match check.severity {
        Severity::Ok => None,
        Severity::Warning => Some(("warn", check.name, spans(&check.detail))),
        Severity::Critical => Some(("bad", check.name, spans(&check.detail))),
    });
    Health { passed, critical, problems: problems.collect() }
}

async fn numbers(dash: &Dash, publications: &[Publication]) -> Result<Numbers> {
    Ok(Numbers {
        valid: bounded(dash.authority.count_ending(days(EVER), BOUND).await?, BOUND),
        ending: bounded(dash.authority.count_ending(days(SOON), BOUND).await?, BOUND),
        issued: bounded(dash.authority.count_recent(days(1), BOUND).await?, BOUND),
        revoked: super::format::number(publications.iter().map(|p| p.entries).sum()),
    })
}
