//! The command line: one file a command. Local commands call the REST router within this process as the user of
//! the operating system, remote ones over TLS: the same answers, the same refusals. Floor 8.

mod acme;
mod acme_accounts;
mod acme_explain;
mod acme_limits;
mod acme_orders;
mod acme_test;
mod audit;
mod bootstrap;
mod ca;
mod ca_anchor;
mod ca_foreign;
mod ca_root;
mod ca_show;
mod ca_states;
mod certificates;
mod clock;
mod config;
mod confirm;
mod contexts;
mod doctor;
mod examples;
mod failure;
mod files;
mod flags;
mod formats;
mod generate;
mod grant;
mod import_certificates;
mod inspect;
mod inspect_short;
mod issue;
mod key;
mod listing;
mod migrate;
mod named;
mod objects;
mod output;
mod pair;
mod peer;
mod pkcs12_file;
mod profile;
mod quickstart;
mod reconcile;
mod renew;
mod renewals;
mod repeated;
mod revoke;
mod serve;
mod session;
mod setup_link;
mod token;
mod trust;
mod user;
mod verify;
mod verify_revocation;

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use failure::Result;
use flags::{EverywhereFlags, ServeFlags};
use output::{ColorChoice, Format};

use crate::server::limits;

const TIMES: &str = "Times, wherever TIME stands: a duration (90d, 12h, 1h30m, 30s), a date (2027-01-05, which is 00:00 UTC) or an \
                     RFC 3339 time (2027-01-05T10:00:00+01:00). A duration counts from now, and a length may be given as the \
                     moment at which it ends. LENGTH is a duration alone, because what it says recurs.";

/// A private certificate authority: ACME, REST, CRL and OCSP in one binary.
#[derive(Debug, Parser)]
#[command(name = "chancery", version, about, arg_required_else_help = true, disable_help_subcommand = true, after_help = format!("{TIMES}\n\n{}", failure::exit_codes()))]
struct Cli {
    #[command(flatten)]
    everywhere: EverywhereFlags,

    /// table, json, yaml, jsonl (an object a line), name (what other commands take) or pem; each page says which it prints
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", hide_possible_values = true)]
    output: Option<Format>,

    /// Colours: auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        hide_default_value = true
    )]
    color: ColorChoice,

    #[command(flatten)]
    remote: session::RemoteArgs,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server; on an empty database it makes the CA first
    #[command(after_help = flags::further_settings())]
    Serve(ServeFlags),
    /// Make the CA and end, without starting the server
    Init(ServeFlags),
    /// Check or migrate the schema of the database
    Migrate(migrate::MigrateArgs),
    /// Compare this machine's clock with the time that the CA goes by
    Clock {
        #[command(subcommand)]
        command: clock::ClockCommand,
    },
    /// Print the link for making the first administrator; it works once, within 15 minutes
    SetupLink,
    /// Make a key here and get a certificate for it
    Issue(issue::IssueArgs),
    /// Get a certificate for a CSR
    Sign(issue::SignArgs),
    /// Replace a certificate file by a new certificate with the same names and profile, and a new key
    Renew(renew::RenewArgs),
    /// Revoke a certificate by id, serial, fingerprint or file
    Revoke(revoke::RevokeArgs),
    /// Show a certificate, CSR, CRL or OCSP answer: from a file, from a TLS server, or by id or serial
    Inspect(inspect::InspectArgs),
    /// Say in one sentence whether a certificate is good
    ///
    /// Ends with 0 when it is good, 20 expired, 21 not yet valid, 22 revoked, 23 another name, 24 untrusted chain.
    Verify(verify::VerifyArgs),
    /// List certificates: by name, by serial, or the newest
    Find(certificates::FindArgs),
    /// Manage certificate authorities (roots and issuers) and their trust domains
    Ca {
        #[command(subcommand)]
        command: ca::CaCommand,
    },
    /// Manage profiles: the rules for what is issued
    Profile {
        #[command(subcommand)]
        command: profile::ProfileCommand,
    },
    /// Block keys that others may know, with or without a certificate
    Key {
        #[command(subcommand)]
        command: key::KeyCommand,
    },
    /// Manage API tokens
    Token {
        #[command(subcommand)]
        command: token::TokenCommand,
    },
    /// Manage grants: lists of what tokens and external account keys may ask for
    Grant {
        #[command(subcommand)]
        command: grant::GrantCommand,
    },
    /// Manage ACME: directories, accounts, external account keys, orders and why they failed
    Acme {
        #[command(subcommand)]
        command: acme::AcmeCommand,
    },
    /// Fetch the root of a server, compare its fingerprint, and remember server and root as a context
    Bootstrap(bootstrap::BootstrapArgs),
    /// Manage contexts: the servers that you work with
    Context {
        #[command(subcommand)]
        command: contexts::ContextCommand,
    },
    /// Add the roots of the CA to the trust stores of this host, or remove them
    Trust {
        #[command(subcommand)]
        command: trust::TrustCommand,
    },
    /// Manage the users who sign in to the dashboard
    User {
        #[command(subcommand)]
        command: user::UserCommand,
    },
    /// Read or verify the audit: every change and every refusal
    Audit {
        #[command(subcommand)]
        command: audit::AuditCommand,
    },
    /// Print a script or manifest that connects a program to this CA, with the values filled in
    Quickstart(quickstart::QuickstartArgs),
    /// Check whether everything works, and print what to do about what does not
    ///
    /// Ends with 0 when all is well, 10 with a warning, 11 when something does not work now. A server that does not run is
    /// reported and is no fault.
    Doctor(ServeFlags),
    /// Check that database, certificates, audit chains and CRLs are consistent
    ///
    /// Ends with 0 when they are, 11 with one line for each inconsistency. A row that was changed in the database by something
    /// other than Chancery is refused until it is restored, revoked, or accepted as it stands:
    /// `chancery fsck --accept user:usr_01JEXAMPLE`
    Fsck {
        /// Accept this row as it stands now, before the check
        #[arg(long, value_name = "OBJECT")]
        accept: Vec<String>,
    },
    /// Go on after a backup was restored: show what is missing, take in published CRLs, confirm tokens
    ///
    /// On the host of the database. Until it has run, a server whose database is older than remembered signs nothing.
    Reconcile(reconcile::ReconcileArgs),
    /// Show the settings, or check them
    Config {
        #[command(subcommand)]
        command: config::ConfigCommand,
    },
    /// Print completions for a shell
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory
    Man {
        /// It is made if it does not exist
        directory: std::path::PathBuf,
    },
}

