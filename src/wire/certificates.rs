//! Certificates in JSON: the request to issue or sign, the record, the revocation, the filters of the list.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::clock::Timestamp;
use crate::model::certificate::ShownStatus;
use crate::model::reason::RevocationReason;
use crate::wire::hierarchy::IssuerDependents;

/// Give `csr` to have a key of yours signed, or `names` to get a key made by the server.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"names": ["db.lab.example", "10.0.0.7"], "profile": "tls-server", "ttl": "90d"}))]
pub struct IssueRequest {
    /// A certificate request (PKCS#10) in PEM, at most 32 KB. Its key and its names are used, nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csr: Option<String>,
    /// DNS names, addresses, mail addresses, URIs; at most 100. Instead of `csr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// The slug of a profile.
    pub profile: String,
    /// The slug of an issuer; the current one of the profile's domain when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// How long from now, such as `90d`, `1h30m` or `30s`, or until when; the profile's default when absent. The profile's
    /// backdate comes on top, as far as the profile's maximum leaves room for it. Not with `not_after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_before: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_after: Option<Timestamp>,
    /// The certificate that this one is issued in place of: its id, serial or SHA-256. The caller must be allowed to see it,
    /// and both must have a name in common. The new one is as long as the old one unless `ttl` or `not_after` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// The subject's common name, where the profile takes one; the same as `subject.common_name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// What the subject shall say, where the profile takes it as asked. Nothing of it is left out in silence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// The kind of a key made by the server: P-256 (default), P-384, P-521, Ed25519, RSA-2048, RSA-3072, RSA-4096.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Give key and chain as PKCS#12, in place of `private_key`. Not with `csr`, whose private key the server does not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkcs12: Option<Pkcs12Request>,
}

/// How key and chain are put into a PKCS#12 file.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"legacy": true}))]
pub struct Pkcs12Request {
    /// 1 to 200 printable ASCII characters; one is made and answered as `pkcs12_password` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Triple DES and SHA-1, for Windows Server 2016 and Java before 8u301, in place of AES-256 and SHA-256.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub legacy: bool,
}

impl std::fmt::Debug for Pkcs12Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pkcs12Request").field("legacy", &self.legacy).finish_non_exhaustive()
    }
}

/// The subject as asked; each attribute is issued as given or refused.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"common_name": "Build server", "organization": "Lab Ltd", "country": "AT", "state": "Wien"}))]
pub struct Subject {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organizational_unit: Option<String>,
    /// Two capital letters (ISO 3166).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
}

/// What would be issued.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct IssuePreview {
    pub dry_run: bool,
    pub names: Vec<String>,
    pub subject: String,
    #[schema(value_type = String, format = DateTime)]
    pub not_before: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub not_after: Timestamp,
    pub profile: String,
    /// The issuer that would sign it.
    pub issuer: String,
    pub key_algorithm: String,
    pub extensions: Vec<ExtensionPreview>,
}

/// One extension of a certificate that would be issued.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ExtensionPreview {
    /// Its name, or its dotted identifier.
    pub name: String,
    pub critical: bool,
    /// In words, or in hexadecimal.
    pub value: String,
}

/// A certificate.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "crt_01KAQ5V2X8J4M6N7P9R1S3T5V7", "serial": "4a3f1c0b9e8d7c6b5a4938271605f4e3d2c1b0a9", "status": "valid",
    "names": ["db.lab.example"], "subject": "CN=db.lab.example", "not_before": "2026-11-23T10:00:00Z",
    "not_after": "2027-02-21T09:59:59Z", "issuer": "tls-1", "profile": "tls-server", "key_algorithm": "P-256",
    "fingerprint": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "requester": "token:tok_01KAQ5V2X8J4M6N7P9R1S3T5V7/ci",
    "via": "rest", "issued_at": "2026-11-23T10:01:00Z", "certificate": "-----BEGIN CERTIFICATE-----\n…", "chain": "-----BEGIN CERTIFICATE-----\n…"
}))]
pub struct Certificate {
    pub id: String,
    /// Lower-case hex without separators.
    pub serial: String,
    /// Of the certificate itself; see `issuer_revocation`.
    #[schema(value_type = String, example = "valid")]
    pub status: ShownStatus,
    pub names: Vec<String>,
    /// RFC 4514.
    pub subject: String,
    #[schema(value_type = String, format = DateTime)]
    pub not_before: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub not_after: Timestamp,
    pub issuer: String,
    pub profile: String,
    pub key_algorithm: String,
    /// SHA-256 of the DER in hex; null before it is signed.
    pub fingerprint: Option<String>,
    pub requester: String,
    /// `rest`, `acme`, `cli` or `internal`.
    pub via: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub issued_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<Revocation>,
    /// A CA above it is revoked: verifiers that check every certificate of a chain refuse this one too, whatever its own
    /// `status` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_revocation: Option<IssuerRevocation>,
    /// The CA above it that was removed: clients do not trust what stands below it any more, whatever its own `status` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_removed: Option<String>,
    /// What an operator must still do so that clients learn of the revocation: the certificate was signed by a root, and
    /// only who has the root's key can sign its CRL. Not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_required: Option<String>,
    /// The leaf in PEM. Not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The intermediates in PEM, nearest first, without the root. Not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// What the CSR asked for and the certificate does not have: attributes of the subject, and extensions other than names.
    /// In the answer to the request alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// PKCS#8 in PEM of a key made by the server: this once, it is not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<String>,
    /// Where `pkcs12` was asked for: key and chain as PKCS#12 in base64, this once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkcs12: Option<String>,
    /// The password of `pkcs12`, where the request gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkcs12_password: Option<String>,
}

