//! The objects of RFC 8555 §7.1 with their states and legal moves. A state that time alone changes (an order
//! that expired) is not stored: `shown_status` reads state and clock together.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::id::{AccountId, AuthorizationId, CertificateId, ChallengeId, EabKeyId, GrantId, OrderId};
use super::identifier::Identifier;
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// An enum whose variants have one word each, in SQL and on the wire.
macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($variant:ident $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($variant,)+ }

        impl $name {
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }

            pub fn from_name(name: &str) -> Result<Self> {
                match name {
                    $($word => Ok($name::$variant),)+
                    other => Err(Error::inconsistent(format!(concat!("\"{}\" is no ", stringify!($name)), other))),
                }
            }
        }
    };
}

states! { AccountStatus { Valid "valid", Deactivated "deactivated", Revoked "revoked", } }
states! {
    /// pending → ready → processing → valid; all but valid may become invalid, which is final.
    OrderStatus { Pending "pending", Ready "ready", Processing "processing", Valid "valid", Invalid "invalid", }
}
states! {
    /// pending → valid | invalid | deactivated; valid → deactivated | expired | revoked.
    AuthorizationStatus {
        Pending "pending", Valid "valid", Invalid "invalid", Deactivated "deactivated", Expired "expired",
        Revoked "revoked",
    }
}
states! {
    /// pending → processing → valid | invalid.
    ChallengeStatus { Pending "pending", Processing "processing", Valid "valid", Invalid "invalid", }
}

/// The public key of an account in the three forms that are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountKey {
    /// Canonical JWK (RFC 7638 §3.2).
    pub jwk: String,
    pub thumbprint: [u8; 32],
    /// SubjectPublicKeyInfo in DER.
    pub public_key: Vec<u8>,
}

impl AccountKey {
    /// `EC P-256`, `RSA`.
    pub fn kind(&self) -> String {
        let value: Value = serde_json::from_str(&self.jwk).unwrap_or_default();
        let text = |member: &str| value[member].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text("kty"), text("crv")).trim().to_owned()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub id: AccountId,
    /// The directory's slug.
    pub directory: String,
    pub status: AccountStatus,
    pub key: AccountKey,
    /// `mailto:` URLs.
    pub contact: Vec<String>,
    /// Fixed when the account was made: it is the `kid` for ever.
    pub url: String,
    pub terms_agreed: bool,
    /// The terms of service that it agreed to last; unknown for accounts made before this was kept.
    pub terms_url: Option<String>,
    /// What it acts under: the grant of its external account key, or one that an operator gave it.
    pub grant: Option<GrantId>,
    /// What it was registered with, if the external account key of somebody.
    pub binding: Option<Binding>,
    pub created_at: Timestamp,
    /// The address that it was made from.
    pub created_from: String,
}

/// An external account binding (RFC 8555 §7.3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub key: EabKeyId,
    /// The JWS exactly as it came, which the account object shows for ever.
    pub shown: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    pub id: OrderId,
    pub account_id: AccountId,
    pub directory: String,
    pub status: OrderStatus,
    pub identifiers: Vec<Identifier>,
    pub profile: String,
    pub not_before: Option<Timestamp>,
    pub not_after: Option<Timestamp>,
    /// A problem document.
    pub error: Option<Value>,
    pub certificate_id: Option<CertificateId>,
    /// The renewal identifier of the certificate that it replaces (RFC 9773 §5).
    pub replaces: Option<String>,
    pub expires_at: Timestamp,
    pub created_at: Timestamp,
}

impl Order {
    /// An order that ran out before it was finalized is invalid.
    pub fn shown_status(&self, now: Timestamp) -> OrderStatus {
        match self.status {
            OrderStatus::Pending | OrderStatus::Ready if self.expires_at <= now => OrderStatus::Invalid,
            status => status,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Authorization {
    pub id: AuthorizationId,
    pub account_id: AccountId,
    /// The order that it was made for; none made it ahead of any (RFC 8555 §7.4.1).
    pub order_id: Option<OrderId>,
    /// Its place in that order, which never changes.
    pub position: i64,
    pub status: AuthorizationStatus,
    pub identifier: Identifier,
    pub wildcard: bool,
    /// It covers the names below its own too (RFC 9444 §4.1).
    pub subdomains: bool,
    pub expires_at: Timestamp,
    pub created_at: Timestamp,
}

impl Authorization {
    /// Does a proof of this one stand for `name`? A wildcard is proved by its own kind alone (RFC 9444 §4.1 leaves it
    /// apart).
    pub fn covers(&self, name: &Identifier) -> bool {
        match (&self.identifier, name) {
            (Identifier::Dns(own), Identifier::Dns(asked)) if asked.is_wildcard() => {
                self.wildcard && own.as_str() == asked.base()
            }
            (Identifier::Dns(own), Identifier::Dns(asked)) if !self.wildcard => {
                own == asked || (self.subdomains && asked.is_within(own.as_str()))
            }
            (own, asked) => !self.wildcard && own == asked,
        }
    }

    /// What it is about, the wildcard label included (RFC 8555 §7.1.4 leaves it out of `identifier`).
    pub fn name(&self) -> Result<Identifier> {
        match &self.identifier {
            Identifier::Dns(base) if self.wildcard => Identifier::dns(&format!("*.{base}")),
            name => Ok(name.clone()),
        }
    }

    pub fn shown_status(&self, now: Timestamp) -> AuthorizationStatus {
        match self.status {
            AuthorizationStatus::Pending if self.expires_at <= now => AuthorizationStatus::Invalid,
            AuthorizationStatus::Valid if self.expires_at <= now => AuthorizationStatus::Expired,
            status => status,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Challenge {
    pub id: ChallengeId,
    pub authorization_id: AuthorizationId,
    /// `http-01`, `dns-01`, or `GRANTED`.
    pub kind: String,
    pub token: String,
    pub status: ChallengeStatus,
    pub validated_at: Option<Timestamp>,
    /// A problem document.
    pub error: Option<Value>,
}

/// The challenge of a name that the account's grant allows: valid from the beginning, and nobody proved anything,
/// so that it entitles to no one else's certificates.
pub const GRANTED: &str = "chancery-grant-01";

/// What the validation job carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidateChallenge {
    pub challenge: ChallengeId,
}

impl ValidateChallenge {
    pub const KIND: &'static str = "acme.validate";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_one_word() {
        for word in ["pending", "ready", "processing", "valid", "invalid"] {
            assert_eq!(OrderStatus::from_name(word).unwrap().name(), word);
        }
        assert!(OrderStatus::from_name("Valid").is_err());
        assert!(ChallengeStatus::from_name("ready").is_err());
    }
}
