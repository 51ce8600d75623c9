//! Reading accounts and orders for operators: what the surfaces ask, without knowing the store.

use super::Registration;
use crate::error::Result;
use crate::model::acme::{Account, Authorization, Challenge, Order};
use crate::model::id::{AccountId, OrderId};
use crate::store::{accounts, authorizations, challenges, orders};

impl Registration {
    /// Newest first, before `before` (exclusive).
    pub async fn all_accounts(&self, before: Option<AccountId>, limit: u16) -> Result<Vec<Account>> {
        accounts::page(&self.store, before, i64::from(limit)).await
    }

    pub async fn any_account(&self, id: AccountId) -> Result<Option<Account>> {
        accounts::look(&self.store, id).await
    }

    /// Of one account or of all, in any state, newest first.
    pub async fn all_orders(
        &self,
        account: Option<AccountId>,
        before: Option<OrderId>,
        limit: u16,
    ) -> Result<Vec<Order>> {
        orders::recent(&self.store, account, before, i64::from(limit)).await
    }

    pub async fn any_order(&self, id: OrderId) -> Result<Option<Order>> {
        orders::find(&self.store, id).await
    }

    /// The authorizations of an order with their challenges, in the order's order.
    pub async fn proofs(&self, order: OrderId) -> Result<Vec<(Authorization, Vec<Challenge>)>> {
        let mut proofs = Vec::new();
        for authorization in authorizations::of_order(&self.store, order).await? {
            let challenges = challenges::of_authorization(&self.store, authorization.id).await?;
            proofs.push((authorization, challenges));
        }
        Ok(proofs)
    }
}
