//! The Idempotency-Key header on every POST: what came before is told again, marked `Idempotent-Replayed: true`.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::Api;
use crate::access::Caller;
use crate::access::idempotency::{Key, Seen, in_flight};
use crate::authority::guard::IdempotencyClaim;
use crate::authority::recovery::Processing;
use crate::error::{Error, Result};
use crate::model::id::CertificateId;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The key of a request, if it has one.
pub fn key(headers: &HeaderMap, uri: &Uri, body: &[u8]) -> Result<Option<Key>> {
    let mut given = headers.get_all(KEY).iter();
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(Error::malformed("Idempotency-Key stands there twice"));
    }
    let text =
        value.to_str().map_err(|_| Error::malformed("Idempotency-Key has 1 to 255 printable ASCII characters"))?;
    let path = uri.path_and_query().map_or("", |p| p.as_str());
    Key::new(text, Method::POST.as_str(), path, body).map(Some)
}

/// What a repetition is told.
pub fn text<T: serde::Serialize>(shape: &T) -> Result<String> {
    serde_json::to_string(shape).map_err(|e| Error::internal("an answer does not serialise", e))
}

pub fn replayed(mut response: Response) -> Response {
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// What a request does that makes or changes one certificate.
pub enum Claim {
    /// It did it before, to this certificate: tell it again by `replayed`.
    Done(CertificateId),
    /// Do it, and take the key in the transaction of doing it.
    Go(Option<IdempotencyClaim>),
}

pub async fn claim(api: &Api, caller: &Caller, key: Option<Key>) -> Result<Claim> {
    let Some(key) = key else { return Ok(Claim::Go(None)) };
    match settled(api, caller, &key).await? {
        Seen::New { expires_at } => Ok(Claim::Go(Some(IdempotencyClaim {
            actor: caller.actor().to_string(),
            key: key.text,
            request_sha256: key.request_sha256,
            expires_at,
        }))),
        Seen::Certificate(id) => Ok(Claim::Done(id)),
        Seen::InFlight(_) => Err(in_flight()),
        Seen::Answer { .. } => Err(Error::inconsistent("an Idempotency-Key of another path was answered here")),
    }
}

/// A key is its process's: when that has ended before it answered, nobody was given the certificate. It is revoked, and
/// the key is free. One that was answered after all is answered again.
async fn settled(api: &Api, caller: &Caller, key: &Key) -> Result<Seen> {
    let seen = api.access.seen(caller.actor(), key).await?;
    let Seen::InFlight(id) = seen else { return Ok(seen) };
    match api.authority.settled(id).await? {
        Processing::Over => api.access.seen(caller.actor(), key).await,
        Processing::Here | Processing::Elsewhere => Ok(seen),
    }
}

/// The answer of an earlier request with this key that kept its body.
pub async fn earlier(api: &Api, caller: &Caller, key: Option<&Key>) -> Result<Option<Response>> {
    let Some(key) = key else { return Ok(None) };
    match api.access.seen(caller.actor(), key).await? {
        Seen::New { .. } => Ok(None),
        Seen::Answer { status, body } => {
            let status = StatusCode::from_u16(status).map_err(|e| Error::internal("a stored status is none", e))?;
            let json = [(header::CONTENT_TYPE, "application/json")];
            Ok(Some(replayed((status, json, body).into_response())))
        }
        Seen::InFlight(id) | Seen::Certificate(id) => {
            Err(Error::inconsistent(format!("an Idempotency-Key of another path made {id}")))
        }
    }
}
