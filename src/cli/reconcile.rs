//! `reconcile`: going on after a backup was restored, on the host of the database.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::ca::RootKey;
use super::ca_foreign::read_crl;
use super::failure::{Result, Trying};
use super::output::{self, Column, Table};
use super::repeated::quoted;
use super::session::{Context, host_actor};
use crate::app::App;
use crate::authority::reconcile::{Missing, ReconcileRequest, ReconciledCrl, Reconciliation};
use crate::authority::reconciled_rows::{ReconciledRows, RowsAfter};
use crate::model::text::counted;

#[derive(Debug, Args)]
pub struct ReconcileArgs {
    /// Show what is missing and what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The newest published CRL of an issuer: what is revoked there is revoked here; can be given again
    #[arg(long, value_name = "FILE")]
    crl: Vec<PathBuf>,
    /// A suspended user, token, grant or EAB key that works again, by its name, its id or the kid of its clients; can be
    /// given again
    #[arg(long, value_name = "NAME")]
    confirm: Vec<String>,
    /// The database was restored from a backup although nothing noticed it
    #[arg(long)]
    restored: bool,
    /// Accept every row that grants something as it stands, also those that were changed in the database
    #[arg(long)]
    accept_rows: bool,
    #[command(flatten)]
    root: RootKey,
}

pub async fn run(context: &Context, args: ReconcileArgs) -> Result<()> {
    let what = || "cannot reconcile the database".to_owned();
    context.on_host("reconcile").trying(what)?;
    let app = context.local_app_with_root(args.root.root_key.as_deref()).await.trying(what)?;
    let again = again(&args);
    let crls = args.crl.iter().map(|path| read_crl(path)).collect::<Result<Vec<_>, _>>().trying(what)?;
    let request = ReconcileRequest {
        crls,
        crl_files: args.crl.iter().map(|path| path.display().to_string()).collect(),
        confirm: args.confirm,
        restored: args.restored,
        accept_rows: args.accept_rows,
        dry_run: args.dry_run,
    };
    let mut done = app.authority.reconcile(&host_actor(), &request).await.trying(what)?;
    if done.epoch.is_some() && !args.dry_run {
        sign_roots(&app, &mut done).await;
    }
    show(context, &done, args.dry_run, &again)
}

/// What a dry run was told besides.
fn again(args: &ReconcileArgs) -> String {
    let crls = args.crl.iter().map(|path| format!(" --crl {}", quoted(&path.display().to_string())));
    let restored = args.restored.then(|| " --restored".to_owned());
    let accept = args.accept_rows.then(|| " --accept-rows".to_owned());
    crls.chain(restored).chain(accept).chain([args.root.repeated()]).collect()
}

/// The CRLs of roots whose key is at hand; the others stay in the list.
async fn sign_roots(app: &App, done: &mut Reconciliation) {
    let mut left = Vec::new();
    for slug in std::mem::take(&mut done.roots) {
        match app.authority.sign_crls(&host_actor(), &slug).await {
            Ok(()) => output::say(&format!("signed    the CRLs of {slug}")),
            Err(_) => left.push(slug),
        }
    }
    done.roots = left;
}

/// Without an anchor an older database looks like any other.
fn nothing_to_do(context: &Context, nothing_remembered: bool) -> String {
    let (command, serve) = (context.command("reconcile --restored"), context.command("serve"));
    match nothing_remembered {
        true => format!(
            "nothing is remembered of the database here, so whether it is older than it was cannot be told; if it was restored \
             from a backup run `{command}`, before `{serve}`"
        ),
        false => format!(
            "the database is not older than what is remembered of it: there is nothing to reconcile; if a backup was restored \
             that nobody noticed run `{command}`"
        ),
    }
}

fn show(context: &Context, done: &Reconciliation, dry_run: bool, again: &str) -> Result<()> {
    if output::document(context.output, &as_json(done, dry_run), "")? {
        return Ok(());
    }
    let Some(epoch) = done.epoch else {
        done.crls.iter().for_each(|crl| output::say(&format!("CRL       {}", told_crl(crl))));
        if done.confirmed.is_empty() && done.working.is_empty() && done.crls.is_empty() {
            output::say(&nothing_to_do(context, done.nothing_remembered));
        }
        tell_rows(context, &done.rows, dry_run);
        return tell_suspended(context, done, dry_run);
    };
    done.findings.iter().for_each(|finding| output::say(&format!("found     {finding}")));
    let missing = &done.missing;
    output::say(&format!("missing   {}", told_missing(missing)));
    for crl in &done.crls {
        output::say(&format!("CRL       {}", told_crl(crl)));
    }
    if done.crls.iter().all(|crl| crl.kept) {
        let command = context.command("reconcile --crl FILE");
        output::say(&format!(
            "CRLs      {command} revokes again what a published CRL lists: give the newest one of each issuer, now or later"
        ));
    }
    let unknown: u64 = done.crls.iter().map(|crl| crl.unknown).sum();
    if missing.certificates + unknown > 0 {
        let command = context.command("ca import-certificates PATH…");
        output::say(&format!(
            "files     {command} takes in certificates that were issued after the backup, from files that you find elsewhere"
        ));
    }
    tell_rows(context, &done.rows, dry_run);
    let begins = if dry_run { "would begin" } else { "has begun" };
    output::say(&format!("epoch     {epoch} {begins}: the next CRLs have higher numbers than all before"));
    if dry_run {
        output::say(&format!("next      {}", context.command(&format!("reconcile{again}"))));
    } else {
        for slug in &done.roots {
            let command = context.command(&format!("ca crl sign {slug} --root-key FILE"));
            output::say(&format!("next      {command}, where FILE is the root.key of this installation"));
        }
    }
    tell_suspended(context, done, dry_run)
}

