//! Which certificates stand in files and folders, and which of them an index says to be revoked. Folders are walked, and
//! what is no certificate in them is passed over; a file that somebody named must hold one.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::index::{self, Revoked, magnitude};
use super::records::{self, Records, Revocation};
use crate::error::{Error, ErrorKind, Result};
use crate::pki::imported::ImportedCertificate;
use crate::pki::pem;

/// Larger files in folders are no certificates.
const LARGEST_IN_FOLDER: u64 = 16 << 20;
/// Folders of a CA that hold no certificates: private keys and requests.
const PASSED_OVER: [&str; 3] = ["private", "reqs", "renewed_keys"];

#[derive(Debug, Clone)]
pub struct Found {
    pub der: Vec<u8>,
    pub revoked: Option<Revocation>,
    /// The file.
    pub source: String,
}

/// All files, with the revocations that were read before them.
#[derive(Debug, Default)]
pub struct Sources {
    /// Each with whether somebody named it.
    files: Vec<(PathBuf, bool)>,
    /// By folder: what lies below it is of that CA.
    indexes: HashMap<PathBuf, Revoked>,
    /// For all files: `--index`.
    index: Option<Revoked>,
    /// For all files, by serial: of step-ca.
    revoked: HashMap<Vec<u8>, Revocation>,
}

impl Sources {
    pub fn of(paths: &[PathBuf], index: Option<&Path>) -> Result<Sources> {
        let mut sources = Sources { index: index.map(read_index).transpose()?, ..Sources::default() };
        for path in paths {
            let is_index = path.is_file() && is_index(path);
            match (path.is_dir(), is_index) {
                (true, _) => sources.walk(path)?,
                // the certificates lie beside it
                (false, true) => {
                    sources.walk(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
                }
                (false, false) => sources.add_named(path)?,
            }
        }
        Ok(sources)
    }

    fn walk(&mut self, folder: &Path) -> Result<()> {
        let failed = |e: std::io::Error| unreadable(folder, &e);
        let mut entries: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            entries.push(entry.map_err(failed)?.path());
        }
        entries.sort();
        let names: HashSet<&str> = entries.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        if names.contains("MANIFEST") && names.iter().any(|name| name.ends_with(".vlog") || name.ends_with(".sst")) {
            let detail = format!(
                "{} is a badger database of step-ca, which cannot be read here; export its tables x509_certs and \
                 revoked_x509_certs to files (one value a line, in hex or base64) and give those",
                folder.display()
            );
            return Err(Error::new(ErrorKind::Malformed, detail));
        }
        for path in &entries {
            // a link to a folder could lead round in a circle
            let Ok(kind) = path.symlink_metadata() else { continue };
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if kind.is_dir() && !PASSED_OVER.contains(&name) {
                self.walk(path)?;
            } else if path.is_file() && is_index(path) {
                self.indexes.insert(folder.to_path_buf(), read_index(path)?);
            } else if path.is_file() {
                self.files.push((path.clone(), false));
            }
        }
        Ok(())
    }

    /// Revocations come before the certificates that they are of, whatever the order of the files.
    fn add_named(&mut self, path: &Path) -> Result<()> {
        let bytes = std::fs::read(path).map_err(|e| unreadable(path, &e))?;
        if let Some(records) = revocations_of(&bytes)
            && !records.revoked.is_empty()
        {
            self.revoked.extend(records.revoked);
            if records.certificates.is_empty() {
                return Ok(());
            }
        }
        self.files.push((path.to_path_buf(), true));
        Ok(())
    }

    pub fn files(self) -> Files {
        Files { sources: self, next: 0, matched: HashSet::new() }
    }
}

/// Reads one file after the other.
#[derive(Debug)]
pub struct Files {
    sources: Sources,
    next: usize,
    /// Serials of revocations whose certificate was found, with the folder of their index.
    matched: HashSet<(Option<PathBuf>, Vec<u8>)>,
}

