//! What stands around every page of a session: who is signed in, and what the role may open.

use super::visit::Signed;
use crate::access::Permission;

/// Passed to every template that extends `frame.html`.
#[derive(Debug)]
pub struct Frame {
    pub user: String,
    pub role: &'static str,
    pub form_token: String,
    /// The entry of the navigation that is open.
    pub section: &'static str,
    pub may_issue: bool,
    pub reads_acme: bool,
    pub reads_tokens: bool,
    pub reads_grants: bool,
    pub reads_audit: bool,
    pub manages_users: bool,
    /// The sentence about a database that is older than remembered.
    pub rolled_back: Option<&'static str>,
}

impl Frame {
    pub fn of(signed: &Signed, section: &'static str) -> Self {
        let may = |permission| signed.may(permission).is_ok();
        Frame {
            user: signed.who.user.name.to_string(),
            role: signed.who.user.role.name(),
            form_token: signed.who.form_token.clone(),
            section,
            may_issue: may(Permission::Issue),
            reads_acme: may(Permission::ReadAcme),
            reads_tokens: may(Permission::ReadTokens),
            reads_grants: may(Permission::ReadGrants),
            reads_audit: may(Permission::ReadAudit),
            manages_users: may(Permission::ManageUsers),
            rolled_back: signed.rolled_back.then_some(crate::authority::ROLLED_BACK),
        }
    }

    pub fn is(&self, section: &str) -> bool {
        self.section == section
    }
}
