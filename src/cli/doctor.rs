//! `doctor` and `fsck`: how the installation is. `doctor` looks at the installation of this host and whether a server
//! answers, or with --url asks a server.

use serde_json::{Value, json};

use super::failure::{Cause, Failure, Result, Trying};
use super::flags::ServeFlags;
use super::output::{self, Format, Table};
use super::session::Context;
use crate::authority::checks::{Check, Severity};
use crate::client::anchor;
use crate::server::settings::Flags;

/// One line a check; exit code 10 when the worst is a warning, 11 when one is critical.
pub async fn doctor(context: &Context, flags: ServeFlags) -> Result<()> {
    let what = || "cannot look at the installation".to_owned();
    let found = match context.target().trying(what)?.url {
        Some(_) => context.client().await.trying(what)?.get("/api/v1/system/checks").await.trying(what)?,
        None => of_this_host(context, &flags.0).await.trying(what)?,
    };
    if context.output == Some(Format::Json) {
        output::json(&found)?;
    } else {
        let mut table = Table::new(&["CHECK", "STATUS", "DETAIL"]);
        for check in found["checks"].as_array().into_iter().flatten() {
            table.row(["name", "status", "detail"].map(|member| output::text(check, member)).to_vec());
        }
        table.print()?;
    }
    let failed = |code| Err(Failure { what: String::new(), cause: Cause::Check(code) });
    match found["status"].as_str() {
        Some("ok") => Ok(()),
        Some("warning") => failed(10),
        _ => failed(11),
    }
}

/// In the shape of the REST answer; commands in it carry the flags of this one.
async fn of_this_host(context: &Context, flags: &Flags) -> crate::error::Result<Value> {
    let (app, repeated) = (context.local_app(flags).await?, context.repeated());
    let checks = app.authority.checks().await;
    let worst = checks.iter().map(|check| check.severity).max().unwrap_or(Severity::Ok);
    let server = Check { name: "server", severity: Severity::Ok, detail: server(&app.urls.external).await };
    let told: Vec<_> = std::iter::once(&server)
        .chain(&checks)
        .map(|c| json!({"name": c.name, "status": c.severity.name(), "detail": repeated.in_text(&c.detail)}))
        .collect();
    Ok(json!({"status": worst.name(), "checks": told}))
}

/// Whether a server answers. The checks look at the database, which is well while none runs; a server that was stopped on
/// purpose is no fault.
async fn server(url: &str) -> String {
    match anchor::answers(url).await {
        Ok(()) => format!("one answers at {url}"),
        Err(error) => format!(
            "none answers at {url} ({}): nothing is served there until `chancery serve` runs, and the checks below look at \
             the database alone",
            error.chain()
        ),
    }
}

/// 0 when everything agrees, 11 with one line for each disagreement.
pub async fn fsck(context: &Context) -> Result<()> {
    let what = || "cannot check the installation".to_owned();
    context.on_host("fsck").trying(what)?;
    let app = context.local_app(&Flags::new()).await.trying(what)?;
    let report = app.authority.fsck().await.trying(what)?;
    if context.output == Some(Format::Json) {
        output::json(&json!({
            "ok": report.findings.is_empty(),
            "certificates": report.certificates,
            "open_intents": report.open_intents,
            "audit_events": report.events,
            "crls": report.crls,
            "crls_due": report.crls_due,
            "findings": report.findings,
        }))?;
    } else {
        report.findings.iter().for_each(|finding| output::say(&format!("inconsistent  {finding}")));
        output::say(&format!(
            "checked {} certificates ({} signatures begun and not finished), {} audit events, {} CRLs ({} due for publication): {}",
            report.certificates,
            report.open_intents,
            report.events,
            report.crls,
            report.crls_due,
            match report.findings.len() {
                0 => "all consistent".to_owned(),
                1 => "1 inconsistency".to_owned(),
                n => format!("{n} inconsistencies"),
            },
        ));
    }
    if report.findings.is_empty() { Ok(()) } else { Err(Failure { what: String::new(), cause: Cause::Check(11) }) }
}
