//! One document in the format that was asked for.

use clap::ValueEnum;
use serde_json::Value;

use super::column::Column;
use super::table::Table;
use super::{stream, terminal, yaml};
use crate::error::Result;

/// `-o`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people; one line an object with tabs between its members where no terminal reads
    Table,
    /// One document, as the REST API has it
    Json,
    /// The document of json in YAML
    Yaml,
    /// One object in JSON a line
    Jsonl,
    /// One id or name a line, which other commands take
    Name,
    /// Certificates in PEM
    Pem,
}

impl Format {
    /// How it is written behind `-o`.
    pub fn word(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// Whether a program reads stdout: what people are told besides is left out then.
pub fn is_for_programs(format: Option<Format>) -> bool {
    matches!(format, Some(Format::Json | Format::Yaml | Format::Jsonl | Format::Name))
}

/// Prints a document in a format for programs; false when it is people who read. `name` is the member with the word that
/// other commands take. A list's objects are its `items`.
pub fn document(format: Option<Format>, value: &Value, name: &str) -> Result<bool> {
    match format {
        Some(Format::Json) => json(value)?,
        // a command that prints several documents makes one stream of them
        Some(Format::Yaml) => stream::data(&format!("---\n{}", yaml::text(value)))?,
        Some(Format::Jsonl) => {
            stream::data(&objects(value).iter().map(|one| format!("{one}\n")).collect::<String>())?
        }
        Some(Format::Name) => {
            let named = objects(value).iter().filter(|one| !one[name].is_null());
            stream::data(&named.map(|one| format!("{}\n", text(one, name))).collect::<String>())?;
        }
        Some(Format::Table | Format::Pem) | None => return Ok(false),
    }
    Ok(true)
}

fn objects(value: &Value) -> &[Value] {
    let items = value.as_array().or_else(|| value["items"].as_array());
    items.map_or(std::slice::from_ref(value), Vec::as_slice)
}

/// One object for people: a line for each member that fits on one.
pub fn members(value: &Value) -> Result<()> {
    let mut table = Table::new(&[Column::Member, Column::Value]);
    for member in value.as_object().into_iter().flatten().map(|(member, _)| member) {
        let told = text(value, member);
        if !told.contains('\n') {
            table.row(vec![member.clone(), told]);
        }
    }
    table.print()
}

fn json(value: &Value) -> Result<()> {
    let text = if terminal::is_shown() { format!("{value:#}\n") } else { format!("{value}\n") };
    stream::data(&text)
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
    fn members_become_words() {
        let value = serde_json::json!({"names": [{"type": "dns", "value": "a"}, "b"], "n": 3, "none": null, "e": []});
        let cells: Vec<_> = ["names", "n", "none", "e"].iter().map(|m| text(&value, m)).collect();
        assert_eq!(cells, ["a,b", "3", "-", "-"]);
    }
}
