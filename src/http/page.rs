//! Keyset pages: the limit, the cursor, and the `Link: rel="next"` header beside `next_cursor`.

use std::fmt::Display;
use std::str::FromStr;

use axum::Json;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::wire::page::Page;

const DEFAULT: u16 = 50;
const MOST: u16 = 500;

pub fn limit(asked: Option<u16>) -> Result<u16> {
    match asked {
        None => Ok(DEFAULT),
        Some(0) => {
            let fix = "leave it out or follow next_cursor";
            Err(Error::refused(ErrorKind::Unprocessable, "page.limit", 0, format!("1 to {MOST}"), fix)
                .explained(format!("limit is 0; it must be 1 to {MOST}")))
        }
        Some(n) if n > MOST => {
            let fix = "ask for less and follow next_cursor";
            Err(Error::refused(ErrorKind::Unprocessable, "page.limit", n, format!("1 to {MOST}"), fix)
                .explained(format!("limit is {n}; it must be 1 to {MOST}")))
        }
        Some(n) => Ok(n),
    }
}

/// The id that the page before ended with.
pub fn cursor<T: FromStr>(asked: Option<&str>) -> Result<Option<T>> {
    let parse = |text: &str| {
        text.parse::<T>().map_err(|_| Error::malformed("the cursor is not one that a page gave: start without one"))
    };
    asked.map(parse).transpose()
}

/// Cuts a read of `limit + 1` rows to the page and says where the next one begins.
pub fn cut<T, I: Display>(rows: &mut Vec<T>, limit: u16, id: impl Fn(&T) -> I) -> Option<String> {
    if rows.len() <= usize::from(limit) {
        return None;
    }
    rows.truncate(usize::from(limit));
    rows.last().map(|last| id(last).to_string())
}

/// The page with its Link header. `uri` is that of the request; its other parameters are kept.
pub fn respond<T: Serialize>(uri: &Uri, page: Page<T>) -> Response {
    let link = page.next_cursor.as_deref().and_then(|next| HeaderValue::from_str(&link(uri, next)).ok());
    let mut response = Json(page).into_response();
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

fn link(uri: &Uri, next: &str) -> String {
    let kept =
        url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).filter(|(key, _)| key != "cursor");
    let query =
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(kept).append_pair("cursor", next).finish();
    format!("<{}?{query}>; rel=\"next\"", uri.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_keeps_the_filters() {
        let uri: Uri = "/api/v1/certificates?status=valid&cursor=old".parse().unwrap();
        assert_eq!(link(&uri, "crt_1"), "</api/v1/certificates?status=valid&cursor=crt_1>; rel=\"next\"");
    }

    #[test]
    fn a_page_has_1_to_500_items() {
        assert_eq!(limit(None).unwrap(), 50);
        assert!(limit(Some(0)).is_err());
        assert_eq!(limit(Some(500)).unwrap(), 500);
        assert!(limit(Some(501)).is_err());
    }
}
