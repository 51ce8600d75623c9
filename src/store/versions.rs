//! Version rows: every replica polls them, and a change of one makes it read the topic again. Bumped in the
//! transaction that changes the topic.

use super::engine::{On, q, statements};
use crate::error::{Error, Result};

statements! {
    READ = "SELECT topic, version FROM versions";
    HOLD = "SELECT version FROM versions WHERE topic = $1", postgres "SELECT version FROM versions WHERE topic = $1 FOR SHARE";
    BUMP = "UPDATE versions SET version = version + 1 WHERE topic = $1";
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Hierarchy,
    Profiles,
    Access,
    Revocations,
    Directories,
    Renewals,
}

impl Topic {
    pub const fn name(self) -> &'static str {
        match self {
            Topic::Hierarchy => "hierarchy",
            Topic::Profiles => "profiles",
            Topic::Access => "access",
            Topic::Revocations => "revocations",
            Topic::Directories => "directories",
            Topic::Renewals => "renewals",
        }
    }
}

/// All versions at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Versions {
    pub hierarchy: i64,
    pub profiles: i64,
    pub access: i64,
    pub revocations: i64,
    pub directories: i64,
    pub renewals: i64,
}

pub async fn read<'a>(on: impl Into<On<'a>>) -> Result<Versions> {
    let mut versions = Versions::default();
    for row in q(READ).fetch_all(on).await? {
        let (topic, version): (String, i64) = (row.get("topic")?, row.get("version")?);
        match topic.as_str() {
            "hierarchy" => versions.hierarchy = version,
            "profiles" => versions.profiles = version,
            "access" => versions.access = version,
            "revocations" => versions.revocations = version,
            "directories" => versions.directories = version,
            "renewals" => versions.renewals = version,
            // a newer binary may follow more topics than this one
            _ => {}
        }
    }
    Ok(versions)
}

/// Keeps the topic from moving until the transaction ends; what moved it before is seen from here on.
pub async fn hold(tx: &mut super::Tx, topic: Topic) -> Result<()> {
    q(HOLD).bind(topic.name()).fetch_one(tx).await.map(drop)
}

pub async fn bump<'a>(on: impl Into<On<'a>>, topic: Topic) -> Result<()> {
    match q(BUMP).bind(topic.name()).execute(on).await? {
        1 => Ok(()),
        _ => Err(Error::inconsistent(format!("the version row {} is missing", topic.name()))),
    }
}
