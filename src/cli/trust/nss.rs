//! NSS databases: one a Firefox profile, and the one that Chromium uses on Linux. certutil changes them.

use std::path::{Path, PathBuf};

use super::Kind;
use super::root::Root;
use super::store::{State, TrustStore, may_write, program, tool};
use crate::server::settings::Environment;

/// Where profiles are, under HOME: as a package, as a snap, as a flatpak.
const FIREFOX: &[&str] =
    &[".mozilla/firefox", "snap/firefox/common/.mozilla/firefox", ".var/app/org.mozilla.firefox/.mozilla/firefox"];
const CHROMIUM: &[&str] = &[".pki/nssdb", "snap/chromium/current/.pki/nssdb"];

pub struct Nss(PathBuf);

pub fn find(environment: &Environment) -> Vec<Nss> {
    let Some(home) = environment.path("HOME") else { return Vec::new() };
    let mut found: Vec<PathBuf> = CHROMIUM.iter().map(|p| home.join(p)).collect();
    for profiles in FIREFOX.iter().map(|p| home.join(p)) {
        let entries = std::fs::read_dir(profiles).into_iter().flatten().flatten();
        found.extend(entries.map(|e| e.path()));
    }
    found.retain(|p| p.join("cert9.db").is_file());
    found.sort();
    found.into_iter().map(Nss).collect()
}

impl Nss {
    fn certutil(&self, arguments: &[&str]) -> Result<String, String> {
        let certutil = program("certutil")
            .ok_or("certutil is missing: it is in libnss3-tools (Debian, Ubuntu) or nss-tools (Fedora)")?;
        let database = format!("sql:{}", self.0.display());
        tool(&certutil, &[&["-d", &database], arguments].concat())
    }
}

impl TrustStore for Nss {
    fn kind(&self) -> Kind {
        Kind::Nss
    }

    fn place(&self, _root: &Root) -> String {
        self.0.join("cert9.db").display().to_string()
    }

    fn state(&self, root: &Root) -> State {
        if program("certutil").is_none() {
            return State::Unusable(self.certutil(&[]).err().unwrap_or_default());
        }
        // a name that is not there is an error of certutil's
        match self.certutil(&["-L", "-n", &root.label(), "-a"]) {
            Ok(found) if root.is_in(&found) => State::Trusted,
            _ => State::Absent,
        }
    }

    fn writable(&self) -> Option<String> {
        (!may_write(&self.0.join("cert9.db"))).then(|| "it belongs to another user".to_owned())
    }

    fn install(&self, root: &Root) -> Result<(), String> {
        let file = Temporary::new(root)?;
        // C: a CA that may vouch for servers, and for nothing else
        self.certutil(&["-A", "-n", &root.label(), "-t", "C,,", "-i", &file.0.display().to_string()]).map(drop)
    }

    fn remove(&self, root: &Root) -> Result<(), String> {
        self.certutil(&["-D", "-n", &root.label()]).map(drop)
    }
}

/// The root as a file for tools that read no pipe; gone when dropped.
pub struct Temporary(pub PathBuf);

impl Temporary {
    pub fn new(root: &Root) -> Result<Temporary, String> {
        let path = std::env::temp_dir().join(format!("{}-{}.pem", root.label(), std::process::id()));
        // a name that somebody took before is refused, not followed
        crate::cli::files::write(&path, root.pem().as_bytes(), 0o600, false).map_err(|e| e.detail)?;
        Ok(Temporary(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}
