//! A certificate and its private key on the disk of a host, replaced together. Three layouts:
//!
//! - `files`: NAME.crt and NAME.key. Both are written and flushed beside the old ones, then two renames follow each
//!   other with nothing in between. What a crash leaves is finished by the next command.
//! - `link`: NAME.crt and NAME.key are links into `.NAME.pairs/current`, a link to a directory with both. One rename
//!   of that link switches both names: no moment of the disk has one of each.
//! - `combined`: NAME.pem holds the chain and the key. One rename, and one open for the reader.
//!
//! Two names cannot be opened in one step, so a program that opens them just before and just after a switch still sees
//! one of each: only `combined` rules that out.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use rcgen::{KeyPair, PublicKeyData};
use zeroize::Zeroizing;

use super::objects;
use crate::error::{Error, ErrorKind, Result};
use crate::pki::certificate_facts::CertificateFacts;
use crate::pki::key_policy;

const KEY_MODE: u32 = 0o600;
const CHAIN_MODE: u32 = 0o644;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Layout {
    /// NAME.crt and NAME.key
    #[default]
    Files,
    /// NAME.crt and NAME.key as links that are switched together
    Link,
    /// NAME.pem with chain and key
    Combined,
}

/// Where certificate and key lie. Links elsewhere are followed: what they point to is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    layout: Layout,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Pair {
    /// A new one, named by its stem in a directory.
    pub fn new(layout: Layout, directory: &Path, stem: &str) -> Self {
        let at = |end: &str| directory.join(format!("{stem}.{end}"));
        match layout {
            Layout::Combined => Pair { layout, certificate: at("pem"), key: at("pem") },
            Layout::Files | Layout::Link => Pair { layout, certificate: at("crt"), key: at("key") },
        }
    }

    /// The one that is there. Without a key file, the key is in the file of the certificate or beside it.
    pub fn find(certificate: &Path, key: Option<&Path>) -> Self {
        let holds_key = || fs::read(certificate).is_ok_and(|text| text.windows(16).any(|w| w == b"PRIVATE KEY-----"));
        let key = match key {
            Some(key) => key.to_owned(),
            None if holds_key() => certificate.to_owned(),
            None => certificate.with_extension("key"),
        };
        let layout = match (key == certificate, pairs_of(certificate)) {
            (true, _) => Layout::Combined,
            (false, Some(pairs)) if pairs_of(&key) == Some(pairs.clone()) => Layout::Link,
            _ => Layout::Files,
        };
        Pair { layout, certificate: certificate.to_owned(), key }
    }

    pub fn is_combined(&self) -> bool {
        self.layout == Layout::Combined
    }

    /// Held until the pair is switched: two commands at once would leave one of each. None where the file system knows no
    /// locks, or no such directory, which writing will report.
    pub fn lock(&self) -> Option<File> {
        let file = File::open(parent(&self.certificate)).ok()?;
        file.lock().ok().map(|()| file)
    }

    /// Finishes what a killed command left between its two renames or just before them. True when the files changed.
    pub fn recover(&self) -> Result<bool> {
        if self.layout != Layout::Files {
            return Ok(false);
        }
        let (certificate, key) = (target(&self.certificate), target(&self.key));
        let (next_certificate, next_key) = (next(&certificate), next(&key));
        let fits =
            |certificate: &Path, key: &Path| spki_of(certificate).is_some_and(|spki| Some(spki) == key_of(key));
        let finished = if fits(&next_certificate, &next_key) {
            rename(&next_key, &key)?;
            rename(&next_certificate, &certificate)?;
            true
        } else if fits(&next_certificate, &key) && !fits(&certificate, &key) {
            rename(&next_certificate, &certificate)?;
            true
        } else {
            false
        };
        self.discard();
        Ok(finished)
    }

    /// Keeps a new key on the disk before anybody certifies it, so that a certificate that was issued has its key.
    pub fn stage(&self, key: &str) -> Result<()> {
        match self.layout {
            Layout::Files => {
                let key_file = target(&self.key);
                write(&next(&key_file), key.as_bytes(), &like(&key_file, KEY_MODE))
            }
            // the old pair stays whole until the switch, and the next command makes another key
            Layout::Link | Layout::Combined => Ok(()),
        }
    }

    /// Takes a staged key away: nothing was issued for it.
    pub fn discard(&self) {
        for path in [target(&self.certificate), target(&self.key)] {
            let _may_be_none = fs::remove_file(next(&path));
        }
    }

    /// Puts both in place. `key` is none where it stays as it is.
    pub fn switch(&self, chain: &str, key: Option<&str>) -> Result<()> {
        let current = match key {
            Some(key) => Zeroizing::new(key.to_owned()),
            None => Zeroizing::new(key_text(&self.key)?),
        };
        check_pair(chain, &current)?;
        match self.layout {
            Layout::Files => self.switch_files(chain, key),
            Layout::Link => self.switch_link(chain, &current),
            Layout::Combined => {
                let file = target(&self.certificate);
                let text = Zeroizing::new(format!("{chain}{}", current.as_str()));
                write(&next(&file), text.as_bytes(), &like(&file, KEY_MODE))?;
                rename(&next(&file), &file)?;
                flush_directory(parent(&file))
            }
        }
    }

    /// Everything that takes time comes first; a reader can meet one of each between the renames alone.
    fn switch_files(&self, chain: &str, key: Option<&str>) -> Result<()> {
        let (certificate, key_file) = (target(&self.certificate), target(&self.key));
        if let Some(key) = key {
            write(&next(&key_file), key.as_bytes(), &like(&key_file, KEY_MODE))?;
        }
        write(&next(&certificate), chain.as_bytes(), &like(&certificate, CHAIN_MODE))?;
        flush_directory(parent(&key_file))?;
        flush_directory(parent(&certificate))?;
        let (next_key, next_certificate) = (next(&key_file), next(&certificate));
        // the key first: a certificate whose key is lost is worth nothing, and recovery finds what is left
        let first = if key.is_some() { fs::rename(&next_key, &key_file) } else { Ok(()) };
        let second = first.as_ref().ok().map(|()| fs::rename(&next_certificate, &certificate));
        first.map_err(|e| failed("replace", &key_file, &e))?;
        second.unwrap_or(Ok(())).map_err(|e| failed("replace", &certificate, &e))?;
        flush_directory(parent(&key_file))?;
        flush_directory(parent(&certificate))
    }

    fn switch_link(&self, chain: &str, key: &str) -> Result<()> {
        let pairs = pairs_of(&self.certificate).unwrap_or_else(|| pairs_beside(&self.certificate));
        let before = fs::read_link(pairs.join("current")).ok();
        make_directory(&pairs)?;
        let number = 1 + numbers(&pairs).into_iter().max().unwrap_or(0);
        let fresh = pairs.join(number.to_string());
        make_directory(&fresh)?;
        let files = [(&self.certificate, chain, CHAIN_MODE), (&self.key, key, KEY_MODE)];
        for (link, text, mode) in files {
            let name = file_name(link);
            let kept = like(&target(link), mode);
            write(&fresh.join(name), text.as_bytes(), &kept)?;
        }
        flush_directory(&fresh)?;
        put_link(Path::new(&number.to_string()), &pairs.join("current"))?;
        flush_directory(&pairs)?;
        for (link, ..) in files {
            let name = file_name(link);
            let to = Path::new(file_name(&pairs)).join("current").join(name);
            if fs::read_link(link).ok().as_deref() != Some(to.as_path()) {
                put_link(&to, link)?;
            }
        }
        flush_directory(parent(&self.certificate))?;
        // the one before stays for programs that are just reading it
        let before = before.and_then(|name| name.to_str()?.parse::<u64>().ok());
        for old in numbers(&pairs).into_iter().filter(|n| *n != number && Some(*n) != before) {
            let _left_for_next_time = fs::remove_dir_all(pairs.join(old.to_string()));
        }
        Ok(())
    }
}

