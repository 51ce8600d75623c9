//! The caller of a request: an actor, its role and its scope, with one function for each decision.

use super::operation::{Bounded, Needs, Operation};
use super::permission::{self, Permission};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::acme::Order;
use crate::model::actor::{Actor, ActorKind, Role};
use crate::model::certificate::Certificate;
use crate::model::grant::Scope;
use crate::model::id::{GrantId, TokenId};
use crate::model::identifier::{Identifier, shown};
use crate::model::names::NameRule;
use crate::model::token::Token;
use crate::model::user::User;

#[derive(Debug, Clone)]
pub struct Caller {
    actor: Actor,
    role: Role,
    token: Option<TokenId>,
    grant: Option<GrantId>,
    scope: Option<Scope>,
    expires_at: Option<Timestamp>,
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
        Caller {
            actor,
            role: token.role,
            token: Some(token.id),
            grant: token.grant_id,
            scope: token.scope.clone(),
            expires_at: Some(token.expires_at),
        }
    }

    /// Somebody who signed in. Bounds beyond the role come with grants.
    pub(super) fn of_user(user: &User, request_id: &str) -> Self {
        let actor = Actor {
            kind: ActorKind::User(user.id, user.role),
            name: user.name.to_string(),
            request_id: request_id.to_owned(),
            grant: None,
        };
        Caller { actor, role: user.role, token: None, grant: None, scope: None, expires_at: None }
    }

    /// Somebody on the host who can read the unlock key and write the database: nothing is left to keep from them.
    pub fn of_host(actor: Actor) -> Self {
        Caller { actor, role: Role::Admin, token: None, grant: None, scope: None, expires_at: None }
    }

    /// A command in a process of its own on the host, not a request to a server.
    pub fn is_host(&self) -> bool {
        matches!(self.actor.kind, ActorKind::Host(_))
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

    /// When its token expires; nobody else's authority has an end that is known beforehand.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    pub fn grant(&self) -> Option<GrantId> {
        self.grant
    }

    /// The grant with its bounds as they were read: what an issuance takes with it.
    pub fn bounds(&self) -> Option<(GrantId, &Scope)> {
        self.grant.zip(self.scope.as_ref())
    }

    pub fn is_bounded(&self) -> bool {
        self.scope.is_some()
    }

    /// May the role do this at all, and may any of it be done within a grant?
    pub fn may(&self, permission: Permission) -> Result<()> {
        permission::require(self.role, permission)?;
        if permission::is_bounded(permission) { Ok(()) } else { self.unbounded(permission.name()) }
    }

    /// May it call this operation? Decided before the body of the request is read. `Ok` for a bounded caller means that
    /// the handler narrows the operation to the grant.
    pub fn may_call(&self, operation: &Operation) -> Result<()> {
        if let Needs::Role(permission) = operation.needs {
            permission::require(self.role, permission)?;
        }
        match operation.bounded {
            Bounded::Narrowed(_) => Ok(()),
            Bounded::Refused => self.unbounded(operation.name()),
        }
    }

    /// May it have a certificate with these names? Every name, the subject, the profile and the issuer must fit.
    pub fn may_issue(&self, wish: &Wish<'_>) -> Result<()> {
        self.may(Permission::Issue)?;
        let Some(scope) = &self.scope else {
            return if planted!("requester-issues-without-a-grant", true, permission::is_free(self.role)) {
                Ok(())
            } else {
                Err(no_grant(self.role))
            };
        };
        planted!("grant-bounds-nothing", {
            return Ok(());
        });
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
        if self.owns(certificate)
            || planted!(
                "requester-sees-others",
                self.reaches(certificate),
                (self.sees_others() && self.reaches(certificate))
            )
        {
            return Ok(());
        }
        Err(Error::not_found(format!("certificate {}", certificate.id)))
    }

    pub fn may_revoke(&self, certificate: &Certificate) -> Result<()> {
        self.may(Permission::Revoke)?;
        self.may_see(certificate)?;
        // a revoked CA never comes back, and everything below it falls
        if planted!("operator-revokes-a-ca", false, certificate.is_of_hierarchy()) {
            self.may(Permission::ManageHierarchy)
        } else {
            Ok(())
        }
    }

    /// Tokens are made by an administrator without bounds, so that none is wider than its maker.
    pub fn may_manage_tokens(&self) -> Result<()> {
        self.may(Permission::ManageTokens)
    }

    pub fn may_manage_hierarchy(&self) -> Result<()> {
        self.may(Permission::ManageHierarchy)
    }

    /// Grants and EAB keys, so that none is wider than its maker.
    pub fn may_manage_grants(&self) -> Result<()> {
        self.may(Permission::ManageGrants)
    }

    /// Renewals of many certificates at once, whoever asked for them.
    pub fn may_move_renewals(&self) -> Result<()> {
        self.may(Permission::MoveRenewals)
    }

    /// Profiles are the rules of issuance: whoever changes them changes what everybody may have.
    pub fn may_manage_profiles(&self) -> Result<()> {
        self.may(Permission::ManageProfiles)
    }

    /// Accounts and what was refused belong to no profile and no name: a bounded caller does not see them.
    pub fn may_read_all_acme(&self) -> Result<()> {
        self.may(Permission::ReadAcme)?;
        self.unbounded(Permission::ReadAcme.name())
    }

    /// Orders within its scope; another one is not found, as one that does not exist.
    pub fn may_see_order(&self, order: &Order) -> Result<()> {
        self.may(Permission::ReadAcme)?;
        let within = |scope: &Scope| scope.sees_profile(&order.profile) && self.holds(scope, &order.identifiers);
        match self.scope.as_ref().is_none_or(within) {
            true => Ok(()),
            false => Err(Error::not_found(format!("ACME order {}", order.id))),
        }
    }

    /// End accounts, change their limits, resume what is paused, run challenge tests.
    pub fn may_manage_acme(&self) -> Result<()> {
        self.may(Permission::ManageAcme)
    }

    fn unbounded(&self, action: &str) -> Result<()> {
        if planted!("bounded-token-manages", true, self.scope.is_none()) {
            return Ok(());
        }
        let grant = self.grant.map_or_else(|| "a grant".to_owned(), |id| format!("grant {id}"));
        let value = format!("a token within {grant} to {action}");
        let fix = "use a token without a grant, or the chancery command on the server's host";
        let sentence = format!("token {} is limited to {grant} and may not {action}; {fix}", shown(&self.actor.name));
        Err(Error::refused(ErrorKind::Forbidden, "token.scope", value, "a token without a grant", fix)
            .saying(sentence))
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
                && self.holds(scope, &certificate.names)
        };
        self.scope.as_ref().is_none_or(within)
    }

    /// Whether names lie within the scope. A certificate without any name, such as that of an OCSP responder, lies only
    /// in a scope of every name and subject. A reader's scope that lists no names narrows by profile and issuer only.
    fn holds(&self, scope: &Scope, names: &[Identifier]) -> bool {
        let reads_only = !permission::allows(self.role, Permission::Revoke);
        if scope.names.is_empty() && reads_only {
            return true;
        }
        match names {
            [] => scope.names.contains(&NameRule::Any) && scope.subjects.iter().any(|subject| subject == "*"),
            names => names.iter().all(|name| scope.check_name(name).is_ok()),
        }
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
    .explained(format!(
        "a {} token without a grant may ask for no names; operators and admins need no grant",
        role.name()
    ))
}
