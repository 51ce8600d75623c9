//! Where an http-01 answer may send us: at most ten times, to http or https, to ports 80 and 443 or the configured
//! ones, without user or password, never to a URL that was asked before. Names and addresses of each hop are
//! resolved and checked anew by `Attempt::connect`; a redirect gives no address a free pass.

use hyper::HeaderMap;
use hyper::header::LOCATION;
use url::{Host, Url};

use super::error::RedirectFailure;
use super::rules::Ports;

const MAX_REDIRECTS: usize = 10;
const MAX_LOCATION: usize = 2_000;

/// The URLs asked so far; the last one is the current one.
pub(super) struct Redirects {
    asked: Vec<Url>,
    current: Url,
}

impl From<Url> for Redirects {
    fn from(first: Url) -> Self {
        Redirects { asked: Vec::new(), current: first }
    }
}

impl Redirects {
    pub fn current(&self) -> &Url {
        &self.current
    }

    /// Moves to the target of the response, and says where that is: scheme, host and port alone.
    pub fn follow(&mut self, headers: &HeaderMap, ports: Ports) -> Result<String, RedirectFailure> {
        let next = target(&self.current, headers)?;
        let to = shape(&next);
        check(&next, &to, ports)?;
        if next == self.current || self.asked.contains(&next) {
            return Err(RedirectFailure::Loop { to });
        }
        if self.asked.len() == MAX_REDIRECTS {
            return Err(RedirectFailure::TooMany { limit: MAX_REDIRECTS });
        }
        self.asked.push(std::mem::replace(&mut self.current, next));
        Ok(to)
    }
}

fn target(current: &Url, headers: &HeaderMap) -> Result<Url, RedirectFailure> {
    let mut locations = headers.get_all(LOCATION).iter();
    let location = locations.next().ok_or(RedirectFailure::NoLocation)?;
    if locations.next().is_some() {
        return Err(RedirectFailure::SeveralLocations);
    }
    let text = location.to_str().map_err(|_| RedirectFailure::BadLocation)?;
    if text.len() > MAX_LOCATION {
        return Err(RedirectFailure::BadLocation);
    }
    let mut next = current.join(text).map_err(|_| RedirectFailure::BadLocation)?;
    next.set_fragment(None);
    Ok(next)
}

fn check(next: &Url, to: &str, ports: Ports) -> Result<(), RedirectFailure> {
    let to = || to.to_owned();
    if !matches!(next.scheme(), "http" | "https") {
        return Err(RedirectFailure::Scheme { scheme: next.scheme().to_owned() });
    }
    if !next.username().is_empty() || next.password().is_some() {
        return Err(RedirectFailure::UserInfo { to: to() });
    }
    let (Some(host), Some(port)) = (next.host(), next.port_or_known_default()) else {
        return Err(RedirectFailure::BadLocation);
    };
    if planted!("redirect-to-any-port", false, ![80, 443, ports.http01, ports.tls_alpn01].contains(&port)) {
        return Err(RedirectFailure::Port { to: to(), port });
    }
    match host {
        Host::Domain(name) if name.trim_end_matches('.').is_empty() => Err(RedirectFailure::BadLocation),
        Host::Domain(name) if name.ends_with(".well-known") => Err(RedirectFailure::MissingSlash { to: to() }),
        Host::Domain(_) | Host::Ipv4(_) | Host::Ipv6(_) => Ok(()),
    }
}

/// What may be shown of a redirect's target: its path and query may hold what is not meant for the client.
pub(super) fn shape(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| format!("{}://{host}", url.scheme()), |port| format!("{}://{host}:{port}", url.scheme()))
}
