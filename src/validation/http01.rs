//! http-01 (RFC 8555 §8.3, for addresses RFC 8738): fetch `/.well-known/acme-challenge/TOKEN` from port 80 of the
//! name and compare the body with the key authorization. Each request has a connection of its own, made by
//! `Attempt::connect`; no proxy, no cookie, no cache. Redirects are followed in `redirect.rs`'s bounds.

use std::net::{IpAddr, SocketAddr};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

use super::attempt::{Attempt, Connected, StepKind};
use super::bounded::{Bounded, is_over};
use super::claim::Claim;
use super::error::{BodySeen, HttpFailure, RedirectFailure, TlsFailure, ValidationError, place};
use super::limits::Place;
use super::redirect::{Redirects, shape};
use crate::model::identifier::Identifier;

const METHOD: &str = "http-01";
const AGENT: &str = concat!("chancery/", env!("CARGO_PKG_VERSION"), " (acme http-01 validation)");
/// A response header, and what one read may bring: the most that a server can make us hold.
const MAX_HEADER_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 100;
/// Everything of one response on the wire, interim ones included, and of a TLS handshake before it.
const MAX_ON_WIRE: usize = 64 * 1024;
/// Body bytes read past the key authorization: line ends and spaces behind it.
const BODY_SLACK: usize = 128;

pub(super) async fn prove(attempt: &mut Attempt<'_>, claim: &Claim<'_>) -> Result<(), ValidationError> {
    claim.check()?;
    let first = challenge_url(claim.name, attempt.ports().http01, claim.token);
    let mut redirects = Redirects::from(first.ok_or_else(|| claim.unsupported(METHOD))?);
    loop {
        let answer = fetch(attempt, redirects.current()).await?;
        let target = answer.target;
        match answer.response.status() {
            StatusCode::OK => return compare(attempt, answer, claim.key_authorization).await,
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => {
                let to = redirects
                    .follow(answer.response.headers(), attempt.ports())
                    .map_err(|failure| ValidationError::Redirect { target, failure })?;
                attempt.note(StepKind::Redirect, format!("to {to}"));
            }
            other => return Err(ValidationError::Status { target, status: other.as_u16() }),
        }
    }
}

fn challenge_url(identifier: &Identifier, port: u16, token: &str) -> Option<Url> {
    let host = match identifier {
        Identifier::Dns(name) if !name.is_wildcard() => name.to_string(),
        Identifier::Ip(IpAddr::V4(address)) => address.to_string(),
        Identifier::Ip(IpAddr::V6(address)) => format!("[{address}]"),
        Identifier::Dns(_) | Identifier::Email(_) | Identifier::Uri(_) => return None,
    };
    // the port falls away when it is 80, and with it the one in the Host header
    let url = Url::parse(&format!("http://{host}:{port}/.well-known/acme-challenge/{token}")).ok()?;
    // what DNS is asked for is what the order names, whatever else the text means in a URL
    let same = match (identifier, url.host()?) {
        (Identifier::Dns(name), Host::Domain(domain)) => name.as_str() == domain,
        (Identifier::Ip(IpAddr::V4(own)), Host::Ipv4(address)) => *own == address,
        (Identifier::Ip(IpAddr::V6(own)), Host::Ipv6(address)) => *own == address,
        _ => false,
    };
    same.then_some(url)
}

/// A response whose body is still to be read. Dropping it closes the connection.
struct Answer {
    target: SocketAddr,
    response: Response<Incoming>,
    /// Drives the connection; aborted on drop.
    _driver: JoinSet<()>,
    _place: Place,
}

async fn fetch(attempt: &mut Attempt<'_>, url: &Url) -> Result<Answer, ValidationError> {
    // `Redirects` lets only URLs with host and port in
    let (Some(host), Some(port)) = (url.host().map(|h| h.to_owned()), url.port_or_known_default()) else {
        return Err(ValidationError::BadToken);
    };
    let Connected { stream, target, place: held } = attempt.connect(&host, port).await?;
    let stream = Bounded::new(stream, MAX_ON_WIRE);
    let stream: Box<dyn Stream> = if url.scheme() == "https" {
        Box::new(handshake(attempt, stream, &host, target).await?)
    } else {
        Box::new(stream)
    };
    let request = request(url).ok_or(ValidationError::Redirect { target, failure: RedirectFailure::BadLocation })?;
    attempt.note(StepKind::Request, format!("GET {} from {}", shape(url), place(target)));
    let mut driver = JoinSet::new();
    let exchange = async {
        let (mut sender, connection) = http1::Builder::new()
            .read_buf_exact_size(Some(MAX_HEADER_BYTES))
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(stream))
            .await?;
        driver.spawn(async move {
            // what goes wrong here is told to whoever waits for header or body
            let _ = connection.await;
        });
        sender.send_request(request).await
    };
    let failed = |failure| ValidationError::Http { target, failure };
    let response = match attempt.within(exchange).await {
        Some(Ok(response)) => response,
        Some(Err(error)) => return Err(failed(before_body(&error))),
        None => return Err(failed(HttpFailure::HeaderTimeout)),
    };
    attempt.note(StepKind::Response, format!("status {} from {}", response.status().as_u16(), place(target)));
    Ok(Answer { target, response, _driver: driver, _place: held })
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn handshake(
    attempt: &mut Attempt<'_>,
    stream: Bounded<TcpStream>,
    host: &Host<String>,
    target: SocketAddr,
) -> Result<TlsStream<Bounded<TcpStream>>, ValidationError> {
    let failed = |failure| ValidationError::Tls { target, failure };
    let name = match host {
        Host::Domain(name) => ServerName::try_from(name.trim_end_matches('.').to_owned()),
        Host::Ipv4(address) => Ok(ServerName::from(IpAddr::V4(*address))),
        Host::Ipv6(address) => Ok(ServerName::from(IpAddr::V6(*address))),
    }
    .map_err(|_| failed(TlsFailure::Handshake))?;
    let outcome = match attempt.within(TlsConnector::from(attempt.validator.tls.clone()).connect(name, stream)).await
    {
        Some(Ok(stream)) => Ok(stream),
        Some(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => Err(TlsFailure::Handshake),
        Some(Err(_)) => Err(TlsFailure::Closed),
        None => Err(TlsFailure::Timeout),
    };
    let seen = if outcome.is_ok() { "done, certificate not verified" } else { "failed" };
    attempt.note(StepKind::Tls, format!("handshake with {}: {seen}", place(target)));
    outcome.map_err(failed)
}

fn request(url: &Url) -> Option<Request<Empty<Bytes>>> {
    let host = url.host_str()?;
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::new())
        .ok()
}

