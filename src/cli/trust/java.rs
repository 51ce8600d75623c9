//! Java's cacerts, by keytool. On Debian the system's tool fills it too, so what counts is what is in it.

use std::path::{Path, PathBuf};

use super::Kind;
use super::nss::Temporary;
use super::root::Root;
use super::store::{State, TrustStore, may_write, program, tool};
use crate::server::settings::Environment;

/// Known to everybody: cacerts has no secrets.
const PASSWORD: &str = "changeit";

pub struct Java(Result<Found, String>);

struct Found {
    keytool: PathBuf,
    cacerts: PathBuf,
}

impl Java {
    pub fn find(environment: &Environment) -> Java {
        let home = environment.path("JAVA_HOME");
        let keytool = match &home {
            Some(home) => Some(home.join("bin/keytool")).filter(|p| p.is_file()),
            None => program("keytool"),
        };
        let found = keytool.ok_or_else(|| match &home {
            Some(home) => format!("JAVA_HOME is {} and has no bin/keytool", home.display()),
            None => "no Java: JAVA_HOME is not set and keytool is not on the path".to_owned(),
        });
        Java(found.and_then(|keytool| {
            let cacerts = cacerts_of(&keytool).ok_or_else(|| format!("{} has no cacerts", keytool.display()))?;
            Ok(Found { keytool, cacerts })
        }))
    }

    pub fn cacerts(&self) -> Option<&Path> {
        self.0.as_ref().ok().map(|f| f.cacerts.as_path())
    }

    fn keytool(&self, arguments: &[&str]) -> Result<String, String> {
        let found = self.0.as_ref().map_err(Clone::clone)?;
        let place = found.cacerts.display().to_string();
        tool(&found.keytool, &[arguments, &["-keystore", &place, "-storepass", PASSWORD, "-noprompt"]].concat())
    }

    /// The alias of the entry with this certificate.
    fn alias(&self, root: &Root) -> Result<Option<String>, String> {
        let listing = self.keytool(&["-list", "-rfc"])?;
        let mut alias = None;
        let (mut block, mut inside) = (String::new(), false);
        for line in listing.lines() {
            if let Some(name) = line.strip_prefix("Alias name: ") {
                alias = Some(name.trim().to_owned());
            }
            inside |= line.starts_with("-----BEGIN");
            if inside {
                block.push_str(line);
                block.push('\n');
            }
            if line.starts_with("-----END") {
                if root.is_in(&block) {
                    return Ok(alias);
                }
                block.clear();
                inside = false;
            }
        }
        Ok(None)
    }
}

fn cacerts_of(keytool: &Path) -> Option<PathBuf> {
    let real = std::fs::canonicalize(keytool).ok()?;
    let home = real.parent()?.parent()?;
    ["lib/security/cacerts", "jre/lib/security/cacerts"].iter().map(|p| home.join(p)).find(|p| p.is_file())
}

impl TrustStore for Java {
    fn kind(&self) -> Kind {
        Kind::Java
    }

    fn place(&self, _root: &Root) -> String {
        self.cacerts().map_or_else(|| "-".to_owned(), |p| p.display().to_string())
    }

    fn state(&self, root: &Root) -> State {
        match self.alias(root) {
            Ok(Some(_)) => State::Trusted,
            Ok(None) => State::Absent,
            Err(why) => State::Unusable(why),
        }
    }

    fn writable(&self) -> Option<String> {
        let cacerts = self.cacerts()?;
        (!may_write(cacerts)).then(|| "needs root: run it again with sudo".to_owned())
    }

    fn install(&self, root: &Root) -> Result<(), String> {
        // the system's tool may have brought it here in the same run
        if self.alias(root)?.is_some() {
            return Ok(());
        }
        let file = Temporary::new(root)?;
        let path = file.path().display().to_string();
        self.keytool(&["-importcert", "-trustcacerts", "-alias", &root.label(), "-file", &path]).map(drop)
    }

    fn remove(&self, root: &Root) -> Result<(), String> {
        match self.alias(root)? {
            Some(alias) => self.keytool(&["-delete", "-alias", &alias]).map(drop),
            None => Ok(()),
        }
    }
}
