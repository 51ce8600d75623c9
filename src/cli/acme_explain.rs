//! `acme explain ORDER|NAME`: what was asked, what the CA saw, what to do, in sentences. Ends with 0 when the last
//! attempt got its certificate, 10 while it is under way, 11 when it failed, 3 when it was refused, 4 when there is
//! none.

use clap::Args;
use serde_json::{Value, json};

use super::acme_orders::{ATTEMPTS, ORDERS};
use super::failure::{Cause, Failure, Result, Trying};
use super::output::{self, text};
use super::session::Context;
use crate::client::{Client, Refusal, encode};
use crate::error::{Error, parts};

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// An order by its id (ord_…) or URL, or a name: the last attempt for it over all accounts
    thing: String,
}

/// The last that is known of a name.
enum Last {
    Order(Value),
    Refused(Value),
}

pub async fn explain(context: &Context, client: &Client, args: ExplainArgs) -> Result<()> {
    let what = || format!("cannot explain {}", args.thing);
    let (last, earlier) = match order_id(&args.thing) {
        Some(id) => (Last::Order(timeline(client, &id).await.trying(what)?), Vec::new()),
        None => last(client, args.thing.trim()).await.trying(what)?,
    };
    let code = match &last {
        Last::Refused(_) => 3,
        Last::Order(told) => match told["status"].as_str() {
            Some("valid") => 0,
            Some("invalid") => 11,
            _ => 10,
        },
    };
    let (document, words) = match &last {
        Last::Order(told) => (told.clone(), of_order(told, &earlier)),
        Last::Refused(attempt) => (json!({"refused": attempt}), of_refusal(attempt, &earlier)),
    };
    if !output::document(context.output, &document, "order")? {
        output::data(&words)?;
    }
    match code {
        0 => Ok(()),
        code => Err(Failure { what: String::new(), cause: Cause::Check(code) }),
    }
}

/// `ord_…`, alone or at the end of an order's URL on any surface.
fn order_id(thing: &str) -> Option<String> {
    let known = |part: &&str| part.starts_with("ord_") && part.len() == 30;
    thing.split(['/', '?', '#']).find(known).map(str::to_owned)
}

async fn timeline(client: &Client, id: &str) -> Result<Value, Refusal> {
    client.get(&format!("{ORDERS}/{}/timeline", encode(id))).await
}

/// The newest of the orders and refusals of a name, and a line for each of those before it.
async fn last(client: &Client, name: &str) -> Result<(Last, Vec<String>), Refusal> {
    let of_name = |path: &str| format!("{path}?name={}&limit=6", encode(name));
    let orders = client.get(&of_name(ORDERS)).await?;
    let refused = client.get(&of_name(ATTEMPTS)).await?;
    let mut all: Vec<(String, bool, &Value)> = Vec::new();
    for (page, at, refused) in [(&orders, "created_at", false), (&refused, "last_at", true)] {
        // what was refused of an order that stands is told with the order
        let items = page["items"].as_array().into_iter().flatten().filter(|item| !refused || item["order"].is_null());
        all.extend(items.map(|item| (text(item, at), refused, item)));
    }
    all.sort_by(|a, b| b.0.cmp(&a.0));
    let line = |(at, refused, item): &(String, bool, &Value)| match refused {
        true => format!("{at}  refused  {}", text(item, "detail")),
        false => format!("{at}  {}  {}", text(item, "status"), text(item, "id")),
    };
    let earlier = all.iter().skip(1).take(5).map(line).collect();
    match all.first() {
        None => Err(Error::not_found(format!(
            "attempt for {name}: no order and no refused request names it. Does the client use this server's directory URL, and exactly this name?"
        ))
        .into()),
        Some((_, true, attempt)) => Ok((Last::Refused((*attempt).clone()), earlier)),
        Some((_, false, order)) => Ok((Last::Order(timeline(client, &text(order, "id")).await?), earlier)),
    }
}

