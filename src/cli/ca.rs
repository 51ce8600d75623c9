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
use crate::clock::{Clock, SystemClock};
use crate::model::times;
use crate::server::settings::Flags;

#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// List the certificate authorities, one line each
    List,
    /// Show everything about an issuer or a root, and what depends on it
    Show {
        /// The issuer or root, such as tls-1
        name: String,
    },
    /// Make a trust domain with a root and an issuer; with --under one more issuer, with --new-root one more root
    ///
    /// A new trust domain signs at once. So does an issuer under an active root, where it is named, and as the default of its
    /// domain where there is none yet; `ca activate NAME --default` makes it the default. An issuer under a prepared root is
    /// prepared, as a new root is: it signs nothing until `ca activate`, the root first.
    Create(CreateArgs),
    /// Import an existing CA with its private key (PEM or PKCS#12)
    Import(ca_foreign::ImportArgs),
    /// Import certificates that an imported CA issued before, so that they are found, answered by OCSP and revoked
    ///
    /// Each has to be signed by an issuer of this installation. With the index.txt of OpenSSL or EasyRSA revoked ones come in
    /// revoked. What is here already stays, so that an import that broke off is run again; --dry-run first shows what would
    /// be imported.
    ImportCertificates(super::import_certificates::ImportCertificatesArgs),
    /// Make a key and a CSR for an issuer that another CA is to sign, such as a corporate root
    Csr(ca_foreign::CsrArgs),
    /// Install the certificate that another CA signed for `ca csr`
    Install(ca_foreign::InstallArgs),
    /// Move the private key of a root out of the database into a file, or back
    Root {
        #[command(subcommand)]
        command: ca_root::RootCommand,
    },
    /// Roots of others in the bundle of a trust domain
    Anchor {
        #[command(subcommand)]
        command: ca_anchor::AnchorCommand,
    },
    /// Sign the CRLs of a root, or import CRLs that were signed elsewhere
    Crl {
        #[command(subcommand)]
        command: ca_root::CrlCommand,
    },
    /// Renew the certificate of an issuer: its root signs a new one with the same name and key and a later expiry
    ///
    /// Older certificates of the issuer that have the usage OCSPSigning are revoked: with them its key could answer OCSP
    /// about itself.
    Renew {
        /// The issuer, such as tls-1
        name: String,
        /// How many years the new certificate is valid [default: three, or as long as the root]
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
    /// Set how long the CRLs and the OCSP answers of an issuer are valid
    ///
    /// A new CRL is published at once, and then after a quarter of the lifetime, at least every week. CRLs and answers of
    /// before are good until they expire.
    #[command(group(clap::ArgGroup::new("what").required(true).multiple(true)))]
    Set {
        /// The issuer, such as tls-1
        name: String,
        /// How long a CRL is valid: 1h to 365d, or default (24h)
        #[arg(long, value_name = "LENGTH", group = "what")]
        crl_lifetime: Option<String>,
        /// How long an OCSP answer is valid: 15m to 30d, or default (12h)
        #[arg(long, value_name = "LENGTH", group = "what")]
        ocsp_lifetime: Option<String>,
    },
    /// Let an issuer or a root sign that is prepared or was retired
    ///
    /// An issuer that was prepared becomes the default of its trust domain, and so does one that was the default before it
    /// was retired: it then signs where a request names no issuer. A root has to be active before the issuers under it.
    Activate(ca_states::ActivateArgs),
    /// Stop an issuer or a root from signing; its CRL and OCSP answers are published on
    ///
    /// They are published until its last certificate has expired. Lists what depends on it first; `ca activate` undoes it.
    Retire(ca_states::StateArgs),
    /// Remove a root from its bundle, or an issuer from use
    ///
    /// It has to be retiring or prepared. Clients that fetch /bundles/DOMAIN.pem again trust a removed root no longer. Its
    /// CRL and OCSP answers are published on; `ca retire` brings it back.
    Remove(ca_states::StateArgs),
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// mtls, kubernetes, etcd, front-proxy, code-signing, timestamping, smime, dev, or a name of your own
    domain: String,
    /// The root or issuer that signs the new issuer; without it a new trust domain is made, with a root of its own
    #[arg(long, value_name = "ISSUER")]
    under: Option<String>,
    /// Make one more root for an existing trust domain; it is in the bundle and signs nothing until `ca activate`
    #[arg(long, conflicts_with_all = ["under", "eku", "permit", "exclude"])]
    new_root: bool,
    /// The kind of key: P-256, P-384, P-521, Ed25519, RSA-2048, RSA-3072 or RSA-4096
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// An extended key usage, such as serverAuth; can be given again
    #[arg(long, value_name = "USAGE")]
    eku: Vec<String>,
    /// A name that certificates below it may have (example.org, 10.0.0.0/8, @example.org, spiffe://host), and no others;
    /// can be given again [default for --under: what all other issuers of the trust domain permit and exclude]
    #[arg(long, value_name = "NAME")]
    permit: Vec<String>,
    /// A name that certificates below it must not have; can be given again
    #[arg(long, value_name = "NAME")]
    exclude: Vec<String>,
    /// Without the names that the other issuers of the trust domain permit and exclude
    #[arg(long, requires = "under", conflicts_with_all = ["permit", "exclude"])]
    unconstrained: bool,
    /// How many years the issuer is valid
    #[arg(long, value_name = "N")]
    years: Option<u32>,
    /// How long a CRL of the new issuer is valid: 1h to 365d [default: 24h]
    #[arg(long, value_name = "LENGTH")]
    crl_lifetime: Option<String>,
    /// How long an OCSP answer of the new issuer is valid: 15m to 30d [default: 12h]
    #[arg(long, value_name = "LENGTH")]
    ocsp_lifetime: Option<String>,
    #[command(flatten)]
    root: RootKey,
}

