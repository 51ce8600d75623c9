//! Certificates: list with filters, one as JSON, PEM, DER or PKCS#7, and its events.

use axum::Json as Reply;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::{Api, shape};
use crate::access::{Caller, Permission};
use crate::api::document::Problems;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{extract::Query, page};
use crate::model::certificate::{Certificate, CertificateFilter, ShownStatus};
use crate::model::id::CertificateId;
use crate::model::identifier::shown;
use crate::model::serial::{parse_hex, searched};
use crate::model::times;
use crate::pki::pem;
use crate::wire;
use crate::wire::audit::AuditEvent;
use crate::wire::certificates::CertificateQuery;
use crate::wire::page::Page;

/// List certificates
#[utoipa::path(get, path = "/api/v1/certificates", operation_id = "listCertificates", tag = "certificates",
    params(CertificateQuery),
    responses((status = 200, description = "A page, newest first", body = Page<wire::certificates::Certificate>), Problems))]
pub async fn list(
    caller: Caller,
    State(api): State<Api>,
    uri: Uri,
    Query(query): Query<CertificateQuery>,
) -> Result<Response> {
    caller.may(Permission::ReadCertificates)?;
    let limit = page::limit(query.limit)?;
    known_filters(&api, &query)?;
    let now = api.authority.store().now();
    let (mut rows, next_cursor) = match lookup(&api, &query).await? {
        Some(found) => {
            let mut rows: Vec<_> = found.into_iter().filter(|c| fits(c, &query, now)).collect();
            if let Some(key_id) = key_id(&query)? {
                rows = named(&api, rows, &key_id).await?;
            }
            (rows, None)
        }
        None => {
            let before = page::cursor::<CertificateId>(query.cursor.as_deref())?;
            let of_serial = short_serial(&api, &query, now).await?;
            let room = limit.saturating_sub(u16::try_from(of_serial.len()).unwrap_or(limit)).max(1);
            let mut rows = api.authority.certificates(&filter(&caller, &query, now)?, before, room + 1).await?;
            let next = page::cut(&mut rows, room, |c| c.id);
            rows.retain(|c| of_serial.iter().all(|first| first.id != c.id));
            if before.is_none() {
                rows.splice(0..0, of_serial);
            }
            (rows, next)
        }
    };
    rows.retain(|c| caller.may_see(c).is_ok());
    let items = rows.iter().map(|c| shape::certificate(&api.authority, c)).collect();
    Ok(page::respond(&uri, Page { items, next_cursor }))
}

/// A serial or a fingerprint names at most one certificate; anything else is a list.
async fn lookup(api: &Api, query: &CertificateQuery) -> Result<Option<Vec<Certificate>>> {
    if let Some(serial) = &query.serial {
        return Ok(Some(api.authority.certificates_by_serial(&serial.parse()?).await?));
    }
    if let Some(fingerprint) = &query.fingerprint {
        let bytes = parse_hex(fingerprint).filter(|b| b.len() == 32);
        let bytes = bytes.ok_or_else(|| Error::malformed("a fingerprint is 32 bytes in hexadecimal"))?;
        return Ok(Some(api.authority.certificate_by_fingerprint(&bytes).await?.into_iter().collect()));
    }
    let Some(q) = query.q.as_deref().map(str::trim).filter(|q| q.len() >= SHORT) else { return Ok(None) };
    if let Some(serial) = searched(q) {
        return Ok(Some(api.authority.certificates_by_serial(&serial).await?));
    }
    if !q.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') {
        return Ok(None);
    }
    let bytes = parse_hex(q).unwrap_or_default();
    Ok(Some(api.authority.certificate_by_fingerprint(&bytes).await?.into_iter().collect()))
}

/// Text below this length may be the beginning of a name as well as a serial number.
const SHORT: usize = 16;

/// The certificates whose whole serial number a short `q` is, as imported CAs gave them. They stand before those whose name
/// begins so.
async fn short_serial(api: &Api, query: &CertificateQuery, now: Timestamp) -> Result<Vec<Certificate>> {
    let Some(serial) = query.q.as_deref().filter(|q| q.trim().len() < SHORT).and_then(searched) else {
        return Ok(Vec::new());
    };
    let mut found = api.authority.certificates_by_serial(&serial).await?;
    found.retain(|c| fits(c, query, now) && query.expires_before.is_none());
    match key_id(query)? {
        Some(key_id) => named(api, found, &key_id).await,
        None => Ok(found),
    }
}

