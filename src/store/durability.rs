//! Whether a commit of this database survives a crash of its machine. PostgreSQL can be told to promise less than a
//! commit means (documentation, chapter "Write Ahead Log"); SQLite is opened by us with synchronous=FULL.

use super::engine::{On, q, statements};
use crate::error::Result;

statements! {
    READ = "SELECT 'on' AS fsync, 'on' AS full_page_writes, '' AS standby_names, 0 AS standbys",
        postgres "SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes, \
            current_setting('synchronous_standby_names') AS standby_names, \
            (SELECT COUNT(*) FROM pg_stat_replication) AS standbys";
}

/// What the server of the database promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durability {
    /// Commits are flushed to the disk.
    pub fsync: bool,
    /// Pages that were half written when the machine stopped can be repaired.
    pub full_page_writes: bool,
    /// Standbys that follow now.
    pub standbys: i64,
    /// Standbys that a commit waits for; empty for none.
    pub standby_names: String,
}

impl Durability {
    /// A commit may be missing on the standby that takes over.
    pub fn failover_loses_commits(&self) -> bool {
        self.standbys > 0 && self.standby_names.trim().is_empty()
    }
}

pub async fn read<'a>(on: impl Into<On<'a>>) -> Result<Durability> {
    let row = q(READ).fetch_one(on).await?;
    let is_on = |column: &str| row.get::<String>(column).map(|value| value == "on");
    Ok(Durability {
        fsync: is_on("fsync")?,
        full_page_writes: is_on("full_page_writes")?,
        standbys: row.get("standbys")?,
        standby_names: row.get("standby_names")?,
    })
}
