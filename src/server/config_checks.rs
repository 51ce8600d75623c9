//! What is wrong with settings that are each well-formed: a name that the server's own certificate cannot carry, files that
//! cannot be read, one address twice.

use url::Url;

use super::config::{Config, Listen};
use super::settings::config_error;
use crate::error::Result;
use crate::model::identifier::Identifier;

impl Config {
    /// Refuses an external URL whose name the server's own certificate cannot carry.
    pub fn check_own_name(&self) -> Result<()> {
        self.external_url.as_ref().map_or(Ok(()), |url| self.check_name(url))
    }

    /// The same for an external URL that the settings do not name.
    pub fn check_name(&self, url: &Url) -> Result<()> {
        let (Some(url::Host::Domain(name)), None) = (url.host(), &self.tls) else { return Ok(()) };
        let Err(error) = Identifier::dns(name) else { return Ok(()) };
        Err(config_error(format!(
            "the server's own certificate cannot carry the name of external_url: {}; give the server another name, or a \
             certificate of yours ([tls] in the file of --config)",
            error.detail
        )))
    }

    /// What a start would stumble over that no single setting shows: files that cannot be read, and one address twice.
    /// A sentence each.
    pub fn stumbling_blocks(&self) -> Vec<String> {
        let mut found = Vec::new();
        for file in self.tls.iter().flat_map(|tls| [&tls.certificate, &tls.key]) {
            if let Err(error) = std::fs::read(file) {
                found.push(format!("cannot read {}: {error}; check [tls] in the settings", file.display()));
            }
        }
        // the data directory and its keys are made by the first start
        let is_given = self.unlock_key.parent() != Some(self.data.as_path());
        if is_given && let Err(error) = std::fs::read(&self.unlock_key) {
            found.push(format!(
                "cannot read {}: {error}; check unlock_key in the settings",
                self.unlock_key.display()
            ));
        }
        let listeners = [("listen", self.listen), ("listen_http", self.listen_http), ("listen_ops", self.listen_ops)];
        for (at, (name, one)) in listeners.iter().enumerate() {
            let same = |(_, other): &&(&str, Listen)| other.address == one.address && one.address.port() != 0;
            if let Some((other, _)) = listeners.iter().take(at).find(same) {
                found.push(format!("{name} and {other} are both {}; give one of them another address", one.address));
            }
        }
        found
    }
}
