//! Create, list and revoke API tokens. The secret is returned once and only its SHA-256 is kept.

use std::time::Duration;

use serde_json::json;

use super::idempotency::Key;
use super::secret::Secret;
use super::{Access, grants, idempotency, permission};
use crate::clock::{Timestamp, days};
use crate::error::{Error, ErrorKind, Result};
use crate::model::actor::{Actor, Role};
use crate::model::audit::AuditEvent;
use crate::model::grant::{Grant, Scope};
use crate::model::id::{GrantId, TokenId};
use crate::model::names::NameRule;
use crate::model::text::is_deceptive;
use crate::model::times::shown_duration;
use crate::model::token::Token;
use crate::store::versions::{self, Topic};
use crate::store::{self, Store};

pub const DEFAULT_LIFE: Duration = days(90);
pub const MAX_LIFE: Duration = days(365);

/// What is asked. A list that is absent is left to the role; one that is empty allows nothing.
#[derive(Debug, Clone, Default)]
pub struct NewToken {
    pub name: String,
    pub role: Option<Role>,
    pub expires_in: Option<Duration>,
    /// Names, address ranges in CIDR, or beginnings of URIs, as `--allow-name` takes them.
    pub allow_names: Option<Vec<String>>,
    pub subjects: Option<Vec<String>>,
    pub profiles: Option<Vec<String>>,
    pub issuers: Option<Vec<String>>,
    pub max_count: Option<i64>,
    /// An existing grant in place of the lists and the count.
    pub grant: Option<GrantId>,
}

impl Access {
    /// Makes a token. Call `Caller::may_manage_tokens` first when the actor is a token.
    pub async fn create_token(&self, actor: &Actor, new: &NewToken) -> Result<(Token, Secret)> {
        let mut tx = self.store.begin(actor).await?;
        let (token, secret) = create(&mut tx, actor, new).await?;
        tx.commit().await?;
        Ok((token, secret))
    }

    /// The same under an Idempotency-Key: token and answer are committed together, so that of two requests at once
    /// one makes a token. `answer` is what a repetition is told, without the secret.
    pub async fn create_token_once(
        &self,
        actor: &Actor,
        new: &NewToken,
        key: &Key,
        answer: impl FnOnce(&Token) -> Result<(u16, String)>,
    ) -> Result<(Token, Secret)> {
        let mut tx = self.store.begin(actor).await?;
        let (token, secret) = create(&mut tx, actor, new).await?;
        let (status, body) = answer(&token)?;
        idempotency::claim(&mut tx, actor, key, status, &body).await?;
        tx.commit().await?;
        Ok((token, secret))
    }

    /// Newest first, before `before`.
    pub async fn tokens(&self, before: Option<TokenId>, limit: u16) -> Result<Vec<Token>> {
        store::tokens::page(&self.store, before, i64::from(limit)).await
    }

    pub async fn token(&self, id: TokenId) -> Result<Token> {
        store::tokens::find(&self.store, id).await?.ok_or_else(|| Error::not_found(format!("token {id}")))
    }

    /// Here at once, on other replicas within 5 s; an issuance under way reads the token again.
    pub async fn revoke_token(&self, actor: &Actor, id: TokenId) -> Result<Token> {
        let mut tx = self.store.begin(actor).await?;
        let now = tx.now();
        if !store::tokens::revoke(&mut tx, id, now).await? {
            return match store::tokens::find(&mut tx, id).await? {
                Some(_) => Err(Error::new(ErrorKind::Conflict, format!("token {id} was revoked before"))),
                None => Err(Error::not_found(format!("token {id}"))),
            };
        }
        versions::bump(&mut tx, Topic::Access).await?;
        tx.audit(AuditEvent::done("token.revoked", format!("token:{id}"), json!({})));
        tx.commit().await?;
        self.forget();
        self.token(id).await
    }
}

