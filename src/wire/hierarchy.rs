//! Domains, issuers and profiles in JSON.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::clock::Timestamp;

/// A trust domain.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Domain {
    pub id: String,
    pub slug: String,
    pub name: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Its roots in PEM.
    pub bundle: String,
}

/// A certification authority: a name and a key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Issuer {
    pub id: String,
    pub slug: String,
    pub domain: String,
    pub name: String,
    /// `root` or `issuing`.
    pub role: String,
    /// `active` or `retired`.
    pub status: String,
    pub key_algorithm: String,
    /// Can this replica sign by it now? A root never in `serve`.
    pub can_sign: bool,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_before: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_after: Option<Timestamp>,
    pub crl_url: String,
    pub ocsp_url: String,
    /// Its own certificate in PEM.
    pub certificate: String,
    /// The intermediates above what it signs, itself first, without the root, in PEM.
    pub chain: String,
}

/// Issuance rules.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Profile {
    pub slug: String,
    pub revision: i64,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// The rules as they are configured.
    #[schema(value_type = Object)]
    pub rules: Value,
}
