//! `trust install|uninstall|status`: the roots of a CA in the stores of this host. First the plan, then a yes, then one
//! result a store and root; a store that fails stops no other, and nothing asks for a password.

mod doctor;
mod java;
mod nss;
pub mod root;
mod store;
mod system;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::failure::{Cause, Failure, Result, Trying};
use super::output::{self, Column, Table};
use super::session::Context;
use crate::cli::confirm::confirm;
use crate::server::settings::Environment;
use root::Root;
use store::{State, TrustStore};

#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// Add every root of the CA's bundle to the trust stores of this host
    Install(ChangeArgs),
    /// Remove them from the trust stores
    Uninstall(ChangeArgs),
    /// Show which trust stores have them
    Status(StatusArgs),
    /// Show which store or variable each tool of this host uses, and whether the roots are there
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
pub struct ChangeArgs {
    #[command(flatten)]
    which: StatusArgs,
    /// Change the stores without asking first
    #[arg(short, long)]
    yes: bool,
    /// Show what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// SHA-256 fingerprint of the root of --url; the root is fetched and compared with it
    #[arg(long, value_name = "F")]
    fingerprint: Option<String>,
    /// Only these stores [default: every store that is found]
    #[arg(long, value_enum, value_name = "STORE")]
    store: Vec<Kind>,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// A server whose certificate is checked too
    server: Option<String>,
    /// SHA-256 fingerprint of the root of --url; the root is fetched and compared with it
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
            let roots = root::find(context, args.which.fingerprint.as_deref()).await.trying(what)?;
            change(context, &roots, &args, true)
        }
        TrustCommand::Uninstall(args) => {
            let roots = root::find(context, args.which.fingerprint.as_deref()).await.trying(what)?;
            change(context, &roots, &args, false)
        }
        TrustCommand::Status(args) => {
            let roots = root::find(context, args.fingerprint.as_deref()).await.trying(what)?;
            status(context, &roots, &stores(&args.store))
        }
        TrustCommand::Doctor(args) => {
            let roots = root::find(context, args.fingerprint.as_deref()).await.trying(what)?;
            doctor::run(context, &roots, args.server.as_deref()).await
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

/// One root in one store, and why nothing is to be done there.
type Step<'a> = (&'a Root, &'a dyn TrustStore, std::result::Result<(), String>);
/// What came of it: a word, and more about it.
type Outcome<'a> = (&'a Root, &'a dyn TrustStore, &'static str, String);

fn change(context: &Context, roots: &[Root], args: &ChangeArgs, install: bool) -> Result<()> {
    let stores = stores(&args.which.store);
    let plan = plan(roots, &stores, install);
    if !output::is_for_programs(context.output) {
        tell(roots, &plan);
    }
    if !args.dry_run && plan.iter().any(|(.., wish)| wish.is_ok()) {
        confirm(
            args.yes,
            "nothing was changed: there is no terminal to ask; --yes does what the plan says, --dry-run shows it",
        )?;
    }
    let results: Vec<Outcome<'_>> = plan
        .into_iter()
        .map(|(root, store, wish)| match wish {
            Ok(()) if args.dry_run => (root, store, "planned", String::new()),
            Ok(()) => apply(store, root, install),
            Err(why) => (root, store, "skipped", why),
        })
        .collect();
    report(context, roots, &results)?;
    let asked_for_one_that_cannot = |(_, store, word, why): &Outcome<'_>| {
        args.which.store.contains(&store.kind())
            && *word == "skipped"
            && !["already there", "not there"].contains(&why.as_str())
    };
    if results.iter().any(|r| r.2 == "failed" || asked_for_one_that_cannot(r)) {
        return Err(Failure { what: String::new(), cause: Cause::Check(1) });
    }
    Ok(())
}

