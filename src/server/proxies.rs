//! What a listener believes about the addresses of its clients: the settings `trusted_proxies` and `proxy_protocol`.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::config::Config;
use super::proxy_protocol;
use crate::clock::monotonic;
use crate::http::client_address::TrustedProxies;
use crate::model::network::IpNetwork;

/// A load balancer that is set up wrongly fails on every connection; one line a minute says so.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// A listener by its name in `proxy_protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerName {
    Https,
    Http,
    Ops,
    Mtls,
}

impl ListenerName {
    /// Its short name, or the name of the setting that holds its address.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "https" | "listen" => Ok(ListenerName::Https),
            "http" | "listen_http" => Ok(ListenerName::Http),
            "ops" | "listen_ops" => Ok(ListenerName::Ops),
            "mtls" | "listen_mtls" => Ok(ListenerName::Mtls),
            _ => Err(format!("\"{text}\" is not a listener; the listeners are https, http, ops and mtls")),
        }
    }
}

/// A network of proxies. The whole of IPv4 or IPv6 is refused: then every client could choose its own address.
pub fn trusted_network(text: &str) -> Result<IpNetwork, String> {
    let network = IpNetwork::parse(text).map_err(|refusal| refusal.detail)?;
    if network.prefix() == 0 {
        return Err(format!(
            "\"{text}\" would let every client name its own address; list the networks of the proxies"
        ));
    }
    Ok(network)
}

/// The proxies of one listener.
#[derive(Debug, Clone)]
pub struct Proxies {
    pub trusted: Arc<TrustedProxies>,
    /// Whether each connection begins with a header of PROXY protocol v2.
    has_header: bool,
    listener: ListenerName,
    warned: Arc<Mutex<Option<Instant>>>,
}

impl Proxies {
    pub fn of(config: &Config, listener: ListenerName) -> Self {
        let trusted = TrustedProxies::new(config.trusted_proxies.clone());
        Self::new(trusted, config.proxy_protocol.contains(&listener), listener)
    }

    /// Clients connect by themselves.
    pub fn none(listener: ListenerName) -> Self {
        Self::new(TrustedProxies::default(), false, listener)
    }

    pub fn new(trusted: TrustedProxies, has_header: bool, listener: ListenerName) -> Self {
        Proxies { trusted: Arc::new(trusted), has_header, listener, warned: Arc::default() }
    }

    /// The listener as a label of metrics.
    pub fn listener_name(&self) -> &'static str {
        match self.listener {
            ListenerName::Https => "https",
            ListenerName::Http => "http",
            ListenerName::Ops => "ops",
            ListenerName::Mtls => "mtls",
        }
    }

    /// Whether the other side of a new connection is the client itself and no proxy.
    pub fn shows_client(&self, peer: IpAddr) -> bool {
        !self.has_header && !self.trusted.contains(peer)
    }

    /// The address that a new connection stands for. `None` closes it: a PROXY header was due and is absent or broken,
    /// comes from a peer that is not trusted, or did not arrive within `patience`.
    pub async fn address(&self, stream: &mut TcpStream, peer: IpAddr, patience: Duration) -> Option<IpAddr> {
        if !self.has_header {
            return Some(peer);
        }
        // without trusted_proxies, the network in front of this listener decides who reaches it
        if !self.trusted.is_empty() && !self.trusted.contains(peer) {
            self.refuse(peer, "its peer is not in trusted_proxies");
            return None;
        }
        match tokio::time::timeout(patience, proxy_protocol::read(stream)).await {
            Ok(Ok(source)) => Some(source.unwrap_or(peer)),
            Ok(Err(why)) => {
                self.refuse(peer, &why.to_string());
                None
            }
            Err(_) => {
                self.refuse(peer, "the header did not arrive in time");
                None
            }
        }
    }

    fn refuse(&self, peer: IpAddr, why: &str) {
        metrics::counter!("chancery_proxy_headers_refused_total").increment(1);
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|last| last.elapsed() >= WARN_EVERY) {
            *warned = Some(monotonic());
            let peer = peer.to_canonical();
            tracing::warn!(%peer, listener = ?self.listener, why, "a connection was closed: this listener expects PROXY protocol v2");
        }
    }
}
