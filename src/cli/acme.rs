//! `acme eab create|list|revoke` and `acme directory list|show|create|set`: who may register, and what is offered; the
//! other nouns and `explain` stand in files of their own.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::acme_accounts::{self, AccountsCommand};
use super::acme_explain::{self, ExplainArgs};
use super::acme_limits::{self, LimitsArgs, ResumeArgs};
use super::acme_orders::{self, AttemptsArgs, OrdersCommand};
use super::acme_test::{self, TestArgs};
use super::failure::{Result, Trying};
use super::files;
use super::grant::BoundsArgs;
use super::listing::{self, WholeArgs};
use super::named::EAB_KEYS;
use super::output::{self, Column, Table};
use super::renewals::{self, RenewalsCommand};
use super::session::Context;
use crate::client::{Client, encode};

#[derive(Debug, Subcommand)]
pub enum AcmeCommand {
    /// Accounts: list, show, grant, deactivate
    Accounts {
        #[command(subcommand)]
        command: AccountsCommand,
    },
    /// Orders: list, show
    Orders {
        #[command(subcommand)]
        command: OrdersCommand,
    },
    /// List requests that were refused, newest first, with the sentence that the client was told
    Attempts(AttemptsArgs),
    /// Explain an order, or the last attempt for a name: what was asked, what the CA saw, what to do
    ///
    /// Ends with 0 when it got its certificate, 10 while it is under way, 11 when it failed, 3 when it was refused,
    /// 4 when nobody asked for it.
    Explain(ExplainArgs),
    /// Validate a name now, without a client, and print what the CA sees
    ///
    /// Ends with 0 when the name is proved or the way to it is open, 11 when the challenge fails.
    Test(TestArgs),
    /// External account keys, by which clients register
    Eab {
        #[command(subcommand)]
        command: EabCommand,
    },
    /// ACME directories: what each offers and requires
    Directory {
        #[command(subcommand)]
        command: Box<DirectoryCommand>,
    },
    /// Show or set the limits of one account, and its paused names
    Limits(LimitsArgs),
    /// Let an account order a name again that was paused because it failed for days
    Resume(ResumeArgs),
    /// Renewal windows: when clients are told to renew
    Renewals {
        #[command(subcommand)]
        command: RenewalsCommand,
    },
}

