//! What commands print: data on stdout, talk on stderr. Tables are aligned on a terminal and tab-separated
//! elsewhere; JSON is what REST answers.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::model::text::{printable, printable_lines};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
    Pem,
}

/// Writes to stdout; a reader that went away (`| head`) is no failure. Names that others chose reach a terminal only
/// without characters that could steer it.
pub fn data(text: &str) -> Result<()> {
    let (text, mut out) = (printable_lines(text), std::io::stdout().lock());
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

/// Whether stderr is to hold nothing but lines of JSON.
static JSON_LINES: AtomicBool = AtomicBool::new(false);

/// From here on what is said on stderr is one JSON object a message, as the log's lines are.
pub fn say_in_json() {
    JSON_LINES.store(true, Ordering::Relaxed);
}

pub fn says_json() -> bool {
    JSON_LINES.load(Ordering::Relaxed)
}

/// Talk for people.
pub fn say(line: &str) {
    say_all("INFO", &[line]);
}

/// One message of several lines.
pub fn say_all(level: &str, lines: &[impl AsRef<str>]) {
    if !says_json() {
        lines.iter().for_each(|line| eprintln!("{}", printable_lines(line.as_ref())));
        return;
    }
    let text: Vec<&str> = lines.iter().map(|line| line.as_ref().trim_end()).collect();
    let text = text.join("\n");
    if !text.trim().is_empty() {
        let now = SystemClock.now().to_string();
        let line = json!({"timestamp": now, "level": level, "message": text.trim(), "target": "chancery"});
        eprintln!("{}", printable_lines(&line.to_string()));
    }
}

/// Stderr for the log, whose lines may hold what others wrote.
#[derive(Debug)]
pub struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        std::io::stderr().lock().write_all(printable_lines(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().lock().flush()
    }
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
        // a cell is one line: a name with a line break or a tab in it makes no second row and no further column
        let cells = |row: &Vec<String>| row.iter().map(|cell| printable(cell).into_owned()).collect::<Vec<_>>();
        let headings: Vec<String> = self.headings.iter().map(|h| (*h).to_owned()).collect();
        let rows: Vec<Vec<String>> = [headings].into_iter().chain(self.rows.iter().map(cells)).collect();
        let widths: Vec<usize> =
            (0..self.headings.len()).map(|i| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0)).collect();
        for row in &rows {
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
    fn a_cell_cannot_steer_a_terminal_or_make_a_row() {
        let mut table = Table::new(&["NAME", "STATUS"]);
        table.row(vec!["a\u{1b}[2J\u{202e}b\nx\ty".into(), "valid".into()]);
        assert_eq!(table.render(false), "NAME\tSTATUS\na\\u001b[2J\\u202eb\\u000ax\\u0009y\tvalid\n");
    }

    #[test]
    fn members_become_words() {
        let value = serde_json::json!({"names": [{"type": "dns", "value": "a"}, "b"], "n": 3, "none": null, "e": []});
        let cells: Vec<_> = ["names", "n", "none", "e"].iter().map(|m| text(&value, m)).collect();
        assert_eq!(cells, ["a,b", "3", "-", "-"]);
    }
}
