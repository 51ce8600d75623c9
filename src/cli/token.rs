//! `token create|list|revoke`: the secret alone on stdout, once.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::failure::{Result, Trying};
use super::listing::{self, WholeArgs};
use super::named::TOKENS;
use super::output::{self, Column, Table};
use super::session::Context;
use crate::client::encode;

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print its secret alone
    Create(CreateArgs),
    /// List tokens; secrets are not kept
    List(WholeArgs),
    /// Revoke a token
    Revoke {
        /// The token's id (tok_…), or its name where only one token has it; `chancery token list` shows both
        id: String,
    },
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// A name that people recognise in lists and audit
    #[arg(long)]
    name: Option<String>,
    /// viewer, auditor, requester, operator or admin [default: requester]
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// A profile that it may use; can be given again
    #[arg(long, alias = "profiles", value_name = "PROFILE")]
    profile: Vec<String>,
    /// An issuer that it may use; can be given again
    #[arg(long, alias = "issuers", value_name = "ISSUER")]
    issuer: Vec<String>,
    /// A DNS suffix or a network whose names it may ask for; can be given again. A requester without one may ask for no names
    #[arg(long, alias = "allow-names", value_name = "SUFFIX|CIDR")]
    allow_name: Vec<String>,
    /// An existing grant in place of the lists
    #[arg(long, value_name = "ID", conflicts_with_all = ["profile", "issuer", "allow_name"])]
    grant: Option<String>,
    /// How long it lasts, at most a year
    #[arg(long, value_name = "TIME", default_value = "90d")]
    expires: String,
}

pub async fn run(context: &Context, command: TokenCommand) -> Result<()> {
    let client = context.client().await?;
    match command {
        TokenCommand::Create(args) => {
            let made =
                client.post("/api/v1/tokens", &body(args)).await.trying(|| "cannot create the token".into())?;
            if !output::document(context.output, &made, "id")? {
                output::data(&format!("{}\n", output::text(&made, "secret")))?;
                bounds(&made).iter().for_each(|line| output::say(line));
            }
            Ok(())
        }
        TokenCommand::List(page) => {
            let found = listing::find(&client, "/api/v1/tokens", &[], &page).await;
            let found = found.trying(|| "cannot list tokens".into())?;
            let mut table = Table::new(&[
                Column::Id,
                Column::Name,
                Column::Role,
                Column::Status,
                Column::Expires,
                Column::LastUsed,
            ]);
            for token in &found.items {
                let cells = ["id", "name", "role", "status", "expires_at", "last_used_at"];
                table.row(cells.iter().map(|m| output::text(token, m)).collect());
            }
            found.print(context, "id", |_| table)
        }
        TokenCommand::Revoke { id } => {
            let id = TOKENS.id_of(&client, &id).await.trying(|| format!("cannot revoke {id}"))?;
            let path = format!("/api/v1/tokens/{}/revocation", encode(&id));
            let ended = client.post(&path, &json!({})).await.trying(|| format!("cannot revoke {id}"))?;
            if !output::document(context.output, &ended, "id")? {
                output::say(&format!("revoked  {id}"));
            }
            Ok(())
        }
    }
}

/// What the token may do, on stderr.
fn bounds(made: &Value) -> Vec<String> {
    let role = output::text(made, "role");
    if !["requester", "operator", "admin"].contains(&role.as_str()) {
        return vec![format!("role      {role}, which asks for no certificates")];
    }
    let scope = &made["scope"];
    if scope.is_null() && role != "requester" {
        return vec![format!("role      {role}, for every name")];
    }
    let (names, profiles) = (output::text(scope, "names"), output::text(scope, "profiles"));
    if names == "-" {
        return vec![
            format!("role      {role}, for no names"),
            "WARNING: this token may ask for no certificate with a name; make another one with --allow-name, such as \
             --allow-name lab.example"
                .to_owned(),
        ];
    }
    let (names, profiles) = (names.replace(',', ", "), profiles.replace(',', ", "));
    vec![format!("role      {role}, for names {names} and profiles {profiles}")]
}

fn body(args: CreateArgs) -> Value {
    let mut body = Map::new();
    body.insert("expires".into(), args.expires.into());
    body.extend(args.name.map(|name| ("name".into(), name.into())));
    body.extend(args.grant.map(|id| ("grant".into(), id.into())));
    body.extend(args.role.map(|role| ("role".into(), role.into())));
    for (member, values) in [("profiles", args.profile), ("issuers", args.issuer), ("allow_names", args.allow_name)] {
        if !values.is_empty() {
            body.insert(member.into(), values.into());
        }
    }
    body.into()
}