#[derive(Debug, Args)]
pub struct RootKey {
    /// The file that opens the private keys of the roots [default: root.key in the data directory]
    #[arg(long, value_name = "FILE")]
    pub root_key: Option<PathBuf>,
}

impl RootKey {
    /// ` --root-key FILE` for a command that is printed and needs the key too; empty when none was named.
    pub fn repeated(&self) -> String {
        let named = |path: &PathBuf| format!(" --root-key {}", super::repeated::quoted(&path.display().to_string()));
        self.root_key.as_ref().map(named).unwrap_or_default()
    }
}

pub async fn run(context: &Context, command: CaCommand) -> Result<()> {
    match command {
        CaCommand::List => listing::run(context, &listing::ISSUERS, ListOrShow::List).await,
        CaCommand::Show { name } => ca_show::run(context, &name).await,
        CaCommand::Create(args) => create(context, args).await,
        CaCommand::ImportCertificates(args) => super::import_certificates::run(context, args).await,
        CaCommand::Import(args) => ca_foreign::import(context, args).await,
        CaCommand::Csr(args) => ca_foreign::csr(context, args).await,
        CaCommand::Install(args) => ca_foreign::install(context, args).await,
        CaCommand::Root { command } => ca_root::root(context, command).await,
        CaCommand::Anchor { command } => ca_anchor::run(context, command).await,
        CaCommand::Crl { command } => ca_root::crl(context, command).await,
        CaCommand::Renew { name, years, root } => ca_root::renew(context, &name, years, &root).await,
        CaCommand::Ocsp { name, sign_by } => ocsp(context, &name, &sign_by).await,
        CaCommand::Set { name, crl_lifetime, ocsp_lifetime } => {
            set(context, &name, [("crl_lifetime", crl_lifetime), ("ocsp_lifetime", ocsp_lifetime)]).await
        }
        CaCommand::Activate(args) => ca_states::activate(context, &args).await,
        CaCommand::Retire(args) => ca_states::retire(context, &args).await,
        CaCommand::Remove(args) => ca_states::remove(context, &args).await,
    }
}

