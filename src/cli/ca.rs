//! `ca`: trust domains and issuers. What needs a root's key works on the host that has root.key; a running server sees
//! the result within 5 s.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::failure::{Result, Trying};
use super::listing::{self, ListOrShow};
use super::output::{self, Format};
use super::session::Context;
use super::{ca_anchor, ca_foreign, ca_root, ca_show, ca_states};
use crate::client::{Client, encode};
use crate::server::settings::Flags;

#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// One line for each certificate authority
    List,
    /// Everything about one, and what depends on it
    Show {
        /// The issuer or root, such as tls-1
        name: String,
    },
    /// Make a trust domain with a root and an issuer, or with --under one more issuer
    Create(CreateArgs),
    /// Take over a CA with its key (PEM or PKCS#12)
    Import(ca_foreign::ImportArgs),
    /// Make a key and a CSR for a CA elsewhere, such as a corporate root
    Csr(ca_foreign::CsrArgs),
    /// Install the certificate that a CA elsewhere made for a CSR, or one more for an issuer
    Install(ca_foreign::InstallArgs),
    /// Take the key of a root offline, or bring it back
    Root {
        #[command(subcommand)]
        command: ca_root::RootCommand,
    },
    /// Roots of others in the bundle of a trust domain
    Anchor {
        #[command(subcommand)]
        command: ca_anchor::AnchorCommand,
    },
    /// CRLs that a server cannot sign
    Crl {
        #[command(subcommand)]
        command: ca_root::CrlCommand,
    },
    /// Give an issuer one more certificate from its root: the same name and key, a later end. Older ones with
    /// OCSPSigning are revoked
    Renew {
        /// The issuer, such as tls-1
        name: String,
        /// How many years it lives
        #[arg(long, value_name = "N")]
        years: Option<u32>,
        #[command(flatten)]
        root: RootKey,
    },
    /// Choose who signs the OCSP answers of an issuer
    Ocsp {
        /// The issuer, such as tls-1
        name: String,
        /// Its delegate, which answers while the server is locked; or the issuer's own key, for clients that want
        /// OCSPSigning in the CA before they believe a delegate (some Microsoft servers)
        #[arg(long, value_name = "WHO", value_parser = ["delegate", "issuer"])]
        sign_by: String,
    },
    /// Let a prepared or retiring issuer or root sign. An issuer that was prepared, or was the default before it was retired,
    /// becomes the default of its domain
    Activate(ca_states::ActivateArgs),
    /// Let an issuer or a root sign no certificate any more; it publishes until its last one expires
    Retire(ca_states::StateArgs),
    /// Take a retiring or prepared root out of its bundle, or an issuer out of use; `ca retire` brings it back
    Remove(ca_states::StateArgs),
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// mtls, kubernetes, etcd, front-proxy, code-signing, timestamping, smime, dev, or a name of your own
    domain: String,
    /// The issuer that signs the new one; without it the domain is made with a root of its own
    #[arg(long, value_name = "ISSUER")]
    under: Option<String>,
    /// Make one more root of a domain that is there: prepared, in the bundle, until `ca activate`
    #[arg(long, conflicts_with_all = ["under", "eku", "permit", "exclude"])]
    new_root: bool,
    /// P-256, P-384, P-521, Ed25519, RSA-2048, RSA-3072 or RSA-4096
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// An extended key usage, such as serverAuth; can be given again
    #[arg(long, value_name = "USAGE")]
    eku: Vec<String>,
    /// A name that may stand below it (example.org, 10.0.0.0/8, @example.org, spiffe://host); all else may not
    #[arg(long, value_name = "NAME")]
    permit: Vec<String>,
    /// A name that may not stand below it; can be given again
    #[arg(long, value_name = "NAME")]
    exclude: Vec<String>,
    /// How many years the issuer lives
    #[arg(long, value_name = "N")]
    years: Option<u32>,
    #[command(flatten)]
    root: RootKey,
}

#[derive(Debug, Args)]
pub struct RootKey {
    /// The key file of the roots [default: root.key in the data directory]
    #[arg(long, value_name = "FILE")]
    pub root_key: Option<PathBuf>,
}

pub async fn run(context: &Context, command: CaCommand) -> Result<()> {
    match command {
        CaCommand::List => listing::run(context, &listing::ISSUERS, ListOrShow::List).await,
        CaCommand::Show { name } => ca_show::run(context, &name).await,
        CaCommand::Create(args) => create(context, args).await,
        CaCommand::Import(args) => ca_foreign::import(context, args).await,
        CaCommand::Csr(args) => ca_foreign::csr(context, args).await,
        CaCommand::Install(args) => ca_foreign::install(context, args).await,
        CaCommand::Root { command } => ca_root::root(context, command).await,
        CaCommand::Anchor { command } => ca_anchor::run(context, command).await,
        CaCommand::Crl { command } => ca_root::crl(context, command).await,
        CaCommand::Renew { name, years, root } => ca_root::renew(context, &name, years, &root).await,
        CaCommand::Ocsp { name, sign_by } => ocsp(context, &name, &sign_by).await,
        CaCommand::Activate(args) => ca_states::activate(context, &args).await,
        CaCommand::Retire(args) => ca_states::retire(context, &args).await,
        CaCommand::Remove(args) => ca_states::remove(context, &args).await,
    }
}

