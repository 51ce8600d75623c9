//! `ca root offline|online`, `ca crl sign|import`, `ca renew`. On the host that holds the keys.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::ca::{RootKey, issuer};
use super::ca_foreign::{password, read, read_crl, warn_of_collisions};
use super::failure::{Result, Trying};
use super::files;
use super::output;
use super::repeated::quoted;
use super::session::{Context, host_actor};
use crate::error::Error;

#[derive(Debug, Subcommand)]
pub enum RootCommand {
    /// Write the private key of a root to a file and remove it from the database
    Offline(OfflineArgs),
    /// Put the private key of a root back into the database
    Online(OnlineArgs),
}

#[derive(Debug, Args)]
pub struct OfflineArgs {
    /// The root, such as etcd-root
    name: String,
    /// The file to write; an existing one is not overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// File with a password to encrypt the key with, so that OpenSSL can read it; without it only root.key opens the file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    root: RootKey,
}

#[derive(Debug, Args)]
pub struct OnlineArgs {
    /// The file that `ca root offline` wrote
    file: PathBuf,
    /// File with the password, if it was given one
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    root: RootKey,
}

#[derive(Debug, Subcommand)]
pub enum CrlCommand {
    /// Sign the CRLs of a root, for now and for the rest of its life
    Sign {
        /// The root, such as etcd-root
        name: String,
        #[command(flatten)]
        root: RootKey,
    },
    /// Import a CRL of an issuer that was signed elsewhere
    Import {
        /// The CRL in DER or PEM
        file: PathBuf,
    },
}

pub async fn root(context: &Context, command: RootCommand) -> Result<()> {
    match command {
        RootCommand::Offline(args) => offline(context, args).await,
        RootCommand::Online(args) => online(context, args).await,
    }
}

async fn offline(context: &Context, args: OfflineArgs) -> Result<()> {
    let what = || format!("cannot take {} offline", args.name);
    let app = context.host_app(args.root.root_key.as_deref()).await.trying(what)?;
    let password = args.password_file.as_deref().map(password).transpose().trying(what)?;
    let password = password.as_ref().map(|p| p.as_slice());
    let text = app.authority.export_root(&args.name, password).trying(what)?;
    files::write(&args.out, text.as_bytes(), 0o600, false).trying(what)?;
    // what the disk gives back counts, not what was meant to be there
    let written = String::from_utf8(read(&args.out).trying(what)?);
    let written =
        written.map_err(|_| Error::malformed("the file was not written as it was meant to be")).trying(what)?;
    app.authority.take_root_offline(&host_actor(), &args.name, &written, password).await.trying(what)?;
    output::say(&format!("offline   {} lies in {}", args.name, args.out.display()));
    output::say(match &args.password_file {
        Some(_) => {
            "keep      a copy of the file apart from the password and from root.key; all three are needed to bring it back"
        }
        None => "keep      a copy of the file apart from root.key; both are needed to bring it back",
    });
    output::say("status    its CRLs are signed for the rest of its life and are served on");
    let file = |path: &Path| quoted(&path.display().to_string());
    let opened = args.password_file.as_deref().map(|path| format!(" --password-file {}", file(path)));
    let (opened, key) = (opened.unwrap_or_default(), args.root.repeated());
    let online = context.command(&format!("ca root online {}{opened}{key}", file(&args.out)));
    output::say(&format!("undo      {online}"));
    Ok(())
}

async fn online(context: &Context, args: OnlineArgs) -> Result<()> {
    let what = || format!("cannot bring back the root in {}", args.file.display());
    let app = context.host_app(args.root.root_key.as_deref()).await.trying(what)?;
    let password = args.password_file.as_deref().map(password).transpose().trying(what)?;
    let text = String::from_utf8(read(&args.file).trying(what)?);
    let text = text.map_err(|_| Error::malformed("it is no text file of `chancery ca root offline`")).trying(what)?;
    let password = password.as_ref().map(|p| p.as_slice());
    let slug = app.authority.bring_root_online(&host_actor(), &text, password).await.trying(what)?;
    output::say(&format!("online    {slug}"));
    Ok(())
}

pub async fn crl(context: &Context, command: CrlCommand) -> Result<()> {
    match command {
        CrlCommand::Sign { name, root } => {
            let what = || format!("cannot sign the CRLs of {name}");
            let app = context.host_app(root.root_key.as_deref()).await.trying(what)?;
            app.authority.sign_crls(&host_actor(), &name).await.trying(what)?;
            output::say(&format!("signed    the CRLs of {name}"));
        }
        CrlCommand::Import { file } => {
            let what = || format!("cannot import {}", file.display());
            let app = context.host_app(None).await.trying(what)?;
            let der = read_crl(&file).trying(what)?;
            let (slug, until) = app.authority.import_crl(&host_actor(), &der).await.trying(what)?;
            output::say(&format!("imported  the CRL of {slug}, in force until {until}"));
            warn_of_collisions(&app, &slug).await.trying(what)?;
        }
    }
    Ok(())
}

pub async fn renew(context: &Context, name: &str, years: Option<u32>, root: &RootKey) -> Result<()> {
    let what = || format!("cannot renew {name}");
    let app = context.host_app(root.root_key.as_deref()).await.trying(what)?;
    let revoked = app.authority.renew_issuer(&host_actor(), name, years).await.trying(what)?;
    output::say(&format!("renewed   {name}"));
    for serial in revoked {
        output::say(&format!("revoked   serial {serial}: an older certificate of {name}, which had OCSPSigning"));
    }
    issuer(&context.client().await?, name).await
}
