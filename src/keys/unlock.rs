//! Key files: one line `chancery-unlock-key-v1:` and base64 of 32 bytes, mode 0600. They are never overwritten
//! by `create`, and what is there after a crash is a whole file or none.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind as Io, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::seal::KeyMaterial;
use crate::entropy::{Entropy, random};
use crate::error::{Error, ErrorKind, Result};
use crate::model::serial::to_hex;

/// Which key-encryption key a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFile {
    /// Opens issuers and internal secrets.
    Unlock,
    /// Opens roots; `serve` never reads it.
    Root,
    /// Opens OCSP responders; a copy of what stands in the database under the unlock key.
    Status,
}

impl KeyFile {
    pub const fn name(self) -> &'static str {
        match self {
            KeyFile::Unlock => "unlock",
            KeyFile::Root => "root",
            KeyFile::Status => "status",
        }
    }

    /// Its usual name in the data directory.
    pub const fn file_name(self) -> &'static str {
        match self {
            KeyFile::Unlock => "unlock.key",
            KeyFile::Root => "root.key",
            KeyFile::Status => "status.key",
        }
    }

    fn prefix(self) -> String {
        format!("chancery-{}-key-v1:", self.name())
    }
}

/// Reads a key file. A missing one is `ErrorKind::Locked`; one that others can read or that holds something
/// else is `ErrorKind::Config`.
pub fn read(kind: KeyFile, path: &Path) -> Result<KeyMaterial> {
    let shown = path.display();
    let file = File::open(path).map_err(|e| match e.kind() {
        Io::NotFound => Error::new(ErrorKind::Locked, missing(kind, path)),
        Io::PermissionDenied => Error::new(
            ErrorKind::Locked,
            format!(
                "the {} key {shown} may not be read by this user: run `chown` on it or start as its owner",
                kind.name()
            ),
        ),
        _ => unreadable(kind, path, e),
    })?;
    refuse_world_access(kind, path, &file)?;
    let mut text = Zeroizing::new(String::new());
    // a key file is 68 bytes; what is longer is another file, or endless
    file.take(4096).read_to_string(&mut text).map_err(|e| match e.kind() {
        Io::InvalidData => malformed(kind, path),
        _ => unreadable(kind, path, e),
    })?;
    parse(kind, path, text.trim())
}

/// Like `read`, and `None` when the file does not exist.
pub fn read_if_exists(kind: KeyFile, path: &Path) -> Result<Option<KeyMaterial>> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == Io::NotFound => Ok(None),
        _ => read(kind, path).map(Some),
    }
}

/// Makes a new key and its file. An existing file is `ErrorKind::Conflict` and stays as it is.
pub fn create(kind: KeyFile, path: &Path, entropy: &dyn Entropy) -> Result<KeyMaterial> {
    let material = KeyMaterial::generate(entropy)?;
    let draft = write_draft(kind, path, &material, entropy)?;
    // a link never replaces: of two that race, one makes the file
    let linked = fs::hard_link(&draft, path);
    let _ = fs::remove_file(&draft);
    match linked {
        Ok(()) => {}
        Err(e) if e.kind() == Io::AlreadyExists => return Err(exists(kind, path)),
        // a file system without hard links: not whole after a crash, still never replaced
        Err(_) => write_new(kind, path, path, &material)?,
    }
    sync_directory(path).map_err(|e| unwritable(kind, path, e))?;
    Ok(material)
}

/// The key of the file, which is made if there is none. Two processes that race get the same key.
pub fn read_or_create(kind: KeyFile, path: &Path, entropy: &dyn Entropy) -> Result<KeyMaterial> {
    if let Some(material) = read_if_exists(kind, path)? {
        return Ok(material);
    }
    match create(kind, path, entropy) {
        Err(e) if e.kind == ErrorKind::Conflict => read(kind, path),
        other => other,
    }
}

/// Puts this key into the file, replacing what is there: for `status.key`, which is only a copy.
pub fn replace(kind: KeyFile, path: &Path, material: &KeyMaterial, entropy: &dyn Entropy) -> Result<()> {
    if read(kind, path).is_ok_and(|have| have.bytes() == material.bytes()) {
        return Ok(());
    }
    let draft = write_draft(kind, path, material, entropy)?;
    fs::rename(&draft, path).and_then(|()| sync_directory(path)).map_err(|e| {
        let _ = fs::remove_file(&draft);
        unwritable(kind, path, e)
    })
}

