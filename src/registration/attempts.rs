//! Refused requests as operators look for them: by account, order and name. Whoever has an account can have requests
//! refused without end, so the same one again within a minute is counted and not written, and so is what comes over
//! a number of different ones; the counts are written when the minute is over. Housekeeping keeps the newest.
//! What is only read by clients, the download of a certificate, is counted here too and costs no commit of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::orders::AskedName;
use super::{Origin, Registration};
use crate::clock::{Timestamp, days, minutes};
use crate::error::{Error, ErrorKind, Result};
use crate::model::acme::Account;
use crate::model::actor::{Actor, ActorKind};
use crate::model::attempt::{Attempt, Downloads};
use crate::model::audit::AuditEvent;
use crate::model::id::{AttemptId, ChallengeId, OrderId};
use crate::model::identifier::shown;
use crate::model::text::is_deceptive;
use crate::store::{Store, Tx, attempts};

const WINDOW: Duration = minutes(1);
/// Different refused requests that one account, or one address without an account, has written in a minute.
const EACH: usize = 60;
/// The same of all together.
const ALL: usize = 600;
/// Names that are kept of one request.
const NAMES: usize = 100;
const SENTENCE: usize = 1_000;
/// Downloads that wait to be written at most; the next one writes them.
const DOWNLOADS: usize = 1_000;
const KEEP: Duration = days(90);
const KEEP_ROWS: i64 = 50_000;

/// What a refused request was about.
#[derive(Debug, Clone, Default)]
pub(super) struct Tried<'a> {
    /// `order.refused`, …: of the audit event too.
    pub action: &'static str,
    pub directory: &'a str,
    pub address: &'a str,
    pub order: Option<OrderId>,
    pub names: Vec<String>,
    /// Of the audit event.
    pub object: String,
}

impl<'a> Tried<'a> {
    pub fn order(origin: &'a Origin, directory: &'a str, asked: &[AskedName]) -> Self {
        let names = asked.iter().take(NAMES).map(|asked| written(&asked.value)).collect();
        Tried { action: "order.refused", directory, address: &origin.address, names, ..Tried::default() }
    }

    pub fn authorization(origin: &'a Origin, directory: &'a str, asked: &AskedName) -> Self {
        let ordered = Tried::order(origin, directory, std::slice::from_ref(asked));
        Tried { action: "authorization.refused", ..ordered }
    }

    pub fn finalize(origin: &'a Origin, order: &'a crate::model::acme::Order) -> Self {
        Tried {
            action: "order.finalize_refused",
            directory: &order.directory,
            address: &origin.address,
            order: Some(order.id),
            names: order.identifiers.iter().map(ToString::to_string).collect(),
            object: format!("order:{}", order.id),
        }
    }

    pub fn account(origin: &'a Origin, directory: &'a str) -> Self {
        Tried { action: "account.refused", directory, address: &origin.address, ..Tried::default() }
    }

    pub fn challenge(
        origin: &'a Origin,
        directory: &'a str,
        authorization: &crate::model::acme::Authorization,
        id: ChallengeId,
    ) -> Self {
        Tried {
            action: "challenge.refused",
            order: authorization.order_id,
            names: authorization.name().map(|name| name.to_string()).into_iter().collect(),
            object: format!("challenge:{id}"),
            ..Tried::account(origin, directory)
        }
    }

    pub fn change(origin: &'a Origin, account: &'a Account) -> Self {
        Tried { object: super::accounts::object(account.id), ..Tried::account(origin, &account.directory) }
    }

    pub fn terms(origin: &'a Origin, account: &'a Account) -> Self {
        Tried { action: "order.refused", ..Tried::change(origin, account) }
    }

    pub fn revocation(origin: &'a Origin, directory: &'a str) -> Self {
        Tried { action: "certificate.revocation_refused", ..Tried::account(origin, directory) }
    }
}

/// As it is looked for: a whole name in lower case, or the beginning of what can be none.
fn written(value: &str) -> String {
    let lower = value.trim_end_matches('.').to_lowercase();
    if lower.len() <= 253 && !lower.chars().any(char::is_control) { lower } else { shown(&lower) }
}

/// The counts of this process.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Guards only itself, as the next: no await while they are held. At most `ALL` and one for each action.
    windows: Mutex<HashMap<Place, Window>>,
    downloads: Mutex<BTreeMap<OrderId, Downloads>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    action: &'static str,
    /// The account, or the address of who has none; empty for what came over the number.
    who: String,
    object: String,
    names: Vec<String>,
    kind: Option<ErrorKind>,
}

