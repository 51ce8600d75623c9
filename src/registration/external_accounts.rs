//! External account keys (RFC 8555 §7.3.4): made for one directory and one grant, told once, kept sealed, and
//! checked when an account binds itself to one. Who cannot make the MAC learns nothing about a key.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Directory, Registration};
use crate::access::grants::{self, NewGrant};
use crate::access::idempotency::{self, Key};
use crate::clock::days;
use crate::entropy::{Entropy, random};
use crate::error::{Error, ErrorKind, Result};
use crate::model::acme;
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::eab::EabKey;
use crate::model::id::{EabKeyId, GrantId};
use crate::model::identifier::shown;
use crate::model::text::is_deceptive;
use crate::model::times::shown_duration;
use crate::store::{self, Tx, accounts, eab_keys, orders};

pub const DEFAULT_LIFE: Duration = days(90);
pub const MAX_LIFE: Duration = days(3650);
/// What is sealed: an HMAC key, never the row of another kind.
const LABEL: &str = "eab";

/// What is asked.
#[derive(Debug, Clone)]
pub struct NewEabKey {
    pub name: String,
    pub directory: String,
    pub bounds: Bounds,
    /// Until when it registers accounts.
    pub expires_in: Option<Duration>,
    pub max_accounts: Option<i64>,
}

/// Key id and HMAC key that clients have already, in place of new ones.
#[derive(Clone, Default)]
pub struct GivenKey {
    pub kid: Option<String>,
    /// In base64url or base64, as other CAs show it.
    pub hmac_key: Option<Zeroizing<String>>,
}

/// Without the secret.
impl fmt::Debug for GivenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GivenKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// The grant that its accounts act under.
#[derive(Debug, Clone)]
pub enum Bounds {
    /// One that is there.
    Grant(GrantId),
    /// One made with the key, of the same name.
    Own(NewGrant),
}

/// The MAC key in base64url without padding, as clients take it; told once.
pub type MacKey = Zeroizing<String>;

/// The inner JWS of a newAccount request whose shape, `url` and payload were checked; its MAC was not.
#[derive(Debug, Clone)]
pub struct BindingRequest {
    pub kid: String,
    pub algorithm: MacAlgorithm,
    /// What the MAC is over.
    pub input: Vec<u8>,
    pub mac: Vec<u8>,
    pub shown: Value,
}

/// The MACs of RFC 7518 §3.2: HS256 is what every client has, the others are optional (RFC 8555 §7.3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacAlgorithm {
    Hs256,
    Hs384,
    Hs512,
}

impl MacAlgorithm {
    pub const ALL: [MacAlgorithm; 3] = [MacAlgorithm::Hs256, MacAlgorithm::Hs384, MacAlgorithm::Hs512];

    pub const fn name(self) -> &'static str {
        match self {
            MacAlgorithm::Hs256 => "HS256",
            MacAlgorithm::Hs384 => "HS384",
            MacAlgorithm::Hs512 => "HS512",
        }
    }

    /// A MAC that was cut short does not hold.
    fn holds(self, secret: &[u8], input: &[u8], mac: &[u8]) -> bool {
        let algorithm = match self {
            MacAlgorithm::Hs256 => hmac::HMAC_SHA256,
            MacAlgorithm::Hs384 => hmac::HMAC_SHA384,
            MacAlgorithm::Hs512 => hmac::HMAC_SHA512,
        };
        hmac::verify(&hmac::Key::new(algorithm, secret), input, mac).is_ok()
    }
}

impl Registration {
    /// Call `Caller::may_manage_grants` first when the actor is a token. `answer` is what a repetition under the
    /// same Idempotency-Key is told, without the secret.
    pub async fn create_eab_key(
        &self,
        actor: &Actor,
        new: &NewEabKey,
        once: Option<&Key>,
        answer: impl FnOnce(&EabKey) -> Result<String>,
    ) -> Result<(EabKey, MacKey)> {
        self.take_eab_key(actor, new, &GivenKey::default(), once, answer).await
    }

