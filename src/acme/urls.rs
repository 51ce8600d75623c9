//! Every URL that we give out, on the configured external URL: never made from what a client sent (Host,
//! X-Forwarded-*).

use super::Acme;
use crate::model::id::{AccountId, AuthorizationId, CertificateId, ChallengeId, OrderId};

/// Makes the URLs of one directory.
#[derive(Debug, Clone)]
pub struct Urls(String);

impl Urls {
    pub fn new(acme: &Acme, directory: &str) -> Self {
        Urls(format!("{}/acme/{directory}", acme.external_url))
    }

    pub fn of(&self, path: &str) -> String {
        format!("{}/{path}", self.0)
    }

    pub fn account(&self, id: AccountId) -> String {
        self.of(&format!("account/{id}"))
    }

    pub fn order(&self, id: OrderId) -> String {
        self.of(&format!("order/{id}"))
    }

    pub fn authorization(&self, id: AuthorizationId) -> String {
        self.of(&format!("authorization/{id}"))
    }

    pub fn challenge(&self, id: ChallengeId) -> String {
        self.of(&format!("challenge/{id}"))
    }

    pub fn certificate(&self, id: CertificateId) -> String {
        self.of(&format!("certificate/{id}"))
    }

    /// The same certificate with another chain (RFC 8555 §7.4.2).
    pub fn chain(&self, id: CertificateId, name: &str) -> String {
        format!("{}/{name}", self.certificate(id))
    }
}

/// The id in a path; what does not parse is not found, exactly like what does not exist.
pub fn id<T: std::str::FromStr>(text: &str, what: &str) -> crate::error::Result<T> {
    text.parse().map_err(|_| crate::error::Error::not_found(what))
}