#[derive(Debug, Clone)]
struct Window {
    began: Timestamp,
    last: Timestamp,
    /// After the first, which was written at once; all of them for what came over the number.
    more: i64,
    /// None for what came over the number.
    attempt: Option<AttemptId>,
}

impl Attempts {
    /// The id under which it shall be written, or none when it only adds to a count.
    fn count(&self, place: Place, now: Timestamp, fresh: AttemptId) -> Option<AttemptId> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |window: &Window| now.since(window.began) >= WINDOW;
        if let Some(window) = windows.get_mut(&place)
            && (!over(window) || window.more > 0)
        {
            // one that is over and has a count waits for `flush`
            (window.more, window.last) = (window.more + 1, now);
            return None;
        }
        let written = windows.values().filter(|w| w.attempt.is_some() && !over(w)).count();
        let of_one = windows.iter().filter(|(p, w)| p.who == place.who && w.attempt.is_some() && !over(w)).count();
        if written >= ALL || of_one >= EACH {
            let crowd = Place { who: String::new(), object: String::new(), names: Vec::new(), kind: None, ..place };
            let new = Window { began: now, last: now, more: 0, attempt: None };
            let window = windows.entry(crowd).or_insert(new);
            (window.more, window.last) = (window.more + 1, now);
            return None;
        }
        windows.insert(place, Window { began: now, last: now, more: 0, attempt: Some(fresh) });
        Some(fresh)
    }

    fn over(&self, now: Timestamp, all: bool) -> Vec<(Place, Window)> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let over = windows.extract_if(|_, window| all || now.since(window.began) >= WINDOW);
        over.filter(|(_, window)| window.more > 0).collect()
    }

    fn download(&self, order: OrderId, address: &str, now: Timestamp) -> bool {
        let mut downloads = self.downloads.lock().unwrap_or_else(PoisonError::into_inner);
        let new =
            || Downloads { order_id: order, first_at: now, last_at: now, times: 0, address: address.to_owned() };
        let counted = downloads.entry(order).or_insert_with(new);
        (counted.times, counted.last_at) = (counted.times + 1, now);
        downloads.len() >= DOWNLOADS
    }

    fn take_downloads(&self) -> Vec<Downloads> {
        std::mem::take(&mut *self.downloads.lock().unwrap_or_else(PoisonError::into_inner)).into_values().collect()
    }

    /// What of an order's downloads is not written yet.
    pub fn waiting(&self, order: OrderId) -> Option<Downloads> {
        self.downloads.lock().unwrap_or_else(PoisonError::into_inner).get(&order).cloned()
    }
}

impl Registration {
    /// An order of an account that may make none.
    pub async fn refused_order<T>(
        &self,
        origin: &Origin,
        account: &Account,
        asked: &[AskedName],
        error: Error,
    ) -> Result<T> {
        let tried = Tried::order(origin, &account.directory, asked);
        self.refused_attempt(&origin.account(account), tried, error).await
    }

    /// A refusal that changes nothing else: event and attempt in one transaction, or one more in a count. A fault of
    /// ours is none.
    pub(super) async fn refused_attempt<T>(&self, actor: &Actor, tried: Tried<'_>, error: Error) -> Result<T> {
        if !error.is_refusal() {
            return Err(error);
        }
        let (now, account) = (self.store.now(), account_of(actor));
        let id = AttemptId::new(now, self.store.entropy.as_ref())?;
        let who = if account.is_some() { actor.to_string() } else { tried.address.to_owned() };
        let place = Place {
            action: tried.action,
            who,
            object: tried.object.clone(),
            names: tried.names.clone(),
            kind: Some(error.kind),
        };
        let Some(id) = self.attempts.count(place, now, id) else { return Err(error.recorded()) };
        let rule = error.rule.as_ref().map(|r| r.name.clone());
        let mut tx = self.store.begin(actor).await?;
        if !error.is_recorded() {
            let names: Vec<&String> = tried.names.iter().take(10).collect();
            let detail =
                json!({"why": error.detail, "rule": rule, "attempt": id, "names": names, "from": tried.address});
            tx.audit(AuditEvent::refused(tried.action, tried.object, detail));
        }
        let attempt = Attempt {
            id,
            at: now,
            last_at: now,
            times: 1,
            action: tried.action.to_owned(),
            directory: tried.directory.to_owned(),
            account_id: account,
            order_id: tried.order,
            address: tried.address.to_owned(),
            names: tried.names,
            code: error.kind.code().to_owned(),
            detail: error.detail.chars().filter(|c| !is_deceptive(*c)).take(SENTENCE).collect(),
            rule,
            request_id: actor.request_id.clone(),
        };
        attempts::insert(&mut tx, &attempt).await?;
        tx.commit().await?;
        Err(error.recorded())
    }

