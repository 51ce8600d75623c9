//! Revocation cannot misfire: the page names what it is about, the form goes to the certificate's id, and the first
//! name is typed again.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;

use super::certificate::find;
use super::certificates::{class, title};
use super::format::{Requester, clean, day, minute, relative, tail};
use super::frame::Frame;
use super::visit::{Form, Posted, Signed, Stop};
use super::{Dash, refused};
use crate::access::Permission;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::http::extract::Query;
use crate::http::html::{Words, page, refused_page, see_other};
use crate::model::certificate::{Certificate, CertificateStatus};
use crate::model::reason::RevocationReason;
use crate::model::revocation::NewRevocation;
use crate::model::times;

#[derive(Template)]
#[template(path = "revoke.html")]
struct Revoke<'a> {
    frame: Frame,
    id: String,
    title: String,
    /// What is to be typed.
    word: String,
    status: &'static str,
    class: &'static str,
    names: Vec<String>,
    serial: String,
    day: String,
    left: String,
    issuer: String,
    requester: Requester,
    /// What ends with it, when it is the certificate of an issuer.
    below: Vec<(&'static str, String)>,
    reasons: Vec<(&'static str, &'static str)>,
    reason: &'a str,
    /// When the key was compromised, as it was typed.
    since: &'a str,
    typed: &'a str,
    /// When and why it is revoked already.
    before: Option<(String, &'static str)>,
    refusal: Option<Words>,
}

/// What the link to the form proposes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Proposed {
    reason: String,
}

pub async fn show(
    signed: Signed,
    State(dash): State<Dash>,
    Path(id): Path<String>,
    Query(proposed): Query<Proposed>,
) -> Result<Response, Stop> {
    let record = find(&dash, &signed, &id).await?;
    signed.caller().may_revoke(&record)?;
    dash.authority.refuse_root(&record)?;
    let given = Form::of("reason", &proposed.reason);
    Ok(page(&form(&dash, &signed, &record, &given, None).await?)?)
}

pub async fn create(
    State(dash): State<Dash>,
    Path(id): Path<String>,
    Posted { signed, form: given }: Posted,
) -> Result<Response, Stop> {
    let record = find(&dash, &signed, &id).await?;
    let (caller, object) = (signed.caller(), record.object());
    refused(&dash, caller, "certificate.revocation_refused", &object, caller.may_revoke(&record)).await?;
    match revoke(&dash, &signed, &record, &given).await {
        Ok(()) => Ok(see_other(&format!("/certificates/{}?revoked=1", record.id))),
        Err(error) => {
            let words = Words::of(&error, &signed.place.request_id);
            Ok(refused_page(&error, &form(&dash, &signed, &record, &given, Some(words)).await?)?)
        }
    }
}

async fn revoke(dash: &Dash, signed: &Signed, record: &Certificate, given: &Form) -> Result<()> {
    let word = word(record);
    if given.text("typed").trim().to_lowercase() != word {
        return Err(Error::refused(
            ErrorKind::Unprocessable,
            "revocation.typed",
            format!("\"{}\"", crate::model::identifier::shown(given.text("typed"))),
            format!("\"{word}\""),
            "type it as it stands there",
        )
        .explained(format!(
            "\"{}\" was typed instead of \"{word}\", so nothing was revoked",
            crate::model::identifier::shown(given.text("typed"))
        )));
    }
    let reason = RevocationReason::from_name(given.given("reason").unwrap_or("unspecified"))?;
    let since = given.given("since").map(moment).transpose()?;
    dash.authority.revoke(signed.caller().actor(), record.id, NewRevocation::new(reason, since)).await.map(drop)
}

/// A time in UTC as a field of a browser gives it, or a date.
fn moment(text: &str) -> Result<Timestamp> {
    let text = text.trim();
    // a browser's field knows no offset
    times::moment(text).or_else(|_| times::moment(&format!("{text}Z"))).map_err(|_| {
        let text = crate::model::identifier::shown(text);
        Error::malformed(format!("\"{text}\" is not a time; give it as 2026-11-29 14:00 or as a date, in UTC"))
    })
}

