//! Profiles as data with revisions, and ACME directories.

use super::bad_rows::{BadRow, split};
use super::engine::{On, Row, q, statements};
use super::row_macs::{self, Checker, DIRECTORIES, PROFILES, Sealing, mac_columns, sealed, sealed_writes};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::id::{DirectoryId, ProfileId};

macro_rules! profile_columns {
    () => {
        concat!("id, slug, revision, config, updated_at, ", mac_columns!("profiles", "profiles", "", "id"))
    };
}

statements! {
    LIST = concat!("SELECT ", profile_columns!(), " FROM profiles ORDER BY slug");
    INSERT_REVISION = "INSERT INTO profile_revisions (profile_id, revision, config, actor, created_at) VALUES ($1, $2, $3, $4, $5)";
    FIND = concat!("SELECT ", profile_columns!(), " FROM profiles WHERE slug = $1");
    REVISIONS = "SELECT revision, config, actor, created_at FROM profile_revisions WHERE profile_id = $1 ORDER BY revision DESC";
    DIRECTORIES_LIST = concat!("SELECT id, slug, config, ", mac_columns!("acme_directories", "acme_directories", "", "id"),
        " FROM acme_directories ORDER BY slug");
    DIRECTORY_ID = "SELECT id FROM acme_directories WHERE slug = $1";
}

sealed_writes! {
    INSERT = "INSERT INTO profiles (id, slug, revision, config, created_at, updated_at, row_version, row_mac) VALUES ($1, $2, 1, $3, $4, $4, 1, $5)";
    REVISE = "UPDATE profiles SET config = $2, revision = revision + 1, updated_at = $3 WHERE id = $1 AND revision = $4";
    UPDATE_DIRECTORY = "UPDATE acme_directories SET config = $2 WHERE id = $1";
    INSERT_DIRECTORY = "INSERT INTO acme_directories (id, slug, config, created_at, row_version, row_mac) VALUES ($1, $2, $3, $4, 1, $5)";
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredProfile {
    pub id: ProfileId,
    pub slug: String,
    pub revision: i64,
    /// `ProfileConfig` as JSON.
    pub config: String,
    pub updated_at: Timestamp,
    /// Why nothing is issued by it: its row was changed in the database.
    pub refused: Option<String>,
}

/// A profile as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    pub revision: i64,
    pub config: String,
    pub actor: String,
    pub created_at: Timestamp,
}

/// Those that can be read.
pub async fn list<'a>(on: impl Into<Sealing<'a>>) -> Result<Vec<StoredProfile>> {
    Ok(all(on).await?.0)
}

pub async fn all<'a>(on: impl Into<Sealing<'a>>) -> Result<(Vec<StoredProfile>, Vec<BadRow>)> {
    let (on, checker) = on.into().into_parts();
    Ok(split("profiles", &q(LIST).fetch_all(on).await?, |row| profile(row, &checker)))
}

pub async fn find<'a>(on: impl Into<Sealing<'a>>, slug: &str) -> Result<Option<StoredProfile>> {
    let (on, checker) = on.into().into_parts();
    q(FIND).bind(slug).fetch_optional(on).await?.map(|row| profile(&row, &checker)).transpose()
}

/// The next revision; false when the present one is no longer `before`.
pub async fn revise(tx: &mut super::Tx, before: &StoredProfile, config: &str) -> Result<bool> {
    let (now, actor) = (tx.now(), tx.actor().to_string());
    let query = sealed(REVISE).bind(before.id.to_vec()).bind(config).bind(now).bind(before.revision);
    if let Some(refused) = &before.refused {
        return Err(Error::new(ErrorKind::Forbidden, refused.clone()));
    }
    // the revision before is gone, also where its row is put back
    if !row_macs::withdraw(&mut *tx, PROFILES, &before.id.bytes(), query).await? {
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

fn profile(row: &Row, checker: &Checker) -> Result<StoredProfile> {
    Ok(StoredProfile {
        refused: checker.refusal(PROFILES, row)?,
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
    let query = sealed(INSERT).bind(id.to_vec()).bind(slug).bind(config).bind(now);
    row_macs::insert(&mut *tx, PROFILES, query).await?;
    q(INSERT_REVISION).bind(id.to_vec()).bind(1i64).bind(config).bind(actor).bind(now).execute(tx).await.map(drop)
}

/// An ACME directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDirectory {
    pub slug: String,
    /// Its configuration as JSON.
    pub config: String,
    /// Why it answers nothing: its row was changed in the database.
    pub refused: Option<String>,
}

pub async fn directories<'a>(on: impl Into<Sealing<'a>>) -> Result<Vec<StoredDirectory>> {
    let (on, checker) = on.into().into_parts();
    let rows = q(DIRECTORIES_LIST).fetch_all(on).await?;
    let directory = |row: &Row| {
        let refused = checker.refusal(DIRECTORIES, row)?;
        Ok(StoredDirectory { slug: row.get("slug")?, config: row.get("config")?, refused })
    };
    rows.iter().map(directory).collect()
}

/// False when there is no such directory. The configuration before is gone, also where its row is put back.
pub async fn update_directory(tx: &mut super::Tx, slug: &str, config: &str) -> Result<bool> {
    let Some(found) = q(DIRECTORY_ID).bind(slug).fetch_optional(&mut *tx).await? else { return Ok(false) };
    let id: Vec<u8> = found.get("id")?;
    row_macs::withdraw(tx, DIRECTORIES, &id, sealed(UPDATE_DIRECTORY).bind(id.clone()).bind(config)).await
}

pub async fn insert_directory(tx: &mut super::Tx, id: DirectoryId, slug: &str, config: &str) -> Result<()> {
    let now = tx.now();
    let query = sealed(INSERT_DIRECTORY).bind(id.to_vec()).bind(slug).bind(config).bind(now);
    row_macs::insert(tx, DIRECTORIES, query).await.map(drop)
}