fn parse(kind: KeyFile, path: &Path, text: &str) -> Result<KeyMaterial> {
    let shown = path.display();
    if text.is_empty() {
        return Err(Error::new(
            ErrorKind::Config,
            format!(
                "the {} key {shown} is empty: put back your copy of it, or remove it if nothing was ever sealed with it",
                kind.name()
            ),
        ));
    }
    for other in [KeyFile::Unlock, KeyFile::Root, KeyFile::Status] {
        if other != kind && text.starts_with(&other.prefix()) {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "{shown} holds the {} key where the {} key is wanted: name the other file",
                    other.name(),
                    kind.name()
                ),
            ));
        }
    }
    let encoded = text.strip_prefix(&kind.prefix()).ok_or_else(|| malformed(kind, path))?;
    let bytes = Zeroizing::new(STANDARD.decode(encoded.trim()).map_err(|_| malformed(kind, path))?);
    KeyMaterial::from_bytes(&bytes).ok_or_else(|| malformed(kind, path))
}

/// Group bits are let pass: systemd credentials and Kubernetes secrets come as 0440.
fn refuse_world_access(kind: KeyFile, path: &Path, file: &File) -> Result<()> {
    let metadata = file.metadata().map_err(|e| unreadable(kind, path, e))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if metadata.is_file() && mode & 0o007 != 0 {
        return Err(Error::refused(
            ErrorKind::Config,
            "key_file.mode",
            format!(
                "the {} key {} with mode {mode:04o}, which every user of this machine can open",
                kind.name(),
                path.display()
            ),
            "no access for others, best 0600",
            format!("run `chmod 600 {}` (in a Kubernetes volume set defaultMode: 0400)", path.display()),
        )
        .explained(format!(
            "the {} key {} has mode {mode:04o}, so every user of this machine can open it",
            kind.name(),
            path.display()
        )));
    }
    Ok(())
}

/// A whole, synced file of mode 0600 beside `path`.
fn write_draft(kind: KeyFile, path: &Path, material: &KeyMaterial, entropy: &dyn Entropy) -> Result<PathBuf> {
    let suffix = to_hex(&random::<8>(entropy)?);
    let draft = path.with_file_name(format!(".{}.{}.{suffix}", kind.file_name(), std::process::id()));
    write_new(kind, path, &draft, material).inspect_err(|_| {
        let _ = fs::remove_file(&draft);
    })?;
    Ok(draft)
}

fn write_new(kind: KeyFile, path: &Path, to: &Path, material: &KeyMaterial) -> Result<()> {
    let mut text = Zeroizing::new(kind.prefix());
    text.reserve(64);
    STANDARD.encode_string(material.bytes(), &mut text);
    text.push('\n');
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        // the umask can only take away: set what we mean
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|e| match e.kind() {
        Io::AlreadyExists => exists(kind, path),
        _ => unwritable(kind, path, e),
    })
}

/// A new name is durable when its directory is.
fn sync_directory(path: &Path) -> std::io::Result<()> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn missing(kind: KeyFile, path: &Path) -> String {
    let shown = path.display();
    match kind {
        KeyFile::Unlock => format!(
            "the unlock key {shown} does not exist; put it back from its backup or name its file with --unlock-key FILE; without it `chancery serve --locked` serves CRLs and OCSP alone"
        ),
        KeyFile::Root => format!(
            "the root key {shown} does not exist; name the file where it is kept with --root-key FILE, or run this on the host that has it"
        ),
        KeyFile::Status => {
            format!("the status key {shown} does not exist: start once with the unlock key, which writes it")
        }
    }
}

fn malformed(kind: KeyFile, path: &Path) -> Error {
    Error::new(
        ErrorKind::Config,
        format!(
            "{} is not a key file: a {} key is one line, {} and the base64 of 32 bytes; put back your copy of it",
            path.display(),
            kind.name(),
            kind.prefix()
        ),
    )
}

fn exists(kind: KeyFile, path: &Path) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("the {} key {} exists already and is never overwritten", kind.name(), path.display()),
    )
}

