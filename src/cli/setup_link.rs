//! `setup-link`: the one-time link alone on stdout. Whoever can write the database may make the first administrator.

use super::failure::{Result, Trying};
use super::output;
use super::session::{Context, host_actor};
use crate::app::App;
use crate::clock::Timestamp;
use crate::server::settings::Flags;

pub async fn run(context: &Context) -> Result<()> {
    let what = || "cannot make a set-up link".to_owned();
    context.on_host("setup-link").trying(what)?;
    let app = context.local_app(&Flags::new()).await.trying(what)?;
    let SetupLink { url, expires_at, replaces } = make(&app).await.trying(what)?;
    if output::document(
        context.output,
        &serde_json::json!({"url": url, "expires_at": expires_at, "replaces": replaces}),
        "",
    )? {
        return Ok(());
    }
    output::data(&format!("{url}\n"))?;
    if replaces {
        output::say("the set-up link made before was not used and works no longer");
    }
    output::say(&format!("works once, until {expires_at}; keep it private"));
    Ok(())
}

/// A link for the first administrator.
#[derive(Debug)]
pub struct SetupLink {
    /// The secret stands behind the `#`, which no log and no proxy sees.
    pub url: String,
    pub expires_at: Timestamp,
    /// It ends a link from before that nobody had used.
    pub replaces: bool,
}

pub async fn make(app: &App) -> crate::error::Result<SetupLink> {
    let made = app.access.make_setup_secret(&host_actor()).await?;
    let url = format!("{}/setup#{}", app.urls.external, made.secret.expose());
    Ok(SetupLink { url, expires_at: made.expires_at, replaces: made.replaces })
}
