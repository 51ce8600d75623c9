//! What commands print: data on stdout, talk on stderr. Tables are aligned on a terminal and tab-separated
//! elsewhere; JSON is what REST answers.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use serde_json::Value;

use crate::error::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
    Pem,
}

/// Writes to stdout; a reader that went away (`| head`) is no failure.
pub fn data(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::internal("cannot write to stdout", e)),
        _ => Ok(()),
    }
}

pub fn json(value: &Value) -> Result<()> {
    let text = if std::io::stdout().is_terminal() { format!("{value:#}\n") } else { format!("{value}\n") };
    data(&text)
}

/// One object: as JSON, or a line for each member that fits on one.
pub fn object(format: Option<Format>, value: &Value) -> super::failure::Result<()> {
    if format == Some(Format::Json) {
        return Ok(json(value)?);
    }
    let mut table = Table::new(&["MEMBER", "VALUE"]);
    for member in value.as_object().into_iter().flatten().map(|(member, _)| member) {
        let told = text(value, member);
        if !told.contains('\n') {
            table.row(vec![member.clone(), told]);
        }
    }
    Ok(table.print()?)
}

/// Talk for people.
pub fn say(line: &str) {
    eprintln!("{line}");
}

/// Rows under headings.
#[derive(Debug)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(headings: &[&'static str]) -> Self {
        Table { headings: headings.to_vec(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub fn print(&self) -> Result<()> {
        data(&self.render(std::io::stdout().is_terminal()))
    }

    fn render(&self, aligned: bool) -> String {
        let mut text = String::new();
        let headings: Vec<String> = self.headings.iter().map(|h| (*h).to_owned()).collect();
        let widths: Vec<usize> = (0..headings.len())
            .map(|i| self.rows.iter().chain([&headings]).map(|r| r[i].chars().count()).max().unwrap_or(0))
            .collect();
        for row in [&headings].into_iter().chain(&self.rows) {
            let line = match aligned {
                true => row.iter().zip(&widths).map(|(c, w)| format!("{c:<w$}")).collect::<Vec<_>>().join("  "),
                false => row.join("\t"),
            };
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A member as text: strings bare, lists joined, nothing as `-`.
pub fn text(value: &Value, member: &str) -> String {
    match &value[member] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let words: Vec<String> = items.iter().map(bare).collect();
            if words.is_empty() { "-".to_owned() } else { words.join(",") }
        }
        other => other.to_string(),
    }
}

fn bare(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(map) => map.get("value").map_or_else(|| value.to_string(), bare),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_for_people_and_tab_for_programs() {
        let mut table = Table::new(&["NAME", "STATUS"]);
        table.row(vec!["web.example".into(), "valid".into()]);
        assert_eq!(table.render(true), "NAME         STATUS\nweb.example  valid\n");
        assert_eq!(table.render(false), "NAME\tSTATUS\nweb.example\tvalid\n");
    }

    #[test]
    fn members_become_words() {
        let value = serde_json::json!({"names": [{"type": "dns", "value": "a"}, "b"], "n": 3, "none": null, "e": []});
        let cells: Vec<_> = ["names", "n", "none", "e"].iter().map(|m| text(&value, m)).collect();
        assert_eq!(cells, ["a,b", "3", "-", "-"]);
    }
}
