//! What every page of HTML has: a strict Content-Security-Policy (no inline script, no inline style, nobody's frame),
//! no cache, and a referrer that stays here, because without one browsers hide the Origin that forms are checked by.

use askama::Template;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};

use super::kinds::row;
use super::problem::{log, public};
use crate::error::{Error, Result, Rule};
use crate::model::text::printable_lines;

pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'";

/// A template that fails is a fault of ours.
pub fn page(template: &impl Template) -> Result<Response> {
    page_with(StatusCode::OK, template)
}

/// The page of a form that was refused, with the status of that refusal.
pub fn refused_page(error: &Error, template: &impl Template) -> Result<Response> {
    let mut response = page_with(row(error.kind).status, template)?;
    if let Some(after) = error.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    Ok(response)
}

pub fn page_with(status: StatusCode, template: &impl Template) -> Result<Response> {
    let html = template.render().map_err(|e| Error::internal("a page could not be rendered", e))?;
    // also what a page did not think of as text of others
    let mut response = (status, Html(printable_lines(&html).into_owned())).into_response();
    headers(response.headers_mut());
    Ok(response)
}

pub fn headers(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// A piece of a sentence: text, or what stood between backticks. `words.html` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub code: bool,
    pub text: String,
}

pub fn spans(text: &str) -> Vec<Span> {
    let pieces = text.split('`').enumerate();
    pieces.filter(|(_, t)| !t.is_empty()).map(|(i, t)| Span { code: i % 2 == 1, text: t.to_owned() }).collect()
}

/// 303: the answer to a form that was carried out.
pub fn see_other(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// A refusal in the words that REST has, for the page of a form.
#[derive(Debug, Clone)]
pub struct Words {
    pub title: &'static str,
    pub code: &'static str,
    pub detail: Vec<Span>,
    pub rule: Option<Rule>,
    pub parts: Vec<Vec<Span>>,
    pub wait: Option<u64>,
}

impl Words {
    /// What the rule says to do; empty where none was broken.
    pub fn fix(&self) -> Vec<Span> {
        self.rule.as_ref().map(|rule| spans(&rule.fix)).unwrap_or_default()
    }

    /// For a form: the failure stops travelling here.
    pub fn of(error: &Error, request_id: &str) -> Self {
        log(error, request_id);
        Words::told(error)
    }

    pub fn told(error: &Error) -> Self {
        let row = row(error.kind);
        let detail = public(error);
        // one part that says the same is the place in a JSON body, which a page has not
        let parts = error.subproblems.iter().filter(|p| p.detail != detail).map(|p| spans(&p.detail));
        Words {
            title: row.title,
            code: row.code,
            detail: spans(detail),
            rule: error.rule.as_deref().cloned(),
            parts: parts.collect(),
            wait: error.retry_after.map(|after| after.as_secs().max(1)),
        }
    }
}