async fn create(context: &Context, args: CreateArgs) -> Result<()> {
    let client = context.client_with_root(args.root.root_key.as_deref()).await?;
    let (new_root, key) = (args.new_root, args.root.repeated());
    let (domain, under) = (args.domain.clone(), args.under.is_some() || new_root);
    let path = if under { "/api/v1/issuers" } else { "/api/v1/domains" };
    let mut asked = body(args);
    asked.extend(status_url(context)?.map(|url| ("status_url".into(), url.into())));
    let what = || match under {
        true => format!("cannot create an issuer of trust domain {domain}"),
        false => format!("cannot create trust domain {domain}"),
    };
    let made = client.post(path, &Value::from(asked)).await.trying(what)?;
    if output::document(context.output, &made, "slug")? {
        return Ok(());
    }
    match (context.output, under) {
        (Some(Format::Pem), true) => Ok(output::data(made["certificate"].as_str().unwrap_or_default())?),
        (Some(Format::Pem), false) => Ok(output::data(made["bundle"].as_str().unwrap_or_default())?),
        (_, true) => {
            let slug = made["slug"].as_str().unwrap_or_default();
            issuer(&client, slug).await?;
            let permitted = output::text(&made, "permitted_names");
            if permitted != "-" {
                output::say(&format!("permits   {}", permitted.replace(',', ", ")));
            }
            next_steps(context, &made, slug, new_root.then_some(key.as_str()));
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
    if output::document(context.output, &changed, "slug")? {
        return Ok(());
    }
    let by = if sign_by == "issuer" {
        "its own key; while the server is locked it answers tryLater"
    } else {
        "its delegate"
    };
    output::say(&format!("ocsp      answers of {name} are signed by {by}"));
    Ok(())
}

async fn set(context: &Context, name: &str, lifetimes: [(&str, Option<String>); 2]) -> Result<()> {
    let client = context.client().await?;
    let path = format!("/api/v1/issuers/{}", encode(name));
    let before = client.get(&path).await.trying(|| format!("cannot change {name}"))?;
    let given = lifetimes.into_iter().filter_map(|(member, text)| Some((member.to_owned(), text?)));
    let body = given.map(|(member, text)| (member, if text == "default" { Value::Null } else { text.into() }));
    let changed = client.patch(&path, &Value::from(body.collect::<Map<_, _>>())).await;
    let changed = changed.trying(|| format!("cannot change {name}"))?;
    if output::document(context.output, &changed, "slug")? {
        return Ok(());
    }
    let ocsp = output::text(&changed, "ocsp_lifetime");
    output::say(&match changed["crl_lifetime"].as_str() {
        Some(crl) => format!("set       CRLs of {name} are valid for {crl}, OCSP answers for {ocsp}"),
        None => format!("set       OCSP answers of {name} are valid for {ocsp}"),
    });
    let now = SystemClock.now();
    for (member, what) in [("crl_lifetime", "CRLs"), ("ocsp_lifetime", "OCSP answers")] {
        let length = |of: &Value| of[member].as_str().and_then(|text| times::parse_duration(text).ok());
        // what clients have cached is not taken back
        if let (Some(was), Some(is)) = (length(&before), length(&changed))
            && was > is
        {
            let (was, until) = (output::text(&before, member), (now + was).truncated());
            output::say(&format!(
                "cached    {what} that clients hold from before ({was}) are good until {until} at the latest"
            ));
        }
    }
    Ok(())
}

/// What a further root or issuer needs before it signs for clients.
/// `new_root` has the flag that names the root's key, for a further root.
fn next_steps(context: &Context, made: &Value, slug: &str, new_root: Option<&str>) {
    let domain = output::text(made, "domain");
    let activate = || context.command(&format!("ca activate {slug}"));
    if let Some(key) = new_root {
        output::say(&format!("prepared  it stands in /bundles/{domain}.pem and signs for nobody yet"));
        output::say(&format!("next      {}", context.command(&format!("ca create {domain} --under {slug}{key}"))));
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
    for (member, flag) in [("new_root", args.new_root), ("unconstrained", args.unconstrained)] {
        if flag {
            body.insert(member.into(), true.into());
        }
    }
    body.extend(args.under.map(|v| ("under".into(), v.into())));
    body.extend(args.key.map(|v| ("key".into(), v.into())));
    body.extend(args.years.map(|v| ("years".into(), v.into())));
    body.extend(args.crl_lifetime.map(|v| ("crl_lifetime".into(), v.into())));
    body.extend(args.ocsp_lifetime.map(|v| ("ocsp_lifetime".into(), v.into())));
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
    say_fingerprint(&one);
    Ok(())
}

/// Of a root: what clients compare before they trust it.
pub fn say_fingerprint(issuer: &Value) {
    if issuer["role"] == "root" {
        output::say(&format!("sha256    {}", output::text(issuer, "sha256")));
    }
}