/// Every command with its arguments and help texts.
pub fn command() -> clap::Command {
    examples::added_to(Cli::command())
}

/// Runs one command; the exit code is the process's.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let parsed = command().try_get_matches_from(arguments).and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches).map_err(|e| e.format(&mut command()))?;
        Ok((cli, matches))
    });
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // help and version are no failures and go to stdout
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    limits::hide_memory();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::say(&format!("error: the system gave no threads: {error}"));
            return 1;
        }
    };
    let environment = crate::server::settings::Environment::of_process();
    output::set_up(cli.color, &environment);
    let repeated = repeated::Repeated::of(&cli.everywhere.0, &cli.remote, &environment);
    let outcome = match formats::check(&matches, cli.output) {
        Ok(()) => runtime.block_on(dispatch(cli)),
        Err(refused) => Err(refused.into()),
    };
    // a blocked look-up must not hold the end of the process
    runtime.shutdown_background();
    match outcome {
        Ok(()) => 0,
        Err(failure) => {
            let lines = failure.lines();
            let note = repeated.note_on(&lines).map(|note| format!("  note   {note}"));
            let lines: Vec<String> = lines.iter().map(|line| repeated.in_text(line)).chain(note).collect();
            output::say_all("ERROR", &lines);
            failure.exit_code()
        }
    }
}

async fn dispatch(cli: Cli) -> Result<()> {
    let context = session::Context { flags: cli.everywhere.0, remote: cli.remote, output: cli.output };
    match cli.command {
        Command::Serve(flags) => serve::serve(&context, flags).await,
        Command::Init(flags) => serve::init(&context, flags).await,
        Command::Migrate(args) => migrate::run(&context, args).await,
        Command::Clock { command } => clock::run(&context, command).await,
        Command::SetupLink => setup_link::run(&context).await,
        Command::Issue(args) => issue::issue(&context, args).await,
        Command::Sign(args) => issue::sign(&context, args).await,
        Command::Revoke(args) => revoke::revoke(&context, args).await,
        Command::Renew(args) => renew::renew(&context, args).await,
        Command::Verify(args) => verify::verify(&context, args).await,
        Command::Inspect(args) => inspect::inspect(&context, args).await,
        Command::Find(args) => certificates::find(&context, args).await,
        Command::Ca { command } => ca::run(&context, command).await,
        Command::Profile { command } => profile::run(&context, command).await,
        Command::Key { command } => key::run(&context, command).await,
        Command::Token { command } => token::run(&context, command).await,
        Command::Grant { command } => grant::run(&context, command).await,
        Command::Acme { command } => acme::run(&context, command).await,
        Command::Bootstrap(args) => bootstrap::run(&context, args).await,
        Command::Context { command } => contexts::run(&context, command),
        Command::Trust { command } => trust::run(&context, command).await,
        Command::User { command } => user::run(&context, command).await,
        Command::Audit { command } => audit::run(&context, command).await,
        Command::Quickstart(args) => quickstart::run(&context, args).await,
        Command::Doctor(flags) => doctor::doctor(&context, flags).await,
        Command::Fsck { accept } => doctor::fsck(&context, &accept).await,
        Command::Reconcile(args) => reconcile::run(&context, args).await,
        Command::Config { command } => config::run(&context, command),
        Command::Completion { shell } => generate::completion(shell),
        Command::Man { directory } => generate::man(&directory),
    }
}
