//! `doctor` and `fsck`: how the installation is. `doctor` looks at the installation of this host and whether a server
//! answers, or with --url asks a server.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::failure::{Cause, Failure, Result, Trying};
use super::flags::ServeFlags;
use super::output::{self, Column, Table};
use super::session::Context;
use crate::app::App;
use crate::authority::accepted_rows::AcceptedRow;
use crate::authority::checks::{Check, Severity};
use crate::client::{anchor, reach};
use crate::model::issuer::{Issuer, IssuerState};
use crate::server::settings::Flags;

/// One line a check; exit code 10 when the worst is a warning, 11 when one is critical.
pub async fn doctor(context: &Context, flags: ServeFlags) -> Result<()> {
    let what = || "cannot look at the installation".to_owned();
    let found = match context.target().trying(what)?.url {
        Some(_) => context.client().await.trying(what)?.get("/api/v1/system/checks").await.trying(what)?,
        None => of_this_host(context, &flags.0).await.trying(what)?,
    };
    if !output::document(context.output, &found, "status")? {
        let mut table = Table::new(&[Column::Check, Column::Status, Column::Detail]);
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
    // as a server does every ten minutes
    let compared = app.authority.compare_rows().await;
    let checks = app.authority.checks().await;
    let mut outside = vec![server(&app).await];
    // a server that was stopped on purpose answers nowhere
    if outside.iter().all(|check| check.severity == Severity::Ok) && anchor::answers(&app.urls.external).await.is_ok()
    {
        outside.push(status_urls(&app).await);
    }
    if let Err(error) = compared {
        let detail = format!("they cannot be compared with the audit: {}", error.chain());
        outside.push(Check { name: "rows", severity: Severity::Critical, detail });
    }
    let all = || outside.iter().chain(&checks);
    let worst = all().map(|check| check.severity).max().unwrap_or(Severity::Ok);
    let told: Vec<_> = all()
        .map(|c| json!({"name": c.name, "status": c.severity.name(), "detail": repeated.in_text(&c.detail)}))
        .collect();
    Ok(json!({"status": worst.name(), "checks": told}))
}

/// Whether a server answers. The checks look at the database, which is well while none runs; a server that was stopped on
/// purpose is no fault.
async fn server(app: &App) -> Check {
    let url = &app.urls.external;
    let found = match anchor::answers(url).await {
        Ok(()) => anchor::fetch_root(url).await.ok(),
        Err(error) => {
            let detail = format!(
                "none answers at {url} ({}): nothing is served there until `chancery serve` runs, and the checks below look \
                 at the database alone",
                error.chain()
            );
            return Check { name: "server", severity: Severity::Ok, detail };
        }
    };
    let snapshot = app.authority.snapshot();
    let own = |root: &Vec<u8>| snapshot.issuers.values().any(|i| i.certificates.iter().any(|c| c.der == *root));
    let (severity, detail) = match found {
        Some(root) if !own(&root) => (
            Severity::Warning,
            format!(
                "another CA answers at {url}: its root has the fingerprint {}, which is none of this installation; stop the \
                 one that is not meant, or give one of them another address with --listen and --external-url",
                anchor::Fingerprint::of(&root)
            ),
        ),
        Some(_) | None => (Severity::Ok, format!("one answers at {url}")),
    };
    Check { name: "server", severity, detail }
}

/// Whether the addresses answer that certificates name for CRL and OCSP: they are fixed when an issuer is made, and the
/// server may listen elsewhere by now.
async fn status_urls(app: &App) -> Check {
    let snapshot = app.authority.snapshot();
    let mut bases: BTreeMap<&str, Vec<&Issuer>> = BTreeMap::new();
    // one that signs no CRL has none at its address
    for loaded in snapshot.issuers.values().filter(|i| i.issuer.state != IssuerState::Removed && i.signs_crls()) {
        bases.entry(&loaded.issuer.status_url).or_default().push(&loaded.issuer);
    }
    let mut silent = Vec::new();
    for (base, issuers) in &bases {
        let Some(first) = issuers.first() else { continue };
        if let Err(why) = reach::crl(&first.crl_url()).await {
            let names: Vec<_> = issuers.iter().map(|issuer| issuer.slug.as_str()).collect();
            silent.push(format!(
                "certificates of {} name {base} for CRL and OCSP, and it does not answer from this host ({why}): verifiers \
                 that check revocation refuse them; let the server or a proxy answer there, or give the server \
                 the right status_url and make new issuers with `CHANCERY_STATUS_URL=URL chancery ca create DOMAIN --under ROOT`",
                names.join(", ")
            ));
        }
    }
    match silent.is_empty() {
        false => Check { name: "status_url", severity: Severity::Warning, detail: silent.join("; ") },
        true => {
            let all: Vec<_> = bases.keys().copied().collect();
            let detail = format!("CRL and OCSP answer at {}", all.join(" and "));
            Check { name: "status_url", severity: Severity::Ok, detail }
        }
    }
}

/// What the row says that works from now on: whoever reads it can still revoke it.
fn tell_accepted(row: &AcceptedRow) {
    output::say(&format!("accepted      {}, which {}; it says:", row.object, row.what));
    for (name, value) in &row.columns {
        output::say(&format!("              {name}: {value}"));
    }
}

fn accepted_as_json(row: &AcceptedRow) -> serde_json::Value {
    let says: serde_json::Map<_, _> =
        row.columns.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into())).collect();
    json!({"object": row.object, "was": row.what, "says": says})
}

/// 0 when everything agrees, 11 with one line for each disagreement.
pub async fn fsck(context: &Context, accept: &[String]) -> Result<()> {
    let what = || "cannot check the installation".to_owned();
    context.on_host("fsck").trying(what)?;
    let app = context.local_app(&Flags::new()).await.trying(what)?;
    let mut accepted = Vec::new();
    for object in accept {
        let what = || format!("cannot accept {object}");
        let row = app.authority.accept_row(&super::session::host_actor(), object).await.trying(what)?;
        if !output::is_for_programs(context.output) {
            tell_accepted(&row);
        }
        accepted.push(row);
    }
    let report = app.authority.fsck().await.trying(what)?;
    if output::is_for_programs(context.output) {
        let told = json!({
            "ok": report.findings.is_empty(),
            "certificates": report.certificates,
            "open_intents": report.open_intents,
            "audit_events": report.events,
            "crls": report.crls,
            "crls_due": report.crls_due,
            "findings": report.findings,
            "accepted": accepted.iter().map(accepted_as_json).collect::<Vec<_>>(),
        });
        output::document(context.output, &told, "ok")?;
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
