//! `acme renewals move|list|cancel`: when clients are told to renew (RFC 9773).

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::failure::{Result, Trying};
use super::listing::{self, WholeArgs};
use super::output::{self, Column, Table};
use super::session::Context;
use crate::client::{Client, encode};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::error::Error;
use crate::model::times;

#[derive(Debug, Subcommand)]
pub enum RenewalsCommand {
    /// Tell clients to renew certificates in another window than their own
    Move(Box<MoveArgs>),
    /// List the rules, newest first
    List(WholeArgs),
    /// Cancel a rule, so that its certificates have their own windows again
    Cancel {
        /// The rule's id (rnw_…), as `chancery acme renewals list` shows it
        id: String,
    },
}

#[derive(Debug, Args)]
pub struct MoveArgs {
    /// A certificate; can be given again
    #[arg(long, value_name = "ID")]
    certificate: Vec<String>,
    /// Those of an issuer
    #[arg(long, value_name = "ISSUER")]
    issuer: Option<String>,
    /// Those of a profile
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// Those of an ACME account
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Those that this requester asked for
    #[arg(long = "requested-by", alias = "requester", value_name = "REQUESTER")]
    requester: Option<String>,
    /// Those with this name, with one below *.SUFFIX or with one that begins with PREFIX*
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Those that end before this time
    #[arg(long, value_name = "TIME")]
    expires_before: Option<String>,
    /// Those that were issued before this time [default: now]
    #[arg(long, value_name = "TIME")]
    issued_before: Option<String>,
    /// When the window begins, or now [default: over already, which means at once]
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// When it ends [default: a day after its start]
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
    /// Why the certificates are to be renewed; clients show it
    #[arg(long)]
    reason: String,
    /// A page that clients show to their operators
    #[arg(long, value_name = "URL")]
    explanation_url: Option<String>,
    /// How long the rule lasts
    #[arg(long, value_name = "TIME", default_value = "365d")]
    expires: String,
}

const WINDOWS: &str = "/api/v1/renewal-windows";

pub async fn run(context: &Context, client: &Client, command: RenewalsCommand) -> Result<()> {
    match command {
        RenewalsCommand::Move(args) => {
            let what = || "cannot move the renewal windows".to_owned();
            let members = args.members(SystemClock.now()).trying(what)?;
            let made = client.post(WINDOWS, &members).await.trying(what)?;
            if output::document(context.output, &made, "id")? {
                return Ok(());
            }
            Ok(output::data(&format!("{}\n", output::text(&made, "id")))?)
        }
        RenewalsCommand::List(page) => {
            let found = listing::find(client, WINDOWS, &[], &page).await;
            let found = found.trying(|| "cannot list the renewal windows".into())?;
            let mut table = Table::new(&[
                Column::Id,
                Column::Status,
                Column::Certificates,
                Column::IssuedBefore,
                Column::Start,
                Column::End,
                Column::Reason,
            ]);
            for rule in &found.items {
                let mut cells = vec![output::text(rule, "id"), output::text(rule, "status"), which(rule)];
                cells.extend(["issued_before", "start", "end", "reason"].map(|m| output::text(rule, m)));
                table.row(cells);
            }
            found.print(context, "id", |_| table)
        }
        RenewalsCommand::Cancel { id } => {
            let path = format!("{WINDOWS}/{}", encode(&id));
            let done = client.delete(&path).await.trying(|| format!("cannot cancel {id}"))?;
            if output::document(context.output, &done, "id")? {
                return Ok(());
            }
            output::say(&format!("cancelled  {id}"));
            Ok(())
        }
    }
}

impl MoveArgs {
    fn members(self, now: Timestamp) -> Result<Map<String, Value>, Error> {
        let mut members = Map::from_iter([
            ("reason".to_owned(), Value::from(self.reason)),
            ("expires".to_owned(), Value::from(self.expires)),
        ]);
        if !self.certificate.is_empty() {
            members.insert("certificates".into(), self.certificate.into());
        }
        let ahead = |text: Option<String>| text.map(|text| times::moment_ahead(&text, now)).transpose();
        let ago = |text: Option<String>| text.map(|text| times::moment_ago(&text, now)).transpose();
        let moments = [
            ("expires_before", ahead(self.expires_before)?),
            ("issued_before", ago(self.issued_before)?),
            ("end", ahead(self.end)?),
        ];
        members
            .extend(moments.into_iter().filter_map(|(member, at)| Some((member.to_owned(), at?.to_string().into()))));
        let rest = [
            ("issuer", self.issuer),
            ("profile", self.profile),
            ("account", self.account),
            ("requester", self.requester),
            ("name", self.name),
            ("start", self.start),
            ("explanation_url", self.explanation_url),
        ];
        members.extend(rest.into_iter().filter_map(|(member, value)| Some((member.to_owned(), value?.into()))));
        Ok(members)
    }
}

/// `issuer=tls-1 name=*.lab.example`, as it was asked.
fn which(rule: &Value) -> String {
    let listed = rule["certificates"].as_array().map_or(0, Vec::len);
    let mut words = Vec::new();
    if listed > 0 {
        words.push(format!("{listed} one by one"));
    }
    for member in ["issuer", "profile", "account", "requester", "name", "expires_before"] {
        words.extend(rule[member].as_str().map(|value| format!("{member}={value}")));
    }
    words.join(" ")
}
