//! `serve`, `init`, `doctor`, `fsck`: the commands that are about the installation itself.

use std::io::IsTerminal;
use std::sync::Arc;

use super::failure::{Cause, Failure, Result, Trying};
use super::flags::ServeFlags;
use super::output::{self, Format, Table};
use super::session::Context;
use super::setup_link;
use crate::app::App;
use crate::authority::checks::Severity;
use crate::clock::SystemClock;
use crate::entropy::SystemEntropy;
use crate::server::config::prepare_data;
use crate::server::listen::Addresses;
use crate::server::notify::Notify;
use crate::server::settings::{Environment, Flags};
use crate::server::shutdown::Signals;
use crate::server::{limits, open, receipt, running};
use crate::telemetry;

pub async fn serve(context: &Context, flags: ServeFlags) -> Result<()> {
    telemetry::start_logs(Environment::of_process().text("CHANCERY_LOG").as_deref(), || output::Log)?;
    limits::raise_open_files();
    limits::give_back_large_blocks();
    let mut signals = Signals::listen()?;
    let config = context.config(&flags.0)?;
    let started = running::start(&config, Arc::new(SystemClock), Arc::new(SystemEntropy::new()));
    let running = tokio::select! {
        running = started => running.trying(|| "cannot start the server".into())?,
        () = signals.next() => return Ok(()),
    };
    if let Some(unserved) = config.listen_mtls {
        tracing::warn!(address = %unserved.address, "listen_mtls is set, and this version has nothing to listen with there");
    }
    let json = context.output == Some(Format::Json);
    if running.first_run {
        let link = link_for_terminal(&running.app).await?;
        receipt::first_run(&running.app, &config, link.as_deref())?.iter().for_each(|line| output::say(line));
        output::say("");
        output::say(&receipt::listening(&running.addresses));
        if json {
            output::data(&format!("{}\n", receipt::first_run_event(&running.app, &config)))?;
        }
    } else {
        receipt::started(&running.app, &running.addresses).await?.iter().for_each(|line| output::say(line));
    }
    if json {
        output::data(&format!("{}\n", receipt::ready_event(&running.app, &running.addresses)))?;
    }
    let notify = Notify::of(&Environment::of_process());
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

pub async fn init(context: &Context, flags: ServeFlags) -> Result<()> {
    let config = context.config(&flags.0)?;
    let what = || "cannot make the CA".to_owned();
    prepare_data(&config.data).trying(what)?;
    let addresses = Addresses::configured(&config);
    let urls = running::urls(&config, &addresses);
    let store =
        open::open_migrated(&config, Arc::new(SystemClock), Arc::new(SystemEntropy::new())).await.trying(what)?;
    let opened = open::open_or_found(&config, store, &urls.status).await.trying(what)?;
    let first_run = opened.first_run;
    let app = running::app(&config, opened, urls, &addresses).await.trying(what)?;
    if !first_run {
        output::say("this database holds a CA already; nothing was changed");
        return Ok(());
    }
    let link = link_for_terminal(&app).await.trying(what)?;
    receipt::first_run(&app, &config, link.as_deref())?.iter().for_each(|line| output::say(line));
    if context.output == Some(Format::Json) {
        output::data(&format!("{}\n", receipt::first_run_event(&app, &config)))?;
    }
    Ok(())
}

/// The set-up link, when a person reads stderr and not a log.
async fn link_for_terminal(app: &App) -> crate::error::Result<Option<String>> {
    if !std::io::stderr().is_terminal() {
        return Ok(None);
    }
    setup_link::make(app).await.map(|(link, _)| Some(link))
}

/// One line a check; exit code 10 when the worst is a warning, 11 when one is critical.
pub async fn doctor(context: &Context, flags: ServeFlags) -> Result<()> {
    let app = context.local_app(&flags.0).await.trying(|| "cannot look at the installation".into())?;
    let checks = app.authority.checks().await;
    let worst = checks.iter().map(|check| check.severity).max().unwrap_or(Severity::Ok);
    if context.output == Some(Format::Json) {
        let told: Vec<_> = checks
            .iter()
            .map(|c| serde_json::json!({"name": c.name, "status": c.severity.name(), "detail": c.detail}))
            .collect();
        output::json(&serde_json::json!({"status": worst.name(), "checks": told}))?;
    } else {
        let mut table = Table::new(&["CHECK", "STATUS", "DETAIL"]);
        for check in &checks {
            table.row(vec![check.name.to_owned(), check.severity.name().to_owned(), check.detail.clone()]);
        }
        table.print()?;
    }
    let failed = |code| Err(Failure { what: String::new(), cause: Cause::Check(code) });
    match worst {
        Severity::Ok => Ok(()),
        Severity::Warning => failed(10),
        Severity::Critical => failed(11),
    }
}

/// 0 when everything agrees, 11 with one line for each disagreement.
pub async fn fsck(context: &Context) -> Result<()> {
    let what = || "cannot check the installation".to_owned();
    let app = context.local_app(&Flags::new()).await.trying(what)?;
    let report = app.authority.fsck().await.trying(what)?;
    if context.output == Some(Format::Json) {
        output::json(&serde_json::json!({
            "ok": report.findings.is_empty(),
            "certificates": report.certificates,
            "open_intents": report.open_intents,
            "audit_events": report.events,
            "crls": report.crls,
            "crls_due": report.crls_due,
            "findings": report.findings,
        }))?;
    } else {
        report.findings.iter().for_each(|finding| output::say(&format!("disagree  {finding}")));
        output::say(&format!(
            "checked {} certificates ({} intents without outcome), {} audit events, {} CRLs ({} to be published): {}",
            report.certificates,
            report.open_intents,
            report.events,
            report.crls,
            report.crls_due,
            if report.findings.is_empty() { "they agree" } else { "they do not agree" },
        ));
    }
    if report.findings.is_empty() { Ok(()) } else { Err(Failure { what: String::new(), cause: Cause::Check(11) }) }
}
