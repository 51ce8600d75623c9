//! /api/v1/openapi.json, and /api/docs: the document as one page that needs no script and no network.

use std::sync::OnceLock;

use askama::Template;
use axum::Router;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;

use super::Api;
use super::document::COMMITTED;
use crate::error::{Error, Result};
use crate::http::html::{self, Span};

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/api/v1/openapi.json", get(json)).route("/api/docs", get(read))
}

/// Made once: the route asks for no credential, so it may not cost much.
static HTML: OnceLock<String> = OnceLock::new();

async fn json() -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=300")];
    (headers, COMMITTED).into_response()
}

async fn read() -> Result<Response> {
    let html = once(&HTML, || {
        let value: Value =
            serde_json::from_str(COMMITTED).map_err(|e| Error::internal("the document is not JSON", e))?;
        Docs::of(&value).render().map_err(|e| Error::internal("a page could not be rendered", e))
    })?;
    let mut response = Html(html).into_response();
    html::headers(response.headers_mut());
    Ok(response)
}

fn once(cell: &'static OnceLock<String>, make: impl FnOnce() -> Result<String>) -> Result<&'static str> {
    if let Some(text) = cell.get() {
        return Ok(text);
    }
    let made = make()?;
    Ok(cell.get_or_init(|| made))
}

#[derive(Template)]
#[template(path = "api_docs.html")]
struct Docs {
    introduction: Vec<Span>,
    tags: Vec<Tag>,
    schemas: Vec<Schema>,
}

struct Tag {
    name: String,
    description: Vec<Span>,
    operations: Vec<Operation>,
}

struct Operation {
    id: String,
    method: String,
    path: String,
    summary: String,
    description: Vec<Span>,
    parameters: Vec<Field>,
    body: Option<String>,
    answers: Vec<Answer>,
    /// Requests and answers that a test executes.
    examples: Vec<Example>,
}

struct Example {
    key: String,
    call: String,
    curl: Option<String>,
    request: Option<String>,
    status: String,
    answer: String,
}

struct Field {
    name: String,
    place: String,
    /// The shape that its value has.
    shape: Option<String>,
    description: Vec<Span>,
}

struct Answer {
    status: String,
    description: Vec<Span>,
    schema: Option<String>,
}

struct Schema {
    name: String,
    description: Vec<Span>,
    fields: Vec<Field>,
}

impl Docs {
    fn of(document: &Value) -> Self {
        let tags = list(&document["tags"]).iter().map(|tag| Tag {
            name: text(&tag["name"]),
            description: spans(&tag["description"]),
            operations: operations(document, &text(&tag["name"])),
        });
        let schemas = entries(&document["components"]["schemas"]).into_iter().map(|(name, schema)| Schema {
            name: name.clone(),
            description: spans(&schema["description"]),
            fields: fields(schema),
        });
        let introduction = spans(&document["info"]["description"]);
        Docs { introduction, tags: tags.collect(), schemas: schemas.collect() }
    }
}

fn operations(document: &Value, tag: &str) -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, item) in entries(&document["paths"]) {
        for (method, operation) in entries(item) {
            if list(&operation["tags"]).iter().any(|t| t == tag) {
                found.push(Operation::of(method, path, operation));
            }
        }
    }
    found
}

impl Operation {
    fn of(method: &str, path: &str, operation: &Value) -> Self {
        let parameters = list(&operation["parameters"]).iter().map(|parameter| Field {
            name: text(&parameter["name"]),
            place: text(&parameter["in"]),
            shape: None,
            description: spans(&parameter["description"]),
        });
        let answers = entries(&operation["responses"]).into_iter().map(|(status, response)| Answer {
            status: status.clone(),
            description: spans(&response["description"]),
            schema: schema_of(response),
        });
        Operation {
            id: text(&operation["operationId"]),
            method: method.to_uppercase(),
            path: path.to_owned(),
            summary: text(&operation["summary"]),
            description: spans(&operation["description"]),
            parameters: parameters.collect(),
            body: schema_of(&operation["requestBody"]),
            answers: answers.collect(),
            examples: examples(operation),
        }
    }
}

