//! A certificate as a row: everything that a list shows without reading its DER.

use serde::{Deserialize, Serialize};

use super::id::{AccountId, CertificateId, IssuerId, OrderId, ReplicaId};
use super::identifier::Identifier;
use super::reason::RevocationReason;
use super::serial::SerialNumber;
use super::validity::Validity;
use crate::clock::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    pub id: CertificateId,
    pub serial: SerialNumber,
    pub issuer_id: IssuerId,
    /// The issuer's slug.
    pub issuer: String,
    pub profile: String,
    pub profile_revision: i64,
    pub status: CertificateStatus,
    /// RFC 4514.
    pub subject: String,
    pub names: Vec<Identifier>,
    pub validity: Validity,
    pub spki_sha256: [u8; 32],
    /// SHA-256 of the DER; none before it is sealed.
    pub fingerprint: Option<[u8; 32]>,
    pub key_algorithm: String,
    pub via: String,
    pub requester: String,
    pub account_id: Option<AccountId>,
    pub order_id: Option<OrderId>,
    pub replica_id: ReplicaId,
    pub intended_at: Timestamp,
    pub issued_at: Option<Timestamp>,
}

impl Certificate {
    /// What stands as the profile of CA certificates and of OCSP delegates.
    pub const HIERARCHY_PROFILES: [&'static str; 3] = ["root", "issuing", "ocsp"];

    /// What stands as the profile of certificates that a CA issued before it came here.
    pub const IMPORTED_PROFILE: &'static str = "imported";

    /// Does it belong to the hierarchy itself: a CA certificate of this installation, or an OCSP delegate?
    pub fn is_of_hierarchy(&self) -> bool {
        self.via == "internal" && Certificate::HIERARCHY_PROFILES.contains(&self.profile.as_str())
    }
}

/// intended → valid → revoked; expired follows from the clock. A revoked intent has no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateStatus {
    /// On disk, perhaps signed, never given to anybody.
    Intended,
    Valid,
    Revoked {
        at: Timestamp,
        reason: RevocationReason,
        /// When the key is known or suspected to have been compromised.
        invalidity_date: Option<Timestamp>,
    },
}

impl CertificateStatus {
    /// The word in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            CertificateStatus::Intended => "intended",
            CertificateStatus::Valid => "valid",
            CertificateStatus::Revoked { .. } => "revoked",
        }
    }
}

/// What a reader is told: the stored state and the clock together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShownStatus {
    Intended,
    Valid,
    Revoked,
    Expired,
}

impl ShownStatus {
    pub const fn name(self) -> &'static str {
        match self {
            ShownStatus::Intended => "intended",
            ShownStatus::Valid => "valid",
            ShownStatus::Revoked => "revoked",
            ShownStatus::Expired => "expired",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        use ShownStatus::{Expired, Intended, Revoked, Valid};
        [Intended, Valid, Revoked, Expired].into_iter().find(|s| s.name() == name)
    }
}

impl Certificate {
    pub fn shown_status(&self, now: Timestamp) -> ShownStatus {
        match self.status {
            CertificateStatus::Intended => ShownStatus::Intended,
            CertificateStatus::Revoked { .. } => ShownStatus::Revoked,
            CertificateStatus::Valid if self.validity.not_after() < now.truncated() => ShownStatus::Expired,
            CertificateStatus::Valid => ShownStatus::Valid,
        }
    }

    /// Did its CA issue it before it came here?
    pub fn is_imported(&self) -> bool {
        self.via == "import"
    }

    /// Is it revoked for the time being only?
    pub fn is_on_hold(&self) -> bool {
        matches!(self.status, CertificateStatus::Revoked { reason: RevocationReason::CertificateHold, .. })
    }

    /// `certificate:crt_…`, as audit names it.
    pub fn object(&self) -> String {
        format!("certificate:{}", self.id)
    }
}

/// What the job carries that revokes the other certificates of a compromised key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeKey {
    /// The certificate whose revocation told of it.
    pub certificate: CertificateId,
}

impl RevokeKey {
    pub const KIND: &'static str = "key.revoke";
}

/// What a list is narrowed to. Everything given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateFilter {
    pub status: Option<ShownStatus>,
    pub profile: Option<String>,
    /// The issuer's slug.
    pub issuer: Option<String>,
    pub account_id: Option<AccountId>,
    /// Exact requester as printed (`token:…`).
    pub requester: Option<String>,
    pub expires_before: Option<Timestamp>,
    /// The keyIdentifier of its authorityKeyIdentifier.
    pub authority_key_id: Option<Vec<u8>>,
    /// A name: exact (`www.example.org`), a suffix (`*.example.org`) or a prefix (`www*`).
    pub name: Option<String>,
}
