//! Browsers that signed in before. Each carries a cookie: the id of its row and an HMAC over it under a key that all
//! replicas share, sealed in the database. Such a browser signs in by a queue of its own and has its own count of
//! wrong passwords, so that nobody who guesses from elsewhere can keep its user out.
//!
//! The cookie is no credential: without the password it opens nothing. Whoever steals it gets a few guesses more. It
//! is replaced at every sign-in, lasts half a year, and ends with a new password, with "sign out everywhere" and when
//! the user is disabled. While the server is locked the key cannot be opened, and every browser counts as new.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::hmac;
use serde_json::json;

use super::Access;
use super::link_secret::{LinkSecret, NewLink, Purpose};
use super::refusals::Entry;
use super::secret::sha256;
use super::session::{Place, of_user, visitor};
use crate::clock::{days, minutes};
use crate::entropy::random;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::id::{DeviceId, UserId};
use crate::model::serial::{from_hex, to_hex};
use crate::model::user::{User, UserName};
use crate::pki::signer::{KeyPurpose, KeyStore};
use crate::store::devices::{self, Device};
use crate::store::{Store, Tx, secrets, users};

pub const DEVICE_LIFE: Duration = days(180);
pub const LINK_LIFE: Duration = minutes(15);
/// Wrong passwords in a row after which a device is one like any other.
pub const MAX_DEVICE_FAILURES: i64 = 20;
/// Devices of one user; the oldest are forgotten.
const DEVICES: i64 = 50;
/// Cookies of one request that are looked at: one for each user of the browser.
const COOKIES: usize = 8;
/// Name of the shared secret, and label of its seal.
const SECRET: &str = "device-cookies";

/// The value of a device cookie. Does not print.
pub struct DeviceCookie {
    id: DeviceId,
    mac: Vec<u8>,
}

impl fmt::Debug for DeviceCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceCookie({}, …)", self.id)
    }
}

impl DeviceCookie {
    /// Reads `dev_….<HMAC in hex>`; nothing is verified yet.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, mac) = text.split_once('.')?;
        let mac = from_hex(mac).filter(|mac| mac.len() == 32)?;
        Some(DeviceCookie { id: id.parse().ok()?, mac })
    }

    /// For the Set-Cookie header alone.
    pub fn expose(&self) -> String {
        format!("{}.{}", self.id, to_hex(&self.mac))
    }

    fn sign(key: &hmac::Key, id: DeviceId) -> Self {
        DeviceCookie { id, mac: hmac::sign(key, signed(id).as_bytes()).as_ref().to_vec() }
    }

    fn is_genuine(&self, key: &hmac::Key) -> bool {
        hmac::verify(key, signed(self.id).as_bytes(), &self.mac).is_ok()
    }
}

fn signed(id: DeviceId) -> String {
    format!("chancery device {id}")
}

/// What tells the cookies of several users of one browser apart: part of the cookie's name.
pub fn suffix(user: UserId) -> String {
    to_hex(&sha256(format!("chancery device of {user}").as_bytes())[..6])
}

/// The key of the cookies, opened when it is first needed.
pub struct DeviceKeys {
    keys: Option<Arc<dyn KeyStore>>,
    key: OnceLock<hmac::Key>,
}

impl fmt::Debug for DeviceKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceKeys")
    }
}

impl DeviceKeys {
    pub fn none() -> Self {
        DeviceKeys { keys: None, key: OnceLock::new() }
    }

    pub fn sealed_by(keys: Arc<dyn KeyStore>) -> Self {
        DeviceKeys { keys: Some(keys), key: OnceLock::new() }
    }

    /// Makes the key ready; call it before a transaction that remembers a device, which must not wait for another one.
    pub(super) async fn prepare(&self, store: &Store) -> Result<()> {
        self.open(store).await.map(drop)
    }

    /// `None` while the server is locked. Of replicas that make the key at once, the first one's is kept.
    async fn open(&self, store: &Store) -> Result<Option<hmac::Key>> {
        if let Some(key) = self.key.get() {
            return Ok(Some(key.clone()));
        }
        let Some(keys) = self.keys.as_ref().filter(|keys| keys.can_open(KeyPurpose::Internal)) else {
            return Ok(None);
        };
        let sealed = match secrets::find(store, SECRET).await? {
            Some(sealed) => sealed,
            None => {
                let fresh = keys.seal_secret(SECRET, b"", &random::<32>(store.entropy.as_ref())?)?;
                secrets::insert(store, SECRET, &fresh, store.now()).await?;
                let kept = secrets::find(store, SECRET).await?;
                kept.ok_or_else(|| Error::inconsistent("the key of the device cookies could not be stored"))?
            }
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, &keys.open_secret(SECRET, b"", &sealed)?);
        Ok(Some(self.key.get_or_init(|| key).clone()))
    }
}

