//! What a role may do. One table, exhaustive on both sides: a new permission does not compile before every role
//! has said yes or no to it.

use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Role;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Issuers, profiles, domains.
    ReadHierarchy,
    /// Certificates within the scope; a requester sees its own.
    ReadCertificates,
    ReadAudit,
    ReadTokens,
    ReadChecks,
    /// ACME accounts, orders, authorizations.
    ReadAcme,
    Issue,
    /// Within the scope; a requester revokes its own.
    Revoke,
    /// Within the scope. A requester does not take back what others put on hold.
    LiftHolds,
    /// Keys of any name, with or without a certificate.
    BlockKeys,
    ManageTokens,
    /// Trust domains and issuers.
    ManageHierarchy,
    ManageUsers,
    ReadGrants,
    ManageGrants,
    /// ACME directories: what they offer and what they require.
    ManageDirectories,
    ManageProfiles,
    /// End accounts, their limits and pauses, challenge tests.
    ManageAcme,
    /// When certificates should be renewed.
    MoveRenewals,
}

impl Permission {
    pub const fn name(self) -> &'static str {
        match self {
            Permission::ReadHierarchy => "read issuers and profiles",
            Permission::ReadCertificates => "read certificates",
            Permission::ReadAudit => "read the audit log",
            Permission::ReadTokens => "read tokens",
            Permission::ReadChecks => "read the system's checks",
            Permission::ReadAcme => "read ACME accounts and orders",
            Permission::Issue => "issue certificates",
            Permission::Revoke => "revoke certificates",
            Permission::LiftHolds => "lift the holds of certificates",
            Permission::BlockKeys => "block keys and lift such blocks",
            Permission::ManageTokens => "create and revoke tokens",
            Permission::ManageHierarchy => "create and change trust domains and issuers",
            Permission::ManageUsers => "manage users",
            Permission::ReadGrants => "read grants and EAB keys",
            Permission::ManageGrants => "create and revoke grants and EAB keys",
            Permission::ManageDirectories => "change ACME directories",
            Permission::ManageProfiles => "create and change profiles",
            Permission::ManageAcme => "end, limit and resume ACME accounts, and test challenges",
            Permission::MoveRenewals => "move renewal windows",
        }
    }
}

/// May the role at all? The scope narrows further.
pub const fn allows(role: Role, permission: Permission) -> bool {
    use Permission::{
        BlockKeys, Issue, LiftHolds, ManageAcme, ManageDirectories, ManageGrants, ManageHierarchy, ManageProfiles,
        ManageTokens, ManageUsers, MoveRenewals, ReadAcme, ReadAudit, ReadCertificates, ReadChecks, ReadGrants,
        ReadHierarchy, ReadTokens, Revoke,
    };
    match role {
        Role::Viewer => match permission {
            ReadHierarchy | ReadCertificates | ReadAcme | ReadChecks => true,
            ReadAudit | ReadTokens | ReadGrants | Issue | Revoke | LiftHolds | BlockKeys | ManageTokens
            | ManageUsers | ManageHierarchy | ManageGrants | ManageDirectories | ManageProfiles | ManageAcme
            | MoveRenewals => false,
        },
        Role::Auditor => match permission {
            ReadHierarchy | ReadCertificates | ReadAcme | ReadAudit | ReadTokens | ReadGrants | ReadChecks => true,
            Issue | Revoke | LiftHolds | BlockKeys | ManageTokens | ManageUsers | ManageHierarchy | ManageGrants
            | ManageDirectories | ManageProfiles | ManageAcme | MoveRenewals => false,
        },
        Role::Requester => match permission {
            ReadHierarchy | ReadCertificates | Issue | Revoke => true,
            ReadAcme | ReadAudit | ReadTokens | ReadGrants | ReadChecks | LiftHolds | BlockKeys | ManageTokens
            | ManageUsers | ManageHierarchy | ManageGrants | ManageDirectories | ManageProfiles | ManageAcme
            | MoveRenewals => false,
        },
        Role::Operator => match permission {
            ReadHierarchy | ReadCertificates | ReadAcme | ReadAudit | ReadGrants | ReadChecks | Issue | Revoke
            | LiftHolds | BlockKeys | ManageAcme | MoveRenewals => true,
            ReadTokens | ManageTokens | ManageUsers | ManageHierarchy | ManageGrants | ManageDirectories
            | ManageProfiles => false,
        },
        Role::Admin => match permission {
            ReadHierarchy | ReadCertificates | ReadAcme | ReadAudit | ReadTokens | ReadGrants | ReadChecks
            | Issue | Revoke | LiftHolds | BlockKeys | ManageTokens | ManageUsers | ManageHierarchy
            | ManageGrants | ManageDirectories | ManageProfiles | ManageAcme | MoveRenewals => true,
        },
    }
}

/// Whether a token with a grant may do any of it. What is refused here has no part that a grant could hold: it reads or
/// changes what belongs to no name, or the rules by which others are bounded.
pub const fn is_bounded(permission: Permission) -> bool {
    match permission {
        Permission::ReadHierarchy
        | Permission::ReadCertificates
        | Permission::ReadAcme
        | Permission::Issue
        | Permission::Revoke
        | Permission::LiftHolds => true,
        Permission::ReadAudit
        | Permission::ReadTokens
        | Permission::ReadChecks
        | Permission::ReadGrants
        | Permission::BlockKeys
        | Permission::ManageTokens
        | Permission::ManageHierarchy
        | Permission::ManageUsers
        | Permission::ManageGrants
        | Permission::ManageDirectories
        | Permission::ManageProfiles
        | Permission::ManageAcme
        | Permission::MoveRenewals => false,
    }
}

/// May the role ask for a name without a grant?
pub const fn is_free(role: Role) -> bool {
    match role {
        Role::Operator | Role::Admin => true,
        Role::Viewer | Role::Auditor | Role::Requester => false,
    }
}

pub fn require(role: Role, permission: Permission) -> Result<()> {
    if planted!("every-role-may", true, allows(role, permission)) {
        return Ok(());
    }
    let able: Vec<_> = Role::ALL.into_iter().filter(|r| allows(*r, permission)).map(Role::name).collect();
    let needed = match able.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "a role that nobody has".to_owned(),
    };
    let sentence = format!("role {} may not {}; it needs {needed}", role.name(), permission.name());
    let value = format!("role {} to {}", role.name(), permission.name());
    let fix = "ask an administrator for such a role";
    Err(Error::refused(ErrorKind::Forbidden, "role", value, able.join(", "), fix).saying(sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_administrator_manages_tokens() {
        for role in Role::ALL {
            assert_eq!(allows(role, Permission::ManageTokens), role == Role::Admin);
            assert_eq!(
                allows(role, Permission::Issue),
                matches!(role, Role::Requester | Role::Operator | Role::Admin)
            );
        }
    }
}
