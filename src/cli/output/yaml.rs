//! A JSON document as YAML, for people and for programs that read YAML. A text is written bare only where no reader of
//! YAML 1.1 or 1.2 takes it for something else; otherwise as in JSON, which is YAML too.

use serde_json::Value;

use crate::model::text::is_deceptive;

pub fn text(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(members) if !members.is_empty() => block(value, 0, &mut out),
        Value::Array(items) if !items.is_empty() => block(value, 0, &mut out),
        other => out.push_str(&format!("{}\n", scalar(other))),
    }
    out
}

/// The lines of a list or an object that is not empty.
fn block(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                out.push_str(&format!("{:depth$}{}:", "", key(name)));
                after(member, depth, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                out.push_str(&format!("{:depth$}-", ""));
                match item {
                    // the first member stands beside the dash
                    Value::Object(members) if !members.is_empty() => {
                        let mut inner = String::new();
                        block(item, depth + 2, &mut inner);
                        out.push_str(&format!(" {}", inner.trim_start_matches(' ')));
                    }
                    other => after(other, depth, out),
                }
            }
        }
        _ => {}
    }
}

/// What stands behind a name or a dash.
fn after(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            out.push('\n');
            block(value, depth + 2, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            block(value, depth + 2, out);
        }
        Value::String(text) if is_block(text) => {
            out.push_str(" |\n");
            let depth = depth + 2;
            text.lines().for_each(|line| out.push_str(&format!("{:depth$}{line}\n", "")));
        }
        other => out.push_str(&format!(" {}\n", scalar(other))),
    }
}

/// PEM: several lines, each with something on it that does not begin or end with a blank, and one line break at the end.
fn is_block(text: &str) -> bool {
    let plain = |line: &str| !line.is_empty() && line.trim() == line && !line.chars().any(is_deceptive);
    text.ends_with('\n') && !text.contains('\r') && text.lines().count() > 1 && text.lines().all(plain)
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_bare(text) => text.clone(),
        Value::String(text) => quoted(text),
        Value::Object(_) => "{}".to_owned(),
        Value::Array(_) => "[]".to_owned(),
        other => other.to_string(),
    }
}

fn key(name: &str) -> String {
    if is_bare(name) { name.to_owned() } else { quoted(name) }
}

/// Letters first, then nothing that means something in YAML, and no word that YAML 1.1 reads as a boolean or null.
fn is_bare(text: &str) -> bool {
    const WORDS: &[&str] = &["y", "n", "yes", "no", "true", "false", "on", "off", "null"];
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/'))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

/// As in JSON, but what hides or turns text is escaped, above U+FFFF as YAML writes it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if is_deceptive(c) && u32::from(c) > 0xffff => out.push_str(&format!("\\U{:08x}", u32::from(c))),
            c if is_deceptive(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_reads_as_its_json_does() {
        let value = serde_json::json!({
            "items": [{"id": "crt_01", "names": ["a.example", "*.b"], "none": null, "deep": {"x": [[1, 2], []], "y": {}}}],
            "pem": "-----BEGIN X-----\nMAA=\n-----END X-----\n", "time": "2026-11-30T00:00:00Z", "no": "yes", "n": 3,
            "sign": "a: b #c", "odd": " \u{202e}\u{e0041}\"\\\n", "empty": "",
        });
        let expected = concat!(
            "items:\n  - deep:\n      x:\n        -\n          - 1\n          - 2\n        - []\n      \"y\": {}\n",
            "    id: crt_01\n    names:\n      - a.example\n      - \"*.b\"\n    none: null\n",
            "\"n\": 3\n\"no\": \"yes\"\nodd: \" \\u202e\\U000e0041\\\"\\\\\\n\"\npem: |\n  -----BEGIN X-----\n  MAA=\n  -----END X-----\n",
            "sign: \"a: b #c\"\ntime: \"2026-11-30T00:00:00Z\"\n",
        );
        let printed = text(&value);
        assert!(printed.contains("empty: \"\"\n"), "{printed}");
        assert_eq!(printed.replace("empty: \"\"\n", ""), expected);
        assert_eq!(text(&serde_json::json!([])), "[]\n");
    }
}
