//! People who sign in: users as rows without their password, and their sessions without the cookie's secret.

use std::fmt;

use super::actor::Role;
use super::id::{SessionId, UserId};
use super::identifier::shown;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// 1 to 64 of `a-z 0-9 . _ @ + -`, beginning with a letter or a digit; spelled in one way, so that case and spaces
/// around it make no second account and no second throttle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(String);

impl UserName {
    pub fn parse(text: &str) -> Result<Self> {
        let name = text.trim().to_ascii_lowercase();
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._@+-".contains(&b);
        let begins = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if begins && name.len() <= 64 && name.bytes().all(allowed) {
            return Ok(UserName(name));
        }
        Err(Error::refused(
            ErrorKind::Unprocessable,
            "user.name",
            format!("\"{}\"", shown(text)),
            "1 to 64 letters a to z, digits and . _ @ + -, beginning with a letter or a digit",
            "choose another name",
        ).explained(format!("a user cannot be named \"{}\"; a name has 1 to 64 letters a to z, digits and . _ @ + -, and begins with a letter or a digit", shown(text))))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub name: UserName,
    pub role: Role,
    pub created_by: String,
    pub created_at: Timestamp,
    pub password_changed_at: Timestamp,
    pub last_sign_in_at: Option<Timestamp>,
    pub disabled_at: Option<Timestamp>,
    /// Since when the user waits to be confirmed, because the database was restored.
    pub suspended_at: Option<Timestamp>,
    /// Wrong passwords in a row from browsers that are not known.
    pub failed_sign_ins: i64,
}

/// Wrong passwords in a row after which only known browsers may sign in (NIST SP 800-63B §5.2.2).
pub const MAX_FAILED_SIGN_INS: i64 = 100;

impl User {
    /// Whether a browser that is not known may try a password.
    pub fn takes_new_browsers(&self) -> bool {
        self.failed_sign_ins < MAX_FAILED_SIGN_INS
    }

    /// Whether the user may sign in.
    pub fn is_active(&self) -> bool {
        self.disabled_at.is_none() && self.suspended_at.is_none()
    }

    /// `active`, `disabled` or `suspended`.
    pub fn status(&self) -> &'static str {
        match (self.disabled_at, self.suspended_at) {
            (Some(_), _) => "disabled",
            (None, Some(_)) => "suspended",
            (None, None) => "active",
        }
    }

    /// `user:usr_…`, as audit names it.
    pub fn object(&self) -> String {
        format!("user:{}", self.id)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub user_id: UserId,
    pub created_at: Timestamp,
    pub last_seen_at: Timestamp,
    /// The absolute end.
    pub expires_at: Timestamp,
    pub address: String,
    pub user_agent: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        assert_eq!(UserName::parse(" Alice ").unwrap(), UserName::parse("alice").unwrap());
        for wrong in ["", " ", ".a", "a b", "a\u{0}", "ä", "a/b", &"a".repeat(65)] {
            assert_eq!(UserName::parse(wrong).unwrap_err().kind, ErrorKind::Unprocessable, "{wrong}");
        }
    }
}
