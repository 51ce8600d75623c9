//! The address of a request's client. Behind proxies it is what a trusted proxy reports in X-Forwarded-For or
//! Forwarded (RFC 7239); audit, limits, throttles and the request log all read it here. A header from anybody else
//! is ignored, because every client can write one.

use std::net::IpAddr;

use axum::http::{Extensions, HeaderMap};

use super::forwarded;
use crate::model::network::IpNetwork;

/// The client's address in canonical form (an IPv4 address mapped into IPv6 is IPv4). An extension of each request
/// that came through a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(IpAddr);

impl ClientAddress {
    pub fn new(address: IpAddr) -> Self {
        ClientAddress(address.to_canonical())
    }

    pub fn ip(self) -> IpAddr {
        self.0
    }

    pub fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().copied()
    }

    /// Text for audit and limits; empty for a request of the command line on the host, which came through no listener.
    pub fn text(extensions: &Extensions) -> String {
        Self::of(extensions).map_or_else(String::new, |client| client.0.to_string())
    }
}

/// Networks of the reverse proxies whose forwarding headers count. Empty trusts nobody.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNetwork>);

impl TrustedProxies {
    pub fn new(networks: Vec<IpNetwork>) -> Self {
        TrustedProxies(networks)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(address))
    }

    /// The client of a request that arrived over a connection from `peer`.
    ///
    /// A proxy writes one of the two headers and passes the other one on as its client sent it. Which one is not known
    /// here, so two headers that disagree count for nothing and the proxy itself is the client.
    pub fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let peer = peer.to_canonical();
        if !self.contains(peer) {
            return ClientAddress(peer);
        }
        let (listed, standard) = (forwarded::x_forwarded_for(headers), forwarded::forwarded(headers));
        let found = match (listed, standard) {
            (Some(hops), None) | (None, Some(hops)) => self.walk(peer, &hops),
            (Some(hops), Some(others)) => {
                let (one, other) = (self.walk(peer, &hops), self.walk(peer, &others));
                if one == other { one } else { peer }
            }
            (None, None) => peer,
        };
        ClientAddress(found)
    }

    /// The rightmost hop that is not trusted. Each hop was written by the one to its right, so the walk stops at the
    /// first that is not trusted, and before the first that is no address.
    fn walk(&self, peer: IpAddr, hops: &[Option<IpAddr>]) -> IpAddr {
        let mut nearest = peer;
        for hop in hops.iter().rev() {
            let Some(address) = *hop else { return nearest };
            nearest = address;
            if !self.contains(address) {
                return nearest;
            }
        }
        nearest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    const PROXY: &str = "10.0.0.9";

    fn client(peer: &str, lines: &[(&'static str, &str)]) -> String {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| IpNetwork::parse(network).unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        TrustedProxies::new(trusted.to_vec()).client_of(peer.parse().unwrap(), &headers).ip().to_string()
    }

    fn listed(value: &str) -> String {
        client(PROXY, &[("x-forwarded-for", value)])
    }

    fn standard(value: &str) -> String {
        client(PROXY, &[("forwarded", value)])
    }

    #[test]
    fn headers_of_a_stranger_count_for_nothing() {
        for peer in ["192.0.2.1", "2001:db8::1"] {
            let lines = [("x-forwarded-for", "203.0.113.7"), ("forwarded", "for=203.0.113.7")];
            assert_eq!(client(peer, &lines), peer);
        }
    }

    #[test]
    fn the_rightmost_hop_that_is_not_trusted_is_the_client() {
        assert_eq!(listed("203.0.113.7"), "203.0.113.7");
        assert_eq!(listed("1.1.1.1, 203.0.113.7, 10.2.2.2,10.3.3.3"), "203.0.113.7");
        assert_eq!(listed("10.1.1.1, 10.2.2.2"), "10.1.1.1");
        let lines = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.7, 10.2.2.2")];
        assert_eq!(client(PROXY, &lines), "203.0.113.7");
        assert_eq!(standard("for=1.1.1.1, for=203.0.113.7;proto=https;by=_x, for=10.2.2.2"), "203.0.113.7");
        assert_eq!(standard("For=\"[2001:DB8:cafe::17]:4711\""), "2001:db8:cafe::17");
        assert_eq!(client("::ffff:10.0.0.9", &[("x-forwarded-for", "::ffff:203.0.113.7")]), "203.0.113.7");
        assert_eq!(client("fd00::1", &[("x-forwarded-for", "2001:db8::7, ::ffff:10.0.0.3")]), "2001:db8::7");
    }

    #[test]
    fn ports_and_brackets_are_read() {
        for value in ["203.0.113.7:443", " 203.0.113.7\t", "203.0.113.7, ,", "203.0.113.7,"] {
            assert_eq!(listed(value), "203.0.113.7", "{value:?}");
        }
        for value in ["2001:db8::7", "[2001:db8::7]", "[2001:db8::7]:9"] {
            assert_eq!(listed(value), "2001:db8::7", "{value:?}");
        }
        for value in
            ["for=203.0.113.7", "for=\"203.0.113.7:80\"", "FOR=203.0.113.7:_port", "proto=http;for=203.0.113.7"]
        {
            assert_eq!(standard(value), "203.0.113.7", "{value:?}");
        }
    }

    #[test]
    fn garbage_leaves_the_nearest_hop_that_is_known() {
        for value in ["unknown", "1.1.1.1, unknown", "1.1.1.1, _x", "1.1.1.1, 300.1.1.1", "1.1.1.1, 2.2.2.2:99999"] {
            assert_eq!(listed(value), PROXY, "{value:?}");
        }
        assert_eq!(listed("1.1.1.1, evil, 10.2.2.2"), "10.2.2.2");
        assert_eq!(listed(""), PROXY);
        for value in [
            "for=1.1.1.1, for=unknown",
            "for=1.1.1.1, for=_hidden",
            "for=1.1.1.1, for=\"_SEVKISEK:80\"",
            "for=1.1.1.1, proto=http",
            "for=1.1.1.1;for=2.2.2.2",
            "for=\"1.1.1.1",
            "for=\", for=1.1.1.1",
            "for=\"1.1.1.1\"x",
            "for=2001:db8::7",
            "for=[2001:db8::7]",
            "for 1.1.1.1",
            "=1.1.1.1",
            "for=",
            "for=\"::1\"",
        ] {
            assert_eq!(standard(value), PROXY, "{value:?}");
        }
        assert_eq!(standard("for=\"x, for=10.2.2.2"), PROXY);
        // a proxy that adds a line of its own keeps its client's broken line apart
        let lines = [("forwarded", "for=\"1.1.1.1"), ("forwarded", "for=203.0.113.7")];
        assert_eq!(client(PROXY, &lines), "203.0.113.7");
        let raw = HeaderValue::from_bytes(b"1.1.1.1, \xff").unwrap();
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-forwarded-for"), raw)]);
        let trusted = TrustedProxies::new(vec![IpNetwork::parse("10.0.0.0/8").unwrap()]);
        assert_eq!(trusted.client_of(PROXY.parse().unwrap(), &headers).ip().to_string(), PROXY);
    }

    #[test]
    fn a_header_that_the_proxy_passes_on_unread_cannot_name_the_client() {
        let spoofed = [("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "203.0.113.7")];
        assert_eq!(client(PROXY, &spoofed), PROXY);
        let agreed = [("forwarded", "for=203.0.113.7"), ("x-forwarded-for", "203.0.113.7")];
        assert_eq!(client(PROXY, &agreed), "203.0.113.7");
    }
}