impl Files {
    /// The certificates of the next file; none when there are no more files.
    pub fn next_file(&mut self) -> Result<Option<Vec<Found>>> {
        let Some((path, is_named)) = self.sources.files.get(self.next).cloned() else { return Ok(None) };
        self.next += 1;
        let size = path.metadata().map_err(|e| unreadable(&path, &e))?.len();
        if !is_named && size > LARGEST_IN_FOLDER {
            return Ok(Some(Vec::new()));
        }
        let bytes = std::fs::read(&path).map_err(|e| unreadable(&path, &e))?;
        let certificates = match read(&bytes) {
            Ok(certificates) => certificates,
            Err(error) if is_named => {
                let detail = format!("{} holds no certificate: {}", path.display(), error.detail);
                return Err(Error::new(ErrorKind::Malformed, detail));
            }
            Err(_) => Vec::new(),
        };
        let source = path.display().to_string();
        let found = certificates.into_iter().map(|(der, revoked)| {
            let revoked = revoked.or_else(|| self.revocation(&path, &der));
            Found { der, revoked, source: source.clone() }
        });
        Ok(Some(found.collect()))
    }

    /// What an index or a table says of a certificate.
    fn revocation(&mut self, path: &Path, der: &[u8]) -> Option<Revocation> {
        let certificate = ImportedCertificate::parse(der).ok()?;
        let serial = magnitude(certificate.view.serial);
        let expires = certificate.view.validity.not_after();
        let near = path.ancestors().skip(1).find_map(|folder| Some((folder, self.sources.indexes.get(folder)?)));
        let (folder, index) = match (&self.sources.index, near) {
            (Some(index), _) => (None, Some(index)),
            (None, Some((folder, index))) => (Some(folder.to_path_buf()), Some(index)),
            (None, None) => (None, None),
        };
        let row = index.and_then(|index| index.get(&serial)).filter(|row| row.expires == expires);
        let revoked = row.map(|row| row.revoked).or_else(|| self.sources.revoked.get(&serial).copied())?;
        self.matched.insert((folder, serial));
        Some(revoked)
    }

    /// How many revocations have no certificate among the files.
    pub fn unmatched(&self) -> usize {
        let indexes = self.sources.indexes.values().chain(&self.sources.index).map(HashMap::len);
        (indexes.sum::<usize>() + self.sources.revoked.len()).saturating_sub(self.matched.len())
    }
}

type Read = Vec<(Vec<u8>, Option<Revocation>)>;

fn read(bytes: &[u8]) -> Result<Read> {
    if bytes.first() == Some(&0x30) && std::str::from_utf8(bytes).is_err() {
        return Ok(vec![(bytes.to_vec(), None)]);
    }
    let none = || Error::malformed("it is neither PEM nor DER, nor JSON of Vault, nor lines of step-ca's x509_certs");
    let text = std::str::from_utf8(bytes).map_err(|_| none())?;
    if let Some(records) = json_of(bytes) {
        return records.map(|records| records.certificates);
    }
    if text.contains("-----BEGIN ") {
        return Ok(pem::certificates(text)?.into_iter().map(|der| (der, None)).collect());
    }
    records::read_lines(text).map(|records| records.certificates).ok_or_else(none)
}

/// What a file holds that has revocations.
fn revocations_of(bytes: &[u8]) -> Option<Records> {
    match json_of(bytes) {
        Some(records) => records.ok(),
        None => {
            let text = std::str::from_utf8(bytes).ok().filter(|text| records::begins_with_a_revocation(text))?;
            records::read_lines(text)
        }
    }
}

fn json_of(bytes: &[u8]) -> Option<Result<Records>> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.trim_start().starts_with(['{', '[']))?;
    Some(records::read_json(text))
}

fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "index.txt")
}

fn read_index(path: &Path) -> Result<Revoked> {
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(path, &e))?;
    index::read(&text).map_err(|e| Error::malformed(format!("{}: {}", path.display(), e.detail)))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Config, format!("cannot read {}: {error}", path.display()))
}
