//! Which external URL a process has: the setting, else the one that the installation has stored, else what follows from the
//! address and the host. A server stores the one that it starts with (authority/own_url.rs).

use url::Url;

use super::config::Config;
use super::open::Opened;
use crate::app::{App, Urls};
use crate::authority::own_url::{self, OwnUrl, StoredUrl};
use crate::error::Result;
use crate::store::servers;

/// The URLs of a server; `derived` is what its settings alone say.
pub async fn of_server(config: &Config, opened: &Opened, derived: Urls) -> Result<Urls> {
    if config.external_url.is_some() {
        return Ok(derived);
    }
    match own_url::stored(&opened.store, opened.keys.as_ref()).await? {
        StoredUrl::Known(own) if own.is_given => {
            if let Ok(url) = Url::parse(&own.url) {
                config.check_name(&url)?;
            }
            tracing::info!(external_url = %own.url, "external_url is not set: the one that this installation has stored is used");
            Ok(Urls { external: own.url.into(), ..derived })
        }
        StoredUrl::Known(_) | StoredUrl::None => Ok(derived),
        StoredUrl::Locked => {
            tracing::warn!(
                external_url = %derived.external,
                "external_url is not set, and the one that this installation has stored cannot be read without the unlock key or \
                 status.key: set --external-url (CHANCERY_EXTERNAL_URL)"
            );
            Ok(derived)
        }
        StoredUrl::Changed(error) => {
            tracing::warn!(external_url = %derived.external, "{}", own_url::how_to_mend(&error));
            Ok(derived)
        }
    }
}

/// The URLs that a command on the host prints: those of its own settings, else the one that the installation has stored.
pub async fn on_host(config: &Config, opened: &Opened, derived: Urls) -> Result<Urls> {
    if config.external_url.is_some() {
        return Ok(derived);
    }
    match own_url::stored(&opened.store, opened.keys.as_ref()).await? {
        StoredUrl::Known(own) => Ok(Urls { external: own.url.into(), ..derived }),
        // doctor and fsck say what is wrong with it
        StoredUrl::None | StoredUrl::Locked | StoredUrl::Changed(_) => Ok(derived),
    }
}

/// Stores the URL of a server that starts, and returns the one that clients had until then where it is another. That it
/// cannot be stored is no reason not to serve.
pub async fn keep(config: &Config, app: &App) -> Option<String> {
    let own = OwnUrl { url: app.urls.external.to_string(), is_given: config.external_url.is_some() };
    let is_first = matches!(own_url::stored(&app.store, app.keys.as_ref()).await, Ok(StoredUrl::None));
    let before = match own_url::keep(&app.store, app.keys.as_ref(), &own).await {
        Ok(before) => before,
        Err(error) => {
            tracing::warn!(error = %error.chain(), "the external URL could not be stored; the next start tries it again");
            None
        }
    };
    if !is_first {
        return before;
    }
    // servers of an earlier version stored it in their own rows alone
    let last = servers::newest(&app.store.db).await.ok()?.into_iter().next();
    last.map(|server| server.external_url).filter(|url| *url != own.url)
}

/// The stored URL, where the settings name another one.
pub async fn other_than_given(config: &Config, app: &App) -> Result<Option<String>> {
    if config.external_url.is_none() {
        return Ok(None);
    }
    Ok(match own_url::stored(&app.store, app.keys.as_ref()).await? {
        StoredUrl::Known(own) => Some(own.url).filter(|url| **url != *app.urls.external),
        StoredUrl::None | StoredUrl::Locked | StoredUrl::Changed(_) => None,
    })
}
