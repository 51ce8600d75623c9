//! The OpenAPI 3.1 document: made from the routes, served, and committed as `openapi/chancery.json`.

use std::collections::BTreeMap;

use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr};
use utoipa::{IntoResponses, Modify};

use crate::http::problem::MEDIA_TYPE;
use crate::wire::problem::{Problem, ProblemPart};

/// The whole document.
pub fn document() -> OpenApi {
    super::routes().into_openapi()
}

/// What no route says: title, licence, tags, security, the shared problem.
pub(super) fn base() -> OpenApi {
    <Base as utoipa::OpenApi>::openapi()
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Chancery",
        version = "1",
        description = "A private certificate authority. Answers may gain members: ignore what you do not know. \
                       Requests with unknown members are refused. Times are RFC 3339 UTC; durations are 90d, 12h or ISO 8601.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
        contact(name = "Chancery")
    ),
    servers((url = "/", description = "This server")),
    components(schemas(Problem, ProblemPart)),
    modifiers(&Bearer),
    security(("bearer" = [])),
    tags(
        (name = "certificates", description = "Issue, sign, find and revoke certificates."),
        (name = "issuers", description = "Certification authorities."),
        (name = "profiles", description = "Issuance rules."),
        (name = "domains", description = "Trust domains and their roots."),
        (name = "tokens", description = "Credentials for scripts."),
        (name = "audit-events", description = "Every change and every refusal.")
    )
)]
struct Base;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("chy_…").build();
        openapi.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The failures of a read.
pub(super) struct Problems;

/// The failures of a change.
pub(super) struct WriteProblems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let all = [
            ("400", "A parameter cannot be parsed"),
            ("401", "No good credential"),
            ("403", "The role or the scope does not allow it"),
            ("404", "No such thing, or not for this caller"),
            ("406", "No such representation"),
            ("422", "A value is out of its range"),
            ("503", "Out of reach for now"),
        ];
        all.into_iter().map(problem).collect()
    }
}

impl IntoResponses for WriteProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let more = [
            ("408", "The body came too slowly"),
            ("409", "Its state forbids it, or the same Idempotency-Key is in flight"),
            ("413", "Over a limit"),
            ("415", "Not application/json"),
            ("429", "Too many requests"),
        ];
        Problems::responses().into_iter().chain(more.map(problem)).collect()
    }
}

fn problem((status, description): (&str, &str)) -> (String, RefOr<Response>) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response = ResponseBuilder::new().description(description).content(MEDIA_TYPE, content).build();
    (status.to_owned(), response.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::HashSet;

    /// `CHANCERY_WRITE_OPENAPI=1 cargo test openapi` writes the committed document anew.
    #[test]
    fn the_committed_openapi_document_is_what_is_served() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/chancery.json");
        let made = document().to_pretty_json().unwrap() + "\n";
        if std::env::var_os("CHANCERY_WRITE_OPENAPI").is_some() {
            std::fs::write(path, &made).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), made, "run CHANCERY_WRITE_OPENAPI=1 cargo test openapi");
    }

    #[test]
    fn every_openapi_operation_is_named_tagged_and_summed_up() {
        let value = serde_json::to_value(document()).unwrap();
        assert_eq!(value["openapi"], "3.1.0");
        let mut ids = HashSet::new();
        for (path, item) in value["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap().to_owned();
                assert!(id.chars().all(char::is_alphanumeric) && id.starts_with(char::is_lowercase), "{id}");
                assert!(ids.insert(id), "{method} {path}");
                let summary = operation["summary"].as_str().unwrap();
                assert!(!summary.is_empty() && summary.len() <= 60, "{method} {path}");
                assert_eq!(operation["tags"].as_array().unwrap().len(), 1);
                assert!(operation["responses"].get("401").is_some(), "{method} {path}");
            }
        }
        assert!(ids.len() >= 17);
    }

    #[test]
    fn every_reference_leads_to_a_shape() {
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
        let value = serde_json::to_value(document()).unwrap();
        let mut found = Vec::new();
        walk(&value, &mut found);
        assert!(!found.is_empty());
        for target in found {
            assert!(value.pointer(&target).is_some(), "{target}");
        }
    }
}