pub(super) fn before_body(error: &hyper::Error) -> HttpFailure {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    if error.is_parse_too_large() || source.is_some_and(is_over) {
        HttpFailure::HeaderTooLarge
    } else if error.is_parse() {
        HttpFailure::NotHttp
    } else {
        HttpFailure::ClosedBeforeHeader
    }
}

async fn compare(attempt: &Attempt<'_>, answer: Answer, key_authorization: &str) -> Result<(), ValidationError> {
    let target = answer.target;
    let limit = key_authorization.len() + BODY_SLACK;
    // `_driver` and `_place` stay alive in `answer` until the body is read
    let Answer { response, _driver, _place, .. } = answer;
    let body = attempt
        .within(read(response.into_body(), limit))
        .await
        .unwrap_or(Err(Unread::Failed(HttpFailure::BodyTimeout)))
        .map_err(|unread| match unread {
            Unread::TooLong => ValidationError::Body { target, seen: BodySeen::TooLong { limit } },
            Unread::Failed(failure) => ValidationError::Http { target, failure },
        })?;
    judge(&body, key_authorization).map_err(|seen| ValidationError::Body { target, seen })
}

enum Unread {
    TooLong,
    Failed(HttpFailure),
}

async fn read(mut body: Incoming, limit: usize) -> Result<Vec<u8>, Unread> {
    let mut bytes = Vec::with_capacity(limit);
    if body.size_hint().lower() > limit as u64 {
        return Err(Unread::TooLong);
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Unread::Failed(if error.is_parse() { HttpFailure::NotHttp } else { HttpFailure::ClosedInBody })
        })?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > limit {
                return Err(Unread::TooLong);
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
}

/// The whole body, white space behind it aside, is the key authorization: a server that echoes the path, or any
/// that sends the token alone, proves nothing. The value is public, so that the comparison needs no constant time.
fn judge(body: &[u8], key_authorization: &str) -> Result<(), BodySeen> {
    let expected = key_authorization.as_bytes();
    let seen = body.trim_ascii_end();
    if planted!(
        "http-body-begins-with-the-proof",
        seen.starts_with(expected),
        planted!(
            "http-token-alone-proves",
            seen.starts_with(expected.split(|b| *b == b'.').next().unwrap_or_default()),
            seen == expected
        )
    ) {
        return Ok(());
    }
    let dot = key_authorization.find('.').unwrap_or(expected.len());
    let (token, thumbprint) = expected.split_at(dot);
    Err(match seen {
        [] => BodySeen::Empty,
        [first, ..] if first.is_ascii_whitespace() => BodySeen::LeadingWhitespace,
        _ if seen == token => BodySeen::TokenOnly,
        _ if seen.strip_prefix(token).is_some_and(|rest| rest.starts_with(b".")) => BodySeen::OtherAccount,
        _ if seen.ends_with(thumbprint) => BodySeen::OtherToken,
        [b'<', ..] => BodySeen::Html,
        _ => BodySeen::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";

    fn host(identifier: Identifier, port: u16) -> String {
        let url = challenge_url(&identifier, port, TOKEN).unwrap();
        let request = request(&url).unwrap();
        assert_eq!(request.uri().to_string(), format!("/.well-known/acme-challenge/{TOKEN}"));
        request.headers()[HOST].to_str().unwrap().to_owned()
    }

    #[test]
    fn the_host_header_has_no_port_when_it_is_80() {
        let dns = |name: &str| Identifier::dns(name).unwrap();
        let ip = |text: &str| Identifier::ip(text).unwrap();
        assert_eq!(host(dns("a.example.test"), 80), "a.example.test");
        assert_eq!(host(dns("a.example.test"), 443), "a.example.test:443");
        assert_eq!(host(dns("a.example.test"), 5002), "a.example.test:5002");
        assert_eq!(host(ip("192.0.2.7"), 80), "192.0.2.7");
        assert_eq!(host(ip("2001:db8::7"), 80), "[2001:db8::7]");
        assert_eq!(host(ip("2001:db8::7"), 5002), "[2001:db8::7]:5002");
    }
}
