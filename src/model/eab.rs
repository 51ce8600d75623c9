//! External account keys (RFC 8555 §7.3.4): a MAC key by which somebody registers accounts in one directory, under
//! a grant.

use super::id::{EabKeyId, GrantId};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// A key as its row says, without the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EabKey {
    pub id: EabKeyId,
    /// The key id that an operator gave, which clients use in place of the id.
    pub given_kid: Option<String>,
    pub name: String,
    /// The slug of its directory.
    pub directory: String,
    pub grant_id: GrantId,
    /// How many accounts it may register; no bound when absent.
    pub max_accounts: Option<i64>,
    pub used_accounts: i64,
    pub created_by: String,
    pub created_at: Timestamp,
    /// Until when it registers accounts; those that it has registered go on under the grant.
    pub expires_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
    /// Since when it does not work, because the database was restored; an operator confirms it.
    pub suspended_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
}

impl EabKey {
    /// What clients call the key id.
    pub fn kid(&self) -> String {
        self.given_kid.clone().unwrap_or_else(|| self.id.to_string())
    }

    /// `active`, `used_up`, `expired`, `revoked`, `suspended`.
    pub fn status(&self, now: Timestamp) -> &'static str {
        match (self.revoked_at, self.max_accounts) {
            (Some(_), _) => "revoked",
            (None, _) if self.expires_at <= now => "expired",
            _ if self.suspended_at.is_some() => "suspended",
            (None, Some(max)) if self.used_accounts >= max => "used_up",
            (None, _) => "active",
        }
    }

    /// May it register one more account in this directory now?
    pub fn check(&self, directory: &str, now: Timestamp) -> Result<()> {
        let refuse = |rule: &str, value: String, allowed: String, wrong: String| {
            let fix = "ask an administrator for another key";
            let wrong = format!("external account key {} {wrong}", self.id);
            Err(Error::refused(ErrorKind::Forbidden, format!("eab.{rule}"), value, allowed, fix).explained(wrong))
        };
        if self.directory != directory {
            let allowed = format!("directory {} for key {}", self.directory, self.id);
            let wrong = format!("is for ACME directory {}, not for {directory}", self.directory);
            return refuse("directory", format!("an account in directory {directory}"), allowed, wrong);
        }
        if let Some(at) = self.revoked_at {
            return refuse(
                "revoked",
                format!("a request at {now}"),
                format!("none since {} was revoked at {at}", self.id),
                format!("was revoked at {at}"),
            );
        }
        if self.expires_at <= now {
            let allowed = format!("one before {} ended at {}", self.id, self.expires_at);
            return refuse(
                "expires",
                format!("a request at {now}"),
                allowed,
                format!("expired at {}", self.expires_at),
            );
        }
        if let Some(at) = self.suspended_at {
            let what = format!("external account key {}", self.kid());
            return Err(super::grant::suspended("eab.suspended", &what, &self.id.to_string(), at));
        }
        match self.max_accounts {
            Some(max) if self.used_accounts >= max => {
                let number = self.used_accounts.saturating_add(1);
                let allowed = format!("at most {max} by key {}", self.id);
                refuse(
                    "accounts",
                    format!("account number {number}"),
                    allowed,
                    format!("may register {max} accounts and has"),
                )
            }
            _ => Ok(()),
        }
    }
}
