//! The only place that makes an error body: RFC 9457 for REST, RFC 8555 §6.7 for ACME, a line of text for the
//! status paths, a page for people. A handler returns `Error`; the layer renders it in its router's dialect, with the request id, and
//! logs the cause of a fault of ours once. Internal detail is never sent.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::html::{self, Span, Words, spans};
pub use super::kinds::{Row, from_code, row};
use crate::error::{Error, ErrorKind, Subproblem, sentence};

/// The media type of a problem document, in REST and in ACME.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// In whose words a router's failures are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Rest,
    Acme,
    /// `code: detail` as text, for CRL, OCSP and bundles.
    Plain,
    /// A page of HTML, for people.
    Page,
}

/// What a body needs beside the error.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Without a slash at its end.
    pub external_url: &'a str,
    pub request_id: &'a str,
}

/// The error of a response, until the layer renders it.
#[derive(Debug, Clone)]
pub struct Failure(pub Arc<Error>);

/// Marks a response whose failure is rendered, with what it was.
#[derive(Debug, Clone, Copy)]
pub struct Told(pub ErrorKind);

/// Status and a `Failure` for the layer; without the layer the body stays empty.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = row(self.kind).status.into_response();
        response.extensions_mut().insert(Failure(Arc::new(self)));
        response
    }
}

/// The whole response to `error`. `headers` (Allow, Replay-Nonce, Link …) are kept.
pub fn render(error: &Error, dialect: Dialect, context: &Context<'_>, mut headers: HeaderMap) -> Response {
    log(error, context.request_id);
    let row = row(error.kind);
    let (status, media, body) = match dialect {
        Dialect::Rest => (row.status, MEDIA_TYPE, rest_body(error, context).to_string()),
        Dialect::Acme => (row.acme_status, MEDIA_TYPE, acme_body(error, context).to_string()),
        Dialect::Plain => (row.status, "text/plain; charset=utf-8", format!("{}: {}\n", row.code, public(error))),
        Dialect::Page => (row.status, "text/html; charset=utf-8", page_body(error, context)),
    };
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if dialect == Dialect::Page {
        html::headers(&mut headers);
    }
    if let Some(after) = error.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    if let (ErrorKind::RateLimited, Dialect::Acme) = (error.kind, dialect)
        && let Ok(help) = HeaderValue::from_str(&format!("<{}>;rel=\"help\"", type_url(context, row.code)))
    {
        // RFC 8555 §6.6
        headers.append(header::LINK, help);
    }
    if status == StatusCode::UNAUTHORIZED && dialect == Dialect::Rest {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"chancery\""));
    }
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.extensions_mut().insert(Told(error.kind));
    response
}

/// RFC 9457: `type`, `title`, `status`, `detail`, `code`, `instance`, then what the error has of a rule and parts.
pub fn rest_body(error: &Error, context: &Context<'_>) -> Value {
    let row = row(error.kind);
    let mut body = json!({
        "type": type_url(context, row.code),
        "title": row.title,
        "status": row.status.as_u16(),
        "detail": public(error),
        "code": row.code,
        "instance": context.request_id,
    });
    if let (Some(rule), Some(map)) = (&error.rule, body.as_object_mut()) {
        map.insert("rule".into(), rule.name.clone().into());
        map.insert("value".into(), rule.value.clone().into());
        map.insert("allowed".into(), rule.allowed.clone().into());
        map.insert("fix".into(), rule.fix.clone().into());
    }
    if let (false, Some(map)) = (error.subproblems.is_empty(), body.as_object_mut()) {
        map.insert("errors".into(), error.subproblems.iter().map(rest_part).collect());
    }
    body
}

/// RFC 8555 §6.7, with `subproblems` that carry their identifier, and with the name of the rule as a member of our own. Also what stands in `error` of an order or a
/// challenge; the status is that of the table.
pub fn acme_body(error: &Error, context: &Context<'_>) -> Value {
    let row = row(error.kind);
    let mut body = json!({
        "type": acme_type(error.kind),
        "detail": sentence(public(error)),
        "status": row.acme_status.as_u16(),
    });
    let Some(map) = body.as_object_mut() else { return body };
    if let Some(path) = &error.visit {
        map.insert("instance".into(), format!("{}{path}", context.external_url).into());
    } else if !context.request_id.is_empty() {
        map.insert("instance".into(), format!("urn:chancery:{}", context.request_id).into());
    }
    if let Some(rule) = &error.rule {
        map.insert("rule".into(), rule.name.clone().into());
    }
    if let (ErrorKind::BadSignatureAlgorithm, Some(rule)) = (error.kind, &error.rule) {
        let names = rule.allowed.split([',', ' ']).filter(|name| !name.is_empty());
        map.insert("algorithms".into(), names.map(Value::from).collect());
    }
    if !error.subproblems.is_empty() {
        map.insert("subproblems".into(), error.subproblems.iter().map(acme_part).collect());
    }
    body
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    words: Words,
    status: u16,
    fix: Vec<Span>,
    request_id: &'a str,
    sign_in: bool,
}

/// The same words as a page. What it links to needs no session.
fn page_body(error: &Error, context: &Context<'_>) -> String {
    let row = row(error.kind);
    let page = ErrorPage {
        words: Words::told(error),
        status: row.status.as_u16(),
        fix: spans(row.fix),
        request_id: context.request_id,
        sign_in: error.kind == ErrorKind::Unauthenticated,
    };
    page.render().unwrap_or_else(|_| format!("{}: {}\n", row.code, public(error)))
}

pub fn acme_type(kind: ErrorKind) -> String {
    format!("urn:ietf:params:acme:error:{}", row(kind).acme)
}

