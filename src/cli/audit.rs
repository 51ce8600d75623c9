//! `audit list|verify|confirm|export|key`: what happened, and whether the record of it is whole.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::failure::{Cause, Failure, Result, Trying};
use super::listing::{self, NewestArgs};
use super::output::{self, Column, Table};
use super::session::{Context, host_actor};
use crate::authority::audit_check::{AuditVerdict, KnownOutside};
use crate::authority::audit_file;
use crate::error::Error;
use crate::model::text::counted;
use crate::server::settings::Flags;

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List events, newest first
    List(NewestArgs),
    /// Check that no event was changed, removed or added; on the host of the database, or an exported file anywhere
    ///
    /// Without --key the answer is "consistent, not authenticated": whoever can write the database and has the unlock key can
    /// write a whole audit anew. With the fingerprint that the first start printed, the answer says up to which checkpoint that
    /// key signed it. Checkpoints that were published outside show what was removed after them.
    Verify(VerifyArguments),
    /// Confirm events that `audit verify` calls added later, because the clock was set back; on the host of the database
    ///
    /// The word is an audit event with your name, the next checkpoint signs it, and `audit verify` prints it from then on. It
    /// covers the events that are there now and none that is added afterwards.
    Confirm {
        /// The chains, as `audit verify` names them
        #[arg(required = true, value_name = "CHAIN")]
        chains: Vec<String>,
        /// Why the events have earlier times
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Write the whole audit to a file that `chancery audit verify FILE` checks without the database
    Export {
        /// Where to; standard output when not given
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Show the key that signs the checkpoints: its fingerprint for `audit verify --key`, and as a verifier key for other programs
    Key,
}

#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// A file that `chancery audit export` wrote; without it the database is read
    file: Option<PathBuf>,
    /// The fingerprint of the audit's key, as the first start printed it, or the verifier key
    #[arg(long, value_name = "FINGERPRINT")]
    key: Option<String>,
    /// SHA-256 of a checkpoint that was published, which must be there; may be given more than once
    #[arg(long, value_name = "HASH")]
    checkpoint: Vec<String>,
    /// A file of published checkpoints, all of which must be there; may be given more than once
    #[arg(long, value_name = "FILE")]
    checkpoint_file: Vec<PathBuf>,
}

pub async fn run(context: &Context, command: AuditCommand) -> Result<()> {
    match command {
        AuditCommand::List(page) => list(context, &page).await,
        AuditCommand::Verify(arguments) => verify(context, arguments).await,
        AuditCommand::Confirm { chains, reason } => confirm(context, &chains, &reason).await,
        AuditCommand::Export { out } => export(context, out.as_deref()).await,
        AuditCommand::Key => key(context).await,
    }
}

async fn list(context: &Context, page: &NewestArgs) -> Result<()> {
    let client = context.client().await?;
    let found = listing::find(&client, "/api/v1/audit-events", &[], page).await;
    let found = found.trying(|| "cannot list audit events".into())?;
    let mut table =
        Table::new(&[Column::Time, Column::Action, Column::Outcome, Column::Actor, Column::Object, Column::Detail]);
    for event in &found.items {
        table.row(["at", "action", "outcome", "actor", "object", "detail"].map(|m| output::text(event, m)).to_vec());
    }
    found.print(context, "id", |_| table)
}

/// 0 when the audit is whole, 11 with one line for each break.
async fn verify(context: &Context, arguments: VerifyArguments) -> Result<()> {
    let what = || "cannot verify the audit".to_owned();
    let file = arguments.file.clone();
    let known = known(arguments).trying(what)?;
    let verdict = match file {
        Some(path) => audit_file::verify_file(BufReader::new(open(&path).trying(what)?), known).trying(what)?,
        None => {
            context.on_host("audit verify").trying(what)?;
            let app = context.local_app(&Flags::new()).await.trying(what)?;
            app.authority.verify_audit(known).await.trying(what)?
        }
    };
    show(context, &verdict)?;
    if verdict.findings.is_empty() { Ok(()) } else { Err(Failure { what: String::new(), cause: Cause::Check(11) }) }
}

fn known(arguments: VerifyArguments) -> crate::error::Result<KnownOutside> {
    let mut notes = Vec::new();
    for path in &arguments.checkpoint_file {
        let text = std::fs::read_to_string(path).map_err(|e| unreadable(path, &e))?;
        let found = audit_file::notes(&text);
        if found.is_empty() {
            return Err(Error::malformed(format!("{} holds no checkpoint", path.display())));
        }
        notes.extend(found);
    }
    Ok(KnownOutside { key: arguments.key, checkpoints: arguments.checkpoint, notes })
}

