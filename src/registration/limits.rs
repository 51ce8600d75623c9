//! The limits of new orders: what of an account and of an address is counted, what of names is known, and what an order
//! that renews is spared. Read and locked once for a group, inside the transaction that commits it, so that limits hold
//! over replicas and restarts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};

use super::placing::Asked;
use super::{Directory, Registration};
use crate::authority::guard::limited;
use crate::clock::{Timestamp, minutes};
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::id::AccountId;
use crate::model::identifier::{Identifier, shown};
use crate::model::limits::{AccountLimits, Limits, Paused, Rate};
use crate::model::serial::to_hex;
use crate::store::accounts::Held;
use crate::store::limits::{self, Failures};
use crate::store::{Tx, accounts, orders};

/// Everything that the orders of one group are measured by.
pub(super) struct Room {
    accounts: HashMap<AccountId, Held>,
    kept: BTreeMap<String, Timestamp>,
    moved: BTreeSet<String>,
    /// Sets of names that had a certificate, of any account and of this one.
    sets: BTreeMap<String, Timestamp>,
    failures: HashMap<(AccountId, String), Failures>,
    open: HashMap<AccountId, i64>,
    now: Timestamp,
}

impl Room {
    /// Accounts first, then limits, as everybody takes them.
    pub async fn read(tx: &mut Tx, rows: &[Asked]) -> Result<Room> {
        let ids: BTreeSet<AccountId> = rows.iter().map(|row| row.order.account_id).collect();
        let accounts = accounts::hold_all(tx, ids.iter().copied()).await?;
        // an account's row is locked also where nothing but its open orders is limited: they are counted behind it
        let sets = rows.iter().flat_map(|row| [set_of(row), own_set_of(row)]).collect::<BTreeSet<_>>();
        let sets = limits::peek(tx, sets.into_iter()).await?;
        let names = rows.iter().flat_map(|row| {
            let own = accounts.get(&row.order.account_id).map(|held| held.limits).unwrap_or_default();
            let limits = own.over(&row.directory.config.limits);
            let places = places(&row.directory, row.order.account_id, &row.address, &limits, renews(row, &sets));
            std::iter::once(orders_row(row.order.account_id)).chain(places.into_iter().map(|place| place.row))
        });
        let names: Vec<String> = names.collect();
        let kept = limits::lock(tx, names.into_iter()).await?;
        let open = orders::open_of(tx, ids.into_iter()).await?;
        let names: BTreeSet<_> = rows.iter().flat_map(asked_of).collect();
        let failures = limits::failures(tx, names.into_iter()).await?;
        Ok(Room { accounts, kept, moved: BTreeSet::new(), sets, failures, open, now: tx.now() })
    }

    /// The account is valid and has the key that signed until the group commits, and every limit has room; then one is taken of each.
    pub fn take(&mut self, row: &Asked) -> Result<()> {
        let id = row.order.account_id;
        let held = self.accounts.get(&id).ok_or_else(|| Error::not_found("account"))?;
        super::may_write(held, &row.key)?;
        let limits = held.limits.over(&row.directory.config.limits);
        self.check_names(row, &limits)?;
        let open = self.open.get(&id).copied().unwrap_or_default();
        if let Some(most) = limits.open_orders.0.filter(|most| open >= i64::from(*most)) {
            return Err(crowded(open, most));
        }
        let set = set_of(row);
        if let (Some(rate), Some(kept)) = (limits.certificates.0, self.sets.get(&set)) {
            rate.take(*kept, self.now).map_err(|again| {
                let allowed = format!("{rate} for one set of names");
                limited("certificates", "one more certificate for exactly these names", &allowed, self.now, again)
            })?;
        }
        let places = places(&row.directory, id, &row.address, &limits, renews(row, &self.sets));
        let taken = take(places, &self.kept, self.now)?;
        for (name, next) in taken {
            self.moved.insert(name.clone());
            self.kept.insert(name, next);
        }
        *self.open.entry(id).or_default() += 1;
        Ok(())
    }

    fn check_names(&self, row: &Asked, limits: &Limits) -> Result<()> {
        asked_of(row).into_iter().try_for_each(|key| match self.failures.get(&key) {
            Some(failures) => check_failures(&key.1, failures, limits, self.now),
            None => Ok(()),
        })
    }

    pub async fn save(self, tx: &mut Tx) -> Result<()> {
        let moved = self.kept.into_iter().filter(|(name, _)| self.moved.contains(name));
        limits::save(tx, moved.map(|(name, next)| (name, next, next))).await
    }
}

/// One limit that a request takes from.
struct Place {
    rule: &'static str,
    value: &'static str,
    row: String,
    rate: Rate,
}

