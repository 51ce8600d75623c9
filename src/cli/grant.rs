//! `grant list|create|revoke`: what bounds tokens and EAB keys.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::failure::{Result, Trying};
use super::listing::{self, WholeArgs};
use super::named::GRANTS;
use super::output::{self, Column, Table};
use super::session::Context;
use crate::client::encode;

#[derive(Debug, Subcommand)]
pub enum GrantCommand {
    /// Make a grant and print its id
    Create(CreateArgs),
    /// List grants
    List(WholeArgs),
    /// Revoke a grant with the tokens, EAB keys and ACME accounts under it
    Revoke {
        /// The grant's id (grt_…), or its name where only one grant has it; `chancery grant list` shows both
        id: String,
    },
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// What it is for
    #[arg(long)]
    name: String,
    #[command(flatten)]
    bounds: BoundsArgs,
    /// How long the grant lasts, such as 365d [default: it does not expire]
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
}

/// The lists of a grant, here and where a key brings its own.
#[derive(Debug, Args)]
pub struct BoundsArgs {
    /// A DNS suffix, .suffix, =name, network, @domain or URI that may be asked for; can be given again
    #[arg(long, alias = "allow-names", value_name = "SUFFIX|CIDR")]
    allow_name: Vec<String>,
    /// A common name that may be asked for although it is no name of the certificate, or *; can be given again
    #[arg(long, value_name = "CN")]
    subject: Vec<String>,
    /// A profile that it may use; can be given again [default: every one]
    #[arg(long, alias = "profiles", value_name = "PROFILE")]
    profile: Vec<String>,
    /// An issuer that it may use; can be given again [default: every one]
    #[arg(long, alias = "issuers", value_name = "ISSUER")]
    issuer: Vec<String>,
    /// How many certificates at most
    #[arg(long, value_name = "N")]
    max_count: Option<i64>,
}

impl BoundsArgs {
    /// Members of a request; a list that was not given is left out.
    pub fn members(self) -> Map<String, Value> {
        let mut members = Map::new();
        let lists = [
            ("allow_names", self.allow_name),
            ("subjects", self.subject),
            ("profiles", self.profile),
            ("issuers", self.issuer),
        ];
        for (member, values) in lists {
            if !values.is_empty() {
                members.insert(member.into(), values.into());
            }
        }
        members.extend(self.max_count.map(|n| ("max_count".into(), n.into())));
        members
    }
}

pub async fn run(context: &Context, command: GrantCommand) -> Result<()> {
    let client = context.client().await?;
    match command {
        GrantCommand::Create(args) => {
            let mut body = args.bounds.members();
            body.insert("name".into(), args.name.into());
            body.extend(args.expires.map(|time| ("expires".into(), time.into())));
            let made = client.post("/api/v1/grants", &body).await.trying(|| "cannot create the grant".into())?;
            match output::document(context.output, &made, "id")? {
                true => Ok(()),
                false => Ok(output::data(&format!("{}\n", output::text(&made, "id")))?),
            }
        }
        GrantCommand::List(page) => {
            let found = listing::find(&client, "/api/v1/grants", &[], &page).await;
            let found = found.trying(|| "cannot list grants".into())?;
            let mut table = Table::new(&[
                Column::Id,
                Column::Name,
                Column::Status,
                Column::Names,
                Column::Profiles,
                Column::Used,
                Column::Maximum,
                Column::Expires,
            ]);
            for grant in &found.items {
                let mut cells: Vec<String> = ["id", "name", "status"].map(|m| output::text(grant, m)).to_vec();
                cells.extend(["names", "profiles"].map(|list| words(&grant["scope"][list])));
                // uses are counted where they are limited
                let used =
                    if grant["max_count"].is_null() { "-".to_owned() } else { output::text(grant, "used_count") };
                cells.push(used);
                cells.extend(["max_count", "expires_at"].map(|m| output::text(grant, m)));
                table.row(cells);
            }
            found.print(context, "id", |_| table)
        }
        GrantCommand::Revoke { id } => {
            let id = GRANTS.id_of(&client, &id).await.trying(|| format!("cannot revoke {id}"))?;
            let path = format!("/api/v1/grants/{}/revocation", encode(&id));
            let ended = client.post(&path, &json!({})).await.trying(|| format!("cannot revoke {id}"))?;
            if output::document(context.output, &ended, "id")? {
                return Ok(());
            }
            output::say(&format!("revoked  {id}"));
            for (what, member) in
                [("tokens", "tokens"), ("EAB keys", "eab_keys"), ("accounts", "accounts"), ("orders", "orders")]
            {
                output::say(&format!("ended    {} {what}", output::text(&ended, member)));
            }
            Ok(())
        }
    }
}

fn words(list: &Value) -> String {
    let words: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if words.is_empty() { "nothing".into() } else { words.join(" ") }
}