    /// The client has its certificate: remembered, and written with the others of a minute.
    pub async fn note_download(&self, origin: &Origin, order: Option<OrderId>) {
        let Some(order) = order else { return };
        if self.attempts.download(order, &origin.address, self.store.now()) {
            self.write_attempts(false).await;
        }
    }

    /// Writes the counts of the minutes that are over, or of all, and the downloads. Called every minute and at the
    /// end.
    pub async fn write_attempts(&self, all: bool) {
        let (over, downloads) = (self.attempts.over(self.store.now(), all), self.attempts.take_downloads());
        if over.is_empty() && downloads.is_empty() {
            return;
        }
        if let Err(error) = write(&self.store, &over, &downloads).await {
            tracing::warn!(error = %error.chain(), "counts of refused ACME requests could not be written");
        }
    }

    /// Housekeeping, in its transaction.
    pub(super) async fn forget_attempts(&self, tx: &mut Tx) -> Result<u64> {
        let now = tx.now();
        attempts::forget(tx, now - KEEP, KEEP_ROWS).await
    }
}

async fn write(store: &Store, over: &[(Place, Window)], downloads: &[Downloads]) -> Result<()> {
    let mut tx = store.begin(&Actor::nobody("")).await?;
    for (place, window) in over {
        if let Some(id) = window.attempt {
            attempts::again(&mut tx, id, window.more, window.last).await?;
        }
        let detail = json!({"action": place.action, "attempt": window.attempt, "by": place.who, "count": window.more,
            "names": place.names.iter().take(10).collect::<Vec<_>>(), "since": window.began, "until": window.last});
        tx.audit(AuditEvent::refused("acme.refused_again", &place.object, detail));
    }
    attempts::downloaded(&mut tx, downloads).await?;
    tx.commit().await
}

fn account_of(actor: &Actor) -> Option<crate::model::id::AccountId> {
    match actor.kind {
        ActorKind::Account(id) => Some(id),
        ActorKind::Host(_)
        | ActorKind::Token(..)
        | ActorKind::User(..)
        | ActorKind::KeyHolder
        | ActorKind::Nobody
        | ActorKind::Job
        | ActorKind::System => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(who: &str, name: &str) -> Place {
        let names = vec![name.to_owned()];
        Place {
            action: "order.refused",
            who: who.into(),
            object: String::new(),
            names,
            kind: Some(ErrorKind::Refused),
        }
    }

    #[test]
    fn a_flood_is_bounded_for_one_and_for_all() {
        let attempts = Attempts::default();
        let now = Timestamp::from_secs(1_000_000);
        let id = AttemptId::from_bytes([1; 16]);
        let asked = |who: &str, n: usize| attempts.count(place(who, &n.to_string()), now, id).is_some();
        assert_eq!((0..200).filter(|n| asked("a", *n)).count(), EACH);
        assert_eq!(
            (0..20)
                .flat_map(|who| (0..200).map(move |n| (who, n)))
                .filter(|(w, n)| asked(&format!("b{w}"), *n))
                .count(),
            ALL - EACH
        );
        assert!(attempts.windows.lock().unwrap().len() <= ALL + 1);
        let over = attempts.over(now + WINDOW, false);
        assert_eq!(over.iter().map(|(_, w)| w.more).sum::<i64>(), 200 + 4_000 - 600, "nothing is lost");
    }

    #[test]
    fn names_are_kept_whole_and_nonsense_short() {
        assert_eq!(written("Web.Lab.Example."), "web.lab.example");
        assert_eq!(written(&"a".repeat(253)).len(), 253);
        assert_eq!(written(&"a".repeat(254)).chars().count(), 61);
        assert_eq!(written("a\u{0}b"), "ab");
    }
}
