//! Pages that an earlier version freed in a SQLite file: it did not overwrite what it deleted, CRLs of a later time among
//! it. One VACUUM writes the file anew without them, and `user_version` says that this was done. A process that dies in
//! between leaves the file as it was, and the next one begins again.

use std::path::Path;

use rustix::fs::statvfs;

use super::engine::Db;
use crate::error::{Error, ErrorKind, Result};

/// `user_version` of a file whose freed pages hold nothing.
const CLEAN: i64 = 1;
/// VACUUM needs the file once more in a temporary file and once more in the log.
const COPIES: u64 = 2;
const SPARE: u64 = 64 << 20;

impl Db {
    /// May what was deleted before the upgrade be read in this file? Postgres overwrites its pages in its own time and
    /// keeps a log of them: there it is a matter of the disk.
    pub async fn may_hold_deleted(&self) -> Result<bool> {
        Ok(self.number("PRAGMA user_version", "user_version").await?.is_some_and(|version| version < CLEAN))
    }

    /// For a new file, which this version wrote from its first page on.
    pub(super) async fn mark_clean(&self) -> Result<()> {
        debug_assert_eq!(CLEAN, 1, "the text below says so");
        self.on_file("PRAGMA user_version = 1").await.map(drop)
    }

    /// Writes the file anew. Nobody else writes meanwhile, and readers go on. Refused where the disk has no room for it.
    pub async fn write_anew(&self) -> Result<()> {
        let Some(rows) = self.on_file("SELECT file FROM pragma_database_list WHERE name = 'main'").await? else {
            return Ok(());
        };
        let file: String = rows.first().map_or(Ok(String::new()), |row| row.get("file"))?;
        self.need_room(Path::new(&file).parent().unwrap_or(Path::new("."))).await?;
        self.on_file("VACUUM").await?;
        // the log holds pages of before; busy when a reader kept it from being cut
        if self.number("PRAGMA wal_checkpoint(TRUNCATE)", "busy").await? != Some(0) {
            return Err(Error::new(ErrorKind::Unavailable, "readers kept the log from being cut"));
        }
        self.mark_clean().await
    }

    async fn need_room(&self, folder: &Path) -> Result<()> {
        let pages = self.number("PRAGMA page_count", "page_count").await?.unwrap_or(0);
        let octets = self.number("PRAGMA page_size", "page_size").await?.unwrap_or(0);
        let needed = u64::try_from(pages.saturating_mul(octets)).unwrap_or(0) * COPIES + SPARE;
        let free = statvfs(folder).map(|disk| disk.f_bavail * disk.f_frsize);
        let free =
            free.map_err(|e| Error::new(ErrorKind::Unavailable, "the free space cannot be read").because(e))?;
        if free >= needed {
            return Ok(());
        }
        let (free, needed, folder) = (free >> 20, needed >> 20, folder.display());
        let detail = format!("{free} MiB are free in {folder}, and {needed} MiB are needed; make room there");
        Err(Error::new(ErrorKind::Unavailable, detail))
    }

    async fn number(&self, text: &'static str, column: &str) -> Result<Option<i64>> {
        let Some(rows) = self.on_file(text).await? else { return Ok(None) };
        rows.first().map(|row| row.get(column)).transpose()
    }
}
