//! A strict JSON reader for what ACME clients send: one value and nothing after it, no member twice at any level,
//! bounded depth, no U+0000. serde_json takes the last of two equal members silently, and two readers that
//! disagree about which one counts are how signatures are worn by other people's requests.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::model::text::is_deceptive;

/// Deep enough for every message of RFC 8555, far from any stack.
const MAX_DEPTH: usize = 16;

/// `what` names the place for the sentence that refuses.
pub fn parse(bytes: &[u8], what: &str) -> Result<Value> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::malformed(format!("{what} is not UTF-8")))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let refuse = |e: serde_json::Error| Error::malformed(format!("{what} is not acceptable JSON: {}", bounded(&e)));
    let value = Strict(MAX_DEPTH).deserialize(&mut reader).map_err(refuse)?;
    reader.end().map_err(refuse)?;
    Ok(value)
}

/// An object, or malformed.
pub fn parse_object(bytes: &[u8], what: &str) -> Result<Map<String, Value>> {
    match parse(bytes, what)? {
        Value::Object(members) => Ok(members),
        _ => Err(Error::malformed(format!("{what} must be a JSON object"))),
    }
}

/// A string member; absent is `None`, another type is malformed.
pub fn string<'a>(members: &'a Map<String, Value>, name: &str, what: &str) -> Result<Option<&'a str>> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Error::malformed(format!("member \"{name}\" of {what} must be a string"))),
    }
}

/// A boolean member; absent is `false`, another type is malformed.
pub fn flag(members: &Map<String, Value>, name: &str, what: &str) -> Result<bool> {
    match members.get(name) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err(Error::malformed(format!("member \"{name}\" of {what} must be true or false"))),
    }
}

fn bounded(error: &serde_json::Error) -> String {
    error.to_string().chars().filter(|c| !is_deceptive(*c)).take(120).collect()
}

/// Carries how many levels are left.
struct Strict(usize);

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Value, E> {
        no_nul(v)?;
        Ok(Value::String(v.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let below = self.0.checked_sub(1).ok_or_else(|| A::Error::custom("it is nested too deeply"))?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Strict(below))? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let below = self.0.checked_sub(1).ok_or_else(|| A::Error::custom("it is nested too deeply"))?;
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            no_nul(&name)?;
            let value = map.next_value_seed(Strict(below))?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member stands there twice"));
            }
        }
        Ok(Value::Object(members))
    }
}

fn no_nul<E: serde::de::Error>(text: &str) -> Result<(), E> {
    if text.contains('\0') { Err(E::custom("it holds U+0000")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_one_object_and_nothing_after_it() {
        assert!(parse_object(br#" {"a":{"b":[1,true,null,"x"]}} "#, "t").is_ok());
        for bad in [
            &b"{} {}"[..],
            b"{}x",
            b"",
            b"[]",
            b"\xef\xbb\xbf{}",
            b"{\"a\":1,\"a\":1}",
            b"{\"x\":{\"a\":1,\"\\u0061\":2}}",
            b"{\"a\":\"\\u0000\"}",
            b"{\"\\u0000\":1}",
            b"\xff",
            b"{\"a\":[[{\"b\":1,\"b\":1}]]}",
        ] {
            assert!(parse_object(bad, "t").is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn depth_is_bounded() {
        for n in [17, 10_000, 100_000] {
            let text = format!("{}{}", "[".repeat(n), "]".repeat(n));
            assert!(parse(text.as_bytes(), "t").is_err(), "{n}");
        }
        let text = format!("{}{}", "[".repeat(16), "]".repeat(16));
        assert!(parse(text.as_bytes(), "t").is_ok());
    }
}
