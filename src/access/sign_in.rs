//! Signing in with a name and a password. Whatever is wrong, the words and the work are the same.
//!
//! A browser that is known to the user (`device.rs`) has a queue and a count of failures of its own. All others share
//! one queue in which clients take turns by their network (`fair_queue.rs`), and one count for each account: after
//! [`MAX_FAILED_SIGN_INS`] wrong passwords in a row the account takes known browsers alone, until it has a new password
//! or an unknown browser knew the right one before. A success of a known browser does not reset that count: else
//! whoever guesses would get as many tries again each time that the owner signs in.

use serde_json::json;

use super::Access;
use super::device::{DeviceCookie, MAX_DEVICE_FAILURES};
use super::password::{Password, Passwords};
use super::refusals::{Entry, Refused};
use super::session::{Cookie, Place, begin, of_user, visitor};
use super::throttle::{Gate, network};
use crate::error::{Error, ErrorKind, Result};
use crate::model::audit::AuditEvent;
use crate::model::id::DeviceId;
use crate::model::user::{MAX_FAILED_SIGN_INS, User, UserName};
use crate::store::{Tx, devices, sessions, users};

/// What the sign-in form and its cookies say.
#[derive(Debug)]
pub struct SignIn<'a> {
    pub name: &'a str,
    pub password: &'a Password,
    /// The session of this browser, which the new one replaces.
    pub session: Option<&'a Cookie>,
    pub devices: &'a [DeviceCookie],
}

/// Somebody who was let in.
#[derive(Debug)]
pub struct Entered {
    pub user: User,
    pub session: Cookie,
    /// `None` while the server is locked.
    pub device: Option<DeviceCookie>,
}

impl Access {
    pub async fn sign_in(&self, ask: &SignIn<'_>, place: &Place) -> Result<Entered> {
        self.devices.prepare(&self.store).await?;
        let name = UserName::parse(ask.name).ok();
        let device = match &name {
            Some(name) => self.known_device(name, ask.devices).await?,
            None => None,
        };
        let outcome = match (&name, device) {
            (Some(name), Some(device)) => self.sign_in_known(name, device, ask, place).await,
            _ => self.sign_in_stranger(name.as_ref(), ask, place).await,
        };
        let result = if outcome.is_ok() { "accepted" } else { "refused" };
        let browser = if device.is_some() { "known" } else { "new" };
        metrics::counter!("chancery_sign_ins_total", "browser" => browser, "outcome" => result).increment(1);
        match outcome {
            Err(error) if error.kind == ErrorKind::RateLimited => {
                let refused = Refused { surface: "sign-in", address: &place.address, request_id: &place.request_id };
                self.refusals.note(refused, &error).await;
                Err(error.recorded())
            }
            other => other,
        }
    }

    async fn sign_in_known(
        &self,
        name: &UserName,
        device: DeviceId,
        ask: &SignIn<'_>,
        place: &Place,
    ) -> Result<Entered> {
        let turn = self.passwords.known.enter(name.as_str()).await?;
        let open = devices::count_failure(&self.store, device, MAX_DEVICE_FAILURES, self.store.now()).await?;
        let found = users::find_by_name(&self.store, name).await?;
        let active = found.as_ref().filter(|(user, _)| user.is_active() && open);
        if !Passwords::verify(turn, ask.password, active.map(|(_, hash)| hash.as_str())).await? {
            return Err(self.wrong(found.as_ref().map(|(user, _)| user), open, place).await);
        }
        let Some((user, hash)) = active else { return Err(self.refused().await) };
        let mut tx = self.store.begin(&of_user(user, place)).await?;
        self.accept(&mut tx, user, hash, ask.session).await?;
        devices::end(&mut tx, device).await?;
        let entered = self.enter(&mut tx, user.clone(), place).await?;
        tx.commit().await?;
        Ok(entered)
    }