    /// The same with a key id or an HMAC key that clients have already: whoever moves here from another CA need not give
    /// every client another key.
    pub async fn take_eab_key(
        &self,
        actor: &Actor,
        new: &NewEabKey,
        given: &GivenKey,
        once: Option<&Key>,
        answer: impl FnOnce(&EabKey) -> Result<String>,
    ) -> Result<(EabKey, MacKey)> {
        self.directory(&new.directory).map_err(|_| self.no_directory(&new.directory))?;
        let entropy = self.store.entropy.as_ref();
        let given_kid = given.kid.as_deref().map(checked_kid).transpose()?;
        let secret = match &given.hmac_key {
            Some(text) => checked_secret(text)?,
            None => Zeroizing::new(drawn(entropy)?.to_vec()),
        };
        let mut tx = self.store.begin(actor).await?;
        let now = tx.now();
        let id = EabKeyId::new(now, entropy)?;
        let sealed = self.authority.keys.seal_secret(LABEL, &id.bytes(), secret.as_slice())?;
        let grant = match &new.bounds {
            Bounds::Grant(id) => grants::alive(&mut tx, *id).await?,
            Bounds::Own(bounds) => grants::insert(&mut tx, bounds).await?,
        };
        let key = EabKey {
            id,
            given_kid,
            name: checked_name(&new.name)?,
            directory: new.directory.clone(),
            grant_id: grant.id,
            max_accounts: checked_count(new.max_accounts)?,
            used_accounts: 0,
            created_by: actor.to_string(),
            created_at: now,
            expires_at: now + life(new.expires_in)?,
            revoked_at: None,
            suspended_at: None,
            last_used_at: None,
        };
        eab_keys::insert(&mut tx, &key, &sealed).await.map_err(|error| kid_taken(error, &key))?;
        let detail = json!({"kid": key.kid(), "name": key.name, "directory": key.directory, "grant": grant.id, "scope": grant.scope,
            "max_accounts": key.max_accounts, "expires_at": key.expires_at});
        tx.audit(AuditEvent::done("eab_key.created", format!("eab_key:{id}"), detail));
        if let Some(once) = once {
            idempotency::claim(&mut tx, actor, once, 201, &answer(&key)?).await?;
        }
        tx.commit().await?;
        Ok((key, Zeroizing::new(URL_SAFE_NO_PAD.encode(secret.as_slice()))))
    }

    /// Newest first, before `before`.
    pub async fn eab_keys(&self, before: Option<EabKeyId>, limit: u16) -> Result<Vec<EabKey>> {
        eab_keys::page(&self.store, before, i64::from(limit)).await
    }

    pub async fn eab_key(&self, id: EabKeyId) -> Result<EabKey> {
        eab_keys::look(&self.store, id).await?.ok_or_else(|| Error::not_found(format!("EAB key {id}")))
    }

    /// It registers no further account. `with_accounts` ends those too that it has registered, and their open orders.
    pub async fn revoke_eab_key(&self, actor: &Actor, id: EabKeyId, with_accounts: bool) -> Result<EabKey> {
        let mut tx = self.store.begin(actor).await?;
        let now = tx.now();
        let fresh = eab_keys::revoke(&mut tx, id, now).await?;
        let found = eab_keys::look(&mut tx, id).await?.ok_or_else(|| Error::not_found(format!("EAB key {id}")))?;
        if !fresh && !with_accounts {
            return Err(Error::new(ErrorKind::Conflict, format!("EAB key {id} was revoked before")));
        }
        let mut ended = 0;
        if with_accounts {
            tx.accounts_change();
            ended = accounts::revoke_of_key(&mut tx, id).await?;
            orders::fail_of_revoked(&mut tx).await?;
        }
        tx.audit(AuditEvent::done("eab_key.revoked", format!("eab_key:{id}"), json!({"accounts": ended})));
        tx.commit().await?;
        Ok(found)
    }

    /// The key behind a binding whose MAC holds. Every failure before that says the same.
    pub(super) async fn bound_by(&self, directory: &Directory, asked: &BindingRequest) -> Result<EabKey> {
        let unknown = || {
            Error::new(
                ErrorKind::Forbidden,
                "the external account binding is not good: its \"kid\" or its MAC key is not one of this CA; check both",
            )
        };
        // one spelling: an id also parses in lower case, and a key with a key id of its own goes by that alone
        let id = asked.kid.parse().ok().filter(|id: &EabKeyId| id.to_string() == asked.kid);
        let found = match id {
            Some(id) => eab_keys::find(&self.store, id).await?.filter(|key| key.given_kid.is_none()),
            None => eab_keys::find_by_kid(&self.store, &asked.kid).await?,
        };
        let sealed = match &found {
            Some(key) => eab_keys::secret(&self.store, key.id).await?,
            None => None,
        };
        let secret = match (&found, sealed) {
            (Some(key), Some(sealed)) => self.authority.keys.open_secret(LABEL, &key.id.bytes(), &sealed)?,
            // the same work for a key that is not there
            _ => Zeroizing::new(vec![0; 32]),
        };
        let good = asked.algorithm.holds(&secret, &asked.input, &asked.mac);
        match found {
            Some(key) if good => key.check(&directory.slug, self.store.now()).map(|()| key),
            _ => Err(unknown()),
        }
    }

    /// Takes one account of the key, under its grant, within the transaction that makes the account.
    pub(super) async fn bind(&self, tx: &mut Tx, key: &EabKey, asked: &BindingRequest) -> Result<acme::Binding> {
        let now = tx.now();
        // the key before the grant, as a revocation of the grant does
        if !eab_keys::take(&mut *tx, key.id, now).await? {
            let key = eab_keys::find(&mut *tx, key.id).await?;
            let key = key.ok_or_else(|| Error::inconsistent("an EAB key vanished while it was used"))?;
            key.check(&key.directory, now)?;
            return Err(Error::new(ErrorKind::Conflict, "the EAB key was changed meanwhile; try again"));
        }
        let grant = store::grants::hold(&mut *tx, key.grant_id).await?;
        grant.ok_or_else(|| store::grants::gone(key.grant_id))?.check_alive(now)?;
        Ok(acme::Binding { key: key.id, shown: asked.shown.clone() })
    }