/// An issuer or profile that does not exist is a slip of the keyboard, and an empty list would hide it. Certificates of the
/// CA's own have profiles of their own.
fn known_filters(api: &Api, query: &CertificateQuery) -> Result<()> {
    let snapshot = api.authority.snapshot();
    let issuers: Vec<&str> = snapshot.issuers.keys().map(String::as_str).collect();
    known("issuer", query.issuer.as_deref(), &issuers)?;
    let profiles = snapshot.profiles.keys().map(String::as_str).chain(Certificate::HIERARCHY_PROFILES);
    let profiles = profiles.chain([Certificate::IMPORTED_PROFILE]);
    known("profile", query.profile.as_deref(), &profiles.collect::<Vec<_>>())
}

fn known(member: &str, asked: Option<&str>, all: &[&str]) -> Result<()> {
    let Some(asked) = asked.filter(|asked| !all.contains(asked)) else { return Ok(()) };
    let (value, allowed) = (format!("\"{}\"", shown(asked)), all.join(", "));
    let rule = format!("certificates.{member}");
    Err(Error::refused(ErrorKind::Unprocessable, rule, &value, &allowed, "name one of these")
        .explained(format!("{member} {value} does not exist; there are {allowed}")))
}

/// The other filters on what a lookup found.
fn fits(c: &Certificate, query: &CertificateQuery, now: Timestamp) -> bool {
    query.profile.as_ref().is_none_or(|p| *p == c.profile)
        && query.issuer.as_ref().is_none_or(|i| *i == c.issuer)
        && query.requester.as_ref().is_none_or(|r| *r == c.requester)
        && query.status.as_ref().is_none_or(|s| s == c.shown_status(now).name())
}

/// Those that name this authority key identifier.
async fn named(api: &Api, found: Vec<Certificate>, key_id: &[u8]) -> Result<Vec<Certificate>> {
    let mut rows = Vec::new();
    for record in found {
        if api.authority.renewal_id(&record).await?.is_some_and(|id| id.key_id == key_id) {
            rows.push(record);
        }
    }
    Ok(rows)
}

fn key_id(query: &CertificateQuery) -> Result<Option<Vec<u8>>> {
    let read = |text: &String| {
        let digits: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
        let octets = parse_hex(&digits).filter(|octets| (1..=64).contains(&octets.len()));
        octets.ok_or_else(|| Error::malformed("authority_key_id is 1 to 64 octets in hexadecimal"))
    };
    query.authority_key_id.as_ref().map(read).transpose()
}

fn filter(caller: &Caller, query: &CertificateQuery, now: Timestamp) -> Result<CertificateFilter> {
    let status = query.status.as_deref().map(|text| {
        ShownStatus::from_name(text).ok_or_else(|| {
            let value = format!("\"{}\"", shown(text));
            let allowed = "valid, expired, revoked, intended";
            Error::refused(ErrorKind::Unprocessable, "certificates.status", &value, allowed, "name one of these")
                .explained(format!("status {value} does not exist; there are {allowed}"))
        })
    });
    let name = query.name.clone().or_else(|| query.q.as_deref().map(search));
    if name.as_ref().is_some_and(|n| n.len() > 300) {
        return Err(Error::malformed("a name to search for has at most 300 bytes"));
    }
    Ok(CertificateFilter {
        status: status.transpose()?,
        profile: query.profile.clone(),
        issuer: query.issuer.clone(),
        account_id: None,
        requester: caller.only_own().or_else(|| query.requester.clone()),
        expires_before: query.expires_before.as_deref().map(|text| times::moment_ahead(text, now)).transpose()?,
        authority_key_id: key_id(query)?,
        name,
    })
}

/// `q` without an asterisk is the beginning of a name.
fn search(q: &str) -> String {
    let q = q.trim();
    if q.contains('*') { q.to_owned() } else { format!("{q}*") }
}

/// The record, if the caller may see it.
pub async fn find(api: &Api, caller: &Caller, id: &str) -> Result<Certificate> {
    let id: CertificateId = id.parse().map_err(|_| Error::not_found(format!("certificate {}", shown(id))))?;
    let found = api.authority.certificate(id).await?.ok_or_else(|| Error::not_found(format!("certificate {id}")))?;
    caller.may_see(&found)?;
    Ok(found)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    /// Leaf and intermediates.
    Pem,
    Der,
    Pkcs7,
}

/// Get a certificate
#[utoipa::path(get, path = "/api/v1/certificates/{id}", operation_id = "getCertificate", tag = "certificates",
    description = "As JSON, or by the Accept header or a suffix of the id (.pem, .der, .p7b) as PEM with its chain, DER or PKCS#7.",
    params(("id" = String, Path, description = "crt_…, with or without .pem, .der, .p7b")),
    responses(
        (status = 200, description = "The certificate", content(
            (wire::certificates::Certificate = "application/json"),
            (String = "application/pem-certificate-chain"),
            (Vec<u8> = "application/pkix-cert"),
            (Vec<u8> = "application/x-pkcs7-certificates"))),
        (status = 304, description = "As If-None-Match has it"),
        Problems))]
