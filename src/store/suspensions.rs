//! Users, tokens, grants and external account keys that are suspended: after a restore they may be ones that were disabled or
//! revoked. They work again when an operator confirms them by name.

use super::engine::{On, Row, q, statements};
use super::row_macs::{self, EAB_KEYS, GRANTS, TOKENS, USERS, sealed, sealed_writes};
use super::{Tx, sessions};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::id::{EabKeyId, GrantId, TokenId, UserId};

statements! {
    WORKING_TOKENS = "SELECT id FROM tokens WHERE suspended_at IS NULL AND revoked_at IS NULL AND expires_at > $1";
    WORKING_GRANTS = "SELECT id FROM grants WHERE suspended_at IS NULL AND revoked_at IS NULL AND created_at <= $1";
    WORKING_EAB_KEYS = "SELECT id FROM eab_keys WHERE suspended_at IS NULL AND revoked_at IS NULL AND expires_at > $1";
    WORKING_USERS = "SELECT id FROM users WHERE suspended_at IS NULL AND disabled_at IS NULL AND created_at <= $1";
    LIST = "SELECT 'token' AS kind, id, name, grant_id, role, NULL AS kid FROM tokens WHERE suspended_at IS NOT NULL AND revoked_at IS NULL AND expires_at > $1 \
            UNION ALL SELECT 'EAB key', id, name, grant_id, '', kid FROM eab_keys WHERE suspended_at IS NOT NULL AND revoked_at IS NULL AND expires_at > $1 \
            UNION ALL SELECT 'grant', id, name, id, '', NULL FROM grants WHERE suspended_at IS NOT NULL AND revoked_at IS NULL \
            UNION ALL SELECT 'user', id, name, NULL, role, NULL FROM users WHERE suspended_at IS NOT NULL AND disabled_at IS NULL \
            ORDER BY kind, name, id";
    /// Those that work, of a name, an id or the kid of an EAB key.
    WORKING = "SELECT 'token' AS kind, id, name, grant_id, role, NULL AS kid FROM tokens WHERE suspended_at IS NULL AND revoked_at IS NULL AND expires_at > $1 AND (name = $2 OR id = $3) \
               UNION ALL SELECT 'EAB key', id, name, grant_id, '', kid FROM eab_keys WHERE suspended_at IS NULL AND revoked_at IS NULL AND expires_at > $1 AND (name = $2 OR kid = $2 OR id = $3) \
               UNION ALL SELECT 'grant', id, name, id, '', NULL FROM grants WHERE suspended_at IS NULL AND revoked_at IS NULL AND (name = $2 OR id = $3) \
               UNION ALL SELECT 'user', id, name, NULL, role, NULL FROM users WHERE suspended_at IS NULL AND disabled_at IS NULL AND (name = $2 OR id = $3)";
}

sealed_writes! {
    SUSPEND_TOKEN = "UPDATE tokens SET suspended_at = $2 WHERE id = $1 AND suspended_at IS NULL";
    SUSPEND_GRANT = "UPDATE grants SET suspended_at = $2 WHERE id = $1 AND suspended_at IS NULL";
    SUSPEND_EAB_KEY = "UPDATE eab_keys SET suspended_at = $2 WHERE id = $1 AND suspended_at IS NULL";
    SUSPEND_USER = "UPDATE users SET suspended_at = $2 WHERE id = $1 AND suspended_at IS NULL";
    CONFIRM_TOKEN = "UPDATE tokens SET suspended_at = NULL WHERE id = $1";
    CONFIRM_GRANT = "UPDATE grants SET suspended_at = NULL WHERE id = $1";
    CONFIRM_EAB_KEY = "UPDATE eab_keys SET suspended_at = NULL WHERE id = $1";
    CONFIRM_USER = "UPDATE users SET suspended_at = NULL WHERE id = $1";
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuspendedId {
    Token(TokenId),
    Grant(GrantId),
    EabKey(EabKeyId),
    User(UserId),
}

/// Something that works again when it is confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspended {
    pub id: SuspendedId,
    pub name: String,
    /// The grant that it acts under.
    pub grant: Option<GrantId>,
    /// The role of a token or user; else empty.
    pub role: String,
    /// The key id that the clients of an EAB key send, where it is another one than its id.
    pub kid: Option<String>,
}

