//! The operations of the REST interface by their operation id, and who may call each: the permission that a role needs,
//! and what becomes of a caller whose token is bounded by a grant. One table, asked before a handler or its body is
//! read. An operation without a row is refused to everybody, and a test finds it.

use super::permission::Permission;

/// How an operation treats a caller that is limited to a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounded {
    /// Nothing: the operation reaches beyond any grant.
    Refused,
    /// The part of it that lies within the grant, and how the handler finds that part.
    Narrowed(&'static str),
}

/// Who may call an operation at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    Role(Permission),
    /// Anybody for what is their own; the handler requires the permission for the rest.
    OwnOr(Permission),
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// The operation id of the OpenAPI document.
    pub id: &'static str,
    pub needs: Needs,
    pub bounded: Bounded,
    /// The audit event of its refusal and the kind of object in its path. Reads have none of their own.
    pub audit: Option<(&'static str, &'static str)>,
}

impl Operation {
    pub fn find(id: &str) -> Option<&'static Operation> {
        OPERATIONS.iter().find(|operation| operation.id == id)
    }

    /// The operation as a verb phrase, for the sentence of a refusal.
    pub const fn name(&self) -> &'static str {
        match self.needs {
            Needs::Role(permission) | Needs::OwnOr(permission) => permission.name(),
        }
    }
}

macro_rules! operations {
    ($($id:literal $needs:ident($permission:ident) $bounded:expr $(, $event:literal $object:literal)?;)+) => {
        pub const OPERATIONS: &[Operation] = &[$(Operation {
            id: $id,
            needs: Needs::$needs(Permission::$permission),
            bounded: $bounded,
            audit: operations!(@audit $($event $object)?),
        },)+];
    };
    (@audit) => { None };
    (@audit $event:literal $object:literal) => { Some(($event, $object)) };
}

use Bounded::{Narrowed, Refused};

const VISIBLE: Bounded = Narrowed("certificates whose profile, issuer and names are within the grant");
const NAMES: Bounded = Narrowed("names, subject, profile and issuer are within the grant");

operations! {
    "listCertificates" Role(ReadCertificates) VISIBLE;
    "getCertificate" Role(ReadCertificates) VISIBLE;
    "listCertificateEvents" Role(ReadCertificates) VISIBLE;
    "getRenewals" Role(ReadCertificates) VISIBLE;
    "getRevocation" Role(ReadCertificates) VISIBLE;
    "issueCertificate" Role(Issue) NAMES, "certificate.rejected" "";
    "revokeCertificate" Role(Revoke) VISIBLE, "certificate.revocation_refused" "certificate";

    "importCertificates" Role(ManageHierarchy) Refused, "certificates.import_refused" "";
    "liftHold" Role(LiftHolds) VISIBLE, "certificate.lift_refused" "certificate";

    "listIssuers" Role(ReadHierarchy) Narrowed("issuers of the grant");
    "getIssuer" Role(ReadHierarchy) Narrowed("issuers of the grant");
    "createIssuer" Role(ManageHierarchy) Refused, "issuer.refused" "";
    "changeIssuer" Role(ManageHierarchy) Refused, "issuer.refused" "issuer";
    "getIssuerDependents" Role(ReadHierarchy) Refused;
    "changeIssuerState" Role(ManageHierarchy) Refused, "issuer.refused" "issuer";
    "listDomains" Role(ReadHierarchy) Narrowed("domains with an issuer of the grant");
    "getDomain" Role(ReadHierarchy) Narrowed("domains with an issuer of the grant");
    "createDomain" Role(ManageHierarchy) Refused, "domain.refused" "";
    "listProfiles" Role(ReadHierarchy) Narrowed("profiles of the grant");
    "getProfile" Role(ReadHierarchy) Narrowed("profiles of the grant");
    "listProfileRevisions" Role(ReadHierarchy) Narrowed("profiles of the grant");
    "createProfile" Role(ManageProfiles) Refused, "profile.refused" "";
    "putProfile" Role(ManageProfiles) Refused, "profile.refused" "profile";
    "patchProfile" Role(ManageProfiles) Refused, "profile.refused" "profile";

    "listTokens" Role(ReadTokens) Refused;
    "getToken" OwnOr(ReadTokens) Narrowed("the caller's own token");
    "createToken" Role(ManageTokens) Refused, "token.refused" "";
    "revokeToken" Role(ManageTokens) Refused, "token.refused" "token";
    "listGrants" Role(ReadGrants) Refused;
    "getGrant" OwnOr(ReadGrants) Narrowed("the caller's own grant");
    "createGrant" Role(ManageGrants) Refused, "grant.refused" "";
    "revokeGrant" Role(ManageGrants) Refused, "grant.refused" "grant";
    "listEabKeys" Role(ReadGrants) Refused;
    "getEabKey" Role(ReadGrants) Refused;
    "createEabKey" Role(ManageGrants) Refused, "eab_key.refused" "";
    "revokeEabKey" Role(ManageGrants) Refused, "eab_key.refused" "eab_key";

    "listDirectories" Role(ReadHierarchy) Refused;
    "getDirectory" Role(ReadHierarchy) Refused;
    "createDirectory" Role(ManageDirectories) Refused, "directory.refused" "";
    "putDirectory" Role(ManageDirectories) Refused, "directory.refused" "directory";
    "listAcmeAccounts" Role(ReadAcme) Refused;
    "getAcmeAccount" Role(ReadAcme) Refused;
    "revokeAcmeAccount" Role(ManageAcme) Refused, "account.revocation_refused" "account";
    "putAccountGrant" Role(ManageGrants) Refused, "account.refused" "account";
    "getAccountLimits" Role(ReadAcme) Refused;
    "putAccountLimits" Role(ManageAcme) Refused, "account.refused" "account";
    "resumeAccount" Role(ManageAcme) Refused, "account.refused" "account";
    "listAcmeOrders" Role(ReadAcme) Narrowed("orders whose profile and names are within the grant");
    "getAcmeOrder" Role(ReadAcme) Narrowed("orders whose profile and names are within the grant");
    "getAcmeOrderTimeline" Role(ReadAcme) Narrowed("orders whose profile and names are within the grant");
    "listAcmeAttempts" Role(ReadAcme) Refused;
    "testAcmeChallenge" Role(ManageAcme) Refused, "challenge.test_refused" "";

    "listRenewalWindows" Role(ReadAcme) Refused;
    "getRenewalWindow" Role(ReadAcme) Refused;
    "createRenewalWindow" Role(MoveRenewals) Refused, "renewals.refused" "";
    "deleteRenewalWindow" Role(MoveRenewals) Refused, "renewals.refused" "renewal_window";

    "listBlockedKeys" Role(ReadAudit) Refused;
    "blockKey" Role(BlockKeys) Refused, "key.block_refused" "";
    "unblockKey" Role(BlockKeys) Refused, "key.unblock_refused" "key";

    "listAuditEvents" Role(ReadAudit) Refused;
    "getSystemChecks" Role(ReadChecks) Refused;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::permission;

    #[test]
    fn what_no_grant_can_hold_is_never_narrowed() {
        for operation in OPERATIONS {
            if let (Needs::Role(permission), Bounded::Narrowed(_)) = (operation.needs, operation.bounded) {
                assert!(permission::is_bounded(permission), "{}", operation.id);
            }
        }
    }

    #[test]
    fn each_operation_has_one_row() {
        for (at, operation) in OPERATIONS.iter().enumerate() {
            assert!(OPERATIONS[at + 1..].iter().all(|other| other.id != operation.id), "{}", operation.id);
        }
    }
}
