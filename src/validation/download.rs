//! GET of a document of others over plain HTTP, such as the CRL of a CA elsewhere: behind the same guard, resolver and
//! limits as a validation. Redirects are not followed.

use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use url::Url;

use super::Validator;
use super::attempt::{Attempt, Connected};
use super::bounded::Bounded;
use super::error::{BodySeen, HttpFailure, ValidationError, place};
use super::http01::before_body;
use super::rules::Rules;
use crate::error::parts;

const AGENT: &str = concat!("chancery/", env!("CARGO_PKG_VERSION"), " (CRL fetch)");
const MAX_HEADERS: usize = 16 * 1024;

impl Validator {
    /// The body of an answer 200 of at most `limit` octets. Ends with the deadline of one validation.
    pub async fn download(&self, url: &Url, limit: usize) -> Result<Vec<u8>, ValidationError> {
        let rules = Rules::default();
        let mut attempt = Attempt::begin(self, &rules).await.map_err(|_| ValidationError::Busy)?;
        let (Some(host), Some(port)) = (url.host().map(|h| h.to_owned()), url.port_or_known_default()) else {
            return Err(ValidationError::BadToken);
        };
        let Connected { stream, target, place: _place } = attempt.connect(&host, port).await?;
        let http = |failure| ValidationError::Http { target, failure };
        let request = request(url).ok_or(ValidationError::BadToken)?;
        let stream = Bounded::new(stream, limit + limit / 8 + 2 * MAX_HEADERS);
        let mut driver = JoinSet::new();
        let exchange = async {
            let (mut sender, connection) = http1::Builder::new()
                .read_buf_exact_size(Some(MAX_HEADERS))
                .handshake(TokioIo::new(stream))
                .await
                .map_err(|_| http(HttpFailure::ClosedBeforeHeader))?;
            driver.spawn(connection);
            sender.send_request(request).await.map_err(|error| http(before_body(&error)))
        };
        let response = attempt.within(exchange).await.unwrap_or(Err(http(HttpFailure::HeaderTimeout)))?;
        if response.status() != StatusCode::OK {
            return Err(ValidationError::Status { target, status: response.status().as_u16() });
        }
        let mut body = response.into_body();
        let too_long = || ValidationError::Body { target, seen: BodySeen::TooLong { limit } };
        if body.size_hint().lower() > limit as u64 {
            return Err(too_long());
        }
        let reading = async {
            let mut bytes = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|_| http(HttpFailure::ClosedInBody))?;
                let Some(data) = frame.data_ref() else { continue };
                if bytes.len() + data.len() > limit {
                    return Err(too_long());
                }
                bytes.extend_from_slice(data);
            }
            Ok(bytes)
        };
        attempt.within(reading).await.unwrap_or(Err(http(HttpFailure::BodyTimeout)))
    }
}

/// Why a download failed, in one sentence: that of the error is for the owner of a name that is validated.
pub fn sentence(error: &ValidationError) -> String {
    match error {
        ValidationError::Body { target, seen: BodySeen::TooLong { limit } } => {
            format!("{} sent a body longer than {limit} bytes", place(*target))
        }
        ValidationError::Status { target, status } if (300..400).contains(status) => {
            format!("{} answered with status {status}, and redirects are not followed", place(*target))
        }
        ValidationError::Status { target, status } => format!("{} answered with status {status}", place(*target)),
        other => parts(&other.detail()).0.to_owned(),
    }
}

fn request(url: &Url) -> Option<Request<Empty<Bytes>>> {
    let host = url.host_str()?;
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .body(Empty::new())
        .ok()
}