#[derive(Debug, Subcommand)]
pub enum EabCommand {
    /// Make a key and print its id and its HMAC key, which is not shown again
    Create(Box<CreateArgs>),
    /// List keys; HMAC keys are never shown again
    List(WholeArgs),
    /// Revoke a key, so that no further account registers with it
    Revoke {
        /// The key's id (eab_…), or its name where only one key has it; `chancery acme eab list` shows both
        id: String,
        /// Also revoke the accounts that registered with it
        #[arg(long)]
        accounts: bool,
    },
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Who registers with it
    #[arg(long)]
    name: String,
    /// The directory that the key is for
    #[arg(long, value_name = "SLUG", default_value = "default")]
    directory: String,
    /// An existing grant in place of the lists
    #[arg(long, value_name = "ID", conflicts_with_all = ["allow_name", "subject", "profile", "issuer", "max_count"])]
    grant: Option<String>,
    #[command(flatten)]
    bounds: BoundsArgs,
    /// How long it registers accounts
    #[arg(long, value_name = "TIME", default_value = "90d")]
    expires: String,
    /// How many accounts it registers at most
    #[arg(long, value_name = "N")]
    max_accounts: Option<i64>,
    /// The key id that clients have already, in place of a new one
    #[arg(long, alias = "eab-kid", value_name = "KID")]
    kid: Option<String>,
    /// A file with the HMAC key that clients have already, in base64url or base64; - reads stdin
    #[arg(long, value_name = "FILE")]
    hmac_key_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum DirectoryCommand {
    /// List the directories, one line each
    List,
    /// Show everything about a directory
    Show {
        /// The directory, such as default
        slug: String,
    },
    /// Make a directory at /acme/SLUG/directory
    Create {
        /// What it is called in URLs
        slug: String,
        #[command(flatten)]
        rules: RulesArgs,
    },
    /// Change a directory; what is not given stays as it is
    Set {
        /// The directory, such as default
        slug: String,
        #[command(flatten)]
        rules: RulesArgs,
    },
}

#[derive(Debug, Args)]
pub struct RulesArgs {
    /// Profiles, separated by commas; the first one is used
    #[arg(long, alias = "profile", value_name = "P,…", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    profiles: Option<Vec<String>>,
    /// Issuers that may sign, separated by commas, or * (any of the profile's domain)
    #[arg(long, alias = "issuer", value_name = "I,…", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    issuers: Option<Vec<String>>,
    /// Rules over names that are certified here at all, as in a grant, or *
    #[arg(long, alias = "allow-name", value_name = "SUFFIX|CIDR,…", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    allow_names: Option<Vec<String>>,
    /// Rules over names that are never certified here, or none
    #[arg(long, alias = "deny-name", value_name = "SUFFIX|CIDR,…", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    deny_names: Option<Vec<String>>,
    /// How control is proved, separated by commas, or none (only names within a grant)
    #[arg(long, alias = "challenge", value_name = "C,…", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    challenges: Option<Vec<String>>,
    /// Whether new accounts need an external account key
    #[arg(long, value_name = "BOOL")]
    eab_required: Option<bool>,
    /// DNS servers as IP:port for its validations, or none (those of the settings)
    #[arg(long, alias = "resolver", value_name = "IP:PORT,…", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    resolvers: Option<Vec<String>>,
    /// Where http-01 connects, in place of the settings' port, or none
    #[arg(long, value_name = "PORT")]
    http01_port: Option<Port>,
    /// Where tls-alpn-01 connects, in place of the settings' port, or none
    #[arg(long, value_name = "PORT")]
    tls_alpn01_port: Option<Port>,
    /// Networks that validations may connect to within those of the settings, or none (all of these)
    #[arg(long, alias = "allow-network", value_name = "CIDR,…", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    allow_networks: Option<Vec<String>>,
    /// Networks that validations never connect to besides the settings', or none
    #[arg(long, alias = "deny-network", value_name = "CIDR,…", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    deny_networks: Option<Vec<String>>,
    /// What CAA records mean: off, log or enforce
    #[arg(long, value_name = "MODE")]
    caa: Option<String>,
    /// Names of this CA in CAA records and in those of dns-persist-01, or none
    #[arg(long, alias = "caa-identity", value_name = "NAME,…", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    caa_identities: Option<Vec<String>>,
    /// Whether clients may prove names ahead of orders (newAuthz)
    #[arg(long, value_name = "BOOL")]
    pre_authorization: Option<bool>,
    /// Whether one proof may cover all names below its own (RFC 9444)
    #[arg(long, value_name = "BOOL")]
    subdomains: Option<bool>,
    /// How long a proof serves the account's next orders, such as 8h, or none
    #[arg(long, value_name = "LENGTH")]
    reuse_authorizations: Option<String>,
    /// A limit, such as new_orders=300/3h or new_accounts=none; may be repeated
    #[arg(long = "limit", value_name = "NAME=LIMIT", value_parser = acme_limits::pair)]
    limits: Vec<(String, String)>,
    /// URL that new accounts agree to, or none
    #[arg(long, value_name = "URL")]
    terms_of_service: Option<String>,
    /// URL about this CA, or none
    #[arg(long, value_name = "URL")]
    website: Option<String>,
    /// Whether accounts that have not agreed to the present terms get no further order
    #[arg(long, value_name = "BOOL")]
    require_current_terms: Option<bool>,
}

pub async fn run(context: &Context, command: AcmeCommand) -> Result<()> {
    let client = context.client().await?;
    match command {
        AcmeCommand::Accounts { command } => acme_accounts::run(context, &client, command).await,
        AcmeCommand::Orders { command } => acme_orders::run(context, &client, command).await,
        AcmeCommand::Attempts(args) => acme_orders::attempts(context, &client, args).await,
        AcmeCommand::Explain(args) => acme_explain::explain(context, &client, args).await,
        AcmeCommand::Test(args) => acme_test::test(context, &client, args).await,
        AcmeCommand::Eab { command } => eab(context, &client, command).await,
        AcmeCommand::Directory { command } => directory(context, &client, *command).await,
        AcmeCommand::Limits(args) => acme_limits::limits(context, &client, args).await,
        AcmeCommand::Resume(args) => acme_limits::resume(context, &client, args).await,
        AcmeCommand::Renewals { command } => renewals::run(context, &client, command).await,
    }
}

const KEYS: &str = "/api/v1/acme/eab-keys";
const DIRECTORIES: &str = "/api/v1/acme/directories";

async fn eab(context: &Context, client: &Client, command: EabCommand) -> Result<()> {
    match command {
        EabCommand::Create(args) => {
            let args = *args;
            let mut body = args.bounds.members();
            body.insert("name".into(), args.name.into());
            body.insert("directory".into(), args.directory.into());
            body.insert("expires".into(), args.expires.into());
            body.extend(args.grant.map(|id| ("grant".into(), id.into())));
            body.extend(args.max_accounts.map(|n| ("max_accounts".into(), n.into())));
            body.extend(args.kid.map(|kid| ("kid".into(), kid.into())));
            if let Some(file) = &args.hmac_key_file {
                let hmac = files::secret("the HMAC key", file).trying(|| "cannot create the EAB key".into())?;
                body.insert("hmac_key".into(), Value::from(hmac.trim()));
            }
            let made = client.post(KEYS, &body).await.trying(|| "cannot create the EAB key".into())?;
            if output::document(context.output, &made, "id")? {
                return Ok(());
            }
            let (kid, hmac) = (output::text(&made, "kid"), output::text(&made, "hmac_key"));
            Ok(output::data(&format!("kid   {kid}\nhmac  {hmac}\n"))?)
        }
        EabCommand::List(page) => {
            let found = listing::find(client, KEYS, &[], &page).await.trying(|| "cannot list EAB keys".into())?;
            let mut table = Table::new(&[
                Column::Id,
                Column::KeyId,
                Column::Name,
                Column::Directory,
                Column::Status,
                Column::Grant,
                Column::Accounts,
                Column::Maximum,
                Column::Expires,
                Column::LastUsed,
            ]);
            let members = [
                "id",
                "kid",
                "name",
                "directory",
                "status",
                "grant",
                "used_accounts",
                "max_accounts",
                "expires_at",
                "last_used_at",
            ];
            for key in &found.items {
                table.row(members.map(|m| output::text(key, m)).to_vec());
            }
            found.print(context, "id", |_| table)
        }
        EabCommand::Revoke { id, accounts } => {
            let id = EAB_KEYS.id_of(client, &id).await.trying(|| format!("cannot revoke {id}"))?;
            let path = format!("{KEYS}/{}/revocation", encode(&id));
            let ask = json!({"accounts": accounts});
            let done = client.post(&path, &ask).await.trying(|| format!("cannot revoke {id}"))?;
            if output::document(context.output, &done, "id")? {
                return Ok(());
            }
            output::say(&format!("revoked  {id}"));
            Ok(())
        }
    }
}

async fn directory(context: &Context, client: &Client, command: DirectoryCommand) -> Result<()> {
    let one = |slug: &str| format!("{DIRECTORIES}/{}", encode(slug));
    let shown = match command {
        DirectoryCommand::List => {
            let page = client.get(DIRECTORIES).await.trying(|| "cannot list ACME directories".into())?;
            if output::document(context.output, &page, "slug")? {
                return Ok(());
            }
            let mut table = Table::new(&[
                Column::Name,
                Column::Profiles,
                Column::Challenges,
                Column::EabRequired,
                Column::Resolvers,
            ]);
            for item in page["items"].as_array().into_iter().flatten() {
                table.row(cells(item));
            }
            return Ok(table.print()?);
        }
        DirectoryCommand::Show { slug } => {
            client.get(&one(&slug)).await.trying(|| format!("cannot show the ACME directory {slug}"))?
        }
        DirectoryCommand::Create { slug, rules } => {
            let mut body = rules.members(Map::new());
            body.insert("slug".into(), slug.clone().into());
            client.post(DIRECTORIES, &body).await.trying(|| format!("cannot create the ACME directory {slug}"))?
        }
        DirectoryCommand::Set { slug, rules } => {
            let what = || format!("cannot change the ACME directory {slug}");
            let mut whole = client.get(&one(&slug)).await.trying(what)?;
            if let Some(members) = whole.as_object_mut() {
                members.remove("slug");
                let limits = members["limits"].as_object().cloned().unwrap_or_default();
                members.extend(rules.members(limits));
            }
            client.put(&one(&slug), &whole).await.trying(what)?
        }
    };
    if output::document(context.output, &shown, "slug")? {
        return Ok(());
    }
    let mut table = Table::new(&[Column::Member, Column::Value]);
    for (name, value) in shown.as_object().into_iter().flatten() {
        match value.as_object() {
            Some(parts) => {
                parts.iter().for_each(|(part, value)| table.row(vec![format!("{name}.{part}"), word(value)]))
            }
            None => table.row(vec![name.clone(), word(value)]),
        }
    }
    Ok(table.print()?)
}

/// A member of a directory, as a person writes it.
fn word(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(word).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn cells(item: &Value) -> Vec<String> {
    let list = |name: &str| {
        let words: Vec<&str> = item[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if words.is_empty() { "none".to_owned() } else { words.join(",") }
    };
    let required = output::text(item, "external_account_required");
    vec![output::text(item, "slug"), list("profiles"), list("challenges"), required, list("resolvers")]
}

/// A port, or `none`: that of the settings.
#[derive(Debug, Clone, Copy)]
struct Port(Option<u16>);

impl std::str::FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "none" {
            return Ok(Port(None));
        }
        let port = text.parse::<u16>().ok().filter(|port| *port > 0);
        port.map(|port| Port(Some(port))).ok_or_else(|| "write a port from 1 to 65535, or none".to_owned())
    }
}

impl RulesArgs {
    /// `limits` are those that stand, of which the others stay.
    fn members(self, mut limits: Map<String, Value>) -> Map<String, Value> {
        let list = |words: Vec<String>| -> Value {
            let none = words.iter().all(|w| w == "none");
            if none { json!([]) } else { words.into() }
        };
        let mut members = Map::new();
        members.extend(self.profiles.map(|l| ("profiles".into(), list(l))));
        members.extend(self.challenges.map(|l| ("challenges".into(), list(l))));
        members.extend(self.resolvers.map(|l| ("resolvers".into(), list(l))));
        members.extend(self.issuers.map(|l| ("issuers".into(), list(l))));
        members.extend(self.allow_names.map(|l| ("allow_names".into(), list(l))));
        members.extend(self.deny_names.map(|l| ("deny_names".into(), list(l))));
        members.extend(self.allow_networks.map(|l| ("allow_networks".into(), list(l))));
        members.extend(self.deny_networks.map(|l| ("deny_networks".into(), list(l))));
        members.extend(self.caa.map(|mode| ("caa".into(), mode.into())));
        members.extend(self.caa_identities.map(|l| ("caa_identities".into(), list(l))));
        members.extend(self.http01_port.map(|n| ("http01_port".into(), n.0.into())));
        members.extend(self.tls_alpn01_port.map(|n| ("tls_alpn01_port".into(), n.0.into())));
        members.extend(self.pre_authorization.map(|b| ("pre_authorization".into(), b.into())));
        members.extend(self.subdomains.map(|b| ("subdomains".into(), b.into())));
        let text = |text: String| -> Value { if text == "none" { Value::Null } else { text.into() } };
        limits.extend(self.limits.into_iter().map(|(name, limit)| (name, limit.into())));
        members.insert("limits".into(), limits.into());
        members.extend(self.reuse_authorizations.map(|t| ("reuse_authorizations".into(), text(t))));
        members.extend(self.terms_of_service.map(|t| ("terms_of_service".into(), text(t))));
        members.extend(self.website.map(|t| ("website".into(), text(t))));
        members.extend(self.require_current_terms.map(|b| ("require_current_terms".into(), b.into())));
        members.extend(self.eab_required.map(|b| ("external_account_required".into(), b.into())));
        members
    }
}
