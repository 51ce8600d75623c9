//! Create, list and revoke grants. A grant is never changed: a wider one is a new one, so that what was allowed
//! once can be read for ever.

use std::time::Duration;

use serde_json::json;

use super::idempotency::{self, Key};
use super::{Access, tokens};
use crate::clock::days;
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::model::grant::{Grant, Scope};
use crate::model::id::GrantId;
use crate::model::identifier::shown;
use crate::model::names::NameRule;
use crate::model::text::is_deceptive;
use crate::model::times::shown_duration;
use crate::store::versions::{self, Topic};
use crate::store::{self, Tx};

pub const MAX_LIFE: Duration = days(3650);

/// What is asked. Absent names and subjects allow none; absent profiles and issuers are left to the names, because
/// they choose nothing that a name does not. An empty list allows nothing.
#[derive(Debug, Clone, Default)]
pub struct NewGrant {
    pub name: String,
    pub allow_names: Option<Vec<String>>,
    pub subjects: Option<Vec<String>>,
    pub profiles: Option<Vec<String>>,
    pub issuers: Option<Vec<String>>,
    pub expires_in: Option<Duration>,
    pub max_count: Option<i64>,
}

/// What ended with a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pub tokens: u64,
    pub eab_keys: u64,
    pub accounts: u64,
    pub orders: u64,
}

impl Access {
    /// Call `Caller::may_manage_grants` first when the actor is a token. `answer` is what a repetition under the
    /// same Idempotency-Key is told.
    pub async fn create_grant(
        &self,
        actor: &Actor,
        new: &NewGrant,
        key: Option<&Key>,
        answer: impl FnOnce(&Grant) -> Result<String>,
    ) -> Result<Grant> {
        let mut tx = self.store.begin(actor).await?;
        let grant = insert(&mut tx, new).await?;
        if let Some(key) = key {
            idempotency::claim(&mut tx, actor, key, 201, &answer(&grant)?).await?;
        }
        tx.commit().await?;
        Ok(grant)
    }

    /// Newest first, before `before`.
    pub async fn grants(&self, before: Option<GrantId>, limit: u16) -> Result<Vec<Grant>> {
        store::grants::page(&self.store, before, i64::from(limit)).await
    }

    pub async fn grant(&self, id: GrantId) -> Result<Grant> {
        store::grants::look(&self.store, id).await?.ok_or_else(|| Error::not_found(format!("grant {id}")))
    }

    /// Ends what hangs on it in the same commit: tokens, EAB keys, accounts that they registered, their open orders.
    /// Certificates stay as they are.
    pub async fn revoke_grant(&self, actor: &Actor, id: GrantId) -> Result<(Grant, Ended)> {
        let mut tx = self.store.begin(actor).await?;
        let now = tx.now();
        tx.accounts_change();
        // in the order in which those take their locks who act under it: account, order, key, then the grant
        let mut ended = Ended {
            accounts: store::accounts::revoke_of_grant(&mut tx, id).await?,
            orders: store::orders::fail_of_revoked(&mut tx).await?,
            eab_keys: store::eab_keys::revoke_of_grant(&mut tx, id, now).await?,
            tokens: store::tokens::revoke_of_grant(&mut tx, id, now).await?,
        };
        if !store::grants::revoke(&mut tx, id, now).await? {
            return match store::grants::look(&mut tx, id).await? {
                Some(_) => Err(Error::new(ErrorKind::Conflict, format!("grant {id} was revoked before"))),
                None => Err(Error::not_found(format!("grant {id}"))),
            };
        }
        // whoever registered meanwhile held the key, and is seen now
        ended.accounts += store::accounts::revoke_of_grant(&mut tx, id).await?;
        versions::bump(&mut tx, Topic::Access).await?;
        let detail = json!({"tokens": ended.tokens, "eab_keys": ended.eab_keys, "accounts": ended.accounts,
            "orders": ended.orders});
        tx.audit(AuditEvent::done("grant.revoked", format!("grant:{id}"), detail));
        tx.commit().await?;
        self.forget();
        Ok((self.grant(id).await?, ended))
    }
}

