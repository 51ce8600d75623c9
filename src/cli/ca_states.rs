//! `ca activate|retire|remove`: what an issuer or a root does from now on. What depends on it is shown first, and a change
//! that takes something away which nobody takes over needs a yes.

use clap::Args;
use serde_json::{Value, json};

use super::confirm::confirm;
use super::failure::{Result, Trying};
use super::output;
use super::session::Context;
use crate::client::{Client, encode};

#[derive(Debug, Args)]
pub struct StateArgs {
    /// The issuer or root, such as etcd-1
    name: String,
    /// Do it also where something depends on it that no other issuer takes over
    #[arg(long)]
    yes: bool,
}

pub async fn activate(context: &Context, name: &str) -> Result<()> {
    let client = context.client().await?;
    let made = change(&client, name, "active", false).await?;
    output::say(&format!("active    {name}"));
    if made["is_default"] == true {
        output::say(&format!("default   it signs for trust domain {}", output::text(&made, "domain")));
    }
    if made["domain"] == "tls" && made["role"] == "issuing" {
        output::say("server    its own certificate moves to this issuer within 5 s; clients need /bundles/tls.pem");
    }
    Ok(())
}

pub async fn retire(context: &Context, args: &StateArgs) -> Result<()> {
    let client = context.client().await?;
    take_away(&client, args, "retiring").await?;
    output::say(&format!("retiring  {}; it publishes until its last certificate expires", args.name));
    output::say(&format!("undo      {}", context.command(&format!("ca activate {}", args.name))));
    Ok(())
}

pub async fn remove(context: &Context, args: &StateArgs) -> Result<()> {
    let client = context.client().await?;
    take_away(&client, args, "removed").await?;
    output::say(&format!("removed   {}; a root is out of its bundle, CRLs and OCSP go on", args.name));
    output::say(&format!("undo      {}", context.command(&format!("ca retire {}", args.name))));
    Ok(())
}

async fn take_away(client: &Client, args: &StateArgs, state: &str) -> Result<()> {
    let name = &args.name;
    let path = format!("/api/v1/issuers/{}/dependents", encode(name));
    let found = client.get(&path).await.trying(|| format!("cannot change {name}"))?;
    show(&found);
    let must = found["confirm_for"].as_array().is_some_and(|states| states.iter().any(|one| one == state));
    if must {
        confirm(args.yes, "nothing was changed: what is listed above depends on it; --yes does it all the same")?;
    }
    change(client, name, state, must).await.map(drop)
}

/// What depends on an issuer, on stderr.
fn show(found: &Value) {
    for (heading, member) in [("profiles", "profiles"), ("directories", "acme_directories"), ("issuers", "issuers")] {
        let text = output::text(found, member);
        if !text.is_empty() && text != "-" {
            output::say(&format!("{heading:<11} {}", text.replace(',', ", ")));
        }
    }
    output::say(&format!("valid       {} certificates", output::text(found, "valid_certificates")));
    if found["own_certificate"] == true {
        output::say("server      its own certificate stands under it");
    }
    match found["successor"].as_str() {
        Some(slug) => output::say(&format!("instead     {slug} signs")),
        None => output::say("instead     no issuer of the domain signs"),
    }
}

async fn change(client: &Client, name: &str, state: &str, confirm: bool) -> Result<Value> {
    let path = format!("/api/v1/issuers/{}/state", encode(name));
    let body = json!({"state": state, "confirm": confirm});
    client.put(&path, &body).await.trying(|| format!("cannot change {name} to {state}"))
}
