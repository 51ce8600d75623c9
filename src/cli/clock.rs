//! `clock show|trust`: how far this machine's clock is from the reference time, and the operator's word that it is
//! right although a SQLite database has a later time on record.

use clap::Subcommand;
use serde_json::json;

use super::failure::{Cause, Failure, Result, Trying};
use super::output;
use super::session::{Context, host_actor};
use crate::app::App;
use crate::clock::Timestamp;
use crate::server::settings::Flags;

#[derive(Debug, Subcommand)]
pub enum ClockCommand {
    /// Show how far this machine's clock is from the time that the CA goes by; on the host of the server
    ///
    /// Ends with 0 when the clock is right, 11 when it is wrong and nothing is signed.
    Show,
    /// Declare this machine's clock to be right, whatever an SQLite database recorded before
    Trust,
}

pub async fn run(context: &Context, command: ClockCommand) -> Result<()> {
    let what = || "cannot compare the clock".to_owned();
    context.on_host("clock").trying(what)?;
    let app = context.local_app(&Flags::new()).await.trying(what)?;
    match command {
        ClockCommand::Show => show(context, &app),
        ClockCommand::Trust => {
            let now = app.store.trust_clock(&host_actor()).await.trying(|| "cannot trust this clock".into())?;
            trusted(context, now)
        }
    }
}

fn show(context: &Context, app: &App) -> Result<()> {
    let (reference, wrong) = (app.store.reference(), app.store.check_clock().err());
    let seconds = |micros: i64| micros as f64 / 1e6;
    let (offset, database) = (seconds(reference.offset()), reference.database_offset().map(seconds));
    let shown = json!({"ok": wrong.is_none(), "reference_time": app.clock.now(), "offset_seconds": offset,
            "database_offset_seconds": database});
    if !output::document(context.output, &shown, "ok")? {
        let database = database.map_or(String::new(), |d| format!(", the database's by {d:+.3} s"));
        output::data(&format!(
            "reference time {}; this machine's clock differs by {offset:+.3} s{database}\n",
            app.clock.now()
        ))?;
        wrong.iter().for_each(|error| output::say(&error.detail));
    }
    if wrong.is_none() { Ok(()) } else { Err(Failure { what: String::new(), cause: Cause::Check(11) }) }
}

fn trusted(context: &Context, now: Timestamp) -> Result<()> {
    if output::document(context.output, &json!({"trusted": now}), "")? {
        return Ok(());
    }
    output::say(&format!("{now} is taken as the right time; a running server signs again within two seconds"));
    Ok(())
}
