//! `GET /errors/{code}`: what an error means, its cause and what to do, from the one table. No login, no script.

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;

use super::html::{Span, page, spans};
use super::kinds::{ALL, Row, from_code, row};
use crate::error::{Error, Result};
use crate::model::identifier::shown;

pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/errors", get(list)).route("/errors/{code}", get(one))
}

#[derive(Template)]
#[template(path = "error_code.html")]
struct One {
    row: Row,
    meaning: Vec<Span>,
    cause: Vec<Span>,
    fix: Vec<Span>,
}

impl One {
    fn of(row: Row) -> Self {
        One { row, meaning: spans(row.meaning), cause: spans(row.cause), fix: spans(row.fix) }
    }
}

#[derive(Template)]
#[template(path = "error_codes.html")]
struct All {
    rows: Vec<One>,
}

async fn list() -> Result<Response> {
    page(&All { rows: ALL.into_iter().map(|kind| One::of(row(kind))).collect() })
}

async fn one(Path(code): Path<String>) -> Result<Response> {
    let kind = from_code(&code).ok_or_else(|| Error::not_found(format!("error code {}", shown(&code))))?;
    page(&One::of(row(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_page() {
        for kind in ALL {
            let html = One::of(row(kind)).render().unwrap();
            assert!(html.contains(row(kind).code) && html.contains("What to do"));
        }
    }
}
