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
    pub state: IssuerState,
    /// Signs for its domain when a request names no issuer. At most one a domain.
    pub is_default: bool,
    /// What it was before it was retired or removed.
    pub former: Former,
    /// Base of the CRL, OCSP and issuer pointers, without a slash at its end.
    pub status_url: String,
    pub crl_counter: i64,
    pub crl_dirty: bool,
    /// Since when revoked certificates stay on its CRL past their end; none: they do not.
    pub crl_retained_since: Option<Timestamp>,
    pub created_at: Timestamp,
}

impl Issuer {
    /// The state after a move; none where the move is not allowed. A prepared CA that was removed comes back as prepared:
    /// it never signed, so clients must get it again before it does.
    pub fn after(&self, step: IssuerMove) -> Option<IssuerState> {
        match (self.state, step, self.former) {
            (IssuerState::Removed, IssuerMove::Retire, Former::Prepared) => Some(IssuerState::Prepared),
            (state, step, Former::Ordinary | Former::Default | Former::Prepared) => state.after(step),
        }
    }

    /// What is remembered of it after a move, so that the move can be taken back.
    pub fn former_after(&self, step: IssuerMove) -> Former {
        match (step, self.state) {
            (IssuerMove::Retire, IssuerState::Active) if self.is_default => Former::Default,
            (IssuerMove::Remove, IssuerState::Prepared) => Former::Prepared,
            (IssuerMove::Remove, _) => self.former,
            (IssuerMove::Retire, IssuerState::Removed) if self.former == Former::Default => Former::Default,
            (
                IssuerMove::Activate | IssuerMove::MakeDefault | IssuerMove::Retire | IssuerMove::Revoke,
                IssuerState::Prepared
                | IssuerState::Active
                | IssuerState::Retiring
                | IssuerState::Removed
                | IssuerState::Revoked,
            ) => Former::Ordinary,
        }
    }

    /// Does a move make it the default of its domain? An issuer that was prepared is meant to sign from now on; one that
    /// was retired is the default again if it was so before.
    pub fn becomes_default(&self, step: IssuerMove) -> bool {
        let signs = self.role == IssuerRole::Issuing;
        match step {
            IssuerMove::MakeDefault => signs,
            IssuerMove::Activate => signs && (self.state == IssuerState::Prepared || self.former == Former::Default),
            IssuerMove::Retire | IssuerMove::Remove | IssuerMove::Revoke => false,
        }
    }

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

/// What an issuer or a root does. That it has expired follows from its certificate and is no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IssuerState {
    /// Stands in the bundle ahead of its time, so that clients trust it before it signs for them.
    Prepared,
    /// Signs and publishes.
    Active,
    /// Signs no certificate, publishes CRLs and OCSP answers.
    Retiring,
    /// Has left the bundle of its domain; publishes as long as a certificate of it is valid.
    Removed,
    /// Its key is not its own any more: signs no certificate, publishes, and never comes back.
    Revoked,
}

/// What an issuer was before it was retired or removed; the command that takes such a change back restores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Former {
    /// Nothing that needs to be remembered.
    Ordinary,
    /// The default of its domain.
    Default,
    /// Prepared.
    Prepared,
}

impl Former {
    pub const ALL: [Former; 3] = [Former::Ordinary, Former::Default, Former::Prepared];

    /// The word in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Former::Ordinary => "",
            Former::Default => "default",
            Former::Prepared => "prepared",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Former::ALL.into_iter().find(|former| former.name() == name)
    }
}

/// A change of state that an operator asks for, or that a revocation brings about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssuerMove {
    Activate,
    /// Activates an issuer if need be, and makes it the default of its domain.
    MakeDefault,
    Retire,
    Remove,
    Revoke,
}

impl IssuerState {
    pub const ALL: [IssuerState; 5] = [
        IssuerState::Prepared,
        IssuerState::Active,
        IssuerState::Retiring,
        IssuerState::Removed,
        IssuerState::Revoked,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            IssuerState::Prepared => "prepared",
            IssuerState::Active => "active",
            IssuerState::Retiring => "retiring",
            IssuerState::Removed => "removed",
            IssuerState::Revoked => "revoked",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        IssuerState::ALL.into_iter().find(|state| state.name() == name)
    }

    /// The state after a move; none where the move is not allowed. What left the bundle comes back as retiring first:
    /// clients that have dropped it get it again before anything new stands under it.
    pub const fn after(self, step: IssuerMove) -> Option<IssuerState> {
        match (self, step) {
            (IssuerState::Prepared | IssuerState::Retiring, IssuerMove::Activate)
            | (IssuerState::Prepared | IssuerState::Active | IssuerState::Retiring, IssuerMove::MakeDefault) => {
                Some(IssuerState::Active)
            }
            (IssuerState::Active | IssuerState::Removed, IssuerMove::Retire) => Some(IssuerState::Retiring),
            (IssuerState::Prepared | IssuerState::Retiring, IssuerMove::Remove) => Some(IssuerState::Removed),
            (
                IssuerState::Prepared | IssuerState::Active | IssuerState::Retiring | IssuerState::Removed,
                IssuerMove::Revoke,
            ) => Some(IssuerState::Revoked),
            (IssuerState::Active | IssuerState::Removed, IssuerMove::Activate)
            | (IssuerState::Prepared | IssuerState::Retiring, IssuerMove::Retire)
            | (IssuerState::Active | IssuerState::Removed, IssuerMove::Remove)
            | (IssuerState::Removed, IssuerMove::MakeDefault)
            | (
                IssuerState::Revoked,
                IssuerMove::Activate
                | IssuerMove::MakeDefault
                | IssuerMove::Retire
                | IssuerMove::Remove
                | IssuerMove::Revoke,
            ) => None,
        }
    }

