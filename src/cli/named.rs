//! Tokens, grants and EAB keys as people name them: by id, or by a name that only one of them has.

use serde_json::Value;

use super::failure::Result;
use super::{listing, output};
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::model::identifier::shown;

/// A collection whose items have an id and a name that need not be unique.
pub struct Named {
    pub noun: &'static str,
    pub path: &'static str,
    /// What every id begins with.
    pub prefix: &'static str,
    /// The command that lists them.
    pub list: &'static str,
}

pub const TOKENS: Named =
    Named { noun: "token", path: "/api/v1/tokens", prefix: "tok_", list: "chancery token list" };
pub const GRANTS: Named =
    Named { noun: "grant", path: "/api/v1/grants", prefix: "grt_", list: "chancery grant list" };
pub const EAB_KEYS: Named =
    Named { noun: "EAB key", path: "/api/v1/acme/eab-keys", prefix: "eab_", list: "chancery acme eab list" };

impl Named {
    /// The id of the one that `text` means. Revoked ones count only where no other has the name.
    pub async fn id_of(&self, client: &Client, text: &str) -> Result<String> {
        if text.starts_with(self.prefix) {
            return Ok(text.to_owned());
        }
        let all = listing::all(client, self.path).await?;
        let mut found: Vec<&Value> = all.iter().filter(|one| one["name"].as_str() == Some(text)).collect();
        if found.iter().any(|one| one["status"] != "revoked") {
            found.retain(|one| one["status"] != "revoked");
        }
        match found.as_slice() {
            [one] => Ok(output::text(one, "id")),
            [] => Err(Error::not_found(format!(
                "{} as \"{}\"; give its id ({}…) or its name, as `{}` shows them",
                self.noun,
                shown(text),
                self.prefix,
                self.list
            ))
            .into()),
            several => {
                let ids: Vec<_> = several.iter().map(|one| output::text(one, "id")).collect();
                let sentence = format!(
                    "{} {}s are named \"{}\"; give the id of one of them: {}",
                    ids.len(),
                    self.noun,
                    shown(text),
                    ids.join(", ")
                );
                Err(Error::new(ErrorKind::Conflict, sentence).into())
            }
        }
    }
}
