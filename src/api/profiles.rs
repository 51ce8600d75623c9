//! Profiles: created, replaced and patched by an administrator without bounds, on the revision that was read.

use axum::Json as Reply;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::hierarchy::profile_shape;
use super::{Api, refused};
use crate::access::{Caller, Permission};
use crate::api::document::{Problems, WriteProblems};
use crate::error::{Error, ErrorKind, Result};
use crate::http::extract::Json;
use crate::model::identifier::shown;
use crate::model::text::is_deceptive;
use crate::pki::profile::ProfileConfig;
use crate::wire::hierarchy::Profile;
use crate::wire::page::Page;
use crate::wire::problem::Problem;
use crate::wire::profiles::{ProfilePatch, ProfileRevision, ProfileRules};

/// Create a profile
#[utoipa::path(post, path = "/api/v1/profiles", operation_id = "createProfile", tag = "profiles",
    request_body = ProfileRules,
    responses((status = 201, description = "The profile", body = Profile), WriteProblems))]
pub async fn create(
    caller: Caller,
    State(api): State<Api>,
    Json { value: asked, .. }: Json<ProfileRules>,
) -> Result<Response> {
    allowed(&api, &caller, "").await?;
    let config = config(&asked)?;
    let outcome = api.authority.create_profile(caller.actor(), &config).await;
    refused(&api, &caller, "profile.refused", "", outcome).await?;
    let location = [(header::LOCATION, format!("/api/v1/profiles/{}", config.name))];
    Ok((StatusCode::CREATED, location, shown_profile(&api, &config.name)?).into_response())
}

/// Replace a profile
#[utoipa::path(put, path = "/api/v1/profiles/{profile}", operation_id = "putProfile", tag = "profiles",
    params(("profile" = String, Path, description = "Its slug"),
        ("If-Match" = String, Header, description = "The ETag of the revision that was read, or *")),
    request_body = ProfileRules,
    responses((status = 200, description = "The profile as it is now", body = Profile),
        (status = 412, description = "It was changed meanwhile", body = Problem, content_type = "application/problem+json"), WriteProblems))]
pub async fn put(
    caller: Caller,
    State(api): State<Api>,
    Path(slug): Path<String>,
    headers: HeaderMap,
    Json { value: asked, .. }: Json<ProfileRules>,
) -> Result<Response> {
    allowed(&api, &caller, &slug).await?;
    let expected = if_match(&headers)?;
    change(&api, &caller, &slug, expected, &config(&asked)?).await
}

/// Change some rules of a profile
#[utoipa::path(patch, path = "/api/v1/profiles/{profile}", operation_id = "patchProfile", tag = "profiles",
    params(("profile" = String, Path, description = "Its slug"),
        ("If-Match" = String, Header, description = "The ETag of the revision that was read, or *")),
    request_body = ProfilePatch,
    responses((status = 200, description = "The profile as it is now", body = Profile),
        (status = 412, description = "It was changed meanwhile", body = Problem, content_type = "application/problem+json"), WriteProblems))]
pub async fn patch(
    caller: Caller,
    State(api): State<Api>,
    Path(slug): Path<String>,
    headers: HeaderMap,
    Json { value: ProfilePatch(patch), .. }: Json<ProfilePatch>,
) -> Result<Response> {
    allowed(&api, &caller, &slug).await?;
    let expected = if_match(&headers)?;
    let snapshot = api.authority.snapshot();
    let loaded = snapshot.profiles.get(&slug).ok_or_else(|| missing(&slug))?;
    let mut rules =
        serde_json::to_value(&loaded.config).map_err(|e| Error::internal("a profile does not serialise", e))?;
    merge(&mut rules, patch);
    // what the patch was made on, even when the caller takes any revision
    let expected = Some(expected.unwrap_or(loaded.revision));
    change(&api, &caller, &slug, expected, &parse(rules)?).await
}

/// List the revisions of a profile
#[utoipa::path(get, path = "/api/v1/profiles/{profile}/revisions", operation_id = "listProfileRevisions", tag = "profiles",
    params(("profile" = String, Path, description = "Its slug")),
    responses((status = 200, description = "All revisions, newest first", body = Page<ProfileRevision>), Problems))]
