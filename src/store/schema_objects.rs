//! Whether the names that statements use lead to our own tables. Whoever owns the tables of Postgres, or writes a SQLite file,
//! can put a view in the place of one, or add rules, triggers and row security: the server would then read other rows than
//! it wrote.

use std::collections::BTreeSet;

use super::engine::{On, q, statements};
use super::migrate;
use crate::error::{Error, ErrorKind, Result};

statements! {
    /// All views and triggers; `$1` has the names of our tables. A trigger that a migration made is ours.
    LOOK = "SELECT type AS kind, name, tbl_name AS place, CASE WHEN sql LIKE 'CREATE VIRTUAL%' THEN 'virtual' ELSE '' END AS detail \
            FROM sqlite_master WHERE type IN ('table', 'view', 'trigger') AND $1 <> ''",
        postgres "WITH named AS (SELECT n.name, to_regclass(quote_ident(n.name)) AS id FROM UNNEST(string_to_array($1, ',')) AS n (name)), \
            ours AS (SELECT n.name, c.oid AS id, CAST(c.relkind AS text) AS kind, c.relnamespace, c.relrowsecurity OR c.relforcerowsecurity AS hides \
                FROM named n JOIN pg_class c ON c.oid = n.id), \
            home AS (SELECT relnamespace FROM ours GROUP BY relnamespace ORDER BY COUNT(*) DESC LIMIT 1) \
            SELECT 'table' AS kind, name, name AS place, CASE WHEN kind = 'r' THEN '' ELSE kind END AS detail FROM ours \
            UNION ALL SELECT 'schema', o.name, o.name, CAST(s.nspname AS text) FROM ours o JOIN pg_namespace s ON s.oid = o.relnamespace \
                WHERE o.relnamespace NOT IN (SELECT relnamespace FROM home) \
            UNION ALL SELECT 'security', name, name, '' FROM ours WHERE hides \
            UNION ALL SELECT 'rule', CAST(r.rulename AS text), o.name, '' FROM ours o JOIN pg_rewrite r ON r.ev_class = o.id WHERE o.kind = 'r' \
            UNION ALL SELECT 'trigger', CAST(t.tgname AS text), o.name, '' FROM ours o JOIN pg_trigger t ON t.tgrelid = o.id \
                WHERE NOT t.tgisinternal AND NOT (t.tgname = 'acme_authorizations_linked' AND o.name = 'acme_authorizations') \
            UNION ALL SELECT 'child', CAST(c.relname AS text), o.name, '' FROM ours o JOIN pg_inherits i ON i.inhparent = o.id \
                JOIN pg_class c ON c.oid = i.inhrelid WHERE o.kind = 'r'";
}

/// Something in the database that stands between the server and one of its tables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignObject {
    pub table: String,
    /// Follows "table NAME" in a sentence.
    pub what: String,
}

/// What stands between the server and its tables, by table; nothing in a sound database of the newest schema.
pub async fn foreign<'a>(on: impl Into<On<'a>>) -> Result<Vec<ForeignObject>> {
    let tables = migrate::tables();
    let names = tables.iter().copied().collect::<Vec<_>>().join(",");
    let mut found = BTreeSet::new();
    for row in q(LOOK).bind(names).fetch_all(on).await? {
        // SQLite takes names in any case
        let (kind, name, place) =
            (row.get::<String>("kind")?, row.get::<String>("name")?, row.get::<String>("place")?.to_lowercase());
        let detail: String = row.get("detail")?;
        if !tables.contains(place.as_str()) {
            continue;
        }
        found.extend(words(&kind, &name, &detail).map(|what| ForeignObject { table: place, what }));
    }
    Ok(found.into_iter().collect())
}

/// Refuses a database whose tables are not those of this version.
pub async fn check<'a>(on: impl Into<On<'a>>) -> Result<()> {
    let found = foreign(on).await?;
    if found.is_empty() {
        return Ok(());
    }
    let named: Vec<_> = found.iter().map(|object| format!("table {} {}", object.table, object.what)).collect();
    let detail = format!(
        "the database would show this server other rows than it wrote: {}; a server works on plain tables of its own, so remove \
         what was added, or restore the database from a backup",
        named.join("; ")
    );
    Err(Error::new(ErrorKind::Inconsistent, detail))
}

fn words(kind: &str, name: &str, detail: &str) -> Option<String> {
    match (kind, detail) {
        ("table", "") => None,
        ("table", "v" | "m") | ("view", _) => Some("is a view and no table".to_owned()),
        ("table", "f") => Some("is a foreign table, whose rows another server holds".to_owned()),
        ("table", "p") => Some("is split into partitions, which can have triggers of their own".to_owned()),
        ("table", other) => Some(format!("is no plain table ({other})")),
        ("schema", schema) => Some(format!("is found in another schema ({schema}) than the other tables")),
        ("security", _) => Some("has row security, which hides rows".to_owned()),
        ("child", _) => Some(format!("has the child table {name}, whose rows are read with its own")),
        (_, _) => Some(format!("has the {kind} {name}, which this version did not make")),
    }
}