/// Rows that are named at once; `chancery fsck` names all.
const ROWS_SHOWN: usize = 20;

fn tell_rows(context: &Context, rows: &ReconciledRows, dry_run: bool) {
    let said = match rows.after {
        RowsAfter::Compared => None,
        RowsAfter::MarkedAgain => Some(
            "the marks that every row which grants something must have a MAC were missing, and are written again: a backup has them, so somebody may have taken them away to change rows",
        ),
        RowsAfter::BeforeMacs => Some(
            "this database is of a time before rows had MACs, so nothing can tell whether somebody changed them: look at every user, token, grant, profile and issuer before you confirm; a server that starts gives the rows MACs as they stand",
        ),
        RowsAfter::Accepted => {
            Some("every row is accepted as it stands; stop all servers of this installation and start them again")
        }
    };
    if let Some(said) = said {
        output::say(&format!("rows      {said}"));
    }
    let verb = match (rows.after == RowsAfter::Accepted, dry_run) {
        (true, true) => "would be accepted",
        (true, false) => "accepted",
        (false, _) => "refused",
    };
    for (object, what) in rows.refused.iter().take(ROWS_SHOWN) {
        output::say(&format!("{verb:<9} {object} {what}"));
    }
    if rows.refused.len() > ROWS_SHOWN {
        let more = rows.refused.len() - ROWS_SHOWN;
        output::say(&format!("{verb:<9} {more} more; {} names all", context.command("fsck")));
    }
    if let Some((object, _)) = rows.refused.first().filter(|_| rows.after != RowsAfter::Accepted) {
        let (accept, all) = (context.command(&format!("fsck --accept {object}")), "--accept-rows");
        output::say(&format!(
            "next      restore or revoke the rows that are refused; {accept} accepts one, and {all} accepts all"
        ));
    }
}

fn tell_suspended(context: &Context, done: &Reconciliation, dry_run: bool) -> Result<()> {
    let verb = if dry_run { "would work again" } else { "works again" };
    for one in &done.confirmed {
        output::say(&format!("confirmed {} {} ({}) {verb}", one.kind(), one.name, one.id()));
    }
    if !done.confirmed.is_empty() && !dry_run {
        output::say("servers that run take this over within 5 seconds");
    }
    for one in &done.working {
        output::say(&format!("confirmed {} {} ({}) works already", one.kind(), one.name, one.id()));
    }
    if done.suspended.is_empty() {
        return Ok(());
    }
    let command = context.command("reconcile --confirm NAME");
    output::say(&format!("suspended until you confirm each by its name or id with {command}:"));
    let mut table = Table::new(&[Column::Kind, Column::Id, Column::Name, Column::Role]);
    for one in &done.suspended {
        let role = if one.role.is_empty() { "-" } else { &one.role };
        table.row(vec![one.kind().to_owned(), one.id(), one.name.clone(), role.to_owned()]);
    }
    table.print()?;
    output::say(
        "to refuse one for good: chancery token revoke ID, grant revoke ID, acme eab revoke ID, or user disable NAME",
    );
    Ok(())
}

fn told_missing(missing: &Missing) -> String {
    let (certificates, events) =
        (counted(missing.certificates, "certificate"), counted(missing.events, "audit event"));
    match (missing.certificates, missing.events) {
        (0, 0) => "no certificate and no audit event is known to be missing".to_owned(),
        (0, _) => format!("at least {events}; no certificate is known to be missing"),
        (_, 0) => format!("at least {certificates}"),
        (_, _) => format!("at least {certificates} and {events}"),
    }
}

fn told_crl(crl: &ReconciledCrl) -> String {
    let (number, issuer) = (crl.number, &crl.issuer);
    let issuer = match (crl.taken_at, crl.kept) {
        (Some(at), _) => format!("{issuer}, which a server took in at {at} as it found the older database,"),
        (None, true) => format!("{issuer}, which was kept beside the anchor,"),
        (None, false) => issuer.clone(),
    };
    let revocations = match crl.revocations {
        0 => return format!("number {number} of {issuer} has no revocation that the database lacked"),
        count => counted(count, "revocation"),
    };
    let unknown = match crl.unknown {
        0 => String::new(),
        count => format!("; {} among them not in the database", counted(count, "certificate")),
    };
    format!("number {number} of {issuer} has {revocations} that the database lacked{unknown}")
}

fn as_json(done: &Reconciliation, dry_run: bool) -> serde_json::Value {
    let named = |all: &[crate::store::suspensions::Suspended]| {
        all.iter()
            .map(|one| json!({"kind": one.kind(), "id": one.id(), "name": one.name, "role": one.role}))
            .collect::<Vec<_>>()
    };
    let crls: Vec<_> = done
        .crls
        .iter()
        .map(|crl| {
            json!({"issuer": crl.issuer, "number": crl.number, "revocations": crl.revocations,
                "of_unknown_certificates": crl.unknown, "kept": crl.kept, "taken_by_server_at": crl.taken_at})
        })
        .collect();
    let refused: Vec<_> =
        done.rows.refused.iter().map(|(object, what)| json!({"object": object, "what": what})).collect();
    json!({
        "dry_run": dry_run,
        "epoch": done.epoch,
        "findings": done.findings,
        "missing": {"certificates": done.missing.certificates, "audit_events": done.missing.events},
        "crls": crls,
        "confirmed": named(&done.confirmed),
        "working": named(&done.working),
        "rows": {"after": done.rows.after.name(), "refused": refused},
        "suspended": named(&done.suspended),
        "roots_to_sign": done.roots,
        "nothing_remembered": done.nothing_remembered,
    })
}
