//! What is to be proved: that the holder of an account controls a name.

use super::error::ValidationError;
use super::key_authorization::check_token;
use crate::model::identifier::Identifier;

#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// With its wildcard label, if it has one.
    pub name: &'a Identifier,
    /// Of the challenge; dns-persist-01 has none and looks at neither this nor the next.
    pub token: &'a str,
    pub key_authorization: &'a str,
    /// The account's URL as it was given to the client: zones name it.
    pub account_url: &'a str,
    /// The proof is to hold for every name below this one too (RFC 9444).
    pub subdomains: bool,
}

impl Claim<'_> {
    /// The key authorization is one of this token, and the token one that could be ours.
    pub(super) fn check(&self) -> Result<(), ValidationError> {
        check_token(self.token)?;
        let rest = self.key_authorization.strip_prefix(self.token);
        if rest.is_some_and(|rest| rest.len() > 1 && rest.starts_with('.')) {
            Ok(())
        } else {
            Err(ValidationError::BadToken)
        }
    }

    /// Where a wildcard is proved: at its base. Only DNS names have one.
    pub(super) fn dns_base(&self, method: &'static str) -> Result<&str, ValidationError> {
        match self.name {
            Identifier::Dns(name) => Ok(name.base()),
            Identifier::Ip(_) | Identifier::Email(_) | Identifier::Uri(_) => Err(self.unsupported(method)),
        }
    }

    pub(super) fn unsupported(&self, method: &'static str) -> ValidationError {
        ValidationError::UnsupportedIdentifier { identifier: self.name.to_string(), method }
    }
}
