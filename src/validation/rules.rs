//! What one directory changes in the settings for its own attempts. Ports and DNS servers take the place of the
//! settings' ones; networks only narrow them, so that whoever may change a directory cannot lead the CA server to
//! where its settings forbid.

use std::net::{IpAddr, SocketAddr};

use super::caa::CaaMode;
use super::config::ValidationConfig;
use super::guard::Denial;
use crate::model::network::{IpNetwork, forms};

/// Empty lists and `None` leave what the settings say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    pub http01_port: Option<u16>,
    pub tls_alpn01_port: Option<u16>,
    pub resolvers: Vec<SocketAddr>,
    /// Not empty: an address must be in one of these as well as in the settings' ones.
    pub allow_networks: Vec<IpNetwork>,
    /// Never connected to, beside those of the settings.
    pub deny_networks: Vec<IpNetwork>,
    /// The names by which zones mean this CA (RFC 8659 §4.2): lower case, without a dot at the end.
    pub identities: Vec<String>,
    pub caa: CaaMode,
}

/// The two ports that an attempt connects to, and that redirects may lead to beside 80 and 443.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    pub http01: u16,
    pub tls_alpn01: u16,
}

impl Rules {
    pub(super) fn ports(&self, config: &ValidationConfig) -> Ports {
        Ports {
            http01: self.http01_port.unwrap_or(config.http01_port),
            tls_alpn01: self.tls_alpn01_port.unwrap_or(config.tls_alpn01_port),
        }
    }

    /// Asked after the guard of the whole server, never in its place.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), Denial> {
        let held = |network: &&IpNetwork| forms(address).any(|form| network.contains(form));
        if let Some(network) = self.deny_networks.iter().find(held) {
            return Err(Denial::DeniedByDirectory(*network));
        }
        if self.allow_networks.is_empty() || self.allow_networks.iter().any(|n| held(&n)) {
            Ok(())
        } else {
            Err(Denial::NotAllowedByDirectory)
        }
    }
}