/// What one more order takes, or one more authorization ahead of any. What renews takes from rates of its own, so that
/// a client that has run wild keeps no certificate from being renewed, and has an end itself.
fn places(directory: &Directory, account: AccountId, address: &str, limits: &Limits, renews: bool) -> Vec<Place> {
    let mut places = Vec::new();
    if let Some(rate) = limits.new_orders.0 {
        let (value, row, rate) = match renews {
            true => ("one more order by which this account renews", format!("renewals/{account}"), wide(rate)),
            false => ("one more order of this account", orders_row(account), rate),
        };
        places.push(Place { rule: "new_orders", value, row, rate });
    }
    if let (Some(rate), Some(address)) = (limits.new_orders_per_address.0, network_of(address)) {
        let own = format!("{}/{address}", directory.slug);
        let (value, row, rate) = match renews {
            true => ("one more order that renews from this address", format!("renewing/{own}"), wide(rate)),
            false => ("one more order from this address", format!("address/{own}"), rate),
        };
        places.push(Place { rule: "new_orders_per_address", value, row, rate });
    }
    places
}

/// What renews has so many times the rate of what is new.
const RENEWING: u32 = 10;

fn wide(rate: Rate) -> Rate {
    Rate { count: rate.count.saturating_mul(RENEWING), ..rate }
}

/// Of all or of none: the times to keep.
fn take(places: Vec<Place>, kept: &BTreeMap<String, Timestamp>, now: Timestamp) -> Result<Vec<(String, Timestamp)>> {
    let take = |place: Place| {
        let kept = kept.get(&place.row).copied().unwrap_or(Timestamp::from_micros(0));
        let refuse = |again| limited(place.rule, place.value, &place.rate.to_string(), now, again);
        Ok((place.row, place.rate.take(kept, now).map_err(refuse)?))
    };
    places.into_iter().map(take).collect()
}

/// The account had a certificate for exactly these names, or names the one that it replaces (RFC 9773 §5).
fn renews(row: &Asked, sets: &BTreeMap<String, Timestamp>) -> bool {
    // a row that was only locked, for a certificate that was refused, has no time
    let had = || sets.get(&own_set_of(row)).is_some_and(|kept| kept.micros() > 0);
    row.order.replaces.is_some() || had()
}

pub(super) fn check_failures(name: &str, failures: &Failures, limits: &Limits, now: Timestamp) -> Result<()> {
    if let (Some(at), Some(_)) = (failures.paused_at, limits.pause.0) {
        return Err(Error::refused(
            ErrorKind::RateLimited,
            "acme.limits.pause",
            format!(
                "name \"{name}\" of this account: all {} validations failed since {}, and it is paused since {at}",
                failures.count, failures.since
            ),
            "names whose validations succeed now and then",
            "mend what fails, then ask an operator to run: chancery acme resume ACCOUNT NAME",
        )
        .explained(format!(
            "all {} validations of \"{name}\" for this account failed since {}, so the name is paused since {at}",
            failures.count, failures.since
        ))
        .retry_after(crate::clock::days(1)));
    }
    let Some(rate) = limits.failed_validations.0 else { return Ok(()) };
    rate.take(failures.next_at, now).map(drop).map_err(|again| {
        let value = format!("one more validation of \"{name}\" by this account, which failed too often,");
        limited("failed_validations", &value, &format!("{rate} for one name"), now, again)
    })
}

fn crowded(open: i64, most: u32) -> Error {
    Error::refused(
        ErrorKind::RateLimited,
        "acme.limits.open_orders",
        format!("one more order beside {open} open ones"),
        format!("at most {most} orders that are pending or ready"),
        "finalize them or deactivate an authorization of those that you gave up",
    )
    .explained(format!("the account has {open} orders that are pending or ready, and the limit is {most}"))
    .retry_after(minutes(10))
}

impl Registration {
    /// In the transaction of newAuthz, behind the account's lock: the name may be tried, and one is taken of what its
    /// order would take. To give it up again gives nothing back.
    pub(super) async fn take_authorization(
        tx: &mut Tx,
        directory: &Directory,
        account: AccountId,
        address: &str,
        name: &Identifier,
    ) -> Result<()> {
        let own = limits::of_account(&mut *tx, account).await?.unwrap_or_default();
        let (limits, now) = (own.over(&directory.config.limits), tx.now());
        let key = (account, name_of(name));
        let known = limits::failures(tx, std::iter::once(key.clone())).await?;
        known.get(&key).map_or(Ok(()), |failures| check_failures(&key.1, failures, &limits, now))?;
        let places = places(directory, account, address, &limits, false);
        let kept = limits::lock(tx, places.iter().map(|place| place.row.clone())).await?;
        let taken = take(places, &kept, now)?;
        limits::save(tx, taken.into_iter().map(|(row, next)| (row, next, next))).await
    }

    /// In the transaction of newAccount: the address may have one more.
    pub(super) async fn take_new_account(tx: &mut Tx, directory: &Directory, address: &str) -> Result<()> {
        let (Some(rate), Some(address)) = (directory.config.limits.new_accounts.0, network_of(address)) else {
            return Ok(());
        };
        let (row, now) = (format!("accounts/{}/{address}", directory.slug), tx.now());
        let kept = limits::lock(tx, std::iter::once(row.clone())).await?;
        let kept = kept.get(&row).copied().unwrap_or(Timestamp::from_micros(0));
        let next = rate.take(kept, now).map_err(|again| {
            let value = format!("one more account from {address}");
            limited("new_accounts", &value, &rate.to_string(), now, again)
        })?;
        limits::save(tx, std::iter::once((row, next, next))).await
    }

