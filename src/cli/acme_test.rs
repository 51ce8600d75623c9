//! `acme test NAME`: the validator run now, as an order would. Ends with 0 when the name is proved or the way is open,
//! 11 when it fails.

use clap::Args;
use serde_json::Value;

use super::acme_explain::seen;
use super::acme_orders::ORDERS;
use super::failure::{Cause, Failure, Result, Trying};
use super::output::{self, text};
use super::session::Context;
use crate::client::{Client, Refusal, encode};
use crate::wire::acme_lists::ChallengeTestRequest;

#[derive(Debug, Args)]
pub struct TestArgs {
    /// A DNS name or an address; may be left out beside an order of one name
    #[arg(required_unless_present = "order")]
    name: Option<String>,
    /// http-01, dns-01, tls-alpn-01, dns-account-01 or dns-persist-01; dns-01 by default for a wildcard
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Whose ports, resolvers and networks are used; the order's, or default
    #[arg(long, value_name = "SLUG")]
    directory: Option<String>,
    /// The account whose record is looked for: dns-account-01 and dns-persist-01 need one
    #[arg(long, value_name = "ID", conflicts_with = "order")]
    account: Option<String>,
    /// Try the challenge of this order, with its token; nothing of the order changes
    #[arg(long, value_name = "ID")]
    order: Option<String>,
}

pub async fn test(context: &Context, client: &Client, args: TestArgs) -> Result<()> {
    let of = args.name.clone().or_else(|| args.order.clone()).unwrap_or_default();
    let name = match (&args.name, &args.order) {
        (None, Some(order)) => only_name(client, order).await.trying(|| format!("cannot test {of}"))?,
        (name, _) => name.clone(),
    };
    let wildcard = name.as_deref().is_some_and(|name| name.trim().starts_with("*."));
    let ask = ChallengeTestRequest {
        name,
        r#type: args.kind.unwrap_or_else(|| if wildcard { "dns-01" } else { "http-01" }.to_owned()),
        directory: args.directory,
        account: args.account,
        order: args.order,
    };
    let told = client.post("/api/v1/acme/challenge-tests", &ask).await.trying(|| format!("cannot test {of}"))?;
    if !output::document(context.output, &told, "name")? {
        output::data(&of_test(&told, context.target()?.url.is_none()))?;
    }
    match told["verdict"].as_str() {
        Some("failed") => Err(Failure { what: String::new(), cause: Cause::Check(11) }),
        _ => Ok(()),
    }
}

/// The name of an order of one name; of several the server says that one is to be chosen.
async fn only_name(client: &Client, order: &str) -> Result<Option<String>, Refusal> {
    let order = client.get(&format!("{ORDERS}/{}", encode(order))).await?;
    Ok(match order["names"].as_array().map(Vec::as_slice) {
        Some([only]) => only.as_str().map(str::to_owned),
        _ => None,
    })
}

fn of_test(told: &Value, here: bool) -> String {
    let mut lines = vec![text(told, "summary"), String::new()];
    let mut part = |word: &str, said: String| lines.push(format!("  {word:<8}{said}"));
    part(
        "verdict",
        format!("{} ({} in directory {})", text(told, "verdict"), text(told, "type"), text(told, "directory")),
    );
    if told["next"].is_string() {
        part("do", text(told, "next"));
    }
    if here {
        let by = "this process with the settings of this shell; with --url the running server tries with its own";
        part("by", by.to_owned());
    }
    lines.push(String::new());
    lines.extend(seen(&told["entries"], false));
    lines.join("\n") + "\n"
}
