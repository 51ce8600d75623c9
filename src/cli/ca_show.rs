//! `ca show`: one issuer or root for people, with what depends on it. JSON has what REST answers.

use serde_json::Value;

use super::ca_states;
use super::failure::{Result, Trying};
use super::output::{self, Column, Format, Table};
use super::session::Context;
use crate::client::encode;

pub async fn run(context: &Context, name: &str) -> Result<()> {
    let client = context.client_with_keys_at_hand().await?;
    let what = || format!("cannot show the certificate authority {name}");
    let mut issuer = client.get(&format!("/api/v1/issuers/{}", encode(name))).await.trying(what)?;
    if context.output == Some(Format::Pem) {
        return Ok(output::data(issuer["certificate"].as_str().unwrap_or_default())?);
    }
    let below = ca_states::dependents(&client, name).await.trying(what)?;
    if output::is_for_programs(context.output) {
        issuer["dependents"] = below;
        output::document(context.output, &issuer, "slug")?;
        return Ok(());
    }
    let key = key(context, &issuer, context.target()?.url.is_some());
    let mut table = Table::new(&[Column::Member, Column::Value]);
    for (member, value) in rows(&issuer, key).into_iter().chain(depending(&below)) {
        table.row(vec![member, value]);
    }
    table.print()?;
    if let Some(note) = context.repeated().note().filter(|_| issuer["key_offline"] == true) {
        output::say(note);
    }
    Ok(())
}

/// What the issuer is. `state` and `signs` say what `status` says to older programs.
fn rows(issuer: &Value, key: String) -> Vec<(String, String)> {
    let hidden = ["status", "signs_not", "can_sign", "key_offline", "chains"];
    let mut rows = Vec::new();
    for (member, value) in issuer.as_object().into_iter().flatten() {
        let is_long = value.as_str().is_some_and(|text| text.contains('\n'));
        if !hidden.contains(&member.as_str()) && !is_long {
            rows.push((member.clone(), output::text(issuer, member).replace(',', ", ")));
        }
    }
    rows.push(("signs".to_owned(), signs(issuer)));
    rows.push(("key".to_owned(), key));
    for chain in issuer["chains"].as_array().into_iter().flatten() {
        let (root, until) = (output::text(chain, "root"), output::text(chain, "not_after"));
        rows.push(("other chain".to_owned(), format!("up to {root}, until {until}")));
    }
    rows
}

/// Where the private key is, and how a command comes by it.
fn key(context: &Context, issuer: &Value, remote: bool) -> String {
    let (offline, open) = (issuer["key_offline"] == true, issuer["can_sign"] == true);
    let text = match (offline, open, issuer["role"] == "root") {
        (true, ..) => {
            let online = context.command("ca root online FILE");
            return format!("offline: taken out of the database; `{online}` brings it back");
        }
        (false, true, true) => "in the database, and root.key opens it here",
        (false, true, false) => "in the database, and open in the process that answers",
        (false, false, true) if remote => {
            "in the database, under root.key, which a server never loads: `ca` commands on its host take it"
        }
        (false, false, true) => {
            "in the database, but no root.key that opens it is in the data directory: `ca` commands that need it take \
             --root-key FILE"
        }
        (false, false, false) => "in the database, but not open in the process that answers: it has no unlock key",
    };
    text.to_owned()
}

fn signs(issuer: &Value) -> String {
    match (issuer["signs_not"].as_str(), issuer["role"].as_str()) {
        (Some(why), _) => format!("nothing: it {why}"),
        (None, Some("root")) => "CA certificates, by commands on the host that has its key".to_owned(),
        (None, _) if issuer["is_default"] == true => "certificates, also where no issuer is named".to_owned(),
        (None, _) => "certificates, where it is named or the default may not".to_owned(),
    }
}

/// What would be missing without it, and which changes ask for a yes.
fn depending(below: &Value) -> Vec<(String, String)> {
    let split = |line: &String| {
        let (heading, rest) = line.split_once(' ').unwrap_or((line, ""));
        (format!("depends: {heading}"), rest.trim_start().to_owned())
    };
    let mut rows: Vec<_> = ca_states::lines(below, "removed").iter().map(split).collect();
    let signing_on = output::text(below, "signing_on").replace(',', ", ");
    if signing_on != "-" {
        rows.push(("while retiring".to_owned(), format!("issuers under it ({signing_on}) continue to sign")));
    }
    rows.push(("needs --yes".to_owned(), output::text(below, "confirm_for").replace(',', ", ")));
    rows
}