    /// What an account has in place of its directory's limits, and its paused names.
    pub async fn account_limits(&self, id: AccountId) -> Result<(AccountLimits, Vec<Paused>)> {
        let own = limits::of_account(&self.store, id).await?.ok_or_else(|| no_account(id))?;
        Ok((own, limits::paused(&self.store, id).await?))
    }

    pub async fn set_account_limits(&self, actor: &Actor, id: AccountId, own: AccountLimits) -> Result<()> {
        let mut tx = self.store.begin(actor).await?;
        if !limits::set_of_account(&mut tx, id, &own).await? {
            return Err(no_account(id));
        }
        let detail = serde_json::json!({"limits": own});
        tx.audit(AuditEvent::done("account.limits_changed", super::accounts::object(id), detail));
        tx.commit().await
    }

    /// Ends the pause of one name, or of all. Says which.
    pub async fn resume(&self, actor: &Actor, id: AccountId, name: Option<&str>) -> Result<Vec<String>> {
        let mut tx = self.store.begin(actor).await?;
        limits::of_account(&mut tx, id).await?.ok_or_else(|| no_account(id))?;
        let paused = limits::paused(&mut tx, id).await?.into_iter().map(|paused| paused.name);
        let names: Vec<String> = paused.filter(|found| name.is_none_or(|name| found == name)).collect();
        if let (Some(name), true) = (name, names.is_empty()) {
            return Err(Error::not_found(format!("paused name \"{}\" of account {id}", shown(name))));
        }
        for name in &names {
            limits::resume(&mut tx, id, name).await?;
        }
        let detail = serde_json::json!({"names": names});
        tx.audit(AuditEvent::done("account.resumed", super::accounts::object(id), detail));
        tx.commit().await?;
        Ok(names)
    }
}

fn no_account(id: AccountId) -> Error {
    Error::not_found(format!("ACME account {id}"))
}

fn orders_row(account: AccountId) -> String {
    format!("orders/{account}")
}

/// An IPv4 address, or the /64 of an IPv6 address: what one host can change by itself is one.
fn network_of(address: &str) -> Option<String> {
    match address.parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(v4) => Some(v4.to_string()),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Some(format!("{a:x}:{b:x}:{c:x}:{d:x}::/64"))
        }
    }
}

fn set_of(row: &Asked) -> String {
    name_set(&row.directory.slug, &row.order.identifiers)
}

fn own_set_of(row: &Asked) -> String {
    own_set(row.order.account_id, &set_of(row))
}

/// That this account had a certificate for the set.
pub(super) fn own_set(account: AccountId, set: &str) -> String {
    format!("had/{account}/{set}")
}

/// The row of exactly these names in this directory.
pub(super) fn name_set(directory: &str, names: &[Identifier]) -> String {
    let sorted: BTreeSet<String> = names.iter().map(|name| format!("{}:{name}", name.kind())).collect();
    let text = sorted.into_iter().collect::<Vec<_>>().join("\n");
    format!("set/{directory}/{}", to_hex(digest(&SHA256, text.as_bytes()).as_ref()))
}

/// What is tried for the order, as failures are told by.
fn asked_of(row: &Asked) -> Vec<(AccountId, String)> {
    let names = row.names.iter().flat_map(|wanted| [Some(&wanted.name), wanted.ancestor.as_ref()]);
    names.flatten().map(|name| (row.order.account_id, name_of(name))).collect()
}

/// A wildcard and its base are tried at the same place.
pub(super) fn name_of(name: &Identifier) -> String {
    match name {
        Identifier::Dns(dns) => dns.base().to_owned(),
        other => other.value(),
    }
}

/// A verdict's effect on what is known of its name.
pub(super) async fn count_failure(
    tx: &mut Tx,
    account: AccountId,
    name: &Identifier,
    directory: &Limits,
) -> Result<Option<Paused>> {
    let own = limits::of_account(&mut *tx, account).await?.unwrap_or_default().over(directory);
    limits::fail(tx, account, &name_of(name), own.failed_validations, own.pause).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_is_one_address() {
        for (address, network) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(network_of(address).as_deref(), Some(network), "{address}");
        }
        assert_eq!(network_of(""), None);
    }

    #[test]
    fn a_set_of_names_has_no_order() {
        let name = |text: &str| Identifier::guess(text).unwrap();
        let (a, b) = (name("a.example"), name("b.example"));
        assert_eq!(name_set("d", &[a.clone(), b.clone()]), name_set("d", &[b.clone(), a.clone()]));
        assert_ne!(name_set("d", &[a.clone(), b.clone()]), name_set("d", std::slice::from_ref(&a)));
        assert_ne!(name_set("d", std::slice::from_ref(&a)), name_set("e", &[a]));
    }
}