pub async fn get(
    caller: Caller,
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let (id, form) = form(&id, &headers)?;
    let record = find(&api, &caller, id).await?;
    let now = api.authority.store().now();
    let above =
        api.authority.revoked_above(&record).map_or_else(String::new, |(issuer, _)| format!("-under-{issuer}"));
    let tag = format!("\"{}-{}{above}-{form:?}\"", record.id, record.shown_status(now).name()).to_ascii_lowercase();
    if headers.get(header::IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == tag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let cache =
        [(header::ETAG, tag), (header::CACHE_CONTROL, "private, no-cache".into()), (header::VARY, "Accept".into())];
    let body = match form {
        Form::Json => Reply(shape::whole(&api.authority, &record).await?).into_response(),
        Form::Pem => {
            let pem = pem::encode(pem::CERTIFICATE, &der(&api, &record).await?)
                + &shape::chain(&api.authority.chain_of(&record));
            ([(header::CONTENT_TYPE, "application/pem-certificate-chain")], pem).into_response()
        }
        Form::Der => ([(header::CONTENT_TYPE, "application/pkix-cert")], der(&api, &record).await?).into_response(),
        Form::Pkcs7 => {
            let (leaf, chain) = (der(&api, &record).await?, api.authority.chain_of(&record));
            let all: Vec<&[u8]> = std::iter::once(&leaf).chain(&chain).map(Vec::as_slice).collect();
            ([(header::CONTENT_TYPE, "application/x-pkcs7-certificates")], pem::p7b(&all)).into_response()
        }
    };
    Ok((cache, body).into_response())
}

async fn der(api: &Api, record: &Certificate) -> Result<Vec<u8>> {
    let none = || Error::not_found(format!("signed certificate for {}: it is an intent without outcome", record.id));
    api.authority.certificate_der(record.id).await?.ok_or_else(none)
}

fn form<'a>(id: &'a str, headers: &HeaderMap) -> Result<(&'a str, Form)> {
    match id.rsplit_once('.') {
        Some((id, "json")) => return Ok((id, Form::Json)),
        Some((id, "pem")) => return Ok((id, Form::Pem)),
        Some((id, "der")) => return Ok((id, Form::Der)),
        Some((id, "p7b")) => return Ok((id, Form::Pkcs7)),
        Some(_) | None => {}
    }
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
    let mut best: Option<(u32, Form)> = None;
    for entry in accept.split(',') {
        let mut parts = entry.split(';').map(str::trim);
        let form = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "" | "*/*" | "application/*" | "application/json" => Form::Json,
            "application/pem-certificate-chain" | "application/x-pem-file" | "text/plain" => Form::Pem,
            "application/pkix-cert" | "application/x-x509-ca-cert" => Form::Der,
            "application/pkcs7-mime" | "application/x-pkcs7-certificates" => Form::Pkcs7,
            _ => continue,
        };
        let weight = parts.find_map(|p| p.strip_prefix("q=")).and_then(|q| q.parse::<f32>().ok()).unwrap_or(1.0);
        // thousandths, as RFC 9110 §12.4.2 counts them; 0 excludes
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000")]
        let weight = (weight.clamp(0.0, 1.0) * 1_000.0) as u32;
        if weight > 0 && best.is_none_or(|(most, _)| weight > most) {
            best = Some((weight, form));
        }
    }
    best.map(|(_, form)| (id, form)).ok_or_else(|| {
        let forms = "application/json, application/pem-certificate-chain, application/pkix-cert, application/x-pkcs7-certificates";
        Error::refused(ErrorKind::NotAcceptable, "accept", shown(accept), forms, "accept one of these").explained(format!("no media type in Accept ({}) can be sent; there are {forms}", shown(accept)))
    })
}

/// List the events of a certificate
#[utoipa::path(get, path = "/api/v1/certificates/{id}/events", operation_id = "listCertificateEvents", tag = "certificates",
    params(("id" = String, Path, description = "crt_…")),
    responses((status = 200, description = "What happened to it, oldest first", body = Page<AuditEvent>), Problems))]
pub async fn events(
    caller: Caller,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Reply<Page<AuditEvent>>> {
    let record = find(&api, &caller, &id).await?;
    let events = api.authority.events_of(&record.object()).await?;
    Ok(Reply(Page { items: events.iter().map(shape::event).collect(), next_cursor: None }))
}
