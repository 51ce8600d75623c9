//! The one-time set-up link: whoever can write the database gets a secret of 96 bits that makes the first
//! administrator. It lasts 15 minutes, works once, only its SHA-256 is kept, and it is bound to "no administrator
//! exists", which is read again under a lock when it is used.

use std::time::Duration;

use serde_json::json;

use super::link_secret::{LinkSecret, NewLink, Purpose};
use super::password::Password;
use super::refusals::Entry;
use super::session::{Place, of_user, visitor};
use super::sign_in::Entered;
use super::users::record;
use super::{Access, users::NewUser};
use crate::clock::{Timestamp, minutes};
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::{Actor, Role};
use crate::model::audit::AuditEvent;
use crate::model::user::UserName;
use crate::store::users;

pub const LINK_LIFE: Duration = minutes(15);

/// What the set-up page sends.
#[derive(Debug)]
pub struct SetUp<'a> {
    pub secret: &'a str,
    pub name: &'a str,
    pub password: &'a Password,
}

impl Access {
    /// Is there no administrator yet?
    pub async fn needs_setup(&self) -> Result<bool> {
        Ok(!users::has_admin(&self.store).await?)
    }

    /// A new link; those before it end. Refused once there is an administrator.
    pub async fn make_setup_secret(&self, actor: &Actor) -> Result<NewLink> {
        let mut tx = self.store.begin(actor).await?;
        users::lock_admins(&mut tx).await?;
        if users::has_admin(&mut tx).await? {
            return Err(exists());
        }
        let secret = LinkSecret::draw(self.store.entropy.as_ref())?;
        let expires_at = tx.now() + LINK_LIFE;
        let hash = secret.hash(Purpose::SetUp);
        let replaces = users::put_link(&mut tx, &hash, &actor.to_string(), expires_at).await?;
        tx.audit(AuditEvent::done("setup.link_created", "", json!({"expires_at": expires_at})));
        tx.commit().await?;
        Ok(NewLink { secret, expires_at, replaces })
    }

    /// Makes the first administrator and signs in. Of two at once one does.
    pub async fn set_up(&self, ask: &SetUp<'_>, place: &Place) -> Result<Entered> {
        let outcome = self.try_set_up(ask, place).await;
        if let Err(error) = &outcome
            && matches!(error.kind, ErrorKind::Forbidden | ErrorKind::Conflict)
        {
            self.refusals.note_entry(Entry { action: "setup.refused", object: "", why: &error.detail }, place).await;
        }
        outcome
    }

    async fn try_set_up(&self, ask: &SetUp<'_>, place: &Place) -> Result<Entered> {
        if !self.needs_setup().await? {
            return Err(exists());
        }
        // The secret first: nobody without one makes us hash. Guesses are not slowed down: 96 bits need no help, and
        // a gate before an address would keep out whoever shares it.
        let secret = LinkSecret::parse(ask.secret).ok_or_else(no_link)?;
        self.check_link(users::link(&self.store, &secret.hash(Purpose::SetUp)).await?)?;
        let name = UserName::parse(ask.name)?;
        let password = ask.password.clone();
        let new = NewUser { name, role: Role::Admin, password };
        new.password.check_new(&new.name)?;
        let hash = self.passwords.hash("set-up", &new.password, self.store.entropy.as_ref()).await?;

        self.devices.prepare(&self.store).await?;
        let mut tx = self.store.begin(&visitor(place)).await?;
        users::lock_admins(&mut tx).await?;
        if users::has_admin(&mut tx).await? {
            return Err(exists());
        }
        self.check_link(users::link(&mut tx, &secret.hash(Purpose::SetUp)).await?)?;
        users::drop_links(&mut tx).await?;
        let user = record(&self.store, &visitor(place), &new)?;
        users::insert(&mut tx, &user, &hash).await?;
        let detail = json!({"name": user.name.as_str(), "role": user.role.name(), "by": "set-up link"});
        tx.audit_as(&of_user(&user, place), AuditEvent::done("user.created", user.object(), detail));
        let entered = self.enter(&mut tx, user, place).await?;
        tx.commit().await?;
        Ok(entered)
    }

    fn check_link(&self, expires_at: Option<Timestamp>) -> Result<()> {
        match expires_at {
            Some(end) if self.store.now() < end => Ok(()),
            _ => Err(no_link()),
        }
    }
}

/// Never made, used and over are told in the same words.
fn no_link() -> Error {
    let fix = "run `chancery setup-link` on the server for a new one";
    let sentence = format!("this set-up link does not work: the newest one does, once, within 15 minutes; {fix}");
    let allowed = "the newest one, once, within 15 minutes";
    Error::refused(ErrorKind::Forbidden, "setup.link", "this set-up link", allowed, fix).saying(sentence)
}

fn exists() -> Error {
    let fix = "sign in, or run `chancery user create NAME --role admin --password-file FILE` on the server; one who is \
               suspended since the database was restored works again with `chancery reconcile --confirm NAME` there";
    let sentence = format!("there is an administrator already; {fix}");
    let allowed = "one while there is no administrator";
    Error::refused(ErrorKind::Conflict, "setup.first", "a second set-up", allowed, fix).saying(sentence)
}