fn plan<'a>(roots: &'a [Root], stores: &'a [Box<dyn TrustStore>], install: bool) -> Vec<Step<'a>> {
    let wished = |store: &dyn TrustStore, root: &Root| match (store.state(root), install) {
        (State::Trusted, true) => Err("already there".to_owned()),
        (State::Absent, false) => Err("not there".to_owned()),
        (State::Unusable(why), _) => Err(why),
        _ => store.writable().map_or(Ok(()), Err),
    };
    let of_root = |root: &'a Root| stores.iter().map(move |s| (root, s.as_ref(), wished(s.as_ref(), root)));
    roots.iter().flat_map(of_root).collect()
}

/// Each root with its fingerprint, and below it what will happen to its stores.
fn tell(roots: &[Root], plan: &[Step<'_>]) {
    for root in roots {
        output::say(&format!("{}  SHA-256 {}", root.subject, root.fingerprint));
        for (_, store, wish) in plan.iter().filter(|(of, ..)| of.fingerprint == root.fingerprint) {
            let (word, more) = match wish {
                Ok(()) => ("will change", String::new()),
                Err(why) => ("will skip", format!("  ({why})")),
            };
            output::say(&format!("  {word:<12}{:<8}{}{more}", store.kind().name(), store.place(root)));
        }
    }
}

/// What was done is looked at again: a tool's exit code alone proves nothing.
fn apply<'a>(store: &'a dyn TrustStore, root: &'a Root, install: bool) -> Outcome<'a> {
    let outcome = if install { store.install(root) } else { store.remove(root) };
    match outcome.map(|()| store.state(root)) {
        Ok(State::Trusted) if install => (root, store, "done", String::new()),
        Ok(State::Absent) if !install => (root, store, "done", String::new()),
        Ok(_) => (root, store, "failed", "the tool ended well and changed nothing".to_owned()),
        Err(why) => (root, store, "failed", why),
    }
}

fn report(context: &Context, roots: &[Root], results: &[Outcome<'_>]) -> Result<()> {
    if output::is_for_programs(context.output) {
        let rows = results.iter().map(|(root, store, word, why)| {
            json!({"store": store.kind().name(), "place": store.place(root), "result": word, "reason": why,
                "root_sha256": root.fingerprint.to_string()})
        });
        output::document(context.output, &of_roots(roots, rows.collect()), "root_sha256")?;
        return Ok(());
    }
    for (root, store, word, why) in results.iter().filter(|r| r.2 != "skipped" && r.2 != "planned") {
        let more = if why.is_empty() { String::new() } else { format!("  {why}") };
        output::say(&format!("  {word:<12}{:<8}{}{more}", store.kind().name(), store.place(root)));
    }
    Ok(())
}

/// `root_sha256` is that of the first root, under which the server's own certificate stands.
fn of_roots(roots: &[Root], stores: Vec<Value>) -> Value {
    let all = roots.iter().map(|root| json!({"sha256": root.fingerprint.to_string(), "subject": root.subject}));
    let first = roots.first().map(|root| root.fingerprint.to_string());
    json!({"root_sha256": first, "roots": all.collect::<Vec<_>>(), "stores": stores})
}

fn status(context: &Context, roots: &[Root], stores: &[Box<dyn TrustStore>]) -> Result<()> {
    let state = |store: &dyn TrustStore, root: &Root| match store.state(root) {
        State::Trusted => "trusted".to_owned(),
        State::Absent => "not there".to_owned(),
        State::Unusable(why) => format!("unknown: {why}"),
    };
    let of_root = |root| stores.iter().map(move |s| (root, s.kind().name(), s.place(root), state(s.as_ref(), root)));
    let rows: Vec<(&Root, &str, String, String)> = roots.iter().flat_map(of_root).collect();
    if output::is_for_programs(context.output) {
        let stores = rows.iter().map(|(root, kind, place, state)| {
            json!({"store": kind, "place": place, "state": state, "root_sha256": root.fingerprint.to_string()})
        });
        output::document(context.output, &of_roots(roots, stores.collect()), "root_sha256")?;
        return Ok(());
    }
    let mut table = Table::new(&[Column::Store, Column::Status, Column::Place, Column::Fingerprint]);
    for (root, kind, place, state) in rows {
        table.row(vec![kind.to_owned(), state, place, root.fingerprint.to_string()]);
    }
    Ok(table.print()?)
}