async fn create(context: &Context, args: CreateArgs) -> Result<()> {
    let client = context.client_with_root(args.root.root_key.as_deref()).await?;
    let new_root = args.new_root;
    let (domain, under) = (args.domain.clone(), args.under.is_some() || new_root);
    let path = if under { "/api/v1/issuers" } else { "/api/v1/domains" };
    let mut asked = body(args);
    asked.extend(status_url(context)?.map(|url| ("status_url".into(), url.into())));
    let what = || match under {
        true => format!("cannot create an issuer of trust domain {domain}"),
        false => format!("cannot create trust domain {domain}"),
    };
    let made = client.post(path, &Value::from(asked)).await.trying(what)?;
    match (context.output, under) {
        (Some(Format::Json), _) => Ok(output::json(&made)?),
        (Some(Format::Pem), true) => Ok(output::data(made["certificate"].as_str().unwrap_or_default())?),
        (Some(Format::Pem), false) => Ok(output::data(made["bundle"].as_str().unwrap_or_default())?),
        (_, true) => {
            let slug = made["slug"].as_str().unwrap_or_default();
            issuer(&client, slug).await?;
            let permitted = output::text(&made, "permitted_names");
            if permitted != "-" {
                output::say(&format!("permits   {}", permitted.replace(',', ", ")));
            }
            next_steps(context, &made, slug, new_root);
            Ok(())
        }
        (_, false) => report(&client, &made).await,
    }
}

async fn ocsp(context: &Context, name: &str, sign_by: &str) -> Result<()> {
    let client = context.client().await?;
    let path = format!("/api/v1/issuers/{}", encode(name));
    let body = Value::from(Map::from_iter([("ocsp_signer".to_owned(), sign_by.into())]));
    let changed = client.patch(&path, &body).await.trying(|| format!("cannot change {name}"))?;
    if context.output == Some(Format::Json) {
        return Ok(output::json(&changed)?);
    }
    let by = if sign_by == "issuer" {
        "its own key; while the server is locked it answers tryLater"
    } else {
        "its delegate"
    };
    output::say(&format!("ocsp      answers of {name} are signed by {by}"));
    Ok(())
}

/// What a further root or issuer needs before it signs for clients.
fn next_steps(context: &Context, made: &Value, slug: &str, new_root: bool) {
    let domain = output::text(made, "domain");
    let activate = || context.command(&format!("ca activate {slug}"));
    if new_root {
        output::say(&format!("prepared  it stands in /bundles/{domain}.pem and signs for nobody yet"));
        output::say(&format!("next      {}", context.command(&format!("ca create {domain} --under {slug}"))));
        output::say(&format!("          {}     (once clients have the bundle)", activate()));
    } else if made["state"] == "prepared" {
        output::say(&format!("prepared  {}     (after its root)", activate()));
    } else if made["is_default"] == false {
        output::say(&format!("next      {} --default     (it then signs where no issuer is named)", activate()));
    }
}

fn body(args: CreateArgs) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("domain".into(), args.domain.into());
    if args.new_root {
        body.insert("new_root".into(), true.into());
    }
    body.extend(args.under.map(|v| ("under".into(), v.into())));
    body.extend(args.key.map(|v| ("key".into(), v.into())));
    body.extend(args.years.map(|v| ("years".into(), v.into())));
    for (member, values) in [("usages", args.eku), ("permit", args.permit), ("exclude", args.exclude)] {
        if !values.is_empty() {
            body.insert(member.into(), values.into());
        }
    }
    body
}

/// Only what was set: a server elsewhere and the issuers that are there know theirs.
pub fn status_url(context: &Context) -> Result<Option<String>> {
    if context.is_remote() {
        return Ok(None);
    }
    let config = context.config(&Flags::new())?;
    let plain = config.status_url.filter(|url| url.scheme() == "http");
    Ok(plain.map(|url| url.as_str().trim_end_matches('/').to_owned()))
}

async fn report(client: &Client, domain: &Value) -> Result<()> {
    let slug = output::text(domain, "slug");
    output::say(&format!("created   trust domain {slug}"));
    for one in domain["issuers"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        issuer(client, one).await?;
    }
    output::say(&format!("profiles  {}", output::text(domain, "profiles").replace(',', ", ")));
    output::say(&format!("trust     /bundles/{slug}.pem on every listener of the server"));
    Ok(())
}

pub async fn issuer(client: &Client, slug: &str) -> Result<()> {
    let path = format!("/api/v1/issuers/{}", encode(slug));
    let one = client.get(&path).await.trying(|| format!("cannot show {slug}"))?;
    let text = |member| output::text(&one, member);
    output::say(&format!(
        "{:<9} {slug}  {}  {} until {}",
        text("role"),
        text("name"),
        text("key_algorithm"),
        text("not_after")
    ));
    Ok(())
}