impl Access {
    /// The device behind one of these cookies that may try passwords of this user. A cookie that is not genuine costs
    /// no look into the database.
    pub(super) async fn known_device(&self, name: &UserName, cookies: &[DeviceCookie]) -> Result<Option<DeviceId>> {
        if cookies.is_empty() {
            return Ok(None);
        }
        let Some(key) = self.devices.open(&self.store).await? else { return Ok(None) };
        let now = self.store.now();
        for cookie in cookies.iter().take(COOKIES).filter(|cookie| cookie.is_genuine(&key)) {
            if devices::is_known(&self.store, cookie.id, name, MAX_DEVICE_FAILURES, now).await? {
                return Ok(Some(cookie.id));
            }
        }
        Ok(None)
    }

    /// Makes the browser at `place` known, in the transaction that let its user in. `None` when the key was not prepared
    /// or the server is locked.
    pub(super) async fn remember_device(
        &self,
        tx: &mut Tx,
        user: UserId,
        place: &Place,
    ) -> Result<Option<DeviceCookie>> {
        let Some(key) = self.devices.key.get() else { return Ok(None) };
        let now = tx.now();
        let device = Device {
            id: DeviceId::new(now, self.store.entropy.as_ref())?,
            user_id: user,
            created_at: now,
            expires_at: now + DEVICE_LIFE,
            address: place.address.clone(),
            user_agent: place.program(),
        };
        devices::insert(tx, &device, DEVICES).await?;
        Ok(Some(DeviceCookie::sign(key, device.id)))
    }

    /// A link that makes one browser known to this user, who then signs in there with the password. A link from
    /// before ends.
    pub async fn make_sign_in_link(&self, actor: &Actor, user: &User) -> Result<NewLink> {
        if !user.is_active() {
            let (name, status) = (&user.name, user.status());
            let first = if user.disabled_at.is_some() { "user enable" } else { "reconcile --confirm" };
            let detail = format!("user {name} is {status}; run `chancery {first} {name}` first");
            return Err(Error::new(ErrorKind::Conflict, detail));
        }
        let secret = LinkSecret::draw(self.store.entropy.as_ref())?;
        let mut tx = self.store.begin(actor).await?;
        let expires_at = tx.now() + LINK_LIFE;
        let hash = secret.hash(Purpose::SignIn);
        let replaces = devices::put_link(&mut tx, user.id, &hash, &actor.to_string(), expires_at).await?;
        let detail = json!({"name": user.name.as_str(), "expires_at": expires_at});
        tx.audit(AuditEvent::done("user.sign_in_link_created", user.object(), detail));
        tx.commit().await?;
        Ok(NewLink { secret, expires_at, replaces })
    }

    /// Uses a link up and makes the browser at `place` known.
    pub async fn use_sign_in_link(&self, secret: &str, place: &Place) -> Result<(User, DeviceCookie)> {
        let outcome = self.try_sign_in_link(secret, place).await;
        if let Err(error) = &outcome
            && error.kind == ErrorKind::Forbidden
        {
            let entry = Entry { action: "sign_in_link.refused", object: "", why: "unknown, used or expired" };
            self.refusals.note_entry(entry, place).await;
        }
        outcome
    }

    async fn try_sign_in_link(&self, secret: &str, place: &Place) -> Result<(User, DeviceCookie)> {
        let secret = LinkSecret::parse(secret).ok_or_else(no_link)?;
        self.devices.prepare(&self.store).await?;
        let mut tx = self.store.begin(&visitor(place)).await?;
        let user = devices::take_link(&mut tx, &secret.hash(Purpose::SignIn)).await?.ok_or_else(no_link)?;
        let user = users::find(&mut tx, user).await?.filter(User::is_active).ok_or_else(no_link)?;
        let cookie = self.remember_device(&mut tx, user.id, place).await?.ok_or_else(locked)?;
        let detail = json!({"address": place.address});
        tx.audit_as(&of_user(&user, place), AuditEvent::done("user.sign_in_link_used", user.object(), detail));
        tx.commit().await?;
        Ok((user, cookie))
    }
}

/// Never made, used and expired are told in the same words.
fn no_link() -> Error {
    let fix = "run `chancery user sign-in-link NAME` on the server for a new one";
    let sentence = format!("this sign-in link does not work: the newest one does, once, within 15 minutes; {fix}");
    let allowed = "the newest one, once, within 15 minutes";
    Error::refused(ErrorKind::Forbidden, "sign_in.link", "this sign-in link", allowed, fix).saying(sentence)
}

fn locked() -> Error {
    let detail =
        "the server is locked, so it can remember no browser; restart it with its unlock key, without --locked";
    Error::new(ErrorKind::Locked, detail)
}
