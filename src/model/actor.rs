//! Who asks. Every deciding function takes `&Actor`; audit needs no second source.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::id::{AccountId, GrantId, TokenId, UserId};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    pub kind: ActorKind,
    /// A name that people know: token name, operating system user, job name.
    pub name: String,
    /// `req_…` of the request that this happens in, or empty.
    pub request_id: String,
    /// What bounds the actor, when it acts under a grant.
    pub grant: Option<GrantId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActorKind {
    /// Somebody on the host of the server: the user id of the operating system.
    Host(u32),
    Token(TokenId, Role),
    /// Somebody who signed in to the dashboard.
    User(UserId, Role),
    Account(AccountId),
    /// The holder of a certificate's key (ACME revocation by certificate key).
    KeyHolder,
    /// Whoever sent a request that was refused before it was known who that is.
    Nobody,
    Job,
    /// The server itself: initialisation, its own TLS certificate, recovery.
    System,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Viewer,
    Auditor,
    Requester,
    Operator,
    Admin,
}

impl Role {
    pub const ALL: [Role; 5] = [Role::Viewer, Role::Auditor, Role::Requester, Role::Operator, Role::Admin];

    pub const fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Auditor => "auditor",
            Role::Requester => "requester",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    pub fn from_name(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|r| r.name() == name)
    }
}

impl Actor {
    pub fn system(name: &str) -> Self {
        Actor { kind: ActorKind::System, name: name.to_owned(), request_id: String::new(), grant: None }
    }

    pub fn job(name: &str) -> Self {
        Actor { kind: ActorKind::Job, ..Actor::system(name) }
    }

    pub fn nobody(request_id: &str) -> Self {
        Actor { kind: ActorKind::Nobody, request_id: request_id.to_owned(), ..Actor::system("") }
    }

    pub fn host(uid: u32, name: &str) -> Self {
        Actor { kind: ActorKind::Host(uid), ..Actor::system(name) }
    }

    /// `rest`, `dashboard`, `acme`, `cli`, `internal`: how a certificate was asked for.
    pub fn via(&self) -> &'static str {
        match self.kind {
            ActorKind::Host(_) => "cli",
            ActorKind::Token(..) => "rest",
            ActorKind::User(..) => "dashboard",
            ActorKind::Account(_) | ActorKind::KeyHolder => "acme",
            ActorKind::Nobody | ActorKind::Job | ActorKind::System => "internal",
        }
    }
}

/// `token:tok_…/name`, `user:usr_…/name`, `account:acc_…`, `host:0/root`, `job/crl`: one spelling in audit, lists and logs.
impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ActorKind::Host(uid) => write!(f, "host:{uid}")?,
            ActorKind::Token(id, _) => write!(f, "token:{id}")?,
            ActorKind::User(id, _) => write!(f, "user:{id}")?,
            ActorKind::Account(id) => write!(f, "account:{id}")?,
            ActorKind::KeyHolder => f.write_str("key-holder")?,
            ActorKind::Nobody => f.write_str("nobody")?,
            ActorKind::Job => f.write_str("job")?,
            ActorKind::System => f.write_str("system")?,
        }
        if self.name.is_empty() { Ok(()) } else { write!(f, "/{}", self.name) }
    }
}