/// The same inside somebody's transaction.
pub(super) async fn create(tx: &mut store::Tx, actor: &Actor, new: &NewToken) -> Result<(Token, Secret)> {
    let store: Store = tx.store().clone();
    let now = store.now();
    let role = new.role.unwrap_or(Role::Requester);
    let expires_at = now + life(new.expires_in)?;
    let name = name("token", &new.name)?;
    let scope = scope(role, new)?;
    let secret = Secret::draw(store.entropy.as_ref())?;
    let grant = match scope {
        _ if new.grant.is_some() => None,
        Some(scope) => Some(Grant {
            id: GrantId::new(now, store.entropy.as_ref())?,
            name: name.clone(),
            scope,
            expires_at: Some(expires_at),
            max_count: new.max_count,
            used_count: 0,
            created_by: actor.to_string(),
            created_at: now,
            revoked_at: None,
            suspended_at: None,
        }),
        None => None,
    };
    if let Some(grant) = &grant {
        grants::check_known(tx, &grant.scope).await?;
        store::grants::insert(&mut *tx, grant).await?;
    }
    let grant = match new.grant {
        Some(id) => Some(shared(tx, new, id).await?),
        None => grant,
    };
    let token = Token {
        id: TokenId::new(now, store.entropy.as_ref())?,
        name,
        role,
        grant_id: grant.as_ref().map(|g| g.id),
        scope: grant.as_ref().map(|g| g.scope.clone()),
        created_by: actor.to_string(),
        created_at: now,
        expires_at,
        revoked_at: None,
        suspended_at: None,
        last_used_at: None,
    };
    store::tokens::insert(&mut *tx, &token, &secret.sha256()).await?;
    versions::bump(&mut *tx, Topic::Access).await?;
    tx.audit(created(&token));
    Ok((token, secret))
}

/// An existing grant, which brings all bounds: beside it there are none.
async fn shared(tx: &mut store::Tx, new: &NewToken, id: GrantId) -> Result<Grant> {
    if is_bounded(new) {
        return Err(Error::refused(
            ErrorKind::Unprocessable,
            "token.grant",
            format!("{id} and lists or a count beside it"),
            "a grant, or bounds of its own",
            "leave one of them out",
        )
        .explained(format!(
            "the token names grant {id} and lists or a count of its own; it takes one or the other"
        )));
    }
    grants::alive(tx, id).await
}

fn created(token: &Token) -> AuditEvent {
    let detail = json!({"name": token.name, "role": token.role.name(), "grant": token.grant_id, "scope": token.scope,
            "expires_at": token.expires_at});
    AuditEvent::done("token.created", format!("token:{}", token.id), detail)
}

fn life(asked: Option<Duration>) -> Result<Duration> {
    let life = asked.unwrap_or(DEFAULT_LIFE);
    if life.is_zero() || life > MAX_LIFE {
        let value = shown_duration(life);
        return Err(Error::refused(
            ErrorKind::Unprocessable,
            "token.expires",
            &value,
            "1s to 365d",
            "ask for a time in between",
        )
        .explained(format!("a token cannot be made for {value}; it lasts 1s to 365d")));
    }
    Ok(life)
}

pub(super) fn name(of: &str, text: &str) -> Result<String> {
    let text = text.trim();
    let fits = !text.is_empty() && text.chars().count() <= 100 && !text.chars().any(is_deceptive);
    if fits {
        return Ok(text.to_owned());
    }
    let shown = format!("\"{}\"", crate::model::identifier::shown(text));
    Err(Error::refused(
        ErrorKind::Unprocessable,
        format!("{of}.name"),
        &shown,
        "1 to 100 printable characters",
        "name what uses it",
    )
    .explained(format!("the name of the {of}, {shown}, is not 1 to 100 printable characters")))
}

/// None: no bounds, which only a role that needs no grant may be left with.
fn scope(role: Role, new: &NewToken) -> Result<Option<Scope>> {
    if !is_bounded(new) {
        return Ok(None);
    }
    grants::count(new.max_count)?;
    let free = permission::is_free(role);
    let all = || vec!["*".to_owned()];
    // what is not mentioned stays open for operators only; profiles and issuers choose nothing that a name does not
    let mut scope = Scope {
        profiles: new.profiles.clone().unwrap_or_else(all),
        issuers: new.issuers.clone().unwrap_or_else(all),
        subjects: match &new.subjects {
            None if free => all(),
            None => Vec::new(),
            Some(texts) => grants::subjects(texts)?,
        },
        ..Scope::default()
    };
    match &new.allow_names {
        None if free => scope.names = vec![NameRule::Any],
        None => {}
        Some(texts) => scope.names = grants::names(texts)?,
    }
    Ok(Some(scope))
}

fn is_bounded(new: &NewToken) -> bool {
    let lists = [&new.allow_names, &new.subjects, &new.profiles, &new.issuers];
    lists.iter().any(|list| list.is_some()) || new.max_count.is_some()
}

/// Whole seconds until it ends, for those who show it.
pub fn remaining(token: &Token, now: Timestamp) -> u64 {
    token.expires_at.since(now).as_secs()
}
