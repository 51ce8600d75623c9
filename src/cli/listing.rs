//! Lists: how much of one is asked for, page by page to its end, and `ca list|show` and `profile list|show`, two
//! resources with one manner.

use clap::Args;
use serde_json::{Value, json};

use super::failure::{Result, Trying};
use super::output::{self, Column, Format, Table};
use super::session::Context;
use crate::client::{Client, Refusal, encode};

/// How much of a list is asked for.
#[derive(Debug, Clone)]
pub struct Page {
    pub wanted: usize,
    /// The cursor of an earlier list.
    pub after: Option<String>,
}

macro_rules! page_args {
    ($name:ident $default:literal) => {
        #[derive(Debug, Clone, Args)]
        pub struct $name {
            /// How many at most
            #[arg(long, value_name = "N", default_value_t = $default, value_parser = clap::value_parser!(u32).range(1..=100_000))]
            limit: u32,
            /// Every one, however many there are
            #[arg(long, conflicts_with = "limit")]
            all: bool,
            /// Go on behind an earlier list, with the cursor that it named
            #[arg(long, value_name = "CURSOR")]
            after: Option<String>,
        }

        impl From<&$name> for Page {
            fn from(args: &$name) -> Page {
                let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
                Page { wanted: if args.all { usize::MAX } else { limit }, after: args.after.clone() }
            }
        }
    };
}

// without docs of their own, which clap would show in place of the command's
// what grows without end: the newest few
page_args!(NewestArgs 100);
// what people set up: in practice all of it
page_args!(WholeArgs 10_000);

/// The items of a list that were read, and where the list goes on.
#[derive(Debug)]
pub struct Found {
    pub items: Vec<Value>,
    /// Where it goes on, when that is not all.
    pub cursor: Option<String>,
}

impl Found {
    /// As REST answers it.
    pub fn document(&self) -> Value {
        json!({"items": self.items, "next_cursor": self.cursor})
    }

    /// Prints it, and says when that is not all. `name` is the member that other commands take.
    pub fn print(&self, context: &Context, name: &str, table: impl FnOnce(&[Value]) -> Table) -> Result<()> {
        if !output::document(context.output, &self.document(), name)? {
            table(&self.items).print()?;
        }
        self.say_more();
        Ok(())
    }

    pub fn say_more(&self) {
        say_more(self.items.len(), self.cursor.as_deref());
    }
}

/// Says that a list goes on, and how.
pub fn say_more(shown: usize, cursor: Option<&str>) {
    if let Some(cursor) = cursor {
        output::say(&format!(
            "showed {shown}, and there are more: add --all, or --after {cursor} for those behind these"
        ));
    }
}

/// What one page of the API holds at most.
const PAGE: usize = 500;

/// A list as far as it was asked for.
pub async fn find(
    client: &Client,
    path: &str,
    filters: &[(&str, Option<String>)],
    page: impl Into<Page>,
) -> Result<Found, Refusal> {
    let Page { wanted, after } = page.into();
    pages(client, path, filters, wanted, after).await
}

/// Every item of a list.
pub async fn all(client: &Client, path: &str) -> Result<Vec<Value>, Refusal> {
    Ok(pages(client, path, &[], usize::MAX, None).await?.items)
}

async fn pages(
    client: &Client,
    path: &str,
    filters: &[(&str, Option<String>)],
    wanted: usize,
    mut cursor: Option<String>,
) -> Result<Found, Refusal> {
    let mut items: Vec<Value> = Vec::new();
    while items.len() < wanted {
        let mut path = format!("{path}?limit={}", (wanted - items.len()).min(PAGE));
        for (member, value) in filters.iter().map(|(m, v)| (*m, v)).chain([("cursor", &cursor)]) {
            path.extend(value.as_ref().map(|v| format!("&{member}={}", encode(v))));
        }
        let mut page = client.get(&path).await?;
        items.extend(page["items"].as_array_mut().map(std::mem::take).unwrap_or_default());
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    Ok(Found { items, cursor })
}

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
    /// Columns and the members in them; one with a slash is a JSON pointer.
    columns: &'static [(Column, &'static str)],
    /// The member with PEM, where there is one.
    pem: Option<&'static str>,
}

pub const ISSUERS: Resource = Resource {
    noun: "certificate authority",
    path: "/api/v1/issuers",
    columns: &[
        (Column::Name, "slug"),
        (Column::Domain, "domain"),
        (Column::Role, "role"),
        (Column::Status, "state"),
        (Column::Default, "is_default"),
        (Column::Key, "key_algorithm"),
        (Column::Expires, "not_after"),
        (Column::Subject, "name"),
    ],
    pem: Some("certificate"),
};

pub const PROFILES: Resource = Resource {
    noun: "profile",
    path: "/api/v1/profiles",
    columns: &[(Column::Name, "slug"), (Column::Domain, "/rules/domain"), (Column::Revision, "revision")],
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

fn list(context: &Context, resource: &Resource, page: &Value) -> Result<()> {
    let items = page["items"].as_array().into_iter().flatten();
    if let (Some(Format::Pem), Some(member)) = (context.output, resource.pem) {
        let pem: String = items.filter_map(|i| i[member].as_str()).collect();
        return Ok(output::data(&pem)?);
    }
    if output::document(context.output, page, "slug")? {
        return Ok(());
    }
    let columns: Vec<Column> = resource.columns.iter().map(|c| c.0).collect();
    let mut table = Table::new(&columns);
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
        (Some(Format::Pem), Some(pem)) => Ok(output::data(pem)?),
        (format, _) if output::document(format, one, "slug")? => Ok(()),
        _ => Ok(output::members(one)?),
    }
}