    /// May new certificates for clients stand under it?
    pub const fn signs(self) -> bool {
        match self {
            IssuerState::Active => true,
            IssuerState::Prepared | IssuerState::Retiring | IssuerState::Removed | IssuerState::Revoked => false,
        }
    }

    /// Does a root in this state stand in the bundle of its domain?
    pub const fn is_trusted(self) -> bool {
        match self {
            IssuerState::Prepared | IssuerState::Active | IssuerState::Retiring => true,
            IssuerState::Removed | IssuerState::Revoked => false,
        }
    }

    /// May it stop to publish once its last certificate has expired? What may sign again goes on.
    pub const fn is_over_without_certificates(self) -> bool {
        match self {
            IssuerState::Prepared | IssuerState::Active => false,
            IssuerState::Retiring | IssuerState::Removed | IssuerState::Revoked => true,
        }
    }

    /// What an older binary reads in the column `status`: everything that signs nothing is retired there.
    pub const fn status(self) -> &'static str {
        if self.signs() { "active" } else { "retired" }
    }

    /// The state that the two columns tell together: an older binary retires an issuer in `status` alone.
    pub fn of_columns(state: &str, status: &str) -> Option<Self> {
        match (IssuerState::from_name(state)?, status) {
            (IssuerState::Active, "active") => Some(IssuerState::Active),
            (IssuerState::Active, "retired") => Some(IssuerState::Retiring),
            (
                other @ (IssuerState::Prepared | IssuerState::Retiring | IssuerState::Removed | IssuerState::Revoked),
                "active" | "retired",
            ) => Some(other),
            (_, _) => None,
        }
    }
}

/// Who signs the OCSP answers of an issuer (RFC 6960 §4.2.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OcspSigner {
    /// A delegate with a certificate for this alone: answers go on while the server is locked.
    Delegate,
    /// The issuer's own key: for clients that want OCSPSigning in the CA before they believe a delegate.
    Issuer,
}

impl OcspSigner {
    pub const ALL: [OcspSigner; 2] = [OcspSigner::Delegate, OcspSigner::Issuer];

    pub const fn name(self) -> &'static str {
        match self {
            OcspSigner::Delegate => "delegate",
            OcspSigner::Issuer => "issuer",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        OcspSigner::ALL.into_iter().find(|signer| signer.name() == name)
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

/// How a CA certificate of others came to a domain, and whether clients of the domain trust it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnchorStanding {
    /// It was there before standings were recorded: in the bundle, as it was.
    Kept,
    /// The root of a domain that has none of its own.
    Home,
    /// An operator added it to the bundle.
    Added,
    /// It stands above a cross-certificate and is in no bundle.
    Chain,
}

impl AnchorStanding {
    pub const fn name(self) -> &'static str {
        match self {
            AnchorStanding::Kept => "kept",
            AnchorStanding::Home => "home",
            AnchorStanding::Added => "added",
            AnchorStanding::Chain => "chain",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        let all = [AnchorStanding::Kept, AnchorStanding::Home, AnchorStanding::Added, AnchorStanding::Chain];
        all.into_iter().find(|standing| standing.name() == name)
    }

    /// Whether a root of this standing is in the bundle of its domain.
    pub const fn is_trusted(self) -> bool {
        !matches!(self, AnchorStanding::Chain)
    }
}

/// A CA certificate of others above an issuer of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    pub domain: String,
    pub standing: AnchorStanding,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_issuer_never_comes_back_and_what_signs_was_activated() {
        let activating = [IssuerMove::Activate, IssuerMove::MakeDefault];
        let moves = [&activating[..], &[IssuerMove::Retire, IssuerMove::Remove, IssuerMove::Revoke]].concat();
        for state in IssuerState::ALL {
            for step in moves.iter().copied() {
                let after = state.after(step);
                assert!(state != IssuerState::Revoked || after.is_none(), "{state:?} {step:?}");
                assert_eq!(after.is_some_and(IssuerState::signs), after.is_some() && activating.contains(&step));
                assert!(after != Some(state) || step == IssuerMove::MakeDefault);
            }
            assert_eq!(IssuerState::from_name(state.name()), Some(state));
        }
    }

    #[test]
    fn what_an_older_binary_wrote_is_understood() {
        for state in IssuerState::ALL {
            assert_eq!(IssuerState::of_columns(state.name(), state.status()), Some(state));
        }
        assert_eq!(IssuerState::of_columns("active", "retired"), Some(IssuerState::Retiring));
        assert_eq!(IssuerState::of_columns("removed", "active"), Some(IssuerState::Removed));
        assert_eq!(IssuerState::of_columns("active", "asleep"), None);
        assert_eq!(IssuerState::of_columns("asleep", "active"), None);
    }
}
