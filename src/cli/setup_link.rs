//! `setup-link`: the one-time link alone on stdout. Whoever can write the database may make the first administrator.

use super::failure::{Result, Trying};
use super::output::{self, Format};
use super::session::{Context, host_actor};
use crate::app::App;
use crate::clock::Timestamp;
use crate::server::settings::Flags;

pub async fn run(context: &Context) -> Result<()> {
    let what = || "cannot make a set-up link".to_owned();
    context.on_host("setup-link").trying(what)?;
    let app = context.local_app(&Flags::new()).await.trying(what)?;
    let (link, expires_at) = make(&app).await.trying(what)?;
    if context.output == Some(Format::Json) {
        return Ok(output::json(&serde_json::json!({"url": link, "expires_at": expires_at}))?);
    }
    output::data(&format!("{link}\n"))?;
    output::say(&format!("works once, until {expires_at}; keep it private"));
    Ok(())
}

/// The link, and when it ends. The secret stands behind the `#`, which no log and no proxy sees.
pub async fn make(app: &App) -> crate::error::Result<(String, Timestamp)> {
    let (secret, expires_at) = app.access.make_setup_secret(&host_actor()).await?;
    Ok((format!("{}/setup#{}", app.urls.external, secret.expose()), expires_at))
}
