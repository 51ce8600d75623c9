//! `ca list|show` and `profile list|show`: two resources, one manner.

use serde_json::Value;

use super::failure::{Result, Trying};
use super::output::{self, Format, Table};
use super::session::Context;
use crate::client::{Client, Refusal, encode};

#[derive(Debug)]
pub enum ListOrShow {
    /// One line each
    List,
    /// Everything about one
    Show { name: String },
}

#[derive(Debug)]
pub struct Resource {
    noun: &'static str,
    path: &'static str,
    /// Headings and the members under them; one with a slash is a JSON pointer.
    columns: &'static [(&'static str, &'static str)],
    /// The member with PEM, where there is one.
    pem: Option<&'static str>,
}

pub const ISSUERS: Resource = Resource {
    noun: "certificate authority",
    path: "/api/v1/issuers",
    columns: &[
        ("NAME", "slug"),
        ("DOMAIN", "domain"),
        ("ROLE", "role"),
        ("STATE", "state"),
        ("DEFAULT", "is_default"),
        ("KEY", "key_algorithm"),
        ("UNTIL", "not_after"),
        ("SUBJECT", "name"),
    ],
    pem: Some("certificate"),
};

pub const PROFILES: Resource = Resource {
    noun: "profile",
    path: "/api/v1/profiles",
    columns: &[("NAME", "slug"), ("DOMAIN", "/rules/domain"), ("REVISION", "revision")],
    pem: None,
};

pub async fn run(context: &Context, resource: &Resource, command: ListOrShow) -> Result<()> {
    let client = context.client().await?;
    match command {
        ListOrShow::List => {
            let page = client.get(resource.path).await.trying(|| format!("cannot list every {}", resource.noun))?;
            list(context, resource, &page)
        }
        ListOrShow::Show { name } => {
            let path = format!("{}/{}", resource.path, encode(&name));
            let one = client.get(&path).await.trying(|| format!("cannot show the {} {name}", resource.noun))?;
            show(context, resource, &one)
        }
    }
}

/// What one page of the API holds at most.
const PAGE: usize = 100;

/// The items of a list, page by page up to `limit`, and where it goes on.
pub async fn all(
    client: &Client,
    path: &str,
    filters: &[(&str, Option<String>)],
    limit: u32,
) -> Result<(Vec<Value>, Option<String>), Refusal> {
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut found, mut cursor): (Vec<Value>, Option<String>) = (Vec::new(), None);
    while found.len() < wanted {
        let mut path = format!("{path}?limit={}", (wanted - found.len()).min(PAGE));
        for (member, value) in filters.iter().map(|(m, v)| (*m, v)).chain([("cursor", &cursor)]) {
            path.extend(value.as_ref().map(|v| format!("&{member}={}", encode(v))));
        }
        let mut page = client.get(&path).await?;
        found.extend(page["items"].as_array_mut().map(std::mem::take).unwrap_or_default());
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    Ok((found, cursor))
}

/// Says on stderr that a list goes on.
pub fn more(cursor: Option<&str>) {
    if cursor.is_some() {
        output::say("there are more: ask for them with --limit");
    }
}

fn list(context: &Context, resource: &Resource, page: &Value) -> Result<()> {
    let items = page["items"].as_array().into_iter().flatten();
    match (context.output, resource.pem) {
        (Some(Format::Json), _) => return Ok(output::json(page)?),
        (Some(Format::Pem), Some(member)) => {
            let pem: String = items.filter_map(|i| i[member].as_str()).collect();
            return Ok(output::data(&pem)?);
        }
        _ => {}
    }
    let headings: Vec<&'static str> = resource.columns.iter().map(|c| c.0).collect();
    let mut table = Table::new(&headings);
    for item in items {
        table.row(resource.columns.iter().map(|c| cell(item, c.1)).collect());
    }
    Ok(table.print()?)
}

fn cell(item: &Value, member: &str) -> String {
    match member.rsplit_once('/') {
        Some((at, last)) => item.pointer(at).map_or_else(|| "-".to_owned(), |inner| output::text(inner, last)),
        // what a CA elsewhere may take back is no end
        None if member == "state" && item["on_hold"] == true => "on hold".to_owned(),
        None => output::text(item, member),
    }
}

fn show(context: &Context, resource: &Resource, one: &Value) -> Result<()> {
    match (context.output, resource.pem.and_then(|m| one[m].as_str())) {
        (Some(Format::Json), _) => Ok(output::json(one)?),
        (Some(Format::Pem), Some(pem)) => Ok(output::data(pem)?),
        _ => {
            let mut table = Table::new(&["MEMBER", "VALUE"]);
            for (member, value) in one.as_object().into_iter().flatten() {
                if !value.as_str().is_some_and(|text| text.contains('\n')) {
                    table.row(vec![member.clone(), output::text(one, member)]);
                }
            }
            Ok(table.print()?)
        }
    }
}
