//! Domains, issuers and profiles in JSON.

use serde::{Deserialize, Deserializer, Serialize};
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
    /// CA certificates of others that it knows.
    pub anchors: Vec<Anchor>,
    /// Slugs of its issuers, roots among them.
    pub issuers: Vec<String>,
    /// The slug of the issuer that signs when a request names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_issuer: Option<String>,
    /// Slugs of its profiles.
    pub profiles: Vec<String>,
}

/// A CA certificate of others: above an issuer, or a root that clients trust.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Anchor {
    pub name: String,
    pub sha256: String,
    /// `home` (the root of a domain without an own one), `added` (by an operator), `kept` (from before such a choice was
    /// recorded) or `chain` (above a cross-certificate).
    pub standing: String,
    /// Is in the bundle: clients trust what it signs.
    pub trusted: bool,
    #[schema(value_type = String, format = DateTime)]
    pub not_after: Timestamp,
}

/// Another way up from an issuer: a cross-certificate, or an older certificate.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AlternateChain {
    /// The name of the root that it leads to.
    pub root: String,
    /// When the first of its certificates expires; it is left out a week before.
    #[schema(value_type = String, format = DateTime)]
    pub not_after: Timestamp,
    /// The intermediates in PEM, without the root.
    pub certificates: String,
}

/// A new issuer: with a trust domain and a root of its own, or below an issuer that is there.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"domain": "etcd"}))]
pub struct IssuerRequest {
    /// `mtls`, `kubernetes`, `etcd`, `front-proxy`, `code-signing`, `timestamping`, `smime`, `dev` or a name of your own.
    pub domain: String,
    /// A further root of a domain that is there, prepared: it stands in the bundle and signs for nobody until it is
    /// activated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub new_root: bool,
    /// The issuer that signs it; the domain's root when absent. Not for a new domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<String>,
    /// `P-256`, `P-384`, `P-521`, `Ed25519`, `RSA-2048`, `RSA-3072` or `RSA-4096`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Extended key usages such as `serverAuth`; those of the domain when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usages: Vec<String>,
    /// The only names that may stand below it: `example.org` (it and all below), `10.0.0.0/8`, `@example.org`
    /// (mailboxes), `spiffe://example.org` (URIs of that host). A form without a permitted name is excluded. With neither
    /// `permit` nor `exclude` an issuer takes the constraints that all other issuers of its domain have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permit: Vec<String>,
    /// Names that may not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// An issuer without the constraints that the other issuers of its domain have.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unconstrained: bool,
    /// How long it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 25)]
    pub years: Option<u32>,
    /// Base of its CRL, OCSP and issuer pointers; that of the newest issuer when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_url: Option<String>,
    /// How long a CRL of the new issuer is valid, 1h to 365d; a new one comes after a quarter of it, and at least every week.
    /// 24h when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl_lifetime: Option<String>,
    /// How long an OCSP answer is valid, 15m to 30d; 12h when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp_lifetime: Option<String>,
}

/// A change to an issuer.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"ocsp_signer": "issuer"}))]
pub struct IssuerChange {
    /// Who signs its OCSP answers: `delegate`, which goes on while the server is locked, or `issuer`, its own key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp_signer: Option<String>,
    /// How long its CRLs are valid, 1h to 365d; a new one comes after a quarter of it, and at least every week. Null goes back
    /// to the default, 24h. Not for a root, whose CRLs are signed for all of its life.
    #[serde(default, deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub crl_lifetime: Option<Option<String>>,
    /// How long its OCSP answers are valid, 15m to 30d. Null goes back to the default, 12h.
    #[serde(default, deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ocsp_lifetime: Option<Option<String>>,
}

/// A member that is there, null included (RFC 7396).
fn said<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(d).map(Some)
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
    /// `active` or `retired`, for clients that know no `state`.
    pub status: String,
    /// `prepared`, `active`, `retiring`, `removed` or `revoked`.
    pub state: String,
    /// With `revoked`: a CA elsewhere put its certificate on hold and may take that back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_hold: bool,
    /// Why nothing is signed with it now, whichever replica is asked; absent while it signs certificates for clients, or as
    /// a root CA certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signs_not: Option<String>,
    /// Signs for its domain now when a request names no issuer and the names fit it.
    pub is_default: bool,
    /// The names that it may sign, of the forms that a CA of its path restricts; absent when none is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permitted_names: Vec<String>,
    pub key_algorithm: String,
    /// Is its key loaded in the process that answers? That of a root never is in `serve`. Whether it may sign is another
    /// matter: `state` and `signs_not`.
    pub can_sign: bool,
    /// Its key was taken out of the database by `chancery ca root offline`; only its file brings it back.
    #[serde(default)]
    pub key_offline: bool,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_before: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_after: Option<Timestamp>,
    pub crl_url: String,
    pub ocsp_url: String,
    /// Who signs its OCSP answers: `delegate` or `issuer`.
    pub ocsp_signer: String,
    /// How long its CRLs are valid; absent for a root, whose CRLs are signed for all of its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl_lifetime: Option<String>,
    /// How long its OCSP answers are valid.
    #[serde(default)]
    pub ocsp_lifetime: String,
    /// SHA-256 of its own certificate in hex: of a root, what `chancery bootstrap --fingerprint` compares.
    #[serde(default)]
    pub sha256: String,
    /// Its own certificate in PEM.
    pub certificate: String,
    /// The intermediates above what it signs, itself first, without the root, in PEM.
    pub chain: String,
    /// Other ways up, such as cross-certificates; ACME serves them as `alternate` links.
    pub chains: Vec<AlternateChain>,
}

/// What an issuer is to do from now on.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"state": "retiring", "confirm": true}))]
pub struct IssuerStateRequest {
    /// `active`, `retiring` or `removed`. `retiring` brings a removed CA back; one that was prepared is prepared again. An
    /// issuer that was prepared, or was the default before it was retired, is the default of its domain once it is active.
    pub state: String,
    /// With `active`: make it the default of its domain, which signs where a request names no issuer.
    #[serde(default)]
    pub default: bool,
    /// Needed where something depends on the issuer that no other takes over (`dependents`).
    #[serde(default)]
    pub confirm: bool,
}

/// What depends on an issuer or a root.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct IssuerDependents {
    /// The issuer and everything below it.
    pub issuers: Vec<String>,
    /// Profiles that nobody would sign for without it.
    pub profiles: Vec<String>,
    /// ACME directories that would have no issuer for one of their profiles.
    pub acme_directories: Vec<String>,
    pub valid_certificates: i64,
    /// The server's own TLS certificate stands under it.
    pub own_certificate: bool,
    /// The issuer that signs for the server's own names instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_successor: Option<String>,
    /// The issuer that signs for the domain instead, where it may sign the names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
    /// Issuers below a root that go on signing while the root is only retiring.
    pub signing_on: Vec<String>,
    /// The states to which it changes only with `confirm`; `revoked` is the revocation of its certificate.
    pub confirm_for: Vec<String>,
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