fn show(context: &Context, verdict: &AuditVerdict) -> Result<()> {
    let whole = verdict.findings.is_empty();
    let document = json!({
        "ok": whole,
        "authenticated": whole && verdict.authenticated,
        "signed_checkpoint": verdict.signed.map(|signed| signed.number),
        "signed_until": verdict.signed.map(|signed| signed.at),
        "unsigned_events": verdict.unsigned_events,
        "key": verdict.key,
        "audit_events": verdict.events,
        "checkpoints": verdict.checkpoints,
        "findings": verdict.findings,
        "confirmed": verdict.confirmed,
    });
    if output::document(context.output, &document, "key")? {
        return Ok(());
    }
    verdict.findings.iter().for_each(|finding| output::say(&format!("broken  {finding}")));
    verdict.confirmed.iter().for_each(|word| output::say(&format!("confirmed  {word}")));
    let sentence = match (whole, verdict.signed.filter(|_| verdict.authenticated)) {
        (false, _) => "the audit is not whole".to_owned(),
        (true, Some(signed)) => {
            let rest = match verdict.unsigned_events {
                0 => "no event comes after it".to_owned(),
                1 => "1 event after it is consistent, not authenticated".to_owned(),
                n => format!("{n} events after it are consistent, not authenticated"),
            };
            format!(
                "whole, and signed by the key that you named up to checkpoint number {} of {}; {rest}",
                signed.number, signed.at
            )
        }
        (true, None) => {
            "consistent, not authenticated; name the audit's key, which the first start printed, with --key"
                .to_owned()
        }
    };
    let (events, checkpoints) = (verdict.events, verdict.checkpoints);
    Ok(output::data(&format!("checked {events} audit events and {checkpoints} checkpoints: {sentence}\n"))?)
}

async fn confirm(context: &Context, chains: &[String], reason: &str) -> Result<()> {
    let what = || "cannot confirm events of the audit".to_owned();
    context.on_host("audit confirm").trying(what)?;
    let app = context.local_app(&Flags::new()).await.trying(what)?;
    let ranges = app.authority.confirm_clock(&host_actor(), chains, reason).await.trying(what)?;
    if output::document(context.output, &json!({"confirmed": ranges}), "id")? {
        return Ok(());
    }
    for range in &ranges {
        let (chain, events) = (range.chain(), counted(range.count(), "event"));
        output::say(&format!("confirmed {events} of chain {chain}, from {} to {}", range.first, range.last));
    }
    Ok(())
}

async fn export(context: &Context, out: Option<&Path>) -> Result<()> {
    let what = || "cannot export the audit".to_owned();
    context.on_host("audit export").trying(what)?;
    let app = context.local_app(&Flags::new()).await.trying(what)?;
    let mut to: Box<dyn Write + Send> = match out {
        Some(path) => {
            Box::new(std::io::BufWriter::new(File::create_new(path).map_err(|e| unwritable(path, &e)).trying(what)?))
        }
        None => Box::new(std::io::BufWriter::new(std::io::stdout())),
    };
    let shown = out.unwrap_or(Path::new("standard output"));
    let (mut is_read, is_pipe) = (true, out.is_none());
    let missing = app.authority.export_audit(|line| {
        let mut text =
            serde_json::to_vec(line).map_err(|e| Error::internal("a line of the audit does not serialise", e))?;
        text.push(b'\n');
        to.write_all(&text).map_err(|e| {
            is_read = !(is_pipe && e.kind() == std::io::ErrorKind::BrokenPipe);
            unwritable(shown, &e)
        })
    });
    let missing = match missing.await {
        // a reader that went away (`| head`) is no failure
        Err(_) if !is_read => return Ok(()),
        outcome => outcome.trying(what)?,
    };
    match to.flush() {
        Err(e) if is_pipe && e.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
        outcome => outcome.map_err(|e| unwritable(shown, &e)).trying(what)?,
    }
    missing.iter().for_each(|finding| output::say(&format!("left out  {finding}")));
    if missing.is_empty() { Ok(()) } else { Err(Failure { what: String::new(), cause: Cause::Check(11) }) }
}

async fn key(context: &Context) -> Result<()> {
    let what = || "cannot show the audit's key".to_owned();
    context.on_host("audit key").trying(what)?;
    let app = context.local_app(&Flags::new()).await.trying(what)?;
    let none =
        || Error::malformed("the audit has no key yet; a server makes it in its first minutes: chancery serve");
    let key = app.authority.audit_key().await.and_then(|key| key.ok_or_else(none)).trying(what)?;
    if output::document(
        context.output,
        &json!({"fingerprint": key.fingerprint(), "verifier_key": key.to_string()}),
        "id",
    )? {
        return Ok(());
    }
    Ok(output::data(&format!("fingerprint   {}\nverifier key  {key}\n", key.fingerprint()))?)
}

fn open(path: &Path) -> crate::error::Result<File> {
    File::open(path).map_err(|e| unreadable(path, &e))
}

fn unreadable(path: &Path, why: &std::io::Error) -> Error {
    Error::malformed(format!("cannot read {}: {why}", path.display()))
}

fn unwritable(path: &Path, why: &std::io::Error) -> Error {
    Error::malformed(format!("cannot write {}: {why}; name a new file on a disk with space", path.display()))
}
