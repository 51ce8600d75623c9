//! One certificate: names, dates, key, issuer and chain, who asked for it, and its history.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Dash;
use super::audit::Event;
use super::certificates::{class, title};
use super::format::{Requester, clean, day, grouped, life, minute, relative, tail};
use super::frame::Frame;
use super::visit::{Signed, Stop};
use crate::access::Permission;
use crate::error::{Error, Result};
use crate::http::extract::Query;
use crate::http::html::page;
use crate::model::certificate::{Certificate, CertificateStatus, ShownStatus};
use crate::model::id::CertificateId;
use crate::model::identifier::shown;
use crate::model::reason::RevocationReason;
use crate::model::renewal::{Renewal, RenewalId, RenewalSource};
use crate::model::revocation::NewRevocation;
use crate::model::serial::to_hex;
use crate::pki::certificate_facts::CertificateFacts;
use crate::pki::pem;

#[derive(Template)]
#[template(path = "certificate.html")]
struct Detail {
    frame: Frame,
    id: String,
    title: String,
    status: &'static str,
    class: &'static str,
    names: Vec<(&'static str, String)>,
    subject: String,
    from: String,
    until: String,
    left: String,
    life: String,
    serial: String,
    serial_tail: String,
    fingerprint: Option<String>,
    key: String,
    spki: String,
    profile: String,
    revision: i64,
    requester: Requester,
    via: String,
    order: Option<String>,
    renewal: Option<Renew>,
    revocation: Option<Revoked>,
    pem: Option<String>,
    /// Root first, without the certificate itself: (slug, name, when it ends).
    chain: Vec<(String, String, String)>,
    signature: String,
    extensions: Vec<Extension>,
    events: Vec<Event>,
    may_revoke: bool,
    /// Its key can still be reported as compromised.
    may_raise: bool,
    may_lift: bool,
    just_lifted: bool,
    just_issued: bool,
    just_revoked: bool,
    /// A CA above it that is revoked, and since when.
    issuer_revoked: Option<(String, String)>,
    issuer_removed: Option<String>,
    /// What must still be done so that clients learn of the revocation.
    action_required: Option<String>,
}

/// When and why it was revoked, and since when its key is compromised.
struct Revoked {
    at: String,
    reason: &'static str,
    invalid_since: Option<String>,
}

/// When it should be renewed, and why then.
struct Renew {
    start: String,
    end: String,
    /// Of the rule that moved it.
    reason: Option<String>,
    url: Option<String>,
}

impl Renew {
    fn of(dash: &Dash, record: &Certificate, id: Option<&RenewalId>) -> Self {
        let Renewal { window, source, .. } = dash.authority.renewal(record, id);
        let (reason, url) = match source {
            RenewalSource::Rule(rule) => (Some(clean(&rule.reason)), rule.explanation_url),
            RenewalSource::KeyIdentifier => {
                (Some("it names another key identifier than its issuer's CRLs, so issue it anew".to_owned()), None)
            }
            RenewalSource::Removal => (Some("a CA above it was removed".to_owned()), None),
            RenewalSource::Life | RenewalSource::Revocation => (None, None),
        };
        Renew { start: minute(window.start), end: minute(window.end), reason, url }
    }
}

/// One extension in words.
#[derive(Debug)]
pub struct Extension {
    pub name: String,
    pub critical: bool,
    pub words: String,
}

pub fn extensions(facts: &CertificateFacts) -> Vec<Extension> {
    let each = facts.extensions.iter().map(|e| {
        let text = e.to_string();
        let (name, words) = text.split_once(": ").unwrap_or((&text, ""));
        let name = name.strip_suffix(", critical").unwrap_or(name);
        Extension { name: name.trim_end_matches(':').to_owned(), critical: e.critical, words: clean(words) }
    });
    each.collect()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Came {
    new: Option<String>,
    revoked: Option<String>,
    lifted: Option<String>,
}

/// The page; with a suffix of the id (.pem, .der, .chain.pem) a download.
pub async fn show(
    signed: Signed,
    State(dash): State<Dash>,
    Path(id): Path<String>,
    Query(came): Query<Came>,
) -> Result<Response, Stop> {
    if let Some((id, form)) = id.split_once('.') {
        return Ok(download(&dash, &find(&dash, &signed, id).await?, form).await?);
    }
    let record = find(&dash, &signed, &id).await?;
    let der = dash.authority.certificate_der(record.id).await?;
    let facts = der.as_deref().and_then(|der| CertificateFacts::parse(der).ok());
    let now = dash.now();
    let events = dash.authority.events_of(&record.object()).await?;
    let status = record.shown_status(now);
    let (from, until) = (record.validity.not_before(), record.validity.not_after());
    let may_revoke = signed.caller().may_revoke(&record).is_ok() && dash.authority.refuse_root(&record).is_ok();
    let renewal_id = dash.authority.renewal_id(&record).await?;
    let detail = Detail {
        frame: Frame::of(&signed, "certificates"),
        id: record.id.to_string(),
        title: title(&record),
        status: status.name(),
        may_revoke: status == ShownStatus::Valid && may_revoke,
        may_raise: NewRevocation::from(RevocationReason::KeyCompromise).raises(&record.status) && may_revoke,
        may_lift: record.is_on_hold() && signed.may(Permission::LiftHolds).is_ok(),
        just_lifted: came.lifted.is_some() && status == ShownStatus::Valid,
        just_issued: came.new.is_some() && status == ShownStatus::Valid,
        issuer_revoked: dash.authority.revoked_above(&record).map(|(slug, at)| (slug, minute(at))),
        issuer_removed: dash.authority.removed_above(&record),
        action_required: dash.authority.revocation_to_publish(&record).await?,
        just_revoked: came.revoked.is_some() && status == ShownStatus::Revoked,
        class: class(&record, now),
        names: record.names.iter().map(|n| (n.kind(), clean(&n.value()))).collect(),
        subject: clean(&record.subject),
        from: minute(from),
        until: minute(until),
        left: relative(until, now),
        life: life(from, until),
        serial: record.serial.to_string(),
        serial_tail: tail(&record.serial.to_string()),
        fingerprint: record.fingerprint.map(|f| grouped(&to_hex(&f))),
        key: record.key_algorithm.clone(),
        spki: tail(&to_hex(&record.spki_sha256)),
        profile: record.profile.clone(),
        revision: record.profile_revision,
        requester: Requester::of(&record.requester),
        via: record.via.clone(),
        order: record.order_id.map(|id| id.to_string()),
        renewal: (status == ShownStatus::Valid).then(|| Renew::of(&dash, &record, renewal_id.as_ref())),
        revocation: match record.status {
            CertificateStatus::Revoked { at, reason, invalidity_date } => {
                Some(Revoked { at: minute(at), reason: reason.name(), invalid_since: invalidity_date.map(minute) })
            }
            CertificateStatus::Intended | CertificateStatus::Valid => None,
        },
        chain: chain(&dash, &record),
        signature: facts.as_ref().map(|f| f.signature_algorithm.clone()).unwrap_or_default(),
        extensions: facts.as_ref().map(extensions).unwrap_or_default(),
        events: events.iter().map(Event::of).collect(),
        pem: der.map(|der| pem::encode(pem::CERTIFICATE, &der)),
    };
    Ok(page(&detail)?)
}

/// From the root down; the bound stops a loop that a damaged database might hold.
fn chain(dash: &Dash, record: &Certificate) -> Vec<(String, String, String)> {
    let snapshot = dash.authority.snapshot();
    let mut chain = Vec::new();
    let mut next = snapshot.issuer_by_id(record.issuer_id);
    while let Some(loaded) = next.filter(|_| chain.len() < 8) {
        let until = loaded.certificates.first().map(|c| day(c.not_after)).unwrap_or_default();
        chain.push((loaded.issuer.slug.clone(), clean(&loaded.issuer.name), until));
        next = loaded.issuer.parent_id.and_then(|id| snapshot.issuer_by_id(id));
    }
    chain.reverse();
    chain
}

/// PEM alone, DER, or PEM with the intermediates behind it, under a name that people recognise.
async fn download(dash: &Dash, record: &Certificate, form: &str) -> Result<Response> {
    let none = || Error::not_found(format!("signed certificate for {}: it is an intent without outcome", record.id));
    let der = dash.authority.certificate_der(record.id).await?.ok_or_else(none)?;
    let (media, body) = match form {
        "der" => ("application/pkix-cert", der),
        "pem" => ("application/x-pem-file", pem::encode(pem::CERTIFICATE, &der).into_bytes()),
        "chain.pem" => {
            let chain = dash.authority.chain_of(record);
            let all = std::iter::once(&der).chain(&chain).map(|der| pem::encode(pem::CERTIFICATE, der));
            ("application/pem-certificate-chain", all.collect::<String>().into_bytes())
        }
        other => {
            return Err(Error::not_found(format!("form \".{}\": there are .pem, .der and .chain.pem", shown(other))));
        }
    };
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' };
    let name: String = title(record).chars().map(safe).take(100).collect();
    let disposition = format!("attachment; filename=\"{name}.{form}\"");
    let headers = [(header::CONTENT_TYPE, media.to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    Ok((headers, [(header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// The record, if this person may see it.
pub async fn find(dash: &Dash, signed: &Signed, id: &str) -> Result<Certificate> {
    let none = || Error::not_found(format!("certificate {}", shown(id)));
    let found = dash.authority.certificate(id.parse::<CertificateId>().map_err(|_| none())?).await?;
    let found = found.ok_or_else(none)?;
    signed.caller().may_see(&found)?;
    Ok(found)
}