pub async fn revisions(
    caller: Caller,
    State(api): State<Api>,
    Path(slug): Path<String>,
) -> Result<Reply<Page<ProfileRevision>>> {
    caller.may(Permission::ReadHierarchy)?;
    if !caller.sees_profile(&slug) {
        return Err(missing(&slug));
    }
    let rows = api.authority.profile_revisions(&slug).await?;
    let items = rows.into_iter().map(|row| ProfileRevision {
        revision: row.revision,
        actor: row.actor,
        created_at: row.created_at,
        rules: serde_json::from_str(&row.config).unwrap_or_default(),
    });
    Ok(Reply(Page { items: items.collect(), next_cursor: None }))
}

async fn allowed(api: &Api, caller: &Caller, slug: &str) -> Result<()> {
    let object = if slug.is_empty() { String::new() } else { format!("profile:{}", shown(slug)) };
    refused(api, caller, "profile.refused", &object, caller.may_manage_profiles()).await
}

async fn change(
    api: &Api,
    caller: &Caller,
    slug: &str,
    expected: Option<i64>,
    config: &ProfileConfig,
) -> Result<Response> {
    api.authority.change_profile(caller.actor(), slug, expected, config).await?;
    shown_profile(api, slug)
}

/// With its ETag, which a change sends back as If-Match.
pub fn shown_profile(api: &Api, slug: &str) -> Result<Response> {
    let snapshot = api.authority.snapshot();
    let loaded = snapshot.profiles.get(slug).ok_or_else(|| missing(slug))?;
    let mut response = Reply(profile_shape(slug, loaded)?).into_response();
    let tag = HeaderValue::from_str(&format!("\"{}\"", loaded.revision));
    response.headers_mut().insert(header::ETAG, tag.map_err(|e| Error::internal("a revision is no header", e))?);
    Ok(response)
}

/// `"3"` or `*`; without it nobody knows on what the change was made.
fn if_match(headers: &HeaderMap) -> Result<Option<i64>> {
    let text = headers.get(header::IF_MATCH).and_then(|v| v.to_str().ok()).map(str::trim);
    let number = |text: &str| text.strip_prefix('"')?.strip_suffix('"')?.parse().ok();
    match text {
        Some("*") => Ok(None),
        Some(text) if number(text).is_some() => Ok(number(text)),
        other => Err(Error::refused(
            ErrorKind::Malformed,
            "profile.if_match",
            other.map_or_else(|| "no If-Match".to_owned(), |t| format!("\"{}\"", shown(t))),
            "the ETag of the profile as it was read, such as \"3\", or *",
            "read the profile, and send its ETag as If-Match",
        )
        .explained(format!(
            "{}; it must be the ETag of the profile as it was read, such as \"3\", or *",
            other.map_or_else(
                || "the request has no If-Match".to_owned(),
                |t| format!("If-Match is \"{}\"", shown(t))
            )
        ))),
    }
}

fn config(rules: &ProfileRules) -> Result<ProfileConfig> {
    parse(serde_json::to_value(rules).map_err(|e| Error::internal("rules do not serialise", e))?)
}

/// What serde says names the member and what is allowed there.
fn parse(rules: Value) -> Result<ProfileConfig> {
    serde_json::from_value(rules).map_err(|e| {
        let why: String = e.to_string().chars().filter(|c| !is_deceptive(*c)).take(300).collect();
        Error::new(ErrorKind::Unprocessable, format!("these are no rules of a profile: {why}"))
    })
}

/// RFC 7396 §2.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(members) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            members.remove(&name);
        } else {
            merge(members.entry(name).or_insert(Value::Null), value);
        }
    }
}

fn missing(slug: &str) -> Error {
    Error::not_found(format!("profile \"{}\"", shown(slug)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_merge_patch_is_that_of_rfc_7396() {
        for (target, patch, expected) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut merged = target;
            merge(&mut merged, patch);
            assert_eq!(merged, expected);
        }
    }
}
