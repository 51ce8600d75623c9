//! The Host of a request (RFC 9112 §3.2): HTTP/1.1 has exactly one, and every request's is a host with or without a
//! port (RFC 3986 §3.2). Links are made from the external URL, never from it.

use std::net::Ipv6Addr;

use axum::extract::Request;
use axum::http::{Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::{Error, Result};

/// Refuses a request without the one Host that its version requires.
pub fn check(request: &Request) -> Result<()> {
    let mut lines = request.headers().get_all(header::HOST).iter();
    match (lines.next(), lines.next()) {
        (_, Some(_)) => Err(Error::malformed("the request has more than one Host header; send one")),
        (Some(host), None) if host.to_str().is_ok_and(is_host) => Ok(()),
        (Some(_), None) => {
            Err(Error::malformed("the Host header is not a host with or without a port, such as ca.example:8443"))
        }
        (None, None) if request.version() == Version::HTTP_11 => {
            Err(Error::malformed("the request has no Host header; HTTP/1.1 requires one"))
        }
        (None, None) => Ok(()),
    }
}

/// For a listener without the shared layers.
pub async fn require(request: Request, next: Next) -> Response {
    match check(&request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// The host that the client asked for, without its port and in lower case.
pub fn of(request: &Request) -> Option<String> {
    let named = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let authority = request.uri().authority().map(|authority| authority.as_str()).or(named)?;
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    Some(host.to_ascii_lowercase())
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => ("", port),
            _ => return false,
        },
        None => {
            let end = text.find(':').unwrap_or(text.len());
            let (host, port) = text.split_at(end);
            if host.is_empty() {
                return false;
            }
            (host, port)
        }
    };
    // reg-name: unreserved, percent-encoded and sub-delims
    let is_name = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&b));
    let is_port = match port.strip_prefix(':') {
        Some("") => true,
        Some(digits) => digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    is_name && host.len() <= 255 && is_port
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn outcome(version: Version, hosts: &[&str]) -> Result<()> {
        let mut head = Request::builder().version(version);
        for host in hosts {
            head = head.header("host", *host);
        }
        check(&head.body(Body::empty()).unwrap())
    }

    #[test]
    fn http_1_1_has_exactly_one_host() {
        assert!(outcome(Version::HTTP_11, &["ca.example"]).is_ok());
        assert!(outcome(Version::HTTP_11, &[]).unwrap_err().detail.contains("no Host"));
        assert!(outcome(Version::HTTP_10, &[]).is_ok() && outcome(Version::HTTP_2, &[]).is_ok());
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            assert!(outcome(version, &["a", "a"]).unwrap_err().detail.contains("more than one"));
        }
    }

    #[test]
    fn a_host_is_a_host_and_perhaps_a_port() {
        for good in
            ["a", "A.example.", "127.0.0.1:80", "[::1]", "[2001:db8::1]:8443", "a:", "a_b.test:65535", "xn--a-b"]
        {
            assert!(outcome(Version::HTTP_11, &[good]).is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "", ":80", "a:b", "a:65536", "a:1:2", "u@a", "a/b", "a b", "[::1", "::1", "[x]", "[::1]x", "a#", "a?",
            "<a>", &long,
        ] {
            assert!(outcome(Version::HTTP_11, &[bad]).is_err(), "{bad}");
        }
    }
}
