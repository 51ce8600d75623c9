//! Domains and issuers. An issuer is a name and a key with one or more certificates; its slug and its status URL
//! are fixed at creation, because issued certificates point there.

use serde::{Deserialize, Serialize};

use super::id::{CertificateId, DomainId, IssuerCertificateId, IssuerId, KeyId};
use crate::clock::Timestamp;

/// A trust domain: its roots, issuers and bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    pub id: DomainId,
    pub slug: String,
    pub name: String,
    pub created_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    pub id: IssuerId,
    pub slug: String,
    pub domain: String,
    pub name: String,
    pub role: IssuerRole,
    pub key_id: KeyId,
    pub parent_id: Option<IssuerId>,
    pub status: IssuerStatus,
    /// Base of the CRL, OCSP and issuer pointers, without a slash at its end.
    pub status_url: String,
    pub crl_counter: i64,
    pub crl_dirty: bool,
    pub created_at: Timestamp,
}

impl Issuer {
    pub fn crl_url(&self) -> String {
        format!("{}/crl/{}.crl", self.status_url, self.slug)
    }

    pub fn ocsp_url(&self) -> String {
        format!("{}/ocsp/{}", self.status_url, self.slug)
    }

    /// Where the issuer's own certificate lies in DER (AIA caIssuers).
    pub fn certificate_url(&self) -> String {
        format!("{}/issuers/{}.der", self.status_url, self.slug)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IssuerRole {
    Root,
    Issuing,
}

impl IssuerRole {
    pub const fn name(self) -> &'static str {
        match self {
            IssuerRole::Root => "root",
            IssuerRole::Issuing => "issuing",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [IssuerRole::Root, IssuerRole::Issuing].into_iter().find(|r| r.name() == name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IssuerStatus {
    Active,
    /// Signs no certificate any more and publishes until its last one ends.
    Retired,
}

impl IssuerStatus {
    pub const fn name(self) -> &'static str {
        match self {
            IssuerStatus::Active => "active",
            IssuerStatus::Retired => "retired",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [IssuerStatus::Active, IssuerStatus::Retired].into_iter().find(|r| r.name() == name)
    }
}

/// One certificate of an issuer's name and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerCertificate {
    pub id: IssuerCertificateId,
    pub issuer_id: IssuerId,
    /// None when another CA made it.
    pub certificate_id: Option<CertificateId>,
    pub der: Vec<u8>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    pub created_at: Timestamp,
}

/// A delegated OCSP responder of one issuer: its key row and certificate (RFC 6960 §4.2.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Responder {
    pub id: IssuerCertificateId,
    pub issuer_id: IssuerId,
    pub key_id: KeyId,
    pub certificate_id: CertificateId,
    pub der: Vec<u8>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    pub created_at: Timestamp,
}

/// A CA certificate of others above an issuer of ours. A root belongs to the bundle of its domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    pub domain: String,
    pub der: Vec<u8>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// A key that waits for its certificate from a CA elsewhere (`ca csr`, `ca install`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerRequest {
    /// Of the issuer that it will be.
    pub id: IssuerId,
    pub slug: String,
    pub domain: String,
    pub key_id: KeyId,
    pub status_url: String,
    pub csr: Vec<u8>,
    pub created_at: Timestamp,
}
