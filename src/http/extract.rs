//! Strict extractors. JSON: size limit, media type, time limit, depth, no key twice, no U+0000, no unknown member,
//! and a pointer to what is wrong. Query: each parameter once, none unknown. The caller is decided before either.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::bodies::{BodyBudget, BodyFailure, SIGNED_IN, STRANGERS};
use super::client_address::ClientAddress;
use super::scan;
use crate::error::{Error, ErrorKind, Result};
use crate::model::network::IpNetwork;
use crate::model::text::is_deceptive;

/// What a REST body may have.
pub const BODY_LIMIT: usize = 1 << 20;

/// How long a body may take to arrive.
pub const BODY_TIME: Duration = Duration::from_secs(15);

/// A JSON body of at most `LIMIT` bytes, with its raw bytes for the hash of an Idempotency-Key.
#[derive(Debug)]
pub struct Json<T, const LIMIT: usize = BODY_LIMIT> {
    pub value: T,
    pub raw: Bytes,
}

impl<S: Send + Sync, T: DeserializeOwned, const LIMIT: usize> FromRequest<S> for Json<T, LIMIT> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let (parts, body) = request.into_parts();
        expect_json(&parts.method, &parts.headers)?;
        let raw = read(&parts, body, LIMIT).await?;
        Ok(Json { value: parse(&raw)?, raw })
    }
}

/// The whole body of somebody who is signed in, within a limit and the time that a body has.
pub async fn read(parts: &Parts, body: Body, limit: usize) -> Result<Bytes> {
    read_within(&SIGNED_IN, None, &parts.headers, body, limit, BODY_TIME).await
}

/// The whole body of somebody of whom nothing is known yet: keep the limit small.
pub async fn read_of_stranger(parts: &Parts, body: Body, limit: usize) -> Result<Bytes> {
    let client = ClientAddress::of(&parts.extensions).map(|client| IpNetwork::of_client(client.ip()));
    read_within(&STRANGERS, client, &parts.headers, body, limit, BODY_TIME).await
}

async fn read_within(
    budget: &'static BodyBudget,
    client: Option<IpNetwork>,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    time: Duration,
) -> Result<Bytes> {
    let too_large = || {
        Error::refused(ErrorKind::TooLarge, "body.size", "this body", format!("at most {limit} bytes"), "send less")
            .explained(format!("the body is longer than {limit} bytes"))
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|n| n > u64::try_from(limit).unwrap_or(u64::MAX)) {
        return Err(too_large());
    }
    match tokio::time::timeout(time, budget.collect(client, body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(BodyFailure::TooLarge)) => Err(too_large()),
        Ok(Err(BodyFailure::Full(error))) => Err(error),
        Ok(Err(BodyFailure::BrokenOff(e))) => Err(Error::malformed("the body broke off").because(e)),
        Err(_) => Err(Error::new(
            ErrorKind::SlowRequest,
            format!("the body did not arrive within {} seconds; send it again", time.as_secs()),
        )),
    }
}

/// JSON that says each thing once, and nothing that `T` does not know (`deny_unknown_fields`).
pub fn parse<T: DeserializeOwned>(raw: &[u8]) -> Result<T> {
    if raw.is_empty() {
        return Err(scan::pointed(ErrorKind::Malformed, String::new(), "it is empty; a JSON object is expected"));
    }
    scan::check(raw)?;
    // serde would take a list for an object, member by member
    if raw.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
        return Err(scan::pointed(ErrorKind::Malformed, String::new(), "a JSON object is expected"));
    }
    serde_json::from_slice(raw).or_else(|error| without_nulls(raw, &error).ok_or_else(|| told(raw, &error)))
}

/// More members than any shape has.
const NULLS: usize = 64;

/// The same body without the null members that `T` cannot take: programs write null for what they do not say, also where a
/// member is a list, a number or a switch. A null that means something (RFC 7396) stays.
fn without_nulls<T: DeserializeOwned>(raw: &[u8], error: &serde_json::Error) -> Option<T> {
    let (mut value, mut pointer) = (serde_json::from_slice(raw).ok()?, place(raw, error));
    for _ in 0..NULLS {
        leave_null_out(&mut value, &pointer)?;
        let text = serde_json::to_vec(&value).ok()?;
        match serde_json::from_slice(&text) {
            Ok(read) => return Some(read),
            Err(next) => pointer = place(&text, &next),
        }
    }
    None
}

/// None where the pointer leads to something else than a null member of an object.
fn leave_null_out(value: &mut Value, pointer: &str) -> Option<()> {
    value.pointer(pointer)?.as_null()?;
    let (parent, name) = pointer.rsplit_once('/')?;
    let name = name.replace("~1", "/").replace("~0", "~");
    value.pointer_mut(parent)?.as_object_mut()?.remove(&name).map(drop)
}

/// The pointer to what serde could not read.
fn place(raw: &[u8], error: &serde_json::Error) -> String {
    let line_start: usize =
        raw.split(|b| *b == b'\n').take(error.line().saturating_sub(1)).map(|l| l.len() + 1).sum();
    // serde names the column of the last byte that it read
    scan::pointer_at(raw, line_start + error.column())
}