/// Lifts a hold.
pub async fn lift(
    State(dash): State<Dash>,
    Path(id): Path<String>,
    Posted { signed, .. }: Posted,
) -> Result<Response, Stop> {
    let record = find(&dash, &signed, &id).await?;
    let (caller, object) = (signed.caller(), record.object());
    refused(&dash, caller, "certificate.lift_refused", &object, caller.may(Permission::LiftHolds)).await?;
    dash.authority.lift_hold(caller.actor(), record.id).await?;
    Ok(see_other(&format!("/certificates/{}?lifted=1", record.id)))
}

/// The first name, else the last eight digits of the serial.
fn word(record: &Certificate) -> String {
    let serial = record.serial.to_string();
    match record.names.first() {
        Some(name) => name.value().to_lowercase(),
        None => serial.get(serial.len().saturating_sub(8)..).unwrap_or(&serial).to_owned(),
    }
}

async fn form<'a>(
    dash: &Dash,
    signed: &Signed,
    c: &Certificate,
    given: &'a Form,
    refusal: Option<Words>,
) -> Result<Revoke<'a>> {
    let now = dash.now();
    let before = match c.status {
        CertificateStatus::Revoked { at, reason, .. } => Some((minute(at), reason.name())),
        CertificateStatus::Intended | CertificateStatus::Valid => None,
    };
    let raises = |reason: RevocationReason| NewRevocation::from(reason).raises(&c.status);
    let reasons = REASONS.iter().filter(|(reason, _)| before.is_none() || raises(*reason));
    Ok(Revoke {
        frame: Frame::of(signed, "certificates"),
        id: c.id.to_string(),
        title: title(c),
        word: clean(&word(c)),
        status: c.shown_status(now).name(),
        class: class(c, now),
        names: c.names.iter().map(|n| clean(&n.value())).collect(),
        serial: tail(&c.serial.to_string()),
        day: day(c.validity.not_after()),
        left: relative(c.validity.not_after(), now),
        issuer: c.issuer.clone(),
        requester: Requester::of(&c.requester),
        reasons: reasons.map(|(reason, words)| (reason.name(), *words)).collect(),
        reason: given.text("reason"),
        since: given.text("since"),
        typed: given.text("typed"),
        before,
        below: below(dash, c).await?,
        refusal,
    })
}

/// What depends on the issuer whose certificate this is.
async fn below(dash: &Dash, record: &Certificate) -> Result<Vec<(&'static str, String)>> {
    let Some(owner) = dash.authority.issuer_with_now(record).await? else { return Ok(Vec::new()) };
    let found = dash.authority.dependents(&owner.issuer.slug).await?;
    let directories = dash.registration.directories_without(&found.issuers);
    let mut rows =
        vec![("Issuers", found.issuers.join(", ")), ("Valid certificates", found.valid_certificates.to_string())];
    for (heading, list) in
        [("Profiles without an issuer", found.profiles), ("ACME directories without one", directories)]
    {
        if !list.is_empty() {
            rows.push((heading, list.join(", ")));
        }
    }
    if found.own_certificate {
        let next = found
            .own_successor
            .map_or("and no other issuer may sign one".to_owned(), |slug| format!("moves to {slug}"));
        rows.push(("This server's certificate", next));
    }
    rows.push(("Signs instead", found.successor.unwrap_or_else(|| "nobody".to_owned())));
    Ok(rows)
}

/// In the order in which people need them.
const REASONS: [(RevocationReason, &str); 7] = [
    (RevocationReason::Unspecified, "no reason given"),
    (RevocationReason::Superseded, "replaced by another certificate"),
    (RevocationReason::CessationOfOperation, "no longer in use"),
    (RevocationReason::KeyCompromise, "the key may be known to others: it is blocked from now on"),
    (RevocationReason::AffiliationChanged, "names or organisation changed"),
    (RevocationReason::PrivilegeWithdrawn, "its holder may no longer have it"),
    (RevocationReason::CertificateHold, "for the time being: the one reason that can be lifted"),
];
