//! `serve` and `init`: the commands that start an installation.

use std::io::IsTerminal;
use std::sync::Arc;

use super::failure::{Result, Trying};
use super::flags::ServeFlags;
use super::output;
use super::session::Context;
use super::setup_link;
use crate::app::App;
use crate::clock::SystemClock;
use crate::entropy::SystemEntropy;
use crate::server::config::prepare_data;
use crate::server::founded::KeysBefore;
use crate::server::listen::Addresses;
use crate::server::notify::Notify;
use crate::server::settings::Environment;
use crate::server::shutdown::Signals;
use crate::server::startup::Startup;
use crate::server::{limits, open, own_url, receipt, running};
use crate::telemetry::{self, LogFormat};

pub async fn serve(context: &Context, flags: ServeFlags) -> Result<()> {
    context.on_host("serve")?;
    let environment = Environment::of_process();
    let format = LogFormat::parse(environment.text("CHANCERY_LOG_FORMAT").as_deref())?;
    if format == LogFormat::Json {
        output::say_in_json();
    }
    telemetry::start_logs(environment.text("CHANCERY_LOG").as_deref(), format, || output::Log)?;
    limits::raise_open_files();
    limits::give_back_large_blocks();
    let mut signals = Signals::listen()?;
    let config = context.config(&flags.0)?;
    let keys_before = KeysBefore::of(&config);
    let (notify, startup) = (Notify::of(&Environment::of_process()), Startup::default());
    let started = running::start_telling(&config, Arc::new(SystemClock), Arc::new(SystemEntropy::new()), &startup);
    let running = tokio::select! {
        running = started => running.trying(|| "cannot start the server".into())?,
        never = startup.tell(&notify) => match never {},
        () = signals.next() => return Ok(()),
    };
    if let Some(unserved) = config.listen_mtls {
        tracing::warn!(address = %unserved.address, "listen_mtls is set, and this version has nothing to listen with there");
    }
    let json = output::is_for_programs(context.output);
    if running.first_run {
        let (link, command) = (link_for_terminal(&running.app).await?, |words: &str| context.command(words));
        let mut lines = receipt::first_run(&running.app, &config, keys_before, link.as_deref(), command).await?;
        lines.extend(context.repeated().note().map(|note| format!("      ({note})")));
        lines.extend([String::new(), receipt::listening(&running.addresses)]);
        output::say_all("INFO", &lines);
        if json {
            output::data(&format!("{}\n", receipt::first_run_event(&running.app, &config).await?))?;
        }
    } else {
        output::say_all("INFO", &receipt::started(&running.app, &running.addresses).await?);
    }
    if let Some(before) = &running.moved_from {
        let told = receipt::moved(before, &running.app.urls.external);
        let url = &running.app.urls.external;
        warn(&told, format, || tracing::warn!(before = %before, external_url = %url, "{told}"));
    }
    if let Some(told) = receipt::status_moved(&running.app, &config, &running.addresses) {
        let url = &running.app.urls.status;
        warn(&told, format, || tracing::warn!(status_url = %url, "{told}"));
    }
    if json {
        output::data(&format!("{}\n", receipt::ready_event(&running.app, &running.addresses)))?;
    }
    let _beats = notify.ready(&receipt::listening(&running.addresses));
    signals.next().await;
    notify.stopping(config.drain);
    tokio::select! {
        finished = running.stop() => {
            if !finished {
                tracing::warn!("requests were still in flight at the end of the drain time");
            }
        }
        () = signals.next() => tracing::warn!("a second signal: stopping at once"),
    }
    Ok(())
}

/// For people, and for programs where they read the log: nobody reads it twice.
fn warn(told: &str, format: LogFormat, log: impl FnOnce()) {
    if !format.is_text() {
        log();
    }
    if !output::says_json() {
        output::say(&format!("WARNING: {told}"));
    }
}

pub async fn init(context: &Context, flags: ServeFlags) -> Result<()> {
    let what = || "cannot make the CA".to_owned();
    context.on_host("init").trying(what)?;
    let config = context.config(&flags.0)?;
    prepare_data(&config.data).trying(what)?;
    let keys_before = KeysBefore::of(&config);
    let addresses = Addresses::configured(&config);
    let urls = running::urls(&config, &addresses);
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy::new()));
    let store = open::open_migrated(&config, clock, entropy, &Startup::default()).await.trying(what)?;
    let opened = open::open_or_found(&config, store, &urls.status).await.trying(what)?;
    let first_run = opened.first_run;
    let urls = own_url::on_host(&config, &opened, urls).await.trying(what)?;
    let app = running::app(&config, opened, urls, &addresses).await.trying(what)?;
    if !first_run {
        output::say("this database holds a CA already; nothing was changed");
        if let Some(kept) = own_url::other_than_given(&config, &app).await.trying(what)? {
            let change = context.command(&format!("serve --external-url {}", app.urls.external));
            output::say(&format!(
                "its external URL stays {kept}; to change it start the server with the new one: `{change}`"
            ));
        }
        return Ok(());
    }
    if config.external_url.is_some() {
        // a server that is started without the setting takes it from there
        own_url::keep(&config, &app).await;
    }
    // the receipt names the key of the audit
    app.authority.checkpoint_due().await.trying(what)?;
    let (link, command) = (link_for_terminal(&app).await.trying(what)?, |words: &str| context.command(words));
    receipt::first_run(&app, &config, keys_before, link.as_deref(), command)
        .await?
        .iter()
        .for_each(|line| output::say(line));
    say_note(context);
    if output::is_for_programs(context.output) {
        output::data(&format!("{}\n", receipt::first_run_event(&app, &config).await?))?;
    }
    Ok(())
}

/// What the commands of the receipt need that cannot be printed.
fn say_note(context: &Context) {
    if let Some(note) = context.repeated().note() {
        output::say(&format!("      ({note})"));
    }
}

/// The set-up link, when a person reads stderr and not a log.
async fn link_for_terminal(app: &App) -> crate::error::Result<Option<String>> {
    if !std::io::stderr().is_terminal() || output::says_json() {
        return Ok(None);
    }
    setup_link::make(app).await.map(|made| Some(made.url))
}