    async fn sign_in_stranger(&self, name: Option<&UserName>, ask: &SignIn<'_>, place: &Place) -> Result<Entered> {
        let network = network(&place.address);
        let turn = self.passwords.strangers.enter(&network).await?;
        let gate = name.map(|name| Gate::of_sign_in(name, &network));
        let open = match name.zip(gate.as_ref()) {
            Some((name, gate)) => self.count_failure(name, gate, place).await?,
            None => false,
        };
        let found = match name {
            Some(name) => users::find_by_name(&self.store, name).await?,
            None => None,
        };
        let active = found.as_ref().filter(|(user, _)| user.is_active() && open);
        if !Passwords::verify(turn, ask.password, active.map(|(_, hash)| hash.as_str())).await? {
            self.passwords.strangers.failed(&network);
            return Err(self.wrong(found.as_ref().map(|(user, _)| user), open, place).await);
        }
        let Some((user, hash)) = active else { return Err(self.refused().await) };
        let mut tx = self.store.begin(&of_user(user, place)).await?;
        // rows in the order of `count_failure`, so that two sign-ins never wait for each other
        if let Some(gate) = &gate {
            self.succeeded(&mut tx, gate).await?;
        }
        users::forget_failures(&mut tx, user.id).await?;
        self.accept(&mut tx, user, hash, ask.session).await?;
        let entered = self.enter(&mut tx, user.clone(), place).await?;
        tx.commit().await?;
        Ok(entered)
    }

    /// Counts an attempt as a failure until it has succeeded, for many at once and for several replicas; false when the
    /// account takes no new browsers. Nobody has the name: the same statements.
    async fn count_failure(&self, name: &UserName, gate: &Gate, place: &Place) -> Result<bool> {
        let mut tx = self.store.begin(&visitor(place)).await?;
        self.pass(&mut tx, gate).await?;
        let counted = users::count_failure(&mut tx, name, MAX_FAILED_SIGN_INS).await?;
        if let Some((id, MAX_FAILED_SIGN_INS)) = counted {
            let detail = json!({"name": name.as_str(), "failures": MAX_FAILED_SIGN_INS, "address": place.address});
            tx.audit(AuditEvent::done("user.closed_to_new_browsers", format!("user:{id}"), detail));
        }
        tx.commit().await?;
        Ok(counted.is_some())
    }

    /// The password was right: false things that happened meanwhile are looked at once more.
    async fn accept(&self, tx: &mut Tx, user: &User, hash: &str, session: Option<&Cookie>) -> Result<()> {
        let now = tx.now();
        if !users::signed_in(&mut *tx, user.id, hash, now).await? {
            return Err(wrong_words());
        }
        if let Some(session) = session {
            sessions::end_by_secret(tx, &session.hash()).await?;
        }
        Ok(())
    }

    /// A session and a known browser in the transaction that let somebody in.
    pub(super) async fn enter(&self, tx: &mut Tx, user: User, place: &Place) -> Result<Entered> {
        let session = begin(tx, &user, place).await?;
        let device = self.remember_device(tx, user.id, place).await?;
        Ok(Entered { user, session, device })
    }

    async fn wrong(&self, user: Option<&User>, open: bool, place: &Place) -> Error {
        let why = match user {
            None => "unknown",
            Some(user) if !user.is_active() => user.status(),
            Some(_) if !open => "closed",
            Some(_) => "password",
        };
        let object = user.map(User::object).unwrap_or_default();
        self.refusals.note_entry(Entry { action: "session.refused", object: &object, why }, place).await;
        self.refused().await
    }

    /// Everybody gets the same words, so that nobody learns which names exist. A password that was changed after the backup
    /// counts as a wrong one, so the words name both causes.
    async fn refused(&self) -> Error {
        match self.waits_for_confirmation().await {
            Ok(true) => Error::new(ErrorKind::Unauthenticated, format!("name or password is wrong, or {WAITING}")),
            _ => wrong_words(),
        }
    }

    /// Whether there are users who may not sign in until they are confirmed.
    pub async fn waits_for_confirmation(&self) -> Result<bool> {
        users::is_one_suspended(&self.store).await
    }
}

/// Why users may not sign in who could before, and what lets them in again.
pub const WAITING: &str = "the user waits to be confirmed since the database was restored from a backup: run `chancery reconcile \
                           --confirm NAME` on the host of the server";

fn wrong_words() -> Error {
    Error::new(ErrorKind::Unauthenticated, "name or password is wrong")
}
