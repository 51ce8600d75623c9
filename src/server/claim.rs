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

/// Unlocks the database. Closing the file is not enough: a child process between fork and exec has a copy of it, and the
/// lock lasts as long as the last copy.
pub fn release(claim: Option<File>) {
    if let Some(Err(error)) = claim.map(|file| file.unlock()) {
        tracing::warn!(%error, "the lock of the database could not be released; it ends with this process");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::settings::Environment;

    #[test]
    fn a_copy_of_the_file_in_a_child_process_keeps_no_lock_after_the_release() {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().display().to_string();
        let config = Config::load(&Default::default(), &Environment::of(&[("CHANCERY_DATA", &data)])).unwrap();
        let claim = database(&config).unwrap();
        let copy = claim.as_ref().unwrap().try_clone().unwrap();
        assert_eq!(database(&config).unwrap_err().kind, ErrorKind::Conflict);
        release(claim);
        assert!(database(&config).is_ok());
        drop(copy);
    }
}
