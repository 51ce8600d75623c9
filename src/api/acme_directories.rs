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
use crate::model::limits::Limits;
use crate::registration::{self, DirectoryConfig, directories};
use crate::wire::acme::{Directory, DirectoryLimits, DirectoryRequest, DirectoryRules};
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
    let first = First {
        profiles: asked.profiles.clone().unwrap_or(default.profiles),
        challenges: asked.challenges.clone().unwrap_or(default.challenges),
        external_account_required: asked.external_account_required.unwrap_or(false),
        resolvers: asked.resolvers.clone().unwrap_or_default(),
    };
    let config = config!(first, asked);
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
    if let Some(other) = asked.slug.as_ref().filter(|slug| **slug != before.slug) {
        let (value, fix) = (format!("\"{}\"", shown(other)), "make another directory");
        return Err(Error::refused(ErrorKind::Unprocessable, "directory.slug", &value, &before.slug, fix).explained(
            format!("a directory cannot be renamed: it is {}, and the request says {value}", before.slug),
        ));
    }
    let first = First {
        profiles: asked.profiles.clone(),
        challenges: asked.challenges.clone(),
        external_account_required: asked.external_account_required,
        resolvers: asked.resolvers.clone(),
    };
    let config = config!(first, asked);
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

/// The members whose absence means different things to `create` and `put`.
struct First {
    profiles: Vec<String>,
    challenges: Vec<String>,
    external_account_required: bool,
    resolvers: Vec<String>,
}

/// The same members of two shapes.
macro_rules! config {
    ($first:expr, $asked:expr) => {
        DirectoryConfig {
            profiles: $first.profiles,
            challenges: $first.challenges,
            external_account_required: $first.external_account_required,
            resolvers: directories::servers("resolvers", &$first.resolvers)?,
            issuers: $asked.issuers,
            allow_names: directories::names("allow_names", &$asked.allow_names)?,
            deny_names: directories::names("deny_names", &$asked.deny_names)?,
            http01_port: $asked.http01_port,
            tls_alpn01_port: $asked.tls_alpn01_port,
            allow_networks: directories::networks("allow_networks", &$asked.allow_networks)?,
            deny_networks: directories::networks("deny_networks", &$asked.deny_networks)?,
            caa: directories::caa_mode(&$asked.caa)?,
            caa_identities: directories::hosts("caa_identities", &$asked.caa_identities)?,
            pre_authorization: $asked.pre_authorization,
            subdomains: $asked.subdomains,
            reuse_authorizations: $asked.reuse_authorizations,
            limits: limits(&$asked.limits)?,
            terms_of_service: $asked.terms_of_service,
            require_current_terms: $asked.require_current_terms,
            website: $asked.website,
        }
    };
}
use config;

fn limits(asked: &DirectoryLimits) -> Result<Limits> {
    Ok(Limits {
        new_accounts: limit("new_accounts", &asked.new_accounts)?,
        new_orders: limit("new_orders", &asked.new_orders)?,
        new_orders_per_address: limit("new_orders_per_address", &asked.new_orders_per_address)?,
        certificates: limit("certificates", &asked.certificates)?,
        failed_validations: limit("failed_validations", &asked.failed_validations)?,
        open_orders: limit("open_orders", &asked.open_orders)?,
        pause: limit("pause", &asked.pause)?,
    })
}

/// One limit of a directory or of an account, from its text.
pub(super) fn limit<T: std::str::FromStr<Err = Error>>(name: &str, text: &str) -> Result<T> {
    let wrong = |wrong: Error| Error::new(ErrorKind::Unprocessable, format!("limits.{name}: {}", wrong.detail));
    text.parse().map_err(wrong)
}

fn shape(directory: &registration::Directory) -> Directory {
    let config = &directory.config;
    Directory {
        slug: directory.slug.clone(),
        profiles: config.profiles.clone(),
        challenges: config.challenges.clone(),
        external_account_required: config.external_account_required,
        resolvers: texts(&config.resolvers),
        issuers: config.issuers.clone(),
        allow_names: texts(&config.allow_names),
        deny_names: texts(&config.deny_names),
        http01_port: config.http01_port,
        tls_alpn01_port: config.tls_alpn01_port,
        allow_networks: texts(&config.allow_networks),
        deny_networks: texts(&config.deny_networks),
        caa: config.caa.name().to_owned(),
        caa_identities: texts(&config.caa_identities),
        pre_authorization: config.pre_authorization,
        subdomains: config.subdomains,
        reuse_authorizations: config.reuse_authorizations.clone(),
        limits: config.limits.into(),
        terms_of_service: config.terms_of_service.clone(),
        require_current_terms: config.require_current_terms,
        website: config.website.clone(),
    }
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}
