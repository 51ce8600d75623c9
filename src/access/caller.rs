//! The caller of a request: an actor, its role and its scope, with one function for each decision.

use super::permission::{self, Permission};
use crate::error::{Error, ErrorKind, Result};
use crate::model::acme::Order;
use crate::model::actor::{Actor, ActorKind, Role};
use crate::model::certificate::Certificate;
use crate::model::grant::Scope;
use crate::model::id::{GrantId, TokenId};
use crate::model::identifier::Identifier;
use crate::model::token::Token;
use crate::model::user::User;

#[derive(Debug, Clone)]
pub struct Caller {
    actor: Actor,
    role: Role,
    token: Option<TokenId>,
    grant: Option<GrantId>,
    scope: Option<Scope>,
}

/// What somebody asks to be certified.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    pub profile: &'a str,
    /// The slug of the issuer that will sign.
    pub issuer: &'a str,
    pub names: &'a [Identifier],
    pub common_name: Option<&'a str>,
}

impl Caller {
    pub(super) fn of_token(token: &Token, request_id: &str) -> Self {
        let actor = Actor {
            kind: ActorKind::Token(token.id, token.role),
            name: token.name.clone(),
            request_id: request_id.to_owned(),
            grant: token.grant_id,
        };
        Caller { actor, role: token.role, token: Some(token.id), grant: token.grant_id, scope: token.scope.clone() }
    }

    /// Somebody who signed in. Bounds beyond the role come with grants.
    pub(super) fn of_user(user: &User, request_id: &str) -> Self {
        let actor = Actor {
            kind: ActorKind::User(user.id, user.role),
            name: user.name.to_string(),
            request_id: request_id.to_owned(),
            grant: None,
        };
        Caller { actor, role: user.role, token: None, grant: None, scope: None }
    }

    /// Somebody on the host who can read the unlock key and write the database: nothing is left to keep from them.
    pub fn of_host(actor: Actor) -> Self {
        Caller { actor, role: Role::Admin, token: None, grant: None, scope: None }
    }

    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    pub fn role(&self) -> Role {
        self.role
    }

    /// None for a person.
    pub fn token(&self) -> Option<TokenId> {
        self.token
    }

    pub fn grant(&self) -> Option<GrantId> {
        self.grant
    }

    /// The grant with its bounds as they were read: what an issuance takes with it.
    pub fn bounds(&self) -> Option<(GrantId, &Scope)> {
        self.grant.zip(self.scope.as_ref())
    }

    /// May the role do this at all?
    pub fn may(&self, permission: Permission) -> Result<()> {
        permission::require(self.role, permission)
    }

    /// May it have a certificate with these names? Every name, the subject, the profile and the issuer must fit.
    pub fn may_issue(&self, wish: &Wish<'_>) -> Result<()> {
        self.may(Permission::Issue)?;
        let Some(scope) = &self.scope else {
            return if permission::is_free(self.role) { Ok(()) } else { Err(no_grant(self.role)) };
        };
        scope.check(wish.profile, wish.issuer, wish.names, wish.common_name)
    }

    /// May the subject say this besides its common name? Each is written `O=Lab Ltd`.
    pub fn may_say(&self, attributes: &[String]) -> Result<()> {
        let Some(scope) = &self.scope else { return Ok(()) };
        attributes.iter().try_for_each(|attribute| scope.check_subject(attribute))
    }

    /// A certificate that it may not see is not found, as one that does not exist.
    pub fn may_see(&self, certificate: &Certificate) -> Result<()> {
        self.may(Permission::ReadCertificates)?;
        if self.owns(certificate) || (self.sees_others() && self.reaches(certificate)) {
            return Ok(());
        }
        Err(Error::not_found(format!("certificate {}", certificate.id)))
    }

    pub fn may_revoke(&self, certificate: &Certificate) -> Result<()> {
        self.may(Permission::Revoke)?;
        self.may_see(certificate)
    }

    /// Tokens are made by an administrator without bounds, so that none is wider than its maker.
    pub fn may_manage_tokens(&self) -> Result<()> {
        self.may(Permission::ManageTokens)?;
        self.unbounded("create it on the server's host with chancery token create")
    }

