//! `acme orders list|show` and `acme attempts`.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::failure::{Result, Trying};
use super::listing::{self, NewestArgs};
use super::output::{self, Column, Table};
use super::session::Context;
use crate::client::{Client, encode};

pub const ORDERS: &str = "/api/v1/acme/orders";
pub const ATTEMPTS: &str = "/api/v1/acme/attempts";

#[derive(Debug, Subcommand)]
pub enum OrdersCommand {
    /// List orders, newest first
    List(ListArgs),
    /// Show everything about an order; `acme explain` says why it failed
    Show {
        /// The order's id (ord_…), as `chancery acme orders list` shows it
        id: String,
    },
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// A name that is asked for: whole, or the beginning with * behind it
    name: Option<String>,
    /// Those of one account
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Those of one directory
    #[arg(long, value_name = "SLUG")]
    directory: Option<String>,
    /// pending, ready, processing, valid or invalid
    #[arg(long)]
    status: Option<String>,
    /// Made at this time or later; 2h means two hours ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    #[command(flatten)]
    page: NewestArgs,
}

#[derive(Debug, Args)]
pub struct AttemptsArgs {
    /// A name that was asked for: whole, or the beginning with * behind it
    name: Option<String>,
    /// Those of one account
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Those of one directory
    #[arg(long, value_name = "SLUG")]
    directory: Option<String>,
    /// At this time or later; 2h means two hours ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    #[command(flatten)]
    page: NewestArgs,
}

/// The same request again within a minute is one line with its number.
pub async fn attempts(context: &Context, client: &Client, args: AttemptsArgs) -> Result<()> {
    let filters =
        [("name", args.name), ("account", args.account), ("directory", args.directory), ("since", args.since)];
    let found = listing::find(client, ATTEMPTS, &filters, &args.page).await;
    let found = found.trying(|| "cannot list refused ACME requests".into())?;
    let mut table = Table::new(&[
        Column::Time,
        Column::Count,
        Column::Action,
        Column::Names,
        Column::Account,
        Column::Order,
        Column::Address,
        Column::Detail,
    ]);
    for attempt in &found.items {
        let members = ["at", "times", "action", "names", "account", "order", "from", "detail"];
        table.row(members.map(|member| output::text(attempt, member)).to_vec());
    }
    found.print(context, "id", |_| table)
}

pub async fn run(context: &Context, client: &Client, command: OrdersCommand) -> Result<()> {
    match command {
        OrdersCommand::List(args) => list(context, client, args).await,
        OrdersCommand::Show { id } => {
            let path = format!("{ORDERS}/{}", encode(&id));
            let order = client.get(&path).await.trying(|| format!("cannot show the ACME order {id}"))?;
            show(context, &order)
        }
    }
}

async fn list(context: &Context, client: &Client, args: ListArgs) -> Result<()> {
    let filters = [
        ("name", args.name),
        ("account", args.account),
        ("directory", args.directory),
        ("status", args.status),
        ("since", args.since),
    ];
    let found = listing::find(client, ORDERS, &filters, &args.page).await;
    found.trying(|| "cannot list ACME orders".into())?.print(context, "id", |items| table(items))
}

/// One line an order, with the sentence of its error.
pub fn table<'a>(orders: impl IntoIterator<Item = &'a Value>) -> Table {
    let mut table = Table::new(&[
        Column::Id,
        Column::Status,
        Column::Names,
        Column::Account,
        Column::Profile,
        Column::Created,
        Column::Detail,
    ]);
    for order in orders {
        let members = ["id", "status", "names", "account", "profile", "created_at"];
        let mut cells = members.map(|member| output::text(order, member)).to_vec();
        cells.push(output::text(&order["error"], "detail"));
        table.row(cells);
    }
    table
}

fn show(context: &Context, order: &Value) -> Result<()> {
    if output::document(context.output, order, "id")? {
        return Ok(());
    }
    let mut told = order.clone();
    told["error"] = order["error"]["detail"].clone();
    told["certificate"] = order["certificate"]["serial"].clone();
    let proofs = told.as_object_mut().and_then(|members| members.remove("authorizations"));
    output::members(&told)?;
    let mut table =
        Table::new(&[Column::Name, Column::Status, Column::Challenge, Column::ChallengeStatus, Column::Detail]);
    for proof in proofs.as_ref().and_then(Value::as_array).into_iter().flatten() {
        for challenge in proof["challenges"].as_array().into_iter().flatten() {
            let mut cells = ["name", "status"].map(|member| output::text(proof, member)).to_vec();
            cells.extend(["type", "status"].map(|member| output::text(challenge, member)));
            cells.push(output::text(&challenge["error"], "detail"));
            table.row(cells);
        }
    }
    output::data("\n")?;
    Ok(table.print()?)
}