/// Mode and owner of a file that is replaced, or those of a new one.
struct Kept {
    mode: u32,
    owner: Option<(u32, u32)>,
}

fn like(path: &Path, mode: u32) -> Kept {
    match fs::metadata(path) {
        Ok(old) => Kept { mode: old.mode() & 0o777, owner: Some((old.uid(), old.gid())) },
        Err(_) => Kept { mode, owner: None },
    }
}

fn write(path: &Path, content: &[u8], kept: &Kept) -> Result<()> {
    let _left_by_a_crash = fs::remove_file(path);
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(KEY_MODE).open(path)?;
        file.write_all(content)?;
        if let Some((uid, gid)) = kept.owner {
            let made = file.metadata()?;
            if (made.uid(), made.gid()) != (uid, gid) {
                std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
            }
        }
        file.set_permissions(Permissions::from_mode(kept.mode))?;
        file.sync_all()
    })();
    written.map_err(|e| {
        let _half_written = fs::remove_file(path);
        failed("write", path, &e)
    })
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|e| failed("replace", to, &e))
}

/// Makes a link or moves the one that is there, in one step.
fn put_link(to: &Path, link: &Path) -> Result<()> {
    let draft = next(link);
    let _left_by_a_crash = fs::remove_file(&draft);
    symlink(to, &draft).map_err(|e| failed("make the link", link, &e))?;
    rename(&draft, link)
}

