//! Files that commands write: whole or not at all, private keys readable by their owner alone, nothing overwritten
//! unless `--force` says so.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};

/// `web.example` → `web.example`, `*.example` → `_wildcard.example`: as a file name without its ending.
pub fn stem(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-@".contains(c) { c } else { '_' };
    let stem: String = name.replacen('*', "_wildcard", 1).chars().map(safe).collect();
    if stem.starts_with('.') { format!("_{stem}") } else { stem }
}

/// A short secret from a file, or from stdin for `-`; it is never an argument, which every process can read.
pub fn secret(what: &str, file: &Path) -> Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let outcome = match file.to_str() {
        Some("-") => io::stdin().lock().take(8_192).read_to_string(&mut text).map(drop),
        _ => File::open(file).and_then(|f| f.take(8_192).read_to_string(&mut text)).map(drop),
    };
    let unreadable = |e: io::Error| {
        let file = file.display();
        let detail = match e.kind() {
            io::ErrorKind::InvalidData => format!(
                "{what} in {file} is raw bytes, and a text is wanted; if it is a key, write it as base64: base64 -w0 {file} >{file}.b64"
            ),
            _ => format!("cannot read {what} from {file}: {e}"),
        };
        Error::new(ErrorKind::Config, detail)
    };
    outcome.map_err(unreadable)?;
    Ok(text)
}

/// Fails early when one of the files is there already.
pub fn refuse_existing(paths: &[&Path], force: bool) -> Result<()> {
    match paths.iter().find(|p| !force && p.symlink_metadata().is_ok()) {
        Some(path) => Err(exists(path)),
        None => Ok(()),
    }
}

/// Writes beside the target and moves it there, so that no reader sees half a file.
pub fn write(path: &Path, content: &[u8], mode: u32, force: bool) -> Result<()> {
    let temporary = beside(path);
    let written = create(&temporary, content, mode).and_then(|()| {
        // a link fails when the target exists, a rename would replace it
        if force { fs::rename(&temporary, path) } else { fs::hard_link(&temporary, path) }
    });
    let _gone_after_rename = fs::remove_file(&temporary);
    written.map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => exists(path),
        _ => Error::new(
            ErrorKind::Malformed,
            format!("cannot write {}: {e}; choose a directory with --out", path.display()),
        ),
    })
}

fn create(path: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}.{}", std::process::id()))
}

fn exists(path: &Path) -> Error {
    let detail = format!(
        "{} exists already; move it away, name another place with --out, or give --force to a command that has it",
        path.display()
    );
    Error::new(ErrorKind::Conflict, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_never_overwritten_without_force() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.key");
        write(&path, b"one", 0o600, false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(write(&path, b"two", 0o600, false).unwrap_err().kind, ErrorKind::Conflict);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write(&path, b"two", 0o600, true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn names_become_safe_file_names() {
        let stems: Vec<_> = ["*.example.org", "../etc", "fe80::1", "a/b"].iter().map(|n| stem(n)).collect();
        assert_eq!(stems, ["_wildcard.example.org", "_.._etc", "fe80__1", "a_b"]);
    }
}
