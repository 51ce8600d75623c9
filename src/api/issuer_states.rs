//! The states of issuers and roots: what depends on one, and its change. A change that takes something away which no
//! other issuer takes over is made only when the caller confirms it.

use axum::Json as Reply;
use axum::extract::{Path, State};

use super::{Api, hierarchy, refused};
use crate::access::{Caller, Permission};
use crate::api::document::{Problems, WriteProblems};
use crate::error::{Error, ErrorKind, Result};
use crate::http::extract::Json;
use crate::model::identifier::shown;
use crate::model::issuer::{IssuerMove, IssuerState};
use crate::wire::hierarchy::{Issuer, IssuerDependents, IssuerStateRequest};

/// The changes that an operator may ask for; a revocation makes an issuer revoked.
const MOVES: [(IssuerMove, IssuerState); 3] = [
    (IssuerMove::Activate, IssuerState::Active),
    (IssuerMove::Retire, IssuerState::Retiring),
    (IssuerMove::Remove, IssuerState::Removed),
];

/// Show what depends on an issuer
#[utoipa::path(get, path = "/api/v1/issuers/{issuer}/dependents", operation_id = "getIssuerDependents", tag = "issuers",
    params(("issuer" = String, Path, description = "Its slug")),
    responses((status = 200, description = "What depends on it", body = IssuerDependents), Problems))]
pub async fn dependents(
    caller: Caller,
    State(api): State<Api>,
    Path(slug): Path<String>,
) -> Result<Reply<IssuerDependents>> {
    caller.may(Permission::ReadHierarchy)?;
    if !caller.sees_issuer(&slug) {
        return Err(Error::not_found(format!("issuer \"{}\"", shown(&slug))));
    }
    found(&api, &slug).await.map(Reply)
}

/// Change the state of an issuer
#[utoipa::path(put, path = "/api/v1/issuers/{issuer}/state", operation_id = "changeIssuerState", tag = "issuers",
    params(("issuer" = String, Path, description = "Its slug")), request_body = IssuerStateRequest,
    responses((status = 200, description = "The issuer in its new state", body = Issuer), WriteProblems))]
pub async fn change(
    caller: Caller,
    State(api): State<Api>,
    Path(slug): Path<String>,
    Json { value: asked, .. }: Json<IssuerStateRequest>,
) -> Result<Reply<Issuer>> {
    refused(&api, &caller, "issuer.refused", &slug, caller.may_manage_hierarchy()).await?;
    let step = step(&asked.state)?;
    let dependents = found(&api, &slug).await?;
    if dependents.confirm_for.contains(&asked.state) && !asked.confirm {
        let unconfirmed = Err(unconfirmed(&slug, &dependents));
        return refused(&api, &caller, "issuer.refused", &slug, unconfirmed).await;
    }
    api.authority.move_issuer(caller.actor(), &slug, step).await?;
    let snapshot = api.authority.snapshot();
    hierarchy::issuer_shape(&snapshot, snapshot.issuer(&slug)?, api.authority.store().now()).map(Reply)
}

fn step(state: &str) -> Result<IssuerMove> {
    let known = MOVES.iter().find(|(_, to)| to.name() == state).map(|(step, _)| *step);
    known.ok_or_else(|| {
        Error::refused(
            ErrorKind::Unprocessable,
            "issuer.state",
            format!("state \"{}\"", shown(state)),
            "active, retiring, removed",
            "name one of these; an issuer is prepared when it is created, and revoked by its revocation",
        )
    })
}

async fn found(api: &Api, slug: &str) -> Result<IssuerDependents> {
    let found = api.authority.dependents(slug).await?;
    let directories = api.registration.directories_without(&found.issuers);
    let confirm_for = MOVES
        .iter()
        .filter(|(step, _)| found.must_confirm(*step, directories.len()))
        .map(|(_, to)| to.name().to_owned())
        .collect();
    Ok(IssuerDependents {
        issuers: found.issuers,
        profiles: found.profiles,
        acme_directories: directories,
        valid_certificates: found.valid_certificates,
        own_certificate: found.own_certificate,
        successor: found.successor,
        confirm_for,
    })
}

fn unconfirmed(slug: &str, dependents: &IssuerDependents) -> Error {
    let counts = format!(
        "{} profiles, {} ACME directories and {} valid certificates{} depend",
        dependents.profiles.len(),
        dependents.acme_directories.len(),
        dependents.valid_certificates,
        if dependents.own_certificate { ", and the server's own certificate," } else { "" }
    );
    Error::refused(
        ErrorKind::Conflict,
        "issuer.dependents",
        format!("issuer {slug}, on which {counts}"),
        "a change that is confirmed",
        "see what depends on it with `chancery ca show`, then run the command again with --yes (confirm in REST)",
    )
}