fn make_directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| failed("make the directory", path, &e))
}

fn flush_directory(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|e| failed("flush", path, &e))
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::new(ErrorKind::Malformed, format!("cannot {what} {}: {error}", path.display()))
}

/// `.NAME.pairs`, if the path is a link through its `current`.
fn pairs_of(path: &Path) -> Option<PathBuf> {
    let to = fs::read_link(path).ok()?;
    let current = to.parent().filter(|current| current.file_name().is_some_and(|name| name == "current"))?;
    let pairs = current.parent()?;
    file_name(pairs).ends_with(".pairs").then(|| parent(path).join(pairs))
}

fn pairs_beside(certificate: &Path) -> PathBuf {
    let stem = certificate.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    parent(certificate).join(format!(".{stem}.pairs"))
}

fn numbers(pairs: &Path) -> Vec<u64> {
    let entries = fs::read_dir(pairs).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// What a rename has to replace: the file itself, where the name is a link.
fn target(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn next(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{}.next", file_name(path)))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// The key of a file in PEM, which may hold certificates too.
pub fn key_text(path: &Path) -> Result<String> {
    let unreadable =
        |e: &dyn std::fmt::Display| Error::malformed(format!("cannot read the key {}: {e}", path.display()));
    let text = Zeroizing::new(fs::read_to_string(path).map_err(|e| unreadable(&e))?);
    let begin = text
        .match_indices("-----BEGIN ")
        .find(|(at, _)| text[*at..].lines().next().is_some_and(|line| line.trim_end().ends_with("PRIVATE KEY-----")));
    let end = begin.and_then(|(at, _)| {
        let rest = &text[at..];
        let label = rest.lines().next()?.trim_end().replacen("BEGIN", "END", 1);
        Some(&rest[..rest.find(&label)? + label.len()])
    });
    end.map(|key| format!("{key}\n")).ok_or_else(|| unreadable(&"it holds no private key in PEM"))
}

fn spki_of(certificate: &Path) -> Option<[u8; 32]> {
    let leaf = objects::certificates(&fs::read(certificate).ok()?).ok()?.into_iter().next()?;
    Some(CertificateFacts::parse(&leaf).ok()?.spki_sha256)
}

fn key_of(path: &Path) -> Option<[u8; 32]> {
    let text = Zeroizing::new(key_text(path).ok()?);
    let pair = KeyPair::from_pem(&text).ok()?;
    Some(key_policy::sha256(&pair.subject_public_key_info()))
}

/// Nothing is put in place that does not belong together.
fn check_pair(chain: &str, key: &str) -> Result<()> {
    let leaf = objects::certificates(chain.as_bytes())?.into_iter().next().unwrap_or_default();
    let facts = CertificateFacts::parse(&leaf)
        .map_err(|e| Error::malformed(format!("the new certificate cannot be read: {e}")))?;
    let pair = KeyPair::from_pem(key).map_err(|e| Error::malformed(format!("the key cannot be read: {e}")))?;
    if key_policy::sha256(&pair.subject_public_key_info()) == facts.spki_sha256 {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Conflict,
        "the CA answered with a certificate for another key, so nothing was replaced",
    ))
}
