//! API tokens as rows: everything but the secret, of which only the SHA-256 is kept.

use super::actor::Role;
use super::grant::Scope;
use super::id::{GrantId, TokenId};
use crate::clock::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub id: TokenId,
    pub name: String,
    pub role: Role,
    pub grant_id: Option<GrantId>,
    /// The scope of the grant, when there is one.
    pub scope: Option<Scope>,
    pub created_by: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
    /// Since when it does not work, because the database was restored; an operator confirms it.
    pub suspended_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
}

impl Token {
    pub fn is_alive(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.suspended_at.is_none() && now < self.expires_at
    }

    /// `active`, `expired`, `revoked`, `suspended`.
    pub fn status(&self, now: Timestamp) -> &'static str {
        match (self.revoked_at, self.suspended_at) {
            (Some(_), _) => "revoked",
            (None, _) if self.expires_at <= now => "expired",
            (None, Some(_)) => "suspended",
            (None, None) => "active",
        }
    }
}
