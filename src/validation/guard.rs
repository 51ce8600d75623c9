//! Which addresses the CA server may connect to for a validation: the answer to SSRF (security.md T1). Private
//! ranges are allowed, because that is where a private CA's names live; what no certificate can be about is not.
//!
//! Order: unspecified, multicast, broadcast, metadata, link-local → our own listeners → `deny_networks` →
//! loopback → `allow_networks`. An IPv6 address that carries an IPv4 address is judged as both.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::config::ValidationConfig;
use crate::model::network::{IpNetwork, forms};

/// The rule. Cheap to share; the forbidden listeners may be replaced while attempts run.
#[derive(Debug)]
pub struct Guard {
    allow: Vec<IpNetwork>,
    deny: Vec<IpNetwork>,
    allow_loopback: bool,
    forbidden: ArcSwap<Vec<SocketAddr>>,
    /// Nothing is held back.
    open: bool,
}

/// Why an address is not connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    Unspecified,
    Multicast,
    Broadcast,
    Metadata,
    LinkLocal,
    /// One of this server's own listeners, or its database.
    OwnListener,
    /// In this one of `deny_networks`.
    DeniedNetwork(IpNetwork),
    Loopback,
    /// `allow_networks` is set and no entry holds the address.
    NotAllowed,
    /// The same two, by the lists of the ACME directory.
    DeniedByDirectory(IpNetwork),
    NotAllowedByDirectory,
}

/// Addresses where clouds hand machine credentials to whoever connects from the machine.
const METADATA: [IpAddr; 8] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), // AWS, Azure, GCP, OpenStack, Oracle, …
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),   // AWS ECS
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),   // Azure wire server
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), // Alibaba
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),     // Oracle, classic
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), // AWS
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)), // GCP
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)), // Scaleway
];

impl Guard {
    pub fn new(config: &ValidationConfig, forbidden_listeners: Vec<SocketAddr>) -> Self {
        Guard {
            allow: config.allow_networks.clone(),
            deny: config.deny_networks.clone(),
            allow_loopback: config.allow_loopback,
            forbidden: ArcSwap::from_pointee(forbidden_listeners),
            open: false,
        }
    }

    /// Lets every connection through. For tests alone, which count what the guard otherwise holds back;
    /// tests/house.rs sees to it that nothing in src/ calls it.
    pub fn open() -> Self {
        Guard { open: true, ..Guard::new(&ValidationConfig::default(), Vec::new()) }
    }

    /// Takes effect with the next address that is checked.
    pub fn set_forbidden(&self, listeners: Vec<SocketAddr>) {
        self.forbidden.store(Arc::new(listeners));
    }

    /// May a connection go to this address and port? Called for every address of every hop, before it is dialled.
    pub fn check(&self, target: SocketAddr) -> Result<(), Denial> {
        if self.open {
            return Ok(());
        }
        let address = target.ip();
        for form in forms(address) {
            if let Some(denial) = always_denied(form) {
                return Err(denial);
            }
            if planted!("own-listener-is-dialled", false, self.is_own(form, target.port())) {
                return Err(Denial::OwnListener);
            }
            if let Some(network) = self.deny.iter().find(|n| n.contains(form)) {
                return Err(Denial::DeniedNetwork(*network));
            }
            if planted!("loopback-is-dialled", false, form.is_loopback() && !self.allow_loopback) {
                return Err(Denial::Loopback);
            }
        }
        if self.allow.is_empty() || forms(address).any(|form| self.allow.iter().any(|n| n.contains(form))) {
            Ok(())
        } else {
            Err(Denial::NotAllowed)
        }
    }

    /// A listener's port on its own address, or on any address of this machine: a listener on one interface is
    /// reached through others, and a database on loopback through a forwarder.
    fn is_own(&self, address: IpAddr, port: u16) -> bool {
        let forbidden = self.forbidden.load();
        let mut same_port = forbidden.iter().filter(|f| f.port() == port).peekable();
        if same_port.peek().is_none() {
            return false;
        }
        same_port.any(|f| forms(f.ip()).any(|form| form == address)) || is_local(address)
    }
}

fn always_denied(address: IpAddr) -> Option<Denial> {
    if planted!("metadata-service-is-dialled", false, METADATA.contains(&address)) {
        return Some(Denial::Metadata);
    }
    match address {
        // the whole of 0.0.0.0/8 is "this host on this network" (RFC 1122 §3.2.1.3)
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some(Denial::Unspecified),
        IpAddr::V4(v4) if v4.is_multicast() => Some(Denial::Multicast),
        IpAddr::V4(v4) if v4.is_broadcast() => Some(Denial::Broadcast),
        IpAddr::V4(v4) if v4.is_link_local() => Some(Denial::LinkLocal),
        IpAddr::V6(v6) if v6.is_unspecified() => Some(Denial::Unspecified),
        IpAddr::V6(v6) if v6.is_multicast() => Some(Denial::Multicast),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(Denial::LinkLocal),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// Only an address of this machine can be bound. No packet is sent. Any other failure counts as local, so that a
/// machine without file descriptors denies rather than allows.
fn is_local(address: IpAddr) -> bool {
    address.is_loopback()
        || match UdpSocket::bind(SocketAddr::new(address, 0)) {
            Ok(_) => true,
            Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable,
        }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denial::Unspecified => f.write_str("it is the unspecified address"),
            Denial::Multicast => f.write_str("it is a multicast address"),
            Denial::Broadcast => f.write_str("it is the broadcast address"),
            Denial::Metadata => f.write_str("it is a cloud metadata address"),
            Denial::LinkLocal => f.write_str("it is a link-local address"),
            Denial::OwnListener => f.write_str("it is a listener of this CA server or its database"),
            Denial::DeniedNetwork(network) => write!(f, "it is in {network} of acme.deny_networks"),
            Denial::Loopback => f.write_str("it is a loopback address and acme.allow_loopback is off"),
            Denial::NotAllowed => f.write_str("it is in none of acme.allow_networks"),
            Denial::DeniedByDirectory(network) => {
                write!(f, "it is in {network} of the ACME directory's deny_networks")
            }
            Denial::NotAllowedByDirectory => f.write_str("it is in none of the ACME directory's allow_networks"),
        }
    }
}
