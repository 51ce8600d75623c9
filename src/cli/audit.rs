//! `audit list|verify`: what happened, and whether the record of it is whole.

use clap::Subcommand;
use serde_json::json;

use super::failure::{Cause, Failure, Result, Trying};
use super::listing;
use super::output::{self, Format, Table};
use super::session::Context;
use crate::server::settings::Flags;

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List events, newest first
    List {
        /// How many events at most
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
    /// Check every chain of the audit: hashes, links, no gap; on the host of the database
    Verify,
}

pub async fn run(context: &Context, command: AuditCommand) -> Result<()> {
    match command {
        AuditCommand::List { limit } => list(context, limit).await,
        AuditCommand::Verify => verify(context).await,
    }
}

async fn list(context: &Context, limit: u32) -> Result<()> {
    let client = context.client().await?;
    let listed = listing::all(&client, "/api/v1/audit-events", &[], limit).await;
    let (events, cursor) = listed.trying(|| "cannot list audit events".into())?;
    if context.output == Some(Format::Json) {
        return Ok(output::json(&json!({"items": events, "next_cursor": cursor}))?);
    }
    let mut table = Table::new(&["AT", "ACTION", "OUTCOME", "ACTOR", "OBJECT", "DETAIL"]);
    for event in &events {
        table.row(["at", "action", "outcome", "actor", "object", "detail"].map(|m| output::text(event, m)).to_vec());
    }
    Ok(table.print()?)
}

/// 0 when every chain is whole, 11 with one line for each break.
async fn verify(context: &Context) -> Result<()> {
    let what = || "cannot verify the audit".to_owned();
    context.on_host("audit verify").trying(what)?;
    let app = context.local_app(&Flags::new()).await.trying(what)?;
    let report = app.authority.verify_audit().await.trying(what)?;
    let whole = report.findings.is_empty();
    if context.output == Some(Format::Json) {
        output::json(&json!({"ok": whole, "audit_events": report.events, "findings": report.findings}))?;
    } else {
        report.findings.iter().for_each(|finding| output::say(&format!("broken  {finding}")));
        let verdict = if whole { "every chain is whole" } else { "the audit is not whole" };
        output::data(&format!("checked {} audit events: {verdict}\n", report.events))?;
    }
    if whole { Ok(()) } else { Err(Failure { what: String::new(), cause: Cause::Check(11) }) }
}
