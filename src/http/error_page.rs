//! `GET /errors/{code}`: what an error means, its cause and what to do, from the one table. No login, no script.

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;

use super::html::page;
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
}

#[derive(Template)]
#[template(path = "error_codes.html")]
struct All {
    rows: Vec<Row>,
}

async fn list() -> Result<Response> {
    page(&All { rows: ALL.into_iter().map(row).collect() })
}

async fn one(Path(code): Path<String>) -> Result<Response> {
    let kind = from_code(&code).ok_or_else(|| Error::not_found(format!("error code {}", shown(&code))))?;
    page(&One { row: row(kind) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_page() {
        for kind in ALL {
            let html = One { row: row(kind) }.render().unwrap();
            assert!(html.contains(row(kind).code) && html.contains("What to do"));
        }
    }
}
