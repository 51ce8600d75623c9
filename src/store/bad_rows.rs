//! Rows that make no sense, because somebody wrote them by SQL or a disk fails: one hides no other.

use std::fmt;

use super::engine::Row;
use crate::error::{Error, Result};
use crate::model::serial::to_hex;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    pub table: &'static str,
    /// Its slug, else its id in hex.
    pub row: String,
    pub why: String,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BadRow { table, row, why } = self;
        write!(f, "the row {row} of the table {table} cannot be used: {why}; put it back from a backup")
    }
}

impl BadRow {
    pub fn new(table: &'static str, row: impl Into<String>, error: &Error) -> Self {
        BadRow { table, row: row.into(), why: error.chain().to_string() }
    }
}

/// What can be read, and the rest.
pub(super) fn split<T>(table: &'static str, rows: &[Row], read: impl Fn(&Row) -> Result<T>) -> (Vec<T>, Vec<BadRow>) {
    let (mut good, mut bad) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        match read(row) {
            Ok(record) => good.push(record),
            Err(error) => bad.push(BadRow::new(table, name(row), &error)),
        }
    }
    (good, bad)
}

fn name(row: &Row) -> String {
    let id = || to_hex(&row.get::<Vec<u8>>("id").unwrap_or_default());
    row.get::<String>("slug").unwrap_or_else(|_| id())
}
