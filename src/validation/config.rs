//! The `[acme]` settings that steer validation (design/surface.md), and limits that keep one attempt bounded.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::model::network::IpNetwork;

/// Where and how the CA server connects when it checks control over a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValidationConfig {
    /// RFC 8555 §8.3 says 80; another port proves less and is for test set-ups and closed networks.
    pub http01_port: u16,
    /// RFC 8737 says 443.
    pub tls_alpn01_port: u16,
    /// DNS servers as `IP:port`; empty means the system's `/etc/resolv.conf` and `/etc/hosts`.
    pub resolvers: Vec<SocketAddr>,
    /// Not empty: only addresses in these networks are connected to. Loopback needs `allow_loopback` as well.
    pub allow_networks: Vec<IpNetwork>,
    /// Never connected to, whatever `allow_networks` says.
    pub deny_networks: Vec<IpNetwork>,
    /// Connect to 127.0.0.0/8 and ::1, except to our own listeners and the database.
    pub allow_loopback: bool,
    /// Change the letter case of names in DNS questions at random, which makes answers harder to forge.
    pub random_case: bool,
    pub timeouts: Timeouts,
    pub concurrency: Concurrency,
}

impl Default for ValidationConfig {
    fn default() -> Self {
        ValidationConfig {
            http01_port: 80,
            tls_alpn01_port: 443,
            resolvers: Vec::new(),
            allow_networks: Vec::new(),
            deny_networks: Vec::new(),
            allow_loopback: false,
            random_case: true,
            timeouts: Timeouts::default(),
            concurrency: Concurrency::default(),
        }
    }
}

impl ValidationConfig {
    /// Refuses what could never work. `Validator::new` calls it.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::new(ErrorKind::Config, format!("acme: {what}")));
        if self.http01_port == 0 || self.tls_alpn01_port == 0 {
            return wrong("http01_port and tls_alpn01_port must be from 1 to 65535");
        }
        if self.resolvers.iter().any(|r| r.port() == 0 || r.ip().is_unspecified()) {
            return wrong("resolvers must be addresses with a port, such as 10.0.0.53:53");
        }
        let t = &self.timeouts;
        if [t.total, t.dial, t.resolve, t.queue].iter().any(Duration::is_zero) {
            return wrong("timeouts must be longer than zero");
        }
        if self.concurrency.global == 0 || self.concurrency.per_target == 0 {
            return wrong("concurrency must be at least 1");
        }
        Ok(())
    }
}

/// In TOML whole milliseconds: `total_ms`, `dial_ms`, `resolve_ms`, `queue_ms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// One attempt from first DNS query to last byte, redirects included.
    #[serde(rename = "total_ms", with = "millis")]
    pub total: Duration,
    /// One TCP connection.
    #[serde(rename = "dial_ms", with = "millis")]
    pub dial: Duration,
    /// All DNS queries for one name.
    #[serde(rename = "resolve_ms", with = "millis")]
    pub resolve: Duration,
    /// Waiting for a free place among `concurrency`, before `total` begins.
    #[serde(rename = "queue_ms", with = "millis")]
    pub queue: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            total: Duration::from_secs(10),
            dial: Duration::from_secs(5),
            resolve: Duration::from_secs(5),
            queue: Duration::from_secs(30),
        }
    }
}

/// How many attempts and connections may be open at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Concurrency {
    /// Attempts in this process.
    pub global: u32,
    /// Connections to one address, so that names of many accounts cannot aim at one machine.
    pub per_target: u32,
}

impl Default for Concurrency {
    fn default() -> Self {
        Concurrency { global: 128, per_target: 16 }
    }
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(duration: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        u64::deserialize(d).map(Duration::from_millis)
    }
}