/// Each example stands under one key in the body of its request and in its answer.
fn examples(operation: &Value) -> Vec<Example> {
    let mut found = Vec::new();
    for (status, response) in entries(&operation["responses"]) {
        for (key, example) in entries(&response["content"]).into_iter().flat_map(|(_, c)| entries(&c["examples"])) {
            let request = operation["requestBody"]["content"]["application/json"]["examples"][key].get("value");
            let call = text(&example["summary"]);
            found.push(Example {
                key: key.clone(),
                curl: curl(&call, request),
                call,
                request: request.map(pretty),
                status: status.clone(),
                answer: pretty(&example["value"]),
            });
        }
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    found
}

/// The call as a line for a terminal; none where its body is too long to be typed.
fn curl(call: &str, request: Option<&Value>) -> Option<String> {
    let (method, path) = call.split_once(' ')?;
    let mut line = "curl --cacert root.pem -H \"Authorization: Bearer $(cat token)\"".to_owned();
    match (method, request.map(Value::to_string)) {
        ("GET", None) => {}
        (_, Some(body)) if body.len() > 300 => return None,
        (_, Some(body)) => {
            let body = body.replace('\'', "'\\''");
            line.push_str(&format!(" \\\n  -H 'Content-Type: application/json' -d '{body}'"));
        }
        (method, None) => line.push_str(&format!(" -X {method}")),
    }
    Some(format!("{line} \\\n  'https://ca.example:8443{path}'"))
}

/// As people read it: indented, and of PEM the first line.
fn pretty(value: &Value) -> String {
    match shortened(value) {
        Value::String(text) => text,
        other => format!("{other:#}"),
    }
}

fn shortened(value: &Value) -> Value {
    match value {
        Value::String(text) if text.contains("-----BEGIN ") => {
            let mut lines = text.lines();
            let (first, second) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
            let start: String = second.chars().take(20).collect();
            Value::String(format!("{first}\n{start}…\n{}\n", text.lines().last().unwrap_or_default()))
        }
        Value::Array(items) => items.iter().map(shortened).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), shortened(value))).collect(),
        other => other.clone(),
    }
}

/// The name of the shape that a body or an answer has.
fn schema_of(holder: &Value) -> Option<String> {
    entries(&holder["content"]).into_iter().find_map(|(_, content)| shape(&content["schema"]))
}

fn shape(schema: &Value) -> Option<String> {
    schema["$ref"].as_str().and_then(|r| r.rsplit('/').next()).map(str::to_owned)
}

fn fields(schema: &Value) -> Vec<Field> {
    let required: Vec<_> = list(&schema["required"]).iter().filter_map(Value::as_str).collect();
    let field = |(name, field): (&String, &Value)| {
        let of = list(&field["oneOf"]).iter().find_map(shape);
        Field {
            place: format!("{}{}", kind(field), if required.contains(&name.as_str()) { ", always" } else { "" }),
            shape: shape(field).or_else(|| shape(&field["items"])).or(of),
            name: name.clone(),
            description: spans(&field["description"]),
        }
    };
    entries(&schema["properties"]).into_iter().map(field).collect()
}

fn kind(field: &Value) -> String {
    match &field["type"] {
        Value::String(one) => one.clone(),
        Value::Array(several) => several.iter().map(text).collect::<Vec<_>>().join(" or "),
        _ => "object".to_owned(),
    }
}

fn spans(value: &Value) -> Vec<Span> {
    html::spans(value.as_str().unwrap_or_default())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn entries(value: &Value) -> Vec<(&String, &Value)> {
    value.as_object().map(|map| map.iter().collect()).unwrap_or_default()
}
