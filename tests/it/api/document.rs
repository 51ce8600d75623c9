//! The OpenAPI document: the committed one is the served one, and it says enough for a client to be made of it
//! (reference/operators.md §3.2).

use std::collections::HashSet;

use chancery::api::document;
use serde_json::Value;

use super::examples;

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/chancery.json");

/// `CHANCERY_WRITE_OPENAPI=1 cargo test --test it openapi` writes the committed document anew. A new operation needs
/// its call in `examples.rs`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_committed_openapi_document_is_what_is_served_with_executed_examples() {
    let committed = std::fs::read_to_string(COMMITTED).unwrap();
    let mut made = serde_json::to_value(document()).unwrap();
    let missing = examples::execute(&mut made).await;
    let old = serde_json::from_str(&committed).unwrap_or_default();
    examples::keep(&mut made, &old);
    let text = format!("{made:#}\n");
    if std::env::var_os("CHANCERY_WRITE_OPENAPI").is_some() {
        std::fs::write(COMMITTED, &text).unwrap();
    } else {
        assert!(committed == text, "run CHANCERY_WRITE_OPENAPI=1 cargo test --test it openapi");
    }
    assert_eq!(missing, Vec::<String>::new(), "operations without a call in tests/it/api/examples.rs");
}

#[test]
fn the_openapi_document_in_the_binary_is_the_committed_one() {
    assert!(std::fs::read_to_string(COMMITTED).unwrap() == chancery::api::COMMITTED, "build again");
}

fn served() -> Value {
    serde_json::to_value(document()).unwrap()
}

/// (method and path, operation) of every operation.
pub fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    found
}

#[test]
fn every_openapi_operation_can_be_made_into_a_client() {
    let document = served();
    assert_eq!(document["openapi"], "3.1.0");
    let tags: HashSet<&str> =
        document["tags"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert!(document["tags"].as_array().unwrap().iter().all(|t| !t["description"].as_str().unwrap().is_empty()));
    let (mut ids, mut wrong) = (HashSet::new(), Vec::new());
    for (method, path, operation) in operations(&document) {
        let mut must = |holds: bool, what: &str| {
            if !holds {
                wrong.push(format!("{method} {path}: {what}"));
            }
        };
        let id = operation["operationId"].as_str().unwrap().to_owned();
        must(
            id.chars().all(char::is_alphanumeric) && id.starts_with(char::is_lowercase),
            "an operationId of verb and noun",
        );
        must(ids.insert(id), "an operationId of its own");
        let summary = operation["summary"].as_str().unwrap_or_default();
        must(!summary.is_empty() && summary.len() <= 60, "a summary of at most 60 characters");
        let of = operation["tags"].as_array().unwrap();
        must(of.len() == 1 && tags.contains(of[0].as_str().unwrap()), "one tag that is described");
        must(operation["security"].as_array().is_some_and(|s| !s.is_empty()), "its security");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            must(!parameter["description"].as_str().unwrap_or_default().is_empty(), &format!("what {name} means"));
        }
        let refers = |content: &Value| {
            content["schema"]["$ref"].as_str().is_some_and(|r| r.starts_with("#/components/schemas/"))
        };
        if !operation["requestBody"].is_null() {
            must(refers(&operation["requestBody"]["content"]["application/json"]), "a body with a named shape");
            for status in ["400", "408", "413", "415", "422"] {
                must(!operation["responses"][status].is_null(), &format!("its answer {status}"));
            }
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            must(!response["description"].as_str().unwrap_or_default().is_empty(), &format!("what {status} means"));
            if status.starts_with(['4', '5']) {
                must(
                    response["content"]["application/problem+json"]["schema"]["$ref"]
                        == "#/components/schemas/Problem",
                    &format!("a problem for {status}"),
                );
            } else if status != "304" {
                let json = &response["content"]["application/json"];
                must(json.is_null() || refers(json), &format!("a named shape for {status}"));
            }
        }
        for status in ["400", "401", "403", "503"] {
            must(!operation["responses"][status].is_null(), &format!("its answer {status}"));
        }
        must(!path.contains('{') || !operation["responses"]["404"].is_null(), "its answer 404");
    }
    assert!(wrong.is_empty(), "missing:\n{}", wrong.join("\n"));
    assert!(ids.len() >= 18);
}

#[test]
fn every_reference_of_the_openapi_document_leads_to_a_shape() {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| match value.as_str() {
                Some(target) if key == "$ref" => found.push(target.trim_start_matches('#').to_owned()),
                _ => walk(value, found),
            }),
            Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
            _ => {}
        }
    }
    let value = served();
    let mut found = Vec::new();
    walk(&value, &mut found);
    assert!(!found.is_empty());
    for target in found {
        assert!(value.pointer(&target).is_some(), "{target}");
    }
}