    /// The hierarchy too is changed without bounds or not at all.
    pub fn may_manage_hierarchy(&self) -> Result<()> {
        self.may(Permission::ManageHierarchy)?;
        self.unbounded("run the chancery ca command on the server's host")
    }

    /// Grants and EAB keys, so that none is wider than its maker.
    pub fn may_manage_grants(&self) -> Result<()> {
        self.may(Permission::ManageGrants)?;
        self.unbounded("do it on the server's host with chancery grant or chancery acme eab")
    }

    /// Renewals of many certificates at once, whoever asked for them.
    pub fn may_move_renewals(&self) -> Result<()> {
        self.may(Permission::MoveRenewals)?;
        self.unbounded("do it on the server's host with chancery acme renewals")
    }

    /// Profiles are the rules of issuance: whoever changes them changes what everybody may have.
    pub fn may_manage_profiles(&self) -> Result<()> {
        self.may(Permission::ManageProfiles)?;
        self.unbounded("do it on the server's host with chancery profile")
    }

    /// Accounts and what was refused belong to no profile and no name: whoever is bounded does not see them.
    pub fn may_read_all_acme(&self) -> Result<()> {
        self.may(Permission::ReadAcme)?;
        self.without_scope("use a token without a grant, or ask for acme/orders, which are narrowed to it")
    }

    /// Orders within its scope; another one is not found, as one that does not exist.
    pub fn may_see_order(&self, order: &Order) -> Result<()> {
        self.may(Permission::ReadAcme)?;
        let within = |scope: &Scope| {
            scope.sees_profile(&order.profile)
                && (!permission::allows(self.role, Permission::Revoke)
                    || order.identifiers.iter().all(|name| scope.check_name(name).is_ok()))
        };
        match self.scope.as_ref().is_none_or(within) {
            true => Ok(()),
            false => Err(Error::not_found(format!("ACME order {}", order.id))),
        }
    }

    /// End accounts, change their limits, resume what is paused, run challenge tests.
    pub fn may_manage_acme(&self) -> Result<()> {
        self.may(Permission::ManageAcme)?;
        self.without_scope("use a token without a grant, or do it on the server's host with chancery acme")
    }

    fn without_scope(&self, fix: &str) -> Result<()> {
        match self.scope {
            None => Ok(()),
            Some(_) => Err(Error::refused(
                ErrorKind::Forbidden,
                "token.scope",
                "a token with a grant",
                "a token without one",
                fix,
            )),
        }
    }

    fn unbounded(&self, fix: &str) -> Result<()> {
        match self.scope {
            None => Ok(()),
            Some(_) => Err(Error::refused(
                ErrorKind::Forbidden,
                "token.scope",
                "an administrator's token with a grant",
                "an administrator's token without one",
                fix,
            )),
        }
    }

    /// The requester that a list is narrowed to, if it must be.
    pub fn only_own(&self) -> Option<String> {
        (!self.sees_others()).then(|| self.actor.to_string())
    }

    pub fn sees_issuer(&self, slug: &str) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope.sees_issuer(slug))
    }

    pub fn sees_profile(&self, slug: &str) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope.sees_profile(slug))
    }

    /// The certificates within its scope, of whomever.
    pub fn reaches(&self, certificate: &Certificate) -> bool {
        let within = |scope: &Scope| {
            scope.sees_issuer(&certificate.issuer)
                && scope.sees_profile(&certificate.profile)
                && (!permission::allows(self.role, Permission::Revoke)
                    || certificate.names.iter().all(|name| scope.check_name(name).is_ok()))
        };
        self.scope.as_ref().is_none_or(within)
    }

    fn owns(&self, certificate: &Certificate) -> bool {
        certificate.requester == self.actor.to_string()
    }

    fn sees_others(&self) -> bool {
        match self.role {
            Role::Requester => false,
            Role::Viewer | Role::Auditor | Role::Operator | Role::Admin => true,
        }
    }
}

fn no_grant(role: Role) -> Error {
    Error::refused(
        ErrorKind::Forbidden,
        "token.grant",
        format!("a {} token without a grant", role.name()),
        "operator and admin may ask for a name without one",
        "create a token with --allow-name",
    )
}