/// A new grant within somebody's transaction, with its audit event.
pub async fn insert(tx: &mut Tx, new: &NewGrant) -> Result<Grant> {
    let (now, created_by) = (tx.now(), tx.actor().to_string());
    let grant = Grant {
        id: GrantId::new(now, tx.store().entropy.as_ref())?,
        name: tokens::name("grant", &new.name)?,
        scope: scope(new)?,
        expires_at: life(new.expires_in)?.map(|life| now + life),
        max_count: count(new.max_count)?,
        used_count: 0,
        created_by,
        created_at: now,
        revoked_at: None,
        suspended_at: None,
    };
    check_known(tx, &grant.scope).await?;
    store::grants::insert(&mut *tx, &grant).await?;
    let detail = json!({"name": grant.name, "scope": grant.scope, "expires_at": grant.expires_at,
        "max_count": grant.max_count});
    tx.audit(AuditEvent::done("grant.created", format!("grant:{}", grant.id), detail));
    Ok(grant)
}

/// A profile or an issuer that does not exist is a slip of the keyboard: the grant would allow nothing by it.
pub(super) async fn check_known(tx: &mut Tx, scope: &Scope) -> Result<()> {
    let named = |list: &[String]| list.iter().any(|slug| slug != "*");
    if named(&scope.profiles) {
        let known = store::profiles::list(&mut *tx).await?.into_iter().map(|profile| profile.slug).collect();
        check_list("profile", &scope.profiles, known)?;
    }
    if named(&scope.issuers) {
        let known = store::hierarchy::issuers(&mut *tx).await?.into_iter().map(|issuer| issuer.slug).collect();
        check_list("issuer", &scope.issuers, known)?;
    }
    Ok(())
}

fn check_list(what: &str, asked: &[String], mut known: Vec<String>) -> Result<()> {
    let Some(unknown) = asked.iter().find(|slug| *slug != "*" && !known.contains(slug)) else { return Ok(()) };
    known.sort();
    let (value, known) = (format!("\"{}\"", shown(unknown)), known.join(", "));
    let wrong = format!("{what} {value} does not exist; there are {known}");
    let rule = format!("grant.{what}s");
    Err(Error::refused(ErrorKind::Unprocessable, rule, value, known, "name one of these, or * for all")
        .explained(wrong))
}

/// A grant that somebody wants to act under, alive.
pub async fn alive(tx: &mut Tx, id: GrantId) -> Result<Grant> {
    let grant = store::grants::hold(&mut *tx, id).await?.ok_or_else(|| Error::not_found(format!("grant {id}")))?;
    grant.check_alive(tx.now())?;
    Ok(grant)
}

/// `None` is no bound; a bound of none is a mistake.
pub(super) fn count(asked: Option<i64>) -> Result<Option<i64>> {
    match asked {
        Some(n) if n < 1 => {
            let fix = "leave it out for no limit";
            Err(Error::refused(ErrorKind::Unprocessable, "grant.max_count", n, "1 or more", fix)
                .explained(format!("max_count is {n}; it must be 1 or more")))
        }
        other => Ok(other),
    }
}

fn life(asked: Option<Duration>) -> Result<Option<Duration>> {
    let Some(life) = asked else { return Ok(None) };
    if life.is_zero() || life > MAX_LIFE {
        let value = shown_duration(life);
        let fix = "leave it out for a grant that does not expire";
        return Err(Error::refused(ErrorKind::Unprocessable, "grant.expires", &value, "1s to 3650d", fix)
            .explained(format!("a grant cannot be made for {value}; it lasts 1s to 3650d: {fix}")));
    }
    Ok(Some(life))
}

fn scope(new: &NewGrant) -> Result<Scope> {
    let all = || vec!["*".to_owned()];
    Ok(Scope {
        names: names(new.allow_names.as_deref().unwrap_or_default())?,
        subjects: subjects(new.subjects.as_deref().unwrap_or_default())?,
        profiles: new.profiles.clone().unwrap_or_else(all),
        issuers: new.issuers.clone().unwrap_or_else(all),
    })
}

/// A subject is compared and shown as text: one that looks like another is refused.
pub(super) fn subjects(texts: &[String]) -> Result<Vec<String>> {
    let Some(bad) = texts.iter().find(|text| text.trim().is_empty() || text.chars().any(is_deceptive)) else {
        return Ok(texts.to_vec());
    };
    let (value, fix) = (format!("\"{}\"", shown(bad)), "leave out control, bidirectional and invisible characters");
    Err(Error::refused(ErrorKind::Unprocessable, "grant.subjects", &value, "visible characters, or *", fix)
        .explained(format!("subject {value} is empty or has characters that nobody sees")))
}

pub(super) fn names(texts: &[String]) -> Result<Vec<NameRule>> {
    texts.iter().map(|text| NameRule::parse(text)).collect()
}
