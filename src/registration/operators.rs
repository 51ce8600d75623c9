//! What operators do with ACME accounts, and how they look for accounts, orders and attempts.

use serde_json::json;

use super::Registration;
use super::accounts::object;
use crate::error::{Error, ErrorKind, Result};
use crate::model::acme::{Account, AccountStatus, Order};
use crate::model::actor::Actor;
use crate::model::attempt::{AccountFilter, Attempt, AttemptFilter, OrderFilter};
use crate::model::audit::AuditEvent;
use crate::model::id::{AccountId, AttemptId, OrderId};
use crate::model::text::is_deceptive;
use crate::store::{accounts, acme_lists, attempts, authorizations, orders};

/// Characters of the reason that an operator gives.
const REASON: usize = 200;

impl Registration {
    /// Newest first, before `before` (exclusive).
    pub async fn find_accounts(
        &self,
        filter: &AccountFilter,
        before: Option<AccountId>,
        limit: u16,
    ) -> Result<Vec<Account>> {
        acme_lists::accounts(&self.store, filter, before, i64::from(limit)).await
    }

    pub async fn find_orders(&self, filter: &OrderFilter, before: Option<OrderId>, limit: u16) -> Result<Vec<Order>> {
        acme_lists::orders(&self.store, filter, before, i64::from(limit), self.store.now()).await
    }

    pub async fn find_attempts(
        &self,
        filter: &AttemptFilter,
        before: Option<AttemptId>,
        limit: u16,
    ) -> Result<Vec<Attempt>> {
        attempts::list(&self.store, filter, before, i64::from(limit)).await
    }

    /// Ends an account for ever in the name of an operator: its open orders and authorizations end with it, its
    /// certificates stay (RFC 8555 §7.1.2: `revoked` is what the server says).
    pub async fn revoke_account(&self, actor: &Actor, id: AccountId, reason: &str) -> Result<Account> {
        let reason = reason.trim();
        let length = reason.chars().count();
        if length == 0 || length > REASON || reason.chars().any(is_deceptive) {
            return Err(Error::refused(
                ErrorKind::Unprocessable,
                "account.reason",
                format!("a reason of {length} characters"),
                format!("1 to {REASON} characters on one line"),
                "say for whoever asks later why the account ends",
            )
            .explained(format!("the reason has {length} characters; it needs 1 to {REASON} on one line")));
        }
        let mut tx = self.store.begin(actor).await?;
        let found = accounts::lock(&mut tx, id).await?;
        let account = found.ok_or_else(|| Error::not_found(format!("ACME account {id}")))?;
        tx.accounts_change();
        if !accounts::revoke(&mut tx, id).await? {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("the account {id} is {} already: nothing is left to end", account.status.name()),
            ));
        }
        // authorizations before orders, as a verdict takes them
        authorizations::deactivate_of_account(&mut tx, id).await?;
        let ended = orders::fail_of_account(&mut tx, id).await?;
        tx.audit(AuditEvent::done("account.revoked", object(id), json!({"reason": reason, "orders_ended": ended})));
        tx.commit().await?;
        Ok(Account { status: AccountStatus::Revoked, ..account })
    }
}
