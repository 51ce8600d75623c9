//! The operating system's bundle: a file among the anchors, and the tool that joins them.

use std::path::{Path, PathBuf};

use super::Kind;
use super::root::Root;
use super::store::{State, TrustStore, may_write, program, tool};
use crate::cli::files;

struct Layout {
    anchors: &'static str,
    ending: &'static str,
    update: &'static [&'static str],
    bundle: &'static str,
}

/// The first whose directory and tool are there.
const LAYOUTS: &[Layout] = &[
    // Debian, Ubuntu, Alpine
    Layout {
        anchors: "/usr/local/share/ca-certificates",
        ending: "crt",
        update: &["update-ca-certificates"],
        bundle: "/etc/ssl/certs/ca-certificates.crt",
    },
    // Fedora, RHEL and their kin
    Layout {
        anchors: "/etc/pki/ca-trust/source/anchors",
        ending: "pem",
        update: &["update-ca-trust", "extract"],
        bundle: "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    },
    // SUSE
    Layout {
        anchors: "/etc/pki/trust/anchors",
        ending: "pem",
        update: &["update-ca-certificates"],
        bundle: "/etc/ssl/ca-bundle.pem",
    },
    // Arch
    Layout {
        anchors: "/etc/ca-certificates/trust-source/anchors",
        ending: "crt",
        update: &["update-ca-trust"],
        bundle: "/etc/ca-certificates/extracted/tls-ca-bundle.pem",
    },
];

pub struct System(Option<&'static Layout>);

impl System {
    pub fn find() -> System {
        let there = |l: &&Layout| Path::new(l.anchors).is_dir() && program(l.update[0]).is_some();
        System(LAYOUTS.iter().find(there))
    }

    /// The file that programs read.
    pub fn bundle() -> Option<&'static Path> {
        LAYOUTS.iter().map(|l| Path::new(l.bundle)).find(|p| p.exists())
    }

    fn file(layout: &Layout, root: &Root) -> PathBuf {
        Path::new(layout.anchors).join(format!("{}.{}", root.label(), layout.ending))
    }

    fn update(layout: &Layout) -> Result<(), String> {
        let tool_path = program(layout.update[0]).ok_or_else(|| format!("{} is missing", layout.update[0]))?;
        tool(&tool_path, &layout.update[1..]).map(drop)
    }

    fn layout(&self) -> Result<&'static Layout, String> {
        self.0.ok_or_else(|| "no ca-certificates tool was found on this system".to_owned())
    }
}

impl TrustStore for System {
    fn kind(&self) -> Kind {
        Kind::System
    }

    fn place(&self, root: &Root) -> String {
        self.0.map_or_else(|| "-".to_owned(), |l| Self::file(l, root).display().to_string())
    }

    fn state(&self, root: &Root) -> State {
        let layout = match self.layout() {
            Ok(layout) => layout,
            Err(why) => return State::Unusable(why),
        };
        // an anchor that is in no bundle yet is as good as none, and one that only is a file must be removable
        match std::fs::read_to_string(layout.bundle) {
            Ok(bundle) if root.is_in(&bundle) => State::Trusted,
            Ok(_) => State::Absent,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => State::Absent,
            Err(e) => State::Unusable(format!("{}: {e}", layout.bundle)),
        }
    }

    fn writable(&self) -> Option<String> {
        let layout = self.0?;
        (!may_write(Path::new(layout.anchors))).then(|| "needs root: run it again with sudo".to_owned())
    }

    fn install(&self, root: &Root) -> Result<(), String> {
        let layout = self.layout()?;
        let path = Self::file(layout, root);
        files::write(&path, root.pem().as_bytes(), 0o644, true).map_err(|e| e.detail)?;
        Self::update(layout)
    }

    fn remove(&self, root: &Root) -> Result<(), String> {
        let layout = self.layout()?;
        let path = Self::file(layout, root);
        match std::fs::remove_file(&path) {
            Ok(()) => Self::update(layout),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(format!("it is in {} and not from {}: somebody else put it there", layout.bundle, path.display()))
            }
            Err(e) => Err(format!("{}: {e}", path.display())),
        }
    }
}
