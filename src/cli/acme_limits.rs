//! `acme limits` and `acme resume`: what one account may do in a time, and names that are paused for it.

use clap::Args;
use serde_json::{Map, Value, json};

use super::failure::{Result, Trying};
use super::output::{self, Column, Table};
use super::session::Context;
use crate::client::{Client, encode};

#[derive(Debug, Args)]
pub struct LimitsArgs {
    /// The account's id
    account: String,
    /// A limit of its own: new_orders, certificates, failed_validations, open_orders or pause, such as
    /// new_orders=20000/3h, open_orders=none, or new_orders=directory (as the directory has it)
    #[arg(long = "set", value_name = "NAME=LIMIT", value_parser = pair)]
    set: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The account's id
    account: String,
    /// One paused name; all of the account when absent
    name: Option<String>,
}

/// `NAME=LIMIT`; which names and limits there are is the server's to say.
pub fn pair(text: &str) -> std::result::Result<(String, String), String> {
    let found = text.split_once('=').filter(|(name, limit)| !name.is_empty() && !limit.is_empty());
    let (name, limit) = found.ok_or("write NAME=LIMIT, such as new_orders=300/3h")?;
    Ok((name.replace('-', "_"), limit.to_owned()))
}

pub async fn limits(context: &Context, client: &Client, args: LimitsArgs) -> Result<()> {
    let path = format!("/api/v1/acme/accounts/{}/limits", encode(&args.account));
    let what = || format!("cannot show the limits of {}", args.account);
    let mut shown = client.get(&path).await.trying(what)?;
    if !args.set.is_empty() {
        let mut own: Map<String, Value> = shown["limits"].as_object().cloned().unwrap_or_default();
        for (name, limit) in args.set {
            match limit.as_str() {
                "directory" => own.remove(&name),
                _ => own.insert(name, limit.into()),
            };
        }
        shown = client.put(&path, &own).await.trying(|| format!("cannot change the limits of {}", args.account))?;
    }
    if output::document(context.output, &shown, "name")? {
        return Ok(());
    }
    let mut table = Table::new(&[Column::Limit, Column::Value]);
    for name in ["new_orders", "certificates", "failed_validations", "open_orders", "pause"] {
        let own = shown["limits"][name].as_str().unwrap_or("as its directory");
        table.row(vec![name.to_owned(), own.to_owned()]);
    }
    table.print()?;
    let paused = shown["paused"].as_array().cloned().unwrap_or_default();
    if paused.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[Column::Name, Column::Failures, Column::FailingSince, Column::Paused]);
    for item in &paused {
        let text = |name| output::text(item, name);
        table.row(vec![text("name"), text("failures"), text("since"), text("paused_at")]);
    }
    Ok(table.print()?)
}

pub async fn resume(context: &Context, client: &Client, args: ResumeArgs) -> Result<()> {
    let path = format!("/api/v1/acme/accounts/{}/resume", encode(&args.account));
    let body = args.name.as_ref().map_or_else(|| json!({}), |name| json!({"name": name}));
    let done = client.post(&path, &body).await.trying(|| format!("cannot resume names of {}", args.account))?;
    if output::document(context.output, &done, "name")? {
        return Ok(());
    }
    let names: Vec<&str> = done["names"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    output::say(&match names.as_slice() {
        [] => "nothing was paused".to_owned(),
        names => format!("resumed  {}", names.join(", ")),
    });
    Ok(())
}
