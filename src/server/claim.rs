//! One serving process a SQLite database: spent nonces and the freshness of OCSP answers live in its memory there.
//! Several replicas share a Postgres. Commands on the host work beside it, and so does a worker.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;

use super::config::{Config, Only};
use crate::error::{Error, ErrorKind, Result};

/// A lock that lasts as long as the file is open, also when the process is killed.
pub fn database(config: &Config) -> Result<Option<File>> {
    if config.database.is_postgres() || config.only == Only::Worker {
        return Ok(None);
    }
    let mut path = config.database.sqlite_path()?.into_os_string();
    path.push(".lock");
    let shown = std::path::PathBuf::from(&path).display().to_string();
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(|e| {
        Error::new(ErrorKind::Unavailable, format!("cannot open {shown}; check the file and its directory"))
            .because(e)
    })?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "another chancery serves {} already; stop it, choose another with --data DIR, or share a Postgres by --database-url",
                config.database
            ),
        )),
        // a file system without locks: nothing can be told
        Err(TryLockError::Error(error)) => {
            tracing::warn!(%error, path = shown, "the database cannot be locked: take care that one process serves it");
            Ok(Some(file))
        }
    }
}
