//! The external URL of the installation: kept in its row under the status seal, which a locked server opens as well. The
//! database holds it so that every replica and every command on the host names one address; the seal keeps whoever can
//! write rows from choosing the name in the server's own certificate and in links that carry a secret.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Authority;
use super::checks::{Check, Severity, check};
use crate::error::{Error, Result};
use crate::model::actor::Actor;
use crate::model::audit::AuditEvent;
use crate::pki::signer::{KeyPurpose, KeyStore};
use crate::store::{Store, hierarchy, replicas, servers};

const LABEL: &str = "external-url";

/// Where clients reach this CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnUrl {
    /// Base of ACME URLs and links, without a slash at its end.
    pub url: String,
    /// An operator gave it. The others follow from the address and the host that a server had.
    pub is_given: bool,
}

/// What the row of the installation says.
#[derive(Debug)]
pub enum StoredUrl {
    /// No server has stored one yet.
    None,
    Known(OwnUrl),
    /// The status key is not at hand.
    Locked,
    /// The row was not written by this CA.
    Changed(Error),
}

pub async fn stored(store: &Store, keys: &dyn KeyStore) -> Result<StoredUrl> {
    let Some(installation) = hierarchy::installation(store).await? else { return Ok(StoredUrl::None) };
    let Some(sealed) = hierarchy::external_url(store).await? else { return Ok(StoredUrl::None) };
    if !keys.can_open(KeyPurpose::Responder) {
        return Ok(StoredUrl::Locked);
    }
    let read = keys.open_status(LABEL, &installation.id, sealed).and_then(|text| {
        serde_json::from_slice(&text)
            .map_err(|e| Error::inconsistent("the stored external URL is not JSON").because(e))
    });
    Ok(read.map_or_else(StoredUrl::Changed, StoredUrl::Known))
}

/// Stores the URL of a server that starts, and returns the one that stood there before where it is another. A URL that
/// nobody gave does not replace one that was given. Without the status key nothing is stored.
pub async fn keep(store: &Store, keys: &dyn KeyStore, own: &OwnUrl) -> Result<Option<String>> {
    let before = match stored(store, keys).await? {
        StoredUrl::Locked => return Ok(None),
        StoredUrl::Known(before) if before == *own || (before.is_given && !own.is_given) => return Ok(None),
        StoredUrl::Known(before) => Some(before.url).filter(|url| *url != own.url),
        // only an operator can say what stood in a row that was changed
        StoredUrl::Changed(_) if !own.is_given => return Ok(None),
        StoredUrl::None | StoredUrl::Changed(_) => None,
    };
    let Some(installation) = hierarchy::installation(store).await? else { return Ok(None) };
    let text = serde_json::to_vec(own).map_err(|e| Error::internal("an external URL does not serialise", e))?;
    let sealed = keys.seal_status(LABEL, &installation.id, text)?;
    let mut tx = store.begin(&Actor::system("external URL")).await?;
    hierarchy::set_external_url(&mut tx, sealed).await?;
    let detail = json!({"external_url": own.url, "before": before, "given": own.is_given});
    tx.audit(AuditEvent::done("installation.external_url_changed", "", detail));
    tx.commit().await?;
    Ok(before)
}

/// What to do about a stored URL that cannot be used.
pub fn how_to_mend(error: &Error) -> String {
    format!(
        "the external URL in the row of the installation was not stored by this CA and is not used ({}); start the server once \
         with --external-url and the address that clients reach it at, which stores it anew",
        error.detail
    )
}

impl Authority {
    /// What `chancery fsck` has to say of the stored external URL.
    pub(super) async fn external_url_finding(&self) -> Result<Option<String>> {
        match stored(&self.store, self.keys.as_ref()).await? {
            StoredUrl::Changed(error) => Ok(Some(how_to_mend(&error))),
            StoredUrl::None | StoredUrl::Known(_) | StoredUrl::Locked => Ok(None),
        }
    }

    /// Whether the stored URL can be read, and whether every server that runs has the same.
    pub(super) async fn check_external_url(&self) -> Result<Check> {
        let mut found = Vec::new();
        let told = match stored(&self.store, self.keys.as_ref()).await? {
            StoredUrl::None => "none is stored until a server of this version has started".to_owned(),
            StoredUrl::Locked => "it cannot be read without the unlock key".to_owned(),
            StoredUrl::Known(own) => own.url,
            StoredUrl::Changed(error) => {
                found.push((Severity::Warning, how_to_mend(&error)));
                String::new()
            }
        };
        let mut urls = Vec::new();
        // one process serves a SQLite database
        for server in servers::newest(&self.store.db).await?.into_iter().filter(|_| self.store.db.is_postgres()) {
            if !urls.contains(&server.external_url) && replicas::is_alive(&self.store, server.replica).await? {
                urls.push(server.external_url);
            }
        }
        if urls.len() > 1 {
            let text = format!(
                "servers that run on this database have different external URLs: {}; ACME accounts and links of the one do not \
                 work at the other, so start all of them with the same --external-url (CHANCERY_EXTERNAL_URL)",
                urls.join(", ")
            );
            found.push((Severity::Warning, text));
        }
        Ok(check("external_url", found, told))
    }
}
