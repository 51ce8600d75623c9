//! ACME directories: what each offers and requires.

use axum::Json as Reply;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{Api, refused};
use crate::access::{Caller, Permission};
use crate::api::document::{Problems, WriteProblems};
use crate::error::{Error, ErrorKind, Result};
use crate::http::extract::Json;
use crate::model::identifier::shown;
use crate::registration::{self, DirectoryConfig};
use crate::wire::acme::{Directory, DirectoryRequest, DirectoryRules};
use crate::wire::page::Page;

/// List ACME directories
#[utoipa::path(get, path = "/api/v1/acme/directories", operation_id = "listDirectories", tag = "acme",
    responses((status = 200, description = "All directories", body = Page<Directory>), Problems))]
pub async fn list(caller: Caller, State(api): State<Api>) -> Result<Reply<Page<Directory>>> {
    caller.may(Permission::ReadHierarchy)?;
    let items = api.registration.all_directories().iter().map(shape).collect();
    Ok(Reply(Page { items, next_cursor: None }))
}

/// Get an ACME directory
#[utoipa::path(get, path = "/api/v1/acme/directories/{slug}", operation_id = "getDirectory", tag = "acme",
    params(("slug" = String, Path, description = "Its slug")),
    responses((status = 200, description = "The directory", body = Directory), Problems))]
pub async fn get(caller: Caller, State(api): State<Api>, Path(slug): Path<String>) -> Result<Reply<Directory>> {
    caller.may(Permission::ReadHierarchy)?;
    found(&api, &slug).map(|directory| Reply(shape(&directory)))
}

/// Create an ACME directory
#[utoipa::path(post, path = "/api/v1/acme/directories", operation_id = "createDirectory", tag = "acme",
    request_body = DirectoryRequest,
    responses((status = 201, description = "The directory", body = Directory), WriteProblems))]
pub async fn create(
    caller: Caller,
    State(api): State<Api>,
    Json { value: asked, .. }: Json<DirectoryRequest>,
) -> Result<Response> {
    allowed(&api, &caller, "").await?;
    let default = DirectoryConfig::default();
    let config = DirectoryConfig {
        profiles: asked.profiles.unwrap_or(default.profiles),
        challenges: asked.challenges.unwrap_or(default.challenges),
        external_account_required: asked.external_account_required.unwrap_or(false),
        resolvers: resolvers(&asked.resolvers.unwrap_or_default())?,
        terms_of_service: asked.terms_of_service,
        website: asked.website,
    };
    let made = api.registration.create_directory(caller.actor(), &asked.slug, config).await?;
    let location = [(header::LOCATION, format!("/api/v1/acme/directories/{}", made.slug))];
    Ok((StatusCode::CREATED, location, Reply(shape(&made))).into_response())
}

/// Replace what an ACME directory offers
#[utoipa::path(put, path = "/api/v1/acme/directories/{slug}", operation_id = "putDirectory", tag = "acme",
    params(("slug" = String, Path, description = "Its slug")),
    request_body = DirectoryRules,
    responses((status = 200, description = "The directory as it is now", body = Directory), WriteProblems))]
pub async fn put(
    caller: Caller,
    State(api): State<Api>,
    Path(slug): Path<String>,
    Json { value: asked, .. }: Json<DirectoryRules>,
) -> Result<Reply<Directory>> {
    let before = found(&api, &slug)?;
    allowed(&api, &caller, &format!("directory:{}", before.slug)).await?;
    let config = DirectoryConfig {
        profiles: asked.profiles,
        challenges: asked.challenges,
        external_account_required: asked.external_account_required,
        resolvers: resolvers(&asked.resolvers)?,
        terms_of_service: asked.terms_of_service,
        website: asked.website,
    };
    let changed = api.registration.change_directory(caller.actor(), &before.slug, config).await?;
    Ok(Reply(shape(&changed)))
}

async fn allowed(api: &Api, caller: &Caller, object: &str) -> Result<()> {
    refused(api, caller, "directory.refused", object, caller.may(Permission::ManageDirectories)).await
}

fn found(api: &Api, slug: &str) -> Result<registration::Directory> {
    let found = api.registration.directory(slug);
    found.map_err(|_| Error::not_found(format!("ACME directory \"{}\"", shown(slug))))
}

fn resolvers(texts: &[String]) -> Result<Vec<std::net::SocketAddr>> {
    let parse = |text: &String| {
        text.parse().map_err(|_| {
            Error::refused(
                ErrorKind::Unprocessable,
                "directory.resolvers",
                format!("\"{}\"", shown(text)),
                "an address with a port, such as 10.0.0.53:53 or [fd00::53]:53",
                "write the server so",
            )
        })
    };
    texts.iter().map(parse).collect()
}

fn shape(directory: &registration::Directory) -> Directory {
    let config = &directory.config;
    Directory {
        slug: directory.slug.clone(),
        profiles: config.profiles.clone(),
        challenges: config.challenges.clone(),
        external_account_required: config.external_account_required,
        resolvers: config.resolvers.iter().map(ToString::to_string).collect(),
        terms_of_service: config.terms_of_service.clone(),
        website: config.website.clone(),
    }
}
