//! Never a second CA by accident: the traces that an installation leaves beside its keys, and what a start without a CA
//! in its database does about them.

use std::fs;
use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};

use super::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::keys::unlock::KeyFile;

/// Which key files were there before a start, so that its receipt says "used" and not "created".
#[derive(Debug, Clone, Copy)]
pub struct KeysBefore {
    pub unlock: bool,
    pub root: bool,
}

impl KeysBefore {
    pub fn of(config: &Config) -> KeysBefore {
        KeysBefore { unlock: config.unlock_key.exists(), root: config.data.join(KeyFile::Root.file_name()).exists() }
    }
}

/// Refuses to found where a CA must be already, or where one left its traces.
pub fn check_may_found(config: &Config) -> Result<()> {
    if config.must_exist {
        let detail = format!(
            "the database {} holds no CA, and must_exist (--must-exist, CHANCERY_MUST_EXIST) forbids to make one: name the \
             database of your CA with --database-url, or leave must_exist out for the first start",
            config.database
        );
        return Err(Error::new(ErrorKind::Conflict, detail));
    }
    match trace(config) {
        Some(trace) => Err(another_exists(config, &trace)),
        None => Ok(()),
    }
}

/// Refuses an installation other than the one that the unlock key is of.
pub fn check_is_known(config: &Config, installation: &[u8]) -> Result<()> {
    let path = beside_unlock_key(config);
    let Some(known) = read(&path)? else { return Ok(()) };
    if known == hex(installation) {
        return Ok(());
    }
    let detail = format!(
        "the database {} is of installation {}, and {} says that this unlock key is of {known}: name the database of that \
         CA with --database-url, or the unlock key of this one with --unlock-key (where both share a key, a copy of it \
         under another name)",
        config.database,
        hex(installation),
        path.display()
    );
    Err(Error::new(ErrorKind::Conflict, detail))
}

/// Writes which installation the unlock key is of. A directory that cannot be written, such as a mounted secret, is left
/// as it is.
pub fn remember(config: &Config, installation: &[u8]) {
    let path = beside_unlock_key(config);
    if path.exists() {
        return;
    }
    // whole or not at all, and the same for every replica
    let draft = path.with_extension(format!("installation.{}", std::process::id()));
    let written = fs::write(&draft, format!("{}\n", hex(installation))).and_then(|()| fs::rename(&draft, &path));
    if let Err(error) = written {
        let _ = fs::remove_file(&draft);
        tracing::debug!(%error, path = %path.display(), "which installation the unlock key is of could not be written");
    }
}

/// A file that only a founded installation has.
fn trace(config: &Config) -> Option<PathBuf> {
    [config.data.join(KeyFile::Status.file_name()), beside_unlock_key(config)].into_iter().find(|path| path.exists())
}

/// `unlock.key.installation`, in the directory of the unlock key.
fn beside_unlock_key(config: &Config) -> PathBuf {
    let mut name = config.unlock_key.file_name().unwrap_or_default().to_owned();
    name.push(".installation");
    config.unlock_key.with_file_name(name)
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == Io::NotFound => Ok(None),
        Err(error) => {
            Err(Error::new(ErrorKind::Config, format!("cannot read {}: {error}; check its owner", path.display())))
        }
    }
}

fn hex(installation: &[u8]) -> String {
    installation.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Founding a second CA would overwrite the status key of the first, and split what trusts it.
fn another_exists(config: &Config, trace: &Path) -> Error {
    let detail = format!(
        "the database {} holds no CA, but {} is of an installation that exists: name its database with --database-url, or \
         another directory with --data and another --unlock-key to make a second CA",
        config.database,
        trace.display()
    );
    Error::new(ErrorKind::Conflict, detail)
}