fn of_order(told: &Value, earlier: &[String]) -> String {
    let state = match told["status"].as_str() {
        Some("valid") => "has its certificate",
        Some("invalid") => "failed",
        Some("processing") => "is being signed",
        Some("ready") => "waits for the client's CSR",
        _ => "waits for proofs",
    };
    let mut lines = vec![format!("{}: the order {state}", list(&told["names"])), String::new()];
    let mut part = |word: &str, said: String| lines.push(format!("  {word:<8}{said}"));
    part(
        "order",
        format!("{} by {} in directory {}", text(told, "order"), text(told, "account"), text(told, "directory")),
    );
    part("so", text(told, "summary"));
    if told["next"].is_string() {
        part("do", text(told, "next"));
    }
    lines.push(String::new());
    lines.extend(seen(&told["entries"], true));
    tail(lines, earlier)
}

/// The entries of a timeline, a line each, with the name that each is about or without.
pub fn seen(entries: &Value, names: bool) -> Vec<String> {
    let mut lines = vec!["what the CA saw:".to_owned()];
    for entry in entries.as_array().into_iter().flatten() {
        let sign = match entry["mark"].as_str() {
            Some("bad") => '!',
            Some("good") => '+',
            _ => ' ',
        };
        let name = entry["name"].as_str().filter(|_| names).map(|name| format!("{name}: ")).unwrap_or_default();
        lines.push(format!(
            "{sign} {}  {:<10} {name}{}",
            text(entry, "at"),
            text(entry, "what"),
            text(entry, "detail")
        ));
    }
    lines
}

fn of_refusal(attempt: &Value, earlier: &[String]) -> String {
    let who = match attempt["account"].as_str() {
        Some(account) => format!("account {account}"),
        None => "somebody without an account".to_owned(),
    };
    let times = attempt["times"].as_i64().unwrap_or(1);
    let often = if times > 1 { format!(", {times} times until {}", text(attempt, "last_at")) } else { String::new() };
    let asked = match attempt["action"].as_str() {
        Some("authorization.refused") => "an authorization",
        Some("account.refused") => "an account",
        Some("challenge.refused") => "a challenge",
        Some("certificate.revocation_refused") => "a revocation",
        _ => "an order",
    };
    let detail = text(attempt, "detail");
    let (seen, fix) = parts(&detail);
    let fix = fix.unwrap_or_default();
    let mut lines = vec![
        format!("{}: {asked} was refused, nothing was made", list(&attempt["names"])),
        String::new(),
        format!(
            "  asked   {who} from {} in directory {} at {}{often}",
            text(attempt, "from"),
            text(attempt, "directory"),
            text(attempt, "at")
        ),
        format!("  so      {seen}"),
    ];
    if !fix.is_empty() {
        lines.push(format!("  do      {fix}"));
    }
    if let Some(rule) = attempt["rule"].as_str() {
        lines.push(format!("  rule    {rule}"));
    }
    tail(lines, earlier)
}

fn tail(mut lines: Vec<String>, earlier: &[String]) -> String {
    if !earlier.is_empty() {
        lines.push(String::new());
        lines.push("before that:".to_owned());
        lines.extend(earlier.iter().map(|line| format!("  {line}")));
    }
    lines.join("\n") + "\n"
}

fn list(names: &Value) -> String {
    let names: Vec<&str> = names.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match names.as_slice() {
        [] => "no name".to_owned(),
        [first, _, _, _, ..] => format!("{first} and {} more", names.len() - 1),
        few => few.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_known_by_its_id_in_any_url() {
        let id = "ord_01KB45CZRMS1RG67EMDAZD52BD";
        for thing in [
            id.to_owned(),
            format!("https://ca/acme/default/order/{id}/finalize"),
            format!("https://ca/orders/{id}#x"),
        ] {
            assert_eq!(order_id(&thing).as_deref(), Some(id), "{thing}");
        }
        assert_eq!(order_id("ord_.lab.example"), None);
        assert_eq!(order_id("web.lab.example"), None);
    }
}
