//! Profiles as data with revisions, and ACME directories.

use super::engine::{On, Row, q, statements};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::id::{DirectoryId, ProfileId};

statements! {
    LIST = "SELECT id, slug, revision, config, updated_at FROM profiles ORDER BY slug";
    INSERT = "INSERT INTO profiles (id, slug, revision, config, created_at, updated_at) VALUES ($1, $2, 1, $3, $4, $4)";
    INSERT_REVISION = "INSERT INTO profile_revisions (profile_id, revision, config, actor, created_at) VALUES ($1, $2, $3, $4, $5)";
    FIND = "SELECT id, slug, revision, config, updated_at FROM profiles WHERE slug = $1";
    REVISE = "UPDATE profiles SET config = $2, revision = revision + 1, updated_at = $3 WHERE id = $1 AND revision = $4";
    REVISIONS = "SELECT revision, config, actor, created_at FROM profile_revisions WHERE profile_id = $1 ORDER BY revision DESC";
    DIRECTORIES = "SELECT slug, config FROM acme_directories ORDER BY slug";
    UPDATE_DIRECTORY = "UPDATE acme_directories SET config = $2 WHERE slug = $1";
    INSERT_DIRECTORY = "INSERT INTO acme_directories (id, slug, config, created_at) VALUES ($1, $2, $3, $4)";
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredProfile {
    pub id: ProfileId,
    pub slug: String,
    pub revision: i64,
    /// `ProfileConfig` as JSON.
    pub config: String,
    pub updated_at: Timestamp,
}

/// A profile as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    pub revision: i64,
    pub config: String,
    pub actor: String,
    pub created_at: Timestamp,
}

pub async fn list<'a>(on: impl Into<On<'a>>) -> Result<Vec<StoredProfile>> {
    let rows = q(LIST).fetch_all(on).await?;
    rows.iter().map(profile).collect()
}

pub async fn find<'a>(on: impl Into<On<'a>>, slug: &str) -> Result<Option<StoredProfile>> {
    q(FIND).bind(slug).fetch_optional(on).await?.as_ref().map(profile).transpose()
}

/// The next revision; false when the present one is no longer `before`.
pub async fn revise(tx: &mut super::Tx, before: &StoredProfile, config: &str) -> Result<bool> {
    let (now, actor) = (tx.now(), tx.actor().to_string());
    let query = q(REVISE).bind(before.id.to_vec()).bind(config).bind(now).bind(before.revision);
    if query.execute(&mut *tx).await? != 1 {
        return Ok(false);
    }
    let query = q(INSERT_REVISION).bind(before.id.to_vec()).bind(before.revision + 1).bind(config);
    query.bind(actor).bind(now).execute(tx).await.map(|_| true)
}

/// Newest first.
pub async fn revisions<'a>(on: impl Into<On<'a>>, id: ProfileId) -> Result<Vec<Revision>> {
    let rows = q(REVISIONS).bind(id.to_vec()).fetch_all(on).await?;
    let revision = |row: &Row| {
        Ok(Revision {
            revision: row.get("revision")?,
            config: row.get("config")?,
            actor: row.get("actor")?,
            created_at: row.time("created_at")?,
        })
    };
    rows.iter().map(revision).collect()
}

fn profile(row: &Row) -> Result<StoredProfile> {
    Ok(StoredProfile {
        id: row.id("id")?,
        slug: row.get("slug")?,
        revision: row.get("revision")?,
        config: row.get("config")?,
        updated_at: row.time("updated_at")?,
    })
}

/// The first revision of a new profile; its slug must be free.
pub async fn insert(tx: &mut super::Tx, id: ProfileId, slug: &str, config: &str) -> Result<()> {
    let (now, actor) = (tx.now(), tx.actor().to_string());
    q(INSERT).bind(id.to_vec()).bind(slug).bind(config).bind(now).execute(&mut *tx).await?;
    q(INSERT_REVISION).bind(id.to_vec()).bind(1i64).bind(config).bind(actor).bind(now).execute(tx).await.map(drop)
}

/// (slug, configuration as JSON) of every ACME directory.
pub async fn directories<'a>(on: impl Into<On<'a>>) -> Result<Vec<(String, String)>> {
    let rows = q(DIRECTORIES).fetch_all(on).await?;
    rows.iter().map(|row| Ok((row.get("slug")?, row.get("config")?))).collect()
}

/// False when there is no such directory.
pub async fn update_directory<'a>(on: impl Into<On<'a>>, slug: &str, config: &str) -> Result<bool> {
    Ok(q(UPDATE_DIRECTORY).bind(slug).bind(config).execute(on).await? == 1)
}

pub async fn insert_directory(tx: &mut super::Tx, id: DirectoryId, slug: &str, config: &str) -> Result<()> {
    let now = tx.now();
    q(INSERT_DIRECTORY).bind(id.to_vec()).bind(slug).bind(config).bind(now).execute(tx).await.map(drop)
}
