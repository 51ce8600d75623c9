//! ACME accounts and orders as operators look for them: filters, newest first. A NULL condition holds for every row.

use super::accounts::{self, columns as account_columns};
use super::engine::{On, q, statements};
use super::orders::{self, columns as order_columns};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::acme::{Account, Order};
use crate::model::attempt::{AccountFilter, NameSearch, OrderFilter};
use crate::model::id::{AccountId, OrderId};

/// `$1` is the cursor, `$2` the oldest id, `$5` the time, `$7` the limit.
macro_rules! order_filters {
    () => {
        " WHERE id < $1 AND id >= $2 AND (CAST($3 AS TEXT) IS NULL OR directory = $3) AND (CAST($4 AS TEXT) IS NULL \
         OR CASE WHEN status IN ('pending', 'ready') AND expires_at <= $5 THEN 'invalid' ELSE status END = $4)"
    };
}

macro_rules! account_filters {
    () => {
        " WHERE id < $1 AND (CAST($2 AS TEXT) IS NULL OR directory = $2) AND (CAST($3 AS TEXT) IS NULL OR status = $3) \
         AND (CAST($4 AS BYTEA) IS NULL OR grant_id = $4) AND (CAST($5 AS BYTEA) IS NULL OR thumbprint = $5)"
    };
}

statements! {
    ACCOUNTS = concat!("SELECT ", account_columns!(), " FROM acme_accounts", account_filters!(),
        " AND (CAST($6 AS TEXT) IS NULL OR instr(lower(contact), $6) > 0) ORDER BY id DESC LIMIT $7"),
        postgres concat!("SELECT ", account_columns!(), " FROM acme_accounts", account_filters!(),
        " AND (CAST($6 AS TEXT) IS NULL OR strpos(lower(contact), $6) > 0) ORDER BY id DESC LIMIT $7");
    ORDERS = concat!("SELECT ", order_columns!(), " FROM acme_orders", order_filters!(),
        " AND (CAST($6 AS BYTEA) IS NULL OR account_id = $6) ORDER BY id DESC LIMIT $7");
    ORDERS_OF_ACCOUNT = concat!("SELECT ", order_columns!(), " FROM acme_orders", order_filters!(),
        " AND account_id = $6 ORDER BY id DESC LIMIT $7");
    /// `$8`: the names that its authorizations may be about, as a JSON array; `$9`: as the identifiers have it.
    ORDERS_OF_NAME = concat!("SELECT ", order_columns!(), " FROM acme_orders", order_filters!(),
        " AND (CAST($6 AS BYTEA) IS NULL OR account_id = $6) AND instr(identifiers, $9) > 0 AND id IN (SELECT l.order_id FROM acme_authorizations a \
         JOIN acme_order_authorizations l ON l.authorization_id = a.id WHERE a.value IN (SELECT value FROM json_each($8))) ORDER BY id DESC LIMIT $7"),
        postgres concat!("SELECT ", order_columns!(), " FROM acme_orders", order_filters!(),
        " AND (CAST($6 AS BYTEA) IS NULL OR account_id = $6) AND strpos(identifiers, $9) > 0 AND id IN (SELECT l.order_id FROM acme_authorizations a \
         JOIN acme_order_authorizations l ON l.authorization_id = a.id WHERE a.value COLLATE \"C\" IN (SELECT json_array_elements_text(CAST($8 AS JSON)))) \
         ORDER BY id DESC LIMIT $7");
    ORDERS_OF_NAMES = concat!("SELECT ", order_columns!(), " FROM acme_orders", order_filters!(),
        " AND (CAST($6 AS BYTEA) IS NULL OR account_id = $6) AND instr(identifiers, $10) > 0 AND id IN (SELECT l.order_id FROM acme_authorizations a \
         JOIN acme_order_authorizations l ON l.authorization_id = a.id WHERE a.value >= $8 AND a.value < $9) ORDER BY id DESC LIMIT $7"),
        postgres concat!("SELECT ", order_columns!(), " FROM acme_orders", order_filters!(),
        " AND (CAST($6 AS BYTEA) IS NULL OR account_id = $6) AND strpos(identifiers, $10) > 0 AND id IN (SELECT l.order_id FROM acme_authorizations a \
         JOIN acme_order_authorizations l ON l.authorization_id = a.id WHERE a.value COLLATE \"C\" >= $8 AND a.value COLLATE \"C\" < $9) \
         ORDER BY id DESC LIMIT $7");
}

/// Newest first, at most `limit`, before `before` (exclusive).
pub async fn accounts<'a>(
    on: impl Into<On<'a>>,
    filter: &AccountFilter,
    before: Option<AccountId>,
    limit: i64,
) -> Result<Vec<Account>> {
    q(ACCOUNTS)
        .bind(before.map_or(vec![0xff; 16], AccountId::to_vec))
        .bind(filter.directory.as_deref())
        .bind(filter.status.map(|status| status.name()))
        .bind(filter.grant.map(|id| id.to_vec()))
        .bind(filter.thumbprint.map(|bytes| bytes.to_vec()))
        .bind(filter.contact.as_ref().map(|part| part.to_lowercase()))
        .bind(limit)
        .fetch_all(on)
        .await?
        .iter()
        .map(accounts::account)
        .collect()
}

/// Newest first, at most `limit`, before `before` (exclusive), with their states as of `now`.
pub async fn orders<'a>(
    on: impl Into<On<'a>>,
    filter: &OrderFilter,
    before: Option<OrderId>,
    limit: i64,
    now: Timestamp,
) -> Result<Vec<Order>> {
    let sql = match (&filter.name, filter.account) {
        (Some(NameSearch::Whole(_)), _) => ORDERS_OF_NAME,
        (Some(NameSearch::Beginning(_)), _) => ORDERS_OF_NAMES,
        (None, Some(_)) => ORDERS_OF_ACCOUNT,
        (None, None) => ORDERS,
    };
    let mut query = q(sql)
        .bind(before.map_or(vec![0xff; 16], OrderId::to_vec))
        .bind(filter.since.map_or(vec![0; 16], |at| OrderId::first_at(at).to_vec()))
        .bind(filter.directory.as_deref())
        .bind(filter.status.map(|status| status.name()))
        .bind(now)
        .bind(filter.account.map(|id| id.to_vec()))
        .bind(limit);
    if let Some(name) = &filter.name {
        query = match name {
            NameSearch::Whole(_) => {
                let bases = serde_json::to_string(&name.bases());
                query.bind(bases.map_err(|e| Error::internal("names cannot be written as JSON", e))?)
            }
            NameSearch::Beginning(_) => {
                let (from, to) = name.base_range();
                query.bind(from).bind(to)
            }
        };
        query = query.bind(name.in_identifiers());
    }
    query.fetch_all(on).await?.iter().map(orders::order).collect()
}