/// Which CA above a certificate is revoked, and since when.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct IssuerRevocation {
    /// The slug of the CA.
    pub issuer: String,
    #[schema(value_type = String, format = DateTime)]
    pub revoked_at: Timestamp,
    /// A CA elsewhere put it on hold and may take that back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_hold: bool,
}

/// When and why.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Revocation {
    #[schema(value_type = String, format = DateTime)]
    pub revoked_at: Timestamp,
    #[schema(value_type = String, example = "keyCompromise")]
    pub reason: RevocationReason,
    /// When the key is known or suspected to have been compromised (RFC 5280 §5.3.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub invalidity_date: Option<Timestamp>,
}

/// A reason of RFC 5280 §5.3.1; `unspecified` when absent.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "superseded"}))]
pub struct RevokeRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the key is known or suspected to have been compromised (RFC 5280 §5.3.2): a time up to the revocation, which
    /// CRLs give beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub invalidity_date: Option<Timestamp>,
    /// Needed for the certificate of an issuer: everything below it ends with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confirm: bool,
}

/// What would be revoked.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RevocationPreview {
    pub dry_run: bool,
    pub id: String,
    pub serial: String,
    pub names: Vec<String>,
    pub subject: String,
    #[schema(value_type = String, example = "superseded")]
    pub reason: RevocationReason,
    /// The reason that it is revoked for, which would be raised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "certificateHold")]
    pub raised_from: Option<RevocationReason>,
    /// The issuer whose certificate it is; absent for other certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revokes_issuer: Option<String>,
    /// What depends on that issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dependents: Option<IssuerDependents>,
}

/// Options of revoking.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RevokeQuery {
    /// Check everything, revoke nothing, and answer 200 with what would be revoked.
    #[serde(default)]
    pub dry_run: bool,
}

/// What the list is narrowed to; everything given must hold.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CertificateQuery {
    /// `valid`, `expired`, `revoked` or `intended`, of the certificate itself: one below a revoked issuer can be valid.
    pub status: Option<String>,
    /// The slug of a profile.
    pub profile: Option<String>,
    /// The slug of an issuer.
    pub issuer: Option<String>,
    /// The key identifier of the issuer that it names, in hex. The search reads every certificate that the other filters leave.
    pub authority_key_id: Option<String>,
    /// A serial number in hex, any usual spelling.
    pub serial: Option<String>,
    /// The SHA-256 of the DER in hex, any usual spelling.
    pub fingerprint: Option<String>,
    /// A name: exact, `*.example.org` (all below it) or `www*` (what begins so).
    pub name: Option<String>,
    /// A serial, a fingerprint or the beginning of a name. A short serial is looked for whole, and stands before the names.
    pub q: Option<String>,
    /// Expires before this time; a duration such as `30d` counts from now.
    pub expires_before: Option<String>,
    /// Exactly this requester, as a record prints it.
    pub requester: Option<String>,
    /// Items on a page: 1 to 500, 50 by default.
    #[param(minimum = 1, maximum = 500, default = 50)]
    pub limit: Option<u16>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Options of issuing.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct IssueQuery {
    /// Check everything, issue nothing, and answer 200 with what would be issued.
    #[serde(default)]
    pub dry_run: bool,
}
