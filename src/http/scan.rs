//! One pass over JSON text before serde reads it: depth at most 64, no key twice, no U+0000 in any string, each
//! refusal with its JSON pointer (RFC 6901). It judges no grammar: what is not JSON is serde's to refuse.

use std::collections::HashSet;

use crate::error::{Error, ErrorKind, Subproblem};
use crate::model::text::is_deceptive;

pub const MAX_DEPTH: usize = 64;

/// An error with one part that points into the body.
pub fn pointed(kind: ErrorKind, pointer: String, detail: impl Into<String>) -> Error {
    let detail = detail.into();
    let place = if pointer.is_empty() { "the body".to_owned() } else { pointer.clone() };
    Error::new(kind, format!("{place}: {detail}")).with_subproblems(vec![Subproblem {
        kind,
        detail,
        identifier: None,
        pointer: Some(pointer),
        rule: None,
    }])
}

/// Refuses what serde would let pass.
pub fn check(text: &[u8]) -> Result<(), Error> {
    walk(text, usize::MAX).map(drop)
}

/// The pointer to the value or key at a byte of the text.
pub fn pointer_at(text: &[u8], offset: usize) -> String {
    walk(text, offset).unwrap_or_default()
}

enum Frame {
    Object { seen: HashSet<String>, key: Option<String>, in_value: bool },
    Array { index: usize },
}

fn walk(text: &[u8], stop: usize) -> Result<String, Error> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut at = 0;
    while at < text.len() && at < stop {
        match text[at] {
            b'{' => frames.push(Frame::Object { seen: HashSet::new(), key: None, in_value: false }),
            b'[' => frames.push(Frame::Array { index: 0 }),
            b'}' | b']' => drop(frames.pop()),
            b':' => {
                if let Some(Frame::Object { in_value, .. }) = frames.last_mut() {
                    *in_value = true;
                }
            }
            b',' => match frames.last_mut() {
                Some(Frame::Array { index }) => *index += 1,
                Some(Frame::Object { key, in_value, .. }) => (*key, *in_value) = (None, false),
                None => {}
            },
            b'"' => {
                let end = string_end(text, at);
                string(text.get(at..end).unwrap_or_default(), &mut frames)?;
                at = end;
                continue;
            }
            _ => {}
        }
        if frames.len() > MAX_DEPTH {
            let detail = format!("it is nested more than {MAX_DEPTH} levels deep");
            return Err(pointed(ErrorKind::Malformed, String::new(), detail));
        }
        at += 1;
    }
    Ok(pointer(&frames))
}

/// One past the closing quote, or the end of the text.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < text.len() {
        match text[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

fn string(token: &[u8], frames: &mut [Frame]) -> Result<(), Error> {
    // a string that does not parse is refused by serde afterwards
    let Ok(value) = serde_json::from_slice::<String>(token) else { return Ok(()) };
    let nul = value.contains('\0');
    if let Some(Frame::Object { seen, key, in_value: false }) = frames.last_mut() {
        *key = Some(value.clone());
        if !seen.insert(value) {
            return Err(pointed(ErrorKind::Malformed, pointer(frames), "this member stands there twice"));
        }
    }
    if nul {
        return Err(pointed(ErrorKind::Malformed, pointer(frames), "U+0000 is not allowed in any text"));
    }
    Ok(())
}

fn pointer(frames: &[Frame]) -> String {
    let mut path = String::new();
    for frame in frames {
        match frame {
            Frame::Array { index } => path.push_str(&format!("/{index}")),
            Frame::Object { key: Some(key), .. } => {
                let shown: String = key.chars().filter(|c| !is_deceptive(*c)).take(60).collect();
                path.push('/');
                path.push_str(&shown.replace('~', "~0").replace('/', "~1"));
            }
            Frame::Object { key: None, .. } => {}
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer_of(text: &str) -> Option<String> {
        check(text.as_bytes()).err().and_then(|e| e.subproblems[0].pointer.clone())
    }

    #[test]
    fn a_key_given_twice_is_refused_also_when_escaped() {
        assert_eq!(pointer_of(r#"{"a":{"b":1,"\u0062":2}}"#).as_deref(), Some("/a/b"));
        assert_eq!(pointer_of(r#"{"a":{"b":1},"c":[{"b":2},{"b":3}]}"#), None);
    }

    #[test]
    fn u0000_is_refused_in_values_and_keys() {
        assert_eq!(pointer_of(r#"{"names":["a","b\u0000"]}"#).as_deref(), Some("/names/1"));
        assert_eq!(pointer_of(r#"{"x\u0000":1}"#).as_deref(), Some("/x"));
        assert_eq!(pointer_of(r#"{"x":"\\u0000"}"#), None);
    }

    #[test]
    fn depth_ends_at_64() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(check(nested(64).as_bytes()).is_ok());
        assert!(check(nested(65).as_bytes()).is_err());
        assert!(check(nested(10_000).as_bytes()).is_err());
    }

    #[test]
    fn a_truncated_text_does_not_disturb_it() {
        for text in ["", "{", "\"", "\"\\", "{\"a\":\"", "]]}}", "{\"a\\"] {
            assert!(check(text.as_bytes()).is_ok());
        }
    }
}
