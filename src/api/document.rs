//! The OpenAPI 3.1 document: made from the routes, and committed as `openapi/chancery.json` with examples that a
//! test executes. What is committed is what is served; the test compares it with what the routes say.

use std::collections::BTreeMap;

use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr};
use utoipa::{IntoResponses, Modify};

use super::nullable;
use crate::http::problem::MEDIA_TYPE;
use crate::wire::problem::{Problem, ProblemPart};

/// As it is served: what `document` says, with an executed example of every operation.
pub const COMMITTED: &str = include_str!("../../openapi/chancery.json");

/// The whole document without its examples; each operation states its security.
pub fn document() -> OpenApi {
    let mut whole = super::routes().into_openapi();
    let bearer = SecurityRequirement::new("bearer", Vec::<String>::new());
    for item in whole.paths.paths.values_mut() {
        let methods = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in methods.into_iter().flatten() {
            operation.security.get_or_insert_with(|| vec![bearer.clone()]);
        }
    }
    nullable::in_requests(&mut whole);
    whole
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
                       Requests with unknown members are refused. Answers give times as RFC 3339 in UTC and whole seconds. Requests may write a time as RFC 3339 with \
                       any offset and fraction (cut off), or as a date (00:00 UTC), and a duration as 90d, 12h, 1h30m, 30s or \
                       ISO 8601; where a duration is asked for, a time means until then.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
        contact(name = "Chancery")
    ),
    servers((url = "/", description = "This server")),
    components(schemas(Problem, ProblemPart)),
    modifiers(&Bearer),
    security(("bearer" = [])),
    tags(
        (name = "certificates", description = "Issue, sign, find and revoke certificates."),
        (name = "renewal-windows", description = "When certificates should be renewed."),
        (name = "issuers", description = "Certification authorities."),
        (name = "profiles", description = "Issuance rules."),
        (name = "domains", description = "Trust domains and their roots."),
        (name = "tokens", description = "Credentials for scripts."),
        (name = "grants", description = "Bounds of tokens and EAB keys."),
        (name = "acme", description = "ACME directories and external account keys."),
        (name = "audit-events", description = "Every change and every refusal."),
        (name = "system", description = "The CA's own health.")
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
