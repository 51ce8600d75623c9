//! `acme accounts list|show|grant|deactivate`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::failure::{Result, Trying};
use super::listing::{self, NewestArgs};
use super::output::{self, Column, Table};
use super::session::Context;
use crate::client::{Client, encode};

pub const ACCOUNTS: &str = "/api/v1/acme/accounts";

#[derive(Debug, Subcommand)]
pub enum AccountsCommand {
    /// List accounts, newest first
    List(ListArgs),
    /// Show everything about an account, with its last orders and refusals
    Show {
        /// The account's id (acc_…), as `chancery acme accounts list` shows it
        id: String,
    },
    /// Put an account under a grant: it gets the names of the grant without a challenge
    Grant {
        /// The account's id (acc_…), as `chancery acme accounts list` shows it
        id: String,
        /// The grant, as `chancery grant list` shows it
        #[arg(long, value_name = "ID")]
        grant: String,
    },
    /// Deactivate an account for good; its open orders fail and its certificates stay
    #[command(visible_alias = "revoke")]
    Deactivate {
        /// The account's id (acc_…), as `chancery acme accounts list` shows it
        id: String,
        /// Why, for whoever asks later
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// A part of a contact
    q: Option<String>,
    /// The directory where it registered
    #[arg(long, value_name = "SLUG")]
    directory: Option<String>,
    /// valid, deactivated or revoked
    #[arg(long)]
    status: Option<String>,
    /// The grant that it acts under
    #[arg(long, value_name = "ID")]
    grant: Option<String>,
    /// The thumbprint of its key, in base64url or hexadecimal
    #[arg(long, value_name = "TEXT")]
    thumbprint: Option<String>,
    #[command(flatten)]
    page: NewestArgs,
}

pub async fn run(context: &Context, client: &Client, command: AccountsCommand) -> Result<()> {
    match command {
        AccountsCommand::List(args) => list(context, client, args).await,
        AccountsCommand::Show { id } => show(context, client, &id).await,
        AccountsCommand::Grant { id, grant } => {
            let path = format!("{ACCOUNTS}/{}/grant", encode(&id));
            let what = || format!("cannot put the ACME account {id} under grant {grant}");
            let granted = client.put(&path, &json!({"grant": grant})).await.trying(what)?;
            if output::document(context.output, &granted, "id")? {
                return Ok(());
            }
            output::say(&format!("granted  {id}  under {grant}"));
            Ok(())
        }
        AccountsCommand::Deactivate { id, reason } => {
            let path = format!("{ACCOUNTS}/{}/revocation", encode(&id));
            let what = || format!("cannot end the ACME account {id}");
            let ended = client.post(&path, &json!({"reason": reason})).await.trying(what)?;
            if output::document(context.output, &ended, "id")? {
                return Ok(());
            }
            output::say(&format!("revoked  {id}"));
            Ok(())
        }
    }
}

async fn list(context: &Context, client: &Client, args: ListArgs) -> Result<()> {
    let filters = [
        ("q", args.q),
        ("directory", args.directory),
        ("status", args.status),
        ("grant", args.grant),
        ("thumbprint", args.thumbprint),
    ];
    let found = listing::find(client, ACCOUNTS, &filters, &args.page).await;
    let found = found.trying(|| "cannot list ACME accounts".into())?;
    let mut table = Table::new(&[
        Column::Id,
        Column::Status,
        Column::Directory,
        Column::Contact,
        Column::Key,
        Column::Grant,
        Column::Address,
        Column::Created,
    ]);
    let members = ["id", "status", "directory", "contact", "key_type", "grant", "created_from", "created_at"];
    for account in &found.items {
        table.row(members.map(|member| output::text(account, member)).to_vec());
    }
    found.print(context, "id", |_| table)
}

async fn show(context: &Context, client: &Client, id: &str) -> Result<()> {
    let what = || format!("cannot show the ACME account {id}");
    let account = client.get(&format!("{ACCOUNTS}/{}", encode(id))).await.trying(what)?;
    if output::document(context.output, &account, "id")? {
        return Ok(());
    }
    output::members(&account)?;
    let of_account = |path: &str| format!("{path}?account={}&limit=10", encode(id));
    let orders = client.get(&of_account(super::acme_orders::ORDERS)).await.trying(what)?;
    let refused = client.get(&of_account(super::acme_orders::ATTEMPTS)).await.trying(what)?;
    let some = |page: &Value| page["items"].as_array().is_some_and(|items| !items.is_empty());
    if some(&orders) {
        output::data("\n")?;
        super::acme_orders::table(orders["items"].as_array().into_iter().flatten()).print()?;
    }
    if some(&refused) {
        output::data("\n")?;
        let mut table = Table::new(&[Column::Time, Column::Count, Column::Action, Column::Names, Column::Detail]);
        for attempt in refused["items"].as_array().into_iter().flatten() {
            table.row(["at", "times", "action", "names", "detail"].map(|m| output::text(attempt, m)).to_vec());
        }
        table.print()?;
    }
    Ok(())
}
