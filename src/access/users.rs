//! People: create, list, change role and password, disable. There is always an active administrator once there was
//! one: the last is neither demoted nor disabled.

use serde_json::json;

use super::Access;
use super::device::DeviceCookie;
use super::password::{Password, Passwords};
use super::session::{Place, SignedIn};
use super::throttle::Gate;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::{Actor, Role};
use crate::model::audit::AuditEvent;
use crate::model::id::UserId;
use crate::model::user::{User, UserName};
use crate::store::{Store, Tx, devices, sessions, users};

#[derive(Debug, Clone)]
pub struct NewUser {
    pub name: UserName,
    pub role: Role,
    pub password: Password,
}

impl Access {
    /// Call `Caller::may` with `ManageUsers` first when the actor is a person.
    pub async fn create_user(&self, actor: &Actor, new: &NewUser) -> Result<User> {
        new.password.check_new(&new.name)?;
        let hash = self.passwords.hash(&actor.to_string(), &new.password, self.store.entropy.as_ref()).await?;
        let user = record(&self.store, actor, new)?;
        let mut tx = self.store.begin(actor).await?;
        users::lock_admins(&mut tx).await?;
        users::insert(&mut tx, &user, &hash).await?;
        if user.role == Role::Admin {
            // a link that is still open is for an installation without an administrator
            users::drop_links(&mut tx).await?;
        }
        let detail = json!({"name": user.name.as_str(), "role": user.role.name()});
        tx.audit(AuditEvent::done("user.created", user.object(), detail));
        tx.commit().await?;
        Ok(user)
    }

    /// By name, after `after`.
    pub async fn users(&self, after: Option<&str>, limit: u16) -> Result<Vec<User>> {
        users::page(&self.store, after.unwrap_or_default(), i64::from(limit)).await
    }

    pub async fn user(&self, id: UserId) -> Result<User> {
        users::find(&self.store, id).await?.ok_or_else(|| Error::not_found(format!("user {id}")))
    }

    pub async fn user_named(&self, name: &UserName) -> Result<Option<User>> {
        Ok(users::find_by_name(&self.store, name).await?.map(|(user, _)| user))
    }

    pub async fn set_role(&self, actor: &Actor, id: UserId, role: Role) -> Result<User> {
        let (mut tx, user) = self.changing(actor, id).await?;
        if role != Role::Admin {
            keep_an_admin(&mut tx, &user).await?;
        }
        users::set_role(&mut tx, id, role).await?;
        sessions::end_of_user(&mut tx, id, None).await?;
        let detail = json!({"name": user.name.as_str(), "from": user.role.name(), "to": role.name()});
        tx.audit(AuditEvent::done("user.role_changed", user.object(), detail));
        tx.commit().await?;
        Ok(User { role, ..user })
    }

    /// Its sessions end with it.
    pub async fn disable_user(&self, actor: &Actor, id: UserId) -> Result<User> {
        let (mut tx, user) = self.changing(actor, id).await?;
        keep_an_admin(&mut tx, &user).await?;
        let now = tx.now();
        users::disable(&mut tx, id, now).await?;
        sessions::end_of_user(&mut tx, id, None).await?;
        devices::end_of_user(&mut tx, id).await?;
        tx.audit(AuditEvent::done("user.disabled", user.object(), json!({"name": user.name.as_str()})));
        tx.commit().await?;
        Ok(User { disabled_at: Some(now), ..user })
    }

    pub async fn enable_user(&self, actor: &Actor, id: UserId) -> Result<User> {
        let (mut tx, user) = self.changing(actor, id).await?;
        users::enable(&mut tx, id).await?;
        tx.audit(AuditEvent::done("user.enabled", user.object(), json!({"name": user.name.as_str()})));
        tx.commit().await?;
        Ok(User { disabled_at: None, ..user })
    }