/// Where the page of a code is.
pub fn type_url(context: &Context<'_>, code: &str) -> String {
    format!("{}/errors/{code}", context.external_url)
}

/// Is it a fault of ours, whose cause goes to the log?
pub const fn is_ours(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Internal
            | ErrorKind::Inconsistent
            | ErrorKind::Config
            | ErrorKind::Unavailable
            | ErrorKind::TimedOut
    )
}

/// The sentence that may be sent. What is out of reach for now (a database, its disk, a lock, a clock) says which: its
/// detail is written for clients, and its cause stays in the log.
pub fn public(error: &Error) -> &str {
    match error.kind {
        ErrorKind::Unavailable | ErrorKind::TimedOut => &error.detail,
        kind if is_ours(kind) => row(kind).meaning,
        _ => &error.detail,
    }
}

fn rest_part(part: &Subproblem) -> Value {
    let mut map = Map::new();
    if let Some(pointer) = &part.pointer {
        map.insert("pointer".into(), pointer.clone().into());
    }
    map.insert("code".into(), row(part.kind).code.into());
    map.insert("detail".into(), part.detail.clone().into());
    if let Some((kind, value)) = &part.identifier {
        map.insert("identifier".into(), json!({"type": kind, "value": value}));
    }
    if let Some(rule) = &part.rule {
        map.insert("rule".into(), rule.name.clone().into());
    }
    Value::Object(map)
}

fn acme_part(part: &Subproblem) -> Value {
    let mut body = json!({"type": acme_type(part.kind), "detail": sentence(&part.detail)});
    if let (Some((kind, value)), Some(map)) = (&part.identifier, body.as_object_mut()) {
        map.insert("identifier".into(), json!({"type": kind, "value": value}));
    }
    if let (Some(rule), Some(map)) = (&part.rule, body.as_object_mut()) {
        map.insert("rule".into(), rule.name.clone().into());
    }
    body
}

/// The one log line of a failure, where it stops travelling.
pub fn log(error: &Error, request_id: &str) {
    let code = row(error.kind).code;
    if is_ours(error.kind) {
        tracing::error!(request_id, code, "{}", error.chain());
    } else {
        tracing::debug!(request_id, code, "{}", error.chain());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: Context<'static> = Context { external_url: "https://ca.test", request_id: "req_1" };

    #[test]
    fn a_rule_stands_in_the_rest_body() {
        let error = Error::refused(ErrorKind::Refused, "validity.max", "400d", "at most 397d", "ask for less")
            .explained("400d is longer than the 397d of this profile");
        assert_eq!(
            rest_body(&error, &CONTEXT),
            json!({
                "type": "https://ca.test/errors/refused", "title": "Refused by a rule", "status": 403,
                "detail": "400d is longer than the 397d of this profile; ask for less",
                "code": "refused", "instance": "req_1", "rule": "validity.max", "value": "400d",
                "allowed": "at most 397d", "fix": "ask for less",
            })
        );
    }

    #[test]
    fn an_internal_cause_is_never_sent() {
        let error = Error::internal("password of the database is hunter2", std::io::Error::other("/var/lib/x"));
        for dialect in [Dialect::Rest, Dialect::Acme, Dialect::Plain, Dialect::Page] {
            let response = format!("{:?}", render(&error, dialect, &CONTEXT, HeaderMap::new()));
            assert!(!response.contains("hunter2") && !response.contains("/var/lib"));
        }
        assert!(!rest_body(&error, &CONTEXT).to_string().contains("hunter2"));
    }

    #[test]
    fn what_is_out_of_reach_is_named_without_its_cause() {
        let cause = std::io::Error::other("postgres://ca:hunter2@db/ca");
        let error = Error::new(ErrorKind::Unavailable, "the database's disk is full").because(cause);
        for dialect in [Dialect::Rest, Dialect::Acme, Dialect::Plain, Dialect::Page] {
            assert_eq!(public(&error), "the database's disk is full");
            let response = format!("{:?}", render(&error, dialect, &CONTEXT, HeaderMap::new()));
            assert!(response.contains("503") && !response.contains("hunter2"), "{response}");
        }
        assert_eq!(rest_body(&error, &CONTEXT)["detail"], "the database's disk is full");
        assert_eq!(acme_body(&error, &CONTEXT)["detail"], "the database's disk is full");
    }

    #[test]
    fn acme_subproblems_carry_identifiers_and_algorithms_are_listed() {
        let part = Subproblem {
            kind: ErrorKind::RejectedIdentifier,
            detail: "no".into(),
            identifier: Some(("dns".into(), "a.test".into())),
            pointer: None,
            rule: None,
        };
        let body = acme_body(&Error::malformed("two").with_subproblems(vec![part]), &CONTEXT);
        assert_eq!(body["subproblems"][0]["type"], "urn:ietf:params:acme:error:rejectedIdentifier");
        assert_eq!(body["subproblems"][0]["identifier"], json!({"type": "dns", "value": "a.test"}));
        let error = Error::refused(ErrorKind::BadSignatureAlgorithm, "jws.alg", "HS256", "ES256, RS256", "sign anew")
            .explained("HS256 is no signature");
        assert_eq!(acme_body(&error, &CONTEXT)["algorithms"], json!(["ES256", "RS256"]));
    }

    #[test]
    fn an_unauthenticated_answer_names_the_scheme() {
        let error = Error::new(ErrorKind::Unauthenticated, "no token");
        let response = render(&error, Dialect::Rest, &CONTEXT, HeaderMap::new());
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.headers().contains_key(header::WWW_AUTHENTICATE));
    }
}