    fn no_directory(&self, slug: &str) -> Error {
        Error::refused(
            ErrorKind::Unprocessable,
            "eab.directory",
            format!("\"{}\"", shown(slug)),
            self.directories().join(", "),
            "name one of these",
        )
        .explained(format!(
            "ACME directory \"{}\" does not exist; there are {}",
            shown(slug),
            self.directories().join(", ")
        ))
    }
}

fn checked_name(text: &str) -> Result<String> {
    let text = text.trim();
    if !text.is_empty() && text.chars().count() <= 100 && !text.chars().any(is_deceptive) {
        return Ok(text.to_owned());
    }
    let value = format!("\"{}\"", shown(text));
    let fix = "name who registers with it";
    Err(Error::refused(ErrorKind::Unprocessable, "eab.name", &value, "1 to 100 printable characters", fix)
        .explained(format!("the name of the key, {value}, is not 1 to 100 printable characters")))
}

/// Printable ASCII without blanks, as every client sends it, and never one that reads as an id of ours.
fn checked_kid(text: &str) -> Result<String> {
    let good = (1..=200).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if good && !text.to_ascii_lowercase().starts_with("eab_") {
        return Ok(text.to_owned());
    }
    let value = format!("\"{}\"", shown(text));
    let (allowed, fix) =
        ("1 to 200 printable ASCII characters without blanks, not beginning with eab_", "give another kid");
    Err(Error::refused(ErrorKind::Unprocessable, "eab.kid", &value, allowed, fix)
        .explained(format!("kid {value} is not {allowed}")))
}

fn kid_taken(error: Error, key: &EabKey) -> Error {
    match (error.kind, &key.given_kid) {
        (ErrorKind::Conflict, Some(kid)) => {
            let value = format!("\"{}\"", shown(kid));
            let sentence = format!("another external account key has the kid {value}; give another one");
            Error::refused(ErrorKind::Conflict, "eab.kid", value, "a kid that no key has yet", "give another kid")
                .explained(sentence)
        }
        _ => error,
    }
}

/// 32 octets or more: a shorter key is weaker than the MAC (RFC 7518 §3.2).
fn checked_secret(text: &str) -> Result<Zeroizing<Vec<u8>>> {
    let digits = Zeroizing::new(text.trim().trim_end_matches('=').replace('+', "-").replace('/', "_"));
    let secret = URL_SAFE_NO_PAD.decode(digits.as_str()).map(Zeroizing::new).ok();
    secret.filter(|secret| (32..=256).contains(&secret.len())).ok_or_else(|| {
        let (allowed, fix) =
            ("32 to 256 octets in base64url or base64", "give the key as the other CA shows it, or a longer one");
        Error::refused(ErrorKind::Unprocessable, "eab.hmac_key", "this HMAC key", allowed, fix)
            .explained(format!("the HMAC key cannot be used; it must be {allowed}"))
    })
}

fn checked_count(asked: Option<i64>) -> Result<Option<i64>> {
    match asked {
        Some(n) if n < 1 => {
            let fix = "leave it out for no limit";
            Err(Error::refused(ErrorKind::Unprocessable, "eab.max_accounts", n, "1 or more", fix)
                .explained(format!("max_accounts is {n}; it must be 1 or more")))
        }
        other => Ok(other),
    }
}

fn life(asked: Option<Duration>) -> Result<Duration> {
    let life = asked.unwrap_or(DEFAULT_LIFE);
    if life.is_zero() || life > MAX_LIFE {
        let value = shown_duration(life);
        let fix = "ask for a time in between";
        return Err(Error::refused(ErrorKind::Unprocessable, "eab.expires", &value, "1s to 3650d", fix)
            .explained(format!("a key cannot be made for {value}; it lasts 1s to 3650d")));
    }
    Ok(life)
}

/// 32 bytes whose base64url does not begin with a hyphen: certbot and others would take the key on their command line
/// for an option.
fn drawn(entropy: &dyn Entropy) -> Result<Zeroizing<[u8; 32]>> {
    loop {
        let secret = Zeroizing::new(random::<32>(entropy)?);
        if secret[0] >> 2 != 62 {
            return Ok(secret);
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn no_key_looks_like_an_option() {
        let entropy = SeededEntropy::new(1);
        for _ in 0..1_000 {
            let text = URL_SAFE_NO_PAD.encode(drawn(&entropy).unwrap().as_slice());
            assert!(!text.starts_with('-'), "{text}");
        }
    }
}