fn unreadable(kind: KeyFile, path: &Path, cause: std::io::Error) -> Error {
    let text = format!("the {} key {} cannot be read: {cause}", kind.name(), path.display());
    Error::new(ErrorKind::Config, text).because(cause)
}

fn unwritable(kind: KeyFile, path: &Path, cause: std::io::Error) -> Error {
    let text = format!(
        "the {} key {} cannot be written: {cause}; make its directory writable or name another with --data",
        kind.name(),
        path.display()
    );
    Error::new(ErrorKind::Config, text).because(cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unlock.key");
        (folder, path)
    }

    fn put(path: &Path, text: &[u8], mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn refusal(path: &Path) -> (ErrorKind, String) {
        let error = read(KeyFile::Unlock, path).unwrap_err();
        (error.kind, error.detail)
    }

    #[test]
    fn a_created_key_is_read_back_private_and_alone() {
        let (folder, path) = folder();
        let made = create(KeyFile::Unlock, &path, &SystemEntropy::new()).unwrap();
        assert_eq!(read(KeyFile::Unlock, &path).unwrap().bytes(), made.bytes());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("chancery-unlock-key-v1:") && text.lines().count() == 1, "{text}");
    }

    #[test]
    fn an_existing_key_is_never_overwritten() {
        let (folder, path) = folder();
        let made = read_or_create(KeyFile::Unlock, &path, &SystemEntropy::new()).unwrap();
        let again = create(KeyFile::Unlock, &path, &SystemEntropy::new()).unwrap_err();
        assert_eq!(again.kind, ErrorKind::Conflict);
        assert_eq!(read_or_create(KeyFile::Unlock, &path, &SystemEntropy::new()).unwrap().bytes(), made.bytes());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn threads_that_race_get_one_key() {
        let (_folder, path) = folder();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let race = || *read_or_create(KeyFile::Unlock, &path, &SystemEntropy::new()).unwrap().bytes();
            let running: Vec<_> = (0..8).map(|_| scope.spawn(race)).collect();
            running.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|k| *k == keys[0]));
    }

    #[test]
    fn what_is_not_a_key_gets_its_own_sentence() {
        let (_folder, path) = folder();
        assert_eq!(refusal(&path).0, ErrorKind::Locked);
        assert!(refusal(&path).1.contains("--locked"));
        for (text, part) in [
            (&b""[..], "is empty"),
            (b"\n", "is empty"),
            (b"chancery-root-key-v1:AAAA", "holds the root key"),
            (b"hello", "is not a key file"),
            (b"\xff\xfe", "is not a key file"),
            (b"chancery-unlock-key-v1:AAAA", "is not a key file"),
            (b"chancery-unlock-key-v1:!", "is not a key file"),
        ] {
            put(&path, text, 0o600);
            let (kind, detail) = refusal(&path);
            assert_eq!(kind, ErrorKind::Config);
            assert!(detail.contains(part), "{detail}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(refusal(&path).1.contains("cannot be read"));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_and_group_modes_of_mounts_are_not() {
        let (_folder, path) = folder();
        let made = create(KeyFile::Unlock, &path, &SystemEntropy::new()).unwrap();
        for mode in [0o644, 0o604, 0o602] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let (kind, detail) = refusal(&path);
            assert_eq!(kind, ErrorKind::Config);
            assert!(detail.contains("chmod 600"), "{detail}");
        }
        for mode in [0o600, 0o400, 0o440] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(KeyFile::Unlock, &path).unwrap().bytes(), made.bytes());
        }
    }

    #[test]
    fn the_status_copy_is_replaced() {
        let (folder, path) = folder();
        let entropy = SystemEntropy::new();
        for _ in 0..2 {
            let material = KeyMaterial::generate(&entropy).unwrap();
            replace(KeyFile::Status, &path, &material, &entropy).unwrap();
            assert_eq!(read(KeyFile::Status, &path).unwrap().bytes(), material.bytes());
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let nowhere = folder.path().join("none/status.key");
        let material = KeyMaterial::generate(&entropy).unwrap();
        assert!(replace(KeyFile::Status, &nowhere, &material, &entropy).unwrap_err().detail.contains("--data"));
    }
}
