//! Proving control over names for ACME (RFC 8555 §8). A method is one file with one `prove`, given an [`Attempt`]
//! that resolves, checks and dials for it: to add one, write the file, then a variant of [`Method`].
//! Nothing connects anywhere except through `Attempt::connect`, which asks `guard` about the address that it dials.

mod acme_certificate;
mod attempt;
mod bounded;
mod caa;
mod claim;
pub mod config;
mod dns01;
mod dns_account01;
mod dns_persist01;
pub mod download;
pub mod error;
pub mod guard;
mod http01;
mod issue_value;
mod key_authorization;
mod limits;
mod redirect;
pub mod resolver;
mod rules;
mod tls;
mod tls_alpn01;

use std::net::SocketAddr;
use std::sync::Arc;

pub use self::attempt::{Outcome, Step, StepKind};
pub use self::caa::CaaMode;
pub use self::claim::Claim;
pub use self::config::ValidationConfig;
pub use self::error::ValidationError;
pub use self::key_authorization::{check_token, key_authorization};
pub use self::rules::Rules;

use self::attempt::Attempt;
use self::guard::Guard;
use self::limits::Limits;
use self::resolver::{DnsFailure, Resolver};
use crate::clock::Clock;
use crate::error::Result;
use crate::model::identifier::{DnsName, Identifier};

/// How control is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Http01,
    Dns01,
    TlsAlpn01,
    DnsAccount01,
    DnsPersist01,
}

impl Method {
    pub const ALL: [Method; 5] =
        [Method::Http01, Method::Dns01, Method::TlsAlpn01, Method::DnsAccount01, Method::DnsPersist01];

    pub const fn name(self) -> &'static str {
        match self {
            Method::Http01 => "http-01",
            Method::Dns01 => "dns-01",
            Method::TlsAlpn01 => "tls-alpn-01",
            Method::DnsAccount01 => "dns-account-01",
            Method::DnsPersist01 => "dns-persist-01",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Method::ALL.into_iter().find(|m| m.name() == name)
    }

    /// Can it prove control over this name (RFC 8555 §7.1.3, §8; RFC 8737 §3; RFC 8738 §7)?
    pub fn fits(self, name: &Identifier) -> bool {
        match (self, name) {
            (Method::Http01 | Method::TlsAlpn01, Identifier::Dns(dns)) => !dns.is_wildcard(),
            (Method::Http01 | Method::TlsAlpn01, Identifier::Ip(_)) => true,
            (Method::Dns01 | Method::DnsAccount01 | Method::DnsPersist01, Identifier::Dns(_)) => true,
            (Method::Dns01 | Method::DnsAccount01 | Method::DnsPersist01, Identifier::Ip(_)) => false,
            (_, Identifier::Email(_) | Identifier::Uri(_)) => false,
        }
    }

    /// dns-persist-01 is proved by a record that stays: its challenges have no token.
    pub fn has_token(self) -> bool {
        self != Method::DnsPersist01
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
    /// For tls-alpn-01.
    alpn: Arc<rustls::ClientConfig>,
}

impl Validator {
    /// `forbidden_listeners`: the bound addresses of our own listeners, and the database when it is reached by TCP.
    /// Each is denied on its own address, and its port on every address of this machine.
    pub fn new(
        config: ValidationConfig,
        forbidden_listeners: Vec<SocketAddr>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let guard = Guard::new(&config, forbidden_listeners);
        Validator::with_guard(config, guard, clock)
    }

    /// The same behind another guard: tests take one that lets everything through, to see what ours holds back.
    pub fn with_guard(config: ValidationConfig, guard: Guard, clock: Arc<dyn Clock>) -> Result<Self> {
        config.check()?;
        Ok(Validator {
            guard,
            resolver: Resolver::new(&config),
            limits: Limits::new(&config.concurrency),
            tls: tls::for_redirects()?,
            alpn: tls::for_tls_alpn()?,
            clock,
            config,
        })
    }

