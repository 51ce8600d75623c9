//! Proving control over names for ACME (RFC 8555 §8). A method is one file with one `prove`, given an [`Attempt`]
//! that resolves, checks and dials for it: to add one, write the file, then a variant of [`Method`].
//! Nothing connects anywhere except through `Attempt::connect`, which asks `guard` about the address that it dials.

mod attempt;
pub mod config;
mod dns01;
pub mod error;
pub mod guard;
mod http01;
mod key_authorization;
mod limits;
mod redirect;
pub mod resolver;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

pub use self::attempt::{Outcome, Step, StepKind};
pub use self::config::ValidationConfig;
pub use self::error::ValidationError;
pub use self::key_authorization::{check_token, key_authorization};

use self::attempt::Attempt;
use self::guard::Guard;
use self::limits::Limits;
use self::resolver::Resolver;
use crate::clock::Clock;
use crate::error::Result;
use crate::model::identifier::Identifier;

/// How control is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Http01,
    Dns01,
}

impl Method {
    pub const fn name(self) -> &'static str {
        match self {
            Method::Http01 => "http-01",
            Method::Dns01 => "dns-01",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Method::Http01, Method::Dns01].into_iter().find(|m| m.name() == name)
    }
}

/// Runs attempts. One per process and configuration; methods take `&self` and may run side by side.
#[derive(Debug)]
pub struct Validator {
    config: ValidationConfig,
    clock: Arc<dyn Clock>,
    guard: Guard,
    resolver: Resolver,
    limits: Limits,
    /// For redirects to https.
    tls: Arc<rustls::ClientConfig>,
}

impl Validator {
    /// `forbidden_listeners`: the bound addresses of our own listeners, and the database when it is reached by TCP.
    /// Each is denied on its own address, and its port on every address of this machine.
    pub fn new(
        config: ValidationConfig,
        forbidden_listeners: Vec<SocketAddr>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        config.check()?;
        Ok(Validator {
            guard: Guard::new(&config, forbidden_listeners),
            resolver: Resolver::new(&config),
            limits: Limits::new(&config.concurrency),
            tls: tls::unverified()?,
            clock,
            config,
        })
    }

    /// For a server that learns its ports after this was built. Holds from the next connection on.
    pub fn set_forbidden_listeners(&self, listeners: Vec<SocketAddr>) {
        self.guard.set_forbidden(listeners);
    }

    /// http-01 (RFC 8555 §8.3; addresses RFC 8738). Ends within `queue` + `total` of the configured timeouts;
    /// dropping the future closes every connection of the attempt.
    pub async fn http01(&self, identifier: &Identifier, token: &str, key_authorization: &str) -> Outcome {
        self.prove(Method::Http01, &[], identifier, token, key_authorization).await
    }

    /// Any method, asking these DNS servers; those of the settings when there are none.
    pub async fn prove(
        &self,
        method: Method,
        servers: &[SocketAddr],
        identifier: &Identifier,
        token: &str,
        key_authorization: &str,
    ) -> Outcome {
        let resolver = if servers.is_empty() { self.resolver.clone() } else { self.resolver.asking(servers) };
        let mut attempt = match Attempt::begin(self, resolver).await {
            Ok(attempt) => attempt,
            Err(busy) => return busy,
        };
        let result = match method {
            Method::Http01 => http01::prove(&mut attempt, identifier, token, key_authorization).await,
            Method::Dns01 => dns01::prove(&mut attempt, identifier, token, key_authorization).await,
        };
        attempt.end(result)
    }
}
