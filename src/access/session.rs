//! Staying signed in. A session is a row found by the SHA-256 of 256 random bits in a cookie: a new
//! one at every sign-in, 30 minutes idle and 12 hours at most, ended on the server by signing out, by a new password
//! or by disabling the user. The form token (CSRF) is derived from the secret, so it needs no row.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde_json::json;

use super::secret::sha256;
use super::{Access, Caller};
use crate::clock::{Timestamp, hours, minutes};
use crate::entropy::random;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::id::SessionId;
use crate::model::serial::to_hex;
use crate::model::text::is_deceptive;
use crate::model::user::{Session, User};
use crate::store::{Tx, devices, sessions, users};

pub const IDLE: Duration = minutes(30);
pub const ABSOLUTE: Duration = hours(12);
/// `last_seen_at` moves at most this often.
const SEEN_EVERY: Duration = minutes(1);

/// Where a request of a person comes from.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Without port, or empty.
    pub address: String,
    pub user_agent: String,
    pub request_id: String,
}

impl Place {
    /// The User-Agent as it is stored.
    pub fn program(&self) -> String {
        self.user_agent.chars().filter(|c| !is_deceptive(*c)).take(200).collect()
    }
}

/// The secret in the cookie. Does not print.
pub struct Cookie(String);

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie(…)")
    }
}

impl Cookie {
    /// What cannot be a secret of ours is nobody's.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        hex.then(|| Cookie(text.to_owned()))
    }

    /// For the Set-Cookie header alone.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(super) fn hash(&self) -> [u8; 32] {
        sha256(self.0.as_bytes())
    }

    fn form_token(&self) -> String {
        to_hex(&sha256(format!("chancery form {}", self.0).as_bytes()))
    }
}

/// Somebody who is signed in.
#[derive(Debug)]
pub struct SignedIn {
    pub user: User,
    pub session: Session,
    pub caller: Caller,
    /// Stands in every form of this session.
    pub form_token: String,
}

impl SignedIn {
    /// Was the form made by a page of this session?
    pub fn check_form(&self, token: &str) -> Result<()> {
        planted!("form-of-another-page", {
            return Ok(());
        });
        verify_slices_are_equal(self.form_token.as_bytes(), token.as_bytes()).map_err(|_| {
            let detail = "this form is not from a page of your session; open the page again and repeat what you did";
            Error::new(ErrorKind::Forbidden, detail)
        })
    }
}

impl Access {
    /// Whose cookie is it? None when it is unknown, over or idle, or its user is disabled.
    pub async fn signed_in(&self, cookie: &Cookie, request_id: &str) -> Result<Option<SignedIn>> {
        let now = self.store.now();
        let Some((session, user)) = sessions::find(&self.store, &cookie.hash()).await? else { return Ok(None) };
        let alive = planted!("session-never-expires", true, now < session.expires_at)
            && planted!("idle-session-lives", true, now < session.last_seen_at + IDLE)
            && planted!("disabled-user-is-signed-in", true, user.is_active());
        if !alive {
            return Ok(None);
        }
        if now.since(session.last_seen_at) >= SEEN_EVERY {
            sessions::seen(&self.store, session.id, now).await?;
        }
        let caller = Caller::of_user(&user, request_id);
        Ok(Some(SignedIn { caller, session, form_token: cookie.form_token(), user }))
    }

    pub async fn sign_out(&self, signed: &SignedIn) -> Result<()> {
        self.end_session(signed, signed.session.id).await
    }

    /// Ends one session of the user's own.
    pub async fn end_session(&self, signed: &SignedIn, id: SessionId) -> Result<()> {
        let mut tx = self.store.begin(signed.caller.actor()).await?;
        if !sessions::end(&mut tx, id, signed.user.id).await? {
            return Err(Error::not_found(format!("session {id} of yours")));
        }
        tx.audit(AuditEvent::done("session.ended", signed.user.object(), json!({"session": id})));
        tx.commit().await
    }

    /// Ends every session of the user, this one too, and forgets every browser that signed in before.
    pub async fn sign_out_everywhere(&self, signed: &SignedIn) -> Result<()> {
        let mut tx = self.store.begin(signed.caller.actor()).await?;
        sessions::end_of_user(&mut tx, signed.user.id, None).await?;
        devices::end_of_user(&mut tx, signed.user.id).await?;
        tx.audit(AuditEvent::done("user.signed_out_everywhere", signed.user.object(), json!({})));
        tx.commit().await
    }

    /// Of this user, newest first; those that are over are left out.
    pub async fn sessions_of(&self, user: &User) -> Result<Vec<Session>> {
        let now = self.store.now();
        let mut found = sessions::of_user(&self.store, user.id, 100).await?;
        found.retain(|s| now < s.expires_at && now < s.last_seen_at + IDLE);
        Ok(found)
    }

    /// What time ends: sessions, links, counts.
    pub async fn housekeep(&self) -> Result<()> {
        let now: Timestamp = self.store.now();
        users::clean_links(&self.store, now).await?;
        let mut tx = self.store.begin(&Actor::system("housekeeping")).await?;
        sessions::clean(&mut tx, now, now - IDLE).await?;
        devices::clean(&mut tx).await?;
        tx.commit().await?;
        self.forget_attempts(now).await
    }
}

/// A session in the transaction that let somebody in.
pub(super) async fn begin(tx: &mut Tx, user: &User, place: &Place) -> Result<Cookie> {
    let (now, entropy) = (tx.now(), tx.store().entropy.clone());
    let cookie = Cookie(to_hex(&random::<32>(entropy.as_ref())?));
    let session = Session {
        id: SessionId::new(now, entropy.as_ref())?,
        user_id: user.id,
        created_at: now,
        last_seen_at: now,
        expires_at: now + ABSOLUTE,
        address: place.address.clone(),
        user_agent: place.program(),
    };
    sessions::insert(&mut *tx, &session, &cookie.hash()).await?;
    let detail = json!({"session": session.id, "address": session.address});
    tx.audit_as(&of_user(user, place), AuditEvent::done("session.created", user.object(), detail));
    Ok(cookie)
}

/// Somebody of whom nothing is known yet.
pub(super) fn visitor(place: &Place) -> Actor {
    Actor { request_id: place.request_id.clone(), ..Actor::system("sign-in") }
}

pub(super) fn of_user(user: &User, place: &Place) -> Actor {
    Caller::of_user(user, &place.request_id).actor().clone()
}