    /// For a server that learns its ports after this was built. Holds from the next connection on.
    pub fn set_forbidden_listeners(&self, listeners: Vec<SocketAddr>) {
        self.guard.set_forbidden(listeners);
    }

    /// One attempt, and CAA behind it if the rules want it. Ends within `queue` + `total` of the configured timeouts;
    /// dropping the future closes every connection of the attempt.
    pub async fn prove(&self, method: Method, rules: &Rules, claim: &Claim<'_>) -> Outcome {
        let mut attempt = match Attempt::begin(self, rules).await {
            Ok(attempt) => attempt,
            Err(busy) => return busy,
        };
        let proved = match method {
            Method::Http01 => http01::prove(&mut attempt, claim).await,
            Method::Dns01 => dns01::prove(&mut attempt, claim).await,
            Method::TlsAlpn01 => tls_alpn01::prove(&mut attempt, claim).await,
            Method::DnsAccount01 => dns_account01::prove(&mut attempt, claim).await,
            Method::DnsPersist01 => dns_persist01::prove(&mut attempt, claim).await,
        };
        let result = match proved {
            Ok(()) => permitted(&mut attempt, claim.name, claim.account_url, method.name()).await,
            failed => failed,
        };
        attempt.end(result)
    }

    /// Does DNS know this name or one above it, so that records could be added? The nearest one stands in the timeline.
    pub async fn known(&self, rules: &Rules, name: &DnsName) -> Outcome {
        let mut attempt = match Attempt::begin(self, rules).await {
            Ok(attempt) => attempt,
            Err(busy) => return busy,
        };
        let mut result = Err(ValidationError::Dns { host: name.base().to_owned(), failure: DnsFailure::NxDomain });
        let above = std::iter::successors(Some(name.base()), |at| at.split_once('.').map(|(_, rest)| rest));
        for place in above {
            match attempt.exists(place).await {
                Ok(true) => {
                    result = Ok(());
                    break;
                }
                Ok(false) => {}
                Err(failure) => {
                    result = Err(failure);
                    break;
                }
            }
        }
        attempt.end_saying(attempt::KNOWN, result)
    }

    /// CAA alone, for a name that was proved some time ago by `method`, or by a grant. Proves nothing.
    pub async fn caa(&self, rules: &Rules, name: &Identifier, account_url: &str, method: &str) -> Outcome {
        let mut attempt = match Attempt::begin(self, rules).await {
            Ok(attempt) => attempt,
            Err(busy) => return busy,
        };
        let result = permitted(&mut attempt, name, account_url, method).await;
        attempt.end_saying(attempt::PERMITTED, result)
    }
}

async fn permitted(
    attempt: &mut Attempt<'_>,
    name: &Identifier,
    account_url: &str,
    method: &str,
) -> std::result::Result<(), ValidationError> {
    let mode = attempt.rules.caa;
    if mode == CaaMode::Off {
        return Ok(());
    }
    let applicant = caa::Applicant { identities: &attempt.rules.identities, account_url, method };
    match (caa::check(attempt, name, &applicant).await, mode) {
        (Err(refusal), CaaMode::Off | CaaMode::Log) => {
            attempt.note(StepKind::Caa, "it would be refused; CAA is only logged in this directory".to_owned());
            tracing::warn!(%name, reason = %refusal, "CAA would refuse a name; the directory only logs it");
            metrics::counter!("chancery_acme_caa_total", "outcome" => "logged").increment(1);
            Ok(())
        }
        (Err(refusal), CaaMode::Enforce) => {
            metrics::counter!("chancery_acme_caa_total", "outcome" => "refused").increment(1);
            Err(refusal)
        }
        (Ok(()), _) => {
            metrics::counter!("chancery_acme_caa_total", "outcome" => "permitted").increment(1);
            Ok(())
        }
    }
}