    /// By an administrator, for somebody who forgot: every session of that user ends, and no browser is known.
    pub async fn reset_password(&self, actor: &Actor, id: UserId, password: &Password) -> Result<User> {
        let user = self.user(id).await?;
        password.check_new(&user.name)?;
        let hash = self.passwords.hash(&actor.to_string(), password, self.store.entropy.as_ref()).await?;
        let (mut tx, user) = self.changing(actor, id).await?;
        let now = tx.now();
        users::set_password(&mut tx, id, &hash, now).await?;
        sessions::end_of_user(&mut tx, id, None).await?;
        devices::end_of_user(&mut tx, id).await?;
        tx.audit(AuditEvent::done("user.password_reset", user.object(), json!({"name": user.name.as_str()})));
        tx.commit().await?;
        Ok(user)
    }

    /// By the user, who knows the old one: every other session ends, and this browser alone is known.
    pub async fn change_password(
        &self,
        signed: &SignedIn,
        old: &Password,
        new: &Password,
        place: &Place,
    ) -> Result<Option<DeviceCookie>> {
        let user = &signed.user;
        let actor = signed.caller.actor();
        self.devices.prepare(&self.store).await?;
        let gate = Gate::of_password_change(user.id);
        let turn = self.passwords.known.enter(&user.id.to_string()).await?;
        let mut tx = self.store.begin(actor).await?;
        self.pass(&mut tx, &gate).await?;
        tx.commit().await?;
        let stored = users::find_by_name(&self.store, &user.name).await?.map(|(_, hash)| hash);
        if !Passwords::verify(turn, old, stored.as_deref()).await? {
            let event =
                AuditEvent::refused("user.password_change_refused", user.object(), json!({"why": "password"}));
            self.store.record(actor, event).await?;
            return Err(Error::new(ErrorKind::Unprocessable, "your present password is another one"));
        }
        new.check_new(&user.name)?;
        let hash = self.passwords.hash(&user.id.to_string(), new, self.store.entropy.as_ref()).await?;
        let (mut tx, _) = self.changing(actor, user.id).await?;
        let now = tx.now();
        self.succeeded(&mut tx, &gate).await?;
        users::set_password(&mut tx, user.id, &hash, now).await?;
        sessions::end_of_user(&mut tx, user.id, Some(signed.session.id)).await?;
        devices::end_of_user(&mut tx, user.id).await?;
        let device = self.remember_device(&mut tx, user.id, place).await?;
        tx.audit(AuditEvent::done("user.password_changed", user.object(), json!({"name": user.name.as_str()})));
        tx.commit().await?;
        Ok(device)
    }

    async fn changing(&self, actor: &Actor, id: UserId) -> Result<(Tx, User)> {
        let mut tx = self.store.begin(actor).await?;
        users::lock_admins(&mut tx).await?;
        let user = users::find(&mut tx, id).await?.ok_or_else(|| Error::not_found(format!("user {id}")))?;
        Ok((tx, user))
    }
}

/// The row of a new user.
pub(super) fn record(store: &Store, actor: &Actor, new: &NewUser) -> Result<User> {
    let now = store.now();
    Ok(User {
        id: UserId::new(now, store.entropy.as_ref())?,
        name: new.name.clone(),
        role: new.role,
        created_by: actor.to_string(),
        created_at: now,
        password_changed_at: now,
        last_sign_in_at: None,
        disabled_at: None,
        suspended_at: None,
        failed_sign_ins: 0,
    })
}

async fn keep_an_admin(tx: &mut Tx, user: &User) -> Result<()> {
    if user.role != Role::Admin || !user.is_active() || users::other_admin(&mut *tx, user.id).await? {
        return Ok(());
    }
    Err(Error::refused(
        ErrorKind::Conflict,
        "user.last_admin",
        format!("taking \"{}\" away, the last active administrator", user.name),
        "at least one active administrator",
        "make another administrator first",
    )
    .explained(format!("\"{}\" is the last active administrator and must stay one", user.name)))
}
