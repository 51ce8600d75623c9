//! The one-time set-up link: whoever can write the database gets a secret of 96 bits that makes the first
//! administrator. It lasts 15 minutes, works once, only its SHA-256 is kept, and it is bound to "no administrator
//! exists", which is read again under a lock when it is used.

use std::fmt;
use std::time::Duration;

use serde_json::json;

use super::password::Password;
use super::secret::sha256;
use super::session::{Cookie, Place, begin, of_user, visitor};
use super::throttle::Gates;
use super::users::record;
use super::{Access, users::NewUser};
use crate::clock::{Timestamp, minutes};
use crate::entropy::{Entropy, random};
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::{Actor, Role};
use crate::model::audit::AuditEvent;
use crate::model::user::{User, UserName};
use crate::store::users;

pub const LINK_LIFE: Duration = minutes(15);

/// Crockford's base 32 in lower case: no i, l, o, u to misread.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// `s_` and 96 bits in five groups of four. Does not print.
pub struct SetupSecret(String);

impl fmt::Debug for SetupSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SetupSecret(…)")
    }
}

impl SetupSecret {
    fn draw(entropy: &dyn Entropy) -> Result<Self> {
        let bits = random::<12>(entropy)?.iter().fold(0_u128, |all, b| all << 8 | u128::from(*b));
        let digit = |place: u32| char::from(ALPHABET[usize::try_from(bits >> (5 * place) & 31).unwrap_or(0)]);
        Ok(SetupSecret((0..20).rev().map(digit).collect()))
    }

    /// The secret, with or without `s_` and hyphens, or the whole link.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.rsplit_once('#').map_or(text, |(_, secret)| secret).to_ascii_lowercase();
        let text = text.strip_prefix("s_").unwrap_or(&text);
        let digits: String = text.chars().filter(|c| *c != '-' && !c.is_whitespace()).collect();
        let fits = digits.len() == 20 && digits.bytes().all(|b| ALPHABET.contains(&b));
        fits.then_some(SetupSecret(digits))
    }

    /// As it stands in the link.
    pub fn expose(&self) -> String {
        let digits: Vec<char> = self.0.chars().collect();
        format!("s_{}", digits.chunks(4).map(|c| c.iter().collect::<String>()).collect::<Vec<_>>().join("-"))
    }

    fn hash(&self) -> [u8; 32] {
        sha256(format!("chancery set-up {}", self.0).as_bytes())
    }
}

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
        Ok(!users::other_admin(&self.store, None).await?)
    }

    /// A new link; those before it end. Refused once there is an administrator.
    pub async fn make_setup_secret(&self, actor: &Actor) -> Result<(SetupSecret, Timestamp)> {
        let mut tx = self.store.begin(actor).await?;
        users::lock_admins(&mut tx).await?;
        if users::other_admin(&mut tx, None).await? {
            return Err(exists());
        }
        let secret = SetupSecret::draw(self.store.entropy.as_ref())?;
        let expires_at = tx.now() + LINK_LIFE;
        users::put_link(&mut tx, &secret.hash(), &actor.to_string(), expires_at).await?;
        tx.audit(AuditEvent::done("setup.link_created", "", json!({"expires_at": expires_at})));
        tx.commit().await?;
        Ok((secret, expires_at))
    }

    /// Makes the first administrator and signs in. Of two at once one does.
    pub async fn set_up(&self, ask: &SetUp<'_>, place: &Place) -> Result<(User, Cookie)> {
        let outcome = self.try_set_up(ask, place).await;
        if let Err(error) = &outcome
            && matches!(error.kind, ErrorKind::Forbidden | ErrorKind::Conflict)
        {
            let detail = json!({"why": error.detail, "address": place.address});
            self.store.record(&visitor(place), AuditEvent::refused("setup.refused", "", detail)).await?;
        }
        outcome
    }

    async fn try_set_up(&self, ask: &SetUp<'_>, place: &Place) -> Result<(User, Cookie)> {
        let gates = Gates::of_setup(&place.address);
        let mut tx = self.store.begin(&visitor(place)).await?;
        self.pass(&mut tx, &gates).await?;
        tx.commit().await?;
        if !self.needs_setup().await? {
            return Err(exists());
        }
        // the secret first: nobody without one makes us hash
        let secret = SetupSecret::parse(ask.secret).ok_or_else(no_link)?;
        self.check_link(users::link(&self.store, &secret.hash()).await?)?;
        let name = UserName::parse(ask.name)?;
        let password = ask.password.clone();
        let new = NewUser { name, role: Role::Admin, password };
        new.password.check_new(&new.name)?;
        let hash = self.passwords.hash(&new.password, self.store.entropy.as_ref()).await?;

        let mut tx = self.store.begin(&visitor(place)).await?;
        users::lock_admins(&mut tx).await?;
        if users::other_admin(&mut tx, None).await? {
            return Err(exists());
        }
        self.check_link(users::link(&mut tx, &secret.hash()).await?)?;
        users::drop_links(&mut tx).await?;
        let user = record(&self.store, &visitor(place), &new)?;
        users::insert(&mut tx, &user, &hash).await?;
        let detail = json!({"name": user.name.as_str(), "role": user.role.name(), "by": "set-up link"});
        tx.audit_as(&of_user(&user, place), AuditEvent::done("user.created", user.object(), detail));
        self.succeeded(&mut tx, &gates).await?;
        let cookie = begin(&mut tx, &user, place).await?;
        tx.commit().await?;
        Ok((user, cookie))
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
    Error::refused(
        ErrorKind::Forbidden,
        "setup.link",
        "this set-up link",
        "the newest one, once, within 15 minutes",
        "run chancery setup-link on the server for a new one",
    )
}

fn exists() -> Error {
    Error::refused(
        ErrorKind::Conflict,
        "setup.first",
        "a second set-up",
        "one while there is no administrator",
        "sign in, or run chancery user create NAME --role admin on the server",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn a_secret_may_be_pasted_in_any_form() {
        let secret = SetupSecret::draw(&SeededEntropy::new(3)).unwrap();
        let shown = secret.expose();
        assert_eq!(shown.len(), 2 + 20 + 4);
        let forms = [
            shown.clone(),
            format!("  https://ca.test/setup#{shown}\n"),
            shown.to_uppercase(),
            shown.replace('-', ""),
            shown.trim_start_matches("s_").to_owned(),
        ];
        for form in forms {
            assert_eq!(SetupSecret::parse(&form).map(|s| s.hash()), Some(secret.hash()), "{form}");
        }
        for wrong in ["", "s_", "s_uuuu-uuuu-uuuu-uuuu-uuuu", &shown[..20]] {
            assert!(SetupSecret::parse(wrong).is_none(), "{wrong}");
        }
        assert!(!format!("{secret:?}").contains(&shown[2..6]));
    }
}
