//! `trust install|uninstall|status`: a root in the stores of this host. First the plan, then a yes, then one result a
//! store; a store that fails stops no other, and nothing asks for a password.

mod doctor;
mod java;
mod nss;
pub mod root;
mod store;
mod system;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::failure::{Cause, Failure, Result, Trying};
use super::output::{self, Format, Table};
use super::session::Context;
use crate::cli::confirm::confirm;
use crate::server::settings::Environment;
use root::Root;
use store::{State, TrustStore};

#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// Put the root into the stores of this host
    Install(ChangeArgs),
    /// Take it out again
    Uninstall(ChangeArgs),
    /// In which stores it is
    Status(StatusArgs),
    /// Which store or variable each tool of this host will use, and whether the root is there
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
pub struct ChangeArgs {
    #[command(flatten)]
    which: StatusArgs,
    /// Do it without asking
    #[arg(short, long)]
    yes: bool,
    /// Show the plan and stop
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// SHA-256 of the root of --url, which is then fetched and compared
    #[arg(long, value_name = "F")]
    fingerprint: Option<String>,
    /// Only these stores; every one that is found when not given
    #[arg(long, value_enum, value_name = "STORE")]
    store: Vec<Kind>,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// A server whose certificate is looked at too
    server: Option<String>,
    /// SHA-256 of the root of --url, which is then fetched and compared
    #[arg(long, value_name = "F")]
    fingerprint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The operating system's bundle
    System,
    /// Firefox, and Chromium on Linux (NSS databases)
    Nss,
    /// The cacerts of Java
    Java,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::System => "system",
            Kind::Nss => "nss",
            Kind::Java => "java",
        }
    }
}

pub async fn run(context: &Context, command: TrustCommand) -> Result<()> {
    let what = || "cannot do this to the stores of this host".to_owned();
    match command {
        TrustCommand::Install(args) => {
            let root = root::find(context, args.which.fingerprint.as_deref()).await.trying(what)?;
            change(context, &root, &args, true)
        }
        TrustCommand::Uninstall(args) => {
            let root = root::find(context, args.which.fingerprint.as_deref()).await.trying(what)?;
            change(context, &root, &args, false)
        }
        TrustCommand::Status(args) => {
            let root = root::find(context, args.fingerprint.as_deref()).await.trying(what)?;
            status(context, &root, &stores(&args.store))
        }
        TrustCommand::Doctor(args) => {
            let root = root::find(context, args.fingerprint.as_deref()).await.trying(what)?;
            doctor::run(context, &root, args.server.as_deref()).await
        }
    }
}

/// Every store of this host, of the kinds that were asked for.
fn stores(kinds: &[Kind]) -> Vec<Box<dyn TrustStore>> {
    let environment = Environment::of_process();
    let mut found: Vec<Box<dyn TrustStore>> = vec![Box::new(system::System::find())];
    found.extend(nss::find(&environment).into_iter().map(|s| Box::new(s) as Box<dyn TrustStore>));
    found.push(Box::new(java::Java::find(&environment)));
    found.retain(|s| kinds.is_empty() || kinds.contains(&s.kind()));
    found
}

fn change(context: &Context, root: &Root, args: &ChangeArgs, install: bool) -> Result<()> {
    let stores = stores(&args.which.store);
    let wished = |store: &dyn TrustStore| match (store.state(root), install) {
        (State::Trusted, true) => Err("already there".to_owned()),
        (State::Absent, false) => Err("not there".to_owned()),
        (State::Unusable(why), _) => Err(why),
        _ => store.writable().map_or(Ok(()), Err),
    };
    let plan: Vec<(&dyn TrustStore, std::result::Result<(), String>)> =
        stores.iter().map(|s| (s.as_ref(), wished(s.as_ref()))).collect();
    let json = context.output == Some(Format::Json);
    if !json {
        output::say(&format!("{}  SHA-256 {}", root.subject, root.fingerprint));
        for (store, wish) in &plan {
            let (word, more) = match wish {
                Ok(()) => ("will change", String::new()),
                Err(why) => ("will skip", format!("  ({why})")),
            };
            output::say(&format!("  {word:<12}{:<8}{}{more}", store.kind().name(), store.place(root)));
        }
    }
    if !args.dry_run && plan.iter().any(|(_, wish)| wish.is_ok()) {
        confirm(
            args.yes,
            "nothing was changed: there is no terminal to ask; --yes does what the plan says, --dry-run shows it",
        )?;
    }
    let results: Vec<(&dyn TrustStore, &'static str, String)> = plan
        .into_iter()
        .map(|(store, wish)| match wish {
            Ok(()) if args.dry_run => (store, "planned", String::new()),
            Ok(()) => apply(store, root, install),
            Err(why) => (store, "skipped", why),
        })
        .collect();
    report(json, root, &results)?;
    let asked_for_one_that_cannot = |(store, word, why): &(&dyn TrustStore, &str, String)| {
        args.which.store.contains(&store.kind())
            && *word == "skipped"
            && !["already there", "not there"].contains(&why.as_str())
    };
    if results.iter().any(|r| r.1 == "failed" || asked_for_one_that_cannot(r)) {
        return Err(Failure { what: String::new(), cause: Cause::Check(1) });
    }
    Ok(())
}

/// What was done is looked at again: a tool's exit code alone proves nothing.
fn apply<'a>(store: &'a dyn TrustStore, root: &Root, install: bool) -> (&'a dyn TrustStore, &'static str, String) {
    let outcome = if install { store.install(root) } else { store.remove(root) };
    match outcome.map(|()| store.state(root)) {
        Ok(State::Trusted) if install => (store, "done", String::new()),
        Ok(State::Absent) if !install => (store, "done", String::new()),
        Ok(_) => (store, "failed", "the tool ended well and changed nothing".to_owned()),
        Err(why) => (store, "failed", why),
    }
}

fn report(json: bool, root: &Root, results: &[(&dyn TrustStore, &'static str, String)]) -> Result<()> {
    if json {
        let rows: Vec<Value> = results
            .iter()
            .map(|(store, word, why)| json!({"store": store.kind().name(), "place": store.place(root), "result": word, "reason": why}))
            .collect();
        return Ok(output::json(&json!({"root_sha256": root.fingerprint.to_string(), "stores": rows}))?);
    }
    for (store, word, why) in results.iter().filter(|r| r.1 != "skipped" && r.1 != "planned") {
        let more = if why.is_empty() { String::new() } else { format!("  {why}") };
        output::say(&format!("  {word:<12}{:<8}{}{more}", store.kind().name(), store.place(root)));
    }
    Ok(())
}

fn status(context: &Context, root: &Root, stores: &[Box<dyn TrustStore>]) -> Result<()> {
    let rows: Vec<(&str, String, String)> = stores
        .iter()
        .map(|s| {
            let state = match s.state(root) {
                State::Trusted => "trusted".to_owned(),
                State::Absent => "not there".to_owned(),
                State::Unusable(why) => format!("unknown: {why}"),
            };
            (s.kind().name(), s.place(root), state)
        })
        .collect();
    if context.output == Some(Format::Json) {
        let stores: Vec<Value> =
            rows.iter().map(|(kind, place, state)| json!({"store": kind, "place": place, "state": state})).collect();
        return Ok(output::json(&json!({"root_sha256": root.fingerprint.to_string(), "stores": stores}))?);
    }
    let mut table = Table::new(&["STORE", "STATE", "PLACE"]);
    for (kind, place, state) in rows {
        table.row(vec![kind.to_owned(), state, place]);
    }
    Ok(table.print()?)
}
