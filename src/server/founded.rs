//! Never a second CA by accident: the traces that an installation leaves beside its keys, and what a start without a CA
//! in its database does about them.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};

use super::config::{AnchorSetting, Config};
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

/// How far the database is from a CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emptiness {
    /// It has no schema.
    Empty,
    /// It has a schema and no CA: a founding may have been broken off, which leaves its keys.
    WithoutCa,
}

/// Refuses to found where a CA must be already, or where one left its traces.
pub fn check_may_found(config: &Config, emptiness: Emptiness) -> Result<()> {
    if config.must_exist {
        let detail = format!(
            "the database {} holds no CA, and must_exist (--must-exist, CHANCERY_MUST_EXIST) forbids to make one: name the \
             database of your CA with --database-url, or leave must_exist out for the first start",
            config.database
        );
        return Err(Error::new(ErrorKind::Conflict, detail));
    }
    if let Some(trace) = trace(config, emptiness) {
        return Err(another_exists(config, &trace));
    }
    if config.unlock_key.exists() && config.database.is_default_of(&config.data) && !can_be_marked(config) {
        let detail = format!(
            "the unlock key {} was there before and its directory cannot be written, so nothing can say whether a CA has it \
             already; name the database of that CA with --database-url, or, to make a CA in the file {} name this file there",
            config.unlock_key.display(),
            config.database
        );
        return Err(Error::new(ErrorKind::Conflict, detail));
    }
    Ok(())
}

/// Held while a CA is founded: of two starts with one directory of keys the second finds the CA of the first.
pub async fn claim_keys(config: &Config) -> Option<File> {
    let directory = config.unlock_key.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(directory.unwrap_or(Path::new("."))).ok()?;
    let locking = tokio::task::spawn_blocking(move || directory.lock().map(|()| directory));
    match locking.await.map_err(std::io::Error::other).and_then(std::convert::identity) {
        Ok(directory) => Some(directory),
        Err(error) => {
            tracing::warn!(%error, "the directory of the unlock key cannot be locked: take care that one process makes a CA");
            None
        }
    }
}

/// Where a CA was and its database is empty or gone: the files that are left of it.
pub fn lost_database(config: &Config) -> Option<String> {
    trace(config, Emptiness::Empty).map(|trace| {
        format!(
            "the database {} holds no CA, but {} is left of one: restore its database from the backup, or name its database \
             with --database-url",
            config.database,
            trace.display()
        )
    })
}

/// Refuses an installation other than the one that the unlock key is of.
pub fn check_is_known(config: &Config, installation: &[u8]) -> Result<()> {
    let path = beside_unlock_key(config);
    let Some(known) = read(&path)? else { return Ok(()) };
    if known.eq_ignore_ascii_case(&hex(installation)) {
        return Ok(());
    }
    if known.len() != 32 || !known.chars().all(|c| c.is_ascii_hexdigit()) {
        let detail = format!(
            "{} does not say which installation the unlock key is of: it must hold the 32 hexadecimal digits of an installation; \
             if the unlock key is of the database {}, remove the file, and the next start writes it anew",
            path.display(),
            config.database
        );
        return Err(Error::new(ErrorKind::Config, detail));
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
    if is_there(&path) {
        return;
    }
    // whole or not at all, and the first of several stays
    let draft = path.with_extension(format!("installation.{}", std::process::id()));
    let written = fs::write(&draft, format!("{}\n", hex(installation))).and_then(|()| fs::hard_link(&draft, &path));
    let _ = fs::remove_file(&draft);
    if let Err(error) = written {
        tracing::debug!(%error, path = %path.display(), "which installation the unlock key is of could not be written");
    }
}

/// A file that only a founded installation has. A root key beside an empty database is of another one: the founding makes
/// it when the database has its schema.
fn trace(config: &Config, emptiness: Emptiness) -> Option<PathBuf> {
    let mut traces = vec![config.data.join(KeyFile::Status.file_name()), beside_unlock_key(config)];
    if let AnchorSetting::File(anchor) = &config.anchor {
        traces.push(anchor.clone());
    }
    if emptiness == Emptiness::Empty {
        let name = KeyFile::Root.file_name();
        traces.extend([config.data.join(name), config.unlock_key.with_file_name(name)]);
    }
    traces.into_iter().find(|path| is_there(path))
}

/// Also a link to nothing: what it named was there.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Can a file be made in the directory of the unlock key?
fn can_be_marked(config: &Config) -> bool {
    let probe = beside_unlock_key(config).with_extension(format!("probe.{}", std::process::id()));
    let made = OpenOptions::new().write(true).create_new(true).open(&probe).is_ok();
    let _ = fs::remove_file(&probe);
    made
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
        Err(error) if error.kind() == Io::NotFound && !is_there(path) => Ok(None),
        Err(error) if error.kind() == Io::NotFound => {
            let detail = format!(
                "{} is a link to a file that is gone; restore it, or remove the link, and the next start writes it anew",
                path.display()
            );
            Err(Error::new(ErrorKind::Config, detail))
        }
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
         restore it from the backup; to make a second CA name another directory with --data and another --unlock-key",
        config.database,
        trace.display()
    );
    Error::new(ErrorKind::Conflict, detail)
}