fn told(raw: &[u8], error: &serde_json::Error) -> Error {
    let pointer = place(raw, error);
    let text = error.to_string();
    let sentence = text.rsplit_once(" at line ").map_or(text.as_str(), |(sentence, _)| sentence);
    let short: String = sentence.chars().filter(|c| !is_deceptive(*c)).take(300).collect();
    match error.classify() {
        serde_json::error::Category::Data => scan::pointed(ErrorKind::Malformed, pointer, short),
        _ => Error::malformed(format!(
            "the body is not JSON: {short}, line {} column {}",
            error.line(),
            error.column()
        )),
    }
}

/// `application/json`, and for a PATCH what RFC 7396 calls its bodies.
fn expect_json(method: &Method, headers: &HeaderMap) -> Result<()> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let media = given.split(';').next().unwrap_or_default().trim();
    let is_patch = method == Method::PATCH && media.eq_ignore_ascii_case("application/merge-patch+json");
    if is_patch || media.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let shown = if media.is_empty() { "no Content-Type".to_owned() } else { crate::model::identifier::shown(media) };
    let fix = "send Content-Type: application/json";
    Err(Error::refused(ErrorKind::UnsupportedMediaType, "body.media_type", &shown, "application/json", fix)
        .explained(match media {
            "" => "the request has no Content-Type".to_owned(),
            _ => format!("Content-Type {shown} is not read here, only application/json"),
        }))
}

/// Query parameters, each at most once, none unknown, no U+0000.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let query = parts.uri.query().unwrap_or_default();
        if query.len() > 8_192 {
            return Err(Error::new(ErrorKind::TooLarge, "the query is longer than 8192 bytes"));
        }
        let mut seen = std::collections::HashSet::new();
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let shown = crate::model::identifier::shown(&key);
            if key.contains('\0') || value.contains('\0') {
                return Err(Error::malformed(format!("query parameter \"{shown}\" holds U+0000, which no text may")));
            }
            if !seen.insert(key) {
                return Err(Error::malformed(format!("query parameter \"{shown}\" stands there twice")));
            }
        }
        let axum::extract::Query(value) = axum::extract::Query::try_from_uri(&parts.uri).map_err(|rejection| {
            let text: String = rejection.body_text().chars().filter(|c| !is_deceptive(*c)).take(300).collect();
            Error::malformed(format!("the query cannot be read: {text}"))
        })?;
        Ok(Query(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Thing {
        names: Vec<String>,
        inner: Option<Inner>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters here")]
    struct Inner {
        count: u32,
        #[serde(default)]
        more: u32,
    }

    fn refusal(text: &str) -> (Option<String>, String) {
        let error = parse::<Thing>(text.as_bytes()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Malformed);
        (error.subproblems.first().and_then(|s| s.pointer.clone()), error.detail)
    }

    #[test]
    fn a_pointer_leads_to_what_is_wrong() {
        assert_eq!(refusal(r#"{"names":["a", 1]}"#).0.as_deref(), Some("/names/1"));
        assert_eq!(refusal("{\"names\":[],\n \"inner\": {\"count\": \"x\"}}").0.as_deref(), Some("/inner/count"));
        assert_eq!(refusal(r#"{"names":[],"nmae":1}"#).0.as_deref(), Some("/nmae"));
        assert_eq!(refusal("[]").0.as_deref(), Some(""));
        assert_eq!(refusal("").0.as_deref(), Some(""));
        assert_eq!(refusal(r#"{"names":[]"#).0, None);
    }

    #[test]
    fn null_is_as_absent() {
        assert_eq!(parse::<Thing>(br#"{"names":["a"],"inner":null}"#).unwrap().names, ["a"]);
        let inner = parse::<Thing>(br#"{"names":["a"],"inner":{"count":1,"more":null}}"#).unwrap().inner;
        assert_eq!(inner.unwrap().more, 0);
        // a null that means something is not left out with the others
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Patch {
            #[serde(default, deserialize_with = "some")]
            unset: Option<Option<String>>,
            #[serde(default)]
            list: Vec<u8>,
            #[serde(default)]
            switch: bool,
        }
        fn some<'de, D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Option<Option<String>>, D::Error> {
            serde::Deserialize::deserialize(d).map(Some)
        }
        let patch = parse::<Patch>(b"{\"list\": null,\n \"unset\": null, \"switch\": null}").unwrap();
        assert_eq!((patch.unset, patch.list, patch.switch), (Some(None), vec![], false));
        assert_eq!(refusal(r#"{"names":null}"#).0.as_deref(), Some("/names"));
        assert_eq!(refusal(r#"{"names":["a",null]}"#).0.as_deref(), Some("/names/1"));
    }

    #[test]
    fn what_is_well_formed_passes() {
        assert_eq!(parse::<Thing>(br#"{"names":["a"],"inner":{"count":1}}"#).unwrap().names, ["a"]);
    }

    #[tokio::test]
    async fn a_body_that_never_ends_or_grows_too_long_is_refused() {
        let none = HeaderMap::new();
        let never = Body::from_stream(futures_util::stream::pending::<std::io::Result<Vec<u8>>>());
        let slow = read_within(&STRANGERS, None, &none, never, 10, Duration::from_millis(5)).await.unwrap_err();
        assert_eq!(slow.kind, ErrorKind::SlowRequest);
        let endless = Body::from_stream(futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'a'; 8])));
        let (parts, endless) = axum::http::Request::new(endless).into_parts();
        assert_eq!(read(&parts, endless, 1_000).await.unwrap_err().kind, ErrorKind::TooLarge);
    }
}
