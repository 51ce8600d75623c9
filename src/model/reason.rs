//! Revocation reasons (RFC 5280 §5.3.1). Code 7 is unused; removeFromCRL stands in delta CRLs only and is
//! never a reason that somebody gives.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RevocationReason {
    Unspecified,
    KeyCompromise,
    #[serde(rename = "cACompromise")]
    CaCompromise,
    AffiliationChanged,
    Superseded,
    CessationOfOperation,
    CertificateHold,
    PrivilegeWithdrawn,
    #[serde(rename = "aACompromise")]
    AaCompromise,
}

use RevocationReason::*;

impl RevocationReason {
    pub const ALL: [RevocationReason; 9] = [
        Unspecified,
        KeyCompromise,
        CaCompromise,
        AffiliationChanged,
        Superseded,
        CessationOfOperation,
        CertificateHold,
        PrivilegeWithdrawn,
        AaCompromise,
    ];

    /// What an ACME client may give (Boulder's set plus the two that clients send).
    pub const ACME: [RevocationReason; 6] =
        [Unspecified, KeyCompromise, AffiliationChanged, Superseded, CessationOfOperation, PrivilegeWithdrawn];

    pub const fn code(self) -> u8 {
        match self {
            Unspecified => 0,
            KeyCompromise => 1,
            CaCompromise => 2,
            AffiliationChanged => 3,
            Superseded => 4,
            CessationOfOperation => 5,
            CertificateHold => 6,
            PrivilegeWithdrawn => 9,
            AaCompromise => 10,
        }
    }

    /// Never lifted: every reason but certificateHold.
    pub const fn is_final(self) -> bool {
        !matches!(self, RevocationReason::CertificateHold)
    }

    /// Does a revocation for this reason report a compromise of the key, and not of this certificate alone?
    pub const fn blocks_key(self) -> bool {
        match self {
            KeyCompromise | CaCompromise => true,
            Unspecified | AffiliationChanged | Superseded | CessationOfOperation | CertificateHold
            | PrivilegeWithdrawn | AaCompromise => false,
        }
    }

    /// The name in RFC 5280, used in JSON, SQL and pages.
    pub const fn name(self) -> &'static str {
        match self {
            Unspecified => "unspecified",
            KeyCompromise => "keyCompromise",
            CaCompromise => "cACompromise",
            AffiliationChanged => "affiliationChanged",
            Superseded => "superseded",
            CessationOfOperation => "cessationOfOperation",
            CertificateHold => "certificateHold",
            PrivilegeWithdrawn => "privilegeWithdrawn",
            AaCompromise => "aACompromise",
        }
    }

    pub fn from_code(code: i64) -> Result<Self> {
        Self::ALL.into_iter().find(|r| i64::from(r.code()) == code).ok_or_else(|| bad(&code.to_string()))
    }

    /// The RFC's name; case does not matter on input.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|r| r.name().eq_ignore_ascii_case(name)).ok_or_else(|| bad(name))
    }
}

fn bad(value: &str) -> Error {
    let allowed: Vec<_> = RevocationReason::ALL.iter().map(|r| format!("{} ({})", r.name(), r.code())).collect();
    Error::refused(
        ErrorKind::BadRevocationReason,
        "revocation.reason",
        super::identifier::shown(value),
        allowed.join(", "),
        "name one of these (RFC 5280 §5.3.1)",
    )
    .explained(format!(
        "revocation reason {} does not exist; there are {}",
        super::identifier::shown(value),
        allowed.join(", ")
    ))
}
