//! Strict-Transport-Security (RFC 6797), where the setting `hsts` asks for it. A browser then refuses plain HTTP to
//! that host on every port, CRL links too, so it goes out for the external URL's name alone: not for an address, not
//! for localhost, and not for a host whose status is served over plain HTTP.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use super::host;

/// The header and the host that it is for.
#[derive(Debug, Clone)]
pub struct Hsts {
    value: HeaderValue,
    host: Arc<str>,
}

impl Hsts {
    /// `None` where the external URL's host must stay reachable over plain HTTP; `status` are the hosts of CRL and OCSP
    /// links, those in certificates issued long ago too.
    pub fn new(max_age: Duration, external: &str, status: &[&str]) -> Option<Hsts> {
        let host = external.trim_end_matches('.').to_ascii_lowercase();
        let is_address = host.starts_with('[') || host.parse::<IpAddr>().is_ok();
        let is_local = host == "localhost" || host.ends_with(".localhost");
        if is_address
            || is_local
            || status.iter().any(|other| other.trim_end_matches('.').eq_ignore_ascii_case(&host))
        {
            return None;
        }
        let value = HeaderValue::from_str(&format!("max-age={}", max_age.as_secs())).ok()?;
        Some(Hsts { value, host: host.into() })
    }
}

/// For the HTTPS listener: over plain HTTP the header means nothing (RFC 6797 §7.2).
pub async fn add(State(hsts): State<Hsts>, request: Request, next: Next) -> Response {
    let wanted = host::of(&request).is_some_and(|asked| asked.trim_end_matches('.') == &*hsts.host);
    let mut response = next.run(request).await;
    if wanted {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, hsts.value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_serves_no_plain_http_is_pinned() {
        let made = |external: &str, status: &[&str]| Hsts::new(Duration::from_secs(60), external, status);
        let pinned = made("CA.example", &["pki.example"]).unwrap();
        assert_eq!((pinned.value.to_str().unwrap(), &*pinned.host), ("max-age=60", "ca.example"));
        for external in ["localhost", "a.localhost", "127.0.0.1", "[::1]", "pki.example", "PKI.example."] {
            assert!(made(external, &["x.example", "pki.example"]).is_none(), "{external}");
        }
    }
}
