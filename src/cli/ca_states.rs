//! `ca activate|retire|remove`: what an issuer or a root does from now on. What depends on it is shown first, and a change
//! that takes something away which nobody takes over needs a yes.

use clap::Args;
use serde_json::{Value, json};

use super::ca::say_fingerprint;
use super::confirm::confirm;
use super::failure::{Result, Trying};
use super::output;
use super::session::Context;
use crate::client::{Client, Refusal, encode};

#[derive(Debug, Args)]
pub struct ActivateArgs {
    /// The issuer or root, such as etcd-2
    name: String,
    /// Make the issuer the default of its trust domain, which signs where no issuer is named
    #[arg(long)]
    default: bool,
}

#[derive(Debug, Args)]
pub struct StateArgs {
    /// The issuer or root, such as etcd-1
    name: String,
    /// Do it also where something depends on it that no other issuer takes over
    #[arg(long)]
    yes: bool,
}

pub async fn activate(context: &Context, args: &ActivateArgs) -> Result<()> {
    let (client, name) = (context.client().await?, &args.name);
    let body = json!({"state": "active", "default": args.default});
    let made = change(&client, name, &body).await?;
    if output::document(context.output, &made, "slug")? {
        return Ok(());
    }
    output::say(&format!("active    {name}"));
    say_fingerprint(&made);
    let domain = output::text(&made, "domain");
    if made["is_default"] == true {
        output::say(&format!("default   it signs for trust domain {domain}"));
    } else if made["role"] == "issuing" {
        default(context, &client, &domain).await?;
    }
    if made["is_default"] == true && domain == "tls" {
        output::say("server    its own certificate moves to this issuer within 5 s; clients need /bundles/tls.pem");
    }
    Ok(())
}

pub async fn retire(context: &Context, args: &StateArgs) -> Result<()> {
    let (client, name) = (context.client().await?, &args.name);
    let made = take_away(&client, args, "retiring").await?;
    if output::document(context.output, &made, "slug")? {
        return Ok(());
    }
    if made["state"] == "prepared" {
        output::say(&format!("prepared  {name}; it is in the bundle again and signs for nobody"));
        output::say(&format!("undo      {}", context.command(&format!("ca remove {name}"))));
        return Ok(());
    }
    if made["state"] == "revoked" {
        output::say(&format!(
            "given up  {name}; it publishes on, and does not sign again if its revocation is taken back"
        ));
        return Ok(());
    }
    let until = if made["role"] == "root" {
        "no new issuer can be made under it; those that are under it continue to sign"
    } else {
        "it publishes until its last certificate expires"
    };
    output::say(&format!("retiring  {name}; {until}"));
    default(context, &client, &output::text(&made, "domain")).await?;
    output::say(&format!("undo      {}", context.command(&format!("ca activate {name}"))));
    Ok(())
}

pub async fn remove(context: &Context, args: &StateArgs) -> Result<()> {
    let client = context.client().await?;
    let made = take_away(&client, args, "removed").await?;
    if output::document(context.output, &made, "slug")? {
        return Ok(());
    }
    output::say(&match made["role"] == "root" {
        true => {
            format!("removed   {}; it is out of its trust domain's bundle, and its CRL and OCSP go on", args.name)
        }
        false => format!("removed   {}; it signs nothing, and its CRL and OCSP go on", args.name),
    });
    output::say(&format!("undo      {}", context.command(&format!("ca retire {}", args.name))));
    Ok(())
}

async fn take_away(client: &Client, args: &StateArgs, state: &str) -> Result<Value> {
    let name = &args.name;
    let found = dependents(client, name).await.trying(|| format!("cannot change {name}"))?;
    show(&found, state);
    let must = must_confirm(&found, state);
    if must && !args.yes {
        // what cannot be done at all is not asked about
        let refusal = match change(client, name, &json!({"state": state, "confirm": false})).await {
            Ok(made) => return Ok(made),
            Err(refusal) => refusal,
        };
        if !refusal.is_rule("issuer.dependents") {
            return Err(refusal);
        }
        confirm(args.yes, "nothing was changed: what is listed above depends on it; --yes does it all the same")?;
    }
    change(client, name, &json!({"state": state, "confirm": must})).await
}

pub async fn dependents(client: &Client, name: &str) -> Result<Value, Refusal> {
    client.get(&format!("/api/v1/issuers/{}/dependents", encode(name))).await
}

/// Whether a change to this state takes something away that no other issuer takes over.
pub fn must_confirm(found: &Value, state: &str) -> bool {
    found["confirm_for"].as_array().is_some_and(|states| states.iter().any(|one| one == state))
}

/// What depends on an issuer or a root that goes to `state`, on stderr.
pub fn show(found: &Value, state: &str) {
    lines(found, state).iter().for_each(|line| output::say(line));
}

/// The same as lines.
pub fn lines(found: &Value, state: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let signing_on = output::text(found, "signing_on");
    if state == "retiring" && signing_on != "-" {
        lines.push(format!("signing     issuers under it ({}) continue to sign", signing_on.replace(',', ", ")));
        return lines;
    }
    for (heading, member) in [("profiles", "profiles"), ("directories", "acme_directories"), ("issuers", "issuers")] {
        let text = output::text(found, member);
        if !text.is_empty() && text != "-" {
            lines.push(format!("{heading:<11} {}", text.replace(',', ", ")));
        }
    }
    lines.push(format!("valid       {}", certificates(&found["valid_certificates"])));
    if found["own_certificate"] == true {
        let next = match found["own_successor"].as_str() {
            Some(slug) => format!("server      its own certificate stands under it and moves to {slug}"),
            None => "server      its own certificate stands under it, and no other issuer may sign one".to_owned(),
        };
        lines.push(next);
    }
    lines.push(match found["successor"].as_str() {
        Some(slug) => format!("instead     new requests go to {slug}, except for names it may not sign"),
        None => "instead     no issuer of the domain signs".to_owned(),
    });
    lines
}

/// `1 certificate`, `2 certificates`.
fn certificates(count: &Value) -> String {
    let noun = if count.as_i64() == Some(1) { "certificate" } else { "certificates" };
    format!("{count} {noun}")
}

/// Who signs for a domain now where no issuer is named.
pub async fn default(context: &Context, client: &Client, domain: &str) -> Result<()> {
    let found = client.get(&format!("/api/v1/domains/{}", encode(domain))).await;
    let found = found.trying(|| format!("cannot show trust domain {domain}"))?;
    output::say(&match found["default_issuer"].as_str() {
        Some(slug) => format!("default   {slug} signs for trust domain {domain}"),
        None => format!(
            "default   none: no issuer of trust domain {domain} signs now; run `{}`, which names the command that makes one",
            context.command("doctor")
        ),
    });
    Ok(())
}

async fn change(client: &Client, name: &str, body: &Value) -> Result<Value> {
    let path = format!("/api/v1/issuers/{}/state", encode(name));
    let to = body["state"].as_str().unwrap_or_default().to_owned();
    client.put(&path, body).await.trying(|| format!("cannot change {name} to {to}"))
}
