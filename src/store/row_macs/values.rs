//! Columns as octets: unambiguous, and the same on both engines.

use aws_lc_rs::hmac;

use super::tables::{ColumnKind, MacTable};
use crate::error::{Error, Result};
use crate::model::serial::to_hex;
use crate::model::text::printable;
use crate::store::engine::{Arg, Query, Row};

/// Length first, so that no border can be moved.
pub(super) fn feed(context: &mut hmac::Context, octets: &[u8]) {
    context.update(&(octets.len() as u64).to_be_bytes());
    context.update(octets);
}

pub(super) fn feed_value(context: &mut hmac::Context, value: &Arg) {
    match value {
        Arg::Bytes(None) | Arg::Int(None) | Arg::Text(None) => context.update(&[0]),
        Arg::Bytes(Some(octets)) => {
            context.update(&[1]);
            feed(context, octets);
        }
        Arg::Int(Some(number)) => {
            context.update(&[2]);
            context.update(&number.to_be_bytes());
        }
        Arg::Text(Some(text)) => {
            context.update(&[3]);
            feed(context, text.as_bytes());
        }
        Arg::Bool(value) => context.update(&[4, u8::from(*value)]),
    }
}

/// The columns of the MAC as a row has them.
pub(super) fn read(table: &MacTable, row: &Row, prefix: &str) -> Result<Vec<Arg>> {
    let value = |column: &super::tables::Column| {
        let name = format!("{prefix}{}", column.name);
        Ok(match column.kind {
            ColumnKind::Bytes => Arg::Bytes(row.get(&name)?),
            ColumnKind::Int => Arg::Int(row.get(&name)?),
            ColumnKind::Text => Arg::Text(row.get(&name)?),
            ColumnKind::Bool => Arg::Bool(row.get(&name)?),
        })
    };
    table.columns.iter().map(value).collect()
}

/// Columns that hold a secret, or a hash of one.
const SECRET: [&str; 3] = ["password_hash", "secret_sha256", "sealed"];
/// Characters of one column that are shown.
const SHOWN: usize = 200;

/// The columns of a row as an operator reads them: without secrets, and without those that are empty.
pub(super) fn in_words(table: &MacTable, row: &Row) -> Vec<(&'static str, String)> {
    let shown = |column: &super::tables::Column| {
        let said = match column.kind {
            ColumnKind::Bytes => row.get::<Option<Vec<u8>>>(column.name).ok()?.map(|octets| to_hex(&octets))?,
            ColumnKind::Int if column.name.ends_with("_at") || column.name.starts_with("not_") => {
                row.time_opt(column.name).ok()??.to_string()
            }
            ColumnKind::Int => row.get::<Option<i64>>(column.name).ok()??.to_string(),
            ColumnKind::Text => row.get::<Option<String>>(column.name).ok()??,
            ColumnKind::Bool => row.get::<bool>(column.name).ok()?.to_string(),
        };
        let said = printable(&said).into_owned();
        let cut = said.chars().count() > SHOWN;
        let said: String = said.chars().take(SHOWN).collect();
        (!said.is_empty()).then(|| (column.name, if cut { said + "…" } else { said }))
    };
    table.columns.iter().filter(|column| !SECRET.contains(&column.name)).filter_map(shown).collect()
}

/// The columns of the MAC as an `INSERT INTO t (a, b) VALUES ($1, 0)` writes them: a column that it does not name is NULL.
pub(super) fn of_insert(table: &MacTable, query: &Query) -> Result<Vec<Arg>> {
    let text = query.sql().sqlite;
    let unreadable = || Error::inconsistent(format!("{} is no INSERT with one row of values", query.sql().name));
    let (columns, rest) = group(text).ok_or_else(unreadable)?;
    let (_, rest) = rest.split_once("VALUES").ok_or_else(unreadable)?;
    let (values, _) = group(rest).ok_or_else(unreadable)?;
    let named: Vec<(&str, &str)> = columns.zip(values).collect();
    let value = |column: &super::tables::Column| {
        let Some((_, value)) = named.iter().find(|(name, _)| *name == column.name) else {
            return Ok(column.kind.null());
        };
        written(column, value, query).ok_or_else(unreadable)
    };
    table.columns.iter().map(value).collect()
}

/// The columns of the MAC as an `UPDATE t SET a = $2, b = 'x', c = c + 1 WHERE …` leaves a row that was `before`: what the
/// statement does not name stays.
pub(super) fn of_update(table: &MacTable, query: &Query, before: &[Arg]) -> Result<Vec<Arg>> {
    let text = query.sql().sqlite;
    let unreadable = || Error::inconsistent(format!("{} is no UPDATE of plain values", query.sql().name));
    let (_, rest) = text.split_once(" SET ").ok_or_else(unreadable)?;
    let (set, _) = rest.split_once(" WHERE ").ok_or_else(unreadable)?;
    let set = set.split(", ").map(|one| one.split_once(" = ").ok_or_else(unreadable)).collect::<Result<Vec<_>>>()?;
    let value = |(column, old): (&super::tables::Column, &Arg)| {
        let Some((name, value)) = set.iter().find(|(name, _)| *name == column.name) else { return Ok(old.clone()) };
        if let (Some(rest), Arg::Int(Some(number))) = (value.strip_prefix(*name), old)
            && let Some(more) = rest.strip_prefix(" + ").and_then(|more| more.parse::<i64>().ok())
        {
            return Ok(Arg::Int(Some(number.saturating_add(more))));
        }
        written(column, value, query).ok_or_else(unreadable)
    };
    table.columns.iter().zip(before).map(value).collect()
}

/// The value that a statement writes as `$2`, or as it stands in its text.
fn written(column: &super::tables::Column, value: &str, query: &Query) -> Option<Arg> {
    match value.strip_prefix('$').and_then(|n| n.parse::<usize>().ok()) {
        Some(n) => query.args().get(n.wrapping_sub(1)).cloned(),
        None => column.kind.literal(value),
    }
}

/// Whether two rows have the same values in the columns of the MAC.
pub(super) fn same(one: &[Arg], other: &[Arg]) -> bool {
    let same = |(one, other): (&Arg, &Arg)| match (one, other) {
        (Arg::Bytes(one), Arg::Bytes(other)) => one == other,
        (Arg::Int(one), Arg::Int(other)) => one == other,
        (Arg::Text(one), Arg::Text(other)) => one == other,
        (Arg::Bool(one), Arg::Bool(other)) => one == other,
        _ => false,
    };
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// The members of the first pair of brackets, and what follows it.
fn group(text: &str) -> Option<(impl Iterator<Item = &str>, &str)> {
    let (_, rest) = text.split_once('(')?;
    let (inside, rest) = rest.split_once(')')?;
    Some((inside.split(',').map(str::trim), rest))
}

/// The name of a row in the audit and in sentences.
pub(super) fn object(table: &MacTable, row: &Row, prefix: &str) -> String {
    object_of(table, &table.key_of_row(row, prefix))
}

/// The name of a row by the values of its key.
pub(super) fn object_of(table: &MacTable, key: &[Arg]) -> String {
    let shown = key.iter().map(|arg| match arg {
        Arg::Bytes(octets) => table.shown(octets.as_deref().unwrap_or_default()),
        Arg::Text(text) => text.clone().unwrap_or_default(),
        Arg::Int(_) | Arg::Bool(_) => String::new(),
    });
    format!("{}:{}", table.object, shown.collect::<Vec<_>>().join(":"))
}
