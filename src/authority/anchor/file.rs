//! The anchor's file: written beside, flushed and renamed, so that a crash leaves the one before or the new one, and
//! `anchor.crls/` beside it with the CRLs that were served last.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::anchor::{Anchor, FORMAT};

/// A larger list is not kept in a file, only in the memory of running servers: writing it with every revocation would take
/// the disk's time. About 50,000 entries.
const KEPT_OCTETS: usize = 2 << 20;
/// All kept CRLs together: the data directory may be a small volume.
const ALL_OCTETS: usize = 8 << 20;

/// The content of the anchor's file, as far as it can be read.
#[derive(Debug)]
pub(super) enum StoredAnchor {
    Missing,
    /// With the reason.
    Unreadable(String),
    Anchor(Box<Anchor>),
}

#[derive(Debug, Clone)]
pub(super) struct AnchorFile {
    path: PathBuf,
    /// Held from the reading to the replacing: a write whose caller went away goes on, and must not lower a later one.
    turn: Arc<Mutex<()>>,
}

impl AnchorFile {
    pub fn at(path: PathBuf) -> Self {
        AnchorFile { path, turn: Arc::default() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn read(&self) -> StoredAnchor {
        match fs::read(&self.path) {
            Ok(bytes) => parse(&bytes).map_or_else(StoredAnchor::Unreadable, |a| StoredAnchor::Anchor(Box::new(a))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => StoredAnchor::Missing,
            Err(error) => StoredAnchor::Unreadable(error.to_string()),
        }
    }

    /// Writes the anchor. What another process that shares the file has written is not lowered.
    pub fn raise(&self, anchor: &mut Anchor) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let StoredAnchor::Anchor(stored) = self.read()
            && stored.installation == anchor.installation
        {
            anchor.figures.rise_to(&stored.figures);
        }
        replace(&self.path, &serde_json::to_vec_pretty(anchor)?)
    }

    /// Moves a file that cannot be read out of the way, for whoever wants to look at it.
    pub fn set_aside(&self) -> io::Result<()> {
        fs::rename(&self.path, self.path.with_extension("unreadable"))
    }

    fn crls(&self) -> PathBuf {
        self.path.with_extension("crls")
    }

    fn crl(&self, series: &str) -> PathBuf {
        // a slug has letters, digits and hyphens
        self.crls().join(format!("{}.crl", series.replace(':', "-")))
    }

    /// Keeps a CRL in place of the one before. One that is too large is not kept, nor is the one before it.
    pub fn keep_crl(&self, series: &str, der: &[u8]) -> io::Result<()> {
        let path = self.crl(series);
        if !self.crls().exists() {
            fs::DirBuilder::new().mode(0o700).create(self.crls())?;
        }
        if der.len() <= KEPT_OCTETS && self.octets_beside(&path)? + der.len() <= ALL_OCTETS {
            return replace(&path, der);
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn octets_beside(&self, path: &Path) -> io::Result<usize> {
        let mut sum = 0;
        for entry in fs::read_dir(self.crls())? {
            let entry = entry?;
            if entry.path() != path {
                sum += usize::try_from(entry.metadata()?.len()).unwrap_or(usize::MAX);
            }
        }
        Ok(sum)
    }

    pub fn kept_crl(&self, series: &str) -> Option<Vec<u8>> {
        fs::read(self.crl(series)).ok()
    }
}

pub(super) fn parse(bytes: &[u8]) -> Result<Anchor, String> {
    let anchor: Anchor = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if anchor.format == FORMAT {
        return Ok(anchor);
    }
    Err(format!("its format is {}, and this chancery reads {FORMAT}", anchor.format))
}

/// The draft is of this process: two processes that share a directory do not write into one file.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let written = write_and_flush(&draft, bytes).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
        return written;
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn write_and_flush(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::model::anchor::Figures;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_its_draft_does_not_stay() {
        let home = tempfile::tempdir().unwrap();
        let file = AnchorFile::at(home.path().join("anchor.json"));
        assert!(matches!(file.read(), StoredAnchor::Missing));
        let mut anchor = Anchor::new(&[1; 16], Timestamp::from_secs(1), Figures::default());
        for _ in 0..2 {
            file.raise(&mut anchor).unwrap();
        }
        assert!(matches!(file.read(), StoredAnchor::Anchor(read) if *read == anchor));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_shared_file_is_never_lowered() {
        let home = tempfile::tempdir().unwrap();
        let file = AnchorFile::at(home.path().join("anchor.json"));
        let mut anchor = Anchor::new(&[1; 16], Timestamp::from_secs(1), Figures::default());
        let mut other = anchor.clone();
        other.figures.versions.insert("revocations".into(), 7);
        file.raise(&mut other).unwrap();
        file.raise(&mut anchor).unwrap();
        assert!(matches!(file.read(), StoredAnchor::Anchor(read) if read.figures.versions["revocations"] == 7));
    }

    #[test]
    fn kept_crls_stay_within_their_share_of_the_disk() {
        let home = tempfile::tempdir().unwrap();
        let file = AnchorFile::at(home.path().join("anchor.json"));
        for n in 0..6 {
            file.keep_crl(&format!("domain:{n}"), &vec![0; KEPT_OCTETS]).unwrap();
        }
        let kept = (0..6).filter(|n| file.kept_crl(&format!("domain:{n}")).is_some()).count();
        assert_eq!(kept, ALL_OCTETS / KEPT_OCTETS);
        file.keep_crl("domain:0", &vec![0; KEPT_OCTETS + 1]).unwrap();
        assert_eq!(file.kept_crl("domain:0"), None, "an older one would be served in its place");
    }

    #[test]
    fn what_is_no_anchor_of_this_format_is_unreadable() {
        let home = tempfile::tempdir().unwrap();
        let file = AnchorFile::at(home.path().join("anchor.json"));
        let newer = Anchor { format: 2, ..Anchor::new(&[1; 16], Timestamp::from_secs(1), Figures::default()) };
        for text in ["", "{}", "half", &serde_json::to_string(&newer).unwrap()] {
            fs::write(file.path(), text).unwrap();
            assert!(matches!(file.read(), StoredAnchor::Unreadable(_)), "{text}");
        }
        file.set_aside().unwrap();
        assert!(matches!(file.read(), StoredAnchor::Missing));
    }
}