impl Suspended {
    /// As the audit names it.
    pub fn object(&self) -> String {
        match self.id {
            SuspendedId::Token(id) => format!("token:{id}"),
            SuspendedId::Grant(id) => format!("grant:{id}"),
            SuspendedId::EabKey(id) => format!("eab_key:{id}"),
            SuspendedId::User(id) => format!("user:{id}"),
        }
    }

    pub fn kind(&self) -> &'static str {
        match self.id {
            SuspendedId::Token(_) => "token",
            SuspendedId::Grant(_) => "grant",
            SuspendedId::EabKey(_) => "EAB key",
            SuspendedId::User(_) => "user",
        }
    }

    pub fn id(&self) -> String {
        match self.id {
            SuspendedId::Token(id) => id.to_string(),
            SuspendedId::Grant(id) => id.to_string(),
            SuspendedId::EabKey(id) => id.to_string(),
            SuspendedId::User(id) => id.to_string(),
        }
    }
}

/// Suspends everything that works now, and ends every session. Returns how many were suspended.
pub async fn suspend_all(tx: &mut Tx) -> Result<u64> {
    let now = tx.now();
    let mut suspended = 0;
    let kinds = [
        (WORKING_TOKENS, TOKENS, SUSPEND_TOKEN),
        (WORKING_GRANTS, GRANTS, SUSPEND_GRANT),
        (WORKING_EAB_KEYS, EAB_KEYS, SUSPEND_EAB_KEY),
        (WORKING_USERS, USERS, SUSPEND_USER),
    ];
    for (working, table, suspend) in kinds {
        for found in q(working).bind(now).fetch_all(&mut *tx).await? {
            let id: Vec<u8> = found.get("id")?;
            let query = sealed(suspend).bind(id.clone()).bind(now);
            suspended += u64::from(row_macs::suspend(tx, table, &id, query).await?);
        }
    }
    sessions::end_all(tx).await?;
    Ok(suspended)
}

pub async fn list<'a>(on: impl Into<On<'a>>, now: Timestamp) -> Result<Vec<Suspended>> {
    q(LIST).bind(now).fetch_all(on).await?.iter().map(suspended).collect()
}

/// What of this name, id or kid works.
pub async fn working<'a>(on: impl Into<On<'a>>, name: &str, now: Timestamp) -> Result<Vec<Suspended>> {
    let id = name.parse::<TokenId>().map(TokenId::to_vec).ok();
    let id = id.or_else(|| name.parse::<GrantId>().map(GrantId::to_vec).ok());
    let id = id.or_else(|| name.parse::<EabKeyId>().map(EabKeyId::to_vec).ok());
    let id = id.or_else(|| name.parse::<UserId>().map(UserId::to_vec).ok()).unwrap_or_default();
    q(WORKING).bind(now).bind(name).bind(id).fetch_all(on).await?.iter().map(suspended).collect()
}

/// Lets one work again.
pub async fn confirm(tx: &mut Tx, id: SuspendedId) -> Result<()> {
    let (table, text, id) = match id {
        SuspendedId::Token(id) => (TOKENS, CONFIRM_TOKEN, id.to_vec()),
        SuspendedId::Grant(id) => (GRANTS, CONFIRM_GRANT, id.to_vec()),
        SuspendedId::EabKey(id) => (EAB_KEYS, CONFIRM_EAB_KEY, id.to_vec()),
        SuspendedId::User(id) => (USERS, CONFIRM_USER, id.to_vec()),
    };
    row_macs::update(tx, table, &id, sealed(text).bind(id.clone())).await.map(drop)
}

fn suspended(row: &Row) -> Result<Suspended> {
    let id = match row.get::<String>("kind")?.as_str() {
        "token" => SuspendedId::Token(row.id("id")?),
        "grant" => SuspendedId::Grant(row.id("id")?),
        "user" => SuspendedId::User(row.id("id")?),
        _ => SuspendedId::EabKey(row.id("id")?),
    };
    let (grant, role) = (row.id_opt("grant_id")?, row.get("role")?);
    Ok(Suspended { id, name: row.get("name")?, grant, role, kid: row.get("kid")? })
}
